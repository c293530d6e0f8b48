//! Pictures, sounds, films and documents: `inlineData` and `fileData`, in and out.

use std::borrow::Cow;

use tollway_model::{Content, Detail, Error, Media, MediaSource, Notices, Result};

use super::family::Family;
use super::shape::{
    BlobIn, BlobOut, FileDataIn, FileDataOut, MediaResolutionIn, MediaResolutionOut, PartOut,
};
use super::signature::standard;

/// What kind of thing a part holds, for a guess when nothing tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Image,
    Audio,
    Video,
    File,
}

/// Reads `inlineData`.
pub(super) fn from_blob(blob: BlobIn) -> Content {
    let mime = blob.mime_type.unwrap_or_else(|| "application/octet-stream".to_owned());
    let data = blob.data.unwrap_or_default();
    let data = match standard(&data) {
        Cow::Borrowed(_) => data,
        Cow::Owned(other) => other,
    };
    let sort = sort_of(&mime);
    let mut media = Media::base64(mime, data);
    media.name = blob.display_name;
    content(sort, media)
}

/// Reads `fileData`.
pub(super) fn from_file(file: FileDataIn) -> Content {
    let uri = file.file_uri.unwrap_or_default();
    let guessed = guess_mime(&uri);
    let sort = match file.mime_type.as_deref().or(guessed) {
        Some(mime) => sort_of(mime),
        None if is_youtube(&uri) => Sort::Video,
        None => Sort::File,
    };
    let source = if uri.contains("://") { MediaSource::Url(uri) } else { MediaSource::FileId(uri) };
    content(sort, Media { source, media_type: file.mime_type, name: file.display_name, detail: None })
}

/// Notes how closely an image is to be looked at.
pub(super) fn set_detail(content: &mut Content, resolution: &MediaResolutionIn) {
    let detail = match resolution.level.as_deref() {
        Some("MEDIA_RESOLUTION_LOW") => Detail::Low,
        Some("MEDIA_RESOLUTION_MEDIUM") => Detail::Medium,
        // The model knows nothing finer than high.
        Some("MEDIA_RESOLUTION_HIGH" | "MEDIA_RESOLUTION_ULTRA_HIGH") => Detail::High,
        _ => return,
    };
    if let Content::Image(media) | Content::Audio(media) | Content::Video(media) | Content::File(media) =
        content
    {
        media.detail = Some(detail);
    }
}

fn content(sort: Sort, media: Media) -> Content {
    match sort {
        Sort::Image => Content::Image(media),
        Sort::Audio => Content::Audio(media),
        Sort::Video => Content::Video(media),
        Sort::File => Content::File(media),
    }
}

/// Writes a part for a provider. `field` names it in errors and notices.
pub(super) fn part<'a>(
    sort: Sort,
    media: &'a Media,
    family: Family,
    field: &str,
    notices: &mut Notices,
) -> Result<PartOut<'a>> {
    let mut part = PartOut::default();
    let name = media.name.as_deref();
    match &media.source {
        MediaSource::Base64(data) => {
            let Some(mime) = media.media_type.as_deref() else {
                return Err(Error::invalid_at(field.to_owned(), "the data has no media type"));
            };
            let data = Cow::Borrowed(data.as_str());
            part.inline_data = Some(BlobOut { mime_type: proper_mime(mime), data, display_name: None });
            if name.is_some() {
                notices.changed(format!("{field}.filename"), "Gemini takes no file names with inline data");
            }
        }
        MediaSource::Text(text) => part.text = Some(Cow::Borrowed(text)),
        MediaSource::Url(url) => {
            let mime_type = url_mime(sort, media, url, field, notices)?;
            part.file_data = Some(FileDataOut { mime_type, file_uri: url, display_name: None });
        }
        MediaSource::FileId(id) => {
            if id.starts_with("file-") || id.starts_with("file_") {
                let message = format!("file {id:?} was uploaded to another provider; send its data instead");
                return Err(Error::invalid_at(field.to_owned(), message));
            }
            let mime_type = media.media_type.as_deref().map(proper_mime);
            part.file_data = Some(FileDataOut { mime_type, file_uri: id, display_name: None });
        }
    }
    if let Some(detail) = media.detail {
        resolution(detail, family, field, &mut part, notices);
    }
    Ok(part)
}

/// Writes a picture or sound of an answer for a client.
pub(super) fn answer_part(media: &Media) -> PartOut<'_> {
    let name = media.name.as_deref();
    let mime = media.media_type.as_deref();
    let mut part = PartOut::default();
    match &media.source {
        MediaSource::Base64(data) => {
            let mime_type = Cow::Borrowed(mime.unwrap_or("application/octet-stream"));
            part.inline_data = Some(BlobOut { mime_type, data: Cow::Borrowed(data), display_name: name });
        }
        MediaSource::Url(uri) | MediaSource::FileId(uri) => {
            let mime_type = mime.or_else(|| guess_mime(uri)).map(Cow::Borrowed);
            part.file_data = Some(FileDataOut { mime_type, file_uri: uri, display_name: name });
        }
        MediaSource::Text(text) => part.text = Some(Cow::Borrowed(text)),
    }
    part
}

fn url_mime<'a>(
    sort: Sort,
    media: &'a Media,
    url: &str,
    field: &str,
    notices: &mut Notices,
) -> Result<Option<Cow<'a, str>>> {
    if let Some(mime) = media.media_type.as_deref() {
        return Ok(Some(proper_mime(mime)));
    }
    if let Some(mime) = guess_mime(url) {
        return Ok(Some(Cow::Borrowed(mime)));
    }
    // The provider knows the type of what was uploaded to it, and of films it hosts.
    if is_youtube(url) || url.contains("/files/") {
        return Ok(None);
    }
    if sort == Sort::Image {
        notices.changed(field.to_owned(), "the image's type is not known from its URL; sent as image/jpeg");
        return Ok(Some(Cow::Borrowed("image/jpeg")));
    }
    let message = format!("the media type of {url:?} is not known from its ending; give it or send the data");
    Err(Error::invalid_at(field.to_owned(), message))
}

/// Only the third generation takes a resolution for one part.
fn resolution(detail: Detail, family: Family, field: &str, part: &mut PartOut<'_>, notices: &mut Notices) {
    let level = match detail {
        Detail::Auto => return,
        Detail::Low => "MEDIA_RESOLUTION_LOW",
        Detail::Medium => "MEDIA_RESOLUTION_MEDIUM",
        Detail::High => "MEDIA_RESOLUTION_HIGH",
    };
    if family.since((3, 0)) && part.text.is_none() {
        part.media_resolution = Some(MediaResolutionOut { level });
    } else {
        notices.changed(format!("{field}.detail"), "this model has no resolution for single parts");
    }
}

fn sort_of(mime: &str) -> Sort {
    match mime.split('/').next() {
        Some("image") => Sort::Image,
        Some("audio") => Sort::Audio,
        Some("video") => Sort::Video,
        _ => Sort::File,
    }
}

/// The name Gemini knows a type by.
fn proper_mime(mime: &str) -> Cow<'_, str> {
    match mime {
        "image/jpg" => Cow::Borrowed("image/jpeg"),
        "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Cow::Borrowed("audio/wav"),
        "audio/mpga" => Cow::Borrowed("audio/mpeg"),
        other => Cow::Borrowed(other),
    }
}

fn is_youtube(url: &str) -> bool {
    let host =
        url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    matches!(host, "youtu.be" | "youtube.com" | "www.youtube.com" | "m.youtube.com")
}

/// The type the ending of a URL's path stands for.
fn guess_mime(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let file = path.rsplit('/').next()?;
    let (_, ending) = file.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "wav" => "audio/wav",
        "mp3" => "audio/mp3",
        "aiff" => "audio/aiff",
        "aac" => "audio/aac",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "m4a" => "audio/m4a",
        "mp4" => "video/mp4",
        "mpeg" | "mpg" => "video/mpeg",
        "mov" => "video/mov",
        "avi" => "video/avi",
        "webm" => "video/webm",
        "wmv" => "video/wmv",
        "flv" => "video/x-flv",
        "3gp" => "video/3gpp",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "md" => "text/markdown",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "xml" => "text/xml",
        "json" => "application/json",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sort: Sort, media: Media, model: &str, expected: std::result::Result<serde_json::Value, &str>) {
        let mut notices = Notices::new();
        let got = part(sort, &media, Family::of(model), "messages[0].content[0]", &mut notices);
        let got = got.map(|part| serde_json::to_value(part).unwrap());
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{media:?}"),
            (Err(error), Err(part)) => assert!(error.message().contains(part), "{error}"),
            (got, expected) => panic!("{got:?} is not {expected:?}"),
        }
    }

    #[test]
    fn media_travel_as_data_or_as_a_location() {
        use serde_json::json;
        let jpg = Media::base64("image/jpg", "AAAA");
        check(
            Sort::Image,
            jpg,
            "gemini-2.5-pro",
            Ok(json!({"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}})),
        );
        let pdf = "https://a.example/x.PDF?v=1";
        check(
            Sort::File,
            Media::url(pdf),
            "gemini-2.5-pro",
            Ok(json!({"fileData": {"mimeType": "application/pdf", "fileUri": pdf}})),
        );
        let film = "https://www.youtube.com/watch?v=1";
        check(Sort::Video, Media::url(film), "gemini-2.5-pro", Ok(json!({"fileData": {"fileUri": film}})));
        let bare = "https://a.example/picture";
        check(
            Sort::Image,
            Media::url(bare),
            "gemini-2.5-pro",
            Ok(json!({"fileData": {"mimeType": "image/jpeg", "fileUri": bare}})),
        );
        check(Sort::File, Media::url(bare), "gemini-2.5-pro", Err("media type"));
        let foreign = Media { source: MediaSource::FileId("file-abc".into()), ..Media::url("") };
        check(Sort::File, foreign, "gemini-2.5-pro", Err("another provider"));
        let close = Media { detail: Some(Detail::High), ..Media::base64("image/png", "AAAA") };
        check(
            Sort::Image,
            close,
            "gemini-3-pro",
            Ok(json!({
                "inlineData": {"mimeType": "image/png", "data": "AAAA"},
                "mediaResolution": {"level": "MEDIA_RESOLUTION_HIGH"}
            })),
        );
    }
}

//! Pictures, sounds and documents as the API wants them: bytes with a short name of their format.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tollway_model::{Error, Kind, Media, MediaSource, RawJson};

use super::shape::{Block, Document, Picture, Source};

/// Longest name of a document that the API takes.
const LONGEST_NAME: usize = 200;

/// What to do with a medium; an error says why it cannot be sent.
type Sent<'a> = std::result::Result<Block<'a>, String>;

/// Formats by media type.
const FORMATS: [(&str, &str); 15] = [
    ("image/jpg", "jpeg"),
    ("video/x-matroska", "mkv"),
    ("video/quicktime", "mov"),
    ("video/x-flv", "flv"),
    ("video/x-ms-wmv", "wmv"),
    ("video/3gpp", "three_gp"),
    ("audio/mpeg", "mp3"),
    ("audio/x-wav", "wav"),
    ("audio/mp4", "m4a"),
    ("application/pdf", "pdf"),
    ("text/csv", "csv"),
    ("text/html", "html"),
    ("text/markdown", "md"),
    ("application/msword", "doc"),
    ("application/vnd.ms-excel", "xls"),
];

const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

pub(super) fn image(media: &Media) -> Sent<'_> {
    const TAKEN: [&str; 4] = ["png", "jpeg", "gif", "webp"];
    picture(media, &TAKEN, "images", "PNG, JPEG, GIF or WebP").map(Block::Image)
}

pub(super) fn video(media: &Media) -> Sent<'_> {
    const TAKEN: [&str; 9] = ["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"];
    picture(media, &TAKEN, "videos", "MP4, MOV, MKV or WebM").map(Block::Video)
}

pub(super) fn audio(media: &Media) -> Sent<'_> {
    const TAKEN: [&str; 11] =
        ["mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "m4a", "mka", "pcm", "webm"];
    picture(media, &TAKEN, "sounds", "MP3, WAV, FLAC or OGG").map(Block::Audio)
}

fn picture<'a>(
    media: &'a Media,
    taken: &[&'static str],
    what: &str,
    send: &str,
) -> std::result::Result<Picture<'a>, String> {
    let source = source(media)?;
    let kind = media.media_type.as_deref().or_else(|| by_ending(media)).unwrap_or_default();
    let (_, short) = kind.split_once('/').unwrap_or(("", kind));
    let known = FORMATS.iter().find(|(media_type, _)| *media_type == kind).map(|(_, format)| *format);
    let format = known.unwrap_or(short);
    match taken.iter().find(|taken| **taken == format) {
        Some(format) => Ok(Picture { format: Cow::Borrowed(format), source }),
        None => Err(format!("{what} of type `{kind}` are not taken: send {send}")),
    }
}

/// The format at the end of a location.
fn by_ending(media: &Media) -> Option<&str> {
    match &media.source {
        MediaSource::Url(url) => {
            url.rsplit_once('.').map(|(_, ending)| if ending == "jpg" { "jpeg" } else { ending })
        }
        _ => None,
    }
}

fn source(media: &Media) -> std::result::Result<Source<'_>, String> {
    match &media.source {
        MediaSource::Base64(data) => Ok(Source::Bytes(Cow::Borrowed(data))),
        // The provider would read it with the operator's rights, which are not the caller's.
        MediaSource::Url(url) if url.starts_with("s3://") => {
            Err("locations in S3 are not read on a caller's behalf: send the bytes".to_owned())
        }
        MediaSource::Url(_) => Err("this provider fetches nothing from the web: send the bytes".to_owned()),
        MediaSource::FileId(_) => Err("this provider keeps no uploaded files: send the bytes".to_owned()),
        MediaSource::Text(text) => Ok(Source::Bytes(Cow::Owned(STANDARD.encode(text)))),
    }
}

/// The names of the documents of a request, which must differ.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// A document, or an image that came as a file.
    pub(super) fn document<'a>(&mut self, media: &'a Media, citations: Option<&'a RawJson>) -> Sent<'a> {
        let kind = media.media_type.as_deref().unwrap_or_default();
        if kind.starts_with("image/") {
            return image(media);
        }
        let format = match (&media.source, kind) {
            (MediaSource::Text(_), _) => "txt",
            (_, "") => by_ending(media).and_then(known).unwrap_or("pdf"),
            (_, WORD) => "docx",
            (_, SHEET) => "xlsx",
            (_, kind) => match FORMATS.iter().find(|(media_type, _)| *media_type == kind) {
                Some((_, format)) => known(format).ok_or_else(|| refused(kind))?,
                None if is_textual(kind) => "txt",
                None => return Err(refused(kind)),
            },
        };
        let name = self.free(media.name.as_deref().unwrap_or_default());
        Ok(Block::Document(Document { format, name, source: source(media)?, citations }))
    }

    /// A name near `wanted` of letters, digits, single spaces, hyphens and brackets that no other document has.
    fn free(&mut self, wanted: &str) -> String {
        let stem = wanted.rsplit_once('.').map_or(wanted, |(stem, _)| stem);
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
        let spaced: String =
            stem.chars().map(|c| if fine(c) { c } else { ' ' }).take(LONGEST_NAME - 8).collect();
        let mut clean = spaced.split_whitespace().collect::<Vec<_>>().join(" ");
        if clean.is_empty() {
            clean.push_str("document");
        }
        let mut name = clean.clone();
        let mut number = 2_u32;
        while !self.0.insert(name.clone()) {
            name = format!("{clean} {number}");
            number += 1;
        }
        name
    }
}

fn refused(kind: &str) -> String {
    format!("documents of type `{kind}` are not taken: send PDF, text, CSV, HTML, Markdown, Word or Excel")
}

fn known(format: &str) -> Option<&'static str> {
    const TAKEN: [&str; 9] = ["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"];
    TAKEN.into_iter().find(|taken| *taken == format)
}

fn is_textual(media_type: &str) -> bool {
    media_type.starts_with("text/")
        || matches!(
            media_type,
            "application/json"
                | "application/xml"
                | "application/yaml"
                | "application/x-yaml"
                | "application/javascript"
        )
}

/// The caller's content cannot be sent.
pub(super) fn unsupported(field: String, message: impl Into<String>) -> Error {
    Error::new(Kind::Unsupported, message).with_param(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(sent: Sent<'_>) -> String {
        match sent {
            Ok(block) => serde_json::to_string(&block).unwrap(),
            Err(why) => why,
        }
    }

    #[test]
    fn formats_are_named_as_the_api_names_them() {
        let base = |kind: &str| Media::base64(kind, "AA==");
        assert_eq!(
            written(image(&base("image/jpg"))),
            r#"{"image":{"format":"jpeg","source":{"bytes":"AA=="}}}"#
        );
        assert!(written(image(&base("image/tiff"))).contains("`image/tiff` are not taken"));
        assert!(written(video(&base("video/3gpp"))).contains("three_gp"));
        assert!(written(video(&Media::url("s3://bucket/a.mp4"))).contains("not read on a caller"));
        assert!(written(image(&Media::url("https://x/a.png"))).contains("fetches nothing"));
        assert!(written(audio(&base("audio/mpeg"))).contains("mp3"));
        let mut names = Names::default();
        let mut format = |kind: &str| written(names.document(&base(kind), None));
        assert!(format("application/pdf").contains(r#""format":"pdf","name":"document""#));
        assert!(format(WORD).contains(r#""format":"docx","name":"document 2""#));
        assert!(format("application/json").contains("txt"));
        assert!(format("application/zip").contains("are not taken"));
        assert!(format("image/png").starts_with(r#"{"image""#));
    }

    #[test]
    fn names_of_documents_are_clean_and_differ() {
        let mut names = Names::default();
        let mut check = |wanted: &str, expected: &str| assert_eq!(names.free(wanted), expected);
        check("Q3  report_(final).pdf", "Q3 report (final)");
        check("Q3 report (final).docx", "Q3 report (final) 2");
        check("été.pdf", "t");
        check("", "document");
        check(&"x".repeat(300), &"x".repeat(192));
    }
}

//! Pictures, sound and documents: how messages hold them, both ways.

use tollway_model::{Detail, Error, Kind, Media, MediaSource, Result};

use super::read::{self, Object, Path, Raw};
use super::write::Map;
use crate::json::write_str;

/// `{url, detail, format}` or the URL itself.
pub(super) fn read_image(raw: Raw<'_>, path: &Path<'_>) -> Result<Media> {
    if let Some(url) = read::text(raw) {
        return Ok(located(&url, None));
    }
    let mut fields = Object::expect(raw, path)?;
    let url = fields.string("url", path)?.ok_or_else(|| path.key("url").missing())?;
    let mut media = located(&url, fields.string("format", path)?);
    media.detail = match fields.string("detail", path)?.as_deref() {
        Some("auto") => Some(Detail::Auto),
        Some("low") => Some(Detail::Low),
        Some("medium") => Some(Detail::Medium),
        Some("high") => Some(Detail::High),
        // Later words mean "more closely than high"; none is closer here.
        Some(_) => Some(Detail::High),
        None => None,
    };
    Ok(media)
}

/// A `data:` URL is its bytes; anything else is a location.
pub(crate) fn located(url: &str, media_type: Option<String>) -> Media {
    match data_url(url) {
        Some((stated, data)) => {
            let stated = if stated.is_empty() { "application/octet-stream" } else { stated };
            Media::base64(media_type.unwrap_or_else(|| stated.to_owned()), data)
        }
        None => Media { media_type, ..Media::url(url) },
    }
}

/// The media type and base64 of a `data:` URL.
pub(crate) fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    Some((head.split(';').next().unwrap_or_default(), data))
}

pub(crate) fn read_audio(raw: Raw<'_>, path: &Path<'_>) -> Result<Media> {
    // Mistral's form is the data alone.
    if let Some(data) = read::text(raw) {
        return Ok(match data_url(&data) {
            Some((kind, data)) => Media::base64(kind, data),
            None if data.starts_with("http") => Media::url(data),
            None => Media::base64("audio/wav", data),
        });
    }
    let mut fields = Object::expect(raw, path)?;
    let data = fields.string("data", path)?.ok_or_else(|| path.key("data").missing())?;
    let format = fields.string("format", path)?;
    if let Some((kind, data)) = data_url(&data) {
        return Ok(Media::base64(kind, data));
    }
    let format = format.ok_or_else(|| path.key("format").missing())?;
    Ok(Media::base64(audio_type(&format), data))
}

/// The MIME type of an audio format's name.
fn audio_type(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".to_owned(),
        "m4a" => "audio/mp4".to_owned(),
        "pcm16" => "audio/pcm".to_owned(),
        _ if format.contains('/') => format.to_owned(),
        _ => format!("audio/{format}"),
    }
}

pub(super) fn read_file(raw: Raw<'_>, path: &Path<'_>) -> Result<Media> {
    let mut fields = Object::expect(raw, path)?;
    let name = fields.string("filename", path)?;
    let format = fields.string("format", path)?;
    let mut media = match (fields.string("file_data", path)?, fields.string("file_id", path)?) {
        (Some(data), _) if data.starts_with("http") => located(&data, format),
        (Some(data), _) => match data_url(&data) {
            Some((stated, data)) => Media::base64(format.unwrap_or_else(|| stated.to_owned()), data),
            None => Media::base64(format.unwrap_or_else(|| file_type(name.as_deref())), data),
        },
        (None, Some(id)) if id.starts_with("http") || id.starts_with("gs://") || id.starts_with("data:") => {
            located(&id, format)
        }
        (None, Some(id)) => {
            Media { source: MediaSource::FileId(id), media_type: format, name: None, detail: None }
        }
        (None, None) => return Err(path.must_be("an object with `file_id` or `file_data`")),
    };
    media.name = name;
    Ok(media)
}

/// OpenAI takes PDF where nothing else is said.
pub(crate) fn file_type(name: Option<&str>) -> String {
    let extension = name.and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("html") => "text/html",
        _ => "application/pdf",
    }
    .to_owned()
}

/// The error for a part that cannot be said.
pub(crate) fn unsupported(path: &str, why: &str) -> Error {
    Error::new(Kind::Unsupported, format!("`{path}`: {why}")).with_param(path.to_owned())
}

/// The URL, or the bytes as a `data:` URL.
pub(crate) fn location(media: &Media) -> Option<String> {
    match &media.source {
        MediaSource::Url(url) => Some(url.clone()),
        MediaSource::Base64(data) => {
            let kind = media.media_type.as_deref().unwrap_or("application/octet-stream");
            Some(format!("data:{kind};base64,{data}"))
        }
        MediaSource::FileId(_) | MediaSource::Text(_) => None,
    }
}

pub(super) fn write_image(path: &str, media: &Media, map: &mut Map<'_>) -> Result<()> {
    if let MediaSource::FileId(id) = &media.source {
        map.str("type", "file");
        map.map("file", |map| map.str("file_id", id));
        return Ok(());
    }
    let url = location(media).ok_or_else(|| unsupported(path, "an image needs bytes or a URL"))?;
    map.str("type", "image_url");
    map.map("image_url", |map| {
        map.str("url", &url);
        if let Some(detail) = media.detail {
            let word = match detail {
                Detail::Auto => "auto",
                Detail::Low => "low",
                Detail::Medium => "medium",
                Detail::High => "high",
            };
            map.str("detail", word);
        }
    });
    Ok(())
}

pub(crate) fn write_audio(path: &str, media: &Media, map: &mut Map<'_>) -> Result<()> {
    let MediaSource::Base64(data) = &media.source else {
        return Err(unsupported(path, "sound must be given as bytes, not as a URL"));
    };
    map.str("type", "input_audio");
    map.map("input_audio", |map| {
        map.str("data", data);
        map.str("format", audio_format(media.media_type.as_deref().unwrap_or("audio/wav")));
    });
    Ok(())
}

/// OpenAI's name of a sound format.
fn audio_format(media_type: &str) -> &str {
    match media_type.strip_prefix("audio/").unwrap_or(media_type) {
        "mpeg" | "mp3" => "mp3",
        "wav" | "x-wav" | "wave" | "vnd.wave" => "wav",
        "mp4" | "x-m4a" => "m4a",
        "pcm" | "l16" | "L16" => "pcm16",
        other => other,
    }
}

pub(super) fn write_file(path: &str, media: &Media, native: bool, map: &mut Map<'_>) -> Result<()> {
    let name = media.name.as_deref();
    match &media.source {
        MediaSource::FileId(id) => {
            map.str("type", "file");
            map.map("file", |map| map.str("file_id", id));
        }
        MediaSource::Base64(_) => {
            let data = location(media).unwrap_or_default();
            map.str("type", "file");
            map.map("file", |map| {
                // OpenAI refuses bytes without a name; other dialects do not ask for one.
                if let Some(name) = name.or((!native).then_some("document.pdf")) {
                    map.str("filename", name);
                }
                map.str("file_data", &data);
            });
        }
        MediaSource::Text(text) => {
            map.str("type", "text");
            let titled = name.map(|name| format!("{name}\n\n{text}"));
            write_str(titled.as_deref().unwrap_or(text), map.key("text"));
        }
        MediaSource::Url(url) if native => {
            map.str("type", "file");
            map.map("file", |map| map.str("file_id", url));
        }
        MediaSource::Url(_) => {
            return Err(unsupported(path, "a document must be given as bytes or a file id, not as a URL"));
        }
    }
    Ok(())
}

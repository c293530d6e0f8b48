//! Pictures, sound and documents: how items hold them, both ways.

use tollway_model::{Detail, Media, MediaSource, Result};

use crate::openai_chat::media::{data_url, file_type, located, location, unsupported};
use crate::openai_chat::read::{Object, Path};
use crate::openai_chat::write::Map;

/// `{image_url, detail}` or `{file_id, detail}`.
pub(super) fn read_image(fields: &mut Object<'_>, path: &Path<'_>) -> Result<Media> {
    let mut media = match (fields.string("image_url", path)?, fields.string("file_id", path)?) {
        (Some(url), _) => located(&url, None),
        (None, Some(id)) => uploaded(id),
        (None, None) => return Err(path.must_be("an object with `image_url` or `file_id`")),
    };
    media.detail = match fields.string("detail", path)?.as_deref() {
        Some("auto") => Some(Detail::Auto),
        Some("low") => Some(Detail::Low),
        // `original` is closer still; nothing here is.
        Some(_) => Some(Detail::High),
        None => None,
    };
    Ok(media)
}

/// `{file_data, filename}`, `{file_url}` or `{file_id}`.
pub(super) fn read_file(fields: &mut Object<'_>, path: &Path<'_>) -> Result<Media> {
    let name = fields.string("filename", path)?;
    let data = fields.string("file_data", path)?;
    let url = fields.string("file_url", path)?;
    let mut media = match (data, url, fields.string("file_id", path)?) {
        (Some(data), ..) => match data_url(&data) {
            Some((kind, data)) => Media::base64(kind, data),
            None => Media::base64(file_type(name.as_deref()), data),
        },
        (None, Some(url), _) => located(&url, None),
        (None, None, Some(id)) => uploaded(id),
        (None, None, None) => {
            return Err(path.must_be("an object with `file_id`, `file_url` or `file_data`"));
        }
    };
    media.name = name;
    Ok(media)
}

fn uploaded(id: String) -> Media {
    Media { source: MediaSource::FileId(id), media_type: None, name: None, detail: None }
}

pub(super) fn write_image(path: &str, media: &Media, map: &mut Map<'_>) -> Result<()> {
    map.str("type", "input_image");
    match &media.source {
        MediaSource::FileId(id) => map.str("file_id", id),
        _ => {
            let url = location(media).ok_or_else(|| unsupported(path, "an image needs bytes or a URL"))?;
            map.str("image_url", &url);
        }
    }
    if let Some(detail) = media.detail {
        let word = match detail {
            Detail::Auto => "auto",
            Detail::Low => "low",
            Detail::Medium => "auto",
            Detail::High => "high",
        };
        map.str("detail", word);
    }
    Ok(())
}

pub(super) fn write_file(media: &Media, map: &mut Map<'_>) {
    let name = media.name.as_deref();
    match &media.source {
        MediaSource::FileId(id) => {
            map.str("type", "input_file");
            map.str("file_id", id);
        }
        MediaSource::Url(url) => {
            map.str("type", "input_file");
            map.str("file_url", url);
        }
        MediaSource::Base64(_) => {
            map.str("type", "input_file");
            // Bytes without a name are refused; other dialects do not ask for one.
            map.str("filename", name.unwrap_or("document.pdf"));
            map.str("file_data", &location(media).unwrap_or_default());
        }
        MediaSource::Text(text) => {
            map.str("type", "input_text");
            match name {
                Some(name) => map.str("text", &format!("{name}\n\n{text}")),
                None => map.str("text", text),
            }
        }
    }
}

//! How large a call is, told from its body before it is sent.

use memchr::memmem;
use tollway::exchange::Ask;
use tollway_model::{Dialect, Operation};
use tollway_wire::json::Envelope;

use super::FIRST_GUESS;

/// Bytes of a prompt that make a token, in the likely case. English prose has 4 to 5, code and JSON 3 to 4.
const BYTES_PER_TOKEN: u64 = 4;

/// What a picture counts for, where its size is not known.
const TOKENS_PER_IMAGE: u64 = 1_000;

/// A call's size before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Prompt tokens, likely.
    pub(crate) input: u64,
    /// Prompt tokens, at most: no tokenizer makes more tokens than there are bytes.
    pub(crate) most_input: u64,
    /// The caller's own limit of output tokens.
    pub(crate) limit: Option<u64>,
    /// Answers asked for.
    pub(crate) answers: u64,
}

impl Size {
    /// Reads it from the request's top level.
    pub(crate) fn of(ask: &Ask) -> Size {
        let body = &ask.envelope;
        let (text, media) = split(body);
        let images = media * TOKENS_PER_IMAGE;
        let (limit, answers) = bounds(ask.surface, body);
        let is_generating = matches!(ask.operation, Operation::Chat | Operation::Completion);
        Size {
            input: text / BYTES_PER_TOKEN + images + 1,
            most_input: text + images * 4,
            limit: if is_generating { limit } else { Some(0) },
            answers,
        }
    }

    /// Is its output guessed from nothing? `usual` is what such calls emit; a caller's own small limit is no guess.
    pub(crate) fn is_guess(&self, usual: Option<u64>) -> bool {
        usual.is_none() && self.limit.is_none_or(|limit| limit > FIRST_GUESS)
    }
}

/// The caller's limit of output tokens and the answers it asks for, from the fields of its own dialect: another dialect's
/// limit nothing, and must not make the hold small. Of two limits the larger counts.
pub(super) fn bounds(surface: Dialect, body: &Envelope) -> (Option<u64>, u64) {
    let fields: &[&str] = match surface {
        Dialect::OpenaiChat => &["max_completion_tokens", "max_tokens"],
        Dialect::OpenaiResponses => &["max_output_tokens"],
        Dialect::Gemini => return generation_bounds(body),
        _ => &["max_tokens"],
    };
    let answers = ["n", "best_of"].into_iter().filter_map(|field| body.u64(field)).max();
    (fields.iter().filter_map(|field| body.u64(field)).max(), answers.unwrap_or(1).max(1))
}

/// Gemini's clients have them one level deeper.
fn generation_bounds(body: &Envelope) -> (Option<u64>, u64) {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Generation {
        #[serde(alias = "max_output_tokens")]
        max_output_tokens: Option<u64>,
        #[serde(alias = "candidate_count")]
        candidate_count: Option<u64>,
    }
    let found = ["generationConfig", "generation_config"]
        .into_iter()
        .find_map(|field| body.read::<Generation>(field).ok().flatten());
    found.map_or((None, 1), |found| (found.max_output_tokens, found.candidate_count.unwrap_or(1).max(1)))
}

/// Keys that URLs with data in them are given under, in any dialect.
const URL_KEYS: [&str; 7] = ["url", "image_url", "file_data", "file_url", "video_url", "image", "uri"];

/// Bytes that are text, and how many media the body carries. Base64 is no text.
pub(super) fn split(envelope: &Envelope) -> (u64, u64) {
    let body = envelope.body();
    let mut text = body.len() as u64;
    let mut media = 0;
    // Nothing worth looking for fits into less.
    if body.len() < 2048 {
        return (text, media);
    }
    let has_urls = URL_KEYS.into_iter().any(|key| envelope.may_have_key(key));
    let in_urls = if has_urls { body.as_ref() } else { &[] };
    for begin in memmem::find_iter(in_urls, b";base64,") {
        let rest = body.get(begin..).unwrap_or_default();
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        text = text.saturating_sub(end as u64);
        media += 1;
    }
    // Anthropic's and Gemini's: the whole member is the data.
    let in_members = if envelope.may_have_key("data") { body.as_ref() } else { &[] };
    for begin in memmem::find_iter(in_members, b"\"data\":") {
        let rest = body.get(begin + 7..).unwrap_or_default();
        let Some(open) = rest.iter().position(|byte| !byte.is_ascii_whitespace()) else { continue };
        if rest.get(open) != Some(&b'"') {
            continue;
        }
        let value = rest.get(open + 1..).unwrap_or_default();
        let end = memchr::memchr(b'"', value).unwrap_or(value.len());
        if end > 512 && !value.get(..end).unwrap_or_default().contains(&b' ') {
            text = text.saturating_sub(end as u64);
            media += 1;
        }
    }
    (text, media)
}

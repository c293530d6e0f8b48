//! What concerns the gateway in a complete answer, found by looking at bytes.

use std::ops::Range;

use tollway_model::{Dialect, FinishReason, Usage};

use super::look::{FINDERS, contains};
use crate::codec::codec;
use crate::json::{Members, write_str};

/// Why a complete answer ended. The last such key counts; of several choices, that of the last.
///
/// Looks for bytes only: text that the model wrote has its quotes escaped.
pub fn finish_reason(dialect: Dialect, body: &[u8]) -> Option<FinishReason> {
    let key = match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiText => &FINDERS.finish_reason,
        Dialect::Anthropic => &FINDERS.stop_reason,
        Dialect::Gemini => &FINDERS.gemini_finish,
        _ => return None,
    };
    // Forwards: the search from the end has no vector instructions.
    let rest = body.get(key.find_iter(body).last()? + key.needle().len()..)?;
    let start = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b':')?;
    let value = rest.get(start..)?.strip_prefix(b"\"")?;
    let word = std::str::from_utf8(value.get(..memchr::memchr(b'"', value)?)?).ok()?;
    match dialect {
        Dialect::Anthropic => Some(crate::anthropic::finish_reason(word)),
        Dialect::Gemini => Some(crate::gemini::finish_reason(word, contains(body, &FINDERS.gemini_call))),
        _ if refuses(body) => Some(FinishReason::Refusal),
        _ => crate::openai_chat::finish_reason(word),
    }
}

/// Does an answer of OpenAI's hold a refusal? It ends with `stop` all the same.
fn refuses(body: &[u8]) -> bool {
    let key = &FINDERS.refusal;
    key.find_iter(body).any(|at| {
        let rest = body.get(at + key.needle().len()..).unwrap_or_default();
        let value = rest.iter().position(|byte| !byte.is_ascii_whitespace() && *byte != b':');
        let value = value.and_then(|start| rest.get(start..)).unwrap_or_default();
        value.starts_with(b"\"") && !value.starts_with(b"\"\"")
    })
}

/// What concerns the gateway in a complete answer, found in one look at its top level.
#[derive(Debug, Clone, Default)]
pub struct Whole {
    /// The text of the model's name.
    model: Option<Range<usize>>,
    usage: Option<Range<usize>>,
    service_tier: Option<Range<usize>>,
}

impl Whole {
    /// Looks at `body`; finds nothing in one that is not a whole object.
    pub fn look(body: &[u8]) -> Whole {
        let mut found = Whole::default();
        let mut members = Members::of(body);
        for (key, value) in members.by_ref() {
            match key {
                b"model" => found.model = Some(value),
                b"usage" => found.usage = Some(value),
                b"service_tier" => found.service_tier = Some(value),
                _ => {}
            }
        }
        if members.is_whole() { found } else { Whole::default() }
    }

    /// What the answer's `usage` says was used, where that object tells all.
    pub fn usage(&self, dialect: Dialect, body: &[u8]) -> Option<Usage> {
        codec(dialect).read_counts(std::str::from_utf8(body.get(self.usage.clone()?)?).ok()?)
    }

    /// The tier that served the call. OpenAI names it beside the usage, Anthropic inside.
    pub fn service_tier<'b>(&self, body: &'b [u8]) -> Option<&'b str> {
        let beside = self.service_tier.clone().and_then(|range| body.get(range));
        let inside = || {
            let usage = body.get(self.usage.clone()?)?;
            let (_, value) = Members::of(usage).find(|(key, _)| *key == b"service_tier")?;
            usage.get(value)
        };
        let quoted = beside.or_else(inside)?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        std::str::from_utf8(quoted).ok()
    }

    /// The answer with `model` as its model; `None` when it is that already, or has none.
    pub fn show_model(&self, body: &[u8], model: &str) -> Option<Vec<u8>> {
        let range = self.model.clone()?;
        let shown = body.get(range.clone())?;
        let mut text = Vec::with_capacity(model.len() + 2);
        write_str(model, &mut text);
        if shown == text || !shown.starts_with(b"\"") {
            return None;
        }
        let mut out = Vec::with_capacity(body.len() + text.len());
        out.extend_from_slice(body.get(..range.start)?);
        out.extend_from_slice(&text);
        out.extend_from_slice(body.get(range.end..)?);
        Some(out)
    }
}

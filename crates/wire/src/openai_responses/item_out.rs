//! Output items and their parts, as clients get them.

use tollway_model::{Citation, Dialect, Signature, ToolKind};

use super::{client_tools, state};
use crate::carry;
use crate::json::write_str;
use crate::openai_chat::write::{self, Map};

/// A call while it is written.
pub(super) struct Call {
    pub(super) item: String,
    pub(super) place: u32,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) kind: ToolKind,
    pub(super) signature: Option<Signature>,
    pub(super) added: bool,
    pub(super) arguments: String,
    /// How much of the arguments has been sent.
    pub(super) sent: usize,
}

impl Call {
    /// Whether the item is of a type of its own, which is told only whole.
    pub(super) fn is_whole(&self) -> bool {
        state::client_tool(&self.name).is_some()
    }

    /// The item as it is now.
    pub(super) fn item(&self, status: &str, input: &str) -> Vec<u8> {
        let packed = match &self.signature {
            Some(signature) => carry::pack_id(&self.id, signature),
            None => self.id.clone(),
        };
        if let Some(tool) = state::client_tool(&self.name)
            && let Some(members) = client_tools::item(tool, input)
        {
            return written(|map| {
                map.str("id", &self.item);
                map.str("type", &format!("{tool}_call"));
                map.str("status", status);
                map.str("call_id", &packed);
                for (key, value) in &members {
                    map.literal(key, &value.to_string());
                }
            });
        }
        let (kind, key) = match self.kind {
            ToolKind::Function => ("function_call", "arguments"),
            ToolKind::Custom => ("custom_tool_call", "input"),
        };
        let (namespace, name) = state::split_name(&self.name);
        written(|map| {
            map.str("id", &self.item);
            map.str("type", kind);
            map.str("status", status);
            map.str(key, input);
            map.str("call_id", &packed);
            map.str("name", name);
            if let Some(namespace) = namespace.filter(|namespace| !namespace.is_empty()) {
                map.str("namespace", namespace);
            }
        })
    }
}

pub(super) fn written(fill: impl FnOnce(&mut Map<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write::object(&mut out, fill);
    out
}

/// Adds an element to the inside of a list.
pub(super) fn add(list: &mut Vec<u8>, element: &[u8]) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(element);
}

pub(super) fn raw_list(key: &str, inside: &[u8], map: &mut Map<'_>) {
    let out = map.key(key);
    out.push(b'[');
    out.extend_from_slice(inside);
    out.push(b']');
}

pub(super) fn message(id: &str, status: &str, parts: &[u8]) -> Vec<u8> {
    written(|map| {
        map.str("id", id);
        map.str("type", "message");
        map.str("status", status);
        map.str("role", "assistant");
        raw_list("content", parts, map);
    })
}

pub(super) fn output_text(text: &str, annotations: &[u8], logprobs: &[u8], map: &mut Map<'_>) {
    map.str("type", "output_text");
    map.str("text", text);
    raw_list("annotations", annotations, map);
    raw_list("logprobs", logprobs, map);
}

pub(super) fn refusal(text: &str, map: &mut Map<'_>) {
    map.str("type", "refusal");
    map.str("refusal", text);
}

pub(super) fn reasoning(id: &str, text: &str, encrypted: Option<&str>) -> Vec<u8> {
    written(|map| {
        map.str("id", id);
        map.str("type", "reasoning");
        map.list("summary", |list| {
            if !text.is_empty() {
                list.map(|map| {
                    map.str("type", "summary_text");
                    map.str("text", text);
                });
            }
        });
        if let Some(encrypted) = encrypted {
            write_str(encrypted, map.key("encrypted_content"));
        }
    })
}

/// Where a paragraph of a thought is: thoughts of other dialects have one.
pub(super) fn paragraph(id: &str, place: u32, map: &mut Map<'_>) {
    map.str("item_id", id);
    map.int("output_index", place);
    map.int("summary_index", 0);
}

/// A source; `None` when it has no form here. One that names no place supports all that was said so far.
pub(super) fn annotation(citation: &Citation, said: u64) -> Option<Vec<u8>> {
    if let Some((Dialect::OpenaiResponses, json)) = &citation.native {
        return Some(json.get().as_bytes().to_vec());
    }
    let url = citation.url.as_ref()?;
    Some(written(|map| {
        map.str("type", "url_citation");
        map.int("start_index", citation.start.unwrap_or_default());
        map.int("end_index", citation.end.unwrap_or(said));
        map.str("url", url);
        map.str("title", citation.title.as_deref().unwrap_or_default());
    }))
}

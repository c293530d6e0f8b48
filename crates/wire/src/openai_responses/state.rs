//! What has no field of its own: whose reasoning an item holds, and in which namespace a tool is.

use tollway_model::{Dialect, Signature};

use crate::carry;

/// What stands before a foreign signature that encrypted the whole thought.
const REDACTED: &str = "redacted:";

/// What stands before a foreign signature that belongs to the text before the item.
const TEXT: &str = "text:";

/// Between a namespace and the tool's own name. No provider's tool names can have it, so encoders for other dialects
/// replace it and `Restore` brings it back.
const NAMESPACE: &str = "::";

/// The tool's full name.
pub(super) fn in_namespace(namespace: &str, name: &str) -> String {
    format!("{namespace}{NAMESPACE}{name}")
}

/// The name of calls of a tool that the client runs and only this dialect has words for.
pub(super) fn of_the_client(kind: &str) -> String {
    in_namespace("", kind)
}

/// Which of these tools is called.
pub(super) fn client_tool(full: &str) -> Option<&str> {
    full.strip_prefix(NAMESPACE)
}

/// Splits a full name into the namespace and the tool's own name.
pub(super) fn split_name(full: &str) -> (Option<&str>, &str) {
    match full.split_once(NAMESPACE) {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, full),
    }
}

/// The state in `encrypted_content`, and whether it stands for a whole thought.
///
/// The provider refuses its own encrypted reasoning under another item id, so the id is part of the state.
pub(super) fn read(id: Option<&str>, encrypted: &str) -> (Signature, bool) {
    if let Some(tagged) = carry::tagged(encrypted) {
        return match tagged.value.strip_prefix(REDACTED) {
            Some(value) => (Signature { origin: tagged.origin, value: value.to_owned() }, true),
            None => (tagged, false),
        };
    }
    let value = format!("{}:{encrypted}", id.unwrap_or_default());
    (Signature { origin: Dialect::OpenaiResponses, value }, false)
}

/// The `encrypted_content` that brings `signature` back.
pub(super) fn write(signature: &Signature, redacted: bool) -> String {
    let own = signature.origin == Dialect::OpenaiResponses;
    let mark = if redacted && !own { REDACTED } else { "" };
    carry::tag_always(signature.origin, &format!("{mark}{}", signature.value))
}

/// The `encrypted_content` of an item that brings the signature of a text back.
pub(super) fn write_text(signature: &Signature) -> String {
    carry::tag_always(signature.origin, &format!("{TEXT}{}", signature.value))
}

/// The signature of the text before the item, when the item's state is one.
pub(super) fn of_text(state: &Signature) -> Option<Signature> {
    let value = state.value.strip_prefix(TEXT).filter(|_| state.origin != Dialect::OpenaiResponses)?;
    Some(Signature { origin: state.origin, value: value.to_owned() })
}

/// Item id and encrypted content of this dialect's own state.
pub(super) fn own(signature: &Signature) -> Option<(Option<&str>, &str)> {
    if signature.origin != Dialect::OpenaiResponses {
        return None;
    }
    let (id, encrypted) = signature.value.split_once(':').unwrap_or(("", &signature.value));
    Some(((!id.is_empty()).then_some(id), encrypted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_comes_back_from_any_client() {
        let (own_state, _) = read(Some("rs_1"), "gAAAA=");
        assert_eq!(own(&own_state), Some((Some("rs_1"), "gAAAA=")));
        assert_eq!(read(Some("rs_ours"), &write(&own_state, true)), (own_state.clone(), false));
        let claude = Signature { origin: Dialect::Anthropic, value: "ErUB+/=".to_owned() };
        for redacted in [false, true] {
            assert_eq!(read(None, &write(&claude, redacted)), (claude.clone(), redacted));
        }
        assert_eq!(own(&claude), None);
    }

    #[test]
    fn names_keep_their_namespace() {
        assert_eq!(split_name(&in_namespace("mcp__files", "read")), (Some("mcp__files"), "read"));
        assert_eq!(split_name("shell"), (None, "shell"));
    }
}

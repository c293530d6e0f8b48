//! Carrying provider state through dialects that have no field for it.
//!
//! Gemini rejects a tool call that comes back without its thought signature, and Anthropic a thinking block whose
//! signature changed. Clients of other dialects keep ids and signatures as opaque text, so the state travels there:
//! in a tool call's id after `__thought__` (the mark LiteLLM's users already have in their histories), and in a
//! thinking block's signature after `tollway.<origin>.`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tollway_model::{Dialect, Signature};

use crate::json::Envelope;

/// What separates an id from the signature packed into it.
pub(crate) const MARK: &str = "__thought__";
const TAG: &str = "tollway.";

/// A tool call's id with `signature` inside. Uses only letters, digits, `_` and `-` beyond those of `id`.
pub fn pack_id(id: &str, signature: &Signature) -> String {
    format!("{id}{MARK}{}_{}", signature.origin.name(), URL_SAFE_NO_PAD.encode(&signature.value))
}

/// Splits an id made by [`pack_id`]; any other id comes back whole.
///
/// LiteLLM writes the bare Gemini signature after the mark; that is read too.
pub fn unpack_id(id: &str) -> (&str, Option<Signature>) {
    let Some((plain, packed)) = id.split_once(MARK) else { return (id, None) };
    let ours = packed.split_once('_').and_then(|(origin, value)| {
        let origin = Dialect::from_name(origin)?;
        let value = String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()?;
        Some(Signature { origin, value })
    });
    let signature = ours.or_else(|| {
        let is_base64 = !packed.is_empty() && STANDARD.decode(packed).is_ok();
        is_base64.then(|| Signature { origin: Dialect::Gemini, value: packed.to_owned() })
    });
    match signature {
        Some(signature) => (plain, Some(signature)),
        None => (id, None),
    }
}

/// The text that stands for `signature` in a signature field of `surface`.
pub fn tag(signature: &Signature, surface: Dialect) -> String {
    if signature.origin == surface {
        return signature.value.clone();
    }
    tag_always(signature.origin, &signature.value)
}

/// The text that stands for state that a provider of `origin` minted, on any surface.
pub(crate) fn tag_always(origin: Dialect, value: &str) -> String {
    format!("{TAG}{}.{value}", origin.name())
}

/// Reads text made by [`tag_always`]; `None` for any other.
pub(crate) fn tagged(value: &str) -> Option<Signature> {
    let (origin, value) = value.strip_prefix(TAG)?.split_once('.')?;
    Some(Signature { origin: Dialect::from_name(origin)?, value: value.to_owned() })
}

/// Reads a signature field of `surface`: text made by [`tag`], or the surface's own.
pub fn untag(value: &str, surface: Dialect) -> Signature {
    tagged(value).unwrap_or_else(|| Signature { origin: surface, value: value.to_owned() })
}

/// Could a client's `body` hold state that another provider minted, or thinking that none signed?
///
/// A provider refuses the conversation for it, so such a body cannot go out verbatim. May say yes wrongly, never no.
/// OpenAI's dialect is not looked at: there the ids are a matter of `short_tool_ids` of
/// [`Quirks`](crate::openai_chat::Quirks).
pub fn may_hold_foreign(surface: Dialect, envelope: &Envelope) -> bool {
    const TAGGED: &[&str] = &["\"tollway."];
    const UNSIGNED: &[&str] = &["\"signature\":\"\"", "\"signature\": \"\""];
    // Base64 of `tollway.` and of `redacted:`, which is how the Gemini codec writes foreign signatures.
    const GEMINI: &[&str] = &["dG9sbHdheS", "cmVkYWN0ZWQ6"];
    // Keys under which something can stand, and what it looks like: long bodies are searched only where that can be.
    let places: &[(&[&str], &[&str])] = match surface {
        Dialect::Anthropic => {
            &[(&["signature", "data"], TAGGED), (&["signature"], UNSIGNED), (&["id", "tool_use_id"], &[MARK])]
        }
        Dialect::Gemini => &[(&["thoughtSignature", "thought_signature"], GEMINI)],
        Dialect::OpenaiResponses => &[(&["encrypted_content"], TAGGED), (&["id", "call_id"], &[MARK])],
        _ => &[],
    };
    let says = |mark: &&str| memchr::memmem::find(envelope.body(), mark.as_bytes()).is_some();
    places
        .iter()
        .any(|(keys, marks)| keys.iter().any(|key| envelope.may_have_key(key)) && marks.iter().any(says))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gemini(value: &str) -> Signature {
        Signature { origin: Dialect::Gemini, value: value.to_owned() }
    }

    #[test]
    fn an_id_carries_a_signature_and_gives_it_back() {
        let packed = pack_id("call_1", &gemini("CpMB+/0="));
        assert!(packed.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
        assert_eq!(unpack_id(&packed), ("call_1", Some(gemini("CpMB+/0="))));
        assert_eq!(unpack_id("call_1__thought__CpMB+/0="), ("call_1", Some(gemini("CpMB+/0="))));
        assert_eq!(unpack_id("toolu_01"), ("toolu_01", None));
        assert_eq!(unpack_id("x__thought__!!"), ("x__thought__!!", None));
    }

    #[test]
    fn foreign_state_is_found_in_a_body() {
        let holds = |surface, body: &str| {
            may_hold_foreign(surface, &Envelope::parse(body.to_owned().into(), 64).unwrap())
        };
        let foreign = Signature { origin: Dialect::Anthropic, value: "Er==".to_owned() };
        for (origin, tail) in
            [("tollway.", "anthropic.Er=="), ("redacted:", "tollway.x"), ("redacted:", "CpMB")]
        {
            let body = format!("{{\"thoughtSignature\":\"{}\"}}", STANDARD.encode(format!("{origin}{tail}")));
            assert!(holds(Dialect::Gemini, &body), "{body}");
        }
        assert!(!holds(Dialect::Gemini, r#"{"thoughtSignature":"CpMB+/0="}"#));
        let bodies = [
            format!("{{\"signature\":\"{}\"}}", tag(&gemini("abc"), Dialect::Anthropic)),
            format!("{{\"id\":\"{}\"}}", pack_id("toolu_1", &gemini("abc"))),
            r#"{"thinking":"hm","signature":""}"#.to_owned(),
        ];
        for body in bodies {
            assert!(holds(Dialect::Anthropic, &body), "{body}");
            assert!(!holds(Dialect::OpenaiChat, &body), "{body}");
        }
        let own = format!("{{\"signature\":\"{}\"}}", tag(&foreign, Dialect::Anthropic));
        assert!(!holds(Dialect::Anthropic, &own));
    }

    #[test]
    fn a_signature_field_remembers_a_foreign_origin() {
        let tagged = tag(&gemini("abc"), Dialect::Anthropic);
        assert_eq!(untag(&tagged, Dialect::Anthropic), gemini("abc"));
        assert_eq!(tag(&gemini("abc"), Dialect::Gemini), "abc");
        assert_eq!(untag("ErUB", Dialect::Anthropic).origin, Dialect::Anthropic);
    }
}

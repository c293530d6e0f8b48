//! Why an answer ended, in and out.

use tollway_model::FinishReason;

/// Reads `finishReason`. An answer with tool calls ends for them, whatever Gemini says.
pub(super) fn read(native: &str, calls: bool) -> FinishReason {
    if calls {
        return FinishReason::ToolCalls;
    }
    match native {
        "MAX_TOKENS" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "OTHER"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "IMAGE_OTHER"
        | "NO_IMAGE"
        | "ESCALATION"
        | "MODEL_ARMOR"
        | "PUP_LIMITED_DISABLED" => FinishReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "MALFORMED_RESPONSE"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE" => FinishReason::Error,
        _ => FinishReason::Stop,
    }
}

/// Writes `finishReason`: Gemini's own word when it fits, so that a Gemini answer comes back unchanged.
pub(super) fn write(reason: FinishReason, native: Option<&str>) -> &str {
    if let Some(native) = native
        && KNOWN.contains(&native)
        && (read(native, false) == reason || reason == FinishReason::ToolCalls)
    {
        return native;
    }
    match reason {
        FinishReason::Length | FinishReason::ContextWindow => "MAX_TOKENS",
        FinishReason::ContentFilter | FinishReason::Refusal => "SAFETY",
        FinishReason::Error => "MALFORMED_RESPONSE",
        FinishReason::Stop | FinishReason::StopSequence | FinishReason::ToolCalls | FinishReason::Pause => {
            "STOP"
        }
    }
}

/// The words Google's clients know.
const KNOWN: [&str; 24] = [
    "FINISH_REASON_UNSPECIFIED",
    "STOP",
    "MAX_TOKENS",
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "OTHER",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "IMAGE_RECITATION",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
    "CONTINUATION",
    "MODEL_ARMOR",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_geminis_comes_back_as_it_was() {
        for word in KNOWN {
            assert_eq!(write(read(word, false), Some(word)), word);
        }
        assert_eq!(read("STOP", true), FinishReason::ToolCalls);
        assert_eq!(read("SOMETHING_NEW", false), FinishReason::Stop);
        assert_eq!(write(FinishReason::Length, Some("length")), "MAX_TOKENS");
        assert_eq!(write(FinishReason::ToolCalls, Some("tool_use")), "STOP");
    }
}

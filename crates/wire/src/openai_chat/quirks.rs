//! How OpenAI-speaking providers depart from OpenAI, as a small closed vocabulary.

use serde::{Deserialize, Serialize};

/// Departures inside `messages` and `tools`, where editing top-level fields cannot reach.
///
/// All off means "like OpenAI": the verbatim lane then never looks inside messages.
/// When a provider needs a departure that is not here and a second one needs it too, add a field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Quirks {
    /// The role `developer` is refused: send `system`.
    pub developer_as_system: bool,
    /// Content lists made of text only are refused: send one string.
    pub flatten_text: bool,
    /// Null fields inside messages are refused: leave them out.
    pub no_nulls: bool,
    /// `name` is refused on messages other than tool results.
    pub no_message_names: bool,
    /// `strict` is refused inside function tools.
    pub no_strict: bool,
    /// Fields that answers carry and requests must not (`reasoning_content`, `annotations`, `audio`,
    /// `provider_specific_fields`, `thinking_blocks` …) are refused in assistant messages.
    pub no_output_fields: bool,
    /// Earlier thinking must come back as `reasoning_content` in assistant messages.
    pub wants_reasoning_content: bool,
    /// `cache_control` is understood inside content parts and tools (OpenRouter).
    pub cache_control: bool,
    /// `max_completion_tokens` is refused: send `max_tokens`.
    pub max_tokens_only: bool,
    /// Tool call ids must be nine letters or digits (older Mistral models): others are replaced by a stable hash.
    pub nine_char_tool_ids: bool,
    /// `tool_choice: "required"` is spelled `any`.
    pub required_as_any: bool,
    /// `stream_options` is refused; usage comes unasked on the last chunk.
    pub no_stream_options: bool,
    /// Tool call ids of more than 40 characters are refused (OpenAI, Azure). Signatures of other providers that
    /// the gateway gave the client in ids and fields are taken out; ids still too long are replaced by a stable hash.
    pub short_tool_ids: bool,
    /// Thought signatures go back in `extra_content: {google: {thought_signature}}` of tool calls, as they came
    /// (Gemini behind an OpenAI-compatible endpoint).
    pub google_extra_content: bool,
    /// Thinking is switched with `thinking: {"type": "enabled" | "disabled"}`; `reasoning_effort` is refused
    /// (DeepSeek, Z.AI, Moonshot, Volcengine).
    pub thinking_switch: bool,
}

//! What a model can do, as far as translation needs to know.

use crate::Effort;

/// Yes, no, or not known.
///
/// Unknown is not "no": codecs try the modern form for unknown models and fall back only on a known no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Support {
    /// Stated to work.
    Yes,
    /// Stated not to work.
    No,
    /// Nothing is known.
    #[default]
    Unknown,
}

impl Support {
    /// Known to work.
    pub const fn yes(self) -> bool {
        matches!(self, Support::Yes)
    }

    /// Known not to work.
    pub const fn no(self) -> bool {
        matches!(self, Support::No)
    }
}

/// What a model can do.
///
/// Filled from the models table and the configuration's `model_info`; the default is "nothing known".
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Capabilities {
    /// Largest prompt, in tokens.
    pub max_input_tokens: Option<u64>,
    /// Longest answer, in tokens.
    pub max_output_tokens: Option<u64>,
    /// Function tools.
    pub tools: Support,
    /// `tool_choice` that forces a tool.
    pub forced_tool_use: Support,
    /// Several tool calls in one turn.
    pub parallel_tools: Support,
    /// Image input.
    pub vision: Support,
    /// PDF input.
    pub pdf: Support,
    /// Sound input.
    pub audio_input: Support,
    /// Sound output.
    pub audio_output: Support,
    /// A schema for the answer, enforced by the provider.
    pub json_schema: Support,
    /// Anthropic's `output_config.format`, as opposed to a forced tool.
    pub native_structured_output: Support,
    /// Prompt caching with markers.
    pub prompt_caching: Support,
    /// Thinking at all.
    pub reasoning: Support,
    /// The model chooses its thinking budget; budgets in tokens are refused.
    pub adaptive_thinking: Support,
    /// Thinking cannot be switched off.
    pub thinking_always_on: bool,
    /// Temperature, top-p and top-k.
    pub sampling_params: Support,
    /// System messages.
    pub system: Support,
    /// System messages after the first user turn.
    pub mid_conversation_system: Support,
    /// A last assistant message that the answer continues.
    pub prefill: Support,
    /// Web search run by the provider.
    pub web_search: Support,
    /// Efforts the model takes; empty when unknown.
    pub efforts: Vec<Effort>,
}

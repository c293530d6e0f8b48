//! A neutral answer.

use serde::{Deserialize, Serialize};

use crate::{Extras, Part, RawJson, Usage};

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// The provider's id of the answer; encoders make one where it is empty.
    pub id: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Seconds since 1970, when the provider says.
    pub created: Option<i64>,
    /// The answers, by index.
    pub choices: Vec<Choice>,
    /// What it used. `None` when the provider did not say.
    pub usage: Option<Usage>,
    /// The tier that served the call, as the provider names it.
    pub service_tier: Option<String>,
    /// Top-level fields the model does not know, verbatim.
    pub extras: Extras,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Its number, from 0.
    pub index: u32,
    /// What the model said, in order.
    pub parts: Vec<Part>,
    /// Why it stopped; `None` only in answers cut short.
    pub finish: Option<FinishReason>,
    /// The provider's own word for it.
    pub native_finish: Option<String>,
    /// The stop text that ended the answer, when the provider says.
    pub stop_sequence: Option<String>,
    /// Log-probabilities in OpenAI's shape: `{"content":[…]}`.
    pub logprobs: Option<RawJson>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// A caller's stop text was reached. Dialects without the distinction render [`FinishReason::Stop`].
    StopSequence,
    /// The token limit was reached.
    Length,
    /// The model wants tools to be run.
    ToolCalls,
    /// The provider's filter cut it.
    ContentFilter,
    /// The model declined.
    Refusal,
    /// A long-running turn pauses; send the answer back to go on (Anthropic's `pause_turn`).
    Pause,
    /// The context window was full.
    ContextWindow,
    /// The provider reported a failed generation.
    Error,
}

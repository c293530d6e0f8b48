//! The wire formats we speak, and the operations a call can ask for.

use serde::{Deserialize, Serialize};

/// A wire format for model calls.
///
/// A client may speak it to the gateway and the gateway may speak it to a
/// provider; one codec in `tollway-wire` serves both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI Chat Completions, `/v1/chat/completions`.
    OpenaiChat,
    /// OpenAI legacy text completions, `/v1/completions`. Spoken by clients only;
    /// towards providers it travels as [`Dialect::OpenaiChat`] unless both ends speak it.
    OpenaiText,
    /// Anthropic Messages, `/v1/messages`.
    Anthropic,
    /// Gemini generateContent, `/v1beta/models/{model}:generateContent`.
    Gemini,
    /// Amazon Bedrock Converse, `/model/{model}/converse`. Spoken by providers only.
    BedrockConverse,
    /// OpenAI Responses, `/v1/responses`.
    OpenaiResponses,
}

impl Dialect {
    /// Every dialect, in the order documentation lists them.
    pub const ALL: [Dialect; 6] = [
        Dialect::OpenaiChat,
        Dialect::OpenaiText,
        Dialect::Anthropic,
        Dialect::Gemini,
        Dialect::BedrockConverse,
        Dialect::OpenaiResponses,
    ];

    /// The stable name used in configuration, receipts and signatures.
    pub const fn name(self) -> &'static str {
        match self {
            Dialect::OpenaiChat => "openai-chat",
            Dialect::OpenaiText => "openai-text",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
            Dialect::BedrockConverse => "bedrock-converse",
            Dialect::OpenaiResponses => "openai-responses",
        }
    }

    /// The dialect called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Operation {
    /// A conversation turn, in any chat dialect.
    Chat,
    /// A legacy text completion.
    Completion,
    /// Vectors for texts. The OpenAI shape is the neutral one.
    Embedding,
    /// The number of input tokens of a would-be chat call.
    CountTokens,
}

impl Operation {
    /// The name used in receipts and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Operation::Chat => "chat",
            Operation::Completion => "completion",
            Operation::Embedding => "embedding",
            Operation::CountTokens => "count_tokens",
        }
    }
}

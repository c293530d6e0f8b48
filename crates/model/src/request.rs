//! A neutral request.

use indexmap::IndexMap;

use crate::{AudioFormat, Dialect, Message, RawJson, Role, Tool, ToolChoice};

/// A conversation turn asked of a model.
///
/// Absent is not null and not the default: a field the caller did not send is
/// `None` and is not sent on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// The model as the caller named it; the target's own name is in the codec's target.
    pub model: String,
    /// The conversation, system messages included, in the caller's order.
    pub messages: Vec<Message>,
    /// Tools the model may call.
    pub tools: Vec<Tool>,
    /// Which tools it may or must use.
    pub tool_choice: Option<ToolChoice>,
    /// May several tools be called in one turn?
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens to generate, thinking included.
    pub max_output_tokens: Option<u64>,
    /// 0 … 2 (some dialects: 0 … 1).
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 … 1.
    pub top_p: Option<f64>,
    /// Sample only from the k likeliest tokens.
    pub top_k: Option<u64>,
    /// Stop before any of these texts.
    pub stop: Vec<String>,
    /// Sampling seed.
    pub seed: Option<i64>,
    /// Number of answers.
    pub n: Option<u32>,
    /// −2 … 2.
    pub presence_penalty: Option<f64>,
    /// −2 … 2.
    pub frequency_penalty: Option<f64>,
    /// Token id → bias.
    pub logit_bias: Option<RawJson>,
    /// Return token log-probabilities.
    pub logprobs: Option<bool>,
    /// How many alternatives per token.
    pub top_logprobs: Option<u32>,
    /// Text, some JSON, or JSON of a schema.
    pub output: Option<OutputFormat>,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// `low`, `medium` or `high`.
    pub verbosity: Option<String>,
    /// Kinds of output: `text`, `audio`, `image` (lower case).
    pub modalities: Vec<String>,
    /// Voice and format of generated sound.
    pub audio: Option<AudioFormat>,
    /// Expected answer, for speculative decoding.
    pub prediction: Option<RawJson>,
    /// The provider may search the web.
    pub web_search: Option<WebSearch>,
    /// The end user, as the caller knows them.
    pub user: Option<String>,
    /// Free pairs for the caller's own bookkeeping.
    pub metadata: Option<RawJson>,
    /// `auto`, `default`, `flex`, `priority`, `standard_only` …, as the caller's dialect names it.
    pub service_tier: Option<String>,
    /// OpenAI's routing hint for prompt caching.
    pub prompt_cache_key: Option<String>,
    /// The whole prompt may be cached automatically (Anthropic's top-level `cache_control`).
    pub cache: Option<crate::CacheHint>,
    /// Answer as a stream of events.
    pub stream: bool,
    /// The caller asked to see usage in the stream (OpenAI's `stream_options.include_usage`).
    pub include_usage: Option<bool>,
    /// Top-level fields the model does not know, verbatim.
    pub extras: Extras,
}

/// Requests are put together by chaining: `Request::chat("openai/gpt-4o", "Why is the sky blue?").temperature(0.2)`.
///
/// Every field is public too; these are the ones most calls need.
impl Request {
    /// An empty conversation with `model`.
    pub fn new(model: impl Into<String>) -> Request {
        Request { model: model.into(), ..Request::default() }
    }

    /// One question to `model`.
    pub fn chat(model: impl Into<String>, prompt: impl Into<String>) -> Request {
        Request::new(model).ask(prompt)
    }

    /// Adds an instruction, after those there are and before the conversation.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Request {
        let leading = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
        let at = self.messages.iter().take_while(leading).count();
        self.messages.insert(at, Message::system(text));
        self
    }

    /// Adds what the end user says next.
    #[must_use]
    pub fn ask(self, text: impl Into<String>) -> Request {
        self.message(Message::user(text))
    }

    /// Adds a message at the end of the conversation.
    #[must_use]
    pub fn message(mut self, message: Message) -> Request {
        self.messages.push(message);
        self
    }

    /// Adds a tool the model may call.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Request {
        self.tools.push(tool);
        self
    }

    /// Sets which tools the model may or must use.
    #[must_use]
    pub fn tool_choice(mut self, choice: ToolChoice) -> Request {
        self.tool_choice = Some(choice);
        self
    }

    /// Limits the answer, thinking included, to so many tokens.
    #[must_use]
    pub fn max_output_tokens(mut self, tokens: u64) -> Request {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Sets the sampling temperature, 0 … 2.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Request {
        self.temperature = Some(temperature);
        self
    }

    /// Stops the answer before `text`; several add up.
    #[must_use]
    pub fn stop(mut self, text: impl Into<String>) -> Request {
        self.stop.push(text.into());
        self
    }

    /// Sets how much to think.
    #[must_use]
    pub fn reasoning(mut self, effort: Effort) -> Request {
        self.reasoning = Some(Reasoning { effort: Some(effort), ..Reasoning::default() });
        self
    }

    /// Asks for JSON of `schema`, enforced by the provider.
    #[must_use]
    pub fn json_schema(mut self, name: impl Into<String>, schema: impl Into<RawJson>) -> Request {
        self.output = Some(OutputFormat::JsonSchema {
            name: Some(name.into()),
            description: None,
            schema: schema.into(),
            strict: Some(true),
        });
        self
    }
}

/// Top-level fields kept verbatim, with the dialect they came from.
///
/// They are re-emitted to the same dialect; to another they are refused or noted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras {
    /// Where they came from; `None` only while `fields` is empty.
    pub dialect: Option<Dialect>,
    /// Name → value.
    pub fields: IndexMap<String, RawJson>,
}

impl Extras {
    /// No fields yet, from `dialect`.
    pub fn of(dialect: Dialect) -> Extras {
        Extras { dialect: Some(dialect), fields: IndexMap::new() }
    }

    /// The fields, when they came from `dialect`.
    pub fn for_dialect(&self, dialect: Dialect) -> Option<&IndexMap<String, RawJson>> {
        (self.dialect == Some(dialect)).then_some(&self.fields)
    }
}

/// The form of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputFormat {
    /// Plain text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// Its name; dialects without names leave it empty.
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The JSON Schema.
        schema: RawJson,
        /// The provider must enforce it. Absent is not `false`.
        strict: Option<bool>,
    },
}

/// How much to think.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reasoning {
    /// Effort in words.
    pub effort: Option<Effort>,
    /// Budget in tokens. When both are given the target takes the one it knows.
    pub budget_tokens: Option<u64>,
    /// The model decides how long to think (Anthropic's `adaptive`, Gemini's budget −1).
    pub adaptive: bool,
    /// Thinking is switched off.
    pub disabled: bool,
    /// Show the thinking in the answer: Gemini's `includeThoughts`, OpenAI's `summary`, Anthropic's `display`.
    pub show: Option<bool>,
}

/// Effort of thinking, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Do not think.
    None,
    /// As little as possible.
    Minimal,
    /// A little.
    Low,
    /// The usual amount.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// As much as possible.
    Max,
}

impl Effort {
    /// The word OpenAI-like APIs use.
    pub const fn name(self) -> &'static str {
        match self {
            Effort::None => "none",
            Effort::Minimal => "minimal",
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }

    /// The effort called `name`, in any letter case.
    pub fn from_name(name: &str) -> Option<Effort> {
        const ALL: [Effort; 7] = [
            Effort::None,
            Effort::Minimal,
            Effort::Low,
            Effort::Medium,
            Effort::High,
            Effort::XHigh,
            Effort::Max,
        ];
        ALL.into_iter().find(|effort| effort.name().eq_ignore_ascii_case(name))
    }

    /// The thinking budget in tokens for models that take one (LiteLLM's table, which users tuned against).
    pub const fn budget_tokens(self) -> u64 {
        match self {
            Effort::None => 0,
            Effort::Minimal | Effort::Low => 1024,
            Effort::Medium => 2048,
            Effort::High => 4096,
            Effort::XHigh => 8192,
            Effort::Max => 16384,
        }
    }

    /// The effort a budget stands for: the inverse of [`Effort::budget_tokens`], rounding down.
    pub const fn from_budget(tokens: u64) -> Effort {
        match tokens {
            0 => Effort::None,
            1..=1023 => Effort::Minimal,
            1024..=2047 => Effort::Low,
            2048..=4095 => Effort::Medium,
            4096..=8191 => Effort::High,
            8192..=16383 => Effort::XHigh,
            _ => Effort::Max,
        }
    }
}

/// The provider may search the web before answering.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WebSearch {
    /// `low`, `medium` or `high`.
    pub context_size: Option<String>,
    /// Approximate location of the user: `{country, region, city, timezone}`.
    pub location: Option<RawJson>,
    /// Most searches in one call.
    pub max_uses: Option<u32>,
    /// Only these domains.
    pub allowed_domains: Vec<String>,
    /// Not these domains.
    pub blocked_domains: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_come_before_the_conversation_in_the_order_given() {
        let request = Request::chat("m", "one")
            .system("first")
            .message(Message::assistant("two"))
            .system("second")
            .ask("three");
        let said: Vec<_> = request.messages.iter().map(|one| (one.role, one.joined_text())).collect();
        let expected = [
            (Role::System, "first"),
            (Role::System, "second"),
            (Role::User, "one"),
            (Role::Assistant, "two"),
            (Role::User, "three"),
        ];
        assert_eq!(said, expected.map(|(role, text)| (role, text.to_owned())));
    }
}

//! How a fake misbehaves.
//!
//! A script is set in Rust, or read from a model name: `fake-` and directives joined by `+`, such as
//! `fake-slow-50+chunk-1`. [`Script::from_model`] lists them.

use std::time::Duration;

use crate::fault::Fault;
use crate::route::Speaks;

/// Deviations from the default behaviour; [`Script::default`] has none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// Pause before status and headers.
    pub slow: Duration,
    /// Pause between headers and the first byte of the body.
    pub first_byte: Duration,
    /// Pause before every further chunk.
    pub interval: Duration,
    /// Chunks that are sent properly before the body breaks, and how it breaks.
    pub broken: Option<(usize, Break)>,
    /// Sends the body in pieces of so many bytes.
    pub chunk_bytes: Option<usize>,
    /// SSE comments before every frame.
    pub comments: bool,
    /// Sends the headers of a stream and no frame at all.
    pub empty: bool,
    /// Refuses with this.
    pub refuse: Option<Refuse>,
    /// Refuses the first so many requests for one model with 503 (servers only).
    pub flaky: usize,
    /// Answers with a text of so many tokens.
    pub tokens: Option<usize>,
    /// Input tokens reported as read from the provider's cache.
    pub cached: usize,
    /// Shows its reasoning, asked or not.
    pub reasoning: bool,
    /// Calls every tool it is given.
    pub parallel_tools: bool,
    /// Declines to answer, as a model does.
    pub refusal: bool,
    /// Answers with a small picture.
    pub image: bool,
    /// Reports no usage.
    pub no_usage: bool,
    /// Refuses fields the vendor does not document, also where the vendor is lenient.
    pub strict: bool,
    /// Demands thought signatures as Gemini 3 does.
    pub thought_signatures: bool,
}

/// Most cached input a script may claim, in tokens.
const MOST_CACHED: usize = 1_000_000_000;

/// How a body breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// The connection is closed.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing more comes.
    Stall,
    /// A frame that is not JSON comes, and the stream ends.
    Malformed,
    /// The dialect's error frame comes, and the stream ends.
    Error,
}

/// A refusal that each dialect words differently.
#[derive(Debug, Clone, PartialEq)]
pub enum Refuse {
    /// An error with this status.
    Status(u16),
    /// An error with this status and an HTML body, as proxies in front of providers send.
    Html(u16),
    /// 429 with rate-limit headers, to be tried again after so many seconds.
    RateLimit(u64),
    /// The prompt is longer than the model's context.
    ContextWindow,
    /// The prompt is against the provider's policy.
    ContentPolicy,
    /// There is no such model.
    UnknownModel,
}

/// A directive that [`Script::from_model`] does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownDirective(pub String);

impl Script {
    /// Reads the script in a model name; a name without `fake-` has none.
    ///
    /// Only the last path segment counts (`openai/fake-reasoning`). Times are in milliseconds. Directives:
    /// `slow-N`, `first-byte-N`, `interval-N`, `chunk-N` (bytes), `tokens-N`, `cached-N`, `comments`, `empty`,
    /// `cut-after-N-chunks`, `stall-after-N-chunks`, `reset-after-N-chunks`, `malformed-after-N`,
    /// `error-mid-stream-N`, `reset`, `headers-then-silence`, `error-STATUS`, `html-STATUS`, `ratelimit[-SECONDS]`,
    /// `context-window`, `content-policy`, `model-not-found`, `flaky-N`, `reasoning`, `parallel-tools`, `refusal`,
    /// `image`, `no-usage`, `strict`, `thought-signatures`, `ok`, and `id-ANYTHING`, which does nothing and makes a
    /// name unique.
    ///
    /// # Errors
    /// The first directive that is none of these: a typo must not become a passing test.
    pub fn from_model(model: &str) -> Result<Script, UnknownDirective> {
        let name = model.rsplit('/').next().unwrap_or(model);
        // `anthropic.claude-fake-ok`: what a model takes depends on its family's name there.
        let name = name.rsplit_once("claude-").map_or(name, |(_, name)| name);
        let mut script = Script { thought_signatures: name.starts_with("gemini-3"), ..Script::default() };
        let Some(directives) = name.strip_prefix("fake-") else { return Ok(script) };
        for directive in directives.split('+') {
            script.apply(directive).ok_or_else(|| UnknownDirective(directive.to_owned()))?;
        }
        Ok(script)
    }

    fn apply(&mut self, directive: &str) -> Option<()> {
        if directive.starts_with("id-") {
            return Some(());
        }
        self.apply_word(directive).or_else(|| self.apply_number(directive))
    }

    fn apply_word(&mut self, directive: &str) -> Option<()> {
        match directive {
            "ok" => {}
            "comments" => self.comments = true,
            "empty" => self.empty = true,
            "reset" => self.broken = Some((0, Break::Reset)),
            "headers-then-silence" => self.broken = Some((0, Break::Stall)),
            "ratelimit" => self.refuse = Some(Refuse::RateLimit(7)),
            "context-window" => self.refuse = Some(Refuse::ContextWindow),
            "content-policy" => self.refuse = Some(Refuse::ContentPolicy),
            "model-not-found" => self.refuse = Some(Refuse::UnknownModel),
            "reasoning" => self.reasoning = true,
            "parallel-tools" => self.parallel_tools = true,
            "refusal" => self.refusal = true,
            "image" => self.image = true,
            "no-usage" => self.no_usage = true,
            "strict" => self.strict = true,
            "thought-signatures" => self.thought_signatures = true,
            _ => return None,
        }
        Some(())
    }

    fn apply_number(&mut self, directive: &str) -> Option<()> {
        let directive = directive.strip_suffix("-chunks").unwrap_or(directive);
        let (word, number) = directive.rsplit_once('-')?;
        let number: u64 = number.parse().ok()?;
        let size = usize::try_from(number).ok()?;
        let millis = Duration::from_millis(number);
        let status = u16::try_from(number).ok().filter(|status| (400..600).contains(status));
        match word {
            "slow" => self.slow = millis,
            "first-byte" => self.first_byte = millis,
            "interval" => self.interval = millis,
            "chunk" => self.chunk_bytes = Some(size),
            "tokens" => self.tokens = Some(size),
            "cached" => self.cached = size.min(MOST_CACHED),
            "flaky" => self.flaky = size,
            "cut-after" => self.broken = Some((size, Break::Cut)),
            "stall-after" => self.broken = Some((size, Break::Stall)),
            "reset-after" => self.broken = Some((size, Break::Reset)),
            "malformed-after" => self.broken = Some((size, Break::Malformed)),
            "error-mid-stream" => self.broken = Some((size, Break::Error)),
            "ratelimit" => self.refuse = Some(Refuse::RateLimit(number)),
            "error" => self.refuse = Some(Refuse::Status(status?)),
            "html" => self.refuse = Some(Refuse::Html(status?)),
            _ => return None,
        }
        Some(())
    }
}

impl Refuse {
    /// The refusal as `speaks` words it.
    pub(crate) fn fault(&self, speaks: Speaks, model: &str) -> Fault {
        match self {
            Refuse::Status(401) => invalid_key(speaks),
            Refuse::Status(status) | Refuse::Html(status) => {
                Fault::new(*status, format!("The fake provider was asked to fail with status {status}."))
            }
            Refuse::RateLimit(seconds) => rate_limit(speaks, *seconds),
            Refuse::ContextWindow => context_window(speaks),
            Refuse::ContentPolicy => match speaks {
                Speaks::OpenAi => {
                    Fault::invalid("Your request was rejected as a result of our safety system.")
                        .code("content_policy_violation")
                }
                Speaks::Anthropic | Speaks::Gemini | Speaks::Bedrock => {
                    Fault::invalid("Output blocked by content filtering policy")
                }
            },
            Refuse::UnknownModel => unknown_model(speaks, model),
        }
    }
}

/// A wrong or missing provider key.
pub(crate) fn invalid_key(speaks: Speaks) -> Fault {
    match speaks {
        Speaks::OpenAi => Fault::new(401, "Incorrect API key provided.").code("invalid_api_key"),
        Speaks::Anthropic => Fault::new(401, "invalid x-api-key"),
        Speaks::Gemini => Fault::new(400, "API key not valid. Please pass a valid API key."),
        Speaks::Bedrock => Fault::new(403, "The security token included in the request is invalid."),
    }
}

/// A model the provider does not have.
pub(crate) fn unknown_model(speaks: Speaks, model: &str) -> Fault {
    let message = match speaks {
        Speaks::OpenAi => format!("The model `{model}` does not exist or you do not have access to it."),
        Speaks::Anthropic => format!("model: {model}"),
        Speaks::Gemini => format!("models/{model} is not found for API version v1beta."),
        Speaks::Bedrock => "The provided model identifier is invalid.".to_owned(),
    };
    Fault::new(404, message).code("model_not_found")
}

fn rate_limit(speaks: Speaks, seconds: u64) -> Fault {
    let fault = Fault::new(429, "Rate limit reached. Please slow down.").code("rate_limit_exceeded");
    let fault = fault.header("retry-after", seconds.to_string());
    match speaks {
        Speaks::OpenAi => fault
            .header("x-ratelimit-limit-requests", "60")
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", format!("{seconds}s"))
            .header("x-ratelimit-limit-tokens", "90000")
            .header("x-ratelimit-remaining-tokens", "89000")
            .header("x-ratelimit-reset-tokens", format!("{seconds}s")),
        Speaks::Anthropic => fault
            .header("anthropic-ratelimit-requests-limit", "60")
            .header("anthropic-ratelimit-requests-remaining", "0")
            .header("anthropic-ratelimit-requests-reset", "2026-11-20T00:00:07Z"),
        Speaks::Gemini | Speaks::Bedrock => fault,
    }
}

fn context_window(speaks: Speaks) -> Fault {
    match speaks {
        Speaks::OpenAi => Fault::invalid(
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. \
             Please reduce the length of the messages.",
        )
        .at("messages")
        .code("context_length_exceeded"),
        Speaks::Anthropic => Fault::invalid("prompt is too long: 200001 tokens > 200000 maximum"),
        Speaks::Bedrock => Fault::invalid("Input is too long for requested model."),
        Speaks::Gemini => {
            Fault::invalid("The input token count (9001) exceeds the maximum number of tokens allowed (8192).")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(model: &str, expected: Script) {
        assert_eq!(Script::from_model(model), Ok(expected), "{model}");
    }

    #[test]
    fn a_model_name_is_a_script() {
        let plain = Script::default;
        let millis = Duration::from_millis;
        check("gpt-4o", plain());
        check("gemini-3-pro", Script { thought_signatures: true, ..plain() });
        check("fake-ok+id-7", plain());
        check("openai/fake-slow-250", Script { slow: millis(250), ..plain() });
        check("fake-interval-5+chunk-1", Script { interval: millis(5), chunk_bytes: Some(1), ..plain() });
        check("fake-stall-after-3-chunks", Script { broken: Some((3, Break::Stall)), ..plain() });
        check("fake-cut-after-2-chunks", Script { broken: Some((2, Break::Cut)), ..plain() });
        check("fake-malformed-after-4", Script { broken: Some((4, Break::Malformed)), ..plain() });
        check("fake-error-mid-stream-1", Script { broken: Some((1, Break::Error)), ..plain() });
        check("fake-reset", Script { broken: Some((0, Break::Reset)), ..plain() });
        check("fake-headers-then-silence", Script { broken: Some((0, Break::Stall)), ..plain() });
        check("fake-error-429", Script { refuse: Some(Refuse::Status(429)), ..plain() });
        check("fake-ratelimit", Script { refuse: Some(Refuse::RateLimit(7)), ..plain() });
        check("fake-ratelimit-2", Script { refuse: Some(Refuse::RateLimit(2)), ..plain() });
        check("fake-tokens-500+no-usage", Script { tokens: Some(500), no_usage: true, ..plain() });
    }

    #[test]
    fn a_typo_is_an_error() {
        for model in ["fake-slo-250", "fake-error-200", "fake-", "fake-slow-x", "fake-ok+"] {
            assert!(Script::from_model(model).is_err(), "{model}");
        }
    }
}

//! Which dialect and operation a path means.

use percent_encoding::percent_decode_str;

/// A vendor's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Speaks {
    /// OpenAI chat completions and their siblings.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
    /// Gemini `generateContent`.
    Gemini,
    /// Bedrock `converse`.
    Bedrock,
}

/// An operation the fakes serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST …/chat/completions`
    Chat,
    /// `POST …/responses`
    Responses,
    /// `POST …/completions`
    Completions,
    /// `POST …/embeddings`
    Embeddings,
    /// `GET …/models`, with one model's id when asked for that only.
    Models(Speaks, Option<String>),
    /// `POST …/messages`
    Messages,
    /// `POST …/messages/count_tokens`
    CountTokens,
    /// `POST …/models/{model}:{method}`
    Gemini {
        /// The model, percent-decoded.
        model: String,
        /// `generateContent`, `streamGenerateContent`, `countTokens`, `embedContent` or `batchEmbedContents`.
        method: String,
    },
    /// `POST …/model/{model}/converse` or `…/converse-stream`
    Converse {
        /// The model, percent-decoded.
        model: String,
        /// Answer as a stream.
        stream: bool,
    },
}

impl Endpoint {
    /// Finds the operation by the end of the path; any prefix, such as `/openai/v1`, is accepted.
    ///
    /// `/v1/models` belongs to OpenAI and Anthropic: `anthropic` says that the request carries `anthropic-version`.
    pub fn find(path: &str, anthropic: bool) -> Option<Endpoint> {
        let path = path.trim_end_matches('/');
        if let Some((_, call)) = path.split_once("/models/")
            && let Some((model, method)) = call.rsplit_once(':')
            && METHODS.contains(&method)
        {
            return Some(Endpoint::Gemini { model: decode(model), method: method.to_owned() });
        }
        if let Some((_, call)) = path.split_once("/model/")
            && let Some((model, method @ ("converse" | "converse-stream"))) = call.rsplit_once('/')
        {
            return Some(Endpoint::Converse { model: decode(model), stream: method == "converse-stream" });
        }
        let end = |suffix: &str| path.ends_with(suffix);
        let lister = match () {
            () if path.contains("/v1beta") => Speaks::Gemini,
            () if anthropic => Speaks::Anthropic,
            () => Speaks::OpenAi,
        };
        match () {
            () if end("/chat/completions") => Some(Endpoint::Chat),
            () if end("/responses") => Some(Endpoint::Responses),
            () if end("/completions") => Some(Endpoint::Completions),
            () if end("/embeddings") => Some(Endpoint::Embeddings),
            () if end("/messages") => Some(Endpoint::Messages),
            () if end("/messages/count_tokens") => Some(Endpoint::CountTokens),
            () if end("/models") => Some(Endpoint::Models(lister, None)),
            () => path.split_once("/models/").map(|(_, model)| Endpoint::Models(lister, Some(decode(model)))),
        }
    }

    /// Whose protocol this is.
    pub fn speaks(&self) -> Speaks {
        match self {
            Endpoint::Chat | Endpoint::Responses | Endpoint::Completions | Endpoint::Embeddings => {
                Speaks::OpenAi
            }
            Endpoint::Messages | Endpoint::CountTokens => Speaks::Anthropic,
            Endpoint::Gemini { .. } => Speaks::Gemini,
            Endpoint::Converse { .. } => Speaks::Bedrock,
            Endpoint::Models(speaks, _) => *speaks,
        }
    }

    /// Whether the operation takes a body.
    pub(crate) fn takes_body(&self) -> bool {
        !matches!(self, Endpoint::Models(..))
    }
}

const METHODS: [&str; 5] =
    ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"];

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, anthropic: bool, expected: Option<Endpoint>) {
        assert_eq!(Endpoint::find(path, anthropic), expected, "{path}");
    }

    #[test]
    fn the_end_of_the_path_decides() {
        check("/v1/chat/completions", false, Some(Endpoint::Chat));
        check("/chat/completions", false, Some(Endpoint::Chat));
        check("/openai/v1/chat/completions", false, Some(Endpoint::Chat));
        check("/v1/responses", false, Some(Endpoint::Responses));
        check("/v1/completions", false, Some(Endpoint::Completions));
        check("/v1/embeddings", false, Some(Endpoint::Embeddings));
        check("/v1/messages", true, Some(Endpoint::Messages));
        check("/v1/messages/count_tokens", true, Some(Endpoint::CountTokens));
        check("/v1/nothing", false, None);
    }

    #[test]
    fn model_lists_are_told_apart_by_header_and_prefix() {
        check("/v1/models", false, Some(Endpoint::Models(Speaks::OpenAi, None)));
        check("/v1/models", true, Some(Endpoint::Models(Speaks::Anthropic, None)));
        check("/v1beta/models", false, Some(Endpoint::Models(Speaks::Gemini, None)));
        check("/v1/models/a%2Fb", false, Some(Endpoint::Models(Speaks::OpenAi, Some("a/b".into()))));
    }

    #[test]
    fn bedrock_names_the_model_in_the_path() {
        let expected = |stream| Endpoint::Converse { model: "us.a:0".into(), stream };
        check("/model/us.a%3A0/converse", false, Some(expected(false)));
        check("/x/model/us.a%3A0/converse-stream", false, Some(expected(true)));
    }

    #[test]
    fn gemini_methods_carry_the_model() {
        let expected =
            Endpoint::Gemini { model: "fake-chunk-1+slow-2".into(), method: "generateContent".into() };
        check("/v1beta/models/fake-chunk-1%2Bslow-2:generateContent", false, Some(expected));
    }
}

//! What a model's name says about the fields it takes.
//!
//! One API serves the models of many makers, and each takes its own fields beside the common ones. The name is the
//! only thing that tells; an ARN of a profile or of provisioned capacity hides it.

/// Whose model it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// Claude, with its version where the name says: `(4, 5)`.
    Claude(Option<(u8, u8)>),
    /// Amazon Nova.
    Nova {
        /// Of the second generation, which thinks.
        thinks: bool,
    },
    /// OpenAI's open models.
    GptOss,
    /// OpenAI's own models.
    Gpt,
    /// DeepSeek models that are told how much to think.
    DeepSeek,
    /// DeepSeek R1, which always thinks.
    DeepSeekR1,
    /// Mistral.
    Mistral,
    /// Cohere.
    Cohere,
    /// Some other maker.
    Other,
    /// The name is an ARN that does not say. Mostly Claude.
    Hidden,
}

impl Family {
    /// Reads a model's id, the id of an inference profile, or an ARN.
    pub(super) fn of(model: &str) -> Family {
        let name = model.to_ascii_lowercase();
        if name.contains("claude") {
            Family::Claude(version(&name))
        } else if name.contains("nova") {
            Family::Nova { thinks: name.contains("nova-2") || name.contains("nova-premier-2") }
        } else if name.contains("gpt-oss") {
            Family::GptOss
        } else if name.contains("openai.gpt") {
            Family::Gpt
        } else if name.contains("deepseek") {
            if name.contains("r1") { Family::DeepSeekR1 } else { Family::DeepSeek }
        } else if name.contains("mistral.") {
            Family::Mistral
        } else if name.contains("cohere.") {
            Family::Cohere
        } else if name.starts_with("arn:") && !name.contains(":foundation-model/") {
            Family::Hidden
        } else {
            Family::Other
        }
    }

    /// May it take what Claude takes?
    pub(super) fn may_be_claude(self) -> bool {
        matches!(self, Family::Claude(_) | Family::Hidden)
    }

    /// Claude of this version or newer, or of a version that nobody knows.
    pub(super) fn may_be_claude_since(self, version: (u8, u8)) -> bool {
        match self {
            Family::Claude(Some(own)) => own >= version,
            Family::Claude(None) | Family::Hidden => true,
            _ => false,
        }
    }
}

/// `(4, 5)` of `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `(3, 7)` of `claude-3-7-sonnet`.
fn version(name: &str) -> Option<(u8, u8)> {
    let (_, rest) = name.split_once("claude-")?;
    let small = |word: &str| (word.len() <= 2).then(|| word.parse::<u8>().ok()).flatten();
    let mut words = rest.split('-').skip_while(|word| small(word).is_none());
    let major = small(words.next()?)?;
    Some((major, words.next().and_then(small).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_family() {
        let check = |model: &str, expected: Family| assert_eq!(Family::of(model), expected, "{model}");
        check("anthropic.claude-3-sonnet-20240229-v1:0", Family::Claude(Some((3, 0))));
        check("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Family::Claude(Some((3, 7))));
        check("global.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude(Some((4, 5))));
        check("anthropic.claude-opus-4-20250514-v1:0", Family::Claude(Some((4, 0))));
        check("anthropic.claude-v2:1", Family::Claude(None));
        check(
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-haiku-4-5-v1:0",
            Family::Claude(Some((4, 5))),
        );
        check("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", Family::Hidden);
        check("arn:aws:bedrock:us-east-1::foundation-model/meta.llama3", Family::Other);
        check("us.amazon.nova-pro-v1:0", Family::Nova { thinks: false });
        check("amazon.nova-2-lite-v1:0", Family::Nova { thinks: true });
        check("openai.gpt-oss-120b-1:0", Family::GptOss);
        check("us.deepseek.r1-v1:0", Family::DeepSeekR1);
        check("deepseek.v3-v1:0", Family::DeepSeek);
        check("mistral.mistral-large-2407-v1:0", Family::Mistral);
        check("meta.llama3-1-8b-instruct-v1:0", Family::Other);
        assert!(Family::of("anthropic.claude-v2").may_be_claude_since((4, 5)));
        assert!(!Family::of("anthropic.claude-3-haiku-v1").may_be_claude_since((3, 7)));
    }
}

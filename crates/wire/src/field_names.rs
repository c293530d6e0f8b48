//! What a caller's dialect calls a field that notices name neutrally, that is, as Chat Completions does.

use std::borrow::Cow;

use tollway_model::Dialect;

const ANTHROPIC: &[(&str, &str)] = &[
    ("max_completion_tokens", "max_tokens"),
    ("reasoning_effort", "thinking"),
    ("response_format", "output_config.format"),
    ("stop", "stop_sequences"),
    ("user", "metadata.user_id"),
    ("web_search_options", "tools"),
];

const GEMINI: &[(&str, &str)] = &[
    ("audio", "generationConfig.speechConfig"),
    ("frequency_penalty", "generationConfig.frequencyPenalty"),
    ("logprobs", "generationConfig.responseLogprobs"),
    ("max_completion_tokens", "generationConfig.maxOutputTokens"),
    ("max_tokens", "generationConfig.maxOutputTokens"),
    ("messages", "contents"),
    ("modalities", "generationConfig.responseModalities"),
    ("n", "generationConfig.candidateCount"),
    ("presence_penalty", "generationConfig.presencePenalty"),
    ("reasoning_effort", "generationConfig.thinkingConfig"),
    ("response_format", "generationConfig.responseSchema"),
    ("seed", "generationConfig.seed"),
    ("service_tier", "serviceTier"),
    ("stop", "generationConfig.stopSequences"),
    ("temperature", "generationConfig.temperature"),
    ("tool_choice", "toolConfig"),
    ("top_k", "generationConfig.topK"),
    ("top_logprobs", "generationConfig.logprobs"),
    ("top_p", "generationConfig.topP"),
    ("web_search_options", "tools"),
];

/// The name of `field` in the dialect of the caller; what is inside the field keeps its neutral name.
pub fn field_name(surface: Dialect, field: &str) -> Cow<'_, str> {
    let names = match surface {
        Dialect::Anthropic => ANTHROPIC,
        Dialect::Gemini => GEMINI,
        _ => &[],
    };
    let (head, inside) = field.split_at(field.find(['.', '[']).unwrap_or(field.len()));
    match names.iter().find(|(neutral, _)| *neutral == head) {
        Some((_, name)) => Cow::Owned(format!("{name}{inside}")),
        None => Cow::Borrowed(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_reads_its_own_names() {
        let check = |surface, field: &str, expected: &str| {
            assert_eq!(field_name(surface, field), expected, "{surface} {field}");
        };
        check(Dialect::Gemini, "top_k", "generationConfig.topK");
        check(Dialect::Gemini, "web_search_options.allowed_domains", "tools.allowed_domains");
        check(Dialect::Gemini, "messages[2].content[0]", "contents[2].content[0]");
        check(Dialect::Gemini, "safetySettings", "safetySettings");
        check(Dialect::Anthropic, "stop", "stop_sequences");
        check(Dialect::Anthropic, "messages[2].content[0]", "messages[2].content[0]");
        check(Dialect::OpenaiChat, "stop", "stop");
    }
}

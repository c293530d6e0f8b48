//! `usageMetadata`, in and out.
//!
//! Gemini's counts overlap: the prompt's count includes what came from the cache, and each count has details by
//! modality. The model's are disjoint.

use serde::{Deserialize, Serialize};
use tollway_model::Usage;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UsageIn {
    prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    total_token_count: Option<u64>,
    prompt_tokens_details: Option<Vec<Detail>>,
    cache_tokens_details: Option<Vec<Detail>>,
    candidates_tokens_details: Option<Vec<Detail>>,
    pub(super) traffic_type: Option<String>,
    pub(super) service_tier: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Detail {
    modality: Option<String>,
    token_count: Option<u64>,
}

fn of(details: Option<&Vec<Detail>>, modality: &str) -> u64 {
    let matching = details.into_iter().flatten().filter(|one| one.modality.as_deref() == Some(modality));
    matching.filter_map(|one| one.token_count).fold(0, u64::saturating_add)
}

impl UsageIn {
    /// `searched`: how many searches grounded the answer; what those put into the prompt is not billed as tokens.
    pub(super) fn read(&self, searched: u64) -> Usage {
        let fresh = |modality: &str| {
            let cached = of(self.cache_tokens_details.as_ref(), modality);
            of(self.prompt_tokens_details.as_ref(), modality).saturating_sub(cached)
        };
        let generated = |modality: &str| of(self.candidates_tokens_details.as_ref(), modality);
        let prompt = self.prompt_token_count.unwrap_or(0);
        let cache_read = self.cached_content_token_count.unwrap_or(0).min(prompt);
        // Details never add up to more than the count they detail.
        let mut left = prompt - cache_read;
        let mut take = |wanted: u64| {
            let taken = wanted.min(left);
            left -= taken;
            taken
        };
        let (audio_input, image_input, video_input) =
            (take(fresh("AUDIO")), take(fresh("IMAGE")), take(fresh("VIDEO")));
        let tools = if searched > 0 { 0 } else { self.tool_use_prompt_token_count.unwrap_or(0) };
        let reasoning = self.thoughts_token_count.unwrap_or(0);
        let mut visible = self.candidates_token_count.unwrap_or(0);
        if reasoning > 0
            && self.total_token_count == Some(prompt.saturating_add(visible).saturating_add(tools))
        {
            // Some backends count thoughts among the candidates' tokens.
            visible = visible.saturating_sub(reasoning);
        }
        let audio_output = generated("AUDIO").min(visible);
        let image_output = generated("IMAGE").min(visible - audio_output);
        Usage {
            input: left.saturating_add(tools),
            cache_read,
            audio_input,
            image_input,
            video_input,
            output: visible - audio_output - image_output,
            reasoning,
            audio_output,
            image_output,
            web_searches: searched,
            ..Usage::default()
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsageOut {
    prompt_token_count: u64,
    candidates_token_count: u64,
    total_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cached_content_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    thoughts_token_count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prompt_tokens_details: Vec<DetailOut>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates_tokens_details: Vec<DetailOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailOut {
    modality: &'static str,
    token_count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// `usageMetadata` for a client.
pub(super) fn write(usage: &Usage, tier: Option<&str>) -> UsageOut {
    let prompt = usage.total_input();
    let visible = usage.output.saturating_add(usage.audio_output).saturating_add(usage.image_output);
    let media_input =
        [("AUDIO", usage.audio_input), ("IMAGE", usage.image_input), ("VIDEO", usage.video_input)];
    let media_output = [("AUDIO", usage.audio_output), ("IMAGE", usage.image_output)];
    let (traffic_type, service_tier) = match tier {
        Some(tier) if tier.starts_with("ON_DEMAND") || tier == "PROVISIONED_THROUGHPUT" => (Some(tier), None),
        Some("default") => (None, Some("standard")),
        Some(tier @ ("flex" | "standard" | "priority")) => (None, Some(tier)),
        _ => (None, None),
    };
    UsageOut {
        prompt_token_count: prompt,
        candidates_token_count: visible,
        total_token_count: usage.total(),
        cached_content_token_count: usage.cache_read,
        thoughts_token_count: usage.reasoning,
        prompt_tokens_details: details(prompt, &media_input),
        candidates_tokens_details: details(visible, &media_output),
        traffic_type: traffic_type.map(str::to_owned),
        service_tier: service_tier.map(str::to_owned),
    }
}

/// Nothing for text alone; otherwise every modality, text being what is left.
fn details(total: u64, media: &[(&'static str, u64)]) -> Vec<DetailOut> {
    let counted: u64 = media.iter().map(|(_, count)| count).fold(0, |sum, count| sum.saturating_add(*count));
    if counted == 0 {
        return Vec::new();
    }
    let text = ("TEXT", total.saturating_sub(counted));
    std::iter::once(text)
        .chain(media.iter().copied())
        .filter(|(_, count)| *count > 0)
        .map(|(modality, token_count)| DetailOut { modality, token_count })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(native: serde_json::Value, searched: u64, expected: Usage) {
        let read: UsageIn = serde_json::from_value(native.clone()).unwrap();
        assert_eq!(read.read(searched), expected, "{native}");
    }

    #[test]
    fn overlapping_counts_are_untangled() {
        check(
            json!({"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 7,
                "thoughtsTokenCount": 20, "totalTokenCount": 127}),
            0,
            Usage { input: 40, cache_read: 60, output: 7, reasoning: 20, ..Usage::default() },
        );
        check(
            json!({"promptTokenCount": 300, "cachedContentTokenCount": 50, "candidatesTokenCount": 30,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 10}, {"modality": "IMAGE", "tokenCount": 258},
                    {"modality": "AUDIO", "tokenCount": 32}],
                "cacheTokensDetails": [{"modality": "IMAGE", "tokenCount": 50}],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 30}]}),
            0,
            Usage {
                input: 10,
                cache_read: 50,
                image_input: 208,
                audio_input: 32,
                audio_output: 30,
                ..Usage::default()
            },
        );
        // Thoughts among the candidates' tokens.
        check(
            json!({"promptTokenCount": 10, "candidatesTokenCount": 50, "thoughtsTokenCount": 40, "totalTokenCount": 60}),
            0,
            Usage { input: 10, output: 10, reasoning: 40, ..Usage::default() },
        );
        let tools = json!({"promptTokenCount": 10, "toolUsePromptTokenCount": 90, "candidatesTokenCount": 5});
        check(tools.clone(), 0, Usage { input: 100, output: 5, ..Usage::default() });
        check(tools, 2, Usage { input: 10, output: 5, web_searches: 2, ..Usage::default() });
        check(json!({}), 0, Usage::default());
        check(
            json!({"promptTokenCount": u64::MAX, "candidatesTokenCount": u64::MAX, "thoughtsTokenCount": 1}),
            0,
            Usage { input: u64::MAX, output: u64::MAX, reasoning: 1, ..Usage::default() },
        );
    }

    proptest! {
        #[test]
        fn written_usage_reads_back(counts in proptest::array::uniform9(0..1_000_000_u64)) {
            let [input, cache_read, audio_input, image_input, video_input, output, reasoning, audio_output, image_output] = counts;
            let usage = Usage {
                input, cache_read, audio_input, image_input, video_input, output, reasoning, audio_output, image_output,
                ..Usage::default()
            };
            // Thoughts without visible tokens look like thoughts counted twice only when the totals say so.
            let written = serde_json::to_value(write(&usage, None)).unwrap();
            let read: UsageIn = serde_json::from_value(written).unwrap();
            prop_assert_eq!(read.read(0), usage);
        }
    }
}

//! Usage objects of OpenAI-speaking hosts, untangled by their shape, and the one we write.

use tollway_model::Usage;

use super::read::whole_number;
use super::write::Map;
use crate::json::Members;

/// The members of a usage object, none of them parsed yet. The rest of a usage's text is of no interest.
#[derive(Clone)]
pub(crate) struct Counts<'a> {
    fields: Vec<(&'a [u8], &'a str)>,
}

impl<'a> Counts<'a> {
    /// Reads JSON text; `None` when it is not one object.
    pub(crate) fn parse(text: &'a str) -> Option<Counts<'a>> {
        let mut fields = Vec::with_capacity(8);
        let mut members = Members::of(text.as_bytes());
        for (key, value) in members.by_ref() {
            fields.push((key, text.get(value)?));
        }
        members.is_whole().then_some(Counts { fields })
    }

    /// The last of duplicate members counts.
    fn get(&self, key: &str) -> Option<&'a str> {
        self.fields.iter().rev().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| *value)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// 0 when the member is absent or no count.
    pub(crate) fn count(&self, key: &str) -> u64 {
        self.get(key).and_then(whole_number).unwrap_or_default()
    }

    fn object(&self, key: &str) -> Option<Counts<'a>> {
        self.get(key).and_then(Counts::parse)
    }

    /// The first of these counts that is there and not zero.
    fn first(&self, keys: &[&str]) -> u64 {
        keys.iter().map(|key| self.count(key)).find(|count| *count > 0).unwrap_or_default()
    }
}

/// Reads a usage object, whatever host wrote it.
///
/// OpenAI counts cached and cache-written tokens in `prompt_tokens` and thinking in `completion_tokens`. Some hosts
/// leave thinking out of `completion_tokens` and show it by the total: prompt + completion + reasoning.
pub(crate) fn decode(usage: &Counts<'_>) -> Usage {
    let input_details =
        usage.object("prompt_tokens_details").or_else(|| usage.object("input_tokens_details"));
    let output_details =
        usage.object("completion_tokens_details").or_else(|| usage.object("output_tokens_details"));
    let prompt = usage.first(&["prompt_tokens", "input_tokens"]);
    let completion = usage.first(&["completion_tokens", "output_tokens"]);
    let total = usage.count("total_tokens");

    let inner = |details: &Option<Counts<'_>>, names: &[&str]| {
        details.as_ref().map_or(0, |details| details.first(names))
    };
    let cached = inner(&input_details, &["cached_tokens"]);
    let outer_cached = usage.first(&["prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"]);
    let written = inner(&input_details, &["cache_write_tokens", "cache_creation_tokens"]);
    let outer_written = usage.count("cache_creation_input_tokens");
    let hour = input_details
        .as_ref()
        .and_then(|details| details.object("cache_creation_token_details"))
        .map_or(0, |split| split.count("ephemeral_1h_input_tokens"));
    let reasoning = match inner(&output_details, &["reasoning_tokens"]) {
        0 => usage.count("reasoning_tokens"),
        tokens => tokens,
    };
    let searches = usage.object("server_tool_use").map_or(0, |used| used.count("web_search_requests"));

    let written = if written == 0 { outer_written } else { written };
    let mut decoded = Usage {
        cache_read: if cached == 0 { outer_cached } else { cached },
        cache_write: written.saturating_sub(hour),
        cache_write_1h: hour.min(written),
        audio_input: inner(&input_details, &["audio_tokens"]),
        image_input: inner(&input_details, &["image_tokens"]),
        video_input: inner(&input_details, &["video_tokens"]),
        reasoning,
        audio_output: inner(&output_details, &["audio_tokens"]),
        image_output: inner(&output_details, &["image_tokens"]),
        accepted_prediction: inner(&output_details, &["accepted_prediction_tokens"]),
        rejected_prediction: inner(&output_details, &["rejected_prediction_tokens"]),
        web_searches: if searches == 0 { usage.count("num_search_queries") } else { searches },
        ..Usage::default()
    };
    decoded.input = prompt.saturating_sub(decoded.total_input());
    let apart = reasoning > 0 && total == prompt.saturating_add(completion).saturating_add(reasoning);
    let generated =
        if apart || reasoning > completion { completion.saturating_add(reasoning) } else { completion };
    decoded.output = generated.saturating_sub(decoded.total_output());
    decoded
}

/// Writes `usage` in OpenAI's shape, with LiteLLM's names for cache writes beside OpenAI's.
pub(crate) fn encode(usage: &Usage, map: &mut Map<'_>) {
    map.int("prompt_tokens", usage.total_input());
    map.int("completion_tokens", usage.total_output());
    map.int("total_tokens", usage.total());
    map.map("prompt_tokens_details", |map| {
        map.int("cached_tokens", usage.cache_read);
        map.int("audio_tokens", usage.audio_input);
        some(map, "image_tokens", usage.image_input);
        some(map, "video_tokens", usage.video_input);
        some(map, "cache_write_tokens", usage.total_cache_write());
        some(map, "cache_creation_tokens", usage.total_cache_write());
        if usage.cache_write_1h > 0 {
            map.map("cache_creation_token_details", |map| {
                map.int("ephemeral_5m_input_tokens", usage.cache_write);
                map.int("ephemeral_1h_input_tokens", usage.cache_write_1h);
            });
        }
    });
    map.map("completion_tokens_details", |map| {
        map.int("reasoning_tokens", usage.reasoning);
        map.int("audio_tokens", usage.audio_output);
        map.int("accepted_prediction_tokens", usage.accepted_prediction);
        map.int("rejected_prediction_tokens", usage.rejected_prediction);
        some(map, "image_tokens", usage.image_output);
    });
    some(map, "cache_read_input_tokens", usage.cache_read);
    some(map, "cache_creation_input_tokens", usage.total_cache_write());
    if usage.web_searches > 0 {
        map.map("server_tool_use", |map| map.int("web_search_requests", usage.web_searches));
    }
}

fn some(map: &mut Map<'_>, key: &str, count: u64) {
    if count > 0 {
        map.int(key, count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::write;
    use super::*;
    use proptest::prelude::*;

    fn check(json: &str, expected: Usage) {
        assert_eq!(decode(&Counts::parse(json).unwrap()), expected, "{json}");
    }

    #[test]
    fn every_hosts_usage_is_untangled_into_disjoint_counts() {
        check(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                "prompt_tokens_details":{"cached_tokens":60,"audio_tokens":10,"cache_write_tokens":5},
                "completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5,"accepted_prediction_tokens":3}}"#,
            Usage {
                input: 25,
                cache_read: 60,
                cache_write: 5,
                audio_input: 10,
                output: 25,
                reasoning: 20,
                audio_output: 5,
                accepted_prediction: 3,
                ..Usage::default()
            },
        );
        // DeepSeek.
        check(
            r#"{"prompt_tokens":10,"completion_tokens":4,"total_tokens":14,
                "prompt_cache_hit_tokens":8,"prompt_cache_miss_tokens":2}"#,
            Usage { input: 2, cache_read: 8, output: 4, ..Usage::default() },
        );
        // xAI: thinking is not in completion_tokens.
        check(
            r#"{"prompt_tokens":10,"completion_tokens":4,"total_tokens":34,
                "completion_tokens_details":{"reasoning_tokens":20}}"#,
            Usage { input: 10, output: 4, reasoning: 20, ..Usage::default() },
        );
        // Without a total the counts themselves show it.
        check(
            r#"{"prompt_tokens":10,"completion_tokens":4,"completion_tokens_details":{"reasoning_tokens":20}}"#,
            Usage { input: 10, output: 4, reasoning: 20, ..Usage::default() },
        );
        // Perplexity, Moonshot, nulls and numbers with a point.
        check(
            r#"{"prompt_tokens":10.0,"completion_tokens":4,"total_tokens":14,"reasoning_tokens":1,
                "num_search_queries":2,"cached_tokens":3,"prompt_tokens_details":null}"#,
            Usage { input: 7, cache_read: 3, output: 3, reasoning: 1, web_searches: 2, ..Usage::default() },
        );
        check(r#"{"input_tokens":3,"output_tokens":1}"#, Usage { input: 3, output: 1, ..Usage::default() });
        check(
            r#"{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":5}}"#,
            Usage { cache_read: 5, ..Usage::default() },
        );
    }

    prop_compose! {
        pub(crate) fn any_usage()(counts in proptest::array::uniform14(0..1_000_000_u64)) -> Usage {
            let [input, cache_read, cache_write, cache_write_1h, audio_input, image_input, video_input, output,
                reasoning, audio_output, image_output, accepted, rejected, web_searches] = counts;
            Usage {
                input, cache_read, cache_write, cache_write_1h, audio_input, image_input, video_input,
                output: output + 1_000_001, reasoning, audio_output, image_output,
                accepted_prediction: accepted, rejected_prediction: rejected, web_searches, estimated: false,
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(usage in any_usage()) {
            let mut out = Vec::new();
            write::object(&mut out, |map| encode(&usage, map));
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(decode(&Counts::parse(&text).unwrap()), usage);
        }
    }
}

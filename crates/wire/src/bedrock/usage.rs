//! Usage, both ways. The API's counts are disjoint already, except that thinking is part of the output.

use serde::{Deserialize, Serialize};
use tollway_model::Usage;

/// `usage`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TokenUsage {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cache_read_input_tokens: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cache_write_input_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache_details: Vec<CacheDetail>,
}

/// How long a part of what was written to the cache lives.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct CacheDetail {
    ttl: String,
    input_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl TokenUsage {
    /// The neutral counts; `thinking` of the output is thinking.
    pub(super) fn neutral(&self, thinking: u64) -> Usage {
        let long = self.cache_details.iter().filter(|detail| detail.ttl == "1h");
        let long = long.map(|detail| detail.input_tokens).fold(0, u64::saturating_add);
        let written = self.cache_write_input_tokens.max(long);
        let reasoning = thinking.min(self.output_tokens);
        Usage {
            input: self.input_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write: written - long,
            cache_write_1h: long,
            output: self.output_tokens - reasoning,
            reasoning,
            ..Usage::default()
        }
    }
}

impl From<Usage> for TokenUsage {
    fn from(usage: Usage) -> TokenUsage {
        let written = usage.total_cache_write();
        let detail = |ttl: &str, input_tokens: u64| CacheDetail { ttl: ttl.to_owned(), input_tokens };
        let mut cache_details = Vec::new();
        if usage.cache_write_1h > 0 {
            cache_details = vec![detail("1h", usage.cache_write_1h), detail("5m", usage.cache_write)];
            cache_details.retain(|detail| detail.input_tokens > 0);
        }
        TokenUsage {
            input_tokens: usage.total_input().saturating_sub(written).saturating_sub(usage.cache_read),
            output_tokens: usage.total_output(),
            total_tokens: usage.total(),
            cache_read_input_tokens: usage.cache_read,
            cache_write_input_tokens: written,
            cache_details,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_counted_once() {
        let check = |wire: &str, thinking: u64, expected: Usage| {
            let usage: TokenUsage = serde_json::from_str(wire).unwrap();
            assert_eq!(usage.neutral(thinking), expected, "{wire}");
            let back = TokenUsage::from(expected);
            assert_eq!(back.neutral(expected.reasoning), expected);
        };
        check(
            r#"{"inputTokens":3,"outputTokens":5,"totalTokens":8,"serverToolUsage":{}}"#,
            2,
            Usage { input: 3, output: 3, reasoning: 2, ..Usage::default() },
        );
        check(
            r#"{"inputTokens":3,"outputTokens":5,"totalTokens":118,"cacheReadInputTokens":10,"cacheWriteInputTokens":100,
                "cacheDetails":[{"ttl":"1h","inputTokens":60},{"ttl":"5m","inputTokens":40}]}"#,
            0,
            Usage {
                input: 3,
                cache_read: 10,
                cache_write: 40,
                cache_write_1h: 60,
                output: 5,
                ..Usage::default()
            },
        );
        check(
            r#"{"inputTokens":3,"outputTokens":1}"#,
            9,
            Usage { input: 3, reasoning: 1, ..Usage::default() },
        );
    }
}

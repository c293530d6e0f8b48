//! What a call used.

use serde::{Deserialize, Serialize};

/// Tokens and other units a call used, as disjoint counts.
///
/// No token is counted twice: cached, audio and image tokens are not in `input`, reasoning and audio tokens are
/// not in `output`. Totals are methods. Dialects that report overlapping counts are untangled when they are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Text prompt tokens at full price.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to the provider's cache for five minutes (or an unstated time).
    pub cache_write: u64,
    /// Prompt tokens written to the provider's cache for an hour.
    pub cache_write_1h: u64,
    /// Audio prompt tokens.
    pub audio_input: u64,
    /// Image prompt tokens, where the provider counts them apart.
    pub image_input: u64,
    /// Video prompt tokens, where the provider counts them apart.
    pub video_input: u64,
    /// Visible text tokens generated.
    pub output: u64,
    /// Thinking tokens generated.
    pub reasoning: u64,
    /// Audio tokens generated.
    pub audio_output: u64,
    /// Image tokens generated.
    pub image_output: u64,
    /// Prediction tokens that appeared in the answer. Part of `output`, kept for rendering only.
    pub accepted_prediction: u64,
    /// Prediction tokens that were paid for and thrown away. Part of `output`, kept for rendering only.
    pub rejected_prediction: u64,
    /// Web searches the provider ran.
    pub web_searches: u64,
    /// The provider did not report usage: the counts are our estimate.
    pub estimated: bool,
}

impl Usage {
    /// All prompt tokens: OpenAI's `prompt_tokens`.
    pub const fn total_input(&self) -> u64 {
        self.input
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write)
            .saturating_add(self.cache_write_1h)
            .saturating_add(self.audio_input)
            .saturating_add(self.image_input)
            .saturating_add(self.video_input)
    }

    /// All generated tokens: OpenAI's `completion_tokens`.
    pub const fn total_output(&self) -> u64 {
        self.output
            .saturating_add(self.reasoning)
            .saturating_add(self.audio_output)
            .saturating_add(self.image_output)
    }

    /// Prompt and generated tokens together.
    pub const fn total(&self) -> u64 {
        self.total_input().saturating_add(self.total_output())
    }

    /// Tokens written to the provider's cache, for any time.
    pub const fn total_cache_write(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_1h)
    }
}

//! What a price depends on beside the tokens, and the words a bill is written in.

use serde::{Deserialize, Serialize};

/// What a call used and asked for, beside its [`tollway_model::Usage`].
///
/// The default is a plain call: one request, standard service, no media. Counts that a provider does not bill are
/// harmless: a sheet charges only what it has a price for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The tier that served the call, as the provider names it. Unknown names, `auto`, `default` and `standard` are
    /// the standard service; `fast` is a factor where the sheet has one.
    pub service_tier: Option<&'a str>,
    /// The call was part of a batch. Goes before `service_tier`.
    pub batch: bool,
    /// When the call began, in Unix seconds; decides off-peak hours. Without it no cheap hour applies.
    pub at: Option<i64>,
    /// Where the data had to stay (`us`, `eu`), when the caller asked for that.
    pub geography: Option<&'a str>,
    /// A regional endpoint served the call, not the global one.
    pub regional_endpoint: bool,
    /// `low`, `medium` or `high`; search prices may depend on it. Default: `medium`.
    pub search_context: Option<&'a str>,
    /// Prompt tokens read from the cache that were audio. Part of `Usage::cache_read`.
    pub cached_audio: u64,
    /// Prompt tokens read from the cache that were images. Part of `Usage::cache_read`.
    pub cached_image: u64,
    /// The cached prefix was one the caller created and named.
    pub explicit_cache: bool,
    /// Tokens of generated video.
    pub video_output: u64,
    /// Tokens of cited sources that the provider bills apart.
    pub citation_tokens: u64,
    /// Characters of the prompt, for voices and models sold by the character.
    pub characters_in: u64,
    /// Characters generated.
    pub characters_out: u64,
    /// Calls: 1 by default.
    pub requests: u64,
    /// Pictures given, where the provider bills them one by one and not as tokens.
    pub images_in: u64,
    /// Pictures generated.
    pub images_out: u64,
    /// Their size as the sheet names it: `2K`, `1024`.
    pub image_size: Option<&'a str>,
    /// Pixels of all generated pictures together.
    pub pixels: u64,
    /// Milliseconds of sound given, or of a live session.
    pub audio_in_millis: u64,
    /// Milliseconds of sound generated.
    pub audio_out_millis: u64,
    /// Milliseconds of video given.
    pub video_in_millis: u64,
    /// Milliseconds of video generated.
    pub video_out_millis: u64,
    /// Its resolution as the sheet names it: `720p`, `1080p`, `4k`.
    pub video_resolution: Option<&'a str>,
    /// Milliseconds the call took, for deployments sold by time.
    pub compute_millis: u64,
    /// Pages read.
    pub pages: u64,
    /// Pages annotated.
    pub annotation_pages: u64,
    /// Credits a document service counted.
    pub ocr_credits: u64,
    /// Searches, rerankings or other queries of a service sold by the query.
    pub queries: u64,
    /// Results asked of a search.
    pub results: u64,
    /// Groundings in maps.
    pub maps_queries: u64,
    /// Text messages in a live session.
    pub text_messages: u64,
    /// Code-interpreter sessions opened.
    pub code_sessions: u64,
    /// Units of a provider's guardrail, by policy name.
    pub guardrail_units: &'a [(&'a str, u64)],
}

impl Default for Facts<'_> {
    fn default() -> Self {
        Facts {
            service_tier: None,
            batch: false,
            at: None,
            geography: None,
            regional_endpoint: false,
            search_context: None,
            cached_audio: 0,
            cached_image: 0,
            explicit_cache: false,
            video_output: 0,
            citation_tokens: 0,
            characters_in: 0,
            characters_out: 0,
            requests: 1,
            images_in: 0,
            images_out: 0,
            image_size: None,
            pixels: 0,
            audio_in_millis: 0,
            audio_out_millis: 0,
            video_in_millis: 0,
            video_out_millis: 0,
            video_resolution: None,
            compute_millis: 0,
            pages: 0,
            annotation_pages: 0,
            ocr_credits: 0,
            queries: 0,
            results: 0,
            maps_queries: 0,
            text_messages: 0,
            code_sessions: 0,
            guardrail_units: &[],
        }
    }
}

/// What a line of a bill counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "each name says what it counts, and Usage and Facts document the counts")]
pub enum Bucket {
    Input,
    CacheRead,
    CachedAudio,
    CachedImage,
    CacheWrite,
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    AudioInput,
    ImageInput,
    VideoInput,
    Output,
    Reasoning,
    AudioOutput,
    ImageOutput,
    VideoOutput,
    Citations,
    CharactersIn,
    CharactersOut,
    WebSearches,
    MapsQueries,
    Requests,
    ImagesIn,
    ImagesOut,
    Pixels,
    AudioSecondsIn,
    AudioSecondsOut,
    VideoSecondsIn,
    VideoSecondsOut,
    ComputeSeconds,
    Pages,
    AnnotationPages,
    OcrCredits,
    Queries,
    TextMessages,
    CodeSessions,
    GuardrailUnits,
}

impl Bucket {
    /// Is it one of the generated side?
    pub(crate) const fn is_output(self) -> bool {
        matches!(
            self,
            Bucket::Output
                | Bucket::Reasoning
                | Bucket::AudioOutput
                | Bucket::ImageOutput
                | Bucket::VideoOutput
                | Bucket::Citations
        )
    }
}

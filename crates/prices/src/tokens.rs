//! Token counts without asking a provider.
//!
//! [`estimate`] looks at characters only: it costs nothing to start and is what admission uses. [`count`] is exact for
//! OpenAI's published vocabularies, which take about half a second and 55 MB to load on first use: call [`load`] on
//! a blocking thread beforehand. Everything else is estimated, and a [`Count`] says which it is.

use tollway_model::{Content, Detail, Media, MediaSource, Part, Request, Tool};

/// A number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub tokens: u64,
    /// How it was found.
    pub method: Method,
}

/// How tokens were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// With the model's own vocabulary.
    Exact,
    /// From the characters of the text, or the size of media.
    Estimate,
}

/// Tokens of `text` for `model`, a name with or without its provider (`azure/gpt-4o`).
///
/// Exact where the model's vocabulary is public and built in; otherwise [`estimate`]. The first call for a
/// vocabulary loads it, which blocks: see [`load`] and [`is_loaded`].
pub fn count(model: &str, text: &str) -> Count {
    match vocabulary::count(model, text) {
        Some(tokens) => Count { tokens, method: Method::Exact },
        None => Count { tokens: estimate(text), method: Method::Estimate },
    }
}

/// Loads the vocabulary of `model`; `false` when there is none. Blocks for about half a second the first time.
pub fn load(model: &str) -> bool {
    vocabulary::load(model)
}

/// Would [`count`] be exact, and answer at once?
pub fn is_loaded(model: &str) -> bool {
    vocabulary::is_loaded(model)
}

/// Tokens of `text` by the kinds of its characters, for any model: never zero for text that is not empty.
///
/// Letters and spaces count 4.6 to a token, digits 2.7, punctuation 1.8 (code and JSON are dense), alphabets beyond
/// ASCII 2.9, ideographs 1.2, and emoji two tokens each. Within a third of OpenAI's newest vocabulary for prose, code
/// and JSON in common languages; older vocabularies need more for scripts beyond Latin.
pub fn estimate(text: &str) -> u64 {
    // In thirty-seconds of a token.
    let weight = text.chars().fold(0_u64, |weight, character| {
        weight
            + match character {
                'a'..='z' | 'A'..='Z' | ' ' => 7,
                '\t' | '\r' | '\n' => 8,
                '0'..='9' => 12,
                '\0'..='\x7f' => 18,
                '\u{80}'..='\u{1fff}' => 11,
                '\u{2000}'..='\u{ffff}' => 27,
                _ => 64,
            }
    });
    weight.div_ceil(32)
}

/// Prompt tokens of `request` for `model`, with what a chat API adds around messages.
///
/// For text-only requests to models with a known vocabulary this is what OpenAI counts: three tokens a message, one
/// a participant's name, three to begin the answer. Tools and media make it an estimate; see [`estimate_request`].
/// Loads the vocabulary as [`count`] does.
pub fn count_request(model: &str, request: &Request) -> Count {
    let mut tally = Tally { model: Some(model), tokens: 0, method: Method::Exact };
    tally.request(request);
    Count { tokens: tally.tokens, method: tally.method }
}

/// Prompt tokens of `request` by its size; never loads anything.
///
/// Tools count as their JSON and twelve tokens. An image counts 85 at low detail and 765 otherwise (OpenAI's price
/// of a square of 1024 pixels); sound as ten tokens a second at 128 kbit/s, or 384 kbit/s for WAV, and a minute
/// where only its address is known; video as ten seconds of 258 tokens; a document as one token for thirty bytes,
/// or 1500 where only its address is known.
pub fn estimate_request(request: &Request) -> u64 {
    let mut tally = Tally { model: None, tokens: 0, method: Method::Estimate };
    tally.request(request);
    tally.tokens
}

const PER_MESSAGE: u64 = 3;
const PER_ANSWER: u64 = 3;
const PER_TOOL: u64 = 12;
const IMAGE_LOW: u64 = 85;
const IMAGE: u64 = 765;
const SOUND_PER_SECOND: u64 = 10;
const SOUND_BYTES_PER_SECOND: u64 = 16_000;
const WAVE_BYTES_PER_SECOND: u64 = 48_000;
const SOUND_UNKNOWN: u64 = 600;
const VIDEO: u64 = 2580;
const DOCUMENT_BYTES_PER_TOKEN: u64 = 30;
const DOCUMENT_UNKNOWN: u64 = 1500;

/// Adds up a request; `model` is `None` where nothing may be loaded.
struct Tally<'a> {
    model: Option<&'a str>,
    tokens: u64,
    method: Method,
}

impl Tally<'_> {
    fn request(&mut self, request: &Request) {
        for message in &request.messages {
            self.tokens += PER_MESSAGE;
            if let Some(name) = &message.name {
                self.tokens += 1;
                self.text(name);
            }
            self.text("user"); // every role's name is one token
            message.parts.iter().for_each(|part| self.part(part));
        }
        request.tools.iter().for_each(|tool| self.tool(tool));
        self.tokens += PER_ANSWER;
    }

    fn text(&mut self, text: &str) {
        let counted = match self.model {
            Some(model) => count(model, text),
            None => Count { tokens: estimate(text), method: Method::Estimate },
        };
        self.tokens = self.tokens.saturating_add(counted.tokens);
        if counted.method == Method::Estimate {
            self.method = Method::Estimate;
        }
    }

    fn guess(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens);
        self.method = Method::Estimate;
    }

    fn part(&mut self, part: &Part) {
        match &part.content {
            Content::Text { text, .. } | Content::Reasoning { text, .. } | Content::Refusal(text) => {
                self.text(text)
            }
            Content::Image(media) => {
                self.guess(if media.detail == Some(Detail::Low) { IMAGE_LOW } else { IMAGE })
            }
            Content::Audio(media) => self.guess(sound(media)),
            Content::Video(_) => self.guess(VIDEO),
            Content::File(media) => self.file(media),
            Content::ToolCall(call) => {
                self.guess(PER_MESSAGE);
                self.text(&call.name);
                self.text(&call.arguments);
            }
            Content::ToolResult(result) => result.parts.iter().for_each(|part| self.part(part)),
            Content::Native { json, .. } => {
                self.guess(0);
                self.text(json.get());
            }
        }
    }

    fn file(&mut self, media: &Media) {
        match &media.source {
            MediaSource::Text(text) => self.text(text),
            MediaSource::Base64(data) => self.guess(bytes(data) / DOCUMENT_BYTES_PER_TOKEN + 1),
            MediaSource::Url(_) | MediaSource::FileId(_) => self.guess(DOCUMENT_UNKNOWN),
        }
    }

    fn tool(&mut self, tool: &Tool) {
        self.guess(PER_TOOL);
        self.text(tool.name());
        match tool {
            Tool::Function { description, parameters, .. } => {
                self.text(description.as_deref().unwrap_or_default());
                self.text(parameters.as_ref().map_or("", |json| json.get()));
            }
            Tool::Custom { description, format, .. } => {
                self.text(description.as_deref().unwrap_or_default());
                self.text(format.as_ref().map_or("", |json| json.get()));
            }
            Tool::Server { json, .. } => self.text(json.get()),
        }
    }
}

/// How many bytes this much base64 stands for.
const fn bytes(base64: &str) -> u64 {
    base64.len() as u64 / 4 * 3
}

fn sound(media: &Media) -> u64 {
    let MediaSource::Base64(data) = &media.source else { return SOUND_UNKNOWN };
    let wave = media.media_type.as_deref().is_some_and(|kind| kind.contains("wav") || kind.contains("pcm"));
    let rate = if wave { WAVE_BYTES_PER_SECOND } else { SOUND_BYTES_PER_SECOND };
    (bytes(data) * SOUND_PER_SECOND / rate).max(1)
}

#[cfg(feature = "tokenizer")]
mod vocabulary {
    //! OpenAI's vocabularies.

    use std::sync::atomic::{AtomicU8, Ordering};

    const NAMES: [&str; 6] =
        ["o200k_base", "o200k_harmony", "cl100k_base", "p50k_base", "p50k_edit", "r50k_base"];

    /// One bit for every name that has been loaded.
    static LOADED: AtomicU8 = AtomicU8::new(0);

    /// The place in [`NAMES`] of the model's vocabulary.
    fn find(model: &str) -> Option<usize> {
        let bare = model.rsplit_once('/').map_or(model, |(_, bare)| bare);
        let name = tiktoken::model_to_encoding(bare)?;
        NAMES.iter().position(|known| *known == name)
    }

    fn vocabulary(model: &str) -> Option<&'static tiktoken::CoreBpe> {
        let place = find(model)?;
        let found = tiktoken::get_encoding(NAMES.get(place)?)?;
        LOADED.fetch_or(1 << place, Ordering::Relaxed);
        Some(found)
    }

    pub(super) fn count(model: &str, text: &str) -> Option<u64> {
        u64::try_from(vocabulary(model)?.count(text)).ok()
    }

    pub(super) fn load(model: &str) -> bool {
        vocabulary(model).is_some()
    }

    pub(super) fn is_loaded(model: &str) -> bool {
        find(model).is_some_and(|place| LOADED.load(Ordering::Relaxed) & (1 << place) != 0)
    }
}

#[cfg(not(feature = "tokenizer"))]
mod vocabulary {
    //! No vocabulary is built in: everything is estimated.

    pub(super) const fn count(_model: &str, _text: &str) -> Option<u64> {
        None
    }

    pub(super) const fn load(_model: &str) -> bool {
        false
    }

    pub(super) const fn is_loaded(_model: &str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;

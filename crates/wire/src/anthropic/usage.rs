//! Usage, both ways. The API's counts are disjoint already, except that thinking is part of the output.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::RawValue;
use tollway_model::{RawJson, Result, Usage};

use super::read::{Object, Path};

/// Usage as it comes in: at the start of a stream, and again, cumulative, at its end.
#[derive(Debug, Default)]
pub(super) struct Reader {
    seen: bool,
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_1h: u64,
    thinking: u64,
    web_searches: u64,
    pub(super) service_tier: Option<String>,
    /// Members the model has no place for, under `usage.…`.
    pub(super) rest: IndexMap<String, RawJson>,
}

impl Reader {
    /// Reads a `usage` object over what is known: a later report may leave members out.
    pub(super) fn read(&mut self, raw: &RawValue) -> Result<()> {
        let path = Path::Root.key("usage");
        let mut usage = Object::parse(raw, &path)?;
        self.seen = true;
        count(&mut usage, "input_tokens", &mut self.input);
        count(&mut usage, "output_tokens", &mut self.output);
        count(&mut usage, "cache_read_input_tokens", &mut self.cache_read);
        count(&mut usage, "cache_creation_input_tokens", &mut self.cache_write);
        if let Some(raw) = usage.take("cache_creation") {
            let mut split = Object::parse(raw, &path.key("cache_creation"))?;
            count(&mut split, "ephemeral_1h_input_tokens", &mut self.cache_write_1h);
            let mut short = self.cache_write.saturating_sub(self.cache_write_1h);
            count(&mut split, "ephemeral_5m_input_tokens", &mut short);
            self.cache_write = self.cache_write.max(short.saturating_add(self.cache_write_1h));
        }
        if let Some(raw) = usage.take("output_tokens_details") {
            let mut details = Object::parse(raw, &path.key("output_tokens_details"))?;
            count(&mut details, "thinking_tokens", &mut self.thinking);
        }
        if let Some(raw) = usage.take("server_tool_use") {
            let mut tools = Object::parse(raw, &path.key("server_tool_use"))?;
            count(&mut tools, "web_search_requests", &mut self.web_searches);
            if tools.rest().any(|(_, value)| value.get() != "0") {
                self.rest.insert("usage.server_tool_use".to_owned(), RawJson::from(raw));
            }
        }
        if let Some(tier) = usage.text("service_tier", &path)? {
            self.service_tier = Some(tier.into_owned());
        }
        self.rest.extend(usage.rest().map(|(name, value)| (format!("usage.{name}"), value)));
        Ok(())
    }

    /// The counts; `None` when none were given.
    pub(super) fn usage(&self) -> Option<Usage> {
        let reasoning = self.thinking.min(self.output);
        self.seen.then(|| Usage {
            input: self.input,
            cache_read: self.cache_read,
            cache_write: self.cache_write.saturating_sub(self.cache_write_1h),
            cache_write_1h: self.cache_write_1h,
            output: self.output - reasoning,
            reasoning,
            web_searches: self.web_searches,
            ..Usage::default()
        })
    }
}

/// What the usage object of a whole answer says.
pub(super) fn counted(usage: &str) -> Option<Usage> {
    let mut reader = Reader::default();
    reader.read(serde_json::from_str(usage).ok()?).ok()?;
    reader.usage()
}

/// Takes a count; what is no count leaves the known one.
fn count(object: &mut Object<'_>, name: &str, into: &mut u64) {
    if let Some(value) = object.take(name).and_then(|raw| raw.get().parse().ok()) {
        *into = value;
    }
}

/// Usage as the SDKs want it: all four main counts are always there.
#[derive(Debug, Serialize)]
pub(super) struct WireUsage<'a> {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation: Option<CacheCreation>,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<OutputDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_tool_use: Option<ServerTools>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(flatten)]
    rest: IndexMap<&'a str, &'a RawJson>,
}

#[derive(Debug, Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    thinking_tokens: u64,
}

#[derive(Debug, Serialize)]
struct ServerTools {
    web_search_requests: u64,
    web_fetch_requests: u64,
}

/// Writes usage; `extras` are the answer's, when they are of this dialect.
pub(super) fn wire<'a>(
    usage: Usage,
    service_tier: Option<&'a str>,
    extras: Option<&'a IndexMap<String, RawJson>>,
) -> WireUsage<'a> {
    let written = usage.total_cache_write();
    let rest: IndexMap<_, _> = extras
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.strip_prefix("usage.")?, value)))
        .collect();
    let searches = ServerTools { web_search_requests: usage.web_searches, web_fetch_requests: 0 };
    WireUsage {
        input_tokens: usage.total_input().saturating_sub(written).saturating_sub(usage.cache_read),
        cache_creation_input_tokens: written,
        cache_read_input_tokens: usage.cache_read,
        cache_creation: (written > 0).then_some(CacheCreation {
            ephemeral_5m_input_tokens: usage.cache_write,
            ephemeral_1h_input_tokens: usage.cache_write_1h,
        }),
        output_tokens: usage.total_output(),
        output_tokens_details: (usage.reasoning > 0)
            .then_some(OutputDetails { thinking_tokens: usage.reasoning }),
        server_tool_use: (usage.web_searches > 0 && !rest.contains_key("server_tool_use"))
            .then_some(searches),
        service_tier,
        rest,
    }
}

//! From the name a caller uses to an entry of the table.
//!
//! Names come with regions, geographies, snapshot dates and routes that the table has not seen, and from hosts that
//! set their own prices. The rules here go from certain to general; see [`Derived`] for what each may carry.

use crate::catalog::{Catalog, label_of};
use crate::entry::{Derived, Entry, provider_of};
use crate::family::claude;

impl Catalog {
    /// The entry of `model` at `provider`.
    ///
    /// Tries, in this order: the name as the table has it, with or without the provider in front; the name without
    /// its route, region, geography, version and snapshot date; the newest snapshot of the name. Those carry prices.
    /// Then, without prices: the same model at its maker, and the family the name belongs to.
    pub fn find(&self, provider: &str, model: &str) -> Option<Entry> {
        let name = model.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model);
        if let Some(entry) = self.exact(provider, name) {
            return Some(entry);
        }
        let same = |from: Entry| {
            let derived = Derived::SameModel { from: from.id.clone() };
            Some(Entry { id: name.to_owned(), derived: Some(derived), ..from })
        };
        let mut simple = name;
        loop {
            if let Some(id) = self.newest_snapshot(provider, simple) {
                return same(self.get(&id)?);
            }
            let Some(simpler) = simplify(simple) else { break };
            simple = simpler;
            if let Some(entry) = self.exact(provider, simple) {
                return same(entry);
            }
        }
        let maker = self.at_its_maker(provider, name).or_else(|| self.at_its_maker(provider, simple));
        // A fine-tuned model does what its base does, at prices of its own.
        let base = maker.or_else(|| self.exact(provider, simple.strip_prefix("ft:")?));
        base.map(|from| unpriced(from, name, provider)).or_else(|| claude(provider, name))
    }

    /// The provider that a bare model name stands for, where that is certain enough to route by.
    ///
    /// A name of the table means the table's provider, as LiteLLM reads it: bare Gemini names are Vertex AI's.
    /// Otherwise the beginning of the name decides.
    pub fn infer_provider(&self, model: &str) -> Option<&str> {
        let labelled = |name: &str| self.line(name).and_then(label_of).map(provider_of);
        if let Some(provider) = labelled(model) {
            return Some(provider);
        }
        if model.contains('/') {
            return None;
        }
        if is_bedrock_name(model) {
            return Some("bedrock");
        }
        let known =
            PREFIXES.iter().find(|(prefix, _)| model.starts_with(prefix)).map(|(_, provider)| *provider);
        known.or_else(|| simplify(model).and_then(labelled))
    }

    /// The entry under this very name.
    fn exact(&self, provider: &str, name: &str) -> Option<Entry> {
        let group = provider_of(provider);
        let full = |provider: &str| self.get(&format!("{provider}/{name}"));
        if let Some(entry) = full(provider) {
            return Some(entry);
        }
        if group != provider
            && let Some(entry) = full(group)
        {
            return Some(entry);
        }
        if let Some((_, folder)) = FOLDERS.iter().find(|(host, _)| *host == group)
            && !name.contains('/')
            && let Some(entry) = full(&format!("{group}/{folder}"))
        {
            return Some(entry);
        }
        let ours = |line: &&[u8]| {
            label_of(line).is_some_and(|label| label == provider || provider_of(label) == group)
        };
        self.line(name).filter(ours)?;
        self.get(name)
    }

    /// The id of the newest entry that is `name` and a snapshot date or version, nothing else.
    fn newest_snapshot(&self, provider: &str, name: &str) -> Option<String> {
        if name.is_empty() {
            return None;
        }
        let group = provider_of(provider);
        let full = format!("{group}/{name}");
        let newest = |prefix: &str| {
            let ids = self.ids_from(prefix).take(MOST_SNAPSHOTS);
            ids.filter(|id| id.strip_prefix(prefix).is_some_and(is_snapshot)).last().map(str::to_owned)
        };
        newest(&full).or_else(|| {
            let id = newest(name)?;
            let label = label_of(self.line(&id)?)?;
            (provider_of(label) == group).then_some(id)
        })
    }

    /// The same model where it is made, for hosts that resell it: `openai/gpt-4o` or a bare `gpt-4o`.
    fn at_its_maker(&self, host: &str, name: &str) -> Option<Entry> {
        if let Some((maker, model)) = name.split_once('/') {
            let (_, provider) = MAKERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(maker))?;
            let model = model.split_once(':').map_or(model, |(model, _)| model);
            return self.maker_entry(provider, model);
        }
        let provider = self.infer_provider(name).filter(|provider| *provider != host)?;
        self.maker_entry(provider, name)
    }

    fn maker_entry(&self, provider: &str, model: &str) -> Option<Entry> {
        let dashed = model.replace('.', "-");
        let names = [model, &dashed];
        let found = names.iter().find_map(|name| self.exact(provider, name));
        found.or_else(|| {
            let id = names.iter().find_map(|name| self.newest_snapshot(provider, name))?;
            self.get(&id)
        })
    }
}

/// Where a host keeps its models, for names that leave it out.
const FOLDERS: [(&str, &str); 1] = [("fireworks_ai", "accounts/fireworks/models")];

/// Bounds the walk over ids with a common beginning.
const MOST_SNAPSHOTS: usize = 64;

/// Beginnings of bare names, and whose they are.
const PREFIXES: [(&str, &str); 36] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("ft:", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-3", "openai"),
    ("text-embedding-ada", "openai"),
    ("text-moderation-", "openai"),
    ("omni-moderation-", "openai"),
    ("dall-e-", "openai"),
    ("whisper-", "openai"),
    ("tts-", "openai"),
    ("sora-", "openai"),
    ("computer-use-preview", "openai"),
    ("codex-", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "vertex_ai"),
    ("gemma-", "gemini"),
    ("imagen-", "vertex_ai"),
    ("veo-", "vertex_ai"),
    ("text-embedding-00", "vertex_ai"),
    ("mistral-", "mistral"),
    ("ministral-", "mistral"),
    ("magistral-", "mistral"),
    ("devstral-", "mistral"),
    ("pixtral-", "mistral"),
    ("codestral-", "mistral"),
    ("command-", "cohere"),
    ("embed-", "cohere"),
    ("rerank-", "cohere"),
    ("grok-", "xai"),
    ("deepseek-", "deepseek"),
    ("sonar", "perplexity"),
    ("voyage-", "voyage"),
    ("moonshot-", "moonshot"),
];

/// The names resellers put before a model, and the provider that makes it.
const MAKERS: [(&str, &str); 16] = [
    ("openai", "openai"),
    ("anthropic", "anthropic"),
    ("google", "gemini"),
    ("mistralai", "mistral"),
    ("mistral", "mistral"),
    ("x-ai", "xai"),
    ("xai", "xai"),
    ("deepseek", "deepseek"),
    ("deepseek-ai", "deepseek"),
    ("cohere", "cohere"),
    ("moonshotai", "moonshot"),
    ("z-ai", "zai"),
    ("zai-org", "zai"),
    ("minimax", "minimax"),
    ("perplexity", "perplexity"),
    ("amazon", "bedrock"),
];

/// Geographies that AWS puts before a model's name.
const GEOGRAPHIES: [&str; 12] =
    ["us", "eu", "apac", "au", "jp", "ca", "uk", "in", "sa", "me", "global", "us-gov"];

/// Makers whose models AWS names `maker.model`.
const BEDROCK_MAKERS: [&str; 16] = [
    "ai21",
    "amazon",
    "anthropic",
    "cohere",
    "deepseek",
    "google",
    "luma",
    "meta",
    "minimax",
    "mistral",
    "moonshotai",
    "nvidia",
    "openai",
    "qwen",
    "stability",
    "writer",
];

fn is_bedrock_name(name: &str) -> bool {
    let Some((first, rest)) = name.split_once('.') else { return false };
    if GEOGRAPHIES.contains(&first) {
        return rest.split_once('.').is_some_and(|(maker, _)| BEDROCK_MAKERS.contains(&maker));
    }
    BEDROCK_MAKERS.contains(&first)
}

/// The name without one of its decorations, outermost first.
fn simplify(name: &str) -> Option<&str> {
    if name.starts_with("arn:") || name.starts_with("projects/") || name.starts_with("publishers/") {
        return name.rsplit_once('/').map(|(_, last)| last);
    }
    if let Some((first, rest)) = name.split_once('/')
        && (ROUTES.contains(&first) || is_region(first))
    {
        return Some(rest);
    }
    if let Some((first, rest)) = name.split_once('.')
        && GEOGRAPHIES.contains(&first)
    {
        return Some(rest);
    }
    if let Some(rest) = name.strip_prefix("ft:") {
        // ft:model:organisation:suffix:id
        return match rest.find(':') {
            Some(end) => name.get(..end + "ft:".len()),
            None => without_date(name),
        };
    }
    if let Some((rest, last)) = name.rsplit_once(':')
        && !last.is_empty()
        && last.bytes().all(|byte| byte.is_ascii_digit() || byte == b'k')
    {
        return Some(rest);
    }
    if let Some((rest, _)) = name.rsplit_once('@') {
        return Some(rest);
    }
    if let Some((rest, version)) = name.rsplit_once("-v")
        && version.len() == 1
        && version.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Some(rest);
    }
    name.strip_suffix("-latest").or_else(|| without_date(name))
}

/// Ways to call a model that some configurations write before its name.
const ROUTES: [&str; 8] =
    ["converse", "converse_like", "invoke", "responses", "chat", "models", "bedrock", "global"];

/// `us-east-1`, `eu-central-2`, `us-gov-west-1`, and Google's `us-central1`.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let known = parts.next().is_some_and(|first| {
        first.len() == 2
            || matches!(first, "asia" | "europe" | "northamerica" | "southamerica" | "australia" | "africa")
    });
    known && parts.clone().next().is_some() && text.ends_with(|last: char| last.is_ascii_digit())
}

/// Without `-2025-08-07`, `-20250807`, `-0807` or `-001`.
fn without_date(name: &str) -> Option<&str> {
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let (rest, last) = name.rsplit_once('-')?;
    if digits(last, &[3, 4, 8]) {
        return Some(rest);
    }
    let (rest, month) = rest.rsplit_once('-')?;
    let (rest, year) = rest.rsplit_once('-')?;
    (digits(last, &[2]) && digits(month, &[2]) && digits(year, &[4])).then_some(rest)
}

/// Is this only a snapshot date or version, such as `-2025-08-07`, `@20250929` or `-20250929-v1:0`?
fn is_snapshot(suffix: &str) -> bool {
    let Some(rest) = suffix.strip_prefix(['-', '@']) else { return false };
    let first = rest.split(['-', ':']).next().unwrap_or_default();
    let version = matches!(first.as_bytes(), [b'v', digit] if digit.is_ascii_digit());
    let date = first.len() >= 3 && first.bytes().all(|byte| byte.is_ascii_digit());
    let plain = rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'v' | b':'));
    plain && (version || date)
}

/// What can be said of a model at a host that sets its own prices.
fn unpriced(from: Entry, name: &str, provider: &str) -> Entry {
    Entry {
        id: name.to_owned(),
        label: provider.to_owned(),
        mode: from.mode,
        limits: from.limits,
        caps: from.caps,
        no: from.no,
        effort_levels: from.effort_levels,
        modalities_in: from.modalities_in,
        modalities_out: from.modalities_out,
        extra: from.extra.into_iter().filter(|(key, _)| key == "thinking_always_on").collect(),
        derived: Some(Derived::OtherHost { from: from.id }),
        ..Entry::default()
    }
}

#[cfg(test)]
mod tests;

//! What the table says of one model.

use serde_json::{Map, Value};
use tollway_model::{Capabilities, Effort, Support};

use crate::PriceSheet;

/// One model as one provider serves it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// The name callers use: often `provider/model`, sometimes with a region or a size in it.
    /// A derived entry carries the name that was asked for.
    pub id: String,
    /// The provider label. Some are sub-groups (`vertex_ai-language-models`): see [`Entry::provider`].
    pub label: String,
    /// What the model is for: `chat`, `embedding`, `image_generation`, `audio_speech` …
    pub mode: Option<String>,
    /// Limits.
    pub limits: Limits,
    /// Prices; empty when none is known.
    pub prices: PriceSheet,
    /// What it is stated to do, by the table's short names.
    pub caps: Vec<String>,
    /// What it is stated not to do.
    pub no: Vec<String>,
    /// Reasoning efforts, when the table lists them.
    pub effort_levels: Vec<String>,
    /// The effort the provider takes when none is asked for.
    pub effort_default: Option<String>,
    /// Operations it is stated to serve, as OpenAI-like paths.
    pub endpoints: Vec<String>,
    /// Kinds of input.
    pub modalities_in: Vec<String>,
    /// Kinds of output.
    pub modalities_out: Vec<String>,
    /// Where it is served.
    pub regions: Vec<String>,
    /// The day the provider stops serving it, `YYYY-MM-DD`.
    pub deprecated: Option<String>,
    /// Facts without a field of their own.
    pub extra: Map<String, Value>,
    /// The page the prices come from.
    pub source: Option<String>,
    /// How it was found, when not under its own name.
    pub derived: Option<Derived>,
}

/// Limits of a model, in tokens unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Largest prompt.
    pub input: Option<u64>,
    /// Longest answer.
    pub output: Option<u64>,
    /// One number for both, from before they were told apart.
    pub legacy_max: Option<u64>,
    /// Requests a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute.
    pub tokens_per_minute: Option<u64>,
    /// Length of an embedding's vector.
    pub dimensions: Option<u64>,
    /// Smallest prompt prefix that is cached.
    pub cache_min: Option<u64>,
}

/// The rule that gave an entry its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Derived {
    /// The same model without a region, geography, snapshot date or version in its name; its prices are carried.
    SameModel {
        /// The entry the facts come from.
        from: String,
    },
    /// The same model at the provider that makes it. Capabilities only: this host sets its own prices.
    OtherHost {
        /// The entry the facts come from.
        from: String,
    },
    /// The family the name belongs to. Capabilities only.
    Family,
}

impl Entry {
    /// The provider that serves it: the label, or the provider its sub-group belongs to.
    pub fn provider(&self) -> &str {
        provider_of(&self.label)
    }

    /// Is `capability` stated? Takes the table's short names, such as `pdf` or `computer_use`.
    pub fn supports(&self, capability: &str) -> Support {
        if self.caps.iter().any(|cap| cap == capability) {
            Support::Yes
        } else if self.no.iter().any(|cap| cap == capability) {
            Support::No
        } else {
            Support::Unknown
        }
    }

    /// What translation needs to know of the model.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_input_tokens: self.limits.input,
            max_output_tokens: self.limits.output.or(self.legacy_output()),
            tools: self.supports("tools"),
            forced_tool_use: self.supports("forced_tool_use"),
            parallel_tools: self.supports("parallel_tools"),
            vision: self.supports("vision"),
            pdf: self.supports("pdf"),
            audio_input: self.supports("audio_in"),
            audio_output: self.supports("audio_out"),
            json_schema: self.supports("json_schema"),
            native_structured_output: self.supports("native_structured_output"),
            prompt_caching: self.supports("prompt_caching"),
            reasoning: self.thinks(),
            adaptive_thinking: self.chooses_budget(),
            thinking_always_on: self
                .extra
                .get("thinking_always_on")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            sampling_params: self.supports("sampling_params"),
            system: self.supports("system"),
            mid_conversation_system: self.supports("mid_conversation_system"),
            prefill: self.supports("prefill"),
            web_search: self.supports("web_search"),
            efforts: self.efforts(),
        }
    }

    /// The table names every chat model that thinks: one it knows and does not name does not.
    fn thinks(&self) -> Support {
        let known = self.derived != Some(Derived::Family) && !self.caps.is_empty();
        match self.supports("reasoning") {
            Support::Unknown if known && self.mode.as_deref() == Some("chat") => Support::No,
            stated => stated,
        }
    }

    /// The table names every model that chooses its thinking budget: of the other thinking models none does.
    fn chooses_budget(&self) -> Support {
        let known = self.derived != Some(Derived::Family) && self.supports("reasoning").yes();
        match self.supports("adaptive_thinking") {
            Support::Unknown if known => Support::No,
            stated => stated,
        }
    }

    /// The old single limit meant the answer wherever no prompt limit stands beside it.
    fn legacy_output(&self) -> Option<u64> {
        self.limits.legacy_max.filter(|_| self.limits.input.is_none())
    }

    /// Efforts the model takes, weakest first; empty when the table says nothing of efforts.
    pub fn efforts(&self) -> Vec<Effort> {
        if !self.effort_levels.is_empty() {
            let mut efforts: Vec<_> =
                self.effort_levels.iter().filter_map(|name| Effort::from_name(name)).collect();
            efforts.sort_unstable();
            return efforts;
        }
        let stated = |name: &str| self.supports(&format!("effort_{name}"));
        let optional = [Effort::None, Effort::Minimal, Effort::XHigh, Effort::Max];
        if optional.iter().all(|effort| stated(effort.name()) == Support::Unknown) {
            return Vec::new();
        }
        let usual = [Effort::Low, Effort::Medium, Effort::High];
        let mut efforts: Vec<_> = usual.into_iter().filter(|effort| !stated(effort.name()).no()).collect();
        efforts.extend(optional.into_iter().filter(|effort| stated(effort.name()).yes()));
        efforts.sort_unstable();
        efforts
    }

    /// Has the provider stopped serving it on `today`, a `YYYY-MM-DD`?
    pub fn is_retired(&self, today: &str) -> bool {
        self.deprecated.as_deref().is_some_and(|date| date <= today)
    }

    /// Sets or clears a capability.
    pub(crate) fn state(&mut self, capability: &str, supported: bool) {
        self.caps.retain(|cap| cap != capability);
        self.no.retain(|cap| cap != capability);
        let list = if supported { &mut self.caps } else { &mut self.no };
        let place = list.partition_point(|known| known.as_str() < capability);
        list.insert(place, capability.to_owned());
    }
}

/// The provider a label belongs to: the table labels some of a provider's groups apart.
pub fn provider_of(label: &str) -> &str {
    match label {
        "bedrock_converse" => "bedrock",
        "azure_text" => "azure",
        "cohere_chat" => "cohere",
        "text-completion-openai" => "openai",
        "text-completion-codestral" => "codestral",
        "text-completion-inception" => "inception",
        "fireworks_ai-embedding-models" => "fireworks_ai",
        "vertex_ai_beta" => "vertex_ai",
        label if label.starts_with("vertex_ai-") => "vertex_ai",
        label => label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    fn entry(id: &str) -> Entry {
        Catalog::builtin().get(id).unwrap()
    }

    #[test]
    fn a_model_the_table_knows_thinks_as_the_table_says() {
        let check = |id: &str, thinks: Support, adaptive: Support| {
            let known = entry(id).capabilities();
            assert_eq!((known.reasoning, known.adaptive_thinking), (thinks, adaptive), "{id}");
        };
        check("claude-sonnet-4-5", Support::Yes, Support::No);
        check("claude-opus-4-6", Support::Yes, Support::Yes);
        check("gpt-4o", Support::No, Support::Unknown);
        check("o3", Support::Yes, Support::No);
        let unheard_of = Entry::default().capabilities();
        assert_eq!(unheard_of.reasoning, Support::Unknown);
    }

    #[test]
    fn stated_capabilities_are_yes_or_no_and_others_unknown() {
        let opus = entry("claude-opus-4-8").capabilities();
        assert_eq!((opus.max_input_tokens, opus.max_output_tokens), (Some(1_000_000), Some(128_000)));
        assert!(opus.adaptive_thinking.yes() && opus.native_structured_output.yes() && opus.vision.yes());
        assert!(opus.mid_conversation_system.yes() && opus.web_search.yes() && !opus.thinking_always_on);
        assert!(opus.prefill.no() && opus.sampling_params.no());
        assert_eq!((opus.audio_input, opus.forced_tool_use), (Support::Unknown, Support::Unknown));
        assert!(entry("claude-opus-5-5").capabilities().forced_tool_use.no());
        assert!(entry("claude-fable-5").capabilities().thinking_always_on);
        assert!(entry("claude-sonnet-4-5").capabilities().prefill.yes());
        assert!(entry("gemini-2.5-flash").capabilities().audio_output.no());
        assert_eq!(Entry::default().capabilities(), Capabilities::default());
    }

    fn check_efforts(caps: &[&str], no: &[&str], levels: &[&str], expected: &[Effort]) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let entry =
            Entry { caps: owned(caps), no: owned(no), effort_levels: owned(levels), ..Entry::default() };
        assert_eq!(entry.efforts(), expected);
    }

    #[test]
    fn efforts_come_from_the_list_or_from_what_is_stated_beyond_the_usual_three() {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        check_efforts(&["reasoning"], &[], &[], &[]);
        check_efforts(
            &["effort_xhigh", "effort_none"],
            &["effort_minimal"],
            &[],
            &[None, Low, Medium, High, XHigh],
        );
        check_efforts(&["effort_max"], &["effort_low"], &[], &[Medium, High, Max]);
        check_efforts(&[], &["effort_minimal"], &[], &[Low, Medium, High]);
        check_efforts(&["effort_max"], &[], &["high", "minimal"], &[Minimal, High]);
    }

    #[test]
    fn sub_groups_belong_to_their_provider() {
        for (label, provider) in [
            ("bedrock_converse", "bedrock"),
            ("vertex_ai-anthropic_models", "vertex_ai"),
            ("fireworks_ai-embedding-models", "fireworks_ai"),
            ("bedrock_mantle", "bedrock_mantle"),
            ("openai", "openai"),
        ] {
            assert_eq!(provider_of(label), provider);
        }
    }

    #[test]
    fn a_model_is_retired_from_its_day_on() {
        let whisper = entry("whisper-1");
        assert_eq!(whisper.deprecated.as_deref(), Some("2027-02-26"));
        assert!(!whisper.is_retired("2027-02-25") && whisper.is_retired("2027-02-26"));
        assert!(!Entry::default().is_retired("2999-01-01"));
    }

    #[test]
    fn stating_a_capability_replaces_what_was_stated() {
        let mut entry = Entry::default();
        entry.state("vision", true);
        entry.state("tools", true);
        entry.state("vision", false);
        assert_eq!((entry.caps, entry.no), (vec!["tools".to_owned()], vec!["vision".to_owned()]));
    }
}

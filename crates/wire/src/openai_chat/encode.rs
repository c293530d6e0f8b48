//! Writing a request for a provider that speaks Chat Completions.

use tollway_model::{
    Dialect, Effort, Extras, Notices, OutputFormat, Reasoning, Request, Result, Role, Tool, WebSearch,
};

use super::encode_message::Messages;
use super::write::{self, Map};
use crate::codec::is_usual_sampling;
use crate::web_search::{is_search, stays_inside};
use crate::{Encoded, Restore, Target};

pub(super) fn encode(request: &Request, target: &Target<'_>, notices: &mut Notices) -> Result<Encoded> {
    let mut restore = Restore::default();
    let mut body = Vec::with_capacity(1024);
    write::object(&mut body, |map| -> Result<()> {
        map.str("model", target.model);
        let mut messages = Messages::new(request, target, notices, &mut restore);
        map.list("messages", |list| messages.write(list))?;
        let mut fields = Fields { request, target, notices, restore: &mut restore };
        fields.tools(map);
        fields.limits(map);
        fields.output(map);
        fields.reasoning(map);
        fields.web_search(map);
        fields.bookkeeping(map);
        fields.stream(map);
        fields.extras(map);
        Ok(())
    })?;
    Ok(Encoded { body, headers: Vec::new(), restore })
}

/// Most stop texts OpenAI takes. A caller of this dialect knows what its host takes.
const MOST_STOPS: usize = 4;

/// Did the caller write to us in OpenAI's own words? Then everything may go as it came.
pub(super) fn is_native(request: &Request) -> bool {
    matches!(request.extras.dialect, Some(Dialect::OpenaiChat | Dialect::OpenaiText))
}

/// The fields beside `messages`.
pub(super) struct Fields<'a, 'n> {
    pub(super) request: &'a Request,
    pub(super) target: &'a Target<'a>,
    pub(super) notices: &'n mut Notices,
    pub(super) restore: &'n mut Restore,
}

impl Fields<'_, '_> {
    fn limits(&mut self, map: &mut Map<'_>) {
        let request = self.request;
        if let Some(wanted) = request.max_output_tokens {
            // Agents ask for what their usual model can do; others refuse more than they can.
            let most =
                self.target.capabilities.max_output_tokens.filter(|most| *most > 0 && !is_native(request));
            let limit = most.map_or(wanted, |most| wanted.min(most));
            if limit < wanted {
                self.notices.changed("max_tokens", format!("the model writes at most {limit} tokens"));
            }
            let older = self.target.quirks.max_tokens_only;
            map.int(if older { "max_tokens" } else { "max_completion_tokens" }, limit);
        }
        let fixed = self.target.capabilities.sampling_params.no();
        let usual = is_usual_sampling(request);
        for (key, value) in [("temperature", request.temperature), ("top_p", request.top_p)] {
            match value {
                // 1 is what such models use anyway.
                Some(_) if usual => {
                    self.notices.changed(key, "the usual value of the caller's dialect: left out");
                }
                Some(value) if fixed && value != 1.0 => {
                    self.notices.dropped(key, "the model does not let its sampling be changed");
                }
                Some(value) if !fixed => map.f64(key, value),
                _ => {}
            }
        }
        if let Some(k) = request.top_k {
            if is_native(request) {
                map.int("top_k", k);
            } else if usual {
                self.notices.changed("top_k", "the usual value of the caller's dialect: left out");
            } else {
                self.notices.dropped("top_k", "Chat Completions has no such field");
            }
        }
        let stops = match request.stop.get(..MOST_STOPS) {
            Some(first) if !is_native(request) && request.stop.len() > MOST_STOPS => {
                let message = format!("at most {MOST_STOPS} stop texts are taken; the rest was left out");
                self.notices.dropped("stop", message);
                first
            }
            _ => request.stop.as_slice(),
        };
        match stops {
            [] => {}
            [one] => map.str("stop", one),
            many => map.list("stop", |list| many.iter().for_each(|stop| list.str(stop))),
        }
        common_sampling(request, map);
        if let Some(bias) = &request.logit_bias {
            map.raw("logit_bias", bias);
        }
        if let Some(wanted) = request.logprobs {
            map.bool("logprobs", wanted);
        }
        if let Some(top) = request.top_logprobs {
            map.int("top_logprobs", top);
        }
    }

    fn output(&mut self, map: &mut Map<'_>) {
        match &self.request.output {
            None => {}
            Some(OutputFormat::Text) => map.map("response_format", |map| map.str("type", "text")),
            Some(OutputFormat::JsonObject) => json_object(map),
            Some(OutputFormat::JsonSchema { .. }) if self.target.capabilities.json_schema.no() => {
                self.notices
                    .dropped("response_format.json_schema", "the model takes no schema for its answer");
                json_object(map);
            }
            Some(OutputFormat::JsonSchema { name, description, schema, strict }) => {
                map.map("response_format", |map| {
                    map.str("type", "json_schema");
                    map.map("json_schema", |map| {
                        map.str("name", name.as_deref().filter(|name| !name.is_empty()).unwrap_or("answer"));
                        if let Some(description) = description {
                            map.str("description", description);
                        }
                        map.raw("schema", schema);
                        if let Some(strict) = strict {
                            map.bool("strict", *strict);
                        }
                    });
                });
            }
        }
        if let Some(verbosity) = &self.request.verbosity {
            map.str("verbosity", verbosity);
        }
        if !self.request.modalities.is_empty() {
            map.list("modalities", |list| self.request.modalities.iter().for_each(|word| list.str(word)));
        }
        if let Some(audio) = &self.request.audio {
            map.map("audio", |map| {
                map.str("voice", &audio.voice);
                map.str("format", &audio.format);
            });
        }
        if let Some(prediction) = &self.request.prediction {
            map.raw("prediction", prediction);
        }
    }

    fn reasoning(&mut self, map: &mut Map<'_>) {
        let Some(reasoning) = &self.request.reasoning else { return };
        let capabilities = self.target.capabilities;
        if self.target.quirks.thinking_switch {
            let off = reasoning.disabled || reasoning.effort == Some(Effort::None);
            let kind = if off { "disabled" } else { "enabled" };
            map.map("thinking", |map| map.str("type", kind));
            if reasoning.budget_tokens.is_some()
                || reasoning.effort.is_some_and(|effort| effort != Effort::None)
            {
                self.notices.changed("reasoning_effort", "the target only switches thinking on or off");
            }
            return;
        }
        if capabilities.reasoning.no() {
            self.notices.changed("reasoning_effort", "the model does not think");
            return;
        }
        let Some(wanted) = wanted_effort(reasoning) else {
            self.notices.changed("thinking", "the target is asked for an effort, or decides by itself");
            return;
        };
        if wanted == Effort::None && !capabilities.efforts.contains(&Effort::None) && !is_native(self.request)
        {
            // Agents switch thinking off by default; most models without the word do not think unasked.
            return;
        }
        let sent = match capabilities.efforts.as_slice() {
            // What every thinking model takes; a caller of this dialect knows what its model takes.
            [] if !is_native(self.request) => wanted.clamp(Effort::Low, Effort::High),
            known => nearest(wanted, known),
        };
        if sent != wanted {
            let why = format!("the model has no effort `{}`: sent `{}`", wanted.name(), sent.name());
            self.notices.changed("reasoning_effort", why);
        }
        map.str("reasoning_effort", sent.name());
    }

    fn web_search(&mut self, map: &mut Map<'_>) {
        let asked_as_tool = self.target.capabilities.web_search.yes()
            && self.request.tools.iter().any(
                |tool| matches!(tool, Tool::Server { dialect, kind, json } if *dialect != Dialect::OpenaiChat && is_search(kind) && !stays_inside(json)),
            );
        let empty = WebSearch::default();
        // A tool among others: its own notice says that it is lost.
        let as_tool = self.request.extras.dialect == Some(Dialect::OpenaiResponses);
        let search = match &self.request.web_search {
            Some(_) if as_tool && !asked_as_tool => return,
            Some(search) => search,
            None if asked_as_tool => &empty,
            None => return,
        };
        if self.target.capabilities.web_search.no() {
            self.notices.dropped("web_search_options", "the model cannot search the web");
            return;
        }
        map.map("web_search_options", |map| {
            if let Some(size) = &search.context_size {
                map.str("search_context_size", size);
            }
            if let Some(location) = &search.location {
                map.map("user_location", |map| {
                    map.str("type", "approximate");
                    map.raw("approximate", location);
                });
            }
        });
        if search.max_uses.is_some() {
            self.notices.changed("web_search_options.max_uses", "the target chooses how often to search");
        }
        if !search.allowed_domains.is_empty() || !search.blocked_domains.is_empty() {
            self.notices.dropped("web_search_options", "the target takes no domains");
        }
    }

    fn bookkeeping(&mut self, map: &mut Map<'_>) {
        let request = self.request;
        match &request.user {
            // OpenAI refuses more; agents put whole JSON objects there.
            Some(user) if user.len() > 64 && !is_native(request) => {
                self.notices.changed("user", "longer than 64 bytes: kept for the gateway's own records");
            }
            Some(user) => map.str("user", user),
            None => {}
        }
        if let Some(metadata) = &request.metadata {
            if is_native(request) {
                map.raw("metadata", metadata);
            } else {
                // OpenAI takes metadata only together with `store`.
                self.notices.changed("metadata", "kept for the gateway's own records");
            }
        }
        match request.service_tier.as_deref() {
            Some(tier) if is_native(request) || matches!(tier, "auto" | "default" | "flex" | "priority") => {
                map.str("service_tier", tier);
            }
            Some(_) => self.notices.changed("service_tier", "the target has no such tier"),
            None => {}
        }
        if let Some(key) = &request.prompt_cache_key {
            map.str("prompt_cache_key", key);
        }
        if request.cache.is_some() {
            self.notices.changed("cache_control", AUTOMATIC_CACHE);
        }
    }

    fn stream(&mut self, map: &mut Map<'_>) {
        if !self.request.stream {
            return;
        }
        map.bool("stream", true);
        if !self.target.quirks.no_stream_options {
            map.map("stream_options", |map| map.bool("include_usage", true));
        }
    }

    fn extras(&mut self, map: &mut Map<'_>) {
        let Extras { dialect, fields } = &self.request.extras;
        for (key, value) in fields {
            match (dialect, key.as_str()) {
                (Some(Dialect::OpenaiChat), _) => map.raw(key, value),
                (Some(Dialect::OpenaiText), "suffix" | "echo" | "best_of") => {
                    if !matches!(value.get(), "false" | "0" | "1" | "\"\"") {
                        self.notices.dropped(key.clone(), "chat models answer, they do not complete text");
                    }
                }
                (Some(Dialect::OpenaiText), _) => map.raw(key, value),
                (_, key) if is_harmless(key) => {
                    self.notices.changed(key.to_owned(), "the target has no such field");
                }
                _ => self.notices.dropped(key.clone(), "the target has no such field"),
            }
        }
    }
}

/// Gemini's fields whose loss changes nothing a caller can see, in both spellings.
const HARMLESS: [&str; 3] = ["labels", "safetySettings", "safety_settings"];

/// May the foreign field be left out without changing what the caller gets?
pub(crate) fn is_harmless(key: &str) -> bool {
    HARMLESS.contains(&key) || crate::anthropic::is_harmless(key)
}

pub(crate) const AUTOMATIC_CACHE: &str = "the target caches prompts by itself or not at all";

/// The sampling fields that text completions take too, beside temperature, top-p and stops.
pub(crate) fn common_sampling(request: &Request, map: &mut Map<'_>) {
    if let Some(seed) = request.seed {
        map.int("seed", seed);
    }
    if let Some(n) = request.n {
        map.int("n", n);
    }
    if let Some(penalty) = request.presence_penalty {
        map.f64("presence_penalty", penalty);
    }
    if let Some(penalty) = request.frequency_penalty {
        map.f64("frequency_penalty", penalty);
    }
}

fn json_object(map: &mut Map<'_>) {
    map.map("response_format", |map| map.str("type", "json_object"));
}

/// Efforts beyond `high` are few models' own: a budget never asks for them.
pub(crate) fn wanted_effort(reasoning: &Reasoning) -> Option<Effort> {
    if reasoning.disabled {
        return Some(Effort::None);
    }
    let from_budget = reasoning.budget_tokens.map(|tokens| Effort::from_budget(tokens).min(Effort::High));
    reasoning.effort.or(from_budget)
}

/// The effort itself where nothing is known, else the nearest the model takes, rather more than less.
pub(crate) fn nearest(wanted: Effort, known: &[Effort]) -> Effort {
    if known.is_empty() || known.contains(&wanted) {
        return wanted;
    }
    let above = known.iter().copied().filter(|effort| *effort > wanted).min();
    above.or_else(|| known.iter().copied().max()).unwrap_or(wanted)
}

/// The role's name for the target.
pub(super) fn role_name(role: Role, target: &Target<'_>) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer if target.quirks.developer_as_system => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

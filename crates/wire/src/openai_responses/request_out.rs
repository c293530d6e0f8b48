//! Writing a request for a provider.

use tollway_model::{Dialect, Effort, Notices, OutputFormat, RawJson, Request, Result};

use super::items_out::Items;
use super::request_in::LOGPROBS;
use crate::codec::is_usual_sampling;
use crate::openai_chat::encode::{AUTOMATIC_CACHE, nearest, wanted_effort};
use crate::openai_chat::write::{self, Map};
use crate::{Encoded, Restore, Target};

/// The provider takes no smaller limit.
const LEAST_TOKENS: u64 = 16;

/// Asks for reasoning in a form that its caller can keep.
const ENCRYPTED: &str = "reasoning.encrypted_content";

pub(super) fn encode(request: &Request, target: &Target<'_>, notices: &mut Notices) -> Result<Encoded> {
    let mut restore = Restore::default();
    let native = request.extras.dialect == Some(Dialect::OpenaiResponses);
    let mut body = Vec::with_capacity(1024);
    write::object(&mut body, |map| -> Result<()> {
        map.str("model", target.model);
        let mut items = Items::new(request, native, notices, &mut restore);
        let instructions = items.instructions();
        if let Some(text) = &instructions {
            map.str("instructions", text);
        }
        map.list("input", |list| items.write(usize::from(instructions.is_some()), list))?;
        let mut fields = Fields { request, target, native, notices, restore: &mut restore };
        fields.tools(map);
        fields.limits(map);
        fields.text(map);
        fields.reasoning(map);
        fields.include(map);
        fields.bookkeeping(map);
        fields.unsupported();
        fields.extras(map);
        Ok(())
    })?;
    Ok(Encoded { body, headers: Vec::new(), restore })
}

/// The fields beside `input`.
pub(super) struct Fields<'a, 'n> {
    pub(super) request: &'a Request,
    pub(super) target: &'a Target<'a>,
    /// The caller wrote in this dialect: everything may go as it came.
    pub(super) native: bool,
    pub(super) notices: &'n mut Notices,
    pub(super) restore: &'n mut Restore,
}

impl Fields<'_, '_> {
    fn limits(&mut self, map: &mut Map<'_>) {
        let request = self.request;
        if let Some(wanted) = request.max_output_tokens {
            let most =
                self.target.capabilities.max_output_tokens.filter(|most| *most > 0).unwrap_or(u64::MAX);
            let sent = if self.native { wanted } else { wanted.min(most).max(LEAST_TOKENS) };
            if sent != wanted {
                let why = format!("the target takes {LEAST_TOKENS} to what the model can write: sent {sent}");
                self.notices.changed("max_tokens", why);
            }
            map.int("max_output_tokens", sent);
        }
        let fixed = self.target.capabilities.sampling_params.no();
        let usual = is_usual_sampling(request);
        for (key, value) in [("temperature", request.temperature), ("top_p", request.top_p)] {
            match value {
                Some(_) if usual => {
                    self.notices.changed(key, "the usual value of the caller's dialect: left out");
                }
                // 1 is what such models use anyway.
                Some(value) if fixed && value != 1.0 => {
                    self.notices.dropped(key, "the model does not let its sampling be changed");
                }
                Some(value) if !fixed => map.f64(key, value),
                _ => {}
            }
        }
        match request.top_k {
            Some(_) if usual => {
                self.notices.changed("top_k", "the usual value of the caller's dialect: left out");
            }
            Some(_) => self.notices.dropped("top_k", "the Responses API has no such field"),
            None => {}
        }
        if let Some(count) = request.top_logprobs {
            map.int("top_logprobs", count);
        }
    }

    fn text(&mut self, map: &mut Map<'_>) {
        let rest = self.inner("text.");
        if self.request.output.is_none() && self.request.verbosity.is_none() && rest.is_empty() {
            return;
        }
        if matches!(self.request.output, Some(OutputFormat::JsonSchema { .. }))
            && self.target.capabilities.json_schema.no()
        {
            self.notices.dropped("response_format.json_schema", "the model takes no schema for its answer");
        }
        map.map("text", |map| {
            match &self.request.output {
                None => {}
                Some(OutputFormat::Text) => map.map("format", |map| map.str("type", "text")),
                Some(OutputFormat::JsonSchema { name, description, schema, strict })
                    if !self.target.capabilities.json_schema.no() =>
                {
                    map.map("format", |map| {
                        map.str("type", "json_schema");
                        map.str("name", name.as_deref().filter(|name| !name.is_empty()).unwrap_or("answer"));
                        if let Some(description) = description {
                            map.str("description", description);
                        }
                        map.raw("schema", schema);
                        match strict {
                            Some(strict) => map.bool("strict", *strict),
                            // Absent means yes here, and no elsewhere.
                            None if !self.native => map.bool("strict", false),
                            None => {}
                        }
                    });
                }
                Some(_) => map.map("format", |map| map.str("type", "json_object")),
            }
            if let Some(verbosity) = &self.request.verbosity {
                map.str("verbosity", verbosity);
            }
            rest.iter().for_each(|(key, value)| map.raw(key, value));
        });
    }

    fn reasoning(&mut self, map: &mut Map<'_>) {
        let effort = self.effort();
        let rest = self.inner("reasoning.");
        let summary = self.request.reasoning.as_ref().is_some_and(|reasoning| reasoning.show == Some(true))
            && !rest.iter().any(|(key, _)| key.ends_with("summary"))
            && effort != Some(Effort::None)
            && !self.target.capabilities.reasoning.no();
        if effort.is_none() && rest.is_empty() && !summary {
            return;
        }
        map.map("reasoning", |map| {
            if let Some(effort) = effort {
                map.str("effort", effort.name());
            }
            if summary {
                map.str("summary", "auto");
            }
            rest.iter().for_each(|(key, value)| map.raw(key, value));
        });
    }

    fn effort(&mut self) -> Option<Effort> {
        let reasoning = self.request.reasoning.as_ref()?;
        let capabilities = self.target.capabilities;
        if self.native {
            return reasoning.effort;
        }
        if capabilities.reasoning.no() {
            self.notices.changed("reasoning_effort", "the model does not think");
            return None;
        }
        let Some(wanted) = wanted_effort(reasoning) else {
            if reasoning.show.is_none() || reasoning.adaptive {
                self.notices.changed("thinking", "the target is asked for an effort, or decides by itself");
            }
            return None;
        };
        if wanted == Effort::None && !capabilities.efforts.contains(&Effort::None) {
            // Agents switch thinking off by default; most models without the word do not think unasked.
            let asked_in_words = reasoning.effort == Some(Effort::None);
            if asked_in_words {
                self.notices.changed("reasoning_effort", "the model is not known to take `none`: left out");
            }
            return None;
        }
        let sent = match capabilities.efforts.as_slice() {
            [] => wanted.clamp(Effort::Low, Effort::High),
            known => nearest(wanted, known),
        };
        if sent != wanted {
            let why = format!("the model has no effort `{}`: sent `{}`", wanted.name(), sent.name());
            self.notices.changed("reasoning_effort", why);
        }
        Some(sent)
    }

    /// Reasoning must be able to come back from a client that the provider does not know.
    fn include(&mut self, map: &mut Map<'_>) {
        if self.native {
            return;
        }
        let thinks = !self.target.capabilities.reasoning.no();
        let logprobs = self.request.logprobs == Some(true);
        if thinks || logprobs {
            map.list("include", |list| {
                if thinks {
                    list.str(ENCRYPTED);
                }
                if logprobs {
                    list.str(LOGPROBS);
                }
            });
        }
        if self.request.extras.fields.get("store").is_none_or(|store| store.get() != "true") {
            map.bool("store", false);
        }
    }

    fn bookkeeping(&mut self, map: &mut Map<'_>) {
        let request = self.request;
        match &request.user {
            Some(user) if user.len() > 64 && !self.native => {
                self.notices.changed("user", "longer than 64 bytes: kept for the gateway's own records");
            }
            Some(user) => map.str("user", user),
            None => {}
        }
        match &request.metadata {
            Some(metadata) if self.native || request.extras.dialect == Some(Dialect::OpenaiChat) => {
                map.raw("metadata", metadata);
            }
            Some(_) => self.notices.changed("metadata", "kept for the gateway's own records"),
            None => {}
        }
        match request.service_tier.as_deref() {
            Some(tier)
                if self.native || matches!(tier, "auto" | "default" | "flex" | "priority" | "scale") =>
            {
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
        if request.stream {
            map.bool("stream", true);
        }
    }

    /// What the API has no field for.
    fn unsupported(&mut self) {
        let request = self.request;
        let nonzero = |value: Option<f64>| value.is_some_and(|value| value != 0.0);
        let biased = |bias: &RawJson| !bias.is_null() && bias.get() != "{}";
        let asks_for_more =
            request.modalities.iter().any(|modality| modality != "text") || request.audio.is_some();
        let dropped = [
            ("stop", !request.stop.is_empty()),
            ("seed", request.seed.is_some()),
            ("n", request.n.is_some_and(|n| n > 1)),
            ("presence_penalty", nonzero(request.presence_penalty)),
            ("frequency_penalty", nonzero(request.frequency_penalty)),
            ("logit_bias", request.logit_bias.as_ref().is_some_and(biased)),
            ("modalities", asks_for_more),
        ];
        for (field, _) in dropped.into_iter().filter(|(_, asked)| *asked) {
            self.notices.dropped(field, "the Responses API has no such field");
        }
        if request.prediction.is_some() {
            self.notices.changed("prediction", "the Responses API has no such field");
        }
    }

    fn extras(&mut self, map: &mut Map<'_>) {
        const SHARED: [&str; 5] =
            ["safety_identifier", "prompt_cache_retention", "prompt_cache_options", "moderation", "store"];
        let chat = self.request.extras.dialect == Some(Dialect::OpenaiChat);
        for (key, value) in &self.request.extras.fields {
            let inner = key.contains(['.', '[']);
            if self.native {
                if !inner {
                    map.raw(key, value);
                }
            } else if chat && SHARED.contains(&key.as_str()) {
                if key != "store" || value.get() == "true" {
                    map.raw(key, value);
                }
            } else if crate::openai_chat::encode::is_harmless(key) {
                self.notices.changed(key.to_owned(), "the target has no such field");
            } else {
                self.notices.dropped(key.to_owned(), "the target has no such field");
            }
        }
    }

    /// Members of an inner object that only this dialect knows.
    fn inner(&self, prefix: &str) -> Vec<(String, RawJson)> {
        let own = self.request.extras.for_dialect(Dialect::OpenaiResponses);
        let fields = own.into_iter().flatten();
        fields
            .filter_map(|(path, value)| Some((path.strip_prefix(prefix)?.to_owned(), value.clone())))
            .collect()
    }
}

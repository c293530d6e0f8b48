//! The top-level changes of a request body that both lanes share.

use serde_json::{Map, Value};
use tollway_model::{Dialect, Error, Notices, Operation, Result};
use tollway_wire::json::{Edits, Envelope};

use crate::endpoint::Endpoint;
use crate::provider::ModelRules;

/// What a body goes out as.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// What is asked for.
    pub operation: Operation,
    /// The dialect of the body.
    pub dialect: Dialect,
    /// The answer is to be streamed.
    pub stream: bool,
    /// Fields to send even where rules refuse them.
    pub allowed: &'a [String],
}

impl Endpoint {
    /// What must change in `body` before it goes out.
    ///
    /// The model's name, the stream flag, usage in OpenAI streams, the rules of the provider and the model, and the
    /// deployment's `extra_body`. Refused fields are taken out with a [`Notices::dropped`]: the caller of this
    /// function decides whether that refuses the call. No edits means that the body can go out as it is.
    ///
    /// Fails when `stream_options` is not an object.
    pub fn edits(&self, body: &Envelope, outgoing: &Outgoing<'_>, notices: &mut Notices) -> Result<Edits> {
        let Outgoing { operation, dialect, stream, allowed } = *outgoing;
        let mut edits = Edits::new();
        self.name_model(body, dialect, &mut edits);
        if operation == Operation::CountTokens {
            return Ok(edits);
        }
        let generates = matches!(operation, Operation::Chat | Operation::Completion);
        let openai = matches!(dialect, Dialect::OpenaiChat | Dialect::OpenaiText);
        // Gemini says it in the URL; embeddings do not stream.
        if generates && (openai || matches!(dialect, Dialect::Anthropic | Dialect::OpenaiResponses)) {
            flag_stream(body, stream, &mut edits);
        }
        if dialect == Dialect::OpenaiResponses {
            // OpenAI's names, mostly those of its other dialect: what the operator says holds here too. The rules of
            // the row are about Chat Completions.
            self.drop_fields(body, &mut edits, notices);
            self.extra_body.iter().for_each(|(field, raw)| edits.set_raw(field.clone(), raw.clone()));
            return Ok(edits);
        }
        if !self.is_main(dialect) {
            return Ok(edits);
        }
        for own in &self.rules {
            if !holds(own, body) {
                continue;
            }
            if allowed.is_empty() {
                own.rules.apply(body, generates, &mut edits, notices);
            } else {
                let mut rules = own.rules.clone();
                rules.allow(allowed);
                rules.apply(body, generates, &mut edits, notices);
            }
        }
        self.drop_fields(body, &mut edits, notices);
        if generates && openai {
            self.ask_usage(body, stream, &mut edits, notices)?;
        }
        for (field, raw) in &self.extra_body {
            // A caller's field that a rule renames to this one would make it appear twice.
            for ModelRules { rules, .. } in &self.rules {
                let sources =
                    rules.rename.iter().filter(|(from, to)| *to == field && body.get(from).is_some());
                sources.for_each(|(from, _)| edits.remove(from.clone()));
            }
            edits.set_raw(field.clone(), raw.clone());
        }
        Ok(edits)
    }

    /// Rules are written for the dialect of the provider's row, not for its second base.
    fn is_main(&self, dialect: Dialect) -> bool {
        let row = self.provider.dialect;
        Some(dialect) == row || (dialect == Dialect::OpenaiText && row == Some(Dialect::OpenaiChat))
    }

    fn drop_fields(&self, body: &Envelope, edits: &mut Edits, notices: &mut Notices) {
        for field in &self.dropped_fields {
            // The model and the stream flag are not the caller's to keep or the operator's to drop.
            if body.get(field).is_some() && field != "model" && field != "stream" {
                edits.remove(field.clone());
                notices.changed(field.clone(), "left out: the deployment is configured so");
            }
        }
    }

    fn name_model(&self, body: &Envelope, dialect: Dialect, edits: &mut Edits) {
        match (dialect, body.get("model")) {
            // These name the model in the URL; a body may repeat it as a resource.
            (Dialect::Gemini | Dialect::BedrockConverse, None) => {}
            (Dialect::Gemini | Dialect::BedrockConverse, Some(_)) => edits.remove("model"),
            (_, Some(raw)) if raw == self.model_json => {}
            _ => edits.set_raw("model", self.model_json.clone()),
        }
    }

    /// A stream reports its usage only when asked, and spend is counted by it.
    fn ask_usage(
        &self,
        body: &Envelope,
        stream: bool,
        edits: &mut Edits,
        notices: &mut Notices,
    ) -> Result<()> {
        let given = body.get("stream_options");
        if !stream {
            // Providers refuse it where nothing is streamed.
            if given.is_some() {
                edits.remove("stream_options");
            }
            return Ok(());
        }
        if self.quirks().no_stream_options {
            if given.is_some() {
                edits.remove("stream_options");
                notices
                    .changed("stream_options", "left out: the provider reports usage unasked or not at all");
            }
            return Ok(());
        }
        let mut options: Map<String, Value> = match given {
            None | Some("null") => Map::new(),
            Some(raw) => serde_json::from_str(raw)
                .map_err(|_| Error::invalid_at("stream_options", "`stream_options` must be an object"))?,
        };
        if options.get("include_usage") != Some(&Value::Bool(true)) {
            options.insert("include_usage".to_owned(), Value::Bool(true));
            edits.set_raw("stream_options", Value::Object(options).to_string());
        }
        Ok(())
    }
}

/// Do the conditions of `own` hold for this request?
fn holds(own: &ModelRules, body: &Envelope) -> bool {
    own.when.iter().all(|(field, values)| {
        let Some(raw) = body.get(field).filter(|raw| !matches!(*raw, "null" | "[]")) else { return false };
        let value = body.str(field);
        values.iter().any(|wanted| wanted == "*" || wanted == value.as_deref().unwrap_or(raw))
    })
}

/// Makes the body say what the transport will do.
fn flag_stream(body: &Envelope, stream: bool, edits: &mut Edits) {
    match (stream, body.get("stream")) {
        (true, Some("true")) | (false, None | Some("false")) => {}
        (true, _) => edits.set_raw("stream", "true"),
        (false, Some(_)) => edits.remove("stream"),
    }
}

#[cfg(test)]
mod tests;

//! `POST /spend/calculate`: what a call would cost, or did.

use bytes::Bytes;
use serde_json::{Value, json};
use tollway_model::{Dialect, Error, Result, Usage};
use tollway_prices::Facts;
use tollway_wire::codec;
use tollway_wire::json::{Edits, Envelope};

use super::Desk;

const FIELDS: [&str; 4] = ["model", "messages", "prompt", "completion_response"];

impl Desk<'_> {
    /// Of `messages` or a `prompt` the price of sending them; of a `completion_response` the price of the whole call.
    pub(super) async fn calculate(&self, body: Bytes) -> Result<Value> {
        let envelope = Envelope::parse(body, self.snapshot.settings.max_depth)?;
        if let Some(unknown) = envelope.keys().find(|key| !FIELDS.contains(&key.as_ref())) {
            let shown: String = unknown.chars().take(80).collect();
            let message = format!("there is no field `{shown}` here; there are {}", FIELDS.join(", "));
            return Err(Error::invalid_at(shown, message));
        }
        let answer = match envelope.get("completion_response").filter(|raw| *raw != "null") {
            Some(raw) => {
                Some(Envelope::parse(Bytes::from(raw.to_owned()), self.snapshot.settings.max_depth)?)
            }
            None => None,
        };
        let of = |envelope: &Envelope| {
            envelope.str("model").filter(|model| !model.is_empty()).map(|model| model.into_owned())
        };
        let model = of(&envelope).or_else(|| answer.as_ref().and_then(of));
        let model = model
            .ok_or_else(|| Error::invalid_at("model", "`model` is missing: name the model that is called"))?;
        self.caller.identity.may_use(&model, self.snapshot.access_groups(&model))?;
        let group = self.snapshot.resolve(&model);
        let deployment = group
            .as_ref()
            .and_then(|group| group.iter().find(|one| one.prices.is_some()).or_else(|| group.first()));
        let unknown = || Error::invalid_at("model", format!("no price is known for the model `{model}`"));
        let deployment = deployment.ok_or_else(unknown)?;
        let sheet = deployment.prices.as_ref().ok_or_else(unknown)?;
        let tier =
            answer.as_ref().and_then(|answer| answer.str("service_tier").map(|tier| tier.into_owned()));
        let usage = match &answer {
            Some(answer) => codec(Dialect::OpenaiChat).read_usage(answer.body()).ok_or_else(|| {
                Error::invalid_at(
                    "completion_response",
                    "`completion_response` has no `usage` to calculate with",
                )
            })?,
            None => prompt(&envelope, deployment.model.to_string()).await?,
        };
        let facts = Facts { service_tier: tier.as_deref(), at: Some(self.now / 1000), ..Facts::default() };
        let cost = tollway_prices::cost(sheet, &usage, &facts).total.known().ok_or_else(unknown)?;
        Ok(json!({
            "cost": cost.to_dollars_lossy(),
            "cost_usd": cost.to_string(),
            "model_used": deployment.model.as_ref(),
            "prompt_tokens": usage.total_input(),
            "completion_tokens": usage.total_output(),
        }))
    }
}

/// The usage of a prompt that is not answered.
async fn prompt(envelope: &Envelope, model: String) -> Result<Usage> {
    let counted = if envelope.has("messages") {
        // The model's name belongs to it, even where only the deployment's is known.
        let mut edits = Edits::new();
        edits.set_str("model", &model);
        let request = codec(Dialect::OpenaiChat).decode_request(&envelope.rewrite(&edits))?;
        tokio::task::spawn_blocking(move || tollway_prices::tokens::count_request(&model, &request)).await
    } else if let Some(text) = envelope.str("prompt") {
        let text = text.into_owned();
        tokio::task::spawn_blocking(move || tollway_prices::tokens::count(&model, &text)).await
    } else {
        let message = "send `messages`, a `prompt`, or a `completion_response` with its `usage`";
        return Err(Error::invalid_at("messages", message));
    };
    let count = counted.map_err(|_| Error::internal("token counting failed"))?;
    Ok(Usage { input: count.tokens, ..Usage::default() })
}

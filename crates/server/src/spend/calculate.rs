//! `POST /spend/calculate`: what a call would cost, or did. `POST /cost/estimate`: what many would.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tollway_model::{Dialect, Error, Money, Result, Usage};
use tollway_prices::{Facts, PriceSheet};
use tollway_wire::codec;
use tollway_wire::json::{Edits, Envelope};

use super::Desk;

const SIZES: [&str; 8] = [
    "model",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
    "num_requests_per_day",
    "num_requests_per_month",
];

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
        let priced = self.priced(&model)?;
        let tier =
            answer.as_ref().and_then(|answer| answer.str("service_tier").map(|tier| tier.into_owned()));
        let usage = match &answer {
            Some(answer) => codec(Dialect::OpenaiChat).read_usage(answer.body()).ok_or_else(|| {
                Error::invalid_at(
                    "completion_response",
                    "`completion_response` has no `usage` to calculate with",
                )
            })?,
            None => prompt(&envelope, priced.model.clone()).await?,
        };
        let facts = Facts { service_tier: tier.as_deref(), at: Some(self.now / 1000), ..Facts::default() };
        let cost = tollway_prices::cost(&priced.sheet, &usage, &facts).total.known();
        let cost = cost.ok_or_else(|| unknown(&model))?;
        Ok(json!({
            "cost": cost.to_dollars_lossy(),
            "cost_usd": cost.to_string(),
            "model_used": priced.model,
            "prompt_tokens": usage.total_input(),
            "completion_tokens": usage.total_output(),
        }))
    }

    /// `POST /cost/estimate`: what calls of a size would cost, each, and so many of them a day or a month.
    pub(super) async fn estimate(&self, body: Bytes) -> Result<Value> {
        let envelope = Envelope::parse(body, self.snapshot.settings.max_depth)?;
        if let Some(unknown) = envelope.keys().find(|key| !SIZES.contains(&key.as_ref())) {
            let shown: String = unknown.chars().take(80).collect();
            let message = format!("there is no field `{shown}` here; there are {}", SIZES.join(", "));
            return Err(Error::invalid_at(shown, message));
        }
        let count = |name: &str| match envelope.get(name) {
            None | Some("null") => Ok(None),
            Some(_) => envelope
                .u64(name)
                .map(Some)
                .ok_or_else(|| Error::invalid_at(name, format!("`{name}` is a whole number of at least 0"))),
        };
        let needed =
            |name: &str| count(name)?.ok_or_else(|| Error::invalid_at(name, format!("`{name}` is missing")));
        let model = envelope.str("model").filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| Error::invalid_at("model", "`model` is missing"))?.into_owned();
        let (input, output) = (needed("input_tokens")?, needed("output_tokens")?);
        let cache_read = count("cache_read_input_tokens")?.unwrap_or(0);
        let cache_write = count("cache_creation_input_tokens")?.unwrap_or(0);
        let reasoning = count("reasoning_tokens")?.unwrap_or(0);
        let parts_of = |name: &str, parts: u64, whole: u64| match whole.checked_sub(parts) {
            Some(rest) => Ok(rest),
            None => {
                Err(Error::invalid_at(name, format!("`{name}` counts tokens that are among the {whole}")))
            }
        };
        let uncached = parts_of("cache_read_input_tokens", cache_read.saturating_add(cache_write), input)?;
        let answer = parts_of("reasoning_tokens", reasoning, output)?;
        let (a_day, a_month) = (count("num_requests_per_day")?, count("num_requests_per_month")?);
        self.caller.identity.may_use(&model, self.snapshot.access_groups(&model))?;
        let priced = self.priced(&model)?;
        let facts = Facts { at: Some(self.now / 1000), ..Facts::default() };
        let cost = |usage: Usage| {
            let cost = tollway_prices::cost(&priced.sheet, &usage, &facts).total.known();
            cost.ok_or_else(|| unknown(&model))
        };
        let usage = Usage { input: uncached, cache_read, output: answer, reasoning, ..Usage::default() };
        let usage = Usage { cache_write, ..usage };
        let whole = cost(usage)?;
        // Prices of long prompts go by the whole prompt, so parts are differences.
        let without_output = cost(Usage { output: 0, reasoning: 0, ..usage })?;
        let answers = whole - without_output;
        let mut out = json!({
            "model": model, "provider": priced.provider, "input_tokens": input, "output_tokens": output,
            "cache_read_input_tokens": cache_read, "cache_creation_input_tokens": cache_write,
            "reasoning_tokens": reasoning, "num_requests_per_day": a_day, "num_requests_per_month": a_month,
            "cost_per_request": whole.to_dollars_lossy(),
            "input_cost_per_request": without_output.to_dollars_lossy(),
            "output_cost_per_request": answers.to_dollars_lossy(),
            "margin_cost_per_request": 0.0,
        });
        let times = |money: Money, count: u64| {
            i64::try_from(count)
                .ok()
                .and_then(|count| money.nanos().checked_mul(count))
                .map(|nanos| Money::from_nanos(nanos).to_dollars_lossy())
        };
        if let Some(map) = out.as_object_mut() {
            for (name, count) in [("daily", a_day), ("monthly", a_month)] {
                let sum = |money: Money| count.and_then(|count| times(money, count));
                map.insert(format!("{name}_cost"), json!(sum(whole)));
                map.insert(format!("{name}_input_cost"), json!(sum(without_output)));
                map.insert(format!("{name}_output_cost"), json!(sum(answers)));
                map.insert(format!("{name}_margin_cost"), json!(count.map(|_| 0.0)));
            }
        }
        Ok(out)
    }

    /// The prices of the first deployment that has some; of a name that nobody serves here, those of the models table.
    fn priced(&self, model: &str) -> Result<Priced> {
        let Some(group) = self.snapshot.resolve(model) else {
            let sheet = self.snapshot.listed_prices(model).ok_or_else(|| unknown(model))?;
            return Ok(Priced { model: model.to_owned(), provider: None, sheet: Arc::new(sheet) });
        };
        let found = group.iter().find_map(|one| Some((one, one.prices.clone()?)));
        let (deployment, sheet) = found.ok_or_else(|| unknown(model))?;
        Ok(Priced {
            model: deployment.model.to_string(),
            provider: Some(deployment.provider.to_string()),
            sheet,
        })
    }
}

/// What a model costs.
struct Priced {
    model: String,
    provider: Option<String>,
    sheet: Arc<PriceSheet>,
}

fn unknown(model: &str) -> Error {
    let shown: String = model.chars().take(120).collect();
    Error::invalid_at("model", format!("no price is known for the model `{shown}`"))
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

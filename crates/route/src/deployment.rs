//! One configured way to reach a model.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tollway_model::RawJson;
use tollway_prices::{PriceSheet, Rate};
use tollway_providers::Endpoint;

use crate::{Board, Live};

/// One configured way to reach a model: an entry of `model_list`, or a provider found in the environment.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Stable over restarts: `model_info.id`, or a hash of the entry. All models of a wildcard share their entry's, and
    /// with it its limits and its budget.
    pub id: Arc<str>,
    /// The name of its state on the board: the id, but for models of a wildcard, which fail and answer each by itself.
    pub seat_name: Arc<str>,
    /// The name clients ask for; deployments that share it take turns.
    pub group: Arc<str>,
    /// The provider's id, as in `groq`; empty when it cannot be told.
    pub provider: Arc<str>,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// Can it be called?
    pub availability: Availability,
    /// Its share of the group's calls.
    pub limits: Limits,
    /// For streams: longest wait for the first content, and between two pieces.
    pub stream_timeout: Option<Duration>,
    /// Longest wait for a whole answer.
    pub timeout: Option<Duration>,
    /// Retries of a call that failed here, beside the first attempt; overrides the router's.
    pub retries: Option<u32>,
    /// How long it rests after failing; zero: never. Overrides the router's.
    pub rest: Option<Duration>,
    /// Tags that calls may ask for.
    pub tags: Vec<String>,
    /// Where it is, as calls may demand: `eu`, `us` or another name; `None`: nobody said.
    pub region: Option<Arc<str>>,
    /// Most tokens of a prompt, when known.
    pub max_input_tokens: Option<u64>,
    /// Leave out what the provider cannot do instead of refusing the call; overrides the global setting.
    pub drop_params: Option<bool>,
    /// Request fields the operator set for this deployment, used where the caller sent none.
    pub defaults: Vec<(String, RawJson)>,
    /// The answer to every chat, instead of asking the provider: a JSON text, or a whole answer in OpenAI's shape.
    pub mock: Option<RawJson>,
    /// What its calls cost. `None`: unknown.
    pub prices: Option<Arc<PriceSheet>>,
    /// `model_info` and what the models table knows, as `/model/info` shows it.
    pub info: Arc<serde_json::Map<String, serde_json::Value>>,
    /// How it is doing; found on the board when it is first looked at.
    pub seat: OnceLock<Arc<Live>>,
}

/// Can a deployment be called?
#[derive(Debug, Clone)]
pub enum Availability {
    /// Yes, here.
    Ready(Arc<Endpoint>),
    /// No, for this reason: its provider is not carried yet, a key is missing.
    Unavailable(String),
}

/// What decides a deployment's share of its group's calls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Relative weight.
    pub weight: Option<f64>,
    /// Requests per minute.
    pub rpm: Option<u64>,
    /// Tokens per minute.
    pub tpm: Option<u64>,
    /// Lower orders are used first.
    pub order: Option<i64>,
    /// Most calls in flight.
    pub parallel: Option<u32>,
}

impl Deployment {
    /// How it is doing.
    pub fn live(&self, board: &Board) -> &Arc<Live> {
        self.seat.get_or_init(|| match self.seat_name == self.id {
            true => board.live(&self.id),
            false => board.live_within(&self.seat_name, &self.id),
        })
    }

    /// Lower orders are used first.
    pub fn order(&self) -> i64 {
        self.limits.order.unwrap_or(0)
    }

    /// Picodollars of one input and one output token together; `None` when either is unknown.
    pub fn token_price(&self) -> Option<i64> {
        let rates = &self.prices.as_ref()?.base;
        let (input, output) = (rates.token(Rate::In)?, rates.token(Rate::Out)?);
        Some(input.picos().saturating_add(output.picos()))
    }

    /// Where calls go, when it can be called.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        match &self.availability {
            Availability::Ready(endpoint) => Some(endpoint),
            Availability::Unavailable(_) => None,
        }
    }
}

//! One configured way to reach a model.

use std::sync::Arc;
use std::time::Duration;

use tollway_model::RawJson;
use tollway_prices::PriceSheet;
use tollway_providers::Endpoint;

/// One configured way to reach a model: an entry of `model_list`, or a provider found in the environment.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Stable over restarts: `model_info.id`, or a hash of the entry.
    pub id: Arc<str>,
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
    /// Longest wait for an answer's first byte.
    pub first_byte_timeout: Option<Duration>,
    /// Longest wait for a whole answer.
    pub total_timeout: Option<Duration>,
    /// Retries of a call that failed here, beside the first attempt; overrides the router's.
    pub retries: Option<u32>,
    /// Leave out what the provider cannot do instead of refusing the call; overrides the global setting.
    pub drop_params: Option<bool>,
    /// Request fields the operator set for this deployment, used where the caller sent none.
    pub defaults: Vec<(String, RawJson)>,
    /// What its calls cost. `None`: unknown.
    pub prices: Option<Arc<PriceSheet>>,
    /// `model_info` and what the models table knows, as `/model/info` shows it.
    pub info: Arc<serde_json::Map<String, serde_json::Value>>,
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
}

impl Deployment {
    /// Where calls go, when it can be called.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        match &self.availability {
            Availability::Ready(endpoint) => Some(endpoint),
            Availability::Unavailable(_) => None,
        }
    }
}

//! From `provider/model` to an endpoint, and what a call there costs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tollway_model::{Cost, Error, Kind, Result, Secret, Usage};
use tollway_prices::{Catalog, Facts};
use tollway_providers::{Endpoint, EndpointSpec, Table};

/// Endpoints that are remembered; a client that calls ever-new model names does not grow without bound.
const MAX_ENDPOINTS: usize = 1024;

/// Reads a variable: its value, when it is set.
pub(crate) type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Keys and base URLs by provider, and the endpoints made of them.
pub(crate) struct Endpoints {
    environment: Environment,
    keys: HashMap<String, Secret>,
    bases: HashMap<String, String>,
    known: Mutex<HashMap<String, Arc<Endpoint>>>,
}

impl Endpoints {
    pub(crate) fn new(
        environment: Environment,
        keys: HashMap<String, Secret>,
        bases: HashMap<String, String>,
    ) -> Endpoints {
        Endpoints { environment, keys, bases, known: Mutex::default() }
    }

    /// The endpoint of `provider/model`, made once.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Endpoint>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = known().get(name) {
            return Ok(endpoint.clone());
        }
        // Made without the lock: the environment is the caller's own function.
        let endpoint = Arc::new(self.make(name)?);
        let mut known = known();
        if known.len() < MAX_ENDPOINTS {
            known.insert(name.to_owned(), endpoint.clone());
        }
        Ok(endpoint)
    }

    fn make(&self, name: &str) -> Result<Endpoint> {
        let table = Table::builtin();
        let unknown = |error: &dyn std::fmt::Display| {
            Error::new(Kind::InvalidRequest, error.to_string()).with_param("model")
        };
        let (provider, model) = match table.split_model(name) {
            Ok((provider, model)) => (provider, model),
            Err(error) => (table.infer(name).ok_or_else(|| unknown(&error))?, name),
        };
        let mut spec = EndpointSpec::new(provider, model);
        spec.api_key = self.keys.get(&provider.id).cloned();
        spec.api_base = self.bases.get(&provider.id).cloned();
        if let Some(entry) = Catalog::builtin().find(&provider.id, model) {
            spec.capabilities = entry.capabilities();
        }
        Ok(Endpoint::build(spec, &*self.environment)?)
    }
}

/// A variable of the process.
#[expect(
    clippy::disallowed_methods,
    reason = "an SDK without a gateway around it has only the process environment"
)]
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What `usage` costs at `endpoint` by the models table.
pub(crate) fn price(endpoint: &Endpoint, usage: Option<&Usage>) -> Cost {
    let entry = Catalog::builtin().find(&endpoint.provider().id, endpoint.model());
    match (entry, usage) {
        (Some(entry), Some(usage)) => tollway_prices::cost(&entry.prices, usage, &Facts::default()).total,
        _ => Cost::Unknown,
    }
}

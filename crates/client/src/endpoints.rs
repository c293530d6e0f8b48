//! From `provider/model` to an endpoint, and what a call there costs.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tollway_model::{Cost, Error, Kind, Result, Secret, Usage};
use tollway_prices::{Catalog, Facts};
use tollway_providers::aws::AwsSettings;
use tollway_providers::{Endpoint, EndpointSpec, Table};

/// Endpoints that are remembered; a client that calls ever-new model names does not grow without bound.
const MAX_ENDPOINTS: usize = 1024;

/// Reads a variable: its value, when it is set.
pub(crate) type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What was given for a provider; wins over the environment and the provider's row.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) api_key: Option<Secret>,
    pub(crate) api_base: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) aws: AwsSettings,
}

/// What was given for providers, and the endpoints made of it.
pub(crate) struct Endpoints {
    environment: Environment,
    given: HashMap<String, Settings>,
    known: Mutex<HashMap<String, Arc<Endpoint>>>,
}

impl Endpoints {
    pub(crate) fn new(environment: Environment, given: HashMap<String, Settings>) -> Endpoints {
        Endpoints { environment, given, known: Mutex::default() }
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
        if let Some(given) = self.given.get(&provider.id).cloned() {
            spec.api_key = given.api_key;
            spec.api_base = given.api_base;
            spec.api_version = given.api_version;
            spec.organization = given.organization;
            spec.extra_headers = given.headers;
            spec.variables = given.variables;
            spec.aws = given.aws;
        }
        if let Some(entry) = Catalog::builtin().find(&provider.id, model) {
            spec.capabilities = entry.capabilities();
        }
        Ok(Endpoint::build(spec, &*self.environment)?)
    }
}

/// The id of a provider that may be called by another name of it.
pub(crate) fn provider_id(name: String) -> String {
    Table::builtin().get(&name).map_or(name, |provider| provider.id.clone())
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

//! What the gateway serves: configuration, providers and prices compiled into one immutable value.
//!
//! A call holds one `Arc` of it from beginning to end; a reload builds a new one and swaps it in.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::{Map, Value, json};
use tollway_config::{Config, Deployment as Entry, LitellmParams, Mode as ModelMode, ModelInfo};
use tollway_model::{Capabilities, Dialect, Operation, RawJson, Support};
use tollway_prices::{Catalog, Overrides, PriceSheet, Rate};
use tollway_providers::aws::AwsSettings;
use tollway_providers::{Endpoint, EndpointSpec, Mode, Provider, Table};
use tollway_route::{Alias, Availability, Deployment, Group, Limits, Pattern, Routes, Template};

use tollway_accounts::KeyHash;

use crate::attempts::money;
use crate::budgets::Budgets;
use crate::caller::Keyring;
use crate::settings::{Settings, or_ever};

/// Reads an environment variable, those of the configuration file first.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the gateway serves.
#[derive(Debug)]
pub struct Snapshot {
    /// From names to deployments.
    pub routes: Routes,
    /// Settings of calls.
    pub settings: Settings,
    /// Budgets that belong to no caller.
    pub budgets: Budgets,
    /// Who may call.
    pub keyring: Keyring,
    /// Names shown beside the groups: examples of what wildcards serve.
    pub listed: Vec<String>,
    /// Model → the access groups it is in (`model_info.access_groups`).
    access_groups: HashMap<String, Vec<Arc<str>>>,
    /// The same for wildcards.
    wildcard_groups: Vec<(Pattern, Vec<Arc<str>>)>,
    wildcards: Vec<Wildcard>,
    /// What is known by name of those that wildcards serve; looked up when somebody wants a list.
    known: OnceLock<Vec<String>>,
    catalog: Arc<Catalog>,
}

/// A wildcard and where it leads, for the list of models.
#[derive(Debug)]
struct Wildcard {
    /// As configured, `openai/*`.
    name: String,
    provider: String,
    /// Which of the provider's models, by their own names.
    models: Pattern,
}

/// What a snapshot is built from.
pub struct Sources<'a> {
    /// The configuration file, or its defaults.
    pub config: &'a Config,
    /// Deployments that were added over the API, beside those of the file.
    pub stored: &'a [Entry],
    /// No file was given: serve every provider whose key is in the environment, as `provider/model`.
    pub from_environment: bool,
    /// The environment.
    pub environment: Environment,
    /// The models table.
    pub catalog: Arc<Catalog>,
    /// Where the built-in fake provider listens, when it does.
    pub demo: Option<String>,
    /// Who may call.
    pub keyring: Keyring,
}

impl Snapshot {
    /// Compiles `sources`. Never fails: what cannot be served is there as unavailable, with the reason.
    pub fn build(sources: Sources<'_>) -> Snapshot {
        let settings = Settings::from_config(sources.config);
        let maker = Arc::new(Maker {
            environment: sources.environment,
            catalog: sources.catalog,
            demo: sources.demo,
        });
        let (mut deployments, mut templates, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        let mut wildcards = Vec::new();
        let mut budgets = Budgets::of(sources.config);
        let zone = sources.config.tollway.budgets.timezone.as_str();
        for (index, entry) in sources.config.model_list.iter().chain(sources.stored).enumerate() {
            match Pattern::parse(&entry.model_name) {
                Some(pattern) => {
                    let id = deployment_id(entry, index);
                    budgets.add(entry, &id, zone);
                    wildcards.extend(maker.wildcard(entry));
                    templates.push(template(&maker, entry.clone(), pattern, index, Some(id)));
                }
                None => {
                    let deployment = maker.deployment(entry, index);
                    budgets.add(entry, &deployment.id, zone);
                    deployments.push(Arc::new(deployment));
                }
            }
        }
        if sources.from_environment {
            for provider in Table::builtin().environment(&*maker.environment) {
                templates.push(provider_template(&maker, provider));
                let name = format!("{}/*", provider.id);
                let (provider, models) = (provider.id.clone(), Pattern::with_prefix(""));
                wildcards.push(Wildcard { name: name.clone(), provider, models });
                listed.push(name);
            }
            // Bare names such as `gpt-4o`, and providers whose key is missing: the error then names the key.
            let mut any = Entry::default();
            "*".clone_into(&mut any.model_name);
            "*".clone_into(&mut any.litellm_params.model);
            templates.push(template(&maker, any, Pattern::with_prefix(""), 0, None));
        }
        if maker.demo.is_some()
            && let Some(demo) = Table::builtin().get("demo")
        {
            templates.push(provider_template(&maker, demo));
            listed.push("demo/chat".to_owned());
        }
        let aliases = sources.config.aliases();
        let entries = sources.config.model_list.iter().chain(sources.stored);
        let (access_groups, wildcard_groups) = access_groups(entries);
        Snapshot {
            catalog: maker.catalog.clone(),
            access_groups,
            wildcard_groups,
            wildcards,
            known: OnceLock::new(),
            routes: Routes::new(deployments, templates, aliases),
            settings,
            budgets,
            keyring: sources.keyring,
            listed,
        }
    }

    /// The prices that the models table has for `provider/model`, or for a model whose name tells its provider, whether
    /// or not anyone serves it here.
    pub fn listed_prices(&self, name: &str) -> Option<PriceSheet> {
        let entry = match name.split_once('/') {
            Some((provider, model)) => self.catalog.get(name).or_else(|| self.catalog.find(provider, model)),
            None => self.catalog.infer_provider(name).and_then(|provider| self.catalog.find(provider, name)),
        };
        entry.map(|entry| entry.prices).filter(|prices| !prices.is_empty())
    }

    /// Models of the table that wildcards serve, by the names that clients call them. Other names can be called, too.
    pub fn known(&self) -> &[String] {
        self.known.get_or_init(|| {
            let mut known = Vec::new();
            if self.wildcards.is_empty() {
                return known;
            }
            for entry in self.catalog.entries() {
                let mode = entry.mode.as_deref().unwrap_or("chat");
                if !matches!(mode, "chat" | "completion" | "responses" | "embedding") {
                    continue;
                }
                let provider = entry.provider();
                let own = entry.id.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/'));
                let own = own.unwrap_or(&entry.id);
                let serving = self.wildcards.iter().filter(|wildcard| wildcard.provider == provider);
                known.extend(serving.filter_map(|wildcard| {
                    wildcard.models.capture(own).map(|star| Pattern::fill(&wildcard.name, star))
                }));
            }
            known.sort_unstable();
            known.dedup();
            known
        })
    }

    /// The deployments for a name; `None` when nobody is known to serve it.
    pub fn resolve(&self, name: &str) -> Option<Group> {
        let group = self.routes.resolve(name)?;
        group.iter().any(|deployment| !deployment.provider.is_empty()).then_some(group)
    }

    /// The access groups that `model` is in.
    pub fn access_groups(&self, model: &str) -> &[Arc<str>] {
        if let Some(groups) = self.access_groups.get(model) {
            return groups;
        }
        let matching = self.wildcard_groups.iter().find(|(pattern, _)| pattern.capture(model).is_some());
        matching.map_or(&[], |(_, groups)| groups)
    }

    /// The groups with a deployment that calls on a budget pass over, because nobody knows its price.
    pub fn unpriced(&self) -> Vec<&str> {
        let policy = self.settings.unknown_price;
        let unpriced = |one: &&Arc<Deployment>| {
            let embeds = one.info.get("mode").and_then(Value::as_str) == Some("embedding");
            let operation = if embeds { Operation::Embedding } else { Operation::Chat };
            one.endpoint().is_some() && !money::may_serve_budgets(one, policy, operation)
        };
        let mut names: Vec<&str> =
            self.routes.deployments().filter(unpriced).map(|one| one.group.as_ref()).collect();
        names.dedup();
        names
    }

    /// Does any budget of the configuration hold?
    pub fn has_budgets(&self) -> bool {
        let is_bound = self.budgets.bind_deployments() || self.budgets.bind_tags();
        is_bound || self.settings.global_limits.as_ref().is_some_and(|claim| !claim.limits.budgets.is_empty())
    }

    /// Is there anything to call?
    pub fn is_serving(&self) -> bool {
        true
    }
}

type AccessGroups = (HashMap<String, Vec<Arc<str>>>, Vec<(Pattern, Vec<Arc<str>>)>);

/// The access groups of the file, by name and by wildcard.
fn access_groups<'a>(entries: impl Iterator<Item = &'a Entry>) -> AccessGroups {
    let mut named: HashMap<String, Vec<Arc<str>>> = HashMap::new();
    let mut wildcards = Vec::new();
    for entry in entries.filter(|entry| !entry.model_info.access_groups.is_empty()) {
        let groups = entry.model_info.access_groups.iter().map(|group| Arc::from(group.as_str()));
        match Pattern::parse(&entry.model_name) {
            Some(pattern) => wildcards.push((pattern, groups.collect())),
            None => named.entry(entry.model_name.clone()).or_default().extend(groups),
        }
    }
    (named, wildcards)
}

/// Every model of `provider`, under `provider/model`.
fn provider_template(maker: &Arc<Maker>, provider: &Arc<Provider>) -> Template {
    let name = format!("{}/*", provider.id);
    let mut entry = Entry::default();
    entry.model_name.clone_from(&name);
    entry.litellm_params.model.clone_from(&name);
    template(maker, entry, Pattern::with_prefix(format!("{}/", provider.id)), 0, None)
}

/// `id`: that of an entry of the configuration; what it limits it limits for all its models together.
fn template(
    maker: &Arc<Maker>,
    entry: Entry,
    pattern: Pattern,
    index: usize,
    id: Option<Arc<str>>,
) -> Template {
    let maker = maker.clone();
    let name: Arc<str> = entry.model_name.as_str().into();
    let group = name.clone();
    // Whatever it is called by, it is one model, with one set of limits.
    let is_one = Pattern::parse(&entry.litellm_params.model).is_none();
    let make = move |captured: &str, asked: &str| {
        let mut concrete = entry.clone();
        if !is_one {
            concrete.litellm_params.model = Pattern::fill(&entry.litellm_params.model, captured);
            asked.clone_into(&mut concrete.model_name);
            // Each fails and answers by itself.
            concrete.model_info.id = None;
        }
        let mut made = maker.deployment(&concrete, index);
        made.group = group.clone();
        if let Some(id) = id.as_ref().filter(|_| !is_one) {
            made.id = id.clone();
        }
        made
    };
    Template { pattern, name, make: Box::new(make) }
}

/// Makes deployments of entries.
struct Maker {
    environment: Environment,
    catalog: Arc<Catalog>,
    demo: Option<String>,
}

impl Maker {
    /// Where a wildcard leads; `None` where the name asked for decides.
    fn wildcard(&self, entry: &Entry) -> Option<Wildcard> {
        let (provider, model) = self.provider(&entry.litellm_params);
        let (name, models) = (entry.model_name.clone(), Pattern::parse(&model)?);
        Some(Wildcard { name, provider: provider.ok()?.id.clone(), models })
    }

    fn deployment(&self, entry: &Entry, index: usize) -> Deployment {
        let (params, info) = (&entry.litellm_params, &entry.model_info);
        let (provider, named) = self.provider(params);
        let (model, as_responses) = without_api(provider.as_deref().ok(), &named);
        let facts = self.facts(provider.as_ref().ok(), model, params, info);
        let availability = match (&provider, facts.fault) {
            _ if info.blocked => Availability::Unavailable("it is blocked (model_info.blocked)".to_owned()),
            (_, Some(fault)) => Availability::Unavailable(fault),
            (Err(reason), _) => Availability::Unavailable(reason.clone()),
            (Ok(provider), _) => {
                let mode = if as_responses { Mode::Responses } else { facts.spoken };
                self.endpoint(provider, model, params, facts.capabilities, mode)
            }
        };
        let id = deployment_id(entry, index);
        Deployment {
            seat_name: id.clone(),
            id,
            group: entry.model_name.as_str().into(),
            provider: provider.as_ref().map_or("", |provider| provider.id.as_str()).into(),
            model: model.into(),
            availability,
            limits: Limits {
                weight: params.weight,
                rpm: params.rpm,
                tpm: params.tpm,
                order: params.order.map(i64::from),
                parallel: params.max_parallel_requests,
            },
            stream_timeout: params.stream_timeout.map(or_ever),
            timeout: params.timeout.map(or_ever),
            rest: params.cooldown_time,
            tags: params.tags.clone(),
            region: region(params, info),
            max_input_tokens: facts.max_input_tokens,
            retries: params.num_retries.or(params.max_retries),
            drop_params: params.drop_params,
            defaults: params
                .defaults
                .iter()
                .map(|(key, value)| (key.clone(), RawJson::from(value.clone())))
                .collect(),
            prices: match params.mock_response.is_some() && params.prices.is_empty() && info.prices.is_empty()
            {
                true => Some(FREE.clone()),
                false => facts.prices,
            },
            mock: params.mock_response.clone().map(RawJson::from),
            info: Arc::new(facts.info),
            seat: OnceLock::new(),
        }
    }

    /// Who serves a deployment, and the model's name there; an error says why nobody can.
    fn provider(&self, params: &LitellmParams) -> (Result<Arc<Provider>, String>, String) {
        let table = Table::builtin();
        if let Some(id) = params.custom_llm_provider.as_deref() {
            let prefix = format!("{id}/");
            let model = params.model.strip_prefix(&prefix).unwrap_or(&params.model).to_owned();
            let found = table.get(id).ok_or_else(|| match table.nearest(id) {
                Some(near) => format!("there is no provider `{id}`; did you mean `{near}`?"),
                None => format!("there is no provider `{id}`"),
            });
            return (found.cloned(), model);
        }
        match table.split_model(&params.model) {
            Ok((provider, model)) => (Ok(provider.clone()), model.to_owned()),
            Err(unknown) => {
                let inferred = table.infer(&params.model).cloned();
                let inferred =
                    inferred.or_else(|| table.get(self.catalog.infer_provider(&params.model)?).cloned());
                let custom = params.api_base.as_ref().and_then(|_| table.get("openai_like")).cloned();
                let found = inferred.or(custom).ok_or_else(|| unknown.to_string());
                (found, params.model.clone())
            }
        }
    }

    fn endpoint(
        &self,
        provider: &Arc<Provider>,
        model: &str,
        params: &LitellmParams,
        capabilities: Capabilities,
        mode: Mode,
    ) -> Availability {
        let mut spec = EndpointSpec::new(provider, model);
        spec.api_base.clone_from(&params.api_base);
        if provider.id == "demo" && spec.api_base.is_none() {
            spec.api_base.clone_from(&self.demo);
        }
        if spec.api_base.is_none() {
            spec.api_base.clone_from(&params.aws_bedrock_runtime_endpoint);
        }
        spec.api_key.clone_from(&params.api_key);
        if params.mock_response.is_some() && spec.api_key.is_none() {
            // Nobody is called.
            spec.api_key = Some("mock".into());
        }
        spec.aws = aws(params);
        spec.organization.clone_from(&params.organization);
        spec.api_version.clone_from(&params.api_version);
        let headers = params.headers.iter().chain(&params.extra_headers);
        spec.extra_headers = headers.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
        spec.extra_body = params
            .extra_body
            .iter()
            .map(|(key, value)| (key.clone(), RawJson::from(value.clone())))
            .collect();
        spec.dropped_fields.clone_from(&params.additional_drop_params);
        spec.allowed_fields.clone_from(&params.allowed_openai_params);
        spec.capabilities = capabilities;
        spec.mode = mode;
        match Endpoint::build(spec, &*self.environment) {
            Ok(endpoint) => Availability::Ready(Arc::new(endpoint)),
            Err(error) => Availability::Unavailable(error.to_string()),
        }
    }

    /// What is known of the model: the table's facts with the configuration's over them.
    fn facts(
        &self,
        provider: Option<&Arc<Provider>>,
        model: &str,
        params: &LitellmParams,
        info: &ModelInfo,
    ) -> Facts {
        let provider_row = provider;
        let provider = provider_row.map_or("", |provider| provider.id.as_str());
        let found = match info.base_model.as_deref() {
            Some(base) => self.catalog.get(base).or_else(|| self.catalog.find(provider, base)),
            None => self.catalog.find(provider, model),
        };
        let known = found.is_some();
        let entry = found.unwrap_or_default();
        let overrides = overrides(params, info);
        let (entry, fault) = match overrides {
            Ok(overrides) => (overrides.apply(&entry), None),
            Err(fault) => (entry, Some(fault)),
        };
        let only_responses = entry.mode.as_deref() == Some(ModelMode::Responses.word());
        let spoken = match info.mode {
            Some(ModelMode::Chat) => Mode::Chat,
            Some(ModelMode::Responses) => Mode::Responses,
            None if only_responses && provider_row.is_some_and(|row| row.serves_responses()) => {
                Mode::Responses
            }
            _ => Mode::Native,
        };
        let prices = (!entry.prices.is_empty()).then(|| Arc::new(entry.prices.clone()));
        let mut shown = Map::new();
        if known {
            shown.insert("key".into(), json!(entry.id));
        }
        let mode =
            info.mode.map(|mode| json!(mode.word())).or_else(|| entry.mode.as_ref().map(|mode| json!(mode)));
        let facts = [
            ("mode", mode),
            ("max_input_tokens", entry.limits.input.map(Value::from)),
            ("max_output_tokens", entry.limits.output.map(Value::from)),
            (
                "max_tokens",
                info.max_tokens.or(entry.limits.output).or(entry.limits.legacy_max).map(Value::from),
            ),
            ("base_model", info.base_model.as_ref().map(|base| json!(base))),
            ("deprecation_date", entry.deprecated.as_ref().map(|date| json!(date))),
            ("access_groups", (!info.access_groups.is_empty()).then(|| json!(info.access_groups))),
        ];
        shown.extend(facts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        shown.extend(shown_facts(&entry));
        shown.extend(info.other.iter().map(|(key, value)| (key.clone(), value.clone())));
        Facts {
            capabilities: entry.capabilities(),
            prices,
            max_input_tokens: entry.limits.input,
            info: shown,
            spoken,
            fault,
        }
    }
}

/// Where a deployment is: as somebody said, else as its provider's own name of the region begins.
fn region(params: &LitellmParams, info: &ModelInfo) -> Option<Arc<str>> {
    let told = ["region_name", "region"].into_iter().find_map(|name| info.other.get(name)?.as_str());
    let text = params.region_name.as_deref().or(told).or(params.aws_region_name.as_deref())?;
    let text = text.trim().to_ascii_lowercase();
    let known = ["eu", "us"].into_iter().find(|known| {
        let rest = text.strip_prefix(known);
        // `eu-west-1`, `europe-west4`, `us-east-1`, `us-gov-west-1`, and no word that begins alike.
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-') || rest.starts_with("rope"))
    });
    (!text.is_empty()).then(|| known.map_or_else(|| text.as_str().into(), Arc::from))
}

/// What answers cost that no provider gave.
pub(crate) static FREE: LazyLock<Arc<tollway_prices::PriceSheet>> = LazyLock::new(|| {
    let zero = [("input_cost_per_token", "0"), ("output_cost_per_token", "0")];
    let overrides = Overrides::parse(zero).unwrap_or_default();
    Arc::new(overrides.apply(&tollway_prices::Entry::default()).prices)
});

/// `openai/responses/NAME` means the model NAME, spoken to in the Responses dialect whatever the client speaks.
fn without_api<'m>(provider: Option<&Provider>, model: &'m str) -> (&'m str, bool) {
    let speaks_openai = provider.is_some_and(|provider| provider.dialect == Some(Dialect::OpenaiChat));
    match model.strip_prefix("responses/").filter(|_| speaks_openai) {
        Some(name) => (name, true),
        None => (model, false),
    }
}

/// Prices and capabilities under LiteLLM's names, for `/model/info`.
fn shown_facts(entry: &tollway_prices::Entry) -> Map<String, Value> {
    const PRICES: [(Rate, &str); 6] = [
        (Rate::In, "input_cost_per_token"),
        (Rate::Out, "output_cost_per_token"),
        (Rate::CacheRead, "cache_read_input_token_cost"),
        (Rate::CacheWrite, "cache_creation_input_token_cost"),
        (Rate::CacheWrite1h, "cache_creation_input_token_cost_above_1hr"),
        (Rate::Reasoning, "output_cost_per_reasoning_token"),
    ];
    const CAPABILITIES: [(&str, &str); 11] = [
        ("tools", "supports_function_calling"),
        ("parallel_tools", "supports_parallel_function_calling"),
        ("tool_choice", "supports_tool_choice"),
        ("vision", "supports_vision"),
        ("pdf", "supports_pdf_input"),
        ("audio_in", "supports_audio_input"),
        ("audio_out", "supports_audio_output"),
        ("json_schema", "supports_response_schema"),
        ("prompt_caching", "supports_prompt_caching"),
        ("reasoning", "supports_reasoning"),
        ("web_search", "supports_web_search"),
    ];
    let prices = PRICES.into_iter().filter_map(|(rate, key)| {
        // A JSON number, as LiteLLM's clients expect; the exact price is the table's integer.
        let picos: f64 = format!("{}e-12", entry.prices.base.token(rate)?.picos()).parse().ok()?;
        Some((key.to_owned(), json!(picos)))
    });
    let capabilities = CAPABILITIES.into_iter().filter_map(|(name, key)| match entry.supports(name) {
        Support::Yes => Some((key.to_owned(), json!(true))),
        Support::No => Some((key.to_owned(), json!(false))),
        Support::Unknown => None,
    });
    prices.chain(capabilities).collect()
}

struct Facts {
    capabilities: Capabilities,
    prices: Option<Arc<tollway_prices::PriceSheet>>,
    max_input_tokens: Option<u64>,
    info: Map<String, Value>,
    /// Which of OpenAI's dialects the model is spoken to in.
    spoken: Mode,
    /// Why the entry's own facts cannot be read.
    fault: Option<String>,
}

fn overrides(params: &LitellmParams, info: &ModelInfo) -> Result<Overrides, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    pairs.extend(info.supports.iter().map(|(key, value)| (key.clone(), value.to_string())));
    let limits = [
        ("max_tokens", info.max_tokens),
        ("max_input_tokens", info.max_input_tokens),
        ("max_output_tokens", info.max_output_tokens),
    ];
    pairs.extend(limits.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_string()))));
    // Those of litellm_params count more, so they come last.
    let prices = info.prices.iter().chain(&params.prices);
    pairs.extend(prices.map(|(key, value)| (key.clone(), value.as_str().to_owned())));
    Overrides::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        .map_err(|error| error.message().to_owned())
}

/// The configured id, or a hash of what makes the deployment what it is.
fn deployment_id(entry: &Entry, index: usize) -> Arc<str> {
    if let Some(id) = &entry.model_info.id {
        return id.as_str().into();
    }
    let params = &entry.litellm_params;
    let key = params.api_key.as_ref().map_or("", |key| key.expose());
    let base = params.api_base.as_deref().unwrap_or("");
    let text = format!("{index}\n{}\n{}\n{base}\n{key}", entry.model_name, params.model);
    KeyHash::of(&text).to_hex().into()
}

/// Aliases of the configuration, in one map.
trait Aliases {
    fn aliases(&self) -> HashMap<String, Alias>;
}

impl Aliases for Config {
    fn aliases(&self) -> HashMap<String, Alias> {
        let mut aliases: HashMap<String, Alias> = HashMap::new();
        let models = self.litellm_settings.model_alias_map.iter();
        aliases.extend(
            models.map(|(name, group)| (name.clone(), Alias { group: group.clone(), hidden: false })),
        );
        let groups = self.router_settings.model_group_alias.iter();
        aliases.extend(
            groups.map(|(name, alias)| {
                (name.clone(), Alias { group: alias.model.clone(), hidden: alias.hidden })
            }),
        );
        aliases
    }
}

/// Credentials and region of a deployment at Amazon.
fn aws(params: &LitellmParams) -> AwsSettings {
    let tags = params.aws_session_tags.iter();
    let tags = tags.filter_map(|tag| Some((tag.get("Key")?.clone(), tag.get("Value")?.clone())));
    AwsSettings {
        access_key_id: params.aws_access_key_id.clone(),
        secret_access_key: params.aws_secret_access_key.clone(),
        session_token: params.aws_session_token.clone(),
        region: params.aws_region_name.clone(),
        profile: params.aws_profile_name.clone(),
        role: params.aws_role_name.clone(),
        session_name: params.aws_session_name.clone(),
        external_id: params.aws_external_id.clone(),
        session_tags: tags.collect(),
        web_identity_token: params.aws_web_identity_token.clone(),
        sts_endpoint: params.aws_sts_endpoint.clone(),
        model_id: params.model_id.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a configuration serves.
    pub(crate) fn snapshot_of(text: &str) -> Snapshot {
        let config = tollway_config::from_str(text, &|_| None).config.unwrap();
        Snapshot::build(Sources {
            config: &config,
            stored: &[],
            from_environment: false,
            environment: Arc::new(|_: &str| None),
            catalog: Catalog::builtin(),
            demo: None,
            keyring: Keyring::default(),
        })
    }

    #[test]
    fn the_configuration_decides_which_of_openais_dialects_a_model_is_spoken_to_in() {
        let chat = (Operation::Chat, Dialect::OpenaiChat);
        let responses = (Operation::Chat, Dialect::OpenaiResponses);
        let check = |model: &str, info: &str, expected: [(Operation, Dialect); 2]| {
            let text = format!(
                "model_list: [{{model_name: m, litellm_params: {{model: {model}, api_key: k}}, model_info: {info}}}]"
            );
            let deployment = deployment_of(&text);
            let endpoint = deployment.endpoint().unwrap();
            assert!(!deployment.model.contains("responses/"), "{model}");
            for (surface, lane) in [chat.1, responses.1].into_iter().zip(expected) {
                assert_eq!(endpoint.lane(Operation::Chat, surface), Some(lane), "{model} {info} {surface}");
            }
        };
        check("openai/gpt-4o", "{}", [chat, responses]);
        check("openai/gpt-4o", "{mode: chat}", [chat, chat]);
        check("openai/gpt-4o", "{mode: responses}", [responses, responses]);
        check("openai/responses/gpt-4o", "{}", [responses, responses]);
        // The models table knows that it has no other API.
        check("openai/o1-pro", "{}", [responses, responses]);
        check("deepseek/deepseek-chat", "{}", [chat, chat]);
    }

    #[test]
    fn one_model_behind_a_wildcard_is_one_deployment_whatever_it_is_called() {
        let of = |model: &str, info: &str| {
            let text = format!(
                "model_list: [{{model_name: 'any/*', litellm_params: {{model: {model}, api_key: k}}, model_info: {info}}}]"
            );
            let snapshot = snapshot_of(&text);
            ["any/one", "any/other"].map(|name| snapshot.resolve(name).unwrap()[0].clone())
        };
        let [one, other] = of("openai/gpt-4o", "{}");
        assert_eq!((&one.id, &one.seat_name), (&other.id, &other.seat_name));
        assert_eq!(of("openai/gpt-4o", "{id: mine}").map(|one| one.id.to_string()), ["mine", "mine"]);
        for (info, id) in [("{}", None), ("{id: mine}", Some("mine"))] {
            let [one, other] = of("'openai/*'", info);
            assert_eq!(one.id, other.id, "its limits are for all of them together");
            assert!(id.is_none_or(|id| *one.id == *id));
            assert_ne!(one.seat_name, other.seat_name, "each of several models fails by itself");
        }
    }

    /// The first deployment of a configuration.
    pub(crate) fn deployment_of(text: &str) -> Deployment {
        let snapshot = snapshot_of(text);
        (**snapshot.routes.deployments().next().unwrap()).clone()
    }
}

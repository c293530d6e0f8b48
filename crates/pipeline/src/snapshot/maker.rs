//! From an entry of the configuration to a deployment, and from a wildcard to as many as are asked for.

use std::sync::{Arc, OnceLock};

use tollway_config::{Deployment as Entry, LitellmParams, ModelInfo};
use tollway_model::{Capabilities, Dialect, RawJson};
use tollway_prices::Catalog;
use tollway_providers::aws::AwsSettings;
use tollway_providers::{Endpoint, EndpointSpec, Mode, Provider, Table};
use tollway_route::{Availability, Deployment, Limits, Pattern, Template};

use tollway_accounts::KeyHash;

use super::{Environment, FREE, Wildcard};
use crate::settings::or_ever;

/// Makes deployments of entries.
pub(super) struct Maker {
    pub(super) environment: Environment,
    pub(super) catalog: Arc<Catalog>,
    pub(super) demo: Option<String>,
}

impl Maker {
    /// Where a wildcard leads; `None` where the name asked for decides.
    pub(super) fn wildcard(&self, entry: &Entry) -> Option<Wildcard> {
        let (provider, model) = self.provider(&entry.litellm_params);
        let (name, models) = (entry.model_name.clone(), Pattern::parse(&model)?);
        Some(Wildcard { name, provider: provider.ok()?.id.clone(), models })
    }

    pub(super) fn deployment(&self, entry: &Entry, index: usize) -> Deployment {
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
}

/// Every model of `provider`, under `provider/model`.
pub(super) fn provider_template(maker: &Arc<Maker>, provider: &Arc<Provider>) -> Template {
    let name = format!("{}/*", provider.id);
    let mut entry = Entry::default();
    entry.model_name.clone_from(&name);
    entry.litellm_params.model.clone_from(&name);
    template(maker, entry, Pattern::with_prefix(format!("{}/", provider.id)), 0, None)
}

/// `id`: that of an entry of the configuration; what it limits it limits for all its models together.
pub(super) fn template(
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

/// The configured id, or a hash of what makes the deployment what it is.
pub(super) fn deployment_id(entry: &Entry, index: usize) -> Arc<str> {
    if let Some(id) = &entry.model_info.id {
        return id.as_str().into();
    }
    let params = &entry.litellm_params;
    let key = params.api_key.as_ref().map_or("", |key| key.expose());
    let base = params.api_base.as_deref().unwrap_or("");
    let text = format!("{index}\n{}\n{}\n{base}\n{key}", entry.model_name, params.model);
    KeyHash::of(&text).to_hex().into()
}

/// `openai/responses/NAME` means the model NAME, spoken to in the Responses dialect whatever the client speaks.
fn without_api<'m>(provider: Option<&Provider>, model: &'m str) -> (&'m str, bool) {
    let speaks_openai = provider.is_some_and(|provider| provider.dialect == Some(Dialect::OpenaiChat));
    match model.strip_prefix("responses/").filter(|_| speaks_openai) {
        Some(name) => (name, true),
        None => (model, false),
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

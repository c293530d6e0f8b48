//! `model_list`: the deployments.

use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value as Json;
use tollway_model::Secret;

use crate::diagnostic::Severity;
use crate::known;
use crate::nearest::nearest;
use crate::read::{Fields, FromNode, Reader};
use crate::section::{Section, choice, settings};
use crate::tree::{Entry, Node, Value};
use crate::values::{Decimal, DurationSchema};

settings! {
    /// One way to reach a model. Deployments that share a `model_name` share its traffic.
    pub struct Deployment in "model_list" {
        /// The name clients ask for. May hold one `*` (`openai/*`, `*`), which stands for any text and is put in the
        /// place of the `*` in `litellm_params.model`. Required. Example: `gpt-4o`.
        pub model_name: String = String::new();
        /// Where calls go and with what. Required.
        pub litellm_params: LitellmParams = LitellmParams::default();
        /// What is known about the model.
        pub model_info: ModelInfo = ModelInfo::default();
    }
}

impl Section for Deployment {
    fn settle(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        let name = fields.entry("model_name").map(|entry| &entry.value);
        let params = fields.entry("litellm_params").map(|entry| entry.value.entries()).unwrap_or_default();
        let model = params.iter().find(|entry| entry.key == "model").map(|entry| &entry.value);
        // A value of the wrong type has been reported as that.
        let is_missing = |node: Option<&Node>| node.is_none_or(|node| node.is_null() || is_reference(node));
        if self.model_name.is_empty() && is_missing(name) {
            missing("model_name", "the name clients ask for, such as `model_name: gpt-4o`", fields, reader);
        }
        if self.litellm_params.model.is_empty() && is_missing(model) {
            let help = "the provider and its name for the model, such as `model: openai/gpt-4o`";
            missing("litellm_params.model", help, fields, reader);
        }
    }
}

fn missing(key: &str, help: &str, fields: &Fields<'_>, reader: &mut Reader<'_>) {
    let message = format!("this deployment has no `{key}`");
    reader.report(Severity::Error, "missing-key", fields.mark, message).help.push(format!("add {help}"));
}

settings! {
    /// `litellm_params`: where calls to a deployment go and with what.
    pub struct LitellmParams in "litellm_params" {
        /// `provider/model`, or a model name that names its provider by itself. Required.
        /// Example: `anthropic/claude-sonnet-4-5`.
        pub model: String = String::new();
        /// The provider's key. Default: the variable its provider usually has, such as `OPENAI_API_KEY`.
        /// Example: `os.environ/OPENAI_API_KEY`.
        #[schemars(with = "Option<String>")]
        pub api_key: Option<Secret> = None;
        /// The provider's base URL, with `http://` or `https://`. Also written `base_url`. Default: the provider's own.
        /// Example: `https://eu.api.openai.com/v1`.
        pub api_base or "base_url": Option<String> = None;
        /// API version, for providers that want one. Example: `2024-10-21`.
        pub api_version: Option<String> = None;
        /// Organization the calls are billed to, for providers that know them.
        pub organization: Option<String> = None;
        /// Where it is, for customers whose calls stay in one region: `eu`, `us`, or a provider's name of a region, such as
        /// `europe-west4`. Default: as `aws_region_name` says, else nobody knows. Example: `eu`.
        pub region_name: Option<String> = None;
        /// Amazon: the region. Default: the one in the model's name, else `AWS_REGION_NAME`, `AWS_REGION`,
        /// `AWS_DEFAULT_REGION`. Example: `eu-west-1`.
        pub aws_region_name: Option<String> = None;
        /// Amazon: the key's id. Default: what Amazon's own tools would find, in the environment, the shared files, the
        /// container or the machine. Example: `os.environ/AWS_ACCESS_KEY_ID`.
        #[schemars(with = "Option<String>")]
        pub aws_access_key_id: Option<Secret> = None;
        /// Amazon: the key itself; goes with `aws_access_key_id`.
        #[schemars(with = "Option<String>")]
        pub aws_secret_access_key: Option<Secret> = None;
        /// Amazon: the token of temporary keys.
        #[schemars(with = "Option<String>")]
        pub aws_session_token: Option<Secret> = None;
        /// Amazon: a profile of the shared files. Example: `production`.
        pub aws_profile_name: Option<String> = None;
        /// Amazon: a role to take on. Example: `arn:aws:iam::123456789012:role/models`.
        pub aws_role_name: Option<String> = None;
        /// Amazon: the name of the role's session, for the owner's log; when absent, it is `tollway`.
        pub aws_session_name: Option<String> = None;
        /// Amazon: what the role's owner asks for.
        pub aws_external_id: Option<String> = None;
        /// Amazon: tags of the role's session. Example: `[{Key: team, Value: search}]`.
        pub aws_session_tags: Vec<IndexMap<String, String>> = Vec::new();
        /// Amazon: takes on the role by this token: itself, a file (a path, or `oidc/file/PATH`), or `oidc/env/VARIABLE`.
        #[schemars(with = "Option<String>")]
        pub aws_web_identity_token: Option<Secret> = None;
        /// Amazon: where roles are taken on. Default: the region's own. Example: `https://sts.eu-west-1.amazonaws.com`.
        pub aws_sts_endpoint: Option<String> = None;
        /// Amazon Bedrock: its address, where it is not the region's own. `api_base` wins over it.
        /// Example: `https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com`.
        pub aws_bedrock_runtime_endpoint: Option<String> = None;
        /// Amazon Bedrock: an inference profile that is called in `model`'s place, which still tells prices and
        /// abilities. Example: `arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a1b2c3`.
        pub model_id: Option<String> = None;
        /// The provider, where `model` does not begin with it. Example: `openai`.
        pub custom_llm_provider: Option<String> = None;
        /// Takes what is not written here from the entry of `credential_list` with this name.
        pub litellm_credential_name: Option<String> = None;
        /// Headers sent with every call. Example: `{x-team: search}`.
        #[schemars(with = "IndexMap<String, String>")]
        pub extra_headers: IndexMap<String, Secret> = IndexMap::new();
        /// Older name of `extra_headers`; both are sent.
        #[schemars(with = "IndexMap<String, String>")]
        pub headers: IndexMap<String, Secret> = IndexMap::new();
        /// Fields put into the body of every call as they are. Example: `{seed: 7}`.
        pub extra_body: IndexMap<String, Json> = IndexMap::new();
        /// Longest duration of one attempt, from sending it to the last byte. Default: `litellm_settings.request_timeout`.
        /// Example: `60`.
        #[schemars(with = "Option<DurationSchema>")]
        pub timeout: Option<Duration> = None;
        /// For streamed calls: longest wait for the first content, and between two pieces. Default: as `timeout`.
        /// Example: `30s`.
        #[schemars(with = "Option<DurationSchema>")]
        pub stream_timeout: Option<Duration> = None;
        /// Further tries at this deployment. Default: `router_settings.num_retries`.
        pub max_retries: Option<u32> = None;
        /// Further tries of a call that failed here. Default: `router_settings.num_retries`.
        pub num_retries: Option<u32> = None;
        /// How long the deployment rests after failing; `0`: it never does. Default: `router_settings.cooldown_time`.
        /// Example: `60`.
        #[schemars(with = "Option<DurationSchema>")]
        pub cooldown_time: Option<Duration> = None;
        /// Requests a minute it is good for: weighs the choice between deployments, and limits where
        /// `usage-based-routing-v2`, `latency-based-routing`, `cost-based-routing` or `enforce_model_rate_limits` is on.
        pub rpm: Option<u64> = None;
        /// Tokens a minute it is good for, as `rpm`.
        pub tpm: Option<u64> = None;
        /// Most calls in flight at once; further ones go elsewhere, or wait. Default:
        /// `router_settings.default_max_parallel_requests`.
        pub max_parallel_requests: Option<u32> = None;
        /// Most US dollars that calls to this deployment may cost in `budget_duration`, whoever makes them. When it is used
        /// up, calls go to the other deployments of the group, then to its fallbacks. Of a wildcard, each model it serves
        /// has it by itself. Default: no limit. Example: `50`.
        pub max_budget: Option<Decimal> = None;
        /// The window of `max_budget`: `24h`, `7d`, `1mo`. Default: for ever. Example: `1mo`.
        pub budget_duration: Option<String> = None;
        /// Share of the traffic relative to its siblings. Default: by `rpm`, then `tpm`, else equal. Example: `3`.
        pub weight: Option<f64> = None;
        /// Deployments of the lowest order are used first, the others when those fail.
        pub order: Option<u32> = None;
        /// Tags that calls may ask for, where `router_settings.enable_tag_filtering` is on. `default` serves calls without
        /// tags. Example: `[free, eu]`.
        pub tags: Vec<String> = Vec::new();
        /// The answer to every chat, instead of asking the provider: a text, or a whole answer in OpenAI's shape. Its calls
        /// cost nothing unless prices are written here. `litellm.RateLimitError`, `litellm.InternalServerError` and
        /// `litellm.ContextWindowExceededError` fail in that way. Example: `"It works."`.
        pub mock_response: Option<Json> = None;
        /// Leaves out parameters the provider lacks instead of refusing the call. Default: `litellm_settings.drop_params`.
        pub drop_params: Option<bool> = None;
        /// Parameters always left out. Example: `[seed]`.
        pub additional_drop_params: Vec<String> = Vec::new();
        /// Parameters sent on although the provider is not known to have them. Example: `[tools]`.
        pub allowed_openai_params: Vec<String> = Vec::new();
    }
    also {
        /// Prices that replace the table's, in US dollars a unit, by LiteLLM's name; exactly as written. A map of prices
        /// (`search_context_cost_per_query`) appears as `name.key`.
        pub prices: IndexMap<String, Decimal>;
        /// Request parameters used where the caller does not set them, such as `temperature` or `max_tokens`.
        pub defaults: IndexMap<String, Json>;
    }
}

impl Section for LitellmParams {
    fn settle(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        self.prices = prices("litellm_params", fields, reader);
        let lenient = reader.lenient;
        let parameters = fields.rest(|entry| {
            known::is_request_parameter(&entry.key)
                || (lenient && !known::contains("litellm_params", &entry.key))
        });
        for entry in parameters {
            if !known::is_request_parameter(&entry.key) {
                fields.unknown(entry, reader);
            }
            let value = reader.within(&entry.key, |reader| Json::from_node(&entry.value, reader));
            if let Some(value) = value.filter(|value| !value.is_null()) {
                self.defaults.insert(entry.key.clone(), value);
            }
        }
        if let Some(entry) = fields.entry("api_base").or_else(|| fields.entry("base_url")) {
            check_url(self.api_base.as_deref(), &entry.value, reader);
        }
        if let Some(entry) = fields.entry("litellm_credential_name") {
            self.fill_in(entry, reader);
        }
    }
}

impl LitellmParams {
    /// Takes what is not set from the named credential.
    fn fill_in(&mut self, entry: &Entry, reader: &mut Reader<'_>) {
        let Some(name) = self.litellm_credential_name.as_deref() else { return };
        let Some(credential) = reader.credentials.get(name).cloned() else {
            let near = nearest(name, reader.credentials.keys().map(String::as_str)).map(str::to_owned);
            let message = format!("there is no credential `{name}` in `credential_list`");
            let diagnostic = reader.report(Severity::Error, "unknown-credential", entry.value.mark, message);
            diagnostic.help.push(match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "add it to `credential_list`, or write `api_key` here".to_owned(),
            });
            return;
        };
        let fill = |mine: &mut Option<String>, theirs: Option<String>| *mine = mine.take().or(theirs);
        self.api_key = self.api_key.take().or(credential.api_key);
        fill(&mut self.api_base, credential.api_base);
        fill(&mut self.api_version, credential.api_version);
        fill(&mut self.organization, credential.organization);
        fill(&mut self.custom_llm_provider, credential.custom_llm_provider);
        self.aws_access_key_id = self.aws_access_key_id.take().or(credential.aws_access_key_id);
        self.aws_secret_access_key = self.aws_secret_access_key.take().or(credential.aws_secret_access_key);
        self.aws_session_token = self.aws_session_token.take().or(credential.aws_session_token);
        self.aws_web_identity_token =
            self.aws_web_identity_token.take().or(credential.aws_web_identity_token);
        fill(&mut self.aws_region_name, credential.aws_region_name);
        fill(&mut self.aws_profile_name, credential.aws_profile_name);
        fill(&mut self.aws_role_name, credential.aws_role_name);
        fill(&mut self.aws_session_name, credential.aws_session_name);
        fill(&mut self.aws_external_id, credential.aws_external_id);
        fill(&mut self.aws_sts_endpoint, credential.aws_sts_endpoint);
        fill(&mut self.aws_bedrock_runtime_endpoint, credential.aws_bedrock_runtime_endpoint);
        if self.aws_session_tags.is_empty() {
            self.aws_session_tags = credential.aws_session_tags;
        }
        for (name, value) in credential.extra_headers.into_iter().chain(credential.headers) {
            self.extra_headers.entry(name).or_insert(value);
        }
        for (name, value) in credential.extra_body {
            self.extra_body.entry(name).or_insert(value);
        }
    }
}

/// Says so when a base URL is none.
fn check_url(url: Option<&str>, node: &Node, reader: &mut Reader<'_>) {
    let Some(url) = url else { return };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || url.contains(char::is_whitespace)) {
        let from = if is_reference(node) { "the variable's value" } else { "the value" };
        reader
            .report(
                Severity::Error,
                "wrong-type",
                node.mark,
                format!("`api_base` must be a URL; {from} is not one"),
            )
            .help
            .push("begin it with `https://`, or `http://` for a server of your own".to_owned());
    }
}

fn is_reference(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if crate::environment::reference(&scalar.text).is_some())
}

/// Takes the price overrides among `fields`. A key that no list knows is left, to be reported as unknown.
fn prices(
    section: &'static str,
    fields: &mut Fields<'_>,
    reader: &mut Reader<'_>,
) -> IndexMap<String, Decimal> {
    let mut prices = IndexMap::new();
    let is_price = |entry: &Entry| {
        let key = &entry.key;
        (key.contains("cost") || key.contains("uplift_multiplier")) && known::contains(section, key)
    };
    for entry in fields.rest(is_price) {
        reader.within(&entry.key, |reader| match &entry.value.value {
            Value::Map(inner) => {
                for inner in inner.iter().filter(|inner| !inner.value.is_null()) {
                    let price = reader.within(&inner.key, |reader| Decimal::from_node(&inner.value, reader));
                    prices.extend(price.map(|price| (format!("{}.{}", entry.key, inner.key), price)));
                }
            }
            _ if entry.value.is_null() => {}
            _ => prices
                .extend(Decimal::from_node(&entry.value, reader).map(|price| (entry.key.clone(), price))),
        });
    }
    prices
}

choice! {
    /// What a model does.
    pub enum Mode {
        /// Chat completions.
        Chat = "chat",
        /// Text completions.
        Completion = "completion",
        /// Embeddings.
        Embedding = "embedding",
        /// Images from text.
        ImageGeneration = "image_generation",
        /// Images from images.
        ImageEdit = "image_edit",
        /// Text from speech.
        AudioTranscription = "audio_transcription",
        /// Speech from text.
        AudioSpeech = "audio_speech",
        /// Ranking documents.
        Rerank = "rerank",
        /// Moderation.
        Moderation = "moderation",
        /// The Responses API.
        Responses = "responses",
        /// Realtime sessions.
        Realtime = "realtime",
        /// Text from documents.
        Ocr = "ocr",
        /// Videos from text.
        VideoGeneration = "video_generation",
        /// Batches.
        Batch = "batch",
        /// Web search.
        Search = "search",
        /// Vector stores.
        VectorStore = "vector_store",
    }
}

settings! {
    /// `model_info`: what is known about a deployment's model. Keys that LiteLLM does not know are kept as they are
    /// and shown by the model info route.
    pub struct ModelInfo in "model_info" {
        /// Stable id of the deployment; clients may ask for it in place of a model name.
        /// Default: a hash of its parameters. Example: `gpt-4o-eu-1`.
        pub id: Option<String> = None;
        /// What the model does. Default: from the models table.
        pub mode: Option<Mode> = None;
        /// The model whose price and limits apply, where the deployment has a name of its own. Example: `azure/gpt-4o`.
        pub base_model: Option<String> = None;
        /// Groups of models the deployment belongs to, which keys can be granted. Example: `[beta]`.
        pub access_groups: Vec<String> = Vec::new();
        /// Most tokens of an answer, for models that have one limit. Default: from the models table.
        pub max_tokens: Option<u64> = None;
        /// Most tokens of a prompt. Default: from the models table.
        pub max_input_tokens: Option<u64> = None;
        /// Most tokens of an answer. Default: from the models table.
        pub max_output_tokens: Option<u64> = None;
        /// Takes the deployment out of service. Default: `false`.
        pub blocked: bool = false;
    }
    also {
        /// `supports_…`: what the model can do, where the models table says otherwise or nothing.
        pub supports: IndexMap<String, bool>;
        /// Prices, as in `litellm_params`, which count more.
        pub prices: IndexMap<String, Decimal>;
        /// Everything else.
        pub other: IndexMap<String, Json>;
    }
}

impl Section for ModelInfo {
    fn settle(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        self.prices = prices("model_info", fields, reader);
        for entry in fields.rest(|entry| entry.key.starts_with("supports_") && !entry.value.is_null()) {
            let value = reader.within(&entry.key, |reader| bool::from_node(&entry.value, reader));
            self.supports.extend(value.map(|value| (entry.key.clone(), value)));
        }
        for entry in fields.rest(|entry| !known::contains("model_info", &entry.key)) {
            if let Some(near) = nearest(&entry.key, fields.names()).filter(|near| near.len() > 4) {
                let message = format!("`{}` means nothing to the gateway and is only shown", entry.key);
                let diagnostic = reader.report(Severity::Warning, "free-form-key", entry.key_mark, message);
                diagnostic.help.push(format!("did you mean `{near}`?"));
            }
            let value = reader.within(&entry.key, |reader| Json::from_node(&entry.value, reader));
            self.other.insert(entry.key.clone(), value.unwrap_or_default());
        }
    }
}

settings! {
    /// An entry of `credential_list`: values that several deployments share.
    pub struct Credential in "credential_list" {
        /// What `litellm_credential_name` calls it. Required.
        pub credential_name: String = String::new();
        /// The values, by their names in `litellm_params`.
        pub credential_values: LitellmParams = LitellmParams::default();
        /// Free-form notes.
        pub credential_info: IndexMap<String, Json> = IndexMap::new();
    }
}

impl Section for Credential {
    fn settle(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        if self.credential_name.is_empty() {
            let message = "this credential has no `credential_name`";
            reader.report(Severity::Error, "missing-key", fields.mark, message);
        }
    }
}

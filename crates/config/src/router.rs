//! `router_settings`: which deployment serves a call, and what happens when it fails.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde_json::Value as Json;
use tollway_model::Secret;

use crate::diagnostic::Severity;
use crate::known;
use crate::nearest::nearest;
use crate::read::{Fields, FromNode, Reader};
use crate::section::{Section, choice, settings};
use crate::tree::{Node, Value};
use crate::values::{Decimal, DurationSchema};

choice! {
    /// How the deployment for a call is chosen among those of its model group.
    pub enum Strategy {
        /// At random, by `weight`, else `rpm`, else `tpm`.
        SimpleShuffle = "simple-shuffle",
        /// The one with the fewest calls in flight.
        LeastBusy = "least-busy",
        /// The one that answered fastest lately: by time for each output token, or to the first one of a stream.
        Latency = "latency-based-routing",
        /// The one that used the fewest tokens this minute, and has requests and tokens left.
        Usage = "usage-based-routing-v2" or "usage-based-routing",
        /// The cheapest.
        Cost = "cost-based-routing",
    }
}

settings! {
    /// `router_settings`: which deployment serves a call, and what happens when it fails.
    pub struct RouterSettings in "router_settings" {
        /// How the deployment is chosen among those of the lowest `order`. Default: `simple-shuffle`.
        /// Example: `routing_strategy: least-busy`.
        pub routing_strategy: Strategy = Strategy::SimpleShuffle;
        /// Details of the strategy.
        pub routing_strategy_args: StrategyArguments = StrategyArguments::default();
        /// Further tries of a call in its model group, from 0 to 20. Default: `litellm_settings.num_retries`, else 2.
        /// Example: `num_retries: 3`.
        pub num_retries: Option<u32> = None;
        /// Most model groups tried in place of the first, in one call. Default: `litellm_settings.max_fallbacks`, else 5.
        pub max_fallbacks: Option<u32> = None;
        /// Longest duration of one attempt where neither the deployment nor `litellm_settings.request_timeout` says.
        /// Example: `timeout: 120`.
        #[schemars(with = "Option<DurationSchema>")]
        pub timeout: Option<Duration> = None;
        /// For streamed calls: longest wait for the first content, and between two pieces, where neither the caller nor
        /// the deployment says. Default: as `timeout`.
        #[schemars(with = "Option<DurationSchema>")]
        pub stream_timeout: Option<Duration> = None;
        /// Shortest pause before a deployment is tried again. Default: `0s`. Example: `retry_after: 1`.
        #[schemars(with = "DurationSchema")]
        pub retry_after: Duration = Duration::ZERO;
        /// Further tries by kind of failure; counts more than any `num_retries`, and makes kinds be tried again that
        /// otherwise are not. Example: `retry_policy: {RateLimitErrorRetries: 3}`.
        pub retry_policy: FailureCounts = FailureCounts::default();
        /// The same for single model groups.
        pub model_group_retry_policy: IndexMap<String, FailureCounts> = IndexMap::new();
        /// Failures within `cooldown_time` after which a deployment rests. Default: `litellm_settings.allowed_fails`,
        /// else LiteLLM's rules by kind of failure.
        pub allowed_fails: Option<u32> = None;
        /// The same by kind of failure. Example: `allowed_fails_policy: {TimeoutErrorAllowedFails: 5}`.
        pub allowed_fails_policy: FailureCounts = FailureCounts::default();
        /// How long a failing deployment rests, where its provider does not say (`Retry-After`); `0`: it never does. After
        /// it, one call at a time tries whether it answers again. Default: `5s`. Example: `cooldown_time: 30`.
        #[schemars(with = "DurationSchema")]
        pub cooldown_time: Duration = Duration::from_secs(5);
        /// Lets failing deployments keep their share of the calls. Default: `false`.
        pub disable_cooldowns: bool = false;
        /// Model groups to try, in this order, when one fails; `*` stands for any. Each has its own retries and its own
        /// fallbacks. Example: `fallbacks: [{gpt-4o: [claude-sonnet]}]`.
        pub fallbacks: Fallbacks = Fallbacks::default();
        /// The same when the prompt is too long; without any, `fallbacks` count.
        /// Example: `context_window_fallbacks: [{small: [large]}]`.
        pub context_window_fallbacks: Fallbacks = Fallbacks::default();
        /// The same when the provider refuses the content; without any, `fallbacks` count.
        pub content_policy_fallbacks: Fallbacks = Fallbacks::default();
        /// Model groups to try when one without `fallbacks` of its own fails. Example: `default_fallbacks: [gpt-4o-mini]`.
        pub default_fallbacks: Vec<String> = Vec::new();
        /// Redis, for counters that several processes share. Default: `tollway.redis.url`, else `redis_host`.
        #[schemars(with = "Option<String>")]
        pub redis_url: Option<Secret> = None;
        /// The host of Redis. Default: the variable `REDIS_HOST`.
        pub redis_host: Option<String> = None;
        /// Its port. Default: the variable `REDIS_PORT`, else 6379.
        pub redis_port: Option<u32> = None;
        /// Its password. Default: the variable `REDIS_PASSWORD`.
        #[schemars(with = "Option<String>")]
        pub redis_password: Option<Secret> = None;
        /// Further names of model groups. Example: `model_group_alias: {gpt-4: gpt-4o}`.
        #[schemars(with = "IndexMap<String, Json>")]
        pub model_group_alias: IndexMap<String, Alias> = IndexMap::new();
        /// Leaves out deployments whose `max_input_tokens` the prompt exceeds, by an estimate. Default: `false`.
        pub enable_pre_call_checks: bool = false;
        /// Only deployments with the call's tags serve it. Calls without tags, and with tags that no deployment has, go to
        /// those with the tag `default`. Tags come from `metadata.tags`, `tags` and `x-litellm-tags`; `!tag` excludes and
        /// `&tag` requires. Default: `false`.
        pub enable_tag_filtering: bool = false;
        /// One common tag is enough; otherwise the deployment needs all of them. Default: `true`.
        pub tag_filtering_match_any: bool = true;
        /// Most calls in flight at a deployment that does not say itself; further ones wait. Default: no limit.
        pub default_max_parallel_requests: Option<u32> = None;
        /// Most US dollars that calls to all deployments of a provider may cost in `time_period`, by the provider's id. When
        /// it is used up, its deployments are passed over. Example:
        /// `provider_budget_config: {openai: {budget_limit: 100, time_period: 1d}}`.
        pub provider_budget_config: IndexMap<String, SpendLimit> = IndexMap::new();
        /// Tries the siblings of a failed deployment by their weights before leaving the group. Default: `false`.
        pub enable_weighted_failover: bool = false;
    }
    also {
        /// Checks before a call. `enforce_model_rate_limits` makes `rpm` and `tpm` of deployments limits that hold: a
        /// deployment that has reached one is not called, and when all have, the call is refused with 429.
        /// `router_budget_limiting` is on wherever a deployment or provider has a budget. The others are not built.
        pub optional_pre_call_checks: Vec<String>;
    }
}

settings! {
    /// Most money in a window: of a provider, or of a tag.
    pub struct SpendLimit in "" {
        /// Most US dollars in `time_period`. Required. Also written `max_budget`. Example: `100`.
        pub budget_limit or "max_budget": Option<Decimal> = None;
        /// The window: `24h`, `7d`, `1mo`. Also written `budget_duration`. Default: for ever. Example: `1d`.
        pub time_period or "budget_duration": Option<String> = None;
    }
}

impl Section for SpendLimit {
    fn settle(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        let given = fields.entry("budget_limit").or_else(|| fields.entry("max_budget"));
        if given.is_none_or(|entry| entry.value.is_null()) {
            let message = "this budget has no `budget_limit`";
            let diagnostic = reader.report(Severity::Error, "missing-key", fields.mark, message.to_owned());
            diagnostic.help.push("add the most US dollars it allows, such as `budget_limit: 100`".to_owned());
        }
    }
}

/// Most retries that a configuration may ask for.
pub(crate) const MOST_RETRIES: u32 = 20;

impl Section for RouterSettings {
    fn settle(&mut self, fields: &mut crate::read::Fields<'_>, reader: &mut Reader<'_>) {
        bound_retries(&mut self.num_retries, fields, reader);
        if let Some(entry) = fields.entry("optional_pre_call_checks").filter(|entry| !entry.value.is_null()) {
            let checks = reader.within(&entry.key, |reader| Vec::<String>::from_node(&entry.value, reader));
            self.optional_pre_call_checks = checks.unwrap_or_default();
            if self
                .optional_pre_call_checks
                .iter()
                .any(|check| check != ENFORCE_LIMITS && check != ENFORCE_BUDGETS)
            {
                reader.not_built(known::group("router_settings", &entry.key, &entry.value), entry);
            }
        }
        if self.routing_strategy_args.max_latency_list_size > MOST_LATENCIES {
            self.routing_strategy_args.max_latency_list_size = MOST_LATENCIES;
        }
    }
}

/// The check that makes the budgets of deployments and providers hold: they always do.
const ENFORCE_BUDGETS: &str = "router_budget_limiting";

/// The check that makes the limits of deployments hold.
const ENFORCE_LIMITS: &str = "enforce_model_rate_limits";

/// Most latencies that are remembered of a deployment.
const MOST_LATENCIES: u32 = 100;

impl RouterSettings {
    /// Do `rpm` and `tpm` of deployments limit their calls?
    pub fn enforces_limits(&self) -> bool {
        self.optional_pre_call_checks.iter().any(|check| check == ENFORCE_LIMITS)
    }
}

/// Keeps `num_retries` within [`MOST_RETRIES`], and says so.
pub(crate) fn bound_retries(
    retries: &mut Option<u32>,
    fields: &mut crate::read::Fields<'_>,
    reader: &mut Reader<'_>,
) {
    let Some(entry) = fields.entry("num_retries") else { return };
    if retries.is_some_and(|retries| retries > MOST_RETRIES) {
        *retries = Some(MOST_RETRIES);
        let message = format!("`num_retries` is more than {MOST_RETRIES}; {MOST_RETRIES} is used");
        reader.report(Severity::Warning, "out-of-range", entry.value.mark, message);
    }
}

settings! {
    /// `routing_strategy_args`: details of `latency-based-routing`.
    pub struct StrategyArguments in "routing_strategy_args" {
        /// How long a measured latency counts. Default: `1h`.
        #[schemars(with = "DurationSchema")]
        pub ttl: Duration = Duration::from_secs(3600);
        /// Deployments up to this share slower than the fastest count as equal to it. Default: `0`.
        /// Example: `lowest_latency_buffer: 0.2`.
        pub lowest_latency_buffer: f64 = 0.0;
        /// Latencies remembered for each deployment, at most 100. Default: `10`.
        pub max_latency_list_size: u32 = 10;
    }
}

impl Section for StrategyArguments {}

/// Another name of a model group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The group meant.
    pub model: String,
    /// Left out of the list of models.
    pub hidden: bool,
}

impl FromNode for Alias {
    const EXPECTED: &'static str = "the name of a model group, or `{model: …, hidden: true}`";

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Scalar(_) = node.value {
            return String::from_node(node, reader).map(|model| Alias { model, hidden: false });
        }
        let mut fields = crate::read::Fields::of(node, "", reader)?;
        let model = fields.take(reader, "model", &[]);
        let hidden = fields.take(reader, "hidden", &[]).unwrap_or(false);
        fields.finish(reader);
        if model.is_none() {
            reader.wrong(node, Self::EXPECTED);
        }
        Some(Alias { model: model?, hidden })
    }
}

/// What to try when a model group fails, by group, in the order written.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema)]
#[schemars(transparent)]
pub struct Fallbacks(
    /// Group and targets. The group `*` stands for any.
    #[schemars(with = "Vec<IndexMap<String, Vec<Json>>>")]
    pub Vec<(String, Vec<Target>)>,
);

/// A model group to try instead, with parameters of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The group.
    pub model: String,
    /// Request fields that replace the caller's.
    pub overrides: IndexMap<String, Json>,
}

impl FromNode for Fallbacks {
    const EXPECTED: &'static str = "a list of `{group: [other group, …]}`";

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let rules: Vec<IndexMap<String, Vec<Target>>> = crate::read::list(node, Self::EXPECTED, reader)?;
        Some(Fallbacks(rules.into_iter().flatten().collect()))
    }
}

impl FromNode for Target {
    const EXPECTED: &'static str = "the name of a model group, or `{model: …, other parameters}`";

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Scalar(_) = node.value {
            return String::from_node(node, reader).map(|model| Target { model, overrides: IndexMap::new() });
        }
        let mut overrides: IndexMap<String, Json> = crate::read::map(node, Self::EXPECTED, reader)?;
        match overrides.shift_remove("model") {
            Some(Json::String(model)) => Some(Target { model, overrides }),
            _ => {
                reader.wrong(node, Self::EXPECTED);
                None
            }
        }
    }
}

choice! {
    /// Kinds of failure that can be counted apart.
    pub enum FailureClass {
        /// 400.
        BadRequest = "BadRequestError",
        /// 401.
        Authentication = "AuthenticationError",
        /// No answer in time.
        Timeout = "TimeoutError",
        /// 429.
        RateLimit = "RateLimitError",
        /// The provider refuses the content.
        ContentPolicy = "ContentPolicyViolationError",
        /// 500.
        InternalServer = "InternalServerError",
        /// 503.
        ServiceUnavailable = "ServiceUnavailableError",
        /// 502.
        BadGateway = "BadGatewayError",
        /// 404.
        NotFound = "NotFoundError",
        /// Any other.
        Default = "Default",
    }
}

impl FailureClass {
    const ALL: [FailureClass; 10] = [
        FailureClass::BadRequest,
        FailureClass::Authentication,
        FailureClass::Timeout,
        FailureClass::RateLimit,
        FailureClass::ContentPolicy,
        FailureClass::InternalServer,
        FailureClass::ServiceUnavailable,
        FailureClass::BadGateway,
        FailureClass::NotFound,
        FailureClass::Default,
    ];
}

/// A number for kinds of failure: retries (`RateLimitErrorRetries`) or allowed failures
/// (`RateLimitErrorAllowedFails`).
#[derive(Debug, Clone, PartialEq, Eq, Default, JsonSchema)]
#[schemars(transparent)]
pub struct FailureCounts(
    /// The numbers given.
    #[schemars(with = "IndexMap<String, u32>")]
    pub IndexMap<FailureClass, u32>,
);

impl FromNode for FailureCounts {
    const EXPECTED: &'static str = "a map such as `{RateLimitErrorRetries: 3}`";

    fn from_node(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            reader.wrong(node, Self::EXPECTED);
            return None;
        };
        let allowed = entries.iter().any(|entry| entry.key.ends_with("AllowedFails"));
        let suffix = if allowed { "AllowedFails" } else { "Retries" };
        let names: Vec<(String, FailureClass)> =
            FailureClass::ALL.iter().map(|class| (format!("{}{suffix}", class.word()), *class)).collect();
        let mut counts = IndexMap::new();
        for entry in entries.iter().filter(|entry| !entry.value.is_null()) {
            let Some((_, class)) = names.iter().find(|(name, _)| *name == entry.key) else {
                let severity = if reader.lenient { Severity::Warning } else { Severity::Error };
                let near = nearest(&entry.key, names.iter().map(|(name, _)| name.as_str()));
                let help = near.map(|near| format!("did you mean `{near}`?"));
                let message = format!("unknown key `{}`", entry.key);
                reader.report(severity, "unknown-key", entry.key_mark, message).help.extend(help);
                continue;
            };
            let count = reader.within(&entry.key, |reader| u32::from_node(&entry.value, reader));
            counts.extend(count.map(|count| (*class, count)));
        }
        Some(FailureCounts(counts))
    }
}

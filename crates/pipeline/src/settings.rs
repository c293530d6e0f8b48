//! Settings that a running call needs, compiled from the configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tollway::Timeouts;
use tollway_config::{self as config, Config, FailureClass, FailureCounts, UnknownPrice};
use tollway_meters::{self as meters, Claim, Scope, ScopeKind};
use tollway_model::RawJson;
use tollway_route::{
    Budget as RetryBudget, Class, Cooling, Counts, Fallbacks, LatencyArguments, Policy, Rule, Strategy,
    TagFilter, Target,
};

/// Settings of a snapshot.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How deployments are chosen.
    pub policy: Policy,
    /// What happens when one fails.
    pub recovery: Recovery,
    /// Waits of an attempt.
    pub timeouts: Timeouts,
    /// For streams: longest wait for the first content, and between two pieces.
    pub stream_timeout: Option<Duration>,
    /// How often a silent stream gets a comment; `None`: never.
    pub keep_alive: Option<Duration>,
    /// Leave out what a provider cannot do instead of refusing the call.
    pub drop_params: bool,
    /// Deepest nesting of a request body.
    pub max_depth: usize,
    /// How much a call may ask for.
    pub calls: CallLimits,
    /// Longest wait for a call's first byte, every attempt and pause included.
    pub call_time: Duration,
    /// Limits over everything the gateway does.
    pub global_limits: Option<Claim>,
    /// Every budget holds the worst case of a call.
    pub strict_budgets: bool,
    /// Models that cost nothing may be called on an exhausted budget.
    pub free_models_pass_budgets: bool,
    /// Calls on a budget to deployments without a price.
    pub unknown_price: UnknownPrice,
    /// The status of a call refused for its budget.
    pub budget_status: u16,
    /// How long answers of the Responses API are kept; zero: not at all.
    pub keep_responses: Duration,
}

/// What happens when a deployment fails.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Further tries of a failed call in its group.
    pub retries: u32,
    /// The same by kind of failure; counts more than anyone's number.
    pub retries_by_class: Counts,
    /// The same for single groups.
    pub retries_by_group: HashMap<String, Counts>,
    /// Shortest pause before a deployment is tried again.
    pub shortest_pause: Duration,
    /// How often failed calls may be tried again at the deployment that failed them.
    pub budget: RetryBudget,
    /// Siblings that have not been tried do not count as retries.
    pub weighted_failover: bool,
    /// What to try in place of groups that failed.
    pub fallbacks: Fallbacks,
    /// Most groups tried in place of the first.
    pub max_fallbacks: usize,
    /// Every caller is told which groups failed.
    pub tell_failures: bool,
    /// Messages of errors say what was tried.
    pub explain_failures: bool,
    /// A call falls back only to groups that its caller may use.
    pub check_access: bool,
    /// Callers may make their own calls fail.
    pub allow_mocks: bool,
}

impl Recovery {
    /// Further tries after a failure of this kind in `group`, where the operator decides them by kind.
    pub(crate) fn by_class(&self, group: &str, class: Class) -> Option<u32> {
        let own = self.retries_by_group.get(group).filter(|counts| !counts.is_empty());
        own.unwrap_or(&self.retries_by_class).get(class)
    }
}

/// How much a call may ask for.
#[derive(Debug, Clone, Copy)]
pub struct CallLimits {
    /// Most answers to one prompt.
    pub n: u64,
    /// Most output tokens.
    pub output_tokens: u64,
    /// Most tools.
    pub tools: usize,
    /// Most messages.
    pub messages: usize,
    /// Most calls in flight.
    pub in_flight: usize,
}

/// Zero means "for ever" in the file; a year is long enough.
pub(crate) fn or_ever(duration: Duration) -> Duration {
    if duration.is_zero() { Duration::from_secs(365 * 24 * 3600) } else { duration }
}

/// `litellm_settings.max_budget` and `general_settings.global_max_parallel_requests`, over everything.
fn global_limits(config: &Config) -> Option<Claim> {
    let settings = &config.litellm_settings;
    // Zero is LiteLLM's default and means that there is none.
    let max = settings.max_budget.as_ref().filter(|max| max.price().picos() > 0);
    let zone = config.tollway.budgets.timezone.as_str();
    let budget = crate::budgets::limits(max, settings.budget_duration.as_deref(), zone);
    let budgets = budget.map(|limits| limits.budgets.clone()).unwrap_or_default();
    let parallel = config.general_settings.global_max_parallel_requests;
    let limits = meters::Limits { budgets, parallel, ..meters::Limits::default() };
    let scope = Scope { kind: ScopeKind::Global, id: "".into() };
    (!limits.is_empty()).then(|| Claim { scope, limits: Arc::new(limits) })
}

impl Settings {
    /// From the configuration file.
    pub fn from_config(config: &Config) -> Settings {
        let (waits, limits, calls) =
            (&config.tollway.timeouts, &config.tollway.limits, &config.tollway.calls);
        let total = config.litellm_settings.request_timeout.or(config.router_settings.timeout);
        Settings {
            policy: policy(config),
            recovery: recovery(config),
            stream_timeout: config.router_settings.stream_timeout.map(or_ever),
            timeouts: Timeouts {
                connect: None,
                first_byte: or_ever(waits.first_byte),
                idle: or_ever(waits.idle),
                total: total.map_or(Timeouts::default().total, or_ever),
            },
            keep_alive: (!waits.keep_alive.is_zero()).then_some(waits.keep_alive),
            drop_params: config.litellm_settings.drop_params,
            call_time: or_ever(waits.call),
            global_limits: global_limits(config),
            strict_budgets: config.tollway.budgets.strict,
            free_models_pass_budgets: config.tollway.budgets.free_models_pass,
            unknown_price: config.tollway.budgets.unknown_price,
            budget_status: u16::try_from(config.litellm_settings.budget_exceeded_status_code).unwrap_or(422),
            keep_responses: config.tollway.responses.keep,
            max_depth: limits.max_json_depth as usize,
            calls: CallLimits {
                n: u64::from(calls.max_n),
                output_tokens: calls.max_output_tokens,
                tools: calls.max_tools as usize,
                messages: calls.max_messages as usize,
                in_flight: limits.max_calls as usize,
            },
        }
    }
}

fn policy(config: &Config) -> Policy {
    let router = &config.router_settings;
    let arguments = &router.routing_strategy_args;
    let strategy = match router.routing_strategy {
        config::Strategy::SimpleShuffle => Strategy::Shuffle,
        config::Strategy::LeastBusy => Strategy::LeastBusy,
        config::Strategy::Latency => Strategy::Latency(LatencyArguments {
            ttl: arguments.ttl,
            buffer: arguments.lowest_latency_buffer,
            samples: arguments.max_latency_list_size.max(1) as usize,
        }),
        config::Strategy::Usage => Strategy::Usage,
        config::Strategy::Cost => Strategy::Cost,
    };
    let cooling = Cooling {
        rest: router.cooldown_time,
        allowed: config.allowed_fails(),
        allowed_by_class: counts(&router.allowed_fails_policy),
    };
    Policy {
        strategy,
        tags: router.enable_tag_filtering.then_some(TagFilter { any: router.tag_filtering_match_any }),
        check_input: router.enable_pre_call_checks,
        enforce_limits: router.enforces_limits(),
        parallel: router.default_max_parallel_requests,
        cooling: (!router.disable_cooldowns).then(|| Arc::new(cooling)),
    }
}

fn recovery(config: &Config) -> Recovery {
    let (router, general) = (&config.router_settings, &config.general_settings);
    let budget = &config.tollway.retry_budget;
    let by_group =
        router.model_group_retry_policy.iter().map(|(group, policy)| (group.clone(), counts(policy)));
    Recovery {
        retries: config.num_retries(),
        retries_by_class: counts(&router.retry_policy),
        retries_by_group: by_group.collect(),
        shortest_pause: router.retry_after,
        budget: RetryBudget { share: budget.share, floor: budget.floor },
        weighted_failover: router.enable_weighted_failover,
        fallbacks: fallbacks(config),
        max_fallbacks: config.max_fallbacks() as usize,
        tell_failures: general.expose_fallback_errors_to_caller,
        explain_failures: config.litellm_settings.expose_router_debug_in_errors,
        check_access: general.enforce_fallback_model_access,
        allow_mocks: general.dangerously_allow_mock_testing_request_params,
    }
}

fn fallbacks(config: &Config) -> Fallbacks {
    let rules = |given: &config::Fallbacks| -> Vec<Rule> {
        let target = |target: &config::Target| Target {
            group: target.model.as_str().into(),
            overrides: target
                .overrides
                .iter()
                .map(|(field, value)| (field.clone(), RawJson::from(value.clone())))
                .collect(),
        };
        let rule = |(group, targets): &(String, Vec<config::Target>)| Rule {
            group: group.clone(),
            targets: targets.iter().map(target).collect(),
        };
        given.0.iter().map(rule).collect()
    };
    let mut general = rules(config.fallbacks());
    let default = config.default_fallbacks();
    if !default.is_empty() && !general.iter().any(|rule| rule.group == "*") {
        let target = |group: &String| Target { group: group.as_str().into(), overrides: Vec::new() };
        general.push(Rule { group: "*".to_owned(), targets: default.iter().map(target).collect() });
    }
    Fallbacks {
        general,
        context_window: rules(config.context_window_fallbacks()),
        content_policy: rules(config.content_policy_fallbacks()),
    }
}

fn counts(given: &FailureCounts) -> Counts {
    let mut counts = Counts::default();
    for (class, count) in &given.0 {
        let class = match class {
            FailureClass::BadRequest => Class::BadRequest,
            FailureClass::Authentication => Class::Authentication,
            FailureClass::Timeout => Class::Timeout,
            FailureClass::RateLimit => Class::RateLimit,
            FailureClass::ContentPolicy => Class::ContentPolicy,
            FailureClass::InternalServer => Class::InternalServer,
            FailureClass::ServiceUnavailable => Class::ServiceUnavailable,
            FailureClass::BadGateway => Class::BadGateway,
            FailureClass::NotFound => Class::NotFound,
            FailureClass::Default => {
                counts.other = Some(*count);
                continue;
            }
        };
        counts.by_class.insert(class, *count);
    }
    counts
}

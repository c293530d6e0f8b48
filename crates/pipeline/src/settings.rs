//! Settings that a running call needs, compiled from the configuration.

use std::sync::Arc;
use std::time::Duration;

use tollway::Timeouts;
use tollway_config::Config;
use tollway_meters::{Budget, Claim, Limits, Scope, ScopeKind, Window};
use tollway_model::Money;

/// Settings of a snapshot.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Further tries of a failed call.
    pub retries: u32,
    /// Waits of an attempt.
    pub timeouts: Timeouts,
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
    /// The status of a call refused for its budget.
    pub budget_status: u16,
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
fn or_ever(duration: Duration) -> Duration {
    if duration.is_zero() { Duration::from_secs(365 * 24 * 3600) } else { duration }
}

/// `litellm_settings.max_budget` over everything.
fn global_limits(config: &Config) -> Option<Claim> {
    let settings = &config.litellm_settings;
    let max = Money::parse_dollars(settings.max_budget.as_ref()?.as_str())?;
    let zone = config.tollway.budgets.timezone.as_str();
    let window = settings.budget_duration.as_deref().map(|duration| Window::parse(duration, zone));
    // One that cannot be read was reported when the file was read; the budget then never resets.
    let window = window.and_then(Result::ok).unwrap_or(Window::Lifetime);
    let limits = Limits { budgets: vec![Budget { window, max: Some(max), soft: None }], ..Limits::default() };
    let scope = Scope { kind: ScopeKind::Global, id: "".into() };
    Some(Claim { scope, limits: Arc::new(limits) })
}

impl Settings {
    /// From the configuration file.
    pub fn from_config(config: &Config) -> Settings {
        let (waits, limits, calls) =
            (&config.tollway.timeouts, &config.tollway.limits, &config.tollway.calls);
        let total = config.litellm_settings.request_timeout.or(config.router_settings.timeout);
        Settings {
            retries: config.num_retries(),
            timeouts: Timeouts {
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
            budget_status: config
                .litellm_settings
                .budget_exceeded_status_code
                .and_then(|status| u16::try_from(status).ok())
                .unwrap_or(422),
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

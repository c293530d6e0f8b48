//! How long an attempt may take.

use std::time::{Duration, Instant};

use tollway::Timeouts;
use tollway_model::{Error, Kind};
use tollway_route::Deployment;

use crate::call::{Call, Control};
use crate::settings::Settings;

/// How long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// The transport's.
    pub(super) timeouts: Timeouts,
    /// When a stream's first content must be there.
    pub(super) first_content: Instant,
    /// How long that is, for the message.
    patience: Duration,
    /// The caller decided how long, or the call's own time is nearly over: when it runs out, the deployment is not to
    /// blame.
    pub(super) blameless: bool,
}

impl Waits {
    /// What holds for an attempt at `deployment` that begins `now`, in a call that ends at `deadline`.
    pub(super) fn of(
        settings: &Settings,
        deployment: &Deployment,
        call: &Call,
        deadline: Instant,
        now: Instant,
    ) -> Waits {
        let left = deadline.saturating_duration_since(now);
        let (timeouts, callers) = timeouts(settings, deployment, &call.control, call.ask.stream);
        let patience = timeouts.first_byte.min(left);
        // A stream goes on after the deadline once it has begun.
        let total = if call.ask.stream { timeouts.total } else { timeouts.total.min(left) };
        let blameless = callers || left < timeouts.first_byte.min(timeouts.total);
        let timeouts = Timeouts { first_byte: patience, total, ..timeouts };
        // Far deadlines cannot all be told as a moment.
        let first_content = now.checked_add(patience).unwrap_or(deadline);
        Waits { timeouts, first_content, patience, blameless }
    }

    /// How long an attempt can take in which nothing comes.
    pub(super) fn longest(&self, stream: bool) -> Duration {
        if stream { self.patience } else { self.timeouts.first_byte.min(self.timeouts.total) }
    }

    /// The provider sent headers and then nothing that says anything.
    pub(super) fn no_content(&self) -> Error {
        let message = format!("the provider sent no content within {:.3} s", self.patience.as_secs_f64());
        Error::new(Kind::Timeout, message).with_status(408)
    }
}

/// The caller's word counts more than the deployment's, the deployment's more than the settings'.
///
/// A whole answer has `timeout`, `litellm_settings.request_timeout`, `router_settings.timeout`. For a stream
/// `stream_timeout` comes before them, the caller's, the deployment's and the router's; it bounds the wait for the first
/// content and every silence, and the stream as a whole is bounded only where nobody gave one. Returns whether the
/// caller decided.
fn timeouts(
    settings: &Settings,
    deployment: &Deployment,
    control: &Control,
    stream: bool,
) -> (Timeouts, bool) {
    let given = control.timeout.or(deployment.timeout);
    let total = given.unwrap_or(settings.timeouts.total);
    let base = settings.timeouts;
    if !stream {
        let timeouts =
            Timeouts { first_byte: base.first_byte.min(total), idle: base.idle.min(total), total, ..base };
        return (timeouts, control.timeout.is_some());
    }
    let own = control.stream_timeout.or_else(|| {
        // A plain timeout of the caller counts more than the operator's for streams.
        let deployments = deployment.stream_timeout.filter(|_| control.timeout.is_none());
        deployments.or_else(|| settings.stream_timeout.filter(|_| given.is_none()))
    });
    let patience = own.unwrap_or(total);
    let total = if own.is_some() { Timeouts::default().total.max(patience) } else { total };
    let callers = control.stream_timeout.is_some() || (control.timeout.is_some() && own.is_none());
    let (first_byte, idle) = (base.first_byte.min(patience), base.idle.min(patience));
    (Timeouts { first_byte, idle, total, ..base }, callers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::deployment_of;

    /// Seconds until the first content, and for the whole, and whether the caller decided.
    fn check(config: &str, params: &str, control: (u64, u64), stream: bool, expected: (u64, u64, bool)) {
        let text = format!(
            "model_list: [{{model_name: a, litellm_params: {{model: openai/a, {params}}}}}]\n{config}"
        );
        let loaded = tollway_config::from_str(&text, &|_| None);
        let settings = Settings::from_config(&loaded.config.unwrap());
        let given = |seconds| (seconds > 0).then_some(Duration::from_secs(seconds));
        let control =
            Control { timeout: given(control.0), stream_timeout: given(control.1), ..Control::default() };
        let (timeouts, callers) = timeouts(&settings, &deployment_of(&text), &control, stream);
        let got = (timeouts.first_byte.as_secs(), timeouts.total.as_secs(), callers);
        assert_eq!(got, expected, "{config} {params} {control:?} {stream}");
    }

    #[test]
    fn timeouts_come_from_the_nearest_setting() {
        let router = "router_settings: {timeout: 20, stream_timeout: 5}";
        let both = "litellm_settings: {request_timeout: 10}\nrouter_settings: {timeout: 20}";
        check("", "rpm: 1", (0, 0), false, (600, 6000, false));
        check(router, "rpm: 1", (0, 0), true, (5, 6000, false));
        check(router, "rpm: 1", (0, 0), false, (20, 20, false));
        check(router, "timeout: 30", (0, 0), true, (30, 30, false));
        check(router, "timeout: 30, stream_timeout: 3", (0, 0), true, (3, 6000, false));
        check(router, "timeout: 30, stream_timeout: 3", (0, 0), false, (30, 30, false));
        check(both, "rpm: 1", (0, 0), false, (10, 10, false));
        check(router, "timeout: 30, stream_timeout: 3", (7, 0), false, (7, 7, true));
        check(router, "timeout: 30, stream_timeout: 3", (7, 0), true, (7, 7, true));
        check(router, "timeout: 30, stream_timeout: 3", (7, 2), true, (2, 6000, true));
        check(router, "timeout: 30", (0, 2), false, (30, 30, false));
    }
}

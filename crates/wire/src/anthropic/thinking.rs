//! How much to think, for the three classes of models.
//!
//! Older models take a budget in tokens, newer ones choose it themselves and take an effort in words, and some
//! cannot stop thinking. A model of which nothing is known gets what the caller wrote, in the newer form.

use tollway_model::{Capabilities, Dialect, Effort, Extras, Notices, Reasoning, Request};

pub(crate) use super::blocks_out::Thinking;

/// The smallest budget the API takes.
const LEAST_BUDGET: u64 = 1024;
/// The budget of a caller who leaves the choice to a model that cannot choose.
const USUAL_BUDGET: u64 = 2048;
/// Room for the answer beside the budget when the caller gave no limit; also the limit without thinking.
const ROOM: u64 = 4096;

/// What to send.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    pub(crate) thinking: Option<Thinking<'a>>,
    pub(crate) effort: Option<&'static str>,
    pub(crate) max_tokens: u64,
}

impl Plan<'_> {
    /// Will the model think, as far as the request says?
    pub(crate) fn is_on(&self) -> bool {
        self.thinking.as_ref().is_some_and(Thinking::is_on)
    }
}

/// Plans `thinking`, `output_config.effort` and `max_tokens` together: a budget needs room.
pub(crate) fn plan<'a>(
    request: &'a Request,
    capabilities: &Capabilities,
    is_ours: bool,
    notices: &mut Notices,
) -> Plan<'a> {
    let mut plan = Plan { max_tokens: max_tokens(request, capabilities, notices), ..Plan::default() };
    let Some(reasoning) = &request.reasoning else { return plan };
    let is_off = reasoning.disabled || reasoning.effort == Some(Effort::None);
    if is_off {
        if capabilities.thinking_always_on {
            notices.changed("reasoning_effort", "the model cannot stop thinking: it thinks as it likes");
        } else if reasoning.disabled && !capabilities.reasoning.no() {
            plan.thinking = Some(Thinking::Disabled);
        }
        return plan;
    }
    if capabilities.reasoning.no() {
        let message = "the model does not think: left out";
        // Agents of this dialect ask every model to think.
        if is_ours {
            notices.changed("thinking", message);
        } else {
            notices.dropped("reasoning_effort", message);
        }
        return plan;
    }
    if let Some(verbatim) = verbatim(&request.extras) {
        plan.thinking = Some(Thinking::Native(verbatim));
        plan.effort = reasoning.effort.map(|effort| effort_name(effort, capabilities, notices));
        return plan;
    }
    let adaptive = capabilities.adaptive_thinking.yes() || capabilities.thinking_always_on;
    let wants_budget = reasoning.budget_tokens.is_some();
    if adaptive || (!capabilities.adaptive_thinking.no() && !wants_budget) {
        plan_adaptive(reasoning, capabilities, is_ours, &mut plan, notices);
    } else {
        plan_budget(request, reasoning, capabilities, is_ours, &mut plan, notices);
    }
    plan
}

/// A form of thinking that only this dialect knows.
fn verbatim(extras: &Extras) -> Option<&tollway_model::RawJson> {
    extras.for_dialect(Dialect::Anthropic)?.get("thinking")
}

fn max_tokens(request: &Request, capabilities: &Capabilities, notices: &mut Notices) -> u64 {
    match (request.max_output_tokens, capabilities.max_output_tokens) {
        (Some(wanted), Some(most)) if wanted > most => {
            let message = format!("the model generates at most {most} tokens: {wanted} was lowered");
            notices.changed("max_tokens", message);
            most
        }
        (Some(wanted), _) => wanted,
        (None, most) => most.unwrap_or(ROOM),
    }
}

fn plan_adaptive(
    reasoning: &Reasoning,
    capabilities: &Capabilities,
    is_ours: bool,
    plan: &mut Plan<'_>,
    notices: &mut Notices,
) {
    let effort = match (reasoning.effort, reasoning.budget_tokens) {
        (Some(effort), _) => Some(effort),
        (None, Some(budget)) => {
            notices.changed("thinking.budget_tokens", "the model takes an effort, not a budget: translated");
            Some(Effort::from_budget(budget))
        }
        (None, None) => None,
    };
    plan.effort = effort.map(|effort| effort_name(effort, capabilities, notices));
    // A caller of this dialect who sets an effort alone did not ask for thinking.
    if !is_ours || reasoning.adaptive || reasoning.budget_tokens.is_some() {
        plan.thinking = Some(Thinking::Adaptive { display: display(reasoning, is_ours) });
    }
}

/// Callers of other dialects expect to see thinking without asking; newer models hide it by default.
fn display(reasoning: &Reasoning, is_ours: bool) -> Option<&'static str> {
    match reasoning.show {
        Some(true) => Some("summarized"),
        Some(false) => Some("omitted"),
        None if is_ours => None,
        None => Some("summarized"),
    }
}

fn effort_name(effort: Effort, capabilities: &Capabilities, notices: &mut Notices) -> &'static str {
    let effort = effort.max(Effort::Low);
    if capabilities.efforts.is_empty() || capabilities.efforts.contains(&effort) {
        return effort.name();
    }
    let lower = capabilities.efforts.iter().copied().filter(|known| *known <= effort).max();
    let taken =
        lower.or_else(|| capabilities.efforts.iter().copied().min()).unwrap_or(effort).max(Effort::Low);
    let message = format!("the model has no effort `{}`: sent as `{}`", effort.name(), taken.name());
    notices.changed("reasoning_effort", message);
    taken.name()
}

fn plan_budget(
    request: &Request,
    reasoning: &Reasoning,
    capabilities: &Capabilities,
    is_ours: bool,
    plan: &mut Plan<'_>,
    notices: &mut Notices,
) {
    if is_ours && let Some(effort) = reasoning.effort {
        if capabilities.efforts.is_empty() && capabilities.adaptive_thinking.no() {
            notices.changed("output_config.effort", "the model knows no effort: left out");
        } else {
            plan.effort = Some(effort_name(effort, capabilities, notices));
        }
        if !reasoning.adaptive && reasoning.budget_tokens.is_none() {
            return;
        }
    }
    let budget = reasoning.budget_tokens.or_else(|| reasoning.effort.map(Effort::budget_tokens));
    if budget.is_none() && reasoning.adaptive {
        notices.changed("thinking", "the model cannot choose its budget: 2048 tokens");
    }
    let mut budget = budget.unwrap_or(USUAL_BUDGET);
    if budget < LEAST_BUDGET {
        notices
            .changed("thinking.budget_tokens", format!("{budget} is below the least budget: raised to 1024"));
        budget = LEAST_BUDGET;
    }
    if request.max_output_tokens.is_none() {
        let most = capabilities.max_output_tokens.unwrap_or(u64::MAX);
        plan.max_tokens = budget.saturating_add(ROOM).min(most);
    }
    if plan.max_tokens <= LEAST_BUDGET {
        let message =
            format!("a limit of {} tokens leaves no room to think: thinking is off", plan.max_tokens);
        notices.changed("reasoning_effort", message);
        return;
    }
    // Interleaved thinking may exceed the limit; a caller of this dialect asks for that by a header.
    let may_interleave = is_ours && !request.tools.is_empty();
    if budget >= plan.max_tokens && !may_interleave {
        budget = plan.max_tokens - 1;
        notices
            .changed("thinking.budget_tokens", format!("the budget must fit the limit: lowered to {budget}"));
    }
    let display = reasoning.show.map(|show| if show { "summarized" } else { "omitted" });
    plan.thinking = Some(Thinking::Enabled { budget_tokens: budget, display: display.filter(|_| is_ours) });
}

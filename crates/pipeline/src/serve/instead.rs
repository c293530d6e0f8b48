//! What is asked in place of a model that a call cannot have: one whose own budget is used up, or that is served in no
//! region the customer may be served in.

use tollway_route::{Plan, Reason, Skipped};

use super::Gateway;
use crate::admission::{self, Beside, Granted};
use crate::attempts::Drawn;
use crate::call::Call;
use crate::caller::Caller;
use crate::snapshot::Snapshot;
use crate::ticket::Ticket;

impl Gateway {
    /// The first of the key's spare models that the call may use and that its budgets have room for. `None`: none of them.
    pub(super) async fn spare(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        call: &Call,
        ticket: &mut Ticket,
        beside: &Beside,
        (spent, spares): (&Drawn, &[String]),
    ) -> Option<(Drawn, Granted)> {
        let why = |model: &str| format!("a budget for this model alone is used up; {model} is asked instead");
        for model in spares {
            let may = admission::may_use(snapshot, &caller.identity, beside, model);
            let drawn = may.and_then(|()| self.plan(snapshot, call, model, ticket.tags(), beside.region()));
            let Some(drawn) = drawn.ok().filter(|drawn| !drawn.plan.candidates.is_empty()) else {
                let why = "it cannot be asked in place of a model whose budget is used up".to_owned();
                ticket.skip(&spent.counted, model.as_str().into(), None, why);
                continue;
            };
            match self.reserve(snapshot, caller, call, ticket, beside, &drawn).await {
                Ok(granted) => {
                    ticket.routed(&drawn.counted);
                    ticket.skip(&drawn.counted, spent.counted.clone(), None, why(model));
                    return Some((drawn, granted));
                }
                Err(refusal) => {
                    let why = refusal.error.message().to_owned();
                    ticket.skip(&spent.counted, model.as_str().into(), None, why);
                }
            }
        }
        None
    }
}

/// Is every deployment in another region than the call may be served in?
pub(super) fn is_elsewhere(plan: &Plan) -> bool {
    let elsewhere = |skipped: &Skipped| matches!(skipped.reason, Reason::Region(_));
    plan.candidates.is_empty() && !plan.skipped.is_empty() && plan.skipped.iter().all(elsewhere)
}

/// Says in the receipt why a group was not asked.
pub(super) fn tell_elsewhere(ticket: &mut Ticket, drawn: &Drawn) {
    for skipped in &drawn.plan.skipped {
        let reason = skipped.reason.to_string();
        ticket.skip(&drawn.counted, skipped.deployment.id.clone(), None, reason);
    }
}

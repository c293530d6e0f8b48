//! From the group asked for to those a call falls back to.
//!
//! Depth first: what a group falls back to is tried before what is left of the list it stands on, but for what every
//! group falls back to: that comes last. No group is tried twice, at most `max_fallbacks` are tried in all, and none that
//! the caller may not use.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use tollway::exchange::Ask;
use tollway_model::{Error, Kind, Operation, Origin, Result};
use tollway_route::{Deployment, Group, Plan, Target};
use tollway_wire::json::{Edits, Envelope};

use super::{Access, Dice, GroupFailure};
use crate::answer::Showing;
use crate::call::Call;
use crate::clock::board_now;
use crate::responses;
use crate::serve::{Gateway, showing};
use crate::snapshot::Snapshot;
use crate::ticket::Ticket;

/// One group's part of a call.
pub(super) struct Leg<'a> {
    /// The group, as it was asked for.
    pub(super) group: Arc<str>,
    /// The name it is counted under, in limits and receipts.
    pub(super) counted: Arc<str>,
    pub(super) plan: Plan,
    pub(super) showing: Cow<'a, Showing>,
    /// The group that the caller asked for.
    pub(super) is_first: bool,
    /// All of it rest, and another group was tried first.
    pub(super) passed_by: bool,
    /// More than one deployment is in the group.
    pub(super) siblings: bool,
    /// Tokens of the prompt, where a plan needs them.
    pub(super) input: u64,
    call: &'a Call,
    /// The call with the fields that are replaced for this group.
    changed: Option<Box<Ask>>,
}

impl<'a> Leg<'a> {
    /// The group that the caller asked for.
    pub(super) fn first(call: &'a Call, drawn: Drawn, showing: &'a Showing) -> Leg<'a> {
        let Drawn { group, counted, plan, input } = drawn;
        let siblings = plan.candidates.len() + plan.skipped.len() > 1;
        Leg {
            group,
            counted,
            plan,
            showing: Cow::Borrowed(showing),
            is_first: true,
            passed_by: false,
            siblings,
            input,
            call,
            changed: None,
        }
    }

    /// What is asked of this group.
    pub(super) fn ask(&self) -> &Ask {
        self.changed.as_deref().unwrap_or(&self.call.ask)
    }

    /// What is asked of this group, where that is not what the caller asks.
    pub(super) fn replaced(&self) -> Option<&Ask> {
        self.changed.as_deref()
    }

    /// Is there another group for this kind of failure, so that this one is not tried again?
    pub(super) fn leaves(&self, walk: &Walk<'_>, error: &Error) -> bool {
        matches!(error.kind(), Kind::ContextWindow | Kind::ContentPolicy)
            && !walk.special(&self.group, error.kind()).is_empty()
    }
}

/// What is asked of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The name it is asked for by.
    pub(crate) name: &'a str,
    pub(crate) ask: &'a Ask,
    /// Tags that choose deployments.
    pub(crate) tags: &'a [Arc<str>],
    /// The deployment that encrypted reasoning came from.
    pub(crate) origin: Option<&'a str>,
    /// The only region that it may be served in.
    pub(crate) region: Option<&'a str>,
}

/// A group in order for a call.
pub(crate) struct Drawn {
    /// Its name, as it was asked for.
    pub(crate) group: Arc<str>,
    /// The name it is counted under: [`tollway_route::Routes::counted_as`].
    pub(crate) counted: Arc<str>,
    pub(crate) plan: Plan,
    /// Tokens of the prompt, where the plan needed them.
    pub(crate) input: u64,
}

/// Which groups have failed, and which come next.
pub(super) struct Walk<'a> {
    gateway: &'a Gateway,
    snapshot: &'a Snapshot,
    call: &'a Call,
    access: Option<&'a Access>,
    region: Option<&'a str>,
    queue: VecDeque<&'a Target>,
    /// Groups that have been tried or passed over, by the names behind aliases.
    seen: Vec<Arc<str>>,
    left: usize,
    /// In the order in which they failed.
    pub(super) failures: Vec<GroupFailure>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        gateway: &'a Gateway,
        snapshot: &'a Snapshot,
        call: &'a Call,
        access: Option<&'a Access>,
    ) -> Walk<'a> {
        Walk {
            gateway,
            snapshot,
            call,
            access,
            region: None,
            queue: VecDeque::new(),
            seen: Vec::new(),
            left: snapshot.settings.recovery.max_fallbacks,
            failures: Vec::new(),
        }
    }

    /// The same, in no other region than this.
    pub(super) fn within(self, region: Option<&'a str>) -> Walk<'a> {
        Walk { region, ..self }
    }

    /// The error of the group that was asked for.
    pub(super) fn original(self) -> Error {
        let first = self.failures.into_iter().next();
        first.map_or_else(|| Error::internal("no group was tried"), |failure| failure.error)
    }

    /// What was tried in vain, for the caller: group by group, after so many attempts in all.
    pub(super) fn story(&self, attempts: usize) -> String {
        let told: Vec<String> = self
            .failures
            .iter()
            .map(|failure| format!("{} ({})", failure.group, failure.error.kind().code()))
            .collect();
        let rest = match self.failures.len() {
            1 if self.call.control.disable_fallbacks => "; fallbacks are switched off for this call",
            1 => "; it has no fallback that could be tried",
            _ => "",
        };
        format!(" [model groups that failed: {}; attempts: {attempts}{rest}]", told.join(", "))
    }

    /// Other groups than the one asked for that were called.
    pub(super) fn fallbacks(&self) -> usize {
        self.snapshot.settings.recovery.max_fallbacks - self.left
    }

    /// The leg after one that failed; `None` when there is none. Groups that are passed over say why in the receipt.
    pub(super) fn after(
        &mut self,
        leg: &Leg<'a>,
        error: Error,
        over: bool,
        ticket: &mut Ticket,
    ) -> Option<Leg<'a>> {
        let may_help = error.origin() != Origin::Caller || error.kind() == Kind::Unsupported;
        let kind = error.kind();
        self.failures.push(GroupFailure { group: leg.group.clone(), error });
        if over || !may_help {
            return None;
        }
        self.queue(leg, kind);
        self.next(ticket)
    }

    /// A leg to try instead of one whose deployments all rest.
    pub(super) fn around(&mut self, leg: &Leg<'a>, ticket: &mut Ticket) -> Option<Leg<'a>> {
        self.queue(leg, Kind::Upstream);
        self.next(ticket)
    }

    /// The leg after one that is passed over before it was tried.
    pub(super) fn instead_of(&mut self, leg: &Leg<'a>, why: String, ticket: &mut Ticket) -> Option<Leg<'a>> {
        self.left += 1;
        ticket.skip(&leg.counted, leg.group.clone(), None, why);
        self.next(ticket)
    }

    /// Is there a group that can be asked when the model of this one declines?
    pub(super) fn may_be_declined(&self, leg: &Leg<'a>) -> bool {
        if self.left == 0 || self.call.control.disable_fallbacks {
            return false;
        }
        let own = self.snapshot.routes.group_name(&leg.group);
        self.special(&leg.group, Kind::ContentPolicy).iter().any(|target| {
            let name = self.snapshot.routes.group_name(&target.group);
            let is_new = name != own && !self.has_seen(name);
            let may = self.access.is_none_or(|access| access(&target.group));
            is_new && may && self.snapshot.resolve(&target.group).is_some()
        })
    }

    /// Puts what a group falls back to before all else.
    fn queue(&mut self, leg: &Leg<'a>, failure: Kind) {
        let name = self.snapshot.routes.group_name(&leg.group);
        if !self.has_seen(name) {
            self.seen.push(name.into());
        }
        if self.call.control.disable_fallbacks {
            return;
        }
        let (targets, last) = self.targets(&leg.group, failure);
        match last {
            true => self.queue.extend(targets),
            false => targets.iter().rev().for_each(|target| self.queue.push_front(target)),
        }
    }

    fn has_seen(&self, name: &str) -> bool {
        self.seen.iter().any(|seen| seen.as_ref() == name)
    }

    fn next(&mut self, ticket: &mut Ticket) -> Option<Leg<'a>> {
        while let Some(target) = self.queue.pop_front() {
            let name = self.snapshot.routes.group_name(&target.group);
            if self.has_seen(name) {
                continue;
            }
            self.seen.push(name.into());
            match self.enter(target, ticket) {
                Ok(leg) => return Some(leg),
                Err(why) => ticket.skip(&target.group, target.group.clone(), None, why),
            }
        }
        None
    }

    /// The leg of a target; an error says why it is passed over.
    fn enter(&mut self, target: &'a Target, ticket: &Ticket) -> std::result::Result<Leg<'a>, String> {
        if self.access.is_some_and(|access| !access(&target.group)) {
            return Err("the caller may not use this model".to_owned());
        }
        if self.left == 0 {
            let most = self.snapshot.settings.recovery.max_fallbacks;
            return Err(format!("{most} fallbacks have been tried, the most there are for one call"));
        }
        let group =
            self.snapshot.resolve(&target.group).ok_or_else(|| "no deployment has this name".to_owned())?;
        let changed = match target.overrides.is_empty() {
            true => None,
            false => Some(Box::new(
                overridden(self.call, target, self.snapshot.settings.max_depth)
                    .map_err(|error| error.message().to_owned())?,
            )),
        };
        self.left -= 1;
        let call = self.call;
        let ask = changed.as_deref().unwrap_or(&call.ask);
        let mut dice = Dice::seeded(&format!("{}{}", call.id, target.group));
        let tags = ticket.tags();
        let (origin, region) = (call.origin.as_deref(), self.region);
        let asked = Asked { name: &target.group, ask, tags, origin, region };
        let Drawn { counted, plan, input, .. } = draw(self.gateway, self.snapshot, &group, &asked, &mut dice);
        let shown = Showing { model: target.group.to_string(), ..showing(call, ticket.size().input) };
        Ok(Leg {
            group: target.group.clone(),
            counted,
            plan,
            showing: Cow::Owned(shown),
            is_first: false,
            passed_by: false,
            siblings: group.len() > 1,
            input,
            call,
            changed,
        })
    }

    /// What to try in place of a group, and is it what every group falls back to?
    fn targets(&self, group: &str, failure: Kind) -> (&'a [Target], bool) {
        self.rules().targets(group, failure)
    }

    /// What to try for this kind of failure only.
    fn special(&self, group: &str, failure: Kind) -> &'a [Target] {
        self.rules().special(group, failure)
    }

    fn rules(&self) -> Rules<'a> {
        Rules { snapshot: self.snapshot, call: self.call }
    }
}

/// Which groups follow which, by the caller's word and the operator's.
#[derive(Clone, Copy)]
struct Rules<'a> {
    snapshot: &'a Snapshot,
    call: &'a Call,
}

impl<'a> Rules<'a> {
    /// What to try in place of a group: the caller's word, else the operator's. And is it what every group falls back
    /// to?
    fn targets(&self, group: &str, failure: Kind) -> (&'a [Target], bool) {
        let callers = self.call.control.fallbacks.as_deref();
        if let Some(callers) = callers {
            let targets = callers.targets(group, failure);
            if !targets.is_empty() {
                return (targets, callers.special(group, failure).is_empty() && callers.is_default(group));
            }
        }
        let special = self.special(group, failure);
        if !special.is_empty() || callers.is_some_and(|callers| !callers.general.is_empty()) {
            return (special, false);
        }
        self.operators(group, |fallbacks, name| {
            (fallbacks.targets(name, Kind::Upstream), fallbacks.is_default(name))
        })
    }

    /// What to try for this kind of failure only.
    fn special(&self, group: &str, failure: Kind) -> &'a [Target] {
        let call: &'a Call = self.call;
        let callers =
            call.control.fallbacks.as_deref().map_or(&[][..], |callers| callers.special(group, failure));
        if !callers.is_empty() {
            return callers;
        }
        self.operators(group, |fallbacks, name| fallbacks.special(name, failure))
    }

    /// Looks in the operator's fallbacks, by the name asked for and by the one behind an alias.
    fn operators<T>(&self, group: &str, find: impl Fn(&'a tollway_route::Fallbacks, &str) -> T) -> T {
        let snapshot: &'a Snapshot = self.snapshot;
        let fallbacks = &snapshot.settings.recovery.fallbacks;
        let rules = [&fallbacks.general, &fallbacks.context_window, &fallbacks.content_policy];
        if rules.into_iter().flatten().any(|rule| rule.group == group) {
            return find(fallbacks, group);
        }
        find(fallbacks, snapshot.routes.group_name(group))
    }
}

/// Every other group that a call of `group` may end at, whatever fails.
pub(crate) fn reachable(snapshot: &Snapshot, call: &Call, group: &str) -> Vec<Group> {
    let mut found = Vec::new();
    if call.control.disable_fallbacks {
        return found;
    }
    let rules = Rules { snapshot, call };
    let mut seen = vec![group];
    // The name asked for may have rules of its own.
    let mut queue = vec![group, call.ask.model.as_str()];
    while let Some(name) = queue.pop() {
        let kinds = [Kind::Upstream, Kind::ContextWindow, Kind::ContentPolicy];
        for target in kinds.into_iter().flat_map(|kind| rules.targets(name, kind).0) {
            let counted = snapshot.routes.counted_as(&target.group);
            if !seen.contains(&counted) {
                seen.push(counted);
                queue.push(&target.group);
                found.extend(snapshot.resolve(&target.group));
            }
        }
    }
    found
}

/// Puts a group in order for a call.
pub(crate) fn draw(
    gateway: &Gateway,
    snapshot: &Snapshot,
    group: &[Arc<Deployment>],
    asked: &Asked<'_>,
    dice: &mut Dice,
) -> Drawn {
    let Asked { name, ask, tags, origin, region } = *asked;
    let policy = &snapshot.settings.policy;
    let chat = matches!(ask.operation, Operation::Chat | Operation::Completion | Operation::CountTokens);
    let counted = chat && policy.wants_input(group);
    // A request that cannot be read is refused when it is sent.
    let input = if counted { ask.request().map_or(0, tollway_prices::tokens::estimate_request) } else { 0 };
    let wanted = tollway_route::Ask { streamed: ask.stream, tags, region, input };
    let mut plan =
        tollway_route::plan(group, &wanted, policy, gateway.board(), board_now(), &mut || dice.roll());
    if let Some(origin) = origin.filter(|_| group.len() > 1) {
        plan.prefer(|deployment| responses::origin(&deployment.id) == origin);
    }
    // The usual call names its group, whose name is at hand.
    let known = group.first().map(|one| &one.group);
    let shared =
        |name: &str| known.filter(|known| known.as_ref() == name).cloned().unwrap_or_else(|| name.into());
    let counted = shared(snapshot.routes.counted_as(name));
    let group = if *counted == *name { counted.clone() } else { shared(name) };
    Drawn { group, counted, plan, input }
}

/// The call with a target's fields in place of its own.
fn overridden(call: &Call, target: &Target, max_depth: usize) -> Result<Ask> {
    let mut edits: Edits = call.ask.edits.clone();
    for (field, value) in &target.overrides {
        edits.set_raw(field.clone(), value.get());
    }
    let body = call.ask.envelope.rewrite(&edits);
    let envelope = Envelope::parse(body, max_depth)?;
    let mut ask = Ask::new(call.ask.operation, call.ask.surface, target.group.as_ref(), envelope);
    ask.stream = call.ask.stream;
    ask.framing = call.ask.framing;
    ask.headers = call.ask.headers.clone();
    ask.allowed.clone_from(&call.ask.allowed);
    Ok(ask)
}

#[cfg(test)]
mod tests;

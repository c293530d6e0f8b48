//! The open record of a call: filled in as it goes, settled exactly once.
//!
//! A ticket that is dropped unsettled means that the client went away (its connection's task was dropped): it settles
//! itself with [`Outcome::ClientClosed`] and whatever usage is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tollway_accounts::KeySpend;
use tollway_meters::{AllowanceState, Demand, Hold, Meters, Refusal, Scope, ScopeKind, Spent};
use tollway_model::{Cost, Dialect, Error, FinishReason, Kind, Money, Notices, Operation, Usage};
use tollway_prices::{Facts, PriceSheet};
use tollway_route::{Answer, Deployment, Flight};
use tollway_store::records::Membership;

use crate::admission::{Services, is_of_model};
use crate::attribution::Attribution;
use crate::call::Call;
use crate::caller::Caller;
use crate::clock::board_now;
use crate::demand::Size;
use crate::serve::Place;
use tollway_ledger::{
    AttemptRecord, CostLine, CostRecord, ErrorRecord, Opened, Opening, Outcome, Receipt, Receipts,
    SkippedRecord, Timing, Who, kept, kept_word,
};

/// The open record of a call.
#[derive(Debug)]
pub(crate) struct Ticket {
    receipts: Arc<Receipts>,
    services: Arc<Services>,
    /// The call's places and money; `None` where nothing is limited.
    hold: Option<Hold>,
    /// What the caller's limits for the model of the group gave that the call fell back to.
    leg: Option<LegHold>,
    /// What the budgets of the deployment gave that the call is at.
    spot: Option<Hold>,
    /// What was held beside that when the call turned out to cost more than was thought, until it is over.
    more: Vec<Hold>,
    /// So much of that is in the caller's own budgets.
    added: Money,
    /// The journal knows of it.
    opened: Opened,
    size: Size,
    /// An attempt is at its provider: what it generates will be billed, whether or not anyone reads it.
    sent: bool,
    /// A request of this call has left.
    reached: bool,
    /// One has left for the group that was asked for.
    reached_asked: bool,
    /// One has left for the group that the call fell back to last.
    reached_leg: bool,
    /// The attempt that is on its way.
    open: Option<OpenAttempt>,
    /// Bytes of text that the answer's stream carried.
    emitted: u64,
    started: Instant,
    first_byte: Option<Duration>,
    /// Time spent waiting: for providers, and between attempts.
    waited: Duration,
    prices: Option<Arc<PriceSheet>>,
    /// Attempts that did not answer the caller, and are paid for all the same.
    discarded: Option<Box<Discarded>>,
    /// What the provider that refused last said beside its error: its rate limits.
    refusal: Option<HeaderMap>,
    /// `None` once settled.
    receipt: Option<Receipt>,
    /// The call at the deployment that answers.
    flight: Option<Flight>,
    /// Given back when the call is over, however it ends.
    _place: Option<Place>,
    /// What the caller's key has spent.
    spend: Arc<KeySpend>,
}

/// An attempt whose outcome is not known yet.
#[derive(Debug)]
struct OpenAttempt {
    deployment: Arc<Deployment>,
    group: Arc<str>,
    target: Option<Dialect>,
    since: Duration,
}

/// What was taken for the model of a group that a call fell back to.
#[derive(Debug)]
struct LegHold {
    group: Arc<str>,
    hold: Hold,
    /// Held there beside that.
    added: Money,
}

/// Answers that were thrown away because their models declined, and attempts whose answers were lost.
#[derive(Debug)]
struct Discarded {
    usage: Usage,
    charge: Charge,
    lines: Vec<CostLine>,
}

/// What something costs, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Charge {
    /// `None`: nothing is known.
    known: Option<Money>,
    /// That is all of it.
    is_whole: bool,
}

impl Charge {
    const NOTHING: Charge = Charge { known: Some(Money::ZERO), is_whole: true };
    const UNKNOWN: Charge = Charge { known: None, is_whole: false };

    fn money(self) -> Money {
        self.known.unwrap_or(Money::ZERO)
    }

    /// Both together. What is known of one is spent, whether or not the other is known.
    fn and(self, other: Charge) -> Charge {
        let is_whole = self.is_whole && other.is_whole;
        let money = self.money() + other.money();
        // Of something unknown nothing is said to be known.
        let known = (is_whole || money != Money::ZERO).then_some(money);
        Charge { known, is_whole }
    }
}

/// How an attempt ended that did not win, as far as money is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing has left the gateway: it counts for nothing.
    Unsent,
    /// The provider answered, or refused, which costs nothing.
    Told,
    /// The request has left, and what became of it is not known: its provider may bill it.
    Lost,
}

/// What an answer told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Settlement {
    pub(crate) usage: Option<Usage>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) service_tier: Option<String>,
    /// Bytes of text the answer had, for usage that the provider does not tell.
    pub(crate) emitted: u64,
}

impl Ticket {
    pub(crate) fn open(
        call: &Call,
        caller: &Caller,
        services: Arc<Services>,
        receipts: Arc<Receipts>,
        place: Option<Place>,
    ) -> Ticket {
        let receipt = Receipt {
            id: call.id.clone(),
            call_id: call.shown_id().to_owned(),
            at: call.at,
            surface: call.ask.surface,
            operation: call.ask.operation,
            model: call.ask.model.clone(),
            group: None,
            stream: call.ask.stream,
            who: who(&call.attribution, caller),
            outcome: Outcome::ClientClosed,
            status: 200,
            skipped: Vec::new(),
            attempts: Vec::new(),
            notices: call.notices.iter().cloned().map(kept).collect(),
            usage: None,
            finish: None,
            service_tier: None,
            cost: CostRecord::default(),
            error: None,
            timing: Timing::default(),
        };
        Ticket {
            receipts,
            services,
            hold: None,
            leg: None,
            spot: None,
            more: Vec::new(),
            added: Money::ZERO,
            opened: Opened::default(),
            size: Size::of(&call.ask),
            sent: false,
            reached: false,
            reached_asked: false,
            reached_leg: false,
            open: None,
            emitted: 0,
            started: call.started,
            first_byte: None,
            waited: Duration::ZERO,
            prices: None,
            discarded: None,
            refusal: None,
            receipt: Some(receipt),
            flight: None,
            _place: place,
            spend: caller.identity.spend.clone(),
        }
    }

    /// The caller's name for the model stands for another.
    pub(crate) fn routed(&mut self, group: &str) {
        if let Some(receipt) = self.receipt.as_mut().filter(|receipt| receipt.model != group) {
            receipt.group = Some(group.to_owned());
        }
    }

    /// The call has become larger: it now says what was said before.
    pub(crate) fn resize(&mut self, call: &Call) {
        self.size = Size::of(&call.ask);
    }

    /// How large the call is, as far as that can be told before it is sent.
    pub(crate) fn size(&self) -> &Size {
        &self.size
    }

    /// The call's places and money are taken; it is about to be sent.
    pub(crate) fn admitted(&mut self, hold: Option<Hold>) {
        if let (Some(hold), Some(receipt)) = (&hold, &mut self.receipt) {
            receipt.cost.held = Some(hold.held());
        }
        if let (Some(ledger), Some(receipt)) = (&self.services.ledger, &self.receipt) {
            self.opened = ledger.opened(&Opening::of(receipt));
        }
        self.hold = hold;
    }

    /// The call goes on at `group`, for whose model this was taken. The one before has spent nothing.
    pub(crate) fn enters(&mut self, group: &Arc<str>, hold: Option<Hold>) {
        let leg = hold.map(|hold| LegHold { group: group.clone(), hold, added: Money::ZERO });
        let refused = !std::mem::take(&mut self.reached_leg);
        if let Some(LegHold { hold, .. }) = std::mem::replace(&mut self.leg, leg) {
            hold.settle(Spent { refused, ..Spent::default() });
        }
    }

    /// The budgets of the deployment that the call goes to next have room for it.
    pub(crate) fn at(&mut self, spot: Option<Hold>) {
        // One that is left over was for a deployment that the call did not go to.
        self.spot = spot;
    }

    /// The call, which arrived at `at`, has left a deployment, and this is what it cost there.
    fn leaves(&mut self, attempt: &AttemptRecord, money: Money, at: i64) {
        let spot = self.spot.take();
        let AttemptRecord { deployment, provider, .. } = attempt;
        if let Some(meters) = self.services.meters.as_ref().filter(|_| money != Money::ZERO) {
            // A budget may have been set since the call came here.
            for (kind, id) in [(ScopeKind::Deployment, deployment), (ScopeKind::Provider, provider)] {
                if spot.as_ref().is_none_or(|spot| !spot.counts_for(kind)) {
                    meters.spent_late(Scope { kind, id: id.clone() }, at, money);
                }
            }
        }
        if let Some(spot) = spot {
            spot.settle(Spent { money, ..Spent::default() });
        }
    }

    /// What is held for the call.
    pub(crate) fn held(&self) -> Money {
        self.hold.as_ref().map_or(Money::ZERO, Hold::held)
    }

    /// Sees to it that the caller's budgets hold what lost attempts have cost, and `next` on top of it, which the next
    /// attempt may cost at most; `None`: no more than was thought.
    pub(crate) async fn cover(&mut self, next: Option<Money>) -> Result<(), Refusal> {
        let Some(meters) = &self.services.meters else { return Ok(()) };
        let lost = self.discarded.as_ref().map_or(Money::ZERO, |discarded| discarded.charge.money());
        let mut holds: Vec<(&Hold, &mut Money)> = Vec::with_capacity(2);
        holds.extend(self.hold.as_ref().map(|hold| (hold, &mut self.added)));
        holds.extend(self.leg.as_mut().map(|leg| (&leg.hold, &mut leg.added)));
        for (hold, added) in holds {
            let beyond = next.map_or(Money::ZERO, |next| (next - hold.held()).max(Money::ZERO));
            let wanted = lost + beyond - *added;
            let claims = if wanted > Money::ZERO { hold.budgets() } else { Vec::new() };
            if !claims.is_empty() {
                let demand = Demand { money: wanted, ..Demand::default() };
                self.more.push(meters.reserve(&claims, demand).await?);
                *added += wanted;
            }
        }
        Ok(())
    }

    /// What the caller's key has spent, this call included once it is settled; `None`: not known yet.
    pub(crate) fn key_spend(&self) -> Option<Money> {
        self.spend.known()
    }

    /// What is left of the caller's limits.
    pub(crate) fn allowances(&self) -> Vec<AllowanceState> {
        let holds = self.hold.iter().chain(self.leg.iter().map(|leg| &leg.hold));
        holds.flat_map(Hold::states).collect()
    }

    /// An attempt goes to `deployment`.
    pub(crate) fn sending(
        &mut self,
        deployment: &Arc<Deployment>,
        group: &Arc<str>,
        target: Option<Dialect>,
    ) {
        self.prices.clone_from(&deployment.prices);
        self.sent = true;
        let since = self.started.elapsed();
        self.open = Some(OpenAttempt { deployment: deployment.clone(), group: group.clone(), target, since });
    }

    /// A request of the call has left for `group`: it counts there.
    fn reaches(&mut self, group: Option<&Arc<str>>) {
        self.reached = true;
        match group {
            None => self.reached_asked = true,
            Some(_) => self.reached_leg = true,
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// A deployment, or a whole group, that is not tried, and why. `rank`: its place in the plan.
    pub(crate) fn skip(
        &mut self,
        group: &Arc<str>,
        deployment: Arc<str>,
        rank: Option<usize>,
        reason: String,
    ) {
        if let Some(receipt) = &mut self.receipt {
            let group = fallback(receipt, group);
            receipt.skipped.push(SkippedRecord { group, deployment, rank, reason });
        }
    }

    /// Was this deployment of this group tried, or does the receipt say already why not?
    pub(crate) fn tells_of(&self, group: &Arc<str>, deployment: &Arc<str>) -> bool {
        let Some(receipt) = &self.receipt else { return false };
        let group = fallback(receipt, group);
        let is_tried = receipt
            .attempts
            .iter()
            .any(|attempt| attempt.deployment == *deployment && attempt.group == group);
        is_tried || receipt.skipped.iter().any(|one| one.deployment == *deployment && one.group == group)
    }

    /// The hash of the key that calls.
    pub(crate) fn token(&self) -> &str {
        self.receipt.as_ref().map_or("", |receipt| &receipt.who.token)
    }

    /// Tags of the call, its key and its team.
    pub(crate) fn tags(&self) -> &[Arc<str>] {
        self.receipt.as_ref().map_or(&[], |receipt| &receipt.who.tags)
    }

    /// Who was not tried, so far.
    #[cfg(test)]
    pub(crate) fn skipped(&self) -> &[SkippedRecord] {
        self.receipt.as_ref().map_or(&[], |receipt| &receipt.skipped)
    }

    pub(crate) fn attempts(&self) -> &[AttemptRecord] {
        self.receipt.as_ref().map_or(&[], |receipt| &receipt.attempts)
    }

    /// The call that the provider is answering: it ends with the ticket.
    pub(crate) fn flying(&mut self, flight: Flight) {
        self.flight = Some(flight);
    }

    /// Adds a finished attempt. `waited` is the part of it spent waiting for the provider.
    pub(crate) fn attempt(&mut self, group: &Arc<str>, record: AttemptRecord, waited: Duration, end: End) {
        // Nobody bills for counting.
        let counts = self.receipt.as_ref().is_some_and(|one| one.operation == Operation::CountTokens);
        if end == End::Lost && !counts {
            self.discard(group, record, waited, Settlement::default());
        } else {
            if record.error.is_some() {
                self.leaves(&record, Money::ZERO, 0);
            }
            self.add(group, record, waited, end);
        }
    }

    fn add(&mut self, group: &Arc<str>, mut record: AttemptRecord, waited: Duration, end: End) {
        self.waited += waited;
        self.open = None;
        // A provider that answered an error does not bill it; what a thrown away answer costs is added apart.
        self.sent = record.error.is_none();
        let Some(receipt) = &mut self.receipt else { return };
        record.group = fallback(receipt, group);
        let group = record.group.clone();
        // Mostly it is the only one, and receipts are kept.
        if receipt.attempts.is_empty() {
            receipt.attempts.reserve_exact(1);
        }
        receipt.attempts.push(record);
        if end != End::Unsent {
            self.reaches(group.as_ref());
        }
    }

    /// Adds an attempt whose answer nobody gets, be it thrown away or lost. Its provider bills it.
    pub(crate) fn discard(
        &mut self,
        group: &Arc<str>,
        mut record: AttemptRecord,
        waited: Duration,
        settlement: Settlement,
    ) {
        let usage = settlement.usage.unwrap_or_else(|| self.estimate(settlement.emitted));
        let at = self.receipt.as_ref().map_or(0, |receipt| receipt.at);
        let (charge, mut lines) =
            priced(self.prices.as_deref(), &usage, settlement.service_tier.as_deref(), at);
        (record.usage, record.cost) = (Some(usage), charge.known);
        self.leaves(&record, charge.money(), at);
        self.add(group, record, waited, End::Told);
        let before = self.discarded.take();
        self.discarded = Some(Box::new(match before {
            None => Discarded { usage, charge, lines },
            Some(mut before) => {
                before.lines.append(&mut lines);
                Discarded {
                    usage: together(before.usage, usage),
                    charge: before.charge.and(charge),
                    lines: before.lines,
                }
            }
        }));
    }

    /// Tokens of an answer that so many bytes of text have come of: never more than the call allows.
    fn output_of(&self, emitted: u64) -> u64 {
        let most = self.size.limit.map_or(u64::MAX, |limit| limit.saturating_mul(self.size.answers));
        emitted.div_ceil(BYTES_PER_TOKEN).min(most)
    }

    /// What is likely to have been used for so many bytes of text.
    fn estimate(&self, emitted: u64) -> Usage {
        Usage { input: self.size.input, output: self.output_of(emitted), estimated: true, ..Usage::default() }
    }

    /// A pause between attempts is not the gateway's own time.
    pub(crate) fn paused(&mut self, pause: Duration) {
        self.waited += pause;
    }

    /// The headers of a provider's refusal; none when it did not answer.
    pub(crate) fn refused(&mut self, headers: Option<HeaderMap>) {
        self.refusal = headers;
    }

    /// The headers of the last refusal.
    pub(crate) fn refusal(&self) -> Option<&HeaderMap> {
        self.refusal.as_ref()
    }

    /// What the last attempt's failure led to, if it was one of `group`.
    pub(crate) fn then(&mut self, group: &Arc<str>, what: String) {
        let Some(receipt) = &mut self.receipt else { return };
        let group = fallback(receipt, group);
        if let Some(attempt) = receipt.attempts.last_mut().filter(|attempt| attempt.group == group) {
            attempt.then = Some(what);
        }
    }

    /// The attempt that answers: its prices are the call's.
    pub(crate) fn answering(&mut self, prices: Option<Arc<PriceSheet>>, notices: Notices) {
        self.prices = prices;
        if let Some(receipt) = &mut self.receipt {
            receipt.notices.extend(notices.into_iter().map(kept));
        }
    }

    /// What is known of usage so far, in case the client goes away.
    pub(crate) fn learn(&mut self, settlement: Settlement) {
        if let Some(receipt) = &mut self.receipt {
            receipt.usage = settlement.usage.or(receipt.usage);
            receipt.finish = settlement.finish.or(receipt.finish);
            self.emitted = self.emitted.max(settlement.emitted);
            if let Some(tier) = settlement.service_tier {
                receipt.service_tier = Some(kept_word(&tier));
            }
        }
    }

    /// The caller's answer begins. Returns how long it took until then.
    pub(crate) fn first_byte(&mut self) -> Duration {
        *self.first_byte.get_or_insert_with(|| self.started.elapsed())
    }

    /// Attempts beside the first one of each group.
    pub(crate) fn retries(&self) -> usize {
        let attempts = self.attempts();
        attempts.iter().zip(attempts.iter().skip(1)).filter(|(one, next)| one.group == next.group).count()
    }

    /// Groups that were tried after the first.
    pub(crate) fn fallbacks(&self) -> usize {
        let attempts = self.attempts();
        attempts.iter().zip(attempts.iter().skip(1)).filter(|(one, next)| one.group != next.group).count()
    }

    pub(crate) fn notices(&self) -> &[tollway_model::Notice] {
        self.receipt.as_ref().map_or(&[], |receipt| &receipt.notices)
    }

    /// Of the time `taken` so far, what was spent in the gateway itself.
    pub(crate) fn overhead(&self, taken: Duration) -> Duration {
        taken.saturating_sub(self.waited)
    }

    /// The client has the whole answer. Returns what it cost.
    pub(crate) fn answered(&mut self, settlement: Settlement) -> Cost {
        self.learn(settlement);
        self.settle(Outcome::Answered, 200, None)
    }

    /// The call failed; `status` is what the client saw.
    pub(crate) fn failed(&mut self, error: &Error, status: u16) {
        let attempted = self.receipt.as_ref().is_some_and(|receipt| !receipt.attempts.is_empty());
        let outcome = match error.kind() {
            Kind::ClientClosed => Outcome::ClientClosed,
            _ if attempted => Outcome::Failed,
            _ => Outcome::Refused,
        };
        self.settle(outcome, status, Some(error));
    }

    fn settle(&mut self, outcome: Outcome, status: u16, error: Option<&Error>) -> Cost {
        let Some(mut receipt) = self.receipt.take() else { return Cost::Unknown };
        // The caller went away while an attempt was at its provider, which will bill it.
        if let Some(open) = self.open.take() {
            let took = self.started.elapsed().saturating_sub(open.since);
            let gone = Error::new(Kind::ClientClosed, "the caller went away before the provider answered");
            let mut record = attempt_record(&open.deployment, open.target, open.since, took, Some(&gone));
            record.group = fallback(&receipt, &open.group);
            self.reaches(record.group.as_ref());
            receipt.attempts.push(record);
        }
        receipt.outcome = outcome;
        receipt.status = status;
        receipt.error = error.map(ErrorRecord::from);
        let (cost, last) = self.price(&mut receipt);
        self.land(&receipt, error);
        let total = self.started.elapsed();
        receipt.timing = Timing {
            total_us: micros(total),
            first_byte_us: self.first_byte.map(micros),
            // From its first byte on a stream flows as fast as its provider and its reader.
            overhead_us: micros(self.first_byte.unwrap_or(total).saturating_sub(self.waited)),
        };
        log(&receipt);
        self.book(&receipt, cost, last);
        self.receipts.record(receipt);
        cost
    }

    /// Tells the board how the call at the deployment that answered has ended.
    fn land(&mut self, receipt: &Receipt, error: Option<&Error>) {
        let Some(flight) = self.flight.take() else { return };
        match (receipt.outcome, error) {
            (Outcome::Failed, Some(error)) => {
                flight.failed(error, false, board_now());
            }
            // Who leaves in the middle has used what has come.
            _ => {
                let usage = receipt.usage.unwrap_or_default();
                let (tokens, output) = (usage.total(), usage.total_output());
                let answer = Answer { tokens, output, streamed: receipt.stream };
                flight.answered(&answer, board_now());
            }
        }
    }

    /// The journal first, then the holds: what the meters forget, the books must already know. `last`: what of the cost
    /// belongs to the last attempt.
    fn book(&mut self, receipt: &Receipt, cost: Cost, last: Money) {
        if let Some(ledger) = &self.services.ledger {
            ledger.closed(receipt, self.opened);
            // The end of a stream follows at once; of a whole answer, `serve` waits for it.
            if receipt.stream {
                ledger.write();
            }
        }
        if let Some(attempt) = receipt.attempts.last() {
            self.leaves(attempt, last, receipt.at);
        }
        self.spend.add(cost.known().unwrap_or(Money::ZERO));
        let services = &self.services;
        let spent = Spent {
            tokens: receipt.usage.map_or(0, |usage| usage.total()),
            money: cost.known().unwrap_or(Money::ZERO),
            refused: !self.reached,
        };
        let group = receipt.model_group();
        // An estimate says nothing of what such calls usually give.
        let told = receipt.usage.filter(|usage| !usage.estimated);
        if let Some(usage) = told.filter(|_| self.hold.is_some() || self.leg.is_some()) {
            services.usual.saw(&receipt.who.token, group, usage.total_output());
        }
        if let Some(meters) = services.meters.as_ref().filter(|_| spent.money != Money::ZERO) {
            spent_late(meters, self.hold.as_ref(), receipt, spent.money);
        }
        // What was spent counts for the model of the group that answered, here and in the books.
        match self.hold.take() {
            Some(hold) if group == receipt.asked_group() => hold.settle(spent),
            Some(hold) => hold.settle_apart(spent, &|scope| is_of_model(scope.kind), !self.reached_asked),
            None => {}
        }
        match self.leg.take() {
            Some(leg) if leg.group.as_ref() == group => leg.hold.settle(spent),
            Some(leg) => leg.hold.settle(Spent { refused: !self.reached_leg, ..Spent::default() }),
            None => {}
        }
        // All of it is in what was settled.
        self.more.clear();
    }

    /// What the call cost. One rule for all surfaces:
    ///
    /// - The provider's word on usage counts.
    /// - Where it has none and the call reached it, the prompt and the text that came are counted here, and the receipt
    ///   says `estimated`. So a caller who hangs up pays for what the provider generated until then.
    /// - Where its last word is from before the stream broke off (Anthropic tells the prompt first, and the output at the
    ///   end), more output than it told is counted in the same way.
    /// - A call that no provider took, or that every provider answered with an error, costs nothing.
    /// - An answer that was thrown away costs what it costs, beside the one that the caller got. One that was lost after
    ///   its request had left costs the prompt, estimated.
    ///
    /// Returns what is known of the cost, and what of that belongs to the last attempt.
    fn price(&self, receipt: &mut Receipt) -> (Cost, Money) {
        if receipt.usage.is_none() && self.sent && receipt.operation != Operation::CountTokens {
            receipt.usage = Some(self.estimate(self.emitted));
        }
        if let Some(usage) = &mut receipt.usage
            && self.sent
            && receipt.outcome != Outcome::Answered
            && receipt.finish.is_none()
        {
            at_least(usage, self.output_of(self.emitted));
        }
        let (mut charge, mut lines) = match &receipt.usage {
            Some(usage) => priced(self.prices.as_deref(), usage, receipt.service_tier.as_deref(), receipt.at),
            None => (Charge::NOTHING, Vec::new()),
        };
        let last = charge.money();
        if let Some(discarded) = &self.discarded {
            charge = discarded.charge.and(charge);
            lines.extend(discarded.lines.iter().cloned());
            receipt.usage =
                Some(receipt.usage.map_or(discarded.usage, |usage| together(usage, discarded.usage)));
        }
        receipt.cost.estimated = receipt.usage.is_some_and(|usage| usage.estimated);
        receipt.cost.nanos = charge.known;
        receipt.cost.partial = charge.known.is_some() && !charge.is_whole;
        receipt.cost.usd = charge.known.map(|money| money.to_string());
        receipt.cost.lines = lines;
        (charge.known.map_or(Cost::Unknown, Cost::Known), last)
    }
}

/// Tells of what a call spent whoever had no limit when it began: a budget may have been set since.
fn spent_late(meters: &Meters, hold: Option<&Hold>, receipt: &Receipt, money: Money) {
    let who = &receipt.who;
    let member = || match (&who.team, &who.user) {
        (Some(team), Some(user)) => Some(Membership::id_of(team, user).into()),
        _ => None,
    };
    let is_late = |kind: ScopeKind| hold.is_none_or(|hold| !hold.counts_for(kind));
    let tell = |kind: ScopeKind, id: Option<Arc<str>>| {
        if let Some(id) = id {
            meters.spent_late(Scope { kind, id }, receipt.at, money);
        }
    };
    for (kind, id) in [
        (ScopeKind::Key, &who.key),
        (ScopeKind::User, &who.user),
        (ScopeKind::Team, &who.team),
        (ScopeKind::Customer, &who.customer),
    ] {
        if is_late(kind) {
            tell(kind, id.clone());
        }
    }
    if is_late(ScopeKind::TeamMember) {
        tell(ScopeKind::TeamMember, member());
    }
}

/// What usage costs, and of what that is made. What has a price is spent, though something beside it has none.
fn priced(sheet: Option<&PriceSheet>, usage: &Usage, tier: Option<&str>, at: i64) -> (Charge, Vec<CostLine>) {
    let Some(sheet) = sheet else { return (Charge::UNKNOWN, Vec::new()) };
    let facts = Facts { service_tier: tier, at: Some(at / 1000), ..Facts::default() };
    let breakdown = tollway_prices::cost(sheet, usage, &facts);
    let lines = breakdown.lines.iter();
    let lines = lines
        .map(|line| CostLine { bucket: line.bucket, count: line.count, unit_picos: line.price.picos() })
        .collect();
    let charge = match breakdown.total {
        Cost::Known(money) => Charge { known: Some(money), is_whole: true },
        Cost::Unknown => {
            Charge { known: Some(breakdown.priced_part()), ..Charge::UNKNOWN }.and(Charge::NOTHING)
        }
    };
    (charge, lines)
}

/// What two answers used.
fn together(one: Usage, other: Usage) -> Usage {
    Usage {
        input: one.input + other.input,
        cache_read: one.cache_read + other.cache_read,
        cache_write: one.cache_write + other.cache_write,
        cache_write_1h: one.cache_write_1h + other.cache_write_1h,
        audio_input: one.audio_input + other.audio_input,
        image_input: one.image_input + other.image_input,
        video_input: one.video_input + other.video_input,
        output: one.output + other.output,
        reasoning: one.reasoning + other.reasoning,
        audio_output: one.audio_output + other.audio_output,
        image_output: one.image_output + other.image_output,
        accepted_prediction: one.accepted_prediction + other.accepted_prediction,
        rejected_prediction: one.rejected_prediction + other.rejected_prediction,
        web_searches: one.web_searches + other.web_searches,
        estimated: one.estimated || other.estimated,
    }
}

/// Output that came counts, whatever was told before it came.
fn at_least(usage: &mut Usage, output: u64) {
    let missing = output.saturating_sub(usage.total_output());
    if missing > 0 {
        usage.output = usage.output.saturating_add(missing);
        usage.estimated = true;
    }
}

/// Bytes of an answer's text that make a token.
pub(crate) const BYTES_PER_TOKEN: u64 = 4;

/// The caller and for whom it calls, as receipts keep it.
pub(crate) fn who(attribution: &Attribution, caller: &Caller) -> Who {
    let names = caller.identity.names.clone();
    let mut tags = attribution.tags.clone();
    tags.extend(names.tags.iter().filter(|tag| !attribution.tags.contains(tag)).cloned());
    Who {
        token: names.token,
        key: names.key,
        key_alias: names.key_alias,
        user: names.user,
        team: names.team,
        team_alias: names.team_alias,
        organization: names.organization,
        customer: attribution.customer.clone(),
        tags,
        session: attribution.session.clone(),
        address: attribution.address,
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.receipt.is_some() {
            // Whoever saw the start of an answer has seen its status.
            let status = if self.first_byte.is_some() { 200 } else { 499 };
            self.settle(Outcome::ClientClosed, status, None);
        }
    }
}

/// The group's name, unless it is the one that was asked for.
fn fallback(receipt: &Receipt, group: &Arc<str>) -> Option<Arc<str>> {
    let asked = receipt.group.as_ref().unwrap_or(&receipt.model);
    (group.as_ref() != asked.as_str()).then(|| group.clone())
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// One line a call: ids, names and numbers, never text of a prompt or an answer.
pub(crate) fn log(receipt: &Receipt) {
    let provider = receipt.attempts.last().map_or("", |attempt| attempt.provider.as_ref());
    let tokens = receipt.usage.map(|usage| (usage.total_input(), usage.total_output()));
    let (input, output) = tokens.unwrap_or_default();
    let cost = receipt.cost.usd.as_deref().unwrap_or("unknown");
    // A provider's words about a request may quote it; they are in the receipt only.
    let told = |error: &ErrorRecord| {
        let own = receipt.attempts.is_empty() || error.kind == Kind::Unsupported;
        if own { error.message.clone() } else { "see the receipt".to_owned() }
    };
    // A caller at its limit may come a thousand times a second; its receipts say so, the log need not.
    let is_limit = |error: &ErrorRecord| {
        receipt.outcome == Outcome::Refused && matches!(error.kind, Kind::RateLimit | Kind::Budget)
    };
    match &receipt.error {
        Some(error) if is_limit(error) => tracing::debug!(
            target: "tollway::call",
            receipt = receipt.id,
            model = receipt.model,
            status = receipt.status,
            kind = error.kind.code(),
            "call refused"
        ),
        Some(error) => tracing::warn!(
            target: "tollway::call",
            receipt = receipt.id,
            surface = receipt.surface.name(),
            model = receipt.model,
            provider,
            status = receipt.status,
            kind = error.kind.code(),
            error = told(error),
            "call failed"
        ),
        None => tracing::debug!(
            target: "tollway::call",
            receipt = receipt.id,
            surface = receipt.surface.name(),
            operation = receipt.operation.name(),
            model = receipt.model,
            provider,
            stream = receipt.stream,
            input,
            output,
            cost,
            took_ms = receipt.timing.total_us / 1000,
            "call"
        ),
    }
}

/// The record of an attempt that is about to be sent.
pub(crate) fn attempt_record(
    deployment: &tollway_route::Deployment,
    lane: Option<Dialect>,
    started: Duration,
    took: Duration,
    error: Option<&Error>,
) -> AttemptRecord {
    AttemptRecord {
        group: None,
        deployment: deployment.id.clone(),
        provider: deployment.provider.clone(),
        model: deployment.model.clone(),
        lane: lane.map_or("verbatim", Dialect::name).into(),
        started_us: micros(started),
        took_us: micros(took),
        error: error.map(ErrorRecord::from),
        rests_ms: None,
        usage: None,
        cost: None,
        then: None,
    }
}

#[cfg(test)]
mod tests;

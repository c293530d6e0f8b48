//! The open record of a call: filled in as it goes, settled exactly once.
//!
//! A ticket that is dropped unsettled means that the client went away (its connection's task was dropped): it settles
//! itself with [`Outcome::ClientClosed`] and whatever usage is known. What is held for the call is in [`holds`], what it
//! costs in [`charge`], and who was tried in [`story`].

mod charge;
mod holds;
mod log;
mod story;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tollway_accounts::KeySpend;
use tollway_ledger::{
    AttemptRecord, CostRecord, ErrorRecord, Opened, Opening, Outcome, Receipt, Receipts, Timing, Who, kept,
    kept_word,
};
use tollway_meters::Hold;
use tollway_model::{Cost, Dialect, Error, FinishReason, Kind, Money, Notices, Operation, Usage};
use tollway_prices::PriceSheet;
use tollway_route::{Answer, Deployment, Flight, Now};

use crate::attribution::Attribution;
use crate::call::Call;
use crate::caller::Caller;
use crate::clock::board_at;
use crate::demand::Size;
use crate::serve::Place;
use crate::services::Services;

use self::charge::Discarded;
use self::holds::LegHold;
use self::story::fallback;

pub(crate) use self::charge::BYTES_PER_TOKEN;
pub(crate) use self::log::log;
pub(crate) use self::story::attempt_record;

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
        if let Some(receipt) = &mut self.receipt {
            // It may be routed a second time, and then to what the caller named.
            receipt.group = (receipt.model != group).then(|| group.to_owned());
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

    /// What the caller's key has spent, this call included once it is settled; `None`: not known yet.
    pub(crate) fn key_spend(&self) -> Option<Money> {
        self.spend.known()
    }

    /// An attempt goes to `deployment`, now, which is `at`.
    pub(crate) fn sending(
        &mut self,
        deployment: &Arc<Deployment>,
        group: &Arc<str>,
        target: Option<Dialect>,
        at: Instant,
    ) {
        self.prices.clone_from(&deployment.prices);
        self.sent = true;
        let since = at.saturating_duration_since(self.started);
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

    /// The hash of the key that calls.
    pub(crate) fn token(&self) -> &str {
        self.receipt.as_ref().map_or("", |receipt| &receipt.who.token)
    }

    /// Tags of the call, its key and its team.
    pub(crate) fn tags(&self) -> &[Arc<str>] {
        self.receipt.as_ref().map_or(&[], |receipt| &receipt.who.tags)
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
        let now = Instant::now();
        let total = now.saturating_duration_since(self.started);
        // The caller went away while an attempt was at its provider, which will bill it.
        if let Some(open) = self.open.take() {
            let took = total.saturating_sub(open.since);
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
        self.land(&receipt, error, board_at(now));
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
    fn land(&mut self, receipt: &Receipt, error: Option<&Error>, now: Now) {
        let Some(flight) = self.flight.take() else { return };
        match (receipt.outcome, error) {
            (Outcome::Failed, Some(error)) => {
                flight.failed(error, false, now);
            }
            // Who leaves in the middle has used what has come.
            _ => {
                let usage = receipt.usage.unwrap_or_default();
                let (tokens, output) = (usage.total(), usage.total_output());
                let answer = Answer { tokens, output, streamed: receipt.stream };
                flight.answered(&answer, now);
            }
        }
    }
}

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

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

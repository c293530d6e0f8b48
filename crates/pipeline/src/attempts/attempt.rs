//! One attempt: prepared, sent, and received until its answer counts as won.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tollway::exchange::{Ask, Lane, Prepared, Refused, prepare, send};
use tollway_model::{Dialect, Error, Kind, Notices, Operation, Origin, RawJson, Retry};
use tollway_providers::Endpoint;
use tollway_route::{Deployment, Flight};
use tollway_wire::{Restore, codec};

use super::refusals::{is_unable, refusal};
use super::waits::Waits;
use super::walk::{Leg, Walk};
use super::{Run, mock};
use crate::answer::{Opened, finish_of, open};
use crate::clock::{board_at, board_now};
use crate::content;
use crate::responses;
use crate::serve::Gateway;
use crate::snapshot::FREE;
use crate::ticket::{End, Settlement, attempt_record};

/// How long the rest of a stream that declines is read for what it used.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// One attempt, which begins at `begun`. What it taught is on the board when it returns.
    pub(super) async fn attempt(
        &mut self,
        deployment: &Arc<Deployment>,
        mut flight: Flight,
        (begun, waits): (Instant, &Waits),
        leg: &Leg<'_>,
        walk: &Walk<'_>,
    ) -> Result<Opened, Error> {
        let since = begun.saturating_duration_since(self.ticket.started());
        if self.call.control.mock_timeout && leg.is_first {
            return Err(self.timed_out(deployment, waits, leg).await);
        }
        if let Some(mock) = self.call.control.mock_response.as_ref().or(deployment.mock.as_ref()) {
            return self.mocked(mock, deployment, flight, waits, leg).await;
        }
        let drop_params =
            self.call.control.drop_params.or(deployment.drop_params).unwrap_or(self.settings.drop_params);
        let endpoint = deployment.endpoint();
        let prepared = endpoint.ok_or_else(|| refusal(leg)).and_then(|endpoint| {
            Ok((endpoint, prepare(endpoint, leg.ask(), &deployment.defaults, drop_params)?))
        });
        let (endpoint, Prepared { request, lane, notices }) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let error = if is_unable(&error) { error.with_retry(Retry::Elsewhere) } else { error };
                let record = attempt_record(deployment, None, since, begun.elapsed(), Some(&error));
                self.ticket.attempt(&leg.counted, record, Duration::ZERO, End::Unsent);
                return Err(error);
            }
        };
        let target = match &lane {
            Lane::Verbatim => None,
            Lane::Translated { target, .. } => Some(*target),
        };
        let sent = Instant::now();
        self.ticket.sending(deployment, &leg.counted, target, sent);
        let spoken = target.unwrap_or(leg.ask().surface);
        let origin = leg.showing.turn.is_some() && leg.siblings && spoken == Dialect::OpenaiResponses;
        let origin = origin.then(|| responses::origin(&deployment.id));
        let result = receive(self.gateway, endpoint, request, lane, waits, leg, origin).await;
        let mut end = End::Told;
        let mut result = result.map_err(|refused| {
            end = ended(&refused);
            self.ticket.refused(refused.headers);
            refused.error
        });
        let declining = match &mut result {
            Ok(opened) if walk.may_be_declined(leg) => {
                declining(opened, leg.ask(), self.deadline.min(Instant::now() + LAST_WORDS)).await
            }
            _ => None,
        };
        let heard = Instant::now();
        let (waited, took) = (heard - sent, heard - begun);
        let mut record = attempt_record(deployment, target, since, took, result.as_ref().err());
        match (result, declining) {
            (Ok(_), Some(settlement)) => {
                let error = declined();
                record.error = Some((&error).into());
                let usage = settlement.usage.unwrap_or_default();
                let (tokens, output) = (usage.total(), usage.total_output());
                let streamed = leg.ask().stream;
                flight.answered(&tollway_route::Answer { tokens, output, streamed }, board_at(heard));
                self.ticket.discard(&leg.counted, record, waited, settlement);
                Err(error)
            }
            (Ok(mut opened), None) => {
                keep(&mut opened, leg);
                flight.answers(board_at(heard));
                self.ticket.attempt(&leg.counted, record, waited, end);
                self.ticket.flying(flight);
                let mut all: Notices = notices;
                if let Opened::Complete { notices, .. } = &opened {
                    all.extend(notices.clone());
                }
                self.ticket.answering(deployment.prices.clone(), all);
                Ok(opened)
            }
            (Err(error), _) => {
                let rest = flight.failed(&error, waits.blameless, board_at(heard));
                record.rests_ms = rest.map(|rest| u64::try_from(rest.as_millis()).unwrap_or(u64::MAX));
                self.ticket.attempt(&leg.counted, record, waited, end);
                Err(error)
            }
        }
    }

    /// An attempt that is answered here: no provider is asked.
    async fn mocked(
        &mut self,
        mock: &RawJson,
        deployment: &Arc<Deployment>,
        mut flight: Flight,
        waits: &Waits,
        leg: &Leg<'_>,
    ) -> Result<Opened, Error> {
        let delay = self.call.control.mock_delay.unwrap_or_default();
        if delay >= waits.longest(leg.ask().stream) {
            return Err(self.timed_out(deployment, waits, leg).await);
        }
        let begun = Instant::now();
        let since = begun.saturating_duration_since(self.ticket.started());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
            self.ticket.paused(delay);
        }
        let result = mock::answer(mock, leg.ask(), &leg.showing, self.ticket.size().input);
        let mut record = attempt_record(deployment, None, since, begun.elapsed(), result.as_ref().err());
        record.lane = "mocked".into();
        self.ticket.attempt(&leg.counted, record, Duration::ZERO, End::Told);
        match result {
            Ok(opened) => {
                flight.answers(board_now());
                self.ticket.flying(flight);
                let own = deployment.prices.clone().filter(|_| deployment.mock.is_some());
                let mut notices = Notices::new();
                if let Opened::Complete { notices: told, .. } = &opened {
                    notices.extend(told.clone());
                }
                self.ticket.answering(own.or_else(|| Some(FREE.clone())), notices);
                Ok(opened)
            }
            // A failure that was asked for is nobody's fault.
            Err(error) => Err(error),
        }
    }

    /// An attempt that nobody hears of, until its time is over.
    async fn timed_out(&mut self, deployment: &Arc<Deployment>, waits: &Waits, leg: &Leg<'_>) -> Error {
        let begun = Instant::now();
        let since = begun.saturating_duration_since(self.ticket.started());
        let longest = waits.longest(leg.ask().stream);
        tokio::time::sleep(longest).await;
        let error = Error::new(Kind::Timeout, "the call ran out of time because it asked for that")
            .with_origin(Origin::Upstream)
            .with_retry(Retry::Later(None))
            .with_status(408);
        let mut record = attempt_record(deployment, None, since, begun.elapsed(), Some(&error));
        record.lane = "mocked".into();
        self.ticket.attempt(&leg.counted, record, longest, End::Told);
        error
    }
}

async fn receive(
    gateway: &Gateway,
    endpoint: &Arc<Endpoint>,
    request: http::Request<tollway_wire::json::Pieces>,
    lane: Lane,
    waits: &Waits,
    leg: &Leg<'_>,
    origin: Option<String>,
) -> Result<Opened, Refused> {
    let ask = leg.ask();
    let target = match &lane {
        Lane::Verbatim => ask.surface,
        Lane::Translated { target, .. } => *target,
    };
    let received = match send(&gateway.transport, endpoint, request, target, &waits.timeouts).await {
        Ok(received) => received,
        Err(refused) => {
            log_refusal(&refused.error, target);
            return Err(refused);
        }
    };
    let opening = open(received, lane, ask, &leg.showing, endpoint, origin.as_deref());
    if !ask.stream {
        return Ok(opening.await?);
    }
    match tokio::time::timeout_at(waits.first_content.into(), opening).await {
        Ok(opened) => Ok(opened?),
        Err(_) => Err(waits.no_content().into()),
    }
}

/// What a failed attempt means for money.
fn ended(refused: &Refused) -> End {
    match (refused.is_unsent(), refused.may_be_billed()) {
        (true, _) => End::Unsent,
        (false, true) => End::Lost,
        (false, false) => End::Told,
    }
}

/// An answer that goes on a conversation is kept as soon as it is the caller's.
fn keep(opened: &mut Opened, leg: &Leg<'_>) {
    match opened {
        Opened::Stream { source, .. } => source.won(),
        Opened::Complete { body, .. } => {
            if let Some(turn) = leg.showing.turn.as_ref().filter(|_| leg.ask().operation == Operation::Chat) {
                turn.keep(body, &leg.showing.model);
            }
        }
    }
}

/// What is known of an answer in which the model declines, or its provider's filter; `None` for any other. A stream
/// declines when nothing else was said before; what it used comes last, and is waited for until `patience`.
async fn declining(opened: &mut Opened, ask: &Ask, patience: Instant) -> Option<Settlement> {
    if ask.operation != Operation::Chat {
        return None;
    }
    match opened {
        Opened::Complete { body, settlement, .. } => {
            declines(body, settlement, ask).then(|| settlement.clone())
        }
        Opened::Stream { first, source, .. } => {
            if !source.declines(first) {
                return None;
            }
            let _ = tokio::time::timeout_at(patience.into(), source.drain()).await;
            Some(source.settlement())
        }
    }
}

/// Does the model decline, or its provider's filter, in this whole answer for the caller?
fn declines(body: &[u8], settlement: &Settlement, ask: &Ask) -> bool {
    // The verbatim lane has not looked.
    let finish = settlement.finish.or_else(|| {
        let answer = codec(ask.surface).decode_response(body, &Restore::default()).ok()?;
        answer.choices.first().and_then(finish_of)
    });
    finish.is_some_and(content::declines)
}

/// The failure that an answer is thrown away for.
fn declined() -> Error {
    Error::new(Kind::ContentPolicy, "the model declined to answer")
        .with_origin(Origin::Upstream)
        .with_retry(Retry::Never)
}

/// The parts of an error that the caller must not see are for the operator's log.
fn log_refusal(error: &Error, target: Dialect) {
    if !tracing::enabled!(target: "tollway::attempt", tracing::Level::DEBUG) {
        return;
    }
    let context: Vec<String> = error.context().iter().map(|(key, value)| format!("{key}={value}")).collect();
    tracing::debug!(target: "tollway::attempt", dialect = target.name(), kind = error.kind().code(), context = context.join(" "), "attempt failed");
}

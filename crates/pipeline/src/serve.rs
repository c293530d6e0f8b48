//! The journey of a call, top to bottom.

mod answer_headers;
mod ending;
mod instead;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, StatusCode};
use tollway::Transport;
use tollway_ledger::Receipts;
use tollway_model::{Dialect, Error, Kind, Money, Operation, Result};
use tollway_route::{Board, Plan};
use tollway_wire::codec;

use crate::admission::{self, Asked, Beside, Granted, Refusal};
use crate::answer::Showing;
use crate::attempts::{self, Bounds, Dice, Drawn};
use crate::call::Call;
use crate::caller::{Caller, Presented};
use crate::control::fill_in;
use crate::headers::{self, set};
use crate::reply::{Reply, ReplyBody, StreamReply};
use crate::responses;
use crate::services::Services;
use crate::settings::Settings;
use crate::snapshot::Snapshot;
use crate::ticket::Ticket;

use self::answer_headers::{common_headers, json_headers, set_key_spend, stream_headers};
use self::ending::{refuse, reply};
use self::instead::{is_elsewhere, tell_elsewhere};

pub(crate) use self::answer_headers::id_headers;
pub use self::ending::{json_reply, render_error};

/// Everything that outlives a call.
#[derive(Debug)]
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    pub(crate) transport: Transport,
    board: Arc<Board>,
    receipts: Arc<Receipts>,
    services: Arc<Services>,
    in_flight: Arc<AtomicUsize>,
}

/// A call that may go on: in which order it is tried, and what it may fall back to.
struct Admitted {
    drawn: Drawn,
    bounds: Bounds,
}

/// A call's place among those in flight; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gateway {
    /// A gateway that serves `snapshot`.
    pub fn new(
        snapshot: Snapshot,
        transport: Transport,
        receipts: usize,
        services: Services,
    ) -> Arc<Gateway> {
        Arc::new(Gateway {
            snapshot: ArcSwap::from_pointee(snapshot),
            transport,
            board: Arc::default(),
            receipts: Arc::new(Receipts::new(receipts)),
            services: Arc::new(services),
            in_flight: Arc::default(),
        })
    }

    /// What is served now. A call keeps the snapshot it began with.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Serves `snapshot` from the next call on; running calls are not touched.
    pub fn replace(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// How the deployments are doing.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The latest receipts.
    pub fn receipts(&self) -> &Receipts {
        &self.receipts
    }

    /// What knows callers, limits and books.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Who presents this key? An error is [`Kind::Authentication`], or [`Kind::Unavailable`] while nobody can tell.
    pub async fn identify(&self, snapshot: &Snapshot, presented: &Presented) -> Result<Caller> {
        if let Some(master) = snapshot.keyring.master(presented) {
            return Ok(master.clone());
        }
        let Some(directory) = self.services.directory.as_ref().filter(|_| presented.is_virtual) else {
            return Err(presented.refusal());
        };
        let identity = directory.identify(presented.hash).await?;
        Ok(Caller { identity, key: presented.hash.id() })
    }

    /// Serves one call of an identified caller.
    ///
    /// Dropping the future means that the client went away: the provider's connection closes and the receipt says so.
    pub async fn serve(
        self: &Arc<Gateway>,
        snapshot: Arc<Snapshot>,
        caller: Caller,
        // In a box: every future it passes through would have room for it, twice.
        call: Box<Call>,
    ) -> Reply {
        let reply = self.journey(snapshot, caller, call).await;
        // Nobody sees a whole answer that a killed process would forget.
        if let (ReplyBody::Full(_), Some(ledger)) = (&reply.body, &self.services.ledger) {
            ledger.written().await;
        }
        reply
    }

    /// Steps run top to bottom; the first error ends the call.
    async fn journey(
        self: &Arc<Gateway>,
        snapshot: Arc<Snapshot>,
        caller: Caller,
        mut call: Box<Call>,
    ) -> Reply {
        let place = self.enter(&snapshot.settings);
        let full = place.is_none();
        let named = match call.ask.model.is_empty() {
            true => Box::pin(admission::name_model(&self.services, &snapshot, &caller, &mut call)).await,
            false => Ok(()),
        };
        let mut ticket = Ticket::open(&call, &caller, self.services.clone(), self.receipts.clone(), place);
        if full {
            return refuse(too_many(&snapshot.settings).into(), &call, ticket);
        }
        if let Err(error) = named {
            return refuse(error.into(), &call, ticket);
        }
        if let Err(error) = fill_in_owners_settings(&snapshot, &caller, &mut call) {
            return refuse(error.into(), &call, ticket);
        }
        if call.ask.surface == Dialect::OpenaiResponses {
            let services = &self.services;
            if let Err(error) = responses::begin(services, &snapshot.settings, &caller, &mut call).await {
                return refuse(error.into(), &call, ticket);
            }
            ticket.resize(&call);
        }
        let showing = showing(&call, ticket.size().input);
        let Admitted { drawn, bounds } = match self.admit(&snapshot, &caller, &call, &mut ticket).await {
            Ok(admitted) => admitted,
            Err(refusal) => return refuse(refusal, &call, ticket),
        };
        if let Some(local) = count_locally(&call, &drawn.plan) {
            return self.counted(local.await, &call, ticket);
        }
        if !call.ask.stream {
            let won = attempts::run(self, &snapshot, &call, drawn, &mut ticket, &showing, &bounds).await;
            return reply(won, &snapshot, &call, &caller, showing, ticket);
        }
        self.stream(snapshot, caller, call, drawn, ticket, showing, bounds).await
    }

    /// May they, now, and who serves it? The hold is the ticket's from here on.
    async fn admit(
        &self,
        snapshot: &Arc<Snapshot>,
        caller: &Caller,
        call: &Call,
        ticket: &mut Ticket,
    ) -> std::result::Result<Admitted, Refusal> {
        let services = &*self.services;
        if services.ledger.as_ref().is_some_and(|ledger| ledger.refuses()) {
            return Err(books_full().into());
        }
        services.learn_spend(&caller.identity, call.at).await;
        let (model, others) = admission::authorise(services, snapshot, caller, call, ticket.tags()).await?;
        let beside = Beside::known(&others);
        let mut drawn = self.plan(snapshot, call, &model, ticket.tags(), beside.region())?;
        if let Some(instead) = beside.default_model().filter(|_| is_elsewhere(&drawn.plan)) {
            admission::may_use(snapshot, &caller.identity, beside, instead)?;
            tell_elsewhere(ticket, &drawn);
            drawn = self.plan(snapshot, call, instead, ticket.tags(), beside.region())?;
        }
        ticket.routed(&drawn.counted);
        let reserved = self.reserve(snapshot, caller, call, ticket, beside, &drawn).await;
        let Granted { hold, only_free, is_budgeted } = match reserved {
            Err(refusal) if refusal.of_model => {
                let names = [call.ask.model.as_str(), &model, &drawn.counted];
                let mut spares = names.iter().map(|name| caller.identity.instead_of(name));
                let Some(spares) = spares.find(|spares| !spares.is_empty()) else { return Err(refusal) };
                let spare = self.spare(snapshot, caller, call, ticket, beside, (&drawn, spares));
                let Some((other, granted)) = Box::pin(spare).await else { return Err(refusal) };
                drawn = other;
                granted
            }
            reserved => reserved?,
        };
        ticket.admitted(hold);
        let access = admission::access(snapshot, call, &caller.identity, &others, only_free);
        let limited = (admission::may_fall_back(snapshot, call)
            && admission::is_limited_by_model(&caller.identity, beside))
        .then(|| (caller.identity.clone(), others.clone()));
        let is_strict = admission::is_strict(snapshot, &caller.identity);
        let region = beside.region().map(Arc::from);
        Ok(Admitted { drawn, bounds: Bounds { access, limited, region, is_budgeted, is_strict } })
    }

    /// The call's place and money at a group.
    async fn reserve(
        &self,
        snapshot: &Snapshot,
        caller: &Caller,
        call: &Call,
        ticket: &Ticket,
        beside: &Beside,
        drawn: &Drawn,
    ) -> std::result::Result<Granted, Refusal> {
        let asked = Asked {
            identity: &caller.identity,
            beside,
            model: &drawn.counted,
            call,
            plan: &drawn.plan,
            size: ticket.size(),
            tags: ticket.tags(),
        };
        admission::reserve(&self.services, snapshot, &asked).await
    }

    /// A place for one more call; `None` when the gateway is full.
    fn enter(&self, settings: &Settings) -> Option<Place> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.in_flight.clone());
        (before < settings.calls.in_flight).then_some(place)
    }

    /// Which deployments, in which order? Pure but for the clock.
    fn plan(
        &self,
        snapshot: &Snapshot,
        call: &Call,
        model: &str,
        tags: &[Arc<str>],
        region: Option<&str>,
    ) -> Result<Drawn> {
        let group = snapshot.resolve(model).ok_or_else(|| unknown_model(snapshot, model))?;
        let mock = call.control.mock.map(|mock| mock.field);
        let mock = mock
            .or(call.control.mock_response.as_ref().map(|_| "mock_response"))
            .or(call.control.mock_delay.map(|_| "mock_delay"))
            .or(call.control.mock_timeout.then_some("mock_timeout"));
        if let Some(field) = mock.filter(|_| !snapshot.settings.recovery.allow_mocks) {
            let message = format!("`{field}` is not allowed here: the operator has not switched it on");
            return Err(Error::invalid_at(field, message));
        }
        let origin = call.origin.as_deref();
        let asked = attempts::Asked { name: model, ask: &call.ask, tags, origin, region };
        Ok(attempts::draw(self, snapshot, &group, &asked, &mut Dice::seeded(&call.id)))
    }

    /// A streamed call: fast failures keep their status, a silent provider gets keep-alive comments.
    #[expect(
        clippy::too_many_arguments,
        reason = "the call's parts, taken over whole by a future of their own"
    )]
    async fn stream(
        self: &Arc<Gateway>,
        snapshot: Arc<Snapshot>,
        caller: Caller,
        call: Box<Call>,
        drawn: Drawn,
        mut ticket: Ticket,
        showing: Showing,
        bounds: Bounds,
    ) -> Reply {
        let keep_alive = snapshot.settings.keep_alive;
        let call: Arc<Call> = Arc::from(call);
        let allowances = ticket.allowances();
        let spend = ticket.key_spend();
        let group = drawn.plan.candidates.first().map(|first| first.deployment.group.clone());
        // Written into its box: `Box::pin` would make it on the stack and move its kilobytes.
        let mut run = Box::into_pin(Box::write(Box::new_uninit(), {
            let (gateway, snapshot, call, showing) =
                (self.clone(), snapshot.clone(), call.clone(), showing.clone());
            async move {
                let won =
                    attempts::run(&gateway, &snapshot, &call, drawn, &mut ticket, &showing, &bounds).await;
                (ticket, won)
            }
        }));
        let first = match keep_alive {
            Some(patience) => tokio::time::timeout(patience, &mut run).await.ok(),
            None => Some((&mut run).await),
        };
        if let Some((ticket, won)) = first {
            return reply(won, &snapshot, &call, &caller, showing, ticket);
        }
        // Who answers is not known yet, and what is left of the caller's limits is.
        let mut out = HeaderMap::with_capacity(16 + 8 * allowances.len());
        common_headers(&mut out, &call);
        if let Some(group) = group {
            set(&mut out, headers::MODEL_GROUP, &*group);
        }
        set_key_spend(&mut out, spend);
        admission::limit_headers(&allowances, Money::ZERO, &mut out);
        stream_headers(&mut out, &showing);
        let pending = Box::pin(async move {
            let (ticket, won) = run.await;
            (ticket, won.map(|won| won.opened))
        });
        let body = ReplyBody::Stream(Box::new(StreamReply::waiting(pending, showing, keep_alive)));
        Reply { status: StatusCode::OK, headers: out, body }
    }

    fn counted(&self, tokens: Result<u64>, call: &Call, mut ticket: Ticket) -> Reply {
        let tokens = match tokens {
            Ok(tokens) => tokens,
            Err(error) => return refuse(error.into(), call, ticket),
        };
        ticket.answered(crate::ticket::Settlement::default());
        let mut out = HeaderMap::with_capacity(8);
        common_headers(&mut out, call);
        json_headers(&mut out);
        let body = ReplyBody::full(codec(call.ask.surface).encode_count(tokens));
        Reply { status: StatusCode::OK, headers: out, body }
    }
}

/// Providers whose dialect cannot count get their tokens counted here, with OpenAI's encodings.
fn count_locally(call: &Call, plan: &Plan) -> Option<impl Future<Output = Result<u64>> + use<>> {
    if call.ask.operation != Operation::CountTokens {
        return None;
    }
    let deployment = &plan.candidates.first()?.deployment;
    if deployment.mock.is_none()
        && deployment.endpoint()?.lane(Operation::CountTokens, call.ask.surface).is_some()
    {
        return None;
    }
    let request = call.ask.request().cloned();
    let model = deployment.model.clone();
    Some(async move {
        let request = request?;
        // The first use loads the encodings, which takes half a second.
        let counted =
            tokio::task::spawn_blocking(move || tollway_prices::tokens::count_request(&model, &request))
                .await;
        counted.map(|count| count.tokens).map_err(|_| Error::internal("token counting failed"))
    })
}

/// Money must not be lost: what cannot be booked is not spent.
fn books_full() -> Error {
    let message = "the journal of calls is full because the database has been away for long; try again later";
    Error::new(Kind::Unavailable, message)
        .with_retry(tollway_model::Retry::Later(Some(Duration::from_secs(30))))
}

fn too_many(settings: &Settings) -> Error {
    let message =
        format!("{} calls are in flight, the most this gateway serves at once", settings.calls.in_flight);
    Error::new(Kind::Unavailable, message)
        .with_retry(tollway_model::Retry::Later(Some(Duration::from_secs(1))))
}

fn unknown_model(snapshot: &Snapshot, model: &str) -> Error {
    let similar = snapshot.routes.similar(model);
    let hint = match similar.as_slice() {
        [] => "GET /v1/models lists the models there are".to_owned(),
        names => format!("did you mean {}? GET /v1/models lists them all", names.join(" or ")),
    };
    Error::invalid_at("model", format!("Invalid model name passed in model={model}: {hint}"))
        .with_provider(Some("model_not_found".into()), None)
}

/// What a caller sees of an answer that the provider does not decide.
pub(crate) fn showing(call: &Call, prompt: u64) -> Showing {
    Showing {
        surface: call.ask.surface,
        model: call.ask.model.clone(),
        id: call.turn.as_ref().map_or_else(|| call.id.clone(), |turn| turn.id().to_owned()),
        turn: call.turn.clone(),
        created: call.at / 1000,
        include_usage: call.include_usage,
        legacy_functions: call.legacy_functions,
        framing: call.ask.framing,
        prompt,
    }
}

/// What the call does not say of retries, waits and fallbacks, its key may, and after it the key's team.
fn fill_in_owners_settings(snapshot: &Snapshot, caller: &Caller, call: &mut Call) -> Result<()> {
    let identity = &caller.identity;
    let of_key = identity.principal.key.as_ref().and_then(|key| key.router_settings.as_ref());
    let of_team = identity.principal.team.as_ref().and_then(|team| team.router_settings.as_ref());
    for settings in [of_key, of_team].into_iter().flatten() {
        let may = |model: &str| identity.may_use(model, snapshot.access_groups(model)).is_ok();
        fill_in(&mut call.control, settings, &may)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The connection to Redis or Valkey, and the breaker that keeps its faults away from calls.
//!
//! A call uses the connection only while it is known to work, and waits no longer than the bound, which is the store's:
//! what waits behind other calls of a burst, or because this machine is busy, gets the time for it on top. After an error
//! of the connection, or three answers that did not come in time, the connection is dropped: calls find none and go on at
//! once, those that wait on it, too. One task in the background connects again, twice a second at most.
//!
//! Three answers that do not come say little when all three were asked for in one moment: a machine that stood still for
//! it looks the same. So the store must have been silent for as long as three questions one after the other take, too.
//! Until then a call asks again, which is what it would have waited anyway.

mod settings;
mod wire;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use redis::RedisResult;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::Clock;

pub use settings::{RedisAddress, RedisSettings};
pub(crate) use wire::Wire;

/// So many operations in a row may fail before the connection is given up.
const FAILURES: u32 = 3;
/// And the first of them must have been asked for so long ago, unless the connection is broken.
const SILENCE: Duration = Duration::from_millis(60);
/// Pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(500);
/// How often an idle connection is tried.
const TRIAL: Duration = Duration::from_secs(1);
/// A connection that was given up sooner than this after it was made gets a longer pause, so that a store that works now
/// and then does not fill the log.
const STEADY: Duration = Duration::from_secs(5);
/// Most time what was missed while the store was away may take to be caught up with.
const CATCH_UP: Duration = Duration::from_secs(3);
/// What each operation ahead of another on the same connection adds to its bound: a script takes a tenth of that, and
/// some processes share the store.
const TURN: Duration = Duration::from_micros(250);
/// A wait that ends so much later than asked for was prolonged by this machine, not by the store.
const LATE: Duration = Duration::from_millis(4);
/// Most time an operation gets because this machine is busy.
const LATEST: Duration = Duration::from_millis(250);
/// Messages that wait for a subscriber; more, and it is told that some were missed.
const MESSAGES: usize = 1024;

/// The shared store does not answer. Calls do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared store is away")]
pub struct Away;

/// Does the shared store answer, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// It answers.
    pub up: bool,
    /// Since when this is so, milliseconds since 1970.
    pub since: i64,
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Somebody published this.
    Message(Vec<u8>),
    /// Messages may have been missed: the subscription is new, the connection was, or there were too many.
    Gap,
}

/// A connection to Redis or Valkey whose faults never delay anybody by more than its bound. Cheap to clone; gone with the
/// last clone.
#[derive(Clone)]
pub struct Redis {
    link: Arc<Link>,
    _keeper: Arc<Keeper>,
}

/// What is done after connecting and before calls use the connection.
pub(crate) type CatchUp = Box<dyn Fn(Arc<Wire>) -> BoxFuture<'static, Result<(), Away>> + Send + Sync>;

struct Link {
    settings: RedisSettings,
    clock: Arc<dyn Clock>,
    /// The connection, while it works.
    wire: ArcSwapOption<Wire>,
    failures: AtomicU32,
    /// When the first of them was asked for, milliseconds after `begun`.
    silent_since: AtomicU64,
    begun: Instant,
    health: Mutex<Health>,
    /// The connection was given up: for the task that connects again.
    lost: Notify,
    /// The same, for those who wait for an answer on it.
    given_up: Notify,
    /// Operations on their way.
    in_flight: AtomicUsize,
    catch_up: OnceLock<CatchUp>,
}

/// Ends the task with the last handle.
struct Keeper(JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Redis {
    /// Connects in the background, now and whenever the connection is lost. Must be called within a Tokio runtime.
    pub fn start(settings: RedisSettings, clock: Arc<dyn Clock>) -> Redis {
        let health = Mutex::new(Health { up: false, since: clock.wall() });
        let link = Arc::new(Link {
            settings,
            clock,
            wire: ArcSwapOption::empty(),
            failures: AtomicU32::new(0),
            silent_since: AtomicU64::new(0),
            begun: Instant::now(),
            health,
            lost: Notify::new(),
            given_up: Notify::new(),
            in_flight: AtomicUsize::new(0),
            catch_up: OnceLock::new(),
        });
        let keeper = tokio::spawn(Arc::clone(&link).keep());
        Redis { link, _keeper: Arc::new(Keeper(keeper)) }
    }

    /// Does it answer?
    pub fn health(&self) -> Health {
        *self.link.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Away> {
        let command = redis::cmd("GET").arg(self.key(key)).take();
        self.run(async |wire: &mut Wire| command.query_async(wire).await).await
    }

    /// Sets a key for so long.
    pub async fn set(&self, key: &str, value: &[u8], lives: Duration) -> Result<(), Away> {
        let lives = u64::try_from(lives.as_millis()).unwrap_or(u64::MAX).max(1);
        let command = redis::cmd("SET").arg(self.key(key)).arg(value).arg("PX").arg(lives).take();
        self.run(async |wire: &mut Wire| command.query_async(wire).await).await
    }

    /// Removes a key.
    pub async fn delete(&self, key: &str) -> Result<(), Away> {
        let command = redis::cmd("DEL").arg(self.key(key)).take();
        self.run(async |wire: &mut Wire| command.query_async(wire).await).await
    }

    /// Tells all who subscribed to the channel, here and elsewhere.
    pub async fn publish(&self, channel: &str, message: &[u8]) -> Result<(), Away> {
        let command = redis::cmd("PUBLISH").arg(self.key(channel)).arg(message).take();
        self.run(async |wire: &mut Wire| command.query_async(wire).await).await
    }

    /// What is published on a channel from now on, for as long as the receiver is kept. The first thing heard after the
    /// subscription begins, or begins again, is a [`Heard::Gap`]. Must be called within a Tokio runtime.
    pub fn subscribe(&self, channel: &str) -> mpsc::Receiver<Heard> {
        let (sender, receiver) = mpsc::channel(MESSAGES);
        let (settings, channel) = (self.link.settings.clone(), self.key(channel));
        tokio::spawn(async move {
            while !sender.is_closed() {
                tokio::select! {
                    () = sender.closed() => return,
                    // It ends with the connection; why is logged by the one that calls use.
                    _ = listen(&settings, &channel, &sender) => {}
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        receiver
    }

    /// The namespace as it stands before every key: its braces make a cluster keep all keys together.
    pub(crate) fn space(&self) -> String {
        format!("{{{}}}", self.link.settings.namespace)
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.space())
    }

    /// What to do after connecting, before calls use the connection. Only the first is kept.
    pub(crate) fn catch_up(&self, catch_up: CatchUp) {
        let _ = self.link.catch_up.set(catch_up);
    }

    /// Is there a connection that works, as far as is known?
    pub(crate) fn is_up(&self) -> bool {
        self.link.wire.load().is_some()
    }

    /// Does something for a call, within the bound.
    pub(crate) async fn run<T>(&self, act: impl AsyncFnOnce(&mut Wire) -> RedisResult<T>) -> Result<T, Away> {
        self.run_within(self.link.settings.within, act).await
    }

    /// Does something in the background, within a longer bound.
    pub(crate) async fn run_within<T>(
        &self,
        within: Duration,
        act: impl AsyncFnOnce(&mut Wire) -> RedisResult<T>,
    ) -> Result<T, Away> {
        let wire = self.link.wire.load_full().ok_or(Away)?;
        self.link.attempt(&wire, within, act).await
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("health", &self.health()).finish_non_exhaustive()
    }
}

impl Link {
    async fn attempt<T>(
        &self,
        wire: &Arc<Wire>,
        within: Duration,
        act: impl AsyncFnOnce(&mut Wire) -> RedisResult<T>,
    ) -> Result<T, Away> {
        let mut ours = Wire::clone(wire);
        let turn = Turn::take(&self.in_flight);
        let bound = within + TURN * turn.ahead;
        let asked_at = Instant::now();
        let mut given_up = std::pin::pin!(self.given_up.notified());
        given_up.as_mut().enable();
        let answer = tokio::select! {
            biased;
            answer = patiently(bound, act(&mut ours)) => answer,
            () = given_up => return Err(Away),
        };
        match answer {
            Some(Ok(answer)) => {
                self.failures.store(0, Ordering::Relaxed);
                Ok(answer)
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "an operation of the shared store failed");
                let broken = error.is_unrecoverable_error() || error.is_io_error();
                self.failed(wire, asked_at, broken, &error);
                Err(Away)
            }
            None => {
                self.failed(wire, asked_at, false, &format_args!("no answer within {bound:?}"));
                Err(Away)
            }
        }
    }

    fn failed(&self, wire: &Arc<Wire>, asked_at: Instant, broken: bool, why: &dyn fmt::Display) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures == 1 {
            let since = asked_at.saturating_duration_since(self.begun).as_millis();
            self.silent_since.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        let since = Duration::from_millis(self.silent_since.load(Ordering::Relaxed));
        let silent = self.begun.elapsed().saturating_sub(since);
        if !broken && (failures < FAILURES || silent < SILENCE) {
            return;
        }
        // Only the first of those that failed on this connection gives it up.
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = self.wire.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, wire));
        if !is_current {
            return;
        }
        self.wire.store(None);
        *health = Health { up: false, since: self.clock.wall() };
        drop(health);
        tracing::warn!(%why, "the shared store is away; limits are kept by each process for its share");
        self.lost.notify_one();
        self.given_up.notify_waiters();
    }

    async fn keep(self: Arc<Self>) {
        let mut told = false;
        loop {
            let began = Instant::now();
            match self.connect().await {
                Ok(()) => {
                    told = true;
                    self.watch().await;
                }
                Err(why) if !told => {
                    told = true;
                    tracing::warn!(%why, "the shared store cannot be reached; limits are kept by each process");
                }
                Err(why) => tracing::debug!(%why, "the shared store is still away"),
            }
            tokio::time::sleep(if began.elapsed() < STEADY { 2 * PAUSE } else { PAUSE }).await;
        }
    }

    /// Connects, catches up, and lets calls use the connection.
    async fn connect(&self) -> Result<(), String> {
        let within = self.settings.connect_within;
        let connecting = tokio::time::timeout(within, Wire::connect(&self.settings));
        let wire = connecting.await.map_err(|_| format!("no connection within {within:?}"))?;
        let wire = Arc::new(wire.map_err(|error| error.to_string())?);
        // The first command after connecting may be slow; the second must be as fast as calls need it.
        for within in [within, self.settings.within] {
            let trial = tokio::time::timeout(within, trial(&self.settings, &mut Wire::clone(&wire))).await;
            trial.map_err(|_| format!("no answer within {within:?}"))?.map_err(|error| error.to_string())?;
        }
        if let Some(catch_up) = self.catch_up.get() {
            let caught_up = tokio::time::timeout(CATCH_UP, catch_up(Arc::clone(&wire))).await;
            caught_up
                .map_err(|_| "catching up takes too long".to_owned())?
                .map_err(|away| away.to_string())?;
        }
        self.failures.store(0, Ordering::Relaxed);
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        self.wire.store(Some(wire));
        *health = Health { up: true, since: self.clock.wall() };
        drop(health);
        tracing::info!("the shared store answers");
        Ok(())
    }

    /// Returns when the connection was given up.
    async fn watch(&self) {
        loop {
            tokio::select! {
                () = self.lost.notified() => return,
                () = tokio::time::sleep(TRIAL) => {}
            }
            // A store that has stopped answering is found out before a call finds it out.
            for _ in 0..FAILURES {
                let Some(wire) = self.wire.load_full() else { break };
                let tried = self.attempt(&wire, self.settings.within, async |wire: &mut Wire| {
                    trial(&self.settings, wire).await
                });
                if tried.await.is_ok() {
                    break;
                }
            }
        }
    }
}

/// A place among the operations on their way.
struct Turn<'a> {
    in_flight: &'a AtomicUsize,
    /// So many were there before.
    ahead: u32,
}

impl<'a> Turn<'a> {
    fn take(in_flight: &'a AtomicUsize) -> Turn<'a> {
        let ahead = u32::try_from(in_flight.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX);
        // Whoever is behind more than this does without.
        Turn { in_flight, ahead: ahead.min(1000) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for so long; again when the wait itself was late, because then the answer may be here and nobody had the time to
/// look. `None`: it did not come.
async fn patiently<T>(bound: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        if let Ok(answer) = tokio::time::timeout(bound, answer.as_mut()).await {
            return Some(answer);
        }
        if asked.elapsed() < bound + LATE || begun.elapsed() > LATEST {
            return None;
        }
    }
}

/// Something that every server can answer, cluster or not.
async fn trial(settings: &RedisSettings, wire: &mut Wire) -> RedisResult<()> {
    let key = format!("{{{}}}:leases", settings.namespace);
    redis::cmd("EXISTS").arg(key).query_async::<i64>(wire).await.map(|_| ())
}

/// Listens until the connection or the receiver is gone.
async fn listen(settings: &RedisSettings, channel: &str, sender: &mpsc::Sender<Heard>) -> RedisResult<()> {
    let connecting = async {
        let mut messages = wire::client(settings).await?.get_async_pubsub().await?;
        messages.subscribe(channel).await?;
        RedisResult::Ok(messages)
    };
    let Ok(connected) = tokio::time::timeout(settings.connect_within, connecting).await else {
        return Ok(());
    };
    let (mut sink, mut messages) = connected?.split();
    let mut gap = sender.try_send(Heard::Gap).is_err();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            // Silence may be a connection that is dead without having said so.
            () = tokio::time::sleep(2 * TRIAL) => {
                match tokio::time::timeout(settings.connect_within, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => continue,
                    _ => return Ok(()),
                }
            }
        };
        let Some(message) = message else { return Ok(()) };
        // What comes after a gap that could not be told must not be heard before it.
        gap = gap && sender.try_send(Heard::Gap).is_err();
        gap = gap || sender.try_send(Heard::Message(message.get_payload_bytes().to_vec())).is_err();
    }
}

//! Meters of several processes that count together in Redis or Valkey.
//!
//! Every decision is one script there, for one call or for a block of several. What a process settles is told in batches
//! in the background. When the store is away, each process goes on with its share of what was left, and tells what
//! happened when the store is back.
//!
//! What a process spent is in the ledger, whatever becomes of the process or of the store. A purse that may have missed
//! some of it, because a process died or the store lost its memory, is in doubt: for a day it is compared with the ledger
//! now and then, and never says less than that.
//!
//! The store's own numbers are doubles inside scripts and whole 64-bit numbers in its sums: money up to nine million
//! dollars a limit is compared exactly, and summed exactly beyond.

mod background;
mod blocks;
mod decide;
mod doubts;
mod message;
mod outbox;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{FromRedisValue, Script, ScriptInvocation};
use tokio::sync::Notify;
use tollway_model::Money;

use crate::hold::Taken;
use crate::link::Wire;
use crate::meters::{Inner, Options};
use crate::pool::Pools;
use crate::state::Moment;
use crate::{Away, Demand, Redis, Scope, Spent};

use background::keep;
use blocks::Blocks;
pub(crate) use blocks::Undecided;
use decide::parts;
use message::{Adjustment, Settlement};
pub(crate) use message::{Apart, Part, Pot};
use outbox::{Batch, Outbox};

/// Most time a script may take that no call waits for.
const BACKGROUND: Duration = Duration::from_millis(500);
/// Holds in one renewal, and settlements in one batch.
const BATCH: usize = 64;
/// How often a process says that it is alive.
const BEAT: Duration = Duration::from_secs(1);
/// A process that was not heard of for so long shares no limits any more, milliseconds.
const SILENT: u64 = 10_000;
/// So long what blocks have to tell waits for more of it.
const PACE: Duration = Duration::from_millis(20);
/// So long after the store has lost its memory there are no blocks, milliseconds: what they have not told yet would be
/// counted twice where another process asks the ledger for what is lost.
const CALM: u64 = 2000;
/// So often the store is asked for a decision that did not come in time.
const TRIES: usize = 3;
/// So often a decision may find purses that must be seeded; each time it is fewer, unless the store is emptied meanwhile.
const ROUNDS: usize = 8;

/// What the meters of one process share with others.
pub(crate) struct Shared {
    redis: Redis,
    space: String,
    /// Milliseconds.
    lease: u64,
    /// This process, until it ends.
    process: String,
    next: AtomicU64,
    /// How many processes there are, as far as is known.
    processes: AtomicU64,
    live: Mutex<HashMap<u64, Arc<Registration>>>,
    pools: Pools,
    /// Nobody draws from blocks before this moment of the steady clock.
    calm_until: AtomicU64,
    blocks: Mutex<Blocks>,
    outbox: Mutex<Outbox>,
    /// The name the store had when it was last heard: another one has lost its memory.
    born: Mutex<Option<String>>,
    /// Purses in doubt are being compared with the ledger.
    raising: AtomicBool,
    /// The batch that is being sent: the same one until it has arrived.
    sending: tokio::sync::Mutex<Batch>,
    /// Something must be told at once.
    wake: Arc<Notify>,
    /// Something may be told together with what comes in the next moments.
    soon: Arc<Notify>,
    scripts: Scripts,
}

struct Scripts {
    reserve: Script,
    settle: Script,
    renew: Script,
    seed: Script,
    beat: Script,
    doubt: Script,
    raise: Script,
}

/// A hold's name in the shared store.
#[derive(Debug)]
pub(crate) struct Lease {
    number: u64,
}

/// A hold as the shared store must know it.
struct Registration {
    number: u64,
    demand: Demand,
    parts: Vec<Part>,
    /// The store has been told.
    known: AtomicBool,
}

/// How a script gets to the store: as calls do, or on a connection that calls do not use yet.
#[derive(Clone, Copy)]
enum Way<'a> {
    Link,
    Wire(&'a Arc<Wire>),
}

impl Shared {
    pub(crate) fn new(redis: Redis, options: &Options) -> Shared {
        use std::hash::BuildHasher as _;
        let random = || std::collections::hash_map::RandomState::new().hash_one(std::process::id());
        let script = |body: &str| Script::new(&format!("{}\n{body}", include_str!("shared/common.lua")));
        Shared {
            space: redis.space(),
            redis,
            lease: u64::try_from(options.lease.as_millis()).unwrap_or(u64::MAX).clamp(1000, 86_400_000),
            process: format!("{:016x}{:016x}", random(), random()),
            next: AtomicU64::new(1),
            processes: AtomicU64::new(options.processes.max(1)),
            live: Mutex::default(),
            pools: Pools::new(),
            calm_until: AtomicU64::new(0),
            blocks: Mutex::default(),
            outbox: Mutex::default(),
            born: Mutex::default(),
            raising: AtomicBool::new(false),
            sending: tokio::sync::Mutex::default(),
            wake: Arc::default(),
            soon: Arc::default(),
            scripts: Scripts {
                reserve: script(include_str!("shared/reserve.lua")),
                settle: script(include_str!("shared/settle.lua")),
                renew: script(include_str!("shared/renew.lua")),
                seed: script(include_str!("shared/seed.lua")),
                beat: script(include_str!("shared/beat.lua")),
                doubt: script(include_str!("shared/doubt.lua")),
                raise: script(include_str!("shared/raise.lua")),
            },
        }
    }

    /// Begins what goes on in the background, until the meters are gone.
    pub(crate) fn start(inner: &Arc<Inner>) {
        let Some(shared) = &inner.shared else { return };
        let weak = Arc::downgrade(inner);
        let catch_up = weak.clone();
        shared.redis.catch_up(Box::new(move |wire| {
            let inner = catch_up.upgrade();
            Box::pin(async move {
                let Some(inner) = inner else { return Ok(()) };
                let Some(shared) = &inner.shared else { return Ok(()) };
                shared.close_all(&inner, None);
                shared.beat(&inner, Way::Wire(&wire)).await?;
                shared.renew(Way::Wire(&wire), true).await?;
                shared.send(&inner, Way::Wire(&wire)).await
            })
        }));
        tokio::spawn(keep(weak, Arc::clone(&shared.wake), Arc::clone(&shared.soon)));
    }

    /// How many processes share the limits while the store is away.
    pub(crate) fn processes(&self) -> u64 {
        self.processes.load(Ordering::Relaxed).max(1)
    }

    fn live(&self) -> MutexGuard<'_, HashMap<u64, Arc<Registration>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number:x}", self.process)
    }

    async fn invoke<T: FromRedisValue>(
        &self,
        way: Way<'_>,
        within: Option<Duration>,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Away> {
        let act = async |wire: &mut Wire| script.invoke_async(wire).await;
        match (way, within) {
            (Way::Link, None) => self.redis.run(act).await,
            (Way::Link, Some(within)) => self.redis.run_within(within, act).await,
            (Way::Wire(wire), within) => {
                let within = within.unwrap_or(BACKGROUND);
                let mut wire = Wire::clone(wire);
                match tokio::time::timeout(within, script.invoke_async(&mut wire)).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "the shared store refuses what it must know");
                        Err(Away)
                    }
                    Err(_) => Err(Away),
                }
            }
        }
    }

    fn register(&self, number: u64, parts: Vec<Part>, demand: Demand, known: bool) -> Lease {
        let known = AtomicBool::new(known);
        self.live().insert(number, Arc::new(Registration { number, demand, parts, known }));
        Lease { number }
    }

    /// A call was admitted without the store, which will be told.
    pub(crate) fn admitted_alone(&self, taken: &[Taken], demand: Demand, now: Moment) -> Option<Lease> {
        let parts = parts(taken, now);
        if parts.is_empty() {
            return None;
        }
        self.outbox().admitted_alone(&parts, now.steady);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Some(self.register(number, parts, demand, false))
    }

    /// A call has ended. The store is told in the background.
    pub(crate) fn settled(
        &self,
        lease: Option<Lease>,
        parts: Vec<Part>,
        demand: Demand,
        (spent, apart): (Spent, Apart),
    ) {
        let registration = lease.and_then(|lease| self.live().remove(&lease.number));
        let known = registration.as_ref().filter(|registration| registration.known.load(Ordering::SeqCst));
        match known {
            Some(registration) => {
                let id = self.id(registration.number);
                self.outbox().settled(Settlement::of_hold(id, parts, demand, (spent, apart)));
            }
            None if spent.money != Money::ZERO => self.outbox().spent_alone(parts, spent.money),
            None => return,
        }
        self.wake.notify_one();
    }

    /// What a scope has spent changes though no call spent it: `part` is what this process counts of it.
    pub(crate) fn adjusted(&self, scope: &Scope, money: Money, part: Option<Part>) {
        let known = part.iter().flat_map(|part| &part.pots).map(|pot| pot.name.clone()).collect();
        let adjustment = Adjustment { key: Part::key_of(scope), money: money.nanos(), known };
        let mut outbox = self.outbox();
        outbox.spent_alone(part.into_iter().collect(), money);
        outbox.adjusted(adjustment);
        drop(outbox);
        self.wake.notify_one();
    }
}

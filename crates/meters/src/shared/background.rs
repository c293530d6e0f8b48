//! What goes on behind the calls: leases are prolonged, the store is told what was settled, and hears that this process is
//! alive.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tollway_model::Money;

use super::message::exact;
use super::outbox::Batch;
use super::{BACKGROUND, BATCH, BEAT, PACE, Registration, SILENT, Shared, Way, doubts};
use crate::meters::Inner;
use crate::{Alert, Away};

impl Shared {
    /// Prolongs the leases of all holds, or only registers those that the store does not know.
    pub(super) async fn renew(&self, way: Way<'_>, all: bool) -> Result<(), Away> {
        let chosen = |other: &&Arc<Registration>| all || !other.known.load(Ordering::Relaxed);
        let holds: Vec<Arc<Registration>> = self.live().values().filter(chosen).cloned().collect();
        for batch in holds.chunks(BATCH) {
            // From here on the end of these is told by name, whether this arrives or not. Whoever has ended before must
            // not be registered again: ends take a hold out of `live` first, then ask whether it is known.
            batch.iter().for_each(|hold| hold.known.store(true, Ordering::SeqCst));
            let live: Vec<_> = {
                let live = self.live();
                batch.iter().filter(|hold| live.contains_key(&hold.number)).collect()
            };
            let mut script = self.scripts.renew.key(&self.space);
            script.arg(self.lease).arg(live.len());
            for hold in &live {
                script.arg(self.id(hold.number)).arg(exact(hold.demand.tokens));
                script.arg(exact(hold.demand.money.nanos().unsigned_abs())).arg(1).arg(hold.parts.len());
                for part in &hold.parts {
                    part.renew_in(&mut script);
                }
            }
            self.invoke::<i64>(way, Some(BACKGROUND), &script).await?;
        }
        let blocks = if all { self.blocks_alive() } else { Vec::new() };
        for batch in blocks.chunks(BATCH) {
            let mut script = self.scripts.renew.key(&self.space);
            script.arg(self.lease).arg(batch.len());
            for block in batch {
                let (money, places) = block.held();
                script.arg(self.id(block.number)).arg(0).arg(exact(money.unsigned_abs())).arg(places);
                script.arg(block.parts.len());
                for part in &block.parts {
                    part.renew_in(&mut script);
                }
            }
            self.invoke::<i64>(way, Some(BACKGROUND), &script).await?;
        }
        Ok(())
    }

    /// Tells the store what was settled.
    pub(super) async fn send(&self, inner: &Inner, way: Way<'_>) -> Result<(), Away> {
        let mut batch = self.sending.lock().await;
        loop {
            if batch.is_empty() {
                let changed = {
                    let mut outbox = self.outbox();
                    outbox.fill(&mut batch, BATCH, |number| self.id(number), &self.next);
                    outbox.changed(BATCH)
                };
                batch.accounts.extend(changed.into_iter().map(|block| self.account(inner, block)));
                if batch.is_empty() {
                    return Ok(());
                }
                batch.number += 1;
            }
            // A disk that hangs holds up what is told, and neither the leases of running calls nor those who ask.
            if tokio::time::timeout(BACKGROUND, inner.spending.recorded()).await.is_err() {
                return Err(Away);
            }
            let mut script = self.scripts.settle.key(&self.space);
            script.arg(&self.process).arg(batch.number).arg(batch.settlements.len());
            for settlement in &batch.settlements {
                settlement.write(&mut script);
            }
            script.arg(batch.accounts.len());
            for account in &batch.accounts {
                account.write(&mut script);
            }
            script.arg(batch.adjustments.len());
            for adjustment in &batch.adjustments {
                adjustment.write(&mut script);
            }
            let reached: Vec<i64> = self.invoke(way, Some(BACKGROUND), &script).await?;
            for reached in reached.chunks_exact(4) {
                if let Some(alert) = alert(&batch, reached) {
                    let _ = inner.alerts.send(alert);
                }
            }
            batch.settlements.clear();
            batch.adjustments.clear();
            for account in batch.accounts.drain(..) {
                account.block.confirmed(&account.all);
            }
        }
    }

    /// Says that this process is alive, and learns how many are, and whether the store is still the same.
    pub(super) async fn beat(&self, inner: &Arc<Inner>, way: Way<'_>) -> Result<(), Away> {
        // The name of a store without one. Never the same twice: a store that lost its memory and is named by the same process
        // again must not seem to be the one of before.
        let name = format!("{}-{}", self.process, self.next.fetch_add(1, Ordering::Relaxed));
        let mut script = self.scripts.beat.key(&self.space);
        script.arg(&self.process).arg(SILENT).arg(name);
        let answer: Vec<String> = self.invoke(way, Some(BACKGROUND), &script).await?;
        let [processes, born, due @ ..] = answer.as_slice() else { return Err(Away) };
        self.processes.store(processes.parse().unwrap_or(1).max(1), Ordering::Relaxed);
        self.recognise(inner, born, way).await?;
        doubts::raise(inner, due);
        Ok(())
    }

    pub(crate) async fn flush(&self, inner: &Inner) -> Result<(), Away> {
        self.close_all(inner, None);
        self.renew(Way::Link, false).await?;
        self.send(inner, Way::Link).await
    }
}

/// Goes on in the background until the meters are gone.
pub(super) async fn keep(inner: Weak<Inner>, wake: Arc<Notify>, soon: Arc<Notify>) {
    let (mut beaten, mut renewed) = (None::<Instant>, Instant::now());
    let mut pause = BEAT;
    loop {
        tokio::select! {
            () = wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = soon.notified() => {
                let _ = tokio::time::timeout(PACE, wake.notified()).await;
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        let Some(shared) = &inner.shared else { return };
        pause = BEAT.min(Duration::from_millis(shared.lease / 4));
        if !shared.redis.is_up() {
            continue;
        }
        shared.close_all(&inner, Some(inner.now()));
        if beaten.is_none_or(|then| then.elapsed() >= BEAT) && shared.beat(&inner, Way::Link).await.is_ok() {
            beaten = Some(Instant::now());
        }
        let all = renewed.elapsed() >= Duration::from_millis(shared.lease / 3);
        if shared.renew(Way::Link, all).await.is_ok() && all {
            renewed = Instant::now();
        }
        let _ = shared.send(&inner, Way::Link).await;
        if shared.has_blocks() {
            pause = PACE;
        }
    }
}

/// Reads `settlement, claim, budget, spent`.
fn alert(batch: &Batch, reached: &[i64]) -> Option<Alert> {
    let [settlement, part, pot, spent] = reached else { return None };
    let part = batch.part(usize::try_from(*settlement).ok()?, usize::try_from(*part).ok()?)?;
    let pot = part.pots.get(usize::try_from(*pot).ok()?)?;
    let (soft, spent) = (Money::from_nanos(pot.soft?), Money::from_nanos(*spent));
    Some(Alert { scope: part.scope.clone(), soft, spent, resets_at: pot.resets_at() })
}

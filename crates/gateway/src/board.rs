//! What one process learns of its deployments, the others know.
//!
//! Cooldowns and use go through Redis in small messages. They are advice: a message that is lost costs a call that is
//! tried again elsewhere, so nothing is stored or repeated.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Receiver;
use tollway_meters::{Heard, Redis};
use tollway_pipeline::{Gateway, board_now};
use tollway_route::Change;

/// The channel of all processes that share a Redis.
const CHANNEL: &str = "deployments";

/// How often changes are told. A deployment that rests is known everywhere about this much later.
const EVERY: Duration = Duration::from_millis(200);

/// Most changes in one message.
const MOST: usize = 500;

/// What is published.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    /// Who says so: everyone hears himself, too.
    from: u64,
    /// Whoever knows of a deployment that rests says so again: this process has missed something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    asks: bool,
    changes: Vec<Change>,
}

/// One of the processes.
struct Sharer {
    me: u64,
    redis: Redis,
    gateway: Arc<Gateway>,
}

/// Tells and hears until the process ends.
pub(crate) fn share(redis: Redis, gateway: Arc<Gateway>) {
    let me = RandomState::new().hash_one(std::process::id());
    let heard = redis.subscribe(CHANNEL);
    let sharer = Arc::new(Sharer { me, redis, gateway });
    tokio::spawn(sharer.clone().hear(heard));
    tokio::spawn(sharer.tell());
}

impl Sharer {
    async fn tell(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.publish(false, &self.gateway.board().drain_changes(board_now())).await;
        }
    }

    async fn hear(self: Arc<Self>, mut heard: Receiver<Heard>) {
        while let Some(heard) = heard.recv().await {
            match heard {
                Heard::Gap => self.publish(true, &[]).await,
                Heard::Message(bytes) => self.take_over(&bytes).await,
            }
        }
    }

    async fn take_over(&self, bytes: &[u8]) {
        // A process of another version may say what is not known here.
        let Ok(message) = serde_json::from_slice::<Message>(bytes) else { return };
        if message.from == self.me {
            return;
        }
        let now = board_now();
        for change in &message.changes {
            self.gateway.board().apply(change, now);
        }
        if message.asks {
            self.publish(false, &self.gateway.board().resting(now)).await;
        }
    }

    /// While the store is away each process goes by what it sees itself.
    async fn publish(&self, asks: bool, changes: &[Change]) {
        let mut rest = changes;
        let mut asks = asks;
        while asks || !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(MOST));
            let message = Message { from: self.me, asks: std::mem::take(&mut asks), changes: now.to_vec() };
            rest = later;
            let Ok(bytes) = serde_json::to_vec(&message) else { continue };
            let _ = self.redis.publish(CHANNEL, &bytes).await;
        }
    }
}

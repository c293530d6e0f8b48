//! Credentials for requests to Amazon: fetched when they are needed, kept, and renewed before they expire.
//!
//! `tollway_providers::aws` plans where they are and reads what is answered; here the files are read and the services
//! asked. One renewal of the same credentials runs at a time; while the old ones hold, calls do not wait for it.

mod fetch;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tollway_model::{Error, Kind, Origin, Result, Retry};
use tollway_providers::aws::{self, Access, Credentials, Signing, Source};
use tollway_wire::json::Pieces;

use crate::transport::Transport;

/// Different accesses that are remembered.
const MOST_ACCESSES: usize = 1024;
/// Renewed so long before they expire, while calls go on with the old ones.
const EARLY: i64 = 300;
/// Not used any more so long before they expire: a request takes its time.
const LATE: i64 = 30;
/// Files are read again after this, because keys are replaced in place.
const FILE_AGE: i64 = 900;
/// After a failure nobody is asked again for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// Credentials by where they come from.
#[derive(Default)]
pub(crate) struct Vault {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    kept: Mutex<Kept>,
    /// Held by the one who renews.
    renewal: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default, Clone)]
struct Kept {
    current: Option<Current>,
    failure: Option<(Instant, Error)>,
}

#[derive(Clone)]
struct Current {
    credentials: Credentials,
    /// Seconds since 1970.
    renew_at: i64,
}

impl Vault {
    /// Signs a request with the credentials of its endpoint.
    pub(crate) async fn sign(
        &self,
        transport: &Transport,
        signing: &Signing,
        request: http::Request<Pieces>,
    ) -> Result<http::Request<Pieces>> {
        let credentials = self.get(transport, &signing.access).await?;
        let (mut parts, body) = request.into_parts();
        aws::sign(&mut parts, body.iter(), &credentials, &signing.scope, unix_seconds())?;
        Ok(http::Request::from_parts(parts, body))
    }

    async fn get(&self, transport: &Transport, access: &Access) -> Result<Credentials> {
        if let ([Source::Keys(keys)], None) = (access.sources.as_slice(), &access.role) {
            return Ok(keys.clone());
        }
        let slot = self.slot(&access.id);
        let now = unix_seconds();
        if let Some(current) = slot.usable(now) {
            if current.renew_at <= now {
                renew_behind(&slot, transport, access);
            }
            return Ok(current.credentials);
        }
        let _alone = slot.renewal.lock().await;
        // Somebody else may have been here while this call waited.
        if let Some(current) = slot.usable(unix_seconds()) {
            return Ok(current.credentials);
        }
        if let Some(error) = slot.recent_failure() {
            return Err(error);
        }
        slot.renew(transport, access).await
    }

    fn slot(&self, id: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(id) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST_ACCESSES {
            slots.clear();
        }
        Arc::clone(slots.entry(id.to_owned()).or_default())
    }
}

/// Renews while calls go on with what there is. Nothing happens when somebody does so already, or has just failed.
fn renew_behind(slot: &Arc<Slot>, transport: &Transport, access: &Access) {
    if slot.recent_failure().is_some() {
        return;
    }
    let Ok(alone) = Arc::clone(&slot.renewal).try_lock_owned() else { return };
    let (slot, transport, access) = (Arc::clone(slot), transport.clone(), access.clone());
    tokio::spawn(async move {
        // A failure is kept in the slot, for the call that finds the old credentials expired.
        let _ = slot.renew(&transport, &access).await;
        drop(alone);
    });
}

impl Slot {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self, now: i64) -> Option<Current> {
        let fresh = |current: &Current| current.credentials.expires.is_none_or(|end| end - now > LATE);
        self.kept().current.clone().filter(fresh)
    }

    fn recent_failure(&self) -> Option<Error> {
        let kept = self.kept();
        kept.failure.as_ref().filter(|(at, _)| at.elapsed() < PAUSE).map(|(_, error)| error.clone())
    }

    async fn renew(&self, transport: &Transport, access: &Access) -> Result<Credentials> {
        let fetched = fetch::credentials(transport, access).await;
        let mut kept = self.kept();
        match fetched {
            Ok(credentials) => {
                let now = unix_seconds();
                let renew_at = credentials.expires.map_or(now + FILE_AGE, |end| (end - EARLY).max(now));
                *kept = Kept {
                    current: Some(Current { credentials: credentials.clone(), renew_at }),
                    failure: None,
                };
                Ok(credentials)
            }
            Err(why) => {
                let error = missing(access, why);
                kept.failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

/// Who calls learns what was tried; names of roles, accounts and hosts are for the log.
fn missing(access: &Access, why: String) -> Error {
    let tried = access.sources.iter().map(|source| match source {
        Source::Keys(_) => "keys",
        Source::Profile { .. } => "a profile",
        Source::WebIdentity { .. } => "a web identity",
        Source::Container { .. } => "the container's service",
        Source::Instance { .. } => "the machine's service",
    });
    let mut tried: Vec<_> = tried.collect();
    tried.extend(access.role.as_ref().map(|_| "a role"));
    let tried = if tried.is_empty() { "nowhere to look".to_owned() } else { tried.join(", ") };
    let message = format!("no AWS credentials for this deployment (tried: {tried})");
    Error::new(Kind::Authentication, message)
        .with_origin(Origin::Gateway)
        .with_retry(Retry::Elsewhere)
        .with_context("cause", why)
}

/// Seconds since 1970: signatures and expirations are about wall time.
#[expect(clippy::disallowed_methods, reason = "signatures hold the time of the one who sends")]
fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

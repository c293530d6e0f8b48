//! Answers of the Responses API, kept for those who made them.
//!
//! ```text
//! begin ─▶ a Turn: the request says the whole conversation from here on
//! answer ─▶ Turn::whole or Thread ─▶ the client, under the gateway's id
//!                     └▶ Responses::remember ─▶ waiting ─▶ the database
//! ```
//!
//! An answer belongs to the key that made it. Nothing here waits for the database unless an earlier answer is asked for.

mod origin;
mod turn;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tollway_accounts::rights::{Reach, Right, reach};
use tollway_model::{Error, Kind, RawJson, Result, Retry};
use tollway_store::records::{Millis, StoredResponse};
use tollway_store::{Store, StoreError};
use tollway_wire::openai_responses::conversation;

use self::waiting::{Found, Waiting, write_behind};
use crate::caller::Caller;
use crate::clock::unix_millis;

pub(crate) use self::origin::origin;
pub(crate) use self::turn::{Thread, Turn, begin};

/// What every id begins with.
const PREFIX: &str = "resp_";

/// Most answers that one conversation goes on from.
const MOST_TURNS: usize = 1_000;

/// Most text of a conversation.
const MOST_BYTES: usize = 32 << 20;

/// Longest wait for the database when an answer is asked for.
const LONGEST_LOOKUP: Duration = Duration::from_secs(5);

/// An answer that another process made may not be in the database yet: so young ones are looked for again …
const YOUNG: Millis = 10_000;

/// … after these pauses.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
];

/// How often expired answers are deleted.
const SWEEP: Duration = Duration::from_secs(3600);

/// The answers that are kept. Without a database they are kept in memory, the latest of them.
#[derive(Debug, Default)]
pub struct Responses {
    store: Option<Store>,
    waiting: Arc<Waiting>,
    /// The latest answer did not fit.
    full: AtomicBool,
}

/// Which items of a listing.
#[derive(Debug, Clone, Default)]
pub struct ItemsQuery {
    /// Only items behind the one with this id.
    pub after: Option<String>,
    /// Most items, from 1 to 100. Default: 20.
    pub limit: Option<u64>,
    /// In the order in which they were said; otherwise the latest first.
    pub ascending: bool,
}

impl Responses {
    /// Answers kept in `store`, written and, once expired, deleted by tasks that are started here.
    pub fn start(store: Store) -> Arc<Responses> {
        let responses = Arc::new(Responses { store: Some(store.clone()), ..Responses::default() });
        tokio::spawn(write_behind(store.clone(), responses.waiting.clone()));
        tokio::spawn(sweep(store));
        responses
    }

    /// Waits until what is remembered is stored.
    pub async fn stored(&self) {
        if self.store.is_some() {
            self.waiting.empty().await;
        }
    }

    fn remember(&self, answer: StoredResponse) {
        let fits = self.waiting.add(Arc::new(answer), self.store.is_some());
        // One line when it begins, not one for every call.
        let was_full = self.full.swap(!fits, Ordering::Relaxed);
        if !fits && !was_full {
            tracing::warn!(target: "tollway::responses", "too many answers wait to be stored; new ones are not kept");
        }
    }

    /// The response object with this id, JSON text.
    ///
    /// Fails with [`Kind::NotFound`] when there is none, [`Kind::Permission`] when it is somebody else's, and
    /// [`Kind::Unavailable`] when the database is needed and away.
    pub async fn get(&self, caller: &Caller, id: &str) -> Result<String> {
        Ok(self.find(caller, id).await?.response.clone())
    }

    /// Forgets a response, and with it whatever goes on from it can no longer be gone on from.
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<Value> {
        self.find(caller, id).await?;
        self.waiting.delete(id);
        if let Some(store) = &self.store
            && let Found::Unknown = self.waiting.find(id)
        {
            let shelf = store.shelf::<StoredResponse>();
            bounded(shelf.delete(&[id])).await?;
        }
        Ok(json!({ "id": id, "object": "response", "deleted": true }))
    }

    /// Refuses to cancel: every response here is complete, because none is made in the background.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<Value> {
        self.find(caller, id).await?;
        Err(Error::invalid(
            "only a response made with `background: true` can be cancelled; this gateway makes none",
        ))
    }

    /// A page of everything that was said before the response, in OpenAI's shape of a list.
    pub async fn input_items(&self, caller: &Caller, id: &str, query: &ItemsQuery) -> Result<Value> {
        let last = self.find(caller, id).await?;
        let mut items = match last.previous.as_deref() {
            Some(previous) => self.history(caller, previous).await?,
            None => Vec::new(),
        };
        items.extend(parsed(&last.input)?);
        page(items, query)
    }

    /// Everything that was said up to and including this response, in order.
    pub(crate) async fn history(&self, caller: &Caller, id: &str) -> Result<Vec<RawJson>> {
        let mut chain = vec![self.find(caller, id).await?];
        let mut bytes = 0;
        while let Some(latest) = chain.last() {
            bytes += latest.response.len() + latest.input.iter().map(String::len).sum::<usize>();
            if bytes > MOST_BYTES || chain.len() > MOST_TURNS {
                let message = format!(
                    "the conversation is longer than {MOST_TURNS} responses or {} MiB",
                    MOST_BYTES >> 20
                );
                return Err(Error::new(Kind::TooLarge, message));
            }
            let Some(previous) = &latest.previous else { break };
            let earlier = self.find(caller, previous).await.map_err(|error| match error.kind() {
                Kind::NotFound => not_found(previous, &format!(", which {} goes on from,", latest.id)),
                _ => error,
            })?;
            chain.push(earlier);
        }
        let mut items = Vec::new();
        for response in chain.iter().rev() {
            items.extend(parsed(&response.input)?);
            items.extend(conversation::output_items(response.response.as_bytes())?);
        }
        Ok(items)
    }

    /// The caller's own response with this id.
    async fn find(&self, caller: &Caller, id: &str) -> Result<Arc<StoredResponse>> {
        let found = self.look_up(id).await?.ok_or_else(|| not_found(id, ""))?;
        let all = reach(caller.identity.principal.role, Right::Responses) == Reach::All;
        if all || found.owner == owner(caller) {
            return Ok(found);
        }
        let message = format!("the response `{id}` was made with another key");
        Err(Error::new(Kind::Permission, message))
    }

    async fn look_up(&self, id: &str) -> Result<Option<Arc<StoredResponse>>> {
        match self.waiting.find(id) {
            Found::Waiting(answer) => return Ok(Some(answer)),
            Found::Deleted => return Ok(None),
            Found::Unknown => {}
        }
        let (Some(store), Some(made)) = (&self.store, made_at(id)) else { return Ok(None) };
        let shelf = store.shelf::<StoredResponse>();
        let now = unix_millis();
        let pauses = if now.saturating_sub(made) < YOUNG { PAUSES.as_slice() } else { &[] };
        let mut pauses = pauses.iter();
        loop {
            if let Some(answer) = bounded(shelf.get(id)).await? {
                return Ok((answer.expires > now).then(|| Arc::new(answer)));
            }
            let Some(pause) = pauses.next() else { return Ok(None) };
            tokio::time::sleep(*pause).await;
        }
    }
}

/// Whose the caller's responses are: its key's, by the id that outlives its secrets.
fn owner(caller: &Caller) -> &str {
    caller.identity.principal.key.as_deref().map_or("admin", |key| key.id.as_str())
}

/// Our id of a call's answer. The call's own id is in it, and so the receipt's.
fn response_id(call: &str) -> String {
    let mut id = String::from(PREFIX);
    id.extend(call.chars().filter(char::is_ascii_hexdigit));
    id
}

/// When the response with this id was made; `None` for an id that no gateway makes.
fn made_at(id: &str) -> Option<Millis> {
    let call = id.strip_prefix(PREFIX).filter(|call| call.len() == 32)?;
    let (seconds, nanos) = uuid::Uuid::try_parse(call).ok()?.get_timestamp()?.to_unix();
    let seconds = Millis::try_from(seconds).ok()?;
    Some(seconds * 1000 + Millis::from(nanos / 1_000_000))
}

fn not_found(id: &str, more: &str) -> Error {
    // Ids are short; whatever else comes is not repeated at length.
    let shown: String = id.chars().take(80).collect();
    Error::new(Kind::NotFound, format!("Response with id '{shown}'{more} not found."))
}

fn parsed(items: &[String]) -> Result<Vec<RawJson>> {
    let broken = || Error::internal("a stored response cannot be read");
    items.iter().map(|item| RawJson::parse(item.as_str()).ok_or_else(broken)).collect()
}

fn page(mut items: Vec<RawJson>, query: &ItemsQuery) -> Result<Value> {
    if !query.ascending {
        items.reverse();
    }
    let ids: Vec<Option<String>> = items.iter().map(item_id).collect();
    let begin = match &query.after {
        None => 0,
        Some(after) => match ids.iter().position(|id| id.as_deref() == Some(after.as_str())) {
            Some(at) => at + 1,
            None => return Err(Error::invalid_at("after", "`after` is no item of this response")),
        },
    };
    let limit = usize::try_from(query.limit.unwrap_or(20)).ok().filter(|limit| (1..=100).contains(limit));
    let limit = limit.ok_or_else(|| Error::invalid_at("limit", "`limit` must be from 1 to 100"))?;
    let end = begin.saturating_add(limit).min(items.len());
    let shown = ids.get(begin..end).unwrap_or_default();
    Ok(json!({
        "object": "list",
        "data": items.get(begin..end).unwrap_or_default(),
        "first_id": shown.first().cloned().flatten(),
        "last_id": shown.last().cloned().flatten(),
        "has_more": end < items.len(),
    }))
}

fn item_id(item: &RawJson) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Item {
        id: Option<String>,
    }
    serde_json::from_str::<Item>(item.get()).ok()?.id
}

/// Asks the database, within [`LONGEST_LOOKUP`].
async fn bounded<T>(asked: impl Future<Output = std::result::Result<T, StoreError>>) -> Result<T> {
    let away = |cause: String| {
        Error::new(Kind::Unavailable, "stored responses cannot be reached now; try again later")
            .with_retry(Retry::Later(Some(Duration::from_secs(2))))
            .with_context("cause", cause)
    };
    match tokio::time::timeout(LONGEST_LOOKUP, asked).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(StoreError::Unavailable(cause))) => Err(away(cause)),
        Ok(Err(error)) => {
            Err(Error::internal("a stored response cannot be read").with_context("cause", error.to_string()))
        }
        Err(_) => Err(away("it does not answer".to_owned())),
    }
}

/// Deletes expired answers, once an hour.
async fn sweep(store: Store) {
    loop {
        if let Err(error) = store.forget_responses(unix_millis()).await {
            tracing::debug!(target: "tollway::responses", error = %error, "expired answers could not be deleted");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

#[cfg(test)]
mod tests;

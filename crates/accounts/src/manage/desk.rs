//! The one way to change a record: through a desk, which writes the audit log in the same transaction.
//!
//! Services hold desks and no shelves, so a change that leaves no entry cannot be written down. An entry tells what
//! changed and no secret: hashes of keys are cut short, and whatever looks like a credential is starred.

use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::{Map, Value};
use tollway_model::{Kind, Result};
use tollway_store::records::{Millis, Record};
use tollway_store::{AuditEntry, Page, Query, Shelf, Store, Writer};

use super::errors::stored;
use crate::rights::Actor;

/// Gives the time, milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> Millis + Send + Sync>;

/// Reads and changes the records of one table.
pub(crate) struct Desk<R: Record> {
    store: Store,
    shelf: Shelf<R>,
    clock: Clock,
    record: PhantomData<R>,
}

impl<R: Record> Desk<R> {
    pub(crate) fn new(store: &Store, clock: Clock) -> Desk<R> {
        Desk { store: store.clone(), shelf: store.shelf(), clock, record: PhantomData }
    }

    pub(crate) async fn get(&self, id: &str) -> Result<Option<R>> {
        self.shelf.get(id).await.map_err(stored)
    }

    pub(crate) async fn find(&self, column: &'static str, value: &str) -> Result<Option<R>> {
        self.shelf.find(column, value).await.map_err(stored)
    }

    pub(crate) async fn list(&self, query: &Query) -> Result<Page<R>> {
        self.shelf.list(query).await.map_err(stored)
    }

    /// Every record that `query` finds, however many pages there are; for deleting and for building.
    pub(crate) async fn all(&self, mut query: Query) -> Result<Vec<R>> {
        const PAGE: u64 = 500;
        let mut all = Vec::new();
        query.limit = PAGE;
        loop {
            query.offset = all.len() as u64;
            let page = self.list(&query).await?;
            let is_last = (page.records.len() as u64) < PAGE;
            all.extend(page.records);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Adds a record.
    pub(crate) async fn create(&self, actor: &Actor, mut record: R) -> Result<R> {
        let stamp = record.stamp_mut();
        stamp.created_at = (self.clock)();
        stamp.updated_at = stamp.created_at;
        stamp.created_by = Some(actor.id.clone());
        stamp.updated_by = stamp.created_by.clone();
        let entry = self.entry(actor, "created", None, Some(&record));
        self.commit(entry, |writer| {
            let record = record.clone();
            async move { writer.insert(record).await }
        })
        .await
    }

    /// Replaces `before` by `after`, which was made from it. What did not change is not written.
    pub(crate) async fn change(&self, actor: &Actor, action: &str, before: &R, mut after: R) -> Result<R> {
        let (was, is) = (fields(before), fields(&after));
        if was == is {
            return Ok(after);
        }
        let stamp = after.stamp_mut();
        stamp.updated_at = (self.clock)();
        stamp.updated_by = Some(actor.id.clone());
        let entry = self.entry(actor, action, Some(before), Some(&after));
        self.commit(entry, |writer| {
            let after = after.clone();
            async move { writer.update(after).await }
        })
        .await
    }

    /// Takes a record away; `None` when it is gone already.
    pub(crate) async fn remove(&self, actor: &Actor, record: &R) -> Result<()> {
        let id = record.id().to_owned();
        let entry = self.entry(actor, "deleted", Some(record), None);
        self.commit(entry, |writer| {
            let id = id.clone();
            async move { writer.delete::<R>(&[&id]).await }
        })
        .await
        .map(drop)
    }

    /// Makes a change and its entry in the audit log, both or neither.
    async fn commit<T, F, W>(&self, entry: AuditEntry, work: F) -> Result<T>
    where
        T: Send,
        F: Fn(Writer) -> W + Send + Sync,
        W: Future<Output = tollway_store::StoreResult<T>> + Send,
    {
        let both = self.store.write(|writer| {
            let (work, entry) = (work(writer.clone()), entry.clone());
            async move {
                let done = work.await?;
                writer.audit(entry).await?;
                Ok(done)
            }
        });
        both.await.map_err(stored)
    }

    fn entry(&self, actor: &Actor, action: &str, before: Option<&R>, after: Option<&R>) -> AuditEntry {
        let id = before.or(after).map(|record| record.id().to_owned()).unwrap_or_default();
        let (was, is) = match (before, after) {
            (Some(before), Some(after)) => {
                let (was, is) = differences(before, after);
                (Some(was), Some(is))
            }
            (before, after) => (before.map(whole), after.map(whole)),
        };
        AuditEntry {
            at: (self.clock)(),
            actor: actor.id.clone(),
            actor_key: actor.key.clone(),
            action: action.to_owned(),
            table: R::TABLE.to_owned(),
            // A grace's id is a hash.
            id: if super::secret::is_hash(&id) { short(&id) } else { id },
            before: was.map(|map| Value::Object(map).to_string()),
            after: is.map(|map| Value::Object(map).to_string()),
            ..AuditEntry::default()
        }
    }
}

/// Runs `work` again while someone else changes the same record: edits of different fields both count.
pub(crate) async fn patiently<T, F, W>(mut work: W) -> Result<T>
where
    W: FnMut() -> F,
    F: Future<Output = Result<T>>,
{
    const ATTEMPTS: u32 = 8;
    for _ in 1..ATTEMPTS {
        match work().await {
            Err(error) if error.kind() == Kind::Conflict => {}
            result => return result,
        }
    }
    work().await
}

/// Housekeeping, which is in the entry already.
const STAMP: [&str; 5] = ["version", "created_at", "updated_at", "created_by", "updated_by"];

fn fields<R: Record>(record: &R) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(mut map)) => {
            map.retain(|name, _| !STAMP.contains(&name.as_str()));
            map
        }
        _ => Map::new(),
    }
}

/// A whole record, without what is empty.
fn whole<R: Record>(record: &R) -> Map<String, Value> {
    let mut map = fields(record);
    map.retain(|_, value| !is_empty(value));
    star(&mut map, true);
    map
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// What it was and what it became, of the fields that differ.
fn differences<R: Record>(before: &R, after: &R) -> (Map<String, Value>, Map<String, Value>) {
    let (mut was, mut is) = (fields(before), fields(after));
    let same: Vec<String> = was
        .iter()
        .filter(|(name, value)| is.get(*name) == Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in &same {
        was.shift_remove(name);
        is.shift_remove(name);
    }
    star(&mut was, true);
    star(&mut is, true);
    (was, is)
}

/// Takes out what must not be read: a `token` is cut short, and texts under names of credentials are starred.
pub(crate) fn star(map: &mut Map<String, Value>, is_record: bool) {
    for (name, value) in map.iter_mut() {
        if is_record && name == "token" {
            if let Value::String(token) = value {
                *token = short(token);
            }
        } else if !is_record && is_secret_name(name) {
            match value {
                Value::String(text) => *text = "***".to_owned(),
                Value::Object(_) | Value::Array(_) => *value = Value::String("***".to_owned()),
                _ => {}
            }
        } else {
            star_within(value);
        }
    }
}

fn star_within(value: &mut Value) {
    match value {
        Value::Object(map) => star(map, false),
        Value::Array(items) => items.iter_mut().for_each(star_within),
        _ => {}
    }
}

/// Names under which credentials are kept. Counts of tokens and names of keys are none.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let tells =
        ["api_key", "apikey", "secret", "password", "credential", "authorization", "private", "access_key"];
    let ends = ["_key", "_token", "-key", "-token"];
    tells.iter().any(|word| name.contains(word))
        || ends.iter().any(|end| name.ends_with(end))
        || matches!(name.as_str(), "key" | "token" | "auth" | "bearer" | "cookie")
}

fn short(token: &str) -> String {
    token.get(..16).unwrap_or(token).to_owned()
}

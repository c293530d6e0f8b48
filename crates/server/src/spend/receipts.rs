//! `/receipts`: the latest calls are in memory, all others in the books.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollway_ledger::Receipt;
use tollway_ledger::books::Filter;
use tollway_model::Result;

use super::{Desk, logs, stored};

/// Receipts of an answer that does not say how many.
const USUAL: u64 = 50;

/// Most receipts of an answer.
const MOST: u64 = 1_000;

/// Calls with the same id of the caller's that are looked at for the one with this id of its own.
const FEW: u32 = 100;

impl Desk<'_> {
    /// May the caller know of this call?
    pub(super) fn sees(&self, receipt: &Receipt) -> bool {
        let who = &receipt.who;
        let text = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("").to_owned();
        self.within().is_none_or(|within| within.holds(&text(&who.key), &text(&who.user), &text(&who.team)))
    }

    /// `GET /receipts/{id}`: by its own id, or the caller's id of the call.
    pub(super) async fn receipt(&self) -> Result<Value> {
        let id = self.named.clone().unwrap_or_default();
        let ring = self.gateway.receipts().latest(usize::MAX);
        let mine = |receipt: &&Arc<Receipt>| self.sees(receipt);
        let by_id = ring.iter().filter(mine).find(|receipt| receipt.id == id);
        let in_memory = by_id.or_else(|| ring.iter().filter(mine).find(|receipt| receipt.call_id == id));
        if let Some(receipt) = in_memory {
            return Ok(shown(receipt));
        }
        match self.gateway.services().books {
            Some(_) => Ok(shown(&self.kept(&id).await?)),
            None => Err(logs::unknown(&id)),
        }
    }

    /// A call in the books. Callers choose ids of calls, so somebody else's with the same id does not hide one's own.
    pub(super) async fn kept(&self, id: &str) -> Result<Receipt> {
        if id.contains('\0') || id.len() > 1024 {
            return Err(logs::unknown(id));
        }
        let books = self.books()?;
        let found = if self.grant.is_all() {
            books.get(id).await.map_err(stored)?
        } else {
            let mut filter = Filter { call: Some(id.to_owned()), ..Filter::default() };
            self.narrow(&mut filter);
            let mut found = books.list(&filter, None, FEW).await.map_err(stored)?;
            let own = found.iter().position(|receipt| receipt.id == id).unwrap_or(0);
            (own < found.len()).then(|| found.swap_remove(own))
        };
        found.filter(|receipt| self.sees(receipt)).ok_or_else(|| logs::unknown(id))
    }

    /// `GET /receipts`: newest first, `limit` of them, behind `after`.
    pub(super) async fn receipts(&self) -> Result<Value> {
        let limit = self.number("limit", USUAL, MOST)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let after = self.after()?;
        let is_behind = |receipt: &Receipt| {
            after
                .as_ref()
                .is_none_or(|place| (receipt.at, receipt.id.as_str()) < (place.at, place.id.as_str()))
        };
        let ring = self.gateway.receipts().latest(usize::MAX);
        let in_memory = ring.into_iter().filter(|receipt| is_behind(receipt) && self.sees(receipt));
        let mut found: BTreeMap<(i64, String), Arc<Receipt>> =
            in_memory.map(|receipt| ((receipt.at, receipt.id.clone()), receipt)).collect();
        if let Some(books) = &self.gateway.services().books {
            let mut filter = Filter::default();
            self.narrow(&mut filter);
            let asked = u32::try_from(limit + 1).unwrap_or(u32::MAX);
            let kept = books.list(&filter, after.as_ref(), asked).await.map_err(stored)?;
            for receipt in kept {
                found.entry((receipt.at, receipt.id.clone())).or_insert_with(|| Arc::new(receipt));
            }
        }
        let more = found.len() > limit;
        let latest: Vec<&Arc<Receipt>> = found.values().rev().take(limit).collect();
        let next = latest.last().filter(|_| more).map(|receipt| logs::written(&logs::place(receipt)));
        Ok(json!({ "data": latest.iter().map(|receipt| shown(receipt)).collect::<Vec<_>>(), "next": next }))
    }
}

fn shown(receipt: &Receipt) -> Value {
    serde_json::to_value(receipt).unwrap_or(Value::Null)
}

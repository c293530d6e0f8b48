//! What the spend routes need of accounts: names and records for ids, and setting spend back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Money, Result};
use tollway_store::records::{Key, Limits, Record, Team};
use tollway_store::{AuditEntry, Query};

use super::errors::{bad, stored};
use super::fields::{Dollars, Request as _, request};
use super::keys::unknown_key;
use super::limits::dollars;
use super::{Management, secret};
use crate::rights::{Grant, Right, Scope};

/// Most keys that are looked at to find those who spent most of one's own.
const OWN_KEYS: u64 = 1_000;

/// Records that are read at once when everybody's spend is set back.
const PAGE: u64 = 500;

request! {
    /// `POST /key/{key}/reset_spend`
    ResetSpend {
        /// What the key shall have spent from now on, dollars; not more than it has. Default 0.
        reset_to: Dollars,
    }
}

/// Spend that is to be set back, by an adjustment of the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendReset {
    /// What it is.
    pub kind: ScopeKind,
    /// Its id, as receipts have it.
    pub id: String,
    /// What it has spent in its running budget window.
    pub before: Money,
    /// What it shall have spent.
    pub after: Money,
}

impl Management {
    /// Ids of the keys with these hashes; deleted ones too, which still have receipts. Hashes of no key are left out.
    pub async fn key_ids(&self, grant: &Grant, tokens: &[String]) -> Result<BTreeMap<String, String>> {
        grant.demand(&READS)?;
        if tokens.is_empty() {
            return Ok(BTreeMap::new());
        }
        let query = some("token", tokens.to_vec());
        let mut found = BTreeMap::new();
        for gone in self.deleted_keys.list(&query).await?.records {
            found.insert(gone.token, gone.id);
        }
        for key in self.keys.list(&query).await?.records {
            found.insert(key.token, key.id);
        }
        Ok(found)
    }

    /// The hash of the key with this alias.
    pub async fn key_named(&self, grant: &Grant, alias: &str) -> Result<Option<String>> {
        grant.demand(&READS)?;
        Ok(self.keys.find("key_alias", alias).await?.map(|key| key.token))
    }

    /// Aliases of keys and teams, by their ids. Whoever has the ids may know the names.
    pub async fn aliases(
        &self,
        grant: &Grant,
        keys: Vec<String>,
        teams: Vec<String>,
    ) -> Result<BTreeMap<String, Arc<str>>> {
        grant.demand(&READS)?;
        let mut found = BTreeMap::new();
        let named = |alias: Option<String>| alias.filter(|alias| !alias.is_empty()).map(Arc::from);
        if !keys.is_empty() {
            for key in self.keys.list(&some("id", keys)).await?.records {
                found.extend(named(key.key_alias).map(|alias| (key.id, alias)));
            }
        }
        if !teams.is_empty() {
            for team in self.teams.list(&some("id", teams)).await?.records {
                found.extend(named(team.team_alias).map(|alias| (team.team_id, alias)));
            }
        }
        Ok(found)
    }

    /// Hash, shown name and alias of keys, by their ids. Ids of no key are left out.
    pub async fn names_of_keys(
        &self,
        grant: &Grant,
        of: &[(Arc<str>, Money)],
    ) -> Result<BTreeMap<String, (String, Option<String>, Option<String>)>> {
        grant.demand(&READS)?;
        if of.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids = of.iter().map(|(id, _)| id.to_string()).collect();
        let keys = self.keys.list(&some("id", ids)).await?.records;
        Ok(keys.into_iter().map(|key| (key.id, (key.token, Some(key.key_name), key.key_alias))).collect())
    }

    /// `GET /spend/keys`: the keys of `most`, which are the ids of those that spent most, or the grant's own.
    pub async fn spend_of_keys(
        &self,
        grant: &Grant,
        most: &[(Arc<str>, Money)],
        limit: usize,
    ) -> Result<Value> {
        grant.demand(&[Right::Spend])?;
        let Scope::Own(own) = grant.scope() else {
            let ids = most.iter().map(|(id, _)| id.to_string()).collect();
            let keys =
                if most.is_empty() { Vec::new() } else { self.keys.list(&some("id", ids)).await?.records };
            let mut shown = self.by_id(&keys).await?;
            let row = |(id, money): &(Arc<str>, Money)| {
                shown.remove(id.as_ref()).unwrap_or_else(|| gone(id, *money))
            };
            return Ok(most.iter().map(row).map(Value::Object).collect());
        };
        let mut keys: BTreeMap<String, Key> = BTreeMap::new();
        let mut parts = Vec::new();
        match (&own.user, &own.key) {
            (Some(user), _) => parts.push(("user_id", vec![user.clone()])),
            (None, Some(key)) => parts.push(("id", vec![key.id.clone()])),
            (None, None) => {}
        }
        if !own.admin_of.is_empty() {
            parts.push(("team_id", own.admin_of.iter().cloned().collect()));
        }
        for (column, values) in parts {
            let query = Query { limit: OWN_KEYS, ..some(column, values) };
            keys.extend(self.keys.list(&query).await?.records.into_iter().map(|key| (key.id.clone(), key)));
        }
        let keys: Vec<Key> = keys.into_values().collect();
        let of: Vec<(&str, &Limits)> = keys.iter().map(|key| (key.id.as_str(), &key.limits)).collect();
        let figures = self.figures(ScopeKind::Key, &of).await;
        let mut spent: Vec<(Money, Key)> = figures.iter().map(|one| one.total).zip(keys).collect();
        spent.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.id.cmp(&other.id)));
        let keys: Vec<Key> = spent.into_iter().take(limit).map(|(_, key)| key).collect();
        Ok(json!(self.show_keys(&keys).await?))
    }

    async fn by_id(&self, keys: &[Key]) -> Result<BTreeMap<String, Map<String, Value>>> {
        let shown = self.show_keys(keys).await?;
        Ok(keys.iter().map(|key| key.id.clone()).zip(shown).collect())
    }

    /// `GET /spend/users`: the users of `most`, which are the ids of those that spent most, or the caller itself.
    pub async fn spend_of_users(&self, grant: &Grant, most: &[(Arc<str>, Money)]) -> Result<Value> {
        grant.demand(&[Right::Spend])?;
        let mut shown = Vec::with_capacity(most.len());
        for (id, money) in most.iter().filter(|(id, _)| grant.reaches_user(id)) {
            let row = match self.users.get(id).await? {
                Some(user) => self.show_user(&user).await?,
                // Receipts name users that nobody has made, and that were deleted since.
                None => Map::from_iter([
                    ("user_id".to_owned(), json!(id)),
                    ("spend".to_owned(), dollars(Some(*money))),
                ]),
            };
            shown.push(Value::Object(row));
        }
        Ok(Value::Array(shown))
    }

    /// What `POST /key/{key}/reset_spend` asks for, once it is in the audit log. Nothing has changed yet.
    pub async fn key_reset(&self, grant: &Grant, named: Option<&str>, body: &[u8]) -> Result<SpendReset> {
        grant.demand(&[Right::KeyResetSpend])?;
        let is_empty = body.iter().all(u8::is_ascii_whitespace);
        let request = if is_empty { ResetSpend::default() } else { ResetSpend::parse(body)? };
        let token = secret::token_of(named.ok_or_else(unknown_key)?);
        let key = self.keys.find("token", &token).await?.ok_or_else(unknown_key)?;
        let reached = grant.is_all() || key.team_id.as_deref().is_some_and(|team| grant.reaches_team(team));
        if !reached {
            return Err(unknown_key());
        }
        let before = self.figure(ScopeKind::Key, &key.id, &key.limits).await.spend;
        let after = request.reset_to.get().map_or(Money::ZERO, |dollars| dollars.0);
        if after > before {
            let message = format!("`reset_to` is at most what the key has spent, {before} dollars");
            return Err(bad("reset_to", message));
        }
        let reset = SpendReset { kind: ScopeKind::Key, id: key.id, before, after };
        self.note_reset(grant, Key::TABLE, &reset).await?;
        Ok(reset)
    }

    /// What `POST /global/spend/reset` asks for: every key and team that has spent something, some at a time. `after` is
    /// the number of records that were looked at; `None` in the answer: these were the last.
    pub async fn global_reset(
        &self,
        grant: &Grant,
        kind: ScopeKind,
        after: u64,
    ) -> Result<(Vec<SpendReset>, Option<u64>)> {
        grant.demand(&[Right::GlobalResetSpend])?;
        let query = Query { sort: Some("id"), offset: after, limit: PAGE, ..Query::default() };
        let of: Vec<(String, Limits)> = if kind == ScopeKind::Team {
            self.teams.list(&query).await?.records.into_iter().map(|one| (one.team_id, one.limits)).collect()
        } else {
            self.keys.list(&query).await?.records.into_iter().map(|one| (one.id, one.limits)).collect()
        };
        let looked = of.len() as u64;
        let asked: Vec<(&str, &Limits)> = of.iter().map(|(id, limits)| (id.as_str(), limits)).collect();
        let figures = self.figures(kind, &asked).await;
        let table = if kind == ScopeKind::Team { Team::TABLE } else { Key::TABLE };
        let mut resets = Vec::new();
        for ((id, _), figures) in of.into_iter().zip(figures).filter(|(_, one)| one.spend != Money::ZERO) {
            let reset = SpendReset { kind, id, before: figures.spend, after: Money::ZERO };
            self.note_reset(grant, table, &reset).await?;
            resets.push(reset);
        }
        Ok((resets, (looked == PAGE).then_some(after + PAGE)))
    }

    pub(crate) async fn note_reset(&self, grant: &Grant, table: &str, reset: &SpendReset) -> Result<()> {
        let spend = |money: Money| Some(json!({ "spend": dollars(Some(money)) }).to_string());
        let actor = grant.actor();
        let entry = AuditEntry {
            at: self.now(),
            actor: actor.id.clone(),
            actor_key: actor.key.clone(),
            action: "spend_reset".to_owned(),
            table: table.to_owned(),
            id: reset.id.clone(),
            before: spend(reset.before),
            after: spend(reset.after),
            ..AuditEntry::default()
        };
        self.audit.append(entry).await.map_err(stored).map(drop)
    }
}

/// The rights that let one see names beside figures.
const READS: [Right; 3] = [Right::Spend, Right::GlobalSpend, Right::Receipts];

fn some(column: &'static str, values: Vec<String>) -> Query {
    let limit = values.len() as u64;
    let any_of = vec![(column, values)];
    Query { any_of, limit, ..Query::default() }
}

/// A key that has spent and is no more: the master key, which is no record, or a deleted one.
fn gone(id: &str, money: Money) -> Map<String, Value> {
    Map::from_iter([
        ("token".to_owned(), json!(id)),
        ("key_name".to_owned(), Value::Null),
        ("key_alias".to_owned(), Value::Null),
        ("spend".to_owned(), dollars(Some(money))),
    ])
}

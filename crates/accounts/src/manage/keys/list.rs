//! Looking at keys: one, several, pages of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::Result;
use tollway_store::Query;
use tollway_store::records::{DeletedKey, Key, Millis};

use super::KeyNames;
use crate::manage::errors::bad;
use crate::manage::fields::Request as _;
use crate::manage::params::{Paging, names};
use crate::manage::scan::{By, Facts, SCANNED, Scan, cut};
use crate::manage::{Management, Params, secret};
use crate::rights::{Grant, Right, Scope};

const SORTS: &[(&str, &str)] = &[
    ("created_at", "created_at"),
    ("updated_at", "updated_at"),
    ("key_alias", "key_alias"),
    ("user_id", "user_id"),
    ("team_id", "team_id"),
    ("token", "token"),
];

const ORDERS: &[(&str, By)] =
    &[("spend", By::Spend), ("max_budget", By::MaxBudget), ("expires", By::Expires)];

impl Management {
    /// `GET /key/info`: a key, or without `?key=` the one that asks.
    pub async fn key_info(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::KeyInfo])?;
        params.allow(names::KEY_INFO)?;
        let key = match (params.text("key")?, grant.own_key()) {
            (Some(asked), _) => self.key_within(grant, &secret::token_of(asked)).await?,
            (None, Some(own)) => self.key_within(grant, &own.token).await?,
            (None, None) => return Err(bad("key", "name a key: `/key/info?key=sk-…`, or its hash")),
        };
        let token = key.token.clone();
        let mut info = self.show_key(&key).await?;
        info.shift_remove("token");
        info.shift_remove("token_id");
        Ok(json!({ "key": token, "info": info }))
    }

    /// `POST /key/health`: whether the key that asks may call. It logs to no service that could be away.
    pub async fn key_health(&self, grant: &Grant) -> Result<Value> {
        grant.demand(&[Right::KeyInfo])?;
        Ok(json!({ "key": "healthy", "logging_callbacks": null }))
    }

    /// `POST /v2/key/info`: several keys; those out of reach are left out.
    pub async fn key_infos(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::KeyInfo])?;
        let request = KeyNames::parse(body)?;
        let asked = request.keys.get().cloned().unwrap_or_default();
        if asked.len() > 100 {
            return Err(bad("keys", "ask for at most 100 keys at once"));
        }
        let mut keys = Vec::with_capacity(asked.len());
        for name in &asked {
            match self.key_within(grant, &secret::token_of(name)).await {
                Ok(key) => keys.push(key),
                Err(error) if error.kind() == tollway_model::Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let tokens: Vec<&str> = keys.iter().map(|key| key.token.as_str()).collect();
        Ok(json!({ "key": tokens, "info": self.show_keys(&keys).await? }))
    }

    /// `GET /key/list`: hashes, or whole objects with `return_full_object`.
    pub async fn key_list(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::KeyList])?;
        params.allow(names::KEY_LIST)?;
        let paging = params.paging("size", 10, 100)?;
        if params.text("status")? == Some("deleted") {
            return self.deleted_list(grant, params, paging).await;
        }
        let (keys, total) = self.found(grant, params, paging).await?;
        let expand = params.list("expand");
        if let Some(wrong) = expand.iter().find(|wanted| *wanted != "user") {
            return Err(bad("expand", format!("`expand` is `user`, not `{wrong}`")));
        }
        let keys = if !expand.is_empty() {
            json!(self.with_users(&keys).await?)
        } else if params.flag("return_full_object")? {
            json!(self.show_keys(&keys).await?)
        } else {
            json!(keys.iter().map(|key| &key.token).collect::<Vec<_>>())
        };
        Ok(json!({
            "keys": keys, "total_count": total, "current_page": paging.page, "total_pages": paging.pages(total),
        }))
    }

    /// `GET /key/aliases`: the names of keys.
    pub async fn key_aliases(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::KeyList])?;
        params.allow(names::KEY_ALIASES)?;
        let paging = params.paging("size", 50, 100)?;
        let (keys, total) = self.found(grant, params, paging).await?;
        let names: Vec<&String> = keys.iter().filter_map(|key| key.key_alias.as_ref()).collect();
        Ok(json!({
            "aliases": names, "total_count": total, "current_page": paging.page,
            "total_pages": paging.pages(total), "size": paging.size,
        }))
    }

    /// Keys, each with its user.
    async fn with_users(&self, keys: &[Key]) -> Result<Vec<Map<String, Value>>> {
        let mut shown = self.show_keys(keys).await?;
        let mut known: BTreeMap<&str, Value> = BTreeMap::new();
        for (key, map) in keys.iter().zip(&mut shown) {
            let Some(id) = key.user_id.as_deref() else {
                map.insert("user".into(), Value::Null);
                continue;
            };
            let user = match known.get(id) {
                Some(user) => user.clone(),
                None => match self.users.get(id).await? {
                    Some(user) => json!({
                        "user_id": user.user_id, "user_email": user.user_email, "user_alias": user.user_alias,
                        "user_role": user.user_role,
                    }),
                    None => Value::Null,
                },
            };
            known.insert(id, user.clone());
            map.insert("user".into(), user);
        }
        Ok(shown)
    }

    /// A page of the keys that the parameters and the grant both let through.
    async fn found(&self, grant: &Grant, params: &Params, paging: Paging) -> Result<(Vec<Key>, u64)> {
        if names::NOWHERE.iter().any(|name| params.text(name).is_ok_and(|value| value.is_some())) {
            // No key belongs to what there is not.
            return Ok((Vec::new(), 0));
        }
        let now = self.now();
        let standing = Standing::of(params)?;
        let mut query = filters(params)?;
        params.order(&mut query, SORTS, ORDERS)?;
        let asked = params.text("user_id")?;
        // Whoever asks for itself means all that is its own: its keys, those it made, and those of its teams.
        let oneself = match grant.scope() {
            Scope::Own(own) => asked.is_none() || asked == own.user.as_deref(),
            Scope::All => false,
        };
        let maker = match (params.flag("include_created_by_keys")?, grant.scope()) {
            (true, Scope::Own(own)) if oneself => own.user.clone(),
            (true, Scope::All) => asked.map(str::to_owned),
            _ => None,
        };
        let whole_teams =
            !grant.is_all() && (params.flag("include_team_keys")? || params.text("team_id")?.is_some());
        if oneself || maker.is_some() {
            query.equal.retain(|(column, _)| *column != "user_id");
        }
        let of_maker = |key: &Key, maker: &str| {
            whole_teams
                || key.user_id.as_deref() == Some(maker)
                || key.stamp.created_by.as_deref() == Some(maker)
        };
        let keep = |key: &Key| {
            standing.is_none_or(|standing| standing == Standing::now(key, now))
                && maker.as_deref().is_none_or(|maker| of_maker(key, maker))
        };
        let scan = Scan {
            kind: ScopeKind::Key,
            by: params.order_beyond_columns(ORDERS)?,
            keep: (standing.is_some() || maker.is_some()).then_some(&keep),
            facts: |key| Facts { limits: &key.limits, expires: key.expires },
        };
        let Scope::Own(own) = grant.scope() else {
            return self.scan(&self.keys, query, paging, &scan).await;
        };
        // What the caller may see is a union, which stores do not ask for: its parts are asked for one by one.
        let mut parts = Vec::new();
        match (&own.user, &own.key) {
            (Some(user), _) => parts.push(only(&query, "user_id", vec![user.clone()])),
            (None, Some(key)) => parts.push(only(&query, "token", vec![key.token.clone()])),
            (None, None) => {}
        }
        if (whole_teams || maker.is_some()) && !own.admin_of.is_empty() {
            parts.push(only(&query, "team_id", own.admin_of.iter().cloned().collect()));
        }
        self.union(parts, paging, query, &scan).await
    }

    async fn union(
        &self,
        parts: Vec<Query>,
        paging: Paging,
        order: Query,
        scan: &Scan<'_, Key>,
    ) -> Result<(Vec<Key>, u64)> {
        let mut found: BTreeMap<String, Key> = BTreeMap::new();
        for mut part in parts {
            part.limit = SCANNED;
            found.extend(self.keys.list(&part).await?.records.into_iter().map(|key| (key.id.clone(), key)));
        }
        let mut keys: Vec<Key> = found.into_values().collect();
        if let Some(keep) = scan.keep {
            keys.retain(keep);
        }
        keys.sort_by_cached_key(|key| sort_key(key, order.sort));
        if order.descending {
            keys.reverse();
        }
        if let Some(by) = scan.by {
            keys = self.rank(keys, by, order.descending, scan).await;
        }
        let total = keys.len() as u64;
        Ok((cut(keys, paging), total))
    }

    async fn deleted_list(&self, grant: &Grant, params: &Params, paging: Paging) -> Result<Value> {
        let mut query = Query { descending: true, ..Query::default() };
        for (name, column) in [("user_id", "user_id"), ("team_id", "team_id"), ("key_hash", "token")] {
            if let Some(value) = params.text(name)? {
                query.equal.push((column, Some(value.to_owned())));
            }
        }
        if let Scope::Own(own) = grant.scope() {
            query.any_of.push(("user_id", own.user.iter().cloned().collect()));
        }
        paging.cut(&mut query);
        let page = self.deleted_keys.list(&query).await?;
        let keys: Vec<Value> = page.records.iter().map(show_deleted).collect();
        Ok(json!({
            "keys": keys, "total_count": page.total, "current_page": paging.page,
            "total_pages": paging.pages(page.total),
        }))
    }
}

fn show_deleted(gone: &DeletedKey) -> Value {
    let mut map = Map::new();
    for name in ["key_alias", "key_name", "user_id", "team_id", "models", "metadata"] {
        map.insert(name.to_owned(), gone.record.get(name).cloned().unwrap_or(Value::Null));
    }
    map.insert("token".into(), json!(gone.token));
    map.insert("deleted_at".into(), crate::manage::periods::iso(Some(gone.deleted_at)));
    map.insert("deleted_by".into(), json!(gone.deleted_by));
    Value::Object(map)
}

/// How a key stands: every key that exists is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Active,
    Expired,
    Revoked,
}

impl Standing {
    fn now(key: &Key, now: Millis) -> Standing {
        match key {
            _ if key.blocked => Standing::Revoked,
            _ if key.expires.is_some_and(|expires| expires <= now) => Standing::Expired,
            _ => Standing::Active,
        }
    }

    /// What `status` asks for.
    fn of(params: &Params) -> Result<Option<Standing>> {
        match params.text("status")? {
            None => Ok(None),
            Some("active") => Ok(Some(Standing::Active)),
            Some("expired") => Ok(Some(Standing::Expired)),
            Some("revoked") => Ok(Some(Standing::Revoked)),
            Some(_) => Err(bad("status", "`status` is `active`, `expired`, `revoked` or `deleted`")),
        }
    }
}

fn filters(params: &Params) -> Result<Query> {
    let mut query = Query::default();
    if let Some(team) = params.text("team_id")? {
        query.equal.push(("team_id", Some(team.to_owned())));
    }
    if let Some(user) = params.text("user_id")? {
        if params.flag("substring_matching")? {
            query.contains.push(("user_id", user.to_owned()));
        } else {
            query.equal.push(("user_id", Some(user.to_owned())));
        }
    }
    if let Some(hash) = params.text("key_hash")? {
        query.equal.push(("token", Some(secret::token_of(hash))));
    }
    if let Some(alias) = params.text("key_alias")? {
        if params.flag("substring_matching")? {
            query.contains.push(("key_alias", alias.to_owned()));
        } else {
            query.equal.push(("key_alias", Some(alias.to_owned())));
        }
    }
    match params.text("search")? {
        // A hash is nobody's name.
        Some(text) if secret::is_hash(text) => query.equal.push(("token", Some(text.to_owned()))),
        Some(text) => query.contains.push(("key_alias", text.to_owned())),
        None => {}
    }
    Ok(query)
}

/// `query` with one more condition.
fn only(query: &Query, column: &'static str, values: Vec<String>) -> Query {
    let mut part = query.clone();
    part.any_of.push((column, values));
    part
}

fn sort_key(key: &Key, column: Option<&'static str>) -> (Option<String>, i64, String) {
    let text = match column {
        Some("key_alias") => key.key_alias.clone(),
        Some("user_id") => key.user_id.clone(),
        Some("team_id") => key.team_id.clone(),
        Some("token") => Some(key.token.clone()),
        _ => None,
    };
    let at = if column == Some("updated_at") { key.stamp.updated_at } else { key.stamp.created_at };
    (text, at, key.id.clone())
}

//! Looking at keys: one, several, pages of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tollway_model::Result;
use tollway_store::Query;
use tollway_store::records::{DeletedKey, Key};

use super::{KeyNames, unknown_key};
use crate::manage::errors::bad;
use crate::manage::fields::Request as _;
use crate::manage::params::{Paging, names};
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

/// Most keys that one page of a caller's own keys and its teams' keys is put together from.
const MERGED: u64 = 10_000;

impl Management {
    /// `GET /key/info`: a key, or without `?key=` the one that asks.
    pub async fn key_info(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::KeyInfo])?;
        params.allow(names::KEY_INFO)?;
        let key = match (params.text("key")?, grant.scope()) {
            (Some(asked), _) => self.key_within(grant, &secret::token_of(asked)).await?,
            (None, Scope::Own(own)) => match &own.key {
                Some(key) => self.key_within(grant, &key.token).await?,
                None => return Err(unknown_key()),
            },
            (None, Scope::All) => {
                return Err(bad("key", "name a key: `/key/info?key=sk-…`, or its hash"));
            }
        };
        let token = key.token.clone();
        let mut info = self.show_key(&key).await?;
        info.shift_remove("token");
        info.shift_remove("token_id");
        Ok(json!({ "key": token, "info": info }))
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
        match params.text("status")? {
            None => {}
            Some("deleted") => return self.deleted_list(grant, params, paging).await,
            Some(_) => return Err(bad("status", "`status` is `deleted`, or left out for keys that exist")),
        }
        let (keys, total) = self.found(grant, params, paging).await?;
        let keys = if params.flag("return_full_object")? {
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

    /// A page of the keys that the parameters and the grant both let through.
    async fn found(&self, grant: &Grant, params: &Params, paging: Paging) -> Result<(Vec<Key>, u64)> {
        let mut query = filters(params)?;
        params.order(&mut query, SORTS)?;
        let Scope::Own(own) = grant.scope() else {
            paging.cut(&mut query);
            let page = self.keys.list(&query).await?;
            return Ok((page.records, page.total));
        };
        // What the caller may see is a union, which stores do not ask for: its parts are asked for one by one.
        let mut parts = Vec::new();
        match (&own.user, &own.key) {
            (Some(user), _) => parts.push(only(&query, "user_id", vec![user.clone()])),
            (None, Some(key)) => parts.push(only(&query, "token", vec![key.token.clone()])),
            (None, None) => {}
        }
        if params.flag("include_team_keys")? || params.text("team_id")?.is_some() {
            let teams: Vec<String> = own.admin_of.iter().cloned().collect();
            if !teams.is_empty() {
                parts.push(only(&query, "team_id", teams));
            }
        }
        self.union(parts, paging, query).await
    }

    async fn union(&self, parts: Vec<Query>, paging: Paging, order: Query) -> Result<(Vec<Key>, u64)> {
        let mut found: BTreeMap<String, Key> = BTreeMap::new();
        for mut part in parts {
            part.limit = MERGED;
            found.extend(self.keys.list(&part).await?.records.into_iter().map(|key| (key.id.clone(), key)));
        }
        let mut keys: Vec<Key> = found.into_values().collect();
        keys.sort_by_cached_key(|key| sort_key(key, order.sort));
        if order.descending {
            keys.reverse();
        }
        let total = keys.len() as u64;
        let skip = usize::try_from((paging.page - 1).saturating_mul(paging.size)).unwrap_or(usize::MAX);
        let size = usize::try_from(paging.size).unwrap_or(usize::MAX);
        Ok((keys.into_iter().skip(skip).take(size).collect(), total))
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

fn filters(params: &Params) -> Result<Query> {
    let mut query = Query::default();
    for (name, column) in [("user_id", "user_id"), ("team_id", "team_id")] {
        if let Some(value) = params.text(name)? {
            query.equal.push((column, Some(value.to_owned())));
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
    if let Some(text) = params.text("search")? {
        query.contains.push(("key_alias", text.to_owned()));
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

//! Tags of calls that have limits.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Error, Result};
use tollway_store::Query;
use tollway_store::records::{Limits, Tag};

use super::desk::patiently;
use super::errors::{bad, not_found};
use super::fields::{Request as _, check_name, request};
use super::keys::{put_name, put_names};
use super::limits::{LimitFields, dollars};
use super::params::names;
use super::periods::iso;
use super::{Figures, Management, Params, budgets, limits};
use crate::rights::{Grant, Right};

/// Most tags that have limits: every process remembers all of them.
const MOST: u64 = 10_000;

/// Tags that calls had and nobody made, in a list.
const USED: u32 = 500;

const REFUSED: &[(&str, &str)] = &[
    ("spend", "is what the ledger says; it cannot be set"),
    ("budget_reset_at", "follows from `budget_duration`"),
];

request! {
    /// `POST /tag/new`, `POST /tag/update`
    TagRequest {
        /// Its name, as calls have it.
        name: String,
        /// What it is for.
        description: String,
        /// Models that calls with it may use; empty: all.
        models: Vec<String>,
        /// Takes its limits from a shared budget.
        budget_id: String,
        ; with limits: LimitFields
        ; required ["name"]
        ; refused REFUSED
    }
}

request! {
    /// `POST /tag/info`
    TagNames {
        /// Which.
        names: Vec<String>,
        ; required ["names"]
    }
}

request! {
    /// `POST /tag/delete`
    OneTag {
        /// Which.
        name: String,
        ; required ["name"]
    }
}

impl Management {
    /// `POST /tag/new`
    pub async fn tag_new(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TagWrite])?;
        let request = TagRequest::parse(body)?;
        let name = request.name.get().cloned().unwrap_or_default();
        check_name("name", &name)?;
        if name != name.trim() || name.contains(',') {
            return Err(bad("name", "`name` has no comma and no space at its ends: calls could not name it"));
        }
        if self.tags.get(&name).await?.is_some() {
            return Err(bad("name", format!("there is a tag `{name}` already")));
        }
        if self.tags.list(&Query::default()).await?.total >= MOST {
            return Err(bad("name", format!("there are {MOST} tags already; delete some first")));
        }
        let mut tag = Tag { name, ..Tag::default() };
        self.apply_tag(&request, &mut tag).await?;
        let tag = self.tags.create(grant.actor(), tag).await?;
        let message = format!("Tag {} was made", tag.name);
        Ok(json!({ "message": message, "tag": self.show_tag(&tag).await? }))
    }

    /// `POST /tag/update`
    pub async fn tag_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TagWrite])?;
        let request = TagRequest::parse(body)?;
        let name = request.name.get().map(String::as_str).unwrap_or_default();
        let tag = patiently(|| async {
            let before = self.tag(name).await?;
            let mut after = before.clone();
            self.apply_tag(&request, &mut after).await?;
            self.tags.change(grant.actor(), "updated", &before, after).await
        })
        .await?;
        let message = format!("Tag {} was changed", tag.name);
        Ok(json!({ "message": message, "tag": self.show_tag(&tag).await? }))
    }

    async fn apply_tag(&self, request: &TagRequest, tag: &mut Tag) -> Result<()> {
        request.description.put(&mut tag.description);
        put_names("models", &request.models, &mut tag.models)?;
        put_name("budget_id", &request.budget_id, &mut tag.budget_id)?;
        if let (true, Some(budget)) = (request.budget_id.is_present(), &tag.budget_id) {
            self.budget(budget).await?;
        }
        request.limits.apply(&mut tag.limits, self.now())
    }

    /// `POST /tag/info`: tags by their names.
    pub async fn tag_info(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TagRead])?;
        let names = TagNames::parse(body)?.names.get().cloned().unwrap_or_default();
        if names.is_empty() || names.len() > 500 {
            return Err(bad("names", "`names` names 1 to 500 tags"));
        }
        let mut shown = Map::new();
        for name in &names {
            let tag = self.tag(name).await?;
            shown.insert(name.clone(), self.show_tag(&tag).await?);
        }
        Ok(Value::Object(shown))
    }

    /// `GET /tag/list`: every tag that was made, and those that calls had.
    pub async fn tag_list(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::TagRead])?;
        params.allow(names::TAG_LIST)?;
        let tags = self.tags.all(Query::default()).await?;
        let of: Vec<_> = tags.iter().map(|tag| (tag.name.as_str(), &tag.limits)).collect();
        let figures = self.figures(ScopeKind::Tag, &of).await;
        let mut shown = Vec::with_capacity(tags.len());
        for (tag, figures) in tags.iter().zip(&figures) {
            shown.push(self.show_tag_with(tag, figures).await?);
        }
        let made: HashMap<&str, &Tag> = tags.iter().map(|tag| (tag.name.as_str(), tag)).collect();
        for (name, money) in self.spend.most(ScopeKind::Tag, USED).await {
            if !made.contains_key(name.as_str()) {
                let description = Some("calls had this tag; it has no limits".to_owned());
                let used = Tag { name, description, ..Tag::default() };
                let figures = Figures { spend: money, total: money, ..Figures::default() };
                shown.push(self.show_tag_with(&used, &figures).await?);
            }
        }
        Ok(Value::Array(shown))
    }

    /// `POST /tag/delete`
    pub async fn tag_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::TagWrite])?;
        let request = OneTag::parse(body)?;
        let tag = self.tag(request.name.get().map(String::as_str).unwrap_or_default()).await?;
        self.tags.remove(grant.actor(), &tag).await?;
        Ok(json!({ "message": format!("Tag {} was deleted", tag.name) }))
    }

    async fn tag(&self, name: &str) -> Result<Tag> {
        self.tags.get(name).await?.ok_or_else(|| unknown(name))
    }

    async fn show_tag(&self, tag: &Tag) -> Result<Value> {
        let figures = self.figure(ScopeKind::Tag, &tag.name, &tag.limits).await;
        self.show_tag_with(tag, &figures).await
    }

    async fn show_tag_with(&self, tag: &Tag, figures: &Figures) -> Result<Value> {
        let now = self.now();
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| {
            out.insert(name.to_owned(), value);
        };
        put("name", json!(tag.name));
        put("description", json!(tag.description));
        put("models", json!(tag.models));
        put("spend", dollars(Some(figures.spend)));
        put("total_spend", dollars(Some(figures.total)));
        put("budget_id", json!(tag.budget_id));
        put("created_at", iso(Some(tag.stamp.created_at).filter(|at| *at > 0)));
        put("updated_at", iso(Some(tag.stamp.updated_at).filter(|at| *at > 0)));
        put("created_by", json!(tag.stamp.created_by));
        limits::show(&tag.limits, now, &mut out);
        let table = match &tag.budget_id {
            Some(id) => self.budgets.get(id).await?.map(|budget| budgets::show(&budget, now)),
            None if tag.limits == Limits::default() => None,
            None => {
                let mut table = Map::new();
                limits::show(&tag.limits, now, &mut table);
                Some(table)
            }
        };
        out.insert("litellm_budget_table".into(), json!(table));
        Ok(Value::Object(out))
    }
}

fn unknown(name: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    not_found("name", format!("there is no tag `{shown}`"))
}

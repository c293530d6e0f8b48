//! Budgets that keys and customers share.

use serde_json::{Map, Value, json};
use tollway_model::Result;
use tollway_store::Query;
use tollway_store::records::{Budget, Millis};

use super::desk::patiently;
use super::errors::{bad, not_found};
use super::fields::{Dollars, Request as _, check_name, request};
use super::keys::put_names;
use super::limits::LimitFields;
use super::params::names;
use super::periods::iso;
use super::{Management, Params, limits, periods, secret};
use crate::rights::{Grant, Right};

request! {
    /// `POST /budget/new`, `POST /budget/update`
    BudgetRequest {
        /// Its id; without it, a new one gets a random one.
        budget_id: String,
        /// Models it may be spent on; empty: all.
        allowed_models: Vec<String>,
        /// More allowance until `temp_budget_expiry`, dollars.
        temp_budget_increase: Dollars,
        /// When it ends.
        temp_budget_expiry: String,
        ; with limits: LimitFields
        ; refused &[("budget_reset_at", "follows from `budget_duration`")]
    }
}

request! {
    /// `POST /budget/info`
    BudgetIds {
        /// Which.
        budgets: Vec<String>,
        ; required ["budgets"]
    }
}

request! {
    /// `POST /budget/delete`
    DeleteBudget {
        /// Which.
        id: String,
        ; required ["id"]
    }
}

/// What can be set of a budget: name, type, meaning.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("max_budget", "Float", "most US dollars in the window; 0 refuses every call that costs something"),
    ("soft_budget", "Float", "dollars at which an alert goes out"),
    ("budget_duration", "String", "the window: `24h`, `7d`, `1mo`; none: for ever"),
    ("max_parallel_requests", "Integer", "calls in flight"),
    ("tpm_limit", "Integer", "tokens a minute"),
    ("rpm_limit", "Integer", "requests a minute"),
    ("tpd_limit", "Integer", "tokens a day, from midnight to midnight UTC"),
];

impl BudgetRequest {
    fn apply(&self, budget: &mut Budget, now: Millis) -> Result<()> {
        put_names("allowed_models", &self.allowed_models, &mut budget.allowed_models)?;
        self.temp_budget_increase.put(&mut budget.temp_budget_increase);
        periods::put_end(
            "temp_budget_expiry",
            &self.temp_budget_expiry,
            &mut budget.temp_budget_expiry,
            now,
        )?;
        self.limits.apply(&mut budget.limits, now)
    }
}

impl Management {
    /// `POST /budget/new`
    pub async fn budget_new(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::BudgetWrite])?;
        let request = BudgetRequest::parse(body)?;
        let budget_id = match request.budget_id.get().filter(|id| !id.is_empty()) {
            Some(id) => id.clone(),
            None => secret::id()?,
        };
        check_name("budget_id", &budget_id)?;
        if self.budgets.get(&budget_id).await?.is_some() {
            return Err(bad("budget_id", format!("there is a budget `{budget_id}` already")));
        }
        let mut budget = Budget { budget_id, ..Budget::default() };
        request.apply(&mut budget, self.now())?;
        let budget = self.budgets.create(grant.actor(), budget).await?;
        Ok(Value::Object(show(&budget, self.now())))
    }

    /// `POST /budget/update`
    pub async fn budget_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::BudgetWrite])?;
        let request = BudgetRequest::parse(body)?;
        let id = request.budget_id.get().ok_or_else(|| bad("budget_id", "`budget_id` is missing"))?;
        let budget = patiently(|| async {
            let before = self.budget(id).await?;
            let mut after = before.clone();
            request.apply(&mut after, self.now())?;
            self.budgets.change(grant.actor(), "updated", &before, after).await
        });
        Ok(Value::Object(show(&budget.await?, self.now())))
    }

    /// `POST /budget/info`
    pub async fn budget_info(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::BudgetRead])?;
        let ids = BudgetIds::parse(body)?.budgets.get().cloned().unwrap_or_default();
        if ids.is_empty() || ids.len() > 100 {
            return Err(bad("budgets", "`budgets` names 1 to 100 budgets"));
        }
        let mut shown = Vec::with_capacity(ids.len());
        for id in &ids {
            if let Some(budget) = self.budgets.get(id).await? {
                shown.push(show(&budget, self.now()));
            }
        }
        Ok(json!(shown))
    }

    /// `GET /budget/list`
    pub async fn budget_list(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::BudgetRead])?;
        params.allow(names::BUDGET_LIST)?;
        let budgets = self.budgets.all(Query::default()).await?;
        let now = self.now();
        Ok(json!(budgets.iter().map(|budget| show(budget, now)).collect::<Vec<_>>()))
    }

    /// `GET /budget/settings`: what can be set of a budget, and what is.
    pub async fn budget_settings(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::BudgetRead])?;
        params.allow(names::BUDGET_SETTINGS)?;
        let id = params.text("budget_id")?.ok_or_else(|| bad("budget_id", "`budget_id` is missing"))?;
        let shown = show(&self.budget(id).await?, self.now());
        let field = |(name, kind, description): &(&str, &str, &str)| {
            let value = shown.get(*name).cloned().unwrap_or(Value::Null);
            json!({
                "field_name": name, "field_type": kind, "field_description": description, "field_value": value,
                "stored_in_db": !value.is_null(), "field_default_value": null,
            })
        };
        Ok(SETTINGS.iter().map(field).collect())
    }

    /// `POST /budget/delete`. A budget that binds someone stays: without it they would be unbound.
    pub async fn budget_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::BudgetWrite])?;
        let request = DeleteBudget::parse(body)?;
        let budget = self.budget(request.id.get().map(String::as_str).unwrap_or_default()).await?;
        let of = Query { equal: vec![("budget_id", Some(budget.budget_id.clone()))], ..Query::default() };
        let (keys, customers) = (self.keys.list(&of).await?.total, self.customers.list(&of).await?.total);
        let tags = self.tags.list(&of).await?.total;
        if keys + customers + tags > 0 {
            let message = format!(
                "the budget binds {keys} keys, {customers} customers and {tags} tags; change those first"
            );
            return Err(bad("id", message));
        }
        self.budgets.remove(grant.actor(), &budget).await?;
        Ok(Value::Object(show(&budget, self.now())))
    }

    pub(crate) async fn budget(&self, id: &str) -> Result<Budget> {
        let shown: String = id.chars().take(80).collect();
        let unknown = || not_found("budget_id", format!("there is no budget `{shown}`"));
        self.budgets.get(id).await?.ok_or_else(unknown)
    }
}

/// A budget as LiteLLM shows it.
pub(crate) fn show(budget: &Budget, now: Millis) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("budget_id".into(), json!(budget.budget_id));
    limits::show(&budget.limits, now, &mut out);
    out.insert("allowed_models".into(), json!(budget.allowed_models));
    out.insert("temp_budget_increase".into(), limits::dollars(budget.temp_budget_increase));
    out.insert("temp_budget_expiry".into(), iso(budget.temp_budget_expiry));
    out.insert("created_at".into(), iso(Some(budget.stamp.created_at)));
    out.insert("created_by".into(), json!(budget.stamp.created_by));
    out.insert("updated_at".into(), iso(Some(budget.stamp.updated_at)));
    out.insert("updated_by".into(), json!(budget.stamp.updated_by));
    out
}

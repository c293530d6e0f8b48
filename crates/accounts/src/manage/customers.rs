//! Customers: whom calls are made for.

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Error, Kind, Money, Result};
use tollway_store::Query;
use tollway_store::records::{Customer, Limits};

use super::desk::patiently;
use super::errors::{bad, not_found};
use super::fields::{NO_GRANTS, Request as _, check_name, request};
use super::keys::{put_free, put_name, put_names};
use super::limits::{LimitFields, dollars};
use super::params::names;
use super::periods::iso;
use super::{Figures, Management, Params, budgets, limits};
use crate::rights::{Grant, Right};

const REFUSED: &[(&str, &str)] = &[
    ("spend", "is what the ledger says; it cannot be set"),
    ("budget_reset_at", "follows from `budget_duration`"),
    ("object_permission", NO_GRANTS),
];

request! {
    /// What may be said about a customer.
    CustomerFields {
        /// Its name.
        alias: String,
        /// Its calls are refused while true.
        blocked: bool,
        /// Takes its limits from a shared budget.
        budget_id: String,
        /// Models it may use; empty: all.
        models: Vec<String>,
        /// The model of its calls that name none, or one that is not served in its region.
        default_model: String,
        /// Its calls are served in this region only: `eu` or `us`.
        allowed_model_region: String,
        /// Free.
        metadata: Map<String, Value>,
        ; with limits: LimitFields
    }
}

request! {
    /// `POST /customer/new`
    NewCustomer {
        /// Its id: the `user` of calls.
        user_id: String,
        ; with fields: CustomerFields
        ; required ["user_id"]
        ; refused REFUSED
    }
}

request! {
    /// `POST /customer/update`
    CustomerRequest {
        /// Which.
        user_id: String,
        ; with fields: CustomerFields
        ; required ["user_id"]
        ; refused REFUSED
    }
}

request! {
    /// `POST /customer/delete`, `/customer/block`, `/customer/unblock`
    CustomerIds {
        /// Which.
        user_ids: Vec<String>,
        ; required ["user_ids"]
    }
}

impl Management {
    /// `POST /customer/new`
    pub async fn customer_new(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::CustomerWrite])?;
        let request = NewCustomer::parse(body)?;
        let user_id = request.user_id.get().cloned().unwrap_or_default();
        check_name("user_id", &user_id)?;
        if self.customers.get(&user_id).await?.is_some() {
            return Err(bad("user_id", format!("there is a customer `{user_id}` already")));
        }
        let mut customer = Customer { user_id, ..Customer::default() };
        self.apply_customer(&request.fields, &mut customer).await?;
        let customer = self.customers.create(grant.actor(), customer).await?;
        self.show_customer(&customer).await
    }

    /// `POST /customer/update`
    pub async fn customer_update(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::CustomerWrite])?;
        let request = CustomerRequest::parse(body)?;
        let id = request.user_id.get().map(String::as_str).unwrap_or_default();
        let customer = patiently(|| async {
            let before = self.customer(id).await?;
            let mut after = before.clone();
            self.apply_customer(&request.fields, &mut after).await?;
            self.customers.change(grant.actor(), "updated", &before, after).await
        });
        self.show_customer(&customer.await?).await
    }

    async fn apply_customer(&self, fields: &CustomerFields, customer: &mut Customer) -> Result<()> {
        put_name("alias", &fields.alias, &mut customer.alias)?;
        fields.blocked.fill(&mut customer.blocked);
        put_name("budget_id", &fields.budget_id, &mut customer.budget_id)?;
        if let (true, Some(budget)) = (fields.budget_id.is_present(), &customer.budget_id) {
            self.budget(budget).await?;
        }
        put_names("models", &fields.models, &mut customer.models)?;
        put_name("default_model", &fields.default_model, &mut customer.default_model)?;
        if let Some(region) = fields.allowed_model_region.get()
            && !["", "eu", "us"].contains(&region.as_str())
        {
            return Err(bad("allowed_model_region", "`allowed_model_region` is `eu` or `us`"));
        }
        put_name("allowed_model_region", &fields.allowed_model_region, &mut customer.allowed_model_region)?;
        put_free("metadata", &fields.metadata, &mut customer.metadata)?;
        fields.limits.apply(&mut customer.limits, self.now())
    }

    /// `GET /customer/info`
    pub async fn customer_info(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::CustomerRead])?;
        params.allow(names::CUSTOMER_INFO)?;
        let id = params.text("end_user_id")?;
        let id = id.ok_or_else(|| bad("end_user_id", "name a customer: `/customer/info?end_user_id=…`"))?;
        match self.customers.get(id).await? {
            Some(customer) => self.show_customer(&customer).await,
            // Nobody has made it, but calls were made for it.
            None if self.figure(ScopeKind::Customer, id, &Limits::default()).await.total > Money::ZERO => {
                self.show_customer(&Customer { user_id: id.to_owned(), ..Customer::default() }).await
            }
            None => Err(unknown(id)),
        }
    }

    /// `GET /customer/list`: every customer that was made, or a page with `page` and `page_size`.
    pub async fn customer_list(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::CustomerRead])?;
        params.allow(names::CUSTOMER_LIST)?;
        let customers = if params.text("page")?.is_some() || params.text("page_size")?.is_some() {
            let mut query = Query::default();
            params.paging("page_size", 100, 1000)?.cut(&mut query);
            self.customers.list(&query).await?.records
        } else {
            self.customers.all(Query::default()).await?
        };
        let of: Vec<_> =
            customers.iter().map(|customer| (customer.user_id.as_str(), &customer.limits)).collect();
        let figures = self.figures(ScopeKind::Customer, &of).await;
        let mut shown = Vec::with_capacity(customers.len());
        for (customer, figures) in customers.iter().zip(&figures) {
            shown.push(self.show_with(customer, figures).await?);
        }
        Ok(json!(shown))
    }

    /// `POST /customer/delete`
    pub async fn customer_delete(&self, grant: &Grant, body: &[u8]) -> Result<Value> {
        grant.demand(&[Right::CustomerWrite])?;
        let ids = customer_ids(body)?;
        let mut customers = Vec::with_capacity(ids.len());
        for id in &ids {
            customers.push(self.customer(id).await?);
        }
        for customer in &customers {
            self.customers.remove(grant.actor(), customer).await?;
        }
        let count = customers.len();
        Ok(json!({ "deleted_customers": count, "message": format!("{count} customers were deleted") }))
    }

    /// `POST /customer/block` and `/customer/unblock`. Whoever is unknown is kept as blocked, too.
    pub async fn customer_block(&self, grant: &Grant, body: &[u8], blocked: bool) -> Result<Value> {
        grant.demand(&[Right::CustomerWrite])?;
        let ids = customer_ids(body)?;
        ids.iter().try_for_each(|id| check_name("user_ids", id))?;
        let action = if blocked { "blocked" } else { "unblocked" };
        let mut shown = Vec::with_capacity(ids.len());
        for id in &ids {
            let customer = patiently(|| async {
                match self.customers.get(id).await? {
                    Some(before) => {
                        let after = Customer { blocked, ..before.clone() };
                        self.customers.change(grant.actor(), action, &before, after).await
                    }
                    None if !blocked => Err(unknown(id)),
                    None => {
                        let customer = Customer { user_id: id.clone(), blocked, ..Customer::default() };
                        // Another request may have been faster: then it is there to be blocked.
                        let made = self.customers.create(grant.actor(), customer).await;
                        made.map_err(|error| match error.kind() {
                            Kind::InvalidRequest => Error::new(Kind::Conflict, error.message()),
                            _ => error,
                        })
                    }
                }
            });
            shown.push(self.show_customer(&customer.await?).await?);
        }
        Ok(if blocked {
            json!({ "blocked_users": shown })
        } else {
            json!({ "blocked_users": [], "unblocked_users": ids })
        })
    }

    async fn customer(&self, id: &str) -> Result<Customer> {
        self.customers.get(id).await?.ok_or_else(|| unknown(id))
    }

    async fn show_customer(&self, customer: &Customer) -> Result<Value> {
        let figures = self.figure(ScopeKind::Customer, &customer.user_id, &customer.limits).await;
        self.show_with(customer, &figures).await
    }

    async fn show_with(&self, customer: &Customer, figures: &Figures) -> Result<Value> {
        let now = self.now();
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| {
            out.insert(name.to_owned(), value);
        };
        put("user_id", json!(customer.user_id));
        put("alias", json!(customer.alias));
        put("blocked", json!(customer.blocked));
        put("spend", dollars(Some(figures.spend)));
        put("total_spend", dollars(Some(figures.total)));
        put("models", json!(customer.models));
        put("default_model", json!(customer.default_model));
        put("allowed_model_region", json!(customer.allowed_model_region));
        put("budget_id", json!(customer.budget_id));
        put("metadata", json!(customer.metadata));
        put("object_permission", Value::Null);
        put("created_at", iso(Some(customer.stamp.created_at).filter(|at| *at > 0)));
        limits::show(&customer.limits, now, &mut out);
        let table = match &customer.budget_id {
            Some(id) => self.budgets.get(id).await?.map(|budget| budgets::show(&budget, now)),
            None if customer.limits == Default::default() => None,
            None => {
                let mut table = Map::new();
                limits::show(&customer.limits, now, &mut table);
                Some(table)
            }
        };
        out.insert("litellm_budget_table".into(), json!(table));
        Ok(Value::Object(out))
    }
}

fn customer_ids(body: &[u8]) -> Result<Vec<String>> {
    let ids = CustomerIds::parse(body)?.user_ids.get().cloned().unwrap_or_default();
    if ids.is_empty() || ids.len() > 500 {
        return Err(bad("user_ids", "`user_ids` names 1 to 500 customers"));
    }
    Ok(ids)
}

fn unknown(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    not_found("user_id", format!("there is no customer `{shown}`"))
}

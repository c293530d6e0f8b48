//! Reading the audit log.

use serde_json::{Value, json};
use tollway_model::Result;
use tollway_store::AuditEntry;

use super::errors::stored;
use super::params::names;
use super::periods::iso;
use super::{Management, Params};
use crate::rights::{Grant, Right};

impl Management {
    /// `GET /audit`: entries, newest first, of `table_name` and `object_id` where given.
    pub async fn audit_list(&self, grant: &Grant, params: &Params) -> Result<Value> {
        grant.demand(&[Right::Audit])?;
        params.allow(names::AUDIT)?;
        let paging = params.paging("page_size", 50, 1000)?;
        let (table, id) = (params.text("table_name")?, params.text("object_id")?);
        let offset = (paging.page - 1).saturating_mul(paging.size);
        let page = self.audit.entries(table, id, offset, paging.size).await.map_err(stored)?;
        let entries: Vec<Value> = page.records.iter().map(show).collect();
        Ok(json!({
            "audit_logs": entries, "total": page.total, "page": paging.page, "page_size": paging.size,
            "total_pages": paging.pages(page.total),
        }))
    }

    /// `GET /audit/verify`: does every entry fit the one before?
    pub async fn audit_verify(&self, grant: &Grant) -> Result<Value> {
        grant.demand(&[Right::Audit])?;
        let broken = self.audit.verify().await.map_err(stored)?;
        let page = self.audit.entries(None, None, 0, 1).await.map_err(stored)?;
        let head = page.records.first().map(|entry| entry.hash.clone());
        Ok(json!({ "intact": broken.is_none(), "first_broken": broken, "entries": page.total, "head": head }))
    }
}

fn show(entry: &AuditEntry) -> Value {
    let parsed = |text: &Option<String>| -> Value {
        text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null)
    };
    json!({
        "id": entry.sequence.to_string(),
        "updated_at": iso(Some(entry.at)),
        "changed_by": entry.actor,
        "changed_by_api_key": entry.actor_key,
        "action": entry.action,
        "table_name": entry.table,
        "object_id": entry.id,
        "before_value": parsed(&entry.before),
        "updated_values": parsed(&entry.after),
        "hash": entry.hash,
    })
}

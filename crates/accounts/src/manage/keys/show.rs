//! A key as LiteLLM shows it.

use serde_json::{Map, Value, json};
use tollway_meters::ScopeKind;
use tollway_model::Result;
use tollway_store::records::{Key, Millis};

use crate::manage::limits::{self, dollars};
use crate::manage::periods::iso;
use crate::manage::{Figures, Management, budgets};

/// A key without the key.
pub(crate) fn show(key: &Key, figures: &Figures, now: Millis) -> Map<String, Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| {
        out.insert(name.to_owned(), value);
    };
    put("token", json!(key.token));
    put("token_id", json!(key.token));
    put("key_name", json!(key.key_name));
    put("key_alias", json!(key.key_alias));
    put("status", json!(status(key, now)));
    put("spend", dollars(Some(figures.spend)));
    put("total_spend", dollars(Some(figures.total)));
    let by_model: Map<String, Value> =
        figures.by_model.iter().map(|(model, spent)| (model.clone(), dollars(Some(*spent)))).collect();
    put("model_spend", Value::Object(by_model));
    put("expires", iso(key.expires));
    put("models", json!(key.models));
    put("aliases", json!(key.aliases));
    for (name, value) in [
        ("user_id", &key.user_id),
        ("team_id", &key.team_id),
        ("organization_id", &key.organization_id),
        ("budget_id", &key.budget_id),
        ("end_user_budget_id", &key.end_user_budget_id),
    ] {
        put(name, json!(value));
    }
    put("blocked", json!(key.blocked));
    put("key_type", json!(key.key_type.as_deref().unwrap_or("default")));
    put("allowed_routes", json!(key.allowed_routes));
    put("enforced_params", json!(key.enforced_params));
    put("tags", json!(key.tags));
    put("tag_rpm_limit", json!(key.tag_rpm_limit));
    put("tpm_limit_type", json!(key.tpm_limit_type));
    put("rpm_limit_type", json!(key.rpm_limit_type));
    put("metadata", json!(key.metadata));
    put("router_settings", json!(key.router_settings));
    put("budget_fallbacks", json!(key.budget_fallbacks));
    put("temp_budget_increase", dollars(key.temp_budget_increase));
    put("temp_budget_expiry", iso(key.temp_budget_expiry));
    // What clients of LiteLLM look for, and what is never anything else here.
    put("config", json!({}));
    put("permissions", json!({}));
    put("allowed_cache_controls", json!([]));
    put("object_permission", Value::Null);
    put("rotation_count", json!(key.rotation_count));
    put("last_active", iso(figures.last_active));
    put("created_at", iso(Some(key.stamp.created_at)));
    put("created_by", json!(key.stamp.created_by));
    put("updated_at", iso(Some(key.stamp.updated_at)));
    put("updated_by", json!(key.stamp.updated_by));
    put("litellm_budget_table", Value::Null);
    limits::show(&key.limits, now, &mut out);
    out
}

fn status(key: &Key, now: Millis) -> &'static str {
    match key {
        _ if key.blocked => "blocked",
        _ if key.expires.is_some_and(|expires| expires <= now) => "expired",
        _ => "active",
    }
}

impl Management {
    /// Keys with their spend and shared budgets.
    pub(crate) async fn show_keys(&self, keys: &[Key]) -> Result<Vec<Map<String, Value>>> {
        let of: Vec<_> = keys.iter().map(|key| (key.id.as_str(), &key.limits)).collect();
        let figures = self.figures(ScopeKind::Key, &of).await;
        let now = self.now();
        let mut shown = Vec::with_capacity(keys.len());
        for (key, figures) in keys.iter().zip(&figures) {
            let mut map = show(key, figures, now);
            if let Some(id) = &key.budget_id
                && let Some(budget) = self.budgets.get(id).await?
            {
                map.insert("litellm_budget_table".into(), Value::Object(budgets::show(&budget, now)));
            }
            shown.push(map);
        }
        Ok(shown)
    }

    pub(crate) async fn show_key(&self, key: &Key) -> Result<Map<String, Value>> {
        Ok(self.show_keys(std::slice::from_ref(key)).await?.pop().unwrap_or_default())
    }
}

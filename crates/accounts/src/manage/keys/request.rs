//! What may be said about a key, and how it changes the record.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tollway_model::Result;
use tollway_store::records::{Key, Millis};

use crate::manage::errors::bad;
use crate::manage::fields::{
    Dollars, Field, Item, MAX_ITEMS, NOT_BUILT, check_free, check_name, check_names, request,
};
use crate::manage::limits::LimitFields;
use crate::manage::periods;
use crate::manage::router_settings;
use crate::rights;

/// LiteLLM's fields of keys that have no effect here.
const REFUSED: &[(&str, &str)] = &[
    ("spend", "is what the ledger says; it cannot be set"),
    ("token", "is the hash of the key; it cannot be set"),
    ("expires", "follows from `duration`"),
    ("budget_reset_at", "follows from `budget_duration`"),
    ("rotation_count", "is counted by regenerating; it cannot be set"),
    ("organization_id", NOT_BUILT),
    ("project_id", NOT_BUILT),
    ("agent_id", NOT_BUILT),
    ("allowed_cache_controls", NOT_BUILT),
    ("config", NOT_BUILT),
    ("permissions", NOT_BUILT),
    ("mcp_rpm_limit", NOT_BUILT),
    ("tag_rpm_limit", NOT_BUILT),
    ("tpd_limit", NOT_BUILT),
    ("guardrails", NOT_BUILT),
    ("policies", NOT_BUILT),
    ("prompts", NOT_BUILT),
    ("disable_global_guardrails", NOT_BUILT),
    ("object_permission", NOT_BUILT),
    ("default_estimated_output_tokens", NOT_BUILT),
    ("default_estimated_output_tokens_per_model", NOT_BUILT),
    ("enable_prompt_caching", NOT_BUILT),
    ("throttle_on_budget_exceeded", NOT_BUILT),
    ("allowed_passthrough_routes", NOT_BUILT),
    ("denied_passthrough_routes", NOT_BUILT),
    ("allowed_vector_store_indexes", NOT_BUILT),
    ("rpm_limit_type", NOT_BUILT),
    ("tpm_limit_type", NOT_BUILT),
    ("access_group_ids", NOT_BUILT),
    ("send_invite_email", NOT_BUILT),
    ("auto_rotate", NOT_BUILT),
    ("rotation_interval", NOT_BUILT),
    ("new_master_key", NOT_BUILT),
    ("budget_fallbacks", NOT_BUILT),
];

request! {
    /// What may be said about a key whenever it is made or changed.
    KeyFields {
        /// A name, unique over all keys.
        key_alias: String,
        /// When it ends, counted from now: `30s`, `24h`, `30d`, `1mo`; `-1` or null: never.
        duration: String,
        /// Models it may use; empty: what the owner may.
        models: Vec<String>,
        /// Name asked for to model.
        aliases: BTreeMap<String, String>,
        /// The user it belongs to.
        user_id: String,
        /// The team it belongs to.
        team_id: String,
        /// Takes its limits from a shared budget.
        budget_id: String,
        /// Default budget of the customers it calls for.
        end_user_budget_id: String,
        /// Refused while true.
        blocked: bool,
        /// `default`, `llm_api`, `management` or `read_only`: which routes it may use.
        key_type: String,
        /// Routes it may use: paths, paths with a star at the end, names of groups.
        allowed_routes: Vec<String>,
        /// Members that its calls' bodies must have, such as `user` or `metadata.project`.
        enforced_params: Vec<String>,
        /// What its calls leave open: `num_retries`, `timeout`, `stream_timeout`, `fallbacks`, `context_window_fallbacks`,
        /// `content_policy_fallbacks`.
        router_settings: Map<String, Value>,
        /// Tags its calls get.
        tags: Vec<String>,
        /// Free.
        metadata: Map<String, Value>,
        ; with limits: LimitFields
        ; refused REFUSED
    }
}

request! {
    /// `POST /key/generate`
    GenerateKey {
        /// The key itself, beginning with `sk-`; without it, 256 random bits.
        key: String,
        ; with fields: KeyFields
        ; refused REFUSED
    }
}

request! {
    /// `POST /key/update`
    UpdateKey {
        /// Which: the key or its hash.
        key: String,
        /// More allowance until `temp_budget_expiry`, dollars.
        temp_budget_increase: Dollars,
        /// When it ends.
        temp_budget_expiry: String,
        ; with fields: KeyFields
        ; required ["key"]
        ; refused REFUSED
    }
}

request! {
    /// `POST /key/{key}/regenerate`
    RegenerateKey {
        /// Which: the key or its hash, where the path does not say.
        key: String,
        /// The new key itself, beginning with `sk-`.
        new_key: String,
        /// How long the old key stays valid.
        grace_period: String,
        ; with fields: KeyFields
        ; refused REFUSED
    }
}

request! {
    /// `POST /key/block`, `POST /key/unblock`
    OneKey {
        /// Which: the key or its hash.
        key: String,
        ; required ["key"]
    }
}

request! {
    /// `POST /v2/key/info`
    KeyNames {
        /// Which: keys or hashes.
        keys: Vec<String>,
        ; required ["keys"]
    }
}

request! {
    /// `POST /key/delete`
    DeleteKeys {
        /// Which: keys or hashes.
        keys: Vec<String>,
        /// Which, by name.
        key_aliases: Vec<String>,
    }
}

request! {
    /// `POST /key/bulk_update`
    BulkKeys {
        /// Changes of keys, each as `POST /key/update` takes it.
        keys: Vec<Item>,
        ; required ["keys"]
    }
}

impl KeyFields {
    /// Changes `key` as the fields say. References are looked up elsewhere.
    pub(crate) fn apply(&self, key: &mut Key, now: Millis) -> Result<()> {
        for (name, field, target) in [
            ("key_alias", &self.key_alias, &mut key.key_alias),
            ("user_id", &self.user_id, &mut key.user_id),
            ("team_id", &self.team_id, &mut key.team_id),
            ("budget_id", &self.budget_id, &mut key.budget_id),
            ("end_user_budget_id", &self.end_user_budget_id, &mut key.end_user_budget_id),
        ] {
            put_name(name, field, target)?;
        }
        match &self.duration {
            Field::Absent => {}
            Field::Null => key.expires = None,
            Field::Set(text) if text == "-1" => key.expires = None,
            Field::Set(text) => key.expires = Some(periods::parse("duration", text)?.over(now)),
        }
        put_names("models", &self.models, &mut key.models)?;
        put_names("tags", &self.tags, &mut key.tags)?;
        put_names("enforced_params", &self.enforced_params, &mut key.enforced_params)?;
        if let Some(aliases) = self.aliases.get() {
            check_aliases("aliases", aliases)?;
        }
        self.aliases.fill(&mut key.aliases);
        self.blocked.fill(&mut key.blocked);
        self.apply_routes(key)?;
        put_free("metadata", &self.metadata, &mut key.metadata)?;
        router_settings::put(&self.router_settings, &mut key.router_settings)?;
        self.limits.apply(&mut key.limits, now)
    }

    fn apply_routes(&self, key: &mut Key) -> Result<()> {
        if let Some(kind) = self.key_type.get()
            && !["default", "llm_api", "management", "read_only"].contains(&kind.as_str())
        {
            return Err(bad("key_type", "`key_type` is `default`, `llm_api`, `management` or `read_only`"));
        }
        self.key_type.put(&mut key.key_type);
        if self.allowed_routes.is_present() {
            let routes = self.allowed_routes.get().cloned().unwrap_or_default();
            check_names("allowed_routes", &routes)?;
            if let Some(wrong) = routes
                .iter()
                .find(|route| !route.starts_with('/') && route.as_str() != "*" && !rights::is_group(route))
            {
                let message = format!(
                    "`allowed_routes`: `{wrong}` is neither a path nor a group such as `llm_api_routes`"
                );
                return Err(bad("allowed_routes", message));
            }
            key.allowed_routes = routes;
        } else if self.key_type.is_present() {
            key.allowed_routes =
                rights::preset(key.key_type.as_deref()).iter().map(|route| (*route).to_owned()).collect();
        }
        Ok(())
    }
}

/// A reference or name; an empty text is none.
pub(crate) fn put_name(name: &str, field: &Field<String>, target: &mut Option<String>) -> Result<()> {
    match field {
        Field::Set(text) if text.is_empty() => *target = None,
        Field::Set(text) => {
            check_name(name, text)?;
            *target = Some(text.clone());
        }
        Field::Null => *target = None,
        Field::Absent => {}
    }
    Ok(())
}

/// A list of names.
pub(crate) fn put_names(name: &str, field: &Field<Vec<String>>, target: &mut Vec<String>) -> Result<()> {
    if let Some(names) = field.get() {
        check_names(name, names)?;
    }
    field.fill(target);
    Ok(())
}

/// Free JSON.
pub(crate) fn put_free(
    name: &str,
    field: &Field<Map<String, Value>>,
    target: &mut Map<String, Value>,
) -> Result<()> {
    if let Some(map) = field.get() {
        check_free(name, map)?;
    }
    field.fill(target);
    Ok(())
}

/// Names that stand for models.
pub(crate) fn check_aliases(name: &str, aliases: &BTreeMap<String, String>) -> Result<()> {
    if aliases.len() > MAX_ITEMS {
        return Err(bad(name, format!("`{name}` has more than {MAX_ITEMS} entries")));
    }
    aliases.iter().try_for_each(|(alias, model)| {
        check_name(name, alias)?;
        check_name(name, model)
    })
}

//! What may be said about a key, and how it changes the record.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tollway_model::Result;
use tollway_store::records::{Key, Millis};

use crate::manage::errors::bad;
use crate::manage::fields::{
    Count, Dollars, Field, Item, MAX_ITEMS, NO_CACHE, NO_ESTIMATE, NO_GRANTS, NO_GROUPS, NO_GUARDS,
    NO_HANDOVER, NO_MAIL, NO_ORGANIZATIONS, NO_PASSTHROUGH, NOT_BUILT, check_free, check_name, check_names,
    request,
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
    ("organization_id", NO_ORGANIZATIONS),
    ("project_id", NO_ORGANIZATIONS),
    ("agent_id", NO_ORGANIZATIONS),
    ("allowed_cache_controls", NO_CACHE),
    ("config", NOT_BUILT),
    ("permissions", NOT_BUILT),
    ("mcp_rpm_limit", NO_GRANTS),
    ("guardrails", NO_GUARDS),
    ("policies", NO_GUARDS),
    ("prompts", NO_GUARDS),
    ("disable_global_guardrails", NO_GUARDS),
    ("object_permission", NO_GRANTS),
    ("default_estimated_output_tokens", NO_ESTIMATE),
    ("default_estimated_output_tokens_per_model", NO_ESTIMATE),
    ("enable_prompt_caching", NOT_BUILT),
    ("throttle_on_budget_exceeded", NOT_BUILT),
    ("allowed_passthrough_routes", NO_PASSTHROUGH),
    ("denied_passthrough_routes", NO_PASSTHROUGH),
    ("allowed_vector_store_indexes", NO_GRANTS),
    ("access_group_ids", NO_GROUPS),
    ("send_invite_email", NO_MAIL),
    ("auto_rotate", NO_HANDOVER),
    ("rotation_interval", NO_HANDOVER),
    ("new_master_key", NOT_BUILT),
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
        /// Requests a minute with this key, by tag of the call.
        tag_rpm_limit: BTreeMap<String, Count>,
        /// Models to call in place of one whose own budget, of the key or its owners, is used up.
        budget_fallbacks: BTreeMap<String, Vec<String>>,
        /// `best_effort_throughput`; `guaranteed_throughput`: all such keys of the team have together no more than the team's
        /// `tpm_limit`; `dynamic`: it binds only while a deployment of the model rests after failing.
        tpm_limit_type: String,
        /// The same for `rpm_limit`.
        rpm_limit_type: String,
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
        self.apply_tags(key)?;
        self.apply_fallbacks(key)?;
        put_type("tpm_limit_type", &self.tpm_limit_type, &mut key.tpm_limit_type)?;
        put_type("rpm_limit_type", &self.rpm_limit_type, &mut key.rpm_limit_type)?;
        self.apply_routes(key)?;
        put_free("metadata", &self.metadata, &mut key.metadata)?;
        router_settings::put(&self.router_settings, &mut key.router_settings)?;
        self.limits.apply(&mut key.limits, now)
    }

    fn apply_tags(&self, key: &mut Key) -> Result<()> {
        if self.tag_rpm_limit.is_present() {
            let given = self.tag_rpm_limit.get().cloned().unwrap_or_default();
            let tags: Vec<String> = given.keys().cloned().collect();
            check_names("tag_rpm_limit", &tags)?;
            key.tag_rpm_limit = given.into_iter().map(|(tag, count)| (tag, count.0)).collect();
        }
        Ok(())
    }

    fn apply_fallbacks(&self, key: &mut Key) -> Result<()> {
        if let Some(given) = self.budget_fallbacks.get() {
            let models: Vec<String> = given.keys().cloned().collect();
            check_names("budget_fallbacks", &models)?;
            given.values().try_for_each(|models| check_names("budget_fallbacks", models))?;
        }
        self.budget_fallbacks.fill(&mut key.budget_fallbacks);
        Ok(())
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

/// How a limit is meant.
fn put_type(name: &str, field: &Field<String>, target: &mut Option<String>) -> Result<()> {
    match field.get().map(String::as_str) {
        None | Some("" | BEST_EFFORT | GUARANTEED | DYNAMIC) => put_name(name, field, target),
        Some("default") => {
            *target = None;
            Ok(())
        }
        Some(_) => Err(bad(name, format!("`{name}` is `{BEST_EFFORT}`, `{GUARANTEED}` or `{DYNAMIC}`"))),
    }
}

/// A limit that is an upper bound and no more.
const BEST_EFFORT: &str = "best_effort_throughput";

/// A limit that binds only while a deployment of the model rests after failing.
const DYNAMIC: &str = "dynamic";

/// A limit that the team's limit has room for beside those of all other keys that say so.
pub(crate) const GUARANTEED: &str = "guaranteed_throughput";

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

//! What may be said about a team and its members.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tollway_model::Result;
use tollway_store::records::{Millis, Team};

use crate::manage::errors::bad;
use crate::manage::fields::{
    Count, Dollars, Item, NO_ESTIMATE, NO_GRANTS, NO_GROUPS, NO_GUARDS, NO_ORGANIZATIONS, NO_PASSTHROUGH,
    NOT_BUILT, OneOrMany, check_name, request,
};
use crate::manage::keys::{check_aliases, put_free, put_name, put_names};
use crate::manage::limits::{LimitFields, ModelMoney};
use crate::manage::periods;
use crate::manage::router_settings;

/// LiteLLM's fields of teams that have no effect here.
const REFUSED: &[(&str, &str)] = &[
    ("spend", "is what the ledger says; it cannot be set"),
    ("budget_reset_at", "follows from `budget_duration`"),
    ("admins", "comes from `members_with_roles`"),
    ("members", "comes from `members_with_roles`"),
    ("organization_id", NO_ORGANIZATIONS),
    ("access_group_ids", NO_GROUPS),
    ("guardrails", NO_GUARDS),
    ("policies", NO_GUARDS),
    ("prompts", NO_GUARDS),
    ("object_permission", NO_GRANTS),
    ("allowed_passthrough_routes", NO_PASSTHROUGH),
    ("denied_passthrough_routes", NO_PASSTHROUGH),
    ("disable_global_guardrails", NO_GUARDS),
    ("secret_manager_settings", NOT_BUILT),
    ("rpm_limit_type", "is kept for keys; set it there"),
    ("tpm_limit_type", "is kept for keys; set it there"),
    ("default_estimated_output_tokens", NO_ESTIMATE),
    ("default_estimated_output_tokens_per_model", NO_ESTIMATE),
    ("mcp_rpm_limit", NO_GRANTS),
    ("logging", NOT_BUILT),
    ("require_trace_id", NOT_BUILT),
    ("enforced_service_account_expires_after", NOT_BUILT),
    ("allowed_vector_store_indexes", NO_GRANTS),
    ("enforced_batch_output_expires_after", NOT_BUILT),
    ("enforced_file_expires_after", NOT_BUILT),
];

request! {
    /// What may be said about a team whenever it is made or changed.
    TeamFields {
        /// Its name.
        team_alias: String,
        /// Models its keys may use; empty: all.
        models: Vec<String>,
        /// Name asked for to model.
        model_aliases: BTreeMap<String, String>,
        /// Its keys are refused while true.
        blocked: bool,
        /// Routes that plain members may use on the team's keys, such as `/key/generate`.
        team_member_permissions: Vec<String>,
        /// Tags its calls get.
        tags: Vec<String>,
        /// Free.
        metadata: Map<String, Value>,
        /// What calls leave open, and their keys too: as a key's `router_settings`.
        router_settings: Map<String, Value>,
        /// Models that members who have no list of their own may use with the team's keys; empty: what the team may.
        default_team_member_models: Vec<String>,
        /// Budget of members who have none of their own, dollars.
        team_member_budget: Dollars,
        /// Its window.
        team_member_budget_duration: String,
        /// Requests a minute of such members.
        team_member_rpm_limit: Count,
        /// Tokens a minute of such members.
        team_member_tpm_limit: Count,
        /// Budgets of such members by model.
        team_member_model_max_budget: BTreeMap<String, ModelMoney>,
        /// How long keys of members last that are made without a duration: `30d`.
        team_member_key_duration: String,
        ; with limits: LimitFields
    }
}

request! {
    /// `POST /team/new`
    NewTeam {
        /// Its id; without it, a random one.
        team_id: String,
        /// Its members.
        members_with_roles: Vec<Member>,
        ; with fields: TeamFields
        ; refused REFUSED
    }
}

request! {
    /// `POST /team/update`
    TeamRequest {
        /// Which.
        team_id: String,
        ; with fields: TeamFields
        ; refused REFUSED
    }
}

/// Someone in a team, by id or by address.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The user's id.
    #[serde(default)]
    pub user_id: Option<String>,
    /// Its address.
    #[serde(default)]
    pub user_email: Option<String>,
    /// `admin` or `user`.
    #[serde(default = "plain")]
    pub role: String,
}

fn plain() -> String {
    "user".to_owned()
}

request! {
    /// `POST /team/member_add`
    AddMembers {
        /// Which team.
        team_id: String,
        /// Whom: `{"role": "user", "user_id": …}` or `{"role": "user", "user_email": …}`, one or a list.
        member: OneOrMany<Member>,
        /// The member's budget, dollars.
        max_budget_in_team: Dollars,
        /// Its window.
        budget_duration: String,
        /// The member's tokens a minute.
        tpm_limit: Count,
        /// The member's requests a minute.
        rpm_limit: Count,
        /// Models the member may use with the team's keys; empty: the team's default for members.
        allowed_models: Vec<String>,
        ; required ["team_id", "member"]
    }
}

request! {
    /// `POST /team/bulk_member_add`
    BulkMembers {
        /// Which team.
        team_id: String,
        /// Whom, each as `member` of `POST /team/member_add`.
        members: Vec<Member>,
        /// Every user there is.
        all_users: bool,
        /// Each member's budget, dollars.
        max_budget_in_team: Dollars,
        /// Its window.
        budget_duration: String,
        /// Each member's tokens a minute.
        tpm_limit: Count,
        /// Each member's requests a minute.
        rpm_limit: Count,
        /// Models each may use with the team's keys; empty: the team's default for members.
        allowed_models: Vec<String>,
        ; required ["team_id"]
    }
}

request! {
    /// `POST /management/v1/teams/{team_id}/members/bulk_update` and `bulk_delete`
    MemberItems {
        /// Whom, by `user_id` or `user_email`, and what changes, as `POST /team/member_update` takes it.
        members: Vec<Item>,
        ; required ["members"]
    }
}

request! {
    /// `POST /team/permissions_update`
    TeamPermissions {
        /// Which team.
        team_id: String,
        /// Routes that plain members may use on the team's keys, such as `/key/generate`.
        team_member_permissions: Vec<String>,
        ; required ["team_id", "team_member_permissions"]
    }
}

request! {
    /// `POST /team/permissions_bulk_update`
    TeamsPermissions {
        /// Routes that plain members may use from now on, too, on the teams' keys, such as `/key/generate`.
        permissions: Vec<String>,
        /// Which teams.
        team_ids: Vec<String>,
        /// Every team there is.
        apply_to_all_teams: bool,
        ; required ["permissions"]
    }
}

request! {
    /// `POST /team/key/bulk_update`
    TeamKeys {
        /// Which team.
        team_id: String,
        /// Which of its keys: keys or hashes.
        key_ids: Vec<String>,
        /// Every key of the team.
        all_keys_in_team: bool,
        /// What changes, as `POST /key/update` takes it.
        update_fields: Item,
        ; required ["team_id", "update_fields"]
    }
}

request! {
    /// `POST /team/member_update`
    UpdateMember {
        /// Which team.
        team_id: String,
        /// Whose membership, by id.
        user_id: String,
        /// Whose membership, by address.
        user_email: String,
        /// `admin` or `user`.
        role: String,
        /// The member's budget, dollars.
        max_budget_in_team: Dollars,
        /// Its window.
        budget_duration: String,
        /// The member's tokens a minute.
        tpm_limit: Count,
        /// The member's requests a minute.
        rpm_limit: Count,
        /// Models the member may use with the team's keys; empty: the team's default for members.
        allowed_models: Vec<String>,
        ; required ["team_id"]
        ; refused &[("temp_budget_increase", NOT_BUILT), ("temp_budget_expiry", NOT_BUILT)]
    }
}

request! {
    /// `POST /team/member_delete`
    RemoveMember {
        /// Which team.
        team_id: String,
        /// Whom, by id.
        user_id: String,
        /// Whom, by address.
        user_email: String,
        ; required ["team_id"]
    }
}

request! {
    /// `POST /team/delete`
    TeamIds {
        /// Which.
        team_ids: Vec<String>,
        ; required ["team_ids"]
    }
}

request! {
    /// `POST /team/block`, `POST /team/unblock`
    OneTeam {
        /// Which.
        team_id: String,
        ; required ["team_id"]
    }
}

request! {
    /// `POST /team/model/add`, `POST /team/model/delete`
    TeamModels {
        /// Which team.
        team_id: String,
        /// Models.
        models: Vec<String>,
        ; required ["team_id", "models"]
    }
}

/// What the admin of a team may change of it; the rest binds it and is for the gateway's administrators.
pub(super) const ADMINS_MAY: &[&str] = &[
    "team_alias",
    "metadata",
    "tags",
    "team_member_permissions",
    "team_member_budget",
    "team_member_budget_duration",
    "team_member_rpm_limit",
    "team_member_tpm_limit",
    "team_member_model_max_budget",
    "default_team_member_models",
];

impl TeamFields {
    /// Changes `team` as the fields say.
    pub(super) fn apply(&self, team: &mut Team, now: Millis) -> Result<()> {
        put_name("team_alias", &self.team_alias, &mut team.team_alias)?;
        put_names("models", &self.models, &mut team.models)?;
        put_names("tags", &self.tags, &mut team.tags)?;
        if let Some(aliases) = self.model_aliases.get() {
            check_aliases("model_aliases", aliases)?;
        }
        self.model_aliases.fill(&mut team.model_aliases);
        self.blocked.fill(&mut team.blocked);
        if let Some(permissions) = self.team_member_permissions.get()
            && let Some(wrong) = permissions.iter().find(|one| !is_permission(one))
        {
            let message =
                format!("`team_member_permissions`: `{wrong}` is none of {}", PERMISSIONS.join(", "));
            return Err(bad("team_member_permissions", message));
        }
        self.team_member_permissions.fill(&mut team.team_member_permissions);
        if let Some(text) = self.team_member_key_duration.get() {
            periods::parse("team_member_key_duration", text)?;
        }
        self.team_member_key_duration.put(&mut team.team_member_key_duration);
        put_free("metadata", &self.metadata, &mut team.metadata)?;
        router_settings::put(&self.router_settings, &mut team.router_settings)?;
        put_names(
            "default_team_member_models",
            &self.default_team_member_models,
            &mut team.default_team_member_models,
        )?;
        self.limits.apply(&mut team.limits, now)
    }

    /// Limits for members who have none of their own, if the fields speak of them.
    pub(super) fn member_limits(&self) -> Option<LimitFields> {
        let speaks = self.team_member_budget.is_present()
            || self.team_member_budget_duration.is_present()
            || self.team_member_rpm_limit.is_present()
            || self.team_member_tpm_limit.is_present()
            || self.team_member_model_max_budget.is_present();
        speaks.then(|| LimitFields {
            max_budget: self.team_member_budget.clone(),
            budget_duration: self.team_member_budget_duration.clone(),
            rpm_limit: self.team_member_rpm_limit.clone(),
            tpm_limit: self.team_member_tpm_limit.clone(),
            model_max_budget: self.team_member_model_max_budget.clone(),
            ..LimitFields::default()
        })
    }
}

/// What members may be permitted.
pub(super) const PERMISSIONS: &[&str] = &[
    "/key/generate",
    "/key/service-account/generate",
    "/key/update",
    "/key/delete",
    "/key/info",
    "/key/list",
    "/key/block",
    "/key/regenerate",
];

fn is_permission(name: &str) -> bool {
    // Known to LiteLLM's clients, and without effect for plain members here.
    PERMISSIONS.contains(&name) || matches!(name, "/key/health" | "/key/unblock" | "/key/aliases")
}

/// Refuses ids that could be mistaken for another membership's, see `Membership::id_of`.
pub(super) fn check_team_id(id: &str) -> Result<()> {
    check_name("team_id", id)?;
    if id.contains('/') {
        return Err(bad("team_id", "`team_id` must not contain `/`"));
    }
    Ok(())
}

//! What is kept of those who call: keys, teams, users, memberships, customers, budgets, models.
//!
//! Field names are LiteLLM's, so that a record is also what its management routes show. A record is one row: a few
//! indexed columns and the whole record as JSON, so that a new field needs no migration. Fields a newer version wrote
//! survive in `other`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tollway_model::Money;

/// Milliseconds since 1970.
pub type Millis = i64;

/// A record kept in a table of its own.
pub trait Record: Clone + Send + Sync + Serialize + for<'de> Deserialize<'de> + 'static {
    /// The table's name.
    const TABLE: &'static str;
    /// Columns beside `id`, `version`, `created_at`, `updated_at` and `body` that records are looked up by. The
    /// first [`Record::UNIQUE`] of them are unique where they are not null.
    const COLUMNS: &'static [&'static str];
    /// How many of the first columns are unique.
    const UNIQUE: usize;
    /// Are changes told to other processes? Not where nobody remembers records: telling has its price.
    const ANNOUNCED: bool = true;

    /// The primary key.
    fn id(&self) -> &str;
    /// The columns' values, in the order of [`Record::COLUMNS`].
    fn columns(&self) -> Vec<Option<String>>;
    /// Housekeeping.
    fn stamp(&self) -> &Stamp;
    /// Housekeeping.
    fn stamp_mut(&mut self) -> &mut Stamp;
}

/// The tables of all records.
pub const TABLES: &[&str] = &[
    Key::TABLE,
    Team::TABLE,
    Membership::TABLE,
    User::TABLE,
    Customer::TABLE,
    Budget::TABLE,
    Tag::TABLE,
    Model::TABLE,
    Grace::TABLE,
    DeletedKey::TABLE,
    StoredResponse::TABLE,
];

/// Who changed a record, and when.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stamp {
    /// Counts changes, from 1. An update of another version than the stored one is a conflict.
    pub version: i64,
    /// When it was made.
    pub created_at: Millis,
    /// When it was changed last.
    pub updated_at: Millis,
    /// The user who made it.
    pub created_by: Option<String>,
    /// The user who changed it last.
    pub updated_by: Option<String>,
}

/// Limits that keys, teams, users, memberships, customers and budgets share. `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Most US dollars, in the window of `budget_duration` or for ever.
    pub max_budget: Option<Money>,
    /// Dollars at which an alert goes out.
    pub soft_budget: Option<Money>,
    /// The budget's window: `30s`, `15m`, `24h`, `7d`, `1mo`, `daily`, `weekly`, `monthly`.
    pub budget_duration: Option<String>,
    /// When the running window began to count; windows of a plain duration start here.
    pub budget_started_at: Option<Millis>,
    /// Further budgets that hold at the same time.
    pub budget_limits: Vec<BudgetLimit>,
    /// Tokens a minute.
    pub tpm_limit: Option<u64>,
    /// Requests a minute.
    pub rpm_limit: Option<u64>,
    /// Tokens a day, of UTC.
    pub tpd_limit: Option<u64>,
    /// Calls in flight.
    pub max_parallel_requests: Option<u64>,
    /// Tokens a minute, by model.
    pub model_tpm_limit: BTreeMap<String, u64>,
    /// Requests a minute, by model.
    pub model_rpm_limit: BTreeMap<String, u64>,
    /// Budgets by model.
    pub model_max_budget: BTreeMap<String, ModelBudget>,
}

/// One of several budgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetLimit {
    /// The window, as [`Limits::budget_duration`].
    pub budget_duration: String,
    /// Most dollars in it.
    pub max_budget: Money,
}

/// A budget for one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelBudget {
    /// Most dollars in the window.
    pub budget_limit: Option<Money>,
    /// The window, as [`Limits::budget_duration`].
    pub time_period: Option<String>,
    /// Tokens a minute.
    pub tpm_limit: Option<u64>,
    /// Requests a minute.
    pub rpm_limit: Option<u64>,
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident in $table:literal by $id:ident, $(announced $announced:literal,)? unique $unique:literal, columns [$($column:ident: $how:expr),*],
     { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// Housekeeping.
            #[serde(flatten)]
            pub stamp: Stamp,
            /// Fields this version does not know.
            #[serde(flatten)]
            pub other: Map<String, Value>,
        }
        impl Record for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($column)),*];
            const UNIQUE: usize = $unique;
            $(const ANNOUNCED: bool = $announced;)?
            fn id(&self) -> &str { &self.$id }
            fn columns(&self) -> Vec<Option<String>> {
                vec![$({ let column: fn(&$name) -> Option<String> = $how; column(self) }),*]
            }
            fn stamp(&self) -> &Stamp { &self.stamp }
            fn stamp_mut(&mut self) -> &mut Stamp { &mut self.stamp }
        }
    };
}

record! {
    /// A virtual key. The key itself is nowhere: only its hash.
    Key in "keys" by id, unique 2, columns [
        token: |key| Some(key.token.clone()), key_alias: |key| key.key_alias.clone(), user_id: |key| key.user_id.clone(),
        team_id: |key| key.team_id.clone(), budget_id: |key| key.budget_id.clone()
    ], {
        /// Ours, stable over regeneration: spend and limits hang on it.
        id: String,
        /// SHA-256 of the key in hexadecimal, as LiteLLM's `token`.
        token: String,
        /// `sk-...abcd`, for people.
        key_name: String,
        /// A name, unique over all keys.
        key_alias: Option<String>,
        /// The user it belongs to.
        user_id: Option<String>,
        /// The team it belongs to.
        team_id: Option<String>,
        /// The organization it belongs to.
        organization_id: Option<String>,
        /// Limits taken from a shared budget.
        budget_id: Option<String>,
        /// Default budget of the customers this key calls for.
        end_user_budget_id: Option<String>,
        /// Models it may use: names, wildcards, access groups, `all-team-models`, `all-proxy-models`; empty: what the
        /// owner may.
        models: Vec<String>,
        /// Name asked for → model.
        aliases: BTreeMap<String, String>,
        /// When it ends; `None`: never.
        expires: Option<Millis>,
        /// Refused while true.
        blocked: bool,
        /// `default`, `llm_api`, `management`, `read_only`.
        key_type: Option<String>,
        /// Routes it may use: paths, wildcards, group names; empty: what the role may.
        allowed_routes: Vec<String>,
        /// Limits.
        #[serde(flatten)]
        limits: Limits,
        /// More allowance until `temp_budget_expiry`.
        temp_budget_increase: Option<Money>,
        /// When it ends.
        temp_budget_expiry: Option<Millis>,
        /// Model whose budget is gone → models to use in its place.
        budget_fallbacks: BTreeMap<String, Vec<String>>,
        /// Members that its calls' bodies must have, such as `user` or `metadata.project`.
        enforced_params: Vec<String>,
        /// Tags its calls get.
        tags: Vec<String>,
        /// Requests a minute, by tag of the call.
        tag_rpm_limit: BTreeMap<String, u64>,
        /// Whether `tpm_limit` is promised, bound or bound only while providers refuse: `guaranteed_throughput`,
        /// `best_effort_throughput`, `dynamic`.
        tpm_limit_type: Option<String>,
        /// The same of `rpm_limit`.
        rpm_limit_type: Option<String>,
        /// Free.
        metadata: Map<String, Value>,
        /// Router settings of its calls.
        router_settings: Option<Map<String, Value>>,
        /// How often it was regenerated.
        rotation_count: i64,
        /// When it was used last; to the minute.
        last_active: Option<Millis>,
    }
}

record! {
    /// A team.
    Team in "teams" by team_id, unique 0, columns [team_alias: |team| team.team_alias.clone(), organization_id: |team| team.organization_id.clone()], {
        /// Its id.
        team_id: String,
        /// Its name.
        team_alias: Option<String>,
        /// The organization it belongs to.
        organization_id: Option<String>,
        /// Models its keys may use; empty: all.
        models: Vec<String>,
        /// Name asked for → model.
        model_aliases: BTreeMap<String, String>,
        /// Its keys are refused while true.
        blocked: bool,
        /// Limits over all its keys.
        #[serde(flatten)]
        limits: Limits,
        /// Limits a member gets who has none of its own.
        team_member_budget_id: Option<String>,
        /// Models that members who have no list of their own may use; empty: what the team may.
        default_team_member_models: Vec<String>,
        /// What plain members may do with the team's keys.
        team_member_permissions: Vec<String>,
        /// How long keys of members last that are made without a duration: `30d`.
        team_member_key_duration: Option<String>,
        /// Tags its calls get.
        tags: Vec<String>,
        /// Free.
        metadata: Map<String, Value>,
        /// Router settings of its calls.
        router_settings: Option<Map<String, Value>>,
    }
}

record! {
    /// A user's membership of a team.
    Membership in "memberships" by id, unique 0, columns [
        team_id: |membership| Some(membership.team_id.clone()), user_id: |membership| Some(membership.user_id.clone())
    ], {
        /// `team/user`, see [`Membership::id_of`].
        id: String,
        /// The team.
        team_id: String,
        /// The user.
        user_id: String,
        /// As given when the member was added by address.
        user_email: Option<String>,
        /// `admin` or `user`.
        role: String,
        /// Models the user may use with the team's keys; empty: the team's default for members.
        allowed_models: Vec<String>,
        /// Limits of this user's calls with the team's keys.
        #[serde(flatten)]
        limits: Limits,
    }
}

impl Membership {
    /// The id of `user`'s membership of `team`.
    pub fn id_of(team: &str, user: &str) -> String {
        format!("{team}/{user}")
    }
}

record! {
    /// A user.
    User in "users" by user_id, unique 1, columns [sso_user_id: |user| user.sso_user_id.clone(), user_email: |user| user.user_email.clone()], {
        /// Its id.
        user_id: String,
        /// Its address.
        user_email: Option<String>,
        /// Its name.
        user_alias: Option<String>,
        /// `proxy_admin`, `proxy_admin_viewer`, `internal_user`, `internal_user_viewer`, `team`, `customer`.
        user_role: Option<String>,
        /// Its id at the identity provider.
        sso_user_id: Option<String>,
        /// Models its own keys may use; empty: all.
        models: Vec<String>,
        /// Limits of its own keys.
        #[serde(flatten)]
        limits: Limits,
        /// Its keys are refused while true.
        blocked: bool,
        /// Free.
        metadata: Map<String, Value>,
    }
}

record! {
    /// A customer: whom a call was made for (`user` of the request).
    Customer in "customers" by user_id, unique 0, columns [budget_id: |customer| customer.budget_id.clone()], {
        /// Its id.
        user_id: String,
        /// Its name.
        alias: Option<String>,
        /// Its calls are refused while true.
        blocked: bool,
        /// Limits taken from a shared budget.
        budget_id: Option<String>,
        /// Limits.
        #[serde(flatten)]
        limits: Limits,
        /// Models it may use; empty: all.
        models: Vec<String>,
        /// The model of calls that name none.
        default_model: Option<String>,
        /// `eu` or `us`.
        allowed_model_region: Option<String>,
        /// Free.
        metadata: Map<String, Value>,
    }
}

record! {
    /// Limits that several others share.
    Budget in "budgets" by budget_id, unique 0, columns [], {
        /// Its id.
        budget_id: String,
        /// The limits.
        #[serde(flatten)]
        limits: Limits,
        /// Models it may be spent on; empty: all.
        allowed_models: Vec<String>,
        /// More allowance until `temp_budget_expiry`.
        temp_budget_increase: Option<Money>,
        /// When it ends.
        temp_budget_expiry: Option<Millis>,
    }
}

record! {
    /// A tag of calls.
    Tag in "tags" by name, unique 0, columns [budget_id: |tag| tag.budget_id.clone()], {
        /// Its name, as calls have it.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// Models that calls with it may use; empty: all.
        models: Vec<String>,
        /// Limits taken from a shared budget.
        budget_id: Option<String>,
        /// Limits of all calls that have it.
        #[serde(flatten)]
        limits: Limits,
    }
}

record! {
    /// A deployment added over the API.
    Model in "models" by model_id, unique 0, columns [model_name: |model| Some(model.model_name.clone())], {
        /// `model_info.id`.
        model_id: String,
        /// The group's name.
        model_name: String,
        /// `litellm_params`; the values of secrets are sealed, see [`crate::Sealer`].
        litellm_params: Map<String, Value>,
        /// `model_info`.
        model_info: Map<String, Value>,
        /// Not called while true.
        blocked: bool,
    }
}

record! {
    /// The old hash of a regenerated key, valid until its grace period ends.
    Grace in "graces" by token, unique 0, columns [key_id: |grace| Some(grace.key_id.clone())], {
        /// SHA-256 of the old key in hexadecimal.
        token: String,
        /// [`Key::id`] of the key it was.
        key_id: String,
        /// When it ends.
        until: Millis,
    }
}

record! {
    /// A key that was deleted, for the history of its calls.
    DeletedKey in "deleted_keys" by id, announced false, unique 0, columns [token: |gone| Some(gone.token.clone()), team_id: |gone| gone.team_id.clone(), user_id: |gone| gone.user_id.clone()], {
        /// [`Key::id`].
        id: String,
        /// [`Key::token`].
        token: String,
        /// [`Key::team_id`].
        team_id: Option<String>,
        /// [`Key::user_id`].
        user_id: Option<String>,
        /// The whole record as it was.
        record: Map<String, Value>,
        /// When.
        deleted_at: Millis,
        /// By whom.
        deleted_by: Option<String>,
    }
}

record! {
    /// An answer of the Responses API, kept for `previous_response_id` and retrieval.
    StoredResponse in "responses" by id, announced false, unique 0, columns [owner: |response| Some(response.owner.clone()), expires: |response| Some(format!("{:020}", response.expires))], {
        /// The id handed out.
        id: String,
        /// [`Key::id`] of the key that made it, or `admin`: nobody else may see it.
        owner: String,
        /// The model group that answered.
        model: String,
        /// The response it goes on from.
        previous: Option<String>,
        /// The provider's own id, where the provider keeps it too; with the deployment that answered.
        upstream: Option<(String, String)>,
        /// Input items of this turn, JSON text.
        input: Vec<String>,
        /// The whole response object, JSON text.
        response: String,
        /// When it is forgotten.
        expires: Millis,
    }
}

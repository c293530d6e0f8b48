//! Changing what is kept: keys, teams, users, customers, budgets, models.
//!
//! Every method takes a [`Grant`], which only [`crate::rights`] makes, and the request's bytes or parameters; it answers
//! the JSON that LiteLLM's clients expect, or an error in their terms. Requests are read strictly ([`fields`]), records
//! are changed through desks that write the audit log (`desk`), and an update changes what it names and nothing else.

mod audit;
mod budgets;
mod customers;
mod desk;
mod errors;
pub mod fields;
mod keys;
mod limits;
mod models;
mod params;
mod periods;
mod router_settings;
mod scan;
mod secret;
mod spend;
mod tags;
mod teams;
mod users;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tollway_meters::ScopeKind;
use tollway_model::{Money, Result};
use tollway_store::records::{
    Budget, Customer, DeletedKey, Grace, Key, Limits, Membership, Millis, Model, Tag, Team, User,
};
use tollway_store::{Audit, Query, Sealer, Store};

pub use budgets::{BudgetIds, BudgetRequest, DeleteBudget};
pub use customers::{CustomerFields, CustomerIds, CustomerRequest, NewCustomer};
pub use desk::Clock;
pub use keys::{BulkKeys, DeleteKeys, GenerateKey, KeyFields, KeyNames, OneKey, RegenerateKey, UpdateKey};
pub use limits::{LimitFields, ModelBudgetFields, ModelMoney, WindowBudget};
pub use models::{ModelId, ModelRequest, NewModel, OpenModel};
pub use params::{Paging, Params, names};
pub use secret::{generate as generate_key, hash as hash_key, is_mistyped, token_of};
pub use spend::{ResetSpend, SpendReset};
pub use tags::{OneTag, TagNames, TagRequest};
pub use teams::{
    AddMembers, BulkMembers, Member, MemberItems, NewTeam, OneTeam, RemoveMember, TeamFields, TeamIds,
    TeamKeys, TeamModels, TeamPermissions, TeamRequest, TeamsPermissions, UpdateMember,
};
pub use users::{BulkUsers, Joining, NewUser, UserFields, UserIds, UserRequest};

use crate::principal::{Principal, Role};
use crate::rights::{self, Grant, Right};
use desk::Desk;

/// What has been spent.
#[async_trait]
pub trait Spend: Send + Sync {
    /// The figures of each of `of`, in the same order; nothing spent where nothing is known.
    async fn spent(&self, of: &[SpendOf]) -> Vec<Figures>;

    /// Those that have spent most ever, the most first, at most `limit`; none where nothing is known.
    async fn most(&self, kind: ScopeKind, limit: u32) -> Vec<(String, Money)>;
}

/// Whose spend is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendOf {
    /// What it is.
    pub kind: ScopeKind,
    /// Its id as receipts have it; `team/user` for members.
    pub id: String,
    /// When the running budget window began; `None`: at the beginning of time.
    pub since: Option<Millis>,
}

/// What something spent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// In the running budget window.
    pub spend: Money,
    /// Ever.
    pub total: Money,
    /// Ever, by model group; only where one key alone is asked for.
    pub by_model: BTreeMap<String, Money>,
    /// When it called last; only where one key alone is asked for.
    pub last_active: Option<Millis>,
}

/// The management of accounts and models.
pub struct Management {
    keys: Desk<Key>,
    teams: Desk<Team>,
    memberships: Desk<Membership>,
    users: Desk<User>,
    customers: Desk<Customer>,
    budgets: Desk<Budget>,
    tags: Desk<Tag>,
    models: Desk<Model>,
    graces: Desk<Grace>,
    deleted_keys: Desk<DeletedKey>,
    audit: Arc<dyn Audit>,
    spend: Arc<dyn Spend>,
    sealer: Arc<Sealer>,
    clock: Clock,
    model_check: Option<ModelCheck>,
}

/// Says why a model could not be served; for whoever adds it.
pub type ModelCheck = Arc<dyn Fn(&OpenModel) -> std::result::Result<(), String> + Send + Sync>;

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Management")
    }
}

impl Management {
    /// Manages what is in `store`; secrets of models are sealed with `sealer`.
    pub fn new(store: &Store, sealer: Arc<Sealer>, spend: Arc<dyn Spend>, clock: Clock) -> Management {
        Management {
            keys: Desk::new(store, clock.clone()),
            teams: Desk::new(store, clock.clone()),
            memberships: Desk::new(store, clock.clone()),
            users: Desk::new(store, clock.clone()),
            customers: Desk::new(store, clock.clone()),
            budgets: Desk::new(store, clock.clone()),
            tags: Desk::new(store, clock.clone()),
            models: Desk::new(store, clock.clone()),
            graces: Desk::new(store, clock.clone()),
            deleted_keys: Desk::new(store, clock.clone()),
            audit: store.audit(),
            spend,
            sealer,
            clock,
            model_check: None,
        }
    }

    /// The same, refusing models that `check` says cannot be served.
    pub fn with_model_check(self, check: ModelCheck) -> Management {
        Management { model_check: Some(check), ..self }
    }

    /// May `principal` use `right`, and how far? The teams of its user are looked up now, so that a membership that
    /// ended counts from the next request on.
    pub async fn authorize(
        &self,
        principal: &Principal,
        right: Right,
        pattern: &str,
        path: &str,
    ) -> Result<Grant> {
        let user = principal.key.as_ref().and_then(|key| key.user_id.as_deref());
        let needs_teams = rights::reach(principal.role, right) == rights::Reach::Own
            && matches!(principal.role, Role::InternalUser | Role::InternalUserViewer);
        let memberships = match user {
            Some(user) if needs_teams => self.memberships_of(user).await?,
            _ => Vec::new(),
        };
        rights::authorize(principal, &memberships, right, pattern, path)
    }

    async fn memberships_of(&self, user: &str) -> Result<Vec<Membership>> {
        self.memberships
            .all(Query { equal: vec![("user_id", Some(user.to_owned()))], ..Query::default() })
            .await
    }

    fn now(&self) -> Millis {
        (self.clock)()
    }

    async fn figures(&self, kind: ScopeKind, of: &[(&str, &Limits)]) -> Vec<Figures> {
        let now = self.now();
        let asked: Vec<SpendOf> = of
            .iter()
            .map(|(id, limits)| SpendOf {
                kind,
                id: (*id).to_owned(),
                since: limits::window(limits, now).map(|(begins, _)| begins),
            })
            .collect();
        let mut figures = self.spend.spent(&asked).await;
        figures.resize(of.len(), Figures::default());
        figures
    }

    async fn figure(&self, kind: ScopeKind, id: &str, limits: &Limits) -> Figures {
        self.figures(kind, &[(id, limits)]).await.pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

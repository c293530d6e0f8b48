//! Who may do what: one table of rights by role, deny by default.
//!
//! Everything a route does has a [`Right`]. [`TABLE`] says for each right how far every role reaches with it, and
//! [`authorize`] turns that, the key's own allowed routes and the caller's teams into a [`Grant`], the only thing the
//! management services accept. A grant cannot be made elsewhere. Nothing here asks a store or looks at a body; what a
//! grant reaches is decided anew for every request.

use std::collections::BTreeSet;
use std::sync::Arc;

use tollway_model::{Error, Kind, Result};
use tollway_store::records::{Key, Membership};

use crate::principal::{Principal, Role};

/// `error.type` of a refusal by a key's own `allowed_routes`.
pub const ROUTE_NOT_ALLOWED: &str = "key_route_not_allowed";

/// How far a role reaches with a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not at all.
    No,
    /// What belongs to the caller: its key, its user, and of its teams what [`TeamReach`] says.
    Own,
    /// Everything.
    All,
}

/// What of the caller's teams counts as its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeamReach {
    /// Nothing.
    Nothing,
    /// The teams it is an admin of.
    Admin,
    /// The teams it is an admin of, and those whose `team_member_permissions` name this permission.
    Permitted(&'static str),
    /// Every team it belongs to.
    Member,
}

macro_rules! rights {
    ($($(#[doc = $doc:literal])* $right:ident $name:literal [$admin:ident $viewer:ident $user:ident $user_viewer:ident $team_role:ident $customer:ident] $team:expr, [$($group:literal)*];)*) => {
        /// What one may do. Each route has exactly one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Right {
            $($(#[doc = $doc])* $right,)*
        }

        /// Every right, with what the roles may: proxy admin, its viewer, internal user, its viewer, team key, customer.
        pub const TABLE: &[Rule] = &[
            $(Rule {
                right: Right::$right,
                name: $name,
                roles: [Reach::$admin, Reach::$viewer, Reach::$user, Reach::$user_viewer, Reach::$team_role, Reach::$customer],
                team: $team,
                groups: &[$($group),*],
            },)*
        ];

        impl Right {
            /// Its row of the table.
            pub const fn rule(self) -> &'static Rule {
                match self {
                    $(Right::$right => {
                        const RULE: &Rule = &Rule {
                            right: Right::$right,
                            name: $name,
                            roles: [Reach::$admin, Reach::$viewer, Reach::$user, Reach::$user_viewer, Reach::$team_role, Reach::$customer],
                            team: $team,
                            groups: &[$($group),*],
                        };
                        RULE
                    })*
                }
            }
        }
    };
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The right.
    pub right: Right,
    /// Its stable name.
    pub name: &'static str,
    /// How far each role reaches, in the order of [`ROLES`].
    pub roles: [Reach; 6],
    /// What of the caller's teams is within [`Reach::Own`].
    pub team: TeamReach,
    /// The groups that `allowed_routes` of a key can name it by.
    pub groups: &'static [&'static str],
}

/// The roles in the order of the table's columns.
pub const ROLES: [Role; 6] = [
    Role::ProxyAdmin,
    Role::ProxyAdminViewer,
    Role::InternalUser,
    Role::InternalUserViewer,
    Role::Team,
    Role::Customer,
];

use TeamReach::{Admin, Member, Nothing, Permitted};

rights! {
    /// Call a model.
    Call "call" [All All All All All All] Nothing, ["llm_api_routes"];
    /// See the models one may call.
    Models "models" [All All Own Own Own Own] Nothing, ["llm_api_routes" "openai_routes" "info_routes"];
    /// See deployments with limits, prices and capabilities.
    ModelInfo "model_info" [All All Own Own Own Own] Nothing, ["llm_api_routes" "model_info_routes" "info_routes" "management_routes"];
    /// Count tokens.
    CountTokens "count_tokens" [All All All All All All] Nothing, ["llm_api_routes" "openai_routes"];
    /// See the health of deployments.
    Health "health" [All All All All All All] Nothing, ["info_routes"];
    /// Stored responses: retrieve and delete one's own.
    Responses "responses" [All Own Own Own Own Own] Nothing, ["llm_api_routes" "openai_routes"];

    /// Make a key.
    KeyGenerate "key_generate" [All No Own No No No] Permitted("/key/generate"), ["management_routes" "key_management_routes"];
    /// Make a key of a team, without a user.
    KeyServiceAccount "key_service_account" [All No Own No No No] Permitted("/key/service-account/generate"), ["management_routes" "key_management_routes"];
    /// Change a key.
    KeyUpdate "key_update" [All No Own No No No] Permitted("/key/update"), ["management_routes" "key_management_routes"];
    /// Delete keys.
    KeyDelete "key_delete" [All No Own No No No] Permitted("/key/delete"), ["management_routes" "key_management_routes"];
    /// See a key's settings and spend.
    KeyInfo "key_info" [All All Own Own Own Own] Permitted("/key/info"), ["management_routes" "key_management_routes" "info_routes"];
    /// List keys.
    KeyList "key_list" [All All Own Own Own Own] Permitted("/key/list"), ["management_routes" "key_management_routes" "info_routes"];
    /// Block a key.
    KeyBlock "key_block" [All No Own No No No] Permitted("/key/block"), ["management_routes" "key_management_routes"];
    /// Unblock a key: not for those it may have been blocked against.
    KeyUnblock "key_unblock" [All No Own No No No] Admin, ["management_routes" "key_management_routes"];
    /// Give a key a new secret.
    KeyRegenerate "key_regenerate" [All No Own No No No] Permitted("/key/regenerate"), ["management_routes" "key_management_routes"];

    /// Make a team.
    TeamNew "team_new" [All No No No No No] Nothing, ["management_routes"];
    /// Change a team; its admins may change some of it.
    TeamUpdate "team_update" [All No Own No No No] Admin, ["management_routes"];
    /// See a team.
    TeamInfo "team_info" [All All Own Own Own No] Member, ["management_routes" "info_routes"];
    /// List teams.
    TeamList "team_list" [All All Own Own Own No] Member, ["management_routes" "info_routes"];
    /// Delete teams with their keys.
    TeamDelete "team_delete" [All No No No No No] Nothing, ["management_routes"];
    /// Block and unblock a team.
    TeamBlock "team_block" [All No No No No No] Nothing, ["management_routes"];
    /// Add, change and remove members.
    TeamMembers "team_members" [All No Own No No No] Admin, ["management_routes"];
    /// Change which models a team may use.
    TeamModels "team_models" [All No No No No No] Nothing, ["management_routes"];

    /// Make a user.
    UserNew "user_new" [All No No No No No] Nothing, ["management_routes"];
    /// Change a user; users may change little of themselves.
    UserUpdate "user_update" [All No Own No No No] Nothing, ["management_routes"];
    /// See a user.
    UserInfo "user_info" [All All Own Own No No] Nothing, ["management_routes" "info_routes"];
    /// List users.
    UserList "user_list" [All All No No No No] Nothing, ["management_routes"];
    /// Delete users with their keys.
    UserDelete "user_delete" [All No No No No No] Nothing, ["management_routes"];

    /// Make, change, delete and block customers.
    CustomerWrite "customer_write" [All No No No No No] Nothing, ["management_routes"];
    /// See customers.
    CustomerRead "customer_read" [All All No No No No] Nothing, ["management_routes"];
    /// Make, change and delete budgets.
    BudgetWrite "budget_write" [All No No No No No] Nothing, ["management_routes"];
    /// See budgets.
    BudgetRead "budget_read" [All All No No No No] Nothing, ["management_routes"];
    /// Make, change and delete tags.
    TagWrite "tag_write" [All No No No No No] Nothing, ["management_routes"];
    /// See tags.
    TagRead "tag_read" [All All No No No No] Nothing, ["management_routes"];
    /// Add, change, delete and block models.
    ModelWrite "model_write" [All No No No No No] Nothing, ["management_routes"];

    /// Spend of one's own keys, user and teams.
    Spend "spend" [All All Own Own Own Own] Admin, ["management_routes" "spend_tracking_routes"];
    /// Spend of everyone.
    GlobalSpend "global_spend" [All All No No No No] Nothing, ["management_routes" "global_spend_tracking_routes"];
    /// What a call would cost.
    CostEstimate "cost_estimate" [All All Own Own Own Own] Nothing, ["management_routes" "spend_tracking_routes"];
    /// Set a key's spend back, also as an admin of its team.
    KeyResetSpend "key_reset_spend" [All No Own No No No] Admin, ["management_routes" "key_management_routes"];
    /// Set everyone's spend back.
    GlobalResetSpend "global_reset_spend" [All No No No No No] Nothing, ["management_routes" "global_spend_tracking_routes"];
    /// Receipts of the calls that one may know of.
    Receipts "receipts" [All All Own Own Own Own] Admin, ["management_routes" "spend_tracking_routes"];
    /// The audit log.
    Audit "audit" [All All No No No No] Nothing, ["management_routes"];
    /// Read the configuration again.
    Reload "reload" [All No No No No No] Nothing, ["management_routes"];
}

/// Leave to use a right, as far as the scope says. Only [`authorize`] makes one.
#[derive(Debug, Clone)]
pub struct Grant {
    right: Right,
    scope: Scope,
    actor: Actor,
    key: Option<Arc<Key>>,
}

/// What a grant reaches.
#[derive(Debug, Clone)]
pub enum Scope {
    /// Everything.
    All,
    /// What belongs to the caller.
    Own(Own),
}

/// What belongs to a caller.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Its key.
    pub key: Option<Arc<Key>>,
    /// Its user, where its role is a user's.
    pub user: Option<String>,
    /// Teams it is an admin of.
    pub admin_of: BTreeSet<String>,
    /// Teams it belongs to, those it is an admin of among them.
    pub member_of: BTreeSet<String>,
}

/// Who does something, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A user's id, `admin` for the master key, or `key/` and the id of a key without a user.
    pub id: String,
    /// The start of the key's hash.
    pub key: String,
    /// Whether `id` is a user.
    pub is_user: bool,
}

impl Grant {
    /// Refuses a grant that was given for another right.
    pub(crate) fn demand(&self, rights: &[Right]) -> Result<()> {
        if rights.contains(&self.right) {
            return Ok(());
        }
        Err(Error::internal(format!(
            "a route used the right `{}` for something else",
            self.right.rule().name
        )))
    }

    /// The right.
    pub fn right(&self) -> Right {
        self.right
    }

    /// What it reaches.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The key of whoever acts; the master key has no record.
    pub fn own_key(&self) -> Option<&Arc<Key>> {
        self.key.as_ref()
    }

    /// Everything?
    pub fn is_all(&self) -> bool {
        matches!(self.scope, Scope::All)
    }

    /// Does it reach this team, judged by membership alone?
    pub fn reaches_team(&self, team: &str) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Own(own) => match self.right.rule().team {
                TeamReach::Nothing => false,
                TeamReach::Admin | TeamReach::Permitted(_) => own.admin_of.contains(team),
                TeamReach::Member => own.member_of.contains(team),
            },
        }
    }

    /// Does it reach what belongs to `team`, when plain members have `permissions` there?
    pub fn reaches_in_team(&self, team: &str, permissions: &[String]) -> bool {
        if self.reaches_team(team) {
            return true;
        }
        let (Scope::Own(own), TeamReach::Permitted(wanted)) = (&self.scope, self.right.rule().team) else {
            return false;
        };
        own.member_of.contains(team) && permissions.iter().any(|permission| permission == wanted)
    }

    /// Does it reach this user?
    pub fn reaches_user(&self, user: &str) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Own(own) => own.user.as_deref() == Some(user),
        }
    }

    /// Is this the key it was made for?
    pub fn is_own_key(&self, id: &str) -> bool {
        matches!(&self.scope, Scope::Own(own) if own.key.as_ref().is_some_and(|key| key.id == id))
    }
}

/// May `principal` use `right`, and how far?
///
/// `memberships` are those of the principal's user. `pattern` is the route's path in the table, `path` the one that was
/// asked for. What is refused here is never served: a role without the right gets a 401 that names route and role, as
/// LiteLLM's clients know it; a key that its own `allowed_routes` keep away gets a 403.
pub fn authorize(
    principal: &Principal,
    memberships: &[Membership],
    right: Right,
    pattern: &str,
    path: &str,
) -> Result<Grant> {
    permits(principal, right, pattern, path)?;
    let scope = match reach(principal.role, right) {
        Reach::No => return Err(denied(principal, path)),
        Reach::All => Scope::All,
        Reach::Own => Scope::Own(own(principal, memberships)),
    };
    Ok(Grant { right, scope, actor: actor(principal), key: principal.key.clone() })
}

/// May `principal` use `right` at all? For calls, which need no grant: what they reach is decided by model and limits.
pub fn permits(principal: &Principal, right: Right, pattern: &str, path: &str) -> Result<()> {
    if let Some(key) = &principal.key
        && !key_permits(key, right, pattern, path)
    {
        let message =
            format!("this key is not allowed to call {path}; it may call {}", allowed(key).join(", "));
        return Err(Error::new(Kind::Permission, message).with_provider(None, Some(ROUTE_NOT_ALLOWED.into())));
    }
    match reach(principal.role, right) {
        Reach::No => Err(denied(principal, path)),
        Reach::Own | Reach::All => Ok(()),
    }
}

/// How far `role` reaches with `right`.
pub fn reach(role: Role, right: Right) -> Reach {
    let [admin, viewer, user, user_viewer, team, customer] = right.rule().roles;
    match role {
        Role::ProxyAdmin => admin,
        Role::ProxyAdminViewer => viewer,
        Role::InternalUser => user,
        Role::InternalUserViewer => user_viewer,
        Role::Team => team,
        Role::Customer => customer,
    }
}

fn own(principal: &Principal, memberships: &[Membership]) -> Own {
    let mut own = Own { key: principal.key.clone(), ..Own::default() };
    if matches!(principal.role, Role::InternalUser | Role::InternalUserViewer) {
        own.user = principal.key.as_ref().and_then(|key| key.user_id.clone());
        let user = own.user.as_deref();
        for membership in memberships.iter().filter(|one| Some(one.user_id.as_str()) == user) {
            own.member_of.insert(membership.team_id.clone());
            // Whoever only looks is nobody's admin.
            if membership.role == "admin" && principal.role == Role::InternalUser {
                own.admin_of.insert(membership.team_id.clone());
            }
        }
    }
    if principal.role == Role::Team {
        own.member_of.extend(principal.key.as_ref().and_then(|key| key.team_id.clone()));
    }
    own
}

fn actor(principal: &Principal) -> Actor {
    let key = principal.token.get(..16).unwrap_or(&principal.token).to_owned();
    match principal.key.as_deref() {
        None => Actor { id: "admin".to_owned(), key, is_user: false },
        Some(Key { user_id: Some(user), .. }) => Actor { id: user.clone(), key, is_user: true },
        Some(own) => Actor { id: format!("key/{}", own.id), key, is_user: false },
    }
}

fn denied(principal: &Principal, path: &str) -> Error {
    let user =
        principal.key.as_ref().and_then(|key| key.user_id.as_deref()).map_or_else(String::new, |user| {
            let shown: String = user.chars().take(2).collect();
            format!(" (user {shown}***)")
        });
    let role = principal.role.name();
    let message =
        format!("Authentication Error, {path} is not for the role `{role}`{user}; ask an administrator");
    Error::new(Kind::Authentication, message).with_provider(None, Some("auth_error".into()))
}

/// May this key use the route at all? Decided by its `allowed_routes`, or where there are none, by its `key_type`.
///
/// An entry is a path, as asked for or as in the route table, a path with `*` at its end, or the name of a group.
pub fn key_permits(key: &Key, right: Right, pattern: &str, path: &str) -> bool {
    let allowed = allowed(key);
    if allowed.is_empty() {
        return true;
    }
    let path = match path.strip_suffix('/') {
        Some(shorter) if !shorter.is_empty() => shorter,
        _ => path,
    };
    allowed.iter().any(|entry| match entry.strip_suffix('*') {
        // A lone star is no group's name: it stands for everything.
        Some(start) => path.starts_with(start),
        None => *entry == path || *entry == pattern || in_group(entry, right, pattern),
    })
}

/// What a key's owner may call with it; empty: everything the role may.
fn allowed(key: &Key) -> Vec<&str> {
    if !key.allowed_routes.is_empty() {
        return key.allowed_routes.iter().map(String::as_str).collect();
    }
    preset(key.key_type.as_deref()).to_vec()
}

/// The routes that a `key_type` stands for. An unknown type stands for nothing that exists.
pub fn preset(key_type: Option<&str>) -> &'static [&'static str] {
    match key_type {
        None | Some("default") => &[],
        Some("llm_api") => &["llm_api_routes"],
        Some("management") => &["management_routes"],
        Some("read_only") => &["info_routes"],
        Some(_) => &["no_routes"],
    }
}

/// Is this a group's name that `allowed_routes` may hold?
pub fn is_group(name: &str) -> bool {
    TABLE.iter().any(|rule| rule.groups.contains(&name))
        || matches!(name, "anthropic_routes" | "google_routes")
}

fn in_group(group: &str, right: Right, pattern: &str) -> bool {
    if right.rule().groups.contains(&group) {
        return true;
    }
    // Calls are told apart by the dialect of their path.
    let is_google = pattern.starts_with("/v1beta/") || pattern.contains("{call...}");
    let is_anthropic = pattern.starts_with("/v1/messages");
    right == Right::Call
        && match group {
            "anthropic_routes" => is_anthropic,
            "google_routes" => is_google,
            "openai_routes" => !is_google && !is_anthropic,
            _ => false,
        }
}

#[cfg(test)]
mod tests;

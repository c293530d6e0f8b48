//! Who calls.

use std::sync::Arc;

use tollway_store::records::{Key, Membership, Team, User};

/// What a caller may do to the gateway itself; what it may call is its key's and owners' business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything. The master key, and keys of users with this role.
    ProxyAdmin,
    /// Sees everything, changes nothing.
    ProxyAdminViewer,
    /// Manages its own keys, sees its own spend.
    InternalUser,
    /// Sees its own keys and spend.
    InternalUserViewer,
    /// A key of a team without a user: calls models, sees itself.
    Team,
    /// A customer: calls models, sees itself.
    Customer,
}

impl Role {
    /// The role called `name` in LiteLLM's records; unknown and absent names are the least of the users'.
    pub fn from_name(name: Option<&str>) -> Role {
        match name {
            Some("proxy_admin") => Role::ProxyAdmin,
            Some("proxy_admin_viewer") => Role::ProxyAdminViewer,
            Some("internal_user") => Role::InternalUser,
            Some("team") => Role::Team,
            Some("customer") => Role::Customer,
            _ => Role::InternalUserViewer,
        }
    }

    /// The name in records and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Role::ProxyAdmin => "proxy_admin",
            Role::ProxyAdminViewer => "proxy_admin_viewer",
            Role::InternalUser => "internal_user",
            Role::InternalUserViewer => "internal_user_viewer",
            Role::Team => "team",
            Role::Customer => "customer",
        }
    }
}

/// Who calls: resolved once from the presented key, then immutable. A change of any of its records makes a new one.
#[derive(Debug, Clone)]
pub struct Principal {
    /// What it may do to the gateway.
    pub role: Role,
    /// SHA-256 of the presented key in hexadecimal.
    pub token: Arc<str>,
    /// The key; `None` for the master key.
    pub key: Option<Arc<Key>>,
    /// The user it belongs to.
    pub user: Option<Arc<User>>,
    /// The team it belongs to.
    pub team: Option<Arc<Team>>,
    /// The user's membership of the team.
    pub membership: Option<Arc<Membership>>,
}

impl Principal {
    /// Whoever holds the master key.
    pub fn master(token: Arc<str>) -> Principal {
        Principal { role: Role::ProxyAdmin, token, key: None, user: None, team: None, membership: None }
    }
}

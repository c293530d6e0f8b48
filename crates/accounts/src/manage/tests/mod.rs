//! The services on a store in memory.

mod accounts;
mod bounds;
mod keys;
mod models;
mod patch;
mod together;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use tollway_meters::ScopeKind;
use tollway_model::{Error, Money, Result, Secret};
use tollway_store::records::{Key, Membership, Team, User};
use tollway_store::{SaltKey, Sealer, Store};

use super::{Figures, Management, Params, Spend, SpendOf, hash_key};
use crate::principal::{Principal, Role};
use crate::rights::{Grant, Right};

/// 2026-11-20T10:30:00Z
pub(super) const NOW: i64 = 1_795_170_600_000;

pub(super) struct World {
    pub(super) store: Store,
    pub(super) management: Arc<Management>,
    pub(super) clock: Arc<AtomicI64>,
}

/// Keys have spent a dollar and a half, a half of it in this window.
struct Spent;

#[async_trait]
impl Spend for Spent {
    async fn spent(&self, of: &[SpendOf]) -> Vec<Figures> {
        let figures = |one: &SpendOf| match one.kind {
            ScopeKind::Key => Figures {
                spend: Money::parse_dollars("0.5").unwrap(),
                total: Money::parse_dollars("1.5").unwrap(),
                by_model: [("gpt".to_owned(), Money::parse_dollars("1.5").unwrap())].into(),
                last_active: Some(NOW),
            },
            _ => Figures::default(),
        };
        of.iter().map(figures).collect()
    }

    /// Users whose names end in a digit have spent so many dollars.
    async fn most(&self, kind: ScopeKind, _: u32) -> Vec<(String, Money)> {
        let of = |digit: u32| (format!("user{digit}"), Money::parse_dollars(&digit.to_string()).unwrap());
        if kind == ScopeKind::User { (1..10).rev().map(of).collect() } else { Vec::new() }
    }
}

impl World {
    pub(super) async fn new() -> World {
        World::on("memory:").await
    }

    /// On a database.
    pub(super) async fn on(location: &str) -> World {
        let store = Store::open_and_migrate(location).await.unwrap();
        let clock = Arc::new(AtomicI64::new(NOW));
        let now = clock.clone();
        let sealer = Arc::new(Sealer::new(SaltKey::new(Secret::new("salt-salt-salt-salt")), Vec::new()));
        let management =
            Management::new(&store, sealer, Arc::new(Spent), Arc::new(move || now.load(Ordering::Relaxed)));
        World { store, management: Arc::new(management), clock }
    }

    /// Whoever holds the master key.
    pub(super) fn master() -> Principal {
        Principal::master(hash_key("sk-master").into())
    }

    /// Whoever presents this key, as identifying resolves it.
    pub(super) async fn holder(&self, key: &str) -> Principal {
        let found = self.store.shelf::<Key>().find("token", &hash_key(key)).await.unwrap().unwrap();
        let user: Option<User> = match &found.user_id {
            Some(id) => self.store.shelf().get(id).await.unwrap(),
            None => None,
        };
        let team: Option<Team> = match &found.team_id {
            Some(id) => self.store.shelf().get(id).await.unwrap(),
            None => None,
        };
        let role = match (&user, &team) {
            (Some(user), _) => Role::from_name(user.user_role.as_deref()),
            (None, Some(_)) => Role::Team,
            (None, None) => Role::Customer,
        };
        let membership: Option<Membership> = match (&found.team_id, &found.user_id) {
            (Some(team), Some(user)) => self.store.shelf().get(&Membership::id_of(team, user)).await.unwrap(),
            _ => None,
        };
        Principal {
            role,
            token: found.token.clone().into(),
            key: Some(Arc::new(found)),
            user: user.map(Arc::new),
            team: team.map(Arc::new),
            membership: membership.map(Arc::new),
        }
    }

    pub(super) async fn grant(&self, principal: &Principal, right: Right) -> Result<Grant> {
        self.management.authorize(principal, right, "/test", "/test").await
    }

    pub(super) async fn admin(&self, right: Right) -> Grant {
        self.grant(&World::master(), right).await.unwrap()
    }

    /// As the master key.
    pub(super) async fn generate(&self, body: Value) -> Result<Value> {
        let grant = self.admin(Right::KeyGenerate).await;
        self.management.key_generate(&grant, body.to_string().as_bytes()).await
    }

    /// A key made by the master key.
    pub(super) async fn key(&self, body: Value) -> String {
        self.generate(body).await.unwrap()["key"].as_str().unwrap().to_owned()
    }

    pub(super) async fn update(&self, body: Value) -> Result<Value> {
        let grant = self.admin(Right::KeyUpdate).await;
        self.management.key_update(&grant, body.to_string().as_bytes()).await
    }

    pub(super) async fn info(&self, key: &str) -> Result<Value> {
        let grant = self.admin(Right::KeyInfo).await;
        let info = self.management.key_info(&grant, &query(&[("key", key)])).await?;
        Ok(info["info"].clone())
    }

    /// A user with a role, and a key of its.
    pub(super) async fn user(&self, id: &str, role: &str, more: Value) -> String {
        let mut body = json!({ "user_id": id, "user_role": role });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let grant = self.admin(Right::UserNew).await;
        let made = self.management.user_new(&grant, body.to_string().as_bytes()).await.unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    /// A team with members: `(user, role)`.
    pub(super) async fn team(&self, id: &str, members: &[(&str, &str)], more: Value) {
        let members: Vec<Value> =
            members.iter().map(|(user, role)| json!({ "user_id": user, "role": role })).collect();
        let mut body = json!({ "team_id": id, "members_with_roles": members });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let grant = self.admin(Right::TeamNew).await;
        self.management.team_new(&grant, body.to_string().as_bytes()).await.unwrap();
    }

    /// Every entry of the audit log fits the one before, and none holds any of `secrets`.
    pub(super) async fn check_audit(&self, secrets: &[&str]) {
        let grant = self.admin(Right::Audit).await;
        let verified = self.management.audit_verify(&grant).await.unwrap();
        assert_eq!(verified["intact"], true, "{verified}");
        let log = self.management.audit_list(&grant, &query(&[("page_size", "1000")])).await.unwrap();
        assert!(log["total"].as_u64().unwrap() > 0);
        let text = log.to_string();
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

pub(super) fn query(pairs: &[(&str, &str)]) -> Params {
    Params::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// Status, type and param of a refusal.
pub(super) fn told(error: &Error) -> (u16, String, Option<String>) {
    let kind = error.provider_type().unwrap_or(error.kind().wire().1);
    (error.status(), kind.to_owned(), error.param().map(str::to_owned))
}

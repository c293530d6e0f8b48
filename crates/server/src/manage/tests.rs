//! Every management route × every role × own and other tenant, through the handlers, on a store in memory.
//!
//! Two tenants have everything there is. Whatever belongs to the other one carries a mark: no answer to someone whose
//! right does not reach it may hold the mark, and no such request may change a record of the other tenant.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tollway_accounts::manage::{Figures, Management, Spend, SpendOf, hash_key};
use tollway_accounts::rights::{ROLES, Reach, reach};
use tollway_accounts::{Principal, Role};
use tollway_model::Secret;
use tollway_store::records::{Budget, Customer, Key, Membership, Model, Record, Tag, Team, User};
use tollway_store::{Query, SaltKey, Sealer, Store};

use super::{Manage, act, params};
use crate::routes::{Access, Action, ROUTES, Route};

struct Nothing;

#[async_trait]
impl Spend for Nothing {
    async fn spent(&self, of: &[SpendOf]) -> Vec<Figures> {
        of.iter().map(|_| Figures::default()).collect()
    }

    async fn most(&self, _: tollway_meters::ScopeKind, _: u32) -> Vec<(String, tollway_model::Money)> {
        Vec::new()
    }
}

struct World {
    store: Store,
    management: Arc<Management>,
}

/// A tenant: its name is part of every id and text of its.
#[derive(Clone, Copy)]
struct Tenant(&'static str);

const OWN: Tenant = Tenant("alpha");
const OTHER: Tenant = Tenant("bravo");

impl Tenant {
    fn key(self) -> String {
        format!("sk-{}-key-of-the-tenant", self.0)
    }
    fn id(self, what: &str) -> String {
        format!("{}-{what}", self.0)
    }
}

async fn world() -> World {
    let store = Store::open_and_migrate("memory:").await.unwrap();
    let sealer = Arc::new(Sealer::new(SaltKey::new(Secret::new("salt-salt-salt-salt")), Vec::new()));
    let management = Management::new(&store, sealer, Arc::new(Nothing), Arc::new(|| 1_795_170_600_000));
    let world = World { store, management: Arc::new(management) };
    for tenant in [OWN, OTHER] {
        let (user, team) = (tenant.id("user"), tenant.id("team"));
        for (path, body) in [
            (
                "/user/new",
                json!({ "user_id": user, "user_role": "internal_user", "auto_create_key": false, "user_alias": tenant.id("alias") }),
            ),
            (
                "/team/new",
                json!({ "team_id": team, "team_alias": tenant.id("alias"), "members_with_roles": [{ "user_id": user, "role": "admin" }] }),
            ),
            (
                "/key/generate",
                json!({ "key": tenant.key(), "user_id": user, "team_id": team, "key_alias": tenant.id("alias") }),
            ),
            ("/customer/new", json!({ "user_id": tenant.id("customer") })),
            ("/budget/new", json!({ "budget_id": tenant.id("budget"), "max_budget": 1 })),
            ("/tag/new", json!({ "name": tenant.id("tag"), "max_budget": 1 })),
            (
                "/model/new",
                json!({ "model_name": tenant.id("group"), "litellm_params": { "model": "openai/x" }, "model_info": { "id": tenant.id("model") } }),
            ),
        ] {
            let master = Principal::master(hash_key("sk-master").into());
            let (status, answer) = world.ask(&master, route(path), None, "", &body).await;
            assert_eq!(status, 200, "{path}: {answer}");
        }
    }
    world
}

fn route(path: &str) -> &'static Route {
    ROUTES.iter().find(|route| route.path == path).unwrap()
}

impl World {
    /// Asks as the server does: leave first, then the handler.
    async fn ask(
        &self,
        who: &Principal,
        route: &Route,
        named: Option<&str>,
        query: &str,
        body: &Value,
    ) -> (u16, String) {
        let (Action::Manage(what), Access::Right(right)) = (route.action, route.access) else {
            panic!("{route:?}")
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let result = match self.management.authorize(who, right, route.path, route.path).await {
            Ok(grant) => {
                act(&self.management, &grant, what, named, &params(Some(query)), body.as_bytes()).await
            }
            Err(error) => Err(error),
        };
        match result {
            Ok(value) => (200, value.to_string()),
            Err(error) => (error.status(), error.message().to_owned()),
        }
    }

    /// Someone of a tenant with a role: a user with its key, or a key without a user.
    async fn who(&self, tenant: Tenant, role: Role) -> Principal {
        let mut key: Key = self.store.shelf().find("token", &hash_key(&tenant.key())).await.unwrap().unwrap();
        let user: Option<User> = self.store.shelf().get(&tenant.id("user")).await.unwrap();
        if matches!(role, Role::Team | Role::Customer) {
            key.user_id = None;
        }
        if role == Role::Customer {
            key.team_id = None;
        }
        Principal {
            role,
            token: key.token.clone().into(),
            key: Some(Arc::new(key)),
            user: user.map(Arc::new),
            team: None,
            membership: None,
        }
    }

    /// Every record with `mark` in it, as text.
    async fn records(&self, mark: &str) -> Vec<String> {
        let mut all = Vec::new();
        self.collect::<Key>(mark, &mut all).await;
        self.collect::<Team>(mark, &mut all).await;
        self.collect::<Membership>(mark, &mut all).await;
        self.collect::<User>(mark, &mut all).await;
        self.collect::<Customer>(mark, &mut all).await;
        self.collect::<Budget>(mark, &mut all).await;
        self.collect::<Tag>(mark, &mut all).await;
        self.collect::<Model>(mark, &mut all).await;
        all
    }

    async fn collect<R: Record>(&self, mark: &str, all: &mut Vec<String>) {
        let query = Query { limit: 1000, sort: Some("id"), ..Query::default() };
        let records = self.store.shelf::<R>().list(&query).await.unwrap().records;
        let texts = records.iter().map(|record| serde_json::to_string(record).unwrap());
        all.extend(texts.filter(|text| text.contains(mark)));
    }
}

/// A request of the route about what belongs to `tenant`: part of the path, query, body.
fn request(what: Manage, tenant: Tenant) -> (Option<String>, String, Value) {
    let (key, team, user) = (tenant.key(), tenant.id("team"), tenant.id("user"));
    let (customer, budget, model) = (tenant.id("customer"), tenant.id("budget"), tenant.id("model"));
    let body = |body: Value| (None, String::new(), body);
    let query = |query: String| (None, query, Value::Null);
    match what {
        Manage::KeyGenerate => body(json!({ "user_id": user, "team_id": team })),
        Manage::KeyServiceAccount => body(json!({ "team_id": team })),
        Manage::KeyUpdate => body(json!({ "key": key, "metadata": { "changed": true } })),
        Manage::KeyBulkUpdate => body(json!({ "keys": [{ "key": key, "metadata": { "changed": true } }] })),
        Manage::KeyDelete => body(json!({ "keys": [key] })),
        Manage::KeyBlock | Manage::KeyUnblock => body(json!({ "key": key })),
        Manage::KeyRegenerate => (Some(key), String::new(), Value::Null),
        Manage::KeyInfo => query(format!("key={key}")),
        Manage::KeyInfos => body(json!({ "keys": [key] })),
        Manage::KeyList => query(format!("return_full_object=true&user_id={user}&include_team_keys=true")),
        Manage::KeyAliases => query(format!("team_id={team}")),
        Manage::TeamNew => body(json!({ "team_alias": tenant.id("new") })),
        Manage::TeamUpdate => body(json!({ "team_id": team, "metadata": { "changed": true } })),
        Manage::TeamDelete => body(json!({ "team_ids": [team] })),
        Manage::TeamBlock | Manage::TeamUnblock => body(json!({ "team_id": team })),
        Manage::MemberAdd => {
            body(json!({ "team_id": team, "member": { "user_id": tenant.id("guest"), "role": "user" } }))
        }
        Manage::MemberUpdate => {
            body(json!({ "team_id": team, "user_id": user, "role": "admin", "rpm_limit": 1 }))
        }
        Manage::MemberDelete => body(json!({ "team_id": team, "user_id": user })),
        Manage::MembersAdd => {
            body(json!({ "team_id": team, "members": [{ "user_id": tenant.id("guest"), "role": "user" }] }))
        }
        Manage::MembersUpdate => {
            (Some(team), String::new(), json!({ "members": [{ "user_id": user, "rpm_limit": 1 }] }))
        }
        Manage::MembersDelete => (Some(team), String::new(), json!({ "members": [{ "user_id": user }] })),
        Manage::MemberResetBudget => (Some(format!("{team}/member/{user}")), String::new(), Value::Null),
        Manage::TeamPermissionsUpdate => {
            body(json!({ "team_id": team, "team_member_permissions": ["/key/info"] }))
        }
        Manage::TeamsPermissionsUpdate => body(json!({ "team_ids": [team], "permissions": ["/key/info"] })),
        Manage::TeamCallbacks | Manage::TeamCallbacksOff => (Some(team), String::new(), Value::Null),
        Manage::KeyHealth | Manage::UsersAvailable => query(String::new()),
        Manage::UserFilter => query(format!("user_id={user}")),
        Manage::TeamKeysUpdate => body(
            json!({ "team_id": team, "all_keys_in_team": true, "update_fields": { "metadata": { "changed": true } } }),
        ),
        Manage::TeamModelAdd | Manage::TeamModelDelete => body(json!({ "team_id": team, "models": ["m"] })),
        Manage::TeamInfo | Manage::TeamPermissions => query(format!("team_id={team}")),
        Manage::TeamList => query(format!("user_id={user}")),
        Manage::TeamPages => query(format!("team_id={team}")),
        Manage::UserNew => body(json!({ "user_id": tenant.id("fresh") })),
        Manage::UserUpdate => body(json!({ "user_id": user, "user_alias": "changed" })),
        Manage::UserBulkUpdate => body(json!({ "users": [{ "user_id": user, "user_alias": "changed" }] })),
        Manage::UserDelete => body(json!({ "user_ids": [user] })),
        Manage::UserInfo | Manage::UserInfoAlone => query(format!("user_id={user}")),
        Manage::UserList => query(format!("user_ids={user}")),
        Manage::CustomerNew => body(json!({ "user_id": tenant.id("fresh") })),
        Manage::CustomerUpdate => body(json!({ "user_id": customer, "alias": "changed" })),
        Manage::CustomerDelete | Manage::CustomerBlock | Manage::CustomerUnblock => {
            body(json!({ "user_ids": [customer] }))
        }
        Manage::CustomerInfo => query(format!("end_user_id={customer}")),
        Manage::TeamAvailable
        | Manage::CustomerList
        | Manage::BudgetList
        | Manage::TagList
        | Manage::AuditVerify => query(String::new()),
        Manage::TagNew => body(json!({ "name": tenant.id("fresh") })),
        Manage::TagUpdate => body(json!({ "name": tenant.id("tag"), "max_budget": 2 })),
        Manage::TagDelete => body(json!({ "name": tenant.id("tag") })),
        Manage::TagInfo => body(json!({ "names": [tenant.id("tag")] })),
        Manage::BudgetSettings => query(format!("budget_id={budget}")),
        Manage::AuditList => query("page_size=100".to_owned()),
        Manage::BudgetNew => body(json!({ "budget_id": tenant.id("fresh") })),
        Manage::BudgetUpdate => body(json!({ "budget_id": budget, "max_budget": 2 })),
        Manage::BudgetDelete => body(json!({ "id": budget })),
        Manage::BudgetInfo => body(json!({ "budgets": [budget] })),
        Manage::ModelNew => {
            body(json!({ "model_name": tenant.id("fresh"), "litellm_params": { "model": "openai/x" } }))
        }
        Manage::ModelUpdate => body(json!({ "model_info": { "id": model }, "litellm_params": { "rpm": 1 } })),
        Manage::ModelDelete | Manage::ModelBlock | Manage::ModelUnblock => body(json!({ "id": model })),
    }
}

#[tokio::test]
async fn every_route_for_every_role_reaches_what_the_table_says_and_no_further() {
    let mut used = Some(world().await);
    for route in ROUTES {
        let (Action::Manage(what), Access::Right(right)) = (route.action, route.access) else { continue };
        for role in ROLES {
            for tenant in [OWN, OTHER] {
                // A fresh world after every change: a deletion must not hide what comes after it.
                let world = match used.take() {
                    Some(world) => world,
                    None => self::world().await,
                };
                let who = world.who(OWN, role).await;
                let (named, query, body) = request(what, tenant);
                let before = world.records(OTHER.0).await;
                let (status, answer) = world.ask(&who, route, named.as_deref(), &query, &body).await;
                let case = format!(
                    "{} {} as {role:?} about {}: {status} {answer}",
                    route.method, route.path, tenant.0
                );
                match (reach(role, right), tenant.0 == OWN.0) {
                    (Reach::No, _) => assert_eq!(status, 401, "{case}"),
                    (Reach::All, _) => assert_eq!(status, 200, "{case}"),
                    (Reach::Own, true) => assert!(status == 200 || is_no_users(role, what), "{case}"),
                    (Reach::Own, false) => {
                        let asked = named.unwrap_or_default() + &query + &body.to_string();
                        let only_names = [OTHER.id("team"), OTHER.id("user"), OTHER.key()];
                        let told = only_names.iter().fold(answer.clone(), |text, name| {
                            let is_echo = status != 200 || what == Manage::UserBulkUpdate;
                            if asked.contains(name.as_str()) && is_echo {
                                text.replace(name, "")
                            } else {
                                text
                            }
                        });
                        assert!(!told.contains(OTHER.0), "{case}");
                        assert!(
                            !told.contains(&hash_key(&OTHER.key())) || what == Manage::KeyBulkUpdate,
                            "{case}"
                        );
                        let looks = matches!(
                            what,
                            Manage::KeyList
                                | Manage::KeyAliases
                                | Manage::KeyInfos
                                | Manage::TeamList
                                | Manage::TeamPages
                                | Manage::TeamAvailable
                                | Manage::KeyHealth
                                | Manage::KeyBulkUpdate
                                | Manage::UserBulkUpdate
                        );
                        assert!(looks || matches!(status, 403 | 404), "{case}");
                    }
                }
                if reach(role, right) != Reach::All {
                    assert_eq!(world.records(OTHER.0).await, before, "{case}");
                }
                if status != 200 || route.method == http::Method::GET {
                    used = Some(world);
                }
            }
        }
    }
}

/// Keys without a user have no user to look at; those without a team none of its.
fn is_no_users(role: Role, what: Manage) -> bool {
    let of_team = matches!(
        what,
        Manage::TeamInfo | Manage::TeamPermissions | Manage::TeamCallbacks | Manage::TeamAvailable
    );
    role == Role::Customer && of_team
}

#[tokio::test]
async fn nobody_is_let_in_by_a_keys_own_routes_alone() {
    let world = world().await;
    let mut who = world.who(OWN, Role::InternalUser).await;
    let mut key = who.key.as_deref().unwrap().clone();
    key.allowed_routes = vec!["llm_api_routes".into(), "/user/new".into()];
    who.key = Some(Arc::new(key));
    for (path, status) in [("/key/info", 403), ("/user/new", 401), ("/team/new", 403)] {
        assert_eq!(world.ask(&who, route(path), None, "", &Value::Null).await.0, status, "{path}");
    }
}

#[test]
fn queries_are_decoded() {
    let params = params(Some("a=x%2Fy+z&&b=&c"));
    assert_eq!(params.text("a").unwrap(), Some("x/y z"));
    assert_eq!((params.text("b").unwrap(), params.text("c").unwrap()), (None, None));
}

#[test]
fn a_keys_refusal_says_it_where_clients_look() {
    let error = tollway_model::Error::new(tollway_model::Kind::Permission, "no")
        .with_provider(None, Some(tollway_accounts::rights::ROUTE_NOT_ALLOWED.into()));
    let reply = super::refuse(&error, tollway_model::Dialect::OpenaiChat);
    let tollway_pipeline::ReplyBody::Full(Some(body)) = reply.body else { panic!() };
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (reply.status.as_u16(), &body["detail"], &body["error"]["message"]),
        (403, &json!("no"), &json!("no"))
    );
}

#[test]
fn every_body_is_described_and_every_reference_leads_somewhere() {
    let document = crate::openapi_document();
    for route in ROUTES {
        let Action::Manage(what) = route.action else { continue };
        let operation = &document["paths"][route.path][route.method.as_str().to_lowercase()];
        let has_body = super::request_type(what).is_some();
        assert_eq!(operation["requestBody"].is_object(), has_body, "{}", route.path);
        // The address alone says whose limits are the team's again.
        let needs_none = route.method == http::Method::GET
            || matches!(what, Manage::MemberResetBudget | Manage::TeamCallbacksOff | Manage::KeyHealth);
        assert!(has_body || needs_none, "{} has no body", route.path);
    }
    let generate = &document["components"]["schemas"]["GenerateKey"];
    assert_eq!(generate["additionalProperties"], false);
    assert!(generate["properties"]["max_budget"]["description"].as_str().unwrap().contains("dollars"));
    assert_eq!(document["components"]["schemas"]["UpdateKey"]["required"], json!(["key"]));
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

//! The routes on real books in memory, asked through the route table by every kind of caller.

mod answers;
mod long;
mod scopes;
mod sets_back;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use tollway::Transport;
use tollway_accounts::manage::{Figures, Management, SpendOf, hash_key};
use tollway_accounts::{Directory, Options, Shelves, rights};
use tollway_ledger::books::{Batch, Books, SqlBooks};
use tollway_ledger::{Outcome, Receipt, sample};
use tollway_meters::{Meters, NothingSpent, Scope, SystemClock};
use tollway_model::{Money, Result, Secret};
use tollway_pipeline::{Gateway, Keyring, ReplyBody, Services, Snapshot, Sources, unix_millis};
use tollway_store::records::{Key, Membership, Team, User};
use tollway_store::{SaltKey, Sealer, Store};

use super::{Answer, Desk, Pages};
use crate::manage;
use crate::routes::{Access, Action, Matched, ROUTES, find};

/// 2026-11-20T10:00:00Z
pub(super) const NOW: i64 = sample::BEGIN;

const MASTER: &str = "sk-master";

/// Key, user, team.
const KEYS: [(&str, Option<&str>, Option<&str>); 6] = [
    ("sk-alice", Some("alice"), None),
    ("sk-alice-red", Some("alice"), Some("red")),
    ("sk-bob-red", Some("bob"), Some("red")),
    ("sk-red", None, Some("red")),
    ("sk-carol-blue", Some("carol"), Some("blue")),
    ("sk-viewer", Some("viewer"), None),
];

const CONFIG: &str = "
model_list:
  - {model_name: gpt, litellm_params: {model: openai/gpt-4o-mini, api_key: x}}
  - {model_name: odd, litellm_params: {model: openai/nobody-knows-this, api_key: x}}
";

pub(super) struct World {
    pub(super) store: Store,
    pub(super) books: Arc<SqlBooks>,
    gateway: Arc<Gateway>,
    management: Option<Arc<Management>>,
    pages: Pages,
}

struct FromBooks(Arc<SqlBooks>);

#[async_trait]
impl tollway_accounts::manage::Spend for FromBooks {
    async fn spent(&self, of: &[SpendOf]) -> Vec<Figures> {
        let mut found = Vec::new();
        for one in of {
            let scope = Scope { kind: one.kind, id: one.id.as_str().into() };
            let (spend, total) =
                (self.0.spent(&scope, one.since).await.unwrap(), self.0.spent(&scope, None).await.unwrap());
            found.push(Figures { spend: spend.money, total: total.money, ..Figures::default() });
        }
        found
    }

    async fn most(&self, kind: tollway_meters::ScopeKind, limit: u32) -> Vec<(String, tollway_model::Money)> {
        let sums = self.0.sums(kind, tollway_ledger::books::Range::default(), limit).await.unwrap();
        sums.into_iter().map(|(id, sum)| (id.to_string(), sum.money)).collect()
    }
}

fn snapshot() -> Snapshot {
    let config = tollway_config::from_str(CONFIG, &|_| None).config.unwrap();
    Snapshot::build(Sources {
        config: &config,
        stored: &[],
        from_environment: false,
        environment: Arc::new(|_: &str| None),
        catalog: tollway_prices::Catalog::builtin(),
        demo: None,
        keyring: Keyring::default().with_master(&Secret::new(MASTER)),
    })
}

impl World {
    /// Two teams: red with alice as its admin and bob, blue with carol. The viewer sees everything.
    pub(super) async fn new() -> World {
        let store = Store::open_and_migrate("memory:").await.unwrap();
        for (user, role) in [
            ("alice", "internal_user"),
            ("bob", "internal_user"),
            ("carol", "internal_user"),
            ("viewer", "proxy_admin_viewer"),
        ] {
            let user = User { user_id: user.into(), user_role: Some(role.into()), ..User::default() };
            store.shelf::<User>().insert(user).await.unwrap();
        }
        for team in ["red", "blue"] {
            let alias = Some(format!("the {team} ones"));
            let team = Team { team_id: team.into(), team_alias: alias, ..Team::default() };
            store.shelf::<Team>().insert(team).await.unwrap();
        }
        for (team, user, role) in
            [("red", "alice", "admin"), ("red", "bob", "user"), ("blue", "carol", "admin")]
        {
            let membership = Membership {
                id: Membership::id_of(team, user),
                team_id: team.into(),
                user_id: user.into(),
                role: role.into(),
                ..Membership::default()
            };
            store.shelf::<Membership>().insert(membership).await.unwrap();
        }
        for (key, user, team) in KEYS {
            let key = Key {
                id: format!("id-{key}"),
                token: hash_key(key),
                key_name: key.into(),
                key_alias: Some(format!("alias-{key}")),
                user_id: user.map(str::to_owned),
                team_id: team.map(str::to_owned),
                ..Key::default()
            };
            store.shelf::<Key>().insert(key).await.unwrap();
        }
        let books = Arc::new(SqlBooks::new(store.sql().clone()));
        let sealer = Arc::new(Sealer::new(SaltKey::new(Secret::new("salt-salt-salt-salt")), Vec::new()));
        let management =
            Management::new(&store, sealer, Arc::new(FromBooks(books.clone())), Arc::new(|| NOW));
        let shelves = Shelves {
            keys: store.shelf(),
            graces: store.shelf(),
            teams: store.shelf(),
            users: store.shelf(),
            memberships: store.shelf(),
            budgets: store.shelf(),
            customers: store.shelf(),
            tags: store.shelf(),
            changes: store.changes(),
        };
        let mut services = Services::default();
        services.directory = Some(Directory::new(shelves, Options::default()));
        services.books = Some(books.clone());
        let clock = Arc::new(SystemClock::new(unix_millis));
        services.meters =
            Some(Meters::new(tollway_meters::Options::default(), Arc::new(NothingSpent), clock));
        let gateway = Gateway::new(snapshot(), Transport::default(), 50, services);
        World { store, books, gateway, management: Some(Arc::new(management)), pages: Pages::default() }
    }

    /// A gateway that keeps nothing.
    pub(super) async fn without_database() -> World {
        let mut world = World::new().await;
        world.gateway = Gateway::new(snapshot(), Transport::default(), 50, Services::default());
        world.management = None;
        world
    }

    /// A gateway whose database does not answer.
    pub(super) async fn with_database_away() -> World {
        let mut world = World::new().await;
        let store = Store::open("postgres://nobody@127.0.0.1:1/nothing").unwrap();
        let mut services = Services::default();
        services.books = Some(Arc::new(SqlBooks::new(store.sql().clone())));
        world.gateway = Gateway::new(snapshot(), Transport::default(), 50, services);
        world
    }

    /// The receipts of calls with these numbers; the keys take turns, the master key among them.
    pub(super) async fn record(&self, numbers: std::ops::Range<u64>) -> Vec<Arc<Receipt>> {
        let receipts: Vec<Arc<Receipt>> = numbers.map(|number| Arc::new(receipt(number))).collect();
        self.books.record(&Batch::of(&receipts).unwrap()).await.unwrap();
        receipts
    }

    /// Keeps receipts in memory only.
    pub(super) fn remember(&self, receipt: Receipt) {
        self.gateway.receipts().record(receipt);
    }

    pub(super) async fn ask(&self, key: &str, method: Method, url: &str, body: &str) -> (u16, Value) {
        match self.try_ask(key, method, url, body).await {
            Ok(answer) => (200, answer),
            Err(error) => (error.status(), Value::String(error.message().to_owned())),
        }
    }

    pub(super) async fn get(&self, key: &str, url: &str) -> Value {
        let (status, answer) = self.ask(key, Method::GET, url, "").await;
        assert_eq!(status, 200, "{url}: {answer}");
        answer
    }

    /// As the service does it.
    async fn try_ask(&self, key: &str, method: Method, url: &str, body: &str) -> Result<Value> {
        let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
        let Matched::Route(index, named) = find(&method, path) else { panic!("no route {method} {path}") };
        let route = &ROUTES[index];
        let (Action::Spend(what), Access::Right(right)) = (route.action, route.access) else {
            panic!("{path}")
        };
        let snapshot = self.gateway.snapshot();
        let caller = self.caller(&snapshot, key).await?;
        let principal = &caller.identity.principal;
        rights::permits(principal, right, route.path, path)?;
        let grant = match &self.management {
            Some(management) => management.authorize(principal, right, route.path, path).await?,
            None => rights::authorize(principal, &[], right, route.path, path)?,
        };
        let named =
            named.map(|text| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned());
        let desk = Desk { named, params: manage::params(query), ..self.desk(&snapshot, &caller, grant) };
        match desk.act(what, Bytes::from(body.to_owned())).await? {
            Answer::Whole(value) => Ok(value),
            Answer::Long(pieces) => {
                let bytes =
                    http_body_util::BodyExt::collect(ReplyBody::Pieces(pieces)).await.unwrap().to_bytes();
                Ok(serde_json::from_slice(&bytes).unwrap())
            }
        }
    }

    async fn caller(&self, snapshot: &Arc<Snapshot>, key: &str) -> Result<tollway_pipeline::Caller> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", key.parse().unwrap());
        let presented = snapshot.keyring.presented(&headers, &"/".parse().unwrap())?;
        self.gateway.identify(snapshot, &presented).await
    }

    fn desk<'a>(
        &'a self,
        snapshot: &'a Snapshot,
        caller: &'a tollway_pipeline::Caller,
        grant: rights::Grant,
    ) -> Desk<'a> {
        Desk {
            gateway: &self.gateway,
            snapshot,
            management: self.management.clone(),
            pages: &self.pages,
            caller,
            grant,
            params: manage::params(None),
            named: None,
            now: NOW,
        }
    }

    /// Something at a desk, by right of reading what was spent.
    async fn at_desk<T>(&self, key: &str, work: impl AsyncFnOnce(&Desk<'_>) -> T) -> T {
        let snapshot = self.gateway.snapshot();
        let caller = self.caller(&snapshot, key).await.unwrap();
        let Matched::Route(index, _) = find(&Method::GET, "/global/spend/report") else { panic!() };
        let Access::Right(right) = ROUTES[index].access else { panic!() };
        let path = ROUTES[index].path;
        let principal = &caller.identity.principal;
        let grant = match &self.management {
            Some(management) => management.authorize(principal, right, path, path).await,
            None => rights::authorize(principal, &[], right, path, path),
        };
        work(&self.desk(&snapshot, &caller, grant.unwrap())).await
    }
}

pub(super) fn receipt(number: u64) -> Receipt {
    let mut receipt = sample::receipt(number);
    let turn = usize::try_from(number).unwrap() % (KEYS.len() + 1);
    let (key, user, team) = KEYS.get(turn).copied().unwrap_or((MASTER, None, None));
    let who = &mut receipt.who;
    who.token = hash_key(key).into();
    who.key = (key != MASTER).then(|| format!("id-{key}").into());
    who.key_alias = None;
    who.user = user.map(Into::into);
    who.team = team.map(Into::into);
    who.organization = None;
    who.tags = if number.is_multiple_of(3) {
        vec![format!("tag-of-{key}").into(), "shared".into()]
    } else {
        Vec::new()
    };
    receipt.at = NOW - i64::try_from(number).unwrap() * 60_000;
    receipt
}

pub(super) fn money(receipts: &[Arc<Receipt>], pick: impl Fn(&Receipt) -> bool) -> Money {
    receipts
        .iter()
        .filter(|receipt| pick(receipt))
        .map(|receipt| receipt.cost.nanos.unwrap_or_default())
        .sum()
}

pub(super) fn answered(receipt: &Receipt) -> bool {
    receipt.outcome == Outcome::Answered
}

/// Dollars of an answer as money again.
pub(super) fn dollars(value: &Value) -> Money {
    Money::parse_dollars(&format!("{:.9}", value.as_f64().unwrap())).unwrap()
}

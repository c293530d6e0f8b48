//! Who is known, and for how long.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tollway_accounts::{Directory, KeyHash, Options, Role, Shelves};
use tollway_model::{Error, Kind, Money};
use tollway_store::records::{Budget, Customer, Grace, Key, Limits, Membership, Record, Tag, Team, User};
use tollway_store::{Change, Changes, Page, Query, Records, Shelf, Store, StoreError, StoreResult};

/// A shelf that counts its readers and can be away.
struct Watched<R: Record> {
    inner: Shelf<R>,
    away: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
}

impl<R: Record> Watched<R> {
    fn check(&self) -> StoreResult<()> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("test".into())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl<R: Record> Records<R> for Watched<R> {
    async fn get(&self, id: &str) -> StoreResult<Option<R>> {
        self.check()?;
        self.inner.get(id).await
    }
    async fn find(&self, column: &'static str, value: &str) -> StoreResult<Option<R>> {
        self.check()?;
        self.inner.find(column, value).await
    }
    async fn insert(&self, record: R) -> StoreResult<R> {
        self.inner.insert(record).await
    }
    async fn update(&self, record: R) -> StoreResult<R> {
        self.inner.update(record).await
    }
    async fn delete(&self, ids: &[&str]) -> StoreResult<Vec<R>> {
        self.inner.delete(ids).await
    }
    async fn list(&self, query: &Query) -> StoreResult<Page<R>> {
        self.check()?;
        self.inner.list(query).await
    }
}

struct WatchedChanges(Arc<dyn Changes>, Arc<AtomicBool>);

#[async_trait]
impl Changes for WatchedChanges {
    async fn after(&self, sequence: i64, patience: Duration) -> StoreResult<Vec<Change>> {
        if self.1.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("test".into()));
        }
        self.0.after(sequence, patience).await
    }
    async fn latest(&self) -> StoreResult<i64> {
        self.0.latest().await
    }
}

struct World {
    store: Store,
    directory: Arc<Directory>,
    away: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
}

async fn world(options: Options) -> World {
    let store = Store::open_and_migrate("memory:").await.unwrap();
    let (away, reads) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let keys = Arc::new(Watched { inner: store.shelf::<Key>(), away: away.clone(), reads: reads.clone() });
    let shelves = Shelves {
        keys,
        graces: store.shelf(),
        teams: store.shelf(),
        users: store.shelf(),
        memberships: store.shelf(),
        budgets: store.shelf(),
        customers: Arc::new(Watched {
            inner: store.shelf::<Customer>(),
            away: away.clone(),
            reads: reads.clone(),
        }),
        tags: Arc::new(Watched { inner: store.shelf::<Tag>(), away: away.clone(), reads: reads.clone() }),
        changes: Arc::new(WatchedChanges(store.changes(), away.clone())),
    };
    let directory = Directory::new(shelves, options);
    World { store, directory, away, reads }
}

impl World {
    fn follow(&self) {
        tokio::spawn(self.directory.clone().follow(|_| {}));
    }

    async fn key(&self, secret: &str, change: impl FnOnce(&mut Key)) -> Key {
        let mut key =
            Key { id: format!("id-{secret}"), token: KeyHash::of(secret).to_hex(), ..Key::default() };
        change(&mut key);
        self.store.shelf::<Key>().insert(key).await.unwrap()
    }

    async fn identify(&self, secret: &str) -> Result<Arc<tollway_accounts::Identity>, Error> {
        self.directory.identify(KeyHash::of(secret)).await
    }

    /// Waits until `identify` fails with this type.
    async fn until_denied(&self, secret: &str, kind: &str) {
        for _ in 0..200 {
            if let Err(error) = self.identify(secret).await
                && error.provider_type() == Some(kind)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{secret} is still served");
    }
}

fn denial(result: Result<Arc<tollway_accounts::Identity>, Error>) -> (Kind, Option<String>) {
    let error = result.err().unwrap();
    (error.kind(), error.provider_type().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_looked_up_once_however_many_ask() {
    let world = world(Options::default()).await;
    world.key("sk-a", |_| {}).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let directory = world.directory.clone();
        asked.spawn(async move { directory.identify(KeyHash::of("sk-a")).await.is_ok() });
    }
    assert!(asked.join_all().await.into_iter().all(|known| known));
    assert_eq!(world.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_caught_up_serves_no_key_that_was_deleted_before() {
    let world = world(Options::default()).await;
    // Nobody follows yet, and nobody waits.
    world.directory.catch_up().await;
    world.follow();
    tokio::time::sleep(Duration::from_millis(50)).await;
    for number in 0..50 {
        let secret = format!("sk-{number}");
        let key = world.key(&secret, |_| {}).await;
        world.directory.catch_up().await;
        world.identify(&secret).await.unwrap();
        world.store.shelf::<Key>().delete(&[&key.id]).await.unwrap();
        world.directory.catch_up().await;
        assert_eq!(denial(world.identify(&secret).await).0, Kind::Authentication);
    }
}

#[tokio::test]
async fn a_stranger_is_401_and_not_looked_up_again_until_the_key_exists() {
    let world = world(Options::default()).await;
    world.follow();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stranger = (Kind::Authentication, Some("token_not_found_in_db".to_owned()));
    assert_eq!(denial(world.identify("sk-a").await), stranger);
    assert_eq!(denial(world.identify("sk-a").await), stranger);
    assert_eq!(world.reads.load(Ordering::SeqCst), 1);
    world.key("sk-a", |_| {}).await;
    for _ in 0..200 {
        if world.identify("sk-a").await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the new key is not known");
}

#[tokio::test]
async fn a_block_reaches_who_is_remembered_and_nothing_resurrects_it() {
    let world = world(Options::default()).await;
    world.follow();
    let mut key = world.key("sk-a", |_| {}).await;
    assert!(world.identify("sk-a").await.is_ok());
    key.blocked = true;
    world.store.shelf::<Key>().update(key).await.unwrap();
    world.until_denied("sk-a", "auth_error").await;
    for _ in 0..50 {
        assert!(world.identify("sk-a").await.is_err());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn when_changes_were_missed_everything_is_read_again() {
    let world = world(Options::default()).await;
    let (mut key, other) = (world.key("sk-a", |_| {}).await, world.key("sk-b", |_| {}).await);
    let customer: Arc<str> = "c".into();
    assert!(world.identify("sk-a").await.is_ok() && world.identify("sk-b").await.is_ok());
    assert!(world.identify("sk-new").await.is_err());
    assert!(world.directory.customer(&customer, None).await.record.is_none());
    key.blocked = true;
    world.store.shelf::<Key>().update(key).await.unwrap();
    world.store.shelf::<Key>().delete(&[&other.id]).await.unwrap();
    world.key("sk-new", |_| {}).await;
    let record = Customer { user_id: "c".into(), ..Customer::default() };
    world.store.shelf::<Customer>().insert(record).await.unwrap();
    world.directory.forget(&Change::everything(9));
    assert!(world.identify("sk-a").await.is_err() && world.identify("sk-b").await.is_err());
    assert!(world.identify("sk-new").await.is_ok());
    assert!(world.directory.customer(&customer, None).await.record.is_some());
}

/// Says once that everything changed, with a number below the one asked for, and then that nothing does.
struct Restored(AtomicUsize);

#[async_trait]
impl Changes for Restored {
    async fn after(&self, sequence: i64, _: Duration) -> StoreResult<Vec<Change>> {
        if sequence > 3 {
            self.0.fetch_add(1, Ordering::SeqCst);
            return Ok(vec![Change::everything(3)]);
        }
        std::future::pending().await
    }
    async fn latest(&self) -> StoreResult<i64> {
        Ok(7)
    }
}

#[tokio::test]
async fn a_database_restored_from_an_older_copy_is_followed_from_its_own_number_on() {
    let store = Store::open_and_migrate("memory:").await.unwrap();
    let changes = Arc::new(Restored(AtomicUsize::new(0)));
    let shelves = Shelves {
        keys: store.shelf(),
        graces: store.shelf(),
        teams: store.shelf(),
        users: store.shelf(),
        memberships: store.shelf(),
        budgets: store.shelf(),
        customers: store.shelf(),
        tags: store.shelf(),
        changes: changes.clone(),
    };
    let directory = Directory::new(shelves, Options::default());
    let following = directory.follow(|_| {});
    let _ = tokio::time::timeout(Duration::from_millis(200), following).await;
    assert_eq!(changes.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_change_of_the_team_or_the_user_reaches_the_key() {
    let world = world(Options::default()).await;
    world.follow();
    let teams = world.store.shelf::<Team>();
    let mut team = teams.insert(Team { team_id: "t".into(), ..Team::default() }).await.unwrap();
    let users = world.store.shelf::<User>();
    let user = User { user_id: "u".into(), user_role: Some("proxy_admin".into()), ..User::default() };
    users.insert(user).await.unwrap();
    world.key("sk-a", |key| (key.team_id, key.user_id) = (Some("t".into()), Some("u".into()))).await;
    let identity = world.identify("sk-a").await.unwrap();
    assert_eq!(identity.principal.role, Role::ProxyAdmin);
    assert!(!identity.is_limited());
    let membership = Membership {
        id: Membership::id_of("t", "u"),
        team_id: "t".into(),
        user_id: "u".into(),
        limits: Limits { rpm_limit: Some(3), ..Limits::default() },
        ..Membership::default()
    };
    world.store.shelf::<Membership>().insert(membership).await.unwrap();
    for turn in 0.. {
        if world.identify("sk-a").await.unwrap().is_limited() {
            break;
        }
        assert!(turn < 200, "the new membership is not seen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    team.blocked = true;
    teams.update(team).await.unwrap();
    world.until_denied("sk-a", "auth_error").await;
}

#[tokio::test]
async fn a_user_who_is_made_after_the_key_limits_it() {
    let world = world(Options::default()).await;
    world.follow();
    world.key("sk-a", |key| key.user_id = Some("u".into())).await;
    assert!(!world.identify("sk-a").await.unwrap().is_limited());
    let limits = Limits { max_budget: Some(Money::ZERO), ..Limits::default() };
    let user = User { user_id: "u".into(), limits, ..User::default() };
    world.store.shelf::<User>().insert(user).await.unwrap();
    for turn in 0.. {
        if world.identify("sk-a").await.unwrap().is_limited() {
            break;
        }
        assert!(turn < 200, "the new user is not seen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_temporary_increase_of_a_remembered_key_ends_in_time() {
    let world = world(Options::default()).await;
    #[expect(clippy::disallowed_methods, reason = "expiry is wall time")]
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(since_1970.as_millis()).unwrap();
    world
        .key("sk-a", |key| {
            key.limits.max_budget = Some(Money::from_nanos(10));
            (key.temp_budget_increase, key.temp_budget_expiry) =
                (Some(Money::from_nanos(5)), Some(now + 400));
        })
        .await;
    let max = async || {
        let identity = world.identify("sk-a").await.unwrap();
        identity.claims()[0].limits.budgets[0].max.unwrap().nanos()
    };
    assert_eq!(max().await, 15);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(max().await, 10);
    assert_eq!(world.reads.load(Ordering::SeqCst), 1, "the database is not needed for it");
}

#[tokio::test]
async fn the_end_of_an_increase_that_nobody_gave_takes_no_budget_away() {
    let world = world(Options::default()).await;
    world
        .key("sk-a", |key| {
            key.limits.max_budget = Some(Money::from_nanos(10));
            key.temp_budget_expiry = Some(i64::MAX);
        })
        .await;
    let identity = world.identify("sk-a").await.unwrap();
    let most: Vec<_> = identity.claims().iter().flat_map(|claim| &claim.limits.budgets).collect();
    assert_eq!(most.iter().map(|budget| budget.max).collect::<Vec<_>>(), [Some(Money::from_nanos(10))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_cannot_be_read_are_not_asked_for_by_everybody() {
    let world = world(Options::default()).await;
    let tag = |rpm| Tag {
        name: "t".into(),
        limits: Limits { rpm_limit: Some(rpm), ..Limits::default() },
        ..Tag::default()
    };
    let stored = world.store.shelf::<Tag>().insert(tag(3)).await.unwrap();
    let rpm = async || {
        let tags = world.directory.tags(&["t".into()]).await;
        tags.first().and_then(|tag| tag.claim.as_ref()?.limits.rpm)
    };
    assert_eq!(rpm().await, Some(3));
    let before = world.reads.load(Ordering::SeqCst);
    world.away.store(true, Ordering::SeqCst);
    world.directory.forget(&Change::everything(1));
    for _ in 0..50 {
        assert_eq!(rpm().await, Some(3), "what was known last holds");
    }
    let asked = world.reads.load(Ordering::SeqCst) - before;
    assert!(asked < 10, "asked {asked} times");
    world.away.store(false, Ordering::SeqCst);
    let changed = Tag { limits: Limits { rpm_limit: Some(5), ..Limits::default() }, ..stored };
    world.store.shelf::<Tag>().update(changed).await.unwrap();
    for turn in 0.. {
        if rpm().await == Some(5) {
            break;
        }
        assert!(turn < 200, "the change is not seen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Budgets that are read slowly.
struct Slow(Shelf<Budget>);

#[async_trait]
impl Records<Budget> for Slow {
    async fn get(&self, id: &str) -> StoreResult<Option<Budget>> {
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.0.get(id).await
    }
    async fn find(&self, column: &'static str, value: &str) -> StoreResult<Option<Budget>> {
        self.0.find(column, value).await
    }
    async fn insert(&self, record: Budget) -> StoreResult<Budget> {
        self.0.insert(record).await
    }
    async fn update(&self, record: Budget) -> StoreResult<Budget> {
        self.0.update(record).await
    }
    async fn delete(&self, ids: &[&str]) -> StoreResult<Vec<Budget>> {
        self.0.delete(ids).await
    }
    async fn list(&self, query: &Query) -> StoreResult<Page<Budget>> {
        self.0.list(query).await
    }
}

#[tokio::test]
async fn very_many_tags_with_shared_budgets_are_all_limited() {
    let store = Store::open_and_migrate("memory:").await.unwrap();
    let shelves = Shelves {
        keys: store.shelf(),
        graces: store.shelf(),
        teams: store.shelf(),
        users: store.shelf(),
        memberships: store.shelf(),
        budgets: Arc::new(Slow(store.shelf())),
        customers: store.shelf(),
        tags: store.shelf(),
        changes: store.changes(),
    };
    let directory = Directory::new(shelves, Options::default());
    for number in 0..80 {
        let limits = Limits { rpm_limit: Some(number), ..Limits::default() };
        let budget = Budget { budget_id: format!("b{number}"), limits, ..Budget::default() };
        store.shelf::<Budget>().insert(budget).await.unwrap();
        let budget_id = Some(format!("b{number}"));
        let tag = Tag { name: format!("t{number}"), budget_id, ..Tag::default() };
        store.shelf::<Tag>().insert(tag).await.unwrap();
    }
    let tags = directory.tags(&["t7".into(), "t79".into()]).await;
    let limits: Vec<_> = tags.iter().map(|tag| tag.claim.as_ref().unwrap().limits.rpm).collect();
    assert_eq!(limits, [Some(7), Some(79)]);
}

#[tokio::test]
async fn a_temporary_increase_of_a_shared_budget_ends_for_all_who_have_it() {
    let world = world(Options::default()).await;
    #[expect(clippy::disallowed_methods, reason = "expiry is wall time")]
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = i64::try_from(since_1970.as_millis()).unwrap();
    let mut budget = Budget { budget_id: "b".into(), ..Budget::default() };
    budget.limits.max_budget = Some(Money::from_nanos(10));
    (budget.temp_budget_increase, budget.temp_budget_expiry) = (Some(Money::from_nanos(5)), Some(now + 900));
    world.store.shelf::<Budget>().insert(budget.clone()).await.unwrap();
    let shared = || Some("b".to_owned());
    world.key("sk-a", |key| key.budget_id = shared()).await;
    let customer = Customer { user_id: "c".into(), budget_id: shared(), ..Customer::default() };
    world.store.shelf::<Customer>().insert(customer).await.unwrap();
    let tag = Tag { name: "t".into(), budget_id: shared(), ..Tag::default() };
    world.store.shelf::<Tag>().insert(tag).await.unwrap();
    let most = async || {
        let identity = world.identify("sk-a").await.unwrap();
        let customer = world.directory.customer(&"c".into(), None).await;
        let tags = world.directory.tags(&["x".into(), "t".into()]).await;
        let claims =
            [&identity.claims()[0], customer.claim.as_ref().unwrap(), tags[0].claim.as_ref().unwrap()];
        assert_eq!(tags.len(), 1, "nobody made the other");
        claims.map(|claim| claim.limits.budgets[0].max.unwrap().nanos())
    };
    assert_eq!(most().await, [15; 3]);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(most().await, [10; 3]);
    // Where nobody can be asked when it ends, a customer is not without any limit.
    let renamed = Budget { budget_id: "c".into(), ..budget };
    let renamed = Budget { temp_budget_expiry: Some(now + 1_600), ..renamed };
    world.store.shelf::<Budget>().insert(renamed).await.unwrap();
    let customer = Customer { user_id: "d".into(), budget_id: Some("c".into()), ..Customer::default() };
    world.store.shelf::<Customer>().insert(customer).await.unwrap();
    assert!(world.directory.customer(&"d".into(), None).await.claim.is_some());
    world.away.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(world.directory.customer(&"d".into(), None).await.claim.is_some());
}

#[tokio::test]
async fn without_the_database_the_known_are_served_and_the_unknown_get_503() {
    let world = world(Options { grace: Duration::from_millis(1500), ..Options::default() }).await;
    world.follow();
    world.key("sk-a", |_| {}).await;
    world.key("sk-b", |_| {}).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.identify("sk-a").await.is_ok());
    world.away.store(true, Ordering::SeqCst);
    assert_eq!(denial(world.identify("sk-b").await).0, Kind::Unavailable);
    assert_eq!(denial(world.identify("sk-unknown").await).0, Kind::Unavailable);
    assert!(world.identify("sk-a").await.is_ok());
    tokio::time::sleep(Duration::from_millis(3000)).await;
    assert_eq!(denial(world.identify("sk-a").await).0, Kind::Unavailable, "the grace is over");
    world.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert!(world.identify("sk-a").await.is_ok());
    assert!(world.identify("sk-b").await.is_ok());
}

#[tokio::test]
async fn an_old_hash_is_valid_until_its_grace_ends() {
    let world = world(Options::default()).await;
    world.follow();
    let key = world.key("sk-new", |_| {}).await;
    let now = jiff::Timestamp::now().as_millisecond();
    let graces = world.store.shelf::<Grace>();
    let grace = |secret: &str, until| Grace {
        token: KeyHash::of(secret).to_hex(),
        key_id: key.id.clone(),
        until,
        ..Grace::default()
    };
    graces.insert(grace("sk-old", now + 700)).await.unwrap();
    graces.insert(grace("sk-older", now - 1)).await.unwrap();
    assert_eq!(denial(world.identify("sk-older").await).0, Kind::Authentication);
    assert_eq!(world.identify("sk-old").await.unwrap().principal.key.as_ref().unwrap().id, key.id);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(denial(world.identify("sk-old").await).1.as_deref(), Some("expired_key"));
    assert!(world.identify("sk-new").await.is_ok());
}

#[tokio::test]
async fn access_is_what_key_and_team_both_allow_and_a_denial_does_not_tell_what_that_is() {
    let world = world(Options::default()).await;
    let teams = world.store.shelf::<Team>();
    let team = Team { team_id: "t".into(), models: vec!["a".into(), "b".into()], ..Team::default() };
    teams.insert(team).await.unwrap();
    world
        .key("sk-a", |key| {
            key.team_id = Some("t".into());
            key.models = vec!["b".into(), "c".into()];
        })
        .await;
    let identity = world.identify("sk-a").await.unwrap();
    let denied = |model: &str| {
        let error = identity.may_use(model, &[]).err()?;
        assert!(!error.message().contains('['), "{}", error.message());
        error.provider_type().map(str::to_owned)
    };
    assert_eq!(denied("a").as_deref(), Some("key_model_access_denied"));
    assert_eq!(denied("b"), None);
    assert_eq!(denied("c").as_deref(), Some("team_model_access_denied"));
}

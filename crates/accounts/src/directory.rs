//! From a key's hash to who it is, remembered.
//!
//! A call finds its identity in memory. What is not there is read from the store, once however many ask. News of changes
//! ([`Changes`]) takes out what they touch, within a second on every process, and nothing brings an old reading back:
//! whoever read while a change came in reads again.
//!
//! While the store is away, who is known goes on for [`Options::grace`]; who is not known gets 503, never 401.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::sync::watch;
use tollway_meters::{Claim, ScopeKind};
use tollway_model::{Error, Kind, Retry};
use tollway_store::records::{Budget, Customer, Grace, Key, Membership, Millis, Record, Tag, Team, User};
use tollway_store::{Change, Changes, Shelf, StoreError};

use crate::claims::{ByModel, add_models, claim, merged, raised_until};
use crate::identity::{SharedBudgets, denied};
use crate::tags::TagBook;
use crate::{Identity, KeyHash, KnownTag, ModelAccess, Principal, Role, Rules, now};

/// Longest a key waits for the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// A store that says nothing for so long is away, though no question has failed yet; milliseconds.
const SILENT: Millis = 5_000;

/// The tables that say who calls.
#[derive(Clone)]
pub struct Shelves {
    /// Keys.
    pub keys: Shelf<Key>,
    /// Old hashes of regenerated keys.
    pub graces: Shelf<Grace>,
    /// Teams.
    pub teams: Shelf<Team>,
    /// Users.
    pub users: Shelf<User>,
    /// Memberships.
    pub memberships: Shelf<Membership>,
    /// Shared budgets.
    pub budgets: Shelf<Budget>,
    /// Customers.
    pub customers: Shelf<Customer>,
    /// Tags of calls.
    pub tags: Shelf<Tag>,
    /// News of changes.
    pub changes: Arc<dyn Changes>,
}

/// How much is remembered, and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keys remembered. Default: 100,000.
    pub keys: usize,
    /// Hashes remembered that are no key, and customers. Default: 20,000 each.
    pub strangers: usize,
    /// How long a hash that is no key is remembered. Default: 10 s.
    pub stranger_for: Duration,
    /// How long known keys are served while the store is away. Default: one hour.
    pub grace: Duration,
    /// How limits are read.
    pub rules: Rules,
    /// The shared budget of customers that have none, of their own or of the key. Default: none.
    pub default_customer_budget: Option<Arc<str>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keys: 100_000,
            strangers: 20_000,
            stranger_for: Duration::from_secs(10),
            grace: Duration::from_secs(3600),
            rules: Rules::default(),
            default_customer_budget: None,
        }
    }
}

/// A customer made ready for calls.
#[derive(Debug)]
pub struct KnownCustomer {
    /// The record; `None`: nobody has made one.
    pub record: Option<Customer>,
    /// Its limits.
    pub claim: Option<Claim>,
    by_model: ByModel,
    /// Its limits are others from then on.
    until: Option<Millis>,
    access: ModelAccess,
    /// What its shared budget may be spent on.
    budget: ModelAccess,
}

impl KnownCustomer {
    /// Somebody of whom nothing can be known now.
    fn unknown() -> KnownCustomer {
        let everything = ModelAccess::of(&[]);
        KnownCustomer {
            record: None,
            claim: None,
            by_model: ByModel::new(),
            until: None,
            access: everything.clone(),
            budget: everything,
        }
    }

    /// Limits of single models, by the names they were set for.
    pub fn limited_models(&self) -> impl Iterator<Item = (&str, &[Claim])> {
        self.by_model.iter().map(|(model, claims)| (&**model, claims.as_slice()))
    }

    /// May calls be made for it, with this model?
    pub fn check(&self, model: &str, groups: &[Arc<str>]) -> Result<(), Error> {
        if let Some(record) = self.record.as_ref().filter(|record| record.blocked) {
            let message = format!(
                "Authentication Error, the customer {} is blocked. An administrator can release it with POST /customer/unblock.",
                record.user_id
            );
            return Err(denied(message, None, "auth_error"));
        }
        if self.access.allows(model, groups) && self.budget.allows(model, groups) {
            return Ok(());
        }
        let id = self.record.as_ref().map_or("", |record| record.user_id.as_str());
        let message = format!("the customer {id} may not use the model {model}.").replace("  ", " ");
        Err(Error::new(Kind::Permission, message)
            .with_param("model")
            .with_provider(None, Some(crate::Owner::Customer.denial().to_owned())))
    }
}

/// A customer, and the budget it has when it has none of its own.
type CustomerName = (Option<Arc<str>>, Arc<str>);

/// Who is known.
pub struct Directory {
    shelves: Shelves,
    options: Options,
    known: Cache<KeyHash, Arc<Identity>>,
    strangers: Cache<KeyHash, Millis>,
    customers: Cache<CustomerName, Arc<KnownCustomer>>,
    tags: TagBook,
    /// Grows with every batch of changes.
    epoch: AtomicU64,
    /// When the store was last heard, milliseconds since 1970.
    heard: AtomicI64,
    /// The last question for changes failed.
    is_away: AtomicBool,
    /// The number of the last change that is forgotten; `None`: nobody follows.
    reached: watch::Sender<Option<i64>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Directory {
    /// A directory over `shelves`. Follow the changes with [`Directory::follow`].
    pub fn new(shelves: Shelves, options: Options) -> Arc<Directory> {
        Arc::new(Directory {
            known: Cache::new(options.keys),
            strangers: Cache::new(options.strangers),
            customers: Cache::new(options.strangers),
            tags: TagBook::default(),
            shelves,
            options,
            epoch: AtomicU64::new(0),
            heard: AtomicI64::new(now()),
            is_away: AtomicBool::new(false),
            reached: watch::Sender::new(None),
        })
    }

    /// Who holds the key with this hash. Waits for the store only when it is not remembered.
    pub async fn identify(&self, hash: KeyHash) -> Result<Arc<Identity>, Error> {
        let now = now();
        if let Some(identity) = self.known.get(&hash) {
            if now - self.heard.load(Ordering::Relaxed) > millis(self.options.grace) {
                return Err(away(
                    "the database has been away for longer than known keys are served without it",
                ));
            }
            identity.check(now)?;
            return Ok(identity.at(now));
        }
        if let Some(until) = self.strangers.get(&hash) {
            if now < until {
                return Err(stranger());
            }
            self.strangers.remove(&hash);
        }
        // Apart: every call's future would have room for these questions, and hardly any asks them.
        let found = Box::pin(self.load(hash)).await?;
        found.check(now)?;
        Ok(found)
    }

    async fn load(&self, hash: KeyHash) -> Result<Arc<Identity>, Error> {
        let guard = match self.known.get_value_or_guard_async(&hash).await {
            Ok(identity) => return Ok(identity),
            Err(guard) => guard,
        };
        for _ in 0..3 {
            let epoch = self.epoch.load(Ordering::Acquire);
            let read = self.read_in_time(hash).await?;
            if self.epoch.load(Ordering::Acquire) != epoch {
                continue;
            }
            let Some(identity) = read else {
                self.strangers.insert(hash, now() + millis(self.options.stranger_for));
                if self.epoch.load(Ordering::Acquire) != epoch {
                    self.strangers.remove(&hash);
                }
                return Err(stranger());
            };
            let identity = Arc::new(identity);
            let _ = guard.insert(identity.clone());
            // A change that came between the reading and the remembering found nothing to take out.
            if self.epoch.load(Ordering::Acquire) != epoch {
                self.known.remove(&hash);
            }
            return Ok(identity);
        }
        // Changes never stop: answer with what is true now and remember nothing.
        self.read_in_time(hash).await?.map(Arc::new).ok_or_else(stranger)
    }

    /// While the store is known to be away nobody waits for it: keys that are asked for would queue up for connections.
    async fn read_in_time(&self, hash: KeyHash) -> Result<Option<Identity>, Error> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(unavailable(StoreError::Unavailable("no news".to_owned())));
        }
        match tokio::time::timeout(PATIENCE, self.read(hash)).await {
            Ok(read) => read.map_err(unavailable),
            Err(_) => Err(unavailable(StoreError::Unavailable(format!("no answer within {PATIENCE:?}")))),
        }
    }

    async fn read(&self, hash: KeyHash) -> Result<Option<Identity>, StoreError> {
        let token = hash.to_hex();
        let shelves = &self.shelves;
        let key = match shelves.keys.find("token", &token).await? {
            Some(key) => Some(key),
            None => match shelves.graces.get(&token).await? {
                Some(grace) if grace.until > now() => {
                    let key = shelves.keys.get(&grace.key_id).await?;
                    // The old hash ends with its grace period, whatever the key does.
                    key.map(|mut key| {
                        key.expires = Some(key.expires.map_or(grace.until, |own| own.min(grace.until)));
                        key
                    })
                }
                _ => None,
            },
        };
        let Some(key) = key else { return Ok(None) };
        let (user, team) = (key.user_id.as_deref(), key.team_id.as_deref());
        let membership = team.zip(user).map(|(team, user)| Membership::id_of(team, user));
        let (user, team, membership, budget) = tokio::try_join!(
            maybe(&shelves.users, user),
            maybe(&shelves.teams, team),
            maybe(&shelves.memberships, membership.as_deref()),
            maybe(&shelves.budgets, key.budget_id.as_deref()),
        )?;
        let member = team.as_ref().and_then(|team| team.team_member_budget_id.as_deref());
        let shared = SharedBudgets { key: budget, member: maybe(&shelves.budgets, member).await? };
        let role = match &user {
            Some(user) => Role::from_name(user.user_role.as_deref()),
            None if key.team_id.is_some() => Role::Team,
            // A key of nobody was made by an administrator for calling models.
            None => Role::InternalUserViewer,
        };
        let principal = Principal {
            role,
            token: token.into(),
            key: Some(Arc::new(key)),
            user: user.map(Arc::new),
            team: team.map(Arc::new),
            membership: membership.map(Arc::new),
        };
        Ok(Some(Identity::of(principal, &shared, &self.options.rules)))
    }

    /// Whom a call is made for. A customer nobody has made a record of has the limits of `default_budget`, if any.
    ///
    /// While the store is away customers that are not remembered are served: they are not who pays.
    pub async fn customer(&self, id: &Arc<str>, default_budget: Option<&Arc<str>>) -> Arc<KnownCustomer> {
        let default_budget = default_budget.or(self.options.default_customer_budget.as_ref());
        let name = (default_budget.cloned(), id.clone());
        let remembered = self.customers.get(&name);
        if let Some(known) = &remembered
            && known.until.is_none_or(|until| until > now())
        {
            return known.clone();
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        let read = async {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("no news".to_owned()));
            }
            let record = self.shelves.customers.get(id).await?;
            let budget = record.as_ref().and_then(|record| record.budget_id.as_deref());
            let budget = maybe(&self.shelves.budgets, budget.or(default_budget.map(|id| &**id))).await?;
            Ok::<_, StoreError>((record, budget))
        };
        let Ok((record, budget)) = in_time(Duration::ZERO, Box::pin(read)).await else {
            // What it had until a moment ago is nearer to the truth than no limits.
            return remembered.unwrap_or_else(|| Arc::new(KnownCustomer::unknown()));
        };
        let own = record.as_ref().map(|record| record.limits.clone()).unwrap_or_default();
        let now = now();
        let (limits, until) = (merged(&own, budget.as_ref(), now), raised_until(budget.as_ref(), now));
        let claim = claim(ScopeKind::Customer, id, &limits);
        let mut by_model = ByModel::new();
        add_models(ScopeKind::ModelPerCustomer, id, &limits, true, &mut by_model);
        let access = ModelAccess::of(record.as_ref().map_or(&[], |record| record.models.as_slice()));
        let budget = ModelAccess::of(budget.as_ref().map_or(&[], |budget| budget.allowed_models.as_slice()));
        let known = Arc::new(KnownCustomer { record, claim, by_model, until, access, budget });
        self.customers.insert(name.clone(), known.clone());
        if self.epoch.load(Ordering::Acquire) != epoch {
            self.customers.remove(&name);
        }
        known
    }

    /// Those of these tags that somebody made, with their limits.
    pub async fn tags(&self, names: &[Arc<str>]) -> Vec<Arc<KnownTag>> {
        if names.is_empty() {
            return Vec::new();
        }
        let is_away = self.is_away.load(Ordering::Relaxed);
        self.tags.find(names, &self.shelves.tags, &self.shelves.budgets, is_away).await
    }

    /// Forgets what `change` touches.
    pub fn forget(&self, change: &Change) {
        if change.is_everything() {
            return self.forget_all();
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for token in change.tokens.iter().filter_map(|token| KeyHash::from_hex(token)) {
            self.known.remove(&token);
            self.strangers.remove(&token);
        }
        match change.table.as_str() {
            Tag::TABLE => self.tags.forget(),
            Customer::TABLE => self.customers.retain(|(_, customer), _| **customer != *change.id),
            Grace::TABLE => {
                if let Some(hash) = KeyHash::from_hex(&change.id) {
                    self.known.remove(&hash);
                    self.strangers.remove(&hash);
                }
            }
            table => {
                if table == Budget::TABLE {
                    self.customers.clear();
                    self.tags.forget();
                }
                self.known.retain(|_, identity| !identity.depends_on(table, &change.id));
            }
        }
    }

    /// Forgets everything: changes may have been missed.
    pub fn forget_all(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.known.clear();
        self.strangers.clear();
        self.customers.clear();
        self.tags.forget();
    }

    /// Is the store heard? Else: since when not, milliseconds since 1970. Of a directory that nobody follows it is not
    /// known.
    pub fn silent_since(&self) -> Option<Millis> {
        let heard = self.heard.load(Ordering::Relaxed);
        let is_silent = self.is_away.load(Ordering::Relaxed) || now() - heard > SILENT;
        is_silent.then_some(heard)
    }

    /// Returns when every change that was made before this moment is known here: whoever is told that a key is gone cannot
    /// use it any more. Waits for a second at most, and not for a store that is away.
    pub async fn catch_up(&self) {
        if self.reached.borrow().is_none() {
            return;
        }
        let Ok(latest) = in_time(Duration::ZERO, self.shelves.changes.latest()).await else { return };
        let mut reached = self.reached.subscribe();
        let known = reached.wait_for(|reached| reached.is_none_or(|reached| reached >= latest));
        if tokio::time::timeout(Duration::from_secs(1), known).await.is_err() {
            tracing::warn!(target: "tollway::store", "a change is stored, and not heard of within a second");
        }
    }

    /// Follows the changes for ever. `on_change` hears of each after what it touches is forgotten, and first of all
    /// that everything may have changed.
    pub async fn follow(self: Arc<Self>, on_change: impl Fn(&Change) + Send + Sync) {
        let mut sequence = None;
        let mut away = false;
        loop {
            let news = match sequence {
                // After an absence what was missed is asked for at once, not waited for.
                Some(after) => {
                    let patience = if away { Duration::ZERO } else { Duration::from_secs(1) };
                    in_time(patience, self.shelves.changes.after(after, patience)).await
                }
                None => match in_time(Duration::ZERO, self.shelves.changes.latest()).await {
                    Ok(latest) => {
                        // Whatever was remembered before the first look may be older than it.
                        sequence = Some(latest);
                        Ok(vec![Change::everything(latest)])
                    }
                    Err(error) => Err(error),
                },
            };
            match news {
                Ok(changes) => {
                    self.heard.store(now(), Ordering::Relaxed);
                    self.is_away.store(false, Ordering::Relaxed);
                    if std::mem::take(&mut away) {
                        tracing::info!(target: "tollway::store", "the database is back");
                    }
                    for change in &changes {
                        self.forget(change);
                        on_change(change);
                        // A database that was restored counts from an earlier number on.
                        sequence = Some(change.sequence);
                    }
                    self.reached.send_replace(sequence);
                }
                Err(error) => {
                    self.is_away.store(true, Ordering::Relaxed);
                    if !std::mem::replace(&mut away, true) {
                        tracing::error!(target: "tollway::store", error = %error, "the database is away: known keys are served, others get 503");
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }
}

/// What takes longer than it should by [`PATIENCE`] is an answer, too: the store is away.
pub(crate) async fn in_time<T>(
    should: Duration,
    asked: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || StoreError::Unavailable(format!("no answer within {:?}", should + PATIENCE));
    tokio::time::timeout(should + PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
}

async fn maybe<R: Record>(shelf: &Shelf<R>, id: Option<&str>) -> Result<Option<R>, StoreError> {
    match id {
        Some(id) => shelf.get(id).await,
        None => Ok(None),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn stranger() -> Error {
    denied("Authentication Error, Invalid API key provided.", Some(crate::WRONG_KEY), "token_not_found_in_db")
}

fn unavailable(error: StoreError) -> Error {
    match error {
        StoreError::Unavailable(_) => away("the database that knows the keys is not available"),
        error => Error::internal("the key could not be looked up").with_context("cause", error.to_string()),
    }
}

fn away(what: &str) -> Error {
    Error::new(Kind::Unavailable, format!("{what}; try again in some seconds"))
        .with_retry(Retry::Later(Some(Duration::from_secs(5))))
}

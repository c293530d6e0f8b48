//! What outlives a configuration: the database, who is known, limits, the journal and its shipping.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::watch;
use tollway::Transport;
use tollway_accounts::manage::{Figures, Management, ModelCheck, Spend, SpendOf};
use tollway_accounts::{Directory, Rules, Shelves};
use tollway_config::{Config, Deployment, WhenFull, process_env};
use tollway_ledger::books::{DAY, DayFilter, Detail, Filter, Range, Sum};
use tollway_ledger::{Books, Ledger, OnFull, SqlBooks};
use tollway_meters::{Meters, Redis, RedisAddress, RedisSettings, Scope, ScopeKind, Spending, SystemClock};
use tollway_model::{Money, Secret};
use tollway_pipeline::{Environment, Gateway, Keyring, Responses, Services, Snapshot, Sources, unix_millis};
use tollway_route::Availability;
use tollway_store::Store;
use tollway_store::records::{Model, Record};

use crate::calm::Calm;
use crate::reload::Reloader;
use crate::salt_key::SaltKeys;
use crate::{alerts, board, state};

/// How long a database that is not there yet is waited for when the gateway starts, before it starts without.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last receipts may take to reach the database when the gateway stops, and the last answers before them.
/// Receipts that do not stay in the journal.
const LAST_SHIPMENT: Duration = Duration::from_secs(5);

/// How long the shared store may take to hear of the last calls.
const LAST_WORD: Duration = Duration::from_secs(1);

/// The parts that were started, to be stopped in order.
pub(crate) struct Running {
    pub(crate) books: Arc<dyn Books>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) management: Arc<Management>,
    pub(crate) meters: Meters,
    pub(crate) ledger: Ledger,
    redis: Option<Redis>,
    responses: Arc<Responses>,
    stop: watch::Sender<bool>,
    shipping: tokio::task::JoinHandle<()>,
    _calm: Calm,
}

/// Opens the database and the journal of `directory`, and starts what runs beside the calls.
pub(crate) async fn start(config: &Config, directory: &Path) -> Result<Running, String> {
    tollway_accounts::set_zone(&config.tollway.budgets.timezone);
    let store = open_store(config, directory).await?;
    let books = books(&store);
    let (ledger, recovered) = Ledger::open(directory, ledger_options(config))
        .map_err(|error| format!("the journal in {}: {error}", directory.display()))?;
    if recovered.unshipped > 0 || recovered.interrupted > 0 {
        tracing::info!(
            target: "tollway::ledger",
            unshipped = recovered.unshipped,
            interrupted = recovered.interrupted,
            "receipts of an earlier process were found in the journal"
        );
    }
    let (stop, stopped) = watch::channel(false);
    let calm = Calm::start().map_err(|error| format!("the threads beside the calls: {error}"))?;
    let beside = calm.lane(&store);
    let shipping = tokio::spawn(tollway_ledger::ship(ledger.clone(), books.clone(), beside, stopped));
    let spending = Arc::new(FromBooks { books: books.clone(), ledger: ledger.clone() });
    let clock = Arc::new(SystemClock::new(unix_millis));
    let redis = redis_settings(config)?.map(|settings| Redis::start(settings, clock.clone()));
    let meters = Meters::new(meter_options(config, redis.clone()), spending, clock);
    let known = Directory::new(shelves(&store), directory_options(config));
    let environment = state::overlay(config);
    let salt = SaltKeys::find(&environment, directory)?;
    if matches!(salt, SaltKeys::Kept(..)) && database_url(config).is_some() {
        tracing::warn!(
            target: "tollway::store",
            "the key that seals secrets is in this machine's data directory; other machines on the same database cannot \
             open them: set TOLLWAY_SALT_KEY (or LITELLM_SALT_KEY) to the same value on all of them"
        );
    }
    let sealer = Arc::new(salt.sealer().clone());
    let spend = Arc::new(FromBooks { books: books.clone(), ledger: ledger.clone() });
    let management = Management::new(&store, sealer, spend, Arc::new(unix_millis));
    let management = Arc::new(management.with_model_check(model_check(config, directory)));
    if let Some(url) = alert_webhook(config) {
        alerts::start(meters.alerts(), url, Transport::default());
    }
    tokio::spawn(upkeep(books.clone(), retention(config)));
    let responses = Responses::start(store);
    Ok(Running {
        books,
        directory: known,
        management,
        meters,
        ledger,
        redis,
        responses,
        stop,
        shipping,
        _calm: calm,
    })
}

impl Running {
    /// What the pipeline needs of it.
    pub(crate) fn services(&self) -> Services {
        Services::new(self.directory.clone(), self.meters.clone(), self.ledger.clone(), self.books.clone())
            .with_responses(self.responses.clone())
    }

    /// The models added over the API, as far as they can be read now.
    pub(crate) async fn stored_models(&self) -> Vec<Deployment> {
        stored_models(&self.management).await.unwrap_or_default()
    }

    /// Follows the changes of the database: forgets who changed, serves models that changed.
    pub(crate) fn follow(&self, reloader: &Arc<Reloader>) {
        let (changed, mut news) = tokio::sync::mpsc::channel::<()>(1);
        let directory = self.directory.clone();
        tokio::spawn(directory.follow(move |change| {
            if change.table == Model::TABLE || change.is_everything() {
                // A full channel already says that something changed.
                let _ = changed.try_send(());
            }
        }));
        let reloader = reloader.clone();
        tokio::spawn(async move {
            while news.recv().await.is_some() {
                reloader.restock().await;
            }
        });
    }

    /// Tells the other processes how deployments are doing, and hears it of them. Nothing to do without Redis.
    pub(crate) fn share(&self, gateway: &Arc<Gateway>) {
        if let Some(redis) = &self.redis {
            board::share(redis.clone(), gateway.clone());
        }
    }

    /// After the last call: tells what is left, within bounds.
    pub(crate) async fn stop(self) {
        // What is settled and not told would stay held until the lease is over.
        if let Ok(Err(_)) | Err(_) = tokio::time::timeout(LAST_WORD, self.meters.flush()).await {
            tracing::warn!(target: "tollway::meters", "the shared store was not told of the last calls");
        }
        let _ = self.stop.send(true);
        if tokio::time::timeout(LAST_SHIPMENT, self.responses.stored()).await.is_err() {
            tracing::warn!(target: "tollway::responses", "the last answers could not be stored and are lost");
        }
        if tokio::time::timeout(LAST_SHIPMENT, self.shipping).await.is_err() {
            tracing::warn!(target: "tollway::ledger", "the last receipts stay in the journal until the next start");
        }
        self.ledger.sync();
    }
}

/// PostgreSQL where it is configured, else a file in the data directory. A server that is away does not keep the gateway
/// from starting: calls with the master key are served, and the journal waits.
async fn open_store(config: &Config, directory: &Path) -> Result<Store, String> {
    let Some(url) = database_url(config) else {
        let store = Store::open_in(directory).map_err(|error| format!("the database: {error}"))?;
        store.upkeep().migrate().await.map_err(|error| format!("the database: {error}"))?;
        return Ok(store);
    };
    let store = Store::open(&url).map_err(|error| format!("the database: {error}"))?;
    let migrated = tokio::time::timeout(PATIENCE, store.upkeep().migrate()).await;
    match migrated {
        Ok(Ok(_)) => {}
        Ok(Err(tollway_store::StoreError::Unavailable(_))) | Err(_) => {
            tracing::error!(target: "tollway::store", "the database is not there; the gateway starts without it and goes on trying");
            let upkeep = store.upkeep();
            tokio::spawn(async move {
                while let Err(error) = upkeep.migrate().await {
                    tracing::debug!(target: "tollway::store", error = %error, "the database is still not there");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
        }
        Ok(Err(error)) => return Err(format!("the database: {error}")),
    }
    Ok(store)
}

/// Where the database is; `None`: in the data directory.
pub(crate) fn database_url(config: &Config) -> Option<String> {
    let configured = config.general_settings.database_url.as_ref().map(|url| url.expose().to_owned());
    configured.or_else(|| state::overlay(config)("DATABASE_URL")).filter(|url| !url.is_empty())
}

fn books(store: &Store) -> Arc<dyn Books> {
    Arc::new(SqlBooks::new(store.sql().clone()))
}

/// The deployments that are stored; `None` while the database cannot say. One that cannot be read is logged and left out.
pub(crate) async fn stored_models(management: &Management) -> Option<Vec<Deployment>> {
    let models = match management.open_models().await {
        Ok(models) => models,
        Err(error) => {
            tracing::error!(target: "tollway::store", error = %error, "the stored models cannot be read");
            return None;
        }
    };
    let mut deployments = Vec::with_capacity(models.len());
    for (id, model) in models {
        match model.map_err(|error| error.to_string()).and_then(|model| deployment(&model.0)) {
            Ok(deployment) => deployments.push(deployment),
            Err(error) => {
                tracing::error!(target: "tollway::store", model = id, error, "a stored model cannot be served");
            }
        }
    }
    Some(deployments)
}

/// A stored model is an entry of `model_list`, and read by the same rules.
fn deployment(model: &Model) -> Result<Deployment, String> {
    let mut info = model.model_info.clone();
    info.insert("id".into(), json!(model.model_id));
    if model.blocked {
        info.insert("blocked".into(), json!(true));
    }
    let entry = json!({
        "model_name": model.model_name, "litellm_params": model.litellm_params, "model_info": info,
    });
    let text = json!({ "model_list": [entry] }).to_string();
    let source = tollway_config::Source::Text { name: format!("stored model {}", model.model_id), text };
    let options = tollway_config::Options { lenient: true, public: false };
    let loaded = tollway_config::load(source, &process_env, options);
    // Without the source: all of a stored model is one line, its secrets opened.
    let report = loaded.report();
    let said: Vec<&str> = report.lines().filter(|line| line.starts_with("error")).collect();
    let mut deployment = loaded
        .config
        .and_then(|config| config.model_list.into_iter().next())
        .ok_or_else(|| said.join("; "))?;
    // A file cannot say so of itself, so reading leaves it out.
    deployment.model_info.other.insert("db_model".into(), json!(true));
    Ok(deployment)
}

/// Why a model that somebody adds could not be served here: it is compiled as the snapshot would, and thrown away.
fn model_check(config: &Config, directory: &Path) -> ModelCheck {
    let environment: Environment = Arc::new(state::overlay(config));
    let directory = directory.to_owned();
    Arc::new(move |model| {
        let entry = deployment(&model.0)?;
        // A wildcard is tried with some name.
        let name = entry.model_name.replace('*', "example");
        let snapshot = Snapshot::build(Sources {
            config: &Config::default(),
            stored: &[entry],
            from_environment: false,
            environment: environment.clone(),
            catalog: state::catalog(&directory),
            demo: Some(String::new()),
            keyring: Keyring::default(),
        });
        let group = snapshot.routes.resolve(&name);
        match group.as_ref().and_then(|group| group.first()).map(|made| &made.availability) {
            Some(Availability::Unavailable(why)) => Err(why.clone()),
            _ => Ok(()),
        }
    })
}

fn alert_webhook(config: &Config) -> Option<Secret> {
    let configured = config.tollway.budgets.alert_webhook.clone();
    configured
        .or_else(|| state::overlay(config)("WEBHOOK_URL").map(Secret::from))
        .filter(|url| !url.is_empty())
}

fn retention(config: &Config) -> Option<Duration> {
    config.tollway.ledger.retention.or(config.general_settings.maximum_spend_logs_retention_period)
}

/// How long the sums of single hours are kept apart; budgets have no longer windows that begin within a day.
const HOURS_KEPT: i64 = 400 * 24 * 3_600_000;

/// Forgets old receipts and hours, once an hour.
async fn upkeep(books: Arc<dyn Books>, retention: Option<Duration>) {
    loop {
        let now = unix_millis();
        let keep = retention.map(|retention| i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
        if let Some(keep) = keep
            && let Err(error) = books.retain(now.saturating_sub(keep)).await
        {
            tracing::warn!(target: "tollway::ledger", error = %error, "old receipts could not be forgotten");
        }
        if let Err(error) = books.thin(now.saturating_sub(HOURS_KEPT)).await {
            tracing::warn!(target: "tollway::ledger", error = %error, "old hours could not be summed up");
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}

/// Limits are counted in memory, or in Redis where one is configured.
fn meter_options(config: &Config, redis: Option<Redis>) -> tollway_meters::Options {
    tollway_meters::Options { redis, lease: config.tollway.redis.lease, ..tollway_meters::Options::default() }
}

/// Where Redis is: our setting, LiteLLM's settings of the router, the variables.
fn redis_settings(config: &Config) -> Result<Option<RedisSettings>, String> {
    let environment = state::overlay(config);
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let router = &config.router_settings;
    let url = config.tollway.redis.url.clone().or_else(|| router.redis_url.clone());
    let host = router.redis_host.clone();
    let url = url.or_else(|| if host.is_none() { set("REDIS_URL").map(Secret::from) } else { None });
    let url = url.filter(|url| !url.is_empty());
    let host = host.or_else(|| set("REDIS_HOST"));
    let mut settings = match (url, host) {
        (Some(url), _) => RedisSettings::new(RedisAddress::Url(url)),
        (None, Some(host)) => {
            let port = router.redis_port.map(|port| port.to_string()).or_else(|| set("REDIS_PORT"));
            let port = port.unwrap_or_else(|| "6379".to_owned());
            let port = port.parse().map_err(|_| format!("`{port}` is no port of Redis"))?;
            RedisSettings::new(RedisAddress::Server(host, port))
        }
        (None, None) => return Ok(None),
    };
    settings.within = config.tollway.redis.timeout.max(Duration::from_millis(1));
    settings.connect_within = settings.connect_within.max(settings.within);
    let password = router.redis_password.clone().or_else(|| set("REDIS_PASSWORD").map(Secret::from));
    settings.password = password.filter(|password| !password.is_empty());
    settings.username = set("REDIS_USERNAME");
    settings.tls = set("REDIS_SSL").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
    Ok(Some(settings))
}

fn shelves(store: &Store) -> Shelves {
    Shelves {
        keys: store.shelf(),
        graces: store.shelf(),
        teams: store.shelf(),
        users: store.shelf(),
        memberships: store.shelf(),
        budgets: store.shelf(),
        customers: store.shelf(),
        tags: store.shelf(),
        changes: store.changes(),
    }
}

fn directory_options(config: &Config) -> tollway_accounts::Options {
    let accounts = &config.tollway.accounts;
    tollway_accounts::Options {
        keys: accounts.remember.max(1),
        grace: accounts.grace,
        rules: Rules {
            user_limits_on_team_keys: config.general_settings.apply_user_budget_to_team_keys,
            strict: config.tollway.budgets.strict,
        },
        default_customer_budget: config.litellm_settings.max_end_user_budget_id.as_deref().map(Arc::from),
        ..tollway_accounts::Options::default()
    }
}

fn ledger_options(config: &Config) -> tollway_ledger::Options {
    let ledger = &config.tollway.ledger;
    tollway_ledger::Options {
        total_bytes: ledger.max_size.bytes(),
        sync_every: ledger.sync,
        on_full: match ledger.when_full {
            WhenFull::Refuse => OnFull::Refuse,
            WhenFull::Serve => OnFull::Serve,
        },
        ..tollway_ledger::Options::default()
    }
}

/// What was spent, as the books know it once everything settled until now has reached them.
struct FromBooks {
    books: Arc<dyn Books>,
    ledger: Ledger,
}

#[async_trait]
impl Spending for FromBooks {
    async fn spent(&self, scope: &Scope, from: Option<i64>) -> Result<Money, String> {
        self.ledger.caught_up_with(scope).await;
        let sum = self.books.spent(scope, from).await.map_err(|error| error.to_string())?;
        Ok(sum.money)
    }

    async fn tokens(&self, scope: &Scope, from: i64) -> Result<u64, String> {
        self.ledger.caught_up_with(scope).await;
        self.books.tokens(scope, from).await.map_err(|error| error.to_string())
    }

    fn settled_through(&self) -> i64 {
        self.ledger.oldest_waiting().unwrap_or_else(unix_millis)
    }

    async fn recorded(&self) {
        // In a task of its own: whoever asks may give up while the disk holds the writer.
        let ledger = self.ledger.clone();
        let written = tokio::spawn(async move { ledger.written().await });
        // It does not panic, and what is in the journal's memory is written later.
        let _ = written.await;
    }
}

#[async_trait]
impl Spend for FromBooks {
    async fn spent(&self, of: &[SpendOf]) -> Vec<Figures> {
        // Figures on a page may be a moment old; they wait for the books no longer than this.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.ledger.caught_up()).await;
        let mut totals: HashMap<ScopeKind, HashMap<String, Sum>> = HashMap::new();
        for kind in of.iter().map(|one| one.kind) {
            if let Entry::Vacant(place) = totals.entry(kind) {
                let ids: Vec<&str> =
                    of.iter().filter(|one| one.kind == kind).map(|one| one.id.as_str()).collect();
                place.insert(self.books.lifetimes(kind, &ids).await.unwrap_or_default());
            }
        }
        let mut found = Vec::with_capacity(of.len());
        for one in of {
            let scope = Scope { kind: one.kind, id: one.id.as_str().into() };
            let total = totals.get(&one.kind).and_then(|totals| totals.get(&one.id));
            let total = total.map(|sum| sum.money).unwrap_or_default();
            let spend = match one.since {
                Some(since) => self.books.spent(&scope, Some(since)).await.map_or(total, |sum| sum.money),
                None => total,
            };
            found.push(Figures { spend, total, ..Figures::default() });
        }
        if let ([one], [figures]) = (of, found.as_mut_slice())
            && one.kind == ScopeKind::Key
        {
            self.detail(&one.id, figures).await;
        }
        found
    }

    async fn most(&self, kind: ScopeKind, limit: u32) -> Vec<(String, Money)> {
        let _ = tokio::time::timeout(Duration::from_millis(500), self.ledger.caught_up()).await;
        let sums = self.books.sums(kind, Range::default(), limit).await.unwrap_or_default();
        sums.into_iter().map(|(id, sum)| (id.to_string(), sum.money)).collect()
    }
}

impl FromBooks {
    /// What is shown of one key only: a page of keys would ask too much.
    async fn detail(&self, key: &str, figures: &mut Figures) {
        let of_key = DayFilter {
            days: (0, unix_millis() / DAY + 1),
            keys: vec![key.to_owned()],
            detail: Detail::Models,
            ..DayFilter::default()
        };
        for (day, sum) in self.books.days(&of_key).await.unwrap_or_default() {
            if sum.money > Money::ZERO {
                *figures.by_model.entry(day.model_group.into_owned()).or_default() += sum.money;
            }
        }
        let calls = Filter { key: Some(key.to_owned()), ..Filter::default() };
        let latest = self.books.list(&calls, None, 1).await.unwrap_or_default();
        figures.last_active = latest.first().map(|receipt| receipt.at);
    }
}

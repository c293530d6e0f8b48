//! What outlives a configuration: the database, who is known, limits, the journal and its shipping.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tollway_accounts::{Directory, Rules, Shelves};
use tollway_config::{Config, WhenFull};
use tollway_ledger::{Books, Ledger, OnFull};
use tollway_meters::{Meters, Scope, Spending, SystemClock};
use tollway_model::Money;
use tollway_pipeline::{Services, unix_millis};
use tollway_store::Store;

use crate::state;

/// How long a database that is not there yet is waited for when the gateway starts, before it starts without.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last receipts may take to reach the database when the gateway stops; what does not stays in the journal.
const LAST_SHIPMENT: Duration = Duration::from_secs(5);

/// The parts that were started, to be stopped in order.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) books: Arc<dyn Books>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) meters: Meters,
    pub(crate) ledger: Ledger,
    stop: watch::Sender<bool>,
    shipping: tokio::task::JoinHandle<()>,
}

/// Opens the database and the journal of `directory`, and starts what runs beside the calls.
pub(crate) async fn start(config: &Config, directory: &Path) -> Result<Running, String> {
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
    let shipping = tokio::spawn(tollway_ledger::ship(ledger.clone(), books.clone(), stopped));
    let spending = Arc::new(FromBooks { books: books.clone(), ledger: ledger.clone() });
    let clock = Arc::new(SystemClock::new(unix_millis));
    let meters = Meters::new(tollway_meters::Options::default(), spending, clock);
    let known = Directory::new(shelves(&store), directory_options(config));
    Ok(Running { store, books, directory: known, meters, ledger, stop, shipping })
}

impl Running {
    /// What the pipeline needs of it.
    pub(crate) fn services(&self) -> Services {
        Services::new(self.directory.clone(), self.meters.clone(), self.ledger.clone(), self.books.clone())
    }

    /// After the last call: ships what is left, within a bound.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
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

/// The file of the database in a data directory, for messages.
pub(crate) fn place(config: &Config, directory: &Path) -> Option<PathBuf> {
    database_url(config).is_none().then(|| directory.join("tollway.db"))
}

fn books(_store: &Store) -> Arc<dyn Books> {
    Arc::new(tollway_ledger::MemoryBooks::new())
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
        changes: store.changes(),
    }
}

fn directory_options(config: &Config) -> tollway_accounts::Options {
    let accounts = &config.tollway.accounts;
    tollway_accounts::Options {
        keys: accounts.remember.max(1),
        grace: accounts.grace,
        rules: Rules {
            zone: config.tollway.budgets.timezone.as_str().into(),
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
        self.ledger.caught_up().await;
        let sum = self.books.spent(scope, from).await.map_err(|error| error.to_string())?;
        Ok(sum.money)
    }

    fn settled_through(&self) -> i64 {
        self.ledger.status().oldest_at.unwrap_or_else(unix_millis)
    }
}

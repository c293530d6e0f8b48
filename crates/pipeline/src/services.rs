//! What outlives a call beside the snapshot: callers, limits, books.

use std::sync::Arc;
use std::time::Duration;

use tollway_accounts::{Directory, Identity};
use tollway_ledger::books::ADMIN;
use tollway_ledger::{Books, Ledger};
use tollway_meters::{Meters, Scope, ScopeKind};

use crate::demand::Usual;
use crate::responses::Responses;

/// What knows callers, limits and books. Without them only the master key calls, and receipts stay in memory.
#[derive(Default)]
pub struct Services {
    /// Who is known.
    pub directory: Option<Arc<Directory>>,
    /// Limits and budgets.
    pub meters: Option<Meters>,
    /// The journal.
    pub ledger: Option<Ledger>,
    /// Receipts and their sums, once they are shipped.
    pub books: Option<Arc<dyn Books>>,
    /// Answers kept for those who made them.
    pub responses: Arc<Responses>,
    pub(crate) usual: Usual,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// With all of them.
    pub fn new(directory: Arc<Directory>, meters: Meters, ledger: Ledger, books: Arc<dyn Books>) -> Services {
        Services {
            directory: Some(directory),
            meters: Some(meters),
            ledger: Some(ledger),
            books: Some(books),
            responses: Arc::default(),
            usual: Usual::default(),
        }
    }

    /// Asks the books what the caller's key has spent, where that is not known or was heard long ago. Only who asks for
    /// the first time waits, and not for long. `now`: milliseconds since 1970.
    pub(crate) async fn learn_spend(&self, identity: &Identity, now: i64) {
        let (Some(books), Some(ledger)) = (&self.books, &self.ledger) else { return };
        let Some(question) = identity.spend.question(now) else { return };
        let id = identity.names.key.clone().unwrap_or_else(|| ADMIN.into());
        let (books, ledger, spend) = (books.clone(), ledger.clone(), identity.spend.clone());
        let is_first = spend.known().is_none();
        let asked = tokio::spawn(async move {
            let scope = Scope { kind: ScopeKind::Key, id };
            ledger.ships(&scope).await;
            match books.spent(&scope, None).await {
                Ok(sum) => spend.learn(question, sum.money),
                Err(error) => {
                    tracing::debug!(target: "tollway::ledger", %error, "what a key has spent is not known");
                }
            }
        });
        if is_first {
            let _ = tokio::time::timeout(FIRST_SPEND, asked).await;
        }
    }

    /// The same, with answers kept in `responses`.
    pub fn with_responses(mut self, responses: Arc<Responses>) -> Services {
        self.responses = responses;
        self
    }
}

/// How long the first call of a key waits for what the key has spent.
const FIRST_SPEND: Duration = Duration::from_millis(100);

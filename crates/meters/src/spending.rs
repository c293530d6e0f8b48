//! What was spent before anybody counted here.

use async_trait::async_trait;
use tollway_model::Money;

use crate::Scope;

/// Who knows what is spent already: the ledger.
#[async_trait]
pub trait Spending: Send + Sync {
    /// What a scope has spent since `from` (milliseconds since 1970; `None`: ever), exactly. A call belongs to the moment
    /// it was admitted at. Asked once when a budget is first seen, and again when it was forgotten; the error is for the
    /// log.
    async fn spent(&self, scope: &Scope, from: Option<i64>) -> Result<Money, String>;

    /// How many tokens a scope has used since `from`, the beginning of a day of UTC in milliseconds since 1970; else as
    /// [`Spending::spent`]. Asked only of scopes whose tokens of the day are limited.
    async fn tokens(&self, scope: &Scope, from: i64) -> Result<u64, String>;

    /// Everything that this process settled before this moment is part of what [`Spending::spent`] answers;
    /// milliseconds since 1970. Scopes are forgotten, and spending is left out when the shared store has lost it, only
    /// as far as this goes.
    ///
    /// The default is for a ledger whose answers include what it has not shipped yet: always.
    fn settled_through(&self) -> i64 {
        i64::MAX
    }

    /// Returns when what this process settled before this moment outlives it. The shared store is told of it afterwards: it
    /// never knows of money that nobody could account for when the process is killed.
    ///
    /// The default is for a ledger that has it when a hold is settled: at once.
    async fn recorded(&self) {}
}

/// Nothing was ever spent: for gateways without a ledger, and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingSpent;

#[async_trait]
impl Spending for NothingSpent {
    async fn spent(&self, _: &Scope, _: Option<i64>) -> Result<Money, String> {
        Ok(Money::ZERO)
    }

    async fn tokens(&self, _: &Scope, _: i64) -> Result<u64, String> {
        Ok(0)
    }
}

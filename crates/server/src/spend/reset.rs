//! Setting spend back. What was recorded stays: the books get an adjustment, and the limits hear of it.

use serde_json::{Value, json};
use tollway_accounts::manage::{SpendReset, token_of};
use tollway_ledger::books::Adjustment;
use tollway_meters::{Scope, ScopeKind};
use tollway_model::{Error, Kind, Result};

use super::{Desk, stored};

impl Desk<'_> {
    /// `POST /key/{key}/reset_spend`.
    pub(super) async fn key_reset(&self, body: &[u8]) -> Result<Value> {
        self.books()?;
        let one_at_a_time = self.pages.resets.lock().await;
        self.caught_up().await?;
        let named = self.named.as_deref();
        let reset = self.management()?.key_reset(&self.grant, named, body).await?;
        self.adjust(&reset).await?;
        drop(one_at_a_time);
        Ok(json!({
            "key_hash": token_of(named.unwrap_or_default()),
            "spend": reset.after.to_dollars_lossy(),
            "previous_spend": reset.before.to_dollars_lossy(),
        }))
    }

    /// `POST /team/{team_id}/member/{user_id}/reset_spend`.
    pub(super) async fn member_reset(&self, body: &[u8]) -> Result<Value> {
        self.books()?;
        let one_at_a_time = self.pages.resets.lock().await;
        self.caught_up().await?;
        let reset = self.management()?.member_reset(&self.grant, self.named.as_deref(), body).await?;
        self.adjust(&reset).await?;
        drop(one_at_a_time);
        let (team, user) = reset.id.split_once('/').unwrap_or((&reset.id, ""));
        Ok(json!({
            "team_id": team, "user_id": user, "spend": reset.after.to_dollars_lossy(),
            "previous_spend": reset.before.to_dollars_lossy(),
        }))
    }

    /// `POST /global/spend/reset`: keys and teams, for whoever holds the master key.
    pub(super) async fn global_reset(&self) -> Result<Value> {
        let principal = &self.caller.identity.principal;
        if principal.key.is_some() {
            return Err(Error::new(
                Kind::Permission,
                "only the master key itself sets everyone's spend back",
            ));
        }
        let management = self.management()?;
        let one_at_a_time = self.pages.resets.lock().await;
        self.caught_up().await?;
        let mut count = 0_usize;
        for kind in [ScopeKind::Key, ScopeKind::Team] {
            let mut next = Some(0);
            while let Some(after) = next {
                let resets;
                (resets, next) = management.global_reset(&self.grant, kind, after).await?;
                count += resets.len();
                for reset in &resets {
                    self.adjust(reset).await?;
                }
            }
        }
        drop(one_at_a_time);
        Ok(json!({
            "message": "Spend for all API Keys and Teams reset successfully", "status": "success", "reset": count,
        }))
    }

    /// What is settled by now must be in the books before they are asked how much there is to set back.
    async fn caught_up(&self) -> Result<()> {
        let Some(ledger) = &self.gateway.services().ledger else { return Ok(()) };
        let caught_up = tokio::time::timeout(std::time::Duration::from_secs(5), ledger.caught_up()).await;
        caught_up.map_err(|_| {
            Error::new(Kind::Unavailable, "the database does not keep up; try again in a moment")
        })?;
        Ok(())
    }

    async fn adjust(&self, reset: &SpendReset) -> Result<()> {
        let amount = reset.after - reset.before;
        let scope = Scope { kind: reset.kind, id: reset.id.as_str().into() };
        let adjustment = Adjustment {
            id: format!("reset/{}/{}/{}/{}", reset.kind.name(), reset.id, self.now, reset.before.nanos()),
            at: self.now,
            scope: scope.clone(),
            amount,
            reason: format!("spend was reset by {}", self.grant.actor().id),
        };
        let is_new = self.books()?.adjust(&adjustment).await.map_err(stored)?;
        if is_new && let Some(meters) = &self.gateway.services().meters {
            meters.adjust(&scope, amount);
        }
        Ok(())
    }
}

//! Whom a call counts for beside its caller.

use std::sync::Arc;

use tollway_accounts::{Identity, KnownCustomer, KnownTag};
use tollway_meters::Claim;
use tollway_model::Result;
use tollway_store::records::Customer;

use crate::call::Call;
use crate::services::Services;

/// Whose limits a call counts for beside its caller's: the customer it is made for, and its tags that somebody made.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub(crate) customer: Option<Arc<KnownCustomer>>,
    pub(crate) tags: Vec<Arc<KnownTag>>,
}

/// Most calls are for nobody else, and have nothing to carry for it.
static NOBODY: Beside = Beside { customer: None, tags: Vec::new() };

impl Beside {
    /// Whom a call is for beside its caller.
    pub(crate) fn known(found: &Option<Arc<Beside>>) -> &Beside {
        found.as_deref().unwrap_or(&NOBODY)
    }

    /// Looks up whom a call is made for, and those of `tags` that have limits.
    pub(super) async fn of(
        services: &Services,
        identity: &Identity,
        call: &Call,
        tags: &[Arc<str>],
    ) -> Beside {
        let Some(directory) = &services.directory else { return Beside::default() };
        let customer = match &call.attribution.customer {
            Some(id) => Some(directory.customer(id, identity.customer_budget.as_ref()).await),
            None => None,
        };
        Beside { customer, tags: directory.tags(tags).await }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.claims().next().is_some() || self.limited_models().next().is_some()
    }

    pub(super) fn is_nobody(&self) -> bool {
        self.customer.is_none() && self.tags.is_empty()
    }

    /// May all of them use this model?
    pub(super) fn may_use(&self, model: &str, groups: &[Arc<str>]) -> Result<()> {
        self.customer.iter().try_for_each(|customer| customer.check(model, groups))?;
        self.tags.iter().try_for_each(|tag| tag.may_use(model, groups))
    }

    /// Their limits of single models, by the names they were set for.
    pub(super) fn limited_models(&self) -> impl Iterator<Item = (&str, &[Claim])> {
        let customers = self.customer.iter().flat_map(|customer| customer.limited_models());
        customers.chain(self.tags.iter().flat_map(|tag| tag.limited_models()))
    }

    pub(super) fn claims(&self) -> impl Iterator<Item = &Claim> {
        let customers = self.customer.iter().filter_map(|customer| customer.claim.as_ref());
        customers.chain(self.tags.iter().filter_map(|tag| tag.claim.as_ref()))
    }

    fn record(&self) -> Option<&Customer> {
        self.customer.as_ref().and_then(|customer| customer.record.as_ref())
    }

    /// The only region that calls of the customer may be served in.
    pub(crate) fn region(&self) -> Option<&str> {
        self.record().and_then(|record| record.allowed_model_region.as_deref())
    }

    /// The model of calls of the customer that cannot have the one they ask for.
    pub(crate) fn default_model(&self) -> Option<&str> {
        self.record().and_then(|record| record.default_model.as_deref())
    }
}

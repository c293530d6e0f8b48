//! A principal made ready for calls: its names for receipts, its access and its claims on limits.

use std::collections::HashMap;
use std::sync::Arc;

use tollway_meters::{COUNTED, Claim, Scope, ScopeKind};
use tollway_model::{Error, Kind, Retry};
use tollway_store::records::{self, Millis};

use crate::claims::{ByModel, add_models, claim, compile, counting, merged, raised_until};
use crate::{KeySpend, ModelAccess, Principal, Role};

/// The names of a caller, for receipts: cheap to copy.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// SHA-256 of the key in hexadecimal.
    pub token: Arc<str>,
    /// The key's stable id; `None` for the master key.
    pub key: Option<Arc<str>>,
    /// The key's alias.
    pub key_alias: Option<Arc<str>>,
    /// The user.
    pub user: Option<Arc<str>>,
    /// The team.
    pub team: Option<Arc<str>>,
    /// The team's alias.
    pub team_alias: Option<Arc<str>>,
    /// The organization.
    pub organization: Option<Arc<str>>,
    /// Tags of the key and the team.
    pub tags: Arc<[Arc<str>]>,
}

/// How limits are read from records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// A user's own limits also hold for its calls with a team's key.
    pub user_limits_on_team_keys: bool,
    /// Every budget holds the worst case.
    pub strict: bool,
}

/// A principal made ready for calls. A change of any of its records makes a new one.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// Its names.
    pub names: Names,
    /// Budgets hold the worst case of a call instead of the likely one.
    pub strict: bool,
    /// What the key has spent, for showing.
    pub spend: Arc<KeySpend>,
    /// Customers this key calls for get these limits when they have none of their own.
    pub customer_budget: Option<Arc<str>>,
    access: Vec<(Owner, ModelAccess)>,
    claims: Vec<Claim>,
    by_model: ByModel,
    by_tag: HashMap<Box<str>, Claim>,
    /// The key's claim while its providers are well, where some of its limits bind only when they are not.
    calm: Option<Claim>,
    expires: Option<Millis>,
    refusal: Option<String>,
    /// Who it is from this time on: a temporary increase of the budget is over.
    then: Option<(Millis, Arc<Identity>)>,
}

/// Whose list of models refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The key's.
    Key,
    /// The team's.
    Team,
    /// The user's.
    User,
    /// The customer's.
    Customer,
    /// A tag's.
    Tag,
}

impl Owner {
    /// The `type` of the error, which clients of LiteLLM know.
    pub const fn denial(self) -> &'static str {
        match self {
            Owner::Key => "key_model_access_denied",
            Owner::Team => "team_model_access_denied",
            Owner::User => "user_model_access_denied",
            Owner::Customer => "customer_model_access_denied",
            Owner::Tag => "tag_model_access_denied",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Owner::Key => "key",
            Owner::Team => "team",
            Owner::User => "user",
            Owner::Customer => "customer",
            Owner::Tag => "tag",
        }
    }
}

/// Shared budgets that a principal's records name.
#[derive(Debug, Clone, Default)]
pub struct SharedBudgets {
    /// The key's `budget_id`.
    pub key: Option<records::Budget>,
    /// The team's `team_member_budget_id`.
    pub member: Option<records::Budget>,
}

impl Identity {
    /// The holder of the master key.
    pub fn master(token: Arc<str>) -> Identity {
        let names = Names { token: token.clone(), ..Names::default() };
        Identity {
            principal: Principal::master(token),
            names,
            strict: false,
            spend: Arc::default(),
            customer_budget: None,
            access: Vec::new(),
            claims: Vec::new(),
            by_model: HashMap::new(),
            by_tag: HashMap::new(),
            calm: None,
            expires: None,
            refusal: None,
            then: None,
        }
    }

    /// Compiles a principal.
    pub fn of(principal: Principal, shared: &SharedBudgets, rules: &Rules) -> Identity {
        Identity::from(principal, shared, rules, crate::now())
    }

    /// Who it is from `now` on, and who later, when a temporary increase of a budget is over.
    fn from(principal: Principal, shared: &SharedBudgets, rules: &Rules, now: Millis) -> Identity {
        let key = principal.key.as_ref();
        let own = key.and_then(|key| key.temp_budget_increase.and(key.temp_budget_expiry));
        let shared_ones = [shared.key.as_ref(), shared.member.as_ref()].map(|one| raised_until(one, now));
        let ends = shared_ones.into_iter().chain([own]).flatten().filter(|until| *until > now).min();
        let then =
            ends.map(|until| (until, Arc::new(Identity::from(principal.clone(), shared, rules, until))));
        Identity { then, ..Identity::compiled(principal, shared, rules, now) }
    }

    /// Who it is now: whatever is limited in time ends by the clock, however long it is remembered.
    pub fn at(self: Arc<Self>, now: Millis) -> Arc<Identity> {
        match &self.then {
            Some((until, later)) if *until <= now => later.clone().at(now),
            _ => self,
        }
    }

    fn compiled(principal: Principal, shared: &SharedBudgets, rules: &Rules, now: Millis) -> Identity {
        let names = names(&principal);
        let mut identity = Identity {
            names,
            strict: rules.strict || is_strict(&principal),
            spend: Arc::default(),
            customer_budget: None,
            access: access(&principal, shared),
            claims: Vec::new(),
            by_model: HashMap::new(),
            by_tag: HashMap::new(),
            calm: None,
            expires: principal.key.as_ref().and_then(|key| key.expires),
            refusal: refusal(&principal),
            then: None,
            principal,
        };
        identity.collect_claims(shared, rules, now);
        identity
    }

    /// Refuses whoever is blocked or whose time is over. `now`: milliseconds since 1970.
    pub fn check(&self, now: Millis) -> Result<(), Error> {
        if let Some(refusal) = &self.refusal {
            return Err(denied(refusal.clone(), None, "auth_error"));
        }
        match self.expires {
            Some(expires) if expires <= now => {
                // An earlier secret must not tell how the key looks now.
                let is_current = |key: &&Arc<records::Key>| key.token.as_str() == &*self.principal.token;
                let key = self.principal.key.as_ref().filter(is_current);
                let name = key.map_or("sk-...", |key| key.key_name.as_str());
                let message = format!(
                    "Authentication Error, Expired Key: the key ended at {}, now it is {}. Ask for a new one.",
                    iso(expires),
                    iso(now)
                );
                Err(denied(message, Some(name), "expired_key"))
            }
            _ => Ok(()),
        }
    }

    /// May every model be used?
    pub fn may_everything(&self) -> bool {
        self.access.is_empty()
    }

    /// May `model` be used? `groups` are the access groups it is in. An error does not tell what is allowed.
    pub fn may_use(&self, model: &str, groups: &[Arc<str>]) -> Result<(), Error> {
        for (owner, access) in &self.access {
            if !access.allows(model, groups) {
                return Err(no_access(*owner, model));
            }
        }
        Ok(())
    }

    /// Names that the key, the team or the user may use one by one, and aliases.
    pub fn named_models(&self) -> impl Iterator<Item = &str> {
        let aliases = self.principal.key.iter().flat_map(|key| key.aliases.keys().map(String::as_str));
        self.access.iter().flat_map(|(_, access)| access.names()).chain(aliases)
    }

    /// What the key, else its team, calls a model by another name.
    pub fn alias<'a>(&'a self, model: &str) -> Option<&'a str> {
        let key = self.principal.key.as_ref().and_then(|key| key.aliases.get(model));
        let team = || self.principal.team.as_ref().and_then(|team| team.model_aliases.get(model));
        key.or_else(team).map(String::as_str)
    }

    /// Whose limits every call counts against: key, user, team, member.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// The key's claim while its providers are well; `None`: it is the same whether they are or not.
    pub fn calm_claim(&self) -> Option<&Claim> {
        self.calm.as_ref()
    }

    /// Those that are about calls of the key with these tags.
    pub fn tag_claims<'a>(&'a self, tags: &'a [Arc<str>]) -> impl Iterator<Item = &'a Claim> {
        let tags = if self.by_tag.is_empty() { &[] } else { tags };
        tags.iter().filter_map(|tag| self.by_tag.get(&**tag))
    }

    /// Models to ask in place of `model` when a budget for it alone is used up.
    pub fn instead_of(&self, model: &str) -> &[String] {
        let key = self.principal.key.as_ref();
        key.and_then(|key| key.budget_fallbacks.get(model)).map_or(&[], Vec::as_slice)
    }

    /// Those that are about this model alone.
    pub fn model_claims(&self, model: &str) -> &[Claim] {
        self.by_model.get(model).map_or(&[], Vec::as_slice)
    }

    /// The names that limits of single models were set for.
    pub fn limited_models(&self) -> impl Iterator<Item = (&str, &[Claim])> {
        self.by_model.iter().map(|(model, claims)| (&**model, claims.as_slice()))
    }

    /// Does any limit depend on the model?
    pub fn is_limited_by_model(&self) -> bool {
        !self.by_model.is_empty()
    }

    /// Is any limit set?
    pub fn is_limited(&self) -> bool {
        !self.claims.is_empty() || !self.by_model.is_empty() || !self.by_tag.is_empty()
    }

    /// Does it depend on this record?
    pub fn depends_on(&self, table: &str, id: &str) -> bool {
        use tollway_store::records::{Budget, Key, Membership, Record, Team, User};
        let principal = &self.principal;
        match table {
            Key::TABLE => principal.key.as_ref().is_some_and(|key| key.id == id),
            // What the key names and did not exist when this was compiled counts, too.
            Team::TABLE => principal.key.as_ref().is_some_and(|key| key.team_id.as_deref() == Some(id)),
            User::TABLE => principal.key.as_ref().is_some_and(|key| key.user_id.as_deref() == Some(id)),
            Membership::TABLE => {
                let key = principal.key.as_ref();
                let both = key.and_then(|key| Some((key.team_id.as_deref()?, key.user_id.as_deref()?)));
                both.is_some_and(|(team, user)| Membership::id_of(team, user) == id)
            }
            Budget::TABLE => {
                let key = principal.key.as_ref();
                let of_key = key.is_some_and(|key| {
                    key.budget_id.as_deref() == Some(id) || key.end_user_budget_id.as_deref() == Some(id)
                });
                let team = principal.team.as_ref().and_then(|team| team.team_member_budget_id.as_deref());
                of_key || team == Some(id)
            }
            _ => false,
        }
    }

    fn collect_claims(&mut self, shared: &SharedBudgets, rules: &Rules, now: Millis) {
        let principal = self.principal.clone();
        if let Some(key) = &principal.key {
            self.customer_budget = key.end_user_budget_id.as_deref().map(Arc::from);
            let mut limits = merged(&key.limits, shared.key.as_ref(), now);
            if let Some(more) = key.temp_budget_increase
                && key.temp_budget_expiry.is_some_and(|until| until > now)
            {
                limits.max_budget = limits.max_budget.map(|max| max.saturating_add(more));
            }
            self.claim(ScopeKind::Key, ScopeKind::ModelPerKey, &key.id, &limits);
            self.claim_tags(key);
            self.calm = calm(key, &limits);
        }
        if let Some(user) = &principal.user {
            let personal = principal.team.is_none() || rules.user_limits_on_team_keys;
            // What a user spends with a team's key counts for the user, but the user's limits do not hold there.
            let scope = Scope { kind: ScopeKind::User, id: user.user_id.as_str().into() };
            let limits = compile(&scope, &user.limits);
            let limits = if personal { limits } else { counting(&scope, limits) };
            if !limits.is_empty() {
                self.claims.push(Claim { scope, limits: Arc::new(limits) });
            }
            add_models(ScopeKind::ModelPerUser, &user.user_id, &user.limits, personal, &mut self.by_model);
        }
        if let Some(team) = &principal.team {
            self.claim(ScopeKind::Team, ScopeKind::ModelPerTeam, &team.team_id, &team.limits);
            if let Some(user) = &self.names.user.clone() {
                let own = principal.membership.as_ref();
                let own = own.map(|own| own.limits.clone()).unwrap_or_default();
                let limits = merged(&own, shared.member.as_ref(), now);
                let id = records::Membership::id_of(&team.team_id, user);
                self.claim(ScopeKind::TeamMember, ScopeKind::ModelPerMember, &id, &limits);
            }
        }
    }

    fn claim(&mut self, kind: ScopeKind, of_models: ScopeKind, id: &str, limits: &records::Limits) {
        self.claims.extend(claim(kind, id, limits));
        add_models(of_models, id, limits, true, &mut self.by_model);
    }

    /// Requests a minute of the key by tag.
    fn claim_tags(&mut self, key: &records::Key) {
        for (tag, rpm) in &key.tag_rpm_limit {
            let limits = records::Limits { rpm_limit: Some(*rpm), ..records::Limits::default() };
            let id = format!("{}:{tag}", key.id);
            if let Some(claim) = claim(ScopeKind::TagPerKey, &id, &limits) {
                self.by_tag.insert(tag.as_str().into(), claim);
            }
        }
    }
}

/// What a key claims while the providers are well: limits that bind only when they are not are counted.
fn calm(key: &records::Key, limits: &records::Limits) -> Option<Claim> {
    let is_dynamic = |how: &Option<String>| how.as_deref() == Some("dynamic");
    let mut calm = limits.clone();
    for (how, limit) in
        [(&key.tpm_limit_type, &mut calm.tpm_limit), (&key.rpm_limit_type, &mut calm.rpm_limit)]
    {
        *limit = if is_dynamic(how) { limit.map(|_| COUNTED) } else { *limit };
    }
    (calm != *limits).then(|| claim(ScopeKind::Key, &key.id, &calm)).flatten()
}

fn names(principal: &Principal) -> Names {
    let key = principal.key.as_ref();
    let shared = |text: Option<&String>| text.map(|text| Arc::from(text.as_str()));
    let of_key = key.iter().flat_map(|key| key.tags.iter().map(String::as_str).chain(tags_in(&key.metadata)));
    let team = principal.team.iter();
    let of_team = team.flat_map(|team| team.tags.iter().map(String::as_str).chain(tags_in(&team.metadata)));
    let mut tags: Vec<&str> = Vec::new();
    for tag in of_key.chain(of_team) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Names {
        token: principal.token.clone(),
        key: shared(key.map(|key| &key.id)),
        key_alias: shared(key.and_then(|key| key.key_alias.as_ref())),
        user: shared(key.and_then(|key| key.user_id.as_ref())),
        team: shared(key.and_then(|key| key.team_id.as_ref())),
        team_alias: shared(principal.team.as_ref().and_then(|team| team.team_alias.as_ref())),
        organization: shared(key.and_then(|key| key.organization_id.as_ref())),
        tags: tags.into_iter().map(Arc::from).collect(),
    }
}

/// `metadata.tags`, where LiteLLM keeps the tags of keys and teams.
fn tags_in(metadata: &serde_json::Map<String, serde_json::Value>) -> impl Iterator<Item = &str> {
    let tags = metadata.get("tags").and_then(serde_json::Value::as_array);
    tags.into_iter().flatten().filter_map(serde_json::Value::as_str)
}

fn access(principal: &Principal, shared: &SharedBudgets) -> Vec<(Owner, ModelAccess)> {
    if matches!(principal.role, Role::ProxyAdmin) && principal.key.is_none() {
        return Vec::new();
    }
    let key = principal.key.as_ref().map(|key| (Owner::Key, &key.models));
    let team = principal.team.as_ref().map(|team| (Owner::Team, &team.models));
    // A user's own list is about its own keys; a team's key may what the team may.
    let user = principal.user.as_ref().filter(|_| principal.team.is_none());
    let user = user.map(|user| (Owner::User, &user.models));
    // What a shared budget may be spent on, and what the team lets this member use.
    let budget = shared.key.as_ref().map(|budget| (Owner::Key, &budget.allowed_models));
    let own = principal.membership.as_ref().map(|own| &own.allowed_models).filter(|own| !own.is_empty());
    let default = principal.team.as_ref().map(|team| &team.default_team_member_models);
    let is_user = principal.key.as_ref().is_some_and(|key| key.user_id.is_some());
    let member = own.or(default.filter(|_| is_user)).map(|models| (Owner::Team, models));
    let lists = [key, budget, team, member, user].into_iter().flatten();
    let compiled = lists.map(|(owner, models)| (owner, ModelAccess::of(models)));
    compiled.filter(|(_, access)| !access.is_everything()).collect()
}

/// Why nothing is allowed at all.
fn refusal(principal: &Principal) -> Option<String> {
    let key = principal.key.as_ref()?;
    if key.blocked {
        return Some(
            "Authentication Error, Key is blocked. An administrator can release it with POST /key/unblock."
                .into(),
        );
    }
    if principal.team.as_ref().is_some_and(|team| team.blocked) {
        let team = key.team_id.as_deref().unwrap_or_default();
        return Some(format!(
            "Authentication Error, Team={team} is blocked. An administrator can release it with POST /team/unblock."
        ));
    }
    if key.team_id.is_some() && principal.team.is_none() {
        return Some("Authentication Error, the key's team does not exist any more.".into());
    }
    if principal.user.as_ref().is_some_and(|user| user.blocked) {
        return Some("Authentication Error, the key's user is blocked.".into());
    }
    None
}

fn is_strict(principal: &Principal) -> bool {
    let asks = |metadata: &serde_json::Map<String, serde_json::Value>| {
        metadata.get("strict_budget").and_then(serde_json::Value::as_bool) == Some(true)
    };
    principal.key.as_ref().is_some_and(|key| asks(&key.metadata))
        || principal.team.as_ref().is_some_and(|team| asks(&team.metadata))
}

/// A failure to identify: 401 with the `type` that clients of LiteLLM know.
pub(crate) fn denied(message: impl Into<String>, param: Option<&str>, kind: &str) -> Error {
    let error = Error::new(Kind::Authentication, message).with_provider(None, Some(kind.to_owned()));
    match param {
        Some(param) => error.with_param(param),
        None => error,
    }
}

pub(crate) fn no_access(owner: Owner, model: &str) -> Error {
    let message = format!(
        "this {} may not use the model {model}. GET /v1/models lists the models it may use.",
        owner.word()
    );
    Error::new(Kind::Permission, message)
        .with_param("model")
        .with_retry(Retry::Never)
        .with_provider(None, Some(owner.denial().to_owned()))
}

/// Milliseconds since 1970 as people and JSON write them.
pub fn iso(millis: Millis) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}

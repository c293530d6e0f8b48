//! The words of admission.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollway_model::Money;

/// What a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// Everything this gateway does.
    Global,
    /// A virtual key; named `api_key` to callers, as in LiteLLM.
    #[serde(rename = "api_key")]
    Key,
    /// A user, over all its own keys.
    User,
    /// A team, over all its keys.
    Team,
    /// A user's calls with a team's keys.
    TeamMember,
    /// An organization.
    Organization,
    /// Whom a call is made for.
    #[serde(rename = "end_user")]
    Customer,
    /// A tag of calls.
    Tag,
    /// One model of one key.
    ModelPerKey,
    /// One model of one team.
    ModelPerTeam,
    /// One model of one user, over all its own keys.
    ModelPerUser,
    /// One model of a user's calls with a team's keys.
    ModelPerMember,
    /// One model of one customer.
    #[serde(rename = "model_per_end_user")]
    ModelPerCustomer,
    /// One model of one tag.
    ModelPerTag,
    /// One tag of one key.
    TagPerKey,
    /// One deployment, whoever calls.
    Deployment,
    /// One provider, whoever calls.
    Provider,
    /// The tokens that another scope uses in a day, see [`Limits::with_tokens_a_day`].
    TokensADay,
}

impl ScopeKind {
    /// Every kind.
    pub const ALL: [ScopeKind; 18] = [
        ScopeKind::Global,
        ScopeKind::Key,
        ScopeKind::User,
        ScopeKind::Team,
        ScopeKind::TeamMember,
        ScopeKind::Organization,
        ScopeKind::Customer,
        ScopeKind::Tag,
        ScopeKind::ModelPerKey,
        ScopeKind::ModelPerTeam,
        ScopeKind::ModelPerUser,
        ScopeKind::ModelPerMember,
        ScopeKind::ModelPerCustomer,
        ScopeKind::ModelPerTag,
        ScopeKind::TagPerKey,
        ScopeKind::Deployment,
        ScopeKind::Provider,
        ScopeKind::TokensADay,
    ];

    /// Whose limit for one model it is; `None`: it is about no single model.
    pub const fn owner_of_model(self) -> Option<ScopeKind> {
        match self {
            ScopeKind::ModelPerKey => Some(ScopeKind::Key),
            ScopeKind::ModelPerTeam => Some(ScopeKind::Team),
            ScopeKind::ModelPerUser => Some(ScopeKind::User),
            ScopeKind::ModelPerMember => Some(ScopeKind::TeamMember),
            ScopeKind::ModelPerCustomer => Some(ScopeKind::Customer),
            ScopeKind::ModelPerTag => Some(ScopeKind::Tag),
            _ => None,
        }
    }

    /// The kind with this [`name`](ScopeKind::name).
    pub fn from_name(name: &str) -> Option<ScopeKind> {
        ScopeKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name in headers and messages.
    pub const fn name(self) -> &'static str {
        match self {
            ScopeKind::Global => "global",
            ScopeKind::Key => "api_key",
            ScopeKind::User => "user",
            ScopeKind::Team => "team",
            ScopeKind::TeamMember => "team_member",
            ScopeKind::Organization => "organization",
            ScopeKind::Customer => "end_user",
            ScopeKind::Tag => "tag",
            ScopeKind::ModelPerKey => "model_per_key",
            ScopeKind::ModelPerTeam => "model_per_team",
            ScopeKind::ModelPerUser => "model_per_user",
            ScopeKind::ModelPerMember => "model_per_team_member",
            ScopeKind::ModelPerCustomer => "model_per_end_user",
            ScopeKind::ModelPerTag => "model_per_tag",
            ScopeKind::TagPerKey => "tag_per_key",
            ScopeKind::Deployment => "deployment",
            ScopeKind::Provider => "provider",
            ScopeKind::TokensADay => "tokens_per_day",
        }
    }
}

/// Someone or something that limits hold for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// What it is.
    pub kind: ScopeKind,
    /// Its stable id: a key's [`id`](https://docs.rs/tollway-store), never a secret or its hash; `team/user` for members,
    /// `key:model` for a model of a key.
    pub id: Arc<str>,
}

impl Scope {
    /// The scope by kind and id in one text, which [`Scope::from_text`] reads.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}", self.kind.name(), self.id)
    }

    /// The scope that `text` names.
    pub(crate) fn from_text(text: &str) -> Option<Scope> {
        let (kind, id) = text.split_once(':')?;
        Some(Scope { kind: ScopeKind::from_name(kind)?, id: id.into() })
    }

    /// Whose tokens are counted, where this scope is about the tokens of a day.
    pub(crate) fn of_day(&self) -> Option<Scope> {
        if self.kind == ScopeKind::TokensADay { Scope::from_text(&self.id) } else { None }
    }
}

/// The limits of one scope. `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Requests in any 60 seconds.
    pub rpm: Option<u64>,
    /// Tokens in any 60 seconds.
    pub tpm: Option<u64>,
    /// Calls in flight.
    pub parallel: Option<u64>,
    /// Budgets that hold at the same time.
    pub budgets: Vec<Budget>,
    /// Tokens a day, which are counted as money is: in a purse of their own, known to the ledger. Made by
    /// [`Limits::with_tokens_a_day`].
    pub day: Option<Arc<Claim>>,
}

/// A limit of requests or tokens that is never reached: what is used is counted, and nothing refused or told.
pub const COUNTED: u64 = 1 << 62;

impl Limits {
    /// Nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.rpm.is_none()
            && self.tpm.is_none()
            && self.parallel.is_none()
            && self.budgets.is_empty()
            && self.day.is_none()
    }

    /// The same limits of `scope`, and at most so many tokens in a day of UTC; `None`: they are counted only.
    pub fn with_tokens_a_day(mut self, scope: &Scope, most: Option<u64>) -> Limits {
        let max = most.map(|most| Money::from_nanos(i64::try_from(most).unwrap_or(i64::MAX)));
        let window = Window::Calendar { unit: CalendarUnit::Day, count: 1, zone: Arc::from("UTC") };
        let limits = Limits { budgets: vec![Budget { window, max, soft: None }], ..Limits::default() };
        let scope = Scope { kind: ScopeKind::TokensADay, id: scope.text().into() };
        self.day = Some(Arc::new(Claim { scope, limits: Arc::new(limits) }));
        self
    }

    /// Most tokens in a day.
    pub fn tokens_a_day(&self) -> Option<u64> {
        let budgets = self.day.iter().flat_map(|day| &day.limits.budgets);
        budgets.filter_map(|budget| budget.max).min().map(|max| max.nanos().max(0).unsigned_abs())
    }
}

/// Most money in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The window that spending is counted in.
    pub window: Window,
    /// Most money in it. Zero refuses every call that costs something.
    pub max: Option<Money>,
    /// Money at which an [`Alert`] goes out, once a window.
    pub soft: Option<Money>,
}

/// A stretch of time that spending is counted in; which one is computed from the time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Window {
    /// It never ends.
    Lifetime,
    /// One after the other, each so many milliseconds long, the first beginning at `anchor` (milliseconds since 1970).
    Every {
        /// Length, milliseconds.
        length: i64,
        /// Where the first begins.
        anchor: i64,
    },
    /// Calendar days, weeks, months: at midnight of a time zone.
    Calendar {
        /// The unit.
        unit: CalendarUnit,
        /// How many of it, at least 1.
        count: u16,
        /// IANA name, such as `Europe/Berlin`.
        zone: Arc<str>,
    },
}

/// A unit of calendar windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// From midnight.
    Day,
    /// From Monday's midnight.
    Week,
    /// From the first of the month.
    Month,
}

/// What a call takes from one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Whose limits.
    pub scope: Scope,
    /// The limits.
    pub limits: Arc<Limits>,
}

/// What a call will probably use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tokens, in and out.
    pub tokens: u64,
    /// Money to hold. Zero for calls that cost nothing: these pass an exhausted budget.
    pub money: Money,
    /// The call is known to cost nothing, so no budget is asked.
    pub free: bool,
}

/// What a call really used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tokens, in and out.
    pub tokens: u64,
    /// Money.
    pub money: Money,
    /// The provider was never asked: the request does not count either.
    pub refused: bool,
}

/// Which limit refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Requests a minute.
    Requests,
    /// Tokens a minute.
    Tokens,
    /// Calls in flight.
    #[serde(rename = "max_parallel_requests")]
    Parallel,
    /// Money.
    Budget,
    /// Tokens a day.
    #[serde(rename = "tokens_per_day")]
    DayTokens,
}

impl LimitKind {
    /// The name in headers and messages.
    pub const fn name(self) -> &'static str {
        match self {
            LimitKind::Requests => "requests",
            LimitKind::Tokens => "tokens",
            LimitKind::Parallel => "max_parallel_requests",
            LimitKind::Budget => "budget",
            LimitKind::DayTokens => "tokens_per_day",
        }
    }
}

/// A refusal: who, which limit, how far, until when.
#[derive(Debug, Clone, PartialEq)]
pub struct Denied {
    /// Whose limit.
    pub scope: Scope,
    /// Which.
    pub limit: LimitKind,
    /// The limit; nano-dollars for budgets.
    pub max: i64,
    /// What is taken already, holds included; nano-dollars for budgets.
    pub used: i64,
    /// When the call could pass, milliseconds since 1970; `None`: not by waiting.
    pub resets_at: Option<i64>,
}

/// A call that is not admitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A limit is reached.
    #[error("the {} limit of {} is reached", .0.limit.name(), .0.scope.kind.name())]
    Denied(Denied),
    /// What a scope has spent could not be found out, so its budget cannot be kept. For answers like a 503 with
    /// `Retry-After: 1`.
    #[error("what {} has spent is not known: {why}", .scope.kind.name())]
    Unavailable {
        /// Whose budget.
        scope: Scope,
        /// For the log, never for the caller.
        why: String,
    },
}

/// How much of one scope's limits is left after a decision, for headers and receipts.
#[derive(Debug, Clone, PartialEq)]
pub struct AllowanceState {
    /// Whose.
    pub scope: Scope,
    /// Requests: limit and what is left.
    pub requests: Option<(u64, u64)>,
    /// Tokens: limit and what is left.
    pub tokens: Option<(u64, u64)>,
    /// Places: limit and what is left.
    pub parallel: Option<(u64, u64)>,
    /// Tokens of this day: limit and what is left.
    pub day: Option<(u64, u64)>,
    /// The tightest budget: limit, and what is spent and held.
    pub budget: Option<(Money, Money)>,
    /// When the rate windows are empty again, milliseconds since 1970.
    pub resets_at: i64,
}

/// A soft budget was reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    /// Whose.
    pub scope: Scope,
    /// The soft budget.
    pub soft: Money,
    /// What is spent.
    pub spent: Money,
    /// When its window ends, milliseconds since 1970; `None`: never.
    pub resets_at: Option<i64>,
}

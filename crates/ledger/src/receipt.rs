//! Receipts: the decision record of a call.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tollway_model::{Dialect, FinishReason, Kind, Money, Notice, Operation, Usage};
use tollway_prices::Bucket;

/// Why a call went the way it went, and what it used and cost.
///
/// Holds no prompt, no answer, no key and no header.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The receipt's own id, in the answer's `x-tollway-receipt` header.
    pub id: String,
    /// The caller's id of the call, or ours where the caller gave none: `x-litellm-call-id`.
    pub call_id: String,
    /// When the call arrived, milliseconds since 1970.
    pub at: i64,
    /// The caller's dialect.
    pub surface: Dialect,
    /// What was asked for.
    pub operation: Operation,
    /// The model as the caller named it.
    pub model: String,
    /// The model group it was routed to, where the caller's name for it was an alias of its key or team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Answered as a stream.
    pub stream: bool,
    /// Who called, and for whom.
    pub who: Who,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status the caller saw. 200 for a stream that broke later.
    pub status: u16,
    /// Deployments that were not tried, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<SkippedRecord>,
    /// Every attempt, in order.
    pub attempts: Vec<AttemptRecord>,
    /// What reading the request changed, and what translation changed or dropped in the attempt that answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// What the call used, answers that were thrown away included; `None` when nobody said.
    pub usage: Option<Usage>,
    /// Why the answer ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<FinishReason>,
    /// The tier that served the call, as the provider names it; it decides the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// What it cost.
    pub cost: CostRecord,
    /// The failure, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorRecord>,
    /// How long it took.
    pub timing: Timing,
}

impl Receipt {
    /// The model group that the call counts for: the one of the last attempt, which answered where any did; before any
    /// attempt the one it was routed to.
    pub fn model_group(&self) -> &str {
        let fallback = self.attempts.last().and_then(|attempt| attempt.group.as_deref());
        fallback.unwrap_or_else(|| self.asked_group())
    }

    /// The model group it was routed to first.
    pub fn asked_group(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.model)
    }

    /// Something was used, and nobody knows what it costs. A call that reached no provider, or that every provider
    /// refused, costs nothing.
    ///
    /// True as well where only a part of the cost is known.
    pub fn cost_is_unknown(&self) -> bool {
        let used = match self.outcome {
            Outcome::Answered => self.operation != Operation::CountTokens,
            Outcome::Refused => false,
            Outcome::Failed => self.usage.is_some(),
            Outcome::ClientClosed => !self.attempts.is_empty(),
            Outcome::Interrupted => true,
        };
        used && (self.cost.nanos.is_none() || self.cost.partial)
    }

    /// Without its long lists, when it is too long to be recorded whole. What counts for money stays.
    pub(crate) fn shortened(&self) -> Receipt {
        let mut short = self.clone();
        short.model = clipped(&self.model, MAX_WORD);
        short.call_id = clipped(&self.call_id, MAX_WORD);
        short.skipped.truncate(MAX_LIST);
        short.notices.truncate(MAX_LIST);
        short.who.tags.truncate(MAX_LIST);
        // The attempt that answered is the last one; of the others those that are paid for stay.
        let mut many = short.attempts.len().saturating_sub(MAX_LIST);
        let last = short.attempts.len().saturating_sub(1);
        let mut place = 0;
        short.attempts.retain(|attempt| {
            let goes = many > 0 && place < last && attempt.usage.is_none();
            (place, many) = (place + 1, many - usize::from(goes));
            !goes
        });
        short.attempts.drain(..many);
        short
    }
}

/// Who called, and for whom: resolved once, when the call arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Who {
    /// SHA-256 of the key in hexadecimal: what LiteLLM calls `token` and `api_key`.
    pub token: Arc<str>,
    /// The key's stable id; `None` for the master key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// The key's alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_alias: Option<Arc<str>>,
    /// The user the key belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    /// The team the key belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<Arc<str>>,
    /// The team's alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_alias: Option<Arc<str>>,
    /// The organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<Arc<str>>,
    /// Whom the call was made for, as the caller says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Arc<str>>,
    /// Tags of the call, its key and its team.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Arc<str>>,
    /// The conversation it is part of, as the caller says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Arc<str>>,
    /// The address it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The caller has the whole answer.
    Answered,
    /// Refused before any attempt.
    Refused,
    /// Every attempt failed, or the answer broke off.
    Failed,
    /// The caller went away.
    ClientClosed,
    /// The gateway's process ended while the call was in flight.
    Interrupted,
}

impl Outcome {
    /// Its name in JSON and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::ClientClosed => "client_closed",
            Outcome::Interrupted => "interrupted",
        }
    }

    /// By its name; what a newer version calls otherwise reads as failed.
    pub(crate) fn from_name(name: &str) -> Outcome {
        let known = [Outcome::Answered, Outcome::Refused, Outcome::ClientClosed, Outcome::Interrupted];
        known.into_iter().find(|outcome| outcome.name() == name).unwrap_or(Outcome::Failed)
    }
}

/// A deployment that was not tried.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SkippedRecord {
    /// The group it was looked at in, where that is one the call fell back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    /// Its id; of a group that was passed over as a whole, the group's name.
    pub deployment: Arc<str>,
    /// Its place in the plan, where it had one: 1 is the first to be tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// Why.
    pub reason: String,
}

/// One try at one deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The model group, where it is one the call fell back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Arc<str>>,
    /// The deployment's id.
    pub deployment: Arc<str>,
    /// The provider's id.
    pub provider: Arc<str>,
    /// The model as the provider names it.
    pub model: Arc<str>,
    /// `verbatim`, or the provider's dialect the call was translated to.
    pub lane: Cow<'static, str>,
    /// When it began, microseconds after the call arrived.
    pub started_us: u64,
    /// How long until it answered or failed, microseconds.
    pub took_us: u64,
    /// The failure; `None` when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorRecord>,
    /// How long the deployment rests because of the failure, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_ms: Option<u64>,
    /// What was used by an answer that nobody got, because its model declined or because it was lost on the way: its
    /// provider bills it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What that cost, as far as it is known; part of the call's cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// What was done about the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
}

/// A failure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// What happened.
    pub kind: Kind,
    /// The HTTP status it maps to.
    pub status: u16,
    /// What the caller read; the beginning of it when it is very long.
    pub message: String,
    /// The provider's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl From<&tollway_model::Error> for ErrorRecord {
    fn from(error: &tollway_model::Error) -> Self {
        ErrorRecord {
            kind: error.kind(),
            status: error.status(),
            message: clipped(error.message(), MAX_MESSAGE),
            request_id: error.request_id().map(|id| clipped(id, MAX_WORD)),
        }
    }
}

/// Longest message kept in a receipt, in bytes. Providers may send a megabyte of it.
const MAX_MESSAGE: usize = 2048;

/// Entries of a list that a shortened receipt keeps.
const MAX_LIST: usize = 32;

/// Longest name kept in a receipt, in bytes.
const MAX_WORD: usize = 256;

/// `text`, or its beginning and `…` when it is longer than `limit` bytes.
fn clipped(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

/// A notice as receipts keep it: its field may be a name of the caller's, of any length.
pub fn kept(notice: Notice) -> Notice {
    let short = |text: std::borrow::Cow<'static, str>, limit| {
        if text.len() > limit { clipped(&text, limit).into() } else { text }
    };
    Notice {
        severity: notice.severity,
        field: short(notice.field, MAX_WORD),
        message: short(notice.message, MAX_WORD * 2),
    }
}

/// A provider's word as receipts keep it.
pub fn kept_word(word: &str) -> String {
    clipped(word, MAX_WORD)
}

/// What a call cost.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CostRecord {
    /// What is booked, in nano-dollars; `None` when the price or the usage is unknown.
    pub nanos: Option<Money>,
    /// That is what is known of the cost, and there is more: something that was used has no price.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// The same in US dollars, as decimal text.
    pub usd: Option<String>,
    /// The usage was counted here because the provider did not tell it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// What was held for the call before it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Money>,
    /// The lines it is made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<CostLine>,
}

/// One line of a cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CostLine {
    /// What was counted: `input`, `cache_read`, `output` …
    pub bucket: Bucket,
    /// How many units.
    pub count: u64,
    /// Picodollars (1e-12 USD) a unit.
    pub unit_picos: i64,
}

/// How long a call took, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Timing {
    /// From the call's arrival to its end.
    pub total_us: u64,
    /// To the first byte for the caller.
    pub first_byte_us: Option<u64>,
    /// Until the first byte, spent in the gateway itself: not waiting for providers, not pausing between attempts.
    pub overhead_us: u64,
}

/// The latest receipts, in memory.
#[derive(Debug)]
pub struct Receipts {
    capacity: usize,
    /// Oldest first. Every call adds one and hardly anybody looks one up, so there is no index.
    ring: Mutex<VecDeque<Arc<Receipt>>>,
}

impl Receipts {
    /// Keeps the latest `capacity` receipts.
    pub fn new(capacity: usize) -> Receipts {
        Receipts { capacity, ring: Mutex::default() }
    }

    /// Adds a receipt; the oldest goes when the ring is full.
    pub fn record(&self, receipt: Receipt) {
        if self.capacity == 0 {
            return;
        }
        let receipt = Arc::new(receipt);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if ring.len() >= self.capacity { ring.pop_front() } else { None };
        ring.push_back(receipt);
        drop(ring);
        // Not while others wait.
        drop(oldest);
    }

    /// The receipt with this id, or the latest with this call id.
    pub fn get(&self, id: &str) -> Option<Arc<Receipt>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let own = ring.iter().rev().find(|receipt| receipt.id == id);
        own.or_else(|| ring.iter().rev().find(|receipt| receipt.call_id == id)).cloned()
    }

    /// The latest receipts, newest first.
    pub fn latest(&self, count: usize) -> Vec<Arc<Receipt>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.iter().rev().take(count).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receipt_keeps_of_foreign_text_is_bounded() {
        let error = tollway_model::Error::new(Kind::Upstream, "ä".repeat(1 << 20));
        let record = ErrorRecord::from(&error);
        assert!(record.message.len() <= MAX_MESSAGE + 3 && record.message.ends_with("ä…"));
        let notice = Notice {
            severity: tollway_model::Severity::Dropped,
            field: "é".repeat(1 << 20).into(),
            message: "ü".repeat(1 << 20).into(),
        };
        let notice = kept(notice);
        assert!(notice.field.len() <= MAX_WORD + 3 && notice.message.len() <= MAX_WORD * 2 + 3);
        assert_eq!(clipped("short", 5), "short");
        assert_eq!(clipped("aä", 2), "a…");
    }
}

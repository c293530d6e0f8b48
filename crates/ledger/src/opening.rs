//! What the journal knows of a call before it is over.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tollway_model::{Dialect, Kind, Money, Operation};

use crate::receipt::{CostRecord, ErrorRecord, Outcome, Receipt, Timing, Who};

/// A call is about to be sent: as little as the receipt of a call needs whose process did not live to see its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opening<'a> {
    /// The receipt's id.
    pub id: Cow<'a, str>,
    /// The caller's id of the call; `None`: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<Cow<'a, str>>,
    /// When the call arrived, milliseconds since 1970.
    pub at: i64,
    /// The caller's dialect.
    pub surface: Dialect,
    /// What was asked for.
    pub operation: Operation,
    /// The model as the caller named it.
    pub model: Cow<'a, str>,
    /// The answer was to be streamed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Who called.
    pub who: Cow<'a, Who>,
    /// What was held for it in every budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Money>,
}

impl<'a> Opening<'a> {
    /// The opening of the call whose open record this is.
    pub fn of(receipt: &'a Receipt) -> Opening<'a> {
        let id = Cow::Borrowed(receipt.id.as_str());
        let call_id = (receipt.call_id != receipt.id).then_some(Cow::Borrowed(receipt.call_id.as_str()));
        Opening {
            id,
            call_id,
            at: receipt.at,
            surface: receipt.surface,
            operation: receipt.operation,
            model: Cow::Borrowed(&receipt.model),
            stream: receipt.stream,
            who: Cow::Borrowed(&receipt.who),
            held: receipt.cost.held,
        }
    }

    /// The receipt of a call whose process ended first. What it cost is unknown, but not what was held for it; the caller
    /// saw no status, so it is 0.
    pub fn interrupted(self) -> Receipt {
        let id = self.id.into_owned();
        Receipt {
            call_id: self.call_id.map_or_else(|| id.clone(), Cow::into_owned),
            id,
            at: self.at,
            surface: self.surface,
            operation: self.operation,
            model: self.model.into_owned(),
            group: None,
            stream: self.stream,
            who: self.who.into_owned(),
            outcome: Outcome::Interrupted,
            status: 0,
            skipped: Vec::new(),
            attempts: Vec::new(),
            notices: Vec::new(),
            usage: None,
            finish: None,
            service_tier: None,
            cost: CostRecord { held: self.held, ..CostRecord::default() },
            error: Some(ErrorRecord {
                kind: Kind::Internal,
                status: 500,
                message: "the gateway's process ended while the call was in flight".to_owned(),
                request_id: None,
            }),
            timing: Timing::default(),
        }
    }
}

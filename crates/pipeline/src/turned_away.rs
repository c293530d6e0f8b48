//! Requests of known callers that never became a call: too large, no JSON, no model named. They have receipts, too.

use std::time::Instant;

use http::HeaderMap;
use tollway_ledger::{CostRecord, ErrorRecord, Outcome, Receipt, Timing};
use tollway_model::Error;

use crate::attribution::Attribution;
use crate::call::{Surface, client_id};
use crate::caller::Caller;
use crate::clock::unix_millis;
use crate::headers::{self, set};
use crate::reply::Reply;
use crate::serve::{Gateway, id_headers, render_error};
use crate::ticket::{log, micros, who};

impl Gateway {
    /// Answers a request that cannot be read as a call, in the caller's dialect, and keeps a receipt of it.
    pub fn turn_away(
        &self,
        caller: &Caller,
        surface: Surface,
        request: &HeaderMap,
        started: Instant,
        error: &Error,
    ) -> Reply {
        let id = uuid::Uuid::now_v7().to_string();
        let dialect = surface.dialect;
        let call_id = client_id(request).unwrap_or_else(|| id.clone());
        let mut reply = render_error(error, dialect);
        set(&mut reply.headers, headers::CALL_ID, call_id.as_str());
        id_headers(&mut reply.headers, dialect, &id);
        let receipt = Receipt {
            outcome: Outcome::Refused,
            status: error.status(),
            error: Some(ErrorRecord::from(error)),
            timing: Timing { total_us: micros(started.elapsed()), ..Timing::default() },
            ..blank(id, call_id, surface, caller)
        };
        log(&receipt);
        if let Some(ledger) = &self.services().ledger {
            ledger.settled(&receipt);
        }
        self.receipts().record(receipt);
        reply
    }
}

/// The receipt of a call of which nothing is known but who made it and where.
fn blank(id: String, call_id: String, surface: Surface, caller: &Caller) -> Receipt {
    // A name from the URL may be anything; one that no model can have is not kept.
    let model = surface.model.filter(|model| crate::call::check_name(model).is_ok()).unwrap_or_default();
    Receipt {
        id,
        call_id,
        at: unix_millis(),
        surface: surface.dialect,
        operation: surface.operation,
        model,
        group: None,
        stream: surface.stream.unwrap_or(false),
        who: who(&Attribution::default(), caller),
        outcome: Outcome::Refused,
        status: 0,
        skipped: Vec::new(),
        attempts: Vec::new(),
        notices: Vec::new(),
        usage: None,
        finish: None,
        service_tier: None,
        cost: CostRecord::default(),
        error: None,
        timing: Timing::default(),
    }
}

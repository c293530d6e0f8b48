//! One line a call in the log.

use tollway_ledger::{ErrorRecord, Outcome, Receipt};
use tollway_model::Kind;

/// One line a call: ids, names and numbers, never text of a prompt or an answer.
pub(crate) fn log(receipt: &Receipt) {
    let provider = receipt.attempts.last().map_or("", |attempt| attempt.provider.as_ref());
    let tokens = receipt.usage.map(|usage| (usage.total_input(), usage.total_output()));
    let (input, output) = tokens.unwrap_or_default();
    let cost = receipt.cost.usd.as_deref().unwrap_or("unknown");
    // A provider's words about a request may quote it; they are in the receipt only.
    let told = |error: &ErrorRecord| {
        let own = receipt.attempts.is_empty() || error.kind == Kind::Unsupported;
        if own { error.message.clone() } else { "see the receipt".to_owned() }
    };
    // A caller at its limit may come a thousand times a second; its receipts say so, the log need not.
    let is_limit = |error: &ErrorRecord| {
        receipt.outcome == Outcome::Refused && matches!(error.kind, Kind::RateLimit | Kind::Budget)
    };
    match &receipt.error {
        Some(error) if is_limit(error) => tracing::debug!(
            target: "tollway::call",
            receipt = receipt.id,
            model = receipt.model,
            status = receipt.status,
            kind = error.kind.code(),
            "call refused"
        ),
        Some(error) => tracing::warn!(
            target: "tollway::call",
            receipt = receipt.id,
            surface = receipt.surface.name(),
            model = receipt.model,
            provider,
            status = receipt.status,
            kind = error.kind.code(),
            error = told(error),
            "call failed"
        ),
        None => tracing::debug!(
            target: "tollway::call",
            receipt = receipt.id,
            surface = receipt.surface.name(),
            operation = receipt.operation.name(),
            model = receipt.model,
            provider,
            stream = receipt.stream,
            input,
            output,
            cost,
            took_ms = receipt.timing.total_us / 1000,
            "call"
        ),
    }
}

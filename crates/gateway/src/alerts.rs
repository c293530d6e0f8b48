//! Soft budgets that are reached, told to a webhook.

use std::time::Duration;

use http::{Method, Request, header};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tollway::{Timeouts, Transport};
use tollway_accounts::iso;
use tollway_meters::Alert;
use tollway_model::Secret;

/// How often a message is sent before it is given up.
const TRIES: u32 = 4;

/// Tells `url` of every alert, one after the other, in LiteLLM's words for them.
pub(crate) fn start(mut alerts: broadcast::Receiver<Alert>, url: Secret, transport: Transport) {
    tokio::spawn(async move {
        loop {
            match alerts.recv().await {
                Ok(alert) => tell(&alert, &url, &transport).await,
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(target: "tollway::alerts", lost, "alerts came faster than they could be told");
                }
                Err(RecvError::Closed) => return,
            }
        }
    });
}

async fn tell(alert: &Alert, url: &Secret, transport: &Transport) {
    let body = message(alert).to_string();
    for turn in 0..TRIES {
        match send(&body, url, transport).await {
            Ok(()) => return,
            Err(error) => {
                // The address is a secret of its own.
                tracing::warn!(target: "tollway::alerts", turn, error, "the webhook did not take an alert");
            }
        }
        tokio::time::sleep(Duration::from_secs(1 << turn)).await;
    }
}

async fn send(body: &str, url: &Secret, transport: &Transport) -> Result<(), String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(url.expose())
        .header(header::CONTENT_TYPE, "application/json")
        .body(bytes::Bytes::from(body.to_owned()))
        .map_err(|_| "the address is not one".to_owned())?;
    let timeouts = Timeouts { total: Duration::from_secs(10), ..Timeouts::default() };
    let answer = transport.send(request, &timeouts).await.map_err(|error| error.to_string())?;
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(format!("status {}", answer.status)),
    }
}

fn message(alert: &Alert) -> serde_json::Value {
    let kind = alert.scope.kind.name();
    let group = if kind == "api_key" { "key" } else { kind };
    json!({
        "event": "soft_budget_crossed",
        "event_group": group,
        "event_message": format!("Soft Budget Crossed: {group} {} spent {} of {}", alert.scope.id, alert.spent, alert.soft),
        "id": &*alert.scope.id,
        "spend": alert.spent.to_dollars_lossy(),
        "soft_budget": alert.soft.to_dollars_lossy(),
        "budget_reset_at": alert.resets_at.map(iso),
    })
}

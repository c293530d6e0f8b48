//! Is it alive, can it serve, what is wrong?

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tollway_accounts::iso;
use tollway_meters::Meters;
use tollway_pipeline::{Reply, ReplyBody, Services, Snapshot, json_reply};
use tollway_route::{Availability, Standing};

/// The process runs.
pub(crate) fn liveness() -> Reply {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Reply { status: StatusCode::OK, headers, body: ReplyBody::full("\"I'm alive!\"") }
}

/// Can it serve calls, and what is wrong? 503 only when no call can be served: nothing is configured that could be
/// called, or the journal takes no receipts. While the database or Redis is away calls go on, and the answer says so.
pub(crate) fn readiness(snapshot: &Snapshot, services: &Services) -> Reply {
    let mut reasons: Vec<String> = Vec::new();
    let mut ready = true;
    if !snapshot.is_serving() {
        ready = false;
        reasons.push("no deployment can be called".to_owned());
    }
    let database = services.directory.as_ref().map(|directory| directory.silent_since());
    if let Some(Some(since)) = database {
        reasons.push(format!(
            "the database is away since {}: keys that are known are served, others get 503, and the journal keeps receipts",
            iso(since)
        ));
    }
    let redis = services.meters.as_ref().and_then(Meters::health);
    if let Some(health) = redis.filter(|health| !health.up) {
        reasons.push(format!(
            "Redis is away since {}: each process keeps limits for its share",
            iso(health.since)
        ));
    }
    let journal = services.ledger.as_ref().map(|ledger| {
        let status = ledger.status();
        if ledger.refuses() {
            ready = false;
            reasons.push("the journal takes no receipts, so calls are refused".to_owned());
        } else if status.full {
            reasons.push("the journal takes no receipts; calls go on without".to_owned());
        }
        json!({
            "waiting": status.waiting,
            "waiting_since": status.oldest_at.map(iso),
            "journal_bytes": status.journal_bytes,
            "full": status.full,
            "store": if status.store_error.is_some() { "takes none" } else { "ok" },
            "dropped": status.dropped,
            "set_aside": status.set_aside,
        })
    });
    let connected = |connected: bool| if connected { "connected" } else { "Not connected" };
    let body = json!({
        "status": if ready { "healthy" } else { "unhealthy" },
        "db": connected(matches!(database, Some(None))),
        "redis": redis.map_or("not configured", |health| connected(health.up)),
        "ledger": journal,
        "reasons": reasons,
    });
    json_reply(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

/// Which deployments can be called, and why the others cannot. No provider is called for it: a probe costs money.
/// `standings`: how those are doing that have been called, by id.
pub(crate) fn health(snapshot: &Snapshot, standings: &[Standing]) -> Reply {
    let (mut healthy, mut unhealthy) = (Vec::new(), Vec::new());
    for deployment in snapshot.routes.deployments() {
        let mut entry = json!({
            "model": format!("{}/{}", deployment.provider, deployment.model),
            "model_name": deployment.group.as_ref(),
            "model_id": deployment.id.as_ref(),
        });
        let standing = standings.binary_search_by(|one| one.deployment.cmp(&deployment.id));
        if let (Some(entry), Some(standing)) =
            (entry.as_object_mut(), standing.ok().and_then(|index| standings.get(index)))
        {
            entry.insert("in_flight".to_owned(), json!(standing.in_flight));
            entry.insert("rests_for_ms".to_owned(), json!(standing.rests_for_ms));
            entry.insert("on_trial".to_owned(), json!(standing.half_open));
            entry.insert("last_minute".to_owned(), json!(standing.minute));
        }
        match &deployment.availability {
            Availability::Ready(_) => healthy.push(entry),
            Availability::Unavailable(reason) => {
                if let Some(object) = entry.as_object_mut() {
                    object.insert("error".to_owned(), json!(reason));
                }
                unhealthy.push(entry);
            }
        }
    }
    json_reply(
        StatusCode::OK,
        &json!({
            "healthy_count": healthy.len(),
            "unhealthy_count": unhealthy.len(),
            "healthy_endpoints": healthy,
            "unhealthy_endpoints": unhealthy,
            "wildcards": snapshot.routes.templates().map(|template| template.name.as_ref()).collect::<Vec<_>>(),
        }),
    )
}

//! Is it alive, can it serve, what is wrong?

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;
use tollway_pipeline::{Reply, ReplyBody, Snapshot, json_reply};
use tollway_route::{Availability, Standing};

/// The process runs.
pub(crate) fn liveness() -> Reply {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Reply { status: StatusCode::OK, headers, body: ReplyBody::full("\"I'm alive!\"") }
}

/// The gateway serves calls. Without a database there is nothing it waits for.
pub(crate) fn readiness(snapshot: &Snapshot) -> Reply {
    let ready = snapshot.is_serving();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = if ready { "healthy" } else { "unhealthy" };
    json_reply(status, &json!({ "status": text, "db": "Not connected" }))
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

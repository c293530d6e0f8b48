//! The route list, for people and for programs.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tollway_accounts::Role;
use tollway_accounts::rights::{ROLES, Reach, Right, reach};
use tollway_pipeline::{Reply, ReplyBody, json_reply};

use crate::routes::{Access, ROUTES};

/// The routes, for programs.
pub(crate) fn routes() -> Reply {
    let routes: Vec<Value> = ROUTES
        .iter()
        .map(|route| json!({ "path": route.path, "methods": [route.method.as_str()], "summary": route.summary }))
        .collect();
    json_reply(StatusCode::OK, &json!({ "routes": routes }))
}

/// Who has a right, in a few words.
fn who(right: Right) -> &'static str {
    let nobody = |role: Role| reach(role, right) == Reach::No;
    match ROLES.into_iter().filter(|role| nobody(*role)).count() {
        0 => "a key",
        _ if nobody(Role::InternalUser) => "administrators",
        _ => "users",
    }
}

/// A page of the routes. Needs no script and nothing from elsewhere.
pub(crate) fn page() -> Reply {
    let mut rows = String::new();
    for route in ROUTES {
        let access = match route.access {
            Access::Public => "anyone",
            Access::Right(right) => who(right),
        };
        let (method, path, summary) = (&route.method, route.path, route.summary);
        rows.push_str(&format!(
            "<tr><td>{method}</td><td><code>{path}</code></td><td>{access}</td><td>{summary}</td></tr>\n"
        ));
    }
    let page = include_str!("docs.html").replace("{{rows}}", &rows);
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Reply { status: StatusCode::OK, headers, body: ReplyBody::full(page) }
}

//! The services beside the models: roles (`POST /`), the machine's (`/latest/…`) and the container's
//! (`/container-credentials`). All give out the same temporary credentials.

use serde_json::{Value, json};

use super::auth::{SESSION, Signed, check};
use crate::reply::Reply;

/// Far enough for any test.
const LATER: &str = "2099-01-01T00:00:00Z";
/// What the machine's service hands out first.
const MACHINE: &str = "fake-machine-session";

/// Answers a request to one of these services; `None` when it is none.
pub(crate) fn answer(request: &Signed<'_>) -> Option<Reply> {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let keys = || {
        let (id, secret, token) = SESSION;
        Reply::json(
            200,
            &json!({"Code": "Success", "AccessKeyId": id, "SecretAccessKey": secret, "Token": token, "Expiration": LATER}),
        )
    };
    let refused = || Reply::json(401, &Value::Null);
    Some(match (request.method.as_str(), request.path) {
        ("POST", "/") => role(request),
        ("PUT", "/latest/api/token") if header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            Reply::bytes(200, "text/plain", MACHINE)
        }
        ("GET", path)
            if path.starts_with("/latest/meta-data/")
                && header("x-aws-ec2-metadata-token") != Some(MACHINE) =>
        {
            refused()
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") => {
            Reply::bytes(200, "text/plain", "fake-role")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/fake-role") => keys(),
        ("GET", "/container-credentials") if header("authorization") == Some("container-token") => keys(),
        ("GET", "/container-credentials") => refused(),
        _ => return None,
    })
}

fn role(request: &Signed<'_>) -> Reply {
    let form = String::from_utf8_lossy(request.body);
    let field = |name: &str| {
        let value = form.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        percent_encoding::percent_decode_str(value.unwrap_or_default()).decode_utf8_lossy().into_owned()
    };
    let arn = field("RoleArn");
    let allowed = match field("Action").as_str() {
        "AssumeRole" if arn.ends_with("/guarded") && field("ExternalId") != "external" => {
            Err("User is not authorized to perform: sts:AssumeRole".to_owned())
        }
        "AssumeRole" => check(request, "sts").map_err(|fault| fault.message),
        "AssumeRoleWithWebIdentity" if field("WebIdentityToken") == "web.identity.token" => Ok(()),
        _ => Err("The web identity token provided could not be validated.".to_owned()),
    };
    let complete = field("Version") == "2011-06-15" && !field("RoleSessionName").is_empty();
    match allowed {
        Ok(()) if complete && arn.starts_with("arn:") => {
            let (id, secret, token) = SESSION;
            let expires = if arn.ends_with("/expired") { "2000-01-01T00:00:00Z" } else { LATER };
            let text = format!(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
                 <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
                 <Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
            );
            Reply::bytes(200, "text/xml", text)
        }
        refused => {
            let why = refused.err().unwrap_or_else(|| "The request is not complete.".to_owned());
            let text = format!(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{why}</Message></Error></ErrorResponse>"
            );
            Reply::bytes(403, "text/xml", text)
        }
    }
}

//! Taking on roles: the requests to the security token service, and its answers.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tollway_model::Secret;

use super::{Credentials, Role, time};

const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The form that takes on a role with signed credentials.
pub fn assume_role(role: &Role) -> String {
    form("AssumeRole", role, None)
}

/// The form that takes on a role with a token; it is not signed.
pub fn assume_role_with_web_identity(role: &Role, token: &str) -> String {
    form("AssumeRoleWithWebIdentity", role, Some(token))
}

fn form(action: &str, role: &Role, token: Option<&str>) -> String {
    let mut pairs = vec![
        ("Action".to_owned(), action),
        ("Version".to_owned(), "2011-06-15"),
        ("RoleArn".to_owned(), &role.arn),
        ("RoleSessionName".to_owned(), &role.session_name),
    ];
    if let Some(token) = token {
        pairs.push(("WebIdentityToken".to_owned(), token));
    } else {
        // A token speaks for itself: neither goes with it.
        pairs.extend(role.external_id.as_deref().map(|id| ("ExternalId".to_owned(), id)));
        for (number, (key, value)) in (1..).zip(&role.tags) {
            pairs.push((format!("Tags.member.{number}.Key"), key));
            pairs.push((format!("Tags.member.{number}.Value"), value));
        }
    }
    let encoded = |(name, value): (String, &str)| format!("{name}={}", utf8_percent_encode(value, FORM));
    pairs.into_iter().map(encoded).collect::<Vec<_>>().join("&")
}

/// Reads the credentials of an answer; an error is the service's own words.
pub fn credentials(answer: &str) -> Result<Credentials, String> {
    let (Some(id), Some(secret)) = (element(answer, "AccessKeyId"), element(answer, "SecretAccessKey"))
    else {
        return Err(failure(answer));
    };
    let expires = element(answer, "Expiration").and_then(|text| time::parse(&text));
    let Some(expires) = expires else { return Err("the answer's expiration cannot be read".to_owned()) };
    Ok(Credentials {
        access_key_id: id,
        secret_access_key: Secret::from(secret),
        session_token: element(answer, "SessionToken").map(Secret::from),
        expires: Some(expires),
    })
}

/// Why the service refused.
pub fn failure(answer: &str) -> String {
    match (element(answer, "Code"), element(answer, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => "the answer holds no credentials".to_owned(),
    }
}

/// The text of the first element of this name. Names of the service's answers have no attributes.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim().replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    Some(text.replace("&apos;", "'").replace("&amp;", "&")).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_say_what_the_role_says() {
        let role = Role {
            arn: "arn:aws:iam::1:role/a b".into(),
            session_name: "s".into(),
            external_id: Some("x&y".into()),
            tags: vec![("team".into(), "ä".into())],
        };
        assert_eq!(
            assume_role(&role),
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%20b&RoleSessionName=s\
             &ExternalId=x%26y&Tags.member.1.Key=team&Tags.member.1.Value=%C3%A4"
        );
        let web = assume_role_with_web_identity(&role, "t.t");
        assert!(web.ends_with("&RoleSessionName=s&WebIdentityToken=t.t"), "{web}");
    }

    #[test]
    fn answers_and_refusals_are_read() {
        let answer = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>\n\
            <SecretAccessKey>S&amp;</SecretAccessKey><SessionToken>T==</SessionToken>\
            <Expiration>2015-08-30T12:36:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let keys = credentials(answer).unwrap();
        assert_eq!((keys.secret_access_key.expose(), keys.expires), ("S&", Some(1_440_938_160)));
        let refused = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>";
        assert_eq!(credentials(refused).unwrap_err(), "AccessDenied: not authorized");
        assert!(credentials("").unwrap_err().contains("no credentials"));
    }
}

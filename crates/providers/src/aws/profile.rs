//! Profiles of the shared files `~/.aws/config` and `~/.aws/credentials`.

use std::collections::HashMap;

use tollway_model::Secret;

use super::{Credentials, Role, Text};

/// Longest chain of profiles that take their credentials from each other.
const LONGEST_CHAIN: usize = 8;

/// What a profile leads to: first credentials, then roles taken on one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Where the first credentials are.
    pub origin: Origin,
    /// Roles, in the order they are taken on.
    pub roles: Vec<Role>,
}

/// Where a profile's first credentials are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the file.
    Keys(Credentials),
    /// In the variables `AWS_ACCESS_KEY_ID` …
    Environment,
    /// At the container's service.
    Container,
    /// At the machine's service.
    Instance,
    /// The token in this file takes on the role.
    WebIdentity(Role, Text),
}

/// Reads the profile `name` out of both files; `Ok(None)` when neither has it.
///
/// An error names the profile and what it needs that is missing or not supported.
pub fn read(name: &str, config: &str, credentials: &str) -> Result<Option<Profile>, String> {
    let mut profiles: HashMap<String, HashMap<String, String>> = sections(config, true);
    for (name, values) in sections(credentials, false) {
        // The file of credentials wins over the other.
        profiles.entry(name).or_default().extend(values);
    }
    if !profiles.contains_key(name) {
        return Ok(None);
    }
    follow(name, &profiles).map(Some)
}

fn follow(name: &str, profiles: &HashMap<String, HashMap<String, String>>) -> Result<Profile, String> {
    let (mut name, mut roles) = (name, Vec::new());
    for _ in 0..LONGEST_CHAIN {
        let Some(values) = profiles.get(name) else { return Err(format!("there is no profile `{name}`")) };
        let value = |key: &str| values.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let fault = |what: &str| Err(format!("the profile `{name}` {what}"));
        let Some(arn) = value("role_arn") else {
            return match keys(values) {
                Some(keys) => Ok(done(Origin::Keys(keys), roles)),
                None if value("credential_process").is_some() => {
                    fault("runs a `credential_process`, which is not supported: give keys or a role")
                }
                None if value("sso_session").or(value("sso_start_url")).is_some() => {
                    fault("signs in by SSO, which is not supported: export keys, or give a role")
                }
                None => fault("holds no credentials"),
            };
        };
        if value("mfa_serial").is_some() {
            return fault("asks for a one-time password, which nobody can type here");
        }
        let role = Role {
            arn: arn.to_owned(),
            session_name: value("role_session_name").unwrap_or("tollway").to_owned(),
            external_id: value("external_id").map(str::to_owned),
            tags: Vec::new(),
        };
        if let Some(path) = value("web_identity_token_file") {
            return Ok(done(Origin::WebIdentity(role, Text::File(path.to_owned())), roles));
        }
        roles.push(role);
        match (value("source_profile"), value("credential_source")) {
            // A profile may take on a role with its own keys.
            (Some(source), _) if source == name => {
                return match keys(values) {
                    Some(keys) => Ok(done(Origin::Keys(keys), roles)),
                    None => fault("names itself as `source_profile` and holds no keys"),
                };
            }
            (Some(source), _) => name = source,
            (None, Some("Environment")) => return Ok(done(Origin::Environment, roles)),
            (None, Some("EcsContainer")) => return Ok(done(Origin::Container, roles)),
            (None, Some("Ec2InstanceMetadata")) => return Ok(done(Origin::Instance, roles)),
            (None, Some(_)) => return fault("has an unknown `credential_source`"),
            (None, None) => return fault("has a role and neither `source_profile` nor `credential_source`"),
        }
    }
    Err(format!("the profile `{name}` is reached through too many others"))
}

fn done(origin: Origin, mut roles: Vec<Role>) -> Profile {
    roles.reverse();
    Profile { origin, roles }
}

fn keys(values: &HashMap<String, String>) -> Option<Credentials> {
    Some(Credentials {
        access_key_id: values.get("aws_access_key_id")?.clone(),
        secret_access_key: Secret::new(values.get("aws_secret_access_key")?.as_str()),
        session_token: values.get("aws_session_token").map(|token| Secret::new(token.as_str())),
        expires: None,
    })
}

/// Sections of a file by the profile's name. In the file of configurations they are called `profile NAME`.
fn sections(text: &str, prefixed: bool) -> HashMap<String, HashMap<String, String>> {
    let mut all: HashMap<String, HashMap<String, String>> = HashMap::new();
    let mut current = None;
    for line in text.lines() {
        if line.trim().is_empty() || line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        if let Some(head) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            current = section_name(head.trim(), prefixed).map(str::to_owned);
            all.extend(
                current
                    .clone()
                    .map(|name| (name, HashMap::new()))
                    .filter(|(name, _)| !all.contains_key(name)),
            );
            continue;
        }
        // Lines that begin with white space are settings of a service inside the profile.
        if line.starts_with([' ', '\t']) {
            continue;
        }
        if let (Some(name), Some((key, value))) = (&current, line.split_once('=')) {
            let value = value.split(" #").next().unwrap_or_default().trim();
            all.entry(name.clone()).or_default().insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    all
}

fn section_name(head: &str, prefixed: bool) -> Option<&str> {
    match head.strip_prefix("profile ") {
        Some(name) => Some(name.trim().trim_matches('"')),
        None if !prefixed || head == "default" => Some(head),
        // `sso-session NAME`, `services NAME`.
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# comment
[default]
region = eu-west-1
[profile work]
role_arn = arn:work
source_profile = base
external_id = x
[profile base]
role_arn = arn:base
source_profile = keys
s3 =
    role_arn = arn:not-this
[profile pod]
role_arn = arn:pod
credential_source = EcsContainer
[profile web]
role_arn = arn:web
web_identity_token_file = /token
[profile own]
role_arn = arn:own
source_profile = own
aws_access_key_id = O
aws_secret_access_key = OS
[profile loop]
role_arn = arn:l
source_profile = pool
[profile pool]
role_arn = arn:p
source_profile = loop
[profile sso]
sso_session = s
[profile process]
credential_process = /bin/x
[profile mfa]
role_arn = arn:m
mfa_serial = 1
[sso-session s]
sso_start_url = https://x
";
    const CREDENTIALS: &str = "\
[default]
aws_access_key_id=D
aws_secret_access_key = DS # comment
aws_session_token = DT
[keys]
aws_access_key_id = K
aws_secret_access_key = KS
";

    fn check(name: &str, expected: &str) {
        let shown = match read(name, CONFIG, CREDENTIALS) {
            Ok(None) => "none".to_owned(),
            Err(error) => error,
            Ok(Some(Profile { origin, roles })) => {
                let origin = match origin {
                    Origin::Keys(keys) => {
                        format!("{} {}", keys.access_key_id, keys.secret_access_key.expose())
                    }
                    Origin::WebIdentity(role, token) => format!("{} {token:?}", role.arn),
                    other => format!("{other:?}"),
                };
                let roles: Vec<_> = roles.iter().map(|role| role.arn.as_str()).collect();
                format!("{origin} {roles:?}")
            }
        };
        assert!(shown.contains(expected), "{name}: {shown}");
    }

    #[test]
    fn profiles_lead_to_credentials_and_roles() {
        check("default", "D DS []");
        check("keys", "K KS []");
        check("work", r#"K KS ["arn:base", "arn:work"]"#);
        check("pod", r#"Container ["arn:pod"]"#);
        check("web", r#"arn:web File("/token") []"#);
        check("own", r#"O OS ["arn:own"]"#);
        check("absent", "none");
        check("s", "none");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        check("loop", "too many others");
        check("sso", "SSO");
        check("process", "credential_process");
        check("mfa", "one-time password");
    }
}

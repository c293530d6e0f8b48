//! Where credentials come from: a plan made of settings and environment. Nobody is asked here.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use tollway_model::Secret;

use super::{Credentials, suffix};

/// What a deployment says about its credentials and region.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AwsSettings {
    /// With `secret_access_key`: the keys themselves.
    pub access_key_id: Option<Secret>,
    /// See `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// Of temporary keys.
    pub session_token: Option<Secret>,
    /// The region; wins over the model's name and the environment.
    pub region: Option<String>,
    /// A profile of the shared files.
    pub profile: Option<String>,
    /// A role to take on with the other credentials.
    pub role: Option<String>,
    /// The name of the role's session.
    pub session_name: Option<String>,
    /// What the role's owner may ask for.
    pub external_id: Option<String>,
    /// Tags of the role's session.
    pub session_tags: Vec<(String, String)>,
    /// Takes on the role by this token: itself, a file (a path, or `oidc/file/PATH`), or `oidc/env/VARIABLE`.
    pub web_identity_token: Option<Secret>,
    /// Where roles are taken on; default: the region's own.
    pub sts_endpoint: Option<String>,
    /// What goes into the path in the model's place: an inference profile, whose name does not tell the model.
    pub model_id: Option<String>,
}

impl AwsSettings {
    /// Is it said where the credentials come from?
    pub(crate) fn name_credentials(&self) -> bool {
        self.access_key_id.is_some()
            || self.profile.is_some()
            || self.role.is_some()
            || self.web_identity_token.is_some()
    }
}

/// Text, or the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// Itself.
    Given(Secret),
    /// The path of a file; read anew every time, because tokens are replaced in place.
    File(String),
}

/// One place where credentials may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here they are.
    Keys(Credentials),
    /// A profile of the shared files.
    Profile {
        /// Its name.
        name: String,
        /// The path of the file of configurations.
        config: String,
        /// The path of the file of credentials.
        credentials: String,
        /// Asked for by name: then it must be there.
        named: bool,
    },
    /// A role taken on by a token.
    WebIdentity {
        /// The role.
        role: Role,
        /// The token.
        token: Text,
    },
    /// The container's own service.
    Container {
        /// Where to ask.
        url: String,
        /// What the service wants to see in `authorization`.
        token: Option<Text>,
    },
    /// The service of the machine (IMDSv2).
    Instance {
        /// Where to ask, without a slash at the end.
        endpoint: String,
    },
}

/// A role to take on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// The name of the session, which stands in the owner's log.
    pub session_name: String,
    /// What the role's owner may ask for.
    pub external_id: Option<String>,
    /// Tags of the session.
    pub tags: Vec<(String, String)>,
}

/// Where credentials come from: the first source that has some, and the role they take on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Tried in order.
    pub sources: Vec<Source>,
    /// What there is beside a profile, for profiles that point at it.
    pub ambient: Vec<Source>,
    /// Taken on with what the source gives.
    pub role: Option<Role>,
    /// Where roles are taken on.
    pub sts_endpoint: String,
    /// The region of that endpoint.
    pub sts_region: String,
    /// Tells one access from another without holding its secrets.
    pub id: String,
}

/// The name of sessions that nobody named.
const SESSION: &str = "tollway";

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Access {
    /// Plans where to look. An error names the setting at fault and what is wrong with it.
    pub(crate) fn plan(
        settings: &AwsSettings,
        region: &str,
        env: Env<'_>,
    ) -> Result<Access, (&'static str, String)> {
        let default_endpoint = || format!("https://sts.{region}.{}", suffix(region));
        let sts_endpoint = settings.sts_endpoint.clone().or_else(|| env("AWS_ENDPOINT_URL_STS"));
        let mut access = Access {
            sources: Vec::new(),
            ambient: Vec::new(),
            role: settings.role.as_ref().map(|arn| role(settings, arn)),
            sts_endpoint: sts_endpoint.unwrap_or_else(default_endpoint).trim_end_matches('/').to_owned(),
            sts_region: region.to_owned(),
            id: String::new(),
        };
        if let Some(token) = &settings.web_identity_token {
            let Some(role) = access.role.take() else {
                return Err((
                    "aws_web_identity_token",
                    "it needs the role to take on, `aws_role_name`".to_owned(),
                ));
            };
            access.sources.push(Source::WebIdentity { role, token: token_text(token, env)? });
        } else if let Some(keys) = keys(settings)? {
            access.sources.push(Source::Keys(keys));
        } else if let Some(name) = &settings.profile {
            access.sources.extend(profile(Some(name.clone()), env));
            if access.sources.is_empty() {
                return Err((
                    "aws_profile_name",
                    "no home directory is known to look for profiles in".to_owned(),
                ));
            }
        } else {
            // The machine's own token for this very role takes it on by itself.
            let own = web_identity(env).filter(|source| match (source, &access.role) {
                (Source::WebIdentity { role: own, .. }, Some(role)) => own.arn == role.arn,
                _ => false,
            });
            match own {
                Some(source) => {
                    access.sources.push(source);
                    access.role = None;
                }
                None => access.sources = usual(env)?,
            }
        }
        if access.sources.iter().any(|source| matches!(source, Source::Profile { .. })) {
            access.ambient = usual(env)?;
        }
        access.id = access.fingerprint();
        Ok(access)
    }

    fn fingerprint(&self) -> String {
        let mut text = format!("{:?}{:?}{}{}", self.sources, self.role, self.sts_endpoint, self.sts_region);
        // A printed secret is three stars; what it is must make a difference.
        for source in self.sources.iter().chain(&self.ambient) {
            let secrets = match source {
                Source::Keys(keys) => vec![Some(&keys.secret_access_key), keys.session_token.as_ref()],
                Source::WebIdentity { token: Text::Given(token), .. } => vec![Some(token)],
                Source::Container { token: Some(Text::Given(token)), .. } => vec![Some(token)],
                _ => Vec::new(),
            };
            secrets.into_iter().flatten().for_each(|secret| text.push_str(secret.expose()));
        }
        let hash = digest(&SHA256, text.as_bytes());
        zeroize::Zeroize::zeroize(&mut text);
        hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

fn role(settings: &AwsSettings, arn: &str) -> Role {
    Role {
        arn: arn.to_owned(),
        session_name: settings.session_name.clone().unwrap_or_else(|| SESSION.to_owned()),
        external_id: settings.external_id.clone(),
        tags: settings.session_tags.clone(),
    }
}

fn keys(settings: &AwsSettings) -> Result<Option<Credentials>, (&'static str, String)> {
    match (&settings.access_key_id, &settings.secret_access_key) {
        (Some(id), Some(secret)) => Ok(Some(Credentials {
            access_key_id: id.expose().trim().to_owned(),
            secret_access_key: Secret::new(secret.expose().trim()),
            session_token: settings.session_token.clone().filter(|token| !token.is_empty()),
            expires: None,
        })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(("aws_secret_access_key", "it is missing beside `aws_access_key_id`".to_owned()))
        }
        (None, Some(_)) => {
            Err(("aws_access_key_id", "it is missing beside `aws_secret_access_key`".to_owned()))
        }
    }
}

/// LiteLLM's ways to name a token.
fn token_text(token: &Secret, env: Env<'_>) -> Result<Text, (&'static str, String)> {
    let text = token.expose().trim();
    if let Some(path) = text.strip_prefix("oidc/file/") {
        return Ok(Text::File(path.to_owned()));
    }
    if let Some(name) = text.strip_prefix("oidc/env/") {
        let value = env(name)
            .ok_or_else(|| ("aws_web_identity_token", format!("the variable `{name}` is not set")))?;
        return Ok(Text::Given(Secret::from(value)));
    }
    if text.starts_with("oidc/") {
        let why = "only `oidc/file/PATH` and `oidc/env/VARIABLE` are known";
        return Err(("aws_web_identity_token", why.to_owned()));
    }
    if text.starts_with('/') {
        return Ok(Text::File(text.to_owned()));
    }
    Ok(Text::Given(Secret::new(text)))
}

/// The order of Amazon's own tools.
fn usual(env: Env<'_>) -> Result<Vec<Source>, (&'static str, String)> {
    let mut sources = Vec::new();
    if let (Some(id), Some(secret)) = (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY")) {
        sources.push(Source::Keys(Credentials {
            access_key_id: id,
            secret_access_key: Secret::from(secret),
            session_token: env("AWS_SESSION_TOKEN").map(Secret::from),
            expires: None,
        }));
    }
    sources.extend(web_identity(env));
    sources.extend(profile(None, env));
    sources.extend(container(env)?);
    let is_true = |name: &str| env(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !is_true("AWS_EC2_METADATA_DISABLED") {
        let endpoint = env("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let endpoint = endpoint.unwrap_or_else(|| "http://169.254.169.254".to_owned());
        sources.push(Source::Instance { endpoint: endpoint.trim_end_matches('/').to_owned() });
    }
    Ok(sources)
}

fn web_identity(env: Env<'_>) -> Option<Source> {
    let role = Role {
        arn: env("AWS_ROLE_ARN")?,
        session_name: env("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION.to_owned()),
        ..Role::default()
    };
    Some(Source::WebIdentity { role, token: Text::File(env("AWS_WEB_IDENTITY_TOKEN_FILE")?) })
}

fn profile(name: Option<String>, env: Env<'_>) -> Option<Source> {
    let home = || env("HOME").or_else(|| env("USERPROFILE"));
    let file =
        |variable: &str, name: &str| env(variable).or_else(|| Some(format!("{}/.aws/{name}", home()?)));
    let wanted = name.or_else(|| env("AWS_PROFILE")).or_else(|| env("AWS_DEFAULT_PROFILE"));
    Some(Source::Profile {
        named: wanted.is_some(),
        name: wanted.unwrap_or_else(|| "default".to_owned()),
        config: file("AWS_CONFIG_FILE", "config")?,
        credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
    })
}

fn container(env: Env<'_>) -> Result<Option<Source>, (&'static str, String)> {
    const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
    const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let url = if let Some(path) = env(RELATIVE) {
        format!("http://169.254.170.2/{}", path.trim_start_matches('/'))
    } else if let Some(url) = env(FULL) {
        if !may_be_asked(&url) {
            let why = "plain http goes to the machine itself and to the container services only";
            return Err((FULL, why.to_owned()));
        }
        url
    } else {
        return Ok(None);
    };
    let file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(Text::File);
    let token = file
        .or_else(|| env("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|token| Text::Given(Secret::from(token))));
    Ok(Some(Source::Container { url, token }))
}

/// Anybody may be asked over TLS; without it, only who cannot be on the network.
fn may_be_asked(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => {
            is_loopback
                || host == "localhost"
                || matches!(host, "169.254.170.2" | "169.254.170.23" | "fd00:ec2::23")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(settings: &AwsSettings, variables: &[(&str, &str)]) -> Result<Access, (&'static str, String)> {
        let env = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Access::plan(settings, "eu-west-1", &env)
    }

    fn kinds(access: &Access) -> Vec<&'static str> {
        let kind = |source: &Source| match source {
            Source::Keys(_) => "keys",
            Source::Profile { .. } => "profile",
            Source::WebIdentity { .. } => "web",
            Source::Container { .. } => "container",
            Source::Instance { .. } => "instance",
        };
        access.sources.iter().map(kind).collect()
    }

    #[test]
    fn the_environment_is_searched_in_the_usual_order() {
        let check = |variables: &[(&str, &str)], expected: &[&str]| {
            assert_eq!(kinds(&plan(&AwsSettings::default(), variables).unwrap()), expected, "{variables:?}");
        };
        check(&[], &["instance"]);
        check(&[("AWS_EC2_METADATA_DISABLED", "TRUE")], &[]);
        check(&[("AWS_ACCESS_KEY_ID", "a"), ("HOME", "/h")], &["profile", "instance"]);
        check(
            &[
                ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"),
                ("AWS_ROLE_ARN", "arn:r"),
                ("AWS_ACCESS_KEY_ID", "a"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
                ("HOME", "/h"),
            ],
            &["keys", "web", "profile", "container", "instance"],
        );
    }

    #[test]
    fn what_a_deployment_says_wins() {
        let settings = |change: fn(&mut AwsSettings)| {
            let mut settings = AwsSettings::default();
            change(&mut settings);
            settings
        };
        let keys = settings(|all| {
            all.access_key_id = Some("a".into());
            all.secret_access_key = Some("s".into());
            all.role = Some("arn:r".into());
        });
        let access = plan(&keys, &[("HOME", "/h")]).unwrap();
        assert_eq!((kinds(&access), access.role.map(|role| role.arn)), (vec!["keys"], Some("arn:r".into())));
        assert_eq!(access.sts_endpoint, "https://sts.eu-west-1.amazonaws.com");
        let profile = settings(|all| all.profile = Some("work".into()));
        assert_eq!(kinds(&plan(&profile, &[("HOME", "/h")]).unwrap()), ["profile"]);
        let web = settings(|all| {
            all.web_identity_token = Some("oidc/file/var/token".into());
            all.role = Some("arn:r".into());
        });
        let access = plan(&web, &[]).unwrap();
        assert!(access.role.is_none());
        let [Source::WebIdentity { token: Text::File(path), role }] = access.sources.as_slice() else {
            panic!("{access:?}");
        };
        assert_eq!((path.as_str(), role.session_name.as_str()), ("var/token", "tollway"));
        // On a cluster whose own role this is, the token takes it on directly.
        let own = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:r")];
        let access = plan(&settings(|all| all.role = Some("arn:r".into())), &own).unwrap();
        assert_eq!((kinds(&access), access.role), (vec!["web"], None));
        let access = plan(&settings(|all| all.role = Some("arn:other".into())), &own).unwrap();
        assert_eq!((kinds(&access), access.role.is_some()), (vec!["web", "instance"], true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong =
            |settings: AwsSettings, variables: &[(&str, &str)]| plan(&settings, variables).unwrap_err().0;
        let half = AwsSettings { access_key_id: Some("a".into()), ..AwsSettings::default() };
        assert_eq!(wrong(half, &[]), "aws_secret_access_key");
        let token = AwsSettings { web_identity_token: Some("t".into()), ..AwsSettings::default() };
        assert_eq!(wrong(token, &[]), "aws_web_identity_token");
        for url in ["http://evil.test/", "http://10.0.0.1/", "ftp://localhost/", "x"] {
            let variables = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)];
            assert_eq!(
                wrong(AwsSettings::default(), &variables),
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "{url}"
            );
        }
        for url in [
            "https://any.test/",
            "http://localhost:9/x",
            "http://127.0.0.2/",
            "http://[::1]/",
            "http://169.254.170.23/v1",
        ] {
            assert!(
                plan(&AwsSettings::default(), &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]).is_ok(),
                "{url}"
            );
        }
    }

    #[test]
    fn the_id_tells_secrets_apart_and_shows_none() {
        let id = |secret: &str| {
            let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", secret)];
            let access = plan(&AwsSettings::default(), &keys).unwrap();
            assert!(!format!("{access:?}").contains("canary"));
            access.id
        };
        assert_ne!(id("canary-1"), id("canary-2"));
        assert_eq!(id("canary-1"), id("canary-1"));
    }
}

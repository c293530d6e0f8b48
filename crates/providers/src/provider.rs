//! One row of the providers table.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::Deserialize;
use tollway_model::{Dialect, Operation};
use tollway_wire::openai_chat::Quirks;

use crate::rules::{Replacement, Rules};

/// Who serves models, where, and how it departs from its dialect.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Provider {
    /// The name in configuration and in front of model names: `groq` in `groq/llama-3.3-70b`.
    #[serde(skip)]
    pub id: String,
    /// Set in rows that are another name of a row; such rows are not handed out.
    pub(crate) alias_of: Option<String>,
    /// The name for people.
    pub title: String,
    /// What it speaks; `None`: known and not carried yet.
    pub dialect: Option<Dialect>,
    /// The protocol of a provider that is not carried, in words.
    pub protocol: String,
    /// How to reach the models of a provider that is not carried, where there is a way.
    pub hint: Option<String>,
    /// Where it is. `{name}` is a variable; `None`: must be configured.
    pub base_url: Option<String>,
    /// Other hosts of this provider, `*` standing for any text: whoever is called there sends bills, under whichever
    /// provider's name it is called.
    pub hosts: Vec<String>,
    /// Environment variables that replace the base, first found wins. `NAME/path` appends the path unless it is there.
    pub base_url_env: Vec<String>,
    /// Variables of `base_url`, each with the environment variables that give it.
    pub variables: BTreeMap<String, Vec<String>>,
    /// Environment variables that hold the key, first found wins.
    pub key_env: Vec<String>,
    /// Is a key needed?
    pub key: KeyNeed,
    /// How the key travels.
    pub auth: Auth,
    /// Other ways for some keys; the first that applies wins over `auth`.
    pub auth_when: Vec<AuthWhen>,
    /// A key of the environment goes to the provider's own host only, not to a configured base.
    pub own_host_only: bool,
    /// Constant headers. `{api_key}` is the key and `{A|B}` the first of these environment variables; a header whose
    /// variables are all unset is not sent.
    pub headers: BTreeMap<String, String>,
    /// Operations known to exist there: `chat`, `completions`, `embeddings`, `responses` … Known is not complete.
    pub serves: Vec<String>,
    /// Paths that differ from the dialect's, by operation: `chat`, `completions`, `embeddings`, `responses`.
    pub paths: BTreeMap<String, String>,
    /// How model names are written there.
    pub model_name: Option<ModelName>,
    /// Patterns of models that belong here when no provider is named.
    pub bare_models: Vec<String>,
    /// Changes to top-level fields of requests.
    pub rules: Rules,
    /// Names of [`Quirks`]: departures inside messages. [`Provider::quirks`] reads them.
    #[serde(rename = "quirks")]
    pub quirk_names: Vec<String>,
    /// A second base that speaks Anthropic Messages, for calls that then travel verbatim.
    pub anthropic: Option<Native>,
    /// More rules for some models, applied in order after the row's own.
    pub models: Vec<ModelRules>,
    /// It searches the web for its answers whether or not a call asks for that, and bills each search.
    pub searches_unasked: bool,
    /// What is particular about answers, for readers: decoders recognise it by its shape.
    pub reply: Option<String>,
    /// What else a user should know.
    pub note: Option<String>,
    /// The provider's documentation.
    pub docs: Option<String>,
    /// Where the facts come from.
    pub source: String,
    /// When they were checked, `YYYY-MM-DD`.
    pub checked: String,
}

/// Is a key needed?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyNeed {
    /// Calls without one cannot succeed.
    #[default]
    Required,
    /// Sent when there is one.
    Optional,
    /// Never sent.
    None,
}

/// How a key travels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Auth {
    /// `Authorization: Bearer KEY`
    #[default]
    Bearer,
    /// `Authorization: NAME KEY`
    Scheme(String),
    /// `NAME: KEY`
    Header(HeaderName),
    /// `?NAME=KEY`. Only where the provider takes no header: URLs end up in logs.
    Query(String),
    /// It does not.
    None,
}

impl TryFrom<String> for Auth {
    type Error = String;

    fn try_from(text: String) -> Result<Auth, String> {
        match text.split_once(':') {
            None if text == "bearer" => Ok(Auth::Bearer),
            None if text == "none" => Ok(Auth::None),
            Some(("scheme", name)) => Ok(Auth::Scheme(name.to_owned())),
            Some(("query", name)) => Ok(Auth::Query(name.to_owned())),
            Some(("header", name)) => {
                name.parse().map(Auth::Header).map_err(|_| format!("`{name}` is not a header name"))
            }
            _ => Err(format!("`{text}` is not one of bearer, scheme:NAME, header:NAME, query:NAME, none")),
        }
    }
}

impl std::fmt::Display for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Auth::Bearer => f.write_str("bearer"),
            Auth::Scheme(name) => write!(f, "scheme:{name}"),
            Auth::Header(name) => write!(f, "header:{name}"),
            Auth::Query(name) => write!(f, "query:{name}"),
            Auth::None => f.write_str("none"),
        }
    }
}

/// Another way for some keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthWhen {
    /// Applies to keys that start so.
    pub key_prefix: Option<String>,
    /// Applies to keys found in this environment variable.
    pub key_env: Option<String>,
    /// How these keys travel.
    pub auth: Auth,
    /// Headers these keys need.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// A second base that speaks Anthropic Messages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Native {
    /// Where. `{base_url}` is the base in use, so it holds for configured bases too; an absolute one holds only
    /// while the provider's own base is in use.
    pub base_url: String,
    /// Environment variables that replace it.
    #[serde(default)]
    pub base_url_env: Vec<String>,
    /// How the key travels there.
    pub auth: Auth,
    /// `/v1/messages/count_tokens` is served too.
    #[serde(default)]
    pub count_tokens: bool,
}

/// How model names are written at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelName {
    /// A name that contains this is complete and stays as it is.
    pub unless: Option<String>,
    /// Cuts the name into the parts `{0}`, `{1}` … of the template; a name with fewer parts stays as it is.
    pub split: Option<String>,
    /// What is sent; `{model}` is the whole name.
    pub template: String,
}

impl ModelName {
    /// What is sent for `model`.
    pub(crate) fn apply(&self, model: &str) -> String {
        if self.unless.as_deref().is_some_and(|mark| model.contains(mark)) {
            return model.to_owned();
        }
        let Some(separator) = self.split.as_deref() else { return self.template.replace("{model}", model) };
        let count = self.template.matches('{').count();
        let parts: Vec<_> = model.splitn(count, separator).collect();
        if parts.len() < count || model.contains("://") {
            return model.to_owned();
        }
        let parts = parts.iter().enumerate();
        parts.fold(self.template.clone(), |text, (number, part)| text.replace(&format!("{{{number}}}"), part))
    }
}

/// More rules for some models of a provider.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelRules {
    /// Patterns of the provider's model names: `*` is any text, `?` one character but `/`.
    #[serde(rename = "match")]
    pub patterns: Vec<String>,
    /// Patterns of models that are left out.
    pub except: Vec<String>,
    /// Applies only to requests whose field has one of these values; `*` is any but null and an empty list.
    pub when: BTreeMap<String, Vec<String>>,
    /// Changes to top-level fields.
    pub rules: Rules,
    /// Names of quirks these models have too.
    #[serde(rename = "quirks")]
    pub quirk_names: Vec<String>,
    /// These models have a base of their own; `{model}` is the name.
    pub base_url: Option<String>,
}

impl ModelRules {
    /// Do these rules concern `model`?
    pub fn concerns(&self, model: &str) -> bool {
        crate::pattern::any(&self.patterns, model) && !crate::pattern::any(&self.except, model)
    }
}

impl Provider {
    /// Can calls be sent there?
    pub fn carried(&self) -> bool {
        self.dialect.is_some()
    }

    /// Is a key needed?
    pub fn requires_key(&self) -> bool {
        self.key == KeyNeed::Required
    }

    /// Is the operation known to exist there? `false` is "not known".
    pub fn serves(&self, operation: Operation) -> bool {
        let name = match operation {
            Operation::Chat => "chat",
            Operation::Completion => "completions",
            Operation::Embedding => "embeddings",
            Operation::CountTokens => "count_tokens",
            _ => return false,
        };
        self.serves.iter().any(|served| served == name)
    }

    /// Is it whatever server the operator names, and not a company that sends bills? Such rows have no address but
    /// perhaps one on this machine, and need no key.
    pub fn is_own_server(&self) -> bool {
        let is_here = |address: &str| crate::hosts::is_loopback(&crate::hosts::host(address));
        self.base_url.as_deref().is_none_or(is_here) && self.key != KeyNeed::Required
    }

    /// Does the base serve OpenAI's Responses API too?
    pub fn serves_responses(&self) -> bool {
        self.dialect == Some(Dialect::OpenaiChat) && self.serves.iter().any(|served| served == "responses")
    }

    /// Departures inside messages of every model there.
    pub fn quirks(&self) -> Quirks {
        // The table refuses unknown names when it is read.
        quirks(self.all_quirk_names()).unwrap_or_default()
    }

    /// The row's quirks, and those that follow from its rules, so that each fact is written once.
    pub(crate) fn all_quirk_names(&self) -> impl Iterator<Item = &str> {
        let value = |field: &str, value: &str| self.rules.map.get(field).and_then(|values| values.get(value));
        let limit = self.rules.rename.get("max_completion_tokens").is_some_and(|name| name == "max_tokens");
        let any = matches!(value("tool_choice", "required"), Some(Replacement::Value(word)) if word == "any");
        let switch = matches!(value("reasoning_effort", "*"), Some(Replacement::Fields(fields)) if fields.contains_key("thinking"));
        let follows = [(limit, "max_tokens_only"), (any, "required_as_any"), (switch, "thinking_switch")];
        let follows = follows.into_iter().filter_map(|(holds, name)| holds.then_some(name));
        self.quirk_names.iter().map(String::as_str).chain(follows)
    }
}

/// The quirks with these names; an error names the first unknown one.
pub(crate) fn quirks<'a>(names: impl Iterator<Item = &'a str>) -> Result<Quirks, serde_json::Error> {
    let object: serde_json::Map<_, _> = names.map(|name| (name.to_owned(), true.into())).collect();
    serde_json::from_value(object.into())
}

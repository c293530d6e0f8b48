//! Why a deployment cannot become an endpoint.

use tollway_model::{Error, Kind, Origin, Retry};

/// Why a deployment cannot become an endpoint. Each says what to set; none holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The provider is listed, and its protocol is not spoken yet.
    #[error("`{provider}` ({title}) is known and not carried yet{hint}")]
    NotCarried {
        /// Its id.
        provider: String,
        /// Its name for people.
        title: String,
        /// Another way to its models, empty or starting with `: `.
        hint: String,
    },
    /// No key was given and none is in the environment.
    #[error("no key for `{provider}`: set `api_key`{variables}")]
    MissingKey {
        /// The provider.
        provider: String,
        /// The variables that were looked at, empty or starting with `, or `.
        variables: String,
    },
    /// The provider has no address of its own, and none was given.
    #[error("no address for `{provider}`: set `api_base`{variables}")]
    MissingBase {
        /// The provider.
        provider: String,
        /// The variables that were looked at, empty or starting with `, or `.
        variables: String,
    },
    /// A part of the address is not known.
    #[error("the address of `{provider}` needs `{name}`: set it{variables}")]
    MissingVariable {
        /// The provider.
        provider: String,
        /// The name between braces.
        name: String,
        /// The variables that were looked at, empty or starting with `, or `.
        variables: String,
    },
    /// A setting cannot be used.
    #[error("`{setting}` of a deployment at `{provider}` cannot be used: {why}")]
    Invalid {
        /// The provider.
        provider: String,
        /// The setting, such as `api_base`.
        setting: String,
        /// What is wrong with it.
        why: String,
    },
}

impl From<EndpointError> for Error {
    /// Whoever asks for a model that is not set up is told what to set; another deployment may answer.
    fn from(error: EndpointError) -> Error {
        let kind = match &error {
            EndpointError::MissingKey { .. } => Kind::Authentication,
            EndpointError::NotCarried { .. } => Kind::Unsupported,
            _ => Kind::InvalidRequest,
        };
        Error::new(kind, error.to_string()).with_origin(Origin::Caller).with_retry(Retry::Elsewhere)
    }
}

/// `, or A or B`, or nothing.
pub(crate) fn alternatives<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().enumerate().fold(String::new(), |mut text, (number, name)| {
        text.push_str(if number == 0 { ", or " } else { " or " });
        text.push_str(name);
        text
    })
}

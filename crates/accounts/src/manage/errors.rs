//! What management routes answer when they cannot do what is asked, with LiteLLM's `type`s and statuses.

use tollway_model::{Error, Kind, Retry};
use tollway_store::StoreError;

/// 400 `bad_request_error`: the field `param` is wrong.
pub(crate) fn bad(param: impl Into<String>, message: impl Into<String>) -> Error {
    Error::invalid_at(param, message).with_provider(None, Some("bad_request_error".into()))
}

/// 404 `not_found_error`. Also what a caller gets who may not know whether it exists.
pub(crate) fn not_found(param: &str, message: impl Into<String>) -> Error {
    Error::new(Kind::NotFound, message).with_param(param)
}

/// 403 `permission_error`: the caller has the right, and not this far.
pub(crate) fn forbidden(param: &str, message: impl Into<String>) -> Error {
    Error::new(Kind::Permission, message).with_param(param)
}

/// What went wrong in the store.
pub(crate) fn stored(error: StoreError) -> Error {
    match error {
        StoreError::Unavailable(reason) => {
            let message = "the database is not available; try again in a moment";
            Error::new(Kind::Unavailable, message)
                .with_retry(Retry::Later(Some(std::time::Duration::from_secs(1))))
                .with_context("database", reason)
        }
        StoreError::Conflict { table, id } => Error::new(
            Kind::Conflict,
            format!("{table} {id} was changed by someone else at the same time; read it again"),
        ),
        StoreError::Taken { table, column } => {
            let what = table.trim_end_matches('s');
            bad(&column, format!("another {what} has this `{column}`"))
        }
        StoreError::Broken(reason) => Error::internal("the database answered something that cannot be read")
            .with_context("database", reason),
    }
}

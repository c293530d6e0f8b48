//! `:countTokens`, both ways.

use serde::Deserialize;
use serde_json::json;
use tollway_model::{Error, Kind, Notices, Request, Result};

use super::names::Names;
use super::shape::{Fields, Whole};
use super::{request_in, request_out};
use crate::Target;

/// Reads a client's request: bare `contents`, or a whole `generateContentRequest`.
pub(super) fn decode_request(body: &[u8]) -> Result<Request> {
    let mut fields = Fields::parse(body, "")?;
    match fields.raw("generateContentRequest") {
        Some(inner) => request_in::decode(inner.get().as_bytes()),
        None => request_in::decode(body),
    }
}

/// Writes a provider's request. What a call would note, counting need not.
pub(super) fn encode_request(request: &Request, target: &Target<'_>) -> Result<Vec<u8>> {
    let mut names = Names::default();
    let body = request_out::body(request, target, &mut names, &mut Notices::new())?;
    let failed = |error| Error::internal(format!("the request cannot be written: {error}"));
    let mut whole = serde_json::to_value(&body).map_err(failed)?;
    let Some(members) = whole.as_object_mut() else {
        return Err(Error::internal("the request is no object"));
    };
    if members.keys().all(|key| key == "contents" || key == "generationConfig") {
        members.remove("generationConfig");
        return serde_json::to_vec(&whole).map_err(failed);
    }
    let model =
        if target.model.contains('/') { target.model.to_owned() } else { format!("models/{}", target.model) };
    members.insert("model".into(), json!(model));
    serde_json::to_vec(&json!({ "generateContentRequest": whole })).map_err(failed)
}

/// Reads a provider's count.
pub(super) fn decode(body: &[u8]) -> Result<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Count {
        total_tokens: Whole,
    }
    let unreadable =
        |why: String| Error::new(Kind::Upstream, format!("the token count cannot be read: {why}"));
    let count: Count = serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))?;
    u64::try_from(count.total_tokens.0).map_err(|_| unreadable("it is negative".into()))
}

/// Writes a count for a client.
pub(super) fn encode(tokens: u64) -> Vec<u8> {
    json!({ "totalTokens": tokens }).to_string().into_bytes()
}

//! Bedrock: Converse and ConverseStream, signatures of requests, and the services that give out credentials.
//! Source: the service description of botocore 1.44.5 and the vendor's error texts.

pub(crate) mod auth;
mod check;
pub(crate) mod cloud;
mod frame;
mod read;
mod turns;
mod write;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::mind;
use crate::reply::Said;
use crate::script::Script;

/// Answers `converse`, or `converse-stream` when `stream`.
pub(crate) fn converse(body: &Value, id: &str, stream: bool, script: &Script) -> Result<Said, Fault> {
    check::request(body, stream)?;
    let answer = mind::answer(&read::prompt(body), script);
    let writer = write::Writer { answer: &answer, id, script };
    Ok(if stream { Said::Frames(writer.stream()) } else { Said::Json(writer.whole()) })
}

/// The message in which a stream reports a failure.
pub(crate) fn exception(kind: &str, message: &str) -> Bytes {
    let headers =
        [(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")];
    frame::write(&headers, json!({ "message": message }).to_string().as_bytes())
}

/// The error type of a status, as the header `x-amzn-errortype` gives it.
pub(crate) fn error_type(status: u16) -> &'static str {
    match status {
        401 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 | 529 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    }
}

/// The signature of thinking: whoever changes the text invalidates it.
fn signature(thinking: &str) -> String {
    crate::json::sign(&format!("bedrock:{thinking}"))
}

#[cfg(test)]
mod tests;

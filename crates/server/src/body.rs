//! Reading request bodies within limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tollway_model::{Error, Kind, Result};

use crate::limits::HttpLimits;

/// A body may arrive this slowly at its start, before the rate counts.
const GRACE: Duration = Duration::from_secs(10);

/// Reads a whole body.
///
/// Fails with [`Kind::TooLarge`] as soon as its announced or real length passes the limit, and with
/// [`Kind::Timeout`] when it comes slower than the limit's rate.
pub(crate) async fn read(mut body: Incoming, limits: &HttpLimits) -> Result<Bytes> {
    let announced = body.size_hint();
    if announced.lower() > limits.body_bytes as u64 {
        return Err(too_large(limits));
    }
    let started = Instant::now();
    let Some(first) = piece(&mut body, started, 0, limits).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() {
        return if first.len() > limits.body_bytes { Err(too_large(limits)) } else { Ok(first) };
    }
    let expected =
        announced.exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(first.len() * 2);
    let mut all = BytesMut::with_capacity(expected.min(limits.body_bytes));
    all.extend_from_slice(&first);
    while let Some(next) = piece(&mut body, started, all.len(), limits).await? {
        if all.len() + next.len() > limits.body_bytes {
            return Err(too_large(limits));
        }
        all.extend_from_slice(&next);
    }
    Ok(all.freeze())
}

async fn piece(
    body: &mut Incoming,
    started: Instant,
    so_far: usize,
    limits: &HttpLimits,
) -> Result<Option<Bytes>> {
    let earned = Duration::from_secs(so_far as u64 / u64::from(limits.body_rate.max(1)));
    let paced = if limits.body_rate == 0 { limits.body_time } else { GRACE + earned };
    let deadline = started + paced.min(limits.body_time);
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => {
                let message = if deadline == started + limits.body_time {
                    format!("the request body did not arrive within {} s", limits.body_time.as_secs())
                } else {
                    format!("the request body came slower than {} bytes a second", limits.body_rate)
                };
                return Err(Error::new(Kind::Timeout, message).with_origin(tollway_model::Origin::Caller));
            }
            Ok(None) => return Ok(None),
            // A client that is gone will not read it; one that is there has framed its body wrongly.
            Ok(Some(Err(_))) => {
                return Err(Error::invalid("the request body broke off, or its chunks are wrong"));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

fn too_large(limits: &HttpLimits) -> Error {
    let message = format!(
        "the request body is larger than {} bytes; the operator can raise tollway.limits.max_body",
        limits.body_bytes
    );
    Error::new(Kind::TooLarge, message)
}

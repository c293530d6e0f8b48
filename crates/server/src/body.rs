//! Reading request bodies within limits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::Instant;
use tollway_model::{Error, Kind, Result};

use crate::limits::BodyLimits;

/// A body may arrive this slowly at its start, before the rate counts.
const GRACE: Duration = Duration::from_secs(10);

/// Reads a whole body.
///
/// Fails with [`Kind::TooLarge`] as soon as its announced or real length passes the limit, and with
/// [`Kind::Timeout`] when it comes slower than the limit's rate.
pub(crate) async fn read(mut body: Incoming, limits: BodyLimits) -> Result<Bytes> {
    let limits = &limits;
    let announced = body.size_hint();
    if announced.lower() > limits.bytes as u64 {
        return Err(too_large(limits));
    }
    let started = Instant::now();
    let Some(first) = piece(&mut body, started, 0, limits).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() {
        return if first.len() > limits.bytes { Err(too_large(limits)) } else { Ok(first) };
    }
    let expected =
        announced.exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(first.len() * 2);
    let mut all = BytesMut::with_capacity(expected.min(limits.bytes));
    all.extend_from_slice(&first);
    while let Some(next) = piece(&mut body, started, all.len(), limits).await? {
        if all.len() + next.len() > limits.bytes {
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
    limits: &BodyLimits,
) -> Result<Option<Bytes>> {
    let earned = Duration::from_secs(so_far as u64 / u64::from(limits.rate.max(1)));
    let paced = if limits.rate == 0 { limits.time } else { GRACE + earned };
    let deadline = started + paced.min(limits.time);
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => {
                let message = if deadline == started + limits.time {
                    format!("the request body did not arrive within {} s", limits.time.as_secs())
                } else {
                    format!("the request body came slower than {} bytes a second", limits.rate)
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

fn too_large(limits: &BodyLimits) -> Error {
    let message = format!(
        "the request body is larger than {} bytes; the operator can raise tollway.limits.max_body",
        limits.bytes
    );
    Error::new(Kind::TooLarge, message)
}

//! `/v1/responses/{id}`: answers that are kept for those who made them.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tollway_accounts::manage::Params;
use tollway_model::{Error, Kind, Result};
use tollway_pipeline::{Caller, ItemsQuery, Reply, ReplyBody, Responses, json_reply};

use crate::routes::OfResponse;

/// What a listing of items takes.
pub(crate) const PARAMETERS: [&str; 3] = ["after", "limit", "order"];

/// Does what the route says with the response `id`, as far as it is the caller's.
pub(crate) async fn act(
    kept: &Responses,
    caller: &Caller,
    what: OfResponse,
    id: &str,
    params: &Params,
) -> Result<Reply> {
    let value = match what {
        OfResponse::Get => {
            if params.text("stream")? == Some("true") {
                let message = "a response that is kept is complete: retrieve it without `stream`";
                return Err(Error::invalid_at("stream", message));
            }
            let body = kept.get(caller, id).await?;
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(Reply { status: StatusCode::OK, headers, body: ReplyBody::full(body) });
        }
        OfResponse::Delete => kept.delete(caller, id).await?,
        OfResponse::InputItems => kept.input_items(caller, id, &items_query(params)?).await?,
        OfResponse::Compact => {
            let message = "conversations are not compacted here: what comes out could only be read by the provider that \
                           made it. Ask the model for a summary, and go on from that";
            return Err(Error::new(Kind::Unsupported, message));
        }
        OfResponse::Cancel => kept.cancel(caller, id).await?,
    };
    Ok(json_reply(StatusCode::OK, &value))
}

fn items_query(params: &Params) -> Result<ItemsQuery> {
    let limit = params.text("limit")?.map(str::parse).transpose();
    let limit = limit.map_err(|_| Error::invalid_at("limit", "`limit` must be a number from 1 to 100"))?;
    let ascending = match params.text("order")? {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(Error::invalid_at("order", "`order` must be `asc` or `desc`")),
    };
    Ok(ItemsQuery { after: params.text("after")?.map(str::to_owned), limit, ascending })
}

//! `/spend/logs` and its sisters: one row a call.

use serde_json::{Value, json};
use tollway_ledger::Receipt;
use tollway_ledger::books::{Counted, DayFilter, Detail, Filter, Order, Place, SortBy};
use tollway_ledger::litellm::{log_row, logs_by_day, logs_page};
use tollway_model::{Error, Kind, Money, Result};

use super::{Answer, Desk, period, stored};

/// Most rows of `/spend/logs` without pages.
const ALL: u32 = 1_000;

/// Most rows of a page.
const PAGE: u64 = 1_000;

/// Calls that are counted one by one for the number of pages; more are not counted.
const COUNTED: u64 = 20_000;

/// Calls that are walked over to find a page whose beginning is not remembered.
const WALKED: u64 = 20_000;

impl Desk<'_> {
    /// `GET /spend/logs`: sums by day when it is asked for days, else the latest calls.
    pub(super) async fn logs(&self) -> Result<Answer> {
        let summarized = self.params.text("summarize")?.is_none() || self.params.flag("summarize")?;
        let named = ["request_id", "api_key", "user_id"];
        let mut filter = Filter { range: period::range(&self.params)?, ..Filter::default() };
        if self.params.text("start_date")?.is_some()
            && summarized
            && self.params.text("request_id")?.is_none()
        {
            return self.logs_by_day().await;
        }
        self.common(&mut filter, named).await?;
        self.narrow(&mut filter);
        let receipts = self.books()?.list(&filter, None, ALL).await.map_err(stored)?;
        Ok(Answer::Whole(receipts.iter().map(log_row).collect()))
    }

    async fn logs_by_day(&self) -> Result<Answer> {
        let days = period::days_or_latest(&self.params, self.now)?;
        let mut filter =
            DayFilter { days, within: self.within(), detail: Detail::Keys, ..DayFilter::default() };
        filter.users.extend(self.text("user_id")?);
        if let Some(key) = self.text("api_key")? {
            self.days_of_keys(&mut filter, &[key]).await?;
        }
        match self.few_days(filter.clone()).await? {
            Some(rows) => Ok(Answer::Whole(logs_by_day(&rows, days.1))),
            None => self.long(|scribe| scribe.logs_by_day(filter)).await.map(Answer::Long),
        }
    }

    /// `GET /spend/logs/v2` and `/spend/logs/ui`: pages of calls, newest first.
    pub(super) async fn log_pages(&self) -> Result<Value> {
        let mut filter = self.page_filter().await?;
        self.narrow(&mut filter);
        let (page, size) = (self.number("page", 1, 1_000_000_000)?, self.number("page_size", 50, PAGE)?);
        if let Some(order) = self.order()? {
            return self.sorted_page(&filter, order, (page, size)).await;
        }
        let books = self.books()?;
        let list = format!("{} {size} {filter:?}", self.caller.identity.principal.token);
        let begin = match self.after()? {
            Some(place) => Some(place),
            None if page == 1 => None,
            None => match self.pages.begin(&list, page) {
                Some(place) => Some(place),
                None => match self.walk(&filter, (page - 1).saturating_mul(size)).await? {
                    Some(place) => Some(place),
                    None => {
                        let total = books.count(&filter, COUNTED).await.map_err(stored)?;
                        return Ok(logs_page(&[], total, page, size));
                    }
                },
            },
        };
        // One more than is shown, to know whether there is one.
        let limit = u32::try_from(size + 1).unwrap_or(u32::MAX);
        // Neither waits for the other: of what no index knows both read very many rows.
        let (receipts, counted) =
            tokio::join!(books.list(&filter, begin.as_ref(), limit), books.count(&filter, COUNTED));
        let (mut receipts, counted) = (receipts.map_err(stored)?, counted.map_err(stored)?);
        let more = receipts.len() as u64 > size;
        receipts.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        let next = receipts.last().filter(|_| more).map(place);
        if let Some(place) = &next {
            self.pages.remember(list, page + 1, place.clone());
        }
        // Whoever goes on to the last page gets to the end, although the count does not.
        let least = if more { page.saturating_mul(size) + 1 } else { 0 };
        let total = Counted { calls: counted.calls.max(least), ..counted };
        let mut shown = logs_page(&receipts, total, page, size);
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("next".to_owned(), json!(next.as_ref().map(written)));
        }
        Ok(shown)
    }

    /// `GET /spend/logs/session/ui`: the calls of a session, in the same pages.
    pub(super) async fn log_session(&self) -> Result<Value> {
        if self.text("session_id")?.is_none() {
            return Err(Error::invalid_at("session_id", "`session_id` is missing"));
        }
        self.log_pages().await
    }

    /// `GET /spend/logs/ui/{id}`: one call.
    pub(super) async fn log(&self) -> Result<Value> {
        let id = self.named.clone().unwrap_or_default();
        Ok(log_row(&self.kept(&id).await?))
    }

    async fn page_filter(&self) -> Result<Filter> {
        let mut filter = Filter { range: period::range(&self.params)?, ..Filter::default() };
        self.common(&mut filter, ["request_id", "api_key", "user_id"]).await?;
        if let Some(alias) = self.text("key_alias")? {
            match self.management()?.key_named(&self.grant, &alias).await? {
                Some(token) => self.of_key(&mut filter, &token).await?,
                // A key that is not there has called nothing.
                None => filter.key = Some(String::new()),
            }
        }
        filter.team = self.text("team_id")?;
        filter.organization = self.text("organization_id")?;
        filter.customer = self.text("end_user")?;
        filter.model = self.text("model")?;
        filter.model_group = self.text("model_group")?;
        filter.deployment = self.text("model_id")?;
        filter.provider = self.text("custom_llm_provider")?;
        filter.session = self.text("session_id")?;
        filter.tag = self.text("tag")?;
        filter.min = self.money("min_spend")?;
        filter.max = self.money("max_spend")?;
        filter.status = match self.params.text("error_code")?.map(str::parse) {
            None => None,
            Some(Ok(status)) => Some(status),
            Some(Err(_)) => return Err(Error::invalid_at("error_code", "`error_code` is an HTTP status")),
        };
        filter.answered = match self.params.text("status_filter")? {
            None | Some("all") => None,
            Some("success") => Some(true),
            Some("failure") => Some(false),
            Some(_) => {
                return Err(Error::invalid_at("status_filter", "`status_filter` is `success` or `failure`"));
            }
        };
        Ok(filter)
    }

    /// The order that is asked for; `None`: the usual one, which goes on from any row.
    fn order(&self) -> Result<Option<Order>> {
        let by = match self.params.text("sort_by")? {
            None | Some("startTime" | "start_time") => SortBy::Arrived,
            Some("endTime") => SortBy::Ended,
            Some("spend") => SortBy::Cost,
            Some("total_tokens") => SortBy::Tokens,
            Some("request_duration_ms") => SortBy::Duration,
            Some("ttft_ms") => SortBy::FirstByte,
            Some("model") => SortBy::Model,
            Some(_) => {
                let message = "`sort_by` is `startTime`, `endTime`, `spend`, `total_tokens`, `request_duration_ms`, \
                               `ttft_ms` or `model`";
                return Err(Error::invalid_at("sort_by", message));
            }
        };
        let descending = match self.params.text("sort_order")? {
            None | Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(Error::invalid_at("sort_order", "`sort_order` is `asc` or `desc`")),
        };
        Ok((by != SortBy::Arrived || !descending).then_some(Order { by, descending }))
    }

    /// A page of the calls in another order than time's.
    async fn sorted_page(&self, filter: &Filter, order: Order, (page, size): (u64, u64)) -> Result<Value> {
        if self.after()?.is_some() {
            let message = "rows in this order have pages by number: leave `after` out";
            return Err(Error::invalid_at("after", message));
        }
        let books = self.books()?;
        let total = books.count(filter, COUNTED).await.map_err(stored)?;
        if !total.whole || total.calls > COUNTED {
            let message = format!(
                "more than {COUNTED} calls cannot be sorted so: ask for fewer days, or for one key, user or team"
            );
            return Err(Error::invalid_at("sort_by", message));
        }
        let skipped = (page - 1).saturating_mul(size);
        let receipts = match u32::try_from(skipped).ok().filter(|_| skipped < total.calls) {
            Some(skip) => {
                let size = u32::try_from(size).unwrap_or(u32::MAX);
                books.sorted(filter, order, skip, size).await.map_err(stored)?
            }
            None => Vec::new(),
        };
        Ok(logs_page(&receipts, total, page, size))
    }

    async fn common(&self, filter: &mut Filter, [call, key, user]: [&str; 3]) -> Result<()> {
        filter.call = self.text(call)?;
        filter.user = self.text(user)?;
        if let Some(key) = self.text(key)? {
            self.of_key(filter, &key).await?;
        }
        Ok(())
    }

    fn money(&self, name: &str) -> Result<Option<Money>> {
        let Some(text) = self.params.text(name)? else { return Ok(None) };
        let money = Money::parse_dollars(text).filter(|money| *money >= Money::ZERO);
        money.map(Some).ok_or_else(|| Error::invalid_at(name, format!("`{name}` is an amount of dollars")))
    }

    /// `after`, as an earlier page gave it.
    pub(super) fn after(&self) -> Result<Option<Place>> {
        let Some(text) = self.text("after")? else { return Ok(None) };
        let place =
            text.split_once('.').and_then(|(at, id)| Some(Place { at: at.parse().ok()?, id: id.to_owned() }));
        place
            .map(Some)
            .ok_or_else(|| Error::invalid_at("after", "`after` is what an earlier page gave as `next`"))
    }

    /// The place behind `count` rows; `None`: there are no more.
    async fn walk(&self, filter: &Filter, count: u64) -> Result<Option<Place>> {
        if count > WALKED {
            let message = format!(
                "a page this far back is found by its `after`, which is the `next` of the page before; or ask for \
                 fewer days. Without it the first {WALKED} rows can be asked for"
            );
            return Err(Error::invalid_at("page", message));
        }
        let mut at: Option<Place> = None;
        let mut left = count;
        while left > 0 {
            let limit = u32::try_from(left.min(u64::from(ALL))).unwrap_or(ALL);
            let rows = self.books()?.list(filter, at.as_ref(), limit).await.map_err(stored)?;
            if rows.len() < limit as usize {
                return Ok(None);
            }
            at = rows.last().map(place);
            left -= u64::from(limit);
        }
        Ok(at)
    }
}

pub(super) fn place(receipt: &Receipt) -> Place {
    Place { at: receipt.at, id: receipt.id.clone() }
}

pub(super) fn written(place: &Place) -> String {
    format!("{}.{}", place.at, place.id)
}

/// Also what a caller gets for a call that is none of its business.
pub(super) fn unknown(id: &str) -> Error {
    let shown: String = id.chars().take(80).collect();
    Error::new(Kind::NotFound, format!("no receipt `{shown}`; GET /receipts lists the latest ones"))
}

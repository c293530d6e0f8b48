//! Rows of the tables, in and out.

use std::borrow::Cow;
use std::sync::Arc;

use tollway_meters::ScopeKind;
use tollway_model::Money;
use tollway_store::sql::{Cells, Kind, Row, clean};
use tollway_store::{StoreError, StoreResult};

use crate::books::line::{Detail, Line, Share, receipt};
use crate::books::sums::{self, Day, DayKey, Sum};
use crate::journal::record;
use crate::receipt::{Outcome, Receipt};

/// The columns of `receipts` but the last, in the order of [`Line`].
pub(super) const LINE: &str = "id, at, call_id, token, key_id, user_id, team_id, organization_id, customer_id, model, \
     model_group, provider, deployment, surface, operation, status, outcome, nanos, unknown, held, estimated, input, \
     output, cache_read, cache_write, total_us, first_byte_us, stream, session_id, tags, shares";

/// How many columns [`LINE`] has.
const LINES: usize = 31;

/// Those among them that are numbers.
const NUMBERS: [&str; 15] = [
    "at",
    "status",
    "nanos",
    "unknown",
    "held",
    "estimated",
    "input",
    "output",
    "cache_read",
    "cache_write",
    "total_us",
    "first_byte_us",
    "stream",
    "day",
    "minute",
];

/// The columns of `spend_days` that make rows differ.
pub(super) const DAY_KEY: &str = "of_kind, day, of_id, key_id, token, user_id, team_id, organization_id, model, \
     model_group, provider, surface, operation";

/// The columns of `spend_days` that add up.
pub(super) const DAY_COUNTS: [&str; 9] =
    ["nanos", "input", "output", "cache_read", "cache_write", "answered", "failed", "unknown", "total_us"];

/// Columns with what they hold.
pub(super) fn kinds(columns: &'static str) -> impl Iterator<Item = (&'static str, Kind)> {
    columns.split(", ").map(|column| {
        let number = NUMBERS.contains(&column);
        (column, if number { Kind::Int } else { Kind::Text })
    })
}

/// Writes a receipt: the columns of [`LINE`], and `detail`.
pub(super) fn write(receipt: &Receipt, cells: &mut dyn Cells) -> StoreResult<()> {
    let line = Line::of(receipt);
    let broken = |error: serde_json::Error| StoreError::Broken(error.to_string());
    let tags = if line.tags.is_empty() {
        None
    } else {
        let tags: Vec<_> = line.tags.iter().map(|tag| clean(tag)).collect();
        Some(serde_json::to_string(&tags).map_err(broken)?)
    };
    let shares = if line.shares.is_empty() {
        None
    } else {
        let shares: Vec<_> = line.shares.iter().map(cleaned).collect();
        Some(serde_json::to_string(&shares).map_err(broken)?)
    };
    cells.text(Some(&line.id));
    cells.int(Some(line.at));
    cells.text(line.call_id.as_deref());
    cells.text(Some(&line.token));
    cells.text(Some(&line.key));
    for text in [&line.user, &line.team, &line.organization, &line.customer, &line.model] {
        cells.text(text.as_deref());
    }
    cells.text(Some(&line.model_group));
    cells.text(line.provider.as_deref());
    cells.text(line.deployment.as_deref());
    cells.text(Some(&line.surface));
    cells.text(Some(&line.operation));
    cells.int(Some(i64::from(line.status)));
    cells.text(Some(outcome_name(line.outcome)));
    cells.int(line.nanos);
    cells.int(Some(i64::from(line.unknown)));
    cells.int(line.held);
    cells.int(Some(i64::from(line.estimated)));
    for count in [line.input, line.output, line.cache_read, line.cache_write, line.total_us] {
        cells.count(count);
    }
    cells.int(line.first_byte_us.and_then(|time| i64::try_from(time).ok()));
    cells.int(Some(i64::from(line.stream)));
    cells.text(line.session.as_deref());
    cells.text(tags.as_deref());
    cells.text(shares.as_deref());
    let mut detail = Vec::with_capacity(512);
    record::write(&mut detail, &Detail::of(receipt))
        .map_err(|error| StoreError::Broken(error.to_string()))?;
    cells.bytes(&detail);
    Ok(())
}

/// A share as the database takes it.
fn cleaned<'a>(share: &'a Share<'_>) -> Share<'a> {
    Share {
        deployment: clean(&share.deployment),
        provider: clean(&share.provider),
        model: clean(&share.model),
        ..*share
    }
}

/// A row of [`LINE`].
pub(super) fn line(row: &Row) -> StoreResult<Line<'static>> {
    let own = |column| Ok::<_, StoreError>(Cow::Owned(row.text(column)?.to_owned()));
    let maybe = |column| Ok::<_, StoreError>(row.maybe_text(column)?.map(|text| Cow::Owned(text.to_owned())));
    let count = |column| Ok::<_, StoreError>(unsigned(row.int(column)?));
    let tags: Vec<Arc<str>> = match row.maybe_text(29)? {
        Some(json) => serde_json::from_str(json)
            .map_err(|error| StoreError::Broken(format!("the tags of a receipt cannot be read: {error}")))?,
        None => Vec::new(),
    };
    let shares: Vec<Share<'static>> = match row.maybe_text(30)? {
        Some(json) => serde_json::from_str(json).map_err(|error| {
            StoreError::Broken(format!("the shares of a receipt cannot be read: {error}"))
        })?,
        None => Vec::new(),
    };
    Ok(Line {
        id: own(0)?,
        at: row.int(1)?,
        call_id: maybe(2)?,
        token: own(3)?,
        key: own(4)?,
        user: maybe(5)?,
        team: maybe(6)?,
        organization: maybe(7)?,
        customer: maybe(8)?,
        model: maybe(9)?,
        model_group: own(10)?,
        provider: maybe(11)?,
        deployment: maybe(12)?,
        surface: own(13)?,
        operation: own(14)?,
        status: u16::try_from(row.int(15)?).unwrap_or(0),
        outcome: outcome(row.text(16)?),
        nanos: row.maybe_int(17)?,
        unknown: row.int(18)? != 0,
        held: row.maybe_int(19)?,
        estimated: row.int(20)? != 0,
        input: count(21)?,
        output: count(22)?,
        cache_read: count(23)?,
        cache_write: count(24)?,
        total_us: count(25)?,
        first_byte_us: row.maybe_int(26)?.map(unsigned),
        stream: row.int(27)? != 0,
        session: maybe(28)?,
        tags: Cow::Owned(tags),
        shares,
    })
}

/// A row of [`LINE`] and `detail`.
pub(super) fn whole(row: &Row) -> StoreResult<Receipt> {
    let line = line(row)?;
    let detail: Detail<'_> = record::read(row.bytes(LINES)?).map_err(|error| {
        StoreError::Broken(format!("the detail of receipt {} cannot be read: {error}", line.id))
    })?;
    Ok(receipt(line, detail))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

const OUTCOMES: [(&str, Outcome); 5] = [
    ("answered", Outcome::Answered),
    ("refused", Outcome::Refused),
    ("failed", Outcome::Failed),
    ("client_closed", Outcome::ClientClosed),
    ("interrupted", Outcome::Interrupted),
];

pub(super) fn outcome_name(outcome: Outcome) -> &'static str {
    OUTCOMES.iter().find(|(_, one)| *one == outcome).map_or("failed", |(name, _)| name)
}

fn outcome(name: &str) -> Outcome {
    OUTCOMES.iter().find(|(one, _)| *one == name).map_or(Outcome::Failed, |(_, outcome)| *outcome)
}

/// Money, calls and unknown ones, from three columns on.
pub(super) fn sum(row: &Row, first: usize) -> StoreResult<Sum> {
    Ok(Sum {
        money: Money::from_nanos(row.maybe_int(first)?.unwrap_or(0)),
        calls: row.maybe_int(first + 1)?.unwrap_or(0),
        unknown: row.maybe_int(first + 2)?.unwrap_or(0),
    })
}

/// Writes the columns of a sum.
pub(super) fn write_sum(sum: Sum, cells: &mut dyn Cells) {
    for number in [sum.money.nanos(), sum.calls, sum.unknown] {
        cells.int(Some(number));
    }
}

/// Writes the columns of [`DAY_KEY`] and [`DAY_COUNTS`].
pub(super) fn write_day(key: &DayKey<'_>, day: &Day, cells: &mut dyn Cells) {
    cells.text(Some(key.of));
    cells.int(Some(key.day));
    for text in [
        &key.of_id,
        &key.key,
        &key.token,
        &key.user,
        &key.team,
        &key.organization,
        &key.model,
        &key.model_group,
        &key.provider,
        &key.surface,
        &key.operation,
    ] {
        cells.text(Some(text));
    }
    for number in [
        day.money.nanos(),
        day.input,
        day.output,
        day.cache_read,
        day.cache_write,
        day.answered,
        day.failed,
        day.unknown,
        day.total_us,
    ] {
        cells.int(Some(number));
    }
}

/// A row of [`DAY_KEY`] and [`DAY_COUNTS`].
pub(super) fn day(row: &Row) -> StoreResult<(DayKey<'static>, Day)> {
    let own = |column| Ok::<_, StoreError>(Cow::Owned(row.text(column)?.to_owned()));
    let key = DayKey {
        of: of_kind(row.text(0)?),
        day: row.int(1)?,
        of_id: own(2)?,
        key: own(3)?,
        token: own(4)?,
        user: own(5)?,
        team: own(6)?,
        organization: own(7)?,
        model: own(8)?,
        model_group: own(9)?,
        provider: own(10)?,
        surface: own(11)?,
        operation: own(12)?,
    };
    let day = Day {
        money: Money::from_nanos(row.int(13)?),
        input: row.int(14)?,
        output: row.int(15)?,
        cache_read: row.int(16)?,
        cache_write: row.int(17)?,
        answered: row.int(18)?,
        failed: row.int(19)?,
        unknown: row.int(20)?,
        total_us: row.int(21)?,
    };
    Ok((key, day))
}

/// The name that is a constant.
fn of_kind(name: &str) -> &'static str {
    let coarse = [sums::EVERYBODY, sums::TEAMS, sums::CUSTOMERS, sums::TAGS];
    let known = coarse.into_iter().find(|known| *known == name);
    known.or_else(|| kind_of(name).map(ScopeKind::name)).unwrap_or("")
}

/// The columns of `receipt_minutes` that make rows differ.
pub(super) const MINUTE_KEY: &str = "of_kind, of_id, minute";

/// Those that are counted.
pub(super) const MINUTE_COUNTS: [&str; 3] = ["calls", "least", "most"];

/// The columns of `spend_callers`.
pub(super) const CALLER: &str = "key_id, token, user_id, team_id, organization_id";

pub(super) fn kind_of(name: &str) -> Option<ScopeKind> {
    ScopeKind::ALL.into_iter().find(|kind| kind.name() == name)
}

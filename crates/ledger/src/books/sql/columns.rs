//! Rows of the tables, in and out.

use std::borrow::Cow;

use tollway_meters::ScopeKind;
use tollway_model::Money;
use tollway_store::sql::{Cells, Kind, Row};
use tollway_store::{StoreError, StoreResult};

use crate::books::line::{COLUMNS, Columns, Detail, Line, receipt};
use crate::books::sums::{self, Day, DayKey, Sum};
use crate::journal::record;
use crate::receipt::Receipt;

/// The columns of `receipts` but the last, in the order of [`Line`].
pub(super) const LINE: &str = "id, at, call_id, token, key_id, user_id, team_id, organization_id, customer_id, model, \
     model_group, provider, deployment, surface, operation, status, outcome, nanos, unknown, held, estimated, input, \
     output, cache_read, cache_write, total_us, first_byte_us, stream, session_id, tags, shares";

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

/// A row of [`LINE`].
pub(super) fn line(row: &Row) -> StoreResult<Line<'static>> {
    Line::read(&Kept(row))
}

/// The columns of a row that a database keeps.
struct Kept<'a>(&'a Row);

impl Columns<'static> for Kept<'_> {
    fn int(&self, column: usize) -> StoreResult<Option<i64>> {
        self.0.maybe_int(column)
    }

    fn text(&self, column: usize) -> StoreResult<Option<Cow<'static, str>>> {
        self.0.maybe_text(column).map(|text| text.map(|text| Cow::Owned(text.to_owned())))
    }
}

/// A row of [`LINE`] and `detail`.
pub(super) fn whole(row: &Row) -> StoreResult<Receipt> {
    let line = line(row)?;
    let detail: Detail<'_> = record::read(row.bytes(COLUMNS)?).map_err(|error| {
        StoreError::Broken(format!("the detail of receipt {} cannot be read: {error}", line.id))
    })?;
    Ok(receipt(line, detail))
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

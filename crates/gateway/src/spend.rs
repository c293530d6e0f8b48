//! `tollway spend`: what was spent, by whom, on what.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::json;
use tollway_ledger::books::{Books, DAY, Day, DayFilter, Range, Sum};
use tollway_ledger::litellm;
use tollway_meters::ScopeKind;
use tollway_pipeline::unix_millis;

use crate::cli::{SpendArgs, SpendBy};
use crate::ledger::{block_on, books, failed};
use crate::output::line;

/// Prints a table.
pub(crate) fn run(arguments: &SpendArgs) -> Result<ExitCode, String> {
    let today = unix_millis().div_euclid(DAY);
    let first = arguments.since.as_deref().map(|text| day(text, today)).transpose()?;
    let last = arguments.until.as_deref().map(|text| day(text, today)).transpose()?;
    block_on(async {
        let books = books(&arguments.ledger.place).await?;
        let rows = rows(&books, arguments, first, last).await?;
        if arguments.ledger.json {
            let shown = |(name, sum): &(String, Sum)| json!({ "name": name, "usd": sum.money.to_string(), "calls": sum.calls, "unknown_cost": sum.unknown });
            rows.iter().for_each(|row| line(&shown(row).to_string()));
        } else {
            table(arguments.by, &rows);
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Days since 1970 of `2026-11-20`, `today`, or `7d`: seven days back.
fn day(text: &str, today: i64) -> Result<i64, String> {
    let back = text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
    match (text, back) {
        ("today", _) => Ok(today),
        (_, Some(days)) => Ok(today.saturating_sub(days)),
        _ => litellm::day_of(text).ok_or_else(|| format!("{text} is no day; write 2026-11-20, today or 7d")),
    }
}

async fn rows(
    books: &dyn Books,
    arguments: &SpendArgs,
    first: Option<i64>,
    last: Option<i64>,
) -> Result<Vec<(String, Sum)>, String> {
    let kind = match arguments.by {
        SpendBy::Key => ScopeKind::Key,
        SpendBy::User => ScopeKind::User,
        SpendBy::Team => ScopeKind::Team,
        SpendBy::Organization => ScopeKind::Organization,
        SpendBy::Customer => ScopeKind::Customer,
        SpendBy::Tag => ScopeKind::Tag,
        SpendBy::Provider => ScopeKind::Provider,
        SpendBy::Deployment => ScopeKind::Deployment,
        by @ (SpendBy::Model | SpendBy::Day) => {
            let days = (first.unwrap_or(0), last.unwrap_or(i64::from(u32::MAX)));
            let found = books.days(&DayFilter { days, ..DayFilter::default() }).await.map_err(failed)?;
            return Ok(by_days(by, &found, arguments.limit as usize));
        }
    };
    let from = first.map(|day| day.saturating_mul(DAY));
    let until = last.map(|day| day.saturating_add(1).saturating_mul(DAY));
    let sums = books.sums(kind, Range { from, until }, arguments.limit).await.map_err(failed)?;
    Ok(sums.into_iter().map(|(id, sum)| (id.to_string(), sum)).collect())
}

fn by_days(by: SpendBy, days: &[litellm::DayRow], limit: usize) -> Vec<(String, Sum)> {
    let mut found: BTreeMap<String, Day> = BTreeMap::new();
    for (key, day) in days {
        let name = if by == SpendBy::Day { litellm::date(key.day) } else { key.model_group.to_string() };
        found.entry(name).or_default().add(day);
    }
    let sum = |day: &Day| Sum { money: day.money, calls: day.calls(), unknown: day.unknown };
    let mut rows: Vec<(String, Sum)> = found.iter().map(|(name, day)| (name.clone(), sum(day))).collect();
    if by == SpendBy::Day {
        // The latest days, in their order.
        let more = rows.len().saturating_sub(limit);
        rows.drain(..more);
    } else {
        rows.sort_by(|a, b| b.1.money.cmp(&a.1.money).then_with(|| a.0.cmp(&b.0)));
        rows.truncate(limit);
    }
    rows
}

fn table(by: SpendBy, rows: &[(String, Sum)]) {
    if rows.is_empty() {
        line("nothing was spent");
        return;
    }
    let heading = format!("{by:?}").to_lowercase();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).clamp(heading.len(), 60);
    line(&format!("{heading:<width$} {:>16} {:>10} {:>12}", "USD", "calls", "unknown cost"));
    for (name, sum) in rows {
        let unknown = if sum.unknown == 0 { String::new() } else { sum.unknown.to_string() };
        line(&format!("{name:<width$} {:>16} {:>10} {unknown:>12}", sum.money.to_string(), sum.calls));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_or_so_many_back() {
        let check =
            |text: &str, expected: Option<i64>| assert_eq!(day(text, 20_777).ok(), expected, "{text}");
        check("2026-11-19", Some(20_776));
        check("today", Some(20_777));
        check("7d", Some(20_770));
        check("yesterday", None);
    }
}

//! `/global/spend`, `/global/spend/report`, `/global/activity`, `/spend/tags`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tollway_model::Money;

use super::{Alias, DayRow, logs, timestamp};
use crate::books::{DAY, Day, DayKey, Sum};

/// `/global/spend`. `max_budget`: the budget over everything, if there is one.
pub fn global_spend(sum: Sum, max_budget: Option<Money>) -> Value {
    json!({
        "spend": sum.money.to_dollars_lossy(),
        "max_budget": max_budget.map_or(0.0, Money::to_dollars_lossy),
    })
}

/// `/spend/tags`.
pub fn spend_by_tag(sums: &[(Arc<str>, Sum)]) -> Value {
    let row = |(tag, sum): &(Arc<str>, Sum)| {
        json!({
            "individual_request_tag": tag,
            "log_count": sum.calls,
            "total_spend": sum.money.to_dollars_lossy(),
        })
    };
    sums.iter().map(row).collect()
}

/// What `/global/spend/report` groups the keys and models of a day by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportBy {
    /// Teams, by their alias.
    Team,
    /// Customers; from days that were asked for customers.
    Customer,
}

impl ReportBy {
    /// The member of a day that lists its groups.
    pub fn list(self) -> &'static str {
        match self {
            ReportBy::Team => "teams",
            ReportBy::Customer => "customers",
        }
    }

    /// The member of a group that names it.
    pub fn name(self) -> &'static str {
        match self {
            ReportBy::Team => "team_name",
            ReportBy::Customer => "customer",
        }
    }

    /// What a group is called.
    pub fn shown(self, id: &str, alias: Alias<'_>) -> Arc<str> {
        match self {
            ReportBy::Team if id.is_empty() => "Unassigned Team".into(),
            ReportBy::Team => alias(id).unwrap_or_else(|| Arc::from(id)),
            ReportBy::Customer => Arc::from(id),
        }
    }
}

/// `/global/spend/report` by team or customer: each day's groups, each with what every key spent on every model.
pub fn spend_report(days: &[DayRow], by: ReportBy, alias: Alias<'_>) -> Value {
    let mut found: BTreeMap<i64, Vec<&DayRow>> = BTreeMap::new();
    for row in days {
        found.entry(row.0.day).or_default().push(row);
    }
    let one = |(day, rows): (i64, Vec<&DayRow>)| json!({ "group_by_day": report_day(day), by.list(): groups(rows.into_iter(), by, alias) });
    found.into_iter().map(one).collect()
}

/// A day as reports write it.
pub fn report_day(day: i64) -> String {
    timestamp(day.saturating_mul(DAY)).strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The groups of one day.
pub fn spend_report_groups(rows: &[DayRow], by: ReportBy, alias: Alias<'_>) -> Vec<Value> {
    groups(rows.iter(), by, alias)
}

fn groups<'a>(rows: impl Iterator<Item = &'a DayRow>, by: ReportBy, alias: Alias<'_>) -> Vec<Value> {
    let mut found: BTreeMap<&str, Vec<&DayRow>> = BTreeMap::new();
    for row in rows {
        let id = match by {
            ReportBy::Team => &row.0.team,
            ReportBy::Customer => &row.0.of_id,
        };
        found.entry(id.as_ref()).or_default().push(row);
    }
    let group = |(id, rows): (&str, Vec<&DayRow>)| {
        let total: Money = rows.iter().map(|(_, day)| day.money).sum();
        json!({
            by.name(): by.shown(id, alias),
            "total_spend": total.to_dollars_lossy(),
            "metadata": lines(rows.into_iter()),
        })
    };
    found.into_iter().map(group).collect()
}

/// The lines of a group: what every key spent on every model.
pub fn spend_report_lines(rows: &[DayRow]) -> Vec<Value> {
    lines(rows.iter())
}

fn lines<'a>(rows: impl Iterator<Item = &'a DayRow>) -> Vec<Value> {
    let mut found: BTreeMap<(&str, &str), Day> = BTreeMap::new();
    for (key, day) in rows {
        found.entry((logs::model(key), key.token.as_ref())).or_default().add(day);
    }
    let line = |((model, token), day): ((&str, &str), Day)| {
        json!({
            "model": model,
            "api_key": token,
            "spend": day.money.to_dollars_lossy(),
            "total_tokens": day.input + day.output,
        })
    };
    found.into_iter().map(line).collect()
}

/// `/global/spend/report?group_by=api_key`, and the reports of one key, user or team: each key's models, the largest
/// spender first.
pub fn spend_report_by_key(days: &[DayRow]) -> Value {
    let mut found: BTreeMap<&str, (Day, BTreeMap<&str, Day>)> = BTreeMap::new();
    for (key, day) in days {
        let (all, models) = found.entry(key.token.as_ref()).or_default();
        all.add(day);
        models.entry(logs::model(key)).or_default().add(day);
    }
    let mut keys: Vec<_> = found.into_iter().collect();
    keys.sort_by(|(a, (one, _)), (b, (other, _))| other.money.cmp(&one.money).then_with(|| a.cmp(b)));
    let counts = |name: &'static str, value: &str, day: &Day| {
        json!({
            name: value,
            "total_cost": day.money.to_dollars_lossy(),
            "total_input_tokens": day.input,
            "total_output_tokens": day.output,
        })
    };
    let row = |(token, (all, models)): (&str, (Day, BTreeMap<&str, Day>))| {
        let mut row = counts("api_key", token, &all);
        let models: Vec<Value> = models.iter().map(|(model, day)| counts("model", model, day)).collect();
        if let Some(row) = row.as_object_mut() {
            row.insert("model_details".to_owned(), models.into());
        }
        row
    };
    keys.into_iter().map(row).collect()
}

/// `/global/activity`: calls and tokens a day.
pub fn global_activity(days: &[DayRow]) -> Value {
    activity(days.iter())
}

/// A day as charts show it: `Nov 20`.
pub fn short_date(day: i64) -> String {
    timestamp(day.saturating_mul(DAY)).strftime("%b %d").to_string()
}

/// `/global/activity/model`: the same by model, the ten most used first.
pub fn global_activity_by_model(days: &[DayRow]) -> Value {
    let mut found: BTreeMap<&str, (i64, Vec<&DayRow>)> = BTreeMap::new();
    for row in days {
        let (calls, rows) = found.entry(row.0.model_group.as_ref()).or_default();
        *calls += row.1.calls();
        rows.push(row);
    }
    let mut models: Vec<_> = found.into_iter().collect();
    models.sort_by(|(a, (one, _)), (b, (other, _))| other.cmp(one).then_with(|| a.cmp(b)));
    let one = |(model, (_, rows)): (&str, (i64, Vec<&DayRow>))| {
        let mut shown = activity(rows.into_iter());
        if let Some(shown) = shown.as_object_mut() {
            shown.insert("model".to_owned(), model.into());
        }
        shown
    };
    models.into_iter().take(10).map(one).collect()
}

fn activity<'a>(days: impl Iterator<Item = &'a (DayKey<'static>, Day)>) -> Value {
    let mut found: BTreeMap<i64, Day> = BTreeMap::new();
    let mut all = Day::default();
    for (key, day) in days {
        found.entry(key.day).or_default().add(day);
        all.add(day);
    }
    let one = |(day, counts): (&i64, &Day)| {
        json!({
            "date": short_date(*day),
            "api_requests": counts.calls(),
            "total_tokens": counts.input + counts.output,
        })
    };
    json!({
        "daily_data": found.iter().map(one).collect::<Vec<_>>(),
        "sum_api_requests": all.calls(),
        "sum_total_tokens": all.input + all.output,
    })
}

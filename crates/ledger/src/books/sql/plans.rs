//! How SQLite goes about what is asked: no list and no sum may look through a whole table.

use tollway_meters::ScopeKind;
use tollway_model::Money;
use tollway_store::Store;
use tollway_store::sql::{Dialect, Sql, Statement};

use super::filter::Conditions;
use super::{days, minutes, read, sums};
use crate::books::{DayFilter, DaysOf, Detail, Filter, HOUR, Place, Range, Within};

/// An empty database that believes it has ten million receipts of ten thousand keys: what SQLite found out about one that
/// has them.
async fn large() -> Store {
    let store = Store::open_and_migrate("memory:").await.unwrap();
    let sql = store.sql();
    sql.execute("ANALYZE", vec![]).await.unwrap();
    for statement in [
        "INSERT INTO sqlite_stat1 VALUES ('spend_days', 'spend_days', '9717311 1388188 44781 304 5 5 5 5 4 2 2 2 1 1')",
        "INSERT INTO sqlite_stat1 VALUES ('spend', 'spend', '23046242 30647 2608 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipt_minutes', 'receipt_minutes', '1468798 163200 36720 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'receipts_session', '999230 9993 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'receipts_call', '2500298 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'receipts_customer', '1665256 185029 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'receipts_team', '10000000 10000 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'receipts_user', '10000000 1000 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'receipts_key', '10000000 1000 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'receipts_at', '10000000 1')",
        "INSERT INTO sqlite_stat1 VALUES ('receipts', 'sqlite_autoindex_receipts_1', '10000000 1 1')",
        "ANALYZE sqlite_schema",
    ] {
        sql.execute(statement, vec![]).await.unwrap();
    }
    store
}

/// Tables that are read by a key or an index, and never whole.
const TABLES: [&str; 5] = ["receipts", "receipt_minutes", "spend", "spend_days", "spend_callers"];

async fn check(sql: &Sql, what: &str, (text, conditions): (String, Conditions)) {
    let text = Statement::assembled(format!("EXPLAIN QUERY PLAN {text}"));
    let rows = sql.query(text, conditions.values).await.unwrap();
    let steps: Vec<&str> = rows.iter().map(|row| row.text(3).unwrap()).collect();
    for step in &steps {
        let mut words = step.split(' ');
        let (how, table) = (words.next().unwrap(), words.next().unwrap_or_default());
        let in_order = *step == "SCAN receipts USING INDEX receipts_at";
        let whole = how == "SCAN" && TABLES.contains(&table) && !in_order;
        assert!(!whole && !step.contains("ANY(") && !step.contains("AUTOMATIC"), "{what}: {steps:#?}");
    }
    assert!(
        steps.iter().any(|step| step.contains("INDEX") || step.contains("PRIMARY KEY")),
        "{what}: {steps:#?}"
    );
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn receipts_are_listed_by_an_index() {
    let store = large().await;
    let range = Range { from: Some(5 * HOUR), until: Some(900 * HOUR) };
    let place = Place { at: 700 * HOUR, id: "r".to_owned() };
    for filter in [
        Filter::default(),
        Filter { range, ..Filter::default() },
        Filter { key: some("k"), ..Filter::default() },
        Filter { user: some("u"), range, ..Filter::default() },
        Filter { team: some("t"), model: some("m"), range, ..Filter::default() },
        Filter { customer: some("c"), ..Filter::default() },
        Filter { session: some("s"), ..Filter::default() },
        Filter { call: some("c"), ..Filter::default() },
    ] {
        for after in [None, Some(&place)] {
            let statement = read::rows_statement(store.sql(), &filter, after, 100);
            check(store.sql(), &format!("{filter:?}"), statement).await;
        }
    }
    for filter in [
        Filter { model: some("m"), range, ..Filter::default() },
        Filter { tag: some("t"), model_group: some("g"), ..Filter::default() },
        Filter { answered: Some(false), ..Filter::default() },
        Filter { min: Some(Money::from_nanos(5)), range, ..Filter::default() },
    ] {
        for after in [None, Some(&place)] {
            let mark = minutes::mark(&filter).unwrap();
            let (text, conditions) = mark.joined(store.sql(), &filter, after, 100);
            assert_eq!(text.matches(" at >= ").count() + text.matches(" at < ").count(), 2, "{text}");
            check(store.sql(), &format!("{filter:?}"), (text, conditions)).await;
        }
    }
}

#[tokio::test]
async fn sums_and_days_are_read_by_their_keys() {
    let store = large().await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let within = Some(Within { users: names(&["u"]), teams: names(&["t"]), ..Within::default() });
    let filters = [
        DayFilter::default(),
        DayFilter { keys: names(&["k"]), ..DayFilter::default() },
        DayFilter { users: names(&["u", "v"]), ..DayFilter::default() },
        DayFilter { teams: names(&["t"]), ..DayFilter::default() },
        DayFilter { tokens: names(&["h"]), of: DaysOf::Tags(names(&["a", "b"])), ..DayFilter::default() },
        DayFilter { of: DaysOf::Customers(names(&["c"])), ..DayFilter::default() },
        DayFilter { of: DaysOf::Tags(Vec::new()), within: within.clone(), ..DayFilter::default() },
        DayFilter { within, ..DayFilter::default() },
    ];
    for filter in filters {
        for detail in [Detail::All, Detail::Use, Detail::Keys, Detail::Days] {
            let filter = DayFilter { detail, limit: Some(9), ..filter.clone() };
            let statement =
                days::statement(store.sql().dialect(), &filter, &days::Source::of(&filter), (20_000, 20_030));
            check(store.sql(), &format!("{filter:?}"), statement).await;
        }
    }
    let range = Range { from: Some(20_000 * 24 * HOUR + 5), until: Some(20_030 * 24 * HOUR + 777) };
    for kind in ScopeKind::ALL {
        for id in [None, some("i")] {
            let statement = sums::Parts::of(range, 0).statement(store.sql().dialect(), kind, id);
            check(store.sql(), kind.name(), statement).await;
        }
    }
}

#[tokio::test]
async fn pieces_of_long_answers_are_read_by_their_keys() {
    let store = large().await;
    for kind in ScopeKind::ALL {
        for after in [None, Some("i")] {
            check(store.sql(), kind.name(), sums::of_day_statement(kind, 20_000, after, 9)).await;
        }
    }
    let team = DayFilter { teams: vec!["t".to_owned()], ..DayFilter::default() };
    let key = DayFilter { keys: vec!["k".to_owned()], ..DayFilter::default() };
    for filter in [team, key] {
        for after in [None, Some("i")] {
            check(store.sql(), &format!("{filter:?}"), days::keys_statement(&filter, after, 9)).await;
        }
    }
    // Everybody's are read in the table's order, so that reading ends at the limit.
    let (text, conditions) = days::keys_statement(&DayFilter::default(), Some("i"), 9);
    check(store.sql(), "everybody", (text, conditions)).await;
}

#[tokio::test]
async fn keys_of_a_report_come_in_the_tables_order() {
    let store = large().await;
    for detail in [Detail::Keys, Detail::All] {
        let filter = DayFilter { detail, limit: Some(9), ..DayFilter::default() };
        let of = |dialect| days::statement(dialect, &filter, &days::Source::of(&filter), (20_000, 20_030));
        let (text, conditions) = of(store.sql().dialect());
        let text = Statement::assembled(format!("EXPLAIN QUERY PLAN {text}"));
        let rows = store.sql().query(text, conditions.values).await.unwrap();
        let steps: Vec<&str> = rows.iter().map(|row| row.text(3).unwrap()).collect();
        // So that reading ends at the limit.
        assert!(steps.iter().all(|step| !step.contains("TEMP B-TREE")), "{steps:#?}");
        // Without an order PostgreSQL begins at the table's first row.
        let (text, _) = of(Dialect::Postgres);
        assert!(text.contains(" ORDER BY "), "{text}");
    }
}

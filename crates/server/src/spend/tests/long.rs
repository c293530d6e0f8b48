//! Long answers say what short ones would.

use http_body_util::BodyExt as _;
use serde_json::json;
use tollway_ledger::books::{DAY, DayFilter, DaysOf, Detail, HOUR};
use tollway_ledger::litellm::{ReportBy, logs_by_day, spend_report, spend_report_by_key};
use tollway_pipeline::{Cut, Pieces};

use super::super::long::{Bounds, Scribe};
use super::*;

/// So that every list has several pieces, and some are too long and are cut once more.
const TINY: Bounds = Bounds { rows: 5, at_once: 3, first_keys: 2, piece_rows: 4, sorted: 1_000 };

/// Forty keys in five teams and none, over four days.
async fn record(world: &World) -> (i64, i64) {
    let one = |number: u64| {
        let mut one = receipt(number);
        let key = number * 7 % 40;
        one.at = NOW - 4 * DAY + i64::try_from(number).unwrap() * HOUR / 7;
        one.who.key = (key != 3).then(|| format!("id-{key}").into());
        one.who.token = format!("hash-{key}-{}", number / 40 % 2).into();
        one.who.user = Some(format!("user-{}", key % 7).into());
        one.who.team = (!key.is_multiple_of(6)).then(|| format!("team-{}", key % 6).into());
        one.who.customer = (!key.is_multiple_of(4)).then(|| format!("customer-{}", key % 11).into());
        Arc::new(one)
    };
    let receipts: Vec<Arc<Receipt>> = (0..600).map(one).collect();
    world.books.record(&Batch::of(&receipts).unwrap()).await.unwrap();
    (receipts[0].at / DAY, NOW / DAY + 1)
}

async fn read(pieces: Pieces) -> Value {
    let bytes = ReplyBody::Pieces(pieces).collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&bytes)))
}

async fn written<F, W>(world: &World, bounds: Bounds, write: F) -> Value
where
    F: FnOnce(Scribe) -> W,
    W: Future<Output = Result<()>> + Send + 'static,
{
    let pieces = world.at_desk(MASTER, async |desk| desk.long_within(bounds, write).await.unwrap()).await;
    read(pieces).await
}

/// The same whatever the order of lists and members.
fn in_order(mut value: Value) -> Value {
    match &mut value {
        Value::Array(list) => {
            *list = std::mem::take(list).into_iter().map(in_order).collect();
            list.sort_by_key(ToString::to_string);
        }
        Value::Object(members) => {
            members.values_mut().for_each(|one| *one = in_order(one.take()));
            members.sort_keys();
        }
        _ => {}
    }
    value
}

#[tokio::test]
async fn reports_by_key_are_whole_and_the_largest_comes_first() {
    let world = World::new().await;
    let days = record(&world).await;
    let everybody = DayFilter { days, detail: Detail::Keys, ..DayFilter::default() };
    for (filter, sorted) in [
        (everybody.clone(), 1_000),
        (everybody.clone(), 7),
        (DayFilter { teams: vec!["team-2".into()], ..everybody.clone() }, 1_000),
        (DayFilter { users: vec!["user-3".into()], ..everybody.clone() }, 1_000),
    ] {
        let expected = spend_report_by_key(&world.books.days(&filter).await.unwrap());
        assert!(expected.as_array().unwrap().len() > 5);
        let bounds = Bounds { sorted, ..TINY };
        let found = written(&world, bounds, |scribe| scribe.report_by_key(filter)).await;
        assert_eq!(in_order(found), in_order(expected));
    }
    let found = written(&world, Bounds { first_keys: 1, piece_rows: 1, ..TINY }, |scribe| {
        scribe.report_by_key(everybody)
    });
    let found = found.await;
    // Two hashes of a key stand together, so it is keys that are in order.
    let mut keys: Vec<(String, f64)> = Vec::new();
    for row in found.as_array().unwrap() {
        let (token, cost) = (row["api_key"].as_str().unwrap(), row["total_cost"].as_f64().unwrap());
        let key = token.rsplit_once('-').unwrap().0.to_owned();
        match keys.last_mut().filter(|(last, _)| *last == key) {
            Some((_, sum)) => *sum += cost,
            None => keys.push((key, cost)),
        }
    }
    let with_id = keys.iter().filter(|(key, _)| key != "hash-3");
    let spent: Vec<f64> = with_id.map(|(_, spent)| *spent).collect();
    assert!(spent.len() > 15 && spent.is_sorted_by(|one, other| *one + 1e-9 >= *other), "{keys:?}");
}

#[tokio::test]
async fn reports_by_team_and_customer_are_whole() {
    let world = World::new().await;
    let days = record(&world).await;
    let teams = DayFilter { days, detail: Detail::Keys, ..DayFilter::default() };
    let customers = |named: &[&str]| DayFilter {
        of: DaysOf::Customers(named.iter().map(|name| (*name).to_owned()).collect()),
        ..teams.clone()
    };
    for (filter, by) in [
        (teams.clone(), ReportBy::Team),
        (customers(&[]), ReportBy::Customer),
        (customers(&["customer-2"]), ReportBy::Customer),
    ] {
        let expected = spend_report(&world.books.days(&filter).await.unwrap(), by, &|_| None);
        assert!(expected.as_array().unwrap().len() > 3);
        for bounds in [TINY, Bounds { rows: 40, at_once: 100, ..TINY }] {
            let filter = filter.clone();
            let found = written(&world, bounds, |scribe| scribe.report_by_day(filter, by)).await;
            assert_eq!(in_order(found), in_order(expected.clone()), "{by:?}");
        }
    }
    let nobody = written(&world, TINY, |scribe| {
        scribe.report_by_day(DayFilter { days: (0, 9), ..DayFilter::default() }, ReportBy::Team)
    });
    assert_eq!(nobody.await, json!([]));
}

#[tokio::test]
async fn logs_by_day_are_whole() {
    let world = World::new().await;
    let (first, last) = record(&world).await;
    let all = DayFilter { days: (first - 2, last), detail: Detail::Keys, ..DayFilter::default() };
    for filter in [all.clone(), DayFilter { users: vec!["user-3".into()], ..all.clone() }] {
        let expected = logs_by_day(&world.books.days(&filter).await.unwrap(), last);
        assert!(expected.as_array().unwrap().len() > 4);
        let found = written(&world, TINY, |scribe| scribe.logs_by_day(filter)).await;
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn teams_add_up_though_two_have_one_name() {
    let world = World::new().await;
    let days = record(&world).await;
    for id in ["team-1", "team-2"] {
        let team = Team { team_id: id.into(), team_alias: Some("same".into()), ..Team::default() };
        world.store.shelf::<Team>().insert(team).await.unwrap();
    }
    let filter = DayFilter { days, detail: Detail::Teams, ..DayFilter::default() };
    let rows = world.books.days(&filter).await.unwrap();
    let name = |id: &str| match id {
        "" => "Unassigned".to_owned(),
        "team-1" => "same".to_owned(),
        id => id.to_owned(),
    };
    let found = written(&world, TINY, |scribe| scribe.teams(days)).await;
    let mut count = 0;
    for day in found["daily_spend"].as_array().unwrap() {
        let date = day["date"].as_str().unwrap();
        let of_day = rows.iter().filter(|(key, _)| tollway_ledger::litellm::date(key.day) == date);
        let expected: Vec<(String, Money)> = of_day.map(|(key, day)| (name(&key.team), day.money)).collect();
        assert_eq!(day.as_object().unwrap().len(), expected.len() + 1);
        for (team, money) in &expected {
            assert_eq!(dollars(&day[team.as_str()]), *money, "{date} {team}");
        }
        count += expected.len();
    }
    assert_eq!(count, rows.len());
    let all: Money = rows.iter().map(|(_, day)| day.money).sum();
    let per_team = found["total_spend_per_team"].as_array().unwrap();
    assert_eq!(per_team.iter().map(|team| dollars(&team["total_spend"])).sum::<Money>(), all);
    assert_eq!((found["teams"].as_array().unwrap().len(), per_team.len()), (6, 6));
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error_and_no_piece() {
    let world = World::with_database_away().await;
    let error = world.at_desk(MASTER, async |desk| {
        desk.long(|scribe| scribe.report_by_key(DayFilter::default())).await.unwrap_err()
    });
    assert_eq!(error.await.status(), 503);
    let cut = Pieces::begin(|mut writer| async move {
        writer.write(b"[1,").await?;
        writer.flush().await?;
        tokio::task::yield_now().await;
        Err(tollway_model::Error::internal("broken"))
    });
    assert_eq!(ReplyBody::Pieces(cut.await.unwrap()).collect().await.unwrap_err(), Cut);
}

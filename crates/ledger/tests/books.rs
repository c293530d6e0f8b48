//! One suite for every kind of books: what SQL computes is compared with the plain definition in memory.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests: they fail by panicking"
)]

use std::sync::Arc;

use tollway_ledger::books::{
    Adjustment, Batch, Books, Counted, DAY, DayFilter, DaysOf, Detail, Filter, HOUR, MemoryBooks, Order,
    Place, Range, SortBy, SqlBooks, Within,
};
use tollway_ledger::{Outcome, Receipt, sample};
use tollway_meters::{Scope, ScopeKind};
use tollway_model::Money;
use tollway_store::Store;
use tollway_store::sql::Statement;

const KINDS: [ScopeKind; 12] = [
    ScopeKind::Global,
    ScopeKind::Key,
    ScopeKind::User,
    ScopeKind::Team,
    ScopeKind::TeamMember,
    ScopeKind::Organization,
    ScopeKind::Customer,
    ScopeKind::Tag,
    ScopeKind::ModelPerKey,
    ScopeKind::ModelPerTeam,
    ScopeKind::Deployment,
    ScopeKind::Provider,
];

/// Receipts spread over about five days.
fn receipts(count: u64) -> Vec<Arc<Receipt>> {
    let spread = |number: u64| {
        let mut receipt = sample::receipt(number);
        receipt.at += i64::try_from(number).unwrap() * 5 * DAY / i64::try_from(count).unwrap();
        Arc::new(receipt)
    };
    (0..count).map(spread).collect()
}

fn shown(receipts: &[Receipt]) -> Vec<serde_json::Value> {
    receipts.iter().map(|receipt| serde_json::to_value(receipt).unwrap()).collect()
}

fn scope(kind: ScopeKind, id: &str) -> Scope {
    Scope { kind, id: id.into() }
}

async fn suite(store: &Store) {
    let books = SqlBooks::new(store.sql().clone());
    let plain = MemoryBooks::new();
    let all = receipts(700);
    records_once(&books, &plain, &all).await;
    reads_alike(&books, &plain).await;
    adjusts_once(&books, &plain, &all).await;
    sums_alike(&books, &plain).await;
    uses_alike(&books, &plain, &all).await;
    pieces_are_the_whole(&books, &plain).await;
    proves(&books).await;
    finds_and_repairs_damage(store, &books, &plain).await;
    forgets(&books, &plain, &all).await;
    takes_odd_text(&books).await;
}

/// Money of single models, and tokens of days: what has no sums of its own.
async fn uses_alike(books: &dyn Books, plain: &dyn Books, all: &[Arc<Receipt>]) {
    let begin = all.iter().map(|receipt| receipt.at).min().unwrap();
    let first = all.iter().find(|one| one.who.user.is_some() && one.who.team.is_some()).unwrap();
    let (user, team) = (first.who.user.clone().unwrap(), first.who.team.clone().unwrap());
    let customer = all.iter().find_map(|one| one.who.customer.clone()).unwrap();
    let tag = all.iter().find_map(|one| one.who.tags.first().cloned()).unwrap();
    let key = all.iter().find_map(|one| one.who.key.clone()).unwrap();
    let of_user = |one: &Receipt| one.who.user.as_ref() == Some(&user);
    let of_member = |one: &Receipt| of_user(one) && one.who.team.as_ref() == Some(&team);
    let of_customer = |one: &Receipt| one.who.customer.as_ref() == Some(&customer);
    let of_tag = |one: &Receipt| one.who.tags.contains(&tag);
    type Belongs<'a> = &'a dyn Fn(&Receipt) -> bool;
    let member = format!("{team}/{user}");
    let owners: [(ScopeKind, ScopeKind, &str, Belongs<'_>); 4] = [
        (ScopeKind::User, ScopeKind::ModelPerUser, &user, &of_user),
        (ScopeKind::TeamMember, ScopeKind::ModelPerMember, &member, &of_member),
        (ScopeKind::Customer, ScopeKind::ModelPerCustomer, &customer, &of_customer),
        (ScopeKind::Tag, ScopeKind::ModelPerTag, &tag, &of_tag),
    ];
    for (whole, by_model, id, belongs) in owners {
        let model = all.iter().find(|one| belongs(one)).unwrap().model_group().to_owned();
        for from in
            [None, Some(begin), Some(begin + DAY + 5), Some((begin / DAY + 2) * DAY), Some(begin + 9 * DAY)]
        {
            let since = |one: &&Arc<Receipt>| belongs(one) && one.at >= from.unwrap_or(0);
            let wanted: Vec<_> = all.iter().filter(since).filter(|one| one.model_group() == model).collect();
            let scope = scope(by_model, &format!("{id}:{model}"));
            let sum = books.spent(&scope, from).await.unwrap();
            let money = wanted.iter().filter_map(|one| one.cost.nanos).map(Money::nanos).sum::<i64>();
            assert_eq!((sum.calls, sum.money.nanos()), (wanted.len() as i64, money), "{scope:?} {from:?}");
            assert_eq!(plain.spent(&scope, from).await.unwrap(), sum, "{scope:?} {from:?}");
        }
        let midnight = (begin / DAY + 2) * DAY;
        let since = all.iter().filter(|one| belongs(one) && one.at >= midnight);
        let tokens: u64 = since.filter_map(|one| one.usage).map(|usage| usage.total()).sum();
        let scope = scope(whole, id);
        assert!(tokens > 0);
        assert_eq!(books.tokens(&scope, midnight).await.unwrap(), tokens, "{scope:?}");
        assert_eq!(plain.tokens(&scope, midnight).await.unwrap(), tokens, "{scope:?}");
    }
    let of_key: u64 = all
        .iter()
        .filter(|one| one.who.key.as_ref() == Some(&key))
        .filter_map(|one| one.usage)
        .map(|usage| usage.total())
        .sum();
    assert_eq!(books.tokens(&scope(ScopeKind::Key, &key), 0).await.unwrap(), of_key);
}

async fn records_once(books: &dyn Books, plain: &dyn Books, all: &[Arc<Receipt>]) {
    let batch = Batch::of(&all[..400]).unwrap();
    assert_eq!(books.record(&batch).await.unwrap(), 400);
    assert_eq!(books.record(&batch).await.unwrap(), 0, "known already");
    // Half of it is known, and one is there twice.
    let mut half = all[200..].to_vec();
    half.push(all[650].clone());
    assert_eq!(books.record(&Batch::of(&half).unwrap()).await.unwrap(), 300);
    assert_eq!(plain.record(&Batch::of(all).unwrap()).await.unwrap(), 700);
}

async fn reads_alike(books: &dyn Books, plain: &dyn Books) {
    for filter in filters() {
        let (mut after, mut found) = (None, Vec::new());
        // Pages of odd sizes.
        loop {
            let page = books.list(&filter, after.as_ref(), 93).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(Place { at: last.at, id: last.id.clone() });
            found.extend(page);
        }
        let expected = plain.list(&filter, None, 10_000).await.unwrap();
        assert_eq!(shown(&found), shown(&expected), "{filter:?}");
        let all = Counted { calls: expected.len() as u64, whole: true };
        assert_eq!(books.count(&filter, 10_000).await.unwrap(), all, "{filter:?}");
        let some = books.count(&filter, 5).await.unwrap();
        assert!(some == all || (!some.whole && some.calls <= all.calls), "{filter:?} {some:?}");
    }
    orders_alike(books, plain).await;
    let other = (0..700).map(sample::receipt).find(|receipt| receipt.call_id != receipt.id).unwrap();
    for id in [&other.id, &other.call_id] {
        assert_eq!(books.get(id).await.unwrap().unwrap().id, other.id);
    }
    assert!(books.get("nobody").await.unwrap().is_none());
}

async fn orders_alike(books: &dyn Books, plain: &dyn Books) {
    use SortBy::{Arrived, Cost, Duration, Ended, FirstByte, Model, Tokens};
    let user = Filter { user: Some("user-4".to_owned()), ..Filter::default() };
    for by in [Arrived, Ended, Cost, Tokens, Duration, FirstByte, Model] {
        for (filter, descending) in [(&user, true), (&user, false), (&Filter::default(), true)] {
            let order = Order { by, descending };
            let mut found = Vec::new();
            for page in 0..2 {
                found.extend(books.sorted(filter, order, page * 40, 40).await.unwrap());
            }
            let expected = plain.sorted(filter, order, 0, 80).await.unwrap();
            assert!(expected.len() > 20 && shown(&found) == shown(&expected), "{order:?} {filter:?}");
        }
    }
}

fn filters() -> Vec<Filter> {
    let text = |text: &str| Some(text.to_owned());
    let master = (0..700).map(sample::receipt).find(|receipt| receipt.who.key.is_none()).unwrap();
    vec![
        Filter::default(),
        Filter {
            range: Range { from: Some(sample::BEGIN + DAY), until: Some(sample::BEGIN + 2 * DAY) },
            ..Filter::default()
        },
        Filter { key: text("key-3"), ..Filter::default() },
        Filter { key: text("admin"), ..Filter::default() },
        Filter { token: text(&master.who.token), ..Filter::default() },
        Filter { user: text("user-4"), answered: Some(true), ..Filter::default() },
        Filter { team: text("team-2"), answered: Some(false), ..Filter::default() },
        Filter { teams: vec!["team-2".into(), "team-5".into()], ..Filter::default() },
        Filter { organization: text("organization"), ..Filter::default() },
        Filter { customer: text("customer-1"), ..Filter::default() },
        Filter { model: text("model-2"), model_group: text("group-2"), ..Filter::default() },
        Filter { provider: text("anthropic"), ..Filter::default() },
        Filter { deployment: text("deployment-2"), ..Filter::default() },
        Filter { session: text("session-7"), ..Filter::default() },
        Filter { tag: text("job-3"), ..Filter::default() },
        Filter { tag: text("job-3"), team: text("team-2"), ..Filter::default() },
        Filter { answered: Some(false), ..Filter::default() },
        Filter { model_group: text("nobody's"), ..Filter::default() },
        Filter { token: text("nobody's"), ..Filter::default() },
        Filter {
            range: Range { from: Some(sample::BEGIN + 12_345), until: Some(sample::BEGIN + DAY + 777) },
            model: text("model-1"),
            ..Filter::default()
        },
        Filter {
            range: Range { from: Some(sample::BEGIN + 60_001), until: Some(sample::BEGIN + 60_010) },
            ..Filter::default()
        },
        Filter { min: Some(Money::from_nanos(49_000_000)), provider: text("openai"), ..Filter::default() },
        Filter { call: text("call-12"), ..Filter::default() },
        Filter { status: Some(200), team: text("team-2"), ..Filter::default() },
        Filter {
            min: Some(Money::from_nanos(10_000_000)),
            max: Some(Money::from_nanos(20_000_000)),
            ..Filter::default()
        },
        Filter {
            within: Some(Within {
                keys: vec!["key-3".into()],
                users: vec!["user-4".into()],
                teams: vec!["team-2".into()],
            }),
            tag: text("production"),
            ..Filter::default()
        },
        Filter {
            within: Some(Within { users: vec!["user-4".into()], ..Within::default() }),
            ..Filter::default()
        },
    ]
}

async fn adjusts_once(books: &dyn Books, plain: &dyn Books, all: &[Arc<Receipt>]) {
    let adjustments = [
        (ScopeKind::Key, "key-3", all[300].at + 1, -5_000_000),
        (ScopeKind::Team, "team-2", all[600].at, -70),
        (ScopeKind::User, "nobody else", sample::BEGIN + 40, 12),
    ];
    for (number, (kind, id, at, amount)) in adjustments.into_iter().enumerate() {
        let adjustment = Adjustment {
            id: format!("adjustment-{number}"),
            at,
            scope: scope(kind, id),
            amount: Money::from_nanos(amount),
            reason: "a test".into(),
        };
        for books in [books, plain] {
            assert!(books.adjust(&adjustment).await.unwrap());
            assert!(!books.adjust(&adjustment).await.unwrap(), "once");
        }
    }
}

async fn sums_alike(books: &dyn Books, plain: &dyn Books) {
    let begin = sample::BEGIN;
    let ranges = [
        (None, None),
        (Some(begin + DAY), None),
        (Some(begin + DAY + 1_234_567), None),
        (Some(begin + 17), Some(begin + 3 * DAY + 999)),
        (Some(begin + 100_000), Some(begin + 500_000)),
        (Some(begin + 20 * DAY), None),
    ];
    for kind in KINDS {
        for (from, until) in ranges {
            let range = Range { from, until };
            let expected = plain.sums(kind, range, 1000).await.unwrap();
            assert_eq!(books.sums(kind, range, 1000).await.unwrap(), expected, "{kind:?} {range:?}");
            for (id, sum) in expected.iter().filter(|_| until.is_none()) {
                assert_eq!(
                    books.spent(&scope(kind, id), from).await.unwrap(),
                    *sum,
                    "{kind:?} {id} {from:?}"
                );
            }
        }
        assert_eq!(books.sums(kind, Range::default(), 1).await.unwrap().len(), 1);
    }
    assert_eq!(books.spent(&scope(ScopeKind::Key, "nobody"), None).await.unwrap().calls, 0);
    let day = begin / DAY;
    let days = [
        DayFilter { days: (0, i64::MAX), ..DayFilter::default() },
        DayFilter { days: (day + 1, day + 2), ..DayFilter::default() },
        DayFilter {
            days: (day, day + 9),
            users: vec!["user-4".into(), "user-5".into()],
            ..DayFilter::default()
        },
        DayFilter {
            days: (day, day + 9),
            teams: vec!["team-1".into()],
            models: vec!["model-1".into()],
            ..DayFilter::default()
        },
        DayFilter { days: (day, day + 9), of: DaysOf::Tags(vec!["job-1".into()]), ..DayFilter::default() },
        DayFilter {
            days: (day, day + 9),
            of: DaysOf::Customers(vec![]),
            providers: vec!["openai".into()],
            ..DayFilter::default()
        },
        DayFilter {
            days: (day, day + 9),
            without_teams: vec!["team-1".into(), "team-3".into()],
            within: Some(Within {
                keys: vec!["key-3".into()],
                users: vec![],
                teams: vec!["team-1".into(), "team-2".into()],
            }),
            ..DayFilter::default()
        },
    ];
    let teams = |teams: &[&str], within: &[&str], detail| DayFilter {
        days: (day, day + 9),
        teams: teams.iter().map(|team| (*team).to_owned()).collect(),
        within: (!within.is_empty()).then(|| Within {
            users: vec!["user-4".to_owned()],
            teams: within.iter().map(|team| (*team).to_owned()).collect(),
            ..Within::default()
        }),
        detail,
        ..DayFilter::default()
    };
    let of_teams = [
        teams(&["team-1", "team-2"], &[], Detail::Use),
        teams(&["team-1"], &["team-1", "team-2"], Detail::Days),
        teams(&["team-1", "team-3"], &["team-1", "team-2"], Detail::Models),
        teams(&[], &["team-1", "team-2"], Detail::Providers),
        DayFilter { without_teams: vec!["team-1".into()], ..teams(&[], &[], Detail::Teams) },
        DayFilter { without_teams: vec!["team-1".into()], ..teams(&[], &[], Detail::Use) },
        DayFilter { without_teams: vec!["team-1".into(), "team-2".into()], ..teams(&[], &[], Detail::Days) },
        DayFilter { of: DaysOf::Customers(vec![]), ..teams(&[], &["team-1"], Detail::Days) },
        DayFilter { of: DaysOf::Tags(vec!["production".into()]), ..teams(&["team-2"], &[], Detail::Days) },
        DayFilter { keys: vec!["key-3".into()], ..teams(&[], &[], Detail::Models) },
        DayFilter { providers: vec!["openai".into()], ..teams(&[], &[], Detail::Models) },
    ];
    let details = [Detail::Use, Detail::Models, Detail::Teams, Detail::Keys, Detail::Providers, Detail::Days]
        .into_iter();
    let whole = DayFilter { days: (day, day + 9), ..DayFilter::default() };
    let tags = DayFilter { of: DaysOf::Tags(Vec::new()), ..whole.clone() };
    let coarse =
        details.flat_map(|detail| [whole.clone(), tags.clone()].map(|days| DayFilter { detail, ..days }));
    let days = days.into_iter().chain(of_teams).chain(coarse);
    for filter in days {
        let (found, expected) = (books.days(&filter).await.unwrap(), plain.days(&filter).await.unwrap());
        assert!(!expected.is_empty());
        assert_eq!(found, expected, "{filter:?}");
        let first = books.days(&DayFilter { limit: Some(2), ..filter.clone() }).await.unwrap();
        assert_eq!(first.len(), expected.len().min(2), "{filter:?}");
    }
    let nobody = DayFilter { within: Some(Within::default()), ..whole };
    assert!(books.days(&nobody).await.unwrap().is_empty() && plain.days(&nobody).await.unwrap().is_empty());
    let nobody = Filter { within: Some(Within::default()), ..Filter::default() };
    assert!(books.list(&nobody, None, 9).await.unwrap().is_empty());
}

/// What long answers are made of: the sums of a day, and whoever called, a few at a time.
async fn pieces_are_the_whole(books: &dyn Books, plain: &dyn Books) {
    let first = sample::BEGIN / DAY;
    for kind in KINDS {
        for day in [first, first + 2, first + 90] {
            let expected = plain.day_sums(kind, day, None, 1000).await.unwrap();
            assert_eq!(expected.is_empty(), day == first + 90, "{kind:?}");
            let mut found = Vec::new();
            loop {
                let after = found.last().map(|(id, _): &(Arc<str>, _)| id.to_string());
                let piece = books.day_sums(kind, day, after.as_deref(), 7).await.unwrap();
                let over = piece.len() < 7;
                found.extend(piece);
                if over {
                    break;
                }
            }
            assert_eq!(found, expected, "{kind:?} {day}");
        }
    }
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let within = Within { users: names(&["user-4"]), teams: names(&["team-1"]), ..Within::default() };
    for filter in [
        DayFilter::default(),
        DayFilter { teams: names(&["team-1", "team-2"]), ..DayFilter::default() },
        DayFilter { teams: names(&[""]), ..DayFilter::default() },
        DayFilter { users: names(&["user-4"]), models: names(&["nobody's"]), ..DayFilter::default() },
        DayFilter { without_teams: names(&["team-1"]), ..DayFilter::default() },
        DayFilter { keys: names(&["key-3", "key-5", "nobody's"]), ..DayFilter::default() },
        DayFilter { within: Some(within), ..DayFilter::default() },
        DayFilter { within: Some(Within::default()), ..DayFilter::default() },
    ] {
        let expected = plain.callers(&filter, None, 1000).await.unwrap();
        let mut found: Vec<String> = Vec::new();
        loop {
            let piece = books.callers(&filter, found.last().map(String::as_str), 2).await.unwrap();
            let over = piece.len() < 2;
            found.extend(piece);
            if over {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    }
    assert!(plain.callers(&DayFilter::default(), None, 1000).await.unwrap().len() > 5);
}

async fn proves(books: &dyn Books) {
    let found = books.verify(&|_, _| ()).await.unwrap();
    assert_eq!((found.different, found.receipts), (0, 700), "{:?}", found.differences);
    assert!(found.total > Money::ZERO && found.unknown > 0 && found.scopes > 50);
}

async fn finds_and_repairs_damage(store: &Store, books: &dyn Books, plain: &dyn Books) {
    let damage: [(&'static str, &str); 9] = [
        ("UPDATE spend SET nanos = nanos + 1 WHERE hour <= -1000 AND id = 'key-5'", "day"),
        ("UPDATE receipt_minutes SET calls = calls + 1 WHERE of_id = 'model-3'", "minute"),
        ("DELETE FROM spend_callers WHERE key_id = 'key-5'", "caller"),
        (
            "UPDATE spend SET nanos = nanos + 1 WHERE hour = -1 AND scope = 'api_key' AND id = 'key-5'",
            "lifetime",
        ),
        ("DELETE FROM spend WHERE hour = (SELECT max(hour) FROM spend) AND scope = 'global'", "hour"),
        (
            "INSERT INTO spend (scope, id, hour, nanos, calls, unknown) VALUES ('user', 'ghost', 999999, 1, 1, 0)",
            "hour",
        ),
        ("UPDATE spend_days SET output = output + 1 WHERE of_kind = '' AND key_id = 'key-7'", "day"),
        ("DELETE FROM spend_days WHERE of_kind = 'tag' AND of_id = 'job-2'", "days"),
        ("DELETE FROM receipts WHERE key_id = 'key-9' AND outcome = 'answered'", "lifetime"),
    ];
    for (statement, what) in damage {
        assert!(store.sql().execute(statement, vec![]).await.unwrap() > 0, "{statement}");
        let found = books.verify(&|_, _| ()).await.unwrap();
        assert!(found.differences.iter().any(|difference| difference.what == what), "{statement}: {found:?}");
    }
    // The receipts that are gone come back by shipping them again; the sums by making them anew.
    let after = books.rebuild(&|_, _| ()).await.unwrap();
    assert_eq!(after.different, 0, "{:?}", after.differences);
    assert!(after.receipts < 700);
    let back = Batch::of(&receipts(700)).unwrap();
    assert_eq!(books.record(&back).await.unwrap(), 700 - after.receipts);
    proves(books).await;
    sums_alike(books, plain).await;
}

async fn forgets(books: &dyn Books, plain: &dyn Books, all: &[Arc<Receipt>]) {
    let before = sample::BEGIN + 2 * DAY + 5 * HOUR;
    let gone = books.retain(before).await.unwrap();
    assert_eq!(gone.receipts, plain.retain(before).await.unwrap().receipts);
    assert!(gone.receipts > 100);
    assert_eq!(books.retain(before).await.unwrap().receipts, 0);
    let midnight = before / DAY * DAY;
    let kept = books.list(&Filter::default(), None, 10_000).await.unwrap();
    assert!(kept.iter().all(|receipt| receipt.at >= midnight));
    assert_eq!(kept.len(), all.iter().filter(|receipt| receipt.at >= midnight).count());
    let verified = books.verify(&|_, _| ()).await.unwrap();
    assert_eq!(verified.different, 0, "{:?}", verified.differences);
    let rebuilt = books.rebuild(&|_, _| ()).await.unwrap();
    assert_eq!(rebuilt.different, 0, "{:?}", rebuilt.differences);
    for kind in KINDS {
        let lifetime = plain.sums(kind, Range::default(), 1000).await.unwrap();
        assert_eq!(books.sums(kind, Range::default(), 1000).await.unwrap(), lifetime, "sums stay");
        let old = Range { from: Some(sample::BEGIN + HOUR + 5), until: None };
        let (found, whole) =
            (books.sums(kind, old, 1000).await.unwrap(), plain.sums(kind, old, 1000).await.unwrap());
        assert_eq!(
            found.iter().map(|(id, sum)| (id, sum.calls)).collect::<Vec<_>>(),
            whole.iter().map(|(id, sum)| (id, sum.calls)).collect::<Vec<_>>()
        );
    }
    // A receipt that was on its way for longer than receipts are kept.
    let mut late = sample::receipt(9_999);
    late.at = sample::BEGIN - 30 * DAY;
    for books in [books, plain] {
        assert_eq!(books.record(&Batch::of(&[Arc::new(late.clone())]).unwrap()).await.unwrap(), 1);
    }
    assert_eq!(books.verify(&|_, _| ()).await.unwrap().different, 0);
    assert!(books.thin(sample::BEGIN + DAY).await.unwrap() > 0);
    let thinned = books.verify(&|_, _| ()).await.unwrap();
    assert_eq!(thinned.different, 0, "{:?}", thinned.differences);
    assert_eq!(
        books.sums(ScopeKind::Key, Range::default(), 9).await.unwrap(),
        plain.sums(ScopeKind::Key, Range::default(), 9).await.unwrap()
    );
}

async fn takes_odd_text(books: &dyn Books) {
    let mut odd = sample::receipt(20_000);
    odd.model = "a\0b'\"\\ü".into();
    odd.who.customer = Some("x\0".into());
    odd.who.tags = vec!["t\0".into(), "t\0".into(), "%_".into()];
    odd.outcome = Outcome::Answered;
    assert_eq!(books.record(&Batch::of(&[Arc::new(odd.clone())]).unwrap()).await.unwrap(), 1);
    let read = books.get(&odd.id).await.unwrap().unwrap();
    assert_eq!(read.model, "a\u{fffd}b'\"\\ü");
    let tagged = Filter { tag: Some("t\u{fffd}".into()), ..Filter::default() };
    assert_eq!(books.list(&tagged, None, 9).await.unwrap().len(), 1);
    let verified = books.verify(&|_, _| ()).await.unwrap();
    assert_eq!(verified.different, 0, "{:?}", verified.differences);
}

async fn filled_at_once(store: &Store) {
    let books = SqlBooks::new(store.sql().clone());
    let mut all = receipts(700);
    all.sort_by_key(|receipt| receipt.at);
    let mut filling = books.filling();
    for some in all.chunks(131) {
        filling.add(some.to_vec()).await.unwrap();
    }
    filling.finish().await.unwrap();
    proves(&books).await;
}

#[tokio::test]
async fn books_that_were_filled_at_once_are_exact() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("books.db");
    filled_at_once(&Store::open_and_migrate(path.to_str().unwrap()).await.unwrap()).await;
    let Some(url) = tollway_testkit::services::new_database() else { return };
    filled_at_once(&Store::open_and_migrate(&url).await.unwrap()).await;
}

#[tokio::test]
async fn books_in_an_sqlite_file_are_exact() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("books.db");
    suite(&Store::open_and_migrate(path.to_str().unwrap()).await.unwrap()).await;
}

#[tokio::test]
async fn books_on_postgresql_are_exact() {
    let Some(url) = tollway_testkit::services::new_database() else { return };
    suite(&Store::open_and_migrate(&url).await.unwrap()).await;
}

#[tokio::test]
async fn postgresql_drops_whole_days() {
    let Some(url) = tollway_testkit::services::new_database() else { return };
    let store = Store::open_and_migrate(&url).await.unwrap();
    let books = SqlBooks::new(store.sql().clone());
    books.record(&Batch::of(&receipts(100)).unwrap()).await.unwrap();
    let count = "SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass('receipts')";
    let partitions = || async {
        store.sql().query_one(Statement::from(count), vec![]).await.unwrap().unwrap().int(0).unwrap()
    };
    let before = partitions().await;
    assert!(before >= 7, "five days and two ahead: {before}");
    let gone = books.retain(sample::BEGIN + 2 * DAY).await.unwrap();
    assert_eq!(gone.partitions, 2);
    assert_eq!(partitions().await, before - 2);
    // Another process dropped it: this one finds out.
    let other = SqlBooks::new(store.sql().clone());
    other.record(&Batch::of(&[receipts(100)[99].clone()]).unwrap()).await.unwrap();
    assert_eq!(
        books.retain(sample::BEGIN + 9 * DAY).await.unwrap().partitions,
        u64::try_from(before - 2).unwrap()
    );
    let new = sample::receipt(700_000);
    let moved = Receipt { at: receipts(100)[99].at, ..new };
    assert_eq!(other.record(&Batch::of(&[Arc::new(moved)]).unwrap()).await.unwrap(), 1);
}

use std::collections::HashMap;
use std::sync::OnceLock;

use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use tollway_model::{Error, Kind};
use tollway_prices::{PriceSheet, Rate};
use tollway_providers::{Endpoint, EndpointSpec, Table};

use super::*;
use crate::live::{Answer, Caps, Terms};
use crate::policy::{LatencyArguments, Strategy, TagFilter};
use crate::{Cooling, Limits};

pub(crate) fn deployment(id: &str, limits: Limits) -> Arc<Deployment> {
    static ENDPOINT: OnceLock<Arc<Endpoint>> = OnceLock::new();
    let endpoint = ENDPOINT.get_or_init(|| {
        let mut spec = EndpointSpec::new(Table::builtin().get("openai").unwrap(), "m");
        spec.api_key = Some("sk-test".to_owned().into());
        Arc::new(Endpoint::build(spec, &|_: &str| None).unwrap())
    });
    Arc::new(Deployment {
        id: id.into(),
        group: "g".into(),
        provider: "openai".into(),
        model: id.into(),
        availability: Availability::Ready(endpoint.clone()),
        limits,
        stream_timeout: None,
        timeout: None,
        retries: None,
        rest: None,
        tags: Vec::new(),
        region: None,
        max_input_tokens: None,
        drop_params: None,
        defaults: Vec::new(),
        prices: None,
        info: Arc::default(),
        mock: None,
        seat_name: id.into(),
        seat: OnceLock::new(),
    })
}

fn changed(one: &Arc<Deployment>, change: impl FnOnce(&mut Deployment)) -> Arc<Deployment> {
    let mut copy = (**one).clone();
    change(&mut copy);
    Arc::new(copy)
}

fn named(ids: &[&str]) -> Vec<Arc<Deployment>> {
    ids.iter().map(|id| deployment(id, Limits::default())).collect()
}

fn terms() -> Terms {
    Terms { cooling: Some(Arc::default()), rest: None, siblings: true }
}

fn fail(board: &Board, id: &str, now: Now) {
    let flight = board.live(&id.into()).begin(&Caps::default(), terms(), false, now).unwrap();
    flight.failed(&Error::new(Kind::RateLimit, "slow down"), false, now);
}

fn answer(board: &Board, id: &str, took: u64, answer: Answer) {
    let flight = board.live(&id.into()).begin(&Caps::default(), terms(), false, Now(1_000)).unwrap();
    flight.answered(&answer, Now(1_000 + took));
}

/// The ids in order, and `id: reason` of the others.
fn run(
    group: &[Arc<Deployment>],
    ask: &Ask<'_>,
    policy: &Policy,
    board: &Board,
    dice: f64,
) -> (String, String) {
    let plan = plan(group, ask, policy, board, Now(2_000), &mut || dice);
    let order: Vec<&str> = plan.candidates.iter().map(|one| one.deployment.id.as_ref()).collect();
    let skipped: Vec<String> =
        plan.skipped.iter().map(|one| format!("{}: {}", one.deployment.id, one.reason)).collect();
    (order.join(" "), skipped.join("; "))
}

fn order(group: &[Arc<Deployment>], policy: &Policy, board: &Board, dice: f64) -> String {
    run(group, &Ask::default(), policy, board, dice).0
}

fn with(strategy: Strategy) -> Policy {
    Policy { strategy, ..Policy::default() }
}

#[test]
fn a_shuffle_follows_the_weights() {
    let weight = |id, weight| deployment(id, Limits { weight, ..Limits::default() });
    let tier = [weight("none", None), weight("heavy", Some(9.0)), weight("light", Some(1.0))];
    let shuffled = |dice| order(&tier, &Policy::default(), &Board::default(), dice);
    assert_eq!(shuffled(0.0), "heavy light none");
    assert_eq!(shuffled(0.95), "light heavy none");
}

#[test]
fn requests_per_minute_count_when_there_are_no_weights() {
    let fast = deployment("fast", Limits { rpm: Some(900), tpm: Some(1), ..Limits::default() });
    let slow = deployment("slow", Limits { rpm: Some(100), tpm: Some(999), ..Limits::default() });
    let group = [slow, fast];
    assert_eq!(order(&group, &Policy::default(), &Board::default(), 0.5), "fast slow");
    assert_eq!(order(&group, &Policy::default(), &Board::default(), 0.05), "slow fast");
}

/// Chi-square of the first choices of many plans against the weights: 13.8 is exceeded once in a thousand times by
/// chance for two degrees of freedom; the dice are fixed, so the test is not flaky.
#[test]
fn first_choices_are_spread_as_the_weights_say() {
    let weight = |id, weight| deployment(id, Limits { weight: Some(weight), ..Limits::default() });
    let tier = [weight("a", 5.0), weight("b", 3.0), weight("c", 2.0)];
    let (board, policy, mut state) = (Board::default(), Policy::default(), 7_u64);
    let mut dice = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(1_u32 << 31)
    };
    let mut counts: HashMap<String, f64> = HashMap::new();
    for _ in 0..10_000 {
        let plan = plan(&tier, &Ask::default(), &policy, &board, Now(1), &mut dice);
        *counts.entry(plan.candidates[0].deployment.id.to_string()).or_default() += 1.0;
    }
    let expected = [("a", 5_000.0), ("b", 3_000.0), ("c", 2_000.0)];
    let chi: f64 = expected.iter().map(|(id, count)| (counts[*id] - count).powi(2) / count).sum();
    assert!(chi < 13.8, "{chi}: {counts:?}");
}

#[test]
fn lower_orders_come_first_whatever_the_strategy() {
    let at = |id, order| deployment(id, Limits { order: Some(order), ..Limits::default() });
    let group = [at("second", 2), at("first", 1), deployment("zeroth", Limits::default())];
    for strategy in [
        Strategy::Shuffle,
        Strategy::LeastBusy,
        Strategy::Latency(LatencyArguments::default()),
        Strategy::Usage,
        Strategy::Cost,
    ] {
        assert_eq!(order(&group, &with(strategy), &Board::default(), 0.5), "zeroth first second");
    }
}

#[test]
fn the_least_busy_comes_first() {
    let (board, group) = (Board::default(), named(&["a", "b", "c"]));
    let begin = |id: &str| board.live(&id.into()).begin(&Caps::default(), terms(), false, Now(1)).unwrap();
    let _flights = [begin("a"), begin("a"), begin("c")];
    assert_eq!(order(&group, &with(Strategy::LeastBusy), &board, 0.0), "b c a");
}

#[test]
fn the_fastest_comes_first_and_the_unmeasured_before_it() {
    let (board, group) = (Board::default(), named(&["slow", "fast", "new"]));
    answer(&board, "slow", 2_000, Answer { tokens: 30, output: 10, streamed: false });
    answer(&board, "fast", 500, Answer { tokens: 30, output: 10, streamed: false });
    let latency =
        |buffer| with(Strategy::Latency(LatencyArguments { buffer, ..LatencyArguments::default() }));
    assert_eq!(order(&group, &latency(0.0), &board, 0.0), "new fast slow");
    assert_eq!(order(&group[..2], &latency(0.0), &board, 0.9), "fast slow");
    // Four times as slow is close enough with a buffer of 300 %.
    assert_eq!(order(&group[..2], &latency(3.0), &board, 0.9), "slow fast");
    assert_eq!(order(&group[..2], &latency(2.9), &board, 0.9), "fast slow");
}

#[test]
fn a_timeout_is_a_very_slow_answer() {
    let (board, group) = (Board::default(), named(&["dead", "slow"]));
    answer(&board, "slow", 30_000, Answer { tokens: 1, output: 1, streamed: false });
    let flight = board.live(&"dead".into()).begin(&Caps::default(), terms(), false, Now(1)).unwrap();
    flight.failed(&Error::new(Kind::Timeout, "late"), true, Now(2));
    assert_eq!(
        order(&group, &with(Strategy::Latency(LatencyArguments::default())), &board, 0.0),
        "slow dead"
    );
}

#[test]
fn streams_are_compared_by_their_first_content() {
    let (board, group) = (Board::default(), named(&["a", "b"]));
    for (id, first, whole) in [("a", 100, 9_000), ("b", 800, 1_000)] {
        let mut flight = board.live(&id.into()).begin(&Caps::default(), terms(), false, Now(1)).unwrap();
        flight.answers(Now(1 + first));
        flight.answered(&Answer { tokens: 9, output: 9, streamed: true }, Now(1 + whole));
    }
    let ask = Ask { streamed: true, ..Ask::default() };
    let policy = with(Strategy::Latency(LatencyArguments::default()));
    assert_eq!(run(&group, &ask, &policy, &board, 0.0).0, "a b");
}

#[test]
fn the_least_used_comes_first_and_a_full_one_not_at_all() {
    let board = Board::default();
    let bounded = |id, tpm| deployment(id, Limits { tpm: Some(tpm), ..Limits::default() });
    let group = [bounded("full", 100), bounded("some", 1_000), bounded("little", 1_000)];
    for (id, tokens) in [("full", 100), ("some", 90), ("little", 10)] {
        answer(&board, id, 10, Answer { tokens, output: 1, streamed: false });
    }
    let (order, skipped) = run(&group, &Ask::default(), &with(Strategy::Usage), &board, 0.0);
    assert_eq!(order, "little some");
    assert_eq!(skipped, "full: its 100 tokens a minute are used up for another 63000 ms");
    let ask = Ask { input: 950, ..Ask::default() };
    assert_eq!(run(&group, &ask, &with(Strategy::Usage), &board, 0.0).0, "little");
}

#[test]
fn the_cheapest_comes_first_and_an_unknown_price_last() {
    let priced = |id, picos| {
        changed(&deployment(id, Limits::default()), |one| {
            let mut sheet = PriceSheet::default();
            for rate in [Rate::In, Rate::Out] {
                sheet.base.tokens.insert(rate, tollway_model::Price::from_picos(picos));
            }
            one.prices = Some(Arc::new(sheet));
        })
    };
    let group = [priced("dear", 900), deployment("unknown", Limits::default()), priced("cheap", 3)];
    assert_eq!(order(&group, &with(Strategy::Cost), &Board::default(), 0.0), "cheap dear unknown");
}

#[test]
fn everything_left_out_says_why() {
    let board = Board::default();
    let group = [
        changed(&deployment("off", Limits::default()), |one| {
            one.availability = Availability::Unavailable("no key".into());
        }),
        changed(&deployment("short", Limits::default()), |one| one.max_input_tokens = Some(10)),
        changed(&deployment("tagged", Limits::default()), |one| one.tags = vec!["eu".into()]),
        deployment("full", Limits { rpm: Some(0), ..Limits::default() }),
        deployment("tired", Limits::default()),
        deployment("well", Limits::default()),
    ];
    fail(&board, "tired", Now(2_000));
    let policy = Policy {
        tags: Some(TagFilter { any: true }),
        check_input: true,
        enforce_limits: true,
        ..Policy::default()
    };
    let ask = Ask { input: 50, tags: &["!eu".into()], ..Ask::default() };
    let (order, skipped) = run(&group, &ask, &policy, &board, 0.0);
    assert_eq!(order, "well");
    assert_eq!(
        skipped,
        "off: no key; short: the prompt has about 50 tokens, and it takes 10; tagged: its tags are not the call's; \
         full: its 0 requests a minute are used up for another 0 ms; tired: it failed lately and rests for another 5000 ms"
    );
}

#[test]
fn the_last_target_is_tried_although_it_rests() {
    let (board, group) = (Board::default(), named(&["a", "b"]));
    fail(&board, "a", Now(1_000));
    fail(&board, "b", Now(500));
    let plan = plan(&group, &Ask::default(), &Policy::default(), &board, Now(2_000), &mut || 0.0);
    assert!(plan.last_resort);
    assert_eq!(plan.candidates.len(), 1);
    assert_eq!(plan.candidates[0].deployment.id.as_ref(), "b", "it rests shorter");
    assert_eq!(plan.skipped.len(), 1);
}

#[test]
fn a_full_one_comes_last_of_its_order() {
    let board = Board::default();
    let group = [deployment("a", Limits { parallel: Some(1), ..Limits::default() }), named(&["b"]).remove(0)];
    assert_eq!(order(&group, &Policy::default(), &board, 0.0), "a b");
    let _flight = board.live(&"a".into()).begin(&Caps::default(), terms(), false, Now(1)).unwrap();
    assert_eq!(order(&group, &Policy::default(), &board, 0.0), "b a");
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop_oneof![
        Just(Strategy::Shuffle),
        Just(Strategy::LeastBusy),
        Just(Strategy::Latency(LatencyArguments { buffer: 0.5, ..LatencyArguments::default() })),
        Just(Strategy::Usage),
        Just(Strategy::Cost),
    ]
}

proptest! {
    #[test]
    fn no_candidate_disappears_and_the_last_is_never_ejected_for_its_rest(
        shape in proptest::collection::vec((0_i64..3, any::<bool>(), any::<bool>(), 0_u64..200), 1..8),
        strategy in any_strategy(),
        (limits, check_input, filter) in (any::<bool>(), any::<bool>(), any::<bool>()),
        seed in 0.0_f64..1.0,
    ) {
        let board = Board::default();
        let mut group = Vec::new();
        for (index, (order, tagged, rests, tokens)) in shape.iter().enumerate() {
            let limits = Limits { order: Some(*order), tpm: Some(150), ..Limits::default() };
            let one = deployment(&index.to_string(), limits);
            group.push(changed(&one, |one| {
                one.tags = if *tagged { vec!["eu".into()] } else { Vec::new() };
                one.max_input_tokens = Some(*tokens);
            }));
            answer(&board, &index.to_string(), *tokens, Answer { tokens: *tokens, output: 3, streamed: false });
            if *rests {
                fail(&board, &index.to_string(), Now(1_900));
            }
        }
        let policy = Policy {
            strategy,
            check_input,
            enforce_limits: limits,
            tags: filter.then_some(TagFilter { any: true }),
            ..Policy::default()
        };
        let tags = [Arc::from("eu")];
        let ask = Ask { input: 40, tags: &tags, streamed: false, region: None };
        let mut state = seed;
        let mut dice = || { state = (state + 0.618_034) % 1.0; state };
        let plan = plan(&group, &ask, &policy, &board, Now(2_000), &mut dice);
        let mut ids: Vec<&str> = plan.candidates.iter().map(|one| one.deployment.id.as_ref())
            .chain(plan.skipped.iter().map(|one| one.deployment.id.as_ref())).collect();
        ids.sort_unstable();
        let expected: Vec<String> = (0..group.len()).map(|index| index.to_string()).collect();
        prop_assert_eq!(ids, expected);
        // Nothing is left to try only where nothing but other reasons than rest stand against each.
        let rested = |one: &Skipped| matches!(one.reason, Reason::Denied(Denied::Resting(_) | Denied::Probing));
        prop_assert!(!plan.candidates.is_empty() || !plan.skipped.iter().any(rested));
        // One that rests is a candidate only as the last resort, and then alone.
        for one in &plan.candidates {
            let resting = one.deployment.live(&board).cooling(Now(2_000)).is_some();
            prop_assert!(!resting || (plan.last_resort && plan.candidates.len() == 1));
        }
        let orders: Vec<i64> = plan.candidates.iter().map(|one| one.deployment.order()).collect();
        prop_assert!(orders.is_sorted());
    }
}

#[test]
fn a_state_survives_a_reload() {
    let board = Board::default();
    fail(&board, "a", Now(1_500));
    // A new snapshot has new deployments with the ids of the old ones.
    let (order, skipped) = run(&named(&["a", "b"]), &Ask::default(), &Policy::default(), &board, 0.0);
    assert_eq!(order, "b");
    assert!(skipped.starts_with("a: it failed lately"), "{skipped}");
    assert_eq!(Cooling::default().rest.as_secs(), 5);
}

#[test]
fn only_deployments_that_are_known_to_be_in_the_region_are_tried() {
    let in_region = |id: &str, region: Option<&str>| {
        changed(&deployment(id, Limits::default()), |one| one.region = region.map(Arc::from))
    };
    let group = [in_region("a", Some("us")), in_region("b", Some("eu")), in_region("c", None)];
    let ask = Ask { region: Some("eu"), ..Ask::default() };
    let check = |group: &[Arc<Deployment>], expected: &[&str], skipped: &[&str]| {
        let found = plan(group, &ask, &Policy::default(), &Board::default(), Now(1), &mut || 0.5);
        let names = |one: &Arc<Deployment>| one.id.to_string();
        assert_eq!(found.candidates.iter().map(|one| names(&one.deployment)).collect::<Vec<_>>(), expected);
        assert_eq!(found.skipped.iter().map(|one| names(&one.deployment)).collect::<Vec<_>>(), skipped);
    };
    check(&group, &["b"], &["a", "c"]);
    check(&group[..1], &[], &["a"]);
    check(&group[1..2], &["b"], &[]);
}

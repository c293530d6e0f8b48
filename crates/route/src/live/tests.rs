use proptest::prelude::*;
use tollway_model::Retry;

use super::*;
use crate::Board;
use crate::failure::Counts;

fn live() -> Arc<Live> {
    Board::default().live(&"d".into())
}

fn terms(cooling: Cooling, siblings: bool) -> Terms {
    Terms { cooling: Some(Arc::new(cooling)), rest: None, siblings }
}

fn usual() -> Terms {
    terms(Cooling::default(), true)
}

fn begin(live: &Arc<Live>, now: u64) -> Result<Flight, Denied> {
    live.begin(&Caps::default(), usual(), false, Now(now))
}

fn error(kind: Kind) -> Error {
    Error::new(kind, "x").with_origin(tollway_model::Origin::Upstream)
}

/// Does one failure of this kind rest a deployment that has answered nothing else?
fn check(failure: Error, siblings: bool, expected: Option<u64>) {
    let live = live();
    let flight = live.begin(&Caps::default(), terms(Cooling::default(), siblings), false, Now(10)).unwrap();
    let rest = flight.failed(&failure, false, Now(10)).map(|rest| rest.as_millis());
    assert_eq!(rest, expected.map(u128::from), "{failure:?}");
}

#[test]
fn some_failures_rest_a_deployment_at_once() {
    let asked = |millis| error(Kind::RateLimit).with_retry(Retry::Later(Some(Duration::from_millis(millis))));
    check(error(Kind::RateLimit), true, Some(5_000));
    check(error(Kind::RateLimit), false, None);
    check(asked(700), true, Some(700));
    check(asked(30_000), true, Some(30_000));
    check(asked(0), true, Some(5_000));
    check(asked(86_400_000), true, Some(3_600_000));
    for kind in [Kind::Authentication, Kind::Permission, Kind::Payment, Kind::NotFound, Kind::Timeout] {
        check(error(kind), true, Some(5_000));
        check(error(kind), false, Some(5_000));
    }
    for kind in
        [Kind::InvalidRequest, Kind::ContextWindow, Kind::ContentPolicy, Kind::Upstream, Kind::Connection]
    {
        check(error(kind), true, None);
    }
}

#[test]
fn a_timeout_that_the_caller_asked_for_is_not_the_deployments_fault() {
    let live = live();
    assert_eq!(begin(&live, 1).unwrap().failed(&error(Kind::Timeout), true, Now(1)), None);
    assert_eq!(live.standing(Now(1)).minute.failed, 0);
}

#[test]
fn a_failure_rate_rests_a_deployment_when_there_are_enough_calls() {
    let live = live();
    let fail = |now| begin(&live, now).unwrap().failed(&error(Kind::Upstream), false, Now(now)).is_some();
    begin(&live, 1).unwrap().answered(&Answer::default(), Now(1));
    begin(&live, 1).unwrap().answered(&Answer::default(), Now(1));
    assert_eq!([2, 3, 4].map(fail), [false, false, true], "three of five");
}

#[test]
fn one_that_is_alone_rests_only_after_a_thousand_failures() {
    let live = live();
    let mut rested = Vec::new();
    for number in 1..=1001_u32 {
        let flight = live.begin(&Caps::default(), terms(Cooling::default(), false), true, Now(9)).unwrap();
        if flight.failed(&error(Kind::Upstream), false, Now(9)).is_some() {
            rested.push(number);
        }
    }
    assert_eq!(rested.first(), Some(&1000));
}

#[test]
fn allowed_failures_are_counted_within_the_rest() {
    let allowed = Cooling { allowed: Some(2), ..Cooling::default() };
    let by_class = Counts { by_class: [(Class::RateLimit, 0)].into(), other: None };
    let with_class = Cooling { allowed_by_class: by_class, ..allowed.clone() };
    let trace = |cooling: &Cooling, steps: &[(u64, Kind)]| -> Vec<bool> {
        let live = live();
        let step = |(now, kind): &(u64, Kind)| {
            let flight = live.begin(&Caps::default(), terms(cooling.clone(), true), true, Now(*now)).unwrap();
            flight.failed(&error(*kind), false, Now(*now)).is_some()
        };
        steps.iter().map(step).collect()
    };
    let upstream = |times: &[u64]| times.iter().map(|at| (*at, Kind::Upstream)).collect::<Vec<_>>();
    assert_eq!(trace(&allowed, &upstream(&[1, 2, 3, 4])), [false, false, true, true]);
    assert_eq!(trace(&allowed, &upstream(&[1, 2_000, 5_500, 5_600])), [false, false, false, false]);
    assert_eq!(trace(&allowed, &[(1, Kind::RateLimit)]), [false], "counts replace the rules by kind");
    assert_eq!(trace(&with_class, &[(1, Kind::RateLimit)]), [true]);
}

#[test]
fn a_rest_of_zero_is_off() {
    let live = live();
    let off = Terms { rest: Some(Duration::ZERO), ..usual() };
    let flight = live.begin(&Caps::default(), off, false, Now(1)).unwrap();
    assert_eq!(flight.failed(&error(Kind::Authentication), false, Now(1)), None);
    let none = Terms { cooling: None, ..usual() };
    let flight = live.begin(&Caps::default(), none, false, Now(1)).unwrap();
    assert_eq!(flight.failed(&error(Kind::Authentication), false, Now(1)), None);
    assert!(begin(&live, 1).is_ok());
}

#[test]
fn a_new_failure_never_shortens_a_rest() {
    let live = live();
    let long = error(Kind::RateLimit).with_retry(Retry::Later(Some(Duration::from_secs(60))));
    let (one, other) = (begin(&live, 1_000).unwrap(), begin(&live, 1_000).unwrap());
    one.failed(&long, false, Now(1_000));
    other.failed(&error(Kind::RateLimit), false, Now(2_000));
    assert_eq!(live.cooling(Now(2_000)), Some(Denied::Resting(59_000)));
}

#[test]
fn one_call_at_a_time_tries_whether_it_answers_again() {
    let live = live();
    begin(&live, 1_000).unwrap().failed(&error(Kind::RateLimit), false, Now(1_000));
    assert_eq!(begin(&live, 5_999).unwrap_err(), Denied::Resting(1));
    let probe = begin(&live, 6_000).unwrap();
    assert_eq!(begin(&live, 6_000).unwrap_err(), Denied::Probing);
    probe.failed(&error(Kind::Upstream), false, Now(6_100));
    assert_eq!(begin(&live, 6_100).unwrap_err(), Denied::Resting(5_000), "a failing probe rests it again");
    drop(begin(&live, 11_100).unwrap());
    let mut probe = begin(&live, 11_200).expect("a probe whose caller went away says nothing");
    probe.answers(Now(11_300));
    assert!(begin(&live, 11_300).is_ok(), "content is enough, the end of the answer is not waited for");
    drop(probe);
    assert_eq!(live.in_flight(), 0);
}

#[test]
fn bounds_are_kept_and_given_back() {
    let live = live();
    let two = Caps { parallel: Some(2), ..Caps::default() };
    let one = live.begin(&two, usual(), false, Now(1)).unwrap();
    let _other = live.begin(&two, usual(), false, Now(1)).unwrap();
    assert_eq!(live.begin(&two, usual(), false, Now(1)).unwrap_err(), Denied::Parallel(2));
    drop(one);
    assert!(live.begin(&two, usual(), false, Now(1)).is_ok());
    let calls = Caps { calls: Some(3), ..Caps::default() };
    let denied = live.begin(&calls, usual(), false, Now(2_000)).unwrap_err();
    assert_eq!(denied, Denied::Full { what: "requests", limit: 3, frees_in: 63_000 });
    assert!(live.begin(&calls, usual(), false, Now(65_000)).is_ok());
    assert_eq!(live.in_flight(), 1);
}

#[test]
fn tries_again_have_a_budget() {
    let live = live();
    let budget = Budget { share: 0.5, floor: 2 };
    for _ in 0..10 {
        drop(begin(&live, 1));
    }
    let allowed = (0..10).filter(|_| live.repeat(&budget, Now(1))).count();
    assert_eq!(allowed, 5);
    assert!(!live.repeat(&budget, Now(60_000)));
    assert!(live.repeat(&budget, Now(66_000)), "a new minute");
}

/// What [`Live`] should do, in the plainest words.
#[derive(Debug, Default)]
struct Model {
    rests_until: Option<u64>,
    probe: Option<usize>,
}

#[test]
fn models_of_one_wildcard_share_its_limits_and_rest_alone() {
    let board = Board::default();
    let whole: Arc<str> = "wildcard".into();
    let [one, other] = ["one", "other"].map(|id| board.live_within(&id.into(), &whole));
    let check = |live: &Arc<Live>, caps: Caps, now: u64| {
        live.begin(&caps, terms(Cooling::default(), true), false, Now(now))
    };
    let caps = Caps { parallel: Some(2), calls: Some(3), ..Caps::default() };
    let first = check(&one, caps, 1_000).unwrap();
    let second = check(&other, caps, 1_000).unwrap();
    assert_eq!(check(&other, caps, 1_000).err(), Some(Denied::Parallel(2)));
    assert_eq!((one.in_flight(), one.places_taken(), board.live(&whole).in_flight()), (1, 2, 2));
    first.answered(&Answer { tokens: 40, output: 4, streamed: false }, Now(1_100));
    second.failed(&error(Kind::RateLimit), false, Now(1_100));
    assert_eq!((one.in_flight(), other.in_flight(), board.live(&whole).in_flight()), (0, 0, 0));
    // It has failed, and the other one has not.
    assert!(matches!(check(&other, caps, 1_200), Err(Denied::Resting(_))));
    drop(check(&one, caps, 1_200).unwrap());
    assert!(matches!(check(&one, caps, 1_300), Err(Denied::Full { what: "requests", limit: 3, .. })));
    let tokens = Caps { tokens: Some(50), input: 20, ..Caps::default() };
    assert!(matches!(other.full(&tokens, Now(1_300)), Some(Denied::Full { what: "tokens", .. })));
    assert_eq!((one.tokens(Now(1_300)), other.tokens(Now(1_300))), (40, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Begin,
    Answer(usize),
    Fail(usize, u64),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..4_000).prop_map(Step::Wait),
        Just(Step::Begin),
        (0_usize..4).prop_map(Step::Answer),
        ((0_usize..4), (0_u64..9_000)).prop_map(|(which, asked)| Step::Fail(which, asked)),
        (0_usize..4).prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn rests_follow_the_model(steps in steps()) {
        let live = live();
        let mut model = Model::default();
        let mut flights: Vec<(usize, Flight)> = Vec::new();
        let (mut now, mut number) = (1, 0);
        for step in steps {
            match step {
                Step::Wait(millis) => now += millis,
                Step::Begin => {
                    number += 1;
                    let expected = match model.rests_until {
                        Some(until) if until > now => Err(Denied::Resting(until - now)),
                        Some(_) if model.probe.is_some() => Err(Denied::Probing),
                        resting => { if resting.is_some() { model.probe = Some(number); } Ok(()) }
                    };
                    let got = begin(&live, now);
                    prop_assert_eq!(got.as_ref().map(|_| ()).map_err(|denied| *denied), expected);
                    flights.extend(got.ok().map(|flight| (number, flight)));
                }
                Step::Answer(which) | Step::Fail(which, _) | Step::Leave(which) => {
                    if which >= flights.len() { continue; }
                    let (number, flight) = flights.remove(which);
                    if model.probe == Some(number) { model.probe = None; }
                    match step {
                        Step::Answer(_) => { model.rests_until = None; flight.answered(&Answer::default(), Now(now)); }
                        Step::Fail(_, asked) => {
                            let failure = error(Kind::RateLimit).with_retry(Retry::Later(Some(Duration::from_millis(asked))));
                            let rest = if asked == 0 { 5_000 } else { asked };
                            model.rests_until = model.rests_until.max(Some(now + rest));
                            flight.failed(&failure, false, Now(now));
                        }
                        _ => drop(flight),
                    }
                }
            }
            prop_assert_eq!(live.in_flight() as usize, flights.len());
        }
    }
}

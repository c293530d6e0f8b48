use bytes::Bytes;
use tollway_wire::Framing;

use super::*;
use crate::call::{AcceptRules, Surface};
use crate::settings::CallLimits;
use crate::snapshot::tests::snapshot_of;

const MODEL: &str = "model_list:
  - {model_name: m, litellm_params: {model: anthropic/m, api_key: k, input_cost_per_token: 1, output_cost_per_token: 2}}
";

fn call() -> Call {
    let body = r#"{"model":"m","max_tokens":9000,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let surface = Surface {
        dialect: Dialect::Anthropic,
        operation: Operation::Chat,
        model: None,
        stream: None,
        framing: Framing::Sse,
    };
    let limits = CallLimits { n: 16, output_tokens: 10_000, tools: 8, messages: 8, in_flight: 8 };
    let rules = AcceptRules { max_depth: 64, limits };
    Call::accept(surface, &HeaderMap::new(), Bytes::from(body), Instant::now(), rules).unwrap()
}

/// The output tokens, whether they are estimated, and the dollars of a stream of which this is known when it ends.
fn check(known: Settlement, end: impl FnOnce(Ticket, Settlement), expected: (u64, bool, &str)) {
    let deployment = snapshot_of(MODEL).resolve("m").unwrap()[0].clone();
    let (call, receipts) = (call(), Arc::new(Receipts::new(1)));
    let caller = Caller::master(tollway_accounts::KeyHash::of("k"));
    let mut ticket = Ticket::open(&call, &caller, Arc::default(), receipts.clone(), None);
    let group = deployment.group.clone();
    ticket.sending(&deployment, &group, None, Instant::now());
    ticket.attempt(
        &group,
        attempt_record(&deployment, None, Duration::ZERO, Duration::ZERO, None),
        Duration::ZERO,
        End::Told,
    );
    end(ticket, known);
    let receipt = receipts.latest(1).pop().unwrap();
    let usage = receipt.usage.unwrap();
    let cost = receipt.cost.usd.as_deref().unwrap();
    assert_eq!((usage.total_output(), usage.estimated, cost), expected);
    assert_eq!(receipt.cost.estimated, expected.1);
}

fn known(output: u64, finish: Option<FinishReason>) -> Settlement {
    let usage = Some(Usage { input: 10, output, ..Usage::default() });
    Settlement { usage, finish, service_tier: None, emitted: 4000 }
}

#[test]
fn output_that_came_is_paid_for_though_the_provider_never_told_it() {
    let leaves = |mut ticket: Ticket, known: Settlement| ticket.learn(known);
    let breaks = |mut ticket: Ticket, known: Settlement| {
        ticket.learn(known);
        ticket.failed(&Error::new(Kind::Upstream, "cut"), 200);
    };
    // Anthropic's `message_start` says 1, and the true number comes with the end.
    check(known(1, None), leaves, (1000, true, "2010.00"));
    check(known(1, None), breaks, (1000, true, "2010.00"));
    // The provider has counted more than came, or has said its last word.
    check(known(1200, None), leaves, (1200, false, "2410.00"));
    check(known(900, Some(FinishReason::Stop)), leaves, (900, false, "1810.00"));
    let answered = |mut ticket: Ticket, known: Settlement| {
        ticket.answered(known);
    };
    check(known(900, None), answered, (900, false, "1810.00"));
}

/// The dollars and whether they are estimated, of a call whose attempts ended like this and then failed.
fn check_failed(ends: &[End], expected: (&str, bool)) {
    let deployment = snapshot_of(MODEL).resolve("m").unwrap()[0].clone();
    let (call, receipts) = (call(), Arc::new(Receipts::new(1)));
    let caller = Caller::master(tollway_accounts::KeyHash::of("k"));
    let mut ticket = Ticket::open(&call, &caller, Arc::default(), receipts.clone(), None);
    let (group, error) = (deployment.group.clone(), Error::new(Kind::Timeout, "late"));
    for end in ends {
        let record = attempt_record(&deployment, None, Duration::ZERO, Duration::ZERO, Some(&error));
        if *end != End::Unsent {
            ticket.sending(&deployment, &group, None, Instant::now());
        }
        ticket.attempt(&group, record, Duration::ZERO, *end);
    }
    assert_eq!(ticket.reached, ends.iter().any(|end| *end != End::Unsent), "{ends:?}");
    ticket.failed(&error, 408);
    let receipt = receipts.latest(1).pop().unwrap();
    assert_eq!((receipt.cost.usd.as_deref().unwrap(), receipt.cost.estimated), expected, "{ends:?}");
    let lost = receipt.attempts.iter().filter(|attempt| attempt.cost.is_some()).count();
    assert_eq!(lost, ends.iter().filter(|end| **end == End::Lost).count(), "{ends:?}");
}

#[test]
fn a_lost_attempt_costs_its_prompt_and_a_refused_one_nothing() {
    // The body has 89 bytes: 23 tokens of a dollar.
    check_failed(&[End::Lost], ("23.00", true));
    check_failed(&[End::Lost, End::Told, End::Lost], ("46.00", true));
    check_failed(&[End::Told], ("0.00", false));
    check_failed(&[End::Unsent], ("0.00", false));
    check_failed(&[], ("0.00", false));
}

#[test]
fn a_call_that_is_routed_twice_is_where_it_was_routed_last() {
    let (call, receipts) = (call(), Arc::new(Receipts::new(1)));
    let caller = Caller::master(tollway_accounts::KeyHash::of("k"));
    let check = |groups: &[&str], expected: &str| {
        let mut ticket = Ticket::open(&call, &caller, Arc::default(), receipts.clone(), None);
        groups.iter().for_each(|group| ticket.routed(group));
        assert_eq!(ticket.receipt.as_ref().unwrap().asked_group(), expected, "{groups:?}");
    };
    check(&["m"], "m");
    check(&["other"], "other");
    check(&["other", "another"], "another");
    check(&["other", "m"], "m");
}

use std::time::Instant;

use bytes::Bytes;
use tollway_accounts::{Identity, KeyHash, Principal, Role, Rules, SharedBudgets};
use tollway_meters::{Meters, NothingSpent, SystemClock};
use tollway_model::{Money, Retry};
use tollway_store::records::{Key, Limits};
use tollway_wire::Framing;

use super::ending::hide_keys;
use super::*;
use crate::call::{AcceptRules, Surface};
use crate::settings::CallLimits;
use crate::snapshot::tests::snapshot_of;

const MODELS: &str = "model_list:
  - {model_name: free, litellm_params: {model: openai/a, api_key: k, input_cost_per_token: 0, output_cost_per_token: 0}}
  - {model_name: gratis, litellm_params: {model: openai/b, api_key: k, input_cost_per_token: 0, output_cost_per_token: 0}}
  - {model_name: paid, litellm_params: {model: openai/c, api_key: k, input_cost_per_token: 1, output_cost_per_token: 1}}
  - {model_name: unpriced, litellm_params: {model: openai/never-heard-of, api_key: k}}
";

fn call(model: &str, fallbacks: &str) -> Call {
    let body = format!(
        r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}],"fallbacks":{fallbacks}}}"#
    );
    let (dialect, operation) = (Dialect::OpenaiChat, Operation::Chat);
    let surface = Surface { dialect, operation, model: None, stream: None, framing: Framing::Sse };
    let limits = CallLimits { n: 16, output_tokens: 1000, tools: 8, messages: 8, in_flight: 8 };
    let rules = AcceptRules { max_depth: 64, limits };
    Call::accept(surface, &HeaderMap::new(), Bytes::from(body), Instant::now(), rules).unwrap()
}

/// Holder of a key with these limits.
fn caller(limits: Limits) -> Caller {
    let key = Arc::new(Key { id: "key".into(), limits, ..Key::default() });
    let hash = KeyHash::of("sk-key");
    let role = Role::InternalUserViewer;
    let token = hash.to_hex().into();
    let principal = Principal { role, token, key: Some(key), user: None, team: None, membership: None };
    let identity = Identity::of(principal, &SharedBudgets::default(), &Rules::default());
    Caller { identity: Arc::new(identity), key: hash.id() }
}

fn gateway() -> Arc<Gateway> {
    let clock = Arc::new(SystemClock::new(crate::unix_millis));
    let meters = Meters::new(tollway_meters::Options::default(), Arc::new(NothingSpent), clock);
    let services = Services { meters: Some(meters), ..Services::default() };
    Gateway::new(snapshot_of(MODELS), Transport::default(), 1, services)
}

async fn admit(
    gateway: &Gateway,
    limits: Limits,
    model: &str,
    fallbacks: &str,
) -> std::result::Result<Admitted, Refusal> {
    let (snapshot, caller, call) = (gateway.snapshot(), caller(limits), call(model, fallbacks));
    let mut ticket = Ticket::open(&call, &caller, gateway.services.clone(), gateway.receipts.clone(), None);
    gateway.admit(&snapshot, &caller, &call, &mut ticket).await
}

/// Is a call of `model` on a budget of so many dollars admitted, and which of its fallbacks may answer it?
async fn check(dollars: i64, model: &str, expected: Option<&str>) {
    let max_budget = Some(Money::from_nanos(dollars * 1_000_000_000));
    let limits = Limits { max_budget, ..Limits::default() };
    let fallbacks = ["gratis", "paid", "unpriced"];
    let admitted = admit(&gateway(), limits, model, r#"["gratis","paid","unpriced"]"#).await;
    let allowed = admitted.ok().map(|admitted| {
        let allows = |name: &&str| admitted.bounds.access.as_ref().is_none_or(|access| access(name));
        fallbacks.into_iter().filter(allows).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(allowed.as_deref(), expected, "{dollars} {model}");
}

#[tokio::test]
async fn a_free_call_on_an_exhausted_budget_falls_back_to_free_models_only() {
    check(0, "free", Some("gratis")).await;
    check(0, "paid", None).await;
    check(0, "unpriced", None).await;
    check(100_000, "free", Some("gratis paid unpriced")).await;
    check(100_000, "paid", Some("gratis paid unpriced")).await;
}

#[tokio::test]
async fn what_never_fits_is_not_to_be_tried_again() {
    let gateway = gateway();
    let retry = async |limits: Limits| match admit(&gateway, limits, "free", "[]").await {
        Ok(_) => None,
        Err(refusal) => Some(refusal.error.retry()),
    };
    let rpm = |rpm_limit| Limits { rpm_limit: Some(rpm_limit), ..Limits::default() };
    assert_eq!(retry(rpm(0)).await, Some(Retry::Never));
    assert_eq!(retry(Limits { tpm_limit: Some(1), ..Limits::default() }).await, Some(Retry::Never));
    let gateway = self::gateway();
    let held =
        admit(&gateway, Limits { max_parallel_requests: Some(0), ..Limits::default() }, "free", "[]").await;
    assert_eq!(held.err().map(|refusal| refusal.error.retry()), Some(Retry::Never));
}

#[test]
fn keys_are_hidden_in_errors() {
    let check = |text: &str, expected: &str| assert_eq!(hide_keys(text), expected);
    check("no key `sk-0123456789abc` here", "no key `sk-***` here");
    check("sk-0123456789-_a,sk-9876543210bcd", "sk-***,sk-***");
    let harmless = "must start with sk-, task-0123456789abcd, sk-short";
    check(harmless, harmless);
}

use tollway_meters::{NothingSpent, Options, Spent, SystemClock};

use super::*;
use crate::snapshot::Snapshot;
use crate::snapshot::tests::snapshot_of;

const MODELS: &str = "model_list:
  - model_name: g
    litellm_params: {model: openai/a, api_key: k, max_budget: 1, budget_duration: 1d}
    model_info: {id: own}
  - model_name: g
    litellm_params: {model: openai/b, api_key: k}
    model_info: {id: plain}
  - model_name: elsewhere/*
    litellm_params: {model: groq/*, api_key: k, max_budget: 2}
";

fn meters() -> Meters {
    Meters::new(Options::default(), Arc::new(NothingSpent), Arc::new(SystemClock::new(unix_millis)))
}

fn dollars(dollars: i64) -> Option<Demand> {
    Some(Demand { tokens: 1, money: Money::from_dollars(dollars), free: false })
}

fn deployment(snapshot: &Snapshot, name: &str) -> Arc<Deployment> {
    snapshot.resolve(name).unwrap()[0].clone()
}

/// Why a call for so much is not taken there; empty when it is, and its money is then spent.
async fn ask(snapshot: &Snapshot, meters: &Meters, name: &str, demand: Option<Demand>) -> String {
    let money = demand.map_or(Money::ZERO, |demand| demand.money);
    match snapshot
        .budgets
        .hold(Some(meters), &deployment(snapshot, name), |_| demand.ok_or(Short::Unpriced))
        .await
    {
        Ok(hold) => {
            if let Some(hold) = hold {
                hold.settle(Spent { money, ..Spent::default() });
            }
            String::new()
        }
        Err(short) => short.to_string(),
    }
}

#[tokio::test]
async fn a_deployment_is_asked_for_its_own_budget_and_no_other() {
    let (snapshot, meters) = (snapshot_of(MODELS), meters());
    assert_eq!(ask(&snapshot, &meters, "own", dollars(1)).await, "");
    let refused = ask(&snapshot, &meters, "own", dollars(1)).await;
    assert!(
        refused.starts_with("its budget is used up until ") && refused.ends_with(": 1.00 of 1.00 USD"),
        "{refused}"
    );
    assert_eq!(ask(&snapshot, &meters, "plain", dollars(100)).await, "");
    // What costs nothing passes.
    assert_eq!(ask(&snapshot, &meters, "own", Some(Demand { free: true, ..Demand::default() })).await, "");
}

#[tokio::test]
async fn all_models_of_a_wildcard_share_its_budget() {
    let (snapshot, meters) = (snapshot_of(MODELS), meters());
    assert_eq!(ask(&snapshot, &meters, "elsewhere/one", dollars(1)).await, "");
    assert_eq!(ask(&snapshot, &meters, "elsewhere/two", dollars(1)).await, "");
    for name in ["elsewhere/one", "elsewhere/two", "elsewhere/three"] {
        let refused = ask(&snapshot, &meters, name, dollars(1)).await;
        assert_eq!(refused, "its budget is used up: 2.00 of 2.00 USD");
    }
}

#[tokio::test]
async fn all_deployments_of_a_provider_share_its_budget() {
    let text = format!(
        "{MODELS}router_settings: {{provider_budget_config: {{openai: {{budget_limit: 3, time_period: 1d}}}}}}\n"
    );
    let (snapshot, meters) = (snapshot_of(&text), meters());
    assert_eq!(ask(&snapshot, &meters, "own", dollars(1)).await, "");
    assert_eq!(ask(&snapshot, &meters, "plain", dollars(2)).await, "");
    let refused = ask(&snapshot, &meters, "plain", dollars(1)).await;
    assert!(refused.starts_with("the budget of its provider openai is used up until "), "{refused}");
    assert_eq!(ask(&snapshot, &meters, "elsewhere/one", dollars(1)).await, "");
}

#[tokio::test]
async fn a_price_that_nobody_knows_is_asked_for_only_where_there_is_a_budget() {
    let (snapshot, meters) = (snapshot_of(MODELS), meters());
    assert_eq!(ask(&snapshot, &meters, "plain", None).await, "");
    assert_eq!(
        ask(&snapshot, &meters, "own", None).await,
        "its price is not known, and the call counts against a budget"
    );
}

#[test]
fn the_refusal_names_what_is_used_up_and_no_amount() {
    let spent = |until| Short::Spent {
        what: "its budget is used up".to_owned(),
        figures: Some((Money::from_dollars(1), Money::from_dollars(2))),
        until,
    };
    let check = |short: Vec<Short>, status: u16, says: &str, waits: bool| {
        let short: Vec<(Arc<str>, Short)> = short.into_iter().map(|short| ("d".into(), short)).collect();
        let error = refusal("g", &short).unwrap();
        assert_eq!(error.status(), status);
        assert!(error.message().contains(says) && !error.message().contains("USD"), "{}", error.message());
        assert_eq!(matches!(error.retry(), Retry::Later(Some(_))), waits);
    };
    check(vec![spent(None)], 429, "every deployment of g: d: its budget is used up", false);
    check(vec![Short::Unpriced, spent(Some(unix_millis() + 9_000))], 429, "its price is not known", true);
    check(vec![Short::Unpriced], 403, "`input_cost_per_token`", false);
    assert!(refusal("g", &[]).is_none());
}

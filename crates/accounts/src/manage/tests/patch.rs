//! An update changes what it names, and nothing else.

use serde_json::{Value, json};

use super::World;
use crate::rights::Right;

/// Fields that tell of the change itself, or of what it does to a window.
const MOVING: &[&str] = &["updated_at", "updated_by", "status"];

/// Updates one field at a time, and clears it again: all others stay as they are.
fn check_others(before: &Value, after: &Value, changed: &[&str]) {
    for (name, value) in before.as_object().unwrap() {
        if !changed.contains(&name.as_str()) && !MOVING.contains(&name.as_str()) {
            assert_eq!(
                serde_json::to_string(value).unwrap(),
                serde_json::to_string(&after[name]).unwrap(),
                "{name} changed with {changed:?}"
            );
        }
    }
}

#[tokio::test]
async fn one_field_of_a_key_at_a_time() {
    let world = World::new().await;
    world.team("team-b", &[], json!({})).await;
    let budget = world.admin(Right::BudgetWrite).await;
    world.management.budget_new(&budget, br#"{"budget_id":"b","max_budget":5}"#).await.unwrap();
    let key = world
        .key(json!({
            "key_alias": "a", "models": ["m"], "aliases": { "x": "m" }, "user_id": "u", "max_budget": 1.25,
            "soft_budget": 1, "budget_duration": "24h", "tpm_limit": 1, "rpm_limit": 2, "max_parallel_requests": 3,
            "model_tpm_limit": { "m": 4 }, "model_rpm_limit": { "m": 5 }, "model_max_budget": { "m": 6 },
            "budget_limits": [{ "budget_duration": "7d", "max_budget": 9 }], "tags": ["t"],
            "metadata": { "k": "v" }, "duration": "10d",
            "allowed_routes": ["/v1/*"],
        }))
        .await;
    for (name, value, moves) in [
        ("key_alias", json!("other"), &[][..]),
        ("models", json!(["n", "o"]), &[]),
        ("aliases", json!({ "y": "n" }), &[]),
        ("user_id", json!("u2"), &[]),
        ("team_id", json!("team-b"), &[]),
        ("budget_id", json!("b"), &["litellm_budget_table"]),
        ("end_user_budget_id", json!("b"), &[]),
        ("blocked", json!(true), &[]),
        ("key_type", json!("management"), &["allowed_routes"]),
        ("allowed_routes", json!(["info_routes", "/x"]), &[]),
        ("tags", json!(["q"]), &[]),
        ("enforced_params", json!(["user"]), &[]),
        ("router_settings", json!({ "num_retries": 0, "fallbacks": [{ "m": ["n"] }] }), &[]),
        ("metadata", json!({ "z": 1 }), &[]),
        ("duration", json!("20d"), &["expires"]),
        ("max_budget", json!(2.5), &[]),
        ("soft_budget", json!(2.25), &[]),
        ("budget_duration", json!("1mo"), &["budget_reset_at"]),
        ("budget_limits", json!([{ "budget_duration": "1h", "max_budget": 1 }]), &[]),
        ("tpm_limit", json!(10), &[]),
        ("tpd_limit", json!(10), &[]),
        ("tag_rpm_limit", json!({ "t": 1 }), &[]),
        ("budget_fallbacks", json!({ "m": ["n"] }), &[]),
        ("rpm_limit_type", json!("best_effort_throughput"), &[]),
        ("rpm_limit", json!(20), &[]),
        ("max_parallel_requests", json!(30), &[]),
        ("model_tpm_limit", json!({ "n": 1 }), &[]),
        ("model_rpm_limit", json!({ "n": 1 }), &[]),
        ("model_max_budget", json!({ "n": { "budget_limit": 1 } }), &[]),
        ("temp_budget_increase", json!(1), &[]),
        ("temp_budget_expiry", json!("2027-01-01T00:00:00Z"), &[]),
    ] {
        for value in [value, Value::Null] {
            let before = world.info(&key).await.unwrap();
            world.update(json!({ "key": key, name: value })).await.unwrap();
            let after = world.info(&key).await.unwrap();
            let mut changed = vec![name];
            changed.extend(moves);
            check_others(&before, &after, &changed);
            let shown = if name == "duration" { "expires" } else { name };
            assert_ne!(before[shown], after[shown], "{name} did not change to {value}");
            if name == "duration" && value.is_null() {
                assert!(after["expires"].is_null());
            }
        }
    }
    world.check_audit(&[&key]).await;
}

#[tokio::test]
async fn one_field_of_a_team_a_user_a_customer_and_a_budget_at_a_time() {
    let world = World::new().await;
    let limits = json!({
        "max_budget": 1.25, "soft_budget": 1, "budget_duration": "24h", "tpm_limit": 1, "rpm_limit": 2,
        "max_parallel_requests": 3, "model_tpm_limit": { "m": 4 }, "model_max_budget": { "m": 6 },
    });
    let limits = limits.as_object().unwrap().clone();
    let changes = [
        ("max_budget", json!(7)),
        ("soft_budget", json!(7)),
        ("budget_duration", json!("1mo")),
        ("tpm_limit", json!(7)),
        ("tpd_limit", json!(7)),
        ("rpm_limit", json!(7)),
        ("max_parallel_requests", json!(7)),
        ("model_tpm_limit", json!({ "n": 7 })),
        ("model_max_budget", json!({ "n": 7 })),
        ("models", json!(["z"])),
        ("metadata", json!({ "z": 1 })),
        ("blocked", json!(true)),
    ];
    let mut base = json!({ "models": ["m"], "metadata": { "k": "v" } });
    base.as_object_mut().unwrap().extend(limits.clone());
    world.team("t", &[("u", "admin")], base.clone()).await;
    world.user("u2", "internal_user", base.clone()).await;
    let customer = world.admin(Right::CustomerWrite).await;
    let mut body = base.clone();
    body["user_id"] = json!("c");
    world.management.customer_new(&customer, body.to_string().as_bytes()).await.unwrap();
    let budget = world.admin(Right::BudgetWrite).await;
    let mut body = Value::Object(limits);
    body["budget_id"] = json!("b");
    world.management.budget_new(&budget, body.to_string().as_bytes()).await.unwrap();

    let of_budgets =
        [("temp_budget_increase", json!(3)), ("temp_budget_expiry", json!("2027-01-01T00:00:00Z"))];
    let of_customers = [("default_model", json!("z")), ("allowed_model_region", json!("eu"))];
    for what in ["team", "user", "customer", "budget"] {
        let more = match what {
            "customer" => &of_customers[..],
            "budget" => &of_budgets,
            _ => &[],
        };
        for (name, value) in changes.iter().chain(more) {
            if what == "budget" && ["models", "metadata", "blocked"].contains(name) {
                continue;
            }
            for value in [value.clone(), Value::Null] {
                let before = show(&world, what).await;
                change(&world, what, name, value).await;
                let after = show(&world, what).await;
                check_others(&before, &after, &[name, "budget_reset_at", "litellm_budget_table"]);
                assert_ne!(before[name], after[name], "{what}.{name}");
            }
        }
    }
    world.check_audit(&[]).await;
}

async fn show(world: &World, what: &str) -> Value {
    let management = &world.management;
    match what {
        "team" => {
            let grant = world.admin(Right::TeamInfo).await;
            let info = management.team_info(&grant, &super::query(&[("team_id", "t")])).await.unwrap();
            info["team_info"].clone()
        }
        "user" => {
            let grant = world.admin(Right::UserInfo).await;
            management.user_info(&grant, &super::query(&[("user_id", "u2")])).await.unwrap()["user_info"]
                .clone()
        }
        "customer" => {
            let grant = world.admin(Right::CustomerRead).await;
            management.customer_info(&grant, &super::query(&[("end_user_id", "c")])).await.unwrap()
        }
        _ => {
            let grant = world.admin(Right::BudgetRead).await;
            management.budget_info(&grant, br#"{"budgets":["b"]}"#).await.unwrap()[0].clone()
        }
    }
}

async fn change(world: &World, what: &str, name: &str, value: Value) {
    let management = &world.management;
    let body = |id: &str, is: &str| json!({ id: is, name: value }).to_string();
    let result = match what {
        "team" => {
            let grant = world.admin(Right::TeamUpdate).await;
            management.team_update(&grant, None, body("team_id", "t").as_bytes()).await
        }
        "user" => {
            let grant = world.admin(Right::UserUpdate).await;
            management.user_update(&grant, body("user_id", "u2").as_bytes()).await
        }
        "customer" => {
            let grant = world.admin(Right::CustomerWrite).await;
            management.customer_update(&grant, body("user_id", "c").as_bytes()).await
        }
        _ => {
            let grant = world.admin(Right::BudgetWrite).await;
            management.budget_update(&grant, body("budget_id", "b").as_bytes()).await
        }
    };
    result.unwrap_or_else(|error| panic!("{what}.{name}: {error}"));
}

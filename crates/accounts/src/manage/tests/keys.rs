//! Keys: what is made, shown, refused.

use serde_json::{Value, json};
use tollway_store::records::{DeletedKey, Grace, Key};

use super::{NOW, World, query, told};
use crate::manage::{hash_key, is_mistyped};
use crate::rights::{Grant, Right};

async fn refused(world: &World, body: Value, status: u16, param: &str, says: &str) {
    let error = world.generate(body.clone()).await.expect_err(&body.to_string());
    let (is, kind, at) = told(&error);
    assert_eq!((is, at.as_deref()), (status, Some(param)), "{body}: {error}");
    let expected = if status == 404 { "not_found_error" } else { "bad_request_error" };
    assert_eq!(kind, expected, "{body}");
    assert!(error.message().contains(says), "{body}: {error}");
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_its_hash() {
    let world = World::new().await;
    let body = json!({
        "key_alias": "ci", "models": ["gpt-*"], "aliases": { "fast": "gpt-mini" }, "max_budget": 10.10,
        "budget_duration": "1mo", "tpm_limit": 1000, "rpm_limit": 10.0, "duration": "30d",
        "metadata": { "team": "core" }, "key_type": "llm_api", "guardrails": [], "permissions": {}, "spend": 0,
        "budget_limits": [{ "budget_duration": "24h", "max_budget": 1 }],
        "model_max_budget": { "gpt-4o": { "budget_limit": 0.000000001, "time_period": "1d" }, "o1": 2.5 },
    });
    let made = world.generate(body).await.unwrap();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("sk-") && !is_mistyped(key));
    assert_eq!(made["token"], hash_key(key));
    assert_eq!(made["key_name"], format!("sk-...{}", &key[key.len() - 4..]));
    assert_eq!(made["expires"], "2026-12-20T10:30:00Z");
    assert_eq!(made["max_budget"], 10.1);
    assert_eq!(made["budget_reset_at"], "2026-12-01T00:00:00Z");
    assert_eq!(made["budget_limits"][0]["reset_at"], "2026-11-21T00:00:00Z");
    assert_eq!(made["allowed_routes"], json!(["llm_api_routes"]));
    assert_eq!(made["model_max_budget"]["gpt-4o"]["budget_limit"], 1e-9);
    let info = world.info(key).await.unwrap();
    for field in
        ["models", "aliases", "metadata", "rpm_limit", "tpm_limit", "created_at", "expires", "key_name"]
    {
        assert_eq!(info[field], made[field], "{field}");
    }
    assert_eq!((&info["spend"], &info["total_spend"]), (&json!(0.5), &json!(1.5)));
    assert_eq!(info["model_spend"], json!({ "gpt": 1.5 }));
    assert!(info.get("token").is_none() && info["status"] == "active");
    let kept = world.store.shelf::<Key>().find("token", &hash_key(key)).await.unwrap().unwrap();
    assert!(!serde_json::to_string(&kept).unwrap().contains(key));
    assert_eq!(kept.limits.max_budget.unwrap().nanos(), 10_100_000_000);
    world.check_audit(&[key, &hash_key(key)]).await;
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let world = World::new().await;
    world.key(json!({ "key_alias": "taken", "key": "sk-custom-one" })).await;
    for (body, param, says) in [
        (json!({ "max_budgett": 1 }), "max_budgett", "did you mean `max_budget`"),
        (json!({ "tokens": 1 }), "tokens", "no field is called"),
        (json!({ "max_budget": -1 }), "max_budget", "negative"),
        (json!({ "max_budget": "ten" }), "max_budget", "not an amount"),
        (json!({ "max_budget": 1e30 }), "max_budget", "not an amount"),
        (json!({ "tpm_limit": -5 }), "tpm_limit", "whole number"),
        (json!({ "tpm_limit": 1.5 }), "tpm_limit", "whole number"),
        (json!({ "rpm_limit": u64::MAX }), "rpm_limit", "whole number"),
        (json!({ "duration": "soon" }), "duration", "not a duration"),
        (json!({ "budget_duration": "7x" }), "budget_duration", "is no duration"),
        (json!({ "models": [1] }), "models", "expected a string"),
        (json!({ "models": "gpt" }), "models", "expected a sequence"),
        (json!({ "models": [""] }), "models", "empty"),
        (json!({ "models": vec!["m"; 3000] }), "models", "more than"),
        (json!({ "key": "custom" }), "key", "begin with `sk-`"),
        (json!({ "key": "sk-custom-one" }), "key", "in use"),
        (json!({ "key": "sk-tw-forged" }), "key", "made by the gateway"),
        (json!({ "key": "sk- space" }), "key", "visible ASCII"),
        (json!({ "key_alias": "taken" }), "key_alias", "unique"),
        (json!({ "key_alias": "zero\u{0}byte" }), "key_alias", "control"),
        (json!({ "key_type": "root" }), "key_type", "llm_api"),
        (json!({ "allowed_routes": ["llm_routes"] }), "allowed_routes", "neither"),
        (json!({ "metadata": { "x": "y".repeat(70_000) } }), "metadata", "larger"),
        (json!({ "spend": 5 }), "spend", "ledger"),
        (json!({ "guardrails": ["pii"] }), "guardrails", "not built yet"),
        (json!({ "organization_id": "o" }), "organization_id", "not built yet"),
        (json!({ "budget_limits": [{ "max_budget": 1 }] }), "budget_limits", "budget_duration"),
        (json!([]), "request_body", "not a JSON object"),
    ] {
        refused(&world, body, 400, param, says).await;
    }
    for (body, param) in [
        (json!({ "team_id": "' OR 1=1 --" }), "team_id"),
        (json!({ "budget_id": "none" }), "budget_id"),
        (json!({ "end_user_budget_id": "none" }), "end_user_budget_id"),
    ] {
        refused(&world, body, 404, param, "there is no").await;
    }
    let grant = world.admin(Right::KeyGenerate).await;
    for body in ["", " ", "{", "null", "[{}]", "{\"max_budget\": NaN}"] {
        let error = world.management.key_generate(&grant, body.as_bytes()).await.unwrap_err();
        assert_eq!(told(&error).0, 400, "{body}");
    }
}

#[tokio::test]
async fn injections_are_plain_text() {
    let world = World::new().await;
    for text in ["'; DROP TABLE keys; --", "%", "_", "\\", "\" OR \"\"=\"", "a\u{202e}b", "*/ UNION SELECT 1"]
    {
        let key = world.key(json!({ "key_alias": text, "user_id": text, "tags": [text] })).await;
        assert_eq!(world.info(&key).await.unwrap()["key_alias"], text);
        let grant = world.admin(Right::KeyList).await;
        let exact = world.management.key_list(&grant, &query(&[("key_alias", text)])).await.unwrap();
        assert_eq!(exact["keys"], json!([hash_key(&key)]), "{text}");
        let part = query(&[("key_alias", text), ("substring_matching", "true")]);
        let found = world.management.key_list(&grant, &part).await.unwrap();
        assert_eq!(found["keys"], json!([hash_key(&key)]), "{text}");
    }
}

#[tokio::test]
async fn blocking_deleting_and_regenerating_leave_traces_and_no_way_back() {
    let world = World::new().await;
    let key = world.key(json!({ "key_alias": "old", "max_budget": 3 })).await;
    let body = json!({ "key": key }).to_string();
    let block = world.admin(Right::KeyBlock).await;
    let blocked = world.management.key_block(&block, body.as_bytes(), true).await.unwrap();
    assert_eq!((&blocked["blocked"], &blocked["status"]), (&json!(true), &json!("blocked")));
    let unblock = world.admin(Right::KeyUnblock).await;
    assert_eq!(world.management.key_block(&unblock, body.as_bytes(), false).await.unwrap()["blocked"], false);

    let regenerate = world.admin(Right::KeyRegenerate).await;
    let grace = json!({ "grace_period": "1h", "max_budget": 4 }).to_string();
    let second = world.management.key_regenerate(&regenerate, Some(&key), grace.as_bytes()).await.unwrap();
    let new = second["key"].as_str().unwrap().to_owned();
    assert_eq!((&second["max_budget"], &second["key_alias"]), (&json!(4.0), &json!("old")));
    assert_eq!(second["rotation_count"], 1);
    let grace = world.store.shelf::<Grace>().get(&hash_key(&key)).await.unwrap().unwrap();
    assert_eq!(grace.until, NOW + 3_600_000);
    assert_eq!(told(&world.info(&key).await.unwrap_err()).0, 404);
    // A key in its grace cannot be taken over, and the next regenerating without one ends it.
    refused(&world, json!({ "key": key }), 400, "key", "works for a while yet").await;
    let third = world.management.key_regenerate(&regenerate, Some(&new), b"").await.unwrap();
    let ended = world.store.shelf::<Grace>().get(&hash_key(&key)).await.unwrap().unwrap();
    assert_eq!(ended.until, NOW);

    let third = third["key"].as_str().unwrap().to_owned();
    let delete = world.admin(Right::KeyDelete).await;
    for unknown in [json!({ "keys": [third, "sk-unknown"] }), json!({ "key_aliases": ["old", "no"] })] {
        let error = world.management.key_delete(&delete, unknown.to_string().as_bytes()).await.unwrap_err();
        assert_eq!(told(&error), (404, "not_found_error".into(), Some("key".into())));
        assert!(error.message().starts_with("No keys found"));
    }
    let gone = json!({ "key_aliases": ["old"] }).to_string();
    let gone = world.management.key_delete(&delete, gone.as_bytes()).await.unwrap();
    assert_eq!(gone, json!({ "deleted_keys": ["old"] }));
    assert_eq!(told(&world.info(&third).await.unwrap_err()).0, 404);
    let kept = world.store.shelf::<DeletedKey>().find("token", &hash_key(&third)).await.unwrap().unwrap();
    assert_eq!((kept.deleted_at, kept.deleted_by.as_deref()), (NOW, Some("admin")));
    for body in [json!({ "key": third, "blocked": true }), json!({ "key": "sk-no", "models": [] })] {
        assert_eq!(told(&world.update(body).await.unwrap_err()).0, 404);
    }
    world.check_audit(&[&key, &new, &third, &hash_key(&third)]).await;
}

/// A key that was replaced or deleted, and all that it was before, can be made by nobody again.
async fn nothing_resurrects(world: &World) {
    let regenerate = world.admin(Right::KeyRegenerate).await;
    let new_key = |text: &str| json!({ "new_key": text }).to_string();
    let first = "sk-chosen-by-somebody-long-ago-1";
    let (second, third) = ("sk-chosen-by-somebody-long-ago-2", "sk-chosen-by-somebody-long-ago-3");
    world.key(json!({ "key": first })).await;
    world.management.key_regenerate(&regenerate, Some(first), new_key(second).as_bytes()).await.unwrap();
    let grace = json!({ "new_key": third, "grace_period": "1h" }).to_string();
    world.management.key_regenerate(&regenerate, Some(second), grace.as_bytes()).await.unwrap();
    // One that the gateway made is no better.
    let made = world.key(json!({})).await;
    world.management.key_regenerate(&regenerate, Some(&made), b"").await.unwrap();
    let other = world.key(json!({ "key": "sk-chosen-by-somebody-long-ago-4" })).await;
    let check = async |text: &str, says: &str| {
        refused(world, json!({ "key": text }), 400, "key", says).await;
        let body = new_key(text);
        let error =
            world.management.key_regenerate(&regenerate, Some(&other), body.as_bytes()).await.unwrap_err();
        assert!(told(&error).0 == 400 && error.message().contains(says), "{text}: {}", error.message());
    };
    check(first, "was replaced").await;
    check(second, "works for a while yet").await;
    check(&made, "was replaced").await;
    check(third, "in use").await;
    world.clock.fetch_add(3_600_000, std::sync::atomic::Ordering::Relaxed);
    check(second, "was replaced").await;
    let delete = world.admin(Right::KeyDelete).await;
    let body = json!({ "keys": [third] }).to_string();
    world.management.key_delete(&delete, body.as_bytes()).await.unwrap();
    check(third, "was deleted").await;
    for text in [first, second] {
        check(text, "was replaced").await;
    }
}

#[tokio::test]
async fn nothing_resurrects_a_key_in_memory_and_in_a_file() {
    nothing_resurrects(&World::new().await).await;
    let directory = tempfile::tempdir().unwrap();
    nothing_resurrects(&World::on(directory.path().join("keys.db").to_str().unwrap()).await).await;
}

#[tokio::test]
async fn nothing_resurrects_a_key_on_postgresql() {
    let Some(url) = tollway_testkit::services::new_database() else { return };
    nothing_resurrects(&World::on(&url).await).await;
}

#[tokio::test]
async fn lists_have_pages_filters_and_whole_objects() {
    let world = World::new().await;
    world.team("t", &[], json!({})).await;
    for n in 0..25 {
        let team = (n % 5 == 0).then_some("t");
        world.clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        world.key(json!({ "key_alias": format!("k{n:02}"), "team_id": team })).await;
    }
    let grant = world.admin(Right::KeyList).await;
    let list = async |pairs: &[(&str, &str)]| world.management.key_list(&grant, &query(pairs)).await;
    let page = list(&[("size", "10"), ("page", "3")]).await.unwrap();
    assert_eq!(page["keys"].as_array().unwrap().len(), 5);
    assert_eq!((&page["total_count"], &page["total_pages"]), (&json!(25), &json!(3)));
    let whole =
        [("return_full_object", "true"), ("sort_by", "key_alias"), ("sort_order", "asc"), ("size", "1")];
    assert_eq!(list(&whole).await.unwrap()["keys"][0]["key_alias"], "k00");
    assert_eq!(list(&[("team_id", "t")]).await.unwrap()["total_count"], 5);
    assert_eq!(list(&[("status", "deleted")]).await.unwrap()["total_count"], 0);
    for (name, value, status) in [
        ("size", "101", 422),
        ("page", "0", 422),
        ("sort_by", "budget", 400),
        ("expand", "team", 400),
        ("sizes", "1", 400),
        ("status", "x", 400),
    ] {
        assert_eq!(told(&list(&[(name, value)]).await.unwrap_err()).0, status, "{name}={value}");
    }
}

#[tokio::test]
async fn lists_are_ordered_and_filtered_by_what_no_column_has() {
    let world = World::new().await;
    let old = world.user("ann", "internal_user", json!({})).await;
    world.key(json!({ "key_alias": "much", "max_budget": 9, "user_id": "ann" })).await;
    world.key(json!({ "key_alias": "little", "max_budget": 1, "duration": "1d" })).await;
    let blocked = world.key(json!({ "key_alias": "blocked", "max_budget": 5 })).await;
    world.key(json!({ "key_alias": "short", "max_budget": 2, "duration": "1s" })).await;
    world.update(json!({ "key": blocked, "blocked": true })).await.unwrap();
    world.clock.fetch_add(2_000, std::sync::atomic::Ordering::Relaxed);
    let admin = world.admin(Right::KeyList).await;
    let check = async |grant: &Grant, pairs: &[(&str, &str)], expected: &[&str]| {
        let mut pairs = pairs.to_vec();
        pairs.push(("return_full_object", "true"));
        let listed = world.management.key_list(grant, &query(&pairs)).await.unwrap();
        let keys = listed["keys"].as_array().unwrap();
        let names: Vec<&str> = keys.iter().map(|key| key["key_alias"].as_str().unwrap_or("-")).collect();
        assert_eq!(names, expected, "{pairs:?}");
    };
    check(
        &admin,
        &[("sort_by", "max_budget"), ("sort_order", "asc")],
        &["little", "short", "blocked", "much", "-"],
    )
    .await;
    check(&admin, &[("sort_by", "max_budget"), ("size", "2"), ("page", "2")], &["blocked", "short"]).await;
    check(&admin, &[("sort_by", "expires"), ("sort_order", "asc"), ("size", "2")], &["short", "little"])
        .await;
    check(&admin, &[("status", "revoked")], &["blocked"]).await;
    check(&admin, &[("status", "expired")], &["short"]).await;
    check(
        &admin,
        &[("status", "active"), ("sort_by", "key_alias"), ("sort_order", "asc")],
        &["little", "much", "-"],
    )
    .await;
    check(&admin, &[("organization_id", "none")], &[]).await;
    check(
        &admin,
        &[("user_id", "AN"), ("substring_matching", "true"), ("sort_by", "key_alias"), ("sort_order", "asc")],
        &["much", "-"],
    )
    .await;
    let ann = world.grant(&world.holder(&old).await, Right::KeyList).await.unwrap();
    check(&ann, &[("include_created_by_keys", "true"), ("sort_by", "max_budget")], &["-", "much"]).await;
    let expanded =
        world.management.key_list(&admin, &query(&[("expand", "user"), ("user_id", "ann")])).await.unwrap();
    assert_eq!(expanded["keys"][0]["user"]["user_role"], "internal_user");
}

#[tokio::test]
async fn whoever_names_no_key_sees_its_own_whatever_its_role() {
    let world = World::new().await;
    for role in ["proxy_admin", "proxy_admin_viewer", "internal_user"] {
        let key = world.user(role, role, json!({})).await;
        let grant = world.grant(&world.holder(&key).await, Right::KeyInfo).await.unwrap();
        let info = world.management.key_info(&grant, &query(&[])).await.unwrap();
        assert_eq!(info["info"]["user_id"], role);
        assert_eq!(info["info"]["last_active"], "2026-11-20T10:30:00Z");
    }
    assert_eq!(
        told(&world.management.key_info(&world.admin(Right::KeyInfo).await, &query(&[])).await.unwrap_err())
            .0,
        400
    );
}

#[tokio::test]
async fn what_a_dashboard_fills_in_and_does_not_mean_is_accepted() {
    let world = World::new().await;
    world
        .generate(json!({
            "guardrails": [], "object_permission": { "mcp_servers": [], "vector_stores": [], "mcp_tool_permissions": {} },
            "tpm_limit_type": "default", "auto_rotate": false, "permissions": {}, "spend": 0,
        }))
        .await
        .unwrap();
    refused(
        &world,
        json!({ "object_permission": { "mcp_servers": ["x"] } }),
        400,
        "object_permission",
        "not built",
    )
    .await;
}

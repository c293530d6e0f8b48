//! Teams, users, customers and budgets.

use serde_json::{Value, json};
use tollway_model::Result;

use super::{World, query, told};
use crate::manage::hash_key;
use crate::rights::Right;

macro_rules! ask {
    ($world:ident $right:ident $method:ident $body:expr $(, $more:expr)*) => {{
        let grant = $world.admin(Right::$right).await;
        let result: Result<Value> = $world.management.$method(&grant, $body.to_string().as_bytes() $(, $more)*).await;
        result
    }};
}

async fn team_info(world: &World, id: &str) -> Result<Value> {
    let grant = world.admin(Right::TeamInfo).await;
    world.management.team_info(&grant, &query(&[("team_id", id)])).await
}

#[tokio::test]
async fn members_come_go_and_take_their_keys_along() {
    let world = World::new().await;
    ask!(world TeamNew team_new json!({ "team_id": "t", "team_alias": "core", "max_budget": 5 })).unwrap();
    let added = ask!(world TeamMembers member_add json!({
        "team_id": "t", "max_budget_in_team": 2.5, "budget_duration": "1mo",
        "member": [{ "user_id": "ann", "role": "admin" }, { "user_email": "bob@example.com" }],
    }))
    .unwrap();
    assert_eq!(added["members_with_roles"].as_array().unwrap().len(), 2);
    assert_eq!(added["updated_team_memberships"][0]["litellm_budget_table"]["max_budget"], 2.5);
    // Bob came into being, and is found again by his address.
    let again = json!({ "team_id": "t", "member": { "role": "user", "user_email": "bob@example.com" } });
    assert_eq!(told(&ask!(world TeamMembers member_add again).unwrap_err()).0, 400);
    let bob = added["updated_users"][1]["user_id"].as_str().unwrap().to_owned();

    let changed = ask!(world TeamMembers member_update json!({
        "team_id": "t", "user_id": "ann", "rpm_limit": 3,
    }))
    .unwrap();
    assert_eq!(
        (&changed["role"], &changed["max_budget_in_team"], &changed["rpm_limit"]),
        (&json!("admin"), &json!(2.5), &json!(3))
    );
    let key = world.key(json!({ "team_id": "t", "user_id": bob })).await;
    let other = world.key(json!({ "team_id": "t" })).await;
    let info = team_info(&world, "t").await.unwrap();
    assert_eq!(info["keys"].as_array().unwrap().len(), 2);
    assert_eq!(info["team_memberships"].as_array().unwrap().len(), 2);
    ask!(world TeamMembers member_delete json!({ "team_id": "t", "user_email": "bob@example.com" })).unwrap();
    assert_eq!(told(&world.info(&key).await.unwrap_err()).0, 404);
    assert!(world.info(&other).await.is_ok());
    let nobody = json!({ "team_id": "t", "user_id": "nobody" });
    assert_eq!(told(&ask!(world TeamMembers member_delete nobody).unwrap_err()).0, 404);

    let list = ask!(world TeamDelete team_delete json!({ "team_ids": ["t"] })).unwrap();
    assert_eq!(list, json!({ "deleted_teams": ["t"] }));
    assert_eq!(told(&world.info(&other).await.unwrap_err()).0, 404);
    assert_eq!(told(&team_info(&world, "t").await.unwrap_err()).0, 404);
    world.check_audit(&[&key, &hash_key(&key), &hash_key(&other)]).await;
}

#[tokio::test]
async fn a_team_has_defaults_for_members_and_a_lock() {
    let world = World::new().await;
    let made = ask!(world TeamNew team_new json!({ "team_member_budget": 1.5, "team_member_rpm_limit": 9 }))
        .unwrap();
    let id = made["team_id"].as_str().unwrap();
    assert_eq!(made["team_member_budget_table"]["max_budget"], 1.5);
    let grant = world.admin(Right::TeamUpdate).await;
    let changed =
        world.management.team_update(&grant, Some(id), br#"{"team_member_budget":2}"#).await.unwrap();
    let table = &changed["data"]["team_member_budget_table"];
    assert_eq!((&table["max_budget"], &table["rpm_limit"]), (&json!(2.0), &json!(9)));
    let body = json!({ "team_id": id });
    assert_eq!(ask!(world TeamBlock team_block body, true).unwrap()["blocked"], true);
    assert_eq!(ask!(world TeamBlock team_block body, false).unwrap()["blocked"], false);
    for (body, param) in [
        (json!({ "team_id": "a/b" }), "team_id"),
        (json!({ "team_id": id }), "team_id"),
        (json!({ "members_with_roles": [{ "role": "owner", "user_id": "x" }], "team_id": "w" }), "role"),
        (json!({ "team_member_permissions": ["/config/update"] }), "team_member_permissions"),
        (json!({ "guardrails": ["x"] }), "guardrails"),
        (json!({ "team_alia": "x" }), "team_alia"),
    ] {
        let error = ask!(world TeamNew team_new body).unwrap_err();
        assert_eq!(told(&error), (400, "bad_request_error".into(), Some(param.into())), "{body}");
    }
    // Taking the last model away does not open every model.
    ask!(world TeamModels team_models json!({ "team_id": id, "models": ["m"] }), true).unwrap();
    let team = ask!(world TeamModels team_models json!({ "team_id": id, "models": ["m"] }), false).unwrap();
    assert_eq!(team["models"], json!(["no-default-models"]));
}

#[tokio::test]
async fn users_get_a_key_and_leave_with_all_of_theirs() {
    let world = World::new().await;
    world.team("t", &[], json!({})).await;
    let made = ask!(world UserNew user_new json!({
        "user_id": "u", "user_email": "u@example.com", "user_role": "internal_user", "max_budget": 9,
        "teams": ["t"], "key_alias": "first",
    }))
    .unwrap();
    let key = made["key"].as_str().unwrap().to_owned();
    assert_eq!((&made["teams"], &made["token"]), (&json!(["t"]), &json!(hash_key(&key))));
    assert_eq!(world.info(&key).await.unwrap()["user_id"], "u");
    let without = ask!(world UserNew user_new json!({ "user_id": "v", "auto_create_key": false })).unwrap();
    assert_eq!((&without["key"], without.get("token")), (&json!(""), None));
    for (body, status) in [
        (json!({ "user_id": "u" }), 409),
        (json!({ "user_email": "u@example.com" }), 409),
        (json!({ "user_role": "root" }), 400),
        (json!({ "user_id": "w", "key_alias": "first" }), 400),
        (json!({ "user_id": "w", "teams": ["none"] }), 404),
        (json!({ "user_id": "w", "teams": [{ "team_id": "t", "role": "admin" }] }), 400),
        (json!({ "password": "x" }), 400),
    ] {
        assert_eq!(told(&ask!(world UserNew user_new body).unwrap_err()).0, status, "{body}");
    }
    let grant = world.admin(Right::UserList).await;
    let list = world.management.user_list(&grant, &query(&[("user_ids", "u,v,w")])).await.unwrap();
    assert_eq!(
        (&list["total"], list["users"].as_array().unwrap().len()),
        (&json!(2), 2),
        "w is no trace: {list}"
    );
    let by_email = json!({ "user_email": "u@example.com", "max_budget": 10 });
    assert_eq!(ask!(world UserUpdate user_update by_email).unwrap()["data"]["max_budget"], 10.0);
    assert_eq!(ask!(world UserDelete user_delete json!({ "user_ids": ["u"] })).unwrap(), json!(1));
    assert_eq!(told(&world.info(&key).await.unwrap_err()).0, 404);
    assert_eq!(team_info(&world, "t").await.unwrap()["team_memberships"], json!([]));
    world.check_audit(&[&key]).await;
}

#[tokio::test]
async fn customers_and_shared_budgets() {
    let world = World::new().await;
    let budget =
        json!({ "budget_id": "b", "max_budget": 0.10, "budget_duration": "7d", "allowed_models": ["m"] });
    ask!(world BudgetWrite budget_new budget).unwrap();
    assert_eq!(told(&ask!(world BudgetWrite budget_new budget).unwrap_err()).0, 400);
    let made = ask!(world CustomerWrite customer_new json!({
        "user_id": "c", "alias": "Cy", "budget_id": "b",
    }))
    .unwrap();
    assert_eq!(made["litellm_budget_table"]["max_budget"], 0.1);
    for (body, status) in [
        (json!({ "user_id": "c" }), 400),
        (json!({ "user_id": "d", "budget_id": "none" }), 404),
        (json!({ "user_id": "d", "allowed_model_region": "mars" }), 400),
        (json!({ "alias": "no id" }), 400),
    ] {
        assert_eq!(told(&ask!(world CustomerWrite customer_new body).unwrap_err()).0, status, "{body}");
    }
    // A budget that binds someone stays.
    assert_eq!(told(&ask!(world BudgetWrite budget_delete json!({ "id": "b" })).unwrap_err()).0, 400);
    let ids = json!({ "user_ids": ["c", "unknown"] });
    let blocked = ask!(world CustomerWrite customer_block ids, true).unwrap();
    assert!(blocked["blocked_users"].as_array().unwrap().iter().all(|one| one["blocked"] == true));
    ask!(world CustomerWrite customer_block json!({ "user_ids": ["c"] }), false).unwrap();
    let deleted = ask!(world CustomerWrite customer_delete ids).unwrap();
    assert_eq!(deleted["deleted_customers"], 2);
    ask!(world BudgetWrite budget_delete json!({ "id": "b" })).unwrap();
    let grant = world.admin(Right::BudgetRead).await;
    assert_eq!(world.management.budget_list(&grant, &query(&[])).await.unwrap(), json!([]));
    world.check_audit(&[]).await;
}

#[tokio::test]
async fn users_are_listed_by_role_and_by_what_they_spent() {
    let world = World::new().await;
    for (id, role) in [
        ("user1", "internal_user"),
        ("user2", "proxy_admin_viewer"),
        ("user3", "internal_user"),
        ("zero", "internal_user"),
    ] {
        world.user(id, role, json!({ "user_email": format!("{id}@Example.com") })).await;
    }
    let grant = world.admin(Right::UserList).await;
    let check = async |pairs: &[(&str, &str)], expected: &[&str]| {
        let listed = world.management.user_list(&grant, &query(pairs)).await.unwrap();
        let users = listed["users"].as_array().unwrap();
        let ids: Vec<&str> = users.iter().map(|user| user["user_id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected, "{pairs:?}");
    };
    check(&[("sort_by", "spend")], &["user3", "user2", "user1", "zero"]).await;
    check(&[("sort_by", "spend"), ("sort_order", "asc"), ("page_size", "1")], &["zero"]).await;
    check(&[("role", "internal_user"), ("sort_by", "spend")], &["user3", "user1", "zero"]).await;
    check(&[("search", "USER2@ex")], &["user2"]).await;
    check(&[("search", "zer")], &["zero"]).await;
    check(&[("organization_ids", "x")], &[]).await;
    let wrong = world.management.user_list(&grant, &query(&[("role", "boss")])).await.unwrap_err();
    assert_eq!(told(&wrong).0, 400);
}

#[tokio::test]
async fn whoever_picks_a_user_finds_it_by_a_piece_of_its_name() {
    let world = World::new().await;
    for id in ["anna", "hanna", "ben"] {
        world.user(id, "internal_user", json!({ "user_email": format!("{id}@example.com") })).await;
    }
    let grant = world.admin(Right::UserList).await;
    let check = async |pairs: &[(&str, &str)], expected: &[&str]| {
        let listed = world.management.user_filter(&grant, &query(pairs)).await.unwrap();
        let mut ids: Vec<&str> =
            listed.as_array().unwrap().iter().map(|user| user["user_id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{pairs:?}");
    };
    check(&[], &["anna", "ben", "hanna"]).await;
    check(&[("user_id", "ANNA")], &["anna", "hanna"]).await;
    check(&[("user_email", "hanna@"), ("user_id", "anna")], &["hanna"]).await;
    check(&[("user_id", "%")], &[]).await;
    world.team("t", &[], json!({})).await;
    let counted = world.management.users_available(&grant, &query(&[])).await.unwrap();
    assert_eq!((&counted["total_users_used"], &counted["total_teams_used"]), (&json!(3), &json!(1)));
    assert_eq!(counted["total_users_remaining"], Value::Null);
}

#[tokio::test]
async fn plain_members_of_several_teams_may_do_more_at_once() {
    let world = World::new().await;
    for id in ["a", "b"] {
        world.team(id, &[], json!({ "team_member_permissions": ["/key/info"] })).await;
    }
    let permissions = async |id: &str| {
        let grant = world.admin(Right::TeamInfo).await;
        let shown = world.management.team_permissions(&grant, &query(&[("team_id", id)])).await.unwrap();
        shown["team_member_permissions"].clone()
    };
    let more = json!({ "team_ids": ["a"], "permissions": ["/key/info", "/key/generate"] });
    let done = ask!(world TeamUpdate teams_permissions_update more).unwrap();
    assert_eq!(done["teams_updated"], 1);
    assert_eq!(permissions("a").await, json!(["/key/info", "/key/generate"]));
    assert_eq!(permissions("b").await, json!(["/key/info"]));
    ask!(world TeamUpdate teams_permissions_update json!({ "permissions": ["/key/delete"], "apply_to_all_teams": true }))
        .unwrap();
    assert_eq!(permissions("b").await, json!(["/key/info", "/key/delete"]));
    for (body, status) in [
        (json!({ "permissions": ["/key/info"] }), 400),
        (json!({ "permissions": ["/key/info"], "team_ids": ["a", "none"] }), 404),
        (json!({ "permissions": ["/nothing"], "team_ids": ["a"] }), 400),
        (json!({ "permissions": ["/key/info"], "team_ids": ["a"], "apply_to_all_teams": true }), 400),
    ] {
        assert_eq!(
            told(&ask!(world TeamUpdate teams_permissions_update body).unwrap_err()).0,
            status,
            "{body}"
        );
    }
}

#[tokio::test]
async fn several_changes_at_once_count_each_for_itself() {
    let world = World::new().await;
    world.user("ann", "internal_user", json!({})).await;
    world.user("ben", "internal_user", json!({})).await;
    world.team("t", &[("ann", "admin")], json!({ "team_member_budget": 4 })).await;
    let body = |value: Value| value.to_string().into_bytes();
    let users = world.admin(Right::UserUpdate).await;
    let changes = json!({ "users": [{ "user_id": "ann", "max_budget": 3 }, { "user_id": "none" }, { "user_id": "ben", "foo": 1 }] });
    let done = world.management.user_bulk_update(&users, &body(changes)).await.unwrap();
    assert_eq!(
        (&done["total_requested"], &done["successful_updates"], &done["failed_updates"]),
        (&json!(3), &json!(1), &json!(2))
    );
    assert_eq!(done["results"][0]["updated_user"]["max_budget"], 3.0);
    let everyone = json!({ "all_users": true, "user_updates": { "rpm_limit": 7 } });
    assert_eq!(
        world.management.user_bulk_update(&users, &body(everyone)).await.unwrap()["successful_updates"],
        2
    );

    let members = world.admin(Right::TeamMembers).await;
    let added = json!({ "team_id": "t", "members": [{ "user_id": "ben" }, { "user_id": "ann" }], "max_budget_in_team": 2 });
    let done = world.management.members_add(&members, &body(added)).await.unwrap();
    assert_eq!((&done["successful_additions"], &done["failed_additions"]), (&json!(1), &json!(1)));
    let limit =
        json!({ "members": [{ "user_id": "ben", "rpm_limit": 5 }, { "user_id": "none", "rpm_limit": 5 }] });
    let done = world.management.members_update(&members, Some("t"), &body(limit)).await.unwrap();
    assert_eq!((&done["data"][0]["rpm_limit"], &done["data"][1]["success"]), (&json!(5), &json!(false)));
    let reset = world.management.member_reset_budget(&members, Some("t/member/ben")).await.unwrap();
    assert_eq!(reset["budget_source"], "team_default");
    let team = team_info(&world, "t").await.unwrap();
    let ben =
        team["team_memberships"].as_array().unwrap().iter().find(|one| one["user_id"] == "ben").unwrap();
    assert_eq!(ben["litellm_budget_table"]["max_budget"], Value::Null);
    let gone = json!({ "members": [{ "user_id": "ben" }] });
    assert_eq!(
        world.management.members_delete(&members, Some("t"), &body(gone)).await.unwrap()["data"][0]["success"],
        true
    );

    let key = world.key(json!({ "team_id": "t" })).await;
    let other = world.key(json!({})).await;
    let keys = world.admin(Right::KeyUpdate).await;
    let change = json!({ "team_id": "t", "key_ids": [key, other], "update_fields": { "tpm_limit": 9 } });
    let done = world.management.team_keys_update(&keys, &body(change)).await.unwrap();
    assert_eq!(
        (
            done["successful_updates"].as_array().unwrap().len(),
            done["failed_updates"].as_array().unwrap().len()
        ),
        (1, 1)
    );
    assert_eq!(world.info(&key).await.unwrap()["tpm_limit"], 9);
    assert_eq!(world.info(&other).await.unwrap()["tpm_limit"], Value::Null);
    let teams = world.admin(Right::TeamUpdate).await;
    let permissions = json!({ "team_id": "t", "team_member_permissions": ["/key/generate"] });
    let team = world.management.team_permissions_update(&teams, &body(permissions)).await.unwrap();
    assert_eq!(team["team_member_permissions"], json!(["/key/generate"]));
}

#[tokio::test]
async fn a_members_key_lasts_as_long_as_the_team_says() {
    let world = World::new().await;
    world.user("ann", "internal_user", json!({})).await;
    world.team("t", &[("ann", "user")], json!({ "team_member_key_duration": "30d" })).await;
    let ends = async |body: Value| world.info(&world.key(body).await).await.unwrap()["expires"].clone();
    assert!(ends(json!({ "team_id": "t", "user_id": "ann" })).await.is_string());
    assert_eq!(ends(json!({ "team_id": "t", "user_id": "ann", "duration": null })).await, Value::Null);
    assert_eq!(ends(json!({ "team_id": "t" })).await, Value::Null, "nobody's key of its own");
    assert_eq!(ends(json!({ "user_id": "ann" })).await, Value::Null, "not of the team");
    let wrong = ask!(world TeamNew team_new json!({ "team_member_key_duration": "soon" })).unwrap_err();
    assert_eq!(told(&wrong).2.as_deref(), Some("team_member_key_duration"));
}

#[tokio::test]
async fn a_throughput_is_promised_only_as_far_as_the_team_has_it() {
    let world = World::new().await;
    world.team("t", &[], json!({ "tpm_limit": 1_000, "rpm_limit": 10 })).await;
    let wanted = |tpm: u64, how: &str| json!({ "team_id": "t", "tpm_limit": tpm, "tpm_limit_type": how });
    let one = world.key(wanted(600, "guaranteed_throughput")).await;
    world.key(wanted(900, "best_effort_throughput")).await;
    let error = world.generate(wanted(401, "guaranteed_throughput")).await.unwrap_err();
    assert_eq!((told(&error).0, told(&error).2.as_deref()), (400, Some("tpm_limit")), "{error}");
    assert!(error.message().contains("600 are promised"), "{error}");
    let two = world.key(wanted(400, "guaranteed_throughput")).await;
    world.update(json!({ "key": one, "tpm_limit": 601 })).await.unwrap_err();
    world.update(json!({ "key": one, "metadata": { "x": 1 } })).await.unwrap();
    world.update(json!({ "key": one, "tpm_limit_type": null })).await.unwrap();
    world.update(json!({ "key": two, "tpm_limit": 1_000 })).await.unwrap();
    let alone = json!({ "rpm_limit": 1, "rpm_limit_type": "guaranteed_throughput" });
    assert_eq!(told(&world.generate(alone).await.unwrap_err()).2.as_deref(), Some("team_id"));
    world.key(wanted(1, "dynamic")).await;
    assert_eq!(
        told(&world.generate(wanted(1, "some")).await.unwrap_err()).2.as_deref(),
        Some("tpm_limit_type")
    );
}

#[tokio::test]
async fn tags_are_made_changed_listed_and_deleted() {
    let world = World::new().await;
    ask!(world BudgetWrite budget_new json!({ "budget_id": "b", "max_budget": 5 })).unwrap();
    let made = ask!(world TagWrite tag_new json!({
        "name": "web", "description": "the site", "models": ["m"], "max_budget": 2, "budget_duration": "1mo", "tpd_limit": 9,
    }));
    let tag = made.unwrap()["tag"].clone();
    assert_eq!((&tag["name"], &tag["models"], &tag["tpd_limit"]), (&json!("web"), &json!(["m"]), &json!(9)));
    assert!(tag["budget_reset_at"].is_string(), "{tag}");
    for (body, param) in [
        (json!({ "name": "web" }), "name"),
        (json!({ "name": "a,b" }), "name"),
        (json!({ "name": " a" }), "name"),
        (json!({ "name": "a", "spend": 3 }), "spend"),
        (json!({ "name": "a", "colour": "red" }), "colour"),
        (json!({ "description": "nameless" }), "name"),
    ] {
        let error = ask!(world TagWrite tag_new body).unwrap_err();
        assert_eq!((told(&error).0, told(&error).2.as_deref()), (400, Some(param)), "{error}");
    }
    let unknown = ask!(world TagWrite tag_new json!({ "name": "a", "budget_id": "none" })).unwrap_err();
    assert_eq!(told(&unknown).0, 404);
    let changed =
        ask!(world TagWrite tag_update json!({ "name": "web", "description": null, "budget_id": "b" }));
    let changed = changed.unwrap()["tag"].clone();
    assert_eq!((&changed["description"], &changed["max_budget"]), (&Value::Null, &json!(2.0)));
    assert_eq!(changed["litellm_budget_table"]["budget_id"], "b");
    let bound = ask!(world BudgetWrite budget_delete json!({ "id": "b" })).unwrap_err();
    assert!(bound.message().contains("1 tags"), "{bound}");
    let info = ask!(world TagRead tag_info json!({ "names": ["web"] })).unwrap();
    assert_eq!(info["web"]["models"], json!(["m"]));
    let grant = world.admin(Right::TagRead).await;
    let list = world.management.tag_list(&grant, &super::query(&[])).await.unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    ask!(world TagWrite tag_delete json!({ "name": "web" })).unwrap();
    assert_eq!(told(&ask!(world TagWrite tag_delete json!({ "name": "web" })).unwrap_err()).0, 404);
    world.check_audit(&[]).await;
}

#[tokio::test]
async fn router_settings_that_would_have_no_effect_are_refused() {
    let world = World::new().await;
    let check = async |settings: Value, fault: Option<&str>| {
        let body = json!({ "router_settings": settings });
        let results = [world.generate(body.clone()).await, ask!(world TeamNew team_new body)];
        for result in results {
            match (result, fault) {
                (Ok(_), None) => {}
                (Err(error), Some(fault)) => {
                    assert_eq!(told(&error).2, Some(format!("router_settings.{fault}")), "{error}");
                }
                (result, _) => panic!("{body}: {result:?}"),
            }
        }
    };
    let all = json!({ "num_retries": 3, "timeout": 2.5, "stream_timeout": 1, "fallbacks": ["a", { "m": ["b"] }],
        "context_window_fallbacks": [{ "m": ["c"] }], "content_policy_fallbacks": [], "weights": {}, "retry_policy": null });
    check(all, None).await;
    check(json!({}), None).await;
    check(json!({ "num_retries": -1 }), Some("num_retries")).await;
    check(json!({ "timeout": 0 }), Some("timeout")).await;
    check(json!({ "fallbacks": "b" }), Some("fallbacks")).await;
    check(json!({ "fallbacks": [{ "m": "b" }] }), Some("fallbacks")).await;
    check(json!({ "fallbacks": vec!["b"; 33] }), Some("fallbacks")).await;
    check(json!({ "routing_strategy": "least-busy" }), Some("routing_strategy")).await;
    check(json!({ "nonsense": 1 }), Some("nonsense")).await;
}

//! Whoever is no administrator stays within its own, and gives away no more than it has.

use serde_json::{Value, json};
use tollway_model::Result;

use super::{World, query, told};
use crate::manage::hash_key;
use crate::principal::Principal;
use crate::rights::Right;

/// Asks as `who`; the status of the answer.
async fn status(world: &World, who: &Principal, right: Right, body: Value) -> u16 {
    // Boxed: a test asks often, and unoptimised each question would have a place of its own on the stack.
    match Box::pin(ask(world, who, right, body)).await {
        Ok(_) => 200,
        Err(error) => error.status(),
    }
}

async fn ask(world: &World, who: &Principal, right: Right, body: Value) -> Result<Value> {
    let grant = world.grant(who, right).await?;
    let (management, body) = (&world.management, body.to_string());
    let body = body.as_bytes();
    match right {
        Right::KeyGenerate => management.key_generate(&grant, body).await,
        Right::KeyServiceAccount => management.key_service_account(&grant, body).await,
        Right::KeyUpdate => management.key_update(&grant, body).await,
        Right::KeyDelete => management.key_delete(&grant, body).await,
        Right::KeyBlock => management.key_block(&grant, body, true).await,
        Right::KeyUnblock => management.key_block(&grant, body, false).await,
        Right::KeyRegenerate => management.key_regenerate(&grant, None, body).await,
        Right::TeamUpdate => management.team_update(&grant, None, body).await,
        Right::TeamMembers => management.member_add(&grant, body).await,
        Right::UserUpdate => management.user_update(&grant, body).await,
        Right::UserNew => management.user_new(&grant, body).await,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_user_makes_keys_within_its_own_limits_and_for_nobody_else() {
    let world = World::new().await;
    let more = json!({ "max_budget": 10, "rpm_limit": 5, "models": ["gpt-4o", "claude-*"] });
    let key = world.user("u", "internal_user", more).await;
    world.user("other", "internal_user", json!({})).await;
    world.team("theirs", &[("other", "admin")], json!({})).await;
    let me = world.holder(&key).await;
    let generate = async |body| status(&world, &me, Right::KeyGenerate, body).await;
    assert_eq!(generate(json!({ "max_budget": 10, "models": ["claude-3", "gpt-4o"] })).await, 200);
    assert_eq!(generate(json!({ "user_id": "u" })).await, 200);
    for body in [
        json!({ "max_budget": 10.000000001 }),
        json!({ "rpm_limit": 6 }),
        json!({ "models": ["o1"] }),
        json!({ "models": ["*"] }),
        json!({ "models": ["all-proxy-models"] }),
        json!({ "user_id": "other" }),
        json!({ "user_id": null }),
        json!({ "team_id": "theirs" }),
        json!({ "team_id": "no-such-team" }),
    ] {
        assert_eq!(generate(body.clone()).await, 403, "{body}");
    }
    for body in [
        json!({ "spend": 5 }),
        json!({ "token": "x" }),
        json!({ "user_role": "proxy_admin" }),
        json!({ "key": "sk-1" }),
    ] {
        assert_eq!(generate(body.clone()).await, 400, "{body}");
    }
    let made = ask(&world, &me, Right::KeyGenerate, json!({})).await.unwrap();
    assert_eq!((&made["user_id"], &made["created_by"]), (&json!("u"), &json!("u")));
}

#[tokio::test]
async fn what_others_tied_a_user_does_not_loosen() {
    let world = World::new().await;
    let key = world.user("u", "internal_user", json!({})).await;
    let me = world.holder(&key).await;
    let given =
        world.key(json!({ "user_id": "u", "max_budget": 1, "models": ["m"], "duration": "1d" })).await;
    for body in [
        json!({ "max_budget": 2 }),
        json!({ "max_budget": null }),
        json!({ "models": [] }),
        json!({ "duration": "-1" }),
        json!({ "allowed_routes": ["*"] }),
        json!({ "tags": ["cheap"] }),
        json!({ "temp_budget_increase": 5 }),
        json!({ "temp_budget_expiry": "2099-01-01T00:00:00Z" }),
        json!({ "budget_id": null, "tpm_limit": 5 }),
        json!({ "user_id": "someone" }),
    ] {
        let mut body = body;
        body["key"] = json!(given);
        assert_eq!(status(&world, &me, Right::KeyUpdate, body.clone()).await, 403, "{body}");
    }
    let alias = json!({ "key": given, "key_alias": "mine", "metadata": { "a": 1 } });
    assert_eq!(status(&world, &me, Right::KeyUpdate, alias).await, 200);
    // Giving it a new secret is no way around, and a block is not lifted by the blocked.
    let anew = json!({ "key": given, "max_budget": 50 });
    assert_eq!(status(&world, &me, Right::KeyRegenerate, anew).await, 403);
    let made = ask(&world, &me, Right::KeyRegenerate, json!({ "key": given })).await.unwrap();
    let given = made["key"].as_str().unwrap().to_owned();
    assert_eq!(made["max_budget"], 1.0);
    world.update(json!({ "key": given, "blocked": true })).await.unwrap();
    assert_eq!(status(&world, &me, Right::KeyUnblock, json!({ "key": given })).await, 404);
    assert_eq!(status(&world, &me, Right::KeyUpdate, json!({ "key": given, "blocked": false })).await, 403);
    let made = ask(&world, &me, Right::KeyRegenerate, json!({ "key": given })).await.unwrap();
    assert_eq!(made["blocked"], true);
    // Of oneself: the name, and neither role nor money.
    assert_eq!(status(&world, &me, Right::UserUpdate, json!({ "user_alias": "me" })).await, 200);
    for (field, value) in [
        ("user_role", json!("proxy_admin")),
        ("max_budget", json!(1000)),
        ("max_budget", Value::Null),
        ("models", json!([])),
        ("user_email", json!("boss@example.com")),
        ("sso_user_id", json!("boss")),
        ("metadata", json!({})),
        ("blocked", json!(false)),
    ] {
        assert_eq!(status(&world, &me, Right::UserUpdate, json!({ field: value })).await, 403, "{field}");
    }
    assert_eq!(status(&world, &me, Right::UserUpdate, json!({ "user_id": "u", "spend": 7 })).await, 400);
    assert_eq!(
        status(&world, &me, Right::UserUpdate, json!({ "user_id": "v", "user_alias": "x" })).await,
        404
    );
    assert_eq!(status(&world, &me, Right::UserNew, json!({ "user_role": "proxy_admin" })).await, 401);
}

#[tokio::test]
async fn other_peoples_keys_are_not_there() {
    let world = World::new().await;
    let mine = world.user("u", "internal_user", json!({})).await;
    let theirs = world.user("v", "internal_user", json!({ "key_alias": "theirs" })).await;
    let nobodys = world.key(json!({ "key_alias": "nobodys" })).await;
    let me = world.holder(&mine).await;
    for other in [theirs.clone(), hash_key(&theirs), nobodys, "sk-unknown".to_owned()] {
        for right in [Right::KeyUpdate, Right::KeyBlock, Right::KeyUnblock, Right::KeyRegenerate] {
            assert_eq!(status(&world, &me, right, json!({ "key": other })).await, 404, "{right:?}");
        }
        assert_eq!(status(&world, &me, Right::KeyDelete, json!({ "keys": [other] })).await, 404);
        let grant = world.grant(&me, Right::KeyInfo).await.unwrap();
        let error = world.management.key_info(&grant, &query(&[("key", &other)])).await.unwrap_err();
        let unknown = world.management.key_info(&grant, &query(&[("key", "sk-nothing")])).await.unwrap_err();
        // Nothing tells a key of someone else's from one that never was.
        assert_eq!((told(&error), error.message()), (told(&unknown), unknown.message()));
    }
    assert_eq!(status(&world, &me, Right::KeyDelete, json!({ "key_aliases": ["theirs"] })).await, 404);
    let grant = world.grant(&me, Right::KeyList).await.unwrap();
    for filter in [&[][..], &[("user_id", "v")], &[("key_alias", "theirs")], &[("include_team_keys", "true")]]
    {
        let list = world.management.key_list(&grant, &query(filter)).await.unwrap();
        assert!(!list.to_string().contains(&hash_key(&theirs)), "{filter:?}");
    }
    let list = world.management.key_list(&grant, &query(&[])).await.unwrap();
    assert_eq!((&list["keys"], &list["total_count"]), (&json!([hash_key(&mine)]), &json!(1)));
    let grant = world.grant(&me, Right::KeyInfo).await.unwrap();
    let own = world.management.key_info(&grant, &query(&[])).await.unwrap();
    assert_eq!(own["key"], hash_key(&mine));
}

#[tokio::test]
async fn a_teams_admin_manages_it_and_its_members_what_they_are_permitted() {
    let world = World::new().await;
    let boss = world.user("boss", "internal_user", json!({})).await;
    let worker = world.user("worker", "internal_user", json!({})).await;
    let watcher = world.user("watcher", "internal_user_viewer", json!({})).await;
    let members = [("boss", "admin"), ("worker", "user"), ("watcher", "admin")];
    world.team("t", &members, json!({ "max_budget": 5, "models": ["m"] })).await;
    world.team("far", &[], json!({})).await;
    let (boss, worker, watcher) =
        (world.holder(&boss).await, world.holder(&worker).await, world.holder(&watcher).await);
    let key = world.key(json!({ "team_id": "t", "key_alias": "team-key" })).await;

    for (who, expected) in [(&boss, 200), (&worker, 404), (&watcher, 401)] {
        let body = json!({ "key": key, "metadata": { "by": expected } });
        assert_eq!(status(&world, who, Right::KeyUpdate, body).await, expected);
    }
    for (who, expected) in [(&boss, 200), (&worker, 403), (&watcher, 401)] {
        assert_eq!(status(&world, who, Right::KeyGenerate, json!({ "team_id": "t" })).await, expected);
    }
    assert_eq!(
        status(&world, &boss, Right::KeyGenerate, json!({ "team_id": "t", "max_budget": 6 })).await,
        403
    );
    assert_eq!(
        status(&world, &boss, Right::KeyGenerate, json!({ "team_id": "t", "models": ["x"] })).await,
        403
    );
    assert_eq!(status(&world, &boss, Right::KeyGenerate, json!({ "team_id": "far" })).await, 403);
    assert_eq!(status(&world, &boss, Right::KeyUpdate, json!({ "key": key, "team_id": "far" })).await, 403);
    let for_worker = json!({ "team_id": "t", "user_id": "worker" });
    assert_eq!(status(&world, &boss, Right::KeyGenerate, for_worker).await, 200);
    let for_stranger = json!({ "team_id": "t", "user_id": "stranger" });
    assert_eq!(status(&world, &boss, Right::KeyGenerate, for_stranger).await, 403);

    // The team's own bounds are not its admin's to move.
    for (field, value) in [("max_budget", json!(50)), ("models", json!([])), ("blocked", json!(false))] {
        assert_eq!(
            status(&world, &boss, Right::TeamUpdate, json!({ "team_id": "t", field: value })).await,
            403
        );
    }
    let permit = json!({ "team_id": "t", "team_member_permissions": ["/key/generate", "/key/info"] });
    assert_eq!(status(&world, &boss, Right::TeamUpdate, permit.clone()).await, 200);
    assert_eq!(status(&world, &worker, Right::TeamUpdate, permit).await, 404);
    assert_eq!(status(&world, &worker, Right::KeyGenerate, json!({ "team_id": "t" })).await, 200);
    let for_boss = json!({ "team_id": "t", "user_id": "boss" });
    assert_eq!(status(&world, &worker, Right::KeyGenerate, for_boss).await, 403);
    // May change keys, and so not make one its own to get at its secret.
    let grant = world.admin(Right::TeamUpdate).await;
    let permit = br#"{"team_member_permissions":["/key/generate","/key/update"]}"#;
    world.management.team_update(&grant, Some("t"), permit).await.unwrap();
    assert_eq!(
        status(&world, &worker, Right::KeyUpdate, json!({ "key": key, "user_id": "worker" })).await,
        403
    );
    assert_eq!(
        status(&world, &worker, Right::KeyUpdate, json!({ "key": key, "key_alias": "named" })).await,
        200
    );
    assert_eq!(status(&world, &worker, Right::KeyRegenerate, json!({ "key": key })).await, 404);
    assert_eq!(
        status(&world, &boss, Right::KeyUpdate, json!({ "key": key, "user_id": "worker" })).await,
        200
    );
    let member = json!({ "team_id": "t", "member": { "user_id": "new", "role": "user" } });
    assert_eq!(status(&world, &worker, Right::TeamMembers, member.clone()).await, 404);
    let added = ask(&world, &boss, Right::TeamMembers, member).await.unwrap();
    assert_eq!(added["updated_users"], json!([{ "user_id": "new", "user_email": null }]));
    let far = json!({ "team_id": "far", "member": { "user_id": "boss", "role": "admin" } });
    assert_eq!(status(&world, &boss, Right::TeamMembers, far).await, 404);
    world.check_audit(&[&key]).await;
}

#[tokio::test]
async fn a_membership_that_ended_counts_from_the_next_request_on() {
    let world = World::new().await;
    let boss = world.user("boss", "internal_user", json!({})).await;
    world.team("t", &[("boss", "admin")], json!({})).await;
    let boss = world.holder(&boss).await;
    assert_eq!(status(&world, &boss, Right::KeyGenerate, json!({ "team_id": "t" })).await, 200);
    let grant = world.admin(Right::TeamMembers).await;
    world.management.member_delete(&grant, br#"{"team_id":"t","user_id":"boss"}"#).await.unwrap();
    assert_eq!(status(&world, &boss, Right::KeyGenerate, json!({ "team_id": "t" })).await, 403);
}

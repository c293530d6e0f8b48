//! Setting spend back.

use serde_json::json;
use tollway_accounts::rights::Right;
use tollway_meters::{Budget, Claim, Demand, Limits, ScopeKind, Spent, Window};

use super::*;

#[tokio::test]
async fn a_key_is_set_back_and_its_calls_stay() {
    let world = World::new().await;
    let all = world.record(0..70).await;
    let spent = money(&all, |one| one.who.key.as_deref() == Some("id-sk-bob-red"));
    let scope = Scope { kind: ScopeKind::Key, id: "id-sk-bob-red".into() };
    // Its limits have counted the same.
    let budget = Budget { window: Window::Lifetime, max: Some(spent), soft: None };
    let claims = [Claim {
        scope: scope.clone(),
        limits: Arc::new(Limits { budgets: vec![budget], ..Limits::default() }),
    }];
    let meters = world.gateway.services().meters.clone().unwrap();
    let one_nano = Demand { money: Money::from_nanos(1), ..Demand::default() };
    meters.reserve(&claims, one_nano).await.unwrap().settle(Spent { money: spent, ..Spent::default() });
    assert!(meters.reserve(&claims, one_nano).await.is_err());

    let reset = async |key: &str, named: &str, body: &str| {
        world.ask(key, Method::POST, &format!("/key/{named}/reset_spend"), body).await
    };
    for (key, named) in [
        ("sk-bob-red", "sk-bob-red"),
        ("sk-carol-blue", "sk-bob-red"),
        ("sk-alice", "sk-carol-blue"),
        ("sk-alice", "sk-alice"),
        (MASTER, "sk-nobody"),
    ] {
        assert_eq!(reset(key, named, "").await.0, 404, "{key} {named}");
    }
    for key in ["sk-viewer", "sk-red"] {
        assert_eq!(reset(key, "sk-bob-red", "").await.0, 401, "{key}");
    }
    for (body, word) in
        [(r#"{"reset_to": 1000}"#, "at most"), (r#"{"reset_to": -1}"#, "negative"), (r#"{"to": 0}"#, "to")]
    {
        let (status, message) = reset(MASTER, "sk-bob-red", body).await;
        assert!(status == 400 && message.to_string().contains(word), "{body} {message}");
    }
    assert_eq!(world.books.spent(&scope, None).await.unwrap().money, spent);

    // An admin of its team may.
    let (status, answer) = reset("sk-alice", "sk-bob-red", r#"{"reset_to": 0.01}"#).await;
    assert_eq!((status, dollars(&answer["previous_spend"])), (200, spent), "{answer}");
    assert_eq!(world.books.spent(&scope, None).await.unwrap().money, Money::parse_dollars("0.01").unwrap());
    let (status, answer) = reset(MASTER, &hash_key("sk-bob-red"), "").await;
    assert_eq!((status, dollars(&answer["spend"])), (200, Money::ZERO));
    assert_eq!(world.books.spent(&scope, None).await.unwrap().money, Money::ZERO);
    assert!(meters.reserve(&claims, one_nano).await.is_ok());
    let rows = world.get(MASTER, "/spend/logs?api_key=sk-bob-red").await;
    assert_eq!(rows.as_array().unwrap().iter().map(|row| dollars(&row["spend"])).sum::<Money>(), spent);

    let management = world.management.clone().unwrap();
    let snapshot = world.gateway.snapshot();
    let master = snapshot
        .keyring
        .presented(
            &HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer sk-master".parse().unwrap())]),
            &"/".parse().unwrap(),
        )
        .unwrap();
    let caller = world.gateway.identify(&snapshot, &master).await.unwrap();
    let grant =
        management.authorize(&caller.identity.principal, Right::Audit, "/audit", "/audit").await.unwrap();
    let log = management.audit_list(&grant, &manage::params(None)).await.unwrap();
    assert_eq!(log["audit_logs"].as_array().unwrap().len(), 2);
    let entry = &log["audit_logs"][1];
    assert_eq!(
        (&entry["action"], &entry["object_id"], &entry["changed_by"]),
        (&json!("spend_reset"), &json!("id-sk-bob-red"), &json!("alice"))
    );
    assert!(world.books.verify(&|_, _| ()).await.unwrap().different == 0);
}

#[tokio::test]
async fn everybody_is_set_back_by_the_master_key_alone() {
    let world = World::new().await;
    world.record(0..70).await;
    for (key, status) in [("sk-viewer", 401), ("sk-alice", 401)] {
        assert_eq!(world.ask(key, Method::POST, "/global/spend/reset", "").await.0, status, "{key}");
    }
    let root = User { user_id: "root".into(), user_role: Some("proxy_admin".into()), ..User::default() };
    world.store.shelf::<User>().insert(root).await.unwrap();
    let key =
        Key { id: "root".into(), token: hash_key("sk-root"), user_id: Some("root".into()), ..Key::default() };
    world.store.shelf::<Key>().insert(key).await.unwrap();
    assert_eq!(world.ask("sk-root", Method::POST, "/global/spend/reset", "").await.0, 403);
    let (status, answer) = world.ask(MASTER, Method::POST, "/global/spend/reset", "").await;
    assert_eq!(
        (status, &answer["status"], &answer["reset"]),
        (200, &json!("success"), &json!(8)),
        "{answer}"
    );
    for (kind, ids) in
        [(ScopeKind::Key, vec!["id-sk-alice", "id-sk-red"]), (ScopeKind::Team, vec!["red", "blue"])]
    {
        for id in ids {
            let scope = Scope { kind, id: id.into() };
            assert_eq!(world.books.spent(&scope, None).await.unwrap().money, Money::ZERO, "{id}");
        }
    }
    let again = world.ask(MASTER, Method::POST, "/global/spend/reset", "").await.1;
    assert_eq!(again["reset"], 0);
}

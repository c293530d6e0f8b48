//! Who sees what.

use super::*;

/// Every route of spend that reads, with what it needs to be told.
fn urls() -> Vec<(&'static str, String)> {
    let dates = "start_date=2026-11-01&end_date=2026-11-30";
    let of_spend = |route: &&crate::routes::Route| {
        route.method == Method::GET && matches!(route.action, Action::Spend(_))
    };
    let mut urls = Vec::new();
    for route in ROUTES.iter().filter(of_spend) {
        let Access::Right(right) = route.access else { panic!("{} is public", route.path) };
        let query = match route.path {
            "/key/spend/report" => format!("{dates}&api_key=sk-carol-blue"),
            "/user/spend/report" => format!("{dates}&internal_user_id=carol"),
            "/team/spend/report" => format!("{dates}&team_id=blue"),
            "/spend/logs/session/ui" => format!("session_id={}", receipt(4).id),
            path if path.contains("activity") || path.contains("report") => dates.to_owned(),
            _ => String::new(),
        };
        if !route.path.contains('{') {
            urls.push((right.rule().name, format!("{}?{query}", route.path)));
        }
    }
    assert!(urls.len() > 25);
    urls
}

#[tokio::test]
async fn every_route_shows_every_caller_its_own_and_nothing_of_another_tenant() {
    let world = World::new().await;
    world.record(0..140).await;
    for number in 0..14 {
        world.remember(receipt(number));
    }
    let blue = ["carol", "blue", "tag-of-sk-carol-blue", &hash_key("sk-carol-blue")].map(str::to_owned);
    let red = ["alice", "bob", "red", &hash_key("sk-alice"), &hash_key("sk-red")].map(str::to_owned);
    for (right, url) in urls() {
        for (key, foreign) in [
            ("sk-alice", &blue[..]),
            ("sk-bob-red", &blue[..]),
            ("sk-red", &blue[..]),
            ("sk-carol-blue", &red[..]),
        ] {
            let (status, answer) = world.ask(key, Method::GET, &url, "").await;
            if right == "global_spend" {
                assert_eq!(status, 401, "{key} {url}: {answer}");
                continue;
            }
            assert_eq!(status, 200, "{key} {url}: {answer}");
            let text = answer.to_string();
            for name in foreign {
                assert!(!text.contains(&format!("\"{name}\"")), "{key} sees {name} at {url}: {text}");
            }
            assert!(!text.contains(&hash_key(MASTER)), "{key} sees the master key at {url}");
        }
        for key in [MASTER, "sk-viewer"] {
            let (status, answer) = world.ask(key, Method::GET, &url, "").await;
            assert_eq!(status, 200, "{key} {url}: {answer}");
            assert!(!answer.as_array().is_some_and(Vec::is_empty), "{key} {url} shows nothing");
        }
    }
}

#[tokio::test]
async fn what_one_may_see_is_all_there() {
    let world = World::new().await;
    let all = world.record(0..140).await;
    let sees = |key: &str| {
        let key = key.to_owned();
        move |receipt: &Receipt| {
            let (user, team) = (receipt.who.user.as_deref(), receipt.who.team.as_deref());
            match key.as_str() {
                // The admin of a team sees the team's.
                "sk-alice" => user == Some("alice") || team == Some("red"),
                "sk-bob-red" => user == Some("bob"),
                "sk-red" => *receipt.who.token == *hash_key("sk-red"),
                "sk-carol-blue" => user == Some("carol"),
                _ => true,
            }
        }
    };
    for key in ["sk-alice", "sk-bob-red", "sk-red", "sk-carol-blue", "sk-viewer", MASTER] {
        let sees = sees(key);
        let mut expected: Vec<&str> = all.iter().filter(|one| sees(one)).map(|one| one.id.as_str()).collect();
        expected.sort_unstable();
        let logs = world.get(key, "/spend/logs").await;
        let mut found: Vec<&str> =
            logs.as_array().unwrap().iter().map(|row| row["request_id"].as_str().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{key}");
        let pages = world.get(key, "/spend/logs/v2?page_size=100").await;
        assert_eq!(pages["total"], expected.len(), "{key}");
        let receipts = world.get(key, "/receipts?limit=1000").await;
        assert_eq!(receipts["data"].as_array().unwrap().len(), expected.len(), "{key}");
        for receipt in &all {
            let status = if sees(receipt) { 200 } else { 404 };
            for path in ["/receipts", "/spend/logs/ui"] {
                let (found, _) = world.ask(key, Method::GET, &format!("{path}/{}", receipt.id), "").await;
                assert_eq!(found, status, "{key} {path} {}", receipt.id);
            }
        }
    }
}

#[tokio::test]
async fn naming_another_tenant_finds_nothing() {
    let world = World::new().await;
    world.record(0..70).await;
    let hash = hash_key("sk-carol-blue");
    for query in [
        "api_key=sk-carol-blue",
        &format!("api_key={hash}"),
        "user_id=carol",
        &format!("request_id={}", receipt(4).id),
    ] {
        for path in ["/spend/logs", "/spend/logs/v2"] {
            for key in ["sk-alice", "sk-bob-red", "sk-red"] {
                let answer = world.get(key, &format!("{path}?{query}")).await;
                let rows = answer.get("data").unwrap_or(&answer);
                assert_eq!(*rows, serde_json::json!([]), "{key} {path}?{query}");
            }
            let answer = world.get("sk-viewer", &format!("{path}?{query}")).await;
            assert!(!answer.get("data").unwrap_or(&answer).as_array().unwrap().is_empty(), "{path}?{query}");
        }
    }
    let blue = world
        .get("sk-alice", "/team/daily/activity?start_date=2026-11-19&end_date=2026-11-20&team_ids=blue")
        .await;
    assert_eq!(blue["results"], serde_json::json!([]));
    // A member that is no admin sees of its team what is its own.
    let red = world
        .get("sk-bob-red", "/team/daily/activity?start_date=2026-11-19&end_date=2026-11-20&team_ids=red")
        .await;
    let keys = &red["results"][0]["breakdown"]["api_keys"];
    assert_eq!(keys.as_object().unwrap().keys().collect::<Vec<_>>(), [&hash_key("sk-bob-red")]);
    let red = world.get("sk-alice", "/team/daily/activity?start_date=2026-11-19&end_date=2026-11-20").await;
    assert_eq!(red["results"][0]["breakdown"]["api_keys"].as_object().unwrap().len(), 3);
}

#[tokio::test]
async fn somebody_elses_call_with_the_same_id_hides_nothing() {
    let world = World::new().await;
    let mut mine = receipt(7);
    let mut theirs = receipt(4);
    assert_eq!((mine.who.user.as_deref(), theirs.who.user.as_deref()), (Some("alice"), Some("carol")));
    (mine.call_id, theirs.call_id) = ("same".into(), "same".into());
    assert!(theirs.at > mine.at);
    world
        .books
        .record(&Batch::of(&[Arc::new(mine.clone()), Arc::new(theirs.clone())]).unwrap())
        .await
        .unwrap();
    assert_eq!(world.get("sk-alice", "/receipts/same").await["id"], mine.id);
    assert_eq!(world.get("sk-carol-blue", "/receipts/same").await["id"], theirs.id);
    world.remember(theirs.clone());
    assert_eq!(world.get("sk-alice", "/receipts/same").await["id"], mine.id);
    assert_eq!(world.get(MASTER, "/receipts/same").await["id"], theirs.id);
}

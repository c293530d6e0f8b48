//! What the answers say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;

const DATES: &str = "start_date=2026-11-01&end_date=2026-11-30";

#[tokio::test]
async fn logs_days_keys_and_totals_agree() {
    let world = World::new().await;
    let all = world.record(0..420).await;
    let total = money(&all, |_| true);
    assert_eq!(dollars(&world.get(MASTER, "/global/spend").await["spend"]), total);
    let activity = world.get(MASTER, &format!("/user/daily/activity?{DATES}")).await;
    assert_eq!(dollars(&activity["metadata"]["total_spend"]), total);
    assert_eq!(activity["metadata"]["total_api_requests"], 420);
    assert_eq!(
        activity["metadata"]["total_successful_requests"],
        all.iter().filter(|one| answered(one)).count()
    );
    let days = world.get(MASTER, &format!("/spend/logs?{DATES}")).await;
    let by_day: Money = days.as_array().unwrap().iter().map(|day| dollars(&day["spend"])).sum();
    assert_eq!(by_day, total);
    for (key, ..) in KEYS {
        let spent = money(&all, |one| *one.who.token == *hash_key(key));
        let rows = world.get(MASTER, &format!("/spend/logs?api_key={key}")).await;
        let rows = rows.as_array().unwrap();
        assert!(rows.iter().all(|row| row["api_key"] == hash_key(key)));
        assert_eq!(rows.iter().map(|row| dollars(&row["spend"])).sum::<Money>(), spent, "{key}");
        let report = world.get(MASTER, &format!("/key/spend/report?{DATES}&api_key={}", hash_key(key))).await;
        assert_eq!(dollars(&report[0]["total_cost"]), spent, "{key}");
        let day = world.get(MASTER, &format!("/user/daily/activity?{DATES}&api_key={key}")).await;
        assert_eq!(dollars(&day["metadata"]["total_spend"]), spent, "{key}");
    }
    let keys = world.get(MASTER, "/spend/keys").await;
    let by_key: Money = keys.as_array().unwrap().iter().map(|key| dollars(&key["spend"])).sum();
    assert_eq!(by_key, total, "the master key is listed too");
    let users = world.get(MASTER, "/spend/users?user_id=alice").await;
    assert_eq!(dollars(&users[0]["spend"]), money(&all, |one| one.who.user.as_deref() == Some("alice")));
    let teams = world.get(MASTER, &format!("/global/spend/report?{DATES}")).await;
    let names: BTreeSet<&str> = teams[0]["teams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|team| team["team_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["Unassigned Team", "the blue ones", "the red ones"]));
    let tags = world.get(MASTER, "/spend/tags").await;
    let tagged = money(&all, |one| one.who.tags.iter().any(|tag| &**tag == "shared"));
    let shared =
        tags.as_array().unwrap().iter().find(|tag| tag["individual_request_tag"] == "shared").unwrap();
    assert_eq!(dollars(&shared["total_spend"]), tagged);
}

#[tokio::test]
async fn a_row_has_the_names_that_clients_read() {
    let world = World::new().await;
    let all = world.record(0..30).await;
    let one = all.iter().find(|one| answered(one)).unwrap();
    let rows = world.get(MASTER, &format!("/spend/logs?request_id={}", one.id)).await;
    let names: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    for name in [
        "request_id",
        "litellm_call_id",
        "call_type",
        "api_key",
        "spend",
        "total_tokens",
        "prompt_tokens",
        "completion_tokens",
        "startTime",
        "endTime",
        "completionStartTime",
        "request_duration_ms",
        "model",
        "model_id",
        "model_group",
        "custom_llm_provider",
        "api_base",
        "user",
        "team_id",
        "organization_id",
        "end_user",
        "agent_id",
        "billing_agent_id",
        "session_id",
        "status",
        "cache_hit",
        "cache_key",
        "request_tags",
        "requester_ip_address",
        "mcp_namespaced_tool_name",
        "metadata",
        "messages",
        "response",
        "proxy_server_request",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(world.get(MASTER, &format!("/spend/logs/ui/{}", one.id)).await, rows[0]);
    let page = world.get(MASTER, "/spend/logs/ui?page=1&page_size=7&sort_by=startTime&sort_order=desc").await;
    assert_eq!(
        (&page["page"], &page["page_size"], &page["total"], &page["total_pages"]),
        (&json!(1), &json!(7), &json!(30), &json!(5))
    );
}

#[tokio::test]
async fn pages_come_in_any_order_that_is_asked_for() {
    let world = World::new().await;
    world.record(0..60).await;
    let check = async |by: &str, key: &dyn Fn(&Value) -> f64| {
        for (order, sign) in [("desc", -1.0), ("asc", 1.0)] {
            let mut found = Vec::new();
            for page in 1..=4 {
                let url = format!("/spend/logs/v2?sort_by={by}&sort_order={order}&page={page}&page_size=20");
                let answer = world.get(MASTER, &url).await;
                assert_eq!((&answer["total"], &answer["total_pages"]), (&json!(60), &json!(3)), "{url}");
                found.extend(answer["data"].as_array().unwrap().iter().map(|row| sign * key(row)));
            }
            assert_eq!(found.len(), 60, "{by} {order}");
            assert!(found.is_sorted(), "{by} {order}: {found:?}");
        }
    };
    check("spend", &|row| row["spend"].as_f64().unwrap()).await;
    check("total_tokens", &|row| row["total_tokens"].as_f64().unwrap()).await;
    check("request_duration_ms", &|row| row["request_duration_ms"].as_f64().unwrap()).await;
    let first =
        async |query: &str| world.get(MASTER, &format!("/spend/logs/v2?{query}")).await["data"][0].clone();
    let oldest = first("sort_by=startTime&sort_order=asc").await;
    assert!(oldest["startTime"].as_str() < first("").await["startTime"].as_str());
    assert!(
        first("sort_by=model&sort_order=desc").await["model"].as_str()
            > first("sort_by=model&sort_order=asc").await["model"].as_str()
    );
}

#[tokio::test]
async fn calls_that_a_rate_limit_ended_are_counted() {
    let world = World::new().await;
    let all = world.record(0..210).await;
    let limited = all.iter().filter(|one| one.status == 429).count();
    assert!(limited > 0);
    let (first, last) =
        (all.iter().map(|one| one.at).min().unwrap(), all.iter().map(|one| one.at).max().unwrap());
    let date = |at: i64| tollway_ledger::litellm::date(at.div_euclid(86_400_000));
    let url = format!("/global/activity/exceptions?start_date={}&end_date={}", date(first), date(last));
    let told = world.get(MASTER, &url).await;
    assert_eq!(told["sum_num_rate_limit_exceptions"], limited, "{told}");
    let daily = told["daily_data"].as_array().unwrap();
    let sum: u64 = daily.iter().map(|day| day["num_rate_limit_exceptions"].as_u64().unwrap()).sum();
    assert_eq!(sum, limited as u64);
    let none = world.get(MASTER, &format!("{url}&model_group=none")).await;
    assert_eq!(none["sum_num_rate_limit_exceptions"], 0);
    let page = world.get(MASTER, "/spend/logs/v2?error_code=429").await;
    assert_eq!(page["total"], limited);
}

#[tokio::test]
async fn filters_of_pages_hold_together() {
    let world = World::new().await;
    let all = world.record(0..210).await;
    let check = async |query: &str, pick: &dyn Fn(&Receipt) -> bool| {
        let page = world.get(MASTER, &format!("/spend/logs/v2?page_size=100&{query}")).await;
        let expected: BTreeSet<&str> =
            all.iter().filter(|one| pick(one)).map(|one| one.id.as_str()).collect();
        let found: BTreeSet<&str> =
            page["data"].as_array().unwrap().iter().map(|row| row["request_id"].as_str().unwrap()).collect();
        assert_eq!(page["total"], expected.len(), "{query}");
        assert!(found.is_subset(&expected) && found.len() == expected.len().min(100), "{query}");
        assert!(!expected.is_empty(), "{query}");
    };
    check("team_id=red", &|one| one.who.team.as_deref() == Some("red")).await;
    check("team_id=red&user_id=bob", &|one| one.who.user.as_deref() == Some("bob")).await;
    check("status_filter=success", &answered).await;
    check("status_filter=failure&user_id=alice", &|one| {
        !answered(one) && one.who.user.as_deref() == Some("alice")
    })
    .await;
    check("model_group=group-2", &|one| one.model_group() == "group-2").await;
    check("model=model-3", &|one| one.attempts.last().is_some_and(|last| &*last.model == "model-3")).await;
    check("custom_llm_provider=openai", &|one| {
        one.attempts.last().is_some_and(|last| &*last.provider == "openai")
    })
    .await;
    check("min_spend=0.01&max_spend=0.02", &|one| {
        (10_000_000..=20_000_000).contains(&one.cost.nanos.unwrap_or_default().nanos())
    })
    .await;
    check("tag=shared", &|one| one.who.tags.iter().any(|tag| &**tag == "shared")).await;
    // Both ends are whole seconds.
    let at = receipt(20).at;
    let time = |at: i64| tollway_ledger::litellm::time(at)[..19].replace('T', "%20");
    let query = format!("start_date={}&end_date={}", time(receipt(30).at), time(at));
    check(&query, &|one| (receipt(30).at..=at).contains(&one.at)).await;
    // A day is all of it.
    let begin = NOW - 10 * 3_600_000;
    check("start_date=2026-11-20&end_date=2026-11-20", &|one| one.at >= begin).await;
}

#[tokio::test]
async fn pages_show_every_call_once_while_others_are_made() {
    let world = World::new().await;
    let all = world.record(100..237).await;
    for by_cursor in [false, true] {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let (mut page, mut after, mut newer) = (1, String::new(), if by_cursor { 50 } else { 99 });
        loop {
            let cursor = if by_cursor && page > 1 { format!("&after={after}") } else { String::new() };
            let number = if by_cursor { 1 } else { page };
            let answer =
                world.get(MASTER, &format!("/spend/logs/v2?page={number}&page_size=10{cursor}")).await;
            for row in answer["data"].as_array().unwrap() {
                *seen.entry(row["request_id"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            let Some(next) = answer["next"].as_str() else { break };
            assert!(answer["total_pages"].as_u64().unwrap() > number);
            after = next.to_owned();
            world.record(newer - 2..newer).await;
            newer -= 2;
            page += 1;
            assert!(page < 60);
        }
        assert!(seen.values().all(|count| *count == 1), "{seen:?}");
        assert!(all.iter().all(|receipt| seen.contains_key(&receipt.id)));
    }
    // A page that nobody has paged to is found by walking.
    let last = world.get(MASTER, "/spend/logs/v2?page=3&page_size=31").await;
    assert_eq!(last["data"].as_array().unwrap().len(), 31);
    assert_eq!(world.get(MASTER, "/spend/logs/v2?page=99&page_size=100").await["data"], json!([]));
    let (status, why) = world.ask(MASTER, Method::GET, "/spend/logs/v2?page=900000&page_size=100", "").await;
    assert!(status == 400 && why.to_string().contains("after"), "{why}");
}

#[tokio::test]
async fn days_come_in_pages_and_their_sums_are_of_all() {
    let world = World::new().await;
    let mut receipts: Vec<Arc<Receipt>> = Vec::new();
    for number in 0..100 {
        let mut one = receipt(number);
        one.at = NOW - i64::try_from(number % 10).unwrap() * tollway_ledger::books::DAY;
        receipts.push(Arc::new(one));
    }
    world.books.record(&Batch::of(&receipts).unwrap()).await.unwrap();
    let mut days = Vec::new();
    for page in 1..=4 {
        let answer =
            world.get(MASTER, &format!("/user/daily/activity?{DATES}&page={page}&page_size=3")).await;
        assert_eq!(dollars(&answer["metadata"]["total_spend"]), money(&receipts, |_| true));
        assert_eq!(
            (&answer["metadata"]["total_pages"], &answer["metadata"]["has_more"]),
            (&json!(4), &json!(page < 4))
        );
        for day in answer["results"].as_array().unwrap() {
            let sum: Money = day["breakdown"]["api_keys"]
                .as_object()
                .unwrap()
                .values()
                .map(|key| dollars(&key["metrics"]["spend"]))
                .sum();
            assert_eq!(sum, dollars(&day["metrics"]["spend"]));
            days.push(day["date"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!((days.len(), days[0].as_str(), days[9].as_str()), (10, "2026-11-20", "2026-11-11"));
    let whole = world.get(MASTER, &format!("/user/daily/activity/aggregated?{DATES}")).await;
    assert_eq!(whole["results"].as_array().unwrap().len(), 10);
    let red = world.get(MASTER, &format!("/team/daily/activity?{DATES}&exclude_team_ids=blue")).await;
    let teams = red["results"][0]["breakdown"]["entities"].as_object().unwrap();
    assert!(!teams.contains_key("blue"));
    let tags = world.get(MASTER, &format!("/tag/daily/activity?{DATES}&tags=shared")).await;
    let tagged = money(&receipts, |one| one.who.tags.iter().any(|tag| &**tag == "shared"));
    assert_eq!(dollars(&tags["metadata"]["total_spend"]), tagged);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let world = World::new().await;
    world.record(0..20).await;
    for (url, param) in [
        ("/spend/logs?start_date=20.11.2026&end_date=2026-11-21", "start_date"),
        ("/spend/logs?start_date=2026-11-20&end_date=2026-11-31", "end_date"),
        ("/spend/logs/v2?start_date=2026-11-21&end_date=2026-11-20", "end_date"),
        ("/spend/logs/v2?page_size=1001", "page_size"),
        ("/spend/logs/session/ui", "session_id"),
        ("/spend/logs/v2?page=0", "page"),
        ("/spend/logs/v2?page=x", "page"),
        ("/spend/logs/v2?min_spend=much", "min_spend"),
        ("/spend/logs/v2?status_filter=ok", "status_filter"),
        ("/spend/logs/v2?sort_by=moon", "sort_by"),
        ("/spend/logs/v2?sort_order=up", "sort_order"),
        ("/spend/logs/v2?sort_by=spend&after=1.x", "after"),
        ("/spend/logs/v2?after=here", "after"),
        ("/spend/logs/v2?modell=x", "model"),
        ("/spend/logs/v2?user_id=a%00b", "user_id"),
        ("/user/daily/activity", "start_date"),
        ("/user/daily/activity?start_date=2026-11-20", "end_date"),
        ("/user/daily/activity?start_date=2020-11-20&end_date=2026-11-20", "366"),
        ("/user/daily/activity?start_date=2026-11-20&end_date=2026-11-20&timezone=-60", "timezone"),
        ("/global/spend/report?start_date=2026-11-20&end_date=2026-11-20&group_by=moon", "group_by"),
        ("/key/spend/report?start_date=2026-11-20&end_date=2026-11-20", "api_key"),
        ("/receipts?limit=1001", "limit"),
        ("/receipts?page=2", "page"),
    ] {
        let (status, message) = world.ask(MASTER, Method::GET, url, "").await;
        assert!(
            matches!(status, 400 | 422) && message.to_string().contains(param),
            "{url}: {status} {message}"
        );
    }
}

#[tokio::test]
async fn names_are_data_whatever_they_look_like() {
    let world = World::new().await;
    let odd = [
        "' OR '1'='1",
        "x'; DROP TABLE receipts; --",
        "%",
        "_",
        "\"",
        "\\",
        "red') OR 1=1 --",
        "\u{1F9FE}",
        "{}",
        "$1",
    ];
    for text in odd {
        let text = percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        for name in [
            "api_key",
            "user_id",
            "team_id",
            "model",
            "tag",
            "session_id",
            "end_user",
            "request_id",
            "model_id",
        ] {
            let answer = world.get(MASTER, &format!("/spend/logs/v2?{name}={text}")).await;
            assert_eq!(answer["data"], json!([]), "{name}={text}");
        }
        for url in [
            "/tag/daily/activity?tags",
            "/team/daily/activity?team_ids",
            "/team/daily/activity?exclude_team_ids",
            "/user/daily/activity?user_id",
            "/customer/daily/activity?end_user_ids",
        ] {
            let answer = world.get(MASTER, &format!("{url}={text}&{DATES}")).await;
            assert_eq!(answer["results"], json!([]), "{url}={text}");
        }
        assert_eq!(world.ask(MASTER, Method::GET, &format!("/receipts/{text}"), "").await.0, 404);
    }
    let mut one = receipt(1);
    one.who.user = Some(odd[0].into());
    world.books.record(&Batch::of(&[Arc::new(one)]).unwrap()).await.unwrap();
    let text = percent_encoding::utf8_percent_encode(odd[0], percent_encoding::NON_ALPHANUMERIC);
    assert_eq!(world.get(MASTER, &format!("/spend/logs/v2?user_id={text}")).await["total"], 1);
}

#[tokio::test]
async fn receipts_are_found_in_memory_and_then_in_the_books() {
    let world = World::new().await;
    let all = world.record(10..90).await;
    for number in 0..12 {
        world.remember(receipt(number));
    }
    // The latest two are in memory and in the books.
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let answer = world.get(MASTER, &format!("/receipts?limit=7{after}")).await;
        seen.extend(
            answer["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = answer["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let expected: Vec<String> = (0..90).map(|number| receipt(number).id).collect();
    assert_eq!(seen, expected);
    assert_eq!(world.get(MASTER, &format!("/receipts/{}", all[79].id)).await["id"], all[79].id);
    assert_eq!(world.get(MASTER, &format!("/receipts/{}", receipt(3).id)).await["id"], receipt(3).id);
    assert_eq!(world.ask(MASTER, Method::GET, "/receipts/nothing", "").await.0, 404);
}

#[tokio::test]
async fn without_a_database_there_is_memory_and_otherwise_503() {
    let world = World::without_database().await;
    world.remember(receipt(1));
    assert_eq!(world.get(MASTER, "/receipts").await["data"][0]["id"], receipt(1).id);
    assert_eq!(world.get(MASTER, &format!("/receipts/{}", receipt(1).id)).await["id"], receipt(1).id);
    assert_eq!(world.ask(MASTER, Method::GET, "/receipts/nothing", "").await.0, 404);
    for url in [
        "/spend/logs",
        "/spend/logs/v2",
        "/spend/keys",
        "/global/spend",
        "/global/activity?start_date=2026-11-20&end_date=2026-11-20",
    ] {
        let (status, message) = world.ask(MASTER, Method::GET, url, "").await;
        assert!(status == 503 && message.to_string().contains("database"), "{url}: {status} {message}");
    }
    assert_eq!(world.ask(MASTER, Method::POST, "/global/spend/reset", "").await.0, 503);
}

#[tokio::test]
async fn while_the_database_is_away_memory_answers_and_the_rest_is_503() {
    let world = World::with_database_away().await;
    world.remember(receipt(1));
    assert_eq!(world.get(MASTER, &format!("/receipts/{}", receipt(1).id)).await["id"], receipt(1).id);
    let ask = async |url: &str| {
        let (status, message) = world.ask(MASTER, Method::GET, url, "").await;
        assert!(status == 503 && message.to_string().contains("try again"), "{url}: {status} {message}");
        assert!(!message.to_string().contains("127.0.0.1"), "{message}");
    };
    // Each waits for the database as long as is usual.
    tokio::join!(
        ask("/spend/logs"),
        ask("/spend/logs/v2?page=2"),
        ask("/spend/keys"),
        ask("/global/spend"),
        ask("/receipts/nothing"),
        ask("/receipts"),
    );
}

#[tokio::test]
async fn a_call_is_priced_before_and_after() {
    let world = World::new().await;
    let ask = async |key: &str, body: Value| {
        world.ask(key, Method::POST, "/spend/calculate", &body.to_string()).await
    };
    let answer = json!({
        "id": "x", "object": "chat.completion", "model": "gpt", "choices": [],
        "usage": { "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500 },
    });
    let (status, cost) = ask(MASTER, json!({ "completion_response": answer })).await;
    // gpt-4o-mini: 0.15 and 0.60 dollars a million tokens.
    assert_eq!((status, dollars(&cost["cost"])), (200, Money::parse_dollars("0.00045").unwrap()), "{cost}");
    let messages = json!([{ "role": "user", "content": "What does this cost?" }]);
    let (status, cost) = ask("sk-alice", json!({ "model": "gpt", "messages": messages })).await;
    assert!(
        status == 200 && cost["cost"].as_f64().unwrap() > 0.0 && cost["completion_tokens"] == 0,
        "{cost}"
    );
    for (body, word) in [
        (json!({ "messages": messages }), "model"),
        (json!({ "model": "gpt" }), "messages"),
        (json!({ "model": "odd", "messages": messages }), "price"),
        (json!({ "model": "nothing-like-it", "messages": messages }), "price"),
        (json!({ "model": "gpt", "completion_response": { "choices": [] } }), "usage"),
        (json!({ "model": "gpt", "mesages": [] }), "mesages"),
    ] {
        let (status, message) = ask(MASTER, body.clone()).await;
        assert!(status == 400 && message.to_string().contains(word), "{body}: {status} {message}");
    }
}

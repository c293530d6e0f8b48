use tollway_model::Secret;

use super::*;
use crate::caller::Keyring;

fn master() -> Caller {
    let ring = Keyring::default().with_master(&Secret::new("sk-right"));
    let mut headers = http::HeaderMap::new();
    headers.insert("x-api-key", "sk-right".parse().unwrap());
    let presented = ring.presented(&headers, &"/".parse().unwrap()).unwrap();
    ring.master(&presented).cloned().unwrap()
}

fn answer(id: &str, previous: Option<&str>, text: &str) -> StoredResponse {
    StoredResponse {
        id: id.to_owned(),
        owner: "admin".to_owned(),
        previous: previous.map(str::to_owned),
        input: vec![
            json!({"id": format!("msg_{id}"), "type": "message", "role": "user", "content": text})
                .to_string(),
        ],
        response: json!({"id": id, "output": [{"id": format!("out_{id}"), "type": "message"}]}).to_string(),
        expires: unix_millis() + 60_000,
        ..StoredResponse::default()
    }
}

fn fresh() -> String {
    response_id(&uuid::Uuid::now_v7().to_string())
}

fn ids(items: &[RawJson]) -> Vec<String> {
    items.iter().filter_map(item_id).collect()
}

async fn stored() -> Arc<Responses> {
    Responses::start(Store::open_and_migrate("memory:").await.unwrap())
}

#[tokio::test]
async fn a_conversation_comes_back_in_order_from_memory_and_from_the_database() {
    let responses = stored().await;
    let turns: Vec<String> = (0..5).map(|_| fresh()).collect();
    for (at, id) in turns.iter().enumerate() {
        let previous = at.checked_sub(1).map(|before| turns[before].as_str());
        responses.remember(answer(id, previous, "hi"));
        let mut expected = Vec::new();
        for id in &turns[..=at] {
            expected.extend([format!("msg_{id}"), format!("out_{id}")]);
        }
        assert_eq!(ids(&responses.history(&master(), id).await.unwrap()), expected);
        responses.stored().await;
        assert_eq!(ids(&responses.history(&master(), id).await.unwrap()), expected);
    }
    let query = ItemsQuery { limit: Some(3), ascending: true, ..ItemsQuery::default() };
    let page = responses.input_items(&master(), &turns[4], &query).await.unwrap();
    assert_eq!((&page["last_id"], &page["has_more"]), (&json!(format!("msg_{}", turns[1])), &json!(true)));
    let query = ItemsQuery { after: Some(format!("msg_{}", turns[1])), ..ItemsQuery::default() };
    let page = responses.input_items(&master(), &turns[4], &query).await.unwrap();
    let first = json!(format!("out_{}", turns[0]));
    assert_eq!((&page["first_id"], &page["has_more"]), (&first, &json!(false)), "the latest first");
}

#[tokio::test]
async fn a_deleted_answer_stays_deleted_and_breaks_what_goes_on_from_it() {
    for wait in [false, true] {
        let responses = stored().await;
        let (one, two) = (fresh(), fresh());
        responses.remember(answer(&one, None, "a"));
        responses.remember(answer(&two, Some(&one), "b"));
        if wait {
            responses.stored().await;
        }
        responses.delete(&master(), &one).await.unwrap();
        for _ in 0..2 {
            let error = responses.get(&master(), &one).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
            let error = responses.history(&master(), &two).await.unwrap_err();
            assert!(error.message().contains(&format!("which {two} goes on from")), "{}", error.message());
            responses.stored().await;
        }
        assert!(responses.get(&master(), &two).await.is_ok());
    }
}

#[tokio::test]
async fn an_expired_answer_is_not_found_and_deleted_later() {
    let responses = stored().await;
    let (old, new) = (fresh(), fresh());
    responses.remember(StoredResponse { expires: unix_millis() - 1, ..answer(&old, None, "a") });
    responses.remember(answer(&new, None, "a"));
    responses.stored().await;
    assert_eq!(responses.get(&master(), &old).await.unwrap_err().kind(), Kind::NotFound);
    let store = responses.store.clone().unwrap();
    store.forget_responses(unix_millis()).await.unwrap();
    assert!(store.shelf::<StoredResponse>().get(&old).await.unwrap().is_none());
    assert!(responses.get(&master(), &new).await.is_ok());
}

#[tokio::test]
async fn an_answer_of_another_process_is_waited_for_while_it_is_young() {
    let store = Store::open_and_migrate("memory:").await.unwrap();
    let (here, there) = (Responses::start(store.clone()), store.shelf::<StoredResponse>());
    let id = fresh();
    let late = answer(&id, None, "a");
    let caller = master();
    let (found, _) = tokio::join!(here.get(&caller, &id), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        there.insert(late).await
    });
    assert!(found.is_ok());
    let begun = std::time::Instant::now();
    for old in
        ["resp_0190163d8694739baea5966c26f8ad91", "resp_x", "", "resp_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"]
    {
        assert_eq!(here.get(&caller, old).await.unwrap_err().kind(), Kind::NotFound);
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn without_a_database_the_latest_answers_are_kept_within_a_bound() {
    let responses = Responses::default();
    let large = "x".repeat(8 << 20);
    let turns: Vec<String> = (0..12).map(|_| fresh()).collect();
    for id in &turns {
        responses.remember(answer(id, None, &large));
    }
    let mut kept = 0;
    for id in &turns {
        kept += usize::from(responses.get(&master(), id).await.is_ok());
    }
    assert_eq!(kept, 7);
    assert!(responses.get(&master(), &turns[11]).await.is_ok());
}

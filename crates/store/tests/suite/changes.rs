use std::time::{Duration, Instant};

use tollway_store::records::{Key, StoredResponse, Team};
use tollway_store::{Change, Shelf, Store};

use crate::place::{Place, key, on_every_database};

on_every_database!(
    every_change_leaves_news_with_the_tokens,
    another_store_hears_within_a_second,
    waiting_ends_when_patience_does,
    who_is_far_behind_is_told_so,
    changes_appear_in_order_under_load,
);

async fn all(store: &Store, after: i64) -> Vec<Change> {
    store.changes().after(after, Duration::ZERO).await.unwrap()
}

async fn every_change_leaves_news_with_the_tokens(place: Place) {
    let store = place.store().await;
    let keys: Shelf<Key> = store.shelf();
    assert_eq!(store.changes().latest().await.unwrap(), 0);
    let made = keys.insert(key(1)).await.unwrap();
    let token = |n| key(n).token;
    keys.update(Key { token: token(2), ..made }).await.unwrap();
    keys.delete(&[&key(1).id]).await.unwrap();
    let news = |sequence, tokens| Change { sequence, table: "keys".to_owned(), id: key(1).id, tokens };
    let expected = [news(1, vec![token(1)]), news(2, vec![token(2), token(1)]), news(3, vec![token(2)])];
    assert_eq!(all(&store, 0).await, expected);
    assert_eq!(all(&store, 2).await, expected[2..]);
    assert_eq!(store.changes().latest().await.unwrap(), 3);

    let team = Team { team_id: "t".to_owned(), ..Team::default() };
    store.shelf::<Team>().insert(team.clone()).await.unwrap();
    let expected = Change { sequence: 4, table: "teams".to_owned(), id: "t".to_owned(), tokens: vec![] };
    assert_eq!(all(&store, 3).await, [expected]);
    // What failed is no news, and nobody remembers stored responses.
    store.shelf::<Team>().insert(team).await.unwrap_err();
    store.shelf::<StoredResponse>().insert(StoredResponse::default()).await.unwrap();
    assert_eq!(all(&store, 4).await, []);
}

async fn another_store_hears_within_a_second(place: Place) {
    let (one, two) = (place.store().await, place.store().await);
    let changes = two.changes();
    // The listener is up after the first wait.
    changes.after(0, Duration::from_millis(300)).await.unwrap();
    for n in 1..4 {
        let waiting = tokio::spawn({
            let changes = two.changes();
            async move {
                let heard = changes.after(n - 1, Duration::from_secs(20)).await.unwrap();
                (heard, Instant::now())
            }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        one.shelf::<Key>().insert(key(n)).await.unwrap();
        let done = Instant::now();
        let (heard, at) = waiting.await.unwrap();
        assert_eq!(heard.len(), 1);
        assert!(at.saturating_duration_since(done) < Duration::from_secs(1), "{:?}", at - done);
    }
}

async fn waiting_ends_when_patience_does(place: Place) {
    let store = place.store().await;
    let start = Instant::now();
    assert_eq!(store.changes().after(0, Duration::from_millis(200)).await.unwrap(), []);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
}

async fn who_is_far_behind_is_told_so(place: Place) {
    let store = place.store().await;
    let keys: Shelf<Key> = store.shelf();
    for n in 0..3 {
        keys.insert(key(n)).await.unwrap();
    }
    store.sql().execute("DELETE FROM changes WHERE sequence < 3", vec![]).await.unwrap();
    assert_eq!(all(&store, 0).await, [Change::everything(3)]);
    assert!(!all(&store, 2).await[0].is_everything());
    assert_eq!(all(&store, 3).await, []);
    // The database was set back.
    assert_eq!(all(&store, 99).await, [Change::everything(3)]);
    store.sql().execute("DELETE FROM changes", vec![]).await.unwrap();
    assert_eq!(all(&store, 1).await, [Change::everything(3)]);
}

async fn changes_appear_in_order_under_load(place: Place) {
    const WRITERS: i64 = 6;
    const EACH: i64 = 20;
    let store = place.store().await;
    let reader = tokio::spawn({
        let changes = place.open().changes();
        async move {
            let mut seen = 0;
            while seen < WRITERS * EACH {
                for change in changes.after(seen, Duration::from_secs(30)).await.unwrap() {
                    assert_eq!(change.sequence, seen + 1, "none is passed over");
                    seen = change.sequence;
                }
            }
        }
    });
    let writers = (0..WRITERS).map(|writer| {
        let keys: Shelf<Key> = store.shelf();
        tokio::spawn(async move {
            for n in 0..EACH {
                keys.insert(key(writer * 1_000 + n)).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(60), reader).await.unwrap().unwrap();
}

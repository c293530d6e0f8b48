use std::sync::Arc;

use tollway_store::records::Key;
use tollway_store::{Shelf, Store, StoreError, values};

use crate::place::{Place, key, on_every_database};

on_every_database!(
    of_concurrent_updates_exactly_one_wins,
    transactions_in_opposite_order_lose_no_write,
    many_writers_of_two_processes_lose_no_write,
    a_transaction_that_is_dropped_leaves_nothing,
);

async fn of_concurrent_updates_exactly_one_wins(place: Place) {
    let stores = [place.store().await, place.store().await];
    let first = stores[0].shelf::<Key>().insert(key(1)).await.unwrap();
    for round in 1..=5 {
        let current = stores[0].shelf::<Key>().get(&first.id).await.unwrap().unwrap();
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let (keys, record): (Shelf<Key>, _) = (stores[n % 2].shelf(), current.clone());
                tokio::spawn(async move {
                    keys.update(Key { user_id: Some(format!("user-{n}")), ..record }).await
                })
            })
            .collect();
        let mut won = 0;
        for each in tries {
            match each.await.unwrap() {
                Ok(_) => won += 1,
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won, 1);
        assert_eq!(stores[1].shelf::<Key>().get(&first.id).await.unwrap().unwrap().stamp.version, 1 + round);
    }
}

async fn counters(store: &Store) {
    store
        .sql()
        .execute("CREATE TABLE counters (id TEXT PRIMARY KEY, n BIGINT NOT NULL)", vec![])
        .await
        .unwrap();
    store.sql().execute("INSERT INTO counters (id, n) VALUES ('a', 0), ('b', 0)", vec![]).await.unwrap();
}

async fn count(store: &Store) -> (i64, i64) {
    let rows = store.sql().query("SELECT n FROM counters ORDER BY id", vec![]).await.unwrap();
    (rows[0].int(0).unwrap(), rows[1].int(0).unwrap())
}

/// Adds 1 to two counters in this order, and gives others time between.
async fn add(store: &Store, order: [&'static str; 2]) {
    store
        .sql()
        .transaction(|transaction| async move {
            for id in order {
                transaction.execute("UPDATE counters SET n = n + 1 WHERE id = $1", values![id]).await?;
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
            Ok(())
        })
        .await
        .unwrap();
}

async fn transactions_in_opposite_order_lose_no_write(place: Place) {
    const ROUNDS: i64 = 4;
    let store = Arc::new(place.store().await);
    counters(&store).await;
    let writers: Vec<_> = [["a", "b"], ["b", "a"]]
        .map(|order| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    add(&store, order).await;
                }
            })
        })
        .into_iter()
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(count(&store).await, (2 * ROUNDS, 2 * ROUNDS));
}

async fn many_writers_of_two_processes_lose_no_write(place: Place) {
    let stores = [Arc::new(place.store().await), Arc::new(place.store().await)];
    counters(&stores[0]).await;
    let writers: Vec<_> = (0..10)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                for _ in 0..10 {
                    store
                        .sql()
                        .execute("UPDATE counters SET n = n + 1 WHERE id = $1", values!["a"])
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(count(&stores[1]).await, (100, 0));
}

async fn a_transaction_that_is_dropped_leaves_nothing(place: Place) {
    let store = place.store().await;
    counters(&store).await;
    let hung = store.sql().transaction(|transaction| async move {
        transaction.execute("UPDATE counters SET n = 5", vec![]).await?;
        std::future::pending::<()>().await;
        Ok(())
    });
    tokio::time::timeout(std::time::Duration::from_millis(200), hung).await.unwrap_err();
    assert_eq!(count(&store).await, (0, 0));
    // Nothing stays locked either.
    store.sql().execute("UPDATE counters SET n = n + 1", vec![]).await.unwrap();
    assert_eq!(count(&store).await, (1, 1));
}

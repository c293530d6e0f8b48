use tollway_store::sql::Statement;
use tollway_store::{AuditEntry, Store};

use crate::place::{Place, key, on_every_database};

on_every_database!(
    entries_are_chained_and_found,
    tampering_is_found,
    entries_of_many_writers_make_one_chain,
    an_entry_belongs_to_its_change,
);

fn entry(n: i64) -> AuditEntry {
    AuditEntry {
        at: n,
        actor: "admin".to_owned(),
        actor_key: "abcd".to_owned(),
        action: "updated".to_owned(),
        table: "keys".to_owned(),
        id: format!("k{}", n % 2),
        before: (n > 1).then(|| format!("{{\"n\":{n}}}")),
        after: Some("{}".to_owned()),
        ..AuditEntry::default()
    }
}

async fn entries_are_chained_and_found(place: Place) {
    let audit = place.store().await.audit();
    let mut hashes = std::collections::BTreeSet::new();
    for n in 1..=5 {
        let made = audit.append(entry(n)).await.unwrap();
        assert_eq!(made.sequence, n);
        assert!(made.hash.len() == 64 && hashes.insert(made.hash));
    }
    assert_eq!(audit.verify().await.unwrap(), None);
    let page = audit.entries(Some("keys"), Some("k1"), 1, 1).await.unwrap();
    assert_eq!((page.total, page.records[0].sequence, page.records[0].at), (3, 3, 3));
    assert_eq!(audit.entries(None, None, 0, 10).await.unwrap().records[0].sequence, 5);
    assert_eq!(audit.entries(Some("teams"), None, 0, 10).await.unwrap().total, 0);
}

async fn tampering_is_found(place: Place) {
    async fn check(store: &Store, tamper: &str, repair: &str, expected: i64) {
        let run = async |text: &str| {
            for part in text.split(';').filter(|part| !part.is_empty()) {
                store.sql().execute(Statement::assembled(part.to_owned()), vec![]).await.unwrap();
            }
        };
        run(tamper).await;
        assert_eq!(store.audit().verify().await.unwrap(), Some(expected), "{tamper}");
        run(repair).await;
        assert_eq!(store.audit().verify().await.unwrap(), None, "{repair}");
    }
    let store = place.store().await;
    assert_eq!(store.audit().verify().await.unwrap(), None, "an empty log is whole");
    for n in 1..=5 {
        store.audit().append(entry(n)).await.unwrap();
    }
    let set = |what: &str, n: i64| format!("UPDATE audit SET {what} WHERE sequence = {n}");
    check(&store, &set("actor = 'me'", 3), &set("actor = 'admin'", 3), 3).await;
    check(&store, &set("at = 9", 1), &set("at = 1", 1), 1).await;
    check(&store, &set("old_value = ''", 1), &set("old_value = NULL", 1), 1).await;
    // From one field into the next.
    let (moved, back) = ("actor = 'adminab', actor_key = 'cd'", "actor = 'admin', actor_key = 'abcd'");
    check(&store, &set(moved, 2), &set(back, 2), 2).await;
    // Taken away, and the rest moved up.
    let away = "CREATE TABLE kept AS SELECT * FROM audit; DELETE FROM audit WHERE sequence = 2; \
                UPDATE audit SET sequence = 2 WHERE sequence = 3; UPDATE audit SET sequence = 3 WHERE sequence = 4; \
                UPDATE audit SET sequence = 4 WHERE sequence = 5";
    let back = "DELETE FROM audit; INSERT INTO audit SELECT * FROM kept; DROP TABLE kept";
    check(&store, away, back, 2).await;
    // The end taken away.
    let away = "CREATE TABLE kept AS SELECT * FROM audit; DELETE FROM audit WHERE sequence = 5";
    check(&store, away, back, 5).await;
}

async fn entries_of_many_writers_make_one_chain(place: Place) {
    let (one, two) = (place.store().await, place.store().await);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let audit = if writer % 2 == 0 { one.audit() } else { two.audit() };
            tokio::spawn(async move {
                for n in 0..10 {
                    audit.append(entry(n)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(one.audit().verify().await.unwrap(), None);
    assert_eq!(two.audit().entries(None, None, 0, 0).await.unwrap().total, 80);
}

async fn an_entry_belongs_to_its_change(place: Place) {
    let store = place.store().await;
    let both = |n| {
        store.write(move |writer| async move {
            writer.audit(entry(n)).await?;
            writer.insert(key(1)).await
        })
    };
    both(1).await.unwrap();
    both(2).await.unwrap_err();
    assert_eq!(store.audit().entries(None, None, 0, 9).await.unwrap().total, 1);
    assert_eq!(store.audit().verify().await.unwrap(), None);
}

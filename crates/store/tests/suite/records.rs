use tollway_store::records::{
    Budget, Customer, DeletedKey, Grace, Key, Membership, Model, Record, StoredResponse, TABLES, Team, User,
};
use tollway_store::{Query, Shelf, StoreError};

use crate::place::{Place, key, on_every_database};

on_every_database!(
    a_record_is_kept_changed_and_taken_away,
    every_type_of_record_has_its_table,
    a_change_of_an_old_version_is_a_conflict,
    ids_and_unique_columns_are_taken_once,
    lists_filter_sort_and_page,
    text_from_callers_is_never_sql,
    fields_of_newer_versions_survive,
    several_changes_happen_together_or_not_at_all,
    a_missing_column_is_an_error,
    expired_responses_are_forgotten_and_no_others,
);

async fn a_record_is_kept_changed_and_taken_away(place: Place) {
    let store = place.store().await;
    let keys: Shelf<Key> = store.shelf();
    let made = keys.insert(key(1)).await.unwrap();
    assert_eq!(made.stamp.version, 1);
    assert_eq!(keys.get("key-0000001").await.unwrap(), Some(made.clone()));
    assert_eq!(keys.find("token", &made.token).await.unwrap(), Some(made.clone()));

    let changed = keys.update(Key { blocked: true, ..made.clone() }).await.unwrap();
    assert_eq!(changed.stamp.version, 2);
    let again = place.store().await.shelf::<Key>().get("key-0000001").await.unwrap();
    assert_eq!(again, Some(changed.clone()));

    assert_eq!(keys.delete(&["key-0000001", "nobody", "key-0000001"]).await.unwrap(), [changed]);
    assert_eq!(keys.get("key-0000001").await.unwrap(), None);
    assert_eq!(keys.delete(&["key-0000001"]).await.unwrap(), []);
    assert_eq!(keys.delete(&[]).await.unwrap(), []);
}

async fn every_type_of_record_has_its_table(place: Place) {
    async fn check<R: Record + PartialEq + std::fmt::Debug>(place: &Place, record: R) {
        assert!(TABLES.contains(&R::TABLE));
        let shelf = place.store().await.shelf::<R>();
        let made = shelf.insert(record).await.unwrap();
        let made = shelf.update(made).await.unwrap();
        for column in R::COLUMNS {
            let sorted = Query { sort: Some(column), limit: 10, ..Query::default() };
            let listed = shelf.list(&sorted).await.unwrap().records;
            assert_eq!(listed, std::slice::from_ref(&made), "{column}");
        }
        assert_eq!(shelf.delete(&[made.id()]).await.unwrap(), [made]);
    }
    let id = || "a".to_owned();
    check(&place, key(1)).await;
    check(&place, Team { team_id: id(), ..Team::default() }).await;
    check(&place, Membership { id: Membership::id_of("t", "u"), ..Membership::default() }).await;
    check(&place, User { user_id: id(), ..User::default() }).await;
    check(&place, Customer { user_id: id(), ..Customer::default() }).await;
    check(&place, Budget { budget_id: id(), ..Budget::default() }).await;
    check(&place, Model { model_id: id(), ..Model::default() }).await;
    check(&place, Grace { token: id(), ..Grace::default() }).await;
    check(&place, DeletedKey { id: id(), ..DeletedKey::default() }).await;
    check(&place, StoredResponse { id: id(), expires: 5, ..StoredResponse::default() }).await;
}

async fn a_change_of_an_old_version_is_a_conflict(place: Place) {
    let keys: Shelf<Key> = place.store().await.shelf();
    let first = keys.insert(key(1)).await.unwrap();
    keys.update(first.clone()).await.unwrap();
    let error = keys.update(first.clone()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict { table: "keys", id } if *id == first.id), "{error:?}");
    keys.delete(&[&first.id]).await.unwrap();
    assert!(matches!(keys.update(first).await, Err(StoreError::Conflict { .. })));
}

async fn ids_and_unique_columns_are_taken_once(place: Place) {
    async fn check(keys: &Shelf<Key>, second: Key, expected: &str) {
        match keys.insert(second).await {
            Err(StoreError::Taken { table: "keys", column }) => assert_eq!(column, expected),
            other => panic!("{other:?}"),
        }
    }
    let keys: Shelf<Key> = place.store().await.shelf();
    let first = keys.insert(key(1)).await.unwrap();
    check(&keys, Key { id: first.id.clone(), ..key(2) }, "id").await;
    check(&keys, Key { token: first.token.clone(), ..key(2) }, "token").await;
    check(&keys, Key { key_alias: first.key_alias.clone(), ..key(2) }, "key_alias").await;
    // What is missing is not the same as something else that is missing.
    keys.insert(Key { key_alias: None, ..key(2) }).await.unwrap();
    let third = keys.insert(Key { key_alias: None, ..key(3) }).await.unwrap();
    let taken = keys.update(Key { key_alias: first.key_alias.clone(), ..third }).await;
    assert!(matches!(taken, Err(StoreError::Taken { table: "keys", .. })));
}

async fn lists_filter_sort_and_page(place: Place) {
    async fn check(keys: &Shelf<Key>, query: Query, expected: &[i64], total: u64) {
        let page = keys.list(&query).await.unwrap();
        let ids: Vec<_> = page.records.iter().map(|key| key.stamp.created_at - 1_000).collect();
        assert_eq!((ids.as_slice(), page.total), (expected, total), "{query:?}");
    }
    let keys: Shelf<Key> = place.store().await.shelf();
    for n in [3, 1, 2, 5, 4] {
        let alias = (n != 2).then(|| format!("Alias_{n}%"));
        keys.insert(Key { key_alias: alias, ..key(n) }).await.unwrap();
    }
    let all = || Query { limit: 100, ..Query::default() };
    check(&keys, all(), &[1, 2, 3, 4, 5], 5).await;
    check(&keys, Query { descending: true, ..all() }, &[5, 4, 3, 2, 1], 5).await;
    check(&keys, Query { offset: 1, limit: 2, ..all() }, &[2, 3], 5).await;
    check(&keys, Query { offset: 9, ..all() }, &[], 5).await;
    check(&keys, Query { limit: 0, ..all() }, &[], 5).await;
    check(&keys, Query { equal: vec![("team_id", Some("team-1".to_owned()))], ..all() }, &[1, 4], 2).await;
    check(&keys, Query { equal: vec![("key_alias", None)], ..all() }, &[2], 1).await;
    let ids = |ids: &[i64]| ids.iter().map(|n| key(*n).id).collect();
    check(&keys, Query { any_of: vec![("id", ids(&[5, 1, 77]))], ..all() }, &[1, 5], 2).await;
    check(&keys, Query { any_of: vec![("id", vec![])], ..all() }, &[], 0).await;
    check(&keys, Query { contains: vec![("key_alias", "lIAS_3".to_owned())], ..all() }, &[3], 1).await;
    check(&keys, Query { contains: vec![("key_alias", "alias%3".to_owned())], ..all() }, &[], 0).await;
    check(&keys, Query { contains: vec![("key_alias", "%".to_owned())], ..all() }, &[1, 3, 4, 5], 4).await;
    let all_aliases = || vec![("key_alias", "alias".to_owned())];
    check(&keys, Query { contains: all_aliases(), offset: 1, limit: 2, ..all() }, &[3, 4], 4).await;
    check(&keys, Query { contains: all_aliases(), offset: 4, ..all() }, &[], 4).await;
    check(&keys, Query { contains: all_aliases(), limit: 0, ..all() }, &[], 4).await;
    check(
        &keys,
        Query { contains: all_aliases(), sort: Some("id"), descending: true, ..all() },
        &[5, 4, 3, 1],
        4,
    )
    .await;
    // What has no value comes last, and first when descending.
    check(&keys, Query { sort: Some("key_alias"), ..all() }, &[1, 3, 4, 5, 2], 5).await;
    check(&keys, Query { sort: Some("key_alias"), descending: true, ..all() }, &[2, 5, 4, 3, 1], 5).await;
    check(&keys, Query { sort: Some("id"), descending: true, limit: 1, ..all() }, &[5], 5).await;
    let both = Query {
        equal: vec![("team_id", Some("team-1".to_owned()))],
        contains: vec![("key_alias", "4".to_owned())],
        ..all()
    };
    check(&keys, both, &[4], 1).await;
}

async fn text_from_callers_is_never_sql(place: Place) {
    let keys: Shelf<Key> = place.store().await.shelf();
    let evil = [
        "'; DROP TABLE keys; --",
        "\" OR 1=1 --",
        "$1",
        "?1",
        ":name",
        "\\",
        "%_%",
        "\u{202e}\u{0}x",
        "né 日本 🎉",
        "1); SELECT pg_sleep(10); --",
        "",
    ];
    let mut kept = 0;
    for (n, text) in (1..).zip(evil) {
        let mut record = Key { key_alias: Some(text.to_owned()), ..key(n) };
        record.id = format!("{text}{n}");
        if text.contains('\0') {
            assert!(matches!(keys.insert(record).await, Err(StoreError::Broken(_))));
            continue;
        }
        let made = keys.insert(record).await.unwrap();
        kept += 1;
        assert_eq!(keys.find("key_alias", text).await.unwrap(), Some(made.clone()));
        assert_eq!(keys.get(&made.id).await.unwrap(), Some(made));
        let found = Query { contains: vec![("key_alias", text.to_owned())], limit: 100, ..Query::default() };
        assert!(
            keys.list(&found).await.unwrap().records.iter().any(|key| key.key_alias.as_deref() == Some(text))
        );
    }
    assert_eq!(keys.list(&Query::default()).await.unwrap().total, kept);
}

async fn fields_of_newer_versions_survive(place: Place) {
    let keys: Shelf<Key> = place.store().await.shelf();
    let mut record = key(1);
    record.other.insert("a_new_limit".to_owned(), serde_json::json!({"of": [1, 2.5]}));
    record.limits.model_rpm_limit.insert("gpt-4o".to_owned(), 5);
    record.stamp.created_by = Some("admin".to_owned());
    let made = keys.insert(record.clone()).await.unwrap();
    record.stamp.version = 1;
    assert_eq!(made, record);
    let read = keys.get(&made.id).await.unwrap().unwrap();
    assert_eq!(keys.update(read).await.unwrap().other, record.other);
}

async fn several_changes_happen_together_or_not_at_all(place: Place) {
    let store = place.store().await;
    let result = store
        .write(|writer| async move {
            writer.insert(key(1)).await?;
            writer.insert(key(2)).await?;
            writer.insert(Key { token: key(1).token, ..key(3) }).await
        })
        .await;
    assert!(matches!(result, Err(StoreError::Taken { .. })));
    let keys: Shelf<Key> = store.shelf();
    assert_eq!(keys.list(&Query::default()).await.unwrap().total, 0);

    // A failure that is passed over spoils all the same.
    let result = store
        .write(|writer| async move {
            writer.insert(key(1)).await?;
            let _ = writer.insert(key(1)).await;
            Ok(())
        })
        .await;
    assert!(matches!(result, Err(StoreError::Taken { .. })));
    assert_eq!(keys.list(&Query::default()).await.unwrap().total, 0);
    store.write(|writer| async move { writer.insert(key(1)).await }).await.unwrap();
    assert_eq!(keys.list(&Query::default()).await.unwrap().total, 1);
}

async fn a_missing_column_is_an_error(place: Place) {
    let keys: Shelf<Key> = place.store().await.shelf();
    assert!(matches!(keys.find("body", "x").await, Err(StoreError::Broken(_))));
    let query = Query { sort: Some("nothing"), limit: 1, ..Query::default() };
    // The table is empty, but a mistake is one all the same.
    keys.insert(key(1)).await.unwrap();
    assert!(matches!(keys.list(&query).await, Err(StoreError::Broken(_))));
}

async fn expired_responses_are_forgotten_and_no_others(place: Place) {
    let store = place.store().await;
    // More than one statement takes.
    let written = store.write(|writer| async move {
        for number in 0..1_203_i64 {
            let response = StoredResponse {
                id: format!("resp_{number}"),
                expires: 1_000 + number,
                ..StoredResponse::default()
            };
            writer.insert(response).await?;
        }
        Ok(())
    });
    written.await.unwrap();
    assert_eq!(store.forget_responses(1_000).await.unwrap(), 0);
    assert_eq!(store.forget_responses(2_200).await.unwrap(), 1_200);
    let left = store.shelf::<StoredResponse>().list(&Query { limit: 10, ..Query::default() }).await.unwrap();
    assert_eq!((left.total, left.records[0].expires), (3, 2_200));
}

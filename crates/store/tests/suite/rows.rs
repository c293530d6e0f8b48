//! Many rows with one statement, and work of a lower priority.

use std::sync::Arc;
use std::time::Duration;

use tollway_store::sql::{Cells, Kind, Load, Rows, Sql};
use tollway_store::{StoreResult, values};

use crate::place::{Place, on_every_database};

on_every_database!(rows_arrive_as_they_were_given, a_writer_need_not_wait_for_calm_work);

/// Numbers from 0 on, with everything a column can hold.
struct Numbers(u64);

impl Rows for Numbers {
    fn count(&self) -> usize {
        usize::try_from(self.0).unwrap()
    }

    fn row(&self, index: usize, cells: &mut dyn Cells) -> StoreResult<()> {
        cells.count(index as u64);
        cells.int((!index.is_multiple_of(3)).then_some(i64::MIN));
        cells.text((!index.is_multiple_of(5)).then_some("zero \0, ä, 😀"));
        cells.bytes(&[0, 255, 7]);
        Ok(())
    }
}

fn load(then: &str) -> Load {
    let columns = [("id", Kind::Int), ("number", Kind::Int), ("word", Kind::Text), ("raw", Kind::Bytes)];
    Load::new("some_rows", &columns, then)
}

async fn table(place: &Place) -> Sql {
    let store = place.store().await;
    let bytes = match store.sql().dialect() {
        tollway_store::sql::Dialect::Sqlite => {
            "CREATE TABLE some_rows (id BIGINT PRIMARY KEY, number BIGINT, word TEXT, raw BLOB)"
        }
        tollway_store::sql::Dialect::Postgres => {
            "CREATE TABLE some_rows (id BIGINT PRIMARY KEY, number BIGINT, word TEXT, raw BYTEA)"
        }
    };
    store.sql().execute(bytes, vec![]).await.unwrap();
    store.sql().clone()
}

async fn put(sql: &Sql, load: &Load, count: u64) -> StoreResult<u64> {
    sql.transaction(|transaction| async move { transaction.load(load, Arc::new(Numbers(count))).await }).await
}

async fn rows_arrive_as_they_were_given(place: Place) {
    let sql = table(&place).await;
    assert_eq!(put(&sql, &load(""), 0).await.unwrap(), 0);
    let known = load("ON CONFLICT (id) DO NOTHING");
    assert_eq!(put(&sql, &known, 300).await.unwrap(), 300);
    assert_eq!(put(&sql, &known, 500).await.unwrap(), 200);
    // What is there already spoils everything.
    put(&sql, &load(""), 501).await.unwrap_err();
    let rows = sql.query("SELECT id, number, word, raw FROM some_rows ORDER BY id", vec![]).await.unwrap();
    assert_eq!(rows.len(), 500);
    for (index, row) in (0_i64..).zip(&rows) {
        assert_eq!(row.int(0).unwrap(), index);
        assert_eq!(row.maybe_int(1).unwrap(), (index % 3 != 0).then_some(i64::MIN));
        assert_eq!(row.maybe_text(2).unwrap(), (index % 5 != 0).then_some("zero \u{fffd}, ä, 😀"));
        assert_eq!(row.bytes(3).unwrap(), [0, 255, 7]);
    }
}

async fn a_writer_need_not_wait_for_calm_work(place: Place) {
    let sql = table(&place).await;
    let calm = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let aside = {
        let _within = calm.enter();
        sql.aside()
    };
    let work = calm.spawn(async move {
        for _ in 0..20 {
            let cleared = |transaction: tollway_store::sql::Transaction| async move {
                transaction.execute("DELETE FROM some_rows WHERE id >= 0", vec![]).await?;
                transaction.load(&load(""), Arc::new(Numbers(2000))).await
            };
            assert_eq!(aside.transaction(cleared).await.unwrap(), 2000);
        }
    });
    for id in 1..=50_i64 {
        let inserted = sql.execute("INSERT INTO some_rows (id) VALUES ($1)", values![-id]);
        tokio::time::timeout(Duration::from_secs(20), inserted).await.unwrap().unwrap();
    }
    work.await.unwrap();
    // A transaction that nobody waits for any more leaves the connection as it was.
    let gone = sql.transaction(|transaction| async move {
        transaction.execute("DELETE FROM some_rows WHERE id < 0", vec![]).await?;
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(())
    });
    tokio::time::timeout(Duration::from_millis(200), gone).await.unwrap_err();
    let row = sql.query_one("SELECT count(*) FROM some_rows", vec![]).await.unwrap().unwrap();
    assert_eq!(row.int(0).unwrap(), 2050);
    sql.execute("DELETE FROM some_rows WHERE id < 0", vec![]).await.unwrap();
    calm.shutdown_background();
}

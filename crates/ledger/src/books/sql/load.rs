//! Filling books with very many receipts at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tollway_store::StoreResult;

use super::insert::{self, SumOf};
use super::{LIFETIME, SqlBooks};
use crate::books::DAY;
use crate::books::sums::{Batch, Sum, Tally};
use crate::receipt::Receipt;

/// Receipts in one transaction.
const BATCH: usize = 20_000;

/// Fills books with new receipts in the order of time, several times faster than [`Books::record`](super::Books::record):
/// the sums of a day are written once, when it is over, and those over all time at the end. They are the same sums. A
/// filling that is broken off leaves receipts without sums; a `rebuild` then makes them.
#[derive(Debug)]
pub struct Filling<'a> {
    books: &'a SqlBooks,
    day: i64,
    tally: Tally,
    lifetimes: BTreeMap<(&'static str, String), Sum>,
    waiting: Vec<Arc<Receipt>>,
}

impl SqlBooks {
    /// Begins to fill these books.
    pub fn filling(&self) -> Filling<'_> {
        Filling {
            books: self,
            day: i64::MIN,
            tally: Tally::default(),
            lifetimes: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }
}

impl Filling<'_> {
    /// Adds receipts, none of which is there already.
    pub async fn add(&mut self, receipts: Vec<Arc<Receipt>>) -> StoreResult<()> {
        for receipt in receipts {
            let day = receipt.at.div_euclid(DAY);
            if day != self.day || self.waiting.len() >= BATCH {
                self.write().await?;
            }
            if day != self.day {
                self.end_of_day().await?;
                self.day = day;
            }
            self.waiting.push(receipt);
        }
        Ok(())
    }

    /// Writes what is left.
    pub async fn finish(mut self) -> StoreResult<()> {
        self.write().await?;
        self.end_of_day().await?;
        let sums = self.lifetimes.iter().map(|((kind, id), sum)| ((*kind).into(), id.clone(), LIFETIME, *sum));
        let sums: &Vec<SumOf> = &sums.collect();
        let work = |transaction| async move { insert::add_sums(&transaction, sums.clone()).await };
        self.books.sql.long_transaction(work).await
    }

    async fn write(&mut self) -> StoreResult<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let batch = Batch::of(std::mem::take(&mut self.waiting));
        self.books.make_room(&batch).await?;
        let rows = &batch;
        let work = |transaction| async move { insert::rows(&transaction, rows).await };
        self.books.sql.long_transaction(work).await?;
        self.tally.merge(batch.tally);
        Ok(())
    }

    async fn end_of_day(&mut self) -> StoreResult<()> {
        let tally = std::mem::take(&mut self.tally);
        for ((kind, id, _), sum) in &tally.hours {
            self.lifetimes.entry((kind, id.clone())).or_default().add(*sum);
        }
        let tally = &tally;
        let work = |transaction| async move { insert::add(&transaction, tally, false).await };
        self.books.sql.long_transaction(work).await
    }
}

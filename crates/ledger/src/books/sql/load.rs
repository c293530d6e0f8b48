//! Filling books with very many receipts at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{JoinHandle, spawn_blocking};
use tollway_store::{StoreError, StoreResult};

use super::insert::{self, SumOf};
use super::{LIFETIME, SqlBooks};
use crate::books::DAY;
use crate::books::line::Line;
use crate::books::sums::{Sum, Tally};
use crate::packed::PackedReceipts;
use crate::receipt::Receipt;

/// Receipts in one transaction.
const BATCH: usize = 20_000;

/// Fills books with new receipts in the order of time, several times faster than [`Books::record`](super::Books::record):
/// the sums of a day are written once, when it is over, and those over all time at the end. They are the same sums. A
/// filling that is broken off leaves receipts without sums; a `rebuild` then makes them. A day's receipts are in memory.
#[derive(Debug)]
pub struct Filling<'a> {
    books: &'a SqlBooks,
    day: i64,
    of_day: Vec<Arc<Receipt>>,
    /// How many of them are written.
    written: usize,
    /// What the day before adds up to.
    summing: Option<JoinHandle<Tally>>,
    lifetimes: BTreeMap<(&'static str, String), Sum>,
}

impl SqlBooks {
    /// Begins to fill these books.
    pub fn filling(&self) -> Filling<'_> {
        Filling {
            books: self,
            day: i64::MIN,
            of_day: Vec::new(),
            written: 0,
            summing: None,
            lifetimes: BTreeMap::new(),
        }
    }
}

impl Filling<'_> {
    /// Adds receipts, none of which is there already.
    pub async fn add(&mut self, receipts: Vec<Arc<Receipt>>) -> StoreResult<()> {
        for receipt in receipts {
            let day = receipt.at.div_euclid(DAY);
            if day != self.day {
                self.end_of_day().await?;
                self.day = day;
            } else if self.of_day.len() - self.written >= BATCH {
                self.write().await?;
            }
            self.of_day.push(receipt);
        }
        Ok(())
    }

    /// Writes what is left.
    pub async fn finish(mut self) -> StoreResult<()> {
        self.end_of_day().await?;
        self.add_up().await?;
        let sums =
            self.lifetimes.iter().map(|((kind, id), sum)| ((*kind).into(), id.clone(), LIFETIME, *sum));
        let sums: &Vec<SumOf> = &sums.collect();
        let work = |transaction| async move { insert::add_sums(&transaction, sums.clone()).await };
        self.books.sql.long_transaction(work).await
    }

    async fn write(&mut self) -> StoreResult<()> {
        let rows = self.of_day.iter().skip(self.written).map(AsRef::as_ref);
        let rows = Arc::new(PackedReceipts::of(rows)?);
        self.books.make_room(&rows).await?;
        let rows = &rows;
        let work = |transaction| async move { insert::rows(&transaction, rows).await };
        self.books.sql.long_transaction(work).await?;
        self.written = self.of_day.len();
        Ok(())
    }

    /// Begins to add up the day that is over, and writes what the one before adds up to.
    async fn end_of_day(&mut self) -> StoreResult<()> {
        self.write().await?;
        self.add_up().await?;
        self.written = 0;
        let receipts = std::mem::take(&mut self.of_day);
        let sum = move || {
            let lines: Vec<Line<'_>> = receipts.iter().map(|receipt| Line::of(receipt)).collect();
            Tally::of(lines.iter())
        };
        self.summing = Some(spawn_blocking(sum));
        Ok(())
    }

    async fn add_up(&mut self) -> StoreResult<()> {
        let Some(summing) = self.summing.take() else { return Ok(()) };
        let tally = &summing.await.map_err(|error| StoreError::Broken(error.to_string()))?;
        for ((kind, id, _), sum) in &tally.hours {
            self.lifetimes.entry((kind, id.clone())).or_default().add(*sum);
        }
        let work = |transaction| async move { insert::add(&transaction, tally, false).await };
        self.books.sql.long_transaction(work).await
    }
}

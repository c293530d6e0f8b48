//! Money of one scope in one window.

use tollway_model::Money;

use crate::{Span, Window};

/// What is spent and held in the current stretch of one window.
#[derive(Debug)]
pub(crate) struct Purse {
    pub(crate) window: Window,
    /// When the stretch began; the least number for a lifetime.
    pub(crate) start: i64,
    /// When it ends; the largest number: never.
    pub(crate) end: i64,
    /// The latest beginning that was ever reached: a later one starts with nothing spent, an earlier one must be asked for.
    newest: i64,
    /// What is spent beside what is counted here: in earlier lives of this process, or, with a shared store, everything
    /// it last told, holds included. `None`: to be asked for.
    pub(crate) known: Option<i64>,
    /// What calls of this process spent that `known` does not include.
    pub(crate) spent: i64,
    /// What calls of this process hold that `known` does not include.
    pub(crate) held: i64,
    /// Which turn of the state this stretch began in: holds from before do not concern it.
    pub(crate) turn: u32,
    /// The highest soft budget that was told.
    alerted: Option<i64>,
    /// It was asked for: what is spent beyond a soft budget then was told by whoever counted it.
    fresh: bool,
}

impl Purse {
    pub(crate) fn new(window: Window, now: i64, turn: u32) -> Purse {
        let mut purse = Purse {
            window,
            start: i64::MIN,
            end: i64::MIN,
            newest: i64::MAX,
            known: None,
            spent: 0,
            held: 0,
            turn,
            alerted: None,
            fresh: false,
        };
        purse.begin(purse.window.current(now), turn);
        purse.newest = purse.start;
        purse
    }

    /// Does the current stretch include this moment?
    pub(crate) fn includes(&self, moment: i64) -> bool {
        self.start <= moment && (moment < self.end || self.end == i64::MAX)
    }

    /// Goes on to the stretch of `now`, backwards too when somebody has set the clock. True when it is another one.
    pub(crate) fn roll(&mut self, now: i64, turn: u32) -> bool {
        if self.includes(now) {
            return false;
        }
        self.begin(self.window.current(now), turn);
        if self.start > self.newest {
            self.newest = self.start;
            self.known = self.known.map(|_| 0);
        } else {
            self.known = None;
        }
        true
    }

    fn begin(&mut self, span: Span, turn: u32) {
        self.start = span.start.unwrap_or(i64::MIN);
        self.end = span.end.unwrap_or(i64::MAX);
        (self.spent, self.held) = (0, 0);
        self.turn = turn;
        self.alerted = None;
        self.fresh = false;
    }

    /// What was spent before this process counted is known now.
    pub(crate) fn seed(&mut self, spent: Money) {
        self.known = Some(spent.nanos());
        self.fresh = true;
    }

    /// The shared store told what is spent and held by all together.
    pub(crate) fn learn(&mut self, used: i64) {
        self.known = Some(used);
        (self.spent, self.held) = (0, 0);
    }

    /// Spent and held.
    pub(crate) fn used(&self) -> i64 {
        self.known.unwrap_or(0).saturating_add(self.spent).saturating_add(self.held)
    }

    /// Spent and held, if each of `share` processes did what this one did since the shared store was heard of last.
    pub(crate) fn used_by_all(&self, share: u64) -> i64 {
        let ours = self.spent.saturating_add(self.held);
        let share = i64::try_from(share).unwrap_or(i64::MAX);
        // Below zero it is what our settled calls gave back, and that is ours alone.
        let theirs_too = if ours > 0 { ours.saturating_mul(share) } else { ours };
        self.known.unwrap_or(0).saturating_add(theirs_too)
    }

    /// When the stretch ends, for callers.
    pub(crate) fn resets_at(&self) -> Option<i64> {
        (self.end != i64::MAX).then_some(self.end)
    }

    /// The stretch's beginning, for the ledger.
    pub(crate) fn from(&self) -> Option<i64> {
        (self.start != i64::MIN).then_some(self.start)
    }

    /// What was spent before anybody watched was told by whoever counted it.
    pub(crate) fn watch(&mut self, soft: Money) {
        if self.fresh {
            self.fresh = false;
            if self.known.is_some_and(|known| known >= soft.nanos()) {
                self.alerted = Some(soft.nanos());
            }
        }
    }

    /// What is spent, when it reaches the soft budget for the first time in this stretch.
    pub(crate) fn alert(&mut self, soft: Money) -> Option<Money> {
        let spent = self.known.unwrap_or(0).saturating_add(self.spent);
        let told = self.alerted.is_some_and(|alerted| alerted >= soft.nanos());
        if told || spent < soft.nanos() {
            return None;
        }
        self.alerted = Some(soft.nanos());
        Some(Money::from_nanos(spent))
    }
}

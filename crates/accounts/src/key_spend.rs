//! What a key has spent, as far as this process knows: for a header, not for budgets.

use std::sync::atomic::{AtomicI64, Ordering};

use tollway_model::Money;
use tollway_store::records::Millis;

/// How old what the books said may become: what other processes spent is missing until they are asked again.
const MOST_AGE: Millis = 60_000;

/// What a key has spent since ever: what the books last said, and what was spent here since. Cheap to ask.
#[derive(Debug)]
pub struct KeySpend {
    /// What the books said, less what had been added here by then; the least number: they have said nothing yet.
    base: AtomicI64,
    /// What calls spent here.
    added: AtomicI64,
    /// When the books were asked last.
    asked: AtomicI64,
}

impl Default for KeySpend {
    fn default() -> Self {
        KeySpend { base: AtomicI64::new(i64::MIN), added: AtomicI64::default(), asked: AtomicI64::default() }
    }
}

/// The books are being asked; [`KeySpend::learn`] takes it back with their answer.
#[derive(Debug)]
pub struct Question {
    added: i64,
}

impl KeySpend {
    /// All of it; `None` before the books have answered.
    pub fn known(&self) -> Option<Money> {
        let base = self.base.load(Ordering::Relaxed);
        (base != i64::MIN).then(|| Money::from_nanos(base.saturating_add(self.added.load(Ordering::Relaxed))))
    }

    /// A call has spent this.
    pub fn add(&self, money: Money) {
        self.added.fetch_add(money.nanos(), Ordering::Relaxed);
    }

    /// Should the books be asked? Then whoever gets the question asks them, and nobody else for a while.
    pub fn question(&self, now: Millis) -> Option<Question> {
        let asked = self.asked.load(Ordering::Relaxed);
        if now < asked.saturating_add(MOST_AGE) {
            return None;
        }
        let is_first = self.asked.compare_exchange(asked, now, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        is_first.then(|| Question { added: self.added.load(Ordering::Relaxed) })
    }

    /// The books' answer.
    pub fn learn(&self, question: Question, spent: Money) {
        self.base.store(spent.nanos().saturating_sub(question.added).max(i64::MIN + 1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_here_is_added_to_what_the_books_say() {
        let spend = KeySpend::default();
        let nanos = || spend.known().map(Money::nanos);
        spend.add(Money::from_nanos(5));
        let question = spend.question(1_000_000).unwrap();
        assert!(spend.question(1_000_000).is_none(), "one asks for all");
        assert_eq!(nanos(), None);
        spend.add(Money::from_nanos(7));
        // The books knew of the first call, and not of the one that ended meanwhile.
        spend.learn(question, Money::from_nanos(105));
        assert_eq!(nanos(), Some(112));
        assert!(spend.question(1_000_000 + MOST_AGE - 1).is_none());
        let question = spend.question(1_000_000 + MOST_AGE).unwrap();
        spend.learn(question, Money::from_nanos(300));
        assert_eq!(nanos(), Some(300));
    }
}

//! Where the pages of a list begin.
//!
//! Clients ask for pages by number; a list that grows at its beginning would show them the same rows again. So the place
//! where a page ended is remembered for whoever asks for the next one of the same list. What is not remembered is found
//! by walking there from the beginning.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tollway_ledger::books::Place;

/// Most places that are remembered.
const MOST: usize = 1_024;

/// What spend requests share: ends of pages, and whose turn it is to set spend back.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    known: Mutex<Known>,
    /// Two that set the same spend back at once would set it back twice.
    pub(super) resets: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    places: HashMap<(String, u64), Place>,
    /// Oldest first.
    order: VecDeque<(String, u64)>,
}

impl Pages {
    /// Where page `number` of `list` begins: behind this.
    pub(super) fn begin(&self, list: &str, number: u64) -> Option<Place> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.places.get(&(list.to_owned(), number)).cloned()
    }

    /// Page `number` of `list` begins behind `place`.
    pub(super) fn remember(&self, list: String, number: u64, place: Place) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (list, number);
        if known.places.insert(key.clone(), place).is_none() {
            known.order.push_back(key);
        }
        if known.order.len() > MOST
            && let Some(oldest) = known.order.pop_front()
        {
            known.places.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_places_are_forgotten() {
        let pages = Pages::default();
        let place = |at: i64| Place { at, id: "r".into() };
        for number in 0..MOST as u64 + 10 {
            pages.remember("list".into(), number, place(1));
            pages.remember("list".into(), number, place(2));
        }
        assert_eq!(pages.begin("list", 9), None);
        assert_eq!(pages.begin("list", 10), Some(place(2)));
        assert_eq!(pages.begin("other", 10), None);
        assert_eq!(pages.known.lock().unwrap().places.len(), MOST);
    }
}

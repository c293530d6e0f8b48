//! The parts of an answer whose stream comes in blocks: their numbers, and what is kept back of them.
//!
//! An answer may be asked for as the call of a tool. What its model says before that is chatter, which is known only when
//! the tool is called; until then it is kept back.

use std::collections::BTreeSet;

use tollway_model::{Delta, Event, PartKind};

/// Numbers parts, and hands out their events.
#[derive(Default)]
pub(crate) struct Parts {
    next: u32,
    held: Option<Held>,
}

#[derive(Default)]
struct Held {
    events: Vec<Event>,
    /// The parts among them that are text.
    texts: BTreeSet<u32>,
}

impl Parts {
    /// Begins a part; its number.
    pub(crate) fn open(&mut self, kind: PartKind, events: &mut Vec<Event>) -> u32 {
        let part = self.next;
        self.next += 1;
        self.emit(Event::PartStart { choice: 0, part, kind }, events);
        part
    }

    /// Begins a text that may turn out to be chatter: it and what follows is kept back until [`Parts::release`].
    pub(crate) fn open_kept_text(&mut self, events: &mut Vec<Event>) -> u32 {
        self.held.get_or_insert_default().texts.insert(self.next);
        self.open(PartKind::Text, events)
    }

    /// More of a part, if it is anything.
    pub(crate) fn delta(&mut self, part: u32, delta: Delta, events: &mut Vec<Event>) {
        if let Delta::Text(text) | Delta::Arguments(text) = &delta
            && text.is_empty()
        {
            return;
        }
        self.emit(Event::Delta { choice: 0, part, delta }, events);
    }

    /// A part is complete.
    pub(crate) fn close(&mut self, part: u32, events: &mut Vec<Event>) {
        self.emit(Event::PartEnd { choice: 0, part }, events);
    }

    fn emit(&mut self, event: Event, events: &mut Vec<Event>) {
        match &mut self.held {
            Some(held) => held.events.push(event),
            None => events.push(event),
        }
    }

    /// Lets go of what was kept back.
    pub(crate) fn release(&mut self, events: &mut Vec<Event>) {
        if let Some(held) = self.held.take() {
            events.extend(held.events);
        }
    }

    /// Lets go of what was kept back, but for its texts. They were chatter; those that are not complete stay unseen, too.
    pub(crate) fn release_without_text(&mut self, events: &mut Vec<Event>) -> BTreeSet<u32> {
        let Some(Held { events: kept, texts }) = self.held.take() else { return BTreeSet::new() };
        let is_text = |event: &Event| match event {
            Event::PartStart { part, .. } | Event::Delta { part, .. } | Event::PartEnd { part, .. } => {
                texts.contains(part)
            }
            _ => false,
        };
        events.extend(kept.into_iter().filter(|event| !is_text(event)));
        texts
    }
}

//! Tool calls of one choice while they arrive, several at once.
//!
//! A call that is followed by another ends as soon as its arguments are a complete JSON value; otherwise both stay
//! open, because some hosts interleave them.

use std::collections::{BTreeSet, HashMap};

use tollway_model::{Delta, Dialect, Event, PartKind, Signature, ToolKind};

use crate::openai_chat::message;
use crate::openai_chat::read::{self, Object};
use crate::{Restore, carry, free_text};

#[derive(Default)]
pub(super) struct Tools {
    calls: Vec<Call>,
    /// The latest call with a number or an id: looking through all of them would take ever longer.
    by_index: HashMap<u64, usize>,
    by_id: HashMap<String, usize>,
    /// Calls that something was added to since the last one began.
    touched: BTreeSet<usize>,
}

#[derive(Default)]
struct Call {
    /// The id as the host wrote it; empty when it gave none.
    native_id: String,
    id: String,
    name: String,
    kind: ToolKind,
    /// Set once the part has begun, which needs a name.
    part: Option<u32>,
    ended: bool,
    /// Arguments that came before the name.
    early: String,
    signature: Option<Signature>,
    balance: Balance,
    /// A free-text tool that was sent as a function: what came of its arguments so far.
    wrapped: Option<String>,
}

impl Tools {
    /// Reads one element of `tool_calls`, or a legacy `function_call`.
    ///
    /// `place` is the choice and the answer's id, from which missing ids are made.
    pub(super) fn read(
        &mut self,
        mut fields: Object<'_>,
        place: (u32, &str),
        restore: &Restore,
        next_part: &mut u32,
        events: &mut Vec<Event>,
    ) {
        let index = fields.take("index").and_then(read::whole);
        let native_id = fields.text("id").unwrap_or_default().into_owned();
        let custom = fields.object("custom");
        let kind = if custom.is_some() { ToolKind::Custom } else { ToolKind::Function };
        let own = fields.object("provider_specific_fields").as_mut().and_then(thought_signature);
        let own = own.or_else(|| message::google_signature(&mut fields));
        let mut inner = custom.or_else(|| fields.object("function")).unwrap_or(fields);
        let name = inner.text("name").unwrap_or_default().into_owned();
        let at = self.find(index, &native_id, &name);
        let choice = place.0;
        if at == self.calls.len() {
            self.end_balanced(choice, events);
            self.by_index.extend(index.map(|index| (index, at)));
            self.by_id.insert(native_id.clone(), at);
            self.calls.push(Call::new(native_id, kind, place, at));
        }
        self.touched.insert(at);
        let Some(call) = self.calls.get_mut(at) else { return };
        if call.name.is_empty() {
            call.name = restore.tool_name(&name).to_owned();
            if restore.custom_tools.contains(&name) && call.kind == ToolKind::Function {
                call.kind = ToolKind::Custom;
                call.wrapped = Some(std::mem::take(&mut call.early));
            }
        }
        if let Some(value) = own {
            call.signature = Some(carry::untag(&value, Dialect::Gemini));
        }
        let free = call.kind == ToolKind::Custom && call.wrapped.is_none();
        let raw = inner.take(if free { "input" } else { "arguments" });
        let text = raw.map(|raw| match read::text(raw) {
            Some(text) => text.into_owned(),
            // Some hosts send the object itself.
            None => raw.get().to_owned(),
        });
        call.say(choice, text.unwrap_or_default(), next_part, events);
    }

    /// Which call a delta belongs to; one past the last for a new one.
    fn find(&self, index: Option<u64>, id: &str, name: &str) -> usize {
        let last = self.calls.len();
        let found = match index {
            Some(index) => self.by_index.get(&index).copied(),
            None if id.is_empty() && name.is_empty() => last.checked_sub(1),
            None if id.is_empty() => None,
            None => self.by_id.get(id).copied(),
        };
        let Some((at, call)) = found.and_then(|at| Some((at, self.calls.get(at)?))) else { return last };
        // Some hosts number every call 0: another id is another call.
        let other = !id.is_empty() && !call.native_id.is_empty() && id != call.native_id && !name.is_empty();
        if other { last } else { at }
    }

    fn end_balanced(&mut self, choice: u32, events: &mut Vec<Event>) {
        for at in std::mem::take(&mut self.touched) {
            if let Some(call) = self.calls.get_mut(at)
                && call.balance.is_complete()
                && !call.ended
                && (call.kind == ToolKind::Function || call.wrapped.is_some())
            {
                call.end(choice, events);
            }
        }
    }

    /// Ends every call; were there any?
    pub(super) fn end(&mut self, choice: u32, next_part: &mut u32, events: &mut Vec<Event>) -> bool {
        for call in &mut self.calls {
            call.begin(choice, next_part, events);
            call.end(choice, events);
        }
        !self.calls.is_empty()
    }
}

impl Call {
    fn new(native_id: String, kind: ToolKind, place: (u32, &str), number: usize) -> Call {
        let (plain, signature) = carry::unpack_id(&native_id);
        let id = match (plain, place) {
            ("", (0, answer)) => format!("call_{answer}_{number}"),
            ("", (choice, answer)) => format!("call_{answer}_{choice}_{number}"),
            (plain, _) => plain.to_owned(),
        };
        Call { id, native_id, kind, signature, ..Call::default() }
    }

    fn say(&mut self, choice: u32, text: String, next_part: &mut u32, events: &mut Vec<Event>) {
        if self.ended {
            return;
        }
        self.balance.read(&text);
        if self.part.is_none() && self.name.is_empty() {
            self.early.push_str(&text);
            return;
        }
        let part = self.begin(choice, next_part, events);
        if let Some(wrapped) = &mut self.wrapped {
            wrapped.push_str(&text);
        } else if !text.is_empty() {
            events.push(Event::Delta { choice, part, delta: Delta::Arguments(text) });
        }
    }

    fn begin(&mut self, choice: u32, next_part: &mut u32, events: &mut Vec<Event>) -> u32 {
        if let Some(part) = self.part {
            return part;
        }
        let part = *next_part;
        *next_part += 1;
        self.part = Some(part);
        let kind = PartKind::ToolCall { id: self.id.clone(), name: self.name.clone(), kind: self.kind };
        events.push(Event::PartStart { choice, part, kind });
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            events.push(Event::Delta { choice, part, delta: Delta::Arguments(early) });
        }
        part
    }

    fn end(&mut self, choice: u32, events: &mut Vec<Event>) {
        let Some(part) = self.part.filter(|_| !self.ended) else { return };
        self.ended = true;
        if let Some(wrapped) = self.wrapped.take() {
            let delta = Delta::Arguments(free_text::unwrap(&wrapped));
            events.push(Event::Delta { choice, part, delta });
        }
        if let Some(signature) = self.signature.take() {
            events.push(Event::Delta { choice, part, delta: Delta::Signature(signature) });
        }
        events.push(Event::PartEnd { choice, part });
    }
}

fn thought_signature(extra: &mut Object<'_>) -> Option<String> {
    let listed = extra.list("thought_signatures").into_iter().find_map(read::text);
    listed.or_else(|| extra.text("thought_signature")).map(|text| text.into_owned())
}

/// Follows JSON text just closely enough to know when an object or list is complete.
#[derive(Default)]
struct Balance {
    depth: u32,
    in_string: bool,
    escaped: bool,
    complete: bool,
}

impl Balance {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => {
                    self.depth = self.depth.saturating_sub(1);
                    self.complete = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.complete && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_open_calls_are_all_ended() {
        let (mut tools, mut events, mut next_part) = (Tools::default(), Vec::new(), 0);
        for number in 0..100_000 {
            // Arguments that never end keep their call open.
            let call = format!(
                r#"{{"index":{number},"id":"c{number}","function":{{"name":"f","arguments":"{{"}}}}"#
            );
            let call = Object::parse(&call).unwrap();
            tools.read(call, (0, "a"), &Restore::default(), &mut next_part, &mut events);
        }
        assert!(tools.end(0, &mut next_part, &mut events));
        assert_eq!(events.len(), 300_000);
    }
}

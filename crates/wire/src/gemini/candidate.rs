//! One candidate of an answer: its parts as events, whether they come in one piece or in many.

use serde_json::Value;
use serde_json::value::RawValue;
use tollway_model::{Content, Delta, Dialect, Event, Media, PartKind, RawJson, Result, Signature, ToolKind};

use super::assembler::corrupt;
use super::partial_args::PartialCall;
use super::shape::{FunctionCallIn, PartIn, compact};
use super::{finish, grounding, media, names, signature};
use crate::Restore;

/// One candidate so far.
#[derive(Default)]
pub(super) struct Answer {
    /// Number of the next part.
    next: u32,
    open: Option<(u32, Open)>,
    calls: u32,
    partial: Option<PartialCall>,
    /// Visible text, for counting the characters that citations refer to.
    text: String,
    pub(super) grounding: Option<Value>,
    pub(super) finish: Option<String>,
    pub(super) extras: serde_json::Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    Text,
    Reasoning,
    /// Sound whose pieces can be joined.
    Audio,
}

/// One candidate while a piece of it is read.
pub(super) struct Scene<'s> {
    pub(super) choice: u32,
    pub(super) restore: &'s Restore,
    pub(super) id: &'s str,
    pub(super) answer: &'s mut Answer,
    pub(super) events: &'s mut Vec<Event>,
}

impl Scene<'_> {
    /// Reads one part.
    pub(super) fn part(&mut self, raw: &RawValue) -> Result<()> {
        let part: PartIn<'_> = serde_json::from_str(raw.get()).map_err(corrupt)?;
        let signature = part.thought_signature.as_deref().map(signature::read);
        if let Some(text) = part.text {
            let redacted = signature.as_ref().is_some_and(|(_, redacted)| *redacted);
            let signature = signature.map(|(signature, _)| signature);
            if redacted && part.thought == Some(true) {
                self.whole(PartKind::Redacted, signature.map(Delta::Signature));
            } else {
                let open = if part.thought == Some(true) { Open::Reasoning } else { Open::Text };
                self.say(open, text, signature);
            }
            return Ok(());
        }
        let signature = signature.map(|(signature, _)| signature);
        if let Some(call) = part.function_call {
            self.call(call, signature);
            return Ok(());
        }
        let content = match (part.inline_data, part.file_data) {
            (Some(blob), _) => media::from_blob(blob),
            (None, Some(file)) => media::from_file(file),
            (None, None) => {
                self.native(raw);
                return Ok(());
            }
        };
        match content {
            Content::Image(media) => self.whole(PartKind::Image, Some(Delta::Media(media))),
            Content::Audio(media) => self.sound(media),
            _ => {
                self.native(raw);
                return Ok(());
            }
        }
        if signature.is_some() {
            // A picture has no place for its signature; an empty text right after it has.
            self.say(Open::Text, String::new(), signature);
        }
        Ok(())
    }

    fn say(&mut self, open: Open, text: String, signature: Option<Signature>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        let part = self.open(open);
        if open == Open::Text {
            self.answer.text.push_str(&text);
        }
        if !text.is_empty() {
            self.delta(part, Delta::Text(text));
        }
        if let Some(signature) = signature {
            self.delta(part, Delta::Signature(signature));
            self.close();
        }
    }

    /// The open part of this kind, begun now if need be.
    fn open(&mut self, open: Open) -> u32 {
        if let Some((part, kind)) = self.answer.open
            && kind == open
        {
            return part;
        }
        let kind = match open {
            Open::Text => PartKind::Text,
            Open::Reasoning => PartKind::Reasoning,
            Open::Audio => PartKind::Audio,
        };
        let part = self.start(kind);
        self.answer.open = Some((part, open));
        part
    }

    fn start(&mut self, kind: PartKind) -> u32 {
        self.close();
        let part = self.answer.next;
        self.answer.next += 1;
        self.events.push(Event::PartStart { choice: self.choice, part, kind });
        part
    }

    fn close(&mut self) {
        if let Some((part, _)) = self.answer.open.take() {
            self.events.push(Event::PartEnd { choice: self.choice, part });
        }
    }

    fn delta(&mut self, part: u32, delta: Delta) {
        self.events.push(Event::Delta { choice: self.choice, part, delta });
    }

    fn whole(&mut self, kind: PartKind, deltas: impl IntoIterator<Item = Delta>) {
        let part = self.start(kind);
        for delta in deltas {
            self.delta(part, delta);
        }
        self.events.push(Event::PartEnd { choice: self.choice, part });
    }

    fn native(&mut self, raw: &RawValue) {
        if matches!(raw.get().trim(), "{}" | r#"{"thought":true}"#) {
            return;
        }
        self.whole(PartKind::Native { dialect: Dialect::Gemini, json: RawJson::from(raw) }, None);
    }

    /// Pieces of sound are joined while their base64 allows it: padding may only stand at the end.
    fn sound(&mut self, media: Media) {
        let padded = matches!(&media.source, tollway_model::MediaSource::Base64(data) if data.ends_with('='));
        let part = self.open(Open::Audio);
        self.delta(part, Delta::Media(media));
        if padded {
            self.close();
        }
    }

    fn call(&mut self, call: FunctionCallIn<'_>, signature: Option<Signature>) {
        let in_pieces = call.partial_args.is_some() || call.will_continue == Some(true);
        if self.answer.partial.is_some() || in_pieces {
            let partial = self.answer.partial.get_or_insert_default();
            let goes_on = call.will_continue == Some(true);
            partial.add(call, signature);
            if !goes_on {
                self.end_partial();
            }
            return;
        }
        let arguments = call.args.map_or_else(|| "{}".to_owned(), |args| compact(args.get()));
        self.whole_call(call.id, call.name.unwrap_or_default(), arguments, signature);
    }

    fn end_partial(&mut self) {
        if let Some(partial) = self.answer.partial.take() {
            let arguments = Value::Object(partial.arguments).to_string();
            self.whole_call(partial.id, partial.name, arguments, partial.signature);
        }
    }

    fn whole_call(
        &mut self,
        id: Option<String>,
        name: String,
        arguments: String,
        signature: Option<Signature>,
    ) {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.call_id(&name, &arguments));
        self.answer.calls += 1;
        let custom = self.restore.custom_tools.contains(&name);
        let (kind, arguments) =
            if custom { (ToolKind::Custom, free_text(arguments)) } else { (ToolKind::Function, arguments) };
        let name = self.restore.tool_name(&name).to_owned();
        let deltas = std::iter::once(Delta::Arguments(arguments)).chain(signature.map(Delta::Signature));
        self.whole(PartKind::ToolCall { id, name, kind }, deltas);
    }

    /// An id for a call without one, from the answer's id, or from the call itself where that is missing too.
    fn call_id(&self, name: &str, arguments: &str) -> String {
        let number = self.answer.calls;
        let choice = if self.choice == 0 { String::new() } else { format!("_{}", self.choice) };
        if self.id.is_empty() {
            let hash = names::hash(format!("{name}\n{arguments}").as_bytes());
            return format!("call_{hash:016x}{choice}_{number}");
        }
        format!("call_{}{choice}_{number}", self.id)
    }

    /// Everything has been said: ends what is open and says why the candidate stopped.
    pub(super) fn finish(&mut self) {
        self.end_partial();
        let citations = self.answer.grounding.take();
        let citations =
            citations.map(|metadata| grounding::read(&metadata, &self.answer.text)).unwrap_or_default();
        if !citations.is_empty() {
            let part = self.open(Open::Text);
            for citation in citations {
                self.delta(part, Delta::Citation(citation));
            }
        }
        self.close();
        if let Some(native) = self.answer.finish.take() {
            let reason = finish::read(&native, self.answer.calls > 0);
            let choice = self.choice;
            self.events.push(Event::Finish { choice, reason, native: Some(native), stop_sequence: None });
        }
    }
}

/// The text inside the one argument a free-text tool was given as.
fn free_text(arguments: String) -> String {
    let value: Option<Value> = serde_json::from_str(&arguments).ok();
    let input = value.as_ref().and_then(|value| value.get("input")?.as_str()).map(str::to_owned);
    input.unwrap_or(arguments)
}

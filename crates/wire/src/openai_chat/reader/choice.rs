//! One choice of an answer while it is read.

mod tools;

use serde_json::Value;
use tollway_model::{Content, Delta, Dialect, Event, FinishReason, Media, PartKind, RawJson, Signature};

use self::tools::Tools;
use super::finish_reason;
use crate::openai_chat::read::{self, Object, Path, Raw};
use crate::openai_chat::{media, message};
use crate::{Restore, carry};

/// The part that text is being added to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Reasoning,
    Refusal,
}

#[derive(Default)]
pub(super) struct Choice {
    index: u32,
    next_part: u32,
    open: Option<(u32, Open)>,
    /// Sound has its own part: its transcript is text that arrives at the same time.
    audio: Option<u32>,
    audio_id: Option<String>,
    tools: Tools,
    reasoning_details: Vec<Value>,
    reason: Option<String>,
    native: Option<String>,
    stop_sequence: Option<String>,
}

impl Choice {
    pub(super) fn new(index: u32) -> Choice {
        Choice { index, ..Choice::default() }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.reason.is_some()
    }

    /// Reads a `delta`, or the `message` of a whole answer.
    pub(super) fn say(
        &mut self,
        said: &mut Object<'_>,
        id: &str,
        whole: bool,
        restore: &Restore,
        events: &mut Vec<Event>,
    ) {
        self.thinking(said, whole, events);
        if let Some(raw) = said.take("content") {
            self.content(raw, events);
        }
        let mut audio = said.object("audio");
        if let Some(transcript) = audio.as_mut().and_then(|audio| audio.text("transcript")) {
            self.text(&transcript, events);
        }
        for raw in said.list("annotations") {
            self.citation(raw, events);
        }
        self.text_signature(said, events);
        if let Some(refusal) = said.text("refusal") {
            self.add(Open::Refusal, &refusal, events);
        }
        self.tool_calls(said, id, restore, events);
        if let Some(audio) = &mut audio {
            self.sound(audio, events);
        }
        for raw in said.list("images") {
            self.image(raw, events);
        }
    }

    pub(super) fn text(&mut self, text: &str, events: &mut Vec<Event>) {
        self.add(Open::Text, text, events);
    }

    fn thinking(&mut self, said: &mut Object<'_>, whole: bool, events: &mut Vec<Event>) {
        let plain = said.text("reasoning_content").filter(|text| !text.is_empty());
        // Together and others: text. Some hosts put an object there, which says nothing more.
        let plain = plain.or_else(|| said.text("reasoning")).filter(|text| !text.is_empty());
        let details = said.list("reasoning_details");
        let blocks = said.list("thinking_blocks");
        if whole && !blocks.is_empty() {
            for raw in blocks {
                self.thinking_block(raw, true, events);
            }
        } else {
            match plain {
                Some(text) => self.add(Open::Reasoning, &text, events),
                None => details.iter().for_each(|raw| self.detail_text(raw, events)),
            }
            for raw in blocks {
                self.thinking_block(raw, false, events);
            }
        }
        for raw in details {
            if let Ok(detail) = serde_json::from_str(raw.get()) {
                self.keep_detail(detail, whole);
            }
        }
    }

    fn detail_text(&mut self, raw: Raw<'_>, events: &mut Vec<Event>) {
        let Some(mut detail) = Object::parse(raw.get()) else { return };
        let text = detail.text("text").or_else(|| detail.text("summary"));
        if let Some(text) = text {
            self.add(Open::Reasoning, &text, events);
        }
    }

    /// A block of a stream repeats the text that came as `reasoning_content`, and adds the signature.
    fn thinking_block(&mut self, raw: Raw<'_>, with_text: bool, events: &mut Vec<Event>) {
        let block = Object::parse(raw.get()).and_then(|mut block| message::thinking_block(&mut block));
        let Some(Content::Reasoning { text, signature, redacted }) = block else { return };
        let streamed = matches!(self.open, Some((_, Open::Reasoning)));
        if redacted {
            self.close_text(events);
            let part = self.start(PartKind::Redacted, events);
            self.delta(part, signature.map(Delta::Signature), events);
            self.end_part(part, events);
            return;
        }
        if with_text {
            self.close_text(events);
        }
        if with_text || !streamed {
            self.add(Open::Reasoning, &text, events);
        }
        if let Some(signature) = signature {
            let part = self.ensure(Open::Reasoning, events);
            self.delta(part, Some(Delta::Signature(signature)), events);
            self.close_text(events);
        }
    }

    fn keep_detail(&mut self, detail: Value, whole: bool) {
        let same = |old: &&mut Value| {
            detail.get("index").is_some()
                && old.get("index") == detail.get("index")
                && old.get("type") == detail.get("type")
        };
        let old = if whole { None } else { self.reasoning_details.iter_mut().rev().find(same) };
        let (Some(Value::Object(old)), Value::Object(new)) = (old, &detail) else {
            self.reasoning_details.push(detail);
            return;
        };
        for (key, value) in new {
            match (old.get_mut(key), value) {
                (_, Value::Null) => {}
                (Some(Value::String(text)), Value::String(more))
                    if matches!(key.as_str(), "text" | "summary" | "data") =>
                {
                    text.push_str(more);
                }
                _ => {
                    old.insert(key.clone(), value.clone());
                }
            }
        }
    }

    /// A string, or a list of typed pieces (Mistral, Databricks).
    fn content(&mut self, raw: Raw<'_>, events: &mut Vec<Event>) {
        if let Some(text) = read::text(raw) {
            self.text(&text, events);
            return;
        }
        let pieces = if read::is_object(raw) { vec![raw] } else { read::list(raw).unwrap_or_default() };
        for raw in pieces {
            if let Some(text) = read::text(raw) {
                self.text(&text, events);
                continue;
            }
            let Some(mut piece) = Object::parse(raw.get()) else { continue };
            let kind = piece.text("type").unwrap_or_default();
            match kind.as_ref() {
                "text" | "output_text" | "" => {
                    let text = piece.text("text").unwrap_or_default();
                    self.text(&text, events);
                    piece.list("annotations").into_iter().for_each(|raw| self.citation(raw, events));
                }
                "refusal" => {
                    let text = piece.text("refusal").unwrap_or_default();
                    self.add(Open::Refusal, &text, events);
                }
                "thinking" | "reasoning" => self.thinking_piece(&mut piece, events),
                "image_url" => self.image(raw, events),
                _ => self.whole_part(
                    PartKind::Native { dialect: Dialect::OpenaiChat, json: raw.into() },
                    None,
                    events,
                ),
            }
        }
    }

    fn thinking_piece(&mut self, piece: &mut Object<'_>, events: &mut Vec<Event>) {
        for key in ["thinking", "summary", "text", "reasoning"] {
            let Some(raw) = piece.take(key) else { continue };
            if let Some(text) = read::text(raw) {
                self.add(Open::Reasoning, &text, events);
            }
            for inner in read::list(raw).unwrap_or_default() {
                let text = Object::parse(inner.get()).and_then(|mut inner| inner.text("text"));
                self.add(Open::Reasoning, &text.unwrap_or_default(), events);
            }
        }
        if let Some(value) = piece.text("signature").filter(|value| !value.is_empty()) {
            let part = self.ensure(Open::Reasoning, events);
            let signature = Signature { origin: Dialect::OpenaiChat, value: value.into_owned() };
            self.delta(part, Some(Delta::Signature(signature)), events);
        }
    }

    fn citation(&mut self, raw: Raw<'_>, events: &mut Vec<Event>) {
        if let Some(citation) = message::citation(raw) {
            let part = self.ensure(Open::Text, events);
            self.delta(part, Some(Delta::Citation(citation)), events);
        }
    }

    /// A thought signature beside the text belongs to the text.
    fn text_signature(&mut self, said: &mut Object<'_>, events: &mut Vec<Event>) {
        let listed = said.object("provider_specific_fields").and_then(|mut extra| {
            let first = extra.list("thought_signatures").into_iter().find_map(read::text)?;
            Some(first.into_owned())
        });
        let value = listed.or_else(|| message::google_signature(said));
        let Some((part, Open::Text)) = self.open else { return };
        if let Some(value) = value {
            let signature = carry::untag(&value, Dialect::Gemini);
            self.delta(part, Some(Delta::Signature(signature)), events);
        }
    }

    fn image(&mut self, raw: Raw<'_>, events: &mut Vec<Event>) {
        let Some(mut image) = Object::parse(raw.get()) else { return };
        let Some(inner) = image.take("image_url") else { return };
        if let Ok(media) = media::read_image(inner, &Path::Root) {
            self.whole_part(PartKind::Image, Some(Delta::Media(media)), events);
        }
    }

    fn sound(&mut self, audio: &mut Object<'_>, events: &mut Vec<Event>) {
        if let Some(id) = audio.text("id").filter(|id| !id.is_empty()) {
            self.audio_id = Some(id.into_owned());
        }
        let Some(data) = audio.text("data").filter(|data| !data.is_empty()) else { return };
        let part = match self.audio {
            Some(part) => part,
            None => self.start(PartKind::Audio, events),
        };
        let mut media = Media::base64(sound_type(&data), data);
        media.name = self.audio_id.clone();
        self.audio = Some(part);
        self.delta(part, Some(Delta::Media(media)), events);
    }

    fn tool_calls(&mut self, said: &mut Object<'_>, id: &str, restore: &Restore, events: &mut Vec<Event>) {
        let mut calls = said.list("tool_calls");
        calls.extend(said.take("function_call"));
        if calls.is_empty() {
            return;
        }
        self.close_text(events);
        let mut tools = std::mem::take(&mut self.tools);
        for raw in calls {
            if let Some(call) = Object::parse(raw.get()) {
                tools.read(call, (self.index, id), restore, &mut self.next_part, events);
            }
        }
        self.tools = tools;
    }

    /// Reads why the choice ended, if it did.
    pub(super) fn finish(&mut self, fields: &mut Object<'_>) {
        let mut beside = fields.object("provider_specific_fields");
        for fields in [Some(&mut *fields), beside.as_mut()].into_iter().flatten() {
            let mut take = |key: &str| {
                let text = fields.text(key).filter(|text| !text.is_empty());
                text.map(|text| text.into_owned())
            };
            self.reason = take("finish_reason").or(self.reason.take());
            self.native = take("native_finish_reason").or(self.native.take());
            // vLLM and SGLang name the stop text; ours is beside.
            let stop = ["stop_sequence", "stop_reason", "matched_stop"].into_iter().find_map(take);
            self.stop_sequence = stop.or(self.stop_sequence.take());
        }
    }

    /// Ends every part and the choice.
    pub(super) fn end(&mut self, events: &mut Vec<Event>) {
        self.close_text(events);
        if let Some(part) = self.audio.take() {
            self.end_part(part, events);
        }
        let used_tools = self.tools.end(self.index, &mut self.next_part, events);
        if !self.reasoning_details.is_empty() {
            let details = Value::Array(std::mem::take(&mut self.reasoning_details));
            let json = RawJson::from(serde_json::json!({ "reasoning_details": details }));
            self.whole_part(PartKind::Native { dialect: Dialect::OpenaiChat, json }, None, events);
        }
        let native = self.native.take().or_else(|| self.reason.clone());
        let known = native.as_deref().and_then(finish_reason);
        let known = known.or_else(|| finish_reason(self.reason.as_deref()?)).unwrap_or(FinishReason::Stop);
        let reason = match known {
            FinishReason::Stop if used_tools => FinishReason::ToolCalls,
            FinishReason::Stop if self.stop_sequence.is_some() => FinishReason::StopSequence,
            known => known,
        };
        let stop_sequence = self.stop_sequence.take();
        events.push(Event::Finish { choice: self.index, reason, native, stop_sequence });
    }

    fn start(&mut self, kind: PartKind, events: &mut Vec<Event>) -> u32 {
        let part = self.next_part;
        self.next_part += 1;
        events.push(Event::PartStart { choice: self.index, part, kind });
        part
    }

    fn delta(&self, part: u32, delta: Option<Delta>, events: &mut Vec<Event>) {
        events.extend(delta.map(|delta| Event::Delta { choice: self.index, part, delta }));
    }

    fn end_part(&self, part: u32, events: &mut Vec<Event>) {
        events.push(Event::PartEnd { choice: self.index, part });
    }

    /// A part that arrives in one piece.
    fn whole_part(&mut self, kind: PartKind, delta: Option<Delta>, events: &mut Vec<Event>) {
        self.close_text(events);
        let part = self.start(kind, events);
        self.delta(part, delta, events);
        self.end_part(part, events);
    }

    fn add(&mut self, kind: Open, text: &str, events: &mut Vec<Event>) {
        if !text.is_empty() {
            let part = self.ensure(kind, events);
            self.delta(part, Some(Delta::Text(text.to_owned())), events);
        }
    }

    /// The open part of `kind`, opened if need be.
    fn ensure(&mut self, kind: Open, events: &mut Vec<Event>) -> u32 {
        if let Some((part, open)) = self.open
            && open == kind
        {
            return part;
        }
        self.close_text(events);
        let started = match kind {
            Open::Text => PartKind::Text,
            Open::Reasoning => PartKind::Reasoning,
            Open::Refusal => PartKind::Refusal,
        };
        let part = self.start(started, events);
        self.open = Some((part, kind));
        part
    }

    fn close_text(&mut self, events: &mut Vec<Event>) {
        if let Some((part, _)) = self.open.take() {
            self.end_part(part, events);
        }
    }
}

/// What sound the base64 holds, by its first bytes; streams bring bare samples.
fn sound_type(data: &str) -> &'static str {
    match data.get(..4) {
        Some("UklG") => "audio/wav",
        Some("SUQz" | "//uQ" | "//vQ" | "//NE" | "//OE" | "//sw") => "audio/mpeg",
        Some("Zkxh") => "audio/flac",
        Some("T2dn") => "audio/opus",
        _ => "audio/pcm",
    }
}

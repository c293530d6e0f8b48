//! A neutral answer.

use serde::{Deserialize, Serialize};

use crate::{Content, Delta, Event, Extras, Message, Part, PartKind, RawJson, Role, ToolCall, Usage};

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// The provider's id of the answer; encoders make one where it is empty.
    pub id: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// Seconds since 1970, when the provider says.
    pub created: Option<i64>,
    /// The answers, by index.
    pub choices: Vec<Choice>,
    /// What it used. `None` when the provider did not say.
    pub usage: Option<Usage>,
    /// The tier that served the call, as the provider names it.
    pub service_tier: Option<String>,
    /// Top-level fields the model does not know, verbatim.
    pub extras: Extras,
}

/// One of the answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Its number, from 0.
    pub index: u32,
    /// What the model said, in order.
    pub parts: Vec<Part>,
    /// Why it stopped; `None` only in answers cut short.
    pub finish: Option<FinishReason>,
    /// The provider's own word for it.
    pub native_finish: Option<String>,
    /// The stop text that ended the answer, when the provider says.
    pub stop_sequence: Option<String>,
    /// Log-probabilities in OpenAI's shape: `{"content":[…]}`.
    pub logprobs: Option<RawJson>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was complete.
    Stop,
    /// A caller's stop text was reached. Dialects without the distinction render [`FinishReason::Stop`].
    StopSequence,
    /// The token limit was reached.
    Length,
    /// The model wants tools to be run.
    ToolCalls,
    /// The provider's filter cut it.
    ContentFilter,
    /// The model declined.
    Refusal,
    /// A long-running turn pauses; send the answer back to go on (Anthropic's `pause_turn`).
    Pause,
    /// The context window was full.
    ContextWindow,
    /// The provider reported a failed generation.
    Error,
}

impl Choice {
    /// The text, without thinking and refusals.
    pub fn text(&self) -> String {
        self.parts.iter().filter_map(Part::as_text).collect()
    }

    /// The readable thinking; empty when the provider shows none.
    pub fn reasoning(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match &part.content {
            Content::Reasoning { text, .. } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The model's words where it declined to answer: refusal parts, or the text of an answer that ended as one.
    pub fn refusal(&self) -> Option<String> {
        let mut refusals = self.parts.iter().filter_map(|part| match &part.content {
            Content::Refusal(text) => Some(text.as_str()),
            _ => None,
        });
        match refusals.next() {
            Some(first) => Some(std::iter::once(first).chain(refusals).collect()),
            None => (self.finish == Some(FinishReason::Refusal)).then(|| self.text()),
        }
    }

    /// The tools that the model wants to be run, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match &part.content {
            Content::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// The turn as it goes back into the conversation, thinking and its signatures included.
    pub fn message(&self) -> Message {
        Message::new(Role::Assistant, self.parts.clone())
    }
}

impl Response {
    /// The first answer, which is the only one unless several were asked for.
    pub fn first(&self) -> Option<&Choice> {
        self.choices.first()
    }

    /// The events a stream of this answer would have brought, one delta per part.
    ///
    /// Folding them gives the answer back. Serves cached answers, and answers of providers that cannot stream,
    /// to clients that asked for a stream.
    pub fn into_events(self) -> Vec<Event> {
        let mut events = vec![Event::Start { id: self.id, model: self.model, created: self.created }];
        for choice in self.choices {
            let index = choice.index;
            for (number, part) in (0..).zip(choice.parts) {
                part_events(index, number, part, &mut events);
            }
            if let Some(logprobs) = choice.logprobs {
                events.push(Event::Logprobs { choice: index, logprobs });
            }
            if let Some(reason) = choice.finish {
                let (native, stop_sequence) = (choice.native_finish, choice.stop_sequence);
                events.push(Event::Finish { choice: index, reason, native, stop_sequence });
            }
        }
        if self.service_tier.is_some() || self.extras.dialect.is_some() {
            events.push(Event::Meta { service_tier: self.service_tier, extras: self.extras });
        }
        events.extend(self.usage.map(Event::Usage));
        events.push(Event::End);
        events
    }
}

fn part_events(choice: u32, number: u32, part: Part, events: &mut Vec<Event>) {
    let mut deltas = Vec::new();
    let kind = match part.content {
        Content::Text { text, citations, signature } => {
            deltas.extend((!text.is_empty()).then_some(Delta::Text(text)));
            deltas.extend(citations.into_iter().map(Delta::Citation));
            deltas.extend(signature.map(Delta::Signature));
            PartKind::Text
        }
        Content::Reasoning { text, signature, redacted } => {
            deltas.extend((!text.is_empty()).then_some(Delta::Text(text)));
            deltas.extend(signature.map(Delta::Signature));
            if redacted { PartKind::Redacted } else { PartKind::Reasoning }
        }
        Content::Refusal(text) => {
            deltas.push(Delta::Text(text));
            PartKind::Refusal
        }
        Content::ToolCall(call) => {
            deltas.push(Delta::Arguments(call.arguments));
            deltas.extend(call.signature.map(Delta::Signature));
            PartKind::ToolCall { id: call.id, name: call.name, kind: call.kind }
        }
        Content::Image(media) => {
            deltas.push(Delta::Media(media));
            PartKind::Image
        }
        Content::Audio(media) => {
            deltas.push(Delta::Media(media));
            PartKind::Audio
        }
        Content::Native { dialect, json } => PartKind::Native { dialect, json },
        // Answers never hold what only requests hold.
        Content::Video(_) | Content::File(_) | Content::ToolResult(_) => return,
    };
    events.push(Event::PartStart { choice, part: number, kind });
    events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, part: number, delta }));
    events.push(Event::PartEnd { choice, part: number });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, Fold, Laws, Signature, ToolKind};

    #[test]
    fn an_answer_shows_its_words_its_calls_and_its_refusal() {
        let call = |id: &str| ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: r#"{"city":"Oslo"}"#.into(),
            kind: ToolKind::Function,
            signature: None,
        };
        let thinking = Content::Reasoning { text: "hm".into(), signature: None, redacted: false };
        let choice = Choice {
            parts: vec![
                Part::new(thinking),
                Part::text("a"),
                Part::new(Content::ToolCall(call("1"))),
                Part::text("b"),
                Part::new(Content::ToolCall(call("2"))),
            ],
            ..Choice::default()
        };
        assert_eq!((choice.text(), choice.reasoning(), choice.refusal()), ("ab".into(), "hm".into(), None));
        assert_eq!(choice.tool_calls().map(|call| call.id.as_str()).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(choice.message().parts, choice.parts);
        let arguments: std::collections::BTreeMap<String, String> = call("1").parse().expect("an object");
        assert_eq!(arguments["city"], "Oslo");
        assert!(call("1").parse::<Vec<u32>>().is_err_and(|error| error.message().contains("`f`")));
        assert_eq!(call("1").failure("no").is_error, Some(true));

        let said = |parts, finish| Choice { parts, finish: Some(finish), ..Choice::default() };
        let no = |text: &str| Part::new(Content::Refusal(text.into()));
        assert_eq!(said(vec![no("n"), no("o")], FinishReason::Stop).refusal().as_deref(), Some("no"));
        assert_eq!(said(vec![Part::text("no")], FinishReason::Refusal).refusal().as_deref(), Some("no"));
        assert_eq!(said(vec![Part::text("yes")], FinishReason::Stop).refusal(), None);
    }

    #[test]
    fn the_events_of_an_answer_obey_the_laws_and_fold_back_into_it() {
        let signature = Signature { origin: Dialect::Gemini, value: "s".into() };
        let call = ToolCall {
            id: "c".into(),
            name: "f".into(),
            arguments: "{}".into(),
            kind: ToolKind::Function,
            signature: Some(signature.clone()),
        };
        let answer = Response {
            id: "r".into(),
            model: "m".into(),
            created: Some(1),
            choices: vec![Choice {
                parts: vec![
                    Part::new(Content::Reasoning {
                        text: "hm".into(),
                        signature: Some(signature),
                        redacted: false,
                    }),
                    Part::text("hello"),
                    Part::new(Content::ToolCall(call)),
                ],
                finish: Some(FinishReason::ToolCalls),
                native_finish: Some("STOP".into()),
                ..Choice::default()
            }],
            usage: Some(Usage { input: 3, output: 4, ..Usage::default() }),
            service_tier: Some("flex".into()),
            extras: Extras::default(),
        };
        let (mut laws, mut fold) = (Laws::new(), Fold::new());
        for event in answer.clone().into_events() {
            laws.check(&event).unwrap();
            fold.push(event);
        }
        assert!(fold.ended());
        assert_eq!(fold.finish().unwrap(), answer);
    }
}

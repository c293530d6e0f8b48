//! What the fake says: a deterministic stand-in for a model, without any dialect.
//!
//! It answers the last user text, calls tools that are forced or mentioned, uses tool results, fills schemas and
//! obeys stops and limits. `say: …` makes it repeat a text exactly.

use serde_json::{Value, json};

use crate::schema;
use crate::script::Script;
use crate::tokens;

/// A conversation, as far as the fake understands it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prompt {
    /// The instructions.
    pub system: String,
    /// The text of the last user turn.
    pub user: String,
    /// Media in the conversation, by media type.
    pub media: Vec<String>,
    pub tools: Vec<Tool>,
    pub choice: Choice,
    /// At most one tool call.
    pub one_call: bool,
    /// Tool results that end the conversation.
    pub results: Vec<ToolResult>,
    pub format: Format,
    /// The caller asked to see reasoning.
    pub reasoning: bool,
    pub max_tokens: Option<usize>,
    /// Answers wanted; 0 means one.
    pub choices: usize,
    pub stops: Vec<String>,
    /// Everything the caller sent that counts as input.
    pub input: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub name: String,
    pub schema: Value,
}

#[derive(Debug, Clone)]
pub(crate) struct ToolResult {
    pub name: String,
    pub text: String,
}

/// Which tools must be called.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Choice {
    #[default]
    Auto,
    None,
    Any,
    Named(String),
}

/// What the text must be.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
    Schema(Value),
}

/// What the fake says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub reasoning: Option<String>,
    pub text: String,
    pub calls: Vec<ToolCall>,
    pub image: bool,
    pub finish: Finish,
    pub usage: Usage,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ToolCall {
    pub name: String,
    pub arguments: Value,
}

/// Why the answer ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Finish {
    #[default]
    Stop,
    /// At this stop sequence, which is not part of the text.
    Sequence(String),
    Length,
    Tools,
    Refusal,
}

/// Token counts; `cached` is part of `input`, `reasoning` of `output`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    pub input: usize,
    pub cached: usize,
    pub output: usize,
    pub reasoning: usize,
}

/// A picture of one pixel.
pub(crate) const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// Longest answer in tokens, over all choices: whoever may call the demo must not be able to exhaust its memory.
const LONGEST: usize = 100_000;

/// Answers `prompt`.
pub(crate) fn answer(prompt: &Prompt, script: &Script) -> Answer {
    let mut answer = Answer { image: script.image, ..Answer::default() };
    if prompt.reasoning || script.reasoning {
        answer.reasoning =
            Some(format!("The user wrote {} characters. I answer in kind.", prompt.user.chars().count()));
    }
    if script.refusal {
        answer.finish = Finish::Refusal;
        answer.text = "I can't help with that.".to_owned();
    } else {
        answer.calls = calls(prompt, script);
        if answer.calls.is_empty() {
            (answer.text, answer.finish) = bounded(text(prompt, script), prompt);
        } else {
            answer.finish = Finish::Tools;
        }
    }
    answer.usage = usage(prompt, &answer, script);
    answer
}

/// Input tokens of a conversation.
pub(crate) fn input_tokens(prompt: &Prompt) -> usize {
    tokens::count(&prompt.input) + 3 + prompt.media.len() * 85
}

fn usage(prompt: &Prompt, answer: &Answer, script: &Script) -> Usage {
    let reasoning = answer.reasoning.as_deref().map_or(0, tokens::count);
    let spoken: usize = answer
        .calls
        .iter()
        .map(|call| tokens::count(&call.name) + tokens::count(&call.arguments.to_string()))
        .sum();
    let input = input_tokens(prompt) + script.cached;
    Usage {
        input,
        cached: script.cached,
        output: tokens::count(&answer.text) + spoken + reasoning,
        reasoning,
    }
}

fn calls(prompt: &Prompt, script: &Script) -> Vec<ToolCall> {
    if prompt.choice == Choice::None || prompt.tools.is_empty() {
        return Vec::new();
    }
    let asked = prompt.user.to_lowercase();
    let all = script.parallel_tools || asked.contains("use tools") || asked.contains("use the tools");
    let mentioned = |tool: &&Tool| all || asked.contains(&tool.name.to_lowercase());
    let mut chosen: Vec<&Tool> = match &prompt.choice {
        Choice::Named(name) => prompt.tools.iter().filter(|tool| &tool.name == name).collect(),
        Choice::Auto | Choice::Any | Choice::None if !prompt.results.is_empty() => Vec::new(),
        Choice::Auto | Choice::Any | Choice::None => prompt.tools.iter().filter(mentioned).collect(),
    };
    if chosen.is_empty() && prompt.choice == Choice::Any {
        chosen.extend(prompt.tools.first());
    }
    if prompt.one_call {
        chosen.truncate(1);
    }
    let call = |tool: &Tool| ToolCall { name: tool.name.clone(), arguments: arguments(tool, &prompt.user) };
    chosen.into_iter().map(call).collect()
}

fn arguments(tool: &Tool, hints: &str) -> Value {
    let made = schema::sample(&tool.schema, hints);
    if made.is_object() { made } else { json!({}) }
}

fn text(prompt: &Prompt, script: &Script) -> String {
    if let Some(n) = script.tokens {
        return tokens::words(n.min(LONGEST));
    }
    match &prompt.format {
        Format::Schema(schema) => return schema::sample(schema, &prompt.user).to_string(),
        Format::Json => return json!({"answer": prompt.user}).to_string(),
        Format::Text => {}
    }
    if !prompt.results.is_empty() {
        let told: Vec<_> = prompt
            .results
            .iter()
            .map(|result| format!("The tool {} says: {}", result.name, result.text))
            .collect();
        return told.join("\n");
    }
    let head = prompt.user.get(..4).unwrap_or_default();
    if head.eq_ignore_ascii_case("say:") {
        return prompt.user.get(4..).unwrap_or_default().trim_start().to_owned();
    }
    let mut text = format!("You said: \"{}\".", prompt.user);
    if !prompt.system.is_empty() {
        text.push_str(&format!(" My instructions are: \"{}\".", prompt.system));
    }
    if !prompt.media.is_empty() {
        text.push_str(&format!(" You showed me {}.", prompt.media.join(", ")));
    }
    text.push_str(" How can I help you further?");
    text
}

/// Cuts `text` at the first stop sequence and at the limit, whichever comes first.
fn bounded(text: String, prompt: &Prompt) -> (String, Finish) {
    let stops = prompt.stops.iter().filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop)));
    let stop = stops.min_by_key(|(at, _)| *at);
    let kept = stop.and_then(|(at, _)| text.get(..at)).unwrap_or(&text);
    let longest = LONGEST / prompt.choices.max(1);
    let limited = tokens::first(kept, prompt.max_tokens.unwrap_or(longest).min(longest));
    let finish = match stop {
        _ if limited.len() < kept.len() => Finish::Length,
        Some((_, sequence)) => Finish::Sequence(sequence.clone()),
        None => Finish::Stop,
    };
    (limited.to_owned(), finish)
}

/// A text in the pieces in which it is streamed: words with their trailing space.
pub(crate) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', '\n'])
}

/// Tool arguments in the pieces in which they are streamed: ten characters each.
pub(crate) fn argument_pieces(arguments: &str) -> Vec<String> {
    let characters: Vec<char> = arguments.chars().collect();
    characters.chunks(10).map(|piece| piece.iter().collect()).collect()
}

/// A unit vector of `dimensions` numbers that depends on `text` only.
pub(crate) fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut state = crate::json::hash(text.as_bytes()) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u16::try_from(state >> 48).map_or(0.0, |bits| f32::from(bits) / 32768.0 - 1.0)
    };
    let vector: Vec<f32> = (0..dimensions).map(|_| next()).collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.into_iter().map(|x| x / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(user: &str) -> Prompt {
        Prompt { user: user.to_owned(), input: user.to_owned(), ..Prompt::default() }
    }

    fn tools() -> Vec<Tool> {
        let schema = json!({"type":"object","properties":{"city":{"type":"string"}}});
        ["weather", "time"].map(|name| Tool { name: name.to_owned(), schema: schema.clone() }).to_vec()
    }

    #[track_caller]
    fn check(prompt: Prompt, text: &str, calls: &[&str], finish: Finish) {
        let answer = answer(&prompt, &Script::default());
        let called: Vec<_> = answer.calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!((answer.text.as_str(), called.as_slice(), answer.finish), (text, calls, finish));
    }

    #[test]
    fn it_answers_repeats_stops_and_is_cut() {
        check(ask("hi"), "You said: \"hi\". How can I help you further?", &[], Finish::Stop);
        check(ask("say: one two"), "one two", &[], Finish::Stop);
        let stopped = Prompt { stops: vec!["x".into(), "two".into()], ..ask("say: one two three") };
        check(stopped, "one ", &[], Finish::Sequence("two".into()));
        let cut = Prompt { max_tokens: Some(1), ..ask("say: one two three") };
        check(cut, "one ", &[], Finish::Length);
    }

    #[test]
    fn tools_are_called_when_forced_or_mentioned() {
        let with = |user: &str, choice| Prompt { tools: tools(), choice, ..ask(user) };
        check(
            with("what is the weather and the time?", Choice::Auto),
            "",
            &["weather", "time"],
            Finish::Tools,
        );
        check(with("use tools", Choice::Auto), "", &["weather", "time"], Finish::Tools);
        check(with("hi", Choice::Any), "", &["weather"], Finish::Tools);
        check(with("hi", Choice::Named("time".into())), "", &["time"], Finish::Tools);
        check(with("say: weather", Choice::None), "weather", &[], Finish::Stop);
        let one = Prompt { one_call: true, ..with("use tools", Choice::Auto) };
        check(one, "", &["weather"], Finish::Tools);
        let told = Prompt {
            results: vec![ToolResult { name: "weather".into(), text: "3C".into() }],
            ..with("weather?", Choice::Auto)
        };
        check(told, "The tool weather says: 3C", &[], Finish::Stop);
    }

    #[test]
    fn vectors_have_length_one_and_depend_on_the_text() {
        let vector = embed("hello", 64);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
        assert_eq!(vector, embed("hello", 64));
        assert_ne!(vector, embed("hallo", 64));
    }
}

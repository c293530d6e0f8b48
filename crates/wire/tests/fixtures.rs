//! Runs every case of `fixtures/`: the caller's request, what we must send, what the provider answers in which
//! pieces, and what the client must get. `UPDATE_FIXTURES=1 cargo test -p tollway-wire --test fixtures` writes the
//! expected files anew.
//!
//! `case.json` says between which dialects a case runs, with which capabilities and quirks; optional beside the
//! fields of [`Case`]: `answer_headers`. A binary stream stands in `answer.events.json`, a list of messages as
//! `[event type, payload]`, or `["exception:TYPE", payload]`. A case without `upstream.json` expects the request to be refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tollway_model::{
    Capabilities, Dialect, Effort, Error, Event, Kind, Laws, Notices, Request, Severity, Support,
};
use tollway_wire::openai_chat::Quirks;
use tollway_wire::{Codec, Framing, Restore, Target, View, codec, eventstream, sse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the case shows.
    #[expect(dead_code, reason = "for readers of the file")]
    title: String,
    /// Where the bytes come from.
    #[expect(dead_code, reason = "for readers of the file")]
    source: String,
    surface: Dialect,
    target: Dialect,
    /// The model as the provider names it.
    model: String,
    stream: bool,
    #[serde(default)]
    drop_params: bool,
    #[serde(default)]
    capabilities: BTreeMap<String, Value>,
    #[serde(default)]
    quirks: Quirks,
    answer_status: Option<u16>,
    #[serde(default)]
    answer_headers: BTreeMap<String, String>,
    expected_status: Option<u16>,
}

#[test]
fn every_fixture_translates_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let cases = find_cases(&root);
    assert!(cases.len() >= 14, "only {} cases in {}", cases.len(), root.display());
    let mut failures = Vec::new();
    for folder in &cases {
        if let Err(failure) = run(folder) {
            failures.push(format!("{}: {failure}", folder.strip_prefix(&root).unwrap().display()));
        }
    }
    assert!(failures.is_empty(), "{} of {} failed\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

fn find_cases(folder: &Path) -> Vec<PathBuf> {
    if folder.join("case.json").exists() {
        return vec![folder.to_owned()];
    }
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut inner: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    inner.sort();
    inner.iter().flat_map(|folder| find_cases(folder)).collect()
}

fn run(folder: &Path) -> Result<(), String> {
    let case: Case =
        serde_json::from_value(json(folder, "case.json")?).map_err(|e| format!("case.json: {e}"))?;
    let (surface, target) = (codec(case.surface), codec(case.target));
    let body = fs::read(folder.join("request.json")).map_err(|e| format!("request.json: {e}"))?;
    let mut notices = Notices::new();
    let (request, restore) = match translate(&case, &body, &mut notices) {
        Ok((request, encoded)) => {
            let sent = serde_json::from_slice(&encoded.body).map_err(|e| format!("not JSON is sent: {e}"))?;
            expect_json(folder, "upstream.json", sent)?;
            (request, encoded.restore)
        }
        Err(error) => return expect_error(folder, &case, surface, &error),
    };
    if folder.join("notices.json").exists() {
        expect_json(folder, "notices.json", notices_json(&notices))?;
    }
    let view = View {
        model: &request.model,
        id: "call_fixture",
        created: 1_700_000_000,
        include_usage: request.include_usage.unwrap_or_default(),
        legacy_functions: asks_with_functions(&body),
        framing: Framing::Sse,
    };
    if let Some(status) = case.answer_status {
        let answer = fs::read(folder.join("answer.json")).map_err(|e| format!("answer.json: {e}"))?;
        let mut headers = http::HeaderMap::new();
        for (name, value) in &case.answer_headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
            headers.insert(name, value.parse().map_err(|_| format!("header {value}"))?);
        }
        return expect_error(folder, &case, surface, &target.decode_error(status, &headers, &answer));
    }
    if case.stream {
        return stream(folder, surface, target, &restore, &view, &answer_chunks(folder)?);
    }
    if !folder.join("answer.json").exists() {
        return Ok(());
    }
    let answer = fs::read(folder.join("answer.json")).map_err(|e| format!("answer.json: {e}"))?;
    match target.decode_response(&answer, &restore) {
        Ok(response) => {
            check_laws(&response.clone().into_events())?;
            let shown = surface.encode_response(&response, &view, &mut Notices::new());
            let shown = serde_json::from_slice(&shown).map_err(|e| format!("not JSON is shown: {e}"))?;
            expect_json(folder, "expected.json", shown)
        }
        Err(error) => expect_error(folder, &case, surface, &error),
    }
}

fn asks_with_functions(body: &[u8]) -> bool {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    request.get("functions").is_some() && request.get("tools").is_none()
}

fn translate(
    case: &Case,
    body: &[u8],
    notices: &mut Notices,
) -> Result<(Request, tollway_wire::Encoded), Error> {
    let mut request = codec(case.surface).decode_request(body)?;
    if case.surface == Dialect::Gemini {
        // Gemini says both in the URL.
        request.model = "client-model".to_owned();
        request.stream = case.stream;
    }
    let capabilities = capabilities(&case.capabilities)
        .map_err(|name| Error::internal(format!("case.json: there is no capability `{name}`")))?;
    let target = Target { model: &case.model, capabilities: &capabilities, quirks: &case.quirks };
    let encoded = codec(case.target).encode_request(&request, &target, notices)?;
    if let Some(notice) = notices.first_dropped().filter(|_| !case.drop_params) {
        let error = Error::new(Kind::Unsupported, format!("{}: {}", notice.field, notice.message));
        return Err(error.with_param(notice.field.to_string()));
    }
    Ok((request, encoded))
}

/// The provider's stream in its pieces.
fn answer_chunks(folder: &Path) -> Result<Vec<Vec<u8>>, String> {
    if !folder.join("answer.events.json").exists() {
        let chunks: Vec<String> = serde_json::from_value(json(folder, "answer.chunks")?)
            .map_err(|e| format!("answer.chunks: {e}"))?;
        return Ok(chunks.into_iter().map(String::into_bytes).collect());
    }
    let messages: Vec<(String, Value)> = serde_json::from_value(json(folder, "answer.events.json")?)
        .map_err(|e| format!("answer.events.json: {e}"))?;
    let message = |(kind, payload): &(String, Value)| {
        let exception = kind.strip_prefix("exception:");
        let name = if exception.is_some() { ":exception-type" } else { ":event-type" };
        let sort = if exception.is_some() { "exception" } else { "event" };
        let headers = [
            (name, exception.unwrap_or(kind)),
            (":content-type", "application/json"),
            (":message-type", sort),
        ];
        let mut bytes = Vec::new();
        let headers = headers.map(|(name, value)| (name, eventstream::Value::Text(value)));
        eventstream::write(&headers, payload.to_string().as_bytes(), &mut bytes);
        bytes
    };
    Ok(messages.iter().map(message).collect())
}

fn stream(
    folder: &Path,
    surface: &dyn Codec,
    target: &dyn Codec,
    restore: &Restore,
    view: &View<'_>,
    chunks: &[Vec<u8>],
) -> Result<(), String> {
    let whole = chunks.concat();
    let recorded: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let bytewise: Vec<&[u8]> = whole.chunks(1).collect();
    let events = decode(target, restore, &recorded)?;
    for other in [decode(target, restore, &[&whole])?, decode(target, restore, &bytewise)?] {
        if format!("{other:?}") != format!("{events:?}") {
            return Err(format!("another chunking gives other events:\n{events:#?}\n{other:#?}"));
        }
    }
    let mut encoder = surface.encoder(view);
    let mut shown = Vec::new();
    events.iter().for_each(|event| encoder.push(event, &mut shown));
    let path = folder.join("expected.sse");
    if updating() {
        fs::write(&path, &shown).map_err(|e| e.to_string())?;
    }
    let expected = fs::read(&path).map_err(|e| format!("expected.sse: {e}"))?;
    let (shown_frames, expected_frames) = (frames(&shown)?, frames(&expected)?);
    if shown_frames != expected_frames {
        return Err(format!("expected.sse differs, the client gets\n{}", String::from_utf8_lossy(&shown)));
    }
    Ok(())
}

fn decode(target: &dyn Codec, restore: &Restore, chunks: &[&[u8]]) -> Result<Vec<Event>, String> {
    let mut decoder = target.decoder(restore.clone());
    let mut events = Vec::new();
    chunks.iter().for_each(|chunk| decoder.push(chunk, &mut events));
    decoder.finish(&mut events);
    check_laws(&events)?;
    match events.last() {
        Some(Event::End | Event::Error(_)) => Ok(events),
        _ => Err(format!("the stream has no end: {events:#?}")),
    }
}

fn check_laws(events: &[Event]) -> Result<(), String> {
    let mut laws = Laws::new();
    events.iter().try_for_each(|event| laws.check(event)).map_err(|law| format!("{law}: {events:#?}"))
}

/// Frames as event name and JSON, so that spacing and the spelling of numbers do not matter.
fn frames(bytes: &[u8]) -> Result<Vec<(String, Value)>, String> {
    let mut framer = sse::Framer::default();
    let mut frames = Vec::new();
    let mut take = |frame: sse::Frame<'_>| {
        let data = String::from_utf8_lossy(frame.data).into_owned();
        let value = serde_json::from_str(&data).map_or(Value::String(data), |value| normal(&value));
        frames.push((String::from_utf8_lossy(frame.event).into_owned(), value));
    };
    framer.push(bytes, &mut take).and_then(|()| framer.finish(&mut take)).map_err(|e| e.to_string())?;
    Ok(frames)
}

fn expect_error(folder: &Path, case: &Case, surface: &dyn Codec, error: &Error) -> Result<(), String> {
    if !folder.join("expected.json").exists() && !updating() {
        return Err(format!("{:?}: {error}", error.kind()));
    }
    if let Some(status) = case.expected_status.filter(|status| *status != error.status()) {
        return Err(format!("status {} instead of {status}: {error}", error.status()));
    }
    let body = surface.encode_error(error);
    expect_json(folder, "expected.json", serde_json::from_slice(&body).map_err(|e| e.to_string())?)
}

fn expect_json(folder: &Path, name: &str, value: Value) -> Result<(), String> {
    if updating() {
        let text = serde_json::to_string_pretty(&value).map_err(|e| e.to_string())? + "\n";
        fs::write(folder.join(name), text).map_err(|e| e.to_string())?;
    }
    let expected = json(folder, name)?;
    if normal(&expected) != normal(&value) {
        let pretty = serde_json::to_string_pretty(&value).map_err(|e| e.to_string())?;
        return Err(format!("{name} differs, we make\n{pretty}"));
    }
    Ok(())
}

/// `1` and `1.0` are the same number on the wire.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().map_or(value.clone(), Value::from),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), normal(value))).collect())
        }
        other => other.clone(),
    }
}

fn json(folder: &Path, name: &str) -> Result<Value, String> {
    let text = fs::read_to_string(folder.join(name)).map_err(|e| format!("{name}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{name}: {e}"))
}

fn updating() -> bool {
    std::env::var_os("UPDATE_FIXTURES").is_some()
}

fn notices_json(notices: &Notices) -> Value {
    let list = notices.iter().map(|notice| {
        let severity = match notice.severity {
            Severity::Dropped => "dropped",
            Severity::Changed => "changed",
        };
        serde_json::json!([severity, notice.field])
    });
    list.collect()
}

/// The error is the name that is not known.
fn capabilities(named: &BTreeMap<String, Value>) -> Result<Capabilities, String> {
    let mut all = Capabilities::default();
    for (name, value) in named {
        let support = if value.as_bool() == Some(true) { Support::Yes } else { Support::No };
        match name.as_str() {
            "max_input_tokens" => all.max_input_tokens = value.as_u64(),
            "max_output_tokens" => all.max_output_tokens = value.as_u64(),
            "thinking_always_on" => all.thinking_always_on = value.as_bool() == Some(true),
            "efforts" => {
                let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                let efforts = names.map(|name| Effort::from_name(name).ok_or_else(|| name.to_owned()));
                all.efforts = efforts.collect::<Result<_, _>>()?;
            }
            "tools" => all.tools = support,
            "forced_tool_use" => all.forced_tool_use = support,
            "parallel_tools" => all.parallel_tools = support,
            "vision" => all.vision = support,
            "pdf" => all.pdf = support,
            "audio_input" => all.audio_input = support,
            "audio_output" => all.audio_output = support,
            "json_schema" => all.json_schema = support,
            "native_structured_output" => all.native_structured_output = support,
            "prompt_caching" => all.prompt_caching = support,
            "reasoning" => all.reasoning = support,
            "adaptive_thinking" => all.adaptive_thinking = support,
            "sampling_params" => all.sampling_params = support,
            "system" => all.system = support,
            "mid_conversation_system" => all.mid_conversation_system = support,
            "prefill" => all.prefill = support,
            "web_search" => all.web_search = support,
            other => return Err(other.to_owned()),
        }
    }
    Ok(all)
}

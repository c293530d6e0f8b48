//! `tollway chat`: asks a model and prints its answer as it comes.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use tollway::Client;
use tollway::model::{Cost, Delta, Event, Message, PartKind, Request, Role, Usage};
use tollway_testkit::FakeProvider;

use crate::cli::ChatArgs;
use crate::output::{line, text_now};

/// Streams an answer to the terminal; usage and cost go to standard error.
pub(crate) fn run(arguments: ChatArgs) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(chat(arguments)).map(|()| ExitCode::SUCCESS)
}

async fn chat(arguments: ChatArgs) -> Result<(), String> {
    let prompt = prompt(arguments.prompt)?;
    let mut builder = Client::builder();
    let demo = if arguments.model.starts_with("demo/") { Some(start_demo().await?) } else { None };
    if let Some(demo) = &demo {
        builder = builder.api_base("demo", format!("{}/v1", demo.url()));
    }
    let mut messages: Vec<Message> =
        arguments.system.into_iter().map(|text| Message::text(Role::System, text)).collect();
    messages.push(Message::text(Role::User, prompt));
    let request = Request { model: arguments.model, messages, stream: true, ..Request::default() };
    let mut stream = builder.build().stream(&request).await.map_err(|error| error.to_string())?;
    let mut usage = None;
    let mut thinking = Thinking::default();
    while let Some(event) = stream.next().await {
        let event = event.map_err(|error| format!("the answer broke off: {error}"))?;
        thinking.watch(&event);
        match event {
            Event::Delta { part, delta: Delta::Text(text), .. } if !thinking.is(part) => text_now(&text),
            Event::Usage(reported) => usage = Some(reported),
            _ => {}
        }
    }
    line("");
    if std::io::stderr().is_terminal()
        && let Some(usage) = usage
    {
        eprintln!("{}", summary(&usage, stream.cost()));
    }
    Ok(())
}

/// Thinking is not part of the answer on the terminal.
#[derive(Default)]
struct Thinking(Vec<u32>);

impl Thinking {
    fn watch(&mut self, event: &Event) {
        if let Event::PartStart { part, kind: PartKind::Reasoning | PartKind::Redacted, .. } = event {
            self.0.push(*part);
        }
    }

    fn is(&self, part: u32) -> bool {
        self.0.contains(&part)
    }
}

fn summary(usage: &Usage, cost: Cost) -> String {
    let cost = cost.known().map_or("unknown".to_owned(), |money| format!("{money} USD"));
    format!("[{} tokens in, {} out, cost {cost}]", usage.total_input(), usage.total_output())
}

async fn start_demo() -> Result<FakeProvider, String> {
    let options = tollway_testkit::Options { require_key: false, lenient: true, keep: 0, bench: None };
    FakeProvider::start_with(options).await.map_err(|error| format!("the demo provider: {error}"))
}

fn prompt(given: Option<String>) -> Result<String, String> {
    match given {
        Some(text) if text != "-" => Ok(text),
        _ => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| format!("the prompt cannot be read: {error}"))?;
            if text.trim().is_empty() {
                return Err("no prompt: give one, or pipe it in".into());
            }
            // The line break that ends the last line is the shell's, not the prompt's.
            let prompt = text.strip_suffix('\n').unwrap_or(&text);
            Ok(prompt.strip_suffix('\r').unwrap_or(prompt).to_owned())
        }
    }
}

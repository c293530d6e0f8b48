//! Serves the fake providers for tests in other languages and for benchmarks.
//!
//! `fake-provider --port 9001 [--host 127.0.0.1] [--bench] [--lenient] [--no-keys]`

use std::process::ExitCode;

use tokio::net::TcpListener;
use tollway_testkit::bench::Bench;
use tollway_testkit::{Options, serve};

const HELP: &str = "usage: fake-provider [--host HOST] [--port PORT] [--bench] [--lenient] [--no-keys]

  --host HOST  address to listen on (default 127.0.0.1)
  --port PORT  port to listen on, 0 for a free one (default 0)
  --bench      fixed answers, as fast as possible; nothing is checked or recorded
  --lenient    accept Anthropic turns that do not alternate
  --no-keys    accept calls without a key

Prints the address it listens on. GET /__received, POST /__reset and GET /__health steer it.";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let mut options = Options::default();
    let (mut host, mut port) = ("127.0.0.1".to_owned(), "0".to_owned());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--host" => host = value()?,
            "--port" => port = value()?,
            "--bench" => {
                options.bench = Some(Bench::new());
                options.keep = 0;
            }
            "--lenient" => options.lenient = true,
            "--no-keys" => options.require_key = false,
            _ => return Err(HELP.to_owned()),
        }
    }
    let address = format!("{host}:{port}");
    let listener =
        TcpListener::bind(&address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    announce(&format!("http://{bound}"));
    serve(listener, options).await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the address is this program's answer")]
fn announce(url: &str) {
    println!("{url}");
}

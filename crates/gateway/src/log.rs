//! The process log: readable on a terminal, one JSON object a line elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Readable on a terminal, JSON elsewhere.
    Auto,
    /// Readable.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `level` is a level or a `tracing` filter; a wrong one counts as `info`.
pub(crate) fn start(level: &str, format: Format) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let json = format == Format::Json || (format == Format::Auto && !terminal);
    let registry = tracing_subscriber::registry().with(filter);
    // A second start (tests) keeps the first log.
    let _ = if json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    } else {
        registry
            .with(fmt::layer().with_ansi(terminal).with_target(false).with_writer(std::io::stderr))
            .try_init()
    };
}

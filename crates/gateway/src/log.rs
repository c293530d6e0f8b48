//! The process log: readable on a terminal, one JSON object a line elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
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

/// Starts logging to standard error. `level` is a level, or levels of targets (`info,tollway::ledger=debug`); a wrong one
/// counts as `info`, and is the first thing that is logged.
pub(crate) fn start(level: &str, format: Format) {
    let wanted = filter(level);
    let wrong = wanted.is_none();
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
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
    if wrong {
        tracing::warn!(
            level,
            "no such log level; it counts as info (levels are error, warn, info, debug, trace and off; `info,tollway::ledger=debug` gives one part another)"
        );
    }
}

/// Without `EnvFilter`: its regular expressions are a megabyte of program that every start would run through.
fn filter(level: &str) -> Option<Targets> {
    // Python's names for them, which LITELLM_LOG may hold.
    let level = match level.trim().to_ascii_lowercase().as_str() {
        "warning" => "warn",
        "critical" => "error",
        "" => "info",
        _ => level,
    };
    // A bare word that is no level would be taken for a target, of which everything is logged, and nothing else.
    let known = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    level.split(',').all(known).then(|| level.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_given_for_everything_and_for_parts() {
        let check = |level: &str, expected: Option<[bool; 2]>| {
            let enabled = filter(level).map(|filter| {
                ["tollway::ledger", "hyper"].map(|part| filter.would_enable(part, &tracing::Level::DEBUG))
            });
            assert_eq!(enabled, expected, "{level}");
        };
        check("debug", Some([true, true]));
        check("DEBUG", Some([true, true]));
        check("info", Some([false, false]));
        check("info,tollway::ledger=debug", Some([true, false]));
        check("tollway=debug,info", Some([true, false]));
        check("hyper=trace", Some([false, true]));
        check("WARNING", Some([false, false]));
        check("off", Some([false, false]));
        check("verbose", None);
        check("tollway=loud", None);
        check("", Some([false, false]));
    }
}

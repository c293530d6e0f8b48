//! Reference pages made from the code, so that they cannot disagree with it.

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::output::text_now;

/// A reference page.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Page {
    /// JSON Schema of the configuration file
    ConfigSchema,
    /// Every setting
    Config,
    /// The HTTP API
    Openapi,
    /// Every provider
    Providers,
    /// Every command and flag
    Cli,
}

/// Prints a page.
pub(crate) fn run(page: Page) -> Result<ExitCode, String> {
    let pretty = |value: &serde_json::Value| {
        serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(|error| error.to_string())
    };
    let text = match page {
        Page::ConfigSchema => pretty(&tollway_config::json_schema())?,
        Page::Config => tollway_config::reference_markdown(),
        Page::Openapi => pretty(&tollway_server::openapi_document())?,
        Page::Providers => tollway_providers::reference_markdown(),
        Page::Cli => cli_page(),
    };
    text_now(&text);
    Ok(ExitCode::SUCCESS)
}

fn cli_page() -> String {
    let mut page = String::from("# Command line\n\nMade from the code by `cargo xtask generate`.\n");
    let mut command = Cli::command().term_width(100);
    command.build();
    describe(&command, &mut page);
    page
}

fn describe(command: &clap::Command, page: &mut String) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.clone().render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        describe(sub, page);
    }
}

//! `tollway check`.

use std::process::ExitCode;

use tollway_config::{Options, Severity, Source, load, process_env};

use crate::cli::CheckArgs;
use crate::output::line;

/// Checks a file. Exit code 1 when the gateway would not start with it.
pub(crate) fn run(arguments: &CheckArgs) -> ExitCode {
    let options = Options { lenient: arguments.lenient, public: arguments.public };
    let loaded = load(Source::File(arguments.file.clone()), &process_env, options);
    let report = loaded.report();
    if !report.is_empty() {
        eprintln!("{report}");
    }
    let count = |severity| loaded.diagnostics.iter().filter(|found| found.severity == severity).count();
    let (errors, dangers, warnings) =
        (count(Severity::Error), count(Severity::Danger), count(Severity::Warning));
    let Some(config) = loaded.config else {
        line(&format!(
            "{}: {errors} errors, {dangers} dangers, {warnings} warnings",
            arguments.file.display()
        ));
        return ExitCode::FAILURE;
    };
    line(&format!(
        "{}: fine. {} deployments, {dangers} dangers, {warnings} warnings",
        arguments.file.display(),
        config.model_list.len(),
    ));
    let environment = std::sync::Arc::new(crate::state::overlay(&config));
    let snapshot = crate::state::offline_snapshot(&config, environment);
    for deployment in snapshot.routes.deployments() {
        if let tollway_route::Availability::Unavailable(reason) = &deployment.availability {
            line(&format!("  {} ({}) cannot be called: {reason}", deployment.group, deployment.model));
        }
    }
    ExitCode::SUCCESS
}

//! `tollway catalog`: the models table.

use std::path::Path;
use std::process::ExitCode;

use tollway_prices::{Diff, import};

use crate::cli::CatalogCommand;
use crate::output::line;
use crate::{data_dir, state};

/// Does what the command says.
pub(crate) fn run(command: &CatalogCommand) -> Result<ExitCode, String> {
    match command {
        CatalogCommand::Import { file, dry_run, data_dir } => bring_in(file, *dry_run, data_dir.as_deref()),
        CatalogCommand::Show { model, data_dir } => show(model, data_dir.as_deref()),
        CatalogCommand::Reset { data_dir } => reset(data_dir.as_deref()),
    }
}

fn bring_in(file: &Path, dry_run: bool, directory: Option<&Path>) -> Result<ExitCode, String> {
    let text = std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let new =
        import::litellm(&text).map_err(|error| format!("{} was not imported: {error}", file.display()))?;
    let directory = data_dir::locate(directory);
    let old = state::catalog(&directory);
    let diff = Diff::between(&old, &new);
    if diff.is_empty() {
        line("nothing changes");
        return Ok(ExitCode::SUCCESS);
    }
    if dry_run {
        line(diff.to_string().trim_end());
        line("nothing was written (--dry-run)");
        return Ok(ExitCode::SUCCESS);
    }
    // Before the diff is shown: whoever reads only its first lines (`| head`) wants the table all the same.
    let path = state::catalog_file(&directory);
    let write = data_dir::make(&directory).and_then(|()| data_dir::write_private(&path, new.to_jsonl()));
    write.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    line(diff.to_string().trim_end());
    line(&format!(
        "{} models are in {}; a running gateway reads them at its next start or reload",
        new.len(),
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn show(model: &str, directory: Option<&Path>) -> Result<ExitCode, String> {
    let catalog = state::catalog(&data_dir::locate(directory));
    let entry = match model.split_once('/') {
        Some((provider, name)) => catalog.find(provider, name),
        None => catalog.infer_provider(model).and_then(|provider| catalog.find(provider, model)),
    };
    let entry = entry.or_else(|| catalog.get(model)).ok_or_else(|| format!("nothing is known of {model}"))?;
    if let Some(derived) = &entry.derived {
        line(&format!("{model} is not in the table; this is derived from its name: {derived:?}"));
    }
    line(&crate::models::as_json(&entry));
    Ok(ExitCode::SUCCESS)
}

fn reset(directory: Option<&Path>) -> Result<ExitCode, String> {
    let path = state::catalog_file(&data_dir::locate(directory));
    match std::fs::remove_file(&path) {
        Ok(()) => line("the built-in table counts again"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => line("no table was imported"),
        Err(error) => return Err(format!("cannot remove {}: {error}", path.display())),
    }
    Ok(ExitCode::SUCCESS)
}

//! `tollway models`: what the models table knows.

use std::process::ExitCode;

use serde_json::json;
use tollway_prices::{Catalog, Entry, Rate};

use crate::cli::ModelsArgs;
use crate::output::line;

/// Lists models.
pub(crate) fn run(arguments: &ModelsArgs) -> Result<ExitCode, String> {
    let catalog = Catalog::builtin();
    let mut found = 0_usize;
    if !arguments.json {
        line(&format!(
            "{:<56} {:<16} {:>9} {:>8} {:>12} {:>12}",
            "model", "mode", "in", "out", "$/M in", "$/M out"
        ));
    }
    for entry in catalog.entries() {
        let fits = arguments.filter.as_ref().is_none_or(|filter| entry.id.contains(filter.as_str()));
        if !fits || arguments.provider.as_ref().is_some_and(|provider| entry.provider() != provider) {
            continue;
        }
        found += 1;
        line(&if arguments.json { as_json(&entry) } else { as_row(&entry) });
    }
    if found == 0 {
        return Err(
            "no such model in the table; a model that is not there can be called all the same".to_owned()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Dollars per million tokens.
fn price(entry: &Entry, rate: Rate) -> Option<String> {
    let picos = entry.prices.base.token(rate)?.picos();
    Some(tollway_model::Money::from_picos_rounded(i128::from(picos) * 1_000_000).to_string())
}

fn as_row(entry: &Entry) -> String {
    let number = |count: Option<u64>| count.map_or(String::new(), |count| count.to_string());
    format!(
        "{:<56} {:<16} {:>9} {:>8} {:>12} {:>12}",
        entry.id,
        entry.mode.as_deref().unwrap_or(""),
        number(entry.limits.input),
        number(entry.limits.output),
        price(entry, Rate::In).unwrap_or_default(),
        price(entry, Rate::Out).unwrap_or_default(),
    )
}

pub(crate) fn as_json(entry: &Entry) -> String {
    json!({
        "id": entry.id,
        "provider": entry.provider(),
        "mode": entry.mode,
        "max_input_tokens": entry.limits.input,
        "max_output_tokens": entry.limits.output,
        "usd_per_million_input": price(entry, Rate::In),
        "usd_per_million_output": price(entry, Rate::Out),
        "deprecated": entry.deprecated,
    })
    .to_string()
}

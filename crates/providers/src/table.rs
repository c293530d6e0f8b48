//! All providers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::provider::{ModelRules, Provider};

/// The rows we carry.
const CARRIED: &str = include_str!("../../../data/providers.toml");
/// The rows we only know.
const KNOWN: &str = include_str!("../../../data/providers_known.toml");

/// All providers, by id, and their other names.
#[derive(Debug, Default)]
pub struct Table {
    providers: BTreeMap<String, Arc<Provider>>,
    aliases: BTreeMap<String, String>,
}

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the providers table: {0}")]
pub struct TableError(String);

/// A model name that names no provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownProvider {
    /// The model name.
    pub model: String,
    /// The id closest to the part before the first slash.
    pub nearest: Option<String>,
}

impl std::fmt::Display for UnknownProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let model = &self.model;
        match (model.split_once('/'), &self.nearest) {
            (Some((prefix, "")), Some(nearest)) if prefix == nearest => {
                write!(f, "`{model}` names no model; write `{model}MODEL`")
            }
            (None, _) if model.is_empty() => write!(f, "no model is named; write `provider/model`"),
            (Some((prefix, _)), Some(nearest)) => {
                write!(f, "`{prefix}` of model `{model}` is not a provider; did you mean `{nearest}`?")
            }
            (Some((prefix, _)), None) => write!(f, "`{prefix}` of model `{model}` is not a provider"),
            (None, _) => write!(f, "model `{model}` names no provider; write `provider/{model}`"),
        }
    }
}

impl std::error::Error for UnknownProvider {}

impl Table {
    /// The table that comes with the program; read on first use, then shared.
    pub fn builtin() -> &'static Table {
        static BUILTIN: LazyLock<Table> = LazyLock::new(|| {
            #[expect(
                clippy::expect_used,
                reason = "the text is fixed when the program is built, and tests read it"
            )]
            Table::parse(&[CARRIED, KNOWN]).expect("the built-in providers table is valid")
        });
        &BUILTIN
    }

    /// Reads tables in TOML: one table per provider, see `data/providers.toml`.
    ///
    /// Fails on unknown fields, unknown quirks, an id given twice, and an alias of nothing.
    pub fn parse(texts: &[&str]) -> Result<Table, TableError> {
        let mut table = Table::default();
        // One row at a time: a table read at once takes half a megabyte that a start then keeps for nothing.
        for text in texts.iter().flat_map(|text| rows(text)) {
            let rows: BTreeMap<String, Provider> =
                toml::from_str(text).map_err(|error| TableError(error.to_string()))?;
            for (id, mut row) in rows {
                if table.providers.contains_key(&id) || table.aliases.contains_key(&id) {
                    return Err(TableError(format!("`{id}` is there twice")));
                }
                if let Some(target) = row.alias_of.take() {
                    table.aliases.insert(id, target);
                    continue;
                }
                check(&id, &row)?;
                row.id.clone_from(&id);
                table.providers.insert(id, Arc::new(row));
            }
        }
        match table.aliases.iter().find(|(_, target)| !table.providers.contains_key(*target)) {
            Some((id, target)) => Err(TableError(format!("`{id}` is an alias of the unknown `{target}`"))),
            None => Ok(table),
        }
    }

    /// The provider called `id`, which may be another name of it.
    pub fn get(&self, id: &str) -> Option<&Arc<Provider>> {
        self.providers.get(self.alias_of(id).unwrap_or(id))
    }

    /// The id that `id` is another name of.
    pub fn alias_of(&self, id: &str) -> Option<&str> {
        self.aliases.get(id).map(String::as_str)
    }

    /// Other names and the ids they stand for, by name.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases.iter().map(|(alias, id)| (alias.as_str(), id.as_str()))
    }

    /// All providers, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.providers.values()
    }

    /// The providers that calls can be sent to, by id.
    ///
    /// The behaviour suite walks these; run the same walk against a fake server to test a transport.
    pub fn carried(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.iter().filter(|provider| provider.carried())
    }

    /// Splits `groq/llama-3.3-70b` into the provider and its own name of the model.
    ///
    /// The longest prefix that is an id wins, so ids may hold slashes. The rest may hold slashes too.
    pub fn split_model<'a>(&self, model: &'a str) -> Result<(&Arc<Provider>, &'a str), UnknownProvider> {
        for (at, _) in model.rmatch_indices('/') {
            let (prefix, rest) =
                (model.get(..at).unwrap_or_default(), model.get(at + 1..).unwrap_or_default());
            if let Some(provider) = self.get(prefix).filter(|_| !rest.is_empty()) {
                return Ok((provider, rest));
            }
        }
        let nearest = model.split_once('/').and_then(|(prefix, _)| self.nearest(prefix));
        Err(UnknownProvider { model: model.to_owned(), nearest: nearest.map(str::to_owned) })
    }

    /// The provider whose models are called like `model`, which names none: `gpt-5` → `openai`.
    pub fn infer(&self, model: &str) -> Option<&Arc<Provider>> {
        self.iter().find(|provider| crate::pattern::any(&provider.bare_models, model))
    }

    /// The id that `name` may be a slip of.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let name = plain(name);
        let ids = self.providers.keys().chain(self.aliases.keys());
        let best = ids.map(|id| (distance(&plain(id), &name), id)).min()?;
        (best.0 <= name.chars().count() / 3).then_some(best.1)
    }

    /// The carried providers whose key is in the environment and whose address is known, by id.
    ///
    /// A variable that several providers read counts for those that read it first, so that one key does not bring
    /// every provider that would also accept its name.
    pub fn environment(&self, env: &dyn Fn(&str) -> Option<String>) -> Vec<&Arc<Provider>> {
        let rank = |provider: &Provider, name: &str| provider.key_env.iter().position(|other| other == name);
        let best = |name: &str| self.iter().filter_map(|provider| rank(provider, name)).min();
        let present = |name: &str| env(name).is_some_and(|value| !value.trim().is_empty());
        let has_key = |provider: &Provider| {
            let mut names = provider.key_env.iter().enumerate();
            names.any(|(number, name)| best(name) == Some(number) && present(name))
        };
        let has_base = |provider: &Provider| {
            let from_env = |name: &String| present(name.split('/').next().unwrap_or_default());
            let complete = provider.variables.values().all(|names| names.iter().any(|name| present(name)));
            provider.base_url_env.iter().any(from_env) || (provider.base_url.is_some() && complete)
        };
        self.carried().filter(|provider| has_key(provider) && has_base(provider)).collect()
    }
}

fn check(id: &str, row: &Provider) -> Result<(), TableError> {
    let fault = |what: String| Err(TableError(format!("`{id}`: {what}")));
    if row.title.is_empty() {
        return fault("`title` is missing".to_owned());
    }
    if row.carried() != row.protocol.is_empty() {
        return fault("give `dialect` for a provider we carry, `protocol` for one we do not".to_owned());
    }
    if row.carried() && (row.source.is_empty() || row.checked.is_empty()) {
        return fault("`source` and `checked` are missing".to_owned());
    }
    if let Err(error) = crate::provider::quirks(row.quirk_names.iter().map(String::as_str)) {
        return fault(format!("`quirks`: {error}"));
    }
    for ModelRules { patterns, quirk_names, .. } in &row.models {
        if patterns.is_empty() {
            return fault("`match` of `models` is missing".to_owned());
        }
        if let Err(error) = crate::provider::quirks(quirk_names.iter().map(String::as_str)) {
            return fault(format!("`quirks` of `models`: {error}"));
        }
    }
    Ok(())
}

/// Ids differ by dashes, underscores and capitals more often than by letters.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

/// Letters to add, remove or change to get from one text to the other.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (number, letter) in one.chars().enumerate() {
        let mut diagonal = number;
        let mut left = number + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, other) in row.iter_mut().skip(1).zip(&two) {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = *cell;
            *cell = changed.min(left + 1).min(*cell + 1);
            left = *cell;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// The rows of a table in TOML, each with what comes before the next row's `[id]`.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices('[').filter_map(|(at, _)| {
        let line = text.get(at..)?.lines().next()?;
        let id = line.strip_prefix('[')?.strip_suffix(']')?;
        let quoted = id.starts_with(['\'', '"']);
        let begins_a_line = at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n');
        (begins_a_line && !id.starts_with('[') && (quoted || !id.contains('.'))).then_some(at)
    });
    let mut from = 0;
    starts.chain([text.len()]).filter_map(move |at| {
        let row = text.get(from..at);
        from = at;
        row.filter(|row| !row.is_empty())
    })
}

#[cfg(test)]
mod tests;

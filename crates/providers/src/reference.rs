//! The page of providers in the documentation, generated from the table.

use std::fmt::Write;

use tollway_model::Dialect;

use crate::provider::{KeyNeed, Provider};
use crate::rules::{Replacement, Rules};
use crate::table::Table;

/// `docs/providers.md`: every provider, its address, key and departures, from the built-in table.
pub fn reference_markdown() -> String {
    let table = Table::builtin();
    let mut page = String::from(INTRODUCTION);
    for provider in table.carried() {
        section(table, provider, &mut page);
    }
    page.push_str(
        "## Known, not carried yet\n\n| id | name | protocol | until then |\n| --- | --- | --- | --- |\n",
    );
    for provider in table.iter().filter(|provider| !provider.carried()) {
        let Provider { id, title, protocol, hint, .. } = provider.as_ref();
        line(
            &mut page,
            format_args!("| `{id}` | {title} | {protocol} | {} |", hint.as_deref().unwrap_or_default()),
        );
    }
    page
}

const INTRODUCTION: &str = "\
# Providers

Generated from `data/providers.toml`; do not edit. Write a model as `id/model`, for example `groq/llama-3.3-70b`.
Every address can be replaced with `api_base`, every key be given with `api_key`.

";

fn section(table: &Table, provider: &Provider, page: &mut String) {
    let code = |items: &[String]| items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    line(page, format_args!("## {}\n", provider.title));
    let aliases: Vec<_> =
        table.aliases().filter(|(_, id)| *id == provider.id).map(|(alias, _)| alias.to_owned()).collect();
    let also = if aliases.is_empty() { String::new() } else { format!(", also {}", code(&aliases)) };
    let dialect = provider.dialect.map_or("", |dialect| dialect.name());
    line(page, format_args!("- id: `{}`{also}; speaks {dialect}", provider.id));
    if let Some(native) = &provider.anthropic {
        let base = native.base_url.replace("{base_url}", "the same address");
        line(page, format_args!("- speaks anthropic too: {base}"));
    }
    if provider.serves_responses() {
        line(page, format_args!("- speaks {} too: the same address", Dialect::OpenaiResponses.name()));
    }
    let base = provider.base_url.as_deref().map_or("give `api_base`".to_owned(), |base| format!("`{base}`"));
    let names = list(", or from ", &code(&provider.base_url_env));
    line(page, format_args!("- address: {base}{names}"));
    let need = match provider.key {
        KeyNeed::Required => "needed",
        KeyNeed::Optional => "optional",
        KeyNeed::None => "none",
    };
    let names = list(", from ", &code(&provider.key_env));
    line(page, format_args!("- key: {need}{names} ({})", provider.auth));
    line(page, format_args!("- serves: {}", provider.serves.join(", ")));
    rules(&provider.rules, "", page);
    for model in &provider.models {
        let when = model.when.iter().map(|(field, values)| format!(" with `{field}` {}", values.join("/")));
        rules(&model.rules, &format!(" ({}{})", code(&model.patterns), when.collect::<String>()), page);
    }
    if !provider.quirk_names.is_empty() {
        line(page, format_args!("- inside messages: {}", code(&provider.quirk_names)));
    }
    if let Some(reply) = &provider.reply {
        line(page, format_args!("- answers: {reply}"));
    }
    if let Some(note) = &provider.note {
        line(page, format_args!("- note: {note}"));
    }
    if let Some(docs) = &provider.docs {
        line(page, format_args!("- documentation: <{docs}>"));
    }
    line(page, format_args!("- source: {}, checked {}\n", provider.source, provider.checked));
}

fn rules(rules: &Rules, whom: &str, page: &mut String) {
    let mut row = |what: &str, items: Vec<String>| {
        if !items.is_empty() {
            line(page, format_args!("- {what}{whom}: {}", items.join(", ")));
        }
    };
    row("renamed", rules.rename.iter().map(|(from, to)| format!("`{from}` → `{to}`")).collect());
    let values = rules.map.iter().flat_map(|(field, values)| values.iter().map(move |value| (field, value)));
    row(
        "translated",
        values.map(|(field, (from, to))| format!("`{field}: {from}` → `{}`", shown(to))).collect(),
    );
    row("refused", rules.unsupported.iter().map(|refused| format!("`{refused}`")).collect());
    row("takes only", rules.only.iter().map(|(field, value)| format!("`{field}: {value}`")).collect());
    row("left out", rules.ignored.iter().map(|field| format!("`{field}`")).collect());
    let edge = |edge: Option<f64>| edge.map_or(String::new(), |edge| edge.to_string());
    row(
        "kept in range",
        rules.clamp.iter().map(|(field, r)| format!("`{field}` {} … {}", edge(r.min), edge(r.max))).collect(),
    );
    row("added", rules.force.iter().map(|(field, value)| format!("`{field}: {value}`")).collect());
}

fn shown(replacement: &Replacement) -> String {
    match replacement {
        Replacement::Value(value) => value.clone(),
        Replacement::Fields(fields) => serde_json::Value::Object(fields.clone()).to_string(),
    }
}

fn list(before: &str, items: &str) -> String {
    if items.is_empty() { String::new() } else { format!("{before}{items}") }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_the_facts_of_every_row() {
        let page = reference_markdown();
        for provider in Table::builtin().iter() {
            assert!(page.contains(&format!("`{}`", provider.id)), "{}", provider.id);
        }
        let groq = page.split("## ").find(|section| section.starts_with("Groq\n")).unwrap();
        for fact in
            ["https://api.groq.com/openai/v1", "`GROQ_API_KEY`", "refused: `logprobs`", "takes only: `n: 1`"]
        {
            assert!(groq.contains(fact), "{fact} in {groq}");
        }
        assert!(page.contains("also `aiohttp_openai`, `text-completion-openai`"));
        assert!(page.contains("`reasoning_effort: none` → `{\"thinking\":{\"type\":\"disabled\"}}`"));
        assert!(page.contains("refused (`o1*`): `parallel_tool_calls`"));
    }
}

//! Writes a table of models from LiteLLM's price file, or from a table, and says what it changes.
//!
//! `cargo run -p tollway-prices --example refresh -- FILE > new.jsonl`; the difference to the built-in table goes to
//! standard error.

use std::io::Write;

use tollway_prices::{Catalog, Diff, import};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name a price file")?;
    let file = std::fs::read(path)?;
    let new =
        if file.starts_with(br#"{"id":"#) { Catalog::from_jsonl(&file)? } else { import::litellm(&file)? };
    std::io::stdout().write_all(new.to_jsonl())?;
    write!(std::io::stderr(), "{}", Diff::between(&Catalog::builtin(), &new))?;
    Ok(())
}

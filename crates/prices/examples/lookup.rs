//! How long the first lookups take, and what they cost in memory.

use std::io::Write;
use std::time::Instant;

use tollway_model::Usage;
use tollway_prices::{Catalog, Facts, cost};

/// Resident memory of this process in KiB, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let before = resident();
    let start = Instant::now();
    let catalog = Catalog::builtin();
    let opened = start.elapsed();
    let first = catalog.find("openai", "gpt-4o");
    let found = start.elapsed();
    let after = resident();
    writeln!(out, "builtin {opened:?}, with the first find {found:?}, found {}", first.is_some())?;
    writeln!(out, "resident KiB before {before:?}, after {after:?}")?;

    let names: Vec<_> = catalog.ids().map(str::to_owned).collect();
    let start = Instant::now();
    let known = names.iter().filter(|name| catalog.get(name).is_some()).count();
    let each = start.elapsed() / u32::try_from(names.len()).unwrap_or(1);
    writeln!(out, "{known} lookups, {each:?} each; resident KiB {:?}", resident())?;

    let start = Instant::now();
    let missed =
        (0..1000).filter(|number| catalog.find("groq", &format!("no-such-model-{number}")).is_none()).count();
    writeln!(out, "{missed} misses, {:?} each", start.elapsed() / 1000)?;

    let Some(entry) = first else { return Ok(()) };
    let usage = Usage { input: 1200, cache_read: 800, output: 300, ..Usage::default() };
    let start = Instant::now();
    let mut last = None;
    for _ in 0..10_000 {
        last = Some(cost(&entry.prices, &usage, &Facts::default()).total);
    }
    writeln!(out, "cost {:?} each: {last:?}", start.elapsed() / 10_000)
}

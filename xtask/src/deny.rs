//! `cargo xtask deny`: licences, banned crates and sources, as `deny.toml` says.

use crate::shell;

pub(crate) fn run() -> anyhow::Result<()> {
    if !shell::installed("cargo-deny") {
        println!(
            "==> WARNING: cargo-deny is not installed, so licences, banned crates and sources were NOT checked"
        );
        println!("    install it with `cargo install --locked cargo-deny` and run `cargo xtask deny` again");
        return Ok(());
    }
    shell::step(
        "licences, banned crates, sources",
        shell::cargo().args(["deny", "check", "licenses", "bans", "sources"]),
    )
}

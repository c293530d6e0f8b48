//! How the binary is linked.

#![expect(clippy::disallowed_methods, reason = "that is how Cargo talks with it")]

use std::process::Command;

/// A hundred tables of functions and constants are a megabyte of relocations, all of which the loader reads at each start.
/// Packed they are thirty kilobytes. Loaders know the packed form from glibc 2.36 on.
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |name: &str| std::env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    let native = std::env::var("HOST") == std::env::var("TARGET");
    let lld = target("ARCH") == "x86_64";
    if native && lld && target("OS") == "linux" && target("ENV") == "gnu" && glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the C library of this machine.
fn glibc() -> Option<(u32, u32)> {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

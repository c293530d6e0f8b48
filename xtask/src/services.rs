//! What the tests need from the machine beside Rust: programs, installed from Debian's packages when missing.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::shell;

/// A need, how to see whether it is met, and the Debian packages that meet it.
struct Need {
    what: &'static str,
    /// A shell command that succeeds when the need is met.
    probe: &'static str,
    packages: &'static [&'static str],
}

/// For building: AWS-LC, SQLite and the allocator are C.
const BUILD: &[Need] =
    &[Need { what: "a C compiler", probe: "command -v cc", packages: &["build-essential"] }];

/// Debian splits `venv` from the interpreter; without `ensurepip` an environment has no pip.
const PYTHON: &[Need] = &[
    Need { what: "Python 3", probe: "command -v python3", packages: &["python3"] },
    Need {
        what: "Python's venv module",
        probe: "python3 -c 'import venv, ensurepip'",
        packages: &["python3-venv"],
    },
];

const NODE: &[Need] = &[
    Need { what: "Node", probe: "command -v node", packages: &["nodejs"] },
    Need { what: "npm", probe: "command -v npm", packages: &["npm"] },
];

/// Debian keeps PostgreSQL's programs off the path.
const SERVERS: &[Need] = &[
    Need {
        what: "PostgreSQL",
        probe: "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb",
        packages: &["postgresql"],
    },
    Need { what: "Redis", probe: "command -v redis-server", packages: &["redis-server"] },
];

/// The servers tests talk to: one PostgreSQL and one Redis, for as long as the value lives.
pub(crate) struct Servers {
    child: Child,
    /// Environment variables that tell tests where they are.
    variables: Vec<(String, String)>,
}

impl Servers {
    /// Starts them with the program `test-services`, which also stops them, even when we are killed.
    pub(crate) fn start() -> anyhow::Result<Servers> {
        provide(SERVERS)?;
        let program = shell::target_directory()?.join("debug/test-services");
        println!("==> start PostgreSQL and Redis");
        let mut command = Command::new(&program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let output = child.stdout.take().context("its output is not ours")?;
        let mut servers = Servers { child, variables: Vec::new() };
        for line in BufReader::new(output).lines() {
            let line = line?;
            match line.split_once('=') {
                Some((name, value)) => servers.variables.push((name.to_owned(), value.to_owned())),
                // The list is complete.
                None if line.is_empty() => return Ok(servers),
                None => bail!("{} says {line}", program.display()),
            }
        }
        bail!("PostgreSQL and Redis for the tests did not start")
    }

    /// Tells a program where they are.
    pub(crate) fn offer_to(&self, command: &mut Command) {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // The end of its input is what it waits for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Makes sure Rust code can be built.
pub(crate) fn for_rust() -> anyhow::Result<()> {
    provide(BUILD)
}

/// Makes sure the Python suite can run.
pub(crate) fn for_python() -> anyhow::Result<()> {
    provide(PYTHON)
}

/// Makes sure the Node suite can run.
pub(crate) fn for_node() -> anyhow::Result<()> {
    provide(NODE)
}

fn provide(needs: &[Need]) -> anyhow::Result<()> {
    for need in needs {
        if met(need) {
            continue;
        }
        install(need)?;
        if !met(need) {
            bail!("{} is still missing after installing {}", need.what, need.packages.join(", "));
        }
    }
    Ok(())
}

fn met(need: &Need) -> bool {
    Command::new("sh").arg("-c").arg(need.probe).output().is_ok_and(|output| output.status.success())
}

fn install(need: &Need) -> anyhow::Result<()> {
    let packages = need.packages.join(" ");
    let is_root = shell::read(Command::new("id").arg("-u"))?.trim() == "0";
    if !is_root || !shell::installed("apt-get") {
        bail!(
            "{} is missing: install {packages} (as root on Debian: `apt-get install {packages}`)",
            need.what
        );
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(arguments);
        command
    };
    shell::step("apt-get update", &mut apt(&["update"]))?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(need.packages);
    shell::step(&format!("apt-get install {packages}"), &mut apt(&arguments))
        .with_context(|| format!("cannot provide {}", need.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_tells_what_is_there() {
        let need = |probe| Need { what: "a test", probe, packages: &[] };
        assert!(met(&need("command -v sh")));
        assert!(!met(&need("command -v no-such-program-anywhere")));
    }
}

//! Environment variables: the one place that reads those of the process, and the layer the file puts over them.
//!
//! The file's `environment_variables` never reach the process environment: whatever wants a variable asks an
//! [`Environment`], which looks in the file first.

use indexmap::IndexMap;
use tollway_model::Secret;

/// A variable of the process; none when it is unset or not valid UTF-8.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn process_env(name: &str) -> Option<String> {
    // Reading a name with these characters, or none, is outside what the platform defines.
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    std::env::var(name).ok()
}

/// Variables as the gateway sees them: those of the configuration file, then those underneath.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    overlay: &'a IndexMap<String, Secret>,
    base: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Environment<'a> {
    /// `overlay` over `base`, which is usually [`process_env`].
    pub fn new(
        overlay: &'a IndexMap<String, Secret>,
        base: &'a dyn Fn(&str) -> Option<String>,
    ) -> Environment<'a> {
        Environment { overlay, base }
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<String> {
        match self.overlay.get(name) {
            Some(value) => Some(value.expose().to_owned()),
            None => (self.base)(name),
        }
    }
}

/// Variables a configuration file may not set: they steer the process, its loader or its network, not the gateway.
pub(crate) fn is_refused(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "PATH",
        "HOME",
        "SHELL",
        "USER",
        "IFS",
        "ENV",
        "BASH_ENV",
        "TMPDIR",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "GCONV_PATH",
    ];
    const STARTS: [&str; 6] = ["LD_", "DYLD_", "PYTHON", "MALLOC_", "RUST_", "GLIBC_"];
    let name = name.to_ascii_uppercase();
    NAMES.contains(&name.as_str()) || STARTS.iter().any(|start| name.starts_with(start))
}

/// The variable that a value such as `os.environ/OPENAI_API_KEY` names.
pub(crate) fn reference(text: &str) -> Option<&str> {
    text.trim().strip_prefix("os.environ/").map(str::trim).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_lies_over_the_process() {
        let overlay = IndexMap::from([("A".to_owned(), Secret::new("file"))]);
        let base = |name: &str| Some(format!("process {name}"));
        let environment = Environment::new(&overlay, &base);
        assert_eq!(environment.get("A").as_deref(), Some("file"));
        assert_eq!(environment.get("B").as_deref(), Some("process B"));
    }

    #[test]
    fn variables_that_steer_the_process_are_refused() {
        for name in ["PATH", "LD_PRELOAD", "PYTHONPATH", "no_proxy", "HOME", "DYLD_INSERT_LIBRARIES"] {
            assert!(is_refused(name), "{name}");
        }
        for name in ["OPENAI_API_KEY", "LITELLM_LOG", "PATHFINDER", "HTTPS_PROXY"] {
            assert!(!is_refused(name), "{name}");
        }
    }

    #[test]
    fn a_strange_name_is_simply_unset() {
        assert_eq!(process_env(""), None);
        assert_eq!(process_env("A=B"), None);
        assert!(process_env("PATH").is_some());
    }
}

//! From a file to a configuration and everything there is to say about it.

use std::path::PathBuf;

use indexmap::IndexMap;
use tollway_model::Secret;

use crate::checks;
use crate::config::{self, Config};
use crate::diagnostic::{Diagnostic, Severity};
use crate::environment::Environment;
use crate::files::{Fingerprint, Gathered};
use crate::master_key;
use crate::read::{FromNode, Reader};
use crate::source::Files;
use crate::tree::Node;

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: every setting has its default.
    Nothing,
    /// A file, with the files it includes.
    File(PathBuf),
    /// Text, shown in messages under a name. It cannot include files.
    Text {
        /// The name.
        name: String,
        /// The text.
        text: String,
    },
}

/// How a configuration is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Unknown and repeated keys are warnings instead of errors. Unknown keys of `litellm_params` are then sent to the
    /// provider, as LiteLLM does.
    pub lenient: bool,
    /// The gateway will listen beyond this machine: a weak master key is an error instead of a danger.
    pub public: bool,
}

/// What came of loading.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration; none when there is an error among the diagnostics.
    pub config: Option<Config>,
    /// Everything found, file by file in the order of their lines.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file read, the first one first, also when something is wrong: what to watch.
    pub files: Vec<PathBuf>,
    /// Equal for equal contents of all files.
    pub fingerprint: Fingerprint,
}

impl Loaded {
    /// Every diagnostic as text, with an empty line between them; empty when there is none.
    pub fn report(&self) -> String {
        self.diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect::<Vec<_>>().join("\n")
    }
}

/// Loads a configuration.
///
/// `env` looks up environment variables, usually [`crate::process_env`]. Reads files and nothing else; the process
/// environment is never written. Whatever is wrong is in [`Loaded::diagnostics`], all of it at once.
pub fn load(source: Source, env: &dyn Fn(&str) -> Option<String>, options: Options) -> Loaded {
    let mut gathered = Gathered::new(options.lenient);
    match source {
        Source::Nothing => {}
        Source::File(path) => gathered.file(&path),
        Source::Text { name, text } => gathered.text(&name, &text),
    }
    let (files, fingerprint) = (gathered.paths(), gathered.fingerprint());
    let Gathered { files: sources, root, mut diagnostics, .. } = gathered;
    let read_all = !diagnostics
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error && diagnostic.code != "duplicate-key");
    let key =
        root.as_ref().and_then(|root| checks::child(checks::child(root, "general_settings")?, "master_key"));
    let key = key.and_then(|node| sources.place(node.mark));
    let mut config = match root.filter(|root| !root.is_null()) {
        Some(root) => interpret(&root, &sources, env, options, &mut diagnostics),
        None => Config::default(),
    };
    let general = &mut config.general_settings;
    let unwritten =
        general.master_key.is_none() && !diagnostics.iter().any(|found| found.code == "essential-unset");
    if unwritten {
        general.master_key = env("LITELLM_MASTER_KEY").filter(|key| !key.is_empty()).map(Secret::from);
    }
    // A file that could not be read says nothing about its key.
    diagnostics
        .extend(master_key::judge(&config, options.public).filter(|_| read_all).map(|weak| weak.at(key)));
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Loaded { config: (!failed).then_some(config), diagnostics, files, fingerprint }
}

/// Loads a configuration from text called `config.yaml`, strictly.
pub fn from_str(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let source = Source::Text { name: "config.yaml".to_owned(), text: text.to_owned() };
    load(source, env, Options::default())
}

/// Reads the tree into a configuration.
fn interpret(
    root: &Node,
    files: &Files,
    env: &dyn Fn(&str) -> Option<String>,
    options: Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Config {
    let nothing = IndexMap::new();
    let mut reader = Reader::new(files, Environment::new(&nothing, env), options.lenient);
    let variables = config::environment_variables(root, &mut reader);
    diagnostics.append(&mut reader.finish());

    let mut reader = Reader::new(files, Environment::new(&variables, env), options.lenient);
    let credentials = config::credentials(root, &mut reader);
    let mut config = Config::from_node(root, &mut reader).unwrap_or_default();
    checks::check(&config, root, &mut reader);
    config.credential_list = credentials;
    config.environment_variables = variables.clone();
    diagnostics.append(&mut reader.finish());
    crate::read::sort(diagnostics, files);
    config
}

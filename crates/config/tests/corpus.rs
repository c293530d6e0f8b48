//! Every file under `corpus/`: what loads, what does not, and the words in which it is said.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its files has failed")]

use std::path::{Path, PathBuf};

use tollway_config::{Loaded, Options, Severity, Source, load};

/// An environment in which everything is set except names that say otherwise.
fn environment(name: &str) -> Option<String> {
    match name {
        "LITELLM_MASTER_KEY" => Some("sk-4f9a1c07e2b85d3366f0a9c1".to_owned()),
        "LANGFUSE_SECRET" => None,
        name if name.starts_with("NOT_SET") => None,
        name => Some(format!("value-of-{name}")),
    }
}

fn corpus(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/corpus").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    assert!(files.len() >= 10, "{}", folder.display());
    files
}

fn read(path: &Path, options: Options) -> Loaded {
    load(Source::File(path.to_owned()), &environment, options)
}

fn snapshot(folder: &str, path: &Path, loaded: &Loaded) {
    let name = format!("{folder}-{}", path.file_stem().unwrap().to_string_lossy());
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, loaded.report());
    });
}

#[test]
fn files_that_litellm_takes_load_without_an_error() {
    for path in corpus("good") {
        let loaded = read(&path, Options { public: true, lenient: false });
        snapshot("good", &path, &loaded);
        assert!(loaded.config.is_some(), "{}:\n{}", path.display(), loaded.report());
    }
}

#[test]
fn broken_files_are_explained() {
    for path in corpus("bad") {
        let loaded = read(&path, Options { public: true, lenient: false });
        snapshot("bad", &path, &loaded);
        assert!(!loaded.diagnostics.is_empty(), "{}", path.display());
        let failed = loaded.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        assert_eq!(loaded.config.is_none(), failed, "{}", path.display());
    }
}

#[test]
fn no_diagnostic_shows_a_secret() {
    for path in corpus("bad").into_iter().chain(corpus("good")) {
        let report = read(&path, Options::default()).report();
        for secret in [
            "hunter2",
            "sk-first",
            "sk-second",
            "thisisaverysecret",
            "value-of-",
            "pk-lf-1f0c2d3e",
            "4f9a1c07",
        ] {
            assert!(!report.contains(secret), "{}: {secret}\n{report}", path.display());
        }
    }
}

#[test]
fn every_finding_inside_a_file_has_a_place_with_a_caret() {
    for path in corpus("bad") {
        for diagnostic in read(&path, Options::default()).diagnostics {
            if matches!(diagnostic.code, "weak-master-key" | "unreadable") {
                continue;
            }
            let place = diagnostic.place.clone().unwrap_or_else(|| panic!("{diagnostic}"));
            assert!(place.line >= 1 && place.column >= 1 && place.length >= 1, "{diagnostic}");
            assert!(diagnostic.to_string().contains('^'), "{diagnostic}");
        }
    }
}

#[test]
fn lenient_lets_unknown_keys_pass() {
    let path = Path::new("tests/corpus/bad/unknown-keys.yaml");
    let strict = read(path, Options::default());
    let lenient = read(path, Options { lenient: true, public: false });
    assert!(strict.config.is_none());
    let config = lenient.config.as_ref().unwrap_or_else(|| panic!("{}", lenient.report()));
    assert_eq!(strict.diagnostics.len(), lenient.diagnostics.len());
    // LiteLLM hands what it does not know to the provider.
    assert_eq!(config.model_list[0].litellm_params.defaults["shard"], 3);
}

#[test]
fn the_company_file_is_read_with_what_it_includes() {
    let loaded = read(Path::new("tests/corpus/good/company.yaml"), Options { public: true, lenient: false });
    let config = loaded.config.expect("loads");
    assert_eq!(config.model_list.len(), 75);
    assert_eq!(loaded.files.len(), 3, "{:?}", loaded.files);
    assert_eq!(config.num_retries(), 2);
    assert_eq!(config.max_body().bytes(), 50 << 20);
    let eu = &config.model_list[1].litellm_params;
    assert_eq!(eu.model, "openai/gpt-4o");
    assert_eq!(eu.timeout, Some(std::time::Duration::from_secs(600)));
    assert_eq!(eu.order, Some(2));
    let azure = config.model_list.iter().find(|one| one.model_name == "azure-gpt-4o").expect("there");
    assert_eq!(
        azure.litellm_params.api_key.as_ref().expect("from the credential").expose(),
        "value-of-AZURE_API_KEY"
    );
    assert_eq!(azure.litellm_params.api_version.as_deref(), Some("2024-10-21"));
    // The file's own variables count before those of the process, and what steers the process is refused.
    assert_eq!(config.environment(&environment).get("REDIS_HOST").as_deref(), Some("redis.internal"));
    assert!(!config.environment_variables.contains_key("NO_PROXY"));
}

#[test]
fn the_worst_file_is_read_quickly() {
    let started = std::time::Instant::now();
    read(Path::new("tests/corpus/bad/bomb.yaml"), Options::default());
    assert!(started.elapsed().as_secs() < 5);
}

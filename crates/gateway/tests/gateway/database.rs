//! `tollway db`.

use std::path::Path;

use serde_json::json;
use tollway_model::Secret;
use tollway_store::records::Model;
use tollway_store::{SaltKey, Sealer, Store};

use crate::support::{text, tollway};

/// Runs a command, with further variables of the environment; what it says.
#[track_caller]
fn says(directory: &Path, set: &[(&str, &str)], arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let output = tollway(directory).envs(set.iter().copied()).args(arguments).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?}: no {part:?} in {said}");
    }
    said
}

#[test]
fn a_database_is_made_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let check =
        |arguments: &[&str], code, parts: &[&str]| says(directory.path(), &[], arguments, code, parts);
    check(&["db", "status"], 1, &["SQLite, ", "there is no database yet"]);
    check(&["db", "migrate", "--dry-run"], 0, &["would be made"]);
    assert!(!directory.path().join("data/tollway.db").exists(), "looking makes nothing");
    check(&["db", "migrate"], 0, &["0001_accounts applied", "done in"]);
    check(&["db", "migrate"], 0, &["nothing is missing"]);
    check(&["db", "migrate", "--dry-run"], 0, &["0 to apply"]);
    check(
        &["db", "status"],
        0,
        &["answers in", "0001_accounts            applied 20", "0 keys", "audit log: 0 entries"],
    );
    let fresh = directory.path().join("other.db");
    let url = format!("sqlite:{}", fresh.display());
    check(&["db", "migrate", "--url", &url], 0, &["other.db", "applied"]);
}

#[test]
fn the_database_is_the_one_a_gateway_would_use() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, "general_settings: {database_url: \"sqlite:configured.db\"}\n").unwrap();
    let away = "postgres://u:hidden@127.0.0.1:1/none?connect_timeout=1";
    let environment = [("DATABASE_URL", away)];
    let said = says(directory.path(), &environment, &["db", "status"], 1, &["127.0.0.1:1", "not available"]);
    assert!(!said.contains("hidden"));
    let configured = ["db", "migrate", "--config", "config.yaml"];
    says(directory.path(), &environment, &configured, 0, &["configured.db", "applied"]);
    says(directory.path(), &[], &["db", "status", "--url", "mysql://x"], 1, &["not with mysql://"]);
}

#[tokio::test]
async fn the_salt_key_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let store = Store::open_in(&data).unwrap();
    store.upkeep().migrate().await.unwrap();
    let sealer = Sealer::of_file(&data.join("salt-keys")).unwrap();
    let seal = |sealer: &Sealer| json!(sealer.seal("model", "m", &Secret::new("sk-1")).unwrap());
    let mut model = Model { model_id: "m".to_owned(), ..Model::default() };
    model.litellm_params.insert("api_key".to_owned(), seal(&sealer));
    store.shelf().insert(model).await.unwrap();

    let before = sealer.active();
    let command = ["db", "rotate-salt-key"];
    says(directory.path(), &[], &command, 0, &["1 secrets were sealed again", "--forget-old"]);
    let opened = async |sealer: &Sealer| {
        let model = store.shelf::<Model>().get("m").await.unwrap().unwrap();
        sealer.open("model", "m", model.litellm_params["api_key"].as_str().unwrap())
    };
    // A running gateway goes on.
    assert_eq!(opened(&sealer).await.unwrap().expose(), "sk-1");
    assert_ne!(sealer.active(), before);

    // From the file to a key of the operator's: the file's must be named.
    let kept = std::fs::read_to_string(data.join("salt-keys")).unwrap();
    let lost = [("LITELLM_SALT_KEY", "mine")];
    says(directory.path(), &lost, &command, 1, &["1 secrets could not be opened", &sealer.active()]);
    let old = kept.lines().collect::<Vec<_>>().join(",");
    let both = [("LITELLM_SALT_KEY", "mine"), ("TOLLWAY_OLD_SALT_KEYS", old.as_str())];
    says(directory.path(), &both, &command, 0, &["1 secrets were sealed again", "LITELLM_SALT_KEY"]);
    let mine = Sealer::new(SaltKey::new(Secret::new("mine")), vec![]);
    assert_eq!(opened(&mine).await.unwrap().expose(), "sk-1");
}

//! The other commands of the binary.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Gateway, KEY, Start, chat, config, fake, run, text, three, tollway};

#[track_caller]
fn says(arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), arguments);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?}: no {part:?} in {said}");
    }
    said
}

#[test]
fn version_help_and_completions_are_printed() {
    says(&["--version"], 0, &[&format!("tollway {}", env!("CARGO_PKG_VERSION"))]);
    says(
        &["--help"],
        0,
        &["serve", "check", "chat", "models", "why", "catalog", "--num_workers", "--detailed_debug"],
    );
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        says(&["completions", shell], 0, &["tollway", "catalog"]);
    }
    says(&["--no-such-flag"], 2, &["--no-such-flag"]);
    says(&["nothing"], 2, &[]);
}

#[test]
fn a_flag_of_litellms_that_would_be_missed_is_refused_with_a_reason() {
    says(
        &["--ssl_keyfile_path", "a", "--ssl_certfile_path", "b"],
        1,
        &["--ssl_keyfile_path", "reverse proxy"],
    );
    says(&["--max_budget", "10"], 1, &["--max_budget", "/key/generate"]);
    says(&["--health"], 1, &["GET /health"]);
    says(&["--run_gunicorn", "--save"], 1, &["--save"]);
    says(&["--run_granian", "--granian_threads", "2", "--local", "--validate_config"], 0, &[]);
}

#[test]
fn models_are_listed_with_prices() {
    says(&["models", "gpt-4o-mini", "--provider", "openai"], 0, &["\ngpt-4o-mini ", "$/M in", "0.15"]);
    let lines = says(&["models", "gpt-4o", "--json"], 0, &[]);
    for line in lines.lines() {
        let model: Value = serde_json::from_str(line).unwrap();
        assert!(model["id"].as_str().unwrap().contains("gpt-4o"));
    }
    says(&["models", "no-such-model"], 1, &["no such model"]);
}

#[test]
fn a_file_is_checked_without_starting_anything() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, format!("model_list:\n  - {{model_name: a, litellm_params: {{model: openai/gpt-4o}}}}\ngeneral_settings: {{master_key: {KEY}}}\n")).unwrap();
    let good = run(directory.path(), &["check", "config.yaml"]);
    let said = text(&good.stdout);
    assert_eq!(good.status.code(), Some(0), "{said}");
    assert!(said.contains("fine. 1 deployments") && said.contains("cannot be called: "), "{said}");
    assert_eq!(
        run(directory.path(), &["--config", "config.yaml", "--validate_config"]).status.code(),
        Some(0)
    );
    std::fs::write(&file, "modl_list: []\n").unwrap();
    assert_eq!(run(directory.path(), &["check", "config.yaml"]).status.code(), Some(1));
    assert_eq!(run(directory.path(), &["check", "config.yaml", "--lenient"]).status.code(), Some(0));
    std::fs::write(&file, "general_settings: {master_key: sk-1234}\n").unwrap();
    assert_eq!(run(directory.path(), &["check", "config.yaml"]).status.code(), Some(0));
    assert_eq!(run(directory.path(), &["check", "config.yaml", "--public"]).status.code(), Some(1));
}

#[test]
fn the_demo_answers_in_the_terminal() {
    says(&["chat", "demo/chat", "say: one two three"], 0, &["one two three\n"]);
    let directory = tempfile::tempdir().unwrap();
    let mut command = tollway(directory.path());
    command.args(["chat", "demo/chat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"say: piped in").unwrap();
    assert!(text(&child.wait_with_output().unwrap().stdout).starts_with("piped in"));
    says(&["chat", "nothing/x", "hi"], 1, &["nothing"]);
}

const TABLE: &str = r#"{
  "sample_spec": {"litellm_provider": "one of"},
  "fake-ok": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "max_input_tokens": 1000, "max_output_tokens": 100}
}"#;

#[tokio::test]
async fn a_price_file_of_litellm_is_imported_used_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("prices.json"), TABLE).unwrap();
    let cat = |arguments: &[&str]| {
        let output = run(directory.path(), &[&["catalog"], arguments].concat());
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, said) = cat(&["import", "prices.json", "--dry-run"]);
    assert!(code == Some(0) && said.contains("fake-ok") && said.contains("nothing was written"), "{said}");
    assert!(!directory.path().join("data/models.jsonl").exists());
    let (code, said) = cat(&["import", "prices.json"]);
    assert!(code == Some(0) && said.contains("1 models are in"), "{said}");
    let (code, said) = cat(&["import", "prices.json"]);
    assert!(code == Some(0) && said.contains("nothing changes"), "{said}");
    let (code, said) = cat(&["show", "openai/fake-ok"]);
    assert!(code == Some(0) && said.contains("\"usd_per_million_input\":\"1.00\""), "{said}");
    std::fs::write(directory.path().join("bad.json"), "[]").unwrap();
    let (code, said) = cat(&["import", "bad.json"]);
    assert!(code == Some(1) && said.contains("was not imported"), "{said}");

    let fake = fake().await;
    let config = config(&three(&fake), "");
    let start = Start { config: Some(&config), directory: Some(directory), ..Start::default() };
    let gateway = Gateway::with(start).await;
    let answer = gateway.chat(&chat("gpt", "hi")).await;
    let usage = answer.json()["usage"].clone();
    let micros = usage["prompt_tokens"].as_u64().unwrap() + 2 * usage["completion_tokens"].as_u64().unwrap();
    let expected = format!("0.{micros:06}");
    assert_eq!(answer.header("x-litellm-response-cost"), expected.trim_end_matches('0'));
    let directory = gateway.stop();
    let output = run(directory.path(), &["catalog", "reset"]);
    assert!(output.status.success() && !directory.path().join("data/models.jsonl").exists());

    // Nobody reads what changes: it changes all the same.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = crate::support::tollway(directory.path());
    assert!(command.args(["catalog", "import", "prices.json"]).stdout(writer).status().unwrap().success());
    assert!(directory.path().join("data/models.jsonl").exists());
}

#[test]
fn a_command_whose_reader_goes_away_does_not_panic() {
    let directory = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_tollway");
    let piped = std::process::Command::new("sh")
        .args(["-c", &format!("'{binary}' models | head -1")])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(!text(&piped.stderr).contains("panicked"), "{}", text(&piped.stderr));
}

//! Configuration files: what they can say, and reading them again while running.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Gateway, KEY, PROVIDER_KEY, SOON, Start, at, chat, config, fake, run, streamed_chat, text, three,
};

/// A configuration as LiteLLM's users have it.
fn litellm(base: &str) -> String {
    format!(
        r#"
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: openai/fake-ok
      api_base: {base}/v1
      api_key: os.environ/MY_OPENAI_KEY
      rpm: 100
      tpm: 100000
    model_info:
      mode: chat
      base_model: gpt-4o
  - model_name: claude
    litellm_params:
      model: anthropic/fake-ok
      api_base: {base}
      api_key: "os.environ/MY_OTHER_KEY"
      max_tokens: 321
      extra_headers: {{"X-Team": "blue"}}
  - model_name: "any/*"
    litellm_params:
      model: "openai/*"
      api_base: {base}/v1
      api_key: {PROVIDER_KEY}

litellm_settings:
  drop_params: True
  num_retries: 1
  request_timeout: 600
  set_verbose: False

router_settings:
  routing_strategy: simple-shuffle
  model_group_alias: {{"gpt-4": "gpt-4o"}}

general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY

environment_variables:
  MY_OTHER_KEY: pk-from-the-file
"#
    )
}

#[tokio::test]
async fn a_litellm_configuration_works_as_it_is() {
    let fake = fake().await;
    let environment = [("LITELLM_MASTER_KEY", KEY), ("MY_OPENAI_KEY", "pk-from-the-process")];
    let config = litellm(&fake.url());
    let start = Start { config: Some(&config), environment: &environment, ..Start::default() };
    let gateway = Gateway::with(start).await;
    for model in ["gpt-4o", "gpt-4", "claude", "any/fake-ok+id-1"] {
        let answer = gateway.chat(&chat(model, "hi")).await;
        assert_eq!(answer.expect(200).json()["model"], model);
    }
    let received = fake.received();
    assert_eq!(received[0].header("authorization"), Some("Bearer pk-from-the-process"));
    let claude = &received[2];
    assert_eq!(
        (claude.header("x-api-key"), claude.header("x-team")),
        (Some("pk-from-the-file"), Some("blue"))
    );
    assert_eq!(claude.json()["max_tokens"], 321);
    assert_eq!(received[3].json()["model"], "fake-ok+id-1");
    let listed = gateway.get("/v1/models").await.json();
    assert!(listed.to_string().contains("gpt-4o"), "{listed}");
    let cost = gateway.chat(&chat("gpt-4o", "hi")).await;
    assert!(!cost.header("x-litellm-response-cost").is_empty(), "base_model has a price");
}

#[tokio::test]
async fn a_file_may_include_others() {
    let fake = fake().await;
    let directory = tempfile::tempdir().unwrap();
    let more = format!("model_list:\n  - {}\n", at(&fake, "included", "openai/fake-ok", ""));
    std::fs::write(directory.path().join("more.yaml"), more).unwrap();
    let config = config(&[at(&fake, "own", "openai/fake-ok", "")], "include: [more.yaml]");
    let start = Start { config: Some(&config), directory: Some(directory), ..Start::default() };
    let gateway = Gateway::with(start).await;
    for model in ["own", "included"] {
        gateway.chat(&chat(model, "hi")).await.expect(200);
    }
    let changed = format!("model_list:\n  - {}\n", at(&fake, "renamed", "openai/fake-ok", ""));
    std::fs::write(gateway.file("more.yaml"), changed).unwrap();
    wait_for_model(&gateway, "renamed").await;
}

async fn wait_for_model(gateway: &Gateway, name: &str) {
    let begun = Instant::now();
    while gateway.get(&format!("/v1/models/{name}")).await.status != 200 {
        assert!(begun.elapsed() < SOON, "{name} never appears: {}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn write(gateway: &Gateway, config: &str) {
    std::fs::write(gateway.file("config.yaml"), config).unwrap();
}

#[tokio::test]
async fn a_changed_file_counts_from_the_next_call_and_running_streams_go_on() {
    let fake = fake().await;
    let slow = at(&fake, "slow", "openai/fake-interval-100+tokens-20", "");
    let gateway = Gateway::start(&config(&[slow], "")).await;
    let mut stream = gateway.open("/v1/chat/completions", &streamed_chat("slow", "hi")).await;
    let begun = stream.until("\"content\"").await;
    write(&gateway, &config(&[at(&fake, "fresh", "openai/fake-ok", "")], ""));
    wait_for_model(&gateway, "fresh").await;
    gateway.chat(&chat("slow", "hi")).await.expect(400);
    gateway.chat(&chat("fresh", "hi")).await.expect(200);
    let all = begun + &stream.read().await.text();
    assert!(all.trim_end().ends_with("data: [DONE]") && !all.contains("\"error\""), "{all}");
}

#[tokio::test]
async fn an_editor_that_replaces_the_file_is_noticed() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    for name in ["one", "two"] {
        std::fs::write(gateway.file("config.yaml~"), config(&[at(&fake, name, "openai/fake-ok", "")], ""))
            .unwrap();
        std::fs::rename(gateway.file("config.yaml~"), gateway.file("config.yaml")).unwrap();
        wait_for_model(&gateway, name).await;
    }
}

#[tokio::test]
async fn a_hangup_signal_and_a_request_read_the_file_again() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    gateway.signal("HUP");
    let begun = Instant::now();
    while !gateway.log().contains("was read again: 3 deployments") {
        assert!(begun.elapsed() < SOON, "{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    write(&gateway, &config(&[at(&fake, "fresh", "openai/fake-ok", "")], ""));
    let reloaded = gateway.post("/config/reload", &json!({})).await;
    assert_eq!(reloaded.expect(200).json()["status"], "reloaded");
    gateway.chat(&chat("fresh", "hi")).await.expect(200);
    gateway.chat(&chat("gpt", "hi")).await.expect(400);
}

#[tokio::test]
async fn a_wrong_file_keeps_the_old_configuration_and_says_where_it_is_wrong() {
    let fake = fake().await;
    let good = config(&three(&fake), "");
    let gateway = Gateway::start(&good).await;
    write(&gateway, &good.replace("general_settings", "general_setings"));
    let refused = gateway.post("/config/reload", &json!({})).await;
    let message = refused.expect(400).json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("config.yaml:5:1") && message.contains("general_settings"), "{message}");
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
    write(&gateway, "model_list: [");
    let begun = Instant::now();
    while !gateway.log().contains("the configuration was not changed") {
        assert!(begun.elapsed() < SOON, "{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
    write(&gateway, &config(&[at(&fake, "repaired", "openai/fake-ok", "")], ""));
    wait_for_model(&gateway, "repaired").await;
}

#[tokio::test]
async fn a_reload_names_the_changes_that_need_a_restart() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let rest = "tollway: {limits: {max_connections: 500, max_calls: 7}, receipts: {keep: 3}}";
    std::fs::write(gateway.file("config.yaml"), config(&three(&fake), rest)).unwrap();
    // The watcher may come first; what is in force does not change by it.
    let begun = Instant::now();
    let said = "count from the next start: tollway.limits.max_connections, tollway.receipts.keep";
    loop {
        let told = gateway.post("/config/reload", &json!({})).await.expect(200).text();
        if told.contains(said) || gateway.log().contains(said) {
            break;
        }
        assert!(begun.elapsed() < SOON, "{told} {}", gateway.log());
    }
}

#[tokio::test]
async fn limits_of_requests_count_from_the_reload_on() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let long = chat("gpt", &"long ".repeat(500));
    gateway.post("/v1/chat/completions", &long).await.expect(200);
    let rest = "tollway: {limits: {max_body: 1KiB, max_url: 40B}, timeouts: {shutdown: 1s}}";
    std::fs::write(gateway.file("config.yaml"), config(&three(&fake), rest)).unwrap();
    let told = gateway.post("/config/reload", &json!({})).await.expect(200).text();
    assert!(!told.contains("next start"), "{told}");
    gateway.post("/v1/chat/completions", &long).await.expect(413);
    gateway.get(&format!("/v1/models?{}", "x".repeat(60))).await.expect(414);
    gateway.post("/v1/chat/completions", &chat("gpt", "hi")).await.expect(200);
}

#[tokio::test]
async fn a_new_master_key_counts_from_the_reload_on() {
    let fake = fake().await;
    let good = config(&three(&fake), "");
    let mut gateway = Gateway::start(&good).await;
    let other = "sk-another-7d3e1f9a5c2b";
    write(&gateway, &good.replace(KEY, other));
    gateway.post("/config/reload", &json!({})).await.expect(200);
    gateway.chat(&chat("gpt", "hi")).await.expect(401);
    gateway.key = other.to_owned();
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
    write(&gateway, &config(&three(&fake), "general_settings: {}"));
    let refused = gateway.post("/config/reload", &json!({})).await;
    assert!(refused.expect(400).text().contains("no master key any more"), "{}", refused.text());
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
}

#[tokio::test]
async fn a_wrong_included_file_is_read_again_when_it_is_repaired() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    std::fs::write(gateway.file("more.yaml"), "model_list: [").unwrap();
    write(&gateway, &config(&three(&fake), "include: [more.yaml]"));
    gateway.post("/config/reload", &json!({})).await.expect(400);
    tokio::time::sleep(Duration::from_millis(500)).await;
    std::fs::write(
        gateway.file("more.yaml"),
        format!("model_list:\n  - {}\n", at(&fake, "more", "openai/fake-ok", "")),
    )
    .unwrap();
    wait_for_model(&gateway, "more").await;
}

#[tokio::test]
async fn calls_during_reloads_never_fail() {
    let fake = fake().await;
    let gateway = &Gateway::start(&config(&three(&fake), "")).await;
    let calls = async {
        for _ in 0..100 {
            gateway.chat(&chat("gpt", "hi")).await.expect(200);
        }
    };
    let reloads = async {
        for _ in 0..20 {
            gateway.post("/config/reload", &json!({})).await.expect(200);
        }
    };
    tokio::join!(calls, reloads);
}

#[test]
fn a_gateway_does_not_start_with_a_wrong_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    for (config, wants) in [
        ("model_lst: []\n", "config.yaml:1:1"),
        ("model_list: [\n", "config.yaml:"),
        ("tollway:\n  timeouts:\n    idle: soon\n", "config.yaml:3:11"),
        ("model_list: []\nmodel_list: []\n", "config.yaml:2:1"),
    ] {
        std::fs::write(&file, config).unwrap();
        for arguments in [&["--config", "config.yaml", "--port", "0"][..], &["check", "config.yaml"]] {
            let refused = run(directory.path(), arguments);
            let said = text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{config}: {said}");
            assert!(said.contains(wants), "{config}: {said}");
        }
    }
    let missing = run(directory.path(), &["--config", "nothing.yaml", "--port", "0"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("nothing.yaml"), "{missing:?}");
}

/// Kubernetes mounts a link to a link to a directory, and replaces the one in the middle.
#[cfg(unix)]
#[tokio::test]
async fn a_swapped_link_in_the_middle_is_noticed() {
    use std::os::unix::fs::symlink;

    let fake = fake().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (version, model) in [("first", "gpt"), ("second", "swapped")] {
        std::fs::create_dir(path(version)).unwrap();
        let text = config(&[at(&fake, model, "openai/fake-ok", "")], "");
        std::fs::write(path(version).join("mounted.yaml"), text).unwrap();
    }
    symlink("first", path("data-link")).unwrap();
    symlink("data-link/mounted.yaml", path("mounted.yaml")).unwrap();
    let arguments = ["--config", "mounted.yaml"];
    let start = Start { arguments: &arguments, directory: Some(directory), ..Start::default() };
    let gateway = Gateway::with(Start { config: None, ..start }).await;
    gateway.chat(&chat("gpt", "hi")).await.expect(200);
    symlink("second", gateway.file("new-link")).unwrap();
    std::fs::rename(gateway.file("new-link"), gateway.file("data-link")).unwrap();
    wait_for_model(&gateway, "swapped").await;
    gateway.chat(&chat("gpt", "hi")).await.expect(400);
    // Not only links: the file behind them may be written to.
    let text = config(&[at(&fake, "written", "openai/fake-ok", "")], "");
    std::fs::write(gateway.file("second/mounted.yaml"), text).unwrap();
    let begun = std::time::Instant::now();
    wait_for_model(&gateway, "written").await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}

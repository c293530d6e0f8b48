//! Starting with nothing, and what is said and kept.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Gateway, SOON, Start, chat, config, run, text, three, tollway};
use crate::support::{KEY, fake};

#[tokio::test]
async fn without_any_configuration_the_printed_line_works_when_pasted() {
    let gateway = Gateway::with(Start::default()).await;
    let banner = gateway.stdout();
    for part in ["serves    demo/chat", "data in", "admin key sk-", "(shown once; only its hash is kept)"] {
        assert!(banner.contains(part), "{part}: {banner}");
    }
    let line = banner.lines().find(|line| line.trim_start().starts_with("curl ")).unwrap();
    let pasted = Command::new("sh").args(["-c", &format!("{line} --silent --noproxy '*'")]).output();
    let answer: Value = serde_json::from_slice(&pasted.unwrap().stdout).unwrap();
    assert_eq!(answer["model"], "demo/chat");
    assert!(answer["choices"][0]["message"]["content"].as_str().unwrap().contains("Hello!"), "{answer}");
}

#[tokio::test]
async fn the_admin_key_is_shown_once_and_only_its_hash_is_kept() {
    let first = Gateway::with(Start::default()).await;
    let key = first.key.clone();
    let stored = std::fs::read_to_string(first.file("data/admin-key.sha256")).unwrap();
    assert!(stored.trim().len() == 64 && stored.trim().bytes().all(|byte| byte.is_ascii_hexdigit()));
    let directory = first.stop();
    let mut second = Gateway::with(Start { directory: Some(directory), ..Start::default() }).await;
    let banner = second.stdout();
    assert!(!banner.contains("sk-") && banner.contains("admin key shown at the first start"), "{banner}");
    assert!(banner.contains("Bearer $TOLLWAY_KEY\""), "{banner}");
    second.key = key;
    second.chat(&chat("demo/chat", "hi")).await.expect(200);
    for file in files_under(&second.file("data")) {
        let contents = std::fs::read(&file).unwrap();
        assert!(!text(&contents).contains(&second.key), "{}", file.display());
    }
}

/// Every file of a directory, those of its directories included.
fn files_under(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn the_data_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Gateway::with(Start::default()).await;
    let mode = |name: &str| std::fs::metadata(gateway.file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data"), mode("data/admin-key.sha256")), (0o700, 0o600));
}

#[tokio::test]
async fn providers_whose_key_is_in_the_environment_are_served() {
    let fake = fake().await;
    let base = format!("{}/v1", fake.url());
    let environment = [("OPENAI_API_KEY", "pk-from-environment"), ("OPENAI_BASE_URL", base.as_str())];
    let gateway = Gateway::with(Start { environment: &environment, ..Start::default() }).await;
    assert!(gateway.stdout().contains("openai/*"), "{}", gateway.stdout());
    gateway.chat(&chat("openai/fake-ok", "hi")).await.expect(200);
    let received = fake.received();
    assert_eq!(received[0].header("authorization"), Some("Bearer pk-from-environment"));
}

#[tokio::test]
async fn a_configured_master_key_is_never_printed() {
    let fake = fake().await;
    let gateway = Gateway::start(&config(&three(&fake), "")).await;
    let banner = gateway.stdout();
    assert!(banner.contains("serves    gpt, claude, gem") && !banner.contains(KEY), "{banner}");
    assert!(!gateway.file("data/admin-key.sha256").exists());
}

#[tokio::test]
async fn the_master_key_may_come_from_the_environment() {
    let environment = [("LITELLM_MASTER_KEY", KEY)];
    let gateway = Gateway::with(Start { environment: &environment, ..Start::default() }).await;
    assert!(gateway.stdout().contains("the configured master key"), "{}", gateway.stdout());
    gateway.chat(&chat("demo/chat", "hi")).await.expect(200);
}

#[tokio::test]
async fn litellms_flags_serve_one_model() {
    let fake = fake().await;
    let base = format!("{}/v1", fake.url());
    let arguments = [
        ["--model", "openai/fake-ok"],
        ["--alias", "mine"],
        ["--api_base", &base],
        ["--temperature", "0.25"],
        ["--max_tokens", "77"],
        ["--num_workers", "2"],
        ["--request_timeout", "30"],
        ["--telemetry", "False"],
    ];
    let mut arguments: Vec<&str> = arguments.concat();
    arguments.extend(["--detailed_debug", "--drop_params", "--run_gunicorn"]);
    let environment = [("OPENAI_API_KEY", "pk-x")];
    let start = Start { arguments: &arguments, environment: &environment, ..Start::default() };
    let gateway = Gateway::with(start).await;
    gateway.chat(&chat("mine", "hi")).await.expect(200);
    let sent = fake.received()[0].json();
    assert_eq!((&sent["model"], &sent["temperature"]), (&"fake-ok".into(), &0.25.into()));
    assert!(sent["max_tokens"] == 77 || sent["max_completion_tokens"] == 77, "{sent}");
    assert!(gateway.log().contains("\"level\":\"DEBUG\""), "{}", gateway.log());
}

#[test]
fn a_gateway_open_to_others_needs_a_strong_master_key() {
    let directory = tempfile::tempdir().unwrap();
    for (key, wants) in [("sk-1234", "sample"), ("short", "short"), ("aaaaaaaaaaaaaaaaaaaaaaaa", "")] {
        let file = directory.path().join("config.yaml");
        std::fs::write(file, format!("general_settings: {{master_key: {key}}}\n")).unwrap();
        let arguments = ["--config", "config.yaml", "--host", "0.0.0.0", "--port", "0"];
        let refused = run(directory.path(), &arguments);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{key}: {said}");
        assert!(said.contains("master key") && said.contains(wants), "{key}: {said}");
        if key.len() > 6 {
            assert!(!said.contains(&format!("`{key}`")), "{key}: {said}");
        }
    }
}

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = run(directory.path(), &["--port", &port]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains(&format!("cannot listen on 127.0.0.1:{port}")));
}

#[test]
fn tls_files_are_refused_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let refused = run(directory.path(), &["--ssl_certfile_path", "cert.pem"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("reverse proxy"));
}

#[tokio::test]
async fn a_closed_standard_output_does_not_end_the_gateway() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let mut command = tollway(directory.path());
    command.args(["--port", &port.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let begun = std::time::Instant::now();
    let mut alive = false;
    while !alive && begun.elapsed() < SOON {
        alive = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let ended = child.try_wait().unwrap();
    let _ = child.kill();
    let _ = child.wait();
    assert!(alive && ended.is_none(), "{ended:?}");
}

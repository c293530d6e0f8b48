//! Proxies of the environment.
//!
//! The environment belongs to a process, so each case runs [`child`] in a process of its own.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tollway::{CallOptions, Client, Request};
use tollway_testkit::FakeProvider;

/// A proxy: notes what it is asked, passes plain requests on to `target`, and shows the first byte of what comes
/// through a tunnel.
async fn proxy(target: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, asked) = (listener.local_addr().expect("bound"), Arc::new(Mutex::new(Vec::new())));
    let notes = asked.clone();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(serve(near, target, notes.clone()));
        }
    });
    (address, asked)
}

async fn serve(mut near: TcpStream, target: std::net::SocketAddr, notes: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut byte = [0];
        if near.read_exact(&mut byte).await.is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let tunnel = text.starts_with("CONNECT ");
    notes.lock().expect("no panic").push(text);
    if tunnel {
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("writable");
        let first = near.read_u8().await.expect("something comes through");
        notes.lock().expect("no panic").push(format!("tunnelled {first:#x}"));
        return;
    }
    let mut far = TcpStream::connect(target).await.expect("the fake listens");
    far.write_all(&head).await.expect("writable");
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

/// Runs [`child`] with `variables`; what it prints says what came of its call.
async fn run(variables: &[(&str, String)]) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", "proxies::child", "--ignored", "--nocapture", "--test-threads", "1"]);
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("OPENAI_API_KEY", "sk-test").envs(variables.iter().map(|(name, value)| (name, value)));
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
#[ignore = "runs in processes of its own, with an environment of their own"]
async fn child() {
    let options = CallOptions::default().retries(0);
    let answer =
        Client::from_env().completion_with(&Request::chat("openai/fake-ok", "say: hi"), &options).await;
    println!("outcome: {}", answer.map_or_else(|error| error.to_string(), |answer| answer.text()));
}

#[tokio::test]
async fn plain_calls_go_through_the_proxy_with_its_password() {
    let fake = FakeProvider::start().await.expect("a free port");
    let (address, asked) = proxy(fake.addr).await;
    let base = "http://api.invalid/v1".to_owned();
    let outcome =
        run(&[("HTTP_PROXY", format!("http://user:secret@{address}")), ("OPENAI_BASE_URL", base)]).await;
    assert!(outcome.contains("outcome: hi"), "{outcome}");
    let asked = asked.lock().expect("no panic").clone();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(asked.starts_with("POST http://api.invalid/v1/chat/completions HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("\r\nproxy-authorization: basic dxnlcjpzzwnyzxq=\r\n"), "{asked}");
}

#[tokio::test]
async fn tls_calls_go_through_a_tunnel_with_the_proxys_password() {
    let fake = FakeProvider::start().await.expect("a free port");
    let (address, asked) = proxy(fake.addr).await;
    let base = "https://api.invalid/v1".to_owned();
    let outcome =
        run(&[("HTTPS_PROXY", format!("http://user:secret@{address}")), ("OPENAI_BASE_URL", base)]).await;
    assert!(outcome.contains("outcome: no connection to the provider"), "{outcome}");
    let asked = asked.lock().expect("no panic").clone();
    let [connect, through] = asked.as_slice() else { panic!("{asked:?}") };
    assert!(connect.starts_with("CONNECT api.invalid:443 HTTP/1.1\r\n"), "{connect}");
    assert!(
        connect.to_lowercase().contains("\r\nproxy-authorization: basic dxnlcjpzzwnyzxq=\r\n"),
        "{connect}"
    );
    // The record of a TLS handshake: the key is not in the proxy's hands.
    assert_eq!(through, "tunnelled 0x16");
}

#[tokio::test]
async fn hosts_without_proxy_are_called_directly() {
    let fake = FakeProvider::start().await.expect("a free port");
    let (address, asked) = proxy(fake.addr).await;
    let outcome = run(&[
        ("ALL_PROXY", format!("http://user:secret@{address}")),
        ("NO_PROXY", "127.0.0.1".to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", fake.url())),
    ])
    .await;
    assert!(outcome.contains("outcome: hi"), "{outcome}");
    assert_eq!(*asked.lock().expect("no panic"), Vec::<String>::new());
    let calls = fake.received();
    let [call] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(call.header("proxy-authorization"), None);
}

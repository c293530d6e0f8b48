//! Where the store can be: behind a password, in a cluster, found through sentinels.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tollway_meters::*;
use tollway_model::Secret;

mod support;
use support::*;

const PASSWORD: &str = "open sesame";

/// A server with arguments of one's own, gone with the value.
struct Server {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Server {
    /// `arguments` gets the server's directory.
    fn start(arguments: impl FnOnce(&Path) -> Vec<String>) -> Server {
        let home = tempfile::tempdir().unwrap();
        let port = free_port();
        let port_text = port.to_string();
        let child = Command::new("redis-server")
            .args(arguments(home.path()))
            .args(["--port", &port_text, "--bind", "127.0.0.1", "--save", ""])
            .current_dir(home.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Server { child, port, _home: home }
    }

    /// What the server says to a command; asked until it says what is wanted.
    fn ask(&self, command: &[&str], wanted: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let mut client = Command::new("redis-cli");
            client
                .args(["-p", &self.port.to_string(), "--no-auth-warning"])
                .args(command)
                .env("REDISCLI_AUTH", PASSWORD);
            let said = String::from_utf8(client.output().unwrap().stdout).unwrap();
            if said.contains(wanted) {
                return;
            }
            assert!(Instant::now() < end, "{command:?}: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, another one every time.
fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().unwrap();
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn with_password(text: &str) -> Vec<String> {
    let mut arguments = words(text);
    arguments.extend(["--requirepass".to_owned(), PASSWORD.to_owned()]);
    arguments
}

/// Decisions, settlements and messages work there.
async fn check(address: RedisAddress) {
    let settings = RedisSettings {
        password: Some(Secret::new(PASSWORD)),
        connect_within: Duration::from_secs(5),
        address,
        ..settings("")
    };
    let lease = Duration::from_secs(60);
    let one = connected(settings.clone(), lease, &Arc::default()).await;
    let two = connected(settings, lease, &Arc::default()).await;
    one.meters.reserve(&capped(10), money(7)).await.unwrap().settle(spent(6));
    let hold = two.meters.reserve(&capped(10), money(3)).await.unwrap();
    one.meters.flush().await.unwrap();
    assert_eq!(used(&two).await, 9);
    drop(hold);
    two.meters.flush().await.unwrap();
    assert_eq!(used(&one).await, 6);
    let mut heard = two.redis.subscribe("keys");
    assert_eq!(heard.recv().await, Some(Heard::Gap));
    one.redis.publish("keys", b"blocked").await.unwrap();
    assert_eq!(heard.recv().await, Some(Heard::Message(b"blocked".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_a_password() {
    for by_url in [false, true] {
        let server = Server::start(|_| with_password("--appendonly no"));
        server.ask(&["PING"], "PONG");
        let url = Secret::new(format!("redis://127.0.0.1:{}", server.port));
        let host = RedisAddress::Server("127.0.0.1".to_owned(), server.port);
        check(if by_url { RedisAddress::Url(url) } else { host }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_everything_in_one_slot() {
    let bus = free_port();
    let options = format!("--cluster-enabled yes --cluster-announce-ip 127.0.0.1 --cluster-port {bus}");
    let server = Server::start(|_| with_password(&options));
    server.ask(&["PING"], "PONG");
    server.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"], "OK");
    server.ask(&["CLUSTER", "INFO"], "cluster_state:ok");
    check(RedisAddress::Cluster(vec![("127.0.0.1".to_owned(), server.port)])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_name_the_server() {
    let server = Server::start(|_| with_password("--appendonly no"));
    server.ask(&["PING"], "PONG");
    let sentinel = Server::start(|home| {
        let file = home.join("sentinel.conf");
        let settings = format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel auth-pass main \"{PASSWORD}\"\n",
            server.port
        );
        std::fs::write(&file, settings).unwrap();
        vec![file.display().to_string(), "--sentinel".to_owned()]
    });
    sentinel.ask(&["SENTINEL", "MASTERS"], "main");
    let sentinels = vec![("127.0.0.1".to_owned(), sentinel.port)];
    check(RedisAddress::Sentinel { sentinels, service: "main".to_owned(), password: None }).await;
}

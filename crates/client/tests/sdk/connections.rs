//! Connections: kept, offered HTTP/2, given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tollway::{Kind, Request, Transport, TransportOptions};
use tollway_testkit::FakeProvider;

use crate::support::{builder, hasty};

/// Passes connections on to `target` and counts them.
async fn counting(target: std::net::SocketAddr) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (url, count) =
        (format!("http://{}", listener.local_addr().expect("bound")), Arc::new(AtomicUsize::new(0)));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.expect("the fake listens");
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (url, count)
}

#[tokio::test]
async fn calls_share_a_connection() {
    let fake = FakeProvider::start().await.expect("a free port");
    let (url, connections) = counting(fake.addr).await;
    let client = builder(&url).build();
    for provider in ["openai", "anthropic", "gemini"] {
        let request = Request::chat(format!("{provider}/fake-ok"), "say: one two three");
        for _ in 0..3 {
            client.completion(&request).await.expect(provider);
            let mut stream = client.clone().stream(&request).await.expect(provider);
            while let Some(piece) = stream.next_text().await {
                piece.expect(provider);
            }
            // The end of the body may come a moment after the answer's last event.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client
            .completion(&Request::chat(format!("{provider}/fake-error-400"), "hi"))
            .await
            .expect_err(provider);
    }
    assert_eq!(fake.received().len(), 21);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn parallel_calls_do_not_wait_for_each_other() {
    let fake = FakeProvider::start().await.expect("a free port");
    let client = builder(&fake.url()).build();
    let started = Instant::now();
    let calls = (0..20).map(|number| {
        let (client, request) =
            (client.clone(), Request::chat("openai/fake-slow-200", format!("say: {number}")));
        tokio::spawn(async move { client.completion(&request).await.expect("answered").text() })
    });
    for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await.expect("no panic"), number.to_string());
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

/// What a client says first when it opens TLS.
async fn client_hello(http2: bool) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let hello = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut hello = vec![0; 8192];
        let mut length = 0;
        // A TLS record: its kind, its version, its length.
        while length < 5 || length < 5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])) {
            length += socket.read(&mut hello[length..]).await.expect("readable");
        }
        hello.truncate(length);
        hello
    });
    let transport = Transport::new(TransportOptions { http2, ..TransportOptions::default() });
    let client = builder(&url).transport(transport).build();
    let request = Request::chat("openai/fake-ok", "hi");
    let error = client.completion_with(&request, &hasty().retries(0)).await.expect_err("no TLS there");
    assert_eq!(error.kind(), Kind::Connection);
    hello.await.expect("no panic")
}

#[tokio::test]
async fn http2_is_offered_when_asked_for() {
    let offers = |hello: &[u8], name: &[u8]| hello.windows(name.len()).any(|window| window == name);
    let with = client_hello(true).await;
    assert!(offers(&with, b"\x00\x0c\x02h2\x08http/1.1"), "{with:?}");
    let without = client_hello(false).await;
    assert!(!offers(&without, b"\x02h2"), "{without:?}");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("bound"));
    let transport = Transport::new(TransportOptions {
        connect: Duration::from_millis(100),
        ..TransportOptions::default()
    });
    transport.warm();
    let client = builder(&url).transport(transport).build();
    let started = Instant::now();
    let request = Request::chat("openai/fake-ok", "hi");
    let error = client.completion_with(&request, &hasty().retries(0)).await.expect_err("nobody answers");
    assert_eq!(error.kind(), Kind::Connection);
    assert!(
        error.context().iter().any(|(_, cause)| cause.contains("not connected within 0.100 s")),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

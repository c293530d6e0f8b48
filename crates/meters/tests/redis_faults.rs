//! Redis paused, slow, reset, restarted empty, never there: no call fails or waits for it, and it is found again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollway_meters::*;
use tollway_model::Secret;
use tollway_testkit::services;
use tracing_subscriber::fmt::MakeWriter;

mod support;
use support::*;

/// The bound as it is by default.
fn bounded(url: &str) -> RedisSettings {
    RedisSettings::new(RedisAddress::Url(Secret::new(url)))
}

/// Counts the lines that are logged from warnings upwards and information.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;
    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

/// Tests run on one thread, so what is logged there is all.
fn listen_to_the_log() -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

fn generous() -> Vec<Claim> {
    let limits = Limits {
        rpm: Some(1_000_000),
        parallel: Some(1000),
        budgets: vec![budget(i64::MAX / 2)],
        ..Limits::default()
    };
    vec![claim(ScopeKind::Key, "capped", limits)]
}

/// Calls, one after the other, for so long. Every one must be admitted. How long each waited, sorted.
async fn load(instance: &Instance, ledger: &Ledger, lasting: Duration) -> Vec<Duration> {
    let (claims, end, mut waits) = (generous(), Instant::now() + lasting, Vec::new());
    while Instant::now() < end {
        let begun = Instant::now();
        let hold = instance.meters.reserve(&claims, money(5)).await.unwrap();
        waits.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
        ledger.0.fetch_add(3, Ordering::SeqCst);
        hold.settle(spent(3));
    }
    waits.sort();
    waits
}

/// The bound with some room for a busy machine, and hardly anything for nearly all calls.
#[track_caller]
fn check_waits(waits: &[Duration]) {
    assert!(waits.len() > 50, "only {} calls", waits.len());
    let (usual, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    assert!(usual < Duration::from_millis(5), "half the calls waited {usual:?}");
    assert!(longest < Duration::from_millis(250), "a call waited {longest:?}");
    let late = waits.iter().filter(|wait| **wait > Duration::from_millis(15)).count();
    assert!(late <= 3 + waits.len() / 50, "{late} of {} calls waited for the store", waits.len());
}

/// The store answers again, and counts everything that was spent.
async fn check_recovery(instance: &Instance, ledger: &Ledger) {
    until(Duration::from_secs(5), || instance.redis.health().up).await;
    let total = ledger.0.load(Ordering::SeqCst);
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let _ = instance.meters.flush().await;
        // Decisions that were asked for just before the store stopped may be made when it goes on; their lease ends.
        let counted = used(instance).await;
        if counted == total {
            return;
        }
        assert!(Instant::now() < end, "the store counts {counted} of {total}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const LEASE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_paused_store_delays_nobody_and_misses_nothing() {
    let (lines, _guard) = listen_to_the_log();
    let server = services::Redis::start().unwrap();
    let ledger = Arc::new(Ledger::default());
    let instance = connected(bounded(&server.url()), LEASE, &ledger).await;
    load(&instance, &ledger, Duration::from_millis(300)).await;
    server.pause().unwrap();
    let waits = load(&instance, &ledger, Duration::from_secs(3)).await;
    assert!(!instance.redis.health().up);
    check_waits(&waits);
    server.resume().unwrap();
    check_recovery(&instance, &ledger).await;
    assert!(lines.count() <= 8, "{lines:?}", lines = lines.0.lock().unwrap());
}

#[tokio::test]
async fn many_calls_at_once_do_not_take_a_moment_for_an_outage() {
    let server = services::Redis::start().unwrap();
    let instance = connected(bounded(&server.url()), LEASE, &Arc::default()).await;
    // Too narrow for blocks: each asks for itself.
    let claims = [claim(ScopeKind::Key, "k", Limits { parallel: Some(20), ..Limits::default() })];
    let (mut stalls, mut turn) = (0, 0);
    while stalls < 3 {
        turn += 1;
        assert!(turn < 50, "this machine is too busy to say");
        until(Duration::from_secs(5), || instance.redis.health().up).await;
        let since = instance.redis.health().since;
        let begun = Instant::now();
        server.pause().unwrap();
        let calls =
            futures_util::future::join_all((0..10).map(|_| instance.meters.reserve(&claims, money(0))));
        let wake = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            server.resume().unwrap();
            begun.elapsed()
        };
        let (calls, stall) = tokio::join!(calls, wake);
        // A machine that is busy may have made more of it than a moment.
        let moment = stall < Duration::from_millis(50) && begun.elapsed() < Duration::from_millis(58);
        if moment {
            assert!(calls.iter().all(Result::is_ok));
            assert_eq!((instance.redis.health().up, instance.redis.health().since), (true, since));
            stalls += 1;
        }
        drop(calls);
        let _ = instance.meters.flush().await;
        if !moment {
            // What the store decided for nobody is in its places until the lease ends.
            tokio::time::sleep(LEASE).await;
        }
    }
}

#[tokio::test]
async fn a_store_that_loses_everything_is_seeded_from_the_ledger() {
    let (lines, _guard) = listen_to_the_log();
    let mut server = services::Redis::start().unwrap();
    let ledger = Arc::new(Ledger::default());
    let instance = connected(bounded(&server.url()), LEASE, &ledger).await;
    let claims = generous();
    load(&instance, &ledger, Duration::from_millis(300)).await;
    let long = instance.meters.reserve(&claims, money(100)).await.unwrap();
    server.stop().unwrap();
    let waits = load(&instance, &ledger, Duration::from_secs(2)).await;
    check_waits(&waits);
    server.start_again().unwrap();
    until(Duration::from_secs(5), || instance.redis.health().up).await;
    let total = ledger.0.load(Ordering::SeqCst);
    assert_eq!(used(&instance).await, total + 100, "what is held is told again");
    drop(long);
    instance.meters.flush().await.unwrap();
    assert_eq!(used(&instance).await, total);
    assert!(lines.count() <= 8, "{lines:?}", lines = lines.0.lock().unwrap());
}

#[tokio::test]
async fn a_store_that_was_never_there_is_done_without() {
    let (lines, _guard) = listen_to_the_log();
    let ledger = Arc::new(Ledger::default());
    // Port 1 refuses.
    let instance = instance(bounded("redis://127.0.0.1:1"), LEASE, &ledger);
    let waits = load(&instance, &ledger, Duration::from_secs(2)).await;
    assert!(waits[waits.len() - 1] < Duration::from_millis(100));
    assert_eq!(
        denied(instance.meters.reserve(&capped(0), money(1)).await).used,
        ledger.0.load(Ordering::SeqCst)
    );
    assert_eq!(instance.meters.health().map(|health| health.up), Some(false));
    assert_eq!(lines.count(), 1, "{lines:?}", lines = lines.0.lock().unwrap());
}

const PASS: u8 = 0;
const SLOW: u8 = 1;
const RESET: u8 = 2;

/// Stands between the meters and the store.
struct Proxy {
    url: String,
    mode: Arc<AtomicU8>,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(server: &services::Redis) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let target = server.url().trim_start_matches("redis://").to_owned();
        let (mode, connections) = (Arc::new(AtomicU8::new(PASS)), Arc::new(AtomicUsize::new(0)));
        let proxy = Proxy { url, mode: Arc::clone(&mode), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&target).await.unwrap();
                let (client, server) = (client.into_split(), server.into_split());
                tokio::spawn(pump(client.0, server.1, Arc::clone(&mode)));
                tokio::spawn(pump(server.0, client.1, Arc::clone(&mode)));
            }
        });
        proxy
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mode: Arc<AtomicU8>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        match mode.load(Ordering::SeqCst) {
            SLOW => tokio::time::sleep(Duration::from_secs(30)).await,
            RESET => return,
            _ => {}
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

async fn check_proxy_fault(mode: u8) {
    let (lines, _guard) = listen_to_the_log();
    let server = services::Redis::start().unwrap();
    let proxy = Proxy::start(&server).await;
    let ledger = Arc::new(Ledger::default());
    let instance = connected(bounded(&proxy.url), LEASE, &ledger).await;
    load(&instance, &ledger, Duration::from_millis(300)).await;
    proxy.mode.store(mode, Ordering::SeqCst);
    let before = proxy.connections.load(Ordering::SeqCst);
    let waits = load(&instance, &ledger, Duration::from_secs(4)).await;
    check_waits(&waits);
    let attempts = proxy.connections.load(Ordering::SeqCst) - before;
    assert!((1..=10).contains(&attempts), "{attempts} attempts to connect in four seconds");
    proxy.mode.store(PASS, Ordering::SeqCst);
    check_recovery(&instance, &ledger).await;
    assert!(lines.count() <= 8, "{lines:?}", lines = lines.0.lock().unwrap());
}

#[tokio::test]
async fn a_store_thirty_seconds_slow_delays_nobody() {
    check_proxy_fault(SLOW).await;
}

#[tokio::test]
async fn a_store_that_resets_connections_delays_nobody() {
    check_proxy_fault(RESET).await;
}

#[tokio::test]
async fn without_the_store_each_process_has_its_share_of_what_was_left() {
    let mut server = services::Redis::start().unwrap();
    let ledger = Arc::default();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(connected(settings(&server.url()), LEASE, &ledger).await);
    }
    // Everybody has heard of everybody.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let limits = Limits { rpm: Some(30), parallel: Some(2), budgets: vec![budget(100)], ..Limits::default() };
    let claims = [claim(ScopeKind::Key, "capped", limits.clone())];
    instances[0].meters.reserve(&claims, money(40)).await.unwrap().settle(spent(40));
    instances[0].meters.flush().await.unwrap();
    for instance in &instances {
        drop(instance.meters.reserve(&claims, money(1)).await.unwrap());
        instance.meters.flush().await.unwrap();
    }
    server.stop().unwrap();
    let down = || instances.iter().all(|instance| !instance.redis.health().up);
    until(Duration::from_secs(10), down).await;
    let mut total = 0;
    for instance in &instances {
        let mut holds = Vec::new();
        while let Ok(hold) = instance.meters.reserve(&claims, money(5)).await {
            holds.push(hold);
        }
        assert_eq!(holds.len(), 1, "a third of two places is one");
        for hold in holds {
            hold.settle(spent(5));
            total += 5;
        }
        while let Ok(hold) = instance.meters.reserve(&claims, money(5)).await {
            hold.settle(spent(5));
            total += 5;
        }
        let refusal = denied(instance.meters.reserve(&claims, money(5)).await);
        assert_eq!((refusal.limit, refusal.max), (LimitKind::Budget, 100));
    }
    assert!((45..=60).contains(&total), "{total} of 60 were spent");
    server.start_again().unwrap();
    let up = || instances.iter().all(|instance| instance.redis.health().up);
    until(Duration::from_secs(10), up).await;
    for instance in &instances {
        instance.meters.flush().await.unwrap();
    }
    // The ledger of this test knows of nothing, and says that this is everything.
    assert_eq!(used(&instances[0]).await, 0);
}

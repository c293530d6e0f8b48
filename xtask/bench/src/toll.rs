//! What keys, limits, budgets, receipts and the ledger cost: the gateway beside itself without them.
//!
//! Every lane is a process of its own with its own data, and only one is called at a time. Receipts reach the database
//! behind the calls, so a sample is followed by a wait until the process is quiet: processor time is told both without
//! that (while serving) and with it (all in).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::Effort;
use crate::call::{self, Call, MASTER_KEY, SHORT};
use crate::load;
use crate::process::{Place, Server, free_port};
use crate::report::{Aim, Better, Measure, Report, Target};
use crate::stage::{Stage, sibling};

/// Connections of the saturated samples; as in `chat`.
const CONNECTIONS: usize = 32;

/// Longest wait for a server's first answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for a process to have shipped its receipts.
const DRAIN: Duration = Duration::from_secs(120);

/// A gateway process and how it is called.
struct Lane {
    target: Target,
    server: Server,
    call: Call,
}

/// Where a cluster's shared state is.
struct Services {
    postgres: String,
    redis: String,
    /// Ends with its standard input.
    process: Option<Child>,
}

/// A key with limits, SQLite.
pub(crate) fn alone(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let names = [
        "toll: calls per second",
        "toll: processor time per call, serving",
        "toll: processor time per call, receipts stored",
        "toll: p50 at 500/s",
        "toll: p99 at 500/s",
        "toll: memory after the rounds",
    ];
    measure(stage, effort, report, None, 0.85, names)
}

/// A key with limits, PostgreSQL and Redis.
pub(crate) fn cluster(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let services = Services::find_or_start(stage)?;
    let names = [
        "cluster: calls per second",
        "cluster: processor time per call, serving",
        "cluster: processor time per call, receipts stored",
        "cluster: p50 at 500/s",
        "cluster: p99 at 500/s",
        "cluster: memory after the rounds",
    ];
    measure(stage, effort, report, Some(&services), 0.80, names)
}

fn measure(
    stage: &Stage,
    effort: Effort,
    report: &mut Report,
    services: Option<&Services>,
    aim: f64,
    names: [&'static str; 6],
) -> anyhow::Result<()> {
    const MIB: f64 = 1024.0 * 1024.0;
    let Some(gateway) = stage.gateway_program.as_deref() else { return Ok(()) };
    let reference = if stage.baseline.is_some() { "baseline" } else { "plain" };
    let new = |name, unit, better, aim| Measure::new(name, unit, better, aim).beside(reference);
    let [rate, serving, stored, median, tail, memory] = names;
    let mut rate = new(rate, "1/s", Better::More, Aim::TimesAtLeast(aim));
    let mut serving = new(serving, "us", Better::Less, Aim::Times);
    let mut stored = new(stored, "us", Better::Less, Aim::Times);
    let mut median = new(median, "us", Better::Less, Aim::OverBareAtMost(500.0));
    let mut tail = new(tail, "us", Better::Less, Aim::OverBareAtMost(500.0));
    let mut memory = new(memory, "MiB", Better::Less, Aim::Shown);

    let plain = start(stage, stage.baseline.as_deref().unwrap_or(gateway), "plain", None)?;
    let toll = start(stage, gateway, "toll", services)?;
    let key = make_key(&toll)?;
    let chat = Call::openai("chat", None, SHORT);
    let mut lanes = [
        Lane { target: Target::Bare, server: plain, call: chat.clone() },
        Lane { target: Target::Tollway, server: toll, call: chat.with_key(key) },
    ];
    for _ in 0..effort.rounds {
        for Lane { target, server, call } in &lanes {
            quiet(server)?;
            let before = server.cpu()?;
            let sample = load::saturate(server, call, CONNECTIONS, effort.sample)
                .with_context(|| format!("{target:?}"))?;
            quiet(server)?;
            rate.push(*target, sample.calls / sample.seconds);
            serving.push(*target, sample.cpu / sample.calls * 1e6);
            // The first call of each connection is before the sample.
            let calls = sample.calls + CONNECTIONS as f64;
            stored.push(*target, server.cpu()?.since(&before).as_secs_f64() / calls * 1e6);
        }
        for Lane { target, server, call } in &lanes {
            let latencies = load::pace(server, call, 500, 16, effort.sample * 2)?;
            median.push(*target, latencies.quantile(0.5) * 1e6);
            tail.push(*target, latencies.quantile(0.99) * 1e6);
        }
        lanes.rotate_left(1);
    }
    for Lane { target, server, .. } in &lanes {
        memory.push(*target, server.memory()? / MIB);
    }
    report.add([rate, serving, stored, median, tail, memory]);
    Ok(())
}

/// Starts a gateway of its own on the server's core, with prices, and waits for its first answer.
fn start(stage: &Stage, program: &Path, name: &str, services: Option<&Services>) -> anyhow::Result<Server> {
    let directory = stage.directory.join(name);
    std::fs::create_dir_all(directory.join("data"))?;
    let config = directory.join("config.yaml");
    let mut text = call::priced_config(stage.upstream());
    if services.is_some() || name == "toll" {
        text.push_str("  apply_user_budget_to_team_keys: true\n");
    }
    std::fs::write(&config, text)?;
    let log = stage.directory.join(format!("{name}.log"));
    let place = Place { core: stage.cores.server, log: &log, port: free_port()? };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(place.core.to_string()).arg(program);
    command.args(["serve", "--host", "127.0.0.1", "--port", &place.port.to_string()]);
    command.arg("--config").arg(&config).arg("--data-dir").arg(directory.join("data"));
    if let Some(services) = services {
        command.env("DATABASE_URL", &services.postgres).env("REDIS_URL", &services.redis);
    }
    let mut server = Server::spawn(command, place)?;
    server
        .wait_for(&Call::openai("chat", None, SHORT), PATIENCE)
        .with_context(|| format!("gateway `{name}`"))?;
    Ok(server)
}

/// Makes a team, a user and a key with limits that are never reached, and returns the key.
fn make_key(server: &Server) -> anyhow::Result<String> {
    let limits = || {
        json!({
            "rpm_limit": 1_000_000_000_u64, "tpm_limit": 1_000_000_000_000_u64, "max_parallel_requests": 1_000_000,
            "max_budget": 1_000_000.0, "budget_duration": "30d",
        })
    };
    let with = |more: Value| {
        let mut body = limits();
        if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
            body.extend(more.clone());
        }
        body
    };
    post(server, "/team/new", &with(json!({ "team_id": "bench-team", "team_alias": "bench" })))?;
    post(server, "/user/new", &with(json!({ "user_id": "bench-user", "auto_create_key": false })))?;
    let key = with(json!({
        "key_alias": "bench", "team_id": "bench-team", "user_id": "bench-user",
        "budget_limits": [{ "budget_duration": "24h", "max_budget": 100_000.0 }],
    }));
    let answer = post(server, "/key/generate", &key)?;
    let key = answer.get("key").and_then(Value::as_str).context("the answer to /key/generate has no key")?;
    Ok(key.to_owned())
}

/// Posts a body with the master key and returns the JSON answer.
pub(crate) fn post(server: &Server, path: &str, body: &Value) -> anyhow::Result<Value> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(server.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {MASTER_KEY}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        server.address,
        body.len(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}");
    serde_json::from_str(body).with_context(|| format!("{path}: {body}"))
}

/// Waits until the process has nothing left to do: its receipts are in the database.
fn quiet(server: &Server) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut before = server.cpu()?;
    loop {
        std::thread::sleep(Duration::from_millis(600));
        let now = server.cpu()?;
        if now.since(&before) < Duration::from_millis(6) {
            return Ok(());
        }
        if begin.elapsed() > DRAIN {
            bail!("the gateway is still busy {DRAIN:?} after its last call");
        }
        before = now;
    }
}

impl Services {
    /// Those that the environment names, as for the tests, or new ones on the load's core.
    fn find_or_start(stage: &Stage) -> anyhow::Result<Services> {
        let named = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
        if let (Some(postgres), Some(redis)) = (named("TOLLWAY_TEST_POSTGRES"), named("TOLLWAY_TEST_REDIS")) {
            return Ok(Services { postgres, redis, process: None });
        }
        let mut command = Command::new("taskset");
        command.arg("-c").arg(stage.cores.load.to_string()).arg(sibling("test-services")?);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start the servers of `cluster`")?;
        let output = process.stdout.take().context("no output of the servers' starter")?;
        let (mut postgres, mut redis) = (None, None);
        for line in BufReader::new(output).lines() {
            match line?.split_once('=') {
                Some(("TOLLWAY_TEST_POSTGRES", url)) => postgres = Some(url.to_owned()),
                Some(("TOLLWAY_TEST_REDIS", url)) => redis = Some(url.to_owned()),
                Some(_) => {}
                None => break,
            }
        }
        let (Some(postgres), Some(redis)) = (postgres, redis) else {
            bail!("PostgreSQL and Redis did not start");
        };
        Ok(Services { postgres, redis, process: Some(process) })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // The servers stop when their starter's input ends.
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }
}

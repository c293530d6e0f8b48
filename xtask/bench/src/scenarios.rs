//! What is measured, one function each.

use std::time::Duration;

use anyhow::Context as _;

use crate::Effort;
use crate::call::{Call, SHORT, prompt};
use crate::load::{self, Saturated};
use crate::report::{Aim, Better, Measure, Report, Target};
use crate::stage::Stage;

/// A named group of measurements.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Stage, Effort, &mut Report) -> anyhow::Result<()>,
}

/// Every scenario, in the order they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "chat",
        about: "small chat calls, saturated, client and upstream speak one dialect",
        run: chat,
    },
    Scenario {
        name: "latency",
        about: "small chat calls at 500 a second: what the gateway adds",
        run: latency,
    },
    Scenario { name: "stream", about: "streams of 200 chunks, saturated", run: stream },
    Scenario {
        name: "first",
        about: "time to the first token of a stream at 100 a second",
        run: first_token,
    },
    Scenario { name: "prompt", about: "prompts of 100 KB, saturated", run: large_prompt },
    Scenario {
        name: "cross",
        about: "OpenAI's client, Anthropic's upstream: everything is translated",
        run: cross,
    },
    Scenario {
        name: "toll",
        about: "small chat calls with a key, its limits and budgets, on SQLite",
        run: crate::toll::alone,
    },
    Scenario {
        name: "cluster",
        about: "the same with PostgreSQL and Redis, which are started for it",
        run: crate::toll::cluster,
    },
    Scenario { name: "memory", about: "resident memory idle and with 256 calls in flight", run: memory },
    Scenario { name: "start", about: "from the start of the process to the first answer", run: start },
];

/// Connections of the saturated scenarios: enough to keep one core busy, few enough for its caches.
const CONNECTIONS: usize = 32;

/// Chunks of a saturated stream.
const CHUNKS: usize = 200;

/// Calls for the bare proxy, and what a client sends the gateway for the same upstream traffic.
struct Pair {
    bare: Call,
    tollway: Call,
}

impl Pair {
    fn same(call: Call) -> Pair {
        Pair { bare: call.clone(), tollway: call }
    }

    fn for_target(&self, target: Target) -> &Call {
        if target == Target::Tollway { &self.tollway } else { &self.bare }
    }
}

/// Runs `measure` for every target in every round; the order turns round by round.
fn in_rounds(
    stage: &Stage,
    rounds: usize,
    targets: &[Target],
    mut measure: impl FnMut(Target, &crate::process::Server) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut order = targets.to_vec();
    for _ in 0..rounds {
        for target in &order {
            let Some(server) = stage.server(*target) else { continue };
            measure(*target, server).with_context(|| format!("{target:?}"))?;
        }
        order.rotate_left(1);
    }
    Ok(())
}

const PROXIES: [Target; 2] = [Target::Bare, Target::Tollway];
const ALL: [Target; 3] = [Target::Direct, Target::Bare, Target::Tollway];

fn saturated(
    stage: &Stage,
    effort: Effort,
    pair: &Pair,
    mut take: impl FnMut(Target, Saturated),
) -> anyhow::Result<()> {
    in_rounds(stage, effort.rounds, &PROXIES, |target, server| {
        take(target, load::saturate(server, pair.for_target(target), CONNECTIONS, effort.sample)?);
        Ok(())
    })
}

fn chat(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut rate = Measure::new("chat: calls per second", "1/s", Better::More, Aim::Shown);
    let mut cpu = Measure::new("chat: processor time per call", "us", Better::Less, Aim::TimesAtMost(1.6));
    let mut busy = Measure::new("chat: server core busy", "%", Better::More, Aim::Shown);
    saturated(stage, effort, &Pair::same(Call::openai("chat", None, SHORT)), |target, sample| {
        rate.push(target, sample.calls / sample.seconds);
        cpu.push(target, sample.cpu / sample.calls * 1e6);
        busy.push(target, sample.cpu / sample.seconds * 100.0);
    })?;
    report.add([rate, cpu, busy]);
    Ok(())
}

fn latency(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut median = Measure::new("latency p50 at 500/s", "us", Better::Less, Aim::OverBareAtMost(100.0));
    let mut tail = Measure::new("latency p99 at 500/s", "us", Better::Less, Aim::OverDirectAtMost(500.0));
    let call = Call::openai("chat", None, SHORT);
    in_rounds(stage, effort.rounds, &ALL, |target, server| {
        let latencies = load::pace(server, &call, 500, 16, effort.sample * 2)?;
        median.push(target, latencies.quantile(0.5) * 1e6);
        tail.push(target, latencies.quantile(0.99) * 1e6);
        Ok(())
    })?;
    report.add([median, tail]);
    Ok(())
}

fn stream(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut rate = Measure::new("stream: chunks per second", "1/s", Better::More, Aim::TimesAtLeast(0.95));
    let mut cpu = Measure::new("stream: processor time per chunk", "us", Better::Less, Aim::TimesAtMost(1.3));
    let call = Call::openai("stream200", Some(CHUNKS), SHORT);
    saturated(stage, effort, &Pair::same(call), |target, sample| {
        rate.push(target, sample.events / sample.seconds);
        cpu.push(target, sample.cpu / sample.events * 1e6);
    })?;
    report.add([rate, cpu]);
    Ok(())
}

fn first_token(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut median = Measure::new("first token p50 at 100/s", "us", Better::Less, Aim::OverBareAtMost(100.0));
    let mut tail = Measure::new("first token p99 at 100/s", "us", Better::Less, Aim::OverDirectAtMost(500.0));
    let call = Call::openai("stream5-pause2", Some(5), SHORT);
    in_rounds(stage, effort.rounds, &ALL, |target, server| {
        let latencies = load::pace(server, &call, 100, 8, effort.sample * 2)?;
        median.push(target, latencies.quantile(0.5) * 1e6);
        tail.push(target, latencies.quantile(0.99) * 1e6);
        Ok(())
    })?;
    report.add([median, tail]);
    Ok(())
}

fn large_prompt(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut rate =
        Measure::new("100 KB prompt: calls per second", "1/s", Better::More, Aim::TimesAtLeast(0.7));
    let mut cpu = Measure::new("100 KB prompt: processor time per call", "us", Better::Less, Aim::Shown);
    saturated(stage, effort, &Pair::same(Call::openai("chat", None, &prompt(100_000))), |target, sample| {
        rate.push(target, sample.calls / sample.seconds);
        cpu.push(target, sample.cpu / sample.calls * 1e6);
    })?;
    report.add([rate, cpu]);
    Ok(())
}

fn cross(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut cpu =
        Measure::new("cross dialect: processor time per call", "us", Better::Less, Aim::TimesAtMost(4.0));
    let whole = Pair {
        bare: Call::anthropic("chat", None, SHORT),
        tollway: Call::openai("claude-chat", None, SHORT),
    };
    saturated(stage, effort, &whole, |target, sample| cpu.push(target, sample.cpu / sample.calls * 1e6))?;

    let mut chunk =
        Measure::new("cross dialect: processor time per chunk", "us", Better::Less, Aim::TimesAtMost(4.0));
    let streamed = Pair {
        bare: Call::anthropic("stream200", Some(CHUNKS), SHORT),
        tollway: Call::openai("claude-stream200", Some(CHUNKS), SHORT),
    };
    saturated(stage, effort, &streamed, |target, sample| {
        // The two dialects have a few framing events more or less; the text chunks are the same.
        let chunks = sample.calls * CHUNKS as f64;
        chunk.push(target, sample.cpu / chunks * 1e6);
    })?;
    report.add([cpu, chunk]);
    Ok(())
}

fn memory(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    const MIB: f64 = 1024.0 * 1024.0;
    let mut idle = Measure::new("memory idle after the first call", "MiB", Better::Less, Aim::AtMost(25.0));
    let mut peak = Measure::new("memory peak with 256 in flight", "MiB", Better::Less, Aim::AtMost(60.0));
    let calls = [Call::openai("hold300", None, SHORT), Call::openai("stream20-hold300", Some(20), SHORT)];
    for _ in 0..effort.rounds.div_ceil(2) {
        stage.renew_bare()?;
        stage.renew_gateway()?;
        std::thread::sleep(Duration::from_secs(1));
        in_rounds(stage, 1, &PROXIES, |target, server| {
            idle.push(target, server.memory()? / MIB);
            server.forget_peak()?;
            for _ in 0..if effort.quick { 2 } else { 5 } {
                load::at_once(server, &calls, 256)?;
            }
            peak.push(target, server.peak_memory()? / MIB);
            Ok(())
        })?;
    }
    report.add([idle, peak]);
    Ok(())
}

fn start(stage: &mut Stage, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let mut time = Measure::new("start to first answer", "ms", Better::Less, Aim::AtMost(50.0));
    for _ in 0..effort.rounds {
        time.push(Target::Bare, stage.renew_bare()?.as_secs_f64() * 1e3);
        if let Some(elapsed) = stage.renew_gateway()? {
            time.push(Target::Tollway, elapsed.as_secs_f64() * 1e3);
        }
    }
    report.add([time]);
    Ok(())
}

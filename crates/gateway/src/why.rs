//! `tollway why`: a receipt as a readable path.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tollway::{Timeouts, Transport};
use tollway_config::process_env;

use crate::cli::WhyArgs;
use crate::output::{line, shown_url};

/// Asks the running gateway for a receipt and prints it.
pub(crate) fn run(arguments: &WhyArgs) -> Result<ExitCode, String> {
    let key = arguments.key.clone().or_else(|| process_env("LITELLM_MASTER_KEY"));
    let key = key.ok_or("no key: pass --key, or set TOLLWAY_KEY to the gateway's admin key")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let receipt = runtime.block_on(fetch(arguments, &key))?;
    if arguments.json {
        line(&serde_json::to_string_pretty(&receipt).unwrap_or_default());
    } else {
        line(explain(&receipt).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

async fn fetch(arguments: &WhyArgs, key: &str) -> Result<Value, String> {
    let url = format!("{}/receipts/{}", arguments.url.trim_end_matches('/'), arguments.id);
    let request =
        http::Request::get(&url).header("authorization", format!("Bearer {key}")).body(Bytes::new());
    let request = request.map_err(|error| format!("{} cannot be asked: {error}", shown_url(&url)))?;
    let timeouts = Timeouts { first_byte: Duration::from_secs(10), ..Timeouts::default() };
    let unreachable = |error| {
        format!("no gateway at {}: {error}; is it running? --url names another", shown_url(&arguments.url))
    };
    let answer = Transport::default().send(request, &timeouts).await.map_err(unreachable)?;
    let status = answer.status;
    let body = answer.body.collect(1 << 20).await.map_err(|error| error.to_string())?;
    let value: Value =
        serde_json::from_slice(&body).map_err(|_| format!("{url} is not a Tollway gateway"))?;
    if !status.is_success() {
        let message = value.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
        return Err(format!("{status}: {message}"));
    }
    Ok(value)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// The key's name, or the start of its hash.
fn key(receipt: &Value) -> &str {
    let who = |name: &str| receipt.pointer(&format!("/who/{name}")).and_then(Value::as_str);
    let hash = who("token").map(|hash| hash.get(..16).unwrap_or(hash));
    who("key_alias").or(hash).filter(|key| !key.is_empty()).unwrap_or("unknown")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

fn millis(micros: u64) -> String {
    format!("{}.{:01} ms", micros / 1000, micros % 1000 / 100)
}

/// The path of a call, one step a line.
fn explain(receipt: &Value) -> String {
    let mut out = String::new();
    let streamed = receipt.get("stream").and_then(Value::as_bool).unwrap_or(false);
    let how = if streamed { "streamed" } else { "whole" };
    out.push_str(&format!("call {}\n", text(receipt, "id")));
    out.push_str(&format!(
        "  asked     {} of {} in the {} dialect, {how}, with key {}\n",
        text(receipt, "operation"),
        text(receipt, "model"),
        text(receipt, "surface"),
        key(receipt),
    ));
    path_lines(receipt, &mut out);
    for notice in list(receipt, "notices") {
        out.push_str(&format!(
            "  notice    {} {}: {}\n",
            text(notice, "severity"),
            text(notice, "field"),
            text(notice, "message")
        ));
    }
    usage_lines(receipt, &mut out);
    let status = number(receipt, "/status");
    out.push_str(&format!("  outcome   {} with status {status}", text(receipt, "outcome")));
    if let Some(error) = receipt.get("error") {
        out.push_str(&format!(": {} ({})", text(error, "message"), text(error, "kind")));
    }
    let timing = |key: &str| number(receipt, &format!("/timing/{key}"));
    out.push_str(&format!(
        "\n  took      {}, of it {} in the gateway",
        millis(timing("total_us")),
        millis(timing("overhead_us"))
    ));
    if receipt.pointer("/timing/first_byte_us").is_some_and(Value::is_u64) {
        out.push_str(&format!("; first byte after {}", millis(timing("first_byte_us"))));
    }
    out.push('\n');
    out
}

/// Every group in the order in which it was tried: who was left out, what was tried, what came of it.
fn path_lines(receipt: &Value, out: &mut String) {
    let (attempts, skipped) = (list(receipt, "attempts"), list(receipt, "skipped"));
    // The group that was asked for has no name in its records.
    let mut groups: Vec<&str> = vec![""];
    for group in attempts.iter().map(|attempt| text(attempt, "group")) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    // A group that was passed over as a whole was never tried.
    let passed = |one: &&Value| !groups.contains(&text(one, "group"));
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            out.push_str(&format!("  fallback  {index} to {group}\n"));
        }
        let is_here = |one: &&Value| text(one, "group") == *group;
        let ranked = |one: &&Value| one.get("rank").is_some_and(Value::is_u64);
        for one in skipped.iter().filter(is_here).filter(|one| !ranked(one)) {
            out.push_str(&format!("  skipped   {}: {}\n", text(one, "deployment"), text(one, "reason")));
        }
        for (number, attempt) in attempts.iter().enumerate().filter(|(_, attempt)| is_here(attempt)) {
            attempt_lines(number + 1, attempt, out);
        }
        for one in skipped.iter().filter(is_here).filter(ranked) {
            let (rank, deployment) = (number(one, "/rank"), text(one, "deployment"));
            out.push_str(&format!("  rank {rank}    {deployment}: {}\n", text(one, "reason")));
        }
    }
    for one in skipped.iter().filter(passed) {
        out.push_str(&format!("  passed    {}: {}\n", text(one, "deployment"), text(one, "reason")));
    }
}

fn attempt_lines(number: usize, attempt: &Value, out: &mut String) {
    let took = attempt.get("took_us").and_then(Value::as_u64).unwrap_or(0);
    let lane = match text(attempt, "lane") {
        "verbatim" => "verbatim".to_owned(),
        dialect => format!("translated to {dialect}"),
    };
    out.push_str(&format!(
        "  attempt {number} {}/{} ({}), {lane}, {}: ",
        text(attempt, "provider"),
        text(attempt, "model"),
        text(attempt, "deployment"),
        millis(took),
    ));
    match attempt.get("error") {
        Some(error) => {
            let status = error.get("status").and_then(Value::as_u64).unwrap_or(0);
            out.push_str(&format!(
                "failed with {} {status}: {}",
                text(error, "kind"),
                text(error, "message")
            ));
        }
        None => out.push_str("answered"),
    }
    if let Some(cost) = attempt.get("cost").and_then(Value::as_i64) {
        out.push_str(&format!("; it cost {} USD", tollway_model::Money::from_nanos(cost)));
    }
    if let Some(rests) = attempt.get("rests_ms").and_then(Value::as_u64) {
        out.push_str(&format!("; it rests for {}", millis(rests * 1000)));
    }
    if let Some(then) = attempt.get("then").and_then(Value::as_str) {
        out.push_str(&format!("; {then}"));
    }
    out.push('\n');
}

fn usage_lines(receipt: &Value, out: &mut String) {
    if let Some(usage) = receipt.get("usage").and_then(Value::as_object) {
        let counts =
            usage.iter().filter_map(|(name, count)| Some((name, count.as_u64().filter(|count| *count > 0)?)));
        let counts: Vec<String> = counts.map(|(name, count)| format!("{count} {name}")).collect();
        out.push_str(&format!(
            "  used      {}\n",
            if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
        ));
    }
    let cost = receipt.pointer("/cost/usd").and_then(Value::as_str);
    out.push_str(&format!("  cost      {}\n", cost.map_or("unknown".to_owned(), |usd| format!("{usd} USD"))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fallback_reads_as_a_path_of_groups() {
        let failed = json!({ "kind": "timeout", "status": 408, "message": "late" });
        let receipt = json!({
            "id": "r1", "operation": "chat", "model": "gpt", "surface": "openai-chat", "who": { "token": "ab" },
            "skipped": [
                { "deployment": "d0", "reason": "it failed lately and rests for another 900 ms" },
                { "deployment": "d3", "rank": 2, "reason": "not needed: 4 calls in flight" },
                { "group": "secret", "deployment": "secret", "reason": "the caller may not use this model" },
            ],
            "attempts": [
                { "provider": "groq", "model": "m", "deployment": "d1", "lane": "verbatim", "took_us": 1000,
                  "error": failed, "rests_ms": 5000, "then": "gave up: retries are off; fell back to claude" },
                { "group": "claude", "provider": "anthropic", "model": "c", "deployment": "d2", "lane": "anthropic", "took_us": 2000 },
            ],
            "outcome": "answered", "status": 200, "cost": {},
        });
        let explained = explain(&receipt);
        let path: Vec<&str> = explained.lines().skip(2).take(6).collect();
        assert_eq!(
            path,
            [
                "  skipped   d0: it failed lately and rests for another 900 ms",
                "  attempt 1 groq/m (d1), verbatim, 1.0 ms: failed with timeout 408: late; it rests for 5000.0 ms; gave up: \
                 retries are off; fell back to claude",
                "  rank 2    d3: not needed: 4 calls in flight",
                "  fallback  1 to claude",
                "  attempt 2 anthropic/c (d2), translated to anthropic, 2.0 ms: answered",
                "  passed    secret: the caller may not use this model",
            ]
        );
    }

    #[test]
    fn a_receipt_reads_as_a_path() {
        let receipt = json!({
            "id": "r1", "operation": "chat", "model": "gpt", "surface": "openai-chat", "stream": true, "who": { "token": "0123456789abcdef01", "key_alias": "ab" },
            "attempts": [
                { "provider": "groq", "model": "m", "deployment": "d1", "lane": "verbatim", "took_us": 1234,
                  "error": { "kind": "rate_limit", "status": 429, "message": "slow down" }, "then": "tried the next deployment" },
                { "provider": "anthropic", "model": "c", "deployment": "d2", "lane": "anthropic", "took_us": 9876 },
            ],
            "notices": [{ "severity": "changed", "field": "user", "message": "left out" }],
            "usage": { "input": 3, "output": 4, "reasoning": 0 },
            "cost": { "usd": "0.00012" }, "outcome": "answered", "status": 200,
            "timing": { "total_us": 12000, "overhead_us": 400, "first_byte_us": 5000 },
        });
        assert_eq!(
            explain(&receipt),
            "call r1\n  asked     chat of gpt in the openai-chat dialect, streamed, with key ab\n  \
             attempt 1 groq/m (d1), verbatim, 1.2 ms: failed with rate_limit 429: slow down; tried the next deployment\n  \
             attempt 2 anthropic/c (d2), translated to anthropic, 9.8 ms: answered\n  \
             notice    changed user: left out\n  used      3 input, 4 output\n  cost      0.00012 USD\n  \
             outcome   answered with status 200\n  took      12.0 ms, of it 0.4 ms in the gateway; first byte after 5.0 ms\n"
        );
    }
}

//! Receipts made from a number: for tests and measurements.

use std::sync::Arc;

use tollway_model::{Dialect, FinishReason, Kind, Money, Operation, Usage};
use tollway_prices::Bucket;

use crate::receipt::{
    AttemptRecord, CostLine, CostRecord, ErrorRecord, Outcome, Receipt, SkippedRecord, Timing, Who,
};

/// When the receipt of number 0 arrived: 2026-11-20T10:00Z.
pub const BEGIN: i64 = 1_795_168_800_000;

/// Milliseconds between two of them.
pub const STEP: i64 = 7_013;

/// The receipt of a number: always the same, plausible, and of every kind there is.
pub fn receipt(number: u64) -> Receipt {
    let random = |salt: u64| scrambled(number.wrapping_mul(31).wrapping_add(salt));
    let outcome = match random(1) % 20 {
        0 => Outcome::Refused,
        1 => Outcome::Failed,
        2 => Outcome::ClientClosed,
        3 => Outcome::Interrupted,
        _ => Outcome::Answered,
    };
    let model = random(2) % 5;
    let used = matches!(outcome, Outcome::Answered | Outcome::ClientClosed);
    let usage = used.then(|| usage(&random));
    let attempts =
        if matches!(outcome, Outcome::Refused | Outcome::Interrupted) { 0 } else { 1 + random(8) % 2 };
    let id = format!(
        "{:08x}-{:04x}-7000-8000-{:012x}",
        number >> 16,
        number & 0xffff,
        random(9) & 0xffff_ffff_ffff
    );
    let known = used && !random(10).is_multiple_of(16);
    let cost = i64::try_from(random(11) % 50_000_000).unwrap_or(0);
    Receipt {
        call_id: if random(12).is_multiple_of(4) { format!("call-{number}") } else { id.clone() },
        id,
        at: BEGIN + STEP * i64::try_from(number % (1 << 40)).unwrap_or(0),
        surface: if random(13).is_multiple_of(3) { Dialect::Anthropic } else { Dialect::OpenaiChat },
        operation: Operation::Chat,
        model: format!("group-{model}"),
        group: (random(30).is_multiple_of(9)).then(|| "group".to_owned()),
        stream: random(14).is_multiple_of(2),
        who: who(&random),
        outcome,
        status: match outcome {
            Outcome::Answered | Outcome::ClientClosed => 200,
            Outcome::Refused => 429,
            Outcome::Failed => 502,
            Outcome::Interrupted => 0,
        },
        skipped: if random(15).is_multiple_of(30) {
            vec![SkippedRecord {
                group: None,
                deployment: "deployment-9".into(),
                rank: None,
                reason: "cooling down".into(),
            }]
        } else {
            Vec::new()
        },
        attempts: (0..attempts)
            .map(|attempt| attempt_of(attempt + 1 == attempts, model, outcome, &random))
            .map(|attempt| if known { attempt } else { AttemptRecord { usage: None, cost: None, ..attempt } })
            .collect(),
        notices: Vec::new(),
        usage,
        finish: used.then_some(FinishReason::Stop),
        service_tier: None,
        cost: CostRecord {
            nanos: known.then_some(Money::from_nanos(cost)),
            partial: known && attempts == 2 && is_lost(&random) && lost_cost(&random).is_none(),
            usd: known.then(|| Money::from_nanos(cost).to_string()),
            estimated: outcome == Outcome::ClientClosed,
            held: Some(Money::from_nanos(cost + 1000)),
            lines: if known {
                vec![
                    CostLine { bucket: Bucket::Input, count: random(16) % 4000, unit_picos: 150_000 },
                    CostLine { bucket: Bucket::Output, count: random(17) % 2000, unit_picos: 600_000 },
                ]
            } else {
                Vec::new()
            },
        },
        error: matches!(outcome, Outcome::Refused | Outcome::Failed).then(|| failure(outcome)),
        timing: Timing { total_us: 1000 + random(18) % 3_000_000, first_byte_us: Some(900), overhead_us: 60 },
    }
}

fn usage(random: &impl Fn(u64) -> u64) -> Usage {
    Usage {
        input: random(3) % 4000,
        cache_read: if random(4).is_multiple_of(3) { random(5) % 9000 } else { 0 },
        output: random(6) % 2000,
        reasoning: if random(7).is_multiple_of(5) { 300 } else { 0 },
        ..Usage::default()
    }
}

fn who(random: &impl Fn(u64) -> u64) -> Who {
    let key = random(20) % 40;
    let master = key == 0;
    let team = key % 7;
    Who {
        token: format!(
            "{:064x}",
            u128::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) + 1
        )
        .into(),
        key: (!master).then(|| format!("key-{key}").into()),
        key_alias: (key.is_multiple_of(3) && !master).then(|| format!("alias {key}").into()),
        user: (!key.is_multiple_of(5)).then(|| format!("user-{}", key % 11).into()),
        team: (!master && team != 0).then(|| format!("team-{team}").into()),
        team_alias: None,
        organization: (team == 1 && !master).then(|| "organization".into()),
        customer: (random(21).is_multiple_of(6)).then(|| format!("customer-{}", random(22) % 9).into()),
        tags: if random(23).is_multiple_of(4) {
            vec!["production".into(), format!("job-{}", random(24) % 5).into()]
        } else {
            Vec::new()
        },
        session: (random(25).is_multiple_of(10)).then(|| format!("session-{}", random(26) % 100).into()),
        address: Some(std::net::IpAddr::from([192, 0, 2, 7])),
    }
}

fn attempt_of(last: bool, model: u64, outcome: Outcome, random: &impl Fn(u64) -> u64) -> AttemptRecord {
    let failed = !last || outcome == Outcome::Failed;
    let is_lost = !last && is_lost(random);
    AttemptRecord {
        group: (last && random(32).is_multiple_of(8)).then(|| "fallback".into()),
        deployment: format!("deployment-{}", (random(30) + random(33) % 2 * u64::from(last)) % 6).into(),
        provider: match (model.is_multiple_of(2), is_lost) {
            (true, _) => "openai".into(),
            (false, false) => "anthropic".into(),
            (false, true) => "bedrock".into(),
        },
        model: Arc::from(format!("model-{model}")),
        lane: "verbatim".into(),
        started_us: 40,
        took_us: random(31) % 2_000_000,
        error: failed.then(|| failure(Outcome::Failed)),
        rests_ms: None,
        usage: is_lost.then(|| Usage { input: 7, estimated: true, ..Usage::default() }),
        cost: if is_lost { lost_cost(random) } else { None },
        then: (!last).then(|| "tried the next deployment".to_owned()),
    }
}

/// Was an attempt before the last one lost, and is paid for?
fn is_lost(random: &impl Fn(u64) -> u64) -> bool {
    random(34).is_multiple_of(3)
}

/// What it cost; sometimes nobody knows.
fn lost_cost(random: &impl Fn(u64) -> u64) -> Option<Money> {
    let nanos = i64::try_from(random(11) % 50_000_000).unwrap_or(0) / 4;
    (!random(35).is_multiple_of(4)).then_some(Money::from_nanos(nanos))
}

fn failure(outcome: Outcome) -> ErrorRecord {
    let refused = outcome == Outcome::Refused;
    ErrorRecord {
        kind: if refused { Kind::RateLimit } else { Kind::Upstream },
        status: if refused { 429 } else { 502 },
        message: if refused { "the limit is reached" } else { "the provider broke off" }.to_owned(),
        request_id: None,
    }
}

/// SplitMix64's last steps: neighbours look unrelated.
fn scrambled(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

//! A receipt as one row: typed columns for everything that is filtered and summed, and the rest as one record.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tollway_model::{Dialect, FinishReason, Money, Notice, Operation, Usage};
use tollway_store::sql::{Cells, clean};
use tollway_store::{StoreError, StoreResult};

use super::Millis;
use crate::receipt::{
    AttemptRecord, CostLine, CostRecord, ErrorRecord, Outcome, Receipt, SkippedRecord, Timing, Who,
};

/// What stands for the id of the master key, which has none.
pub const ADMIN: &str = "admin";

/// A row.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) at: Millis,
    /// Only when it is not the id.
    pub(crate) call_id: Option<Cow<'a, str>>,
    pub(crate) token: Cow<'a, str>,
    /// Empty for callers that were never known.
    pub(crate) key: Cow<'a, str>,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) team: Option<Cow<'a, str>>,
    pub(crate) organization: Option<Cow<'a, str>>,
    pub(crate) customer: Option<Cow<'a, str>>,
    /// As the provider of the last attempt names it.
    pub(crate) model: Option<Cow<'a, str>>,
    /// The group of the last attempt.
    pub(crate) model_group: Cow<'a, str>,
    pub(crate) provider: Option<Cow<'a, str>>,
    pub(crate) deployment: Option<Cow<'a, str>>,
    pub(crate) surface: Cow<'a, str>,
    pub(crate) operation: Cow<'a, str>,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) nanos: Option<i64>,
    /// Something was used, and what it cost is unknown.
    pub(crate) unknown: bool,
    pub(crate) held: Option<i64>,
    pub(crate) estimated: bool,
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) total_us: u64,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) stream: bool,
    pub(crate) session: Option<Cow<'a, str>>,
    pub(crate) tags: Cow<'a, [Arc<str>]>,
    /// Whose the money is, where it does not all belong to the deployment above.
    pub(crate) shares: Vec<Share<'a>>,
}

/// How many columns a line has.
pub(crate) const COLUMNS: usize = 31;

/// The columns of a line, from which it is read.
pub(crate) trait Columns<'a> {
    /// An integer, or null.
    fn int(&self, column: usize) -> StoreResult<Option<i64>>;

    /// A text, or null.
    fn text(&self, column: usize) -> StoreResult<Option<Cow<'a, str>>>;
}

/// What one deployment has of a call: the last one what is left when the others have theirs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Share<'a> {
    #[serde(rename = "d")]
    pub(crate) deployment: Cow<'a, str>,
    #[serde(rename = "p")]
    pub(crate) provider: Cow<'a, str>,
    /// As the provider names it.
    #[serde(rename = "m")]
    pub(crate) model: Cow<'a, str>,
    #[serde(rename = "n")]
    pub(crate) nanos: i64,
    /// 1 for the last deployment, at which the call is counted; 0 for the others.
    #[serde(rename = "c")]
    pub(crate) calls: i64,
    /// 1 where the cost is not known, at one deployment of a call at most.
    #[serde(rename = "u")]
    pub(crate) unknown: i64,
    #[serde(rename = "i")]
    pub(crate) input: u64,
    #[serde(rename = "o")]
    pub(crate) output: u64,
    #[serde(rename = "r")]
    pub(crate) cache_read: u64,
    #[serde(rename = "w")]
    pub(crate) cache_write: u64,
}

impl<'a> Share<'a> {
    fn of(attempt: &'a AttemptRecord) -> Share<'a> {
        let usage = attempt.usage.unwrap_or_default();
        Share {
            deployment: Cow::Borrowed(&attempt.deployment),
            provider: Cow::Borrowed(&attempt.provider),
            model: Cow::Borrowed(&attempt.model),
            nanos: attempt.cost.map_or(0, Money::nanos),
            calls: 0,
            unknown: 0,
            input: usage.total_input(),
            output: usage.total_output(),
            cache_read: usage.cache_read,
            cache_write: usage.total_cache_write(),
        }
    }

    /// As databases take it.
    fn cleaned(&self) -> Share<'_> {
        Share {
            deployment: clean(&self.deployment),
            provider: clean(&self.provider),
            model: clean(&self.model),
            ..*self
        }
    }

    fn is_at(&self, other: &Share<'_>) -> bool {
        (&self.deployment, &self.provider, &self.model) == (&other.deployment, &other.provider, &other.model)
    }

    fn add(&mut self, other: &Share<'_>) {
        self.nanos += other.nanos;
        self.calls += other.calls;
        self.unknown += other.unknown;
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
    }
}

/// Shares the money of a call out among the deployments that bill it; empty where that is one, or where nobody knows what
/// the call costs. They add up to what the receipt says.
fn shares(receipt: &Receipt) -> Vec<Share<'_>> {
    let Some((last, before)) = receipt.attempts.split_last() else { return Vec::new() };
    let Some(total) = receipt.cost.nanos.map(Money::nanos) else { return Vec::new() };
    if before.iter().all(|attempt| attempt.usage.is_none()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let usage = receipt.usage.unwrap_or_default();
    let mut rest = Share {
        nanos: total,
        calls: 1,
        unknown: i64::from(receipt.cost_is_unknown()),
        input: usage.total_input(),
        output: usage.total_output(),
        cache_read: usage.cache_read,
        cache_write: usage.total_cache_write(),
        ..Share::of(last)
    };
    for attempt in before.iter().filter(|attempt| attempt.usage.is_some()) {
        let mut share = Share::of(attempt);
        if attempt.cost.is_none() {
            share.unknown = std::mem::take(&mut rest.unknown);
        }
        rest.nanos -= share.nanos;
        rest.input = rest.input.saturating_sub(share.input);
        rest.output = rest.output.saturating_sub(share.output);
        rest.cache_read = rest.cache_read.saturating_sub(share.cache_read);
        rest.cache_write = rest.cache_write.saturating_sub(share.cache_write);
        add_to(&mut found, share);
    }
    add_to(&mut found, rest);
    if found.len() < 2 { Vec::new() } else { found }
}

fn add_to<'a>(found: &mut Vec<Share<'a>>, share: Share<'a>) {
    match found.iter_mut().find(|one| one.is_at(&share)) {
        Some(one) => one.add(&share),
        None => found.push(share),
    }
}

impl<'a> Line<'a> {
    pub(crate) fn of(receipt: &'a Receipt) -> Line<'a> {
        let who = &receipt.who;
        let last = receipt.attempts.last();
        let usage = receipt.usage.unwrap_or_default();
        let admin = if who.token.is_empty() { "" } else { ADMIN };
        Line {
            id: receipt.id.as_str().into(),
            at: receipt.at,
            call_id: (receipt.call_id != receipt.id).then(|| receipt.call_id.as_str().into()),
            token: who.token.as_ref().into(),
            key: who.key.as_deref().unwrap_or(admin).into(),
            user: some(&who.user),
            team: some(&who.team),
            organization: some(&who.organization),
            customer: some(&who.customer),
            model: last.map(|attempt| attempt.model.as_ref().into()),
            model_group: receipt.model_group().into(),
            provider: last.map(|attempt| attempt.provider.as_ref().into()),
            deployment: last.map(|attempt| attempt.deployment.as_ref().into()),
            surface: receipt.surface.name().into(),
            operation: receipt.operation.name().into(),
            status: receipt.status,
            outcome: receipt.outcome,
            nanos: receipt.cost.nanos.map(Money::nanos),
            unknown: receipt.cost_is_unknown(),
            held: receipt.cost.held.map(Money::nanos),
            estimated: receipt.cost.estimated || usage.estimated,
            input: usage.total_input(),
            output: usage.total_output(),
            cache_read: usage.cache_read,
            cache_write: usage.total_cache_write(),
            total_us: receipt.timing.total_us,
            first_byte_us: receipt.timing.first_byte_us,
            stream: receipt.stream,
            session: some(&who.session),
            tags: Cow::Borrowed(&who.tags),
            shares: shares(receipt),
        }
    }

    /// Writes the [`COLUMNS`].
    pub(crate) fn write(&self, cells: &mut impl Cells) -> StoreResult<()> {
        let broken = |error: serde_json::Error| StoreError::Broken(error.to_string());
        let tags = if self.tags.is_empty() {
            None
        } else {
            let tags: Vec<_> = self.tags.iter().map(|tag| clean(tag)).collect();
            Some(serde_json::to_string(&tags).map_err(broken)?)
        };
        let shares = if self.shares.is_empty() {
            None
        } else {
            let shares: Vec<_> = self.shares.iter().map(Share::cleaned).collect();
            Some(serde_json::to_string(&shares).map_err(broken)?)
        };
        cells.text(Some(&self.id));
        cells.int(Some(self.at));
        cells.text(self.call_id.as_deref());
        cells.text(Some(&self.token));
        cells.text(Some(&self.key));
        for text in [&self.user, &self.team, &self.organization, &self.customer, &self.model] {
            cells.text(text.as_deref());
        }
        cells.text(Some(&self.model_group));
        cells.text(self.provider.as_deref());
        cells.text(self.deployment.as_deref());
        cells.text(Some(&self.surface));
        cells.text(Some(&self.operation));
        cells.int(Some(i64::from(self.status)));
        cells.text(Some(self.outcome.name()));
        cells.int(self.nanos);
        cells.int(Some(i64::from(self.unknown)));
        cells.int(self.held);
        cells.int(Some(i64::from(self.estimated)));
        for count in [self.input, self.output, self.cache_read, self.cache_write, self.total_us] {
            cells.count(count);
        }
        cells.int(self.first_byte_us.and_then(|time| i64::try_from(time).ok()));
        cells.int(Some(i64::from(self.stream)));
        cells.text(self.session.as_deref());
        cells.text(tags.as_deref());
        cells.text(shares.as_deref());
        Ok(())
    }

    /// Reads the [`COLUMNS`].
    pub(crate) fn read(columns: &impl Columns<'a>) -> StoreResult<Line<'a>> {
        fn missing(column: usize) -> StoreError {
            StoreError::Broken(format!("column {column} of a receipt is null"))
        }
        fn json<T: serde::de::DeserializeOwned>(text: Option<Cow<'_, str>>) -> StoreResult<Vec<T>> {
            let Some(text) = text else { return Ok(Vec::new()) };
            serde_json::from_str(&text)
                .map_err(|error| StoreError::Broken(format!("a list of a receipt cannot be read: {error}")))
        }
        let text = |column| columns.text(column)?.ok_or_else(|| missing(column));
        let int = |column| columns.int(column)?.ok_or_else(|| missing(column));
        let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
        let count = |column| int(column).map(unsigned);
        Ok(Line {
            id: text(0)?,
            at: int(1)?,
            call_id: columns.text(2)?,
            token: text(3)?,
            key: text(4)?,
            user: columns.text(5)?,
            team: columns.text(6)?,
            organization: columns.text(7)?,
            customer: columns.text(8)?,
            model: columns.text(9)?,
            model_group: text(10)?,
            provider: columns.text(11)?,
            deployment: columns.text(12)?,
            surface: text(13)?,
            operation: text(14)?,
            status: u16::try_from(int(15)?).unwrap_or(0),
            outcome: Outcome::from_name(&text(16)?),
            nanos: columns.int(17)?,
            unknown: int(18)? != 0,
            held: columns.int(19)?,
            estimated: int(20)? != 0,
            input: count(21)?,
            output: count(22)?,
            cache_read: count(23)?,
            cache_write: count(24)?,
            total_us: count(25)?,
            first_byte_us: columns.int(26)?.map(unsigned),
            stream: int(27)? != 0,
            session: columns.text(28)?,
            tags: Cow::Owned(json(columns.text(29)?)?),
            shares: json(columns.text(30)?)?,
        })
    }

    /// Did the caller get its answer?
    pub(crate) fn answered(&self) -> bool {
        self.outcome == Outcome::Answered
    }
}

fn some(text: &Option<Arc<str>>) -> Option<Cow<'_, str>> {
    text.as_deref().filter(|text| !text.is_empty()).map(Cow::Borrowed)
}

/// What a row's columns do not say.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Detail<'a> {
    #[serde(skip_serializing_if = "Option::is_none", rename = "ka")]
    key_alias: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ta")]
    team_alias: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "ip")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "is_empty", rename = "sk")]
    skipped: Cow<'a, [SkippedRecord]>,
    #[serde(skip_serializing_if = "is_empty", rename = "at")]
    attempts: Cow<'a, [AttemptRecord]>,
    #[serde(skip_serializing_if = "is_empty", rename = "no")]
    notices: Cow<'a, [Notice]>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "us")]
    usage: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "fi")]
    finish: Option<FinishReason>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "st")]
    service_tier: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_empty", rename = "li")]
    lines: Cow<'a, [CostLine]>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "er")]
    error: Option<Cow<'a, ErrorRecord>>,
    #[serde(rename = "ov")]
    overhead_us: u64,
    /// The caller's name for the model, where it was another than the group's.
    #[serde(skip_serializing_if = "Option::is_none", rename = "mo")]
    asked: Option<Cow<'a, str>>,
    /// The group it was routed to, where that was neither the caller's name nor the group of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none", rename = "gr")]
    group: Option<Cow<'a, str>>,
    /// The cost record said so itself.
    #[serde(skip_serializing_if = "std::ops::Not::not", rename = "es")]
    estimated: bool,
    /// More was used than the cost says.
    #[serde(skip_serializing_if = "std::ops::Not::not", rename = "pa")]
    partial: bool,
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

/// Usage without the counts that are zero.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
#[serde(default)]
struct Counts {
    #[serde(skip_serializing_if = "zero")]
    i: u64,
    #[serde(skip_serializing_if = "zero")]
    cr: u64,
    #[serde(skip_serializing_if = "zero")]
    cw: u64,
    #[serde(skip_serializing_if = "zero")]
    ch: u64,
    #[serde(skip_serializing_if = "zero")]
    ai: u64,
    #[serde(skip_serializing_if = "zero")]
    ii: u64,
    #[serde(skip_serializing_if = "zero")]
    vi: u64,
    #[serde(skip_serializing_if = "zero")]
    o: u64,
    #[serde(skip_serializing_if = "zero")]
    r: u64,
    #[serde(skip_serializing_if = "zero")]
    ao: u64,
    #[serde(skip_serializing_if = "zero")]
    io: u64,
    #[serde(skip_serializing_if = "zero")]
    ap: u64,
    #[serde(skip_serializing_if = "zero")]
    rp: u64,
    #[serde(skip_serializing_if = "zero")]
    ws: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    e: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn zero(count: &u64) -> bool {
    *count == 0
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Counts {
        Counts {
            i: usage.input,
            cr: usage.cache_read,
            cw: usage.cache_write,
            ch: usage.cache_write_1h,
            ai: usage.audio_input,
            ii: usage.image_input,
            vi: usage.video_input,
            o: usage.output,
            r: usage.reasoning,
            ao: usage.audio_output,
            io: usage.image_output,
            ap: usage.accepted_prediction,
            rp: usage.rejected_prediction,
            ws: usage.web_searches,
            e: usage.estimated,
        }
    }
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Usage {
        Usage {
            input: counts.i,
            cache_read: counts.cr,
            cache_write: counts.cw,
            cache_write_1h: counts.ch,
            audio_input: counts.ai,
            image_input: counts.ii,
            video_input: counts.vi,
            output: counts.o,
            reasoning: counts.r,
            audio_output: counts.ao,
            image_output: counts.io,
            accepted_prediction: counts.ap,
            rejected_prediction: counts.rp,
            web_searches: counts.ws,
            estimated: counts.e,
        }
    }
}

impl<'a> Detail<'a> {
    pub(crate) fn of(receipt: &'a Receipt) -> Detail<'a> {
        Detail {
            key_alias: some(&receipt.who.key_alias),
            team_alias: some(&receipt.who.team_alias),
            address: receipt.who.address,
            skipped: Cow::Borrowed(&receipt.skipped),
            attempts: Cow::Borrowed(&receipt.attempts),
            notices: Cow::Borrowed(&receipt.notices),
            usage: receipt.usage.map(Counts::from),
            finish: receipt.finish,
            service_tier: receipt.service_tier.as_deref().map(Cow::Borrowed),
            lines: Cow::Borrowed(&receipt.cost.lines),
            error: receipt.error.as_ref().map(Cow::Borrowed),
            overhead_us: receipt.timing.overhead_us,
            asked: (receipt.group.is_some() || fell_back(&receipt.attempts))
                .then_some(Cow::Borrowed(receipt.model.as_str())),
            group: receipt.group.as_deref().filter(|_| fell_back(&receipt.attempts)).map(Cow::Borrowed),
            estimated: receipt.cost.estimated,
            partial: receipt.cost.partial,
        }
    }
}

/// The receipt a row was made from.
pub(crate) fn receipt(line: Line<'_>, detail: Detail<'_>) -> Receipt {
    let shared = |text: Option<Cow<'_, str>>| text.map(|text| Arc::from(text.as_ref()));
    let key = (!line.key.is_empty() && line.key != ADMIN).then(|| Arc::from(line.key.as_ref()));
    let cost = CostRecord {
        nanos: line.nanos.map(Money::from_nanos),
        partial: detail.partial,
        usd: line.nanos.map(|nanos| Money::from_nanos(nanos).to_string()),
        estimated: detail.estimated,
        held: line.held.map(Money::from_nanos),
        lines: detail.lines.into_owned(),
    };
    Receipt {
        call_id: line.call_id.map_or_else(|| line.id.as_ref().to_owned(), Cow::into_owned),
        id: line.id.into_owned(),
        at: line.at,
        surface: Dialect::from_name(&line.surface).unwrap_or(Dialect::OpenaiChat),
        operation: operation(&line.operation),
        group: match fell_back(&detail.attempts) {
            true => detail.group.map(Cow::into_owned),
            false => detail.asked.as_ref().map(|_| line.model_group.as_ref().to_owned()),
        },
        model: detail.asked.unwrap_or(line.model_group).into_owned(),
        stream: line.stream,
        who: Who {
            token: Arc::from(line.token.as_ref()),
            key,
            key_alias: shared(detail.key_alias),
            user: shared(line.user),
            team: shared(line.team),
            team_alias: shared(detail.team_alias),
            organization: shared(line.organization),
            customer: shared(line.customer),
            tags: line.tags.into_owned(),
            session: shared(line.session),
            address: detail.address,
        },
        outcome: line.outcome,
        status: line.status,
        skipped: detail.skipped.into_owned(),
        attempts: detail.attempts.into_owned(),
        notices: detail.notices.into_owned(),
        usage: detail.usage.map(Usage::from),
        finish: detail.finish,
        service_tier: detail.service_tier.map(Cow::into_owned),
        cost,
        error: detail.error.map(Cow::into_owned),
        timing: Timing {
            total_us: line.total_us,
            first_byte_us: line.first_byte_us,
            overhead_us: detail.overhead_us,
        },
    }
}

/// Was the last attempt one of another group than the one asked for?
fn fell_back(attempts: &[AttemptRecord]) -> bool {
    attempts.last().is_some_and(|attempt| attempt.group.is_some())
}

/// By its name; what a newer version wrote reads as chat.
fn operation(name: &str) -> Operation {
    serde_json::from_value(serde_json::Value::from(name)).unwrap_or(Operation::Chat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record;
    use crate::sample;

    #[test]
    fn a_receipt_survives_being_a_row() {
        for seed in 0..64 {
            let original = sample::receipt(seed);
            let mut detail = Vec::new();
            record::write(&mut detail, &Detail::of(&original)).unwrap();
            let read = receipt(Line::of(&original), record::read(&detail).unwrap());
            let shown = |receipt: &Receipt| serde_json::to_value(receipt).unwrap();
            assert_eq!(shown(&read), shown(&original));
        }
    }

    #[test]
    fn each_deployment_has_its_own_part_of_the_money() {
        // Deployment, what the attempt cost (-1: nobody knows), and was it paid for although nobody got its answer?
        type Tried = (&'static str, i64, bool);
        let check =
            |total: Option<i64>, partial: bool, tried: &[Tried], expected: &[(&str, i64, i64, i64)]| {
                let mut receipt = sample::receipt(4);
                let pattern = receipt.attempts.first().cloned().unwrap();
                receipt.attempts = tried
                    .iter()
                    .map(|(deployment, cost, lost)| AttemptRecord {
                        deployment: (*deployment).into(),
                        usage: lost.then(|| Usage { input: 10, ..Usage::default() }),
                        cost: Some(Money::from_nanos(*cost)).filter(|_| *lost && *cost >= 0),
                        ..pattern.clone()
                    })
                    .collect();
                receipt.outcome = Outcome::Answered;
                receipt.usage = Some(Usage { input: 100, ..Usage::default() });
                receipt.cost =
                    CostRecord { nanos: total.map(Money::from_nanos), partial, ..CostRecord::default() };
                let line = Line::of(&receipt);
                let found: Vec<_> = line
                    .shares
                    .iter()
                    .map(|share| (share.deployment.as_ref(), share.nanos, share.calls, share.unknown))
                    .collect();
                assert_eq!(found, expected, "{tried:?}");
                let sum: i64 = line.shares.iter().map(|share| share.nanos).sum();
                let tokens: u64 = line.shares.iter().map(|share| share.input).sum();
                if !line.shares.is_empty() {
                    assert_eq!((Some(sum), tokens), (total, 100));
                }
            };
        check(Some(9), false, &[("a", 0, false)], &[]);
        check(Some(9), false, &[("a", 0, false), ("b", 0, false)], &[]);
        check(Some(9), false, &[("a", 2, true), ("b", 0, false)], &[("a", 2, 0, 0), ("b", 7, 1, 0)]);
        check(Some(9), false, &[("a", 2, true), ("a", 0, false)], &[]);
        check(
            Some(9),
            false,
            &[("a", 2, true), ("b", 0, false), ("c", 3, true), ("a", 0, false)],
            &[("a", 6, 1, 0), ("c", 3, 0, 0)],
        );
        // All were lost.
        check(Some(9), false, &[("a", 2, true), ("b", 7, true)], &[("a", 2, 0, 0), ("b", 7, 1, 0)]);
        check(Some(9), true, &[("a", -1, true), ("b", 0, false)], &[("a", 0, 0, 1), ("b", 9, 1, 0)]);
        check(Some(9), true, &[("a", 2, true), ("b", 0, false)], &[("a", 2, 0, 0), ("b", 7, 1, 1)]);
        check(None, false, &[("a", 2, true), ("b", 0, false)], &[]);
    }
}

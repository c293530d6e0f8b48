//! Samples, their medians, and the aims they are held against.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Whether a larger or a smaller number is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// What the gateway is held to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aim {
    /// At most this many times the bare proxy's number.
    TimesAtMost(f64),
    /// At least this many times the bare proxy's number.
    TimesAtLeast(f64),
    /// At most this much more than the bare proxy's number.
    OverBareAtMost(f64),
    /// At most this much more than without any proxy.
    OverDirectAtMost(f64),
    /// At most this.
    AtMost(f64),
    /// Shown as so many times the bare proxy's number; nothing is promised.
    Times,
    /// Shown for the reader; nothing is promised.
    Shown,
}

/// Who was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The upstream, without a proxy.
    Direct,
    Bare,
    Tollway,
}

/// One quantity, measured in rounds.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) aim: Aim,
    /// What the second column is, where it is not the bare proxy.
    reference: &'static str,
    direct: Vec<f64>,
    bare: Vec<f64>,
    tollway: Vec<f64>,
}

impl Measure {
    pub(crate) fn new(name: &'static str, unit: &'static str, better: Better, aim: Aim) -> Measure {
        let (direct, bare, tollway) = (Vec::new(), Vec::new(), Vec::new());
        Measure { name, unit, better, aim, reference: "bare", direct, bare, tollway }
    }

    /// Beside something else than the bare proxy: its samples are pushed as [`Target::Bare`].
    pub(crate) fn beside(mut self, reference: &'static str) -> Measure {
        self.reference = reference;
        self
    }

    /// Adds the sample of one round.
    pub(crate) fn push(&mut self, target: Target, value: f64) {
        match target {
            Target::Direct => self.direct.push(value),
            Target::Bare => self.bare.push(value),
            Target::Tollway => self.tollway.push(value),
        }
    }

    /// The number the aim speaks of: median over the rounds, each compared with its own round's counterpart.
    fn compared(&self) -> Option<f64> {
        let pairs = |base: &[f64], op: fn(f64, f64) -> f64| {
            median(&self.tollway.iter().zip(base).map(|(ours, base)| op(*ours, *base)).collect::<Vec<_>>())
        };
        match self.aim {
            Aim::TimesAtMost(_) | Aim::TimesAtLeast(_) | Aim::Times => {
                pairs(&self.bare, |ours, base| ours / base)
            }
            Aim::OverBareAtMost(_) => pairs(&self.bare, |ours, base| ours - base),
            Aim::OverDirectAtMost(_) => pairs(&self.direct, |ours, base| ours - base),
            Aim::AtMost(_) => median(&self.tollway),
            Aim::Shown => None,
        }
    }

    /// Was the aim reached? `None` when there is none, or nothing to compare.
    fn reached(&self) -> Option<bool> {
        let value = self.compared()?;
        match self.aim {
            Aim::TimesAtMost(most)
            | Aim::OverBareAtMost(most)
            | Aim::OverDirectAtMost(most)
            | Aim::AtMost(most) => Some(value <= most),
            Aim::TimesAtLeast(least) => Some(value >= least),
            Aim::Times | Aim::Shown => None,
        }
    }

    fn result(&self) -> String {
        match (self.aim, self.compared()) {
            (_, None) => String::new(),
            (Aim::TimesAtMost(_) | Aim::TimesAtLeast(_) | Aim::Times, Some(value)) => {
                format!("{value:.2} x {}", self.reference)
            }
            (Aim::OverBareAtMost(_), Some(value)) => {
                format!("{value:+.1} {} over {}", self.unit, self.reference)
            }
            (Aim::OverDirectAtMost(_), Some(value)) => format!("{value:+.1} {} over direct", self.unit),
            (_, Some(value)) => format!("{} {}", number(value), self.unit),
        }
    }

    fn wanted(&self) -> String {
        match self.aim {
            Aim::TimesAtMost(most) => format!("<= {most}"),
            Aim::TimesAtLeast(least) => format!(">= {least}"),
            Aim::OverBareAtMost(most) | Aim::OverDirectAtMost(most) => format!("<= +{most} {}", self.unit),
            Aim::AtMost(most) => format!("<= {most} {}", self.unit),
            Aim::Times | Aim::Shown => String::new(),
        }
    }

    /// Median and best of some samples.
    fn cell(&self, samples: &[f64]) -> String {
        let best = match self.better {
            Better::More => samples.iter().copied().reduce(f64::max),
            Better::Less => samples.iter().copied().reduce(f64::min),
        };
        match (median(samples), best) {
            (Some(median), Some(best)) => format!("{} ({})", number(median), number(best)),
            _ => "-".to_owned(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "reference": self.reference,
            "direct": self.direct,
            "bare": self.bare,
            "tollway": self.tollway,
            "compared": self.compared(),
            "aim": self.wanted(),
            "reached": self.reached(),
        })
    }
}

/// Everything measured in one run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    measures: Vec<Measure>,
}

impl Report {
    pub(crate) fn add(&mut self, measures: impl IntoIterator<Item = Measure>) {
        self.measures.extend(measures);
    }

    /// How many aims were missed.
    pub(crate) fn missed(&self) -> usize {
        self.measures.iter().filter(|measure| measure.reached() == Some(false)).count()
    }

    /// The results for people: median over the rounds, the best round in brackets.
    pub(crate) fn table(&self) -> String {
        let mut rows = vec![
            ["measure", "unit", "direct", "bare or other", "tollway", "result", "aim", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        for measure in &self.measures {
            let verdict = measure.reached().map_or("", |reached| if reached { "ok" } else { "MISSED" });
            rows.push(vec![
                measure.name.to_owned(),
                measure.unit.to_owned(),
                measure.cell(&measure.direct),
                measure.cell(&measure.bare),
                measure.cell(&measure.tollway),
                measure.result(),
                measure.wanted(),
                verdict.to_owned(),
            ]);
        }
        let mut text =
            String::from("Median over the rounds (best round). Results compare within a round.\n\n");
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let _ = write!(line, "{cell:<width$}  ", width = width(column));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// The results for programs, every sample included.
    pub(crate) fn json(&self, machine: &str, foreign_load: f64) -> String {
        let measures: Vec<Value> = self.measures.iter().map(Measure::json).collect();
        format!(
            "{:#}\n",
            json!({ "machine": machine, "foreign_load_percent": foreign_load, "measures": measures })
        )
    }
}

/// A number with three or four significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle sample; `None` without samples.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| quantile(&sorted, 0.5))
}

/// The value that `share` of the ascending `sorted` do not exceed, interpolated; 0 without values.
#[expect(clippy::cast_possible_truncation, reason = "a position in a slice, between 0 and its length")]
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = last as f64 * share;
    let before = sorted.get(position as usize).copied().unwrap_or(0.0);
    let after = sorted.get(position.ceil() as usize).copied().unwrap_or(before);
    before + (after - before) * position.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        fn check(sorted: &[f64], share: f64, expected: f64) {
            assert!((quantile(sorted, share) - expected).abs() < 1e-9, "{share} of {sorted:?}");
        }
        check(&[], 0.5, 0.0);
        check(&[7.0], 0.99, 7.0);
        check(&[1.0, 2.0, 3.0], 0.5, 2.0);
        check(&[1.0, 2.0], 0.5, 1.5);
        check(&[0.0, 10.0, 20.0, 30.0], 1.0, 30.0);
        check(&[0.0, 10.0, 20.0, 30.0], 0.0, 0.0);
        check(&[0.0, 100.0], 0.99, 99.0);
    }

    #[test]
    fn an_aim_is_judged_round_by_round() {
        let mut measure = Measure::new("cpu", "us", Better::Less, Aim::TimesAtMost(1.6));
        // The machine slowed down in the second round; the ratio did not change.
        for (bare, ours) in [(10.0, 15.0), (20.0, 30.0), (10.0, 15.0)] {
            measure.push(Target::Bare, bare);
            measure.push(Target::Tollway, ours);
        }
        assert_eq!(measure.compared(), Some(1.5));
        assert_eq!(measure.reached(), Some(true));
        measure.aim = Aim::TimesAtMost(1.4);
        assert_eq!(measure.reached(), Some(false));
        measure.aim = Aim::Shown;
        assert_eq!(measure.reached(), None);
    }

    #[test]
    fn without_the_gateway_nothing_is_judged() {
        let mut measure = Measure::new("cpu", "us", Better::Less, Aim::TimesAtMost(1.6));
        measure.push(Target::Bare, 10.0);
        assert_eq!(measure.reached(), None);
        let report = Report { measures: vec![measure] };
        assert_eq!(report.missed(), 0);
    }
}

//! How many tests passed and failed, read from what the test runners print.

use std::ops::AddAssign;

/// Tests of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Whose output to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo test`: `test result: ok. 5 passed; 0 failed; 1 ignored; …`, once per test binary.
    Cargo,
    /// `cargo nextest`: `Summary [ 1.2s] 10 tests run: 9 passed, 1 failed, 2 skipped`.
    Nextest,
    /// `pytest`: `1 failed, 3 passed, 1 error in 0.12s` on the last line.
    Pytest,
    /// `node --test` with the spec reporter: `ℹ pass 3`, `ℹ fail 0`, `ℹ cancelled 0`.
    Node,
}

impl Runner {
    /// Adds up the runner's own summary.
    pub(crate) fn count(self, lines: &[String]) -> Count {
        match self {
            Runner::Cargo => {
                let mut count = Count::default();
                for line in lines.iter().filter_map(|line| line.strip_prefix("test result: ")) {
                    let (_, numbers) = line.split_once(". ").unwrap_or_default();
                    count += words(numbers.split(';'));
                }
                count
            }
            Runner::Nextest => {
                let summary = lines.iter().rev().find(|line| line.starts_with("Summary ["));
                let numbers = summary.and_then(|line| line.split_once("run:")).unwrap_or_default().1;
                words(numbers.split(','))
            }
            Runner::Pytest => {
                let is_summary =
                    |line: &&String| line.contains(" in ") && words(parts(line)) != Count::default();
                lines.iter().rev().find(is_summary).map(|line| words(parts(line))).unwrap_or_default()
            }
            Runner::Node => {
                let number = |name: &str| {
                    lines.iter().rev().find_map(|line| {
                        let rest = line.trim_start_matches(['ℹ', '#', ' ']);
                        rest.strip_prefix(name)?.trim().parse::<u64>().ok()
                    })
                };
                let failed = number("fail ").unwrap_or(0) + number("cancelled ").unwrap_or(0);
                Count { passed: number("pass ").unwrap_or(0), failed }
            }
        }
    }
}

/// The parts of pytest's summary line, rulers and time removed.
fn parts(line: &str) -> impl Iterator<Item = &str> {
    let line = line.trim_matches(['=', ' ']);
    line.split_once(" in ").map_or(line, |(numbers, _)| numbers).split(',')
}

/// Adds up parts such as `9 passed`, `1 failed`, `2 errors`, `9 passed (1 slow)`; others count nothing.
fn words<'a>(parts: impl Iterator<Item = &'a str>) -> Count {
    let mut count = Count::default();
    for part in parts {
        let mut words = part.split_whitespace();
        let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else { continue };
        match words.collect::<Vec<_>>().as_slice() {
            ["passed", ..] => count.passed += number,
            ["failed" | "error" | "errors", ..] | ["timed", "out", ..] | ["exec", "failed", ..] => {
                count.failed += number;
            }
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(runner: Runner, output: &str, passed: u64, failed: u64) {
        let lines: Vec<String> = output.lines().map(|line| line.trim().to_owned()).collect();
        assert_eq!(runner.count(&lines), Count { passed, failed }, "{output}");
    }

    #[test]
    fn cargo_prints_one_result_per_binary() {
        let output = "running 5 tests\ntest result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        check(Runner::Cargo, output, 6, 2);
        check(Runner::Cargo, "error: could not compile", 0, 0);
    }

    #[test]
    fn nextest_prints_one_summary() {
        check(Runner::Nextest, "     Summary [   0.512s] 10 tests run: 10 passed, 0 skipped", 10, 0);
        check(
            Runner::Nextest,
            "Summary [ 1.0s] 10 tests run: 7 passed (1 slow, 1 flaky), 1 failed, 1 timed out, 1 exec failed, 4 skipped\n FAIL [ 0.1s] a b",
            7,
            3,
        );
        check(Runner::Nextest, "Summary [ 1.0s] 3/10 tests run: 2 passed, 1 failed, 0 skipped", 2, 1);
    }

    #[test]
    fn pytest_ends_with_its_summary() {
        check(Runner::Pytest, "....\n4 passed in 0.12s", 4, 0);
        check(Runner::Pytest, "===== 1 failed, 3 passed, 2 skipped, 1 warning in 12.50s =====", 3, 1);
        check(Runner::Pytest, "2 passed, 2 errors in 1.00s (0:00:01)\nsome plugin's last words", 2, 2);
        check(Runner::Pytest, "no tests ran in 0.01s", 0, 0);
    }

    #[test]
    fn node_prints_one_line_per_number() {
        check(Runner::Node, "ℹ tests 3\nℹ suites 1\nℹ pass 2\nℹ fail 1\nℹ cancelled 0\nℹ skipped 0", 2, 1);
        check(Runner::Node, "# tests 4\n# pass 3\n# fail 0\n# cancelled 1", 3, 1);
    }
}

//! Which groups are tried in place of one that failed.

use std::sync::Arc;

use tollway_model::{Kind, RawJson};

/// A group that is tried in place of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name.
    pub group: Arc<str>,
    /// Request fields that replace the caller's there.
    pub overrides: Vec<(String, RawJson)>,
}

/// What to try in place of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The group that failed; `*` stands for any.
    pub group: String,
    /// In this order.
    pub targets: Vec<Target>,
}

/// What to try in place of groups that failed, by how they failed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fallbacks {
    /// For any failure.
    pub general: Vec<Rule>,
    /// When the prompt is too long; where it has nothing for a group, `general` counts.
    pub context_window: Vec<Rule>,
    /// When the content is refused; where it has nothing for a group, `general` counts.
    pub content_policy: Vec<Rule>,
}

impl Fallbacks {
    /// Is nothing ever tried in place of a group?
    pub fn is_empty(&self) -> bool {
        self.general.is_empty() && self.context_window.is_empty() && self.content_policy.is_empty()
    }

    /// Every target there is.
    pub fn all(&self) -> impl Iterator<Item = &Target> {
        let rules = self.general.iter().chain(&self.context_window).chain(&self.content_policy);
        rules.flat_map(|rule| &rule.targets)
    }

    /// What to try in place of `group` that failed in this way.
    pub fn targets(&self, group: &str, failure: Kind) -> &[Target] {
        match self.special(group, failure) {
            [] => find(&self.general, group),
            special => special,
        }
    }

    /// Are the targets for any failure of `group` those of every group?
    pub fn is_default(&self, group: &str) -> bool {
        rule(&self.general, group).is_some_and(|rule| rule.group == ANY)
    }

    /// The targets for this kind of failure only: where there are some, the group itself is not tried again.
    pub fn special(&self, group: &str, failure: Kind) -> &[Target] {
        match failure {
            Kind::ContextWindow => find(&self.context_window, group),
            Kind::ContentPolicy => find(&self.content_policy, group),
            _ => &[],
        }
    }
}

/// The name of a rule for every group.
const ANY: &str = "*";

fn find<'r>(rules: &'r [Rule], group: &str) -> &'r [Target] {
    rule(rules, group).map_or(&[], |rule| rule.targets.as_slice())
}

/// By the exact name, then without the provider on either side, then any.
fn rule<'r>(rules: &'r [Rule], group: &str) -> Option<&'r Rule> {
    let bare = |name: &'r str| name.split_once('/').map_or(name, |(_, bare)| bare);
    let by = |fits: &dyn Fn(&'r str) -> bool| rules.iter().find(|rule| fits(&rule.group));
    let stripped = group.split_once('/').map_or(group, |(_, bare)| bare);
    by(&|name| name == group)
        .or_else(|| by(&|name| name == stripped))
        .or_else(|| by(&|name| bare(name) == group))
        .or_else(|| by(&|name| name == ANY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(list: &[(&str, &str)]) -> Vec<Rule> {
        let target = |name: &&str| Target { group: (*name).into(), overrides: Vec::new() };
        list.iter()
            .map(|(group, targets)| Rule {
                group: (*group).to_owned(),
                targets: targets.split(' ').collect::<Vec<_>>().iter().map(target).collect(),
            })
            .collect()
    }

    fn check(group: &str, failure: Kind, expected: &[&str]) {
        let fallbacks = Fallbacks {
            general: rules(&[("a", "b c"), ("openai/x", "y"), ("gpt", "z"), ("*", "last")]),
            context_window: rules(&[("a", "large")]),
            content_policy: rules(&[("gpt", "lenient")]),
        };
        let names: Vec<&str> =
            fallbacks.targets(group, failure).iter().map(|target| target.group.as_ref()).collect();
        assert_eq!(names, expected, "{group} {failure:?}");
    }

    #[test]
    fn a_failure_finds_its_fallbacks() {
        check("a", Kind::Upstream, &["b", "c"]);
        check("a", Kind::ContextWindow, &["large"]);
        check("a", Kind::ContentPolicy, &["b", "c"]);
        check("openai/gpt", Kind::RateLimit, &["z"]);
        check("openai/gpt", Kind::ContentPolicy, &["lenient"]);
        check("x", Kind::Timeout, &["y"]);
        check("unnamed", Kind::Timeout, &["last"]);
    }
}

//! Which models somebody may use.

use std::collections::HashSet;
use std::sync::Arc;

use tollway_route::Pattern;

/// A list of models as records hold it, ready to be asked.
///
/// An empty list, `*`, `all-proxy-models` and `all-team-models` allow everything here: what the team or the user may is
/// asked beside it. `no-default-models` allows nothing by itself.
#[derive(Debug, Clone, Default)]
pub struct ModelAccess {
    everything: bool,
    names: HashSet<Box<str>>,
    patterns: Vec<Pattern>,
}

impl ModelAccess {
    /// Reads a list of names, wildcards and access groups.
    pub fn of(models: &[String]) -> ModelAccess {
        let mut access = ModelAccess { everything: models.is_empty(), ..ModelAccess::default() };
        for name in models {
            match name.as_str() {
                "*" | "all-proxy-models" | "all-team-models" => access.everything = true,
                "no-default-models" => {}
                name => match Pattern::parse(name) {
                    Some(pattern) => access.patterns.push(pattern),
                    None => {
                        access.names.insert(name.into());
                    }
                },
            }
        }
        access
    }

    /// May `model` be used? `groups` are the access groups it is in.
    pub fn allows(&self, model: &str, groups: &[Arc<str>]) -> bool {
        self.everything
            || self.names.contains(model)
            || self.patterns.iter().any(|pattern| pattern.capture(model).is_some())
            || groups.iter().any(|group| self.names.contains(&**group))
    }

    /// Names that are allowed one by one, access groups among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Is every model allowed?
    pub fn is_everything(&self) -> bool {
        self.everything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(models: &[&str], model: &str, expected: bool) {
        let models: Vec<String> = models.iter().map(|&name| name.to_owned()).collect();
        let groups: [Arc<str>; 1] = ["beta".into()];
        assert_eq!(ModelAccess::of(&models).allows(model, &groups), expected, "{models:?} {model}");
    }

    #[test]
    fn a_list_allows_names_wildcards_and_groups() {
        check(&[], "gpt-4o", true);
        check(&["*"], "gpt-4o", true);
        check(&["all-team-models"], "gpt-4o", true);
        check(&["gpt-4o"], "gpt-4o", true);
        check(&["gpt-4o"], "gpt-4o-mini", false);
        check(&["openai/*"], "openai/never-seen", true);
        check(&["openai/*"], "azure/gpt-4o", false);
        check(&["beta"], "gpt-4o", true);
        check(&["no-default-models"], "gpt-4o", false);
        check(&["no-default-models", "gpt-4o"], "gpt-4o", true);
    }
}

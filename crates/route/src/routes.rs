//! From the name a client asks for to the deployments that share it.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use crate::{Deployment, Pattern};

/// Concrete deployments made from wildcard templates that are remembered. Beyond it they are made anew for each call.
const MAX_INSTANTIATED: usize = 4096;

/// Longest name that can be asked for, in bytes. Cloud resource names, the longest in use, stay below.
pub const MAX_NAME: usize = 1024;

/// Deployments that share a name.
pub type Group = Arc<[Arc<Deployment>]>;

/// From what a wildcard's `*` stands for and the whole name asked for to a deployment.
pub type Make = Box<dyn Fn(&str, &str) -> Deployment + Send + Sync>;

/// Makes a deployment of a wildcard entry for the model name a client asked for.
pub struct Template {
    /// The names it serves.
    pub pattern: Pattern,
    /// The name as configured, `openai/*`.
    pub name: Arc<str>,
    /// Makes the deployment: from what the `*` stands for, and the whole name asked for.
    pub make: Make,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Another name of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The group meant.
    pub group: String,
    /// Not shown in lists.
    pub hidden: bool,
}

/// All names that can be asked for.
#[derive(Debug, Default)]
pub struct Routes {
    groups: HashMap<Arc<str>, Group>,
    by_id: HashMap<Arc<str>, Group>,
    aliases: HashMap<String, Alias>,
    /// Most specific first.
    templates: Vec<Template>,
    instantiated: RwLock<HashMap<Arc<str>, Group>>,
    names: Vec<Arc<str>>,
}

impl Routes {
    /// Routes over `deployments`, `templates` (wildcards) and `aliases`.
    pub fn new(
        deployments: Vec<Arc<Deployment>>,
        mut templates: Vec<Template>,
        aliases: HashMap<String, Alias>,
    ) -> Routes {
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut lists: HashMap<Arc<str>, Vec<Arc<Deployment>>> = HashMap::new();
        let mut by_id = HashMap::with_capacity(deployments.len());
        for deployment in deployments {
            if !lists.contains_key(&deployment.group) {
                names.push(deployment.group.clone());
            }
            by_id.insert(deployment.id.clone(), Group::from([deployment.clone()]));
            lists.entry(deployment.group.clone()).or_default().push(deployment);
        }
        templates.sort_by_key(|template| std::cmp::Reverse(template.pattern.specificity()));
        let groups = lists.into_iter().map(|(name, list)| (name, Group::from(list))).collect();
        Routes { groups, by_id, aliases, templates, instantiated: RwLock::default(), names }
    }

    /// The deployments for the name a client asked for.
    ///
    /// In this order: an alias, a group's name, a deployment's id, the most specific wildcard. Names longer than
    /// [`MAX_NAME`] lead nowhere: what is made for a wildcard is remembered under its name.
    pub fn resolve(&self, name: &str) -> Option<Group> {
        if name.len() > MAX_NAME {
            return None;
        }
        let name = self.group_name(name);
        if let Some(group) = self.groups.get(name).or_else(|| self.by_id.get(name)) {
            return Some(group.clone());
        }
        if let Ok(known) = self.instantiated.read()
            && let Some(group) = known.get(name)
        {
            return Some(group.clone());
        }
        self.instantiate(name)
    }

    /// The name behind an alias; any other name is its own.
    pub fn group_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, |alias| alias.group.as_str())
    }

    /// The one name under which a group is counted, whichever of its names is asked for: behind an alias the group's, for a
    /// deployment's id the name of its group. Of a wildcard, each model it serves is a group by itself.
    pub fn counted_as<'a>(&'a self, name: &'a str) -> &'a str {
        let name = self.group_name(name);
        if self.groups.contains_key(name) {
            return name;
        }
        let of_id = self.by_id.get(name).and_then(|group| group.first());
        of_id.map_or(name, |deployment| deployment.group.as_ref())
    }

    fn instantiate(&self, name: &str) -> Option<Group> {
        let best = self.templates.iter().find(|template| template.pattern.capture(name).is_some())?;
        let specificity = best.pattern.specificity();
        let made = self.templates.iter().filter(|template| template.pattern.specificity() == specificity);
        let made = made.filter_map(|template| {
            let captured = template.pattern.capture(name)?;
            Some(Arc::new((template.make)(captured, name)))
        });
        let group: Group = made.collect();
        if let Ok(mut known) = self.instantiated.write()
            && known.len() < MAX_INSTANTIATED
        {
            known.insert(name.into(), group.clone());
        }
        Some(group)
    }

    /// Names of the groups, in the configured order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// Aliases that are not hidden, name → group.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        let shown = self.aliases.iter().filter(|(_, alias)| !alias.hidden);
        shown.map(|(name, alias)| (name.as_str(), alias.group.as_str()))
    }

    /// Wildcard entries, most specific first.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.iter()
    }

    /// The deployments of a group.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Every concrete deployment, group by group.
    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.names.iter().filter_map(|name| self.groups.get(name)).flat_map(|group| group.iter())
    }

    /// The group names most like `name`, for an error that helps; none for names longer than [`MAX_NAME`].
    pub fn similar(&self, name: &str) -> Vec<&str> {
        if name.len() > MAX_NAME {
            return Vec::new();
        }
        let wanted = name.to_ascii_lowercase();
        let mut found: Vec<_> = self
            .names
            .iter()
            .map(|known| (distance(&wanted, &known.to_ascii_lowercase()), known.as_ref()))
            .filter(|(distance, known)| *distance <= known.len().max(wanted.len()) / 3)
            .collect();
        found.sort_unstable();
        found.into_iter().take(3).map(|(_, known)| known).collect()
    }
}

/// Edits that turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, cell) in other.iter().zip(row.iter_mut().skip(1)) {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = substituted.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::plan::tests::deployment;

    fn template(name: &str) -> Template {
        let label = name.to_owned();
        Template {
            pattern: Pattern::parse(name).unwrap(),
            name: name.into(),
            make: Box::new(move |captured, _| {
                (*deployment(&format!("{label}={captured}"), Limits::default())).clone()
            }),
        }
    }

    fn routes() -> Routes {
        let alias = |hidden| Alias { group: "g".to_owned(), hidden };
        let aliases = HashMap::from([("smart".to_owned(), alias(false)), ("secret".to_owned(), alias(true))]);
        Routes::new(
            vec![deployment("d1", Limits::default())],
            vec![template("*"), template("openai/*")],
            aliases,
        )
    }

    fn check(name: &str, id: &str) {
        let routes = routes();
        let ids = |group: Option<Group>| group.unwrap().first().map(|one| one.id.to_string()).unwrap();
        assert_eq!(ids(routes.resolve(name)), id, "{name}");
        assert_eq!(ids(routes.resolve(name)), id, "{name} the second time");
    }

    #[test]
    fn a_name_without_end_leads_nowhere_and_is_not_remembered() {
        let routes = routes();
        let long = "x".repeat(MAX_NAME + 1);
        assert!(routes.resolve(&long).is_none());
        assert!(routes.similar(&long).is_empty());
        assert!(routes.resolve(&long[1..]).is_some());
        assert_eq!(routes.instantiated.read().unwrap().len(), 1);
    }

    #[test]
    fn what_is_remembered_of_wildcards_is_bounded_and_names_still_resolve() {
        let routes = routes();
        for number in 0..MAX_INSTANTIATED + 10 {
            assert!(routes.resolve(&format!("model-{number}")).is_some());
        }
        assert!(routes.instantiated.read().unwrap().len() <= MAX_INSTANTIATED);
    }

    #[test]
    fn names_resolve_from_the_most_to_the_least_specific() {
        check("g", "d1");
        check("d1", "d1");
        check("smart", "d1");
        check("secret", "d1");
        check("openai/gpt-4o", "openai/*=gpt-4o");
        check("other", "*=other");
    }

    #[test]
    fn a_group_is_counted_under_one_name() {
        for (name, counted) in [
            ("g", "g"),
            ("d1", "g"),
            ("smart", "g"),
            ("secret", "g"),
            ("openai/x", "openai/x"),
            ("other", "other"),
        ] {
            assert_eq!(routes().counted_as(name), counted, "{name}");
        }
    }

    #[test]
    fn a_hidden_alias_is_not_listed() {
        assert_eq!(routes().aliases().collect::<Vec<_>>(), [("smart", "g")]);
        assert_eq!((routes().group_name("secret"), routes().group_name("other")), ("g", "other"));
    }

    #[test]
    fn a_mistyped_name_finds_its_neighbours() {
        let make = |name: &str| {
            let mut one = (*deployment(name, Limits::default())).clone();
            one.group = name.into();
            Arc::new(one)
        };
        let routes =
            Routes::new(vec![make("gpt-4o"), make("gpt-4o-mini"), make("claude")], vec![], HashMap::new());
        assert_eq!(routes.similar("gpt-4"), ["gpt-4o"]);
        assert_eq!(routes.similar("cluade"), ["claude"]);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert!(routes.resolve("gpt-5").is_none());
    }
}

//! Which deployments serve calls with tags.

use std::sync::Arc;

use crate::Deployment;
use crate::policy::TagFilter;

/// The tag of deployments that serve calls whose own tags lead nowhere.
const DEFAULT: &str = "default";

/// The deployments that serve a call with `tags`, by index.
///
/// `!tag` leaves out deployments with the tag, `&tag` those without it. Of the other tags a deployment needs one, or all
/// as `filter` says. Where no deployment fits, and for calls without tags, those tagged `default` serve; calls without
/// tags go anywhere where no deployment is tagged so.
pub(crate) fn matching(group: &[Arc<Deployment>], tags: &[Arc<str>], filter: TagFilter) -> Vec<bool> {
    let excluded = |tag: &&Arc<str>| tag.strip_prefix('!').is_some();
    let required = |tag: &&Arc<str>| tag.strip_prefix('&').is_some();
    let wanted: Vec<&Arc<str>> = tags.iter().filter(|tag| !excluded(tag) && !required(tag)).collect();
    let allowed = |one: &Deployment| {
        let has = |tag: &str| one.tags.iter().any(|own| own == tag);
        let out = tags.iter().filter_map(|tag| tag.strip_prefix('!')).any(has);
        let all = tags.iter().filter_map(|tag| tag.strip_prefix('&')).all(has);
        !out && all
    };
    let fits = |one: &Deployment| {
        let has = |tag: &&&Arc<str>| one.tags.iter().any(|own| **own == ****tag);
        match filter.any {
            true => wanted.iter().any(|tag| has(&tag)),
            false => !wanted.is_empty() && wanted.iter().all(|tag| has(&tag)),
        }
    };
    let is_default = |one: &Deployment| one.tags.iter().any(|tag| tag == DEFAULT);
    let pick = |keep: &dyn Fn(&Deployment) -> bool| -> Vec<bool> {
        group.iter().map(|one| allowed(one) && keep(one)).collect()
    };
    let some = |picked: &Vec<bool>| picked.contains(&true);
    if wanted.is_empty() {
        // `&tag` alone asks for a tag, too.
        if tags.iter().any(|tag| tag.starts_with('&')) {
            return pick(&|_| true);
        }
        let defaults = pick(&is_default);
        return if some(&defaults) { defaults } else { pick(&|_| true) };
    }
    let fitting = pick(&fits);
    if some(&fitting) { fitting } else { pick(&is_default) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::plan::tests::deployment;

    fn check(tags: &[&str], any: bool, expected: &[&str]) {
        let group: Vec<Arc<Deployment>> =
            [("free", &["free"][..]), ("eu", &["eu", "paid"]), ("fallback", &["default"]), ("plain", &[])]
                .iter()
                .map(|(id, tags)| {
                    let mut one = (*deployment(id, Limits::default())).clone();
                    one.tags = tags.iter().map(ToString::to_string).collect();
                    Arc::new(one)
                })
                .collect();
        let tags: Vec<Arc<str>> = tags.iter().map(|tag| (*tag).into()).collect();
        let picked = matching(&group, &tags, TagFilter { any });
        let names: Vec<&str> =
            group.iter().zip(picked).filter(|(_, picked)| *picked).map(|(one, _)| one.id.as_ref()).collect();
        assert_eq!(names, expected, "{tags:?} {any}");
    }

    #[test]
    fn tags_choose_deployments() {
        check(&["free"], true, &["free"]);
        check(&["free", "eu"], true, &["free", "eu"]);
        check(&["free", "eu"], false, &["fallback"]);
        check(&["eu", "paid"], false, &["eu"]);
        check(&["unheard"], true, &["fallback"]);
        check(&[], true, &["fallback"]);
        check(&["&eu"], true, &["eu"]);
        check(&["free", "eu", "!paid"], true, &["free"]);
        check(&["!default"], true, &["free", "eu", "plain"]);
    }
}

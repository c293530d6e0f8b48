//! Checks that need more than one section: names that refer to model groups, ids that must differ.

use std::collections::HashMap;

use crate::config::Config;
use crate::diagnostic::Severity;
use crate::nearest::nearest;
use crate::read::Reader;
use crate::source::Mark;
use crate::tree::{Node, Value};

/// Reports references to model groups that do not exist, and ids given twice.
pub(crate) fn check(config: &Config, root: &Node, reader: &mut Reader<'_>) {
    repeated_ids(root, reader);
    nested_fields(root, reader);
    let groups = Groups::of(config);
    for section in ["router_settings", "litellm_settings"] {
        let Some(section) = child(root, section) else { continue };
        for key in ["fallbacks", "context_window_fallbacks", "content_policy_fallbacks"] {
            for rule in child(section, key).map_or(&[][..], items) {
                for entry in rule.entries() {
                    groups.check(&entry.key, entry.key_mark, reader);
                    items(&entry.value).iter().for_each(|target| groups.check_node(target, reader));
                }
            }
        }
        for target in child(section, "default_fallbacks").map_or(&[][..], items) {
            groups.check_node(target, reader);
        }
    }
    let aliases = child(root, "router_settings").and_then(|router| child(router, "model_group_alias"));
    for alias in aliases.map_or(&[][..], Node::entries) {
        groups.check_node(&alias.value, reader);
    }
}

/// Every name that a call may ask for.
struct Groups<'c> {
    names: Vec<&'c str>,
}

impl<'c> Groups<'c> {
    fn of(config: &'c Config) -> Groups<'c> {
        let deployments = config.model_list.iter();
        let names = deployments.flat_map(|one| [Some(one.model_name.as_str()), one.model_info.id.as_deref()]);
        let aliases = config
            .router_settings
            .model_group_alias
            .keys()
            .chain(config.litellm_settings.model_alias_map.keys());
        Groups { names: names.flatten().chain(aliases.map(String::as_str)).collect() }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| match pattern.split_once('*') {
            None => *pattern == name,
            Some((start, end)) => {
                name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
            }
        })
    }

    /// Checks a target: a name, or a map with `model`.
    fn check_node(&self, node: &Node, reader: &mut Reader<'_>) {
        match &node.value {
            Value::Scalar(scalar) => self.check(&scalar.text, node.mark, reader),
            _ => {
                if let Some(Node { value: Value::Scalar(scalar), mark, .. }) = child(node, "model") {
                    self.check(&scalar.text, *mark, reader);
                }
            }
        }
    }

    fn check(&self, name: &str, mark: Mark, reader: &mut Reader<'_>) {
        let elsewhere = name.is_empty() || name == "*" || name.starts_with("os.environ/");
        if elsewhere || self.names.is_empty() || self.has(name) {
            return;
        }
        let near = nearest(name, self.names.iter().copied());
        let message = format!("no deployment is called `{name}`");
        let diagnostic = reader.report(Severity::Warning, "unknown-group", mark, message);
        diagnostic.help.push(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it to `model_list`; until then this is skipped".to_owned(),
        });
    }
}

/// LiteLLM leaves out fields inside of others, too, named by their path.
fn nested_fields(root: &Node, reader: &mut Reader<'_>) {
    for deployment in child(root, "model_list").map_or(&[][..], items) {
        let params = child(deployment, "litellm_params");
        let dropped = params.and_then(|params| child(params, "additional_drop_params"));
        for field in dropped.map_or(&[][..], items) {
            if let Value::Scalar(scalar) = &field.value
                && scalar.text.contains(['.', '['])
                && !scalar.text.starts_with("os.environ/")
            {
                let message = format!("only fields of the top level are left out, not `{}`", scalar.text);
                reader.report(Severity::Warning, "no-effect", field.mark, message);
            }
        }
    }
}

/// Two deployments with one id cannot be told apart.
fn repeated_ids(root: &Node, reader: &mut Reader<'_>) {
    let mut first: HashMap<&str, Mark> = HashMap::new();
    for deployment in child(root, "model_list").map_or(&[][..], items) {
        let id = child(deployment, "model_info").and_then(|info| child(info, "id"));
        let Some(Node { value: Value::Scalar(scalar), mark, .. }) = id else { continue };
        if let Some(earlier) = first.insert(&scalar.text, *mark) {
            let message = format!("two deployments have the id `{}`", scalar.text);
            let also = reader.files.place(earlier);
            let diagnostic = reader.report(Severity::Error, "repeated-id", *mark, message);
            diagnostic.also.extend(also);
            diagnostic.help.push("give each its own, or leave both out".to_owned());
        }
    }
}

/// The value of `key` of a map.
pub(crate) fn child<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    node.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => &[],
    }
}

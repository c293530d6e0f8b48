//! What the gateway serves: configuration, providers and prices compiled into one immutable value.
//!
//! A call holds one `Arc` of it from beginning to end; a reload builds a new one and swaps it in.

mod facts;
mod maker;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::Value;
use tollway_config::{Config, Deployment as Entry};
use tollway_model::Operation;
use tollway_prices::{Catalog, Overrides, PriceSheet};
use tollway_providers::Table;
use tollway_route::{Alias, Deployment, Group, Pattern, Routes};

use crate::attempts::money;
use crate::budgets::Budgets;
use crate::caller::Keyring;
use crate::settings::Settings;

use self::maker::{Maker, deployment_id, provider_template, template};

/// Reads an environment variable, those of the configuration file first.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the gateway serves.
#[derive(Debug)]
pub struct Snapshot {
    /// From names to deployments.
    pub routes: Routes,
    /// Settings of calls.
    pub settings: Settings,
    /// Budgets that belong to no caller.
    pub budgets: Budgets,
    /// Who may call.
    pub keyring: Keyring,
    /// Names shown beside the groups: examples of what wildcards serve.
    pub listed: Vec<String>,
    /// Model → the access groups it is in (`model_info.access_groups`).
    access_groups: HashMap<String, Vec<Arc<str>>>,
    /// The same for wildcards.
    wildcard_groups: Vec<(Pattern, Vec<Arc<str>>)>,
    wildcards: Vec<Wildcard>,
    /// What is known by name of those that wildcards serve; looked up when somebody wants a list.
    known: OnceLock<Vec<String>>,
    catalog: Arc<Catalog>,
}

/// A wildcard and where it leads, for the list of models.
#[derive(Debug)]
struct Wildcard {
    /// As configured, `openai/*`.
    name: String,
    provider: String,
    /// Which of the provider's models, by their own names.
    models: Pattern,
}

/// What a snapshot is built from.
pub struct Sources<'a> {
    /// The configuration file, or its defaults.
    pub config: &'a Config,
    /// Deployments that were added over the API, beside those of the file.
    pub stored: &'a [Entry],
    /// No file was given: serve every provider whose key is in the environment, as `provider/model`.
    pub from_environment: bool,
    /// The environment.
    pub environment: Environment,
    /// The models table.
    pub catalog: Arc<Catalog>,
    /// Where the built-in fake provider listens, when it does.
    pub demo: Option<String>,
    /// Who may call.
    pub keyring: Keyring,
}

impl Snapshot {
    /// Compiles `sources`. Never fails: what cannot be served is there as unavailable, with the reason.
    pub fn build(sources: Sources<'_>) -> Snapshot {
        let settings = Settings::from_config(sources.config);
        let maker = Arc::new(Maker {
            environment: sources.environment,
            catalog: sources.catalog,
            demo: sources.demo,
        });
        let (mut deployments, mut templates, mut listed) = (Vec::new(), Vec::new(), Vec::new());
        let mut wildcards = Vec::new();
        let mut budgets = Budgets::of(sources.config);
        let zone = sources.config.tollway.budgets.timezone.as_str();
        for (index, entry) in sources.config.model_list.iter().chain(sources.stored).enumerate() {
            match Pattern::parse(&entry.model_name) {
                Some(pattern) => {
                    let id = deployment_id(entry, index);
                    budgets.add(entry, &id, zone);
                    wildcards.extend(maker.wildcard(entry));
                    templates.push(template(&maker, entry.clone(), pattern, index, Some(id)));
                }
                None => {
                    let deployment = maker.deployment(entry, index);
                    budgets.add(entry, &deployment.id, zone);
                    deployments.push(Arc::new(deployment));
                }
            }
        }
        if sources.from_environment {
            for provider in Table::builtin().environment(&*maker.environment) {
                templates.push(provider_template(&maker, provider));
                let name = format!("{}/*", provider.id);
                let (provider, models) = (provider.id.clone(), Pattern::with_prefix(""));
                wildcards.push(Wildcard { name: name.clone(), provider, models });
                listed.push(name);
            }
            // Bare names such as `gpt-4o`, and providers whose key is missing: the error then names the key.
            let mut any = Entry::default();
            "*".clone_into(&mut any.model_name);
            "*".clone_into(&mut any.litellm_params.model);
            templates.push(template(&maker, any, Pattern::with_prefix(""), 0, None));
        }
        if maker.demo.is_some()
            && let Some(demo) = Table::builtin().get("demo")
        {
            templates.push(provider_template(&maker, demo));
            listed.push("demo/chat".to_owned());
        }
        let aliases = sources.config.aliases();
        let entries = sources.config.model_list.iter().chain(sources.stored);
        let (access_groups, wildcard_groups) = access_groups(entries);
        Snapshot {
            catalog: maker.catalog.clone(),
            access_groups,
            wildcard_groups,
            wildcards,
            known: OnceLock::new(),
            routes: Routes::new(deployments, templates, aliases),
            settings,
            budgets,
            keyring: sources.keyring,
            listed,
        }
    }

    /// The prices that the models table has for `provider/model`, or for a model whose name tells its provider, whether
    /// or not anyone serves it here.
    pub fn listed_prices(&self, name: &str) -> Option<PriceSheet> {
        let entry = match name.split_once('/') {
            Some((provider, model)) => self.catalog.get(name).or_else(|| self.catalog.find(provider, model)),
            None => self.catalog.infer_provider(name).and_then(|provider| self.catalog.find(provider, name)),
        };
        entry.map(|entry| entry.prices).filter(|prices| !prices.is_empty())
    }

    /// Models of the table that wildcards serve, by the names that clients call them. Other names can be called, too.
    pub fn known(&self) -> &[String] {
        self.known.get_or_init(|| {
            let mut known = Vec::new();
            if self.wildcards.is_empty() {
                return known;
            }
            for entry in self.catalog.entries() {
                let mode = entry.mode.as_deref().unwrap_or("chat");
                if !matches!(mode, "chat" | "completion" | "responses" | "embedding") {
                    continue;
                }
                let provider = entry.provider();
                let own = entry.id.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/'));
                let own = own.unwrap_or(&entry.id);
                let serving = self.wildcards.iter().filter(|wildcard| wildcard.provider == provider);
                known.extend(serving.filter_map(|wildcard| {
                    wildcard.models.capture(own).map(|star| Pattern::fill(&wildcard.name, star))
                }));
            }
            known.sort_unstable();
            known.dedup();
            known
        })
    }

    /// The deployments for a name; `None` when nobody is known to serve it.
    pub fn resolve(&self, name: &str) -> Option<Group> {
        let group = self.routes.resolve(name)?;
        group.iter().any(|deployment| !deployment.provider.is_empty()).then_some(group)
    }

    /// The access groups that `model` is in.
    pub fn access_groups(&self, model: &str) -> &[Arc<str>] {
        if let Some(groups) = self.access_groups.get(model) {
            return groups;
        }
        let matching = self.wildcard_groups.iter().find(|(pattern, _)| pattern.capture(model).is_some());
        matching.map_or(&[], |(_, groups)| groups)
    }

    /// The groups with a deployment that calls on a budget pass over, because nobody knows its price.
    pub fn unpriced(&self) -> Vec<&str> {
        let policy = self.settings.unknown_price;
        let unpriced = |one: &&Arc<Deployment>| {
            let embeds = one.info.get("mode").and_then(Value::as_str) == Some("embedding");
            let operation = if embeds { Operation::Embedding } else { Operation::Chat };
            one.endpoint().is_some() && !money::may_serve_budgets(one, policy, operation)
        };
        let mut names: Vec<&str> =
            self.routes.deployments().filter(unpriced).map(|one| one.group.as_ref()).collect();
        names.dedup();
        names
    }

    /// Does any budget of the configuration hold?
    pub fn has_budgets(&self) -> bool {
        let is_bound = self.budgets.bind_deployments() || self.budgets.bind_tags();
        is_bound || self.settings.global_limits.as_ref().is_some_and(|claim| !claim.limits.budgets.is_empty())
    }

    /// Is there anything to call?
    pub fn is_serving(&self) -> bool {
        true
    }
}

type AccessGroups = (HashMap<String, Vec<Arc<str>>>, Vec<(Pattern, Vec<Arc<str>>)>);

/// The access groups of the file, by name and by wildcard.
fn access_groups<'a>(entries: impl Iterator<Item = &'a Entry>) -> AccessGroups {
    let mut named: HashMap<String, Vec<Arc<str>>> = HashMap::new();
    let mut wildcards = Vec::new();
    for entry in entries.filter(|entry| !entry.model_info.access_groups.is_empty()) {
        let groups = entry.model_info.access_groups.iter().map(|group| Arc::from(group.as_str()));
        match Pattern::parse(&entry.model_name) {
            Some(pattern) => wildcards.push((pattern, groups.collect())),
            None => named.entry(entry.model_name.clone()).or_default().extend(groups),
        }
    }
    (named, wildcards)
}

/// Aliases of the configuration, in one map.
trait Aliases {
    fn aliases(&self) -> HashMap<String, Alias>;
}

impl Aliases for Config {
    fn aliases(&self) -> HashMap<String, Alias> {
        let mut aliases: HashMap<String, Alias> = HashMap::new();
        let models = self.litellm_settings.model_alias_map.iter();
        aliases.extend(
            models.map(|(name, group)| (name.clone(), Alias { group: group.clone(), hidden: false })),
        );
        let groups = self.router_settings.model_group_alias.iter();
        aliases.extend(
            groups.map(|(name, alias)| {
                (name.clone(), Alias { group: alias.model.clone(), hidden: alias.hidden })
            }),
        );
        aliases
    }
}

/// What answers cost that no provider gave.
pub(crate) static FREE: LazyLock<Arc<PriceSheet>> = LazyLock::new(|| {
    let zero = [("input_cost_per_token", "0"), ("output_cost_per_token", "0")];
    let overrides = Overrides::parse(zero).unwrap_or_default();
    Arc::new(overrides.apply(&tollway_prices::Entry::default()).prices)
});

#[cfg(test)]
pub(crate) mod tests;

//! From files to a snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use tollway_config::{Config, Deployment, process_env};
use tollway_model::Secret;
use tollway_pipeline::{Environment, Keyring, Snapshot, Sources};
use tollway_prices::Catalog;

use crate::cli::LitellmArgs;

/// The process environment under the configuration's own variables.
pub(crate) fn overlay(config: &Config) -> impl Fn(&str) -> Option<String> + Send + Sync + use<> {
    let own: IndexMap<String, Secret> = config.environment_variables.clone();
    move |name: &str| own.get(name).map(|value| value.expose().to_owned()).or_else(|| process_env(name))
}

/// A snapshot for looking at, with nobody allowed to call.
pub(crate) fn offline_snapshot(config: &Config, environment: Environment) -> Snapshot {
    Snapshot::build(Sources {
        config,
        stored: &[],
        from_environment: false,
        environment,
        catalog: Catalog::builtin(),
        demo: None,
        keyring: Keyring::default(),
    })
}

/// The file of an imported models table.
pub(crate) fn catalog_file(data_dir: &Path) -> PathBuf {
    data_dir.join("models.jsonl")
}

/// The models table: the imported one, else the built-in one. A damaged import is reported and not used.
pub(crate) fn catalog(data_dir: &Path) -> Arc<Catalog> {
    let path = catalog_file(data_dir);
    let Ok(bytes) = std::fs::read(&path) else { return Catalog::builtin() };
    match Catalog::from_jsonl(&bytes) {
        Ok(catalog) => Arc::new(catalog),
        Err(error) => {
            tracing::error!(file = %path.display(), error = %error, "the imported models table is damaged; the built-in one is used");
            Catalog::builtin()
        }
    }
}

/// LiteLLM's one-model mode, and flags that stand for settings.
pub(crate) fn apply_flags(config: &mut Config, flags: &LitellmArgs) -> Result<(), String> {
    if let Some(model) = &flags.model {
        let model_name = flags.alias.clone().unwrap_or_else(|| model.clone());
        let mut deployment = Deployment { model_name, ..Deployment::default() };
        let params = &mut deployment.litellm_params;
        params.model.clone_from(model);
        params.api_base.clone_from(&flags.api_base);
        params.api_version.clone_from(&flags.api_version);
        if let Some(temperature) = flags.temperature {
            params.defaults.insert("temperature".into(), temperature.into());
        }
        if let Some(limit) = flags.max_tokens {
            params.defaults.insert("max_tokens".into(), limit.into());
        }
        if let Some(headers) = &flags.headers {
            let parsed: IndexMap<String, String> = serde_json::from_str(headers)
                .map_err(|error| format!("--headers is a JSON object of texts: {error}"))?;
            params.extra_headers =
                parsed.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        }
        config.model_list.push(deployment);
    }
    if let Some(seconds) = flags.request_timeout {
        config.litellm_settings.request_timeout = Some(std::time::Duration::from_secs(seconds));
    }
    config.litellm_settings.drop_params |= flags.drop_params;
    if let Some(seconds) = flags.keepalive_timeout {
        config.tollway.timeouts.idle_connection = std::time::Duration::from_secs(seconds);
    }
    if let Some(count) = flags.limit_concurrency {
        config.tollway.limits.max_connections = count;
    }
    Ok(())
}

//! Reading the configuration again: on a file change, on SIGHUP, on `POST /config/reload`.
//!
//! The new configuration is validated first and swapped in whole; when it is wrong the old one stays. Running calls
//! keep what they began with.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::Watcher;
use tollway_accounts::manage::Management;
use tollway_config::{Config, Fingerprint, Loaded, Severity};
use tollway_pipeline::Gateway;
use tollway_server::{Hooks, LiveLimits};

use crate::cli::ServeArgs;
use crate::serve::{Build, limits, needs_restart, read_configuration};
use crate::services::stored_models;
use crate::state;

/// Editors write a file in several steps; Kubernetes swaps a symbolic link.
const SETTLE: Duration = Duration::from_millis(200);

/// Where the notification service misses a change (network file systems), looking does not.
const LOOK: Duration = Duration::from_secs(10);

/// What a new configuration changes.
pub(crate) struct Serving {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) limits: Arc<LiveLimits>,
    pub(crate) build: Build,
    pub(crate) management: Arc<Management>,
}

/// Reads the configuration again.
pub(crate) struct Reloader {
    arguments: ServeArgs,
    serving: Serving,
    loaded: Mutex<(Vec<PathBuf>, Fingerprint)>,
    /// The configuration that is served.
    config: Mutex<Config>,
}

impl Reloader {
    /// Starts watching the files of `loaded`.
    pub(crate) fn start(
        arguments: ServeArgs,
        serving: Serving,
        loaded: Loaded,
        config: Config,
    ) -> Arc<Reloader> {
        let watched = arguments.config.is_some();
        let loaded = Mutex::new((loaded.files, loaded.fingerprint));
        let config = Mutex::new(config);
        let reloader = Arc::new(Reloader { arguments, serving, loaded, config });
        if watched {
            tokio::spawn(reloader.clone().watch());
        }
        // Heard from now on: a signal that came before would end the process.
        #[cfg(unix)]
        if let Ok(hangup) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
            tokio::spawn(reloader.clone().on_hangup(hangup));
        }
        reloader
    }

    /// Serves the models that are stored now, beside those of the file.
    pub(crate) async fn restock(&self) {
        let stored = stored_models(&self.serving.management).await;
        let Some(stored) = stored else { return };
        *self.serving.build.stored.lock().unwrap_or_else(PoisonError::into_inner) = stored;
        // Not in the middle of a reload, which may have begun with the models of before.
        let _reading = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.serving.build.snapshot(&config) {
            Ok(snapshot) => self.serving.gateway.replace(snapshot),
            Err(message) => tracing::error!("the stored models were not changed: {message}"),
        }
    }

    async fn watch(self: Arc<Self>) {
        let (changed, mut changes) = tokio::sync::mpsc::channel(1);
        let watched = self.clone();
        let notify = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A full channel already says that something changed.
            if event.is_ok_and(|event| !event.kind.is_access() && watched.is_about(&event.paths)) {
                let _ = changed.try_send(());
            }
        });
        let mut watcher = match notify {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(error = %error, "file changes are not announced here; looking every {} s", LOOK.as_secs());
                None
            }
        };
        let mut directories: Vec<PathBuf> = Vec::new();
        loop {
            let before = directories.len();
            for directory in self.directories() {
                if let Some(watcher) = &mut watcher
                    && !directories.contains(&directory)
                    && watcher.watch(&directory, notify::RecursiveMode::NonRecursive).is_ok()
                {
                    directories.push(directory);
                }
            }
            // What changed before somebody looked was announced to nobody.
            if directories.len() > before && self.has_changed() {
                self.reload_and_log();
                continue;
            }
            tokio::select! {
                _ = changes.recv(), if watcher.is_some() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(LOOK) => {}
            }
            while changes.try_recv().is_ok() {}
            if self.has_changed() {
                self.reload_and_log();
            }
        }
    }

    #[cfg(unix)]
    async fn on_hangup(self: Arc<Self>, mut hangup: tokio::signal::unix::Signal) {
        while hangup.recv().await.is_some() {
            self.reload_and_log();
        }
    }

    /// Is one of these paths a file of the configuration, or what Kubernetes swaps beside it? A busy directory, such as
    /// the one for temporary files, has much else to tell.
    fn is_about(&self, paths: &[PathBuf]) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = |path: &PathBuf| {
            let name = path.file_name();
            name.is_some_and(|name| name.as_encoded_bytes().starts_with(b"..data"))
                || loaded.0.iter().any(|file| file.file_name() == name)
        };
        paths.is_empty() || paths.iter().any(is_ours)
    }

    fn directories(&self) -> Vec<PathBuf> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = |file: &Path| match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        // Behind a link the file itself may be written to.
        let both = loaded.0.iter().flat_map(|file| {
            let real = file.canonicalize().ok();
            [Some(parent(file)), real.as_deref().map(parent)]
        });
        both.flatten().collect()
    }

    fn has_changed(&self) -> bool {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Fingerprint::of_files(&loaded.0) != loaded.1
    }

    fn reload_and_log(&self) {
        match self.reload() {
            Ok(message) => tracing::info!("{message}"),
            Err(message) => tracing::error!("the configuration was not changed: {message}"),
        }
    }
}

impl Hooks for Reloader {
    fn management(&self) -> Option<Arc<Management>> {
        Some(self.serving.management.clone())
    }

    fn accounts_changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            if let Some(directory) = &self.serving.gateway.services().directory {
                directory.catch_up().await;
            }
        })
    }

    fn models_changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.restock())
    }

    fn reload(&self) -> Result<String, String> {
        // Taken before reading: of two reloads at once the one that read last must also be the one that counts.
        let mut known = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = read_configuration(&self.arguments);
        // Remember a wrong file, too, so that it is reported once and not every time someone looks.
        (known.0, known.1) = (loaded.files.clone(), loaded.fingerprint);
        for found in &loaded.diagnostics {
            if found.severity != Severity::Error {
                tracing::warn!("{found}");
            }
        }
        let Some(mut config) = loaded.config.clone() else { return Err(loaded.report()) };
        state::apply_flags(&mut config, &self.arguments.litellm)?;
        self.serving.gateway.replace(self.serving.build.snapshot(&config)?);
        self.serving.limits.set(limits(&config));
        let (deployments, warnings) = (config.model_list.len(), loaded.diagnostics.len());
        let mut served = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let late = needs_restart(&served, &config);
        *served = config;
        let mut message =
            format!("the configuration was read again: {deployments} deployments, {warnings} warnings");
        if !late.is_empty() {
            message.push_str("; these changes count from the next start: ");
            message.push_str(&late.join(", "));
        }
        Ok(message)
    }
}

//! `tollway serve`: builds everything, runs it, drains it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use tollway::{Transport, TransportOptions};
use tollway_config::{Config, Loaded, LogFormat, Options, Source, load, process_env};
use tollway_model::Secret;
use tollway_pipeline::{Gateway, KeyHash, Keyring, Snapshot, Sources};
use tollway_server::{HttpLimits, Listener, LiveLimits, Service};
use tollway_testkit::FakeProvider;

use crate::admin_key;
use crate::cli::ServeArgs;
use crate::log::Format;
use crate::reload::{Reloader, Serving};
use crate::{data_dir, log, services, state, welcome};

/// Serves until it is told to stop. Exit code 0 after an orderly stop.
pub(crate) fn run(arguments: &ServeArgs) -> Result<ExitCode, String> {
    let flags = &arguments.litellm;
    let words = flags.foreign.words()?;
    let loaded = read_configuration(arguments);
    let Some(mut config) = loaded.config.clone() else {
        eprintln!("{}", loaded.report());
        return Err("the configuration has errors; nothing was started".into());
    };
    state::apply_flags(&mut config, flags)?;
    if flags.validate_config || flags.skip_server_startup {
        eprintln!("{}", loaded.report());
        return Ok(ExitCode::SUCCESS);
    }
    start_log(arguments, &config);
    words.iter().for_each(|word| tracing::warn!("{word}"));
    report(&loaded);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all();
    if let Some(workers) = flags.num_workers {
        runtime.worker_threads(workers.max(1));
    }
    let runtime = runtime.build().map_err(|error| format!("the threads could not be started: {error}"))?;
    runtime.block_on(serve(arguments.clone(), config, loaded))
}

/// Reads the file, or nothing. Unknown or repeated keys are errors unless `--lenient`.
pub(crate) fn read_configuration(arguments: &ServeArgs) -> Loaded {
    let source = arguments.config.clone().map_or(Source::Nothing, Source::File);
    let options = Options { lenient: arguments.lenient, public: !host(arguments).is_loopback() };
    load(source, &process_env, options)
}

fn host(arguments: &ServeArgs) -> IpAddr {
    // Some shells export the machine's name as HOST: that is no wish to listen there.
    let from_environment = || process_env("HOST")?.parse().ok();
    arguments.host.or_else(from_environment).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn start_log(arguments: &ServeArgs, config: &Config) {
    let flags = &arguments.litellm;
    let debug = flags.debug || flags.detailed_debug || config.litellm_settings.set_verbose;
    let level = match &arguments.log {
        Some(level) => level.clone(),
        None if debug => "debug".to_owned(),
        None => config.tollway.log.level.clone(),
    };
    let json = config.litellm_settings.json_logs || config.tollway.log.format == LogFormat::Json;
    log::start(&level, arguments.log_format.unwrap_or(if json { Format::Json } else { Format::Auto }));
}

fn report(loaded: &Loaded) {
    let report = loaded.report();
    if !report.is_empty() {
        eprintln!("{report}\n");
    }
}

async fn serve(arguments: ServeArgs, config: Config, loaded: Loaded) -> Result<ExitCode, String> {
    let directory = data_dir::locate(arguments.data_dir.as_deref());
    data_dir::make(&directory)
        .map_err(|error| format!("cannot make the data directory {}: {error}", directory.display()))?;
    let address = SocketAddr::new(host(&arguments), arguments.port.unwrap_or(4000));
    let listener = Listener::bind(address).map_err(|error| cannot_listen(address, &error))?;
    let admin_key = match master_key(&config) {
        Some(_) => None,
        None => Some(admin_key::load_or_make(&directory).map_err(|error| format!("the admin key: {error}"))?),
    };
    let demo = demo(&config).await?;
    let running = services::start(&config, &directory).await?;
    let build = Build {
        stored: Arc::new(Mutex::new(running.stored_models().await)),
        demo: demo.as_ref().map(|demo| format!("{}/v1", demo.url())),
        directory: directory.clone(),
        admin_key: admin_key.as_ref().map(|key| key.hash),
    };
    let transport = Transport::new(TransportOptions {
        connect: config.tollway.timeouts.connect,
        ..TransportOptions::default()
    });
    let keep = config.tollway.receipts.keep;
    let gateway = Gateway::new(build.snapshot(&config)?, transport.clone(), keep, running.services());
    // Reading the system's certificates takes some milliseconds, and the first call should not.
    tokio::task::spawn_blocking(move || transport.warm());
    let limits = LiveLimits::new(limits(&config));
    let management = running.management.clone();
    let serving = Serving { gateway: gateway.clone(), limits: limits.clone(), build, management };
    let reloader = Reloader::start(arguments, serving, loaded, config);
    running.follow(&reloader);
    running.share(&gateway);
    let service = Service::new(gateway.clone(), limits.clone(), reloader);
    let stop = stop_signal();
    welcome::print(&gateway.snapshot(), listener.address(), &directory, admin_key.as_ref());
    let drained = tollway_server::serve(listener, service, limits, stop).await;
    if !drained {
        tracing::warn!("some calls did not finish in time and were cut off");
    }
    running.stop().await;
    drop(demo);
    Ok(ExitCode::SUCCESS)
}

/// With a word on what to do where that is known.
fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program listens there: stop it, or give another --port",
        std::io::ErrorKind::AddrNotAvailable => {
            "; this machine does not have the address: give another --host"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 are the administrator's: give another --port"
        }
        _ => "",
    };
    format!("cannot listen on {address}: {error}{hint}")
}

/// What every snapshot of this process is built from, beside the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    /// Deployments that were added over the API.
    pub(crate) stored: Arc<Mutex<Vec<tollway_config::Deployment>>>,
    demo: Option<String>,
    directory: std::path::PathBuf,
    /// The generated key, when the process started without a master key.
    admin_key: Option<KeyHash>,
}

impl Build {
    /// Compiles a configuration. Fails when it leaves nobody to call, or names a header that cannot be one.
    pub(crate) fn snapshot(&self, config: &Config) -> Result<Snapshot, String> {
        let stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let snapshot = Snapshot::build(Sources {
            config,
            stored: &stored,
            from_environment: config.model_list.is_empty(),
            environment: Arc::new(state::overlay(config)),
            catalog: state::catalog(&self.directory),
            demo: self.demo.clone(),
            keyring: self.keyring(config)?,
        });
        tell_unpriced(&snapshot);
        Ok(snapshot)
    }

    /// The master key opens the gateway; without one, the generated admin key does.
    fn keyring(&self, config: &Config) -> Result<Keyring, String> {
        let header = config.general_settings.litellm_key_header_name.as_deref();
        let header = header.map(str::parse).transpose();
        let header =
            header.map_err(|_| "general_settings.litellm_key_header_name is not a header name".to_owned())?;
        match (master_key(config), self.admin_key) {
            (Some(master), _) => Ok(Keyring::new(Vec::new(), header).with_master(&master)),
            (None, Some(hash)) => Ok(Keyring::new(vec![hash], header)),
            (None, None) => {
                Err("there is no master key any more; restart to go on with a generated admin key".into())
            }
        }
    }
}

/// Says which models calls on a budget will not reach: better now than when one is refused. Keys may have budgets of which
/// the configuration knows nothing.
fn tell_unpriced(snapshot: &Snapshot) {
    const MOST: usize = 10;
    let names = snapshot.unpriced();
    if names.is_empty() {
        return;
    }
    let more = if names.len() > MOST { ", …" } else { "" };
    let listed = format!("{}{more}", names.iter().take(MOST).copied().collect::<Vec<_>>().join(", "));
    let what = "models without a known price refuse calls that count against a budget; set `input_cost_per_token` and \
                `output_cost_per_token` (0 where nothing is paid), or `tollway.budgets.unknown_price: allow`";
    if snapshot.has_budgets() {
        tracing::warn!(target: "tollway::prices", models = listed, count = names.len(), "{what}");
    } else {
        tracing::info!(target: "tollway::prices", models = listed, count = names.len(), "{what}");
    }
}

/// The master key of the file or of the environment.
fn master_key(config: &Config) -> Option<Secret> {
    let environment = state::overlay(config);
    let configured = config.general_settings.master_key.clone();
    let master = configured.or_else(|| environment("LITELLM_MASTER_KEY").map(Secret::from));
    master.filter(|key| !key.is_empty())
}

/// The fake provider behind `demo/…`: without a configuration file, or where the file names it.
async fn demo(config: &Config) -> Result<Option<FakeProvider>, String> {
    let named = config.model_list.iter().any(|entry| {
        let params = &entry.litellm_params;
        params.model.starts_with("demo/") || params.custom_llm_provider.as_deref() == Some("demo")
    });
    if !named && !config.model_list.is_empty() {
        return Ok(None);
    }
    let options = tollway_testkit::Options { require_key: false, lenient: true, keep: 0, bench: None };
    FakeProvider::start_with(options).await.map(Some).map_err(|error| format!("the demo provider: {error}"))
}

/// Fewer connections of one address are not worth a bound: small limits are for everybody together.
const FEW: usize = 100;

/// The limits of connections and requests.
pub(crate) fn limits(config: &Config) -> HttpLimits {
    let (limits, waits) = (&config.tollway.limits, &config.tollway.timeouts);
    let bytes = |size: tollway_config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    let connections = limits.max_connections as usize;
    let connections_per_address = match limits.max_connections_per_address {
        None => (connections / 2).max(FEW),
        Some(0) => usize::MAX,
        Some(most) => most as usize,
    };
    HttpLimits {
        header_bytes: bytes(limits.max_headers_size),
        headers: limits.max_headers as usize,
        url_bytes: bytes(limits.max_url),
        body_bytes: bytes(config.max_body()),
        header_time: waits.read_headers,
        idle_time: waits.idle_connection,
        body_rate: u32::try_from(waits.min_body_rate.bytes()).unwrap_or(u32::MAX),
        body_time: waits.read_body,
        write_stall: waits.write,
        connections,
        connections_per_address,
        drain: waits.shutdown,
    }
}

/// What differs between two configurations and counts from the next start only.
pub(crate) fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let connections = |config: &Config| config.tollway.limits.max_connections;
    let kept = |config: &Config| config.tollway.receipts.keep;
    let connect = |config: &Config| config.tollway.timeouts.connect;
    let changed = [
        ("tollway.limits.max_connections", connections(old) != connections(new)),
        ("tollway.timeouts.connect", connect(old) != connect(new)),
        ("tollway.receipts.keep", kept(old) != kept(new)),
    ];
    changed.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
}

/// Resolves on Ctrl-C and on SIGTERM; they are heard from the call on, not from the first poll.
#[cfg(unix)]
fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals: Vec<_> = [SignalKind::interrupt(), SignalKind::terminate()]
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    std::future::poll_fn(move |context| {
        let arrived = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if arrived { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
}

/// Resolves on Ctrl-C.
#[cfg(not(unix))]
async fn stop_signal() {
    let _ = tokio::signal::ctrl_c().await;
}

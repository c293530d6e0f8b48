//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::log::Format;

/// One door to every AI model provider.
///
/// Without a command it serves: `tollway` is `tollway serve`. LiteLLM's flags are accepted with their meaning, or with a word
/// why they have none.
#[derive(Debug, Parser)]
#[command(name = "tollway", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the gateway
    Serve(Box<ServeArgs>),
    /// Checks a configuration file without starting anything
    Check(CheckArgs),
    /// Asks a model and prints its answer as it comes; needs no running gateway
    Chat(ChatArgs),
    /// Lists models with prices and limits
    Models(ModelsArgs),
    /// Explains why a call went the way it went
    Why(WhyArgs),
    /// Makes, lists, blocks and deletes the virtual keys of a running gateway
    Keys(crate::keys::KeysArgs),
    /// Works with the models table: prices, limits, capabilities
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Looks after the database
    #[command(subcommand)]
    Db(DbCommand),
    /// Looks after receipts and the sums that derive from them
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Shows what was spent
    Spend(SpendArgs),
    /// Prints a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints reference pages made from the code
    #[command(hide = true)]
    Reference {
        /// Which page
        #[arg(value_enum)]
        page: crate::reference::Page,
    },
}

/// How to serve.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// The configuration file, in LiteLLM's format. Without one, every provider whose key is in the environment is
    /// served as `provider/model`
    #[arg(short, long, env = "CONFIG_FILE_PATH", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The address to listen on [default: HOST when it is an address, else 127.0.0.1, this machine only]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) host: Option<IpAddr>,
    /// The port to listen on [default: 4000]
    #[arg(short, long, env = "PORT")]
    pub(crate) port: Option<u16>,
    /// Where the gateway keeps its files [default: TOLLWAY_DATA_DIR, else the platform's place]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What is logged: a level (error, warn, info, debug, trace) or a filter such as `tollway=debug,info`
    #[arg(long, env = "LITELLM_LOG", value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// How the log is written
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<Format>,
    /// Unknown keys in the configuration are warnings instead of errors
    #[arg(long)]
    pub(crate) lenient: bool,
    #[command(flatten)]
    pub(crate) litellm: LitellmArgs,
}

/// An IP address; `localhost` is one, too.
fn address(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse().map_err(|_| "an IP address to listen on, such as 127.0.0.1, or 0.0.0.0 for all".to_owned())
}

/// LiteLLM's flags.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "LiteLLM's flags")]
pub(crate) struct LitellmArgs {
    /// Serves one model without a configuration file
    #[arg(short, long, value_name = "PROVIDER/MODEL")]
    pub(crate) model: Option<String>,
    /// The name clients ask for, with --model
    #[arg(long, requires = "model")]
    pub(crate) alias: Option<String>,
    /// The provider's base URL, with --model
    #[arg(long = "api_base", requires = "model", value_name = "URL")]
    pub(crate) api_base: Option<String>,
    /// The provider's API version, with --model
    #[arg(long = "api_version", requires = "model")]
    pub(crate) api_version: Option<String>,
    /// The temperature where the caller sends none, with --model
    #[arg(long, requires = "model")]
    pub(crate) temperature: Option<f64>,
    /// The longest answer where the caller says nothing, with --model
    #[arg(long = "max_tokens", requires = "model")]
    pub(crate) max_tokens: Option<u64>,
    /// Longest duration of one attempt, in seconds
    #[arg(long = "request_timeout", value_name = "SECONDS")]
    pub(crate) request_timeout: Option<u64>,
    /// Leaves out parameters a provider lacks instead of refusing the call
    #[arg(long = "drop_params")]
    pub(crate) drop_params: bool,
    /// Headers sent to the provider, a JSON object, with --model
    #[arg(long, requires = "model", value_name = "JSON")]
    pub(crate) headers: Option<String>,
    /// The log at level debug
    #[arg(long)]
    pub(crate) debug: bool,
    /// The log at level debug
    #[arg(long = "detailed_debug")]
    pub(crate) detailed_debug: bool,
    /// Threads that serve calls; one process uses every core without it
    #[arg(long = "num_workers", env = "NUM_WORKERS", value_name = "COUNT")]
    pub(crate) num_workers: Option<usize>,
    /// Most connections at once
    #[arg(long = "limit_concurrency", value_name = "COUNT")]
    pub(crate) limit_concurrency: Option<u32>,
    /// How long a connection stays open between two calls, in seconds
    #[arg(long = "keepalive_timeout", value_name = "SECONDS")]
    pub(crate) keepalive_timeout: Option<u64>,
    /// Checks the configuration and exits, as `tollway check`
    #[arg(long = "validate_config")]
    pub(crate) validate_config: bool,
    /// Exits without serving; `tollway db migrate` makes the tables
    #[arg(long = "skip_server_startup")]
    pub(crate) skip_server_startup: bool,
    #[command(flatten)]
    pub(crate) foreign: crate::foreign_flags::ForeignFlags,
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file
    pub(crate) file: PathBuf,
    /// Unknown keys are warnings instead of errors
    #[arg(long)]
    pub(crate) lenient: bool,
    /// Judges the master key as if others could reach the gateway
    #[arg(long)]
    pub(crate) public: bool,
}

/// What to ask.
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// `provider/model`; `demo/chat` needs no key
    pub(crate) model: String,
    /// The prompt; read from standard input when it is `-` or missing
    pub(crate) prompt: Option<String>,
    /// Instructions for the model
    #[arg(short, long)]
    pub(crate) system: Option<String>,
}

/// Which models to list.
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Only models whose name contains this
    pub(crate) filter: Option<String>,
    /// Only models of this provider
    #[arg(short, long)]
    pub(crate) provider: Option<String>,
    /// As JSON, one model a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which call to explain.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// The receipt's id, from the answer's `x-tollway-receipt` or `x-litellm-call-id` header
    pub(crate) id: String,
    /// The running gateway
    #[arg(long, env = "TOLLWAY_URL", default_value = "http://127.0.0.1:4000")]
    pub(crate) url: String,
    /// The admin key; without it TOLLWAY_KEY, else LITELLM_MASTER_KEY
    #[arg(long, env = "TOLLWAY_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The receipt as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with the models table.
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Reads a price file in LiteLLM's published format, shows what changes, and uses it from the next start on
    Import {
        /// The file
        file: PathBuf,
        /// Shows what would change and changes nothing
        #[arg(long)]
        dry_run: bool,
        /// Where the gateway keeps its files
        #[arg(long, value_name = "DIRECTORY")]
        data_dir: Option<PathBuf>,
    },
    /// Shows what is known of a model
    Show {
        /// `provider/model`
        model: String,
        /// Where the gateway keeps its files
        #[arg(long, value_name = "DIRECTORY")]
        data_dir: Option<PathBuf>,
    },
    /// Forgets an imported table: the built-in one counts again
    Reset {
        /// Where the gateway keeps its files
        #[arg(long, value_name = "DIRECTORY")]
        data_dir: Option<PathBuf>,
    },
}

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Shows where it is, whether it answers, its migrations and records, and whether the audit log is whole
    Status(DatabaseArgs),
    /// Applies the migrations that are missing; the gateway does so, too, when it starts
    Migrate {
        #[command(flatten)]
        place: DatabaseArgs,
        /// Shows the statements and changes nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Seals all secrets with another salt key, while gateways run: with the one in TOLLWAY_SALT_KEY or
    /// LITELLM_SALT_KEY (list the one before in TOLLWAY_OLD_SALT_KEYS), else with a new one in the data directory
    RotateSaltKey {
        #[command(flatten)]
        place: DatabaseArgs,
        /// Forgets the old keys in the data directory afterwards
        #[arg(long)]
        forget_old: bool,
    },
}

/// What to do with receipts and sums.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Shows what waits in the journal and what the books hold
    Status(LedgerArgs),
    /// Proves that receipts, sums by scope, hours and days agree; exits with 1 when they do not
    Verify(LedgerArgs),
    /// Makes all sums anew from the receipts; gateways may go on, their receipts wait in the journal
    Rebuild(LedgerArgs),
}

/// Which books, and how to answer.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LedgerArgs {
    #[command(flatten)]
    pub(crate) place: DatabaseArgs,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to add up.
#[derive(Debug, Clone, Args)]
pub(crate) struct SpendArgs {
    /// One line each
    #[arg(long, value_enum, default_value_t = SpendBy::Key)]
    pub(crate) by: SpendBy,
    /// From this day on (UTC), such as 2026-11-20, or so many days back, such as 7d [default: from the beginning]
    #[arg(long, value_name = "DAY")]
    pub(crate) since: Option<String>,
    /// Up to this day, included
    #[arg(long, value_name = "DAY")]
    pub(crate) until: Option<String>,
    /// Most lines
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) ledger: LedgerArgs,
}

/// What has a line of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SpendBy {
    Key,
    User,
    Team,
    Organization,
    Customer,
    Tag,
    Model,
    Provider,
    Deployment,
    Day,
}

/// Which database.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DatabaseArgs {
    /// postgres://…, sqlite:PATH, or a file's path [default: the configuration's database_url, else DATABASE_URL, else
    /// tollway.db in the data directory]
    #[arg(long, value_name = "URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// Where the gateway keeps its files
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration file
    #[arg(short, long, env = "CONFIG_FILE_PATH", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

impl Cli {
    /// Does what the command line says.
    pub(crate) fn run(self) -> Result<ExitCode, String> {
        match self.command {
            None => crate::serve::run(&self.serve),
            Some(Command::Serve(arguments)) => crate::serve::run(&arguments),
            Some(Command::Check(arguments)) => Ok(crate::check::run(&arguments)),
            Some(Command::Chat(arguments)) => crate::chat::run(arguments),
            Some(Command::Models(arguments)) => crate::models::run(&arguments),
            Some(Command::Keys(arguments)) => crate::keys::run(&arguments),
            Some(Command::Why(arguments)) => crate::why::run(&arguments),
            Some(Command::Catalog(command)) => crate::catalog::run(&command),
            Some(Command::Db(command)) => crate::db::run(&command),
            Some(Command::Ledger(command)) => crate::ledger::run(&command),
            Some(Command::Spend(arguments)) => crate::spend::run(&arguments),
            Some(Command::Completions { shell }) => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "tollway", &mut script);
                crate::output::text_now(&String::from_utf8_lossy(&script));
                Ok(ExitCode::SUCCESS)
            }
            Some(Command::Reference { page }) => crate::reference::run(page),
        }
    }
}

//! LiteLLM's flags that have no counterpart here: what each means for those who give it.
//!
//! One that merely changes how LiteLLM runs is accepted with a word; one whose absence would be missed is refused.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

/// Given flags, as indices in [`FLAGS`].
#[derive(Debug, Clone, Default)]
pub(crate) struct ForeignFlags(Vec<usize>);

struct Flag {
    name: &'static str,
    /// The name of its value; none for a switch.
    value: Option<&'static str>,
    /// Nothing is started with it.
    refused: bool,
    why: &'static str,
}

const fn switch(name: &'static str, why: &'static str) -> Flag {
    Flag { name, value: None, refused: false, why }
}

const fn setting(name: &'static str, value: &'static str, why: &'static str) -> Flag {
    Flag { name, value: Some(value), refused: false, why }
}

const fn refused(name: &'static str, value: Option<&'static str>, why: &'static str) -> Flag {
    Flag { name, value, refused: true, why }
}

const ONE_SERVER: &str = "There is one server; has no effect";
const THREADS: &str = "Workers are threads and are never restarted; has no effect";
const MIGRATED: &str = "The tables are made and migrated on start; has no effect";
const NO_TLS: &str = "No TLS here: put a reverse proxy in front";
const NO_CLOUD_LOGIN: &str = "Not built: write the password into the database's URL";
const ASK: &str = "Not built: ask a running gateway with `curl`, or a model with `tollway chat`";

const FLAGS: &[Flag] = &[
    switch("run_gunicorn", ONE_SERVER),
    switch("run_hypercorn", ONE_SERVER),
    switch("run_granian", ONE_SERVER),
    setting("granian_threads", "COUNT", "`--num_workers` sets the number of threads; has no effect"),
    setting("max_requests_before_restart", "COUNT", THREADS),
    setting("max_requests_before_restart_jitter", "COUNT", THREADS),
    setting("timeout_worker_healthcheck", "SECONDS", THREADS),
    setting("telemetry", "BOOLEAN", "There is no telemetry; has no effect"),
    switch("local", "Has no effect"),
    switch("use_queue", "There is no queue; has no effect"),
    switch("reload", "A changed configuration is read again in any case; has no effect"),
    switch("use_prisma_db_push", MIGRATED),
    switch("skip_db_migration_check", MIGRATED),
    switch("enforce_prisma_migration_check", MIGRATED),
    switch("use_legacy_migration_resolver", MIGRATED),
    switch("use_v2_migration_resolver", MIGRATED),
    setting("log_config", "FILE", "`--log` and `--log-format` say what is logged and how; has no effect"),
    refused("ssl_keyfile_path", Some("FILE"), NO_TLS),
    refused("ssl_certfile_path", Some("FILE"), NO_TLS),
    refused("ciphers", Some("LIST"), NO_TLS),
    refused("max_budget", Some("USD"), "Not built: give out keys with a budget, `POST /key/generate`"),
    refused("add_function_to_prompt", None, "Not built: models without tools get none"),
    refused("add_key", Some("KEY"), "Not built: set the provider's variable, such as OPENAI_API_KEY"),
    refused("save", None, "Not built: write a configuration file and give it as `--config`"),
    refused("health", None, "`GET /health` of a running gateway lists what cannot be called"),
    refused("test", None, ASK),
    refused("test_async", None, ASK),
    refused("num_requests", Some("COUNT"), ASK),
    refused("setup", None, "Not built: start without a file, or write one and try it with `tollway check`"),
    refused("prometheus_metrics_port", Some("PORT"), "Not built: there are no metrics yet"),
    refused(
        "check_migrations_against_existing_data",
        None,
        "`tollway db status` shows the state of the database",
    ),
    refused("iam_token_db_auth", None, NO_CLOUD_LOGIN),
    refused("azure_postgresql_auth", None, NO_CLOUD_LOGIN),
];

impl ForeignFlags {
    /// What to tell about the given flags that have no effect.
    ///
    /// Fails when one is given whose absence would be missed.
    pub(crate) fn words(&self) -> Result<Vec<String>, String> {
        let given = || self.0.iter().filter_map(|index| FLAGS.get(*index));
        let said = |flag: &Flag| format!("--{}: {}", flag.name, flag.why);
        let refused: Vec<String> = given().filter(|flag| flag.refused).map(said).collect();
        if !refused.is_empty() {
            return Err(format!("{}; leave it out", refused.join("; ")));
        }
        Ok(given().map(said).collect())
    }
}

impl Args for ForeignFlags {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| {
            let argument = Arg::new(flag.name).long(flag.name).help(flag.why);
            command.arg(match flag.value {
                Some(name) => argument.value_name(name).action(ArgAction::Append),
                None => argument.action(ArgAction::SetTrue),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        ForeignFlags::augment_args(command)
    }
}

impl FromArgMatches for ForeignFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ForeignFlags, clap::Error> {
        let given = |flag: &Flag| matches.value_source(flag.name) == Some(ValueSource::CommandLine);
        let indices = FLAGS.iter().enumerate().filter(|(_, flag)| given(flag)).map(|(index, _)| index);
        Ok(ForeignFlags(indices.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ForeignFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

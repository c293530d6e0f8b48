//! `tollway`: settings that LiteLLM does not have.

use std::time::Duration;

use tollway_model::Secret;

use crate::read::{Fields, Reader};
use crate::section::{Section, choice, settings};
use crate::values::{ByteSize, DurationSchema};

settings! {
    /// `tollway`: what LiteLLM has no setting for. Every queue, body, header and wait has its bound here.
    pub struct Tollway in "tollway" {
        /// How much a request may be.
        pub limits: Limits = Limits::default();
        /// How long anything may take.
        pub timeouts: Timeouts = Timeouts::default();
        /// How much a call may ask for.
        pub calls: CallLimits = CallLimits::default();
        /// How many tries again a provider gets.
        pub retry_budget: RetryBudget = RetryBudget::default();
        /// Decision records.
        pub receipts: Receipts = Receipts::default();
        /// Who may call, and how well that is remembered.
        pub accounts: Accounts = Accounts::default();
        /// How money is counted.
        pub budgets: Budgets = Budgets::default();
        /// The journal of receipts, on its way to the database.
        pub ledger: Ledger = Ledger::default();
        /// Counters that several processes share.
        pub redis: Redis = Redis::default();
        /// Answers that are kept for `previous_response_id`.
        pub responses: Responses = Responses::default();
        /// The process log.
        pub log: Log = Log::default();
    }
}

impl Section for Tollway {}

settings! {
    /// `tollway.limits`: how much a request may be. More is refused before it is read.
    pub struct Limits in "tollway.limits" {
        /// Largest request body, after decompression; more is 413. Default: `general_settings.max_request_size_mb`,
        /// else 32 MiB. Example: `max_body: 64MiB`.
        pub max_body: Option<ByteSize> = None;
        /// Largest sum of a request's header names and values; more is 431. Default: `16KiB`.
        /// Example: `max_headers_size: 32KiB`.
        pub max_headers_size: ByteSize = ByteSize::kibibytes(16);
        /// Most headers of a request; more is 431. Default: `100`. Example: `max_headers: 64`.
        pub max_headers: u32 = 100;
        /// Longest path and query; more is 414. Default: `8KiB`. Example: `max_url: 4KiB`.
        pub max_url: ByteSize = ByteSize::kibibytes(8);
        /// Deepest nesting of a JSON body; more is 400. Default: `64`. Example: `max_json_depth: 32`.
        pub max_json_depth: u32 = 64;
        /// Most connections at once; further ones wait to be accepted. Default: `10000`. Example: `max_connections: 2000`.
        pub max_connections: u32 = 10_000;
        /// Most connections of one address (of one /64 of IPv6); further ones are closed. A reverse proxy has one address
        /// for all of its clients. `0`: no bound. Default: half of `max_connections`, but not less than 100.
        /// Example: `max_connections_per_address: 500`.
        pub max_connections_per_address: Option<u32> = None;
        /// Most calls being served at once; more are 503 with `Retry-After`. Default: `5000`. Example: `max_calls: 1000`.
        pub max_calls: u32 = 5_000;
    }
}

impl Section for Limits {}

settings! {
    /// `tollway.timeouts`: how long anything may take. `0` waits for ever, except where it says otherwise.
    pub struct Timeouts in "" {
        /// For a request's headers to arrive, counted from accepting the connection or from their first byte.
        /// Default: `10s`. Example: `read_headers: 5s`.
        #[schemars(with = "DurationSchema")]
        pub read_headers: Duration = Duration::from_secs(10);
        /// How long a connection of a client stays open between two calls. Longer than what a load balancer in front keeps
        /// (1 to 10 minutes, mostly), so that it is never the gateway that closes first. Default: `11m`.
        /// Example: `idle_connection: 2m`.
        #[schemars(with = "DurationSchema")]
        pub idle_connection: Duration = Duration::from_secs(660);
        /// Slowest body that is still read, in bytes a second measured over ten seconds; slower is 408. `0`: any.
        /// Default: `1KiB`. Example: `min_body_rate: 512`.
        pub min_body_rate: ByteSize = ByteSize::kibibytes(1);
        /// Longest reading of a body. Default: `5m`. Example: `read_body: 60s`.
        #[schemars(with = "DurationSchema")]
        pub read_body: Duration = Duration::from_secs(300);
        /// A call as a whole, tries and fallbacks included, until its first byte of answer. Default: `2h`.
        /// Example: `call: 30m`.
        #[schemars(with = "DurationSchema")]
        pub call: Duration = Duration::from_secs(7200);
        /// Reaching a provider: name, connection and TLS. Default: `10s`. Example: `connect: 3s`.
        #[schemars(with = "DurationSchema")]
        pub connect: Duration = Duration::from_secs(10);
        /// First byte of a provider's answer, counted for each attempt from when the request has been sent.
        /// Default: `10m`. Example: `first_byte: 30s`.
        #[schemars(with = "DurationSchema")]
        pub first_byte: Duration = Duration::from_secs(600);
        /// Longest silence inside a provider's stream. Default: `2m`. Example: `idle: 60s`.
        #[schemars(with = "DurationSchema")]
        pub idle: Duration = Duration::from_secs(120);
        /// How often a silent stream to a client gets a comment that keeps proxies from closing it. `0`: never.
        /// Default: `15s`. Example: `keep_alive: 5s`.
        #[schemars(with = "DurationSchema")]
        pub keep_alive: Duration = Duration::from_secs(15);
        /// How long a write to a client that does not read may wait. Default: `1m`. Example: `write: 30s`.
        #[schemars(with = "DurationSchema")]
        pub write: Duration = Duration::from_secs(60);
        /// How long calls may finish after a signal to stop. `0`: not at all. Default: `30s`. Example: `shutdown: 2m`.
        #[schemars(with = "DurationSchema")]
        pub shutdown: Duration = Duration::from_secs(30);
    }
}

impl Section for Timeouts {}

settings! {
    /// `tollway.calls`: how much a call may ask for; more is 400. Protects from a caller's mistake that costs money.
    pub struct CallLimits in "" {
        /// Most answers to one prompt (`n`). Default: `16`. Example: `max_n: 4`.
        pub max_n: u32 = 16;
        /// Most output tokens that may be asked for. Default: `1000000`. Example: `max_output_tokens: 32000`.
        pub max_output_tokens: u64 = 1_000_000;
        /// Most tools. Default: `512`. Example: `max_tools: 128`.
        pub max_tools: u32 = 512;
        /// Most messages. Default: `10000`. Example: `max_messages: 2000`.
        pub max_messages: u32 = 10_000;
    }
}

impl Section for CallLimits {}

settings! {
    /// `tollway.retry_budget`: how often failed calls may be tried again at the deployment that failed them. It keeps a
    /// provider that is down from getting every call several times; tries at other deployments are not limited.
    pub struct RetryBudget in "" {
        /// Tries again, as a share of the deployment's calls in the last minute. Default: `0.2`. Example: `share: 0.5`.
        pub share: f64 = 0.2;
        /// Tries again that are always allowed, a minute. Default: `30`. Example: `floor: 100`.
        pub floor: u32 = 30;
    }
}

impl Section for RetryBudget {}

settings! {
    /// `tollway.receipts`: the decision records that are kept in memory, beside those in the database.
    pub struct Receipts in "" {
        /// How many of the latest are kept. `0`: none. Default: `1000`. Example: `keep: 10000`.
        pub keep: usize = 1000;
    }
}

impl Section for Receipts {}

settings! {
    /// `tollway.accounts`: keys and their owners are kept in the database and remembered in memory.
    pub struct Accounts in "" {
        /// Keys remembered; beyond it those not used for longest are looked up again. Default: `100000`.
        /// Example: `remember: 20000`.
        pub remember: usize = 100_000;
        /// How long known keys are served while the database is away; after it they get 503, as unknown ones do at once.
        /// Default: `1h`. Example: `grace: 10m`.
        #[schemars(with = "DurationSchema")]
        pub grace: Duration = Duration::from_secs(3600);
    }
}

impl Section for Accounts {}

settings! {
    /// `tollway.budgets`: how money is counted against budgets.
    pub struct Budgets in "" {
        /// Holds the worst case of a call before it is sent, so that no budget is ever overshot; otherwise the likely
        /// case, so that large `max_tokens` do not block. `metadata.strict_budget: true` of a key or team asks for the
        /// worst case there. Default: `false`.
        pub strict: bool = false;
        /// The zone in which calendar windows begin, an IANA name. Default: `UTC`. Example: `timezone: Europe/Berlin`.
        pub timezone: String = "UTC".to_owned();
        /// Models whose price is zero may be called on an exhausted budget. Default: `true`.
        pub free_models_pass: bool = true;
        /// Calls on a budget to a deployment whose price is unknown: `refuse`, `own_servers` or `allow`. Refused deployments
        /// are passed over; where no other is left, the call gets a 403 that says what to set. LiteLLM lets such calls
        /// pass at a cost of zero: for that, write `allow`. Default: `own_servers`. Example: `unknown_price: refuse`.
        pub unknown_price: UnknownPrice = UnknownPrice::OwnServers;
        /// Where a JSON message goes when a soft budget is reached. Default: the variable `WEBHOOK_URL`, else nowhere.
        /// Example: `alert_webhook: https://hooks.example.com/budget`.
        #[schemars(with = "Option<String>")]
        pub alert_webhook: Option<Secret> = None;
    }
}

impl Section for Budgets {}

choice! {
    /// What happens to calls on a budget whose cost cannot be told.
    pub enum UnknownPrice {
        /// They go on, and the budget does not see what they cost; their receipts say that it is unknown.
        Allow = "allow",
        /// They go on where the provider is a server of the operator's own (`openai_like`, `hosted_vllm` and others that
        /// have no address and need no key, and every one whose `api_base` is on another host than the provider's); at a
        /// provider that sends bills they are refused.
        OwnServers = "own_servers",
        /// They are refused: a budget that cannot be kept is not spent from.
        Refuse = "refuse",
    }
}

choice! {
    /// What happens to calls while the journal is full.
    pub enum WhenFull {
        /// Calls are refused with 503: what cannot be booked is not spent.
        Refuse = "refuse",
        /// Calls go on, and their receipts may be lost.
        Serve = "serve",
    }
}

settings! {
    /// `tollway.ledger`: receipts go to a journal in the data directory first, and from there to the database.
    pub struct Ledger in "" {
        /// Largest journal. It only grows while the database is away. Default: `1GiB`. Example: `max_size: 4GiB`.
        pub max_size: ByteSize = ByteSize::kibibytes(1024 * 1024);
        /// What happens to calls while the journal is full. Default: `refuse`.
        pub when_full: WhenFull = WhenFull::Refuse;
        /// How often the journal is made to survive a loss of power. The end of the process it survives always.
        /// `0`: with every call. Default: `1s`. Example: `sync: 100ms`.
        #[schemars(with = "DurationSchema")]
        pub sync: Duration = Duration::from_secs(1);
        /// How long receipts are kept in the database; sums are kept for ever. Default:
        /// `general_settings.maximum_spend_logs_retention_period`, else for ever. Example: `retention: 90d`.
        #[schemars(with = "Option<DurationSchema>")]
        pub retention: Option<Duration> = None;
    }
}

impl Section for Ledger {}

settings! {
    /// `tollway.redis`: counters that several processes share.
    pub struct Redis in "" {
        /// Where it is. Default: `router_settings.redis_url`, else `redis_host` there, else the variables `REDIS_URL`,
        /// `REDIS_HOST`. Example: `url: redis://127.0.0.1:6379`.
        #[schemars(with = "Option<String>")]
        pub url: Option<Secret> = None;
        /// How long a call's place and money stay taken when its process dies. Default: `60s`. Example: `lease: 30s`.
        #[schemars(with = "DurationSchema")]
        pub lease: Duration = Duration::from_secs(60);
        /// Longest a call waits for one answer of it. Then it is asked again, and after three answers that did not come in
        /// time it is given up and each process keeps limits for its share, until it answers again. Longer keeps limits
        /// exact where it is far away or shares a busy machine; shorter keeps calls fast when it fails. Default: `20ms`.
        /// Example: `timeout: 50ms`.
        #[schemars(with = "DurationSchema")]
        pub timeout: Duration = Duration::from_millis(20);
    }
}

impl Section for Redis {}

settings! {
    /// `tollway.responses`: answers of the Responses API, kept in the database for those who made them.
    pub struct Responses in "" {
        /// How long an answer can be retrieved and gone on from. `0`: none is kept, as if every caller said
        /// `store: false`. Default: `30d`. Example: `keep: 24h`.
        #[schemars(with = "DurationSchema")]
        pub keep: Duration = Duration::from_secs(30 * 24 * 3600);
    }
}

impl Section for Responses {}

choice! {
    /// How the log is written.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

settings! {
    /// `tollway.log`: the process log. It never holds keys, prompts or answers.
    pub struct Log in "tollway.log" {
        /// What is written: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or levels of targets. Default: `info`.
        /// Example: `level: tollway=debug,info`.
        pub level: String = "info".to_owned();
        /// How it is written. Default: `text`. Example: `format: json`.
        pub format: LogFormat = LogFormat::Text;
    }
}

impl Section for Log {
    fn settle(&mut self, _: &mut Fields<'_>, _: &mut Reader<'_>) {
        if self.level.is_empty() {
            Log::default().level.clone_into(&mut self.level);
        }
    }
}

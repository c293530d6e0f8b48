//! The configuration file.
//!
//! LiteLLM's `config.yaml` as it is, read into typed settings. [`load`] never stops at the first problem: it returns
//! every finding with file, line, column and what to write instead, and a [`Config`] unless one of them is an error.
//!
//! A key is one of three: built here (a field of a struct in this crate, whose doc comment is the reference page and the
//! [`json_schema`]), known and not built (a warning that says what is lost, a [`Severity::Danger`] where that
//! is protection), or unknown (an error that suggests the nearest key).
//!
//! This is also the one crate that reads environment variables ([`process_env`]); it never writes them.

mod checks;
mod config;
mod diagnostic;
mod environment;
mod files;
mod general;
mod known;
mod litellm;
mod load;
mod mask;
mod master_key;
mod model_list;
pub(crate) use tollway_model::nearest;
mod read;
mod reference;
mod router;
mod scalar;
mod section;
mod source;
mod tollway;
mod tree;
mod values;
mod yaml;

pub use config::Config;
pub use diagnostic::{Diagnostic, Severity};
pub use environment::{Environment, process_env};
pub use files::Fingerprint;
pub use general::GeneralSettings;
pub use litellm::LitellmSettings;
pub use load::{Loaded, Options, Source, from_str, load};
pub use master_key::check_master_key;
pub use model_list::{Credential, Deployment, LitellmParams, Mode, ModelInfo};
pub use reference::{json_schema, reference_markdown};
pub use router::{
    Alias, FailureClass, FailureCounts, Fallbacks, RouterSettings, SpendLimit, Strategy, StrategyArguments,
    Target,
};
pub use source::Place;
pub use tollway::{
    Accounts, Budgets, CallLimits, Ledger, Limits, Log, LogFormat, Receipts, Redis, Responses, RetryBudget,
    Timeouts, Tollway, UnknownPrice, WhenFull,
};
pub use values::{ByteSize, Decimal};

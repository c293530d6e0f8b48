//! `general_settings`: the server.

use std::time::Duration;

use tollway_model::Secret;

use crate::diagnostic::Severity;
use crate::read::{Fields, Reader};
use crate::section::{Section, settings};
use crate::values::DurationSchema;

settings! {
    /// `general_settings`: the server and who may call it.
    pub struct GeneralSettings in "general_settings" {
        /// The key that may do everything; clients send it as `Authorization: Bearer …`. At least 16 characters that are
        /// not a sample. Default: the variable `LITELLM_MASTER_KEY`, else a key that the gateway makes when it first starts.
        /// Example: `master_key: os.environ/LITELLM_MASTER_KEY`.
        #[schemars(with = "Option<String>")]
        pub master_key: Option<Secret> = None;
        /// Lets the gateway listen beyond this machine with a master key that is weak or a known sample.
        /// Default: `false`.
        pub dangerously_permit_weak_or_unset_master_key: bool = false;
        /// Tells callers which model groups failed before the one that answered: `x-litellm-fallback-errors`, as if every
        /// call asked for `include_fallback_errors`. Default: `false`.
        pub expose_fallback_errors_to_caller: bool = false;
        /// Checks a caller's access to the model groups that its call falls back to. Default: `true`.
        pub enforce_fallback_model_access: bool = true;
        /// Lets callers make their own calls fail (`mock_testing_fallbacks` and the like) and choose their answers
        /// (`mock_response`). Default: `false`.
        pub dangerously_allow_mock_testing_request_params: bool = false;
        /// PostgreSQL, for keys, users and spend. Default: the variable `DATABASE_URL`, else a SQLite file in the data
        /// directory. Example: `database_url: os.environ/DATABASE_URL`.
        #[schemars(with = "Option<String>")]
        pub database_url: Option<Secret> = None;
        /// Largest request body in MB, as LiteLLM counts them (1024 × 1024 bytes). `tollway.limits.max_body` counts more.
        /// Example: `max_request_size_mb: 50`.
        pub max_request_size_mb: Option<u64> = None;
        /// A header that may carry the key in place of `Authorization`. Default: none.
        /// Example: `litellm_key_header_name: X-Litellm-Key`.
        pub litellm_key_header_name: Option<String> = None;
        /// Most calls in flight over all keys; over all processes where they share Redis. Default: no limit.
        /// Example: `global_max_parallel_requests: 500`.
        pub global_max_parallel_requests: Option<u64> = None;
        /// A user's own budget and limits also hold for its calls with a team's key. Default: `false`.
        pub apply_user_budget_to_team_keys: bool = false;
        /// How long receipts are kept in the database. Default: for ever. Example: `maximum_spend_logs_retention_period: 30d`.
        #[schemars(with = "Option<DurationSchema>")]
        pub maximum_spend_logs_retention_period: Option<Duration> = None;
        /// Models added over the API are kept in the database and served. They always are; `false` is not built. Default: `true`.
        pub store_model_in_db: bool = true;
    }
}

impl Section for GeneralSettings {
    fn settle(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        let entry = fields.entry("master_key").filter(|entry| !entry.value.is_null());
        if let Some(entry) = entry.filter(|_| self.master_key.as_ref().is_none_or(Secret::is_empty)) {
            let message = "`general_settings.master_key` is written, and comes out empty";
            let diagnostic = reader.report(Severity::Error, "essential-unset", entry.value.mark, message);
            diagnostic.help.push(
                "set the variable it names, or remove the line: the gateway then makes a key of its own"
                    .to_owned(),
            );
            self.master_key = None;
        }
    }
}

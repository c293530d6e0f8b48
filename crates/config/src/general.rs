//! `general_settings`: the server.

use tollway_model::Secret;

use crate::diagnostic::Severity;
use crate::read::{Fields, Reader};
use crate::section::{Section, settings};

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
        /// Lets callers make their own calls fail: `mock_testing_fallbacks` and the like. Default: `false`.
        pub dangerously_allow_mock_testing_request_params: bool = false;
        /// Postgres, for keys, users and spend. Not built yet: nothing is stored. Default: none.
        #[schemars(with = "Option<String>")]
        pub database_url: Option<Secret> = None;
        /// Largest request body in MB, as LiteLLM counts them (1024 × 1024 bytes). `tollway.limits.max_body` counts more.
        /// Example: `max_request_size_mb: 50`.
        pub max_request_size_mb: Option<u64> = None;
        /// A header that may carry the key in place of `Authorization`. Default: none.
        /// Example: `litellm_key_header_name: X-Litellm-Key`.
        pub litellm_key_header_name: Option<String> = None;
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
        if let Some(entry) = fields.entry("database_url").filter(|_| self.database_url.is_some()) {
            let message = "`general_settings.database_url` is not built yet: no database is used";
            let diagnostic = reader.report(Severity::Warning, "not-built", entry.key_mark, message);
            diagnostic.notes.push(
                "keys, users, teams and spend are not stored; the master key is the only key".to_owned(),
            );
        }
    }
}

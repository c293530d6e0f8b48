//! `litellm_settings`: settings of the library under LiteLLM's proxy.

use std::time::Duration;

use indexmap::IndexMap;

use crate::diagnostic::Severity;
use crate::read::{Fields, Reader};
use crate::router::{Fallbacks, SpendLimit, bound_retries};
use crate::section::{Section, settings};
use crate::values::{Decimal, DurationSchema};

settings! {
    /// `litellm_settings`: how calls are translated, and defaults for `router_settings`, which counts more.
    pub struct LitellmSettings in "litellm_settings" {
        /// Leaves out parameters a provider lacks; otherwise such calls are refused with 400. Default: `false`.
        /// Example: `drop_params: true`.
        pub drop_params: bool = false;
        /// Further tries of a call in its model group, from 0 to 20. Default: `2`.
        pub num_retries: Option<u32> = None;
        /// Longest duration of one attempt. Default: `6000s`. Example: `request_timeout: 600`.
        #[schemars(with = "Option<DurationSchema>")]
        pub request_timeout: Option<Duration> = None;
        /// As in `router_settings`.
        pub fallbacks: Fallbacks = Fallbacks::default();
        /// As in `router_settings`.
        pub context_window_fallbacks: Fallbacks = Fallbacks::default();
        /// As in `router_settings`.
        pub content_policy_fallbacks: Fallbacks = Fallbacks::default();
        /// As in `router_settings`.
        pub default_fallbacks: Vec<String> = Vec::new();
        /// As in `router_settings`.
        pub max_fallbacks: Option<u32> = None;
        /// As in `router_settings`.
        pub allowed_fails: Option<u32> = None;
        /// Tells callers, in the message of an error, which model group failed, how often it was tried and what else was.
        /// Names of groups are the operator's own, so it is off unless it is asked for. Default: `false`.
        pub expose_router_debug_in_errors: bool = false;
        /// Further names of models, replaced before anything else. Example: `model_alias_map: {gpt-4: gpt-4o}`.
        pub model_alias_map: IndexMap<String, String> = IndexMap::new();
        /// Most US dollars that all calls together may cost in `budget_duration`. Default: no limit.
        /// Example: `max_budget: 500`.
        pub max_budget: Option<Decimal> = None;
        /// The window of `max_budget`: `24h`, `7d`, `1mo`. Default: for ever. Example: `budget_duration: 1mo`.
        pub budget_duration: Option<String> = None;
        /// Most US dollars that calls with a tag may cost in `budget_duration`, by the tag. Example:
        /// `tag_budget_config: {"product:search": {max_budget: 100, budget_duration: 1mo}}`.
        pub tag_budget_config: IndexMap<String, SpendLimit> = IndexMap::new();
        /// The status of a call that is refused because a budget is spent: 422 or 429. Default: `422`.
        pub budget_exceeded_status_code: u32 = 422;
        /// Budget of customers that have none: its `budget_id`. Example: `max_end_user_budget_id: free-tier`.
        pub max_end_user_budget_id: Option<String> = None;
        /// The log as one JSON object a line. Default: `false`.
        pub json_logs: bool = false;
        /// The log at level `debug`. Default: `false`.
        pub set_verbose: bool = false;
    }
}

impl Section for LitellmSettings {
    fn settle(&mut self, fields: &mut Fields<'_>, reader: &mut Reader<'_>) {
        // Read with the list at the top level, before everything else.
        fields.entry("credential_list");
        bound_retries(&mut self.num_retries, fields, reader);
        let status = self.budget_exceeded_status_code;
        if let Some(entry) = fields.entry("budget_exceeded_status_code")
            && !(400..500).contains(&status)
        {
            let message = "`budget_exceeded_status_code` is a status from 400 to 499; 422 is used";
            reader.report(Severity::Warning, "out-of-range", entry.value.mark, message);
            self.budget_exceeded_status_code = 422;
        }
    }
}

//! The keys that are known, and what it means that some are not built here.
//!
//! The list is LiteLLM's own (1.109) with a few of ours, kept in `data/known-keys.txt`. A key on it is never an error: an existing file
//! keeps loading, and says what it loses.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::diagnostic::Severity;
use crate::scalar::boolean;
use crate::tree::{Node, Value};

/// The section whose keys stand at the top of the file.
pub(crate) const TOP: &str = "top";

/// Sections in the order in which a misplaced key is looked for.
const SECTIONS: [&str; 11] = [
    "general_settings",
    "router_settings",
    "litellm_settings",
    "litellm_params",
    "model_info",
    TOP,
    "request",
    "tollway",
    "tollway.limits",
    "tollway.log",
    "routing_strategy_args",
];

struct Known {
    sections: HashMap<&'static str, Vec<&'static str>>,
    /// Keys that are on unless switched off.
    on: Vec<&'static str>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let mut known = Known { sections: HashMap::new(), on: Vec::new() };
    let mut section = TOP;
    for line in include_str!("../data/known-keys.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
            continue;
        }
        let key = line.trim_start_matches('!');
        if key != line {
            known.on.push(key);
        }
        known.sections.entry(section).or_default().push(key);
    }
    known
});

/// The keys of a section; none for a section whose settings are all built.
pub(crate) fn keys(section: &str) -> impl Iterator<Item = &'static str> + use<> {
    KNOWN.sections.get(section).into_iter().flatten().copied()
}

/// Is `key` known there?
pub(crate) fn contains(section: &str, key: &str) -> bool {
    keys(section).any(|known| known == key)
}

/// Is it a field of a request, which a deployment may set?
pub(crate) fn is_request_parameter(key: &str) -> bool {
    contains("request", key)
}

/// Where a key belongs, in words, when LiteLLM knows it elsewhere than in `section`.
pub(crate) fn home_of(section: &str, key: &str) -> Option<String> {
    let mut order = SECTIONS.to_vec();
    if section == "model_list" {
        order.sort_by_key(|name| !matches!(*name, "litellm_params" | "request"));
    }
    let home = order.into_iter().find(|name| *name != section && contains(name, key))?;
    Some(match home {
        TOP => "at the top level of the file".to_owned(),
        "request" => "under `litellm_params`".to_owned(),
        home => format!("under `{home}`"),
    })
}

/// Every section of LiteLLM's keys.
pub(crate) fn sections() -> impl Iterator<Item = &'static str> {
    SECTIONS.into_iter()
}

/// Does this value ask for nothing: null, empty, or off where off is the default?
pub(crate) fn is_inert(key: &str, value: &Node) -> bool {
    match &value.value {
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Scalar(scalar) if scalar.is_null() => true,
        Value::Scalar(scalar) => boolean(&scalar.text) == Some(KNOWN.on.contains(&key)),
    }
}

/// Keys that are not built here for the same reason.
pub(crate) struct Group {
    /// Begins the message: `… not built yet`.
    pub what: &'static str,
    /// What it means for the operator.
    pub meaning: &'static str,
    pub severity: Severity,
    /// Keys; `*` at an end stands for any text.
    keys: &'static [&'static str],
}

impl Group {
    const fn new(
        severity: Severity,
        what: &'static str,
        meaning: &'static str,
        keys: &'static [&'static str],
    ) -> Group {
        Group { what, meaning, severity, keys }
    }

    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), None) => key.ends_with(end),
            (None, Some(start)) => key.starts_with(start),
            (Some(_), Some(_)) => key.contains(pattern.trim_matches('*')),
            (None, None) => key == *pattern,
        })
    }
}

/// The group of a key that is not built, as an index in [`GROUPS`].
pub(crate) fn group(section: &str, key: &str, value: &Node) -> usize {
    // The checks that limit what is spent are built, so a list that has been read holds only others that are not.
    if key == "optional_pre_call_checks" && matches!(&value.value, Value::List(_)) {
        return GROUPS.len() - 1;
    }
    group_of_key(section, key)
}

/// The group of a key, whatever its value.
pub(crate) fn group_of_key(section: &str, key: &str) -> usize {
    let path = format!("{section}.{key}");
    let found = GROUPS.iter().position(|group| group.has(key) || group.has(&path));
    found.unwrap_or(GROUPS.len() - 1)
}

use Severity::{Danger, Warning};

/// Every group, those that weaken protection first; the last takes what no other names.
pub(crate) static GROUPS: &[Group] = &[
    Group::new(
        Danger,
        "guardrails are",
        "calls and answers pass without these checks",
        &[
            "guardrails",
            "guardrail*",
            "*_in_guardrail",
            "policies",
            "policy_attachments",
            "pre_call_rules",
            "post_call_rules",
            "presidio_*",
            "llamaguard_*",
            "llm_guard_mode",
            "blocked_user_list",
            "banned_keywords_list",
            "output_parse_pii",
            "google_moderation*",
            "openai_moderations*",
            "detect_prompt_injection",
            "prompt_injection_params",
            "vertex_ai_safety_settings",
        ],
    ),
    Group::new(
        Danger,
        "sign-in other than by the master key is",
        "callers are checked by the master key and by nothing else",
        &[
            "custom_auth*",
            "enable_jwt_auth",
            "litellm_jwtauth",
            "enable_oauth2*",
            "oauth2_config_mappings",
            "enforce_rbac",
            "role_permissions",
            "service_account_settings",
            "custom_sso",
            "custom_key_*",
            "default_team_disabled",
            "allow_user_auth",
            "mcp_session_token_signing",
            "custom_team_metadata_validate",
        ],
    ),
    Group::new(
        Danger,
        "restrictions of access are",
        "who holds the master key may do all of this",
        &[
            "allowed_ips",
            "allowed_routes",
            "admin_only_routes",
            "trusted_proxy_ranges",
            "use_x_forwarded_for",
            "*_deny_by_default",
            "agent_access_default_deny",
            "enforced_params",
            "enforce_user_param",
            "reject_clientside_metadata_tags",
            "missing_session_id",
            "access_windows",
            "team_id",
            "user_url_*",
            "provider_url_destination_allowed_hosts",
            "allowed_file_extensions",
            "blocked_file_extensions",
            "max_file_*",
            "max_batch_file_*",
            "max_response_size_mb",
            "require_*_mcp_*",
            "mcp_allowed_clients",
            "mcp_internal_ip_ranges",
            "mcp_require_explicit_server_scope",
            "disable_custom_api_keys",
            "enforce_supported_endpoints",
            "enable_loadbalancing_on_batch_endpoints",
            "require_managed_files",
            "require_auth_for_metrics_endpoint",
            "enforce_fallback_model_access",
            "validate_end_user_id_in_db",
        ],
    ),
    Group::new(
        Danger,
        "these budgets, quotas and rate limits are",
        "calls are limited by those of keys, teams, users and customers, and by the bounds under `tollway`, but not by these",
        &[
            "*budget*",
            "priority_reservation*",
            "fail_closed_*",
            "block_requests_for_models_without_pricing",
            "itpm",
            "otpm",
            "tpd",
            "rpd",
            "daily_reset_time",
            "default_api_key_*",
            "general_settings.max_parallel_requests",
            "global_max_parallel_requests",
            "max_in_flight_requests_per_worker",
            "max_queued_requests_per_worker",
            "admission_queue_timeout_seconds",
            "token_rate_limit_type",
            "optional_pre_call_checks",
            "upperbound_key_generate_params",
            "key_generation_settings",
            "max_embedding_batch_size",
            "failed_login_*",
            "max_failed_login_attempts*",
        ],
    ),
    Group::new(
        Danger,
        "filters of deployments by patterns of tags are",
        "a deployment serves calls by its `tags`, and any call where those are not filtered",
        &["tag_regex", "model_info.enable_tag_filtering"],
    ),
    Group::new(
        Danger,
        "audit logs are",
        "no audit trail is written",
        &["store_audit_logs", "audit_log_callbacks", "s3_audit_callback_params"],
    ),
    Group::new(
        Warning,
        "fallbacks in these places are",
        "`fallbacks`, `context_window_fallbacks`, `content_policy_fallbacks` and `default_fallbacks` under \
         `router_settings` are what counts",
        &["*fallback*"],
    ),
    Group::new(
        Warning,
        "cooldowns and retries in these places are",
        "those under `router_settings`, and `cooldown_time` under `litellm_params`, are what counts",
        &["allowed_fails*", "*cooldown*", "disable_retry_on_*"],
    ),
    Group::new(
        Warning,
        "these ways to choose a deployment are",
        "calls go by `routing_strategy`",
        &["tag_routing_prefix", "weights", "routing_strategy_args.*"],
    ),
    Group::new(
        Warning,
        "calls from web pages of other origins are",
        "no CORS headers are sent, so browsers refuse them",
        &["tollway.cors"],
    ),
    Group::new(
        Warning,
        "bounds of what providers send are",
        "fixed ones hold: 128 MiB for an answer, 32 MiB for an event of a stream",
        &["tollway.limits.max_answer", "tollway.limits.max_event"],
    ),
    Group::new(
        Warning,
        "cache marks that the gateway sets are",
        "a provider's prompt cache is used where callers mark their prompts, or where it needs no marks",
        &[
            "cache_control_injection_points",
            "enable_anthropic_prompt_caching",
            "anthropic_prompt_caching_ttl",
        ],
    ),
    Group::new(
        Warning,
        "caches of answers are",
        "every call goes to its provider",
        &[
            "cache",
            "cache_*",
            "caching",
            "caching_groups",
            "redis_*",
            "coordination_redis",
            "default_in_memory_ttl",
            "default_redis_*",
            "enable_caching_on_provider_specific_optional_params",
            "enable_redis_auth_cache",
            "use_redis_transaction_buffer",
            "force_redis_hash_tag_grouping",
            "ttl",
        ],
    ),
    Group::new(
        Warning,
        "callbacks, traces and metrics are",
        "calls are served, and nothing is sent to these",
        &[
            "*callback*",
            "langfuse_*",
            "langsmith_*",
            "argilla_*",
            "datadog_*",
            "newrelic_*",
            "prometheus_*",
            "custom_prometheus_*",
            "otel*",
            "gcs_pub_sub_use_v1",
            "generic_api_use_v1",
            "generic_logger_headers",
            "zerobus_params",
            "pointfive_params",
            "tracing",
            "forward_traceparent_to_llm_provider",
            "standard_logging_payload_excluded_fields",
            "log_raw_request_response",
            "global_disable_no_log_param",
            "disable_streaming_logging",
            "custom_provider_map",
            "add_user_information_to_llm_headers",
        ],
    ),
    Group::new(
        Warning,
        "alerts are",
        "nobody is told",
        &["alert*", "email_settings", "spend_report_frequency", "email"],
    ),
    Group::new(
        Warning,
        "MCP, agents, tools, prompts and vector stores are",
        "calls are served, without these",
        &[
            "mcp_*",
            "*_mcp_*",
            "agents",
            "agent_*",
            "sandbox_tools",
            "search_tools",
            "prompts",
            "prompt_*",
            "vector_store*",
            "skill_search*",
            "public_*",
            "plugins",
            "global_bitbucket_config",
            "global_gitlab_config",
            "milvus_*",
            "valkey_*",
        ],
    ),
    Group::new(
        Warning,
        "pass-through and provider file routes are",
        "these paths answer 404",
        &[
            "*pass_through*",
            "*passthrough*",
            "files_settings",
            "finetune_settings",
            "assistant_settings",
            "assistants_config",
            "default_vertex_config",
            "transcribe_media_buckets",
        ],
    ),
    Group::new(
        Warning,
        "secret managers are",
        "`os.environ/NAME` reads the environment and `environment_variables`, nothing else",
        &["key_management_*", "use_google_kms", "use_azure_key_vault", "secret_manager_client"],
    ),
    Group::new(
        Warning,
        "sign-in to clouds by these means is",
        "deployments that need them are refused by their provider, or here where it is not carried",
        &[
            "aws_*",
            "vertex_*",
            "azure_*",
            "tenant_id",
            "client_id",
            "client_secret",
            "watsonx_*",
            "s3_*",
            "gcs_*",
            "bucket_name",
            "bedrock_*",
            "anthropic_federation_*",
            "anthropic_i*",
            "anthropic_keycloak_*",
            "anthropic_organization_id",
            "anthropic_service_account_id",
            "anthropic_disable_*",
            "openai_identity_*",
            "openai_service_account_id",
            "token_exchange_*",
            "enable_azure_ad_token_refresh",
            "use_xai_oauth",
            "chatgpt_auth_file",
            "oidc_token",
            "proxy_auth",
            "*_key",
        ],
    ),
    Group::new(
        Warning,
        "these settings of keys, users, spend and the database are",
        "keys, users and spend are kept in the database without them",
        &[
            "database_*",
            "store_*",
            "*spend*",
            "default_key_*",
            "default_internal_user_params",
            "default_team_*",
            "default_team*",
            "supported_db_objects",
            "proxy_batch_*",
            "proxy_config_reload_interval_seconds",
            "disable_reset_budget",
            "user_api_key_cache_*",
            "key_alias_pattern",
            "*key_alias*",
            "user_header_*",
            "*end_user*",
            "accounting_*",
            "allow_requests_on_db_unavailable",
            "team_*",
            "use_team_public_model_name",
            "disable_prisma_schema_update",
            "maximum_*",
            "litellm_license",
            "personal_key_model_access_from_teams",
            "disable_key_generate_for_org_admin",
            "disable_auto_add_proxy_admin_to_teams",
            "request_tag_mappings",
        ],
    ),
    Group::new(
        Warning,
        "routers that choose the model themselves are",
        "such deployments cannot be called",
        &[
            "auto_router_*",
            "complexity_router_*",
            "adaptive_router_*",
            "quality_router_*",
            "autorouter_*",
            "routing_groups",
        ],
    ),
    Group::new(
        Warning,
        "health probes are",
        "a deployment is judged by the calls it serves",
        &["*health_check*", "background_health*", "model_list_healthy_only"],
    ),
    Group::new(
        Warning,
        "the admin UI and its logins are",
        "there is no UI to sign in to",
        &[
            "ui_*",
            "password_policy_*",
            "*login*",
            "enable_public_model_hub",
            "control_plane_url",
            "block_robots",
        ],
    ),
    Group::new(
        Warning,
        "settings of the connection to providers are",
        "certificates are always verified, against the system's roots",
        &["ssl_*", "*aiohttp*", "force_ipv4", "http2", "client_ttl"],
    ),
    Group::new(
        Warning,
        "settings of what is logged are",
        "the log never holds prompts, answers or keys",
        &[
            "turn_off_message_logging",
            "redact_*",
            "tollway.log.redact",
            "log_*",
            "request_correlation_in_logs",
            "suppress_*",
            "debug_level",
        ],
    ),
    Group::new(
        Warning,
        "prices by tiers and discounts are",
        "costs are reckoned without them",
        &[
            "tiered_pricing",
            "cost_*",
            "include_cost_in_streaming_usage",
            "apply_search_free_tier",
            "pricing_provider",
        ],
    ),
    Group::new(Warning, "these settings are", "they have no effect", &["*"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(section: &str, key: &str, expected: &str) {
        assert!(contains(section, key), "{section}.{key}");
        assert_eq!(GROUPS[group_of_key(section, key)].what, expected, "{section}.{key}");
    }

    #[test]
    fn keys_fall_into_the_group_that_says_what_is_lost() {
        check("top", "guardrails", "guardrails are");
        check("general_settings", "custom_auth", "sign-in other than by the master key is");
        check("general_settings", "allowed_ips", "restrictions of access are");
        check("litellm_settings", "max_ui_session_budget", "these budgets, quotas and rate limits are");
        check("litellm_settings", "max_user_budget", "these budgets, quotas and rate limits are");
        check("litellm_params", "cache_control_injection_points", "cache marks that the gateway sets are");
        check("litellm_settings", "cache", "caches of answers are");
        check("litellm_settings", "success_callback", "callbacks, traces and metrics are");
        check("top", "mcp_servers", "MCP, agents, tools, prompts and vector stores are");
        check("litellm_params", "vertex_project", "sign-in to clouds by these means is");
        check(
            "general_settings",
            "store_prompts_in_spend_logs",
            "these settings of keys, users, spend and the database are",
        );
        check("litellm_params", "fallbacks", "fallbacks in these places are");
        check("model_info", "allowed_fails", "cooldowns and retries in these places are");
        check("router_settings", "tag_routing_prefix", "these ways to choose a deployment are");
        check("routing_strategy_args", "ttft_percentile", "these ways to choose a deployment are");
        check("litellm_params", "use_in_pass_through", "pass-through and provider file routes are");
        check("tollway.limits", "max_event", "bounds of what providers send are");
        check("tollway", "cors", "calls from web pages of other origins are");
        check("litellm_settings", "modify_params", "these settings are");
    }

    #[test]
    fn every_restriction_that_is_lost_is_a_danger() {
        for (section, key) in [
            ("top", "guardrails"),
            ("top", "policies"),
            ("general_settings", "custom_auth"),
            ("general_settings", "enable_jwt_auth"),
            ("general_settings", "enforce_rbac"),
            ("general_settings", "allowed_ips"),
            ("general_settings", "allowed_routes"),
            ("general_settings", "enforced_params"),
            ("general_settings", "max_parallel_requests"),
            ("router_settings", "fallback_budget_check"),
            ("litellm_params", "tag_regex"),
            ("model_info", "team_id"),
            ("model_info", "access_windows"),
        ] {
            assert_eq!(GROUPS[group_of_key(section, key)].severity, Danger, "{section}.{key}");
        }
    }

    #[test]
    fn a_misplaced_key_has_a_home() {
        assert_eq!(
            home_of("general_settings", "routing_strategy").as_deref(),
            Some("under `router_settings`")
        );
        assert_eq!(home_of("model_list", "api_key").as_deref(), Some("under `litellm_params`"));
        assert_eq!(home_of("general_settings", "guardrails").as_deref(), Some("under `litellm_settings`"));
        assert_eq!(home_of("model_list", "nonsense"), None);
    }
}

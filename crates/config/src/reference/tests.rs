use super::*;
use crate::{Loaded, Severity, from_str};

/// A file that holds `key: value` where `part` stands, and otherwise only what must be there.
fn file(part: &Part, line: &str) -> Option<String> {
    let deployment = "model_list:\n- model_name: a\n  litellm_params:\n    model: openai/a\n";
    Some(match part.path {
        "" => format!("{line}\n"),
        "model_list[]" if line.starts_with("model_name") => {
            format!("model_list:\n- {line}\n  litellm_params: {{model: openai/a}}\n")
        }
        "model_list[].litellm_params" if line.starts_with("model:") => {
            format!("model_list:\n- model_name: a\n  litellm_params:\n    {line}\n")
        }
        "model_list[].litellm_params" => format!("{deployment}    {line}\n"),
        "model_list[].model_info" => format!("{deployment}  model_info:\n    {line}\n"),
        path if path.ends_with("[]") => return None,
        path => {
            let parts: Vec<&str> = path.split('.').collect();
            let mut text = String::new();
            for (depth, part) in parts.iter().enumerate() {
                text.push_str(&format!("{}{part}:\n", "  ".repeat(depth)));
            }
            format!("{text}{}{line}\n", "  ".repeat(parts.len()))
        }
    })
}

fn read(text: &str) -> Loaded {
    from_str(text, &|name| Some(format!("value of {name}, long enough 123")))
}

/// Every setting with its section and description.
fn settings() -> Vec<(&'static Part, String, String)> {
    let mut schema = raw_schema();
    let mut all = Vec::new();
    for part in PARTS {
        let section = section_mut(&mut schema, part).unwrap_or_else(|| panic!("no {}", part.definition));
        for (name, property) in section["properties"].as_object().expect("properties") {
            let description =
                property["description"].as_str().unwrap_or_else(|| panic!("{name} is undocumented"));
            all.push((part, name.clone(), paragraph(description)));
        }
    }
    assert!(all.len() > 65, "{}", all.len());
    all
}

#[test]
fn documented_defaults_are_the_real_ones() {
    let mut checked = 0;
    for (part, name, description) in settings() {
        let Some(default) = default_of(&description) else { continue };
        let Some(text) = file(part, &format!("{name}: {default}")) else { continue };
        let bare = if part.path.starts_with("model_list") {
            file(part, "{}").map(|text| text.replace("{}", ""))
        } else {
            None
        };
        let expected = read(bare.as_deref().unwrap_or("")).config.expect("loads");
        // Settings that fall back to another section are absent, not equal, by default.
        let loaded = read(&text);
        let config = loaded.config.clone().unwrap_or_else(|| panic!("{text}\n{}", loaded.report()));
        let falls_back = name == "num_retries" || name == "request_timeout" || name == "json_logs";
        if !falls_back {
            assert_eq!(config, expected, "{text}");
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked}");
}

#[test]
fn documented_examples_load_and_change_something() {
    let mut checked = 0;
    for (part, name, description) in settings() {
        let Some((_, rest)) = description.split_once("Example: `") else { continue };
        let (example, _) = rest.split_once("`.").unwrap_or_else(|| panic!("{name}: {rest}"));
        let line = if example.starts_with(&format!("{name}: ")) {
            example.to_owned()
        } else {
            format!("{name}: {example}")
        };
        if example.contains('…') || part.gathered.contains(&name.as_str()) || name == "include" {
            continue;
        }
        let Some(text) = file(part, &line) else { continue };
        let loaded = read(&text);
        let errors: Vec<_> =
            loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{text}\n{}", loaded.report());
        assert_ne!(loaded.config.expect("loads"), Config::default(), "{text}");
        checked += 1;
    }
    assert!(checked > 45, "{checked}");
}

#[test]
fn the_page_names_every_setting_and_every_key_that_is_not_built() {
    let page = reference_markdown();
    for (_, name, _) in settings() {
        assert!(page.contains(&format!("`{name}`")) || page.contains(&format!("*{name}*")), "{name}");
    }
    for key in [
        "`guardrails`",
        "`general_settings.custom_auth`",
        "`litellm_settings.cache`",
        "`litellm_params.tiered_pricing`",
        "`litellm_params.fallbacks`",
        "`tollway.limits.max_event`",
    ] {
        assert!(page.contains(key), "{key}");
    }
    // What is built is not in the second half.
    let (_, second) = page.split_once("not built yet").expect("the heading");
    for key in
        ["`general_settings.master_key`", "`router_settings.num_retries`", "`litellm_params.temperature`"]
    {
        assert!(!second.contains(key), "{key}");
    }
}

#[test]
fn the_schema_knows_what_the_loader_knows() {
    let schema = json_schema();
    let general = &schema["$defs"]["GeneralSettings"];
    assert_eq!(general["additionalProperties"], false);
    assert_eq!(general["properties"]["custom_auth"]["deprecated"], true);
    assert!(general["properties"]["master_key"]["description"].as_str().expect("text").contains("Bearer"));
    let params = &schema["$defs"]["LitellmParams"]["properties"];
    for key in ["temperature", "input_cost_per_token", "base_url", "aws_region_name"] {
        assert!(params.get(key).is_some(), "{key}");
    }
    assert!(params.get("prices").is_none());
    let timeouts = &schema["$defs"]["Timeouts"]["properties"];
    assert_eq!(timeouts["connect"]["default"], "10s");
    let limits = &schema["$defs"]["Limits"]["properties"];
    assert_eq!(limits["max_headers"]["default"], 100);
    assert!(limits["max_headers"]["type"].as_array().expect("types").contains(&json!("string")));
    assert!(schema.to_string().contains("\"usage-based-routing\""));
    assert!(!schema.to_string().contains("\"aliases\""));
}

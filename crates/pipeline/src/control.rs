//! What a client asks of the gateway itself: fields of the body that no provider gets, and headers.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;
use tollway_model::{Error, Kind, Notices, RawJson, Result};
use tollway_route::{Fallbacks, Rule, Target};
use tollway_wire::json::{Edits, Envelope};

use crate::call::{Control, Mock};

/// Most retries a caller may ask for.
pub(crate) const MAX_RETRIES: u32 = 20;

/// Most groups a caller may name as fallbacks.
const MOST_NAMES: usize = 32;

/// Most fields a caller may name in one list.
const MOST_FIELDS: usize = 64;

/// Fields a client may not send: they would choose where the gateway connects, or with whose key.
const FORBIDDEN: [&str; 13] = [
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "aws_bedrock_runtime_endpoint",
    "azure_endpoint",
    "custom_llm_provider",
    "extra_headers",
    "litellm_credential_name",
    "litellm_params",
    "model_list",
    "user_config",
    "vertex_credentials",
];

/// Fields meant for the gateway and honoured by it.
const HONOURED: [&str; 20] = [
    "additional_drop_params",
    "allowed_openai_params",
    "content_policy_fallbacks",
    "context_window_fallbacks",
    "disable_fallbacks",
    "drop_params",
    "fallbacks",
    "include_fallback_errors",
    "mock_delay",
    "mock_response",
    "mock_testing_content_policy_fallbacks",
    "mock_testing_context_fallbacks",
    "mock_testing_fallbacks",
    "mock_testing_rate_limit_error",
    "mock_timeout",
    "num_retries",
    "request_timeout",
    "stream_timeout",
    "tags",
    "timeout",
];

/// LiteLLM's control fields that this gateway does not act on; a provider would refuse them.
const IGNORED: [&str; 13] = [
    "cache",
    "caching",
    "force_timeout",
    "guardrails",
    "input_cost_per_token",
    "litellm_call_id",
    "litellm_session_id",
    "litellm_trace_id",
    "max_retries",
    "no-log",
    "output_cost_per_token",
    "proxy_server_request",
    "spend_logs_metadata",
];

/// One look at every top-level member: what is forbidden refuses the call, what is the gateway's is taken out.
pub(crate) fn read_control(
    envelope: &Envelope,
    headers: &HeaderMap,
    edits: &mut Edits,
    notices: &mut Notices,
) -> Result<Control> {
    let mut control = from_headers(headers);
    for name in envelope.keys() {
        let name = name.as_ref();
        if name == "litellm_metadata" {
            edits.remove("litellm_metadata");
            notices.changed(
                "litellm_metadata",
                "for the gateway, which reads its tags; the provider did not get it",
            );
            continue;
        }
        let known = |list: &[&'static str]| list.iter().copied().find(|known| *known == name);
        if let Some(name) = known(&HONOURED) {
            edits.remove(name);
            honour(name, envelope, &mut control)?;
        } else if let Some(name) = known(&IGNORED) {
            edits.remove(name);
            notices
                .changed(name, "a control field of LiteLLM that is not acted on here yet; it was left out");
        } else if known(&FORBIDDEN).is_some() {
            refuse_forbidden(name, envelope.get(name).unwrap_or("null"))?;
        }
    }
    Ok(control)
}

fn from_headers(headers: &HeaderMap) -> Control {
    if headers.is_empty() {
        return Control::default();
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let time = |name: &str| text(name).and_then(|text| text.trim().parse().ok()).and_then(seconds);
    Control {
        retries: text("x-litellm-num-retries").and_then(retries),
        timeout: time("x-litellm-timeout"),
        stream_timeout: time("x-litellm-stream-timeout"),
        deadline: time("x-tollway-deadline"),
        ..Control::default()
    }
}

/// Fills in what the call leaves to the key's, or the team's, own router settings. Models that `may` not be used are no
/// fallbacks.
pub(crate) fn fill_in(
    control: &mut Control,
    settings: &serde_json::Map<String, Value>,
    may: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let time = |name: &str| settings.get(name).and_then(Value::as_f64).and_then(seconds);
    let own_retries = || settings.get("num_retries").and_then(|count| retries(&count.to_string()));
    control.retries = control.retries.or_else(own_retries);
    control.timeout = control.timeout.or_else(|| time("timeout"));
    control.stream_timeout = control.stream_timeout.or_else(|| time("stream_timeout"));
    if control.fallbacks.is_some() {
        return Ok(());
    }
    let read = |name: &'static str| -> Result<Option<Vec<Rule>>> {
        let Some(given) = settings.get(name).filter(|given| !given.is_null()) else { return Ok(None) };
        let mut rules = rules(name, &given.to_string())?;
        rules.iter_mut().for_each(|rule| rule.targets.retain(|target| may(&target.group)));
        Ok(Some(rules))
    };
    let (general, long, refused) =
        (read("fallbacks")?, read("context_window_fallbacks")?, read("content_policy_fallbacks")?);
    if general.is_some() || long.is_some() || refused.is_some() {
        control.fallbacks = Some(Box::new(Fallbacks {
            general: general.unwrap_or_default(),
            context_window: long.unwrap_or_default(),
            content_policy: refused.unwrap_or_default(),
        }));
    }
    Ok(())
}

fn refuse_forbidden(name: &str, raw: &str) -> Result<()> {
    if raw == "null" {
        return Ok(());
    }
    let message =
        format!("`{name}` may not be sent by a client: where calls go is the operator's to configure");
    Err(Error::invalid_at(name, message))
}

/// Reads a field that the gateway acts on.
fn honour(name: &'static str, envelope: &Envelope, control: &mut Control) -> Result<()> {
    let raw = envelope.get(name).unwrap_or("null");
    let is_on = || envelope.bool(name).unwrap_or(false);
    let mut mock = |kind| {
        if is_on() {
            control.mock = Some(Mock { field: name, kind });
        }
    };
    match name {
        "mock_testing_fallbacks" => mock(Kind::Upstream),
        "mock_testing_context_fallbacks" => mock(Kind::ContextWindow),
        "mock_testing_content_policy_fallbacks" => mock(Kind::ContentPolicy),
        "mock_testing_rate_limit_error" => mock(Kind::RateLimit),
        "mock_timeout" => control.mock_timeout = is_on(),
        "mock_delay" => control.mock_delay = field_seconds(envelope, name)?,
        "drop_params" => control.drop_params = envelope.bool(name),
        "disable_fallbacks" => control.disable_fallbacks = is_on(),
        "include_fallback_errors" => control.include_fallback_errors = is_on(),
        "additional_drop_params" => control.dropped = field_names(raw, name)?,
        "allowed_openai_params" => control.allowed = field_names(raw, name)?,
        "num_retries" => control.retries = retries(raw).or(control.retries),
        "stream_timeout" => {
            control.stream_timeout = field_seconds(envelope, name)?.or(control.stream_timeout)
        }
        "timeout" => control.timeout = field_seconds(envelope, name)?.or(control.timeout),
        // The same by another name; the first counts.
        "request_timeout" => {
            let given = field_seconds(envelope, name)?;
            if envelope.get("timeout").is_none_or(|raw| raw == "null") {
                control.timeout = given.or(control.timeout);
            }
        }
        "mock_response" if raw != "null" => {
            let given: Value = serde_json::from_str(raw).unwrap_or_default();
            control.mock_response = Some(RawJson::from(given));
        }
        // For whom the call is made: read with the rest of that.
        "tags" => {}
        _ if raw == "null" => {}
        _ => {
            let rules = rules(name, raw)?;
            let fallbacks = control.fallbacks.get_or_insert_default();
            match name {
                "context_window_fallbacks" => fallbacks.context_window = rules,
                "content_policy_fallbacks" => fallbacks.content_policy = rules,
                _ => fallbacks.general = rules,
            }
        }
    }
    Ok(())
}

/// A caller's fallbacks: names, `{"model": name, …}` with fields that replace the call's, or `{group: [targets]}`.
fn rules(field: &'static str, raw: &str) -> Result<Vec<Rule>> {
    let wrong = || {
        let message = format!(
            "`{field}` is a list of model names, of objects with `model` and fields that replace the call's, or of \
             objects from a model name to such a list"
        );
        Error::invalid_at(field, message)
    };
    let items: Vec<Value> = serde_json::from_str(raw).map_err(|_| wrong())?;
    let mut rules = Vec::new();
    let mut any = Vec::new();
    for item in items {
        match item {
            Value::Object(map) if !map.contains_key("model") => {
                for (group, targets) in map {
                    let Value::Array(targets) = targets else { return Err(wrong()) };
                    let targets: Option<Vec<Target>> =
                        targets.into_iter().map(|one| target(field, one)).collect::<Result<_>>()?;
                    rules.push(Rule { group, targets: targets.ok_or_else(wrong)? });
                }
            }
            item => any.push(target(field, item)?.ok_or_else(wrong)?),
        }
    }
    // An empty list is one, too: nothing is to be tried.
    if !any.is_empty() || rules.is_empty() {
        rules.push(Rule { group: "*".to_owned(), targets: any });
    }
    let count: usize = rules.iter().map(|rule| rule.targets.len()).sum();
    if count > MOST_NAMES || rules.len() > MOST_NAMES {
        return Err(Error::invalid_at(field, format!("`{field}` names more than {MOST_NAMES} models")));
    }
    Ok(rules)
}

/// A single fallback; `None` when it is none.
fn target(field: &'static str, value: Value) -> Result<Option<Target>> {
    let (name, overrides) = match value {
        Value::String(name) => (name, serde_json::Map::new()),
        Value::Object(mut map) => match map.shift_remove("model") {
            Some(Value::String(name)) => (name, map),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    if name.is_empty() || name.len() > tollway_route::MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid_at(field, format!("`{field}` holds a name that no model can have")));
    }
    for (key, value) in &overrides {
        if FORBIDDEN.contains(&key.as_str()) {
            refuse_forbidden(key, &value.to_string())?;
        }
    }
    // The gateway's own fields mean the call as a whole.
    let is_own = |key: &str| {
        HONOURED.contains(&key)
            || IGNORED.contains(&key)
            || FORBIDDEN.contains(&key)
            || matches!(key, "stream" | "litellm_metadata")
    };
    let overrides = overrides.into_iter().filter(|(key, _)| !is_own(key));
    let overrides = overrides.map(|(key, value)| (key, RawJson::from(value))).collect();
    Ok(Some(Target { group: name.into(), overrides }))
}

/// A caller's number of retries. As in the configuration there are never more than [`MAX_RETRIES`].
fn retries(text: &str) -> Option<u32> {
    text.trim().parse().ok().map(|retries: u32| retries.min(MAX_RETRIES))
}

/// A list of fields of the request.
fn field_names(raw: &str, name: &'static str) -> Result<Option<Box<[String]>>> {
    let names: Option<Box<[String]>> = serde_json::from_str(raw)
        .map_err(|_| Error::invalid_at(name, format!("`{name}` is a list of names of fields")))?;
    if names.as_ref().is_some_and(|names| names.len() > MOST_FIELDS) {
        return Err(Error::invalid_at(name, format!("`{name}` names more than {MOST_FIELDS} fields")));
    }
    // The model and the stream flag are not for the provider alone.
    let names = names
        .map(|names| names.into_iter().filter(|name| !matches!(name.as_str(), "model" | "stream")).collect());
    Ok(names)
}

fn field_seconds(envelope: &Envelope, name: &'static str) -> Result<Option<Duration>> {
    let raw = envelope.get(name).unwrap_or("null");
    let value = raw.parse().ok().and_then(seconds);
    if value.is_none() && raw != "null" {
        return Err(Error::invalid_at(name, format!("`{name}` is a number of seconds, not {raw}")));
    }
    Ok(value)
}

fn seconds(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(body: &str, headers: &[(&'static str, &'static str)]) -> Result<(Control, String, Notices)> {
        let envelope = Envelope::parse(Bytes::from(body.to_owned()), 64)?;
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, http::HeaderValue::from_static(value));
        }
        let (mut edits, mut notices) = (Edits::new(), Notices::new());
        let control = read_control(&envelope, &map, &mut edits, &mut notices)?;
        let sent = String::from_utf8(envelope.rewrite(&edits).to_vec()).unwrap();
        Ok((control, sent, notices))
    }

    fn control(body: &str) -> Control {
        read(body, &[]).unwrap().0
    }

    #[test]
    fn control_fields_are_the_gateways_and_do_not_reach_the_provider() {
        let body = r#"{"model":"m","drop_params":true,"num_retries":1,"timeout":2.5,"cache":{"no-cache":true},"x":1,
            "stream_timeout":1,"fallbacks":["a"],"disable_fallbacks":true,"mock_testing_fallbacks":false,"tags":["t"]}"#;
        let (control, sent, notices) = read(body, &[]).unwrap();
        let sent: Value = serde_json::from_str(&sent).unwrap();
        assert_eq!(sent, serde_json::json!({ "model": "m", "x": 1 }));
        assert_eq!(control.retries, Some(1));
        assert_eq!(control.drop_params, Some(true));
        assert_eq!(control.timeout, Some(Duration::from_millis(2500)));
        assert_eq!(control.stream_timeout, Some(Duration::from_secs(1)));
        assert!(control.disable_fallbacks && control.mock.is_none());
        assert_eq!(notices.iter().map(|notice| notice.field.as_ref()).collect::<Vec<_>>(), ["cache"]);
    }

    #[test]
    fn fields_to_leave_out_and_to_send_all_the_same_are_named_in_lists() {
        let read =
            control(r#"{"additional_drop_params":["a","model","stream"],"allowed_openai_params":["b"]}"#);
        assert_eq!(read.dropped.as_deref(), Some(&["a".to_owned()][..]));
        assert_eq!(read.allowed.as_deref(), Some(&["b".to_owned()][..]));
        assert_eq!(control(r#"{"additional_drop_params":null}"#).dropped, None);
        let many = format!(r#"{{"additional_drop_params":[{}]}}"#, vec!["\"a\""; 65].join(","));
        for wrong in [r#"{"additional_drop_params":"a"}"#, r#"{"additional_drop_params":[1]}"#, &many] {
            assert_eq!(super::tests::read(wrong, &[]).unwrap_err().param(), Some("additional_drop_params"));
        }
    }

    #[test]
    fn headers_count_less_than_the_body() {
        let headers = [
            ("x-litellm-num-retries", "90"),
            ("x-litellm-timeout", "3"),
            ("x-litellm-stream-timeout", "0.5"),
            ("x-tollway-deadline", "9"),
        ];
        let read = |body| read(body, &headers).unwrap().0;
        let plain = read(r#"{"model":"m"}"#);
        assert_eq!(plain.retries, Some(MAX_RETRIES));
        assert_eq!(plain.stream_timeout, Some(Duration::from_millis(500)));
        assert_eq!(plain.deadline, Some(Duration::from_secs(9)));
        assert_eq!(read(r#"{"model":"m","request_timeout":2}"#).timeout, Some(Duration::from_secs(2)));
        let both = read(r#"{"model":"m","request_timeout":2,"timeout":1,"num_retries":0}"#);
        assert_eq!((both.timeout, both.retries), (Some(Duration::from_secs(1)), Some(0)));
    }

    #[test]
    fn fallbacks_come_in_three_forms() {
        let shown = |body: &str| {
            let fallbacks = control(body).fallbacks.unwrap();
            let target = |target: &Target| {
                let fields: Vec<String> =
                    target.overrides.iter().map(|(key, value)| format!("{key}={}", value.get())).collect();
                format!("{}{}", target.group, fields.join(","))
            };
            let rule = |rule: &Rule| {
                format!("{}:{}", rule.group, rule.targets.iter().map(target).collect::<Vec<_>>().join(" "))
            };
            [&fallbacks.general, &fallbacks.context_window, &fallbacks.content_policy]
                .map(|rules| rules.iter().map(rule).collect::<Vec<_>>().join(";"))
                .join("|")
        };
        assert_eq!(shown(r#"{"model":"m","fallbacks":["a","b"]}"#), "*:a b||");
        assert_eq!(
            shown(r#"{"model":"m","fallbacks":[{"model":"a","temperature":0,"num_retries":3}]}"#),
            "*:atemperature=0||"
        );
        assert_eq!(
            shown(
                r#"{"model":"m","context_window_fallbacks":[{"m":["l"]}],"content_policy_fallbacks":["k"]}"#
            ),
            "|m:l|*:k"
        );
    }

    #[test]
    fn what_is_no_fallback_is_refused_by_name() {
        for body in [
            r#"{"model":"m","fallbacks":"a"}"#,
            r#"{"model":"m","fallbacks":[1]}"#,
            r#"{"model":"m","fallbacks":[{"m":"a"}]}"#,
            r#"{"model":"m","fallbacks":["a\u0000"]}"#,
        ] {
            assert_eq!(read(body, &[]).unwrap_err().param(), Some("fallbacks"), "{body}");
        }
        let elsewhere = r#"{"model":"m","fallbacks":[{"model":"a","api_base":"http://evil"}]}"#;
        assert_eq!(read(elsewhere, &[]).unwrap_err().param(), Some("api_base"));
        let many = format!(r#"{{"model":"m","fallbacks":[{}]}}"#, vec!["\"a\""; 33].join(","));
        assert!(read(&many, &[]).is_err());
    }
}

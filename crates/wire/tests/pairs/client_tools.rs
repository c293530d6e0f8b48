//! Tools that the client runs and only OpenAI's Responses have words for, at providers of other dialects.

use serde_json::{Value, json};
use tollway_model::{Dialect, Notices, Severity};

use crate::responses::grammar;
use crate::support::{VIEW, decode, encode, events, shown, translated};

const BRIDGED: [Dialect; 4] =
    [Dialect::OpenaiChat, Dialect::Anthropic, Dialect::Gemini, Dialect::BedrockConverse];

fn tools() -> Value {
    json!([
        {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": false},
        {"type": "local_shell"},
        {"type": "shell", "environment": {"type": "local"}},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "client", "description": "Finds tools of the workspace.",
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}},
        {"type": "image_generation", "output_format": "png"},
    ])
}

fn body(input: Value, tools: Value) -> Value {
    json!({"model": "group", "input": input, "tools": tools, "store": false})
}

#[test]
fn they_become_functions_and_nothing_vanishes_silently() {
    for target in BRIDGED {
        let (sent, _, notices) = translated(Dialect::OpenaiResponses, target, &body(json!("go"), tools()));
        let sent = sent.to_string();
        for name in
            ["look", "local_shell", "shell", "apply_patch", "tool_search", "Finds tools of the workspace."]
        {
            assert!(sent.contains(&format!("\"{name}\"")), "{target}: {name}: {sent}");
        }
        assert_eq!(notices.first_dropped(), None, "{target}");
        for index in 1..=5 {
            let field = format!("tools[{index}]");
            let told =
                notices.iter().any(|notice| notice.field == field && notice.severity == Severity::Changed);
            assert!(told, "{target}: {field}: {notices:?}");
        }
    }
}

#[test]
fn what_its_own_provider_runs_is_refused_unless_nothing_is_lost() {
    let check = |tool: Value, expected: Severity| {
        for target in BRIDGED {
            let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}, tool]);
            let request = decode(Dialect::OpenaiResponses, &body(json!("go"), tools));
            let mut notices = Notices::new();
            encode(&request, target, &mut notices).unwrap();
            let lost = notices.iter().find(|notice| notice.field == "tools[1]");
            assert_eq!(lost.map(|notice| notice.severity), Some(expected), "{target}: {tool}: {notices:?}");
        }
    };
    check(json!({"type": "shell", "environment": {"type": "container_auto"}}), Severity::Dropped);
    check(json!({"type": "code_interpreter", "container": {"type": "auto"}}), Severity::Dropped);
    check(json!({"type": "file_search", "vector_store_ids": ["vs_1"]}), Severity::Dropped);
    // All tools are offered at once: there is nothing that a search could find.
    check(json!({"type": "tool_search"}), Severity::Changed);
}

/// The answer of a chat provider that calls `name`, as a client of Responses gets it.
fn called(name: &str, arguments: &str, tools: Value) -> Value {
    let request = decode(Dialect::OpenaiResponses, &body(json!("go"), tools));
    let encoded = encode(&request, Dialect::OpenaiChat, &mut Notices::new()).unwrap();
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        format!("data: {chunk}\n\n")
    };
    let call = json!({"index": 0, "id": "call_1", "type": "function",
        "function": {"name": name, "arguments": arguments}});
    let stream = [
        chunk(json!({"role": "assistant", "content": "I see."}), Value::Null),
        chunk(json!({"tool_calls": [call]}), Value::Null),
        chunk(json!({}), json!("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ];
    let events = events(Dialect::OpenaiChat, stream.concat().as_bytes(), 7, &encoded.restore);
    let streamed = grammar(&shown(Dialect::OpenaiResponses, &events));
    let mut fold = tollway_model::Fold::new();
    events.iter().for_each(|event| fold.push(event.clone()));
    let whole = fold.finish().unwrap();
    let codec = tollway_wire::codec(Dialect::OpenaiResponses);
    let whole = codec.encode_response(&whole, &VIEW, &mut Notices::new());
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(streamed["output"], whole["output"], "a folded stream is the whole answer");
    streamed["output"][1].clone()
}

#[test]
fn calls_come_back_as_items_of_the_tools_own_types() {
    let check = |name: &str, arguments: Value, expected: Value| {
        let mut item = called(name, &arguments.to_string(), tools());
        let id = item.as_object_mut().unwrap().shift_remove("id").unwrap();
        assert!(id.is_string());
        let mut wanted = json!({"status": "completed", "call_id": "call_1"});
        wanted.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(item, wanted);
    };
    let exec = |command: Value| json!({"type": "exec", "command": command, "env": {}});
    check(
        "local_shell",
        json!({"command": ["ls", "-l"]}),
        json!({"type": "local_shell_call", "action": exec(json!(["ls", "-l"]))}),
    );
    check(
        "local_shell",
        json!({"command": "ls -l"}),
        json!({"type": "local_shell_call", "action": exec(json!(["bash", "-lc", "ls -l"]))}),
    );
    check(
        "shell",
        json!({"commands": ["ls"], "timeout_ms": 5}),
        json!({"type": "shell_call", "environment": {"type": "local"},
            "action": {"commands": ["ls"], "timeout_ms": 5, "max_output_length": null}}),
    );
    let operation = json!({"type": "update_file", "path": "a.rs", "diff": "@@\n-a\n+b"});
    check("apply_patch", operation.clone(), json!({"type": "apply_patch_call", "operation": operation}));
    check(
        "tool_search",
        json!({"query": "mail"}),
        json!({"type": "tool_search_call", "execution": "client", "arguments": {"query": "mail"}}),
    );
    check("look", json!({}), json!({"type": "function_call", "name": "look", "arguments": "{}"}));
    // What the model wrote wrongly reaches the client, which tells the model.
    check(
        "local_shell",
        json!({"program": "ls"}),
        json!({"type": "function_call", "name": "local_shell", "arguments": "{\"program\":\"ls\"}"}),
    );
}

#[test]
fn a_function_of_the_caller_keeps_its_name() {
    let tools =
        json!([{"type": "function", "name": "shell", "parameters": {"type": "object"}}, {"type": "shell"}]);
    assert_eq!(called("shell", "{\"commands\":[\"a\"]}", tools.clone())["type"], "function_call");
    assert_eq!(called("shell_tool", "{\"commands\":[\"a\"]}", tools)["type"], "shell_call");
}

#[test]
fn a_tool_that_nobody_offered_is_called_by_the_name_it_was_called_by() {
    let tools =
        json!([{"type": "function", "name": "look", "parameters": {"type": "object"}}, {"type": "shell"}]);
    assert_eq!(called("local_shell", "{\"command\":[\"ls\"]}", tools)["type"], "function_call");
}

#[test]
fn what_the_client_did_reaches_the_model() {
    let input = json!([
        {"type": "message", "role": "user", "content": "go"},
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_1", "status": "completed",
            "action": {"type": "exec", "command": ["ls"], "env": {}}},
        {"type": "shell_call", "id": "sh_1", "call_id": "call_2", "status": "completed",
            "action": {"commands": ["pwd"]}, "environment": {"type": "local"}},
        {"type": "local_shell_call_output", "id": "lsh_1", "output": "listed-files"},
        {"type": "shell_call_output", "call_id": "call_2",
            "output": [{"stdout": "printed-place", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]},
        {"type": "apply_patch_call", "id": "apc_1", "call_id": "call_3", "status": "completed",
            "operation": {"type": "delete_file", "path": "gone.txt"}},
        {"type": "apply_patch_call_output", "call_id": "call_3", "status": "failed", "output": "no-such-file"},
        {"type": "tool_search_call", "id": "tsc_1", "call_id": "call_4", "execution": "client",
            "status": "completed", "arguments": {"query": "mail"}},
        {"type": "tool_search_output", "call_id": "call_4", "execution": "client", "status": "completed",
            "tools": [{"type": "namespace", "name": "mcp__mail", "description": "Mail", "tools": [
                {"type": "function", "name": "send", "parameters": {"type": "object"}, "defer_loading": true}]}]},
    ]);
    for target in BRIDGED {
        let (sent, encoded, notices) =
            translated(Dialect::OpenaiResponses, target, &body(input.clone(), tools()));
        let text = sent.to_string();
        for said in
            ["listed-files", "printed-place", "no-such-file", "gone.txt", "these tools can be called now"]
        {
            assert!(text.contains(said), "{target}: {said}: {text}");
        }
        assert_eq!(notices.first_dropped(), None, "{target}");
        let found = encoded.restore.tool_names.iter().find(|(_, name)| *name == "mcp__mail::send");
        // Gemini's names may have colons.
        let found = found.map_or("mcp__mail::send", |(sent, _)| sent);
        assert!(text.contains(&format!("\"{found}\"")), "{target}: {text}");
    }
    let (sent, ..) = translated(Dialect::OpenaiResponses, Dialect::OpenaiChat, &body(input, tools()));
    let roles: Vec<_> = sent["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant", "tool"],
        "{sent:#}"
    );
    let ids: Vec<_> =
        sent["messages"].as_array().unwrap().iter().filter_map(|m| m["tool_call_id"].as_str()).collect();
    assert_eq!(ids, ["call_1", "call_2", "call_3", "call_4"]);
}

#[test]
fn a_choice_of_such_a_tool_names_its_function() {
    let mut body = body(json!("go"), json!([{"type": "apply_patch"}, {"type": "shell"}]));
    body["tool_choice"] = json!({"type": "apply_patch"});
    let (sent, _, notices) = translated(Dialect::OpenaiResponses, Dialect::OpenaiChat, &body);
    assert_eq!(sent["tool_choice"], json!({"type": "function", "function": {"name": "apply_patch"}}));
    assert_eq!(notices.first_dropped(), None);
}

use serde_json::{Value, json};
use tollway_model::{
    Content, Effort, MediaSource, OutputFormat, Request, Role, Tool, ToolChoice, ToolResult, WebSearch,
};

use super::decode;

fn read(body: Value) -> Request {
    decode(body.to_string().as_bytes()).unwrap()
}

fn refuse(body: Value, param: &str) {
    let error = decode(body.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.param().unwrap_or_default(), param, "{error}");
}

#[test]
fn both_spellings_of_names_are_read() {
    let camel = read(json!({
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}],
        "generationConfig": {"maxOutputTokens": 5, "topK": 40.0, "stopSequences": ["x"], "thinkingConfig": {"thinkingBudget": 0}},
        "toolConfig": {"functionCallingConfig": {"mode": "any", "allowedFunctionNames": ["f"]}},
        "safetySettings": []
    }));
    let snake = read(json!({
        "system_instruction": "Be brief.",
        "contents": [{"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": "AAAA"}}]}],
        "generation_config": {"max_output_tokens": "5", "top_k": 40, "stop_sequences": ["x"], "thinking_config": {"thinking_budget": 0}},
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        "safety_settings": []
    }));
    assert_eq!(camel, snake);
    assert_eq!(camel.top_k, Some(40));
    assert_eq!(camel.tool_choice, Some(ToolChoice::Named("f".into())));
    assert!(camel.reasoning.unwrap().disabled);
    assert!(camel.extras.fields.contains_key("safetySettings"));
}

#[test]
fn results_without_ids_find_their_calls_by_name_and_order() {
    let call = |name: &str| json!({"functionCall": {"name": name, "args": {"a": 1}}});
    let result =
        |name: &str, text: &str| json!({"functionResponse": {"name": name, "response": {"content": text}}});
    let request = read(json!({"contents": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [call("f"), call("g"), call("f")]},
        {"role": "user", "parts": [result("g", "G"), result("f", "F1"), result("f", "F2"), {"text": "go on"}]},
        {"role": "model", "parts": [call("f")]},
        {"role": "function", "parts": [result("f", "F3")]}
    ]}));
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::User, Role::Assistant, Role::Tool]);
    let ids: Vec<_> = request
        .messages
        .iter()
        .flat_map(|message| &message.parts)
        .filter_map(|part| match &part.content {
            Content::ToolResult(result) => {
                Some((result.call_id.as_str(), result.parts[0].as_text().unwrap()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(ids, [("call_2", "G"), ("call_1", "F1"), ("call_3", "F2"), ("call_4", "F3")]);
}

#[test]
fn results_are_text_json_errors_or_pictures() {
    let result = |body: Value| -> ToolResult {
        let request = read(json!({"contents": [{"parts": [{"functionResponse": body}]}]}));
        match request.messages.into_iter().next().unwrap().parts.remove(0).content {
            Content::ToolResult(result) => result,
            other => panic!("{other:?}"),
        }
    };
    let text = |result: &ToolResult| result.parts[0].as_text().unwrap().to_owned();
    let plain = result(json!({"id": "x", "name": "f", "response": {"content": "3C"}}));
    assert_eq!((plain.call_id.as_str(), text(&plain).as_str(), plain.is_error), ("x", "3C", None));
    let object = result(json!({"name": "f", "response": {"t": 3}}));
    assert_eq!(text(&object), "{\"t\":3}");
    let failed = result(json!({"name": "f", "response": {"error": "no such city"}}));
    assert_eq!((text(&failed).as_str(), failed.is_error), ("no such city", Some(true)));
    let picture = json!({"name": "f", "response": {}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA-_"}}]});
    let Content::Image(media) = &result(picture).parts[1].content else { panic!() };
    assert_eq!(media.source, MediaSource::Base64("AA+/".into()));
}

#[test]
fn parts_of_every_kind_are_read() {
    let request = read(json!({"contents": [{"role": "model", "parts": [
        {"text": "hm", "thought": true, "thoughtSignature": "U0lH"},
        {"text": "hello"},
        {"functionCall": {"id": "c1", "name": "f"}, "thoughtSignature": "U0lH"},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"fileData": {"fileUri": "gs://b/a.mp4", "mimeType": "video/mp4"}},
        {"fileData": {"fileUri": "gs://b/a.mp4", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 1}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}, "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"}},
        {"fileData": {"fileUri": "https://x.example/v1beta/files/abc"}}
    ]}]}));
    let kinds: Vec<_> = request.messages[0]
        .parts
        .iter()
        .map(|part| match &part.content {
            Content::Reasoning { text, signature: Some(_), redacted: false } if text == "hm" => "thought",
            Content::Text { .. } => "text",
            Content::ToolCall(call) if call.arguments == "{}" && call.signature.is_some() => "call",
            Content::Native { .. } => "native",
            Content::Video(_) => "video",
            Content::Audio(_) => "audio",
            Content::File(_) => "file",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["thought", "text", "call", "native", "video", "native", "audio", "file"]);
}

#[test]
fn tools_and_choices_are_read() {
    let request = read(json!({
        "tools": [
            {"functionDeclarations": [
                {"name": "a", "description": "A", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}},
                {"name": "b", "parametersJsonSchema": {"type": "object"}}
            ], "googleSearch": {}},
            {"codeExecution": {}}
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED"}, "retrievalConfig": {"languageCode": "no"}}
    }));
    let Tool::Function { parameters: Some(parameters), .. } = &request.tools[0] else { panic!() };
    assert_eq!(parameters.to_value(), json!({"type": "object", "properties": {"x": {"type": "string"}}}));
    assert!(matches!(&request.tools[2], Tool::Server { kind, .. } if kind == "codeExecution"));
    assert_eq!(request.web_search, Some(WebSearch::default()));
    assert_eq!(
        request.tool_choice,
        Some(ToolChoice::Allowed { names: vec!["a".into(), "b".into()], required: false })
    );
    assert_eq!(
        request.extras.fields["toolConfig"].to_value(),
        json!({"retrievalConfig": {"languageCode": "no"}})
    );
}

#[test]
fn the_generation_config_is_read_in_full() {
    let request = read(json!({"generationConfig": {
        "temperature": 0.5, "topP": 0.9, "candidateCount": 2, "seed": 7, "presencePenalty": 1, "frequencyPenalty": -1,
        "responseLogprobs": true, "logprobs": 3, "responseModalities": ["TEXT", "AUDIO"],
        "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        "responseMimeType": "application/json", "responseSchema": {"type": "STRING", "nullable": true},
        "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": true},
        "mediaResolution": "MEDIA_RESOLUTION_LOW"
    }, "serviceTier": "FLEX", "labels": {"team": "a"}}));
    assert_eq!(
        (request.temperature, request.top_p, request.n, request.seed),
        (Some(0.5), Some(0.9), Some(2), Some(7))
    );
    assert_eq!((request.logprobs, request.top_logprobs), (Some(true), Some(3)));
    assert_eq!(request.modalities, ["text", "audio"]);
    assert_eq!(request.audio.unwrap().voice, "Kore");
    let Some(OutputFormat::JsonSchema { schema, .. }) = request.output else { panic!() };
    assert_eq!(schema.to_value(), json!({"type": ["string", "null"]}));
    assert_eq!(request.reasoning.unwrap().effort, Some(Effort::High));
    assert_eq!(request.service_tier.as_deref(), Some("flex"));
    assert_eq!(request.metadata.unwrap().to_value(), json!({"team": "a"}));
    assert_eq!(
        request.extras.fields["generationConfig"].to_value(),
        json!({"mediaResolution": "MEDIA_RESOLUTION_LOW"})
    );
}

#[test]
fn errors_name_the_field() {
    refuse(json!([]), "");
    refuse(json!({"contents": [{"role": "robot", "parts": []}]}), "contents[0].role");
    refuse(json!({"contents": [{"parts": [{"text": 1}]}]}), "contents[0].parts[0]");
    refuse(
        json!({"contents": [{"parts": [{"functionCall": {}}]}]}),
        "contents[0].parts[0].functionCall.name",
    );
    refuse(json!({"generationConfig": {"topK": 1.5}}), "generationConfig.topK");
    refuse(json!({"generationConfig": {"maxOutputTokens": -1}}), "generationConfig.maxOutputTokens");
    refuse(json!({"tools": [{"functionDeclarations": [{}]}]}), "tools[0].functionDeclarations");
}

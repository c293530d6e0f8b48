//! The request for a provider.

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;
use tollway_model::{Capabilities, Dialect, Error, Notices, OutputFormat, RawJson, Request, Result, Tool};

use super::contents_out::{self, Conversation, Setting};
use super::family::Family;
use super::names::Names;
use super::shape::{AnyPart, ContentOut, PartOut};
use super::tools_out::{self, ToolOut, Tools};
use super::{schema, thinking};
use crate::{Encoded, Restore, Target};

/// Most stop texts Gemini takes.
const MOST_STOPS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<ContentOut<'a>>,
    contents: Vec<ContentOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolOut<'a>>,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    tool_config: Members,
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    generation_config: Members,
    #[serde(flatten)]
    more: Members,
}

type Members = IndexMap<String, RawJson>;

/// Writes the whole request.
pub(super) fn encode(request: &Request, target: &Target<'_>, notices: &mut Notices) -> Result<Encoded> {
    let mut names = Names::default();
    let body = body(request, target, &mut names, notices)?;
    let body = serde_json::to_vec(&body)
        .map_err(|error| Error::internal(format!("the request cannot be written: {error}")))?;
    let custom = request.tools.iter().filter_map(|tool| match tool {
        Tool::Custom { name, .. } => Some(names.sent(name).into_owned()),
        _ => None,
    });
    let custom_tools = custom.collect();
    let restore = Restore { tool_names: names.renamed, json_tool: None, custom_tools };
    Ok(Encoded { body, headers: Vec::new(), restore })
}

/// The request's members, for sending or counting.
pub(super) fn body<'a>(
    request: &'a Request,
    target: &Target<'_>,
    names: &mut Names,
    notices: &mut Notices,
) -> Result<Body<'a>> {
    let family = Family::of(target.model);
    let native = request.extras.dialect == Some(Dialect::Gemini);
    let system = !target.capabilities.system.no();
    let mut conversation = contents_out::write(
        request,
        Setting { family, native, system, names: &mut *names, notices: &mut *notices },
    )?;
    let tools = tools_out::write(request, family, names, notices);
    let mut more = more(request, notices);
    let config = Config {
        request,
        family,
        capabilities: target.capabilities,
        native,
        functions: tools.functions,
        notices: &mut *notices,
        members: Members::new(),
        instruction: None,
    };
    let (mut config, instruction) = config.write();
    conversation.system.extend(instruction.map(|text| PartOut::text(text).into()));
    let mut tool_config: Members =
        tools.config.iter().map(|(key, value)| (key.clone(), RawJson::from(value.clone()))).collect();
    if native {
        add_kept(&mut config, more.shift_remove("generationConfig"));
        add_kept(&mut tool_config, more.shift_remove("toolConfig"));
    }
    bookkeeping(request, native, notices, &mut more);
    Ok(assemble(conversation, tools, tool_config, config, more, notices))
}

fn assemble<'a>(
    conversation: Conversation<'a>,
    tools: Tools<'a>,
    tool_config: Members,
    generation_config: Members,
    more: Members,
    notices: &mut Notices,
) -> Body<'a> {
    let Conversation { system, contents } = conversation;
    let mut system: Vec<AnyPart<'a>> = system;
    let mut body =
        Body { system_instruction: None, contents, tools: tools.tools, tool_config, generation_config, more };
    if body.more.contains_key("cachedContent") {
        // The cache holds them; Gemini refuses them a second time.
        if !system.is_empty() || !body.tools.is_empty() || !body.tool_config.is_empty() {
            notices.changed(
                "cached_content",
                "the cached content brings system instruction and tools; those of the request were left out",
            );
        }
        system.clear();
        body.tools.clear();
        body.tool_config.clear();
    }
    if !system.is_empty() {
        body.system_instruction = Some(ContentOut { parts: system, role: None });
    }
    body
}

fn set<T: Serialize>(config: &mut Members, key: &str, value: Option<T>) {
    if let Some(value) = value.and_then(|value| RawJson::from_value(&value)) {
        config.insert(key.to_owned(), value);
    }
}

/// Members the model has no field for, beside those written from it.
fn add_kept(config: &mut Members, kept: Option<RawJson>) {
    let Some(kept) = kept else { return };
    let kept: Members = serde_json::from_str(kept.get()).unwrap_or_default();
    for (key, value) in kept {
        match config.get_mut(&key) {
            // Two halves of one object, such as `functionCallingConfig`.
            Some(own) => {
                let (mut all, extra) = (own.to_value(), value.to_value());
                if let (Some(all), Some(extra)) = (all.as_object_mut(), extra.as_object()) {
                    all.extend(extra.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
                *own = RawJson::from(all);
            }
            None => {
                config.insert(key, value);
            }
        }
    }
}

/// `generationConfig` while it is written.
struct Config<'r, 'n> {
    request: &'r Request,
    family: Family,
    capabilities: &'r Capabilities,
    native: bool,
    /// The request has functions.
    functions: bool,
    notices: &'n mut Notices,
    members: Members,
    /// What the configuration cannot say and the system instruction must.
    instruction: Option<String>,
}

impl Config<'_, '_> {
    fn write(mut self) -> (Members, Option<String>) {
        let request = self.request;
        self.set("maxOutputTokens", request.max_output_tokens);
        self.sampling();
        self.stops();
        self.set("candidateCount", request.n);
        self.set("responseLogprobs", request.logprobs);
        self.set("logprobs", request.top_logprobs);
        if let Some(output) = &request.output {
            self.format(output);
        }
        let thinking = thinking::write(request, self.family, self.capabilities, self.notices);
        self.set("thinkingConfig", thinking);
        self.voices();
        (self.members, self.instruction)
    }

    fn set<T: Serialize>(&mut self, key: &str, value: Option<T>) {
        set(&mut self.members, key, value);
    }

    fn sampling(&mut self) {
        let request = self.request;
        if self.capabilities.sampling_params.no() {
            for (field, given) in [
                ("temperature", request.temperature.is_some()),
                ("top_p", request.top_p.is_some()),
                ("top_k", request.top_k.is_some()),
            ] {
                if given {
                    self.notices.dropped(field, "this model takes no sampling parameters");
                }
            }
        } else {
            self.set("temperature", request.temperature);
            self.set("topP", request.top_p);
            self.set("topK", request.top_k);
        }
        self.seed();
        self.set("presencePenalty", request.presence_penalty);
        self.set("frequencyPenalty", request.frequency_penalty);
    }

    /// Gemini's seeds have 32 bits: of longer ones the lower half goes along, equal for equal seeds.
    fn seed(&mut self) {
        let Some(seed) = self.request.seed else { return };
        let folded = if i32::try_from(seed).is_ok() { seed } else { seed & i64::from(i32::MAX) };
        if folded != seed {
            self.notices.changed("seed", "Gemini takes 32 bits: the lower ones were sent");
        }
        self.set("seed", Some(folded));
    }

    fn stops(&mut self) {
        let stops = &self.request.stop;
        if stops.is_empty() {
            return;
        }
        if stops.len() > MOST_STOPS {
            let message = format!("Gemini takes at most {MOST_STOPS} stop texts; the rest was left out");
            self.notices.dropped("stop", message);
        }
        self.set("stopSequences", Some(stops.get(..MOST_STOPS).unwrap_or(stops)));
    }

    fn format(&mut self, output: &OutputFormat) {
        if matches!(output, OutputFormat::Text) {
            self.set("responseMimeType", self.native.then_some("text/plain"));
            return;
        }
        if self.functions && !self.native && self.family.before((3, 0)) {
            self.format_in_words(output);
            return;
        }
        self.set("responseMimeType", Some("application/json"));
        let OutputFormat::JsonSchema { schema, .. } = output else { return };
        if self.capabilities.json_schema.no() {
            let message = "this model cannot be held to a schema; JSON was asked for";
            self.notices.dropped("response_format", message);
        } else if self.family.json_schema() {
            self.members.insert("responseJsonSchema".into(), schema.clone());
        } else {
            let lowered = schema::lower(&schema.to_value());
            if !lowered.lost.is_empty() {
                let message = format!("this model's schemas have no {}", lowered.lost.join(", "));
                self.notices.changed("response_format.json_schema.schema", message);
            }
            self.set("responseSchema", Some(lowered.schema));
        }
    }

    /// Models before the third generation refuse functions beside an answer in JSON.
    fn format_in_words(&mut self, output: &OutputFormat) {
        const WHY: &str = "this model cannot be held to JSON while it has functions";
        if self.capabilities.system.no() {
            self.notices.dropped("response_format", WHY);
            return;
        }
        self.notices.changed("response_format", format!("{WHY}: asked for in words"));
        let form = match output {
            OutputFormat::JsonSchema { schema, .. } => format!("JSON of this schema: {}", schema.get()),
            _ => "one JSON object.".to_owned(),
        };
        let text =
            format!("When you do not call a function, answer with nothing else, no code fence, but {form}");
        self.instruction = Some(text);
    }

    fn voices(&mut self) {
        let mut modalities: Vec<String> =
            self.request.modalities.iter().map(|name| name.to_ascii_uppercase()).collect();
        if self.family.speech && modalities.len() > 1 && modalities.iter().any(|name| name == "AUDIO") {
            modalities.retain(|name| name == "AUDIO");
            self.notices.changed("modalities", "this model only speaks; text was left out");
        }
        self.set("responseModalities", (!modalities.is_empty()).then_some(modalities));
        let Some(audio) = &self.request.audio else { return };
        if audio.format != "pcm16" {
            let message = format!("Gemini speaks in pcm16 only, not {:?}", audio.format);
            self.notices.dropped("audio.format", message);
        }
        let speech = json!({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": audio.voice}}});
        self.set("speechConfig", Some(speech));
    }
}

/// Fields of OpenAI's that clients set to talk to Gemini through it, by Gemini's own names.
const GEMINI_FIELDS: [(&str, &str); 6] = [
    ("safety_settings", "safetySettings"),
    ("safetySettings", "safetySettings"),
    ("cached_content", "cachedContent"),
    ("cachedContent", "cachedContent"),
    ("labels", "labels"),
    ("serviceTier", "serviceTier"),
];

/// Fields of other dialects that change nothing about the answer's meaning.
const HARMLESS: [&str; 12] = [
    "store",
    "safety_identifier",
    "prompt_cache_retention",
    "context_management",
    "betas",
    "client_metadata",
    "truncation",
    "include",
    "inference_geo",
    "speed",
    "stream_options",
    "diagnostics",
];

/// Top-level members beside those the model knows.
fn more(request: &Request, notices: &mut Notices) -> Members {
    let extras = &request.extras;
    if extras.dialect == Some(Dialect::Gemini) {
        return extras.fields.clone();
    }
    let mut more = Members::new();
    for (key, value) in &extras.fields {
        if let Some((_, name)) = GEMINI_FIELDS.iter().find(|(known, _)| known == key) {
            more.insert((*name).to_owned(), value.clone());
        } else if HARMLESS.contains(&key.as_str()) || crate::anthropic::is_harmless(key) {
            notices.changed(key.clone(), "Gemini has no counterpart");
        } else {
            notices.dropped(key.clone(), "Gemini has no counterpart");
        }
    }
    more
}

/// Fields that do not shape the answer, and those Gemini cannot honour.
fn bookkeeping(request: &Request, native: bool, notices: &mut Notices, more: &mut Members) {
    let quiet = [
        ("user", request.user.is_some()),
        ("prompt_cache_key", request.prompt_cache_key.is_some()),
        ("prediction", request.prediction.is_some()),
        ("verbosity", request.verbosity.is_some()),
        ("metadata", request.metadata.is_some() && !native),
    ];
    for (field, given) in quiet {
        if given {
            notices.changed(field, "Gemini has no counterpart");
        }
    }
    if request.parallel_tool_calls == Some(false) {
        notices.changed("parallel_tool_calls", "Gemini may call several tools in one turn");
    }
    if request.logit_bias.is_some() {
        notices.dropped("logit_bias", "Gemini has no counterpart");
    }
    if has_cache_hints(request) {
        notices.changed("cache_control", "Gemini caches prompt prefixes by itself");
    }
    if native && let Some(labels) = &request.metadata {
        more.insert("labels".to_owned(), labels.clone());
    }
    let tier = match request.service_tier.as_deref() {
        // "Whatever the account has": the dearer tier is for those who ask for it.
        None | Some("auto") => return,
        Some("priority") => "priority",
        Some("default" | "standard" | "standard_only") => "standard",
        Some("flex") => "flex",
        Some("unspecified") => "unspecified",
        Some(other) => {
            notices.changed("service_tier", format!("Gemini has no tier {other:?}"));
            return;
        }
    };
    set(more, "serviceTier", Some(tier));
}

fn has_cache_hints(request: &Request) -> bool {
    let in_parts =
        || request.messages.iter().any(|message| message.parts.iter().any(|part| part.cache.is_some()));
    let in_tools = || request.tools.iter().any(|tool| matches!(tool, Tool::Function { cache: Some(_), .. }));
    request.cache.is_some() || in_parts() || in_tools()
}

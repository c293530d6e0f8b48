//! Tools, calls of tools, and their results.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{CacheHint, Dialect, Error, Kind, Part, RawJson, Result, Retry, Signature};

/// Something the model may call.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool {
    /// A function the caller runs.
    Function {
        /// Its name as the caller gave it; codecs rename for targets with stricter rules and map back.
        name: String,
        /// What it does.
        description: Option<String>,
        /// JSON Schema of the arguments; absent means no arguments.
        parameters: Option<RawJson>,
        /// The provider must enforce the schema. Absent is not `false`.
        strict: Option<bool>,
        /// The caller marked the prompt prefix ending here as worth caching.
        cache: Option<CacheHint>,
    },
    /// A tool with free-text input (OpenAI's custom tools).
    Custom {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// The grammar of the input, as the dialect wrote it.
        format: Option<RawJson>,
    },
    /// A tool the provider runs itself, as its dialect wrote it.
    Server {
        /// Whose tool it is.
        dialect: Dialect,
        /// Its type, such as `web_search_20250305` or `googleSearch`.
        kind: String,
        /// The whole tool object.
        json: RawJson,
    },
}

impl Tool {
    /// A function whose arguments are described by a JSON Schema, such as
    /// `json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})`.
    pub fn function(
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: impl Into<RawJson>,
    ) -> Tool {
        Tool::Function {
            name: name.into(),
            description: Some(description.into()),
            parameters: Some(parameters.into()),
            strict: None,
            cache: None,
        }
    }

    /// The name the model sees.
    pub fn name(&self) -> &str {
        match self {
            Tool::Function { name, .. } | Tool::Custom { name, .. } => name,
            Tool::Server { kind, .. } => kind,
        }
    }
}

/// Which tools the model may or must use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// Some tool.
    Required,
    /// This tool.
    Named(String),
    /// One of these (OpenAI's `allowed_tools`, Gemini's `allowedFunctionNames`).
    Allowed {
        /// Their names.
        names: Vec<String>,
        /// `true`: one of them must be called.
        required: bool,
    },
}

/// How a tool takes its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolKind {
    /// JSON arguments.
    #[default]
    Function,
    /// Free text.
    Custom,
}

/// The model asks for a tool to be run.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Ties the result to the call. Codecs generate one (`call_…`) where the dialect has none.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// JSON text of the arguments as the model wrote it, or free text for custom tools.
    /// The model may write invalid JSON; codecs that need an object then fail or wrap it, and say so.
    pub arguments: String,
    /// How the tool takes its input.
    pub kind: ToolKind,
    /// Opaque provider state bound to this call (Gemini's `thoughtSignature`).
    pub signature: Option<Signature>,
}

impl ToolCall {
    /// The arguments as a type of the caller's; an error says where the model's JSON is not what the type wants.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.arguments).map_err(|error| {
            Error::new(Kind::Upstream, format!("the arguments of the call of `{}`: {error}", self.name))
                .with_retry(Retry::Never)
        })
    }

    /// The result that answers this call.
    pub fn result(&self, text: impl Into<String>) -> ToolResult {
        ToolResult {
            call_id: self.id.clone(),
            name: Some(self.name.clone()),
            parts: vec![Part::text(text)],
            is_error: None,
        }
    }

    /// The result that says that this call failed, and why.
    pub fn failure(&self, text: impl Into<String>) -> ToolResult {
        ToolResult { is_error: Some(true), ..self.result(text) }
    }
}

/// What a tool answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// The id of the call it answers.
    pub call_id: String,
    /// The tool's name, where the dialect gives it.
    pub name: Option<String>,
    /// Text, images, documents.
    pub parts: Vec<Part>,
    /// The tool failed. Absent is not `false`.
    pub is_error: Option<bool>,
}

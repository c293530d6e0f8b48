//! Tools, calls of tools, and their results.

use serde::{Deserialize, Serialize};

use crate::{CacheHint, Dialect, Part, RawJson, Signature};

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

//! Embeddings. The OpenAI shape is the neutral one; dialects with their own shape have an `embedding` module.

use tollway_model::{Extras, Usage};

/// Texts to turn into vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EmbeddingRequest {
    /// The model as the caller named it.
    pub model: String,
    /// What to embed; one vector each.
    pub input: Vec<EmbeddingInput>,
    /// Length of the vectors, where the model can choose.
    pub dimensions: Option<u32>,
    /// Vectors as base64 of little-endian 32-bit floats instead of lists.
    pub base64: bool,
    /// The end user, as the caller knows them.
    pub user: Option<String>,
    /// Other top-level fields, verbatim (`task_type`, `input_type` …).
    pub extras: Extras,
}

/// One thing to embed.
#[derive(Debug, Clone, PartialEq)]
pub enum EmbeddingInput {
    /// Text.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// Vectors, in the order of the inputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EmbeddingResponse {
    /// The model that answered, as the provider names it.
    pub model: String,
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// What it used; only input counts.
    pub usage: Option<Usage>,
}

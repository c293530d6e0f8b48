//! Whole answers, with what the client knows beside them.

use serde::de::DeserializeOwned;
use tollway_model::{
    Choice, Cost, Error, FinishReason, Kind, Message, Notices, Response, Result, Retry, ToolCall, Usage,
};
use tollway_wire::embedding::EmbeddingResponse;

/// A whole answer of a model, with what the client knows beside it.
///
/// The methods speak of the first answer, which is the only one unless [`Request::n`](crate::Request::n) asked for
/// more; [`Completion::response`] holds them all.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The answer.
    pub response: Response,
    /// What translation changed or dropped.
    pub notices: Notices,
    /// What it cost by the models table; unknown for models that are not in it.
    pub cost: Cost,
}

impl Completion {
    /// The text, without thinking and refusals; empty when there is none.
    pub fn text(&self) -> String {
        self.first().map(Choice::text).unwrap_or_default()
    }

    /// The readable thinking; empty when the provider shows none.
    pub fn reasoning(&self) -> String {
        self.first().map(Choice::reasoning).unwrap_or_default()
    }

    /// The model's words where it declined to answer.
    pub fn refusal(&self) -> Option<String> {
        self.first().and_then(Choice::refusal)
    }

    /// The tools that the model wants to be run, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.first().into_iter().flat_map(Choice::tool_calls)
    }

    /// Why the answer ended; `None` when it was cut short.
    pub fn finish(&self) -> Option<FinishReason> {
        self.first().and_then(|choice| choice.finish)
    }

    /// What the call used, when the provider says.
    pub fn usage(&self) -> Option<&Usage> {
        self.response.usage.as_ref()
    }

    /// The turn as it goes back into the conversation, with the tool calls and the signed thinking that the provider
    /// wants to see again.
    pub fn message(&self) -> Message {
        self.first().map_or_else(|| Message::assistant(""), Choice::message)
    }

    /// The text as JSON of a type of the caller's: the other half of
    /// [`Request::json_schema`](crate::Request::json_schema).
    ///
    /// # Errors
    /// [`Kind::ContentPolicy`] when the model declined, [`Kind::Upstream`] when the text is not what the type wants,
    /// which an answer cut at its token limit is not.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        if let Some(refusal) = self.refusal() {
            return Err(Error::new(Kind::ContentPolicy, format!("the model declined: {refusal}"))
                .with_retry(Retry::Never));
        }
        serde_json::from_str(&self.text()).map_err(|error| {
            let cut = match self.finish() {
                Some(FinishReason::Length) => " (it was cut at its token limit)",
                _ => "",
            };
            Error::new(Kind::Upstream, format!("the answer is not the JSON asked for{cut}: {error}"))
                .with_retry(Retry::Never)
        })
    }

    fn first(&self) -> Option<&Choice> {
        self.response.first()
    }
}

/// Vectors, with what the client knows beside them.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// The vectors and what they used.
    pub response: EmbeddingResponse,
    /// What translation changed or dropped.
    pub notices: Notices,
    /// What it cost by the models table; unknown for models that are not in it.
    pub cost: Cost,
}

impl Embeddings {
    /// The vectors, in the order of the inputs.
    pub fn vectors(&self) -> &[Vec<f32>] {
        &self.response.vectors
    }

    /// What the call used, when the provider says.
    pub fn usage(&self) -> Option<&Usage> {
        self.response.usage.as_ref()
    }
}

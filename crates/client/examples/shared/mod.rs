//! A client for the examples: of the real provider where its key is set, of a fake one on this machine otherwise.

use std::error::Error;

use tollway::Client;
use tollway_testkit::{FakeProvider, Options};

/// What an example needs.
pub(crate) struct Setup {
    /// Calls the models.
    pub(crate) client: Client,
    /// The model: the first argument of the command line, else the example's own.
    pub(crate) model: String,
    /// Lives as long as the client.
    _fake: Option<FakeProvider>,
}

/// Prepares an example that asks `model` unless the command line names another.
pub(crate) async fn setup(model: &str) -> Result<Setup, Box<dyn Error>> {
    let model = std::env::args().nth(1).unwrap_or_else(|| model.to_owned());
    let client = Client::from_env();
    let Err(missing) = client.check(&model) else { return Ok(Setup { client, model, _fake: None }) };
    let provider = model.split('/').next().unwrap_or_default().to_owned();
    eprintln!("[{missing}]\n[a fake provider answers in its place]\n");
    let fake = FakeProvider::start_with(Options { lenient: true, ..Options::default() }).await?;
    let path = if matches!(provider.as_str(), "anthropic" | "gemini") { "" } else { "/v1" };
    let base = format!("{}{path}", fake.url());
    let client = Client::builder().api_key(provider.as_str(), "fake").api_base(provider, base).build();
    Ok(Setup { client, model, _fake: Some(fake) })
}

//! A client of a fake provider.

use std::time::Duration;

use tollway::{CallOptions, Client, ClientBuilder};
use tollway_testkit::FakeProvider;

/// One provider of each dialect.
pub(crate) const PROVIDERS: [&str; 3] = ["openai", "anthropic", "gemini"];

/// Options whose pauses between tries cost no time.
pub(crate) fn hasty() -> CallOptions {
    CallOptions { pause: Duration::from_millis(2), ..CallOptions::default() }
}

/// A builder with every provider at `url`, and no process environment.
pub(crate) fn builder(url: &str) -> ClientBuilder {
    let mut builder = Client::builder().environment(|_| None).options(hasty());
    for provider in PROVIDERS {
        let path = if provider == "openai" { "/v1" } else { "" };
        builder = builder.api_key(provider, "sk-test").api_base(provider, format!("{url}{path}"));
    }
    builder
}

/// A fake, and a client for which it is every provider.
pub(crate) async fn start() -> (FakeProvider, Client) {
    let fake = FakeProvider::start().await.expect("a free port");
    let client = builder(&fake.url()).build();
    (fake, client)
}

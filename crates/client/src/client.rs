//! The client: one for every provider.

use std::collections::HashMap;
use std::sync::Arc;

use tollway_model::{Dialect, Notices, Operation, Request, Result, Secret};
use tollway_providers::Endpoint;
use tollway_providers::aws::AwsSettings;
use tollway_wire::embedding::EmbeddingRequest;
use tollway_wire::{Restore, codec, embedding, gemini};

use crate::completion::{Completion, Embeddings};
use crate::endpoints::{Endpoints, Environment, Settings, price, process_environment, provider_id};
use crate::exchange::{Ask, Lane, Received, prepare, send};
use crate::options::CallOptions;
use crate::retry::with_retries;
use crate::stream::EventStream;
use crate::transport::{Timeouts, Transport};

/// Calls models of any provider by `provider/model`.
///
/// Cheap to clone; clones share connections. Make one and keep it. Dropping a call's future, or a stream, closes its
/// connection, which stops the provider's generation.
///
/// ```
/// # use tollway_testkit::FakeProvider;
/// use tollway::{Client, Request};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let fake = FakeProvider::start().await?;
/// # let url = fake.url();
/// let client = Client::builder().api_key("anthropic", "sk-ant-key").api_base("anthropic", url).build();
/// let request = Request::chat("anthropic/claude-sonnet-4-5", "say: good morning");
/// let answer = client.completion(&request).await?;
/// assert_eq!(answer.text(), "good morning");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    transport: Transport,
    options: CallOptions,
    endpoints: Endpoints,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// Makes a [`Client`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder {
    transport: Option<Transport>,
    environment: Environment,
    options: CallOptions,
    given: HashMap<String, Settings>,
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The key for a provider; wins over the environment.
    pub fn api_key(mut self, provider: impl Into<String>, key: impl Into<Secret>) -> Self {
        self.given(provider).api_key = Some(key.into());
        self
    }

    /// The base URL for a provider; wins over the environment and the built-in one. A server of one's own is
    /// `openai_like`, `hosted_vllm`, `lm_studio` … with its base; one that speaks like Anthropic or Google is `anthropic`
    /// or `gemini` with its base.
    pub fn api_base(mut self, provider: impl Into<String>, base: impl Into<String>) -> Self {
        self.given(provider).api_base = Some(base.into());
        self
    }

    /// The version of a provider's API, for those that want one (Azure's `api-version`).
    pub fn api_version(mut self, provider: impl Into<String>, version: impl Into<String>) -> Self {
        self.given(provider).api_version = Some(version.into());
        self
    }

    /// The organization that calls are billed to, for providers that know them.
    pub fn organization(mut self, provider: impl Into<String>, organization: impl Into<String>) -> Self {
        self.given(provider).organization = Some(organization.into());
        self
    }

    /// A header for every call of a provider; several add up.
    pub fn header(
        mut self,
        provider: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.given(provider).headers.push((name.into(), value.into()));
        self
    }

    /// A value that a provider's address is made with, such as `region`; wins over the environment.
    pub fn variable(
        mut self,
        provider: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.given(provider).variables.insert(name.into(), value.into());
        self
    }

    /// Whose credentials sign requests to a provider at Amazon, such as `bedrock`, and in which region. Default: what
    /// Amazon's own tools would find, in the environment, the shared files, the container or the machine.
    pub fn aws(mut self, provider: impl Into<String>, settings: AwsSettings) -> Self {
        self.given(provider).aws = settings;
        self
    }

    fn given(&mut self, provider: impl Into<String>) -> &mut Settings {
        self.given.entry(provider_id(provider.into())).or_default()
    }

    /// How calls are made unless a call says otherwise.
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Where keys and base URLs come from, in place of the process environment. Proxies are the transport's.
    pub fn environment(mut self, read: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.environment = Arc::new(read);
        self
    }

    /// The connections to use. Default: those of [`Transport::default`], for this client and its clones.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// The client.
    pub fn build(self) -> Client {
        Client(Arc::new(Shared {
            transport: self.transport.unwrap_or_default(),
            options: self.options,
            endpoints: Endpoints::new(self.environment, self.given),
        }))
    }
}

impl Client {
    /// A client that takes keys and base URLs from the environment (`OPENAI_API_KEY`, `ANTHROPIC_API_KEY` …).
    ///
    /// A variable is read when the first call needs it.
    pub fn from_env() -> Client {
        Client::builder().build()
    }

    /// Starts making a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            transport: None,
            environment: Arc::new(process_environment),
            options: CallOptions::default(),
            given: HashMap::new(),
        }
    }

    /// Can `provider/model` be called: is the provider known, and is there what it needs, such as a key? Nothing is
    /// sent.
    ///
    /// # Errors
    /// Names what is missing, and the variables that could hold it.
    pub fn check(&self, model: &str) -> Result<()> {
        self.0.endpoints.get(model).map(|_| ())
    }

    /// How calls are made unless a call says otherwise.
    pub fn options(&self) -> &CallOptions {
        &self.0.options
    }

    /// Asks a model and waits for the whole answer. `request.model` is `provider/model`.
    ///
    /// # Errors
    /// [`Kind::Unsupported`](crate::Kind::Unsupported), with the field's name, when the provider cannot do something
    /// that was asked for; see [`CallOptions::drop_params`]. What the provider refuses, and what breaks on the way, has
    /// its kind, status and message; what may pass has been tried again.
    pub async fn completion(&self, request: &Request) -> Result<Completion> {
        self.completion_with(request, &self.0.options).await
    }

    /// The same with options of its own.
    pub async fn completion_with(&self, request: &Request, options: &CallOptions) -> Result<Completion> {
        let call = &self.call(&request.model, chat(request, false), options)?;
        with_retries(options, |timeouts| async move {
            let (received, target, restore, notices) = call.attempt(timeouts).await?;
            let response = codec(target).decode_response(&received.collect().await?, &restore)?;
            let cost = price(&call.endpoint, response.usage.as_ref());
            Ok(Completion { response, notices, cost })
        })
        .await
    }

    /// Asks a model and returns its answer as it comes. Failures before the first event are retried; later ones are
    /// the stream's last item.
    ///
    /// # Errors
    /// As [`Client::completion`].
    pub async fn stream(&self, request: &Request) -> Result<EventStream> {
        self.stream_with(request, &self.0.options).await
    }

    /// The same with options of its own.
    pub async fn stream_with(&self, request: &Request, options: &CallOptions) -> Result<EventStream> {
        let call = &self.call(&request.model, chat(request, true), options)?;
        with_retries(options, |timeouts| async move {
            let (received, target, restore, notices) = call.attempt(timeouts).await?;
            let endpoint = call.endpoint.clone();
            // Some servers know no streams and answer at once; a page is no answer at all.
            if is_whole(&received) {
                let response = codec(target).decode_response(&received.collect().await?, &restore)?;
                return Ok(EventStream::whole(response, notices, endpoint));
            }
            let decoder = codec(target).decoder(restore);
            let mut stream = EventStream::new(received.body, decoder, notices, endpoint);
            stream.peek().await?;
            Ok(stream)
        })
        .await
    }

    /// Turns texts into vectors. `request.model` is `provider/model`.
    ///
    /// # Errors
    /// As [`Client::completion`].
    pub async fn embedding(&self, request: &EmbeddingRequest) -> Result<Embeddings> {
        self.embedding_with(request, &self.0.options).await
    }

    /// The same with options of its own.
    pub async fn embedding_with(
        &self,
        request: &EmbeddingRequest,
        options: &CallOptions,
    ) -> Result<Embeddings> {
        let mut ask = Ask::neutral(Operation::Embedding, request.model.clone());
        ask.embedding = Some(request.clone());
        let call = &self.call(&request.model, ask, options)?;
        with_retries(options, |timeouts| async move {
            let (received, target, _, notices) = call.attempt(timeouts).await?;
            let body = received.collect().await?;
            let response = match target {
                Dialect::Gemini => gemini::embedding::decode_response(&body),
                _ => embedding::decode_response(&body),
            }?;
            let cost = price(&call.endpoint, response.usage.as_ref());
            Ok(Embeddings { response, notices, cost })
        })
        .await
    }

    /// Counts the tokens of a request's prompt, without asking the model. `request.model` is `provider/model`.
    ///
    /// # Errors
    /// [`Kind::Unsupported`](crate::Kind::Unsupported) when the provider cannot count; else as [`Client::completion`].
    pub async fn count_tokens(&self, request: &Request) -> Result<u64> {
        self.count_tokens_with(request, &self.0.options).await
    }

    /// The same with options of its own.
    pub async fn count_tokens_with(&self, request: &Request, options: &CallOptions) -> Result<u64> {
        let mut ask = chat(request, false);
        ask.operation = Operation::CountTokens;
        let call = &self.call(&request.model, ask, options)?;
        with_retries(options, |timeouts| async move {
            let (received, target, ..) = call.attempt(timeouts).await?;
            codec(target).decode_count(&received.collect().await?)
        })
        .await
    }

    fn call(&self, model: &str, ask: Ask, options: &CallOptions) -> Result<Call<'_>> {
        let (transport, drop_params) = (&self.0.transport, options.drop_params);
        Ok(Call { transport, endpoint: self.0.endpoints.get(model)?, ask, drop_params })
    }
}

fn chat(request: &Request, stream: bool) -> Ask {
    Ask::from_request(Request { stream, ..request.clone() })
}

fn is_whole(received: &Received) -> bool {
    let kind = received.headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    kind.starts_with(b"application/json") || kind.starts_with(b"text/html")
}

/// One call, tried once or several times.
struct Call<'c> {
    transport: &'c Transport,
    endpoint: Arc<Endpoint>,
    ask: Ask,
    drop_params: bool,
}

impl Call<'_> {
    /// A 2xx answer, its dialect, what its decoder must undo, and what translation changed.
    async fn attempt(&self, timeouts: Timeouts) -> Result<(Received, Dialect, Restore, Notices)> {
        let prepared = prepare(&self.endpoint, &self.ask, &[], self.drop_params)?;
        let (target, restore) = match prepared.lane {
            Lane::Verbatim => (self.endpoint.dialect(), Restore::default()),
            Lane::Translated { target, restore } => (target, restore),
        };
        let sent = send(self.transport, &self.endpoint, prepared.request, target, &timeouts).await;
        let received = sent.map_err(|refused| refused.error)?;
        Ok((received, target, restore, prepared.notices))
    }
}

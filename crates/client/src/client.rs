//! The SDK: one client for every provider.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use tollway_model::{
    Cost, Error, Event, Fold, Kind, Notices, Operation, Request, Response, Result, Retry, Secret, Usage,
};
use tollway_prices::{Catalog, Facts};
use tollway_providers::{Endpoint, EndpointSpec, Table};
use tollway_wire::embedding::{EmbeddingRequest, EmbeddingResponse};
use tollway_wire::{Restore, StreamDecoder, codec, embedding, gemini};

use crate::body::AnswerBody;
use crate::exchange::{Ask, Lane, Received, prepare, send};
use crate::transport::{Timeouts, Transport};

type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Calls models of any provider by `provider/model`.
///
/// Cheap to clone; clones share connections. Dropping a future or a stream closes its connection, which stops the
/// provider's generation.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    transport: Transport,
    environment: Environment,
    options: CallOptions,
    keys: HashMap<String, Secret>,
    bases: HashMap<String, String>,
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
}

/// Endpoints that are remembered; a client that calls ever-new model names does not grow without bound.
const MAX_ENDPOINTS: usize = 1024;

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", &self.0.options).finish_non_exhaustive()
    }
}

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOptions {
    /// Waits of one attempt.
    pub timeouts: Timeouts,
    /// Further tries of a call that failed in a way that may pass. Default: 2.
    pub retries: u32,
    /// Leave out what the provider cannot do, with a notice, instead of failing. Default: false.
    pub drop_params: bool,
}

impl Default for CallOptions {
    fn default() -> Self {
        CallOptions { timeouts: Timeouts::default(), retries: 2, drop_params: false }
    }
}

/// Makes a [`Client`].
pub struct ClientBuilder {
    transport: Option<Transport>,
    environment: Environment,
    options: CallOptions,
    keys: HashMap<String, Secret>,
    bases: HashMap<String, String>,
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// The key for a provider; wins over the environment.
    #[must_use]
    pub fn api_key(mut self, provider: impl Into<String>, key: impl Into<Secret>) -> Self {
        self.keys.insert(provider.into(), key.into());
        self
    }

    /// The base URL for a provider; wins over the environment and the built-in one.
    #[must_use]
    pub fn api_base(mut self, provider: impl Into<String>, base: impl Into<String>) -> Self {
        self.bases.insert(provider.into(), base.into());
        self
    }

    /// How calls are made unless a call says otherwise.
    #[must_use]
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Where keys and base URLs come from, in place of the process environment.
    #[must_use]
    pub fn environment(mut self, read: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        self.environment = Arc::new(read);
        self
    }

    /// The connections to use.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// The client.
    pub fn build(self) -> Client {
        Client(Arc::new(Shared {
            transport: self.transport.unwrap_or_default(),
            environment: self.environment,
            options: self.options,
            keys: self.keys,
            bases: self.bases,
            endpoints: Mutex::default(),
        }))
    }
}

/// A whole answer, with what the client knows beside it.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The answer.
    pub response: Response,
    /// What translation changed or dropped.
    pub notices: Notices,
    /// What it cost by the models table.
    pub cost: Cost,
}

impl Completion {
    /// The text of the first choice.
    pub fn text(&self) -> String {
        let first = self.response.choices.first();
        first
            .map(|choice| choice.parts.iter().filter_map(|part| part.as_text()).collect())
            .unwrap_or_default()
    }
}

impl Client {
    /// A client that takes keys and base URLs from the environment (`OPENAI_API_KEY`, `ANTHROPIC_API_KEY` …).
    pub fn from_env() -> Client {
        Client::builder().build()
    }

    /// Starts making a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            transport: None,
            environment: Arc::new(process_environment),
            options: CallOptions::default(),
            keys: HashMap::new(),
            bases: HashMap::new(),
        }
    }

    /// Asks a model and waits for the whole answer. `request.model` is `provider/model`.
    pub async fn completion(&self, request: &Request) -> Result<Completion> {
        self.completion_with(request, &self.0.options).await
    }

    /// The same with options of its own.
    pub async fn completion_with(&self, request: &Request, options: &CallOptions) -> Result<Completion> {
        let endpoint = self.endpoint(&request.model)?;
        let mut request = request.clone();
        request.stream = false;
        let ask = Ask::from_request(request);
        self.with_retries(options, || async {
            let (received, lane, notices) = self.attempt(&endpoint, &ask, options).await?;
            let (target, restore) = translated(lane, &endpoint);
            let body = received.collect().await?;
            let response = codec(target).decode_response(&body, &restore)?;
            let cost = price(&endpoint, response.usage.as_ref());
            Ok(Completion { response, notices, cost })
        })
        .await
    }

    /// Asks a model and returns its answer as it comes. Failures before the first event are retried; later ones are
    /// the stream's last item.
    pub async fn stream(&self, request: &Request) -> Result<EventStream> {
        self.stream_with(request, &self.0.options).await
    }

    /// The same with options of its own.
    pub async fn stream_with(&self, request: &Request, options: &CallOptions) -> Result<EventStream> {
        let endpoint = self.endpoint(&request.model)?;
        let mut request = request.clone();
        request.stream = true;
        let ask = Ask::from_request(request);
        self.with_retries(options, || async {
            let (received, lane, notices) = self.attempt(&endpoint, &ask, options).await?;
            let (target, restore) = translated(lane, &endpoint);
            let mut stream = EventStream {
                body: received.body,
                decoder: codec(target).decoder(restore),
                ready: Vec::new().into_iter(),
                over: false,
                usage: None,
                notices,
                endpoint: endpoint.clone(),
            };
            stream.peek().await?;
            Ok(stream)
        })
        .await
    }

    /// Turns texts into vectors. `request.model` is `provider/model`.
    pub async fn embedding(&self, request: &EmbeddingRequest) -> Result<EmbeddingResponse> {
        let endpoint = self.endpoint(&request.model)?;
        let options = &self.0.options;
        let ask = Ask::embedding(request.clone());
        self.with_retries(options, || async {
            let (received, lane, _) = self.attempt(&endpoint, &ask, options).await?;
            let (target, _) = translated(lane, &endpoint);
            let body = received.collect().await?;
            match target {
                tollway_model::Dialect::Gemini => gemini::embedding::decode_response(&body),
                _ => embedding::decode_response(&body),
            }
        })
        .await
    }

    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        ask: &Ask,
        options: &CallOptions,
    ) -> Result<(Received, Lane, Notices)> {
        let prepared = prepare(endpoint, ask, &[], options.drop_params)?;
        let target = match &prepared.lane {
            Lane::Verbatim => endpoint.dialect(),
            Lane::Translated { target, .. } => *target,
        };
        let sent = send(&self.0.transport, endpoint, prepared.request, target, &options.timeouts).await;
        let received = sent.map_err(|refused| refused.error)?;
        Ok((received, prepared.lane, prepared.notices))
    }

    /// Tries again what may pass, within the options' total time.
    async fn with_retries<T, F>(&self, options: &CallOptions, mut once: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + options.timeouts.total;
        let mut tried = 0;
        loop {
            let error = match once().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Retry::Later(asked) = error.retry() else { return Err(error) };
            let pause = asked.unwrap_or_else(|| Duration::from_millis(500).saturating_mul(1 << tried.min(4)));
            let too_long = pause > Duration::from_secs(60) || Instant::now() + pause >= deadline;
            if tried >= options.retries || too_long {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            tried += 1;
        }
    }

    /// The endpoint of `provider/model`, made once.
    fn endpoint(&self, name: &str) -> Result<Arc<Endpoint>> {
        let mut known = self.0.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = known.get(name) {
            return Ok(endpoint.clone());
        }
        let endpoint = Arc::new(self.make_endpoint(name)?);
        if known.len() < MAX_ENDPOINTS {
            known.insert(name.to_owned(), endpoint.clone());
        }
        Ok(endpoint)
    }

    fn make_endpoint(&self, name: &str) -> Result<Endpoint> {
        let table = Table::builtin();
        let unknown = |error: &dyn std::fmt::Display| {
            Error::new(Kind::InvalidRequest, error.to_string()).with_param("model")
        };
        let (provider, model) = match table.split_model(name) {
            Ok((provider, model)) => (provider, model),
            Err(error) => (table.infer(name).ok_or_else(|| unknown(&error))?, name),
        };
        let mut spec = EndpointSpec::new(provider, model);
        spec.api_key = self.0.keys.get(&provider.id).cloned();
        spec.api_base = self.0.bases.get(&provider.id).cloned();
        if let Some(entry) = Catalog::builtin().find(&provider.id, model) {
            spec.capabilities = entry.capabilities();
        }
        Ok(Endpoint::build(spec, &*self.0.environment)?)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an SDK without a gateway around it has only the process environment"
)]
fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn translated(lane: Lane, endpoint: &Endpoint) -> (tollway_model::Dialect, Restore) {
    match lane {
        Lane::Verbatim => (endpoint.dialect(), Restore::default()),
        Lane::Translated { target, restore } => (target, restore),
    }
}

fn price(endpoint: &Endpoint, usage: Option<&Usage>) -> Cost {
    let entry = Catalog::builtin().find(&endpoint.provider().id, endpoint.model());
    match (entry, usage) {
        (Some(entry), Some(usage)) => tollway_prices::cost(&entry.prices, usage, &Facts::default()).total,
        _ => Cost::Unknown,
    }
}

/// A streamed answer.
///
/// Yields neutral events in the order [`tollway_model::Laws`] states, and ends after `Event::End`. A failure is the last
/// item, as `Err`.
pub struct EventStream {
    body: AnswerBody,
    decoder: Box<dyn StreamDecoder>,
    ready: std::vec::IntoIter<Event>,
    over: bool,
    usage: Option<Usage>,
    notices: Notices,
    endpoint: Arc<Endpoint>,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("over", &self.over).finish_non_exhaustive()
    }
}

impl EventStream {
    /// What translating the request changed or dropped.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// What the call has cost so far, by the usage reported until now.
    pub fn cost(&self) -> Cost {
        price(&self.endpoint, self.usage.as_ref())
    }

    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Reads the rest and puts the answer together.
    pub async fn collect(mut self) -> Result<Completion> {
        let mut fold = Fold::new();
        while let Some(event) = self.next().await {
            fold.push(event?);
        }
        let cost = price(&self.endpoint, fold.usage().as_ref());
        Ok(Completion { response: fold.finish()?, notices: self.notices, cost })
    }

    /// Waits for the first events, so that a failure before them can still be retried.
    async fn peek(&mut self) -> Result<()> {
        match self.next().await {
            Some(Ok(first)) => {
                let mut events = vec![first];
                events.extend(std::mem::take(&mut self.ready));
                self.ready = events.into_iter();
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::new(Kind::Upstream, "the provider's stream is empty")),
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        loop {
            if let Some(event) = self.ready.next() {
                return Poll::Ready(Some(match event {
                    Event::Error(error) => {
                        self.over = true;
                        self.ready = Vec::new().into_iter();
                        Err(error)
                    }
                    event => {
                        if let Event::Usage(usage) = &event {
                            self.usage = Some(*usage);
                        }
                        Ok(event)
                    }
                }));
            }
            if self.over {
                return Poll::Ready(None);
            }
            let mut events = Vec::new();
            match std::task::ready!(self.body.poll_next(context)) {
                Some(Ok(bytes)) => self.decoder.push(&bytes, &mut events),
                Some(Err(error)) => events.push(Event::Error(error)),
                None => {
                    self.over = true;
                    self.decoder.finish(&mut events);
                }
            }
            self.ready = events.into_iter();
        }
    }
}

impl Stream for EventStream {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        self.get_mut().poll_event(context)
    }
}

/// What an embedding call needs beside the chat's.
impl Ask {
    fn embedding(request: EmbeddingRequest) -> Ask {
        let mut ask = Ask::neutral(Operation::Embedding, request.model.clone());
        ask.embedding = Some(request);
        ask
    }
}

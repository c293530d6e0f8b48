//! The least a proxy on hyper can do: accept, forward, stream back.
//!
//! It reads no body, checks no key and knows no model, so it is the floor the gateway is measured against. It uses
//! the same HTTP library, runtime flavour and allocator as the gateway; what differs is the gateway's own work.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    /// Port to listen on, at 127.0.0.1.
    #[arg(long)]
    port: u16,
    /// Where every request goes.
    #[arg(long)]
    upstream: SocketAddr,
}

type Upstream = Client<HttpConnector, Incoming>;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let address = (Ipv4Addr::LOCALHOST, options.port);
    let listener = tokio::net::TcpListener::bind(address).await.context("cannot listen")?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let client = client.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| forward(&client, options.upstream, request));
            // A client that goes away is ordinary; there is nobody left to tell.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn forward(
    client: &Upstream,
    upstream: SocketAddr,
    mut request: Request<Incoming>,
) -> anyhow::Result<Response<BoxBody<Bytes, hyper::Error>>> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::try_from(format!("http://{upstream}{path}"))?;
    match client.request(request).await {
        Ok(answer) => Ok(answer.map(BodyExt::boxed)),
        Err(_) => {
            let empty = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
            let mut answer = Response::new(empty);
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            Ok(answer)
        }
    }
}

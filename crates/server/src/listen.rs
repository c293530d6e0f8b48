//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::crowd::Crowd;
use crate::limits::{HttpLimits, LiveLimits};
use crate::peer::Peer;
use crate::service::Service;
use crate::stall::StallGuard;

/// A bound address, not yet accepting.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`. Port 0 takes any free port.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        // A restart must not wait for the old connections' last packets.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let listener = TcpListener::from_std(socket.into())?;
        let address = listener.local_addr()?;
        Ok(Listener { listener, address })
    }

    /// The address that clients reach.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves connections until `stop` resolves, then lets running calls finish within the limits' drain time.
///
/// Returns whether all of them did.
pub async fn serve(
    listener: Listener,
    service: Service,
    limits: Arc<LiveLimits>,
    stop: impl Future<Output = ()>,
) -> bool {
    let most = limits.protocols().limits.connections;
    let graceful = GracefulShutdown::new();
    let (places, crowd) = (Arc::new(Semaphore::new(most)), Arc::new(Crowd::default()));
    let (stopping, stopped) = watch::channel(());
    let (cutting, cut) = watch::channel(());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener.listener, &places) => accepted,
            () = &mut stop => break,
        };
        let Some((stream, address, place)) = accepted else { continue };
        let protocols = limits.protocols();
        let Some(member) = crowd.join(address.ip(), protocols.limits.connections_per_address) else {
            tracing::debug!(target: "tollway::http", address = %address.ip(), "too many connections from one address");
            continue;
        };
        let peer = Peer::at(address.ip());
        let (service, watcher) = (service.for_client(peer.clone()), graceful.watcher());
        let (mut stopped, mut cut) = (stopped.clone(), cut.clone());
        tokio::spawn(async move {
            let http2 = tokio::select! {
                http2 = protocols.opening(&stream) => http2,
                // Nobody has said anything on this connection that could be left unfinished.
                _ = stopped.changed() => None,
            };
            if let Some(http2) = http2 {
                // Serving is nearly always what a wake-up is for.
                tokio::select! {
                    biased;
                    () = protocols.serve(http2, stream, service, peer.clone(), watcher) => {}
                    () = let_go(&mut stopped, &mut cut, &peer, http2) => {}
                }
            }
            drop((place, member));
        });
    }
    drop((listener, stopping));
    let drain = limits.protocols().limits.drain;
    let drained = tokio::time::timeout(drain, graceful.shutdown()).await.is_ok();
    drop(cutting);
    // Whatever was cut off has its receipt before the caller goes on to write the last ones.
    let all = u32::try_from(most).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(CUT, places.acquire_many(all)).await;
    drained
}

/// How long calls that are cut off may take to end.
const CUT: Duration = Duration::from_secs(2);

/// How long headers that have begun to arrive when the gateway stops may take to be complete.
const HALF_SAID: Duration = Duration::from_secs(1);

/// Resolves when a connection is no longer waited for: the gateway stops, and the time for running calls is over, or there
/// are none, but only the beginning of a request.
async fn let_go(stopped: &mut watch::Receiver<()>, cut: &mut watch::Receiver<()>, peer: &Peer, http2: bool) {
    let _ = stopped.changed().await;
    let left_alone = async {
        // HTTP/2 tells its clients, and says itself when all is done.
        if http2 {
            return std::future::pending().await;
        }
        tokio::time::sleep(HALF_SAID).await;
        while peer.is_busy() {
            tokio::time::sleep(HALF_SAID / 10).await;
        }
    };
    tokio::select! {
        _ = cut.changed() => {}
        () = left_alone => {}
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Small answers must not wait for more data (40 ms with Nagle's algorithm).
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        Err(error) => {
            // Out of file descriptors, mostly: accepting at once again would spin.
            tracing::warn!(target: "tollway::http", error = %error, "a connection could not be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// HTTP/1 and HTTP/2 with the limits of the gateway.
pub(crate) struct Protocols {
    pub(crate) limits: HttpLimits,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    pub(crate) fn new(limits: HttpLimits) -> Protocols {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // For hyper this is also the silence between two requests; headers have their own time below.
            .header_read_timeout(limits.idle_time.max(limits.header_time))
            .max_header_size(limits.header_bytes)
            // Otherwise an answer to a request that is not read to its end never leaves the buffer.
            .pipeline_flush(false);
        // Any other number makes hyper allocate the headers of every request.
        if limits.headers != HttpLimits::default().headers {
            http1.max_headers(limits.headers);
        }
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(256)
            .max_pending_accept_reset_streams(Some(20))
            .keep_alive_interval(Some(Duration::from_secs(30)));
        Protocols { limits, http1, http2 }
    }

    /// Which protocol a connection speaks: is it HTTP/2? `None`: it says too little.
    async fn opening(&self, stream: &TcpStream) -> Option<bool> {
        tokio::time::timeout(self.limits.header_time, speaks_http2(stream)).await.ok()?.ok()
    }

    /// Serves one connection. A broken one is the client's affair; its calls have their receipts.
    async fn serve(
        &self,
        http2: bool,
        stream: TcpStream,
        service: Service,
        peer: Arc<Peer>,
        watcher: Watcher,
    ) {
        let head = (!http2).then_some(self.limits.header_time);
        let io = StallGuard::new(stream, peer, self.limits.write_stall, head);
        let result = if http2 {
            watcher.watch(self.http2.serve_connection(io, service)).await
        } else {
            watcher.watch(self.http1.serve_connection(io, service)).await
        };
        if let Err(error) = result {
            tracing::trace!(target: "tollway::http", error = %error, "connection closed");
        }
    }
}

/// The first bytes tell: HTTP/2 connections open with `PRI * HTTP/2.0`, which is no method of HTTP/1. All of the
/// opening is waited for, because nothing bounds the wait afterwards.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    const OPENING: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut pause = Duration::from_millis(1);
    let mut seen = [0; OPENING.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        let (seen, expected) =
            (seen.get(..count).unwrap_or_default(), OPENING.get(..count).unwrap_or_default());
        if count == 0 || seen != expected {
            return Ok(false);
        }
        if count == OPENING.len() {
            return Ok(true);
        }
        // Some bytes came alone; the next are on their way. Who only pretends must not keep us busy.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

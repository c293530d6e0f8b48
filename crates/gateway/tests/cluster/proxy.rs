//! A TCP proxy that misbehaves when told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Passes everything on.
    Fine,
    /// Passes everything on, so much later.
    Slow(Duration),
    /// Resets connections, those that are open and those that come.
    Reset,
}

/// A proxy in front of a server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    mood: Arc<watch::Sender<Mood>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of `host:port`, on a free port.
    pub(crate) async fn start(server: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(watch::Sender::new(Mood::Fine));
        let told = mood.clone();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(client, server.clone(), told.subscribe()));
            }
        });
        Proxy { address, mood, task }
    }

    pub(crate) fn turn(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.mood.send_replace(Mood::Reset);
    }
}

async fn connection(client: TcpStream, server: String, mut mood: watch::Receiver<Mood>) {
    // Zero seconds of lingering: what closes is a reset.
    client.set_zero_linger().unwrap();
    if *mood.borrow() == Mood::Reset {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    server.set_zero_linger().unwrap();
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = server.into_split();
    let asked = mood.clone();
    let pump_there = pump(&mut client_reads, &mut server_writes, &asked);
    let pump_back = pump(&mut server_reads, &mut client_writes, &asked);
    let reset = async {
        let _ = mood.wait_for(|mood| *mood == Mood::Reset).await;
    };
    tokio::select! {
        () = pump_there => {}
        () = pump_back => {}
        () = reset => {}
    }
}

async fn pump(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
    mood: &watch::Receiver<Mood>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let slow = *mood.borrow();
        if let Mood::Slow(delay) = slow {
            // Better again: what was held back goes on at once.
            let better = async {
                let mut mood = mood.clone();
                let _ = mood.wait_for(|mood| *mood == Mood::Fine).await;
            };
            let _ = tokio::time::timeout(delay, better).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

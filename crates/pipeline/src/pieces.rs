//! An answer that is made while it is sent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::mpsc;
use tollway_model::{Error, Result};

/// Bytes that wait for the client at once; more are not made before it has taken these.
const PIECE: usize = 64 << 10;

/// The end of an answer that broke off: what the client has of it is not all.
///
/// Its connection is closed (HTTP/2: the stream is reset), so that nobody takes the piece for the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Cut {}

/// Takes what an answer consists of.
#[derive(Debug)]
pub struct PieceWriter {
    buffer: Vec<u8>,
    to: mpsc::Sender<Bytes>,
}

impl PieceWriter {
    /// Adds bytes. Waits while the client has not taken what came before.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    /// Sends what is there.
    pub async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.buffer);
        self.to.send(bytes.into()).await.map_err(|_| Error::internal("nobody reads the answer any more"))
    }
}

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// An answer that is made while it is sent; dropped, it is made no further.
pub struct Pieces {
    first: Option<Bytes>,
    more: mpsc::Receiver<Bytes>,
    work: Option<Work>,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pieces")
    }
}

impl Pieces {
    /// Begins to make an answer, and waits for its first piece: what goes wrong until then is an error as any other.
    pub async fn begin<F, W>(make: F) -> Result<Pieces>
    where
        F: FnOnce(PieceWriter) -> W,
        W: Future<Output = Result<()>> + Send + 'static,
    {
        let (to, more) = mpsc::channel(1);
        let writer = PieceWriter { buffer: Vec::new(), to };
        let mut pieces = Pieces { first: None, more, work: Some(Box::pin(make(writer))) };
        let first = std::future::poll_fn(|context| pieces.poll_work(context)).await.transpose()?;
        pieces.first = first;
        Ok(pieces)
    }

    /// The next piece; `None`: it was the last.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Bytes, Cut>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        Poll::Ready(ready!(self.poll_work(context)).map(|piece| {
            piece.map_err(|error| {
                tracing::warn!(error = error.message(), "a long answer broke off");
                Cut
            })
        }))
    }

    fn poll_work(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            let piece = self.more.poll_recv(context);
            if let Poll::Ready(Some(piece)) = piece {
                return Poll::Ready(Some(Ok(piece)));
            }
            // Nothing more comes when the work is over, however early it gave its writer up.
            let Some(work) = &mut self.work else { return Poll::Ready(None) };
            let result = ready!(work.as_mut().poll(context));
            self.work = None;
            if let Err(error) = result {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut pieces: Pieces) -> (Vec<u8>, bool) {
        let mut found = Vec::new();
        loop {
            match std::future::poll_fn(|context| pieces.poll_next(context)).await {
                Some(Ok(piece)) => found.extend_from_slice(&piece),
                Some(Err(Cut)) => return (found, false),
                None => return (found, true),
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let make = |mut writer: PieceWriter| async move {
            for number in 0..100_000_u32 {
                writer.write(format!("{number},").as_bytes()).await?;
            }
            tokio::task::yield_now().await;
            writer.flush().await
        };
        let (found, whole) = read(Pieces::begin(make).await.unwrap()).await;
        let expected: String = (0..100_000_u32).map(|number| format!("{number},")).collect();
        assert!(whole && found == expected.as_bytes());
        let (nothing, whole) = read(Pieces::begin(|_| async { Ok(()) }).await.unwrap()).await;
        assert!(whole && nothing.is_empty());
    }

    #[tokio::test]
    async fn an_error_at_once_is_an_error_and_a_later_one_cuts_the_answer() {
        let fails = |_| async { Err(Error::internal("broken")) };
        assert_eq!(Pieces::begin(fails).await.unwrap_err().message(), "broken");
        let fails_later = |mut writer: PieceWriter| async move {
            writer.write(b"some").await?;
            writer.flush().await?;
            tokio::task::yield_now().await;
            Err(Error::internal("broken"))
        };
        assert_eq!(read(Pieces::begin(fails_later).await.unwrap()).await, (b"some".to_vec(), false));
    }
}

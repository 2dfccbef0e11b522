//! A stream that gathers small writes: one system call for all answers that are ready, not one for each.
//!
//! ```text
//!   write, write, write ──▶ buffer ──flush──▶ back of the run queue once: others that are ready add theirs
//!                                    └──────▶ then one write to the socket
//! ```
//!
//! A batch of requests becomes answerable at one moment (one log entry, one read round), and each is answered by a task
//! of its own. HTTP/2 flushes after the first of them, and writes each frame of more than 256 bytes by itself. Where
//! there is only one request, the turn through the empty run queue costs less than a microsecond.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered at most.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// A buffer of up to this size is kept while there is nothing to write.
const IDLE_BYTES_MAX: usize = 4 << 10;

#[derive(Debug)]
pub(crate) struct GatheredIo<S> {
    stream: S,
    buffer: Vec<u8>,
    /// How much of `buffer` is written.
    written: usize,
    /// Whether this flush has let the others run.
    yielded: bool,
}

impl<S: AsyncWrite + Unpin> GatheredIo<S> {
    pub(crate) fn new(stream: S) -> GatheredIo<S> {
        GatheredIo { stream, buffer: Vec::new(), written: 0, yielded: false }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.buffer.len() {
            let rest = &self.buffer[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(IDLE_BYTES_MAX);
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GatheredIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GatheredIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.buffer.len() + buf.len() > GATHERED_BYTES_MAX {
            ready!(self.poll_drain(cx))?;
            if buf.len() > GATHERED_BYTES_MAX {
                return Pin::new(&mut self.stream).poll_write(cx, buf);
            }
        }
        self.buffer.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        for buf in bufs {
            match self.as_mut().poll_write(cx, buf) {
                Poll::Ready(Ok(len)) => taken += len,
                stopped if taken == 0 => return stopped,
                _ => break,
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.buffer.is_empty() && !std::mem::replace(&mut self.yielded, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_drain(cx))?;
        self.yielded = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Counts calls that reach the stream below.
    struct Counting<S>(S, usize);

    impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_write(cx, buf)
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn small_writes_become_one_and_arrive_in_order() {
        let (near, mut far) = duplex(1 << 20);
        let mut io = GatheredIo::new(Counting(near, 0));
        for number in 0..100_u8 {
            io.write_all(&[number; 300]).await.unwrap();
        }
        io.flush().await.unwrap();
        assert_eq!(io.stream.1, 1);
        let mut read = vec![0; 30_000];
        far.read_exact(&mut read).await.unwrap();
        assert!((0..100).all(|number| read[number * 300..][..300] == [number as u8; 300]));
    }

    #[tokio::test]
    async fn more_than_the_buffer_or_the_peer_takes_arrives_whole() {
        let (near, mut far) = duplex(100);
        let mut io = GatheredIo::new(near);
        let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            for piece in [&sent[..10], &sent[10..100_000], &sent[100_000..100_005], &sent[100_005..]] {
                io.write_all(piece).await.unwrap();
            }
            io.shutdown().await.unwrap();
        });
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        writer.await.unwrap();
        assert_eq!(read, expected);
    }

    #[tokio::test]
    async fn a_flush_lets_others_add_to_it_first() {
        let (near, mut far) = duplex(1 << 20);
        let mut io = GatheredIo::new(Counting(near, 0));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready(), "there is nothing to wait for");
        io.write_all(b"a").await.unwrap();
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_pending());
        io.write_all(b"b").await.unwrap();
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
        let mut read = [0; 2];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!((&read, io.stream.1), (b"ab", 1));
    }
}

//! The client's socket, with two things that hyper leaves to others: a client that stops reading is given up after a while
//! (catalogue L-03), and a connection that we close is closed gently, because the kernel answers unread bytes with a reset that
//! may overtake our last answer (RFC 9112 section 9.6).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::timer::LazyTimer;

/// Longest time that a closed connection is read on.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that a closed connection is read on.
const LINGER_BYTES: usize = 1 << 20;

/// A client's socket.
pub(super) struct ClientIo {
    io: TokioIo<TcpStream>,
    timer: LazyTimer,
    stall: Duration,
    stalled: bool,
    /// Bytes still read after our side was closed.
    linger: Option<usize>,
}

impl ClientIo {
    /// `stall`: longest time that the client may take no byte.
    pub fn new(stream: TcpStream, stall: Duration) -> Self {
        Self { io: TokioIo::new(stream), timer: LazyTimer::new(), stall, stalled: false, linger: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = false;
            return polled;
        }
        if !self.stalled {
            self.stalled = true;
            self.timer.arm(Instant::now() + self.stall);
        }
        ready!(self.timer.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, polled)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, polled)
    }
    fn is_write_vectored(&self) -> bool {
        Write::is_write_vectored(&self.io)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let left = match &mut this.linger {
            Some(left) => left,
            none => {
                ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
                this.timer.arm(Instant::now() + LINGER);
                none.insert(LINGER_BYTES)
            }
        };
        let mut scratch = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(this.io.inner_mut()).poll_read(cx, &mut buf) {
                // The client has seen the end and closed, or sent enough.
                Poll::Ready(Ok(())) if !buf.filled().is_empty() && *left > buf.filled().len() => {
                    *left -= buf.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(this.timer.poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

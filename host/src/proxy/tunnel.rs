//! A WebSocket after its handshake: bytes both ways, looked at by nobody.
//!
//! It ends when either side closes, when both are silent for the idle timeout, when the token it was opened with ends (the
//! browser connects again and is judged again), when the workspace leaves the instance it is on (a restart must not wait for
//! an open browser tab; the client connects again and is held), or at the end of a shutdown. It counts as a request on
//! the instance until it has switched.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{link::Link, metrics::Counted};
use crate::directory::{Endpoint, InFlight};

/// Longest wait for both sides to have switched.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything a tunnel needs.
pub(super) struct Tunnel {
    /// The client's side.
    pub client: OnUpgrade,
    /// The instance's side, which has switched.
    pub link: Box<Link>,
    /// Counts as a request until both sides have switched.
    pub in_flight: InFlight,
    /// The instance it is on.
    pub endpoint: Endpoint,
    /// Counts as an open tunnel until the end.
    pub counted: Counted,
    /// Longest silence of both.
    pub idle: Duration,
    /// When the token ends.
    pub ends: Instant,
    /// When the daemon ends.
    pub cancel: CancellationToken,
}

impl Tunnel {
    /// Carries bytes until the end.
    pub async fn run(self) {
        let Self { client, link, in_flight, endpoint, counted, idle, ends, cancel } = self;
        let left = in_flight.entry().left(endpoint);
        let both = async { Ok::<_, hyper::Error>((link.into_socket().await, client.await?)) };
        let Ok(Ok(((mut instance, early), client))) = timeout(SWITCH_TIMEOUT, both).await else { return };
        drop(in_flight);
        let moved = Arc::new(AtomicU64::new(0));
        let mut client = Watched { io: TokioIo::new(client), moved: moved.clone() };
        let carry = async {
            client.write_all(&early).await?;
            copy_bidirectional(&mut client, &mut instance).await
        };
        // Dropping the copy drops both sockets: every arm ends the tunnel for good.
        tokio::select! {
            _ = carry => {}
            () = silence(&moved, idle) => {}
            () = sleep_until(ends) => {}
            () = left => {}
            () = cancel.cancelled() => {}
        }
        drop(counted);
    }
}

/// Returns once nothing moved for `idle`.
async fn silence(moved: &AtomicU64, idle: Duration) {
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        sleep(idle).await;
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

/// The client's side, counting what moves either way.
struct Watched {
    io: TokioIo<Upgraded>,
    moved: Arc<AtomicU64>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if polled.is_ready() {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

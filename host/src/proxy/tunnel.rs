//! A WebSocket after its handshake: bytes both ways, changed by nobody.
//!
//! It ends when either side closes, when both are silent for the idle timeout, when the token it was opened with ends (the
//! browser connects again and is judged again), when its instance must be stopped, or at the end of a shutdown. A rollout
//! lets it live on its old instance to the drain deadline; then it is closed cleanly: between two frames, with a close
//! frame of status 1012, and the client connects again. It counts as a request on the instance until it has switched, as a
//! stream from then on.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional, sink},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    frames::{Frames, SERVICE_RESTART},
    link::Link,
    metrics::Counted,
};
use crate::directory::InFlight;

/// Longest wait for both sides to have switched.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the end of a frame that is under way, and for the client to take the close frame and to answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks whether the frame has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Bytes of a client that are read after our close frame; past it the connection is dropped with the rest unread.
const MAX_AFTER_CLOSE: u64 = 1 << 20;

/// Everything a tunnel needs.
pub(super) struct Tunnel {
    /// The client's side.
    pub client: OnUpgrade,
    /// The instance's side, which has switched.
    pub link: Box<Link>,
    /// Counts as a request until both sides have switched.
    pub in_flight: InFlight,
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
        let Self { client, link, in_flight, counted, idle, ends, cancel } = self;
        let both = async { Ok::<_, hyper::Error>((link.into_socket().await, client.await?)) };
        let Ok(Ok(((mut instance, early), client))) = timeout(SWITCH_TIMEOUT, both).await else { return };
        let stream = in_flight.into_long_lived();
        let cut = stream.cut();
        let (moved, between_frames) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let mut client = Watched {
            io: TokioIo::new(client),
            moved: moved.clone(),
            frames: Frames::default(),
            between_frames: between_frames.clone(),
        };
        let carry = async {
            client.write_all(&early).await?;
            copy_bidirectional(&mut client, &mut instance).await
        };
        {
            let mut carry = pin!(carry);
            // Dropping the copy drops both sockets: every arm but the last one ends the tunnel for good.
            tokio::select! {
                _ = &mut carry => return,
                () = silence(&moved, idle) => return,
                () = sleep_until(ends) => return,
                () = cancel.cancelled() => return,
                () = cut => {}
            }
            let limit = Instant::now() + CLOSE_TIMEOUT;
            while !between_frames.load(Ordering::Relaxed) && Instant::now() < limit {
                // The copy goes on where it was: both arms are polled by reference or only wait.
                tokio::select! {
                    _ = &mut carry => return,
                    () = sleep(LOOK_AGAIN) => {}
                }
            }
        }
        drop(instance);
        if between_frames.load(Ordering::Relaxed) {
            // A client that does not take it, or says nothing to it, has had its time.
            let _ = timeout(CLOSE_TIMEOUT, say_goodbye(&mut client)).await;
        }
        drop((counted, stream));
    }
}

/// The close frame and the end of our side; then what the client still says is read, because a socket that is closed with unread
/// bytes resets the connection and may take the close frame with it.
async fn say_goodbye(client: &mut Watched) -> io::Result<()> {
    client.write_all(&SERVICE_RESTART).await?;
    client.shutdown().await?;
    tokio::io::copy(&mut client.take(MAX_AFTER_CLOSE), &mut sink()).await?;
    Ok(())
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

/// The client's side, counting what moves either way and following the frames to the client.
struct Watched {
    io: TokioIo<Upgraded>,
    moved: Arc<AtomicU64>,
    frames: Frames,
    between_frames: Arc<AtomicBool>,
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
        if let Poll::Ready(written) = &polled {
            self.moved.fetch_add(1, Ordering::Relaxed);
            if let Ok(written) = written {
                self.frames.feed(&buf[..*written]);
                let between = self.frames.is_between();
                self.between_frames.store(between, Ordering::Relaxed);
            }
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

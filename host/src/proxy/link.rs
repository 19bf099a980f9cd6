//! One connection to an instance, driven by the task that uses it.
//!
//! hyper's way is to spawn a task per connection and to talk to it through channels: two wake-ups, mostly across threads,
//! for each request. Here the future of the connection is polled by whoever waits for its answer, inside the task of the
//! client's connection, so a request costs no wake-up beside those of its sockets. The price: a parked connection is polled
//! by nobody. [`super::pool`] therefore looks once, before it gives one out, whether it was closed or spoke out of turn
//! meanwhile (catalogue P-39).
//!
//! Because the same task drives the connection and reads its answer, the channels between the two need no waker: they are
//! read with a waker that does nothing, right after the connection was driven.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::Instant};

use super::{
    body::{Upload, UploadEnd, UploadWatch},
    error::ProxyError,
    timer::LazyTimer,
};
use crate::door::Door;

/// Longest wait for a connection: the instance's accept queue may be full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to an instance.
pub(super) struct Link {
    sender: SendRequest<Upload>,
    connection: Connection<TokioIo<UnixStream>, Upload>,
    closed: bool,
    /// One timer for everything that is waited for on this connection, one after the other.
    pub timer: LazyTimer,
    /// When it was last given back to the pool.
    pub parked_at: Instant,
}

/// Why an exchange gave no answer.
pub(super) enum ExchangeError {
    /// Not one byte of the request was written: it may be sent again.
    Unsent(Box<Request<Upload>>),
    /// It may have reached the instance: never sent again.
    Failed(ProxyError),
}

impl Link {
    /// A new connection, to exactly this instance's process. No byte of a request is written here.
    pub async fn connect(door: &Door) -> io::Result<Box<Self>> {
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, door.connect()).await??;
        let (sender, connection) = Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let now = Instant::now();
        Ok(Box::new(Self { sender, connection, closed: false, timer: LazyTimer::new(), parked_at: now }))
    }

    /// Moves bytes both ways as far as they go now.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.closed = true;
        }
    }

    /// The socket after the instance switched protocols, and what it sent already in the new one. Waits for hyper to let go of
    /// it.
    pub async fn into_socket(mut self) -> (UnixStream, Bytes) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.closed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.connection.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }

    /// Whether the connection is at its end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether it can take a request: everything of the last exchange is over, and the instance neither closed it nor spoke
    /// unasked.
    pub fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer, at most `timeout` after the last byte of the request moved. Not
    /// cancel-safe for the connection: drop it with the future.
    pub async fn exchange(
        &mut self,
        request: Request<Upload>,
        watch: Option<&UploadWatch>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, ExchangeError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let mut seen = 0;
        self.timer.arm(Instant::now() + timeout);
        let outcome = poll_fn(|cx| {
            if !self.closed && Pin::new(&mut self.connection).poll(cx).is_ready() {
                self.closed = true;
            }
            if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return Poll::Ready(Some(answer));
            }
            if self.closed {
                return Poll::Ready(None);
            }
            while self.timer.poll(cx).is_ready() {
                // Silence counts from the last byte that the client sent.
                let frames = watch.map_or(0, UploadWatch::frames);
                if frames == seen {
                    return Poll::Ready(None);
                }
                seen = frames;
                self.timer.arm(Instant::now() + timeout);
            }
            Poll::Pending
        })
        .await;
        let upload = watch.map_or(UploadEnd::Done, UploadWatch::end);
        let failed = |error| Err(ExchangeError::Failed(error));
        match (outcome, upload) {
            (Some(Ok(answer)), _) => Ok(answer),
            (_, UploadEnd::TooLarge) => failed(ProxyError::BodyTooLarge),
            (_, UploadEnd::Broken) => failed(ProxyError::BodySilent),
            (Some(Err(mut error)), _) => match error.take_message() {
                Some(request) => Err(ExchangeError::Unsent(Box::new(request))),
                None => failed(ProxyError::Exchange(error.into_error().to_string())),
            },
            (None, _) if self.closed => failed(ProxyError::Exchange("the connection ended".into())),
            (None, UploadEnd::Running) => failed(ProxyError::BodySilent),
            (None, UploadEnd::Done) => failed(ProxyError::TimedOut),
        }
    }
}

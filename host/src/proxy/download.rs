//! An answer on its way from an instance to a client, after its head.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    body::{Body, BodyError, UploadEnd, UploadWatch},
    link::Link,
    pool::{Key, Pool},
};
use crate::directory::{InFlight, LongLived};

/// An answer that is still coming. It drives its connection, counts as a request on the instance until its last byte came,
/// and then parks the connection. Dropped early, it closes the connection.
pub(super) struct Download {
    incoming: Incoming,
    /// Came with the head already.
    first: Option<Bytes>,
    link: Option<Box<Link>>,
    on_instance: Option<OnInstance>,
    pool: Arc<Pool>,
    key: Key,
    upload: Option<Arc<UploadWatch>>,
    seen: u64,
    idle: Duration,
    /// Told at the next poll.
    failed: Option<BodyError>,
}

/// How an answer counts on its instance.
enum OnInstance {
    /// Until its last byte.
    Request(#[expect(dead_code, reason = "it counts while it is held")] InFlight),
    /// An event stream has no end of its own: it ends when the instance must be stopped.
    Stream { cut: Pin<Box<dyn Future<Output = ()> + Send>>, _counts: LongLived },
}

/// What an exchange leaves behind for its answer's body.
pub(super) struct Exchange {
    /// The connection.
    pub link: Box<Link>,
    /// Where to park it.
    pub pool: Arc<Pool>,
    /// Under which key.
    pub key: Key,
    /// The request that counts.
    pub in_flight: InFlight,
    /// It is an event stream.
    pub event_stream: bool,
    /// Its body.
    pub upload: Option<Arc<UploadWatch>>,
    /// Longest silence.
    pub idle: Duration,
}

impl Exchange {
    /// The body of the answer. One that is whole already (most are: head and body come in one packet) frees the instance and
    /// the connection at once.
    pub fn into_body(self, mut incoming: Incoming) -> Body {
        let mut first = None;
        if !incoming.is_end_stream() && incoming.size_hint().exact().is_some() {
            let mut cx = Context::from_waker(Waker::noop());
            if let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut incoming).poll_frame(&mut cx) {
                first = frame.into_data().ok();
            }
        }
        let uploaded = self.upload.as_ref().is_none_or(|upload| upload.end() == UploadEnd::Done);
        if incoming.is_end_stream() && uploaded {
            self.pool.park(self.key, self.link);
            return Body::Whole(first);
        }
        let mut link = self.link;
        link.timer.arm(Instant::now() + self.idle);
        let on_instance = if self.event_stream {
            let stream = self.in_flight.into_long_lived();
            OnInstance::Stream { cut: Box::pin(stream.cut()), _counts: stream }
        } else {
            OnInstance::Request(self.in_flight)
        };
        Body::Stream(Box::new(Download {
            incoming,
            first,
            link: Some(link),
            on_instance: Some(on_instance),
            pool: self.pool,
            key: self.key,
            upload: self.upload,
            seen: 0,
            idle: self.idle,
            failed: None,
        }))
    }
}

impl Download {
    /// The next piece. A failure is told one poll late: hyper drops what it has not written yet when a body fails, and the
    /// client should get what came.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match self.poll_next(cx) {
            Poll::Ready(Some(Err(error))) => {
                (self.link, self.on_instance, self.failed) = (None, None, Some(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            next => next,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(first) = self.first.take() {
            if self.incoming.is_end_stream() {
                self.finish();
            } else if let Some(link) = &mut self.link {
                link.timer.arm(Instant::now() + self.idle);
            }
            return Poll::Ready(Some(Ok(first)));
        }
        if let Poll::Ready(next) = self.poll_incoming() {
            return Poll::Ready(next);
        }
        let Some(link) = &mut self.link else { return Poll::Ready(Some(Err(BodyError::Cut))) };
        link.drive(cx);
        if let Poll::Ready(next) = self.poll_incoming() {
            return Poll::Ready(next);
        }
        let Some(link) = &mut self.link else { return Poll::Ready(Some(Err(BodyError::Cut))) };
        if link.is_closed() {
            // Without its connection the rest can only be an end or an error.
            self.link = None;
            return match self.poll_incoming() {
                Poll::Ready(next) => Poll::Ready(next),
                Poll::Pending => Poll::Ready(Some(Err(BodyError::Cut))),
            };
        }
        if let Some(OnInstance::Stream { cut, .. }) = &mut self.on_instance
            && cut.as_mut().poll(cx).is_ready()
        {
            // A clean end: the client connects again, to whatever instance serves then.
            (self.link, self.on_instance) = (None, None);
            return Poll::Ready(None);
        }
        let Some(link) = &mut self.link else { return Poll::Ready(Some(Err(BodyError::Cut))) };
        while link.timer.poll(cx).is_ready() {
            let frames = self.upload.as_ref().map_or(0, |upload| upload.frames());
            if frames == self.seen {
                return Poll::Ready(Some(Err(BodyError::Silent)));
            }
            self.seen = frames;
            link.timer.arm(Instant::now() + self.idle);
        }
        Poll::Pending
    }

    fn poll_incoming(&mut self) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut self.incoming).poll_frame(&mut cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => match Frame::into_data(frame) {
                Ok(data) => {
                    if self.incoming.is_end_stream() {
                        self.finish();
                    } else if let Some(link) = &mut self.link {
                        link.timer.arm(Instant::now() + self.idle);
                    }
                    Poll::Ready(Some(Ok(data)))
                }
                Err(_trailers) => {
                    self.finish();
                    Poll::Ready(None)
                }
            },
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Upstream(error)))),
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
        }
    }

    /// The instance has sent its last byte.
    fn finish(&mut self) {
        let uploaded = self.upload.as_ref().is_none_or(|upload| upload.end() == UploadEnd::Done);
        if let Some(link) = self.link.take()
            && uploaded
        {
            self.pool.park(self.key, link);
        }
        self.on_instance = None;
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    /// How much is still to come, where that is known.
    pub fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        match self.incoming.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => SizeHint::default(),
        }
    }
}

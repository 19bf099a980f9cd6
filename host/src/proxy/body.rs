//! Bodies on their way through: an [`Upload`] from the client to the instance, a [`Body`] back. Frame by frame, nothing
//! collected; whoever is slower sets the pace. Trailers end here in both directions (catalogue P-16).

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::download::Download;

/// The body of an answer.
pub(super) enum Body {
    /// All of it.
    Whole(Option<Bytes>),
    /// What still comes from an instance.
    Stream(Box<Download>),
}

/// Why a stream ended early; hyper then cuts the client's connection, so that nobody takes a part for the whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The instance broke off.
    #[error("the instance broke off its answer")]
    Upstream(#[source] hyper::Error),
    /// The instance was silent for too long.
    #[error("the instance went silent in the middle of its answer")]
    Silent,
    /// The connection ended without an end of the answer.
    #[error("the instance's connection ended in the middle of its answer")]
    Cut,
}

// === impl Body ===

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Whole(None)
    }

    #[cfg(test)]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes.unwrap_or_default(),
            Self::Stream(_) => Bytes::new(),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(download) => download.poll_data(cx).map(|next| next.map(|data| data.map(Frame::data))),
        }
    }
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(download) => download.is_over(),
        }
    }
    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(download) => download.size_hint(),
        }
    }
}

/// The body of a request. hyper asks the client for it (`100 Continue`) only when this is first polled, so a held request's
/// body stays with the client.
pub(super) struct Upload {
    incoming: Incoming,
    /// Bytes that may still come.
    left: u64,
    watch: Option<Arc<UploadWatch>>,
}

/// How an upload goes, for those who wait for its answer.
#[derive(Debug, Default)]
pub(super) struct UploadWatch {
    frames: AtomicU64,
    end: AtomicU8,
}

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadEnd {
    /// Not yet.
    Running,
    /// Whole.
    Done,
    /// Over the limit.
    TooLarge,
    /// The client broke off.
    Broken,
}

/// Why an upload ended early. hyper then cuts the instance's connection.
#[derive(Debug, thiserror::Error)]
#[error("the upload ended early: {0:?}")]
pub(super) struct UploadError(UploadEnd);

// === impl Upload ===

impl Upload {
    /// At most `limit` bytes, 0 for no limit. The second value is `None` where there is no body.
    pub fn new(incoming: Incoming, limit: u64) -> (Self, Option<Arc<UploadWatch>>) {
        let watch = (!incoming.is_end_stream()).then(Arc::<UploadWatch>::default);
        let left = if limit == 0 { u64::MAX } else { limit };
        (Self { incoming, left, watch: watch.clone() }, watch)
    }

    fn note(&self, end: UploadEnd) {
        if let Some(watch) = &self.watch {
            watch.frames.fetch_add(1, Ordering::Relaxed);
            watch.end.store(end as u8, Ordering::Relaxed);
        }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let next = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(match next.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => match self.left.checked_sub(data.len() as u64) {
                Some(left) => {
                    self.left = left;
                    self.note(if self.incoming.is_end_stream() { UploadEnd::Done } else { UploadEnd::Running });
                    Some(Ok(Frame::data(data)))
                }
                None => {
                    self.note(UploadEnd::TooLarge);
                    Some(Err(UploadError(UploadEnd::TooLarge)))
                }
            },
            // Trailers are the end.
            Some(Ok(Err(_))) | None => {
                self.note(UploadEnd::Done);
                None
            }
            Some(Err(_)) => {
                self.note(UploadEnd::Broken);
                Some(Err(UploadError(UploadEnd::Broken)))
            }
        })
    }
    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

// === impl UploadWatch ===

impl UploadWatch {
    /// Grows with every frame.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// How it ended.
    pub fn end(&self) -> UploadEnd {
        match self.end.load(Ordering::Relaxed) {
            0 => UploadEnd::Running,
            1 => UploadEnd::Done,
            2 => UploadEnd::TooLarge,
            _ => UploadEnd::Broken,
        }
    }
}

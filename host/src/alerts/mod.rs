//! Tells people: a webhook for what waits for a person. Whoever looks at something says each time how it stands ([`Alerts::report`]); what
//! is new, over, or still so after hours becomes a notice.
//!
//! ```text
//! lifecycle (crash loop, rollout, backup) ─┐
//! app (disk, memory) ──────────────────────┴▶ desk: one alert per subject and kind ──▶ queue (256) ──▶ courier: each webhook in turn,
//!                                                 says nothing twice                                     retried with backoff
//! ```
//!
//! A notice has no more than one line of what went wrong, cut at 300 characters; conditions hold no secrets, and a log's lines are never in it.

mod courier;
mod desk;
mod notice;

pub use courier::{DeliveryError, deliver_test, run};
pub use notice::{Kind, Notice, State};

use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use tokio::sync::mpsc;

use self::desk::Desk;
use crate::settings::AlertSettings;

/// Notices that wait for delivery; past it they are dropped, and the log says so.
const MAX_QUEUED: usize = 256;

/// Where alerts are reported. One per daemon.
pub struct Alerts {
    desk: Mutex<Desk>,
    queue: mpsc::Sender<Notice>,
}

/// The other end of the queue, for [`run`].
pub struct Outbox(mpsc::Receiver<Notice>);

impl Alerts {
    /// Both ends.
    pub fn new(settings: &AlertSettings) -> (Self, Outbox) {
        let (queue, outbox) = mpsc::channel(MAX_QUEUED);
        let repeat = i64::try_from(settings.repeat_h).ok().filter(|hours| *hours > 0).map(time::Duration::hours);
        (Self { desk: Mutex::new(Desk::new(repeat)), queue }, Outbox(outbox))
    }

    /// How `kind` stands with `subject` (a workspace's slug, or `orbitd`): `Some` says what is wrong. Cheap, as often as one likes.
    pub fn report(&self, subject: &str, kind: Kind, wrong: Option<&str>) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notice) = desk.judge(subject, kind, wrong, OffsetDateTime::now_utc()) else { return };
        drop(desk);
        match notice.state {
            State::Firing => tracing::warn!(subject, kind = kind.as_str(), "alert: {}", notice.summary),
            State::Resolved => tracing::info!(subject, kind = kind.as_str(), "alert is over"),
        }
        if self.queue.try_send(notice).is_err() {
            tracing::warn!(subject, kind = kind.as_str(), "too many notices wait: this one is dropped");
        }
    }

    /// Forgets a subject that is gone, without a notice.
    pub fn forget(&self, subject: &str) {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner).forget(subject);
    }
}

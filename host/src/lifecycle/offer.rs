//! What becomes of requests, from the same facts as the next step. Published on every look, so a lost moment mends itself.

use time::OffsetDateTime;

use super::facts::{Config, Facts, ProcessFacts};
use crate::{ids::InstanceId, model::DesiredState};

/// A wait of at most this long is held, not refused: a request can sit it out.
const HELD_BACKOFF: time::Duration = time::Duration::seconds(2);

/// [`crate::directory::Availability`] before ids have become addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Serving(InstanceId),
    Held(&'static str),
    Asleep,
    Stopped,
    /// Seconds until the next try.
    Unavailable(u32),
}

/// When nobody knows when: the operator must change something.
const UNKNOWN_WAIT: u32 = 30;

pub(super) fn offer(facts: &Facts, now: OffsetDateTime, held_for: Option<&'static str>) -> Offer {
    if let Some(serving) = facts.serving() {
        return Offer::Serving(serving.id);
    }
    if facts.deleting || facts.desired == DesiredState::Stopped {
        return Offer::Stopped;
    }
    if facts.rung.is_some() {
        return Offer::Asleep;
    }
    if facts.instances.iter().any(|i| i.process != ProcessFacts::Gone) {
        return Offer::Held(held_for.unwrap_or("starting"));
    }
    match facts.retry_at {
        _ if facts.wanted().is_none() && facts.config == Config::Rejected => Offer::Unavailable(UNKNOWN_WAIT),
        Some(at) if at > now + HELD_BACKOFF => {
            let seconds = (at - now).whole_seconds().clamp(1, 3600);
            Offer::Unavailable(u32::try_from(seconds).unwrap_or(UNKNOWN_WAIT))
        }
        Some(_) if facts.crashes > 0 => Offer::Held("starting again"),
        _ if facts.memory_cap.is_some() => Offer::Held("waiting for memory"),
        _ => Offer::Held("starting"),
    }
}

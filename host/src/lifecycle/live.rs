//! What the controller knows of a workspace in this life of the daemon alone. All of it can be lost: the registry and the
//! processes themselves tell the rest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use time::OffsetDateTime;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    facts::{Config, Leave},
    harm::{Harm, Overlap, Recent},
    noticed::Told,
    step::Why,
    wishes::Heard,
};
use crate::{
    directory::{Availability, Entry, Upstream},
    driver::{Exit, Process},
    ids::{Digest, InstanceId},
};

#[derive(Default)]
pub(super) struct LiveState {
    /// The current one first. An entry that a change of tier replaced stays while a request holds it: it must be drained too.
    pub entries: Vec<Arc<Entry>>,
    pub instances: HashMap<InstanceId, LiveInstance>,
    pub rendered: Option<RenderedFor>,
    /// Starts in a row that found their port taken.
    pub port_retries: u32,
    /// A backup that is to replace the database.
    pub fetched: Option<super::backup::Fetched>,
    /// A restore that failed is not tried again before this time.
    pub restore_after: Option<OffsetDateTime>,
    /// The same for what concerns its login.
    pub login_after: Option<OffsetDateTime>,
    /// Why an instance can't be started now although nothing is wrong with it.
    pub waits_for: Option<String>,
    /// What came up on a copy of the database.
    pub proven: Option<Digest>,
    /// Catalogue files that changed since an instance was told to read them again.
    pub unread: BTreeSet<String>,
    /// Since when requests wait for the end of a rollout: the pause that is told when they go on.
    pub held_since: Option<OffsetDateTime>,
    /// Who asked for sleep or waking, and waits for it to be written down.
    pub heard: Vec<Heard>,
}

/// For what the newest config was rendered, and how that went.
pub(super) struct RenderedFor {
    pub generation: i64,
    pub policies: u64,
    /// `None`: they could not be read.
    pub secrets: Option<BTreeMap<String, Digest>>,
    pub outcome: Config,
    /// The policy itself failed: worth another try.
    pub transient: bool,
    pub checked_at: OffsetDateTime,
}

pub(super) struct LiveInstance {
    /// `None`: it was gone when this daemon looked for it first.
    pub process: Option<Arc<dyn Process>>,
    /// Started by an earlier daemon.
    pub adopted: bool,
    pub internal_secret: String,
    pub started_at: OffsetDateTime,
    pub serving_since: Option<OffsetDateTime>,
    /// What requests get on, from when it is proven.
    pub upstream: Option<Arc<Upstream>>,
    /// It came up worse than what serves: the cause.
    pub refused: Option<String>,
    pub failed_checks: u32,
    pub recent: Recent,
    /// While another one runs beside it.
    pub overlap: Option<Overlap>,
    pub probes: u32,
    pub next_probe: OffsetDateTime,
    /// While it starts: its report has grown.
    pub told: Option<Arc<Told>>,
    pub last_failure: Option<String>,
    pub drain: Option<Drain>,
    pub ending: Option<Ending>,
    /// Its place among those that start.
    pub permit: Option<OwnedSemaphorePermit>,
}

pub(super) struct Drain {
    pub why: Why,
    pub leave: Leave,
    pub deadline: OffsetDateTime,
    pub cut_at: Option<OffsetDateTime>,
}

pub(super) struct Ending {
    pub why: Why,
    pub kill_at: OffsetDateTime,
    pub killed: bool,
}

impl LiveInstance {
    pub(super) fn new(process: Option<Arc<dyn Process>>, adopted: bool, secret: String, now: OffsetDateTime) -> Self {
        Self {
            process,
            adopted,
            internal_secret: secret,
            started_at: now,
            serving_since: None,
            upstream: None,
            refused: None,
            failed_checks: 0,
            recent: Recent::default(),
            overlap: None,
            probes: 0,
            next_probe: now,
            told: None,
            last_failure: None,
            drain: None,
            ending: None,
            permit: None,
        }
    }

    /// Nothing is on it. Only true for good after something else was published.
    pub(super) fn is_idle(&self) -> bool {
        self.upstream.as_ref().is_none_or(|upstream| upstream.is_idle())
    }

    /// Takes note of what it answered up to now, and of whether another one runs beside it.
    pub(super) fn sample(&mut self, beside: bool, now: OffsetDateTime) {
        let Some(tally) = self.upstream.as_ref().map(|upstream| upstream.tally()) else { return };
        match (beside, &self.overlap) {
            (true, None) => self.overlap = Some(Overlap::begin(&self.recent, tally)),
            (true, Some(_)) => {}
            (false, _) => {
                self.overlap = None;
                self.recent.sample(tally, now);
            }
        }
    }

    /// It fails since another one runs beside it.
    pub(super) fn harm(&self) -> Option<Harm> {
        let tally = self.upstream.as_ref()?.tally();
        self.overlap.as_ref()?.harm(tally)
    }

    /// How it ended; `None` while it lives.
    pub(super) fn exit(&self) -> Option<Exit> {
        match &self.process {
            Some(process) => process.exit(),
            None => Some(Exit::Unknown),
        }
    }
}

impl LiveState {
    pub(super) fn publish(&self, availability: &Availability) {
        for entry in &self.entries {
            entry.publish(availability.clone());
        }
    }
}

//! One reconcile: load, observe, decide, do, store; again until there is nothing to do for now.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    alarms, fault,
    ladder::earlier,
    live::{LiveInstance, LiveState},
    shared::Shared,
    step::{Step, next_step},
};
use crate::{
    crashpoint,
    db::{InstanceRow, NewEvent, Progress, RegistryError, StatusUpdate, WorkspaceRow},
    ids::WorkspaceId,
    model::{Status, Workspace},
};

/// Steps of one reconcile; then others get their turn.
const MAX_STEPS: usize = 20;

/// Why a reconcile stopped early; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Already in the status.
    #[error("{0}")]
    Step(String),
}

impl Trouble {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Registry(error) => error.kind().as_str(),
            Self::Step(_) => "step",
        }
    }
}

/// One look at a workspace.
pub(super) struct Work<'a> {
    pub shared: &'a Arc<Shared>,
    pub live: &'a mut LiveState,
    pub workspace: Workspace,
    pub progress: Progress,
    /// Of a deletion: the database stays.
    pub keep_data: bool,
    pub instances: Vec<InstanceRow>,
    pub events: Vec<NewEvent>,
    stored: (Status, Progress),
}

/// Works on one workspace; returns when it wants to be looked at again (`None`: when something changes).
pub(super) async fn reconcile(shared: Arc<Shared>, id: WorkspaceId) -> Result<Option<Instant>, Trouble> {
    let live = shared.live(id);
    let mut live = live.lock().await;
    for _ in 0..MAX_STEPS {
        let Some(row) = shared.registry.workspace(id).await? else {
            shared.metrics.phase(id, None);
            shared.leave_turn(id);
            shared.forget_live(id);
            return Ok(None);
        };
        let instances = shared.registry.instances_of(id).await?;
        let WorkspaceRow { workspace, progress, keep_data } = row;
        let stored = (workspace.status.clone(), progress.clone());
        let mut work = Work {
            shared: &shared,
            live: &mut live,
            workspace,
            progress,
            keep_data,
            instances,
            events: Vec::new(),
            stored,
        };
        work.observe().await?;
        let now = shared.clock.now();
        let mut facts = work.facts(now);
        let sleep_look = work.settle_sleep(&mut facts, now);
        work.publish(&facts, now);
        // After the publication: from here on no new request gets on an instance that is left.
        for instance in &mut facts.instances {
            if let Some(drain) = &mut instance.drain {
                let idle = work.live.instances.get(&instance.id).is_none_or(LiveInstance::is_idle);
                drain.idle = idle || fault::skips_drain();
            }
        }
        if facts.gives_up_its_turn(now) {
            shared.leave_turn(id);
        }
        match next_step(&facts, now) {
            Step::Rest(until) => {
                let until = earlier(until, sleep_look);
                if facts.waits_to_start(now) {
                    shared.starting.wait(id, std::time::Instant::now());
                }
                work.describe(&facts, until, now);
                let generation = work.workspace.generation;
                let at_rest = (until.is_none() && facts.is_at_rest()).then_some(generation);
                work.save(at_rest).await?;
                if at_rest.is_some() {
                    shared.forget_live(id);
                }
                return Ok(until.map(|at| instant(at, now)));
            }
            step => {
                if !matches!(step, Step::Probe(_)) {
                    tracing::debug!(workspace = %work.workspace.slug, ?step, "step");
                }
                let done = work.perform(step, &facts, now).await;
                work.save(None).await?;
                done?;
            }
        }
    }
    Ok(Some(Instant::now()))
}

fn instant(at: OffsetDateTime, now: OffsetDateTime) -> Instant {
    let wait = Duration::try_from(at - now).unwrap_or_default();
    // Never in a tight loop, whatever a step says.
    Instant::now() + wait.max(Duration::from_millis(20))
}

impl Work<'_> {
    pub(super) fn id(&self) -> WorkspaceId {
        self.workspace.id
    }

    pub(super) fn status(&mut self) -> &mut Status {
        &mut self.workspace.status
    }

    pub(super) fn event(&mut self, reason: &'static str, message: impl Into<String>) {
        let message = message.into();
        tracing::info!(workspace = %self.workspace.slug, reason, "{message}");
        self.events.push(NewEvent { reason, message });
    }

    /// Stores what has changed since the last time.
    pub(super) async fn save(&mut self, at_rest: Option<i64>) -> Result<(), Trouble> {
        for (kind, wrong) in alarms::of(&self.workspace.status, self.workspace.spec.desired) {
            self.shared.alerts.report(self.workspace.slug.as_str(), kind, wrong);
        }
        let changed = self.stored.0 != self.workspace.status || self.stored.1 != self.progress;
        self.shared.metrics.phase(self.id(), Some(self.workspace.status.phase));
        if !changed && self.events.is_empty() && at_rest.is_none() {
            self.tell_who_asked();
            return Ok(());
        }
        crashpoint!("status.before-write");
        let update = StatusUpdate {
            id: self.workspace.id,
            status: &self.workspace.status,
            progress: &self.progress,
            at_rest,
            events: &self.events,
            now: OffsetDateTime::now_utc(),
        };
        self.shared.registry.write_status(update).await?;
        crashpoint!("status.after-write");
        self.events.clear();
        self.stored = (self.workspace.status.clone(), self.progress.clone());
        self.tell_who_asked();
        Ok(())
    }

    /// What they asked for is written down.
    fn tell_who_asked(&mut self) {
        for heard in self.live.heard.drain(..) {
            // Whoever asked may be gone.
            let _ = heard.send(());
        }
    }
}

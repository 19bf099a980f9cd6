//! Does one step. One file per concern: coming up, leaving, and what is said over an instance that is gone; starting and the
//! database are next door (`start_instance`, `database`).

mod beside;
mod bury;
mod catalogue;
mod come_up;
mod leave;

use time::OffsetDateTime;

use super::{
    facts::Facts,
    fault,
    reconcile::{Trouble, Work},
    step::Step,
};
use crate::{crashpoint, db::MAX_GOOD};

pub(super) use bury::Ended;

/// What to do about a version that the one before can't live with.
const EXPAND_CONTRACT: &str = "Both run on one database for a while: a new version must only add to it what the old one can live \
     with, and take away with the version after (expand, then contract)";

impl Work<'_> {
    pub(super) async fn perform(&mut self, step: Step, facts: &Facts, now: OffsetDateTime) -> Result<(), Trouble> {
        match step {
            Step::AcknowledgeRestart => self.acknowledge_restart(),
            Step::RotateLogin => self.rotate_login(now).await?,
            Step::CloseLogin => self.close_login(now).await?,
            Step::FetchRestore => self.fetch_restore(now).await?,
            Step::LoadRestore => self.load_restore(now).await?,
            Step::Render => self.render(now).await?,
            Step::Provision => self.provision(now).await?,
            Step::AskTurn => self.ask_turn(),
            Step::Start(revision, role) => {
                self.start(revision, role, now).await?;
                if fault::starts_twice() {
                    self.start(revision, role, now).await?;
                }
            }
            Step::Probe(id) => self.probe(id, now).await?,
            Step::Hold(id, why) => self.hold(id, why, now),
            Step::Retire(id) => self.retire(id, facts, now),
            Step::Readmit(id) => self.readmit(id),
            Step::Cut(id) => self.cut(id, now),
            Step::Suspend(id) => self.suspend(id).await,
            Step::Resume(id) => self.resume(id, now),
            Step::Confirm => self.confirm(facts),
            Step::Terminate(id, why) => self.terminate(id, why, now).await?,
            Step::Kill(id) => self.kill(id).await,
            Step::Bury(id) => self.bury(id, facts, now).await?,
            Step::ForgiveCrashes => self.status().crashes = 0,
            Step::DropDatabase => self.drop_database(now).await?,
            Step::Forget => self.forget().await?,
            Step::Rest(_) => {}
        }
        Ok(())
    }

    fn acknowledge_restart(&mut self) {
        self.progress.restarts_seen = self.workspace.spec.restarts;
        let status = self.status();
        status.crashes = 0;
        status.retry_at = None;
        status.failed_revision = None;
        self.live.port_retries = 0;
        self.event("RestartAsked", "a restart was asked for");
    }

    fn ask_turn(&mut self) {
        let (id, tier) = (self.id(), self.workspace.spec.tier.clone());
        for granted in self.shared.turns.ask(id, &tier, self.rollout_rules().max_concurrent) {
            if granted != id {
                self.shared.look_at(granted);
            }
        }
    }

    async fn forget(&mut self) -> Result<(), Trouble> {
        let id = self.id();
        let home = self.shared.home(&self.workspace.slug, id);
        crashpoint!("forget.before-home");
        self.shared.driver.remove_home(&home).await.map_err(|error| Trouble::Step(error.to_string()))?;
        crashpoint!("forget.after-home");
        self.shared.registry.delete_workspace(id).await?;
        crashpoint!("forget.after-row");
        self.shared.set_rejection(id, None);
        self.shared.backups.forget(id);
        self.shared.alerts.forget(self.workspace.slug.as_str());
        tracing::info!(workspace = %self.workspace.slug, %id, "deleted");
        Ok(())
    }

    /// The active revision is good: from here on its end is a crash, not a failed rollout.
    fn confirm(&mut self, facts: &Facts) {
        let Some(active) = self.workspace.status.active_revision else { return };
        crashpoint!("confirm.before");
        self.progress.fallback = None;
        let good = &mut self.progress.good;
        good.retain(|revision| *revision != active);
        good.push(active);
        let surplus = good.len().saturating_sub(MAX_GOOD);
        good.drain(..surplus);
        let mut mains = facts.mains();
        if let (Some(blue), Some(green)) = (mains.next(), mains.next())
            && facts.no_way_back(blue, green)
            && let Some(harm) = self.live.instances.get(&blue.id).and_then(|live| live.harm())
        {
            self.event(
                "NoWayBack",
                format!(
                    "instance {} of revision {} fails since revision {} runs beside it ({harm}): it is not returned to, and \
                     the new one counts as good before its bake is over. {EXPAND_CONTRACT}",
                    blue.id,
                    blue.revision.short(),
                    active.short()
                ),
            );
        }
        self.event("Confirmed", format!("revision {} has served well: it is the one to return to", active.short()));
    }
}

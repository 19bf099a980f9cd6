//! Restores a workspace's database, in two steps of the controller: the backup is fetched and checked while the instance still
//! serves; then, with no instance on it, the database is replaced. A daemon that is killed in between does both again.

use time::OffsetDateTime;

use super::{Scratch, TakeError, take::login};
use crate::{
    crashpoint,
    lifecycle::{
        facts::Restoring,
        reconcile::{Trouble, Work},
    },
    model::{Backup, ConditionKind, Restore, Truth},
    provisioner::Site,
};

/// Before what failed for a passing reason is tried again.
const RETRY_PAUSE: time::Duration = time::Duration::seconds(30);

/// A fetched and checked backup.
pub(in crate::lifecycle) struct Fetched {
    pub wish: Restore,
    scratch: Scratch,
}

impl Work<'_> {
    /// The restore that is wanted and not done.
    pub(in crate::lifecycle) fn wanted_restore(&self) -> Option<&Restore> {
        self.workspace.spec.restore.as_ref().filter(|wish| self.progress.restored != Some(wish.asked_at))
    }

    /// How far the restore is that is wanted.
    pub(in crate::lifecycle) fn restoring(&self) -> Restoring {
        match self.wanted_restore() {
            None => Restoring::No,
            Some(wish) if self.live.fetched.as_ref().is_some_and(|fetched| fetched.wish == *wish) => Restoring::Fetched,
            Some(_) => Restoring::Wanted(self.live.restore_after),
        }
    }

    /// Fetches and checks the backup. A damaged one changes nothing: what runs goes on.
    pub(in crate::lifecycle) async fn fetch_restore(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let Some(wish) = self.wanted_restore().cloned() else { return Ok(()) };
        match self.fetched(&wish).await {
            Ok((backup, scratch)) => {
                self.event("Restoring", format!("backup {} of {} is whole and goes in now", backup.id, backup.slug));
                self.live.fetched = Some(Fetched { wish, scratch });
                Ok(())
            }
            Err(error) => self.restore_failed(&wish, &error, now),
        }
    }

    async fn fetched(&self, wish: &Restore) -> Result<(Backup, Scratch), TakeError> {
        let backups = &self.shared.backups;
        // Never closed.
        let _turn = backups.turns.acquire().await.map_err(|_| TakeError::Busy)?;
        let backup = backups.store.get(&wish.from, wish.backup).await?;
        let scratch = backups.scratch(&format!("restore-{}", self.workspace.id))?;
        // A database may be empty: then no part would make its folder.
        scratch.dir("database")?;
        backups.store.fetch(&backup, Some(scratch.path())).await?;
        Ok((backup, scratch))
    }

    /// Replaces the database. No instance is on it.
    pub(in crate::lifecycle) async fn load_restore(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let Some(Fetched { wish, scratch }) = self.live.fetched.take() else { return Ok(()) };
        let (database, home) = self.database();
        let site = Site { workspace: self.id(), database: &database, home: &home };
        let login = login(self.shared, self.id()).await.map_err(|error| Trouble::Step(error.to_string()))?;
        crashpoint!("restore.before-load");
        let from = scratch.path().join("database");
        let loaded = self.shared.provisioner.load(&site, login.as_ref(), &from).await;
        crashpoint!("restore.after-load");
        if let Err(error) = loaded {
            return self.restore_failed(&wish, &error.into(), now);
        }
        self.progress.restored = Some(wish.asked_at);
        self.status().retry_at = None;
        let text = format!("its database is the one of backup {} of {}", wish.backup, wish.from);
        self.status().set_condition(ConditionKind::Restored, Truth::True, "Restored", text.clone(), now);
        self.event("Restored", text);
        Ok(())
    }

    /// What can pass is tried again. What can't is given up where there is something to return to; a workspace that was made from
    /// the backup waits for another wish.
    fn restore_failed(&mut self, wish: &Restore, error: &TakeError, now: OffsetDateTime) -> Result<(), Trouble> {
        let passing = match error {
            TakeError::Store(error) => error.may_pass(),
            TakeError::Database(error) => error.may_pass(),
            TakeError::Busy | TakeError::Registry(_) | TakeError::Scratch { .. } => true,
            TakeError::NoDatabase => false,
        };
        let was_up = self.workspace.status.active_revision.is_some();
        let mut text = format!("backup {} of {} could not be restored: {error}", wish.backup, wish.from);
        if passing || !was_up {
            self.live.restore_after = Some(now + RETRY_PAUSE);
        } else {
            self.progress.restored = Some(wish.asked_at);
            text.push_str("; the database is as it was");
        }
        if self.status().set_condition(ConditionKind::Restored, Truth::False, "RestoreFailed", text.clone(), now) {
            self.event("RestoreFailed", text);
        }
        Ok(())
    }
}

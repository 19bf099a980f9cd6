//! The workspace's catalogue files: laid before an instance starts, put back when it fails beside another, and read again where they
//! changed. All instances of a workspace read them from one place (`driver::Driver::lay_catalog`), so a start takes no entity out of
//! the catalogue; but Backstage then looks at a changed file only when its time has come.

use std::time::Duration;

use crate::{
    db::InstanceRow,
    driver::{Launch, probe},
    ids::InstanceId,
    lifecycle::{
        facts::Role,
        reconcile::{Trouble, Work},
    },
    model::Revision,
};

/// A location may be registered a moment after the instance is ready.
const TRIES: u32 = 3;
const TRY_PAUSE: Duration = Duration::from_secs(1);

impl Work<'_> {
    /// Before a main starts: the files are its revision's. A trial has its own.
    pub(in crate::lifecycle) async fn lay_catalog(&mut self, role: Role, revision: &Revision) -> Result<(), Trouble> {
        if role == Role::Trial {
            return Ok(());
        }
        let home = self.shared.home(&self.workspace.slug, self.id());
        let laid = self.shared.driver.lay_catalog(&home, &revision.catalog).await;
        self.live.unread.extend(laid.map_err(|error| Trouble::Step(error.to_string()))?);
        Ok(())
    }

    /// After the end of a main: an older one that runs on gets its own files back.
    pub(super) async fn put_catalog_back(&mut self, ended: InstanceId) -> Result<(), Trouble> {
        let older = self.instances.iter().filter(|row| row.instance.id < ended && self.role_of(row) == Role::Main);
        let runs = |row: &&InstanceRow| {
            let live = self.live.instances.get(&row.instance.id);
            live.is_some_and(|live| live.exit().is_none() && live.ending.is_none())
        };
        let Some(blue) = older.filter(runs).max_by_key(|row| row.instance.id).cloned() else { return Ok(()) };
        let Some(revision) = self.shared.registry.revision(self.id(), blue.instance.revision).await? else {
            return Ok(());
        };
        self.lay_catalog(Role::Main, &revision).await?;
        self.read_catalog_again(&blue);
        Ok(())
    }

    /// Tells an instance that serves which files changed. A hint: it looks by itself within minutes.
    pub(super) fn read_catalog_again(&mut self, row: &InstanceRow) {
        // Else once it is proven.
        let proven = self.live.instances.get(&row.instance.id).is_some_and(|live| live.upstream.is_some());
        let Some(door) = self.door_of(row.instance.id).filter(|_| proven) else { return };
        let names = std::mem::take(&mut self.live.unread);
        if names.is_empty() {
            return;
        }
        let folder = Launch::catalog_dir(&self.shared.home(&self.workspace.slug, self.id()));
        let token = probe::derived(&row.instance.boot_secret, "probe");
        let slug = self.workspace.slug.clone();
        tokio::spawn(async move {
            for name in names {
                let file = folder.join(name);
                let mut outcome = Ok(());
                for _ in 0..TRIES {
                    outcome = probe::read_again(&door, &token, &file).await;
                    if outcome.is_ok() {
                        break;
                    }
                    tokio::time::sleep(TRY_PAUSE).await;
                }
                if let Err(error) = outcome {
                    tracing::debug!(workspace = %slug, %error, "a catalogue file is read again later");
                    return;
                }
            }
        });
    }
}

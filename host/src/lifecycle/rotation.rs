//! A new database password, without a failed request: the other login is made and stored, instances with the old one are replaced
//! like those of an old revision, and when none is left the old login is closed.

use time::OffsetDateTime;

use super::reconcile::{Trouble, Work};
use crate::{crashpoint, db::Retiring, model::Login, provisioner::Site};

/// Before a server that failed is asked again; what runs goes on meanwhile.
const RETRY_PAUSE: time::Duration = time::Duration::seconds(5);

impl Work<'_> {
    /// Makes the login that instances get from here on. Done again after a kill it finds the one that it stored.
    pub(super) async fn rotate_login(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let wanted = self.workspace.spec.password_rotations;
        let current = match self.login().await? {
            // Without a database the first login will be made with it.
            Some(login) if self.progress.has_database => login,
            _ => {
                self.progress.rotations_seen = wanted;
                return Ok(());
            }
        };
        let next = match current.rotation >= wanted {
            true => current,
            false => Login::generate(current.slot.other(), wanted),
        };
        crashpoint!("postgres.before-login-row");
        self.shared.registry.set_login(self.id(), &next, now).await?;
        crashpoint!("postgres.after-login-row");
        let made = self.ensure_database(Some(&next)).await;
        crashpoint!("postgres.after-rotation");
        if made.is_err() {
            self.live.login_after = Some(now + RETRY_PAUSE);
        }
        self.provisioned(made, now)?;
        self.progress.rotations_seen = wanted;
        // Every instance that is there may have the old one; an id that is made later is greater.
        self.progress.retiring = Some(Retiring { slot: next.slot.other(), before: self.next_instance_id() });
        self.event("PasswordMade", "its database has a new password; instances with the old one are replaced");
        Ok(())
    }

    /// Closes the old login: no instance has it any more.
    pub(super) async fn close_login(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let Some(Retiring { slot, .. }) = self.progress.retiring else { return Ok(()) };
        let (database, home) = self.database();
        let site = Site { workspace: self.id(), database: &database, home: &home };
        crashpoint!("postgres.before-close");
        let closed = self.shared.provisioner.retire(&site, slot).await;
        crashpoint!("postgres.after-close");
        match closed {
            Ok(()) => {
                self.progress.retiring = None;
                self.event("PasswordRotated", "the old database password opens nothing any more");
                Ok(())
            }
            Err(error) => {
                self.live.login_after = Some(now + RETRY_PAUSE);
                Err(Trouble::Step(error.to_string()))
            }
        }
    }
}

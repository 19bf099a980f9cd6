//! A workspace's database, and its end.

use time::OffsetDateTime;

use crate::{
    crashpoint,
    db::DataDir,
    lifecycle::reconcile::{Trouble, Work},
    model::{ConditionKind, Truth},
};

impl Work<'_> {
    pub(super) async fn provision(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let database = DataDir::database_name(&self.workspace.slug, self.id());
        let home = self.shared.home(&self.workspace.slug, self.id());
        // Before the database: a killed daemon must find that there may be one.
        self.progress.has_database = true;
        self.save(None).await?;
        crashpoint!("provision.before");
        let made = self.shared.provisioner.ensure(&database, &home).await;
        crashpoint!("provision.after");
        match made {
            Ok(()) => {
                self.status().set_condition(ConditionKind::Provisioned, Truth::True, "Provisioned", database, now);
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                let kind = ConditionKind::Provisioned;
                if self.status().set_condition(kind, Truth::False, "ProvisioningFailed", text.clone(), now) {
                    self.event("ProvisioningFailed", text.clone());
                }
                Err(Trouble::Step(text))
            }
        }
    }

    pub(super) async fn drop_database(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let database = DataDir::database_name(&self.workspace.slug, self.id());
        let home = self.shared.home(&self.workspace.slug, self.id());
        crashpoint!("drop.before");
        let dropped = self.shared.provisioner.remove(&database, &home).await;
        crashpoint!("drop.after");
        if let Err(error) = dropped {
            let text = error.to_string();
            self.status().set_condition(ConditionKind::Provisioned, Truth::Unknown, "DropFailed", text.clone(), now);
            return Err(Trouble::Step(text));
        }
        self.progress.has_database = false;
        self.status().set_condition(ConditionKind::Provisioned, Truth::False, "Dropped", database, now);
        Ok(())
    }

    pub(super) async fn forget(&mut self) -> Result<(), Trouble> {
        let id = self.id();
        let home = self.shared.home(&self.workspace.slug, id);
        crashpoint!("forget.before-home");
        self.shared.driver.remove_home(&home).await.map_err(|error| Trouble::Step(error.to_string()))?;
        crashpoint!("forget.after-home");
        self.shared.registry.delete_workspace(id).await?;
        crashpoint!("forget.after-row");
        self.shared.set_rejection(id, None);
        tracing::info!(workspace = %self.workspace.slug, %id, "deleted");
        Ok(())
    }
}

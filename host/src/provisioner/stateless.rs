//! For distributions that keep nothing (`"stateless": true`): every instance gets a database in its own memory, so any number run
//! side by side, and all of it is gone with them.

use std::{collections::BTreeMap, path::Path};

use serde_json::json;

use super::{Access, ProvisionError, Provisioner, Site, Stage, Writers};
use crate::model::{Login, Slot};

/// Makes nothing.
pub struct StatelessProvisioner;

#[async_trait::async_trait]
impl Provisioner for StatelessProvisioner {
    fn kind(&self) -> &'static str {
        "stateless"
    }

    fn writers(&self) -> Writers {
        Writers::Many
    }

    fn needs_login(&self) -> bool {
        false
    }

    async fn capacity(&self) -> Result<Option<u64>, ProvisionError> {
        Ok(None)
    }

    async fn ensure(&self, _: &Site<'_>, _: Option<&Login>, _: &(dyn Fn(Stage) + Sync)) -> Result<(), ProvisionError> {
        Ok(())
    }

    fn access(&self, _: &Site<'_>, _: Option<&Login>, _: usize) -> Result<Access, ProvisionError> {
        let config = json!({"client": "better-sqlite3", "connection": ":memory:"});
        Ok(Access { config, secrets: BTreeMap::new(), connections: 0 })
    }

    async fn retire(&self, _: &Site<'_>, _: Slot) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn keep(&self, _: &Site<'_>) -> Result<String, ProvisionError> {
        Ok("nothing: its distribution keeps nothing".to_owned())
    }

    async fn dump(&self, _: &Site<'_>, _: Option<&Login>, _: &Path) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn load(&self, _: &Site<'_>, _: Option<&Login>, _: &Path) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn remove(&self, _: &Site<'_>) -> Result<(), ProvisionError> {
        Ok(())
    }
}

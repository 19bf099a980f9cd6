//! For distributions that keep nothing (`"stateless": true`): every instance gets a database in its own memory, so any number run
//! side by side, and all of it is gone with them.

use std::path::Path;

use serde_json::{Value, json};

use super::{ProvisionError, Provisioner, Writers};

/// Makes nothing.
pub struct StatelessProvisioner;

#[async_trait::async_trait]
impl Provisioner for StatelessProvisioner {
    async fn ensure(&self, _database: &str, _home: &Path) -> Result<(), ProvisionError> {
        Ok(())
    }

    fn config(&self, _database: &str, _home: &Path) -> Value {
        json!({"client": "better-sqlite3", "connection": ":memory:"})
    }

    fn writers(&self) -> Writers {
        Writers::Many
    }

    async fn copy(&self, _database: &str, _copy: &str, _home: &Path) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn remove(&self, _database: &str, _home: &Path) -> Result<(), ProvisionError> {
        Ok(())
    }
}

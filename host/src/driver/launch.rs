//! Everything a start needs, and the start message made of it (launcher protocol 1).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::catalog::CATALOG;
use crate::{
    door,
    ids::{InstanceId, PluginId, Slug},
    model::ResourceRules,
};

/// One start of one instance.
pub struct Launch {
    /// The workspace's home.
    pub home: PathBuf,
    /// Whose instance.
    pub workspace: Slug,
    /// Its boot id.
    pub id: InstanceId,
    /// 64 hex digits.
    pub boot_secret: String,
    /// Loopback port: for what the instance asks of itself.
    pub port: u16,
    /// `app-config.json`.
    pub app_config: String,
    /// `host.json`, laid over it.
    pub host_config: String,
    /// What it may use of the machine.
    pub resources: ResourceRules,
    /// Plugins to start.
    pub plugins: Vec<PluginId>,
    /// Secret name → value.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Catalogue files that it reads from its run directory (a trial's), file name → text. Those that serve read the workspace's.
    pub catalog: BTreeMap<String, String>,
}

impl Launch {
    /// An instance's run directory: its working directory, 0700.
    pub fn run_dir(home: &Path, id: InstanceId) -> PathBuf {
        home.join("run").join(id.to_string())
    }

    /// Where a secret's value will lie.
    pub fn secret_file(home: &Path, id: InstanceId, name: &str) -> PathBuf {
        Self::run_dir(home, id).join("secrets").join(name)
    }

    /// Where the catalogue files of all instances lie that serve.
    pub fn catalog_dir(home: &Path) -> PathBuf {
        home.join(CATALOG)
    }

    /// Where those of a trial lie.
    pub fn trial_catalog_dir(home: &Path, id: InstanceId) -> PathBuf {
        Self::run_dir(home, id).join(CATALOG)
    }

    /// The start message, one line. `user`: whom a warm process becomes, which could not know before.
    pub(super) fn message(&self, user: Option<u32>) -> String {
        let run = Self::run_dir(&self.home, self.id);
        let secret_files: BTreeMap<&str, PathBuf> =
            self.secrets.keys().map(|name| (name.as_str(), Self::secret_file(&self.home, self.id, name))).collect();
        let message = json!({
            "protocol": 1,
            "boot_id": self.id,
            "boot_secret": self.boot_secret,
            "workspace": self.workspace,
            "socket": door::SOCKET,
            "port": self.port,
            "config_files": [run.join("app-config.json"), run.join("host.json")],
            "plugins": self.plugins,
            "secret_files": secret_files,
            "user": user,
        });
        format!("{message}\n")
    }
}

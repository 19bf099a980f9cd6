//! `[oci]` of `orbitd.toml`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// OCI registries that policies come from (`module = "oci://…"`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OciSettings {
    /// Seconds between two questions for the same tag; at least 1.
    pub poll_s: u64,
    /// Who orbitd is to a registry, by its name as in the reference (`registry.example.org:5000`); others are asked anonymously.
    pub accounts: BTreeMap<String, OciAccount>,
}

/// An account of a registry.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OciAccount {
    /// The user's name.
    pub username: String,
    /// File with the password or token; read at each use, so that it can be changed.
    pub password_file: PathBuf,
}

impl Default for OciSettings {
    fn default() -> Self {
        Self { poll_s: 60, accounts: BTreeMap::new() }
    }
}

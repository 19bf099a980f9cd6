//! `[confine]`: how instances are kept from each other and from the machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How instances are confined. What a tier's instances may use is in the tier's own file, under `[resources]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfineSettings {
    /// What happens where the machine can't do all of it.
    pub mode: ConfineMode,
    /// First and last user id of instances, both included: each workspace gets one of its own (as root). Nobody else may use them.
    pub users: (u32, u32),
    /// Further files and folders that instances may read and run, beside the distribution and the system's libraries.
    pub also_read: Vec<PathBuf>,
}

/// What happens where the machine can't do all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfineMode {
    /// Whatever works is used and the rest is said; nothing at all is an error.
    #[default]
    Auto,
    /// Own user, Landlock and cgroups must all work, or the daemon does not start.
    Required,
    /// Instances run as the daemon's user and can read what it can: for debugging.
    Off,
}

impl Default for ConfineSettings {
    fn default() -> Self {
        Self { mode: ConfineMode::Auto, users: (200_000, 265_535), also_read: Vec::new() }
    }
}

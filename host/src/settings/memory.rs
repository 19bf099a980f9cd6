//! `[memory]`: when memory counts as short, and how much all instances may have.

use serde::{Deserialize, Serialize};

/// When the idlest workspaces are sent to sleep early, and what all instances may have together.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySettings {
    /// MiB of resident memory of all instances; past it no instance starts until one has gone to sleep. `None`: no cap.
    pub instances_mb: Option<u64>,
    /// MiB that shall stay available on the machine (`MemAvailable`).
    pub available_mb: u64,
    /// Percent of the last ten seconds in which some task stalled for memory (`/proc/pressure/memory`); 0: not looked at.
    pub stalled_percent: f64,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self { instances_mb: None, available_mb: 256, stalled_percent: 20.0 }
    }
}

//! `[decision_log]` of `orbitd.toml`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::Share;

/// Which decisions of policies are written down, and where. Without a file they are, while somebody follows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionLogSettings {
    /// JSON lines, made 0600. A device or a pipe is written to and never rotated.
    pub file: Option<PathBuf>,
    /// Bytes after which the file is rotated.
    pub max_file_bytes: u64,
    /// Rotated files that are kept: `<file>.1` is the newest.
    pub keep: u32,
    /// Decisions that may wait to be written; past it they are dropped and counted. A request never waits.
    pub queue: usize,
    /// Share of the decisions that are logged.
    pub sample: Share,
    /// The same for single tiers.
    pub tiers: BTreeMap<String, Share>,
    /// Inputs to mask beside authorization, cookies and what looks like a token: `header:x-internal-*`, `claim:email`, `query`, `path`.
    pub mask: Vec<String>,
}

impl Default for DecisionLogSettings {
    fn default() -> Self {
        Self {
            file: None,
            max_file_bytes: 64 << 20,
            keep: 5,
            queue: 4_096,
            sample: Share::ALL,
            tiers: BTreeMap::new(),
            mask: Vec::new(),
        }
    }
}

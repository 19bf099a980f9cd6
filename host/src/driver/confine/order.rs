//! What the child is told, as one argument. Nothing in it is secret: arguments can be read by everybody.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fence::Fence;

/// How to become an instance.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::driver) struct Order {
    /// Node.
    pub program: PathBuf,
    /// Its only argument.
    pub launcher: PathBuf,
    /// User and group to become; `None`: stay.
    pub user: Option<u32>,
    /// What may be reached; `None`: everything that the user may.
    pub fence: Option<Fence>,
    /// Cgroups to enter.
    pub cgroups: Vec<PathBuf>,
    pub limits: Limits,
}

/// `setrlimit`; `None` leaves what the daemon has.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::driver) struct Limits {
    pub open_files: Option<u64>,
    /// Bytes of one file.
    pub file_bytes: Option<u64>,
    /// Processes and threads of the user.
    pub processes: Option<u64>,
}

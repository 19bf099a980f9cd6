//! `[backup]` of a tier's file.

use serde::{Deserialize, Serialize};

/// When backups are made of the tier's workspaces, and how long they are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupRules {}

//! `[rollout]` of a tier's file.

use serde::{Deserialize, Serialize};

/// How a workspace of the tier moves to a new revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutRules {}

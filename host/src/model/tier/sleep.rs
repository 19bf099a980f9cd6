//! `[sleep]` of a tier's file.

use serde::{Deserialize, Serialize};

/// When an idle instance of the tier is suspended and stopped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SleepRules {}

//! `[resources]` of a tier's file.

use serde::{Deserialize, Serialize};

/// What one instance of the tier may use of the machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceRules {}

//! `[<binding>.limits]`: what one call may use.

use std::time::Duration;

use orbit_engine::{Limits, World};
use serde::{Deserialize, Serialize};

use super::Class;

/// What a binding says of limits; what it leaves out has the world's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// CPU milliseconds of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget_ms: Option<u64>,
    /// Linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<usize>,
    /// Entries of each table.
    #[serde(skip_serializing_if = "Option::is_none")]
    table_elements: Option<usize>,
    /// Everything in one answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    result_bytes: Option<usize>,
}

impl LimitSettings {
    /// The limits, with what class and world have where nothing is said.
    pub fn limits(&self, class: Class, world: World) -> Result<Limits, String> {
        let defaults = class.default_limits(world);
        let limits = Limits {
            budget: self.budget_ms.map_or(defaults.budget, Duration::from_millis),
            memory_bytes: self.memory_bytes.unwrap_or(defaults.memory_bytes),
            table_elements: self.table_elements.unwrap_or(defaults.table_elements),
            result_bytes: self.result_bytes.unwrap_or(defaults.result_bytes),
        };
        for (key, value, least, most) in [
            ("budget_ms", limits.budget.as_millis() as usize, 10, 5_000),
            ("memory_bytes", limits.memory_bytes, 64 << 10, 64 << 20),
            ("table_elements", limits.table_elements, 1, 20_000),
            ("result_bytes", limits.result_bytes, 1 << 10, 16 << 20),
        ] {
            if !(least..=most).contains(&value) {
                return Err(format!("limits.{key} is {value}: it must be {least} to {most}"));
            }
        }
        Ok(limits)
    }
}

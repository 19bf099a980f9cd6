//! `[resources]` of a tier's file.

use serde::{Deserialize, Serialize};

/// What one instance of the tier may use of the machine; counted from its next start. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceRules {
    /// Memory, MiB, file cache included; past it the kernel ends the instance, which is started again. Needs cgroups.
    pub memory_mb: u64,
    /// Processes and threads together; past it `fork` fails. Needs cgroups; with an own user alone it counts per workspace.
    pub pids: u64,
    /// Share of one processor in percent: 150 is one and a half. Needs cgroups.
    pub cpu_percent: u64,
    /// Open files and connections.
    pub open_files: u64,
    /// Size of one file, MiB: the largest database file, for example.
    pub file_mb: u64,
}

impl Default for ResourceRules {
    fn default() -> Self {
        // A Backstage with ten plugins uses 300 MB, 11 threads and 60 descriptors; these are for what runs away.
        Self { memory_mb: 2048, pids: 512, cpu_percent: 0, open_files: 16_384, file_mb: 4096 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_limit_and_a_wrong_key_is_an_error() {
        let rules: ResourceRules = toml::from_str("memory_mb = 512").expect("rules");
        assert_eq!((rules.memory_mb, rules.pids), (512, 512));
        assert!(toml::from_str::<ResourceRules>("memory = 1").is_err());
        assert!(toml::from_str::<ResourceRules>("pids = -1").is_err());
    }
}

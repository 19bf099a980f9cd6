//! What a tier says beside its policies: how its workspaces are rolled out, sleep, are backed up, and what an instance may use.
//! Sections of `policies/<tier>.toml`, every key optional; plain data, swapped together with the tier's policies.

mod backup;
mod resources;
mod rollout;
mod sleep;
mod window;

pub use backup::BackupRules;
pub use resources::ResourceRules;
pub use rollout::{RolloutRules, RolloutStrategy};
pub use sleep::SleepRules;
pub use window::Window;

/// The rules of one tier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TierRules {
    /// `[rollout]`.
    pub rollout: RolloutRules,
    /// `[sleep]`.
    pub sleep: SleepRules,
    /// `[backup]`.
    pub backup: BackupRules,
    /// `[resources]`.
    pub resources: ResourceRules,
}

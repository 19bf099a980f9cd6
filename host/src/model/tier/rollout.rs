//! `[rollout]` of a tier's file.

use serde::{Deserialize, Deserializer, Serialize, de};

/// Longest bake, and longest drain, in seconds.
const LONGEST_S: u64 = 3_600;

/// How a workspace of the tier moves to a new revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutRules {
    /// Whether the new instance starts beside the old one.
    pub strategy: RolloutStrategy,
    /// Seconds (0 to 3,600) that a new revision must serve before it counts as good. If its instance dies before, the
    /// revision before it serves again, at once where that still runs. 0: it is good as soon as it serves.
    #[serde(deserialize_with = "seconds")]
    pub bake_s: u64,
    /// Seconds (0 to 3,600) that requests, WebSockets and event streams on the old instance may go on after the switch; past
    /// it they are ended. Without it `instances.drain_timeout_s`.
    #[serde(deserialize_with = "optional_seconds")]
    pub drain_s: Option<u64>,
    /// Workspaces of the tier that are rolled out at the same time; the others wait in order. Without it
    /// `instances.max_rollouts` alone counts.
    pub max_concurrent: Option<usize>,
}

/// How the new instance takes over from the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStrategy {
    /// The new one is proven before the old one is touched: beside it where the database takes two, else on a copy of the
    /// database. Needs memory for two instances.
    #[default]
    BlueGreen,
    /// Requests are held, the old one is stopped, the new one is started.
    Restart,
}

impl Default for RolloutRules {
    fn default() -> Self {
        Self { strategy: RolloutStrategy::default(), bake_s: 30, drain_s: None, max_concurrent: None }
    }
}

fn seconds<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(input)?;
    if seconds <= LONGEST_S {
        return Ok(seconds);
    }
    Err(de::Error::custom(format!("{seconds} seconds are more than {LONGEST_S}")))
}

fn optional_seconds<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u64>, D::Error> {
    seconds(input).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_default_and_a_range() {
        assert_eq!(toml::from_str::<RolloutRules>("").expect("nothing is fine"), RolloutRules::default());
        let rules: RolloutRules =
            toml::from_str("strategy = \"restart\"\nbake_s = 0\ndrain_s = 5\nmax_concurrent = 1").expect("all keys");
        assert_eq!((rules.strategy, rules.bake_s, rules.drain_s), (RolloutStrategy::Restart, 0, Some(5)));
        for wrong in ["bake_s = 3601", "drain_s = 9999", "strategy = \"canary\"", "bakes = 1"] {
            assert!(toml::from_str::<RolloutRules>(wrong).is_err(), "{wrong}");
        }
    }
}

//! That a workspace sleeps: plain data, kept from one run of the daemon to the next.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A workspace's sleep. Its desired state stays `running`; the next request, or whoever asks, ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sleep {
    /// How deep.
    pub rung: Rung,
    /// Since when it is on this rung (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Why it fell asleep.
    pub cause: SleepCause,
}

/// A rung of the sleep ladder. Awake is no rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// The instance is stopped where it is, its memory is in swap. Back in a tenth of a second.
    Suspended,
    /// No instance. Back in a second with a warm process, else after a whole start.
    Stopped,
}

/// Why a workspace fell asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SleepCause {
    /// Nobody used it.
    Idle,
    /// Someone asked for it.
    Asked,
    /// The machine's memory was short, or a cap was reached.
    Memory,
}

impl SleepCause {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "nobody used it",
            Self::Asked => "it was asked for",
            Self::Memory => "memory was short",
        }
    }
}

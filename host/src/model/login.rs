//! How a workspace's instances log in to its database, where the database asks for that.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A login. There are two names for it, used in turn: a rotation makes the other one, so that an instance with the old password
/// works until it has been replaced.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Which of the two.
    pub slot: Slot,
    /// Random; at rest it is sealed.
    pub password: String,
    /// `spec.password_rotations` that it was made for.
    pub rotation: i64,
}

/// Which of a workspace's two logins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The first, and every second after it.
    A,
    /// The other.
    B,
}

// === impl Login ===

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("slot", &self.slot).field("rotation", &self.rotation).finish_non_exhaustive()
    }
}

impl Login {
    /// A new one with 256 random bits as its password.
    pub fn generate(slot: Slot, rotation: i64) -> Self {
        Self { slot, password: hex::encode(rand::random::<[u8; 32]>()), rotation }
    }
}

// === impl Slot ===

impl Slot {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// As it is in names and columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl FromStr for Slot {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            _ => Err(format!("{text:?} is no login's slot: it is a or b")),
        }
    }
}

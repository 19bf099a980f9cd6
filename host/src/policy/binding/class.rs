//! What kind of module a binding names, and what that may look like and use.

use std::time::Duration;

use orbit_engine::{Limits, ShapeLimits, World, shape};
use serde::{Deserialize, Serialize};

/// What kind of module it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Code of its own: Rust, Rego, Cedar.
    #[default]
    Policy,
    /// It carries an interpreter: JavaScript, Python.
    Language,
}

impl Class {
    /// For the engine.
    pub fn shape(self) -> &'static ShapeLimits {
        match self {
            Self::Policy => &ShapeLimits::POLICY,
            Self::Language => &ShapeLimits::LANGUAGE,
        }
    }

    /// The class that a module needs: what carries an interpreter is told by its size.
    pub fn fitting(module: &[u8]) -> Self {
        if shape::carries_an_interpreter(module) { Self::Language } else { Self::Policy }
    }

    /// What a call may use where the binding says nothing.
    pub fn default_limits(self, world: World) -> Limits {
        let defaults = Limits::of(world);
        match self {
            Self::Policy => defaults,
            // Measured: a fresh interpreter needs 1 to 20 ms for a decision and 10 to 20 MiB.
            Self::Language => Limits { budget: Duration::from_millis(500), memory_bytes: 64 << 20, ..defaults },
        }
    }
}

//! What a signature is about.

use orbit_engine::World;
use serde::{Deserialize, Serialize};

use crate::ids::Digest;

/// What signers say of a module. All of it is checked against the module itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Of the module's bytes.
    pub digest: Digest,
    /// The policy's own name, as it describes itself.
    pub name: String,
    /// The world that it is for.
    pub world: String,
    /// Grows with each module that is to replace another; not the policy's own version, which is a text.
    pub version: u64,
}

impl Statement {
    /// Whether it is about this module in this role; the name is checked once the module has said it.
    pub(super) fn check(&self, digest: Digest, world: World) -> Result<(), String> {
        if self.digest != digest {
            return Err(format!(
                "its signature is for another module ({}): sign this one (`orbitd policy sign`)",
                self.digest.short()
            ));
        }
        if self.world != world.name() {
            return Err(format!("it is signed as {:?}, the binding asks for a {}", self.world, world.name()));
        }
        Ok(())
    }

    /// Whether the module calls itself what it was signed as.
    pub(in crate::policy) fn check_name(&self, name: &str) -> Result<(), String> {
        if self.name == name {
            return Ok(());
        }
        Err(format!(
            "it is signed as policy {:?} and calls itself {name:?}",
            self.name.chars().take(40).collect::<String>()
        ))
    }
}

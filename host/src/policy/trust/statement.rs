//! What a signature is about.

use orbit_engine::World;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// Of the only settings that it may be given, texts of `settings_files` included: see [`settings_digest`]. None: whoever writes the
    /// tier's file and its texts chooses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Digest>,
}

/// What a tier is about to bind, and what it demands of a signature.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The role.
    pub world: World,
    /// Of the module's bytes.
    pub digest: Digest,
    /// A JSON object as text.
    pub settings: &'a str,
    /// The binding has `signed_settings`.
    pub settings_signed: bool,
}

/// SHA-256 of settings in a form that does not depend on their order: compact JSON, the keys of all objects sorted.
pub fn settings_digest(settings: &str) -> Digest {
    let mut value: Value = serde_json::from_str(settings).unwrap_or(Value::Null);
    value.sort_all_objects();
    Digest::of(value.to_string().as_bytes())
}

impl Statement {
    /// Whether it is about this module in this role; the name is checked once the module has said it.
    pub(super) fn check(&self, claim: &Claim<'_>) -> Result<(), String> {
        let Claim { world, digest, settings, settings_signed } = *claim;
        if self.digest != digest {
            return Err(format!(
                "its signature is for another module ({}): sign this one (`orbitd policy sign`)",
                self.digest.short()
            ));
        }
        if self.world != world.name() {
            return Err(format!("it is signed as {:?}, the binding asks for a {}", self.world, world.name()));
        }
        match self.settings {
            Some(signed) if signed != settings_digest(settings) => Err(format!(
                "its signature is for other settings ({}): sign it with these (`orbitd policy sign --settings`, `--settings-file`)",
                signed.short()
            )),
            None if settings_signed => Err(
                "its settings must be signed, too (signed_settings), and its signature is for the module alone: `orbitd policy sign` it \
                 with --settings or --settings-file"
                    .to_owned(),
            ),
            _ => Ok(()),
        }
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

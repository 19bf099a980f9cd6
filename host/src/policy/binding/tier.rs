//! A tier's file as a whole.

use std::path::Path;

use orbit_engine::World;
use serde::Deserialize;

use super::Binding;
use crate::{
    model::{BackupRules, ResourceRules, RolloutRules, SleepRules, TierRules},
    policy::{schema, trust::Trust},
    words,
};

/// Bytes of a tier's file.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Authorizers that one tier may chain.
const MAX_AUTHORIZERS: usize = 8;

/// A tier's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierFile {
    /// Where a request goes.
    pub router: Binding,
    /// All must allow; the first one's user counts.
    pub authorizer: Vec<Binding>,
    /// Makes `app-config`.
    pub renderer: Binding,
    /// Who may sign its policies; none: nobody has to.
    #[serde(default)]
    pub trust: Option<Trust>,
    /// How its workspaces are rolled out.
    #[serde(default)]
    rollout: RolloutRules,
    /// When they sleep.
    #[serde(default)]
    sleep: SleepRules,
    /// When they are backed up.
    #[serde(default)]
    backup: BackupRules,
    /// What an instance may use.
    #[serde(default)]
    resources: ResourceRules,
    /// As it was read, for naming lines.
    #[serde(skip)]
    text: String,
}

impl TierFile {
    /// Reads and checks a file; the error is for the operator.
    pub fn read(path: &Path) -> Result<Self, String> {
        let size = std::fs::metadata(path).map_err(|error| format!("it can't be read: {error}"))?.len();
        if size > MAX_FILE_BYTES {
            return Err(format!("it is {size} bytes long, {MAX_FILE_BYTES} are allowed"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("it can't be read: {error}"))?;
        Self::parse(&text)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| words::plain(error.to_string().trim_end()))?;
        if let Some(trust) = &file.trust {
            trust.validate()?;
        }
        match file.authorizer.len() {
            0 => Err("it has no [[authorizer]]: nobody would be let in, or everybody".to_owned()),
            n if n > MAX_AUTHORIZERS => Err(format!("it has {n} authorizers, {MAX_AUTHORIZERS} are allowed")),
            _ => Ok(Self { text: text.to_owned(), ..file }),
        }
    }

    /// The line of a key, from 1.
    pub fn line_of(&self, path: &[String]) -> Option<usize> {
        schema::line_of(&self.text, path)
    }

    /// What it says beside its policies.
    pub fn rules(&self) -> TierRules {
        TierRules {
            rollout: self.rollout.clone(),
            sleep: self.sleep.clone(),
            backup: self.backup.clone(),
            resources: self.resources,
        }
    }

    /// A binding by its name: `router`, `authorizer`, `authorizer-2`, `renderer`.
    pub fn binding(&self, name: &str) -> Option<(World, &Binding)> {
        match name {
            "router" => Some((World::Router, &self.router)),
            "renderer" => Some((World::Renderer, &self.renderer)),
            "authorizer" => self.authorizer.first().map(|binding| (World::Authorizer, binding)),
            _ => {
                let number: usize = name.strip_prefix("authorizer-")?.parse().ok()?;
                self.authorizer.get(number.checked_sub(1)?).map(|binding| (World::Authorizer, binding))
            }
        }
    }
}

//! From what a binding says to one version of a policy: bytes, settings and limits, read and not yet believed.

use std::sync::Arc;

use orbit_engine::{Limits, World};
use time::OffsetDateTime;

use super::{Fault, Loader, files};
use crate::{
    ids::Digest,
    policy::{
        binding::{Binding, LimitSettings},
        rollout::Kept,
    },
};

/// One version of a policy in one role: all that its decisions depend on beside their inputs.
#[derive(Clone)]
pub(super) struct Version {
    /// As in the tier's file.
    pub module: String,
    /// The module itself.
    pub bytes: Arc<[u8]>,
    /// Of the bytes.
    pub digest: Digest,
    /// A JSON object as text.
    pub settings: String,
    /// What the binding says of limits, and what follows.
    pub said: LimitSettings,
    pub limits: Limits,
    /// Whether its answers are remembered.
    pub memory: bool,
}

impl Version {
    /// Of the settings as JSON.
    pub fn settings_digest(&self) -> Digest {
        Digest::of(self.settings.as_bytes())
    }

    /// What tells it from every other one.
    pub fn id(&self) -> Digest {
        let parts = (self.digest, &self.settings, &self.said, self.memory);
        Digest::of(serde_json::to_string(&parts).unwrap_or_default().as_bytes())
    }

    /// As the ledger keeps it.
    pub fn kept(&self, since: OffsetDateTime) -> Kept {
        Kept {
            id: self.id(),
            module: self.module.clone(),
            digest: self.digest,
            settings: self.settings.clone(),
            limits: self.said.clone(),
            memory: self.memory,
            since,
        }
    }
}

impl Loader {
    /// Reads what a binding names. Every file that it looked at is remembered, so that the next change of it is seen.
    pub(super) fn resolve(&mut self, world: World, binding: &Binding) -> Result<Version, Fault> {
        let module = binding.module.display().to_string();
        let path = binding.module_path(&self.folder).map_err(|reason| {
            self.modules.push(self.folder.join(&binding.module));
            Fault::of(world, None, reason)
        })?;
        self.modules.push(path.clone());
        let bytes =
            files::read_module(&path).map_err(|reason| Fault::of(world, None, format!("module {module} {reason}")))?;
        let digest = Digest::of(&bytes);
        let bad = |reason| Fault::of(world, Some(digest), reason);
        let settings = binding.settings_json().map_err(bad)?;
        let said = binding.limits.clone();
        let limits = said.limits(world).map_err(bad)?;
        Ok(Version { module, bytes: bytes.into(), digest, settings, said, limits, memory: binding.memory })
    }

    /// A version that served before, without its file.
    pub(super) fn restore(&self, world: World, kept: &Kept) -> Result<Version, Fault> {
        let bad = |reason| Fault::of(world, Some(kept.digest), reason);
        Ok(Version {
            module: kept.module.clone(),
            bytes: self.ledger.module(kept.digest).map_err(bad)?.into(),
            digest: kept.digest,
            settings: kept.settings.clone(),
            said: kept.limits.clone(),
            limits: kept.limits.limits(world).map_err(bad)?,
            memory: kept.memory,
        })
    }
}

//! From what a binding says to one version of a policy: bytes, settings and limits, read and not yet believed.

use std::sync::Arc;

use orbit_engine::{Limits, World};
use time::OffsetDateTime;

use super::{Fault, Loader, sources::Source};
use crate::{
    ids::Digest,
    policy::{
        binding::{Binding, Class, LimitSettings},
        rollout::Kept,
        trust::{Trust, Verified},
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
    /// What kind of module it is.
    pub class: Class,
    /// Whether its answers are remembered.
    pub memory: bool,
    /// What its signature says, where the tier has keys.
    pub signed: Option<Verified>,
    /// Where the tier's file has the settings; none for a version that served before.
    pub settings_at: Option<Vec<String>>,
}

impl Version {
    /// Of the settings as JSON.
    pub fn settings_digest(&self) -> Digest {
        Digest::of(self.settings.as_bytes())
    }

    /// What tells it from every other one.
    pub fn id(&self) -> Digest {
        let parts = (self.digest, &self.settings, &self.said, self.class, self.memory);
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
            class: self.class,
            memory: self.memory,
            since,
        }
    }
}

impl Loader {
    /// Reads what a binding names. Every file that it looked at is remembered, so that the next change of it is seen.
    pub(super) fn resolve(&mut self, world: World, binding: &Binding, trust: Option<&Trust>) -> Result<Version, Fault> {
        let module = binding.module.display().to_string();
        let Source { bytes, signature } = self.read_source(binding).map_err(|reason| Fault::of(world, None, reason))?;
        let digest = Digest::of(&bytes);
        let bad = |reason| Fault::of(world, Some(digest), reason);
        // Before anything of the module is compiled or run.
        let signed = match trust {
            Some(trust) => trust
                .check(world, digest, signature.as_deref())
                .map_err(|reason| bad(format!("module {module} ({}): {reason}", digest.short())))?,
            None => None,
        };
        let texts = self.read_settings_files(binding).map_err(bad)?;
        let settings = binding.settings_json(texts).map_err(bad)?;
        let said = binding.limits.clone();
        let limits = said.limits(binding.class, world).map_err(bad)?;
        Ok(Version {
            module,
            bytes: bytes.into(),
            digest,
            settings,
            said,
            limits,
            class: binding.class,
            memory: binding.memory,
            settings_at: None,
            signed,
        })
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
            limits: kept.limits.limits(kept.class, world).map_err(bad)?,
            class: kept.class,
            memory: kept.memory,
            // It was checked when it came; going back to it is the operator's own word.
            signed: None,
            settings_at: None,
        })
    }
}

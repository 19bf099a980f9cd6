//! From what a binding says to one version of a policy: bytes, settings and limits, read and not yet believed.

use std::sync::Arc;

use orbit_engine::{Limits, World};
use time::OffsetDateTime;

use super::{Fault, Loader, sources::Source};
use crate::{
    ids::Digest,
    policy::{
        binding::{Binding, Class, LimitSettings, TierFile},
        rollout::Kept,
        trust::{Claim, Trust, Verified},
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
    /// Text of its signature, to be checked again if it ever comes back.
    pub signature: Option<String>,
    /// What that says, where the tier has keys.
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
            signature: self.signature.clone(),
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
        let texts = self.read_settings_files(binding).map_err(bad)?;
        let settings = binding.settings_json(texts).map_err(bad)?;
        // Before anything of the module is compiled or run.
        let claim = Claim { world, digest, settings: &settings, settings_signed: binding.signed_settings };
        let signed = verified(trust, &claim, signature.as_deref())
            .map_err(|reason| bad(format!("module {module} ({}): {reason}", digest.short())))?;
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
            signature,
            signed,
        })
    }

    /// A version that served before, without its file. Whom the tier trusts now must have signed it, too.
    pub(super) fn restore(
        &self,
        world: World,
        kept: &Kept,
        binding: &Binding,
        trust: Option<&Trust>,
    ) -> Result<Version, Fault> {
        let bad = |reason| Fault::of(world, Some(kept.digest), reason);
        let signed = check_kept(world, kept, binding, trust).map_err(bad)?;
        Ok(Version {
            module: kept.module.clone(),
            bytes: self.ledger.module(kept.digest).map_err(bad)?.into(),
            digest: kept.digest,
            settings: kept.settings.clone(),
            said: kept.limits.clone(),
            limits: kept.limits.limits(kept.class, world).map_err(bad)?,
            class: kept.class,
            memory: kept.memory,
            signature: kept.signature.clone(),
            signed,
            settings_at: None,
        })
    }
}

impl Loader {
    /// Whether a tier's file, as it is now, lets a version of this binding come back.
    pub fn may_come_back(&self, tier: &str, binding: &str, kept: &Kept) -> Result<(), String> {
        let file = TierFile::read(&self.folder().join(format!("{tier}.toml")))?;
        let (world, rules) = file.binding(binding).ok_or_else(|| format!("the tier's file has no {binding}"))?;
        check_kept(world, kept, rules, file.trust.as_ref()).map(|_| ())
    }
}

/// What the signature of a version that served before says.
fn check_kept(world: World, kept: &Kept, binding: &Binding, trust: Option<&Trust>) -> Result<Option<Verified>, String> {
    let settings_signed = binding.signed_settings;
    let claim = Claim { world, digest: kept.digest, settings: &kept.settings, settings_signed };
    verified(trust, &claim, kept.signature.as_deref()).map_err(|reason| {
        format!(
            "module {} ({}), which served before, can't be gone back to: {reason}",
            kept.module,
            kept.digest.short()
        )
    })
}

fn verified(trust: Option<&Trust>, claim: &Claim<'_>, signature: Option<&str>) -> Result<Option<Verified>, String> {
    match trust {
        Some(trust) => trust.check(claim, signature),
        None if claim.settings_signed => {
            Err("its settings must be signed (signed_settings), and the tier has no [trust] that says by whom"
                .to_owned())
        }
        None => Ok(None),
    }
}

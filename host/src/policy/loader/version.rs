//! From what a binding says to one version of a policy: bytes, settings and limits, read and not yet believed.

use std::sync::Arc;

use orbit_engine::{Limits, World};

use super::{Fault, Loader, files};
use crate::{ids::Digest, policy::binding::Binding};

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
    /// What one call may use.
    pub limits: Limits,
}

impl Version {
    /// Of the settings as JSON.
    pub fn settings_digest(&self) -> Digest {
        Digest::of(self.settings.as_bytes())
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
        let limits = binding.limits(world).map_err(bad)?;
        Ok(Version { module, bytes: bytes.into(), digest, settings, limits })
    }
}

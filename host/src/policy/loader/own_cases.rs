//! The cases that a binding names: a version that fails one does not serve.

use orbit_engine::{LoadError, World};

use super::{Fault, Loader, bind::Place, version::Version};
use crate::{
    ids::{Digest, TierName},
    policy::{
        binding::{Binding, Class},
        cases::{self, CaseFile},
    },
};

/// Runs remembered as passed; past it they are forgotten, and run again when they are next asked for.
const MAX_PASSED: usize = 1_000;

/// What passed once need not run again: which policy, with what, in which tier, by which cases.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Passed {
    world: World,
    module: Digest,
    settings: Digest,
    limits: orbit_engine::Limits,
    class: Class,
    tier: TierName,
    cases: Digest,
}

impl Loader {
    /// Runs them, unless they passed before.
    pub(super) fn pass_own_cases(
        &mut self,
        world: World,
        binding: &Binding,
        version: &Version,
        place: &mut Place<'_>,
    ) -> Result<(), Fault> {
        let Some(tests) = &binding.tests else { return Ok(()) };
        // Also where it is missing: it is looked for again.
        self.modules.push(self.folder.join(tests));
        let bad = |reason| Fault::of(world, Some(version.digest), reason);
        let Some(path) = binding.tests_path(&self.folder).map_err(bad)? else { return Ok(()) };
        let (file, digest) = CaseFile::read_with_digest(&path).map_err(bad)?;
        let passed = Passed {
            world,
            module: version.digest,
            settings: version.settings_digest(),
            limits: version.limits,
            class: version.class,
            tier: place.tier.clone(),
            cases: digest,
        };
        if self.passed.contains(&passed) {
            return Ok(());
        }
        let compiled = match place.compiled.get(&(version.digest, version.class)) {
            Some(compiled) => compiled.clone(),
            // It lived already, so this load did not compile it: one look into the cache.
            None => {
                let compiled = self.compiler.compile_as(&version.bytes, version.class.shape());
                compiled.map_err(|error: LoadError| bad(error.to_string()))?
            }
        };
        let subject = cases::Subject {
            compiler: &self.compiler,
            compiled: &compiled,
            world,
            settings: &version.settings,
            limits: version.limits,
            tier: place.tier,
        };
        let report = cases::run(&subject, &file).map_err(bad)?;
        if let Some(failed) = report.failed().next() {
            return Err(bad(format!(
                "module {} ({}) fails {} of {} cases of {}; the first is {:?}: {}",
                version.module,
                version.digest.short(),
                report.failed().count(),
                report.cases.len(),
                tests.display(),
                failed.name,
                failed.complaint(),
            )));
        }
        if self.passed.len() >= MAX_PASSED {
            self.passed.clear();
        }
        self.passed.insert(passed);
        Ok(())
    }
}

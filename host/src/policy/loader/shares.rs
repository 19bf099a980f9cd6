//! Each tier's share of the engine's sandboxes.

use std::{collections::HashMap, sync::Arc};

use orbit_engine::Slots;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

use crate::ids::TierName;

/// For as long as a tier is known, one share: its policies of all versions draw from it, whatever serves or is tried out.
#[derive(Default)]
pub(super) struct Shares(HashMap<TierName, Arc<Slots>>);

impl Shares {
    /// A tier's.
    pub fn of(&mut self, tier: &TierName) -> Arc<Slots> {
        self.0.entry(tier.clone()).or_insert_with(|| Arc::new(Slots::new(stand_aside))).clone()
    }

    /// Forgets tiers that are gone. Policies that still run keep their share.
    pub fn retain(&mut self, known: impl Fn(&TierName) -> bool) {
        self.0.retain(|tier, _| known(tier));
    }
}

/// A slow policy's call must not hold up the requests that its thread would serve next.
fn stand_aside(work: &mut dyn FnMut()) {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        // A tool or a test: nothing else waits for this thread.
        _ => work(),
    }
}

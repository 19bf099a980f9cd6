//! Promises that a test can have broken, to show that it would notice: compiled in always, so that what is tested is what runs.

use std::sync::OnceLock;

/// The variable that names one.
const VARIABLE: &str = "ORBITD_FAULT";

/// `skip-drain`: an instance that is left counts as idle at once, whatever is on it.
pub(super) fn skips_drain() -> bool {
    static SKIPS: OnceLock<bool> = OnceLock::new();
    *SKIPS.get_or_init(|| {
        let skips = std::env::var(VARIABLE).is_ok_and(|fault| fault == "skip-drain");
        if skips {
            tracing::warn!("{VARIABLE}=skip-drain: rollouts cut requests that are under way; for tests alone");
        }
        skips
    })
}

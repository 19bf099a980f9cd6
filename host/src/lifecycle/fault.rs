//! Promises that a test can have broken, to show that it would notice: compiled in always, so that what is tested is what runs.

use std::sync::OnceLock;

/// The variable that names one.
const VARIABLE: &str = "ORBITD_FAULT";

/// An instance that is left counts as idle at once, whatever is on it.
pub(super) fn skips_drain() -> bool {
    is("skip-drain")
}

/// Each start is made twice, as where two requests wake a sleeper and neither knows of the other.
pub(super) fn starts_twice() -> bool {
    is("start-twice")
}

fn is(name: &str) -> bool {
    static FAULT: OnceLock<Option<String>> = OnceLock::new();
    let fault = FAULT.get_or_init(|| {
        let fault = std::env::var(VARIABLE).ok();
        if let Some(fault) = &fault {
            tracing::warn!("{VARIABLE}={fault}: a promise is broken on purpose; for tests alone");
        }
        fault
    });
    fault.as_deref() == Some(name)
}

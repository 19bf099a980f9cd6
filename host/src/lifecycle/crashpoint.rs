//! Crash points: named places between the steps of the controller where a test can have the daemon killed. Compiled in
//! always, so that what is tested is what runs; one relaxed load when none is armed.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, Ordering},
};

/// The variable that arms one: the daemon gets SIGKILL the first time it comes there.
pub const VARIABLE: &str = "ORBITD_CRASHPOINT";

/// All names. `crashpoint!` takes no other.
pub const NAMES: &[&str] = &[
    "create.before-row",
    "create.after-row",
    "spec.after-write",
    "delete.after-mark",
    "render.before-revision",
    "render.after-revision",
    "provision.before",
    "provision.after",
    "postgres.after-owner",
    "postgres.after-create",
    "postgres.after-database",
    "postgres.after-login",
    "start.after-row",
    "start.after-prepare",
    "start.after-spawn",
    "start.after-record",
    "start.after-release",
    "ready.before-mark",
    "ready.after-mark",
    "copy.before",
    "copy.after",
    "trial.proven",
    "hold.before",
    "retire.before",
    "cut.before",
    "confirm.before",
    "sleep.decided",
    "suspend.before",
    "suspend.rehearsal",
    "suspend.after",
    "resume.before",
    "resume.after",
    "terminate.before",
    "terminate.after",
    "bury.before-files",
    "bury.before-row",
    "bury.after-row",
    "drop.before",
    "drop.after",
    "forget.before-home",
    "forget.after-home",
    "forget.after-row",
    "postgres.before-login-row",
    "postgres.after-login-row",
    "postgres.after-rotation",
    "postgres.before-close",
    "postgres.after-close",
    "backup.after-dump",
    "backup.after-part",
    "backup.after-manifest",
    "restore.before-load",
    "restore.after-load",
    "status.before-write",
    "status.after-write",
];

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ARMED: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
static ARMED_NAME: OnceLock<String> = OnceLock::new();

/// The daemon is killed here if this point is armed.
#[macro_export]
macro_rules! crashpoint {
    ($name:literal) => {{
        const _: () = assert!($crate::lifecycle::crashpoint::is_known($name), "add it to crashpoint::NAMES");
        $crate::lifecycle::crashpoint::reached($name)
    }};
}

/// Whether `name` is one of [`NAMES`].
pub const fn is_known(name: &str) -> bool {
    let mut i = 0;
    while i < NAMES.len() {
        if same(NAMES[i].as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// What `crashpoint!` calls.
#[inline]
pub fn reached(name: &str) {
    match STATE.load(Ordering::Relaxed) {
        OFF => {}
        UNKNOWN => {
            arm();
            reached(name);
        }
        _ => die_at(name),
    }
}

fn arm() {
    match std::env::var(VARIABLE) {
        Ok(name) if !name.is_empty() => {
            if !is_known(&name) {
                tracing::warn!(name, known = ?NAMES, "{VARIABLE} names no crash point");
            }
            let _ = ARMED_NAME.set(name);
            STATE.store(ARMED, Ordering::Relaxed);
        }
        _ => STATE.store(OFF, Ordering::Relaxed),
    }
}

#[cold]
fn die_at(name: &str) {
    if ARMED_NAME.get().is_some_and(|armed| armed == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

//! Where the calls of slow policies run: each on a thread of its own, with lower priority than the threads that serve everybody.
//! How many there are at once is bounded by the tiers' [`crate::Slots`]: one per core and tier.

use std::{io, panic, thread, time::Duration};

use rustix::{
    process::{getpriority_process, setpriority_process},
    thread::gettid,
};

use crate::sandbox::thread_cpu_time;

/// Added to the thread's niceness: a thirtieth of the weight of a usual thread. Not the idle class: a slow policy that means well (an
/// interpreter) must still get on where instances keep the machine busy.
const NICER: i32 = 15;
/// The guest's 256 KiB and the host's calls on both sides of it, bytes.
const STACK: usize = 1 << 20;

/// Runs `call` to its end and tells what CPU time it used. Fails where the system has no thread left.
pub fn run<R: Send>(call: impl FnOnce() -> R + Send) -> io::Result<(R, Duration)> {
    let work = || {
        step_back();
        let result = call();
        (result, thread_cpu_time().unwrap_or_default())
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("policy-slow".into()).stack_size(STACK).spawn_scoped(scope, work)?;
        // A panic here is the host's own (a guest only traps): it goes on in the caller.
        Ok(thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}

/// On Linux priorities belong to threads. Without it a slow policy competes as an equal: worse, not wrong.
fn step_back() {
    let thread = Some(gettid());
    if let Ok(now) = getpriority_process(thread) {
        let _ = setpriority_process(thread, (now + NICER).min(19));
    }
}

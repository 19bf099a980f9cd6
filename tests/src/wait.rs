//! Waiting for a condition with a deadline: no test sleeps for a guessed time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(40);

/// What `probe` found at last; panics with `what` and the last reason when `limit` is over.
///
/// # Panics
/// When the deadline passes.
pub async fn until<T, F, P>(what: &str, limit: Duration, mut probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(found) => return found,
            Err(reason) if Instant::now() >= deadline => {
                panic!("waited {} s for {what}; last seen: {reason}", limit.as_secs())
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The same for threads without a runtime.
pub fn until_blocking<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// Seconds, as a limit.
pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

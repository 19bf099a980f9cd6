//! Keeps the warm pool filled: between `instances.warm_min` and `instances.warm_max` processes, as many as were started in the
//! busiest of the last ten minutes. One at a time, and only while no instance starts and memory is left.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{memory, shared::Shared};
use crate::driver::Warmth;

/// Between two looks at the pool.
const PAUSE: Duration = Duration::from_millis(500);
/// What is learned from.
const WINDOW: Duration = Duration::from_secs(600);
const MINUTE: Duration = Duration::from_secs(60);
/// Starts that are remembered; more say nothing more.
const MAX_REMEMBERED: usize = 256;

/// When instances were started.
#[derive(Default)]
pub(super) struct Starts(Mutex<VecDeque<Instant>>);

impl Starts {
    pub(super) fn note(&self, now: Instant) {
        let mut starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        starts.push_back(now);
        if starts.len() > MAX_REMEMBERED {
            starts.pop_front();
        }
    }

    /// The most of any minute of the last ten.
    fn busiest_minute(&self, now: Instant) -> usize {
        let mut starts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while starts.front().is_some_and(|at| now.saturating_duration_since(*at) > WINDOW) {
            starts.pop_front();
        }
        let in_minute_from = |begin: Instant| {
            starts.iter().filter(|at| **at >= begin && at.saturating_duration_since(begin) < MINUTE).count()
        };
        starts.iter().map(|begin| in_minute_from(*begin)).max().unwrap_or(0)
    }
}

/// Runs until the controller stops.
pub(super) async fn keep(shared: Arc<Shared>) {
    let (min, max) = (shared.settings.instances.warm_min, shared.settings.instances.warm_max);
    if max.max(min) == 0 {
        return;
    }
    let mut said = None;
    loop {
        let want = shared.starts.busiest_minute(Instant::now()).clamp(min, max.max(min));
        let quiet = shared.nothing_starts() && memory::is_roomy(&shared.settings.memory);
        match refill(&shared, want, quiet).await {
            Ok(warmth) => {
                shared.metrics.warm(warmth);
                said = None;
            }
            // Once: it is tried twice a second.
            Err(error) if said.as_ref() != Some(&error) => {
                tracing::warn!(%error, "the warm pool can't be filled; instances start cold");
                said = Some(error);
            }
            Err(_) => {}
        }
        tokio::select! {
            // Both arms only wait.
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn refill(shared: &Shared, want: usize, quiet: bool) -> Result<Warmth, String> {
    let port = match quiet {
        true => Some(shared.free_port().await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?),
        false => None,
    };
    shared.driver.keep_warm(want, port).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_minute_of_the_last_ten_is_learned() {
        let (starts, begin) = (Starts::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(starts.busiest_minute(begin), 0);
        for seconds in [0, 100, 110, 130, 300] {
            starts.note(at(seconds));
        }
        assert_eq!(starts.busiest_minute(at(300)), 3);
        assert_eq!(starts.busiest_minute(at(720)), 1, "the busy minute has left the window");
        assert_eq!(starts.busiest_minute(at(2000)), 0);
    }
}

//! How long to wait after a crash: kubelet's scheme.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// No wait ends later than this from now.
pub(super) const FURTHEST: time::Duration = time::Duration::minutes(6);

/// A process that has served this long has left its crashes behind.
pub(super) const FORGIVEN_AFTER: time::Duration = time::Duration::minutes(10);

/// The wait after the `crashes`-th crash in a row (1 is the first): 1 s doubling to 5 min, times `1 + jitter`
/// (`jitter` within ±0.2), so that a hundred instances that crashed together don't start together.
pub(super) fn delay(crashes: u32, jitter: f64) -> Duration {
    let doublings = crashes.saturating_sub(1).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST).mul_f64(1.0 + jitter.clamp(-0.2, 0.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_from_one_second_to_five_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|n| delay(n, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX, 0.0), LONGEST);
        assert_eq!(delay(1, 0.2), Duration::from_millis(1200));
        assert_eq!(delay(1, -9.0), Duration::from_millis(800));
    }
}

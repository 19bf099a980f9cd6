//! Watches what the whole machine can run out of, and reports it as alerts.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    alerts::{Alerts, Kind},
    settings::AlertSettings,
};

const PAUSE: Duration = Duration::from_secs(15);
/// It is over only once there is a tenth more than the limit: at the limit it would be told again and again.
const SLACK_PERCENT: u64 = 110;
const SUBJECT: &str = "orbitd";

/// Looks until `cancel`.
pub async fn watch(
    alerts: Arc<Alerts>,
    settings: AlertSettings,
    data_dir: PathBuf,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let (mut disk_low, mut memory_low) = (false, false);
    loop {
        if let Ok(space) = rustix::fs::statvfs(&data_dir) {
            let free_mb = space.f_bavail.saturating_mul(space.f_frsize) >> 20;
            disk_low = is_low(free_mb, settings.disk_free_mb, disk_low);
            let text = format!("{free_mb} MiB are free for the data directory, less than alerts.disk_free_mb");
            alerts.report(SUBJECT, Kind::DiskPressure, disk_low.then_some(text.as_str()));
        }
        if let Some(percent) = available(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default()) {
            memory_low = is_low(percent, settings.memory_free_percent, memory_low);
            let text =
                format!("{percent} % of the machine's memory are available, less than alerts.memory_free_percent");
            alerts.report(SUBJECT, Kind::MemoryPressure, memory_low.then_some(text.as_str()));
        }
        tokio::select! {
            // Both arms only wait.
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// A limit of 0 is none.
fn is_low(value: u64, limit: u64, was: bool) -> bool {
    let limit = if was { limit.saturating_mul(SLACK_PERCENT).div_ceil(100) } else { limit };
    value < limit
}

/// Percent of memory that can be had without swapping, from the text of `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        meminfo.lines().find_map(|line| line.strip_prefix(name))?.trim().split(' ').next()?.parse().ok()
    };
    field("MemAvailable:")?.checked_mul(100)?.checked_div(field("MemTotal:")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_at_the_limit_does_not_flap() {
        assert!(is_low(99, 100, false) && is_low(105, 100, true));
        assert!(!is_low(105, 100, false) && !is_low(110, 100, true) && !is_low(0, 0, false));
        assert_eq!(available("MemTotal:  1000 kB\nMemAvailable:    70 kB\n"), Some(7));
        assert_eq!(available(""), None);
    }
}

//! What a measured value means. Pure.

use std::path::Path;

use super::Finding;
use crate::driver::NoSuspension;
use crate::{driver::Measure, settings::ConfineMode};

/// Below it the registry may fail to write.
const MIN_FREE_BYTES: u64 = 256 << 20;
/// Below it a few workspaces will fill it.
const LOW_FREE_BYTES: u64 = 2 << 30;

/// Free bytes for this user on the file system of the data directory.
pub fn free_space(bytes: u64) -> Finding {
    const CHECK: &str = "disk";
    let text = format!("{:.1} GiB free for the data directory", bytes as f64 / f64::from(1 << 30));
    match bytes {
        0..MIN_FREE_BYTES => Finding::fail(CHECK, text, "free some space, or move data_dir"),
        MIN_FREE_BYTES..LOW_FREE_BYTES => {
            Finding::warn(CHECK, text, "a workspace takes tens of MiB and a log of up to 2 × instances.max_log_bytes")
        }
        _ => Finding::ok(CHECK, text),
    }
}

/// How instances would be kept apart by a daemon of this user; nothing at all is a failure, unless it is asked for.
pub fn confinement(measures: &[Measure], mode: ConfineMode) -> Vec<Finding> {
    const NEXT: &str = "run orbitd as root or with a delegated cgroup, on Linux 5.13 or newer";
    let none = measures.iter().all(|measure| !measure.active);
    let one = |measure: &Measure| {
        let text = format!("{}: {}", measure.name, measure.text);
        match (measure.active, mode) {
            (true, _) => Finding::ok("confinement", text),
            (false, ConfineMode::Off) => Finding::warn("confinement", text, "set confine.mode to auto"),
            (false, ConfineMode::Required) => Finding::fail("confinement", text, NEXT),
            (false, ConfineMode::Auto) if none => Finding::fail("confinement", text, NEXT),
            (false, ConfineMode::Auto) => {
                Finding::warn("confinement", format!("{text} (instances run without it)"), NEXT)
            }
        }
    };
    measures.iter().map(one).collect()
}

/// A file that only this user may read. `mode` is none where the file is missing.
pub fn private_file(check: &'static str, path: &Path, mode: Option<u32>) -> Finding {
    let shown = path.display();
    match mode {
        None => Finding::ok(check, format!("{shown} is not there yet; the first start makes it")),
        Some(mode) if mode & 0o077 == 0 => Finding::ok(check, format!("{shown}, mode {:04o}", mode & 0o7777)),
        Some(mode) => Finding::fail(
            check,
            format!("others may read {shown} (mode {:04o})", mode & 0o7777),
            format!("chmod 600 {shown}; consider what it protects as known"),
        ),
    }
}

/// Whether instances can be suspended here: swap for their memory, and the right to put it there. `table` is `/proc/swaps`; the
/// daemon that runs may have other rights than whoever asks.
pub fn swap(table: &str, possible: Result<(), NoSuspension>) -> Finding {
    const CHECK: &str = "swap";
    let kib: u64 = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok()).sum();
    match kib {
        0 => Finding::warn(
            CHECK,
            "there is no swap: idle instances can't be suspended, a tier's [sleep] goes from running to stopped",
            "add zram or a swap file, about 250 MiB per suspended instance; or leave it, if nothing shall be suspended",
        ),
        kib => {
            let size = format!("{:.1} GiB of swap", kib as f64 / f64::from(1 << 20));
            match possible {
                Ok(()) => Finding::ok(CHECK, format!("{size}: idle instances can be suspended")),
                Err(why) => Finding::warn(
                    CHECK,
                    format!("{size}, and yet: {why}"),
                    "without it a tier's [sleep] goes from running to stopped",
                ),
            }
        }
    }
}

/// A listening address: who holds it, and whether our daemon answers.
pub fn port(check: &'static str, setting: &str, port: u16, holder: Option<String>, daemon_up: bool) -> Finding {
    match (holder, daemon_up) {
        (None, false) => Finding::ok(check, format!("port {port} ({setting}) is free")),
        (Some(holder), true) => Finding::ok(check, format!("port {port} ({setting}) is listened on by {holder}")),
        (Some(holder), false) => Finding::fail(
            check,
            format!("port {port} ({setting}) is taken by {holder}"),
            format!("stop what listens there, or set {setting} to a free port"),
        ),
        (None, true) => Finding::warn(
            check,
            format!("the daemon answers, yet nothing listens on port {port} ({setting})"),
            "the daemon runs with other settings than these: pass its --config",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn no_confinement_at_all_is_a_failure() {
        let measure = |active| Measure { name: "landlock", active, text: "so".into() };
        let verdicts = |measures: &[Measure], mode| -> Vec<Verdict> {
            confinement(measures, mode).iter().map(|finding| finding.verdict).collect()
        };
        let some = [measure(true), measure(false)];
        assert_eq!(verdicts(&some, ConfineMode::Auto), [Verdict::Ok, Verdict::Warn]);
        assert_eq!(verdicts(&some, ConfineMode::Required), [Verdict::Ok, Verdict::Fail]);
        assert_eq!(verdicts(&some[1..], ConfineMode::Auto), [Verdict::Fail]);
        assert_eq!(verdicts(&some[1..], ConfineMode::Off), [Verdict::Warn]);
    }

    #[test]
    fn space_is_judged_before_it_is_gone() {
        assert_eq!(free_space(100 << 20).verdict, Verdict::Fail);
        assert_eq!(free_space(1 << 30).verdict, Verdict::Warn);
        assert_eq!(free_space(50 << 30).verdict, Verdict::Ok);
    }

    #[test]
    fn a_secret_that_others_may_read_fails() {
        let path = Path::new("/d/master.key");
        assert_eq!(private_file("master key", path, Some(0o100_600)).verdict, Verdict::Ok);
        assert_eq!(private_file("master key", path, None).verdict, Verdict::Ok);
        let open = private_file("master key", path, Some(0o100_644));
        assert!(open.verdict == Verdict::Fail && open.text.contains("0644"), "{open:?}");
    }

    #[test]
    fn swap_is_added_up() {
        let head = "Filename Type Size Used Priority\n";
        assert_eq!(swap(head, Ok(())).verdict, Verdict::Warn);
        let table = format!("{head}/dev/zram0 partition 1048576 0 100\n/swap file 1048576 5 -2\n");
        let both = swap(&table, Ok(()));
        assert!(both.verdict == Verdict::Ok && both.text.contains("2.0 GiB"), "{both:?}");
        assert_eq!(swap(&table, Err(NoSuspension::NoRight)).verdict, Verdict::Warn);
    }

    #[test]
    fn a_port_may_be_ours_free_or_taken() {
        let holder = || Some("node (pid 7)".to_owned());
        assert_eq!(port("proxy port", "proxy.listen", 7080, None, false).verdict, Verdict::Ok);
        assert_eq!(port("proxy port", "proxy.listen", 7080, holder(), true).verdict, Verdict::Ok);
        assert_eq!(port("proxy port", "proxy.listen", 7080, None, true).verdict, Verdict::Warn);
        let taken = port("proxy port", "proxy.listen", 7080, holder(), false);
        assert!(taken.verdict == Verdict::Fail && taken.text.contains("node (pid 7)"), "{taken:?}");
    }
}

//! Memory of all instances: sends the idlest to sleep where it is short, and keeps the caps.
//!
//! Short means: tasks stall for memory (`/proc/pressure/memory`, where the kernel has it), or little is available, or a cap is
//! reached. One workspace per look, the one that nobody has used for longest, and only one whose tier lets it sleep. Starts past a
//! cap wait; the workspace's condition says for what.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use super::{reconcile::Work, shared::Shared};
use crate::{
    ids::{TierName, WorkspaceId},
    settings::MemorySettings,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(2);
/// How old the knowledge may be by which a start is let through: a cap that is looked at every two seconds is none.
const FRESH: Duration = Duration::from_millis(200);
/// Somebody who was there a moment ago is not sent to sleep for somebody else.
const MIN_IDLE: Duration = Duration::from_secs(5);

/// What the last look saw.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Resident memory of all instances, bytes.
    total: u64,
    /// The same by tier.
    tiers: HashMap<TierName, u64>,
    awake: HashMap<WorkspaceId, Awake>,
    looked: Option<Instant>,
}

/// An awake workspace, as the guard sees it.
#[derive(Debug, Clone)]
pub(super) struct Awake {
    pub id: WorkspaceId,
    pub tier: TierName,
    /// Zero while someone is on it.
    pub idle_for: Duration,
    pub resident: u64,
    /// Its instance has not come up: it will take more.
    pub starting: bool,
    /// Its tier lets it sleep.
    pub may_sleep: bool,
    /// It is suspended already: it counts, and gives nothing.
    pub suspended: bool,
}

/// Why somebody must go to sleep.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Short {
    Machine,
    Host,
    Tier(TierName),
}

/// Runs until the controller stops.
pub(super) async fn guard(shared: Arc<Shared>) {
    loop {
        let found = {
            let usage = shared.measured(Duration::ZERO);
            short(&shared, &usage).and_then(|short| Some((idlest(usage.awake.values(), &short)?, short)))
        };
        if let Some((idlest, short)) = found {
            tracing::info!(id = %idlest, ?short, "memory is short: the idlest workspace goes to sleep");
            shared.wishes.press(idlest);
            shared.look_at(idlest);
        }
        tokio::select! {
            // Both arms only wait.
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

impl Usage {
    /// One that is starting counts as what it will take: as much as those that serve, on average.
    fn of(awake: HashMap<WorkspaceId, Awake>) -> Self {
        let serving: Vec<u64> =
            awake.values().filter(|one| !one.starting && !one.suspended).map(|one| one.resident).collect();
        let typical = serving.iter().sum::<u64>() / (serving.len() as u64).max(1);
        let mut usage = Self { looked: Some(Instant::now()), ..Self::default() };
        for one in awake.values() {
            let counts = if one.starting { one.resident.max(typical) } else { one.resident };
            usage.total += counts;
            *usage.tiers.entry(one.tier.clone()).or_default() += counts;
        }
        Self { awake, ..usage }
    }
}

fn short(shared: &Shared, usage: &Usage) -> Option<Short> {
    if !is_roomy(&shared.settings.memory) {
        return Some(Short::Machine);
    }
    if over(usage.total, shared.settings.memory.instances_mb) {
        return Some(Short::Host);
    }
    let tier = usage.tiers.iter().find(|(tier, used)| over(**used, shared.tier_cap(tier)));
    tier.map(|(tier, _)| Short::Tier(tier.clone()))
}

fn over(used: u64, cap_mb: Option<u64>) -> bool {
    cap_mb.is_some_and(|cap| used >= cap << 20)
}

fn idlest<'a>(awake: impl Iterator<Item = &'a Awake>, short: &Short) -> Option<WorkspaceId> {
    awake
        .filter(|one| one.may_sleep && !one.suspended && one.idle_for >= MIN_IDLE)
        .filter(|one| match short {
            Short::Tier(tier) => one.tier == *tier,
            Short::Machine | Short::Host => true,
        })
        .max_by_key(|one| one.idle_for)
        .map(|one| one.id)
}

impl Work<'_> {
    /// What a start must wait for: the key of the cap that is reached.
    pub(super) fn memory_cap_reached(&self) -> Option<&'static str> {
        let (shared, tier) = (self.shared, &self.workspace.spec.tier);
        let (of_host, of_tier) = (shared.settings.memory.instances_mb, shared.tier_cap(tier));
        if of_host.is_none() && of_tier.is_none() {
            return None;
        }
        let usage = shared.measured(FRESH);
        if over(usage.total, of_host) {
            return Some("memory.instances_mb");
        }
        let used = usage.tiers.get(tier).copied().unwrap_or(0);
        over(used, of_tier).then_some("sleep.max_awake_mb of its tier")
    }
}

impl Shared {
    /// What the instances have, as of a look no older than `age`.
    fn measured(&self, age: Duration) -> MutexGuard<'_, Usage> {
        let mut usage = self.usage();
        if usage.looked.is_none_or(|at| at.elapsed() >= age) {
            *usage = Usage::of(self.awake(&usage.awake));
        }
        usage
    }

    fn tier_cap(&self, tier: &TierName) -> Option<u64> {
        self.policies.snapshot().tier(tier).and_then(|tier| tier.rules().sleep.max_awake_mb)
    }
}

/// Whether the machine has memory to spare.
pub(super) fn is_roomy(settings: &MemorySettings) -> bool {
    let stalls = fs::read_to_string("/proc/pressure/memory").ok().and_then(|text| stalled_percent(&text));
    let available = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available_mb(&text));
    let stalled = settings.stalled_percent > 0.0 && stalls.is_some_and(|percent| percent >= settings.stalled_percent);
    let scarce = available.is_some_and(|mb| mb < settings.available_mb);
    !stalled && !scarce
}

/// `some avg10=1.23 avg60=…`: percent of the last ten seconds in which some task waited for memory.
fn stalled_percent(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("some avg10=")?.split(' ').next()?.parse().ok())
}

fn available_mb(text: &str) -> Option<u64> {
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok())?;
    Some(kib >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awake(tier: &str, idle: u64, resident_mb: u64) -> Awake {
        Awake {
            id: WorkspaceId::generate(),
            tier: tier.parse().expect("a tier"),
            idle_for: Duration::from_secs(idle),
            resident: resident_mb << 20,
            starting: false,
            may_sleep: true,
            suspended: false,
        }
    }

    #[test]
    fn the_idlest_of_those_concerned_goes_to_sleep() {
        let all = [awake("pro", 100, 300), awake("free", 900, 300), awake("pro", 400, 300)];
        assert_eq!(idlest(all.iter(), &Short::Machine), Some(all[1].id));
        assert_eq!(idlest(all.iter(), &Short::Tier("pro".parse().expect("a tier"))), Some(all[2].id));
        let spared = [Awake { may_sleep: false, ..all[1].clone() }, Awake { suspended: true, ..all[1].clone() }];
        assert_eq!(idlest(spared.iter(), &Short::Host), None, "nobody who may not, and nobody twice");
        assert_eq!(idlest([awake("pro", 2, 300)].iter(), &Short::Machine), None, "somebody was there a moment ago");
        let by_id = |all: &[Awake]| all.iter().map(|one| (one.id, one.clone())).collect::<HashMap<_, _>>();
        let usage = Usage::of(by_id(&all));
        assert_eq!(usage.total, 900 << 20);
        assert!(
            over(usage.tiers[&all[0].tier], Some(600)) && !over(usage.total, None) && !over(usage.total, Some(901))
        );
        let starts = Awake { starting: true, ..awake("pro", 0, 20) };
        let with = Usage::of(by_id(&[&all[..], std::slice::from_ref(&starts)].concat()));
        assert_eq!(with.total, 1200 << 20, "one that starts counts as what the others take");
        assert_eq!(Usage::of(by_id(&[starts])).total, 20 << 20, "nobody knows better");
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let pressure =
            "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(stalled_percent(pressure), Some(12.5));
        assert_eq!(available_mb("MemTotal: 4096 kB\nMemAvailable:    2048 kB\n"), Some(2));
    }
}

//! `orbitd-kill`: the long kill runs. Deaths in rollouts that restart, all ordered pairs of crash points, then SIGKILL at random under mixed operations.
//!
//! `ORBITD_KILL_ROUNDS` (500), `ORBITD_KILL_SEED` (the clock; printed), `ORBITD_KILL_PAIRS` (`all`, a number, or 0).

use std::{
    collections::BTreeSet,
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use orbitd_tests::kill_rig::{self, LANES, random};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::main]
async fn main() -> ExitCode {
    let began = Instant::now();
    let pairs_wrong = restarts().await + pairs().await;
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = number("ORBITD_KILL_SEED", clock);
    let rounds = u32::try_from(number("ORBITD_KILL_ROUNDS", 500)).unwrap_or(u32::MAX);
    println!("random kills: {rounds} rounds, ORBITD_KILL_SEED={seed}");
    let tally = random::run(rounds, seed, |tally| {
        if tally.rounds.is_multiple_of(25) {
            println!("  {} rounds, {} confirmed, {} violations", tally.rounds, tally.confirmed, tally.violations());
        }
    })
    .await;
    println!(
        "random kills: {} rounds, {} operations confirmed, {} cut off: {} lost, {} double, {} orphans",
        tally.rounds,
        tally.confirmed,
        tally.unanswered,
        tally.lost.len(),
        tally.double.len(),
        tally.orphans.len()
    );
    for text in tally.lost.iter().chain(&tally.double).chain(&tally.orphans) {
        println!("  {text}");
    }
    println!("took {} s", began.elapsed().as_secs());
    if pairs_wrong + tally.violations() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Rollouts that restart, with a revision that comes up and one that does not: how many deaths in them went wrong.
async fn restarts() -> usize {
    let walks = kill_rig::RESTART_POINTS.iter().flat_map(|point| [true, false].map(|good| (*point, good)));
    // The last good revision is good already.
    let walks: Vec<_> = walks.filter(|walk| *walk != ("confirm.before", false)).collect();
    let all = walks.len();
    let walked =
        kill_rig::in_lanes(walks, |(point, good)| async move { kill_rig::walk_restart(point, good).await.outcome });
    let wrong: Vec<String> = walked.await.into_iter().filter_map(Result::err).collect();
    println!("rollouts that restart: {} of {all} deaths wrong", wrong.len());
    for text in &wrong {
        println!("  {text}");
    }
    wrong.len()
}

/// How many pairs went wrong.
async fn pairs() -> usize {
    let points = kill_rig::points();
    let mut pairs: Vec<[String; 2]> =
        points.iter().flat_map(|one| points.iter().map(|two| [one.clone(), two.clone()])).collect();
    let wanted = match std::env::var("ORBITD_KILL_PAIRS").as_deref() {
        Ok("all") | Err(_) => pairs.len(),
        Ok(text) => text.parse().unwrap_or(0),
    };
    // An even part of them, where not all are wanted.
    let step = pairs.len().checked_div(wanted).unwrap_or(1).max(1);
    pairs = pairs.into_iter().step_by(step).take(wanted).collect();
    let all = pairs.len();
    println!("crash points: {} pairs of {} points, {LANES} at a time", all, points.len());
    let (mut wrong, mut second) = (Vec::new(), BTreeSet::new());
    for walk in kill_rig::in_lanes(pairs, |pair| async move { kill_rig::walk(&pair).await }).await {
        second.extend(walk.hit.into_iter().nth(1));
        wrong.extend(walk.outcome.err());
    }
    println!(
        "crash points: {} of {all} pairs wrong; died a second time at {} different points",
        wrong.len(),
        second.len()
    );
    for text in &wrong {
        println!("  {text}");
    }
    wrong.len()
}

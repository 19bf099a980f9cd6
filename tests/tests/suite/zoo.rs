//! Rows W-15 to W-17 and W-26 to W-29 of the zoo: a hostile router bound in a running daemon. Each request gets an answer, the tier
//! next door feels nothing, the daemon's memory stays. (The guests by hand are the engine's own tests.)

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use orbitd_tests::{
    Daemon, Setup,
    load::{Ask, Load},
    processes,
    wait::{self, seconds},
};
use tokio::task::JoinSet;

/// Ways to misbehave that a request's path can ask for (`guests/hostile/src`).
const WAYS: [&str; 9] = ["loop", "trap", "memory", "stack", "error", "status", "reason", "plugin", "huge"];
/// A budget is 20 ms of CPU; by the wall clock a call ends after 20 budgets and waits a second for its turn, and a machine that runs
/// other tests is slow. Without an end an answer never came.
const LONGEST: Duration = Duration::from_secs(60);
/// Beside what a daemon's memory does anyway, KiB.
const GROWTH_KIB: u64 = 64 << 10;

async fn start() -> Daemon {
    let mut daemon =
        Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).workspace("evil", "tier = \"free\"\n", &[]).prepare();
    let mut free: toml::Table = daemon.read_policy("free.toml").parse().expect("a tier's TOML");
    free.insert("router".to_owned(), toml::toml! { module = "modules/fixtures/hostile.wasm" }.into());
    daemon.write_policy("free.toml", toml::to_string(&free).expect("written"));
    daemon.start().await;
    for slug in ["acme", "evil"] {
        daemon.admin().running(slug).await;
    }
    daemon
}

fn good_load(daemon: &Daemon) -> Load {
    let ask = Ask {
        address: daemon.proxy,
        host: daemon.host("acme"),
        target: "/api/catalog/entities".to_owned(),
        token: daemon.token(&["acme"]),
    };
    Load::start(
        &ask,
        4,
        Arc::new(|reply| match reply.status.as_u16() {
            200 => Ok("good".to_owned()),
            status => Err(format!("{status} {}", reply.text())),
        }),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_policy_harms_only_its_own_tier() {
    let daemon = start().await;
    let token = daemon.token(&["evil"]);
    // Once each, so that what is made once is made.
    for way in WAYS {
        let reply = daemon.get("evil", &format!("/!{way}/x"), Some(&token)).await;
        assert_eq!(reply.status, 503, "{way}: {}", reply.text());
    }
    let load = good_load(&daemon);
    load.more(100).await;
    let before = processes::resident_kib(daemon.pid());
    let daemon = Arc::new(daemon);
    let mut set = JoinSet::new();
    for way in WAYS {
        for n in 0..8 {
            let (daemon, token) = (daemon.clone(), token.clone());
            set.spawn(async move {
                let began = Instant::now();
                let reply = daemon.get("evil", &format!("/!{way}/{n}"), Some(&token)).await;
                (way, reply.status.as_u16(), began.elapsed())
            });
        }
    }
    let mut slowest = Duration::ZERO;
    while let Some(done) = set.join_next().await {
        let (way, status, took) = done.expect("no panic");
        assert_eq!(status, 503, "{way}");
        slowest = slowest.max(took);
    }
    load.more(100).await;
    let report = load.stop().await;
    let grown = processes::resident_kib(daemon.pid()).saturating_sub(before);
    println!("slowest refusal {slowest:?}, {grown} KiB more; next door: {report:?}");
    assert!(slowest < LONGEST, "an answer took {slowest:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.slowest < LONGEST && grown < GROWTH_KIB, "{report:?}, {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_during_a_call_leaves_nothing_behind() {
    let daemon = start().await;
    let load = good_load(&daemon);
    let request = format!(
        "GET /!loop/x HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        daemon.host("evil"),
        daemon.token(&["evil"])
    );
    for _ in 0..50 {
        use tokio::io::AsyncWriteExt;
        let mut connection = tokio::net::TcpStream::connect(daemon.proxy).await.expect("connected");
        connection.write_all(request.as_bytes()).await.expect("written");
        // Dropped: the client is gone while its decision is made.
    }
    load.more(50).await;
    let report = load.stop().await;
    assert_eq!(report.failed, 0, "{report:?}");
    // A breaker may have opened for the hostile version; it closes by itself once it is quiet.
    let token = daemon.token(&["evil"]);
    wait::until("the hostile router to answer a good question", seconds(60), || async {
        let status = daemon.get("evil", "/api/catalog/entities", Some(&token)).await.status.as_u16();
        if status == 200 { Ok(()) } else { Err(format!("{status}")) }
    })
    .await;
}

/// A policy that was slow runs on threads of its own, of which a tier has sixteen: whoever comes meanwhile waits for a turn and is
/// answered, though none of these decisions was ever made before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_at_a_policy_that_was_slow_waits_and_is_answered_whole() {
    const BURST: usize = 1_000;
    let mut daemon = Setup::echo().workspace("evil", "tier = \"free\"\n", &[]).prepare();
    let mut free: toml::Table = daemon.read_policy("free.toml").parse().expect("a tier's TOML");
    let router = toml::toml! {
        module = "modules/fixtures/hostile.wasm"
        limits = { budget_ms = 5_000, memory_bytes = 67_108_864 }
    };
    free.insert("router".to_owned(), router.into());
    daemon.write_policy("free.toml", toml::to_string(&free).expect("written"));
    daemon.start().await;
    // It listens before the source's first listing is applied.
    daemon.admin().running("evil").await;
    let daemon = Arc::new(daemon);
    // Not a member: the authorizer's 403 shows that the router has decided, and no instance is asked a thousand times.
    let token = daemon.token(&["acme"]);
    for n in 0..2 {
        let reply = daemon.get("evil", &format!("/!memory/{n}"), Some(&token)).await;
        assert_eq!(reply.status, 503, "writing 64 MiB takes long, and ends in a trap: {}", reply.text());
    }
    let mut burst = JoinSet::new();
    for n in 0..BURST {
        let (daemon, token) = (daemon.clone(), token.clone());
        burst.spawn(async move { daemon.get("evil", &format!("/api/catalog/{n}"), Some(&token)).await });
    }
    let replies = burst.join_all().await;
    let failed: Vec<String> = replies
        .iter()
        .filter(|reply| reply.status != 403)
        .map(|reply| format!("{} {}", reply.status, reply.text()))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {BURST} are not answered by the policies, the first by {}",
        failed.len(),
        failed[0]
    );
}

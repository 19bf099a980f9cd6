//! Falling asleep and waking, with the echo stand-in: rows F-40, F-42, F-43, F-45, F-46 and F-47 of the catalogue, and a daemon
//! that dies meanwhile. What must be suspended needs swap: as root the tests add some.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use orbitd_tests::{
    Daemon, Setup, http, processes,
    swap::Swap,
    wait::{self, seconds},
    wire::Wire,
};
use serde_json::Value;
use tokio::task::JoinSet;

/// `stop_after_s` of the tests' tier: long enough to look at, short enough to wait for.
const STOPS: &str = "\n[sleep]\nstop_after_s = 1\n";
const SUSPENDS: &str = "\n[sleep]\nsuspend_after_s = 1\n";
/// Nothing falls asleep by itself; who asks is obeyed.
const ON_REQUEST: &str = "";

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

/// A daemon with these workspaces of tier pro, whose file ends with `sleep`.
async fn daemon(sleep: &str, slugs: &[&str], title: &str) -> Daemon {
    daemon_of(Setup::echo(), sleep, slugs, title).await
}

async fn daemon_of(setup: Setup, sleep: &str, slugs: &[&str], title: &str) -> Daemon {
    let setup = slugs.iter().fold(setup, |setup, slug| setup.workspace(slug, &titled(title), &[]));
    let mut daemon = setup.prepare();
    let tier = daemon.read_policy("pro.toml");
    // What is new need not serve for long before it may sleep.
    daemon.write_policy("pro.toml", tier + "\n[rollout]\nbake_s = 0\n" + sleep);
    daemon.start().await;
    // One that is quick is asleep before we look: what counts is that it came up.
    for slug in slugs {
        event(&daemon, slug, "Ready", 1).await;
    }
    daemon
}

async fn phase(daemon: &Daemon, slug: &str, wanted: &str) -> Value {
    daemon
        .admin()
        .until(slug, &format!("phase {wanted}"), seconds(60), |workspace| workspace["status"]["phase"] == wanted)
        .await
}

/// How often something happened to a workspace.
async fn events(daemon: &Daemon, slug: &str, reason: &str) -> usize {
    let reply = daemon.admin().get(&format!("/v1/workspaces/{slug}/events?limit=500")).await.json();
    let items = reply["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter(|event| event["reason"] == reason).count()
}

async fn event(daemon: &Daemon, slug: &str, reason: &str, times: usize) {
    wait::until(&format!("event {reason} of {slug}"), seconds(90), || async {
        let seen = events(daemon, slug, reason).await;
        if seen >= times { Ok(()) } else { Err(format!("{seen} times")) }
    })
    .await;
}

async fn ask(daemon: &Daemon, slug: &str, action: &str) {
    daemon.admin().call("POST", &format!("/v1/workspaces/{slug}/{action}"), None).await.expect(202);
}

async fn boot(daemon: &Daemon, slug: &str) -> String {
    let reply = daemon.get(slug, "/who", Some(&daemon.token(&[slug]))).await.expect(200).json();
    reply["boot_id"].as_str().expect("a boot id").to_owned()
}

/// Sends so many requests at the same moment, each on a connection of its own; boot ids of the answers, all of them 200.
async fn herd(daemon: &Daemon, slug: &str, count: usize) -> BTreeSet<String> {
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(count));
    let (address, host, token) = (daemon.proxy, daemon.host(slug), daemon.token(&[slug]));
    let mut all = JoinSet::new();
    for _ in 0..count {
        let (barrier, host, token) = (barrier.clone(), host.clone(), token.clone());
        all.spawn(async move {
            let mut connection = http::Connection::open(address).await.expect("connected");
            connection.ready().await.expect("open");
            barrier.wait().await;
            connection.send(http::request("GET", &host, "/herd", Some(&token), &[], "")).await
        });
    }
    let mut boots = BTreeSet::new();
    while let Some(reply) = all.join_next().await {
        let reply = reply.expect("joined").expect("an answer").expect(200).json();
        boots.insert(reply["boot_id"].as_str().expect("a boot id").to_owned());
    }
    boots
}

#[tokio::test]
async fn one_wake_serves_a_thousand_that_come_at_once() {
    let daemon = daemon(STOPS, &["acme"], "one").await;
    phase(&daemon, "acme", "asleep").await;
    assert_eq!(daemon.instances(), [], "nothing runs");
    let (starts, boots) = starts_for(&daemon, 1000).await;
    assert_eq!(boots.len(), 1, "one instance answered all: {boots:?}");
    assert_eq!(starts, 1, "one start");
    assert_eq!(events(&daemon, "acme", "Waking").await, 1, "one wake");
    // The counters do see a second wake, and the boot ids a second instance.
    phase(&daemon, "acme", "asleep").await;
    let (starts, again) = starts_for(&daemon, 10).await;
    assert!(again.is_disjoint(&boots));
    assert_eq!(starts, 1);
}

/// How many starts it takes when so many come at once, and the boot ids of those that answered.
async fn starts_for(daemon: &Daemon, count: usize) -> (usize, BTreeSet<String>) {
    let before = events(daemon, "acme", "Starting").await;
    let boots = herd(daemon, "acme", count).await;
    (events(daemon, "acme", "Starting").await - before, boots)
}

/// F-40's negative control: without single-flight the same count does not come to one.
#[tokio::test]
async fn the_herd_check_sees_a_sleeper_that_is_started_twice() {
    let setup = Setup::echo().toml("max_starting = 4\n").env("ORBITD_FAULT", "start-twice");
    let daemon = daemon_of(setup, ON_REQUEST, &["acme"], "one").await;
    ask(&daemon, "acme", "sleep").await;
    phase(&daemon, "acme", "asleep").await;
    let (starts, _) = starts_for(&daemon, 50).await;
    assert_eq!(starts, 2, "both are counted");
}

#[tokio::test]
async fn a_wake_goes_on_when_its_waker_hangs_up() {
    let daemon = daemon(ON_REQUEST, &["acme"], "echo:slow-start").await;
    ask(&daemon, "acme", "sleep").await;
    phase(&daemon, "acme", "asleep").await;
    let wakes = events(&daemon, "acme", "Waking").await;
    let token = daemon.token(&["acme"]);
    let (address, host) = (daemon.proxy, daemon.host("acme"));
    let leader = tokio::spawn({
        let (host, token) = (host.clone(), token.clone());
        async move { http::send(address, http::request("GET", &host, "/leader", Some(&token), &[], "")).await }
    });
    event(&daemon, "acme", "Waking", wakes + 1).await;
    let follower = tokio::spawn(async move {
        http::send(address, http::request("GET", &host, "/follower", Some(&token), &[], "")).await
    });
    leader.abort();
    let reply = follower.await.expect("joined").expect("an answer").expect(200).json();
    assert_eq!(reply["url"], "/follower");
    assert_eq!(events(&daemon, "acme", "Waking").await, wakes + 1, "the follower needed no wake of its own");
    // And with nobody left at all.
    ask(&daemon, "acme", "sleep").await;
    phase(&daemon, "acme", "asleep").await;
    let (host, token) = (daemon.host("acme"), daemon.token(&["acme"]));
    let only =
        tokio::spawn(
            async move { http::send(address, http::request("GET", &host, "/only", Some(&token), &[], "")).await },
        );
    event(&daemon, "acme", "Waking", wakes + 2).await;
    only.abort();
    phase(&daemon, "acme", "running").await;
}

#[tokio::test]
async fn a_request_at_any_instant_of_falling_asleep_is_answered() {
    let swap = Swap::of(1024);
    let daemon = daemon(ON_REQUEST, &["acme"], "one").await;
    let token = daemon.token(&["acme"]);
    let actions: &[&str] = if swap.is_ok() { &["sleep", "suspend"] } else { &["sleep"] };
    for (round, action) in (0..16).flat_map(|round| actions.iter().map(move |action| (round, *action))) {
        phase(&daemon, "acme", "running").await;
        let asks = ask(&daemon, "acme", action);
        // From before the call to after the process is gone (a graceful end of the stand-in takes some 10 ms).
        let requests = async {
            tokio::time::sleep(Duration::from_millis(4 * round)).await;
            for n in 0..4 {
                daemon.get("acme", &format!("/{action}/{round}/{n}"), Some(&token)).await.expect(200);
            }
        };
        tokio::join!(asks, requests);
        daemon.get("acme", "/after", Some(&token)).await.expect(200);
    }
    assert!(events(&daemon, "acme", "Waking").await > 3, "some did meet it asleep");
    assert_eq!(events(&daemon, "acme", "Crashed").await, 0);
}

#[tokio::test]
async fn many_sleepers_wake_at_once_and_those_awake_do_not_notice() {
    let sleepers: Vec<String> = (0..10).map(|n| format!("sleeper-{n}")).collect();
    let mut slugs: Vec<&str> = sleepers.iter().map(String::as_str).collect();
    slugs.push("awake");
    let daemon = daemon(ON_REQUEST, &slugs, "one").await;
    for slug in &sleepers {
        ask(&daemon, slug, "sleep").await;
    }
    for slug in &sleepers {
        phase(&daemon, slug, "asleep").await;
    }
    let wakes = async {
        let began = Instant::now();
        let woken = sleepers.iter().map(|slug| async {
            daemon.get(slug, "/", Some(&daemon.token(&[slug]))).await.expect(200);
            began.elapsed()
        });
        let mut took: Vec<_> = futures_util::future::join_all(woken).await;
        took.sort();
        took
    };
    let token = daemon.token(&["awake"]);
    let others = async {
        let mut slowest = Duration::ZERO;
        for n in 0..100 {
            let began = Instant::now();
            daemon.get("awake", &format!("/{n}"), Some(&token)).await.expect(200);
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (took, slowest) = tokio::join!(wakes, others);
    println!("10 wakes, two at a time: {took:?}; slowest request of the one awake: {slowest:?}");
    assert!(took[9] < seconds(60), "nobody starves");
    assert!(slowest < seconds(5), "{slowest:?}");
}

#[tokio::test]
async fn only_those_who_may_keep_awake_and_wake() {
    let daemon = daemon(STOPS, &["acme"], "one").await;
    let stranger = daemon.token(&["globex"]);
    // Bots knock all the time, from before it falls asleep.
    let knocks = async |daemon: &Daemon| {
        for target in ["/", "/.backstage/health/v1/readiness", "/wp-login.php"] {
            assert_eq!(daemon.get("acme", target, None).await.status, 401);
            let refused = daemon.get("acme", target, Some(&stranger)).await.status.as_u16();
            assert!((400..500).contains(&refused), "{refused}");
        }
    };
    let deadline = Instant::now() + seconds(30);
    loop {
        knocks(&daemon).await;
        if daemon.admin().workspace("acme").await["status"]["phase"] == "asleep" {
            break;
        }
        assert!(Instant::now() < deadline, "strangers keep it awake");
    }
    let wakes = events(&daemon, "acme", "Waking").await;
    for _ in 0..20 {
        knocks(&daemon).await;
    }
    assert_eq!(events(&daemon, "acme", "Waking").await, wakes);
    assert_eq!(daemon.instances(), []);
    daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200);
    assert_eq!(events(&daemon, "acme", "Waking").await, wakes + 1);
}

/// An open connection on which `target` was asked for and answered with this status.
async fn open(daemon: &Daemon, slug: &str, target: &str, more: &str, status: u16) -> Wire {
    let mut wire = Wire::open(daemon.proxy).await.expect("connected");
    let (host, token) = (daemon.host(slug), daemon.token(&[slug]));
    wire.say(
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{more}\r\n").as_bytes(),
    )
    .await;
    let heard = wire.hear_until(seconds(30), |bytes| bytes.windows(4).any(|four| four == b"\r\n\r\n")).await;
    assert_eq!(heard.statuses(), [status], "{:?}", String::from_utf8_lossy(&heard.bytes));
    wire
}

#[tokio::test]
async fn websockets_and_event_streams_keep_awake_as_long_as_they_are_open() {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\n";
    let daemon = daemon(STOPS, &["acme", "globex", "initech"], "one").await;
    // On the first nothing moves at all, on the second now and then something does.
    let socket = open(&daemon, "acme", "/ws", upgrade, 101).await;
    let stream = open(&daemon, "globex", "/events?mode=events&n=100000&ms=400", "", 200).await;
    let asleep = |slug: &'static str| events(&daemon, slug, "Asleep");
    let before = [asleep("acme").await, asleep("globex").await];
    // Another one of the same tier falls asleep three times meanwhile.
    for _ in 0..3 {
        boot(&daemon, "initech").await;
        phase(&daemon, "initech", "asleep").await;
    }
    assert_eq!([asleep("acme").await, asleep("globex").await], before, "somebody is there");
    for slug in ["acme", "globex"] {
        assert_eq!(daemon.admin().workspace(slug).await["status"]["phase"], "running", "{slug}");
    }
    drop((socket, stream));
    phase(&daemon, "acme", "asleep").await;
    phase(&daemon, "globex", "asleep").await;
}

#[tokio::test]
async fn a_large_body_wakes_a_sleeper_and_waits_with_its_sender() {
    const SIZE: usize = 192 << 20;
    let daemon = daemon(ON_REQUEST, &["acme"], "echo:slow-start").await;
    ask(&daemon, "acme", "sleep").await;
    phase(&daemon, "acme", "asleep").await;
    let body = bytes::Bytes::from(vec![b'x'; SIZE]);
    let before = processes::resident_kib(daemon.pid());
    let token = daemon.token(&["acme"]);
    let highest = async {
        let mut highest = before;
        // While it is held and while it is sent.
        for _ in 0..40 {
            highest = highest.max(processes::resident_kib(daemon.pid()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        highest
    };
    let (reply, highest) = tokio::join!(daemon.send("POST", "acme", "/upload", Some(&token), &[], body), highest);
    let account = reply.expect(200).json();
    assert_eq!(account["body_bytes"], SIZE as u64);
    let grown = highest.saturating_sub(before) >> 10;
    assert!(grown < 32, "the daemon grew by {grown} MiB while {} MiB waited", SIZE >> 20);
    let starts = events(&daemon, "acme", "Waking").await;
    assert_eq!(starts, 1);
}

#[tokio::test]
async fn a_browser_gets_a_page_that_follows_the_wake() {
    let daemon = daemon(ON_REQUEST, &["acme"], "echo:slow-start").await;
    ask(&daemon, "acme", "sleep").await;
    phase(&daemon, "acme", "asleep").await;
    let token = daemon.token(&["acme"]);
    let html = [("accept", "text/html,*/*;q=0.8")];
    let page = daemon.send("GET", "acme", "/catalog", Some(&token), &html, "").await.expect(503);
    assert!(page.text().contains("on its way") && page.text().contains("<script>"), "{}", page.text());
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'sha256-") && policy.contains("connect-src 'self'"), "{policy}");
    let poll = [("x-orbit-progress", "1"), ("accept", "application/json")];
    wait::until("the page's own question to be answered with yes", seconds(30), || async {
        let reply = daemon.send("GET", "acme", "/catalog", Some(&token), &poll, "").await;
        if reply.status == 204 { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    assert_eq!(daemon.send("GET", "acme", "/catalog", None, &poll, "").await.status, 401, "not for everybody");
    daemon.send("GET", "acme", "/catalog", Some(&token), &html, "").await.expect(200);
}

#[tokio::test]
async fn a_suspended_instance_comes_back_as_it_was_whatever_happens_to_the_daemon() {
    let Ok(_swap) = Swap::of(1024) else {
        println!("not tested: no swap");
        return;
    };
    let mut daemon = daemon(SUSPENDS, &["acme"], "one").await;
    phase(&daemon, "acme", "suspended").await;
    let first = daemon.instances();
    let pid = first[0].pid;
    assert!(is_stopped(pid), "stopped where it is");
    let resident = processes::resident_kib(pid) >> 10;
    println!("the stand-in, suspended: {resident} MiB resident");
    let began = Instant::now();
    let boot_id = boot(&daemon, "acme").await;
    println!("first answer after {:?}", began.elapsed());
    assert_eq!(daemon.instances(), first, "the same process");

    phase(&daemon, "acme", "suspended").await;
    daemon.kill();
    assert!(is_stopped(pid), "nobody woke it");
    daemon.start().await;
    phase(&daemon, "acme", "suspended").await;
    assert!(is_stopped(pid));
    assert_eq!(boot(&daemon, "acme").await, boot_id, "the new daemon woke the old instance");
    assert_eq!(daemon.instances(), first);

    // A stop ends a suspended one in good order, and at once.
    phase(&daemon, "acme", "suspended").await;
    daemon.write_workspace("acme", "tier = \"pro\"\ndesired = \"stopped\"\n", &[]);
    phase(&daemon, "acme", "stopped").await;
    assert_eq!(daemon.instances(), []);
}

#[tokio::test]
async fn who_asks_is_obeyed_and_told_why_not() {
    let mut daemon = daemon(ON_REQUEST, &["acme"], "one").await;
    let run = |daemon: &Daemon, verb: &str| daemon.run(&["workspace", verb, "acme"]);
    let slept = run(&daemon, "sleep");
    assert!(slept.status.success(), "{slept:?}");
    assert!(String::from_utf8_lossy(&slept.stdout).contains("acme is asleep"), "{slept:?}");
    assert_eq!(daemon.instances(), []);
    // It sleeps on over a restart of the daemon: nobody asked for it.
    daemon.terminate();
    daemon.start().await;
    phase(&daemon, "acme", "asleep").await;
    assert_eq!(daemon.instances(), []);
    let woken = run(&daemon, "wake");
    assert!(woken.status.success() && String::from_utf8_lossy(&woken.stdout).contains("running"), "{woken:?}");
    daemon.write_workspace("acme", "tier = \"pro\"\ndesired = \"stopped\"\n", &[]);
    phase(&daemon, "acme", "stopped").await;
    let refused = run(&daemon, "wake");
    assert!(!refused.status.success(), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("desired=running"), "{refused:?}");
}

#[tokio::test]
async fn a_warm_process_becomes_the_next_instance_and_nobodys_twice() {
    let setup = Setup::echo().toml("warm_min = 1\nwarm_max = 1\n");
    let mut daemon = daemon_of(setup, ON_REQUEST, &["acme"], "one").await;
    let warm = |daemon: &Daemon| -> Vec<u32> {
        daemon
            .instances()
            .iter()
            .filter(|found| found.cwd.starts_with(daemon.dir.join("data/pool")))
            .map(|found| found.pid)
            .collect()
    };
    let waiting = |daemon: &Daemon, not: &[u32]| {
        wait::until_blocking(seconds(20), || warm(daemon).first().copied().filter(|pid| !not.contains(pid)))
            .expect("a warm process")
    };
    let first = waiting(&daemon, &[]);
    ask(&daemon, "acme", "sleep").await;
    phase(&daemon, "acme", "asleep").await;
    let reply = daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await.expect(200).json();
    assert_eq!(reply["pid"], first, "the one that waited");
    let found = daemon.instances().into_iter().find(|found| found.pid == first).expect("it lives");
    assert!(found.cwd.starts_with(daemon.dir.join("data/workspaces")), "it moved in: {}", found.cwd.display());
    let second = waiting(&daemon, &[first]);
    let boot_id = boot(&daemon, "acme").await;
    // The daemon dies: what waited ends by itself, what serves is adopted.
    daemon.kill();
    let gone = wait::until_blocking(seconds(10), || (!processes::lives(second)).then_some(()));
    assert!(gone.is_some(), "its pipe is closed");
    daemon.start().await;
    phase(&daemon, "acme", "running").await;
    assert_eq!(boot(&daemon, "acme").await, boot_id);
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

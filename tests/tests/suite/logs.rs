//! Following a workspace's log, by the command and by the API's stream: over rotations, rollouts and restarts of the daemon, each
//! line once; and a client that reads slowly costs nobody anything.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use orbitd_tests::{
    Daemon, Setup, processes,
    wait::{self, seconds},
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::fixtures::boot_id;

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

/// Has the instance write these lines to its log: `said <number> <padding>`.
async fn say(daemon: &Daemon, numbers: std::ops::Range<usize>, padding: usize) {
    let target = format!("/x?mode=say&text=said&from={}&to={}&pad={padding}", numbers.start, numbers.end);
    daemon.get("acme", &target, Some(&daemon.token(&["acme"]))).await.expect(200);
}

/// The numbers that were said, in the order in which they are read.
fn numbers<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<usize> {
    lines.filter_map(|line| line.strip_prefix("said ")?.split(' ').next()?.parse().ok()).collect()
}

/// `orbitd workspace logs acme -f …`, its outputs in files.
struct Follower {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Follower {
    fn start(daemon: &Daemon, name: &str, args: &[&str]) -> Self {
        let (out, err) = (daemon.dir.join(format!("{name}.out")), daemon.dir.join(format!("{name}.err")));
        let mut command = daemon.command(&["workspace", "logs", "acme", "-f", "-n", "5000"]);
        command.args(args).stdin(Stdio::null());
        command.stdout(File::create(&out).expect("made")).stderr(File::create(&err).expect("made"));
        Self { child: command.spawn().expect("orbitd runs"), out, err }
    }
    fn text(&self) -> String {
        fs::read_to_string(&self.out).expect("readable")
    }
    /// Lines as they came; of `--json` what is in them.
    fn lines(&self) -> Vec<String> {
        let unwrapped = |line: &str| match serde_json::from_str::<Value>(line) {
            Ok(value) if value["line"].is_string() => value["line"].as_str().unwrap_or_default().to_owned(),
            _ => line.to_owned(),
        };
        self.text().lines().map(unwrapped).collect()
    }
    async fn has(&self, last: usize) {
        wait::until(&format!("line {last} in {}", self.out.display()), seconds(60), || async {
            let seen = numbers(self.lines().iter().map(String::as_str));
            if seen.last() == Some(&last) { Ok(()) } else { Err(format!("{seen:?}\n{}", self.complaints())) }
        })
        .await;
    }
    fn complaints(&self) -> String {
        fs::read_to_string(&self.err).expect("readable")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_log_is_followed_over_rotations_rollouts_and_restarts_each_line_once() {
    const LIMIT: usize = 20_000;
    const BATCH: usize = 60;
    let setup = Setup::stateless().toml(&format!("max_log_bytes = {LIMIT}\n")).rollout("bake_s = 0");
    let mut daemon = setup.workspace("acme", &titled("one"), &[]).start().await;
    let log = || {
        let homes = fs::read_dir(daemon.dir.join("data/workspaces")).expect("there").flatten();
        homes.map(|home| home.path().join("logs/instance.log")).find(|path| path.exists()).expect("a log")
    };
    let log = log();
    let mut plain = Follower::start(&daemon, "plain", &[]);
    let json = Follower::start(&daemon, "json", &["--json"]);
    let mut said = 0;
    // Some 6 KB at a time: the log is rotated twice at least, and never faster than it is followed.
    for _ in 0..9 {
        say(&daemon, said..said + BATCH, 90).await;
        said += BATCH;
        for follower in [&plain, &json] {
            follower.has(said - 1).await;
        }
    }
    assert!(fs::metadata(&log).expect("there").len() < 2 * LIMIT as u64, "it was rotated");
    assert!(log.with_extension("log.1").exists());

    // A new instance beside the old one, then a new daemon.
    let before = boot_id(&daemon, "acme").await;
    daemon.write_workspace("acme", &titled("two"), &[]);
    let after = wait::until("the next instance", seconds(60), || async {
        let now = boot_id(&daemon, "acme").await;
        if now != before { Ok(now) } else { Err(now) }
    })
    .await;
    say(&daemon, said..said + BATCH, 0).await;
    said += BATCH;
    json.has(said - 1).await;
    assert!(daemon.terminate().success());
    daemon.start().await;
    daemon.admin().running("acme").await;
    say(&daemon, said..said + BATCH, 0).await;
    said += BATCH;
    for follower in [&plain, &json] {
        follower.has(said - 1).await;
        let lines = follower.lines();
        let seen = numbers(lines.iter().map(String::as_str));
        assert!(seen.iter().copied().eq(0..said), "each once, in order: {seen:?}");
        assert!(lines.iter().any(|line| line.contains(&format!("instance {after} starts"))), "whose lines follow");
        assert!(!follower.complaints().contains("gone"), "{}", follower.complaints());
    }
    assert!(json.text().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", json.text());

    processes::signal(plain.child.id(), Signal::INT);
    let ended = wait::until_blocking(seconds(30), || plain.child.try_wait().expect("waited for"));
    assert!(ended.is_some_and(|status| status.success()), "Ctrl-C is an end like any other: {ended:?}");
    assert!(plain.text().ends_with('\n'), "whole lines");
}

/// The API's stream, read as slowly as the test wants.
struct Stream {
    tcp: TcpStream,
    text: String,
}

impl Stream {
    async fn open(daemon: &Daemon, query: &str, headers: &str) -> Self {
        let mut tcp = TcpStream::connect(daemon.admin_address).await.expect("connected");
        let bearer = daemon.admin().bearer().to_owned();
        let request = format!(
            "GET /v1/workspaces/acme/logs{query} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {bearer}\r\n\
             accept: text/event-stream\r\n{headers}\r\n",
            daemon.admin_address
        );
        tcp.write_all(request.as_bytes()).await.expect("sent");
        Self { tcp, text: String::new() }
    }
    /// Reads until this is in it.
    async fn until(&mut self, wanted: &str) {
        let mut buffer = vec![0; 64 << 10];
        while !self.text.contains(wanted) {
            let read = timeout(seconds(60), self.tcp.read(&mut buffer)).await;
            let read = read.unwrap_or_else(|_| panic!("no {wanted} in {} bytes", self.text.len())).expect("read");
            assert!(read > 0, "it ended without {wanted}: …{}", &self.text[self.text.len().saturating_sub(300)..]);
            self.text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }
    fn numbers(&self) -> Vec<usize> {
        numbers(self.text.lines().filter_map(|line| line.strip_prefix("data: ")))
    }
    fn last_id(&self) -> &str {
        self.text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().expect("an id")
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_told_what_it_missed_and_costs_no_memory() {
    const LIMIT_MIB: usize = 1;
    let setup = Setup::echo().toml(&format!("max_log_bytes = {}\n", LIMIT_MIB << 20));
    let daemon = setup.workspace("acme", &titled("one"), &[]).start().await;
    let mut slow = Stream::open(&daemon, "?lines=5000", "").await;
    say(&daemon, 0..1, 0).await;
    slow.until("said 0 ").await;
    let before = processes::resident_kib(daemon.pid());
    // 64 MiB past a client that does not read: what the kernel and one page hold, and then the stream waits.
    let mut highest = before;
    for batch in 0..16 {
        say(&daemon, 1 + batch * 1024..1 + (batch + 1) * 1024, 4080).await;
        highest = highest.max(processes::resident_kib(daemon.pid()));
    }
    let last = 16 * 1024;
    let grown = highest.saturating_sub(before) >> 10;
    assert!(grown < 32, "the daemon grew by {grown} MiB");
    say(&daemon, last + 1..last + 2, 0).await;
    slow.until(&format!("said {} ", last + 1)).await;
    assert!(slow.text.contains("event: rotated"), "it is told that lines are missing");
    let seen = slow.numbers();
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice");
    println!(
        "64 MiB past a client that does not read: it saw {} of {last} lines; the daemon grew by {grown} MiB",
        seen.len()
    );

    // It connects again, as a browser does, and goes on where it was.
    let id = slow.last_id().to_owned();
    let mut again = Stream::open(&daemon, "", &format!("last-event-id: {id}\r\n")).await;
    say(&daemon, last + 2..last + 4, 0).await;
    again.until(&format!("said {} ", last + 3)).await;
    assert_eq!(again.numbers(), [last + 2, last + 3]);
}

#[tokio::test]
async fn followers_are_counted_and_their_places_come_back() {
    let daemon = Setup::echo().workspace("acme", &titled("one"), &[]).start().await;
    let mut all = Vec::new();
    for _ in 0..64 {
        let mut stream = Stream::open(&daemon, "", "").await;
        stream.until("200 OK").await;
        all.push(stream);
    }
    let mut refused = Stream::open(&daemon, "", "").await;
    refused.until("ask without the stream").await;
    assert!(refused.text.starts_with("HTTP/1.1 503"), "{}", refused.text);
    drop(all);
    wait::until("a place", seconds(30), || async {
        let mut stream = Stream::open(&daemon, "", "").await;
        stream.until("HTTP/1.1 ").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if stream.text.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(stream.text) }
    })
    .await;
}

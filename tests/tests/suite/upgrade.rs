//! The daemon is replaced while users come in (catalogue R-09): no connection is refused or cut, requests under way finish, and
//! what can't take over changes nothing.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use orbitd_tests::{
    Daemon, Setup, http, paths,
    processes::{self, lives},
    wait::{self, seconds},
};
use rustix::process::Signal;
use serde_json::Value;

use crate::fixtures::boot_id;

/// Opens a socket, keeps it, and starts its program again whenever that ends: a supervisor with socket activation.
const SUPERVISOR: &str = r#"
use Socket; $^F = 9;
my ($port, @program) = @ARGV;
socket(my $door, PF_INET, SOCK_STREAM, 0) or die; setsockopt($door, SOL_SOCKET, SO_REUSEADDR, 1);
bind($door, sockaddr_in($port, INADDR_LOOPBACK)) or die "bind: $!"; listen($door, 1024) or die;
fileno($door) == 3 or die "descriptor " . fileno($door);
while (1) { my $pid = fork(); if (!$pid) { $ENV{LISTEN_FDS} = 1; $ENV{LISTEN_PID} = $$; exec @program } waitpid($pid, 0) }
"#;

/// Requests, each on a connection of its own, until it is dropped.
struct Comers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
    served: Arc<AtomicU64>,
}

impl Comers {
    fn start(daemon: &Daemon, slug: &str, workers: usize) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (address, host, token) = (daemon.proxy, daemon.host(slug), daemon.token(&[slug]));
        let worker = || {
            let (stop, served, host, token) = (stop.clone(), served.clone(), host.clone(), token.clone());
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let request = http::request("GET", &host, "/who", Some(&token), &[], "");
                    match http::send(address, request).await {
                        Ok(reply) if reply.status == 200 => _ = served.fetch_add(1, Ordering::Relaxed),
                        Ok(reply) => failures.push(format!("{} {}", reply.status, reply.text())),
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                }
                failures
            })
        };
        Self { tasks: (0..workers).map(|_| worker()).collect(), stop, served }
    }

    /// How many were served, and what went wrong.
    async fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for task in self.tasks {
            failures.extend(task.await.expect("no panic"));
        }
        (self.served.load(Ordering::Relaxed), failures)
    }
}

/// A daemon that runs from a file of its own, which a test can replace.
async fn installed() -> Daemon {
    let mut daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).prepare();
    daemon.program = daemon.dir.join("orbitd");
    install(&daemon, &paths::orbitd());
    daemon.start().await;
    daemon.admin().running("acme").await;
    daemon
}

/// As a package does it: a new file under the old name.
fn install(daemon: &Daemon, from: &Path) {
    let partial = daemon.dir.join("orbitd.new");
    if fs::hard_link(from, &partial).is_err() {
        fs::copy(from, &partial).expect("copied");
    }
    // Over another name of the same file a rename does nothing.
    let _ = fs::remove_file(&daemon.program);
    fs::rename(&partial, &daemon.program).expect("installed");
}

fn install_script(daemon: &Daemon, text: &str) {
    let partial = daemon.dir.join("orbitd.new");
    fs::write(&partial, text).expect("written");
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).expect("set");
    fs::rename(&partial, &daemon.program).expect("installed");
}

/// `orbitd upgrade`, by the program that is known to be good.
fn upgrade(daemon: &Daemon) -> (bool, String) {
    let mut command = daemon.command(&["upgrade", "--json"]);
    let mut good = Command::new(paths::orbitd());
    good.args(command.get_args()).current_dir(&daemon.dir);
    command = good;
    let output = orbitd_tests::daemon::run_limited(command);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_refuses_no_connection_and_finishes_what_is_under_way() {
    let daemon = installed().await;
    let (boot, first) = (boot_id(&daemon, "acme").await, daemon.holder());
    let comers = Comers::start(&daemon, "acme", 4);
    for _ in 0..3 {
        let before = daemon.holder();
        install(&daemon, &paths::orbitd());
        let token = daemon.token(&["acme"]);
        let slow = http::request("GET", &daemon.host("acme"), "/x?mode=slow&ms=2500", Some(&token), &[], "");
        let under_way = tokio::spawn(http::send(daemon.proxy, slow));
        let (good, said) = tokio::task::block_in_place(|| upgrade(&daemon));
        assert!(good, "{said}\n{}", daemon.log_tail(40));
        assert_ne!(daemon.holder(), before);
        let reply = under_way.await.expect("no panic").expect("it was under way and finishes");
        assert_eq!(reply.status, 200);
        wait::until("the old daemon's end", seconds(20), || async {
            if lives(before) { Err("it lives".to_owned()) } else { Ok(()) }
        })
        .await;
    }
    let (served, failures) = comers.end().await;
    assert!(served > 50, "{served}");
    assert_eq!(failures, Vec::<String>::new(), "of {served}");
    assert_ne!(daemon.holder(), first);
    assert_eq!(boot_id(&daemon, "acme").await, boot, "the instance lived through it");
    assert_eq!(daemon.instances().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_take_over_leaves_the_old_daemon_serving() {
    let daemon = installed().await;
    let (boot, before) = (boot_id(&daemon, "acme").await, daemon.holder());
    let comers = Comers::start(&daemon, "acme", 2);
    install_script(&daemon, "#!/bin/sh\nexit 3\n");
    let (good, said) = tokio::task::block_in_place(|| upgrade(&daemon));
    assert!(!good && said.contains("exit status: 3") && said.contains("serves on"), "{said}");
    assert_eq!(daemon.holder(), before, "the same daemon");

    // One that gets ready and then can't: the port that it is told to open is taken.
    let taken = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    let address = taken.local_addr().expect("an address");
    let real = paths::orbitd();
    let script = format!("#!/bin/sh\nORBITD__ADMIN__LISTEN={address} exec {} \"$@\"\n", real.display());
    install_script(&daemon, &script);
    let (good, said) = tokio::task::block_in_place(|| upgrade(&daemon));
    assert!(!good && said.contains("the old one serves again"), "{said}\n{}", daemon.log_tail(40));
    let (served, failures) = comers.end().await;
    assert_eq!(failures, Vec::<String>::new(), "of {served}");
    assert_eq!(boot_id(&daemon, "acme").await, boot);
    let about: Value = daemon.admin().get("/v1/daemon").await.expect(200).json();
    assert_eq!(about["pid"], daemon.holder());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisors_socket_holds_users_while_the_daemon_is_dead() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).prepare();
    let serve = daemon.command(&["serve"]);
    let log = || fs::OpenOptions::new().create(true).append(true).open(daemon.dir.join("serve.log")).expect("opened");
    let mut supervisor = Command::new("perl");
    supervisor
        .args(["-e", SUPERVISOR, &daemon.proxy.port().to_string()])
        .arg(serve.get_program())
        .args(serve.get_args());
    supervisor.current_dir(&daemon.dir).stdin(Stdio::null()).stdout(log()).stderr(log());
    // It stands in the daemon's directory: the janitor ends it.
    let mut supervisor = supervisor.spawn().expect("perl runs");
    wait::until("the daemon", seconds(60), || async {
        let answer = http::send(daemon.admin_address, http::request("GET", "admin", "/readyz", None, &[], "")).await;
        answer.map_err(|error| format!("{error:#}"))
    })
    .await;
    daemon.admin().running("acme").await;
    let boot = boot_id(&daemon, "acme").await;
    for _ in 0..2 {
        let before = daemon.holder();
        processes::signal(before, Signal::KILL);
        // At once, while nobody accepts: it waits in the queue that the supervisor keeps.
        daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await.expect(200);
        assert_ne!(daemon.holder(), before);
    }
    assert_eq!(boot_id(&daemon, "acme").await, boot);
    let _ = supervisor.kill();
    let _ = supervisor.wait();
}

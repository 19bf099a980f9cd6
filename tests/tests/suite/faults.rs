//! What the machine can do to a daemon (catalogue F): a full disk, no descriptors left, no port free, signals at the wrong time. Traffic goes
//! on, changes are refused by name, and it recovers by itself.
//!
//! Elsewhere: crash points (F-01, F-02: `crashpoints`, nightly), random kills (F-03: nightly), deaths in any order, restarts and set clocks (F-04, F-05, F-22: `survival`, bench), escaped
//! processes, limits and floods (F-07, F-11, F-12: `confinement`), damaged, foreign and future registries (F-15, F-17, F-26: unit tests of `db`,
//! `wrong_input`), a recorded pid that is somebody else's (F-06: unit tests of `driver`).

use std::{fs, net::TcpListener, path::Path, process::Command};

use orbitd_tests::{
    Setup, admin, http, processes,
    wait::{self, seconds},
};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::json;

use crate::fixtures::boot_id;

/// A small file system on a folder; away with the guard.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("made");
        let options = format!("size={mib}m,mode=0711");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        done.is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_changes_by_name_and_traffic_goes_on() {
    let mut daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).prepare();
    let data = daemon.dir.join("data");
    let Some(_small) = Small::mount(&data, 24) else {
        eprintln!("not run: mounting a file system is not allowed here");
        return;
    };
    daemon.start().await;
    daemon.admin().running("acme").await;
    let boot = boot_id(&daemon, "acme").await;
    let filler = data.join("filler");
    let full = fs::write(&filler, vec![0; 64 << 20]).expect_err("it is full now");
    assert_eq!(full.raw_os_error(), Some(28), "{full}");

    let new = json!({"slug": "beta", "tier": "free", "app_config": {"app": {"title": "x".repeat(200_000)}}});
    let refused = daemon.admin().post("/v1/workspaces", new.clone()).await;
    assert!(
        refused.status.is_server_error() && refused.text().contains("full"),
        "{} {}",
        refused.status,
        refused.text()
    );
    for _ in 0..20 {
        daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await.expect(200);
    }
    daemon.admin().get("/v1/workspaces").await.expect(200);
    // A daemon that starts on the full disk says why it can't, or serves what it knows.
    fs::remove_file(&filler).expect("removed");
    wait::until("the change to be taken", seconds(30), || async {
        let reply = daemon.admin().post("/v1/workspaces", new.clone()).await;
        if reply.status.is_success() { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    daemon.admin().running("beta").await;
    assert_eq!(boot_id(&daemon, "acme").await, boot, "the instance lived through it");
    // Everything on it must end before it goes.
    daemon.arguments.push("--stop-instances".to_owned());
    daemon.kill();
    daemon.start().await;
    daemon.terminate();
}

/// `strace` on a running daemon, which fails these system calls on one file until the value is dropped.
struct Injected(std::process::Child);

impl Injected {
    fn on(daemon: &orbitd_tests::Daemon, file: &Path, calls: &str, error: &str) -> Option<Self> {
        let said = daemon.dir.join("strace");
        let child = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error={error}"), "-P"])
            .arg(file)
            .args(["-p", &daemon.pid().to_string()])
            .stderr(fs::File::create(&said).expect("made"))
            .spawn()
            .expect("strace is installed (`make services`)");
        let mut injected = Self(child);
        let traced = wait::until_blocking(seconds(30), || {
            let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap_or_default();
            let attached = status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
            let ended = injected.0.try_wait().ok().flatten().is_some();
            (attached || ended).then_some(attached)
        });
        if traced == Some(true) {
            return Some(injected);
        }
        eprintln!("not run: tracing is not allowed here ({})", fs::read_to_string(said).unwrap_or_default().trim());
        None
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // It lets go of what it traces.
        processes::signal_if_alive(self.0.id(), Signal::TERM);
        let _ = wait::until_blocking(seconds(10), || self.0.try_wait().ok().flatten());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_disk_that_fails_under_the_registry_is_named_and_nothing_is_lost() {
    let mut daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let boot = boot_id(&daemon, "acme").await;
    let file = daemon.dir.join("data/registry.sqlite");
    let wal = daemon.dir.join("data/registry.sqlite-wal");
    let new = |slug: &str| json!({"slug": slug, "tier": "free"});
    daemon.admin().post("/v1/workspaces", new("before")).await.expect(201);
    for (calls, error, said) in [
        ("pwrite64", "EIO", "the disk of the registry fails"),
        ("fdatasync,fsync", "EIO", "the disk of the registry fails"),
        ("pwrite64", "ENOSPC", "the disk of the registry is full"),
    ] {
        let Some(injected) = Injected::on(&daemon, &wal, calls, error) else { return };
        let refused = daemon.admin().post("/v1/workspaces", new("late")).await;
        assert_eq!(refused.status, 503, "{error}: {}", refused.text());
        assert!(refused.text().contains(said), "{error}: {}", refused.text());
        daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await.expect(200);
        daemon.admin().get("/v1/workspaces/before").await.expect(200);
        drop(injected);
    }
    let log = daemon.log_tail(10_000);
    let named =
        log.lines().any(|line| line.contains("the registry fails") && line.contains(&file.display().to_string()));
    assert!(named, "the log names the file: {log}");
    wait::until("the change to be taken", seconds(30), || async {
        let reply = daemon.admin().post("/v1/workspaces", new("late")).await;
        if reply.status == 201 { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    daemon.admin().running("late").await;
    // What was refused is not there, what was answered is, and a start finds the file whole.
    daemon.terminate();
    daemon.start().await;
    let list = daemon.admin().get("/v1/workspaces").await.expect(200).json();
    let slugs: Vec<_> = list["items"].as_array().expect("a list").iter().map(|item| item["slug"].to_string()).collect();
    assert_eq!(slugs, ["\"acme\"", "\"before\"", "\"late\""]);
    daemon.admin().running("acme").await;
    assert_eq!(boot_id(&daemon, "acme").await, boot, "the instance lived through it");
}

#[tokio::test]
async fn no_descriptors_left_sheds_load_and_passes() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let boot = boot_id(&daemon, "acme").await;
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    let before = getrlimit(Resource::Nofile);
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it lives").count();
    let few = Rlimit { current: Some(open as u64 + 12), maximum: before.maximum };
    prlimit(pid, Resource::Nofile, few).expect("set");
    // More than it has descriptors for; what is not accepted waits in the kernel.
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(tokio::net::TcpStream::connect(daemon.proxy).await.expect("the kernel takes it"));
    }
    tokio::time::timeout(seconds(1), daemon.get("acme", "/who", Some(&daemon.token(&["acme"])))).await.ok();
    drop(held);
    prlimit(pid, Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum }).expect("set back");
    wait::until("an answer", seconds(20), || async {
        let reply = daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await;
        if reply.status == 200 { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    assert_eq!(boot_id(&daemon, "acme").await, boot);
}

#[tokio::test]
async fn no_free_port_is_named_and_mends() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("an address").port();
    // In the table that `Setup` opened there are ports already: the environment goes over it.
    let ports = format!("[{port}, {port}]");
    let mut daemon =
        Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).env("ORBITD__INSTANCES__PORTS", &ports).prepare();
    daemon.start().await;
    let ready = daemon.admin().condition("acme", "Ready", "False", seconds(30)).await;
    let wanted = |text: &str| text.contains("instances.ports");
    wait::until("the reason", seconds(20), || async {
        let workspace = daemon.admin().workspace("acme").await;
        let message = admin::condition(&workspace, "Ready").map(|c| c["message"].to_string()).unwrap_or_default();
        if wanted(&message) { Ok(()) } else { Err(format!("{message} (first: {ready})")) }
    })
    .await;
    drop(taken);
    daemon.admin().running("acme").await;
}

#[tokio::test]
async fn signals_at_the_wrong_time() {
    let mut daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let boot = boot_id(&daemon, "acme").await;
    for _ in 0..300 {
        processes::signal(daemon.pid(), Signal::HUP);
    }
    // Held up as a debugger or a hypervisor would: who comes meanwhile waits.
    processes::signal(daemon.pid(), Signal::STOP);
    let token = daemon.token(&["acme"]);
    let request = http::request("GET", &daemon.host("acme"), "/who", Some(&token), &[], "");
    let waiting = tokio::spawn(http::send(daemon.proxy, request));
    tokio::time::sleep(seconds(1)).await;
    assert!(!waiting.is_finished());
    processes::signal(daemon.pid(), Signal::CONT);
    assert_eq!(waiting.await.expect("no panic").expect("an answer").status, 200);
    assert_eq!(boot_id(&daemon, "acme").await, boot);
    // A request that never ends holds the first SIGTERM; a second one cuts it.
    let request = http::request("GET", &daemon.host("acme"), "/x?mode=hang", Some(&token), &[], "");
    let hanging = tokio::spawn(http::send(daemon.proxy, request));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let pid = daemon.pid();
    processes::signal(pid, Signal::TERM);
    wait::until("no more connections", seconds(5), || async {
        match tokio::net::TcpStream::connect(daemon.proxy).await {
            Ok(_) => Err("it still accepts".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    let began = std::time::Instant::now();
    assert!(processes::lives(pid), "it waits for the request");
    assert!(daemon.terminate().success(), "{}", daemon.log_tail(20));
    assert!(began.elapsed() < seconds(15), "cut after {:?}", began.elapsed());
    assert!(hanging.await.expect("no panic").is_err(), "cut, and not answered");
    assert_eq!(daemon.instances().len(), 1, "the instance runs on");
}

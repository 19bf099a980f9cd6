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

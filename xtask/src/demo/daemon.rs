//! The demo's `orbitd serve`: started in a process group of its own, watched until ready, stopped with its instances.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{process::Child, time::sleep};

use super::{WORKSPACES, files::Files, http, ports::Addresses, text};
use crate::paths;

/// orbitd's own limit for stopping instances is 20 s each, at the same time.
const STOP_LIMIT: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(250);

/// The child.
pub struct Daemon(Child);

impl Daemon {
    /// Starts it; its output goes to `serve.log`, its pid to `daemon.pid`.
    pub fn start(files: &Files) -> Result<Self> {
        let log = File::create(files.path("serve.log"))?;
        let mut command = std::process::Command::new(paths::program("orbitd"));
        command.args(["serve", "--stop-instances", "--config"]).arg(files.path("orbitd.toml"));
        command.current_dir(&files.dir).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Settings of the user's own daemon are not the demo's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ORBITD")) {
            command.env_remove(name);
        }
        let child = tokio::process::Command::from(command).spawn().context("cannot start orbitd")?;
        if let Some(pid) = child.id() {
            fs::write(files.path("daemon.pid"), pid.to_string())?;
        }
        Ok(Self(child))
    }

    /// When it ends by itself. Cancel-safe.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        Ok(self.0.wait().await?)
    }

    /// SIGTERM, then SIGKILL.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        match tokio::time::timeout(STOP_LIMIT, self.0.wait()).await {
            Ok(status) => drop(status?),
            Err(_) => self.kill().await?,
        }
        Ok(())
    }

    /// A second SIGTERM cuts its waits; SIGKILL if even that does not help.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        if tokio::time::timeout(Duration::from_secs(10), self.0.wait()).await.is_err() {
            self.0.kill().await?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let pid = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid {
            // It may just have ended.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Waits until every workspace runs, saying how far each is; how long it took.
pub async fn until_ready(files: &Files, addresses: &Addresses) -> Result<Duration> {
    let began = Instant::now();
    let mut said = String::new();
    loop {
        let listed = fs::read_to_string(files.path("data/admin.token"))
            .map_err(anyhow::Error::from)
            .and_then(|token| http::expect(addresses.admin, "GET", "/v1/workspaces", token.trim(), None));
        if let Ok(listed) = listed {
            let phases: Vec<(&str, &str)> = WORKSPACES.map(|slug| (slug, phase(&listed, slug))).into();
            let now = phases.iter().map(|(slug, phase)| format!("{slug}: {phase}")).collect::<Vec<_>>().join(", ");
            if now != said {
                println!("[{:3} s] {now}", began.elapsed().as_secs());
                said = now;
            }
            if phases.iter().all(|(_, phase)| *phase == "running") {
                return Ok(began.elapsed());
            }
            if let Some((slug, _)) = phases.iter().find(|(_, phase)| *phase == "crash-loop") {
                bail!("{slug} does not come up: {}", why(&listed, slug));
            }
        }
        sleep(PAUSE).await;
    }
}

fn workspace<'a>(listed: &'a Value, slug: &str) -> Option<&'a Value> {
    listed["items"].as_array()?.iter().find(|item| item["slug"] == slug)
}

fn phase<'a>(listed: &'a Value, slug: &str) -> &'a str {
    workspace(listed, slug).and_then(|one| one["status"]["phase"].as_str()).unwrap_or("not read yet")
}

fn why(listed: &Value, slug: &str) -> String {
    let conditions = workspace(listed, slug).and_then(|one| one["status"]["conditions"].as_array());
    let bad = conditions.into_iter().flatten().filter(|condition| condition["truth"] == "False");
    bad.filter_map(|condition| text(condition, "message").ok()).collect::<Vec<_>>().join("; ")
}

/// Stops the daemon of a demo that was killed: its pid is in `daemon.pid`, and its arguments say that it is ours.
pub fn stop_leftover(files: &Files) -> Result<()> {
    let Ok(text) = fs::read_to_string(files.path("daemon.pid")) else { return Ok(()) };
    let settings = files.path("orbitd.toml").display().to_string();
    let is_ours = |pid: i32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).split('\0').any(|argument| argument == settings)
    };
    let Some(pid) = text.trim().parse().ok().filter(|pid| is_ours(*pid)) else { return Ok(()) };
    println!("==> stopping the daemon that an earlier demo left behind (pid {pid})");
    let began = Instant::now();
    let mut signal = Signal::TERM;
    while is_ours(pid) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, signal);
        }
        // Once is enough for an orderly stop; a second one would cut it short.
        let until = Instant::now() + STOP_LIMIT;
        while is_ours(pid) && Instant::now() < until {
            std::thread::park_timeout(PAUSE);
        }
        signal = Signal::KILL;
        if began.elapsed() > 3 * STOP_LIMIT {
            bail!("the daemon with pid {pid} does not end: stop it yourself and try again");
        }
    }
    Ok(())
}

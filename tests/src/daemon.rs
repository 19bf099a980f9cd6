//! One `orbitd serve` in a directory of its own.
//!
//! Whatever happens to the test process (a panic, SIGKILL), nothing stays behind: a *janitor*, a shell that reads from a pipe
//! of ours, notices our end and kills every process that stands in the directory, then removes it. `ORBITD_TEST_KEEP=1`
//! keeps the files.

use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use bytes::Bytes;
use rustix::process::Signal;

use crate::{
    Admin, Issuer, Reply, http, paths, processes,
    wait::{self, seconds},
    world::{self, Kind},
};

/// Longest wait for the daemon's own start (its instances may take longer).
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

const JANITOR: &str = r#"
cat >/dev/null
below() { for p in /proc/[0-9]*; do case "$(readlink "$p/cwd" 2>/dev/null)" in "$1"|"$1"/*) echo "${p#/proc/}";; esac; done; }
signal=TERM
try=0
while [ $try -lt 50 ]; do
  pids=$(below "$1"); [ -n "$pids" ] || break
  [ $((try % 12)) -gt 0 ] || { kill -$signal $pids 2>/dev/null; signal=KILL; }
  try=$((try + 1)); sleep 0.25
done
[ -n "$ORBITD_TEST_KEEP" ] || rm -rf "$1"
"#;

/// What a daemon starts with.
pub struct Setup {
    kind: Kind,
    extra: String,
    environment: Vec<(String, String)>,
    rollout: Option<String>,
    workspaces: Vec<WorkspaceFiles>,
}

/// A workspace of the directory source before the start.
struct WorkspaceFiles {
    slug: String,
    toml: String,
    catalog: Vec<(String, String)>,
}

/// A running daemon.
pub struct Daemon {
    /// Everything of this daemon is below it; `serve.log` has what it said.
    pub dir: PathBuf,
    /// Where users come in.
    pub proxy: SocketAddr,
    /// Where operators come in.
    pub admin_address: SocketAddr,
    /// Whose tokens it believes.
    pub issuer: Issuer,
    /// The `orbitd` that is run.
    pub program: PathBuf,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// Its variables beside the test's own; `ORBITD…` of the test's own are not passed on.
    pub environment: Vec<(String, String)>,
    child: Option<Child>,
    _janitor: Janitor,
}

// === impl Setup ===

impl Setup {
    /// Instances are the stand-in.
    pub fn echo() -> Self {
        Self::new(Kind::Echo)
    }
    /// Instances are the stand-in, and keep nothing: two may run side by side.
    pub fn stateless() -> Self {
        Self::new(Kind::Stateless)
    }
    /// Instances are the real Backstage.
    pub fn backstage() -> Self {
        Self::new(Kind::Backstage)
    }
    fn new(kind: Kind) -> Self {
        Self { kind, extra: String::new(), environment: Vec::new(), rollout: None, workspaces: Vec::new() }
    }
    /// A workspace in the directory source.
    #[must_use]
    pub fn workspace(mut self, slug: &str, toml: &str, catalog: &[(&str, &str)]) -> Self {
        let catalog = catalog.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        self.workspaces.push(WorkspaceFiles { slug: slug.to_owned(), toml: toml.to_owned(), catalog });
        self
    }
    /// More keys of `[instances]`, then more sections.
    #[must_use]
    pub fn toml(mut self, extra: &str) -> Self {
        self.extra.push_str(extra);
        self
    }
    /// The keys of `[rollout]`, in every tier.
    #[must_use]
    pub fn rollout(mut self, keys: &str) -> Self {
        self.rollout = Some(keys.to_owned());
        self
    }
    /// A variable of the daemon's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
    /// Writes the directory, starts nothing.
    pub fn prepare(self) -> Daemon {
        let dir = tempfile::Builder::new().prefix("orbitd-test-").tempdir().expect("a temporary directory").keep();
        // Instances have users of their own (where the tests run as root), who must be able to pass through.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).expect("opened");
        let dir = fs::canonicalize(dir).expect("it is there");
        let issuer = Issuer::new("test-key");
        let (proxy, admin_address) = (world::free_address(), world::free_address());
        let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("written");
        fs::create_dir_all(dir.join("source/workspaces")).expect("made");
        fs::create_dir_all(dir.join("secrets")).expect("made");
        write("jwks.json", issuer.jwks().to_string());
        let module = paths::repository().join("policies/modules/claims.wasm");
        assert!(module.is_file(), "{} is not built: run `make guests`", module.display());
        world::copy_policies(&paths::repository().join("policies"), &dir.join("policies"))
            .expect("policies are copied");
        if self.kind == Kind::Stateless {
            world::stateless_echo(&dir.join("distribution")).expect("the stand-in is copied");
        }
        if let Some(keys) = &self.rollout {
            for tier in fs::read_dir(dir.join("policies")).expect("policies").flatten() {
                let path = tier.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    let text = fs::read_to_string(&path).expect("a tier");
                    fs::write(&path, format!("{text}\n[rollout]\n{keys}\n")).expect("written");
                }
            }
        }
        write("orbitd.toml", world::settings(&dir, self.kind, proxy, admin_address, &self.extra));
        for WorkspaceFiles { slug, toml, catalog } in &self.workspaces {
            let catalog: Vec<_> = catalog.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
            world::write_workspace(&dir.join("source"), slug, toml, &catalog).expect("written");
        }
        let janitor = Janitor::new(&dir);
        Daemon {
            dir,
            proxy,
            admin_address,
            issuer,
            program: paths::orbitd(),
            arguments: Vec::new(),
            environment: self.environment,
            child: None,
            _janitor: janitor,
        }
    }
    /// Starts the daemon and waits until it listens and every workspace named here is up.
    pub async fn start(self) -> Daemon {
        let slugs: Vec<String> = self.workspaces.iter().map(|files| files.slug.clone()).collect();
        let mut daemon = self.prepare();
        daemon.start().await;
        for slug in slugs {
            daemon.admin().running(&slug).await;
        }
        daemon
    }
}

/// Cleans up once its pipe is closed, by us or by our end.
struct Janitor(Child);

impl Janitor {
    fn new(dir: &Path) -> Self {
        let child = Command::new("sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh runs");
        Self(child)
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = wait::until_blocking(seconds(30), || self.0.try_wait().ok().flatten());
    }
}

// === impl Daemon ===

impl Daemon {
    /// Starts it (again) and waits until it listens.
    pub async fn start(&mut self) {
        self.spawn();
        let admin = self.admin_address;
        let limit = wait::until("the daemon to listen", START_LIMIT, || async {
            let request = http::request("GET", "admin", "/healthz", None, &[], "");
            http::send(admin, request).await.map_err(|error| format!("{error:#}"))
        });
        tokio::pin!(limit);
        loop {
            tokio::select! {
                _ = &mut limit => return,
                // Cancel-safe: looks, takes nothing.
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                        panic!("orbitd serve ended with {status}:\n{}", self.log_tail(40));
                    }
                }
            }
        }
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self) {
        let log = || -> File {
            let options = OpenOptions::new().create(true).append(true).open(self.dir.join("serve.log"));
            options.expect("the log opens")
        };
        let mut command = self.command(&["serve"]);
        command.args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log()).stderr(log()).process_group(0);
        self.child = Some(command.spawn().expect("orbitd runs"));
    }

    /// `orbitd <args> --config …`, with a clean set of variables.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--config").arg(self.dir.join("orbitd.toml")).current_dir(&self.dir);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ORBITD")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs a command to its end, at most a minute.
    pub fn run(&self, args: &[&str]) -> Output {
        run_limited(self.command(args))
    }

    /// The pid of the daemon.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The pid of the daemon that holds the data directory now: after an upgrade, another one than was started.
    ///
    /// # Panics
    /// When none ever did.
    pub fn holder(&self) -> u32 {
        let text = fs::read_to_string(self.dir.join("data/lock")).expect("there is a lock");
        text.trim().parse().expect("a pid")
    }

    /// Whether the daemon's process runs.
    pub fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Kills the daemon as a crash would; its instances stay.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("waited for");
    }

    /// SIGTERM, and what it exited with.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        processes::signal(child.id(), Signal::TERM);
        let ended = wait::until_blocking(STOP_LIMIT, || child.try_wait().ok().flatten());
        ended.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("orbitd did not stop within {} s of SIGTERM:\n{}", STOP_LIMIT.as_secs(), self.log_tail(40))
        })
    }

    /// Instances of this daemon that live now, adopted or lost.
    pub fn instances(&self) -> Vec<processes::Found> {
        processes::living_below(&self.dir.join("data"))
    }

    /// The admin client.
    pub fn admin(&self) -> Admin {
        let path = self.dir.join("data/admin.token");
        let token = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Admin::new(self.admin_address, token.trim())
    }

    /// The host name of a workspace.
    pub fn host(&self, slug: &str) -> String {
        format!("{slug}.localhost:{}", self.proxy.port())
    }

    /// A GET of `slug` with this token.
    pub async fn get(&self, slug: &str, target: &str, token: Option<&str>) -> Reply {
        self.send("GET", slug, target, token, &[], "").await
    }

    /// Any request of `slug`.
    ///
    /// # Panics
    /// When no whole answer comes.
    pub async fn send(
        &self,
        method: &str,
        slug: &str,
        target: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let request = http::request(method, &self.host(slug), target, token, headers, body);
        match http::send(self.proxy, request).await {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {slug} {target}: {error:#}\n{}", self.log_tail(20)),
        }
    }

    /// A token for these workspaces.
    pub fn token(&self, workspaces: &[&str]) -> String {
        self.issuer.token(workspaces)
    }

    /// Writes a workspace's `workspace.toml` as an editor would.
    pub fn write_workspace(&self, slug: &str, toml: &str, catalog: &[(&str, &str)]) {
        world::write_workspace(&self.dir.join("source"), slug, toml, catalog).expect("written");
    }

    /// Replaces a file of the policies directory.
    pub fn write_policy(&self, name: &str, text: impl AsRef<[u8]>) {
        world::replace(&self.dir.join("policies").join(name), text).expect("written");
    }

    /// A file of the policies directory.
    pub fn read_policy(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join("policies").join(name)).expect("it is there")
    }

    /// The last lines of what the daemon said.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.dir.join("serve.log"), lines)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's last lines ({}) ---\n{}", self.dir.display(), self.log_tail(60));
        }
        // The janitor does the rest once its pipe closes: SIGTERM first, also for instances that no daemon knows.
        if let Some(mut child) = self.child.take() {
            processes::signal_if_alive(child.id(), Signal::TERM);
            if wait::until_blocking(seconds(3), || child.try_wait().ok().flatten()).is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// Runs a command to its end; killed after a minute.
///
/// # Panics
/// When it can't be started or doesn't end.
pub fn run_limited(command: Command) -> Output {
    run_within(command, seconds(60))
}

/// Runs a command to its end; killed after `limit`.
///
/// # Panics
/// When it can't be started or doesn't end.
pub fn run_within(mut command: Command, limit: Duration) -> Output {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let pid = child.id();
    // Outputs are read on threads, so that a talkative command doesn't block.
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let out = read(out.map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>));
    let err = read(err.map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>));
    let ended = wait::until_blocking(limit, || child.try_wait().ok().flatten());
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    let Some(status) = ended else {
        panic!("{command:?} (pid {pid}) did not end:\n{}", String::from_utf8_lossy(&stderr))
    };
    Output { status, stdout, stderr }
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

//! A real PostgreSQL for the tests: Debian's, in a directory and on a port of its own, as a user that is not root (it refuses
//! root). One server per test program ([`shared`]); a test that must stop or starve one starts its own ([`Server::start`]).
//!
//! Whatever happens to the test program (a panic, SIGKILL), nothing stays behind: a *janitor*, a shell that reads from a pipe of
//! ours, notices our end, stops the server and removes its directory.

mod pooler;

pub use pooler::{Mode, Pooler};

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

/// What the janitor does once its input ends. `$1` the server's programs, `$2` its directory.
const JANITOR: &str = r#"
cat >/dev/null
"$1/pg_ctl" -D "$2/data" -m immediate -w -t 20 stop >/dev/null 2>&1
rm -rf "$2"
"#;
/// The password of the superuser `postgres`.
const PASSWORD: &str = "superuser-of-the-tests";

/// A running server.
pub struct Server {
    /// On 127.0.0.1.
    pub port: u16,
    dir: PathBuf,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    janitor: Child,
}

/// The server that all tests of this program share; started by the first that asks.
///
/// # Panics
/// Where PostgreSQL is not installed, or does not start: the text says why.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| Server::start(&[]))
}

/// Whom statements run as.
#[derive(Debug, Clone, Copy)]
pub struct As<'a> {
    /// The role.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
}

/// The superuser.
pub const SUPERUSER: As<'static> = As { user: "postgres", password: PASSWORD };

impl Server {
    /// Starts one with these further lines of `postgresql.conf`.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed, or does not start.
    pub fn start(conf: &[&str]) -> Self {
        let programs = programs();
        let user = unprivileged();
        let dir = tempfile::Builder::new().prefix("orbitd-postgres-").tempdir().expect("a directory").keep();
        if let Some((uid, gid)) = user {
            chown(&dir, Some(uid), Some(gid)).expect("its owner is changed");
        }
        let janitor = janitor(&programs, &dir, user);
        let mut server = Self { port: 0, dir, programs, user, janitor };
        fs::write(server.dir.join("password"), PASSWORD).expect("written");
        let data = server.dir.join("data");
        let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
        server.must(
            "initdb",
            &[
                "-D",
                &path(&data),
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "-A",
                "scram-sha-256",
                "--pwfile",
                &path(&server.dir.join("password")),
            ],
        );
        let fixed = [
            "unix_socket_directories = ''",
            "max_connections = 200",
            "log_min_messages = warning",
            "log_statement = all",
        ];
        let mut text = fs::read_to_string(data.join("postgresql.conf")).expect("initdb wrote it");
        for line in fixed.iter().chain(conf) {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(data.join("postgresql.conf"), text).expect("written");
        server.port = free_port();
        server.up();
        // Of a new cluster's own databases, once: PostgreSQL lets everybody in unless told otherwise.
        server.superuser("postgres", "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC");
        server
    }

    /// A standby of this one, which follows it until it is [`Server::promote`]d.
    ///
    /// # Panics
    /// If it can't be made or does not start.
    pub fn standby(&self) -> Self {
        let dir = tempfile::Builder::new().prefix("orbitd-postgres-").tempdir().expect("a directory").keep();
        if let Some((uid, gid)) = self.user {
            chown(&dir, Some(uid), Some(gid)).expect("its owner is changed");
        }
        let janitor = janitor(&self.programs, &dir, self.user);
        let standby = Self { port: free_port(), dir, programs: self.programs.clone(), user: self.user, janitor };
        let data = standby.dir.join("data").to_str().expect("a plain path").to_owned();
        let from = format!("host=127.0.0.1 port={} user=postgres password={PASSWORD}", self.port);
        standby.must("pg_basebackup", &["-D", &data, "-d", &from, "-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        standby.up();
        standby
    }

    /// Makes a standby a primary; returns when it takes changes.
    ///
    /// # Panics
    /// If it refuses.
    pub fn promote(&self) {
        let data = self.dir.join("data");
        self.must("pg_ctl", &["-D", data.to_str().unwrap_or_default(), "-w", "-t", "60", "promote"]);
    }

    /// A folder of the server's own, for files that its settings name.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// Gives a file to the user that the server runs as, readable for nobody else.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn take_over(&self, file: &Path) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("changed");
        if let Some((uid, gid)) = self.user {
            chown(file, Some(uid), Some(gid)).expect("its owner is changed");
        }
    }

    /// Starts it (again) on its port.
    ///
    /// # Panics
    /// If it does not start.
    pub fn up(&self) {
        let (data, log) = (self.dir.join("data"), self.dir.join("server.log"));
        let options = format!("-p {} -c listen_addresses=127.0.0.1", self.port);
        let args = [
            "-D",
            data.to_str().unwrap_or_default(),
            "-l",
            log.to_str().unwrap_or_default(),
            "-o",
            &options,
            "-w",
            "-t",
            "60",
            "start",
        ];
        let output = self.run("pg_ctl", &args);
        assert!(output.status.success(), "PostgreSQL does not start:\n{}", self.log());
    }

    /// Stops it at once, as a crash would.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn down(&self) {
        let data = self.dir.join("data");
        self.must("pg_ctl", &["-D", data.to_str().unwrap_or_default(), "-m", "immediate", "-w", "-t", "30", "stop"]);
    }

    /// What it logged: every statement, among others.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("server.log")).unwrap_or_default()
    }

    /// `postgres://…` of a role on a database.
    pub fn url(&self, who: As<'_>, database: &str) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{database}", who.user, who.password, self.port)
    }

    /// Runs statements; rows come as lines, columns divided by `|`. An error is the server's text.
    pub fn sql(&self, who: As<'_>, database: &str, statements: &str) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p"])
            .arg(self.port.to_string());
        command.args(["-U", who.user, "-d", database, "-f", "-"]);
        command.env("PGPASSWORD", who.password).env("PGCONNECT_TIMEOUT", "10");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("psql runs");
        // One after another, each in a transaction of its own; it may have ended already, then its output says why.
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(statements.as_bytes());
        }
        let output = child.wait_with_output().expect("psql ends");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Runs statements as the superuser.
    ///
    /// # Panics
    /// If one fails.
    pub fn superuser(&self, database: &str, statements: &str) -> String {
        self.sql(SUPERUSER, database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// A new role for a daemon, with the rights that `docs/operating.md` gives it and no more, and a database of its own. Name, password.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn daemon(&self) -> (String, String) {
        let name = format!("orbitd_{}", hex::encode(rand::random::<[u8; 6]>()));
        let password = hex::encode(rand::random::<[u8; 12]>());
        self.superuser("postgres", &format!("CREATE ROLE {name} LOGIN CREATEDB CREATEROLE PASSWORD '{password}'"));
        self.superuser("postgres", &format!("CREATE DATABASE {name} OWNER {name} TEMPLATE template0"));
        self.superuser("postgres", &format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"));
        (name, password)
    }

    fn must(&self, program: &str, args: &[&str]) {
        let output = self.run(program, args);
        let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).join("\n");
        assert!(output.status.success(), "{program} {args:?}: {said}\n{}", self.log());
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join(program));
        command.args(args).current_dir(&self.dir).stdin(Stdio::null());
        // The server inherits what pg_ctl has: a pipe of ours would be held open by it for ever.
        let said = self.dir.join("said");
        let file = fs::File::create(&said).expect("made");
        command.stdout(file.try_clone().expect("cloned")).stderr(file);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        let status = command.status().unwrap_or_else(|error| panic!("{program}: {error}"));
        Output { status, stdout: fs::read(said).unwrap_or_default(), stderr: Vec::new() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// The newest of Debian's, else what is on the PATH.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").is_file()).collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).find(|dir| dir.join("initdb").is_file());
    found
        .pop()
        .or_else(on_path)
        .expect("PostgreSQL is not installed: run `make services` (Debian: apt-get install postgresql)")
}

/// User and group that the server runs as where we are root.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let id = |flag: &str, user: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, user]).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    let found = ["postgres", "nobody"].iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)));
    Some(found.expect("a user `postgres` or `nobody`: PostgreSQL refuses to run as root"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn janitor(programs: &Path, dir: &Path, user: Option<(u32, u32)>) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", JANITOR, "janitor"]).arg(programs).arg(dir).current_dir("/").process_group(0);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh runs")
}

//! A pgbouncer before a server: what stands between many programs and their PostgreSQL, and shares sessions where nobody expects it.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{As, Server, free_port, unprivileged};

/// For how long a client keeps its server session.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// As long as it is connected.
    Session,
    /// For one transaction.
    Transaction,
}

/// A running pgbouncer; ends with this value.
pub struct Pooler {
    port: u16,
    child: Child,
    dir: PathBuf,
}

impl Pooler {
    /// Starts one before a server, for this role.
    ///
    /// # Panics
    /// Where pgbouncer is not installed, or does not listen within ten seconds.
    pub fn start(server: &Server, who: As<'_>, mode: Mode) -> Self {
        let dir = tempfile::Builder::new().prefix("orbitd-pgbouncer-").tempdir().expect("a directory").keep();
        let port = free_port();
        let mode = match mode {
            Mode::Session => "session",
            Mode::Transaction => "transaction",
        };
        let users = dir.join("users");
        fs::write(&users, format!("\"{}\" \"{}\"\n", who.user, who.password)).expect("written");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n\
             ignore_startup_parameters = extra_float_digits\nlogfile = {}\n",
            server.port,
            users.display(),
            dir.join("log").display()
        );
        fs::write(dir.join("pgbouncer.ini"), settings).expect("written");
        let mut command = Command::new("pgbouncer");
        command.arg(dir.join("pgbouncer.ini")).current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if let Some((uid, gid)) = unprivileged() {
            for path in [dir.clone(), users, dir.join("pgbouncer.ini")] {
                chown(path, Some(uid), Some(gid)).expect("its owner is changed");
            }
            command.uid(uid).gid(gid);
        }
        let child = command.spawn().expect("pgbouncer is installed (Debian: apt-get install pgbouncer)");
        let pooler = Self { port, child, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = fs::read_to_string(pooler.dir.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "pgbouncer does not listen:\n{log}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        pooler
    }

    /// `postgres://…` through it.
    pub fn url(&self, who: As<'_>, database: &str) -> String {
        format!("postgres://{}:{}@127.0.0.1:{}/{database}", who.user, who.password, self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

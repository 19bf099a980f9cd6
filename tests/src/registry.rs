//! A real OCI registry: Debian's `docker-registry`, on loopback, its files in the daemon's directory. It stands there too, so the
//! daemon's janitor ends it whatever happens to the test.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;

use crate::{
    authority::Certificate,
    processes,
    token_service::{self, TokenService},
    wait::{self, seconds},
    world,
};

/// Whom it lets in.
pub enum Doors<'a> {
    /// The accounts of a file, see [`write_account`].
    Accounts(PathBuf),
    /// Who has a token of this service.
    Tokens(&'a TokenService),
}

/// Makes `file` hold this account and no other, its password under bcrypt.
///
/// # Panics
/// Where `htpasswd` is not installed.
pub fn write_account(file: &Path, username: &str, password: &str) {
    let mut child = Command::new("htpasswd")
        .args(["-niB", "-C", "4", username])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("htpasswd is installed (`make services`)");
    child.stdin.take().expect("a pipe").write_all(password.as_bytes()).expect("written");
    let made = child.wait_with_output().expect("it ends");
    assert!(made.status.success());
    world::replace(file, made.stdout).expect("written");
}

/// A registry that runs, or was stopped and can run again.
pub struct Registry {
    /// Where it listens.
    pub address: SocketAddr,
    dir: PathBuf,
    child: Option<Child>,
}

impl Registry {
    /// Starts one that everybody may use, in plain http; its files are below `dir`.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start(dir: &Path) -> Self {
        Self::guarded(dir, world::free_address(), None, None)
    }

    /// Starts one that listens there, shows this certificate and lets in whom `doors` says.
    ///
    /// # Panics
    /// As [`Registry::start`].
    pub fn guarded(dir: &Path, address: SocketAddr, certificate: Option<&Certificate>, doors: Option<&Doors>) -> Self {
        let dir = dir.join(format!("registry-{}", address.port()));
        fs::create_dir_all(&dir).expect("made");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            dir.join("blobs").display()
        );
        if let Some(Certificate { key, file }) = certificate {
            config += &format!("  tls:\n    certificate: {}\n    key: {}\n", file.display(), key.display());
        }
        match doors {
            None => {}
            Some(Doors::Accounts(file)) => {
                config += &format!("auth:\n  htpasswd:\n    realm: orbitd\n    path: {}\n", file.display());
            }
            Some(Doors::Tokens(service)) => {
                config += &format!(
                    "auth:\n  token:\n    realm: http://{}/token\n    service: {}\n    issuer: {}\n    rootcertbundle: {}\n",
                    service.address,
                    token_service::SERVICE,
                    token_service::ISSUER,
                    service.certificate.file.display()
                );
            }
        }
        fs::write(dir.join("config.yml"), config).expect("written");
        let mut registry = Self { address, dir, child: None };
        registry.start_again();
        registry
    }

    /// Starts it where it was, with what it held.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_again(&mut self) {
        let log = fs::File::create(self.dir.join("registry.log")).expect("a log");
        let child = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(&self.dir)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn();
        self.child = Some(child.expect("docker-registry is installed (`make services`)"));
        let up = wait::until_blocking(seconds(20), || TcpStream::connect(self.address).ok());
        assert!(up.is_some(), "the registry does not listen; see {}", self.dir.join("registry.log").display());
    }

    /// It takes connections and says nothing any more, until it is killed.
    ///
    /// # Panics
    /// When it does not run.
    pub fn freeze(&self) {
        processes::signal(self.child.as_ref().expect("it runs").id(), Signal::STOP);
    }

    /// Stops it; what it holds stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `oci://localhost:<port>/<name>`, for certificates of that name.
    pub fn by_name(&self, name: &str) -> String {
        format!("oci://localhost:{}/{name}", self.address.port())
    }

    /// `oci://<it>/<name>`.
    pub fn reference(&self, name: &str) -> String {
        format!("oci://{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}

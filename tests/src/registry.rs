//! A real OCI registry: Debian's `docker-registry`, on loopback, its files in the daemon's directory. It stands there too, so the
//! daemon's janitor ends it whatever happens to the test.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    wait::{self, seconds},
    world,
};

/// A registry that runs, or was stopped and can run again.
pub struct Registry {
    /// Where it listens.
    pub address: SocketAddr,
    dir: PathBuf,
    child: Option<Child>,
}

impl Registry {
    /// Starts one whose files are below `dir`.
    ///
    /// # Panics
    /// Where it is not installed, or does not start.
    pub fn start(dir: &Path) -> Self {
        let dir = dir.join("registry");
        fs::create_dir_all(&dir).expect("made");
        let address = world::free_address();
        let config = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            dir.join("blobs").display()
        );
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

    /// Stops it; what it holds stays.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
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

//! The peer (nginx from Debian as a plain proxy) and the upstream that both share.

use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use orbitd_tests::{paths, wait, world};

/// A distribution whose launcher is `orbitd-fast-instance`.
pub fn fast_distribution() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    // Instances have users of their own.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    world::copy_tree(&paths::echo(), dir.path())?;
    let manifest = dir.path().join("distribution.json");
    let text = fs::read_to_string(&manifest)?.replace("\"echo-1\"", "\"fast-1\"");
    fs::write(manifest, text)?;
    Ok(dir)
}

/// A running nginx.
pub struct Nginx {
    master: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Nginx {
    /// A plain proxy to the instance with this pid, through the same socket as orbitd: kept connections both ways, no log, as
    /// many workers as cores.
    pub fn start(upstream: u32, dir: &Path) -> Result<Self> {
        let dir = dir.join("nginx");
        fs::create_dir_all(&dir)?;
        let address = world::free_address();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "daemon off; {user} worker_processes auto; pid {dir}/pid; error_log {dir}/error.log warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n  \
             client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;\n  \
             upstream origin {{ server unix:/proc/{upstream}/cwd/http.sock; keepalive 64; keepalive_requests 1000000000; }}\n  \
             server {{\n    listen {address};\n    location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n  }}\n}}\n",
            dir = dir.display()
        );
        let file = dir.join("nginx.conf");
        fs::write(&file, config)?;
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(PathBuf::from).into_iter().find(|path| path.is_file());
        let master = Command::new(program.context("no nginx: run `make services`")?)
            .arg("-p")
            .arg(&dir)
            .arg("-c")
            .arg(&file)
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let nginx = Self { master, address };
        let up = wait::until_blocking(wait::seconds(10), || std::net::TcpStream::connect(address).ok());
        up.with_context(|| {
            format!("nginx does not listen: {}", fs::read_to_string(dir.join("error.log")).unwrap_or_default())
        })?;
        Ok(nginx)
    }

    /// The processes that do the work.
    pub fn workers(&self) -> Vec<u32> {
        let master = self.master.id().to_string();
        let is_child = |pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)) == Some(master.as_str())
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| is_child(*pid)).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that it stops its workers.
        orbitd_tests::processes::signal_if_alive(self.master.id(), rustix::process::Signal::TERM);
        if wait::until_blocking(wait::seconds(5), || self.master.try_wait().ok().flatten()).is_none() {
            let _ = self.master.kill();
            let _ = self.master.wait();
        }
    }
}

//! The demo's two ports, and who has them if they are taken.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use anyhow::{Context, Result, bail};

/// Where the demo listens.
pub struct Addresses {
    /// Users.
    pub proxy: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
}

impl Addresses {
    /// 7080 and 7081, or what `DEMO_PROXY_PORT` and `DEMO_ADMIN_PORT` say.
    pub fn from_environment() -> Result<Self> {
        let port = |variable: &str, otherwise: u16| match std::env::var(variable) {
            Ok(text) => text.parse().with_context(|| format!("{variable}={text} is no port (1 to 65535)")),
            Err(_) => Ok(otherwise),
        };
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self { proxy: address(port("DEMO_PROXY_PORT", 7080)?), admin: address(port("DEMO_ADMIN_PORT", 7081)?) })
    }

    /// An error that names who has a port, and how to choose others.
    pub fn check_free(&self) -> Result<()> {
        for address in [self.proxy, self.admin] {
            match TcpListener::bind(address) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let who = listener_on(address.port()).unwrap_or_else(|| "a process of another user".to_owned());
                    bail!(
                        "port {} is taken by {who}: stop it, or choose others with `DEMO_PROXY_PORT=8080 DEMO_ADMIN_PORT=8081 make demo`",
                        address.port()
                    );
                }
                Err(error) => return Err(error).with_context(|| format!("cannot listen on {address}")),
            }
        }
        Ok(())
    }
}

/// `node (pid 4711)`: who listens on a port, from /proc (proc(5)); none where it can't be seen.
fn listener_on(port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().flat_map(|table| table.lines().skip(1)).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let local = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        (local == port && *fields.get(3)? == LISTEN).then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
    })?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse::<u32>().ok()?;
        let mut descriptors = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let holds = descriptors.any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == inode.as_str()));
        let name = || fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        holds.then(|| format!("{} (pid {pid})", name().trim()))
    })
}

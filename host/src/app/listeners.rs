//! The three listeners, all bound before anything is started: a taken port must not be found out when ten instances run.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, bail};
use tokio::net::TcpListener;

use super::ports::listener_on;
use crate::settings::Settings;

/// File of the data directory that keeps the internal port: running instances hold it in their config.
const INTERNAL_PORT_FILE: &str = "internal.port";
/// Where the internal port is looked for first: below Linux' usual range for outgoing connections (32768 and up), so that
/// no connection of anyone takes it while the daemon is down.
const INTERNAL_PORTS: std::ops::Range<u16> = 30_000..32_768;
/// Ports of that range that are tried before the kernel chooses.
const INTERNAL_TRIES: usize = 64;

/// Bound, not yet served.
pub struct Listeners {
    /// Users.
    pub proxy: TcpListener,
    /// Operators.
    pub admin: TcpListener,
    /// Instances.
    pub internal: TcpListener,
    /// Where they really are (settings may say port 0).
    pub addresses: Addresses,
}

impl Listeners {
    /// Second handles: with them the sockets stay open however this process ends its servers.
    pub fn handles(&self) -> io::Result<Vec<OwnedFd>> {
        [&self.proxy, &self.admin, &self.internal]
            .iter()
            .map(|listener| listener.as_fd().try_clone_to_owned())
            .collect()
    }
}

/// Where the listeners really are.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Users.
    pub proxy: SocketAddr,
    /// Operators.
    pub admin: SocketAddr,
    /// Instances.
    pub internal: SocketAddr,
}

/// All three: those that are handed to this process (by a supervisor, or the daemon before this one) where they are what the settings
/// say, the others bound now.
///
/// # Errors
/// A port is taken or not allowed: names the port, the setting and, where it can be seen, who listens there.
pub async fn bind(settings: &Settings, given: Vec<std::net::TcpListener>) -> anyhow::Result<Listeners> {
    let mut given = Given(given);
    let proxy = bind_one("proxy.listen", settings.proxy.listen, &mut given).await?;
    let admin = bind_one("admin.listen", settings.admin.listen, &mut given).await?;
    let internal = bind_internal(settings, &mut given).await?;
    for unused in given.0 {
        if let Ok(address) = unused.local_addr() {
            tracing::warn!(%address, "this listener was handed over and is in no setting: it is closed");
        }
    }
    let addresses =
        Addresses { proxy: proxy.local_addr()?, admin: admin.local_addr()?, internal: internal.local_addr()? };
    Ok(Listeners { proxy, admin, internal, addresses })
}

/// Listeners that were open before this process.
struct Given(Vec<std::net::TcpListener>);

impl Given {
    /// The one at this address; for port 0 the first one at this IP.
    fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let fits = |listener: &std::net::TcpListener| {
            listener
                .local_addr()
                .is_ok_and(|at| at.ip() == address.ip() && (address.port() == 0 || at.port() == address.port()))
        };
        let listener = self.0.remove(self.0.iter().position(fits)?);
        listener.set_nonblocking(true).ok()?;
        TcpListener::from_std(listener).ok()
    }
}

async fn bind_one(setting: &str, address: SocketAddr, given: &mut Given) -> anyhow::Result<TcpListener> {
    if let Some(listener) = given.take(address) {
        return Ok(listener);
    }
    TcpListener::bind(address).await.map_err(|error| anyhow::anyhow!(refusal(setting, address, &error)))
}

/// Why an address can't be listened on, and what to do.
fn refusal(setting: &str, address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = listener_on(port).map(|who| format!(" by {who}")).unwrap_or_default();
            format!(
                "port {port} is taken{who}, so orbitd can't listen on {address} (setting {setting}); stop what listens \
                 there (is it another orbitd?) or set {setting} to a free port"
            )
        }
        io::ErrorKind::PermissionDenied => format!(
            "listening on {address} (setting {setting}) is not allowed; ports below 1024 need CAP_NET_BIND_SERVICE, so \
             give it to orbitd or set {setting} to a higher port"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{address} (setting {setting}) is no address of this machine; use 127.0.0.1, 0.0.0.0 or one that \
             `ip address` lists"
        ),
        _ => format!("orbitd can't listen on {address} (setting {setting}): {error}"),
    }
}

async fn bind_internal(settings: &Settings, given: &mut Given) -> anyhow::Result<TcpListener> {
    let listen = settings.internal.listen;
    if listen.port() != 0 {
        return bind_one("internal.listen", listen, given).await;
    }
    let file = settings.data_dir.join(INTERNAL_PORT_FILE);
    if let Some(port) = kept_port(&file)? {
        let address = SocketAddr::new(listen.ip(), port);
        if let Some(listener) = given.take(address) {
            return Ok(listener);
        }
        return TcpListener::bind(address).await.map_err(|error| {
            let why = refusal("internal.listen", address, &error);
            anyhow::anyhow!(
                "{why}. Running instances ask orbitd on this port (kept in {}): free it; or remove that file and restart \
                 every workspace",
                file.display()
            )
        });
    }
    let listener = bind_new_internal(listen.ip(), settings.instances.ports).await?;
    let port = listener.local_addr()?.port();
    fs::write(&file, format!("{port}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(listener)
}

fn kept_port(file: &Path) -> anyhow::Result<Option<u16>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    match text.trim().parse() {
        Ok(port) if port != 0 => Ok(Some(port)),
        _ => bail!(
            "{} must hold a port number and holds {:?}; remove it and restart every workspace",
            file.display(),
            text.trim()
        ),
    }
}

async fn bind_new_internal(ip: IpAddr, instances: (u16, u16)) -> anyhow::Result<TcpListener> {
    let mut offset = u16::try_from(std::process::id() % u32::from(u16::MAX)).unwrap_or_default();
    for _ in 0..INTERNAL_TRIES {
        let port = INTERNAL_PORTS.start + offset % (INTERNAL_PORTS.end - INTERNAL_PORTS.start);
        offset = offset.wrapping_add(1);
        if (instances.0..=instances.1).contains(&port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind((ip, port)).await {
            return Ok(listener);
        }
    }
    bind_one("internal.listen", SocketAddr::new(ip, 0), &mut Given(Vec::new())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(dir: &Path) -> Settings {
        let mut settings = Settings { data_dir: dir.to_owned(), ..Settings::default() };
        settings.proxy.listen.set_port(0);
        settings.admin.listen.set_port(0);
        settings
    }

    #[tokio::test]
    async fn the_internal_port_is_chosen_once_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = settings(dir.path());
        let first = bind(&settings, Vec::new()).await.expect("bound").addresses.internal;
        let again = bind(&settings, Vec::new()).await.expect("bound again");
        assert_eq!(again.addresses.internal, first);
        let taken = bind(&settings, Vec::new()).await.map(|_| ()).expect_err("the port is taken").to_string();
        assert!(taken.contains(&first.port().to_string()) && taken.contains(INTERNAL_PORT_FILE), "{taken}");
        fs::write(dir.path().join(INTERNAL_PORT_FILE), "many").expect("written");
        assert!(bind(&settings, Vec::new()).await.map(|_| ()).expect_err("no number").to_string().contains("many"));
    }

    #[tokio::test]
    async fn a_taken_port_is_named_with_its_setting_and_its_holder() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut settings = settings(dir.path());
        let holder = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        settings.proxy.listen = holder.local_addr().expect("an address");
        let text = bind(&settings, Vec::new()).await.map(|_| ()).expect_err("taken").to_string();
        assert!(text.contains("proxy.listen") && text.contains(&settings.proxy.listen.port().to_string()), "{text}");
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    }
}

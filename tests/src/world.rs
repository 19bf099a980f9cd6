//! A daemon's directory before it starts: settings, policies, the source's workspaces. Written anew for each daemon.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{paths, tokens};

/// First port that tests hand out, below the kernel's range for outgoing connections.
const FIRST_PORT: u32 = 10_000;
const PORTS: u32 = 9_000;

/// Which Backstage instances run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The stand-in of `tests/echo`. Its database is SQLite, which takes one instance.
    Echo,
    /// The stand-in as a distribution that keeps nothing: two instances may run side by side, as on PostgreSQL.
    Stateless,
    /// The real one.
    Backstage,
}

/// A loopback address nobody listens on, never handed out twice by this process.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(101) % PORTS;
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + (start + n) % PORTS;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("in range")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A hundred ports for one daemon's instances, so that daemons of one test run stay out of each other's way.
pub fn instance_ports() -> (u16, u16) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let window = (std::process::id() + NEXT.fetch_add(1, Ordering::Relaxed)) % 100;
    let first = u16::try_from(20_000 + window * 100).expect("in range");
    (first, first + 99)
}

/// `orbitd.toml` for a daemon in `dir`; `extra` is appended as it is.
pub fn settings(dir: &Path, kind: Kind, proxy: SocketAddr, admin: SocketAddr, extra: &str) -> String {
    let (first, last) = instance_ports();
    let (distribution, node) = match kind {
        Kind::Echo => (paths::echo(), format!("node = {:?}\n", node().display().to_string())),
        Kind::Stateless => (dir.join("distribution"), format!("node = {:?}\n", node().display().to_string())),
        Kind::Backstage => (paths::backstage().to_owned(), String::new()),
    };
    let text = |path: PathBuf| format!("{:?}", path.display().to_string());
    format!(
        "data_dir = {data}\npolicies_dir = {policies}\ndistribution = {distribution}\nsecrets_dir = {secrets}\n\
         [proxy]\nlisten = \"{proxy}\"\n[admin]\nlisten = \"{admin}\"\n\
         [[auth.issuers]]\nissuer = \"{issuer}\"\naudience = \"{audience}\"\njwks_file = {jwks}\n\
         [source.directory]\npath = {source}\npoll_s = 5\n\
         [instances]\nports = [{first}, {last}]\n{node}{extra}",
        data = text(dir.join("data")),
        policies = text(dir.join("policies")),
        distribution = text(distribution),
        secrets = text(dir.join("secrets")),
        issuer = tokens::ISSUER,
        audience = tokens::AUDIENCE,
        jwks = text(dir.join("jwks.json")),
        source = text(dir.join("source")),
    )
}

/// The stand-in's tree in `dir`, declared to keep nothing.
pub fn stateless_echo(dir: &Path) -> io::Result<()> {
    copy_tree(&paths::echo(), dir)?;
    let manifest = dir.join("distribution.json");
    let text = fs::read_to_string(&manifest)?.replacen('{', "{\n  \"stateless\": true,", 1);
    fs::write(manifest, text)
}

/// The machine's own node, for the stand-in.
fn node() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join("node")).find(|path| path.is_file()).expect("node is on the PATH")
}

/// Writes a workspace of the directory source; `toml` is its whole `workspace.toml`.
pub fn write_workspace(source: &Path, slug: &str, toml: &str, catalog: &[(&str, &str)]) -> io::Result<()> {
    let dir = source.join("workspaces").join(slug);
    fs::create_dir_all(dir.join("catalog"))?;
    for (name, text) in catalog {
        fs::write(dir.join("catalog").join(name), text)?;
    }
    replace(&dir.join("workspace.toml"), toml)
}

/// Replaces a file as an editor does: whole, by a rename.
pub fn replace(path: &Path, text: impl AsRef<[u8]>) -> io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text)?;
    fs::rename(&partial, path)
}

/// A catalogue file with one component.
pub fn component(name: &str, owner: &str) -> String {
    format!(
        "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {name}\nspec:\n  type: service\n  \
         lifecycle: production\n  owner: {owner}\n"
    )
}

/// Copies `policies/`, but for the modules that carry an interpreter: 12 MB and more each, and one test binds them.
pub fn copy_policies(from: &Path, to: &Path) -> io::Result<()> {
    copy_without(from, to, &["javascript", "python"])
}

/// Copies a directory, links followed.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    copy_without(from, to, &[])
}

/// The same without the folders of these names.
fn copy_without(from: &Path, to: &Path, without: &[&str]) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if fs::metadata(entry.path())?.is_dir() {
            if !without.iter().any(|name| entry.file_name() == *name) {
                copy_without(&entry.path(), &target, without)?;
            }
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

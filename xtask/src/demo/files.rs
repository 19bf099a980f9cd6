//! What is in `.demo/`. Existing copies are kept: they are what the user plays with. Settings are written anew each time.

use std::{
    fs::{self, File},
    io::{Read, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::{WORKSPACES, ports::Addresses};
use crate::paths;

/// The demo's issuer and audience: only this demo's daemon believes them.
pub const ISSUER: &str = "https://demo.orbitd.localhost";
/// See [`ISSUER`].
pub const AUDIENCE: &str = "orbitd-demo";

/// The demo's folder.
pub struct Files {
    /// Absolute.
    pub dir: PathBuf,
}

impl Files {
    /// Makes the folder if needed.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Keys and tokens are in it.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        Ok(Self { dir: dir.canonicalize()? })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Takes the demo's lock; held while the file is open.
    pub fn lock(&self) -> Result<File> {
        let path = self.path("lock");
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            file.read_to_string(&mut pid)?;
            bail!(
                "a demo is running already (pid {}): stop it with Ctrl-C in its terminal or `kill {0}`; what it printed is in {}",
                pid.trim(),
                self.path("demo.json").display()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(file)
    }

    /// Settings, and copies of policies and workspaces where there are none yet.
    pub fn write(&self, distribution: &Path, addresses: &Addresses) -> Result<()> {
        let root = paths::root();
        let source = self.path("source/workspaces");
        for slug in WORKSPACES {
            if !source.join(slug).exists() {
                copy_tree(&root.join("demo/workspaces").join(slug), &source.join(slug))?;
            }
        }
        copy_policies(&root.join("policies"), &self.path("policies"))?;
        fs::create_dir_all(self.path("secrets"))?;
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let settings = format!(
            "# Written by `make demo` at each start.\n\
             data_dir = {data}\npolicies_dir = {policies}\ndistribution = {distribution}\nsecrets_dir = {secrets}\n\n\
             [proxy]\nlisten = \"{proxy}\"\n\n[admin]\nlisten = \"{admin}\"\n\n\
             [[auth.issuers]]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = {jwks}\n\n\
             [source.directory]\npath = {source}\n",
            data = quoted(self.path("data")),
            policies = quoted(self.path("policies")),
            distribution = quoted(distribution.to_owned()),
            secrets = quoted(self.path("secrets")),
            proxy = addresses.proxy,
            admin = addresses.admin,
            jwks = quoted(self.path("keys/jwks.json")),
            source = quoted(self.path("source")),
        );
        replace(&self.path("orbitd.toml"), settings.as_bytes(), 0o600)
    }

    /// `demo.json`, whole or not at all.
    pub fn publish(&self, facts: &Value) -> Result<()> {
        replace(&self.path("demo.json"), format!("{facts:#}\n").as_bytes(), 0o600)
    }

    /// The last lines of the daemon's log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(self.path("serve.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<_> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Modules always, so that rebuilt guests are used; a tier's settings only where there are none yet.
fn copy_policies(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a name")?);
        if path.is_dir() {
            copy_policies(&path, &target)?;
            continue;
        }
        let is_module = path.extension().is_some_and(|extension| extension == "wasm");
        if is_module || !target.exists() {
            fs::copy(&path, &target).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("a name")?);
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(mode))?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

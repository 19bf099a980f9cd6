//! `cargo xtask guests`: builds the policies of `guests/` and puts them, encoded as components, into `policies/modules/`.
//!
//! Policies of one language are built together, as a *group*. A group's key is over its sources, its toolchain and this code: with
//! the same key nothing is done, and with the same key in another clone its modules are copied from the cache.

mod cache;
mod key;
mod rust;
mod scripts;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Parser;

use crate::paths;

/// Builds the guest policies.
#[derive(Debug, Parser)]
pub struct Args {
    /// Builds even where nothing changed.
    #[arg(long)]
    pub force: bool,
    /// Only the policies that come bound to the tiers, not the examples and the tests' own.
    #[arg(long)]
    pub shipped: bool,
}

pub(crate) use rust::toolchain;
pub(crate) use tools::virtual_environment;

/// Builds a group's modules into a folder.
type Build = Box<dyn Fn(&Path) -> Result<()>>;

/// Policies that are built together.
struct Group {
    name: &'static str,
    /// Where they go, relative to `policies/modules`.
    modules: Vec<String>,
    key: String,
    build: Build,
}

/// Builds what changed; prints each module's size and digest.
pub fn run(args: &Args) -> Result<()> {
    let mut groups = vec![rust::shipped()?];
    if !args.shipped {
        groups.extend([rust::fixtures()?, rust::texts()?, scripts::javascript()?, scripts::python()?]);
    }
    let modules = paths::root().join("policies/modules");
    groups.iter().try_for_each(|group| bring(group, &modules, args.force))
}

fn bring(group: &Group, modules: &Path, force: bool) -> Result<()> {
    let key_file = modules.join(format!(".{}.key", group.name));
    let complete = group.modules.iter().all(|module| modules.join(module).is_file());
    if !force && complete && fs::read_to_string(&key_file).is_ok_and(|last| last == group.key) {
        println!("guests: {}: {} modules are up to date", group.name, group.modules.len());
        return Ok(());
    }
    let kept = cache::folder(group)?;
    if force || !kept.is_complete(&group.modules) {
        kept.fill(|folder| (group.build)(folder))?;
    }
    for module in &group.modules {
        let path = kept.path().join(module);
        let bytes = fs::read(&path).with_context(|| format!("the build left no {}", path.display()))?;
        replace(&modules.join(module), &bytes)?;
        println!("guests: {module:<28} {:>9} bytes  sha256:{}", bytes.len(), key::hash([bytes.as_slice()]));
    }
    replace(&key_file, group.key.as_bytes())
}

/// Whole or not at all: a daemon may be watching.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let partial = path.with_extension("partial");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&partial, bytes))
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

//! Policies in JavaScript, with componentize-js. npm installs the locked toolchain into the cache (150 MB, some 10 s); a policy takes
//! some 10 s and is 12 MB, because it carries its JavaScript engine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{Group, key};
use crate::paths;

/// Folder of `guests/javascript`, world, module.
const POLICIES: [(&str, &str, &str); 1] = [("maintenance", "router", "javascript/maintenance.wasm")];
/// What makes the toolchain.
const TOOLCHAIN: [&str; 3] = ["package.json", "package-lock.json", "build.mjs"];

/// All of them.
pub fn group() -> Result<Group> {
    let key = key::of(&paths::root(), "", &["guests/javascript", "wit", "xtask/src/guests"], &[])?;
    let modules = POLICIES.iter().map(|(_, _, module)| (*module).to_owned()).collect();
    Ok(Group { name: "javascript", modules, key, build: Box::new(build) })
}

fn build(into: &Path) -> Result<()> {
    let root = paths::root();
    let toolchain = toolchain()?;
    for (name, world, module) in POLICIES {
        println!("guests: building {name} (JavaScript; about 10 s)");
        let out = into.join(module);
        fs::create_dir_all(out.parent().context("no folder")?)?;
        let source = root.join("guests/javascript").join(name).join("policy.js");
        let mut node = Command::new("node");
        node.arg("build.mjs").arg(source).arg(root.join("wit")).arg(world).arg(out);
        paths::run(node.current_dir(&toolchain))?;
    }
    Ok(())
}

/// The folder with the installed toolchain; installs it once per lock file.
fn toolchain() -> Result<PathBuf> {
    let sources = paths::root().join("guests/javascript");
    let files = TOOLCHAIN.map(|name| fs::read(sources.join(name)));
    let files = files.into_iter().collect::<Result<Vec<_>, _>>().context("cannot read guests/javascript")?;
    let key = key::hash(files.iter().map(Vec::as_slice));
    let folder = paths::cache()?.join("tools/javascript");
    let installed = folder.join(&key);
    if installed.join("node_modules").is_dir() {
        return Ok(installed);
    }
    ensure!(
        paths::find("npm").is_some(),
        "npm is not installed, and policies in JavaScript are built with it (Debian: apt-get install nodejs npm; Node from 20 on does)"
    );
    println!("guests: installing the JavaScript toolchain into the cache (once; 150 MB)");
    // Only one is kept: an older lock file's is of no use to anybody.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(&folder)?;
    for (name, text) in TOOLCHAIN.iter().zip(&files) {
        fs::write(partial.path().join(name), text)?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
    paths::run(npm.current_dir(partial.path()))?;
    fs::rename(partial.keep(), &installed).with_context(|| format!("cannot make {}", installed.display()))?;
    Ok(installed)
}

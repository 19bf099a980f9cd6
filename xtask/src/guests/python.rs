//! Policies in Python, with componentize-py. pip installs the pinned toolchain into the cache (70 MB); a policy takes some 10 s and is
//! 18 MB, because it carries its Python.
//!
//! `--stub-wasi` takes away what Python asks of a system: such a module imports nothing, and a script that calls for a clock or
//! a file traps.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Group, key};
use crate::{paths, services};

/// Folder of `guests/python`, world, module.
const POLICIES: [(&str, &str, &str); 1] = [("group_access", "authorizer", "python/group-access.wasm")];
/// The Python module that has the world's functions.
const ENTRY: &str = "policy";

/// All of them.
pub fn group() -> Result<Group> {
    let key = key::of(&paths::root(), "", &["guests/python", "wit", "xtask/src/guests"], &[])?;
    let modules = POLICIES.iter().map(|(_, _, module)| (*module).to_owned()).collect();
    Ok(Group { name: "python", modules, key, build: Box::new(build) })
}

fn build(into: &Path) -> Result<()> {
    let root = paths::root();
    let toolchain = toolchain()?;
    for (name, world, module) in POLICIES {
        println!("guests: building {name} (Python; about 10 s)");
        let out = into.join(module);
        fs::create_dir_all(out.parent().context("no folder")?)?;
        let mut python = Command::new(toolchain.join("bin/componentize-py"));
        python.env("PYTHONPATH", &toolchain).env("PYTHONDONTWRITEBYTECODE", "1");
        python.arg("--quiet").arg("--wit-path").arg(root.join("wit")).args(["--world", world]);
        python.args(["componentize", "--stub-wasi", "--python-path"]).arg(root.join("guests/python").join(name));
        paths::run(python.arg(ENTRY).arg("--output").arg(out))?;
    }
    Ok(())
}

/// The folder with the installed toolchain; installs it once per version.
fn toolchain() -> Result<PathBuf> {
    let requirements = paths::root().join("guests/python/requirements.txt");
    let text = fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = paths::cache()?.join("tools/python");
    let installed = folder.join(key::hash([text.as_slice()]));
    if installed.join("bin/componentize-py").is_file() {
        return Ok(installed);
    }
    services::pip()?;
    println!("guests: installing the Python toolchain into the cache (once; 70 MB)");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(&folder)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
    pip.arg("--require-hashes").arg("--requirement").arg(&requirements).arg("--target").arg(partial.path());
    paths::run(&mut pip)?;
    fs::rename(partial.keep(), &installed).with_context(|| format!("cannot make {}", installed.display()))?;
    Ok(installed)
}

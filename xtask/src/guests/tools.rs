//! componentize-js and componentize-py, installed once per version into the cache, where `orbitd policy build` finds them too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use orbit_authoring::{javascript, python};

use crate::{paths, services};

/// With npm, as the lock file says; 150 MB, some 10 s.
pub fn javascript() -> Result<()> {
    let target = javascript::shared_folder().context("neither HOME nor XDG_CACHE_HOME is set")?;
    if target.join("node_modules/.bin/componentize-js").is_file() {
        return Ok(());
    }
    ensure!(
        paths::find("npm").is_some(),
        "npm is not installed, and policies in JavaScript are built with it (Debian: apt-get install nodejs npm; Node from 20 on does)"
    );
    println!("guests: installing {} {} into the cache (once; 150 MB)", javascript::PACKAGE, javascript::VERSION);
    install(&target, |folder| {
        for name in ["package.json", "package-lock.json"] {
            let from = paths::root().join("guests/javascript").join(name);
            fs::copy(&from, folder.join(name)).with_context(|| format!("cannot read {}", from.display()))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
        paths::run(npm.current_dir(folder))
    })
}

/// With pip, under the hashes of `requirements.txt`; 70 MB, some seconds.
pub fn python() -> Result<()> {
    let target = python::shared_folder().context("neither HOME nor XDG_CACHE_HOME is set")?;
    if target.join("bin/componentize-py").is_file() {
        return Ok(());
    }
    println!("guests: installing {} {} into the cache (once; 70 MB)", python::PACKAGE, python::VERSION);
    virtual_environment(&target, &paths::root().join("guests/python/requirements.txt"))
}

/// Makes a folder into a virtual environment with what `requirements` name, under the hashes that it has.
pub(crate) fn virtual_environment(target: &Path, requirements: &Path) -> Result<()> {
    if !has_venv() {
        services::apt(&["python3", "python3-venv"])?;
    }
    // A virtual environment names its own place: it can't be made elsewhere and moved.
    install_in_place(target, |folder| {
        paths::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]);
        pip.arg("--require-hashes").arg("--requirement").arg(requirements);
        paths::run(&mut pip)
    })
}

fn has_venv() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import venv, ensurepip"]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// Whole or not at all.
fn install(target: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = parent(target)?;
    let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent)?;
    install(partial.path())?;
    let _ = fs::remove_dir_all(target);
    fs::rename(partial.keep(), target).with_context(|| format!("cannot make {}", target.display()))
}

fn install_in_place(target: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    parent(target)?;
    let _ = fs::remove_dir_all(target);
    install(target).inspect_err(|_| {
        let _ = fs::remove_dir_all(target);
    })
}

fn parent(target: &Path) -> Result<PathBuf> {
    let parent = target.parent().context("no folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    Ok(parent.to_owned())
}

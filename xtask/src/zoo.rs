//! `cargo xtask zoo --wasmtime 50`: the engine's tests, the zoo first among them, with another Wasmtime than the locked one
//! (row W-32). In a copy of the tree, with a target directory of its own, so that nothing here changes.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::paths;

/// How the locked version begins in `Cargo.toml`.
const LOCKED: &str = "wasmtime = { version = \"";

/// Which one.
#[derive(Debug, clap::Parser)]
pub struct Args {
    /// A version, `50.0.1`, or the newest of a line, `50`
    #[arg(long, value_name = "VERSION")]
    wasmtime: String,
}

/// Copies, changes the version, runs. What ends otherwise than its header says is what fails.
pub fn run(args: &Args) -> Result<()> {
    let version = &args.wasmtime;
    let numbers = version.split('.').collect::<Vec<_>>();
    let good = numbers.len() <= 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok());
    ensure!(good, "{version:?} is no version of Wasmtime; write it like 50 or 50.0.1");
    let requirement = if numbers.len() == 3 { format!("={version}") } else { version.clone() };
    let folder = paths::target().join("zoo").join(version);
    let copy = folder.join("tree");
    copy_tracked(&copy)?;
    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let (before, rest) =
        text.split_once(LOCKED).context("Cargo.toml does not name Wasmtime's version as it used to")?;
    let (locked, after) = rest.split_once('"').context("Cargo.toml does not name Wasmtime's version as it used to")?;
    println!("zoo: Wasmtime {version} instead of {locked}, in {}", copy.display());
    fs::write(&manifest, format!("{before}{LOCKED}{requirement}\"{after}"))?;
    let mut cargo = paths::cargo();
    cargo.current_dir(&copy).env("CARGO_TARGET_DIR", folder.join("target"));
    // The newest Wasmtime asks for the newest compiler, and is mostly content with an older one.
    let test = ["test", "--release", "--ignore-rust-version", "--package", "orbit-engine", "--no-fail-fast"];
    paths::run(cargo.args(test))
}

/// Every file that git knows, as it is now.
fn copy_tracked(to: &Path) -> Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(paths::root()).output();
    let listed = listed.context("cannot start `git ls-files`")?;
    ensure!(listed.status.success(), "`git ls-files` failed: {}", String::from_utf8_lossy(&listed.stderr));
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let (from, to) = (paths::root().join(name), to.join(name));
        // Deleted here, and not yet in git.
        if !from.is_file() {
            continue;
        }
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

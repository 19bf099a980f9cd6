//! `cargo xtask guests`: builds the policies of `guests/` and puts them, encoded as components, into `policies/modules/`.
//!
//! What compiles and how is in `orbit_authoring::rust`, which policy projects outside of this repository use too; here is what
//! is built, and that a missing compiler is installed. Nothing is done when neither sources nor compiler changed.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{self, SHA256};
use clap::Parser;
use orbit_authoring::rust::{self, DEBIAN_PACKAGES, TARGET, Toolchain};

/// Shipped policies go to `policies/modules`, test fixtures to `policies/modules/fixtures`.
const POLICIES: &[(&str, &str)] = &[
    ("route-plugins", ""),
    ("claims", ""),
    ("render-app-config", ""),
    ("hostile", "fixtures"),
    ("headers", "fixtures"),
];

/// `(component (import "f" (func)))`: asks for what no policy gets. For tests.
const IMPORTS: &[u8] = b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x06\x01\0\x01f\x01\0";

/// Builds the guest policies.
#[derive(Debug, Parser)]
pub struct Args {
    /// Builds even where nothing changed.
    #[arg(long)]
    pub force: bool,
}

/// Builds what changed; prints each module's size and digest.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    let modules = root.join("policies/modules");
    let target_dir = target_dir(root).join("guests");
    let toolchain = toolchain()?;
    let key = key(root, toolchain)?;
    let key_file = modules.join(".key");
    let complete = POLICIES.iter().all(|(name, folder)| modules.join(folder).join(format!("{name}.wasm")).is_file());
    if !args.force && complete && fs::read_to_string(&key_file).is_ok_and(|last| last == key) {
        println!("guests: {} modules are up to date", POLICIES.len());
        return Ok(());
    }
    build(root, &target_dir, toolchain)?;
    for (name, folder) in POLICIES {
        let file = rust::built_file(&target_dir, name);
        let module = fs::read(&file).with_context(|| format!("the build left no {}", file.display()))?;
        let component = rust::encode(&module).with_context(|| format!("policy {name}"))?;
        let folder = modules.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        replace(&folder.join(format!("{name}.wasm")), &component)?;
        println!("guests: {name:<18} {:>7} bytes  sha256:{}", component.len(), hash([component.as_slice()]));
    }
    replace(&modules.join("fixtures/imports.wasm"), IMPORTS)?;
    replace(&key_file, key.as_bytes())
}

fn build(root: &Path, target_dir: &Path, toolchain: Toolchain) -> Result<()> {
    println!("guests: building {} policies for {TARGET}", POLICIES.len());
    let mut cargo = toolchain.cargo_build(&root.join("guests"), target_dir);
    cargo.arg("--locked");
    for (name, _) in POLICIES {
        cargo.args(["--package", name]);
    }
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "the guests do not build ({status}); what cargo said is above");
    Ok(())
}

/// The compiler to use; installs Debian's where that is allowed, and else says how.
fn toolchain() -> Result<Toolchain> {
    if let Some(toolchain) = Toolchain::find() {
        return Ok(toolchain);
    }
    if output(Command::new("rustup").arg("--version")).is_some() {
        println!("guests: rustup target add {TARGET}");
        if Command::new("rustup").args(["target", "add", TARGET]).status().is_ok_and(|status| status.success()) {
            return Ok(Toolchain::Rustup);
        }
    }
    let line = format!("apt-get install -y --no-install-recommends {}", DEBIAN_PACKAGES.join(" "));
    if rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists() {
        println!("guests: {line}");
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-q", "--no-install-recommends"]).args(DEBIAN_PACKAGES);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        if !install.status().is_ok_and(|status| status.success()) {
            // The usual reason: package lists that are missing or old.
            let _ = Command::new("apt-get").args(["update", "-q"]).status();
            install.status().context("cannot start apt-get")?;
        }
        if let Some(toolchain) = Toolchain::find() {
            return Ok(toolchain);
        }
    }
    bail!(
        "no compiler for {TARGET}: rustup could not add the target (`rustup target add {TARGET}`), and Debian's packages are \
         not there; as root run `{line}` and try again"
    )
}

/// What the modules depend on: every source, and the compiler.
fn key(root: &Path, toolchain: Toolchain) -> Result<String> {
    let mut files = Vec::new();
    for folder in ["guests", "wit"] {
        collect(&root.join(folder), &mut files)?;
    }
    for file in ["xtask/src/guests.rs", "host/authoring/src/rust.rs"] {
        files.push(root.join(file));
    }
    files.sort();
    let mut context = digest::Context::new(&SHA256);
    context.update(toolchain.version().as_bytes());
    for file in files {
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        context.update(file.strip_prefix(root).unwrap_or(&file).as_os_str().as_encoded_bytes());
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(&text);
    }
    Ok(hex::encode(context.finish()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name() != Some(OsStr::new("target")) {
                collect(&path, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn target_dir(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        None => root.join("target"),
    }
}

/// Whole or not at all: a daemon may be watching.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = digest::Context::new(&SHA256);
    parts.into_iter().for_each(|part| context.update(part));
    hex::encode(context.finish())
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

//! `cargo xtask guests`: builds the policies of `guests/` and puts them, encoded as components, into `policies/modules/`.
//!
//! The target is `wasm32-unknown-unknown`: such a module imports nothing. Where rustup can't bring the target, Debian's
//! `rustc-web` compiles instead (facts: its standard library is built from source, about 40 s the first time). Nothing is
//! done when neither sources nor compiler changed.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{self, SHA256};
use clap::Parser;
use wit_component::ComponentEncoder;

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "rust-web-src", "rust-web-llvm", "lld-19"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-19";

/// 32 KiB of stack instead of 1 MiB: fewer pages to reset after each decision. 512 KiB of memory from the start: a decision
/// never has to grow it (see the SDK's allocator).
const RUSTFLAGS: &str = "-Clink-arg=-zstack-size=32768 -Clink-arg=--initial-memory=524288";

/// Shipped policies go to `policies/modules`, test fixtures to `policies/modules/fixtures`.
const POLICIES: &[(&str, &str)] =
    &[("route-plugins", ""), ("claims", ""), ("render-app-config", ""), ("hostile", "fixtures")];

/// `(component (import "f" (func)))`: asks for what no policy gets. For tests.
const IMPORTS: &[u8] = b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x06\x01\0\x01f\x01\0";

/// Builds the guest policies.
#[derive(Debug, Parser)]
pub struct Args {
    /// Builds even where nothing changed.
    #[arg(long)]
    pub force: bool,
}

/// What compiles the guests.
enum Toolchain {
    /// The one `cargo` itself uses, with the target installed.
    Rustup,
    /// Debian's compiler, with its standard library built from source.
    Debian,
}

/// Builds what changed; prints each module's size and digest.
pub fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
    let modules = root.join("policies/modules");
    let target_dir = target_dir(root).join("guests");
    let toolchain = toolchain()?;
    let key = key(root, &toolchain)?;
    let key_file = modules.join(".key");
    let complete = POLICIES.iter().all(|(name, folder)| modules.join(folder).join(format!("{name}.wasm")).is_file());
    if !args.force && complete && fs::read_to_string(&key_file).is_ok_and(|last| last == key) {
        println!("guests: {} modules are up to date", POLICIES.len());
        return Ok(());
    }
    build(root, &target_dir, &toolchain)?;
    for (name, folder) in POLICIES {
        let file = target_dir.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
        let module = fs::read(&file).with_context(|| format!("the build left no {}", file.display()))?;
        let component = ComponentEncoder::default()
            .validate(true)
            .module(&module)
            .and_then(|encoder| encoder.encode())
            .with_context(|| format!("{name} can't be encoded as a component"))?;
        let folder = modules.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        replace(&folder.join(format!("{name}.wasm")), &component)?;
        println!("guests: {name:<18} {:>7} bytes  sha256:{}", component.len(), hash([component.as_slice()]));
    }
    replace(&modules.join("fixtures/imports.wasm"), IMPORTS)?;
    replace(&key_file, key.as_bytes())
}

fn build(root: &Path, target_dir: &Path, toolchain: &Toolchain) -> Result<()> {
    println!("guests: building {} policies for {TARGET}", POLICIES.len());
    // The outer build's flags are for the host.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root.join("guests"))
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", RUSTFLAGS)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--release", "--locked", "--target", TARGET]);
    for (name, _) in POLICIES {
        cargo.args(["--package", name]);
    }
    if let Toolchain::Debian = toolchain {
        cargo
            .env("RUSTC", DEBIAN_RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", DEBIAN_LINKER)
            .env_remove("RUSTUP_TOOLCHAIN")
            .arg("-Zbuild-std=std,panic_abort");
    }
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "the guests do not build ({status}); what cargo said is above");
    Ok(())
}

/// The compiler to use; installs Debian's where that is allowed, and else says how.
fn toolchain() -> Result<Toolchain> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    if Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(Toolchain::Rustup);
    }
    if debian_is_complete() {
        return Ok(Toolchain::Debian);
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
        if debian_is_complete() {
            return Ok(Toolchain::Debian);
        }
    }
    bail!(
        "no compiler for {TARGET}: rustup could not add the target (`rustup target add {TARGET}`), and Debian's packages are \
         not there; as root run `{line}` and try again"
    )
}

fn debian_is_complete() -> bool {
    // The sources are a package of their own, and so is the linker.
    let sysroot = output(Command::new(DEBIAN_RUSTC).args(["--print", "sysroot"])).unwrap_or_default();
    let sources = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml");
    !sysroot.is_empty() && sources.is_file() && output(Command::new(DEBIAN_LINKER).arg("--version")).is_some()
}

/// What the modules depend on: every source, and the compiler.
fn key(root: &Path, toolchain: &Toolchain) -> Result<String> {
    let mut files = Vec::new();
    for folder in ["guests", "wit"] {
        collect(&root.join(folder), &mut files)?;
    }
    files.push(root.join("xtask/src/guests.rs"));
    files.sort();
    let mut context = digest::Context::new(&SHA256);
    let compiler = match toolchain {
        Toolchain::Rustup => "rustc",
        Toolchain::Debian => DEBIAN_RUSTC,
    };
    context.update(output(Command::new(compiler).arg("-vV")).unwrap_or_default().as_bytes());
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

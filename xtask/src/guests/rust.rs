//! Policies in Rust. The target is `wasm32-unknown-unknown`: such a module imports nothing. Where rustup can't bring the target,
//! Debian's `rustc-web` compiles instead (facts: its standard library is built from source, about 40 s the first time).

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use wit_component::ComponentEncoder;

use super::{
    Group,
    key::{self, output},
};
use crate::paths;

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "rust-web-src", "rust-web-llvm", "lld-19"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LINKER: &str = "wasm-ld-19";

/// 32 KiB of stack instead of 1 MiB: fewer pages to reset after each decision. 512 KiB of memory from the start: a decision
/// never has to grow it (see the SDK's allocator). A policy that needs more says so in its `build.rs`.
const RUSTFLAGS: &str = "-Clink-arg=-zstack-size=32768 -Clink-arg=--initial-memory=524288";

/// Package, module.
type Policies = &'static [(&'static str, &'static str)];

/// Bound to the tiers of `policies/`.
const SHIPPED: Policies = &[
    ("route-plugins", "route-plugins.wasm"),
    ("claims", "claims.wasm"),
    ("render-app-config", "render-app-config.wasm"),
];
/// Languages for those who write no code, and what only the tests bind.
const OTHERS: Policies = &[("rego", "rego.wasm"), ("cedar", "cedar.wasm"), ("hostile", "fixtures/hostile.wasm")];

/// `(component (import "f" (func)))`: asks for what no policy gets. For tests.
const IMPORTS: (&str, &[u8]) = ("fixtures/imports.wasm", b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x06\x01\0\x01f\x01\0");

/// What compiles the guests.
#[derive(Debug, Clone, Copy)]
enum Toolchain {
    /// The one `cargo` itself uses, with the target installed.
    Rustup,
    /// Debian's compiler, with its standard library built from source.
    Debian,
}

/// Those that come bound to the tiers.
pub fn shipped() -> Result<Group> {
    group("rust", SHIPPED, &[])
}

/// All others.
pub fn others() -> Result<Group> {
    group("rust-others", OTHERS, &[IMPORTS])
}

fn group(name: &'static str, policies: Policies, more: &'static [(&str, &[u8])]) -> Result<Group> {
    let toolchain = toolchain()?;
    let compiler = match toolchain {
        Toolchain::Rustup => "rustc",
        Toolchain::Debian => DEBIAN_RUSTC,
    };
    let compiler = output(Command::new(compiler).arg("-vV")).unwrap_or_default();
    let other_languages = ["guests/javascript", "guests/python"];
    let key = key::of(&paths::root(), &compiler, &["guests", "wit", "xtask/src/guests"], &other_languages)?;
    let modules = policies.iter().map(|(_, module)| (*module).to_owned());
    let modules = modules.chain(more.iter().map(|(module, _)| (*module).to_owned())).collect();
    let build = move |into: &Path| {
        build(policies, toolchain, into)?;
        more.iter().try_for_each(|(module, bytes)| write(&into.join(module), bytes))
    };
    Ok(Group { name, modules, key, build: Box::new(build) })
}

fn build(policies: Policies, toolchain: Toolchain, into: &Path) -> Result<()> {
    println!("guests: building {} policies for {TARGET}", policies.len());
    let target = paths::target().join("guests");
    // The outer build's flags are for the host.
    let mut cargo = paths::cargo();
    cargo
        .current_dir(paths::root().join("guests"))
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", RUSTFLAGS)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--release", "--locked", "--target", TARGET]);
    for (name, _) in policies {
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
    for (name, module) in policies {
        let file = target.join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
        let core = fs::read(&file).with_context(|| format!("the build left no {}", file.display()))?;
        let component = ComponentEncoder::default()
            .validate(true)
            .module(&core)
            .and_then(|encoder| encoder.encode())
            .with_context(|| format!("{name} can't be encoded as a component"))?;
        write(&into.join(module), &component)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("cannot write {}", path.display()))
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

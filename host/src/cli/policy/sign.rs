//! `orbitd policy sign`: a signed statement beside a module.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use orbit_engine::{World, inspect};
use serde_json::json;

use super::{Failure, Global, output, workbench::Module};
use crate::{
    ids::Digest,
    policy::trust::{Envelope, PrivateKey, SIGNATURE_SUFFIX, Statement},
};

const EXAMPLES: &str = "\
A tier with a [trust] section takes only what its keys signed, and never a signed version below one that it took before: so an
old module that allowed more can't come back. Without --signed-version the version is the time, in seconds since 1970.

Examples:
  orbitd policy sign office-hours.wasm --key ~/policy.key
  orbitd policy sign build/out.wasm --name office-hours --key ~/policy.key --signed-version 12";

/// What says who signs what.
#[derive(Debug, Args)]
pub struct Signing {
    /// The policy's own name, as it describes itself; without it the file's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A number that grows with each module that is to replace another [default: the time]
    #[arg(long, value_name = "N")]
    signed_version: Option<u64>,
}

/// Flags of `sign`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SignArgs {
    /// The module; the signature goes beside it, as <FILE>.sig
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The private key, from `orbitd policy keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

/// Signs.
///
/// # Errors
/// Module or key can't be read, or the module is no policy.
pub fn run(global: &Global, args: &SignArgs) -> Result<(), Failure> {
    let module = Module::read(&args.file)?;
    let (envelope, statement) = args.signing.sign(&module, &args.key)?;
    let path = signature_path(&args.file);
    let text = serde_json::to_string(&envelope).map_err(|error| Failure::failed(error.to_string()))?;
    let partial = path.with_extension("sig.partial");
    fs::write(&partial, text)
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    if global.json {
        output::json(&json!({"signature": path, "statement": statement}));
    } else {
        let Statement { name, world, version, digest } = &statement;
        output::line(format!("{}: {world} {name}, version {version}, {digest}", path.display()));
    }
    Ok(())
}

/// `<module>.sig`.
pub fn signature_path(module: &Path) -> PathBuf {
    let mut path = module.as_os_str().to_owned();
    path.push(SIGNATURE_SUFFIX);
    path.into()
}

impl Signing {
    /// Makes the statement and signs it. Nothing of the module is run: who signs need not trust it.
    pub fn sign(&self, module: &Module, key: &Path) -> Result<(Envelope, Statement), Failure> {
        let key = PrivateKey::read(key).map_err(|error| Failure::usage(error.to_string()))?;
        let no = |reason: String| Failure::usage(format!("cannot sign {}: {reason}", module.path.display()));
        let world = World::of(&inspect(&module.bytes).exports).map_err(|error| no(error.to_string()))?;
        let stem = module.path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
        let name = self.name.clone().or(stem).ok_or_else(|| no("its file has no name; pass --name".to_owned()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let statement = Statement {
            digest: Digest::of(&module.bytes),
            name,
            world: world.name().to_owned(),
            version: self.signed_version.unwrap_or(now),
        };
        Ok((Envelope::sign(&statement, &key), statement))
    }
}

//! `orbitd policy pull`: a module out of an OCI registry, for `policy check`, `test` and `bench`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::json;

use super::{
    Failure, Global,
    access::{REGISTRY_HELP, RegistryFlags, with_progress},
    output,
    sign::signature_path,
};
use crate::{ids::Digest, policy::remote::OciReference};

const EXAMPLES: &str = "\
Writes the module, and its signature beside it as <FILE>.sig if it has one. Nothing of it is run, and its signature is not looked at:
tiers do that.

Examples:
  orbitd policy pull oci://registry.example.org/policies/office-hours:1
  orbitd policy pull oci://localhost:5000/office-hours:dev --out candidate.wasm";

/// Flags of `pull`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{REGISTRY_HELP}"))]
pub struct PullArgs {
    /// oci://registry/repository:tag, or …@sha256:<digest>
    #[arg(value_name = "REF")]
    reference: OciReference,
    /// Where to put the module [default: the repository's last part, .wasm]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

/// Pulls.
///
/// # Errors
/// The registry does not give it, or it can't be written.
pub async fn run(global: &Global, args: PullArgs) -> Result<(), Failure> {
    let PullArgs { reference, out, force, registry } = args;
    let name = reference.repository().rsplit('/').next().unwrap_or("policy");
    let path = out.unwrap_or_else(|| format!("{name}.wasm").into());
    if !force && path.exists() {
        return Err(Failure::usage(format!("{} is there already; pass --force or another --out", path.display())));
    }
    let registries = registry.open(global, &reference);
    let pulled = with_progress(global, &format!("pulling {reference}"), registries.pull(&reference)).await;
    let pulled = pulled.map_err(|error| Failure::failed(format!("cannot pull {reference}: {error}")))?;
    write(&path, &pulled.module)?;
    let signature = signature_path(&path);
    match &pulled.signature {
        Some(text) => write(&signature, text.as_bytes())?,
        // One that was there is another module's.
        None => match fs::remove_file(&signature) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::failed(format!("cannot remove the old {}: {error}", signature.display())));
            }
            _ => {}
        },
    }
    let (pinned, digest, signed) =
        (reference.pin(&pulled.manifest), Digest::of(&pulled.module), pulled.signature.is_some());
    if global.json {
        output::json(&json!({"module": path, "pinned": pinned, "digest": digest, "signed": signed}));
    } else {
        output::line(pinned);
        let beside =
            if signed { format!(", its signature in {}", signature.display()) } else { ", not signed".to_owned() };
        output::note(format!("{digest} is in {}{beside}", path.display()));
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

//! `orbitd policy push`: a module into an OCI registry.

use std::{fs, io, path::PathBuf};

use clap::Args;
use orbit_engine::{World, inspect};
use serde_json::json;

use super::{
    Failure, Global,
    access::{REGISTRY_HELP, RegistryFlags, with_progress},
    output,
    sign::{Signing, signature_path},
    workbench::Module,
};
use crate::policy::remote::OciReference;

const EXAMPLES: &str = "\
A tier's file then names it: module = \"oci://registry.example.org/policies/office-hours:1\". orbitd follows the tag; the digest
that is printed never changes what it means. With --key the module is signed on the way; without it, the signature beside the
module goes with it, if there is one (`orbitd policy sign`).

Examples:
  orbitd policy push office-hours.wasm oci://registry.example.org/policies/office-hours:1 --key ~/policy.key
  orbitd policy push office-hours.wasm oci://registry.example.org/policies/office-hours:1 --username ci --password-env REGISTRY_TOKEN
  orbitd policy push office-hours.wasm oci://localhost:5000/office-hours:dev";

/// Flags of `push`.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{REGISTRY_HELP}"))]
pub struct PushArgs {
    /// The module
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// oci://registry/repository:tag
    #[arg(value_name = "REF")]
    reference: OciReference,
    /// Sign it with this private key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    registry: RegistryFlags,
}

/// Pushes.
///
/// # Errors
/// The module can't be read, signing fails, or the registry does not take it.
pub async fn run(global: &Global, args: PushArgs) -> Result<(), Failure> {
    let module = Module::read(&args.file)?;
    World::of(&inspect(&module.bytes).exports)
        .map_err(|error| Failure::usage(format!("cannot push {}: {error}", args.file.display())))?;
    let signature = match &args.key {
        Some(key) => {
            let (envelope, _) = args.signing.sign(&module, key)?;
            Some(serde_json::to_string(&envelope).map_err(|error| Failure::failed(error.to_string()))?)
        }
        None => match fs::read_to_string(signature_path(&args.file)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let path = signature_path(&args.file);
                return Err(Failure::usage(format!("cannot read the signature {}: {error}", path.display())));
            }
        },
    };
    let signed = signature.is_some();
    let registries = args.registry.open(global, &args.reference);
    let push = Box::pin(registries.push(&args.reference, module.bytes, signature));
    let pushed = with_progress(global, &format!("pushing to {}", args.reference), push).await;
    let pushed = pushed.map_err(|error| Failure::failed(format!("cannot push to {}: {error}", args.reference)))?;
    let pinned = args.reference.pin(&pushed.manifest);
    if global.json {
        output::json(
            &json!({"reference": args.reference.to_string(), "pinned": pinned, "digest": pushed.module, "signed": signed}),
        );
    } else {
        output::line(pinned);
        let how = if signed { "signed" } else { "not signed" };
        output::note(format!("{} is at {} now, {how}", pushed.module, args.reference));
    }
    Ok(())
}

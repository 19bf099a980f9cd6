//! `orbitd policy push`: a module into an OCI registry.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use orbit_engine::{World, inspect};
use serde_json::json;

use super::{
    Failure, Global,
    output::{self, Progress},
    sign::{Signing, signature_path},
    workbench::Module,
};
use crate::{
    policy::remote::{OciReference, Registries},
    settings::OciAccount,
};

/// A push that is over sooner says nothing.
const QUIET: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
A tier's file then names it: module = \"oci://registry.example.org/policies/office-hours:1\". orbitd follows the tag; the digest
that is printed never changes what it means. With --key the module is signed on the way; without it, the signature beside the
module goes with it, if there is one (`orbitd policy sign`).

Examples:
  orbitd policy push office-hours.wasm oci://registry.example.org/policies/office-hours:1 --key ~/policy.key
  orbitd policy push office-hours.wasm oci://localhost:5000/office-hours:dev";

/// Flags of `push`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PushArgs {
    /// The module
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// oci://registry/repository:tag; http is spoken with registries on this machine only
    #[arg(value_name = "REF")]
    reference: OciReference,
    /// Sign it with this private key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
    /// Who to be to the registry
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password or token
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
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
    let mut accounts = BTreeMap::new();
    if let (Some(username), Some(password_file)) = (args.username, args.password_file) {
        accounts.insert(args.reference.registry().to_owned(), OciAccount { username, password_file });
    }
    let signed = signature.is_some();
    let registries = Registries::new(accounts);
    let push = registries.push(&args.reference, module.bytes, signature);
    tokio::pin!(push);
    let (began, mut progress) = (Instant::now(), Progress::new(global.json));
    let pushed = loop {
        // Cancel-safe: the push itself is never dropped here.
        tokio::select! {
            pushed = &mut push => break pushed,
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                if began.elapsed() > QUIET {
                    progress.update(&format!("pushing to {}", args.reference), began.elapsed());
                }
            }
        }
    };
    progress.clear();
    let pushed = pushed
        .map_err(|error| Failure::failed(format!("cannot push to {}: {}", args.reference, error.with_causes())))?;
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

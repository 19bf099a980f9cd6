//! `orbitd policy keygen`: a key that signs policies.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Failure, Global, output};
use crate::policy::trust::PrivateKey;

const EXAMPLES: &str = "\
The file is the secret: who has it can change the policies of every tier that trusts its public key. What is printed is the
public key, for the tier's file:

  [trust]
  keys = [\"ed25519:…\"]

Example:
  orbitd policy keygen --out ~/policy.key";

/// Flags of `keygen`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KeygenArgs {
    /// The private key's file, made with mode 0600. An existing file is never overwritten
    #[arg(long, value_name = "FILE", default_value = "policy.key")]
    out: PathBuf,
}

/// Makes the key.
///
/// # Errors
/// The file is there already or can't be written.
pub fn run(global: &Global, args: &KeygenArgs) -> Result<(), Failure> {
    let key =
        PrivateKey::generate(&args.out).map_err(|error| Failure::failed(format!("{error}; choose another --out")))?;
    let public = key.public();
    if global.json {
        output::json(&json!({"private_key": args.out, "public_key": public, "key_id": public.id()}));
    } else {
        output::line(public.to_string());
        output::note(format!("the private key is in {}; keep it secret", args.out.display()));
    }
    Ok(())
}

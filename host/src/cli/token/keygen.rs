//! `orbitd token keygen`.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        failure::{Code, Failure},
        output,
    },
    identity::SigningKey,
};

/// The private key's file.
const PRIVATE: &str = "private.pem";
/// The public key's file.
const PUBLIC: &str = "jwks.json";
/// Characters per line of a PEM body (RFC 7468).
const PEM_LINE: usize = 64;

/// Flags of `keygen`.
#[derive(Debug, Args)]
pub struct KeygenArgs {
    /// Folder for the two files; made if missing. An existing key is never overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Makes both files.
pub fn run(args: &KeygenArgs, as_json: bool) -> Result<(), Failure> {
    let (private, public) = generate(&args.out)?;
    if as_json {
        output::json(&json!({"private_key": private, "jwks": public}));
    } else {
        output::line(format!("private key: {} (keep it secret)", private.display()));
        output::line(format!("public keys: {} (auth.issuers.jwks_file)", public.display()));
    }
    Ok(())
}

/// The paths of private key and JWKS.
pub fn generate(folder: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    // The issuer is part of tokens that this type signs itself; here only its key and its JWKS are wanted.
    let (key, pkcs8) = SigningKey::generate(String::new()).map_err(|error| Failure::failed(error.to_string()))?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| refused(folder, &error))?;
    let (private, public) = (folder.join(PRIVATE), folder.join(PUBLIC));
    write_new(&private, 0o600, &pem(&pkcs8))?;
    write_new(&public, 0o644, &format!("{:#}\n", key.jwks()))?;
    Ok((private, public))
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(PEM_LINE.min(rest.len()));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        let message = format!("{} exists already and is not overwritten; choose another --out", path.display());
        return Failure { code: Code::Conflict, message };
    }
    Failure::failed(format!("cannot make {}: {error}; choose a folder this user may write to", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("keys");
        let (private, public) = generate(&folder).expect("made");
        let mode = std::fs::metadata(&private).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let jwks = std::fs::read_to_string(&public).expect("there");
        assert!(jwks.contains("\"ES256\"") && !jwks.contains("\"d\""), "{jwks}");
        assert_eq!(generate(&folder).expect_err("there already").code, Code::Conflict);
    }
}

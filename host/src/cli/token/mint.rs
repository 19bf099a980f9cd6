//! `orbitd token mint`.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::{
    cli::{failure::Failure, output, span},
    identity::SigningKey,
    ids::Slug,
};

/// A PEM file that is longer holds no P-256 key.
const MAX_KEY_BYTES: u64 = 16 << 10;

/// Flags of `mint`.
#[derive(Debug, Args)]
pub struct MintArgs {
    /// The private key's file, from `orbitd token keygen` (the key itself never goes into an argument)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// iss
    #[arg(long)]
    issuer: String,
    /// aud
    #[arg(long)]
    audience: String,
    /// sub: the user
    #[arg(long)]
    subject: String,
    /// Roles in a workspace: acme=developer or acme=developer,admin; repeat it
    #[arg(long = "workspace", value_name = "SLUG=ROLES")]
    workspaces: Vec<Membership>,
    /// groups: a group of the user; repeat it
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// How long it lives
    #[arg(long, default_value = "8h", value_parser = span::parse, value_name = "DURATION")]
    lifetime: Duration,
}

/// `acme=developer,admin`.
#[derive(Debug, Clone)]
struct Membership {
    slug: Slug,
    roles: Vec<String>,
}

impl FromStr for Membership {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (slug, roles) = text.split_once('=').ok_or("write it as <slug>=<role>, for example acme=developer")?;
        let slug = slug.parse().map_err(|error: crate::ids::InvalidId| error.to_string())?;
        let roles: Vec<String> = roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect();
        Ok(Self { slug, roles })
    }
}

/// Prints the token.
pub fn run(args: &MintArgs, as_json: bool) -> Result<(), Failure> {
    let (token, expires_at) = mint(args, OffsetDateTime::now_utc())?;
    match as_json {
        true => output::json(&json!({"token": token, "expires_at": expires_at})),
        false => output::line(token),
    }
    Ok(())
}

/// The token, and when it ends (seconds since the epoch).
fn mint(args: &MintArgs, now: OffsetDateTime) -> Result<(String, i64), Failure> {
    let refused = |why: &str| Failure::usage(format!("cannot sign with the key {}: {why}", args.key.display()));
    let pem = read_key(&args.key)?;
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(
        key_id(&pem)
            .ok_or_else(|| refused("it is no P-256 private key in PKCS#8 PEM; make one with `orbitd token keygen`"))?,
    );
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).map_err(|error| refused(&error.to_string()))?;
    let issued = now.unix_timestamp();
    let expires = issued + i64::try_from(args.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
    let mut workspaces = Map::new();
    for Membership { slug, roles } in &args.workspaces {
        workspaces.insert(slug.to_string(), json!(roles));
    }
    let claims = json!({
        "iss": args.issuer, "aud": args.audience, "sub": args.subject, "iat": issued, "exp": expires,
        "jti": uuid::Uuid::now_v7(), "workspaces": Value::Object(workspaces), "groups": args.groups,
    });
    let token = jsonwebtoken::encode(&header, &claims, &key).map_err(|error| refused(&error.to_string()))?;
    Ok((token, expires))
}

fn read_key(path: &Path) -> Result<String, Failure> {
    let refused = |why: String| {
        Failure::usage(format!("cannot read the key {}: {why}; make one with `orbitd token keygen`", path.display()))
    };
    let length = fs::metadata(path).map_err(|error| refused(error.to_string()))?.len();
    if length > MAX_KEY_BYTES {
        return Err(refused(format!("{length} bytes are too many for a key")));
    }
    fs::read_to_string(path).map_err(|error| refused(error.to_string()))
}

/// The `kid` of this key in the JWKS that `keygen` wrote beside it.
fn key_id(pem: &str) -> Option<String> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body.trim()).ok()?;
    let jwks = SigningKey::from_pkcs8(&der, String::new()).ok()?.jwks();
    jwks["keys"][0]["kid"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};

    use super::*;
    use crate::cli::token::keygen;

    fn args(key: PathBuf) -> MintArgs {
        MintArgs {
            key,
            issuer: "http://issuer".into(),
            audience: "orbitd".into(),
            subject: "alice".into(),
            workspaces: vec!["acme=developer,admin".parse().expect("a membership")],
            groups: vec!["team-a".into()],
            lifetime: Duration::from_secs(600),
        }
    }

    #[test]
    fn a_minted_token_is_verified_with_the_key_set_beside_its_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let (private, public) = keygen::generate(dir.path()).expect("a key pair");
        let (token, expires_at) = mint(&args(private), OffsetDateTime::now_utc()).expect("a token");
        let jwks: JwkSet = serde_json::from_str(&std::fs::read_to_string(public).expect("there")).expect("a JWKS");
        let kid = decode_header(&token).expect("a header").kid.expect("a kid");
        let key = DecodingKey::from_jwk(jwks.find(&kid).expect("the key by its kid")).expect("a public key");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&["http://issuer"]);
        validation.set_audience(&["orbitd"]);
        let claims = decode::<Value>(&token, &key, &validation).expect("a valid signature").claims;
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["workspaces"], json!({"acme": ["developer", "admin"]}));
        assert_eq!(claims["groups"], json!(["team-a"]));
        assert_eq!(claims["exp"], expires_at);
    }

    #[test]
    fn what_is_no_key_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("no.pem");
        assert!(mint(&args(path.clone()), OffsetDateTime::now_utc()).expect_err("missing").message.contains("keygen"));
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").expect("written");
        assert!(mint(&args(path), OffsetDateTime::now_utc()).expect_err("no key").message.contains("P-256"));
        assert!("acme".parse::<Membership>().is_err() && "Acme=x".parse::<Membership>().is_err());
    }
}

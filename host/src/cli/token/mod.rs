//! `orbitd token …`: a throw-away issuer for demos and tests. In production tokens come from the organisation's own issuer
//! and orbitd only verifies them.

mod keygen;
mod mint;

use clap::{Args, Subcommand};

use super::{Global, failure::Failure};

const EXAMPLES: &str = "\
For demos and tests only: in production your identity provider issues the tokens, and orbitd only verifies them.

Examples:
  orbitd token keygen --out ./demo-keys
  orbitd token mint --key ./demo-keys/private.pem --issuer http://demo.issuer --audience orbitd \\
      --subject alice --workspace acme=developer --group team-a --lifetime 8h > alice.jwt

The daemon believes them with:
  [[auth.issuers]]
  issuer = \"http://demo.issuer\"
  audience = \"orbitd\"
  jwks_file = \"demo-keys/jwks.json\"";

/// `orbitd token`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make an ES256 key pair: private.pem (PKCS#8, mode 0600) and jwks.json. For demos and tests
    Keygen(keygen::KeygenArgs),
    /// Sign a token with such a key and print it. For demos and tests
    Mint(mint::MintArgs),
}

/// Runs one.
pub fn run(global: &Global, args: TokenArgs) -> Result<(), Failure> {
    match args.command {
        TokenCommand::Keygen(args) => keygen::run(&args, global.json),
        TokenCommand::Mint(args) => mint::run(&args, global.json),
    }
}

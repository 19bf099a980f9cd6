//! `orbitd workspace login`: a one-time URL that signs a browser in.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::path;
use crate::{
    cli::{client::Client, failure::Failure, files, output, span},
    ids::Slug,
};

const EXAMPLES: &str = "\
Examples:
  orbitd workspace login acme --token-file alice.jwt
  orbitd token mint … | orbitd workspace login acme --token-file -

The URL works once. It sets an HttpOnly cookie and opens the workspace, signed in as the token's user.";

/// Flags of `login`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LoginArgs {
    /// Its name
    slug: Slug,
    /// File that holds the user's token (a JWT); - reads stdin
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// How long the URL may be used
    #[arg(long, default_value = "1h", value_parser = span::parse, value_name = "DURATION")]
    lifetime: Duration,
}

/// Prints the URL.
pub async fn run(client: &Client, args: LoginArgs, as_json: bool) -> Result<(), Failure> {
    let body = json!({"token": files::token(&args.token_file)?, "lifetime_s": args.lifetime.as_secs()});
    let answer = client.call(Method::POST, &format!("{}/login-links", path(&args.slug)), Some(body)).await?;
    if as_json {
        output::json(&answer);
        return Ok(());
    }
    let url = answer["login_url"].as_str();
    output::line(url.ok_or_else(|| Failure::failed("the daemon's answer holds no login_url: is it another version?"))?);
    Ok(())
}

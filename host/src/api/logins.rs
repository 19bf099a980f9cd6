//! One-time login links: an operator gives somebody a URL that becomes their session when it is first opened.

use std::time::Duration;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    App, Problem,
    error::Kind,
    extract::{InPath, JsonBody},
};
use crate::{authn::AuthnRefusal, lifecycle::LifecycleError};

/// Seconds in which a link may be opened, unless the caller says otherwise.
const DEFAULT_LIFETIME: u64 = 3_600;
const MAX_LIFETIME: u64 = 86_400;
/// Bytes; the proxy takes no longer one.
const MAX_TOKEN: usize = 16 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLink {
    /// The user's token: what the session will be.
    token: String,
    lifetime_s: Option<u64>,
}

#[derive(Serialize)]
struct Link {
    login_url: String,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

/// 201 with the link. It holds a one-time code, never the token.
pub(super) async fn create(
    State(app): State<App>,
    InPath(slug): InPath,
    JsonBody(new): JsonBody<NewLink>,
) -> Result<impl IntoResponse, Problem> {
    let workspace = app.workspaces.get(&slug).await?;
    if workspace.deleting {
        return Err(LifecycleError::Deleting(slug).into());
    }
    let lifetime = new.lifetime_s.unwrap_or(DEFAULT_LIFETIME);
    if !(1..=MAX_LIFETIME).contains(&lifetime) {
        return Err(Problem::new(
            Kind::Invalid,
            format!("lifetime_s must be 1 to {MAX_LIFETIME} seconds, not {lifetime}"),
        ));
    }
    let now = OffsetDateTime::now_utc();
    // A link must not outlive what it leads to.
    let expires_at = verify(&app, &new.token).await?;
    let lifetime = lifetime.min(u64::try_from(expires_at - now.unix_timestamp()).unwrap_or(0).max(1));
    let lifetime = Duration::from_secs(lifetime);
    let code = app.logins.issue(workspace.id, new.token, lifetime);
    if code.is_empty() {
        return Err(Problem::new(Kind::Internal, "the system's random generator failed"));
    }
    let url = app.proxy.public_url(&slug, app.proxy_port);
    let link = Link { login_url: format!("{url}/.orbit/login?code={code}"), expires_at: now + lifetime };
    Ok((StatusCode::CREATED, Json(link)))
}

/// The token's end in seconds since the epoch, if it is to be believed. A token that the proxy would refuse is refused here,
/// where somebody can still do something about it.
async fn verify(app: &App, token: &str) -> Result<i64, Problem> {
    let parts = token.split('.').collect::<Vec<_>>();
    let is_base64url =
        |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if token.len() > MAX_TOKEN || parts.len() != 3 || !parts.iter().all(is_base64url) {
        return Err(Problem::new(
            Kind::TokenRefused,
            "token must be a signed JWT (three base64url parts, at most 16 KiB)",
        ));
    }
    match app.authenticator.verify(token).await {
        Ok(verified) => Ok(verified.expires_at),
        Err(AuthnRefusal::Invalid(reason)) => {
            Err(Problem::new(Kind::TokenRefused, format!("the proxy would refuse this token: {}", reason.as_str())))
        }
        Err(AuthnRefusal::KeysUnavailable) => {
            Err(Problem::new(Kind::Unavailable, "the issuer's keys can't be had now; try again"))
        }
    }
}

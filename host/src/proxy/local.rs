//! What the front answers itself: signing in and out, and the browser app's question who its user is.

use http::{
    HeaderValue, Method, Response, StatusCode,
    header::{LOCATION, SET_COOKIE},
};
use serde_json::json;
use time::OffsetDateTime;

use super::{
    Proxy,
    body::Body,
    credentials::set_cookie,
    error::{ProxyError, local},
    page,
    user_tokens::Minted,
};
use crate::{authn::VerifiedToken, directory::Entry, identity::BackstageUser};

/// Paths below it never reach an instance.
pub(super) const LOCAL: &str = "/.orbit/";
/// The browser app asks here who its user is.
pub(super) const REFRESH: &str = "/api/auth/orbitd/refresh";
/// The browser app signs out here.
pub(super) const LOGOUT: &str = "/api/auth/orbitd/logout";

const JSON: &str = "application/json";

/// A page below [`LOCAL`]. `entry` is `None` where there is no such workspace: its login codes are as unknown as any.
pub(super) async fn page(
    proxy: &Proxy,
    entry: Option<&Entry>,
    method: &Method,
    path: &str,
    query: &str,
    request_id: &HeaderValue,
) -> Result<Response<Body>, ProxyError> {
    match (method, path) {
        (&Method::GET, "/.orbit/login") => login(proxy, entry, query, request_id).await,
        (&Method::GET, "/.orbit/logout") => {
            let mut response = local(StatusCode::OK, "text/html; charset=utf-8", page::signed_out(), request_id);
            end_session(&mut response, proxy.site.https());
            Ok(response)
        }
        _ => Err(ProxyError::NoPage),
    }
}

/// The workspace that a page followed is there.
pub(super) fn there(request_id: &HeaderValue) -> Response<Body> {
    local(StatusCode::NO_CONTENT, JSON, "", request_id)
}

/// Exchanges a one-time code for the session cookie.
async fn login(
    proxy: &Proxy,
    entry: Option<&Entry>,
    query: &str,
    request_id: &HeaderValue,
) -> Result<Response<Body>, ProxyError> {
    // The code's alphabet needs no percent sign: there is nothing to decode.
    let code = query.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap_or_default();
    let token = entry.and_then(|entry| proxy.logins.redeem(entry.id, code)).ok_or(ProxyError::LoginCode)?;
    // The link may be older than what it stands for.
    let verified = proxy.authenticator.verify(&token).await.map_err(|_| ProxyError::LoginCode)?;
    let cookie = set_cookie(&token, seconds_left(&verified), proxy.site.https()).ok_or(ProxyError::LoginCode)?;
    let mut response = local(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "Signed in.\n", request_id);
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
    response.headers_mut().insert(SET_COOKIE, cookie);
    Ok(response)
}

/// Ends the browser's session, on the app's behalf.
pub(super) fn logout(https: bool, request_id: &HeaderValue) -> Response<Body> {
    let mut response = local(StatusCode::OK, JSON, "{}", request_id);
    end_session(&mut response, https);
    response
}

fn end_session(response: &mut Response<Body>, https: bool) {
    if let Some(cookie) = set_cookie("", 0, https) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
}

/// Who the user is, in the shape of Backstage's `ProxiedSignInPage` (facts.md 1).
pub(super) fn refresh(
    token: &VerifiedToken,
    user: &BackstageUser,
    minted: &Minted,
    request_id: &HeaderValue,
) -> Response<Body> {
    let claim = |name: &str| token.claims.get(name).and_then(|value| value.as_str());
    let mut profile = serde_json::Map::new();
    for (name, value) in [("email", claim("email")), ("displayName", claim("name")), ("picture", claim("picture"))] {
        if let Some(value) = value {
            profile.insert(name.into(), value.into());
        }
    }
    let answer = json!({
        "profile": profile,
        "providerInfo": {},
        "backstageIdentity": {
            "token": minted.token,
            "identity": {
                "type": "user", "userEntityRef": user.entity_ref, "ownershipEntityRefs": user.ownership,
            },
        },
    });
    local(StatusCode::OK, JSON, answer.to_string(), request_id)
}

/// Seconds that a token has left.
pub(super) fn seconds_left(token: &VerifiedToken) -> i64 {
    token.expires_at - OffsetDateTime::now_utc().unix_timestamp()
}

//! The internal listener: what an instance asks of orbitd, which is its auth service (facts.md 1, "Identity").
//!
//! ```text
//! GET /i/<per-instance secret>/api/auth/.well-known/jwks.json   the workspace's public key
//! GET /i/<per-instance secret>/api/auth/v1/userinfo             whose token this is (full and limited user tokens)
//! ```
//!
//! The secret is the whole authority: it names the workspace, so an instance can only ever ask about its own. Everything
//! else, an unknown secret included, is one and the same 404. Backstage asks for user info only with limited tokens (full
//! ones carry `ent`); the workspace's key remembers what the user was last minted with.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use time::OffsetDateTime;

use crate::directory::{Entry, InternalPaths};

/// Hex digits of a secret (HMAC-SHA256); anything else is not even looked up.
const SECRET_DIGITS: usize = 64;

/// Everything the internal listener answers.
pub fn internal_router(paths: Arc<InternalPaths>) -> Router {
    Router::new().fallback(answer).with_state(paths)
}

async fn answer(State(paths): State<Arc<InternalPaths>>, request: Request) -> Response {
    let Some((entry, rest)) = resolve(&paths, request.uri().path()) else { return not_found() };
    match (request.method(), rest) {
        (&Method::GET, "api/auth/.well-known/jwks.json") => {
            // jose, Backstage's client, keeps a key set for 10 minutes by itself; others may keep it as long as this says.
            ([(header::CACHE_CONTROL, "max-age=60")], Json(entry.signing.jwks())).into_response()
        }
        (&Method::GET, "api/auth/v1/userinfo") => user_info(&entry, request.headers(), OffsetDateTime::now_utc()),
        _ => not_found(),
    }
}

/// `/i/<secret>/<rest>` → whose instance asks, and `<rest>`.
fn resolve<'a>(paths: &InternalPaths, path: &'a str) -> Option<(Arc<Entry>, &'a str)> {
    let (secret, rest) = path.strip_prefix("/i/")?.split_once('/')?;
    let well_formed = secret.len() == SECRET_DIGITS && secret.bytes().all(|b| b.is_ascii_hexdigit());
    let entry = well_formed.then(|| paths.get(secret)).flatten()?;
    Some((entry, rest))
}

fn user_info(entry: &Entry, headers: &HeaderMap, now: OffsetDateTime) -> Response {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let token = match (fields.next(), fields.next()) {
        (Some(only), None) => only.to_str().ok().and_then(|field| field.split_once(' ')),
        _ => None,
    };
    let user = token
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| entry.signing.verify(token.trim(), now).ok());
    match user {
        Some(user) => {
            let body = json!({ "claims": { "sub": user.entity_ref, "ent": user.ownership } });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        // The shape that Backstage's ResponseError reads.
        None => refuse(StatusCode::UNAUTHORIZED, "AuthenticationError", "not a living user token of this workspace"),
    }
}

fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "NotFoundError", "not found")
}

fn refuse(status: StatusCode, name: &str, message: &str) -> Response {
    let body = json!({ "error": { "name": name, "message": message }, "response": { "statusCode": status.as_u16() } });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{
        identity::{BackstageUser, SigningKey},
        ids::WorkspaceId,
    };

    async fn ask(router: &Router, method: &str, path: &str, bearer: Option<&str>) -> (u16, Value) {
        let mut request = http::Request::builder().method(method).uri(path);
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let response =
            router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    fn workspace(slug: &str) -> Arc<Entry> {
        let (signing, _) = SigningKey::generate(format!("http://{slug}.localhost")).expect("a key");
        let name = |text: &str| text.parse().expect("a name");
        Entry::new(WorkspaceId::generate(), slug.parse().expect("a slug"), name("pro"), Arc::new(signing))
    }

    #[tokio::test]
    async fn an_instance_learns_its_own_workspaces_keys_and_users_and_nothing_else() {
        let paths = Arc::new(InternalPaths::default());
        let (acme, globex) = (workspace("acme"), workspace("globex"));
        let (ours, theirs) = ("a".repeat(64), "b".repeat(64));
        paths.insert(ours.clone(), acme.clone());
        paths.insert(theirs.clone(), globex.clone());
        let router = internal_router(paths.clone());

        let (status, keys) = ask(&router, "GET", &format!("/i/{ours}/api/auth/.well-known/jwks.json"), None).await;
        assert_eq!((status, &keys), (200, &acme.signing.jwks()));

        let ownership = vec!["user:default/alice".to_owned(), "group:default/a".to_owned()];
        let alice = BackstageUser { entity_ref: "user:default/alice".into(), ownership };
        let token = acme.signing.mint(&alice, OffsetDateTime::now_utc()).expect("signed").token;
        let info = format!("/i/{ours}/api/auth/v1/userinfo");
        let (status, body) = ask(&router, "GET", &info, Some(&token)).await;
        let claims = json!({"claims": {"sub": "user:default/alice", "ent": ["user:default/alice", "group:default/a"]}});
        assert_eq!((status, body), (200, claims));
        assert_eq!(ask(&router, "GET", &info, None).await.0, 401);
        assert_eq!(ask(&router, "GET", &info, Some("x.y.z")).await.0, 401);
        let elsewhere = format!("/i/{theirs}/api/auth/v1/userinfo");
        assert_eq!(ask(&router, "GET", &elsewhere, Some(&token)).await.0, 401, "another workspace's token");

        let nothing = ask(&router, "GET", "/", None).await;
        assert_eq!(nothing.0, 404);
        for path in [
            format!("/i/{}/api/auth/.well-known/jwks.json", "c".repeat(64)),
            format!("/i/{}/api/auth/.well-known/jwks.json", "c".repeat(63)),
            format!("/i/{ours}/api/auth/"),
            format!("/i/{ours}/api/auth/.well-known/../.well-known/jwks.json"),
            format!("/i/{ours}"),
            "/i/".to_owned(),
        ] {
            assert_eq!(ask(&router, "GET", &path, Some(&token)).await, nothing, "{path}");
        }
        assert_eq!(ask(&router, "POST", &info, Some(&token)).await, nothing);
        paths.remove(&ours);
        assert_eq!(ask(&router, "GET", &info, Some(&token)).await, nothing, "the instance is gone");
    }
}

//! The layers around every admin route.

use std::{net::IpAddr, panic::AssertUnwindSafe, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::{App, Problem, error::Kind, wait::MAX_WAIT};

/// Longest time for an ordinary request, its body included.
const DEADLINE: Duration = Duration::from_secs(30);
/// What monitoring asks without a token. Everything else needs one.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/openapi.json"];
/// Probes name the machine as they like (a pod's name); they learn one word.
const ANY_HOST: [&str; 2] = ["/healthz", "/readyz"];
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request its id, writes problems, and logs changes.
pub(super) async fn identify(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(200).collect();
    let mut response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // The panic hook has logged it; this client gets an answer and the connection lives on.
        Err(_) => Problem::new(Kind::Internal, "a bug in orbitd; its log says more").into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.render(response, &id);
    }
    let status = response.status().as_u16();
    if method == Method::GET || method == Method::HEAD {
        tracing::debug!(request_id = %id, %method, path, status, "admin request");
    } else {
        tracing::info!(request_id = %id, %method, path, status, "admin request");
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    // Answers hold what only an operator may see.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Answers only for hosts that no foreign DNS can point here: IP addresses, `localhost`, and configured names.
pub(super) async fn host(State(app): State<App>, request: Request, next: Next) -> Response {
    // RFC 9112 3.2.2: an absolute target's authority wins over Host.
    let named = request.uri().authority().map(|a| a.as_str().to_owned());
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let header = hosts.next().and_then(|value| value.to_str().ok()).map(str::to_owned);
    let ambiguous = hosts.next().is_some();
    let open = ANY_HOST.contains(&request.uri().path());
    match named.or(header) {
        _ if ambiguous => Problem::new(Kind::BadRequest, "more than one Host header").into_response(),
        _ if open => next.run(request).await,
        Some(host) if is_ours(&host, &app.hosts) => next.run(request).await,
        Some(host) => {
            let host: String = host.chars().take(100).collect();
            let detail = format!("{host:?} is no IP address, not localhost and not in admin.hosts of orbitd.toml");
            Problem::new(Kind::WrongHost, detail).into_response()
        }
        None => Problem::new(Kind::BadRequest, "the Host header is missing").into_response(),
    }
}

/// `host` as in `Host`, with or without port.
fn is_ours(host: &str, configured: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _port)| address),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || configured.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

/// Lets only the admin token's bearer through, except to what is open.
pub(super) async fn bearer(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut fields = request.headers().get_all(header::AUTHORIZATION).iter();
    let presented = match (fields.next(), fields.next()) {
        (Some(only), None) => only.to_str().ok().and_then(|field| {
            let (scheme, token) = field.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        }),
        _ => None,
    };
    if presented.is_some_and(|token| app.token.accepts(token)) || OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let detail = "send `Authorization: Bearer <text of admin.token in the data directory>`";
    Problem::new(Kind::Unauthorized, detail).into_response()
}

/// Ends what takes too long. A change goes on in its own task.
pub(super) async fn deadline(request: Request, next: Next) -> Response {
    let waits = request.uri().query().is_some_and(|query| query.contains("wait="));
    // Every byte of a backup is read, or written before a restore.
    let reads_all = request.uri().path().ends_with("/verify") || request.uri().path().ends_with("/restore");
    let limit = if waits || reads_all { MAX_WAIT + DEADLINE } else { DEADLINE };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!(
                "no answer within {} s; a change may still be under way: look before you repeat it",
                limit.as_secs()
            );
            Problem::new(Kind::Timeout, detail).into_response()
        }
    }
}

/// 404 for paths that are no route.
pub(super) async fn no_route() -> Problem {
    Problem::new(Kind::NoSuchRoute, "see /openapi.json for what there is")
}

/// 405 for methods that a route does not have.
pub(super) async fn no_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the Allow header names the methods of this route")
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_hosts_that_no_foreign_dns_can_rebind_are_ours() {
        let names = ["orbitd.example.org".to_owned()];
        for good in [
            "127.0.0.1",
            "127.0.0.1:7081",
            "[::1]:7081",
            "[::1]",
            "localhost",
            "LOCALHOST:1",
            "10.0.0.3:80",
            "Orbitd.example.org:80",
        ] {
            assert!(is_ours(good, &names), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:7081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]:1",
            "[::1",
            "a@127.0.0.1",
        ] {
            assert!(!is_ours(bad, &names), "{bad}");
        }
    }
}

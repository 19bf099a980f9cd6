//! The way of a request, in order. Everything it decides is decided in pure functions next door; here is only the list.
//!
//! Where an error comes from says what the client learns: before step 5 nothing about workspaces, before step 8 nothing about
//! instances.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::Instant;

use super::{
    Proxy,
    authority::{Authority, Place, Site},
    body::{Body, Upload},
    credentials::Credentials,
    download::Exchange,
    error::{ProxyError, Reply},
    headers::{self, Identity},
    link::{ExchangeError, Link},
    local,
    metrics::Counted,
    pool,
    session::{Session, authenticate},
    tunnel::Tunnel,
    validate::{self, Reject},
};
use crate::{
    directory::{Entry, InFlight},
    ids::PluginId,
    policy::RequestFacts,
};

/// Times that a request meets an instance that is gone before it is given up.
const MAX_ATTEMPTS: u32 = 3;

/// What a connection knows of its client.
pub(super) struct Peer {
    /// `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
}

/// Answers a request, whatever comes: the one place where outcomes are counted and written to the access log.
pub(super) async fn answer(proxy: &Arc<Proxy>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let started = Instant::now();
    let _active = Counted::new(&proxy.metrics.active);
    let request_id = proxy.request_ids.next();
    let html = wants_html(request.method(), request.headers());
    let had_body = !request.body().is_end_stream();
    let mut slug = String::new();
    let arrival = Arrival { request_id: &request_id, at: started, browser: html };
    let outcome = steps(proxy, peer, &arrival, request, &mut slug).await;
    let took = started.elapsed();
    let (response, error) = match outcome {
        Ok(mut answer) => {
            if answer.local {
                proxy.metrics.local();
                if had_body {
                    // Its body was not read.
                    answer.response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            } else {
                proxy.metrics.answered(answer.response.status(), took);
                answer.response.headers_mut().insert(headers::REQUEST_ID, request_id.clone());
            }
            (answer.response, None)
        }
        Err(error) => {
            proxy.metrics.failed(&error);
            let reply = Reply { request_id: &request_id, html, unread_body: had_body };
            (error.respond(&reply), Some(error))
        }
    };
    record(proxy, &request_id, &slug, response.status(), error.as_ref(), took);
    response
}

/// How a request came.
struct Arrival<'a> {
    request_id: &'a HeaderValue,
    at: Instant,
    /// It shows what it gets to a person.
    browser: bool,
}

/// An answer and where it comes from.
struct Answer {
    response: Response<Body>,
    local: bool,
}

impl Answer {
    fn local(response: Response<Body>) -> Self {
        Self { response, local: true }
    }
}

async fn steps(
    proxy: &Arc<Proxy>,
    peer: &Peer,
    arrival: &Arrival<'_>,
    request: Request<Incoming>,
    for_log: &mut String,
) -> Result<Answer, ProxyError> {
    let request_id = arrival.request_id;
    let (mut parts, body) = request.into_parts();

    // 1 limits and shape
    let length = body.size_hint().exact();
    let accepted = validate::check(&parts.method, parts.version, &parts.uri, &parts.headers, length, &proxy.limits)
        .map_err(ProxyError::Rejected)?;

    // 2 snapshot: one policy set for the whole request
    let policies = proxy.decisions.pin();

    // 3 facts: where it points; then nothing stays that could identify, frame or hop
    let host = Authority { name: accepted.host.name.into_owned().into(), port: accepted.host.port };
    let (websocket, had_length) = (accepted.websocket, accepted.has_length);
    match place(&proxy.site, &host, &parts.headers)? {
        Place::Workspace(slug) => for_log.push_str(slug),
        Place::Base | Place::Elsewhere => return Err(ProxyError::Misdirected),
    }
    let slug = for_log.as_str();
    let credentials = Credentials::take(&mut parts.headers, proxy.site.https()).map_err(ProxyError::Rejected)?;
    let foreign = is_foreign(&proxy.site, &host, &parts.headers);
    let follows_progress = parts.headers.contains_key(headers::PROGRESS);
    headers::strip_request(&mut parts.headers);

    // 4 workspace, and what the front answers itself
    let entry = proxy.directory.get(slug);
    let path = parts.uri.path();
    if path.starts_with(local::LOCAL) {
        let query = parts.uri.query().unwrap_or_default();
        let page = local::page(proxy, entry.as_deref(), &parts.method, path, query, request_id);
        return Box::pin(page).await.map(Answer::local);
    }
    if path == local::LOGOUT && parts.method == Method::POST {
        return if foreign {
            Err(ProxyError::ForeignOrigin)
        } else {
            Ok(Answer::local(local::logout(proxy.site.https(), request_id)))
        };
    }

    // 5 authenticate
    let session = authenticate(&proxy.authenticator, &proxy.user_tokens, entry.as_deref(), &credentials).await?;
    let entry = entry.ok_or(ProxyError::NoWorkspace)?;
    let unsafe_method = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if foreign && (websocket || session.by_cookie && unsafe_method) {
        return Err(ProxyError::ForeignOrigin);
    }

    // 6 and 7 router policy, authorizer policy
    let facts = RequestFacts {
        workspace: &entry.slug,
        tier: &entry.tier,
        method: parts.method.as_str(),
        path,
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    };
    let refresh = path == local::REFRESH && parts.method == Method::GET;
    let (plugin, timeout): (Option<PluginId>, Option<Duration>) = if refresh {
        // Answered here, whatever plugins the tier has.
        ("auth".parse().ok(), None)
    } else {
        let forward = policies.route(&facts).await?;
        (forward.plugin, forward.timeout)
    };
    let user = policies.authorize(&facts, plugin.as_ref(), &session.token.claims).await?;
    if !session.is_of(&user.entity_ref) {
        return Err(ProxyError::Sessionless);
    }
    // Its last use: an old set must be able to go while streams of its time still run.
    drop(policies);
    let minted = proxy.user_tokens.mint(&entry, &user).map_err(|_| ProxyError::Signing)?;
    if refresh {
        return Ok(Answer::local(local::refresh(&session.token, &user, &minted, request_id)));
    }

    // 8 and 9 resolve the instance, or wait for it; forward. Here somebody who may uses the workspace.
    entry.activity.touch(arrival.at.into_std());
    if follows_progress {
        return proxy.hold.progress(&entry).map(|()| Answer::local(local::there(request_id)));
    }
    let identity = Identity {
        host: proxy.site.public_host(&entry.slug, parts.headers.get(header::HOST)).ok_or(ProxyError::Misdirected)?,
        forwarded_for: &peer.forwarded_for,
        proto: if proxy.site.https() { "https" } else { "http" },
        request_id,
        authorization: minted.header.clone(),
    };
    headers::set_identity(&mut parts.headers, identity);
    headers::frame_request(&mut parts.headers, &parts.method, length, had_length);
    let timeout = timeout.unwrap_or(proxy.idle);
    let upgrade = websocket.then_some(&session);
    let response = forward(proxy, &entry, parts, body, upgrade, Patience { timeout, browser: arrival.browser }).await?;
    Ok(Answer { response, local: false })
}

/// Where a request points: its host, or on the bare base domain the header that API callers send.
fn place<'a>(site: &Site, host: &'a Authority<'_>, headers: &'a HeaderMap) -> Result<Place<'a>, ProxyError> {
    match site.place(host) {
        Place::Base => {
            let mut named = headers.get_all(headers::WORKSPACE).iter();
            match (named.next(), named.next()) {
                (None, _) => Ok(Place::Base),
                (Some(name), None) => match name.to_str() {
                    Ok(name) if name.parse::<crate::ids::Slug>().is_ok() => Ok(Place::Workspace(name)),
                    _ => Err(ProxyError::Rejected(Reject::WorkspaceHeader)),
                },
                _ => Err(ProxyError::Rejected(Reject::WorkspaceHeader)),
            }
        }
        place => Ok(place),
    }
}

/// Whether a page of another origin sent it. Browsers say so in `Origin`, or in `Sec-Fetch-Site` where they send no origin;
/// a sibling workspace is another origin, though the same site.
fn is_foreign(site: &Site, host: &Authority<'_>, headers: &HeaderMap) -> bool {
    match headers.get(header::ORIGIN) {
        Some(origin) => !site.same_origin(origin, host),
        None => headers
            .get("sec-fetch-site")
            .is_some_and(|from| from.as_bytes() == b"cross-site" || from.as_bytes() == b"same-site"),
    }
}

/// How long a request waits.
struct Patience {
    /// Longest silence of the instance.
    timeout: Duration,
    /// A browser gets a page instead of a long wait.
    browser: bool,
}

/// Sends a request to the workspace's instance. A request of which a byte was written is never sent again.
async fn forward(
    proxy: &Arc<Proxy>,
    entry: &Arc<Entry>,
    mut parts: Parts,
    body: Incoming,
    websocket: Option<&Session>,
    patience: Patience,
) -> Result<Response<Body>, ProxyError> {
    let client = parts.extensions.remove::<OnUpgrade>();
    parts.uri = validate::origin_form(parts.uri);
    parts.version = http::Version::HTTP_11;
    parts.extensions.clear();
    if websocket.is_some() {
        headers::set_upgrade(&mut parts.headers);
    }
    let head_request = parts.method == Method::HEAD;
    let (upload, watch) = Upload::new(body, proxy.limits.body_bytes);
    let mut request = Request::from_parts(parts, upload);
    let mut in_flight = proxy.hold.enter(entry, patience.browser).await?;
    let mut attempt = 0;
    let (link, response) = loop {
        attempt += 1;
        let mut link;
        (link, in_flight) = connect(proxy, entry, in_flight, attempt == 1).await?;
        match link.exchange(request, watch.as_deref(), patience.timeout).await {
            Ok(response) => {
                in_flight.answered(!response.status().is_server_error());
                break (link, response);
            }
            Err(ExchangeError::Failed(error)) => {
                // The others are the client's doing.
                if matches!(error, ProxyError::Exchange(_) | ProxyError::TimedOut) {
                    in_flight.answered(false);
                }
                return Err(error);
            }
            // A parked connection that was closed between our look and our first byte.
            Err(ExchangeError::Unsent(unsent)) if attempt < MAX_ATTEMPTS => request = *unsent,
            Err(ExchangeError::Unsent(_)) => return Err(ProxyError::Connect("it closes every connection".into())),
        }
    };
    let (mut head, incoming) = response.into_parts();
    headers::clean_response(head.status, head.version, &mut head.headers, head_request, websocket.is_some())
        .map_err(|bad| ProxyError::Exchange(bad.0.into()))?;
    head.version = http::Version::HTTP_11;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(client), Some(session)) = (client, websocket) else {
            return Err(ProxyError::Exchange("it switched protocols unasked".into()));
        };
        let left = u64::try_from(local::seconds_left(&session.token)).unwrap_or_default();
        let counted = Counted::new(&proxy.metrics.tunnels);
        let tunnel = Tunnel {
            client,
            link,
            in_flight,
            counted,
            idle: proxy.idle,
            ends: Instant::now() + Duration::from_secs(left.clamp(1, 86_400 * 30)),
            cancel: proxy.end.clone(),
        };
        tokio::spawn(tunnel.run());
        return Ok(Response::from_parts(head, Body::empty()));
    }
    let key = pool::key(entry, in_flight.endpoint());
    let event_stream =
        head.headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"));
    let pool = proxy.pool.clone();
    let exchange = Exchange { link, pool, key, in_flight, event_stream, upload: watch, idle: proxy.idle };
    Ok(Response::from_parts(head, exchange.into_body(incoming)))
}

/// A connection to the instance, or to the one that comes after it: an instance that died a moment ago is waited for, not
/// reported.
async fn connect(
    proxy: &Arc<Proxy>,
    entry: &Arc<Entry>,
    in_flight: InFlight,
    parked: bool,
) -> Result<(Box<Link>, InFlight), ProxyError> {
    if parked && let Some(link) = proxy.pool.take(pool::key(entry, in_flight.endpoint())) {
        return Ok((link, in_flight));
    }
    Box::pin(connect_anew(proxy, entry, in_flight)).await
}

async fn connect_anew(
    proxy: &Arc<Proxy>,
    entry: &Arc<Entry>,
    mut in_flight: InFlight,
) -> Result<(Box<Link>, InFlight), ProxyError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        proxy.metrics.connects.inc();
        match Link::connect(&in_flight.endpoint().door).await {
            Ok(link) => return Ok((link, in_flight)),
            Err(error) if attempt >= MAX_ATTEMPTS => return Err(ProxyError::Connect(error.to_string())),
            Err(_) => {
                // Off the instance while it waits, or its restart could never begin.
                let dead = in_flight.endpoint().clone();
                drop(in_flight);
                in_flight = proxy.hold.enter_after(entry, &dead).await?;
            }
        }
    }
}

/// A browser that shows what it gets.
fn wants_html(method: &Method, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        && headers
            .get(header::ACCEPT)
            .is_some_and(|accept| accept.as_bytes().windows(9).any(|part| part.eq_ignore_ascii_case(b"text/html")))
}

/// The access log: each request at debug, our own failures as warnings, and never more lines than anyone can read.
fn record(
    proxy: &Proxy,
    request_id: &HeaderValue,
    workspace: &str,
    status: StatusCode,
    error: Option<&ProxyError>,
    took: Duration,
) {
    let request_id = request_id.to_str().unwrap_or_default();
    let (status, ms) = (status.as_u16(), took.as_millis());
    match error {
        Some(error) if error.is_our_fault() => {
            if proxy.log_budget.take() {
                tracing::warn!(request_id, workspace, status, ms, %error, "request failed");
            }
        }
        Some(error) => {
            if proxy.log_budget.take() {
                tracing::debug!(request_id, workspace, status, ms, %error, "request refused");
            }
        }
        None => {
            if tracing::enabled!(tracing::Level::DEBUG) && proxy.log_budget.take() {
                tracing::debug!(request_id, workspace, status, ms, "request");
            }
        }
    }
}

//! What is taken out of a request before anything looks at it, what is put in before the instance sees it, and what is taken
//! out of its answer. Pure.
//!
//! Hop-by-hop fields end here in both directions (RFC 9110 section 7.6.1); framing is written anew by hyper from the body
//! itself; everything that says who the client is or where it came from is ours to say.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{self, Entry},
};

use super::validate::tokens;

/// Names of ours that a client may not set and an instance may not answer with.
pub(super) const WORKSPACE: HeaderName = HeaderName::from_static("x-orbit-workspace");
/// Sent by our own page of progress: it asks how far the workspace is, instead of waiting for it.
pub(super) const PROGRESS: HeaderName = HeaderName::from_static("x-orbit-progress");
/// The request's id: ours, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What an answer may not be: the instance, or someone between, broke HTTP. The connection is not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadAnswer(pub &'static str);

/// Takes out of a validated request what neither a policy nor an instance may see: hop-by-hop fields, framing, and every
/// name by which a client could pass for someone else. Credentials are taken out by [`super::credentials`].
pub(super) fn strip_request(headers: &mut HeaderMap) {
    remove_connection_options(headers);
    // Mostly there is nothing to take out but one or two: collect first, so that the pass itself moves nothing.
    let mut doomed: [Option<HeaderName>; 8] = Default::default();
    loop {
        let mut found = 0;
        for name in headers.keys() {
            if found < doomed.len() && is_stripped(name) {
                doomed[found] = Some(name.clone());
                found += 1;
            }
        }
        for name in doomed.iter_mut().filter_map(Option::take) {
            headers.remove(name);
        }
        if found < doomed.len() {
            return;
        }
    }
}

fn is_stripped(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION
        | header::TRANSFER_ENCODING
        | header::CONTENT_LENGTH
        | header::UPGRADE
        | header::TE
        | header::TRAILER
        | header::EXPECT
        | header::FORWARDED
        | header::VIA
        | header::PROXY_AUTHENTICATE
        | header::PROXY_AUTHORIZATION
        | header::MAX_FORWARDS => true,
        _ => {
            let name = name.as_str();
            match name.as_bytes()[0] {
                b'x' => {
                    ["x-forwarded-", "x-original-", "x-envoy-", "x-orbit-"].iter().any(|start| name.starts_with(start))
                        || matches!(
                            name,
                            "x-real-ip"
                                | "x-client-ip"
                                | "x-cluster-client-ip"
                                | "x-rewrite-url"
                                | "x-http-method"
                                | "x-http-method-override"
                                | "x-method-override"
                                | "x-request-id"
                                | "x-forwarded"
                        )
                        || name.contains('_')
                }
                b'k' => name == "keep-alive" || name.contains('_'),
                b'p' => name == "proxy-connection" || name.contains('_'),
                b'h' => name == "http2-settings" || name.contains('_'),
                b't' => name == "true-client-ip" || name.contains('_'),
                b'c' => name == "cf-connecting-ip" || name.contains('_'),
                // Some servers read `X_A` as `X-A`.
                _ => name.contains('_'),
            }
        }
    }
}

/// Removes what `Connection` names, and `Connection`.
fn remove_connection_options(headers: &mut HeaderMap) {
    if let Entry::Occupied(entry) = headers.entry(header::CONNECTION) {
        let (_, values) = entry.remove_entry_mult();
        let named: Vec<HeaderName> = values
            .flat_map(|value| tokens(&value).filter_map(|t| HeaderName::from_bytes(t).ok()).collect::<Vec<_>>())
            .collect();
        for name in named {
            // `close` and `keep-alive` name no field; removing nothing costs nothing.
            headers.remove(name);
        }
    }
}

/// What the instance is told beside what the client said.
pub(super) struct Identity<'a> {
    /// The workspace's public host.
    pub host: HeaderValue,
    /// The client's address.
    pub forwarded_for: &'a HeaderValue,
    /// `http` or `https`, as browsers see it.
    pub proto: &'static str,
    /// The request's id.
    pub request_id: &'a HeaderValue,
    /// `Bearer <Backstage user token>`.
    pub authorization: HeaderValue,
}

/// Sets our own fields on a stripped request.
pub(super) fn set_identity(headers: &mut HeaderMap, identity: Identity<'_>) {
    headers.insert(FORWARDED_HOST, identity.host.clone());
    headers.insert(header::HOST, identity.host);
    headers.insert(FORWARDED_FOR, identity.forwarded_for.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(identity.proto));
    headers.insert(REQUEST_ID, identity.request_id.clone());
    headers.insert(header::AUTHORIZATION, identity.authorization);
}

/// Frames a request anew. hyper writes `Content-Length` itself where it knows a length above zero; it needs telling for an
/// empty body, and for a body of unknown length on a method that rarely has one.
pub(super) fn frame_request(headers: &mut HeaderMap, method: &Method, length: Option<u64>, had_length: bool) {
    match length {
        Some(0) if had_length || matches!(*method, Method::POST | Method::PUT | Method::PATCH) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Some(_) => {}
        None => {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Sets what makes a request a WebSocket handshake on the next hop.
pub(super) fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Checks an answer's framing and takes out what ends at this hop. `asked_upgrade`: the request was a WebSocket handshake.
pub(super) fn clean_response(
    status: StatusCode,
    version: Version,
    headers: &mut HeaderMap,
    head_request: bool,
    asked_upgrade: bool,
) -> Result<(), BadAnswer> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let websocket =
            matches!(headers.get(header::UPGRADE), Some(to) if to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        if !asked_upgrade || !websocket || !headers.contains_key(header::SEC_WEBSOCKET_ACCEPT) {
            return Err(BadAnswer("it switched protocols unasked or wrongly"));
        }
        // The rest of the handshake goes through as it is.
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::TRANSFER_ENCODING);
        return Ok(());
    }
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        if headers.contains_key(header::CONTENT_LENGTH) || version == Version::HTTP_10 {
            return Err(BadAnswer("it has a transfer coding where it may not"));
        }
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked")
            || headers.get_all(header::TRANSFER_ENCODING).iter().count() > 1
        {
            return Err(BadAnswer("its transfer coding is not chunked"));
        }
    }
    // hyper writes the length of a body it sends; where there is no body, the instance's word on its length is all there is.
    let keep_length = head_request || status == StatusCode::NOT_MODIFIED;
    remove_connection_options(headers);
    for name in [
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
        header::PROXY_AUTHENTICATE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        HTTP2_SETTINGS,
        REQUEST_ID,
    ] {
        headers.remove(name);
    }
    match headers.entry(header::CONTENT_LENGTH) {
        Entry::Occupied(length) if !keep_length => {
            length.remove_entry_mult();
        }
        _ => {}
    }
    narrow_cookies(headers);
    Ok(())
}

/// Makes every cookie a cookie of this one host: without `Domain`, a sibling workspace never gets it and none can be set for
/// a sibling. Cookies of our own names can't come from an instance. The rest of the line stays byte for byte.
fn narrow_cookies(headers: &mut HeaderMap) {
    let fine = |value: &HeaderValue| !has_domain(value.as_bytes()) && !is_ours(value.as_bytes());
    if headers.get_all(header::SET_COOKIE).iter().all(fine) {
        return;
    }
    let Entry::Occupied(entry) = headers.entry(header::SET_COOKIE) else { return };
    let (name, values) = entry.remove_entry_mult();
    let values: Vec<_> = values.collect();
    for value in values {
        if is_ours(value.as_bytes()) {
            continue;
        }
        // The first part is the cookie itself, even if it is called `domain`.
        let parts = value.as_bytes().split(|b| *b == b';').enumerate();
        let kept: Vec<&[u8]> = parts.filter(|(at, part)| *at == 0 || !is_domain(part)).map(|(_, part)| part).collect();
        if let Ok(narrowed) = HeaderValue::from_bytes(&kept.join(&b';')) {
            headers.append(name.clone(), narrowed);
        }
    }
}

fn has_domain(cookie: &[u8]) -> bool {
    cookie.split(|b| *b == b';').skip(1).any(is_domain)
}
fn is_domain(attribute: &[u8]) -> bool {
    let name = attribute.split(|b| *b == b'=').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"domain")
}
fn is_ours(cookie: &[u8]) -> bool {
    let name = cookie.split(|b| *b == b'=').next().unwrap_or_default().trim_ascii();
    super::credentials::is_session_cookie(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            let (name, value) = field.split_once(": ").expect("a field");
            headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::try_from(value).expect("a value"));
        }
        headers
    }
    fn lines(headers: &HeaderMap) -> Vec<String> {
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect()
    }

    #[test]
    fn nothing_that_identifies_frames_or_hops_stays_in_a_request() {
        let mut headers = map(&[
            "accept: a",
            "connection: keep-alive, X-Own-Hop",
            "connection: te",
            "x-own-hop: 1",
            "keep-alive: 5",
            "te: trailers",
            "trailer: x",
            "transfer-encoding: chunked",
            "content-length: 3",
            "upgrade: h2c",
            "http2-settings: AAA",
            "expect: 100-continue",
            "proxy-connection: x",
            "proxy-authorization: x",
            "forwarded: for=1",
            "via: x",
            "x-forwarded-for: 1",
            "x-forwarded-for: 2",
            "x-forwarded-anything: 1",
            "x-real-ip: 1",
            "x-original-url: /",
            "x-rewrite-url: /",
            "x-http-method-override: PUT",
            "x-envoy-internal: 1",
            "x-orbit-user: root",
            "x-request-id: 1",
            "x_workspace: b",
            "a_b: 1",
            "true-client-ip: 1",
            "x-fine: 1",
            "accept: b",
        ]);
        strip_request(&mut headers);
        assert_eq!(lines(&headers), ["accept: a", "accept: b", "x-fine: 1"]);
    }

    #[test]
    fn a_body_is_framed_by_what_it_is() {
        let framed = |method: Method, length, had| {
            let mut headers = HeaderMap::new();
            frame_request(&mut headers, &method, length, had);
            lines(&headers)
        };
        assert_eq!(framed(Method::GET, Some(0), false), [""; 0]);
        assert_eq!(framed(Method::GET, Some(0), true), ["content-length: 0"]);
        assert_eq!(framed(Method::POST, Some(0), false), ["content-length: 0"]);
        assert_eq!(framed(Method::POST, Some(5), true), [""; 0], "hyper writes it");
        assert_eq!(framed(Method::GET, None, false), ["transfer-encoding: chunked"]);
    }

    #[test]
    fn an_answer_keeps_everything_but_hops_and_cookie_domains() {
        let mut headers = map(&[
            "set-cookie: a=1; Domain=.localhost; Path=/",
            "set-cookie: b=2; HttpOnly",
            "set-cookie: orbit_session=x",
            "connection: close, x-hop",
            "x-hop: 1",
            "keep-alive: timeout=5",
            "content-length: 10",
            "etag: \"x\"",
            "vary: a",
            "vary: b",
            "x-request-id: theirs",
            "set-cookie: c=3; path=/; DOMAIN=evil;Secure",
            "set-cookie: domain=1",
        ]);
        clean_response(StatusCode::OK, Version::HTTP_11, &mut headers, false, false).expect("fine");
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().cloned().collect();
        assert_eq!(cookies, ["a=1; Path=/", "b=2; HttpOnly", "c=3; path=/;Secure", "domain=1"]);
        headers.remove(header::SET_COOKIE);
        // The order of different names means nothing (RFC 9110 section 5.3); that of one name's values is kept.
        let mut left = lines(&headers);
        left.sort();
        assert_eq!(left, ["etag: \"x\"", "vary: a", "vary: b"]);
    }

    #[test]
    fn answers_that_break_http_are_refused() {
        let verdict = |status: u16, version, fields: &[&str], asked| {
            let status = StatusCode::from_u16(status).expect("a status");
            clean_response(status, version, &mut map(fields), false, asked).is_ok()
        };
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        assert!(verdict(200, new, &["transfer-encoding: chunked"], false));
        assert!(!verdict(200, old, &["transfer-encoding: chunked"], false));
        assert!(!verdict(200, new, &["transfer-encoding: chunked", "content-length: 1"], false));
        assert!(!verdict(200, new, &["transfer-encoding: gzip, chunked"], false));
        let switch = ["upgrade: websocket", "sec-websocket-accept: x"];
        assert!(verdict(101, new, &switch, true));
        assert!(!verdict(101, new, &switch, false));
        assert!(!verdict(101, new, &["upgrade: h2c", "sec-websocket-accept: x"], true));
        assert!(!verdict(101, new, &["upgrade: websocket"], true));
    }

    #[test]
    fn a_head_answer_keeps_its_length() {
        let mut headers = map(&["content-length: 10"]);
        clean_response(StatusCode::OK, Version::HTTP_11, &mut headers, true, false).expect("fine");
        assert_eq!(lines(&headers), ["content-length: 10"]);
    }
}

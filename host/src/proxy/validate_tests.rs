//! The P and H rows as tables.

use http::{HeaderName, Request};
use proptest::prelude::*;

use super::{super::path::decode, *};

const LIMITS: Limits = Limits { header_bytes: 2048, headers: 20, body_bytes: 1000 };

/// Builds a request from `"METHOD target VERSION"` and `"name: value"` lines and checks it.
fn verdict(line: &str, fields: &[&str], body: Option<u64>) -> Result<bool, Reject> {
    let mut parts = line.split(' ');
    let (method, target) = (parts.next().expect("a method"), parts.next().expect("a target"));
    let version = if parts.next() == Some("1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut request = Request::builder().method(method).uri(target).version(version).body(()).expect("a request");
    for field in fields {
        let (name, value) = field.split_once(": ").expect("a field");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        request.headers_mut().append(HeaderName::try_from(name).expect("a name"), value);
    }
    check(request.method(), version, request.uri(), request.headers(), body, &LIMITS).map(|accepted| accepted.websocket)
}

#[test]
fn hosts_targets_and_methods() {
    use Reject as R;
    let host = "host: acme.localhost";
    for (line, fields, expected) in [
        ("GET /", vec![host], Ok(false)),
        ("GET /", vec![], Err(R::HostMissing)),
        ("GET / 1.0", vec![], Err(R::HostMissing)),
        ("GET /", vec![host, host], Err(R::HostRepeated)),
        ("GET /", vec![host, "host: b"], Err(R::HostRepeated)),
        ("GET /", vec!["host: a,b"], Err(R::HostMalformed)),
        ("GET /", vec!["host: u@a"], Err(R::HostMalformed)),
        ("GET /", vec!["host: a/b"], Err(R::HostMalformed)),
        ("GET /", vec!["host: a:99999"], Err(R::HostMalformed)),
        ("GET http://acme.localhost/x", vec![host], Ok(false)),
        ("GET http://ACME.localhost/x", vec![host], Ok(false)),
        ("GET http://b/", vec![host], Err(R::TargetMismatch)),
        ("GET http://acme.localhost:81/", vec![host], Err(R::TargetMismatch)),
        ("GET http://u@acme.localhost/", vec![host], Err(R::TargetMismatch)),
        ("GET ftp://acme.localhost/", vec![host], Err(R::TargetForm)),
        ("GET acme.localhost:80", vec![host], Err(R::TargetForm)),
        ("GET *", vec![host], Err(R::TargetForm)),
        ("OPTIONS *", vec![host], Err(R::TargetForm)),
        ("CONNECT acme.localhost:80", vec![host], Err(R::MethodForbidden)),
        ("TRACE /", vec![host], Err(R::MethodForbidden)),
        ("get /", vec![host], Err(R::Method)),
        ("BREW /", vec![host], Err(R::Method)),
        ("PRI *", vec![host], Err(R::Http2)),
    ] {
        assert_eq!(verdict(line, &fields, Some(0)), expected, "{line} {fields:?}");
    }
    let long = format!("GET /{}", "a".repeat(MAX_TARGET));
    assert_eq!(verdict(&long, &[host], Some(0)), Err(R::TargetTooLong));
}

#[test]
fn framing_expectations_and_sizes() {
    use Reject as R;
    let post = |fields: &[&str], body| {
        let mut all = vec!["host: a"];
        all.extend(fields);
        verdict("POST /", &all, body)
    };
    for coding in ["chunked", "CHUNKED", "Chunked"] {
        assert_eq!(post(&[&format!("transfer-encoding: {coding}")], None), Ok(false));
    }
    for (fields, body, expected) in [
        (vec!["transfer-encoding: ,chunked"], None, R::TransferEncoding),
        (vec!["transfer-encoding: chunked,"], None, R::TransferEncoding),
        (vec!["transfer-encoding: identity, chunked"], None, R::TransferEncoding),
        (vec!["transfer-encoding: chunked, chunked"], None, R::TransferEncoding),
        (vec!["transfer-encoding: chunked;q=1"], None, R::TransferEncoding),
        (vec!["transfer-encoding: chunked", "transfer-encoding: chunked"], None, R::TransferEncoding),
        (vec!["transfer-encoding: gzip"], None, R::TransferCoding),
        (vec!["transfer-encoding: xchunked"], None, R::TransferCoding),
        (vec!["transfer-encoding: chunked", "content-length: 3"], None, R::TransferEncoding),
        (vec!["content-length: 3", "content-length: 3"], Some(3), R::ContentLength),
        (vec!["content-length: +3"], Some(3), R::ContentLength),
        (vec!["content-length: 3, 3"], Some(3), R::ContentLength),
        (vec!["content-length: 3"], Some(4), R::ContentLength),
        (vec!["content-length: 1001"], Some(1001), R::BodySize),
        (vec!["expect: 200-ok"], Some(0), R::Expectation),
        (vec!["expect: 100-continue, x"], Some(0), R::Expectation),
        (vec!["expect: 100-continue", "expect: 100-continue"], Some(0), R::Expectation),
    ] {
        assert_eq!(post(&fields, body), Err(expected), "{fields:?}");
    }
    assert_eq!(post(&["content-length: 003"], Some(3)), Ok(false), "written anew by us");
    assert_eq!(post(&["expect: 100-Continue"], Some(3)), Ok(false));
    assert_eq!(verdict("POST / 1.0", &["host: a", "transfer-encoding: chunked"], None), Err(R::TransferEncoding));
    assert_eq!(post(&["x: y"; 20], Some(0)), Err(R::HeaderCount));
    let big = format!("x: {}", "y".repeat(2048));
    assert_eq!(post(&[&big], Some(0)), Err(R::HeaderSize));
}

#[test]
fn connection_options_cannot_drop_what_matters() {
    for name in [
        "host",
        "Authorization",
        "cookie",
        "X-Forwarded-For",
        "x-orbit-workspace",
        "content-length",
        "Sec-WebSocket-Key",
    ] {
        let field = format!("connection: close, {name}");
        assert_eq!(verdict("GET /", &["host: a", &field], Some(0)), Err(Reject::Connection), "{name}");
    }
    for fine in ["close", "keep-alive", "Upgrade", "x-own-hop", "te, close", ""] {
        let field = format!("connection: {fine}");
        assert_eq!(verdict("GET /", &["host: a", &field], Some(0)), Ok(false), "{fine}");
    }
}

#[test]
fn only_a_whole_websocket_handshake_is_an_upgrade() {
    let (host, connection, upgrade) = ("host: a", "connection: keep-alive, Upgrade", "upgrade: WebSocket");
    let (key, version) = ("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13");
    let whole = [host, connection, upgrade, key, version];
    assert_eq!(verdict("GET /", &whole, Some(0)), Ok(true));
    assert_eq!(verdict("POST /", &whole, Some(0)), Err(Reject::Upgrade));
    assert_eq!(verdict("GET / 1.0", &whole, Some(0)), Err(Reject::Upgrade));
    assert_eq!(verdict("GET /", &whole, Some(3)), Err(Reject::Upgrade));
    assert_eq!(verdict("GET /", &[host, upgrade, key, version], Some(0)), Err(Reject::Upgrade));
    assert_eq!(verdict("GET /", &[host, connection, upgrade, version], Some(0)), Err(Reject::Upgrade));
    assert_eq!(verdict("GET /", &[host, connection, upgrade, key], Some(0)), Err(Reject::UpgradeVersion));
    let old = "sec-websocket-version: 8";
    assert_eq!(verdict("GET /", &[host, connection, upgrade, key, old], Some(0)), Err(Reject::UpgradeVersion));
    for other in ["upgrade: h2c", "upgrade: websocket, h2c", "upgrade: foo"] {
        assert_eq!(verdict("GET /", &[host, connection, other], Some(0)), Ok(false), "{other}");
    }
}

#[test]
fn a_path_has_one_reading() {
    for good in [
        "/",
        "/api",
        "/api/",
        "/api/catalog/entities/by-name/component/default/x",
        "/api/catalog/entities/by-name/component/default/x%20y",
        "/api/proxy/gitlab/projects/group%2Fname/files/a%2Eb",
        "/api/x/%C3%A4",
        "/api/x/a%252Fb",
        "/catalog/default/component/X",
        "/a%20b",
        "/.orbit/login",
        "/.well-known/x",
        "/a/...",
        "/a/..b",
        "/a;x=1/b",
    ] {
        assert_eq!(check_path(good), Ok(()), "{good}");
    }
    for bad in [
        "//",
        "//evil",
        "/a//b",
        "/a/b//",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/a/%2e%2e/b",
        "/a/.%2E/b",
        "/a/b/..%2fc",
        "/a/b/%2f",
        "/a/b%2f/c",
        "/a/b/%2e",
        "/a%2fb/c",
        "/a/b%2fc",
        "/api/cat%61log",
        "/%61pi/catalog",
        "/%2eorbit/x",
        "/a\\b",
        "/a/b/c%5cd",
        "/a/b/c%00",
        "/a/b/c%0d%0a",
        "/a/b/c%7f",
        "/a/b/%zz",
        "/a/b/%",
        "/a/b/%2",
        "/a/b/%+1",
        "/API/catalog",
        "/Api",
        "/api/Catalog/x",
        "/.ORBIT/v1/boot",
        "/.Orbit",
        "/.Backstage/health",
    ] {
        assert_eq!(check_path(bad), Err(Reject::Path), "{bad}");
    }
    for bad in ["", "*", "a"] {
        assert_eq!(check_path(bad), Err(Reject::TargetForm), "{bad}");
    }
}

/// What a lenient server could make of a path: decode (twice), turn backslashes round, resolve dots.
fn lenient(path: &str) -> String {
    let mut text = path.to_owned();
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1..at + 3).and_then(|digits| decode(Some(digits)))) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    text = String::from_utf8_lossy(&out).replace('\\', "/");
    let mut stack = Vec::new();
    for segment in text.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                stack.pop();
            }
            other => stack.push(other.to_ascii_lowercase()),
        }
    }
    stack.iter().take(2).cloned().collect::<Vec<_>>().join("/")
}

proptest! {
    /// Whatever passes is for the same plugin in the most lenient reading as byte for byte.
    #[test]
    fn the_routing_segments_mean_the_same_to_everybody(
        path in "(/(api|API|catalog|%61pi|a|\\.|\\.\\.|%2e|%2E%2e|%2f|%5c|\\\\|;|%2561|)){1,6}"
    ) {
        if check_path(&path).is_ok() {
            let literal: Vec<_> = path.split('/').filter(|s| !s.is_empty()).take(2).collect();
            let literal = literal.join("/");
            prop_assert_eq!(lenient(&path), lenient(&literal));
            if lenient(&path).starts_with("api/") {
                prop_assert!(path.starts_with("/api/"));
            }
        }
    }
}

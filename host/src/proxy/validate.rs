//! What a request must look like before anything else looks at it. Pure; rows P and H of the reliability catalogue, where
//! hyper lets them reach a service (OBS-1).
//!
//! What hyper hides and this can't see: bare LF line ends, leading empty lines, chunk extensions, a `#fragment` in the
//! target (hyper drops it), and `Content-Length` beside `Transfer-Encoding` (hyper reads the body as chunked, drops the
//! length and closes the connection; we frame it anew, so the instance sees one request). They come with the data plane.
//!
//! Choices, where the catalogue leaves one:
//! * header names with `_` are dropped by [`super::headers`], not refused: old clients send them, nobody here reads them;
//! * `Transfer-Encoding` is one `chunked` in any case, or nothing (another coding: 501);
//! * `Content-Length: 01` passes, and is written anew as decimal.
//!
//! Paths: [`super::path`].

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, uri::PathAndQuery};

use super::{authority::Authority, path::check_path};

/// Longest request target, bytes; past it 414.
const MAX_TARGET: usize = 8 << 10;

/// Sizes that a request must keep to; from `[proxy]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// All header bytes.
    pub header_bytes: usize,
    /// Header fields.
    pub headers: usize,
    /// Body bytes, 0 for no limit.
    pub body_bytes: u64,
}

/// Why a request is refused before anything else looks at it. Every one ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reject {
    /// No `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// A `Host` that is not `name[:port]`.
    HostMalformed,
    /// A target that is neither a path nor a URL.
    TargetForm,
    /// A URL as target that names another host than `Host`.
    TargetMismatch,
    /// Over 8 KiB.
    TargetTooLong,
    /// A path that can be read in two ways.
    Path,
    /// A method that orbitd does not know.
    Method,
    /// CONNECT or TRACE.
    MethodForbidden,
    /// The start of an HTTP/2 connection.
    Http2,
    /// A version other than 1.0 and 1.1.
    Version,
    /// A malformed or repeated transfer coding.
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// A malformed or repeated length, or one beside a transfer coding.
    ContentLength,
    /// An expectation other than `100-continue`.
    Expectation,
    /// `Connection` names a header that must not be dropped.
    Connection,
    /// Too many header fields.
    HeaderCount,
    /// Too many header bytes.
    HeaderSize,
    /// The length is over the limit.
    BodySize,
    /// A WebSocket handshake that isn't one.
    Upgrade,
    /// A WebSocket version other than 13.
    UpgradeVersion,
    /// More than one `Authorization`, or one that is no bearer, or more than one session cookie.
    Credentials,
    /// A malformed or repeated `X-Orbit-Workspace`.
    WorkspaceHeader,
}

/// A request that may go on.
#[derive(Debug)]
pub(super) struct Accepted<'a> {
    /// Its host, canonical.
    pub host: Authority<'a>,
    /// A WebSocket handshake.
    pub websocket: bool,
    /// Whether it names a length, even of zero.
    pub has_length: bool,
}

// === impl Reject ===

impl Reject {
    /// Status, metric label, and what the client reads.
    pub fn describe(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::HostMissing => (400, "host-missing", "The request has no Host header."),
            Self::HostRepeated => (400, "host-repeated", "The request has more than one Host header."),
            Self::HostMalformed => (400, "host-malformed", "The Host header is not a host name with an optional port."),
            Self::TargetForm => (400, "target-form", "The request target must be a path."),
            Self::TargetMismatch => {
                (400, "target-mismatch", "The request target names another host than the Host header.")
            }
            Self::TargetTooLong => (414, "target-too-long", "The request target is longer than 8 KiB."),
            Self::Path => (400, "path", "The path can be read in more than one way."),
            Self::Method => (501, "method", "This method is not known here."),
            Self::MethodForbidden => (405, "method-forbidden", "This method is not allowed here."),
            Self::Http2 => (400, "http2", "HTTP/2 is not spoken on this port."),
            Self::Version => (505, "version", "Only HTTP/1.0 and HTTP/1.1 are spoken here."),
            Self::TransferEncoding => (400, "transfer-encoding", "The Transfer-Encoding header is malformed."),
            Self::TransferCoding => (501, "transfer-coding", "The only transfer coding known here is chunked."),
            Self::ContentLength => (400, "content-length", "The Content-Length header is malformed or repeated."),
            Self::Expectation => (417, "expectation", "The only expectation known here is 100-continue."),
            Self::Connection => {
                (400, "connection", "The Connection header names a header that belongs to the request.")
            }
            Self::HeaderCount => (431, "header-count", "The request has too many header fields."),
            Self::HeaderSize => (431, "header-size", "The request's header fields are too large."),
            Self::BodySize => (413, "body-size", "The request body is too large."),
            Self::Upgrade => (400, "upgrade", "The WebSocket handshake is malformed."),
            Self::UpgradeVersion => (426, "upgrade-version", "The only WebSocket version known here is 13."),
            Self::Credentials => (400, "credentials", "Send one bearer token, in one place."),
            Self::WorkspaceHeader => (400, "workspace-header", "The X-Orbit-Workspace header must name one workspace."),
        }
    }

    /// All, for the metrics.
    pub const ALL: [Self; 23] = [
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostMalformed,
        Self::TargetForm,
        Self::TargetMismatch,
        Self::TargetTooLong,
        Self::Path,
        Self::Method,
        Self::MethodForbidden,
        Self::Http2,
        Self::Version,
        Self::TransferEncoding,
        Self::TransferCoding,
        Self::ContentLength,
        Self::Expectation,
        Self::Connection,
        Self::HeaderCount,
        Self::HeaderSize,
        Self::BodySize,
        Self::Upgrade,
        Self::UpgradeVersion,
        Self::Credentials,
        Self::WorkspaceHeader,
    ];
}

/// Checks everything but the credentials. One pass over the header fields. `body` is the exact length of the body, where it
/// is known.
pub(super) fn check<'a>(
    method: &Method,
    version: Version,
    uri: &Uri,
    headers: &'a HeaderMap,
    body: Option<u64>,
    limits: &Limits,
) -> Result<Accepted<'a>, Reject> {
    check_method(method, version)?;
    let fields = Fields::collect(headers, limits)?;
    let host = Authority::parse(fields.host.ok_or(Reject::HostMissing)?.as_bytes()).ok_or(Reject::HostMalformed)?;
    check_target(uri, &host)?;
    fields.check_framing(version, body)?;
    if limits.body_bytes != 0 && body.is_some_and(|length| length > limits.body_bytes) {
        return Err(Reject::BodySize);
    }
    let websocket = fields.check_upgrade(method, version, headers, body)?;
    Ok(Accepted { host, websocket, has_length: fields.length.is_some() })
}

fn check_method(method: &Method, version: Version) -> Result<(), Reject> {
    if !matches!(version, Version::HTTP_10 | Version::HTTP_11) {
        return Err(Reject::Version);
    }
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            Ok(())
        }
        Method::CONNECT | Method::TRACE => Err(Reject::MethodForbidden),
        _ if method.as_str() == "PRI" => Err(Reject::Http2),
        _ => Err(Reject::Method),
    }
}

/// The fields that framing and routing depend on.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a HeaderValue>,
    length: Option<&'a HeaderValue>,
    coding: Option<&'a HeaderValue>,
    connection_upgrade: bool,
    upgrade: Option<&'a HeaderValue>,
    upgrades: usize,
}

impl<'a> Fields<'a> {
    fn collect(headers: &'a HeaderMap, limits: &Limits) -> Result<Self, Reject> {
        if headers.len() > limits.headers {
            return Err(Reject::HeaderCount);
        }
        let mut fields = Self::default();
        let mut expects = 0;
        let mut size = 0;
        for (name, value) in headers {
            size += name.as_str().len() + value.len() + 4;
            match *name {
                header::HOST if fields.host.replace(value).is_some() => return Err(Reject::HostRepeated),
                header::CONTENT_LENGTH if fields.length.replace(value).is_some() => return Err(Reject::ContentLength),
                header::TRANSFER_ENCODING if fields.coding.replace(value).is_some() => {
                    return Err(Reject::TransferEncoding);
                }
                header::EXPECT => {
                    expects += 1;
                    if expects > 1 || !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
                        return Err(Reject::Expectation);
                    }
                }
                header::CONNECTION => fields.check_connection(value)?,
                header::UPGRADE => {
                    fields.upgrade = Some(value);
                    fields.upgrades += 1;
                }
                _ => {}
            }
        }
        if size > limits.header_bytes {
            return Err(Reject::HeaderSize);
        }
        Ok(fields)
    }

    fn check_connection(&mut self, value: &HeaderValue) -> Result<(), Reject> {
        for option in tokens(value) {
            if is_protected(option) {
                return Err(Reject::Connection);
            }
            self.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
        }
        Ok(())
    }

    fn check_framing(&self, version: Version, body: Option<u64>) -> Result<(), Reject> {
        if let Some(coding) = self.coding {
            if self.length.is_some() || version == Version::HTTP_10 {
                return Err(Reject::TransferEncoding);
            }
            if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                let known = coding.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
                return Err(if known && !coding.is_empty() {
                    Reject::TransferCoding
                } else {
                    Reject::TransferEncoding
                });
            }
        }
        if let Some(length) = self.length {
            // What hyper counts by must be what is written.
            let digits = length.as_bytes();
            let value = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok());
            if !digits.iter().all(u8::is_ascii_digit) || value.is_none() || value != body {
                return Err(Reject::ContentLength);
            }
        }
        Ok(())
    }

    /// Whether it is a WebSocket handshake. Any other upgrade (`h2c`) is simply not taken up: RFC 9110 section 7.8 lets a
    /// server ignore it, and the header is stripped.
    fn check_upgrade(
        &self,
        method: &Method,
        version: Version,
        headers: &HeaderMap,
        body: Option<u64>,
    ) -> Result<bool, Reject> {
        let Some(upgrade) = self.upgrade else { return Ok(false) };
        if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") || self.upgrades > 1 {
            return Ok(false);
        }
        let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let mut versions = headers.get_all(header::SEC_WEBSOCKET_VERSION).iter();
        // 16 bytes in base64.
        let key = matches!((keys.next(), keys.next()), (Some(key), None) if key.len() == 24);
        if *method != Method::GET || version != Version::HTTP_11 || !self.connection_upgrade || !key || body != Some(0)
        {
            return Err(Reject::Upgrade);
        }
        if !matches!((versions.next(), versions.next()), (Some(number), None) if number == "13") {
            return Err(Reject::UpgradeVersion);
        }
        Ok(true)
    }
}

/// The members of a comma-separated header value, without empty ones.
pub(super) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether a name must not be dropped by naming it in `Connection`: what frames, routes or identifies a request, and what we
/// set ourselves.
fn is_protected(name: &[u8]) -> bool {
    const EXACT: [&str; 13] = [
        "host",
        "authorization",
        "cookie",
        "content-length",
        "content-type",
        "content-encoding",
        "expect",
        "origin",
        "forwarded",
        "via",
        "x-real-ip",
        "x-request-id",
        "transfer-encoding",
    ];
    const STARTS: [&str; 5] = ["x-forwarded-", "x-orbit-", "x-original-", "sec-", "access-control-"];
    EXACT.iter().any(|exact| name.eq_ignore_ascii_case(exact.as_bytes()))
        || STARTS
            .iter()
            .any(|start| name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes())))
}

fn check_target(uri: &Uri, host: &Authority<'_>) -> Result<(), Reject> {
    if let Some(authority) = uri.authority() {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(Reject::TargetForm);
        }
        match Authority::parse(authority.as_str().as_bytes()) {
            Some(named) if named == *host => {}
            _ => return Err(Reject::TargetMismatch),
        }
    }
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > MAX_TARGET {
        return Err(Reject::TargetTooLong);
    }
    check_path(uri.path())
}

/// The target in origin form, as it goes to the instance.
pub(super) fn origin_form(uri: Uri) -> Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let target = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(target)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;

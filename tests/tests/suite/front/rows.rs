//! The validation rows of the reliability catalogue as data: P (parsing and smuggling) and H (headers, trust, path), as far as
//! HTTP/1.1 through hyper shows them (OBS-1).
//!
//! In `bytes`: `{H}` the workspace's host, `{A}` a good Authorization line, `{X}` a line that marks the row, `{R}` all three
//! with `Host:`. Each row is sent on a connection of its own, followed by a request that must never be answered as part of it.

/// What must come of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// An error answer, the connection closed, not one byte at the instance.
    Rejected,
    /// An error answer and not one byte at the instance; the connection may go on (its framing is in no doubt).
    Refused,
    /// Refused in its body: an error answer, the connection closed, at most the beginning of one request at the instance.
    Cut,
    /// Closed, with an error or (how hyper takes a whole preface in one piece) without a word; not one byte at the instance.
    Dropped,
    /// One request at the instance, answered 200.
    Accepted,
    /// Either of the two: what hyper hides from its service, or what both a strict and a careful front may do.
    Safe,
}
use Wanted::{Accepted, Cut, Dropped, Refused, Rejected, Safe};

/// One row.
pub struct Row {
    /// The catalogue's id.
    pub id: &'static str,
    /// What must come of it.
    pub wanted: Wanted,
    /// What is sent.
    pub bytes: &'static [u8],
    /// Texts (lower case) that must not be in what the instance received of it.
    pub absent: &'static [&'static str],
}

const fn row(id: &'static str, wanted: Wanted, bytes: &'static [u8]) -> Row {
    Row { id, wanted, bytes, absent: &[] }
}
const fn strip(id: &'static str, wanted: Wanted, bytes: &'static [u8], absent: &'static [&'static str]) -> Row {
    Row { id, wanted, bytes, absent }
}

/// All of them.
pub const ROWS: &[Row] = &[
    row("control: a plain GET", Accepted, b"GET /row HTTP/1.1\r\n{R}\r\n"),
    row("control: a length", Accepted, b"POST /row HTTP/1.1\r\n{R}Content-Length: 5\r\n\r\nhello"),
    row("control: chunked", Accepted, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    // P: length and coding
    strip("P-01 length, then chunked", Safe, b"POST /row HTTP/1.1\r\n{R}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &["content-length: 4\r\ntransfer-encoding"]),
    strip("P-01 chunked, then length", Safe, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &["transfer-encoding: chunked\r\ncontent-length"]),
    row("P-02 vertical tab", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-02 xchunked", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-02 parameters", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked;q=1\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-03 leading comma", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: ,chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-03 leading comma and blank", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: , chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-04 identity, chunked", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: identity, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-04 gzip, chunked", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-04 chunked twice", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked,chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-04 two fields", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-04 two fields, identity first", Rejected, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    row("P-05 chunked in 1.0", Rejected, b"POST /row HTTP/1.0\r\n{R}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    strip("P-06 CHUNKED", Safe, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", &["encoding: CHUNKED"]),
    row("P-07 two lengths", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
    row("P-07 a list of lengths", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length: 5, 5\r\n\r\nhello"),
    row("P-07 plus", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length: +5\r\n\r\nhello"),
    row("P-07 minus", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length: -5\r\n\r\nhello"),
    row("P-07 hexadecimal", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length: 0x5\r\n\r\nhello"),
    row("P-07 empty", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length: \r\n\r\nhello"),
    strip("P-08 leading zero", Safe, b"POST /row HTTP/1.1\r\n{R}Content-Length: 05\r\n\r\nhello", &["content-length: 05"]),
    strip("P-09 the same length twice", Safe, b"POST /row HTTP/1.1\r\n{R}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &["content-length: 5\r\ncontent-length", "5, 5"]),
    row("P-10 2^64", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length: 18446744073709551616\r\n\r\nhello"),
    row("P-11 space before the colon", Rejected, b"POST /row HTTP/1.1\r\n{R}Content-Length : 5\r\n\r\nhello"),
    row("P-12 chunk size 0x5", Cut, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    row("P-12 chunk size +5", Cut, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"),
    strip("P-13 chunk extension", Safe, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\n\r\n5;evil=1\r\nhello\r\n0\r\n\r\n", &["evil"]),
    row("P-14 chunk data too long", Cut, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX\r\n0\r\n\r\n"),
    strip("P-16 trailers", Safe, b"POST /row HTTP/1.1\r\n{R}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nHost: evil\r\nX-Evil: 1\r\n\r\n", &["evil"]),
    strip("P-18 a GET with a body that looks like a request", Safe, b"GET /row HTTP/1.1\r\n{R}Content-Length: 34\r\n\r\nGET /evil HTTP/1.1\r\nHost: evil\r\n\r\n", &[]),
    row("P-21 Expect that nobody knows", Rejected, b"POST /row HTTP/1.1\r\n{R}Expect: 200-ok\r\nContent-Length: 0\r\n\r\n"),
    // P: host and target
    row("P-22 no Host", Rejected, b"GET /row HTTP/1.1\r\n{A}{X}\r\n"),
    row("P-23 Host twice", Rejected, b"GET /row HTTP/1.1\r\n{R}Host: {H}\r\n\r\n"),
    row("P-23 two Hosts", Rejected, b"GET /row HTTP/1.1\r\n{R}Host: globex.localhost\r\n\r\n"),
    row("P-23 comma", Rejected, b"GET /row HTTP/1.1\r\nHost: {H},globex.localhost\r\n{A}{X}\r\n"),
    row("P-23 user", Rejected, b"GET /row HTTP/1.1\r\nHost: u@{H}\r\n{A}{X}\r\n"),
    row("P-23 path", Rejected, b"GET /row HTTP/1.1\r\nHost: {H}/a\r\n{A}{X}\r\n"),
    row("P-23 port out of range", Rejected, b"GET /row HTTP/1.1\r\nHost: acme.localhost:99999\r\n{A}{X}\r\n"),
    row("P-23 port no number", Rejected, b"GET /row HTTP/1.1\r\nHost: acme.localhost:a\r\n{A}{X}\r\n"),
    row("P-23 empty", Rejected, b"GET /row HTTP/1.1\r\nHost: \r\n{A}{X}\r\n"),
    row("P-23 not ASCII", Rejected, b"GET /row HTTP/1.1\r\nHost: acme\xff.localhost\r\n{A}{X}\r\n"),
    row("P-24 absolute form of another host", Rejected, b"GET http://globex.localhost/row HTTP/1.1\r\n{R}\r\n"),
    row("P-25 absolute form with a user", Rejected, b"GET http://u@{H}/row HTTP/1.1\r\n{R}\r\n"),
    row("P-25 absolute form, another scheme", Rejected, b"GET javascript://{H}/row HTTP/1.1\r\n{R}\r\n"),
    strip("P-25 absolute form of the same host", Safe, b"GET http://{H}/row HTTP/1.1\r\n{R}\r\n", &["GET http://"]),
    row("P-26 authority form", Rejected, b"GET acme.localhost:80 HTTP/1.1\r\n{R}\r\n"),
    row("P-26 asterisk with GET", Rejected, b"GET * HTTP/1.1\r\n{R}\r\n"),
    row("P-26 CONNECT", Rejected, b"CONNECT {H} HTTP/1.1\r\n{R}\r\n"),
    row("P-26 TRACE", Rejected, b"TRACE /row HTTP/1.1\r\n{R}\r\n"),
    row("P-26 lower case", Rejected, b"get /row HTTP/1.1\r\n{R}\r\n"),
    row("P-26 unknown method", Rejected, b"FROBNICATE /row HTTP/1.1\r\n{R}\r\n"),
    row("P-27 folded header", Rejected, b"GET /row HTTP/1.1\r\n{R}X-A: b\r\n c\r\n\r\n"),
    row("P-28 no colon", Rejected, b"GET /row HTTP/1.1\r\n{R}X-A\r\n\r\n"),
    row("P-28 empty name", Rejected, b"GET /row HTTP/1.1\r\n{R}: a\r\n\r\n"),
    row("P-28 NUL in a value", Rejected, b"GET /row HTTP/1.1\r\n{R}X-A: a\0b\r\n\r\n"),
    row("P-28 CR in a value", Rejected, b"GET /row HTTP/1.1\r\n{R}X-A: a\rb\r\n\r\n"),
    row("P-29 bare LF", Safe, b"GET /row HTTP/1.1\nHost: {H}\n{A}{X}\n"),
    row("P-30 HTTP/1.2", Rejected, b"GET /row HTTP/1.2\r\n{R}\r\n"),
    row("P-30 HTTP/0.9", Rejected, b"GET /row HTTP/0.9\r\n{R}\r\n"),
    row("P-31 two spaces", Rejected, b"GET  /row HTTP/1.1\r\n{R}\r\n"),
    row("P-31 tab", Rejected, b"GET\t/row HTTP/1.1\r\n{R}\r\n"),
    strip("P-36 h2c", Safe, b"GET /row HTTP/1.1\r\n{R}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", &["h2c", "http2-settings", "upgrade"]),
    row("P-37 HTTP/2 preface", Dropped, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // H
    row("H-01 a protected name in Connection", Rejected, b"GET /row HTTP/1.1\r\n{R}Connection: host, authorization, x-forwarded-for\r\n\r\n"),
    strip("H-01 own hop-by-hop names", Accepted, b"GET /row HTTP/1.1\r\n{R}Connection: x-private\r\nX-Private: hop\r\n\r\n", &["x-private"]),
    strip("H-02 hop-by-hop fields", Accepted, b"GET /row HTTP/1.1\r\n{R}Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic YTpi\r\nTE: gzip\r\nTrailer: x-a\r\n\r\n", &["keep-alive: timeout", "proxy-connection", "proxy-authorization", "gzip", "trailer:"]),
    strip("H-03 underscores", Safe, b"GET /row HTTP/1.1\r\n{R}X_Forwarded_For: 6.6.6.6\r\nX_Orbit_Workspace: globex\r\n\r\n", &["6.6.6.6", "globex"]),
    strip("H-04 spoofed forwarding", Accepted, b"GET /row HTTP/1.1\r\n{R}X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Port: 666\r\nX-Forwarded-Prefix: /evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\nX-HTTP-Method-Override: DELETE\r\n\r\n", &["6.6.6.6", "evil", "gopher", ": 666", "method-override"]),
    row("H-07 dot segments", Rejected, b"GET /row/../x HTTP/1.1\r\n{R}\r\n"),
    row("H-07 encoded dot segments", Rejected, b"GET /row/%2e%2e/x HTTP/1.1\r\n{R}\r\n"),
    row("H-07 half-encoded dot segment", Rejected, b"GET /row/.%2E/x HTTP/1.1\r\n{R}\r\n"),
    row("H-07 backslash", Rejected, b"GET /row\\x HTTP/1.1\r\n{R}\r\n"),
    row("H-07 encoded backslash", Rejected, b"GET /row%5cx HTTP/1.1\r\n{R}\r\n"),
    row("H-07 broken escape", Rejected, b"GET /row%zz HTTP/1.1\r\n{R}\r\n"),
    row("H-07 encoded NUL", Rejected, b"GET /row%00 HTTP/1.1\r\n{R}\r\n"),
    row("H-07 encoded line end", Rejected, b"GET /row%0d%0aX:1 HTTP/1.1\r\n{R}\r\n"),
    row("H-07 two slashes", Safe, b"GET //row HTTP/1.1\r\n{R}\r\n"),
    row("H-07 encoded slash", Safe, b"GET /row%2fx HTTP/1.1\r\n{R}\r\n"),
    strip("H-09 fragment", Safe, b"GET /row#evil HTTP/1.1\r\n{R}\r\n", &["#"]),
    row("H-11 a host that is nobody's", Refused, b"GET /row HTTP/1.1\r\nHost: example.com\r\n{A}{X}\r\n"),
    row("H-12 underscore", Rejected, b"GET /row HTTP/1.1\r\nHost: ac_me.localhost\r\n{A}{X}\r\n"),
    row("H-12 upper case", Accepted, b"GET /row HTTP/1.1\r\nHost: ACME.LocalHost:{P}\r\n{A}{X}\r\n"),
    row("H-12 trailing dot", Safe, b"GET /row HTTP/1.1\r\nHost: acme.localhost.:{P}\r\n{A}{X}\r\n"),
];

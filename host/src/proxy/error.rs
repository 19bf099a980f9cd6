//! Everything that can keep a request from its answer, and the one place that turns it into a response.
//!
//! A client reads a closed set of sentences; the log and the metrics get the kind. Nothing of a request is echoed. Anonymous
//! callers can't tell a workspace that exists from one that does not: both are the same 401.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, UPGRADE, WWW_AUTHENTICATE},
};
use serde_json::json;

use super::{body::Body, headers::REQUEST_ID, page, validate::Reject};
use crate::{authn::Reason, policy::FailureKind};

/// Why a request gets no answer of an instance.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ProxyError {
    /// It breaks the rules of HTTP, or ours.
    #[error("rejected: {}", .0.describe().1)]
    Rejected(Reject),
    /// Its host is not one of ours.
    #[error("misdirected")]
    Misdirected,
    /// It brings no credentials, or none that are believed; `None` for no token.
    #[error("unauthenticated: {}", .0.map_or("none", Reason::as_str))]
    Unauthenticated(Option<Reason>),
    /// It brings a Backstage token without the session it belongs to.
    #[error("a Backstage token without its session")]
    Sessionless,
    /// The issuer's keys can't be had.
    #[error("the issuer's keys are unavailable")]
    KeysUnavailable,
    /// A page of another origin sent it, with this browser's cookie.
    #[error("foreign origin")]
    ForeignOrigin,
    /// A login code that is used, over or unknown.
    #[error("login code refused")]
    LoginCode,
    /// There is no such workspace, and the caller is known.
    #[error("no such workspace")]
    NoWorkspace,
    /// `/.orbit/` holds nothing under this name.
    #[error("no such local page")]
    NoPage,
    /// The router policy refused it.
    #[error("the router refused: {status}")]
    Refused {
        /// 400–599.
        status: u16,
        /// For the client.
        reason: String,
    },
    /// The authorizer policy denied it.
    #[error("the authorizer denied: {status}")]
    Denied {
        /// 400–599.
        status: u16,
        /// For the client.
        reason: String,
    },
    /// A policy gave no answer: closed.
    #[error("a policy failed: {}", .0.as_str())]
    PolicyFailed(FailureKind),
    /// The workspace's key could not sign.
    #[error("cannot sign the user's token")]
    Signing,
    /// Down by wish.
    #[error("the workspace is stopped")]
    Stopped,
    /// It does not come up.
    #[error("the workspace is unavailable: {reason}")]
    Unavailable {
        /// For the workspace's own users.
        reason: Arc<str>,
        /// Seconds.
        retry_after: u32,
    },
    /// A browser's page follows how far it is: what is going on.
    #[error("the workspace is {0}")]
    Waking(&'static str),
    /// It did not come up in the time that a request waits.
    #[error("held too long")]
    HeldTooLong,
    /// Too many wait for it already.
    #[error("too many held")]
    TooManyHeld,
    /// The instance can't be connected to, though it should serve.
    #[error("cannot connect to the instance: {0}")]
    Connect(String),
    /// The connection to the instance broke, or what came back was not HTTP.
    #[error("the exchange with the instance failed: {0}")]
    Exchange(String),
    /// The instance was silent for too long.
    #[error("the instance did not answer in time")]
    TimedOut,
    /// The client sent more than it may.
    #[error("the request body grew too large")]
    BodyTooLarge,
    /// The client stopped sending.
    #[error("the client did not send its request body")]
    BodySilent,
}

/// What to know about a request to answer it with an error.
#[derive(Debug, Clone)]
pub(super) struct Reply<'a> {
    /// Goes into the answer and the log.
    pub request_id: &'a HeaderValue,
    /// The client accepts HTML.
    pub html: bool,
    /// Bytes of the request may still be on the wire: the connection can't be used again (catalogue P-19).
    pub unread_body: bool,
}

// === impl ProxyError ===

impl ProxyError {
    /// The metric label, from a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Misdirected => "misdirected",
            Self::Unauthenticated(_) | Self::Sessionless => "unauthenticated",
            Self::KeysUnavailable => "keys-unavailable",
            Self::ForeignOrigin => "foreign-origin",
            Self::LoginCode => "login-code",
            Self::NoWorkspace => "no-workspace",
            Self::NoPage => "no-page",
            Self::Refused { .. } => "refused",
            Self::Denied { .. } => "denied",
            Self::PolicyFailed(_) => "policy-failed",
            Self::Signing => "signing",
            Self::Stopped => "stopped",
            Self::Unavailable { .. } => "unavailable",
            Self::Waking(_) => "waking",
            Self::HeldTooLong => "held-too-long",
            Self::TooManyHeld => "too-many-held",
            Self::Connect(_) => "connect",
            Self::Exchange(_) => "exchange",
            Self::TimedOut => "timed-out",
            Self::BodyTooLarge => "body-too-large",
            Self::BodySilent => "body-silent",
        }
    }

    /// All labels, for the metrics.
    pub const KINDS: [&'static str; 22] = [
        "rejected",
        "misdirected",
        "unauthenticated",
        "keys-unavailable",
        "foreign-origin",
        "login-code",
        "no-workspace",
        "no-page",
        "refused",
        "denied",
        "policy-failed",
        "signing",
        "stopped",
        "unavailable",
        "waking",
        "held-too-long",
        "too-many-held",
        "connect",
        "exchange",
        "timed-out",
        "body-too-large",
        "body-silent",
    ];

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        let number = match self {
            Self::Rejected(reject) => reject.describe().0,
            Self::Refused { status, .. } | Self::Denied { status, .. } => *status,
            Self::Misdirected => 421,
            Self::Unauthenticated(_) | Self::Sessionless => 401,
            Self::ForeignOrigin | Self::LoginCode => 403,
            Self::NoWorkspace | Self::NoPage => 404,
            Self::BodySilent => 408,
            Self::BodyTooLarge => 413,
            Self::Connect(_) | Self::Exchange(_) => 502,
            Self::TimedOut => 504,
            Self::KeysUnavailable
            | Self::PolicyFailed(_)
            | Self::Signing
            | Self::Stopped
            | Self::Unavailable { .. }
            | Self::Waking(_)
            | Self::HeldTooLong
            | Self::TooManyHeld => 503,
        };
        StatusCode::from_u16(number).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// What the client reads: the thing, the reason, the next step.
    fn public_message(&self) -> Cow<'_, str> {
        match self {
            Self::Rejected(reject) => reject.describe().2.into(),
            Self::Refused { reason, .. } | Self::Denied { reason, .. } => reason.as_str().into(),
            Self::Misdirected => "No workspace is served under this host name. Check the address.".into(),
            // One text for every bad token.
            Self::Unauthenticated(_) | Self::Sessionless => {
                "Sign in to use this workspace: open the login link that its operator gave you, or send a valid bearer token."
                    .into()
            }
            Self::ForeignOrigin => "This request comes from a page of another origin.".into(),
            Self::LoginCode => "This login link was used already, or its time is over. Ask for a new one.".into(),
            Self::NoWorkspace => "There is no workspace of this name.".into(),
            Self::NoPage => "There is nothing here.".into(),
            Self::BodySilent => "The request body did not come in time.".into(),
            Self::BodyTooLarge => "The request body is too large.".into(),
            Self::Stopped => "This workspace is stopped. Its operator can start it again.".into(),
            Self::Unavailable { reason, .. } => format!("This workspace is not available: {reason}").into(),
            Self::Waking(stage) => format!("It is {stage}. This page opens it as soon as it is there.").into(),
            Self::HeldTooLong => "This workspace is starting and needs longer than expected. Try again soon.".into(),
            Self::TooManyHeld => "This workspace is starting and many requests wait for it. Try again soon.".into(),
            Self::Connect(_) => "This workspace's instance can't be reached right now. Try again soon.".into(),
            Self::Exchange(_) => "This workspace's instance broke off the exchange.".into(),
            Self::TimedOut => "This workspace's instance did not answer in time.".into(),
            Self::KeysUnavailable => "Tokens can't be checked right now. Try again soon.".into(),
            Self::PolicyFailed(_) | Self::Signing => "This request can't be decided right now. Try again soon.".into(),
        }
    }

    /// Seconds after which it may be worth trying again.
    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Unavailable { retry_after, .. } => Some((*retry_after).max(1)),
            Self::KeysUnavailable | Self::HeldTooLong | Self::TooManyHeld => Some(5),
            Self::PolicyFailed(_) | Self::Connect(_) | Self::Waking(_) => Some(1),
            _ => None,
        }
    }

    /// Whether it is worth a warning: something of ours is broken, not the request.
    pub fn is_our_fault(&self) -> bool {
        matches!(
            self,
            Self::KeysUnavailable
                | Self::PolicyFailed(_)
                | Self::Signing
                | Self::Connect(_)
                | Self::Exchange(_)
                | Self::TimedOut
        )
    }

    /// The response. A problem document (RFC 9457), or a small page for browsers.
    pub fn respond(&self, reply: &Reply<'_>) -> Response<Body> {
        let status = self.status();
        let title = status.canonical_reason().unwrap_or("Error");
        let detail = self.public_message();
        let id = reply.request_id.to_str().unwrap_or_default();
        let (kind, text) = if reply.html && matches!(self, Self::Waking(_)) {
            ("text/html; charset=utf-8", page::waking(&detail))
        } else if reply.html {
            ("text/html; charset=utf-8", page::error(status, self.title(), &detail, id))
        } else {
            let document = json!({
                "type": format!("urn:orbitd:problem:{}", self.kind()),
                "title": title, "status": status.as_u16(), "detail": detail, "request_id": id,
            });
            ("application/problem+json", document.to_string())
        };
        let mut response = local(status, kind, text, reply.request_id);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        match self {
            Self::Waking(_) if reply.html => {
                headers.insert("content-security-policy", page::waking_policy());
            }
            Self::Unauthenticated(_) | Self::Sessionless => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Rejected(Reject::MethodForbidden) => {
                let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
                headers.insert(ALLOW, allowed);
            }
            Self::Rejected(Reject::UpgradeVersion) => {
                headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            _ => {}
        }
        if reply.unread_body || matches!(self, Self::Rejected(_) | Self::BodySilent | Self::BodyTooLarge) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// A heading for people.
    fn title(&self) -> &'static str {
        match self {
            Self::Unauthenticated(_) | Self::Sessionless => "Sign in first",
            Self::LoginCode => "This login link no longer works",
            Self::Denied { .. } | Self::ForeignOrigin => "You may not open this",
            Self::NoWorkspace | Self::NoPage | Self::Misdirected => "Nothing here",
            Self::Stopped => "This workspace is stopped",
            Self::Unavailable { .. } | Self::HeldTooLong | Self::TooManyHeld => "This workspace is not ready",
            Self::Waking(_) => page::WAKING_TITLE,
            Self::Rejected(_) | Self::Refused { .. } | Self::BodySilent | Self::BodyTooLarge => {
                "This request can't be served"
            }
            _ => "Something went wrong here",
        }
    }
}

/// An answer of our own: never cached, never guessed at, always with the request's id.
pub(super) fn local(
    status: StatusCode,
    kind: &'static str,
    text: impl Into<Bytes>,
    request_id: &HeaderValue,
) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert(REQUEST_ID, request_id.clone());
    if kind.starts_with("text/html") {
        headers.insert("content-security-policy", HeaderValue::from_static(page::POLICY));
        headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_error() -> Vec<ProxyError> {
        use ProxyError as E;
        let mut all: Vec<_> = Reject::ALL.into_iter().map(E::Rejected).collect();
        all.extend([
            E::Misdirected,
            E::Unauthenticated(None),
            E::Unauthenticated(Some(Reason::Expired)),
            E::Sessionless,
            E::KeysUnavailable,
            E::ForeignOrigin,
            E::LoginCode,
            E::NoWorkspace,
            E::NoPage,
            E::Refused { status: 404, reason: "<b>".into() },
            E::Denied { status: 403, reason: "no".into() },
            E::PolicyFailed(FailureKind::Trap),
            E::Signing,
            E::Stopped,
            E::Unavailable { reason: "crash".into(), retry_after: 7 },
            E::Waking("waking up"),
            E::HeldTooLong,
            E::TooManyHeld,
            E::Connect("secret".into()),
            E::Exchange("secret".into()),
            E::TimedOut,
            E::BodyTooLarge,
            E::BodySilent,
        ]);
        all
    }

    #[test]
    fn every_error_has_a_listed_kind_an_error_status_and_no_inside() {
        let request_id = HeaderValue::from_static("id-1");
        for error in every_error() {
            assert!(ProxyError::KINDS.contains(&error.kind()), "{error:?}");
            assert!(error.status().as_u16() >= 400, "{error:?}");
            assert!(!error.public_message().contains("secret"), "{error:?}");
            let response = error.respond(&Reply { request_id: &request_id, html: true, unread_body: false });
            assert_eq!(response.headers()[REQUEST_ID], "id-1");
            let closes = response.headers().contains_key(CONNECTION);
            assert_eq!(
                closes,
                matches!(error, ProxyError::Rejected(_) | ProxyError::BodySilent | ProxyError::BodyTooLarge)
            );
        }
    }

    #[test]
    fn all_bad_tokens_look_the_same() {
        let request_id = HeaderValue::from_static("id-1");
        let text = |error: ProxyError| {
            let response = error.respond(&Reply { request_id: &request_id, html: false, unread_body: false });
            (response.headers().clone(), response.into_body().into_bytes())
        };
        let none = text(ProxyError::Unauthenticated(None));
        assert_eq!(none, text(ProxyError::Unauthenticated(Some(Reason::Signature))));
        assert_eq!(none, text(ProxyError::Sessionless));
    }
}

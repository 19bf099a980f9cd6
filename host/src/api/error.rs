//! Problem documents (RFC 9457): the only errors of the admin API. A handler returns a [`Problem`]; the outermost layer
//! ([`super::guard::identify`]) adds the request id and writes it.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::lifecycle::LifecycleError;

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    kind: Kind,
    detail: String,
}

/// What can go wrong, from a closed set: the last part of `type`, and what programs compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    NoSuchRoute,
    MethodNotAllowed,
    Unauthorized,
    WrongHost,
    BadRequest,
    TooLarge,
    UnsupportedMediaType,
    NotFound,
    Exists,
    NotOwner,
    Deleting,
    NothingToDo,
    Refused,
    Invalid,
    KeyReused,
    TokenRefused,
    Busy,
    NotReady,
    Timeout,
    Unavailable,
    Internal,
}

impl Kind {
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::NoSuchRoute => (S::NOT_FOUND, "no-such-route", "No such route"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::Unauthorized => (S::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            Self::WrongHost => (S::MISDIRECTED_REQUEST, "wrong-host", "Wrong host"),
            Self::BadRequest => (S::BAD_REQUEST, "bad-request", "Bad request"),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "Too large"),
            Self::UnsupportedMediaType => {
                (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::NotFound => (S::NOT_FOUND, "not-found", "Not found"),
            Self::Exists => (S::CONFLICT, "exists", "Conflict"),
            Self::NotOwner => (S::CONFLICT, "not-owner", "Conflict"),
            Self::Deleting => (S::CONFLICT, "deleting", "Conflict"),
            Self::NothingToDo => (S::CONFLICT, "nothing-to-do", "Conflict"),
            Self::Refused => (S::CONFLICT, "policy-refused", "Refused"),
            Self::Invalid => (S::UNPROCESSABLE_ENTITY, "invalid", "Invalid"),
            Self::KeyReused => (S::UNPROCESSABLE_ENTITY, "key-reused", "Key used for another request"),
            Self::TokenRefused => (S::UNPROCESSABLE_ENTITY, "token-refused", "Token refused"),
            Self::Busy => (S::SERVICE_UNAVAILABLE, "busy", "Busy"),
            Self::NotReady => (S::SERVICE_UNAVAILABLE, "not-ready", "Not ready"),
            Self::Timeout => (S::SERVICE_UNAVAILABLE, "timeout", "Timeout"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable", "Unavailable"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }
}

// === impl Problem ===

impl Problem {
    /// A problem of this kind; `detail` is for the client: the thing, the reason, the next step, and no secret.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { status: kind.row().0, kind, detail: detail.into() }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Seconds after which another try makes sense.
    fn retry_after(&self) -> Option<&'static str> {
        (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some("2")
    }

    /// The whole answer. `base` brings the headers that are set already (`Allow`).
    pub(super) fn render(self, mut base: Response, request_id: &str) -> Response {
        let (status, kind, title) = self.kind.row();
        let document = json!({
            "type": format!("urn:orbitd:problem:{kind}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
            "request_id": request_id,
        });
        if let Some(seconds) = self.retry_after() {
            base.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"orbitd admin\"");
            base.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        *base.status_mut() = status;
        base.headers_mut().remove(header::CONTENT_LENGTH);
        base.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        *base.body_mut() = Body::from(document.to_string());
        base
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Only the outermost layer knows the request id: it finds the problem here and writes it.
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        let kind = match &error {
            LifecycleError::NotFound(_) => Kind::NotFound,
            LifecycleError::Exists(_) => Kind::Exists,
            LifecycleError::NotOwner { .. } => Kind::NotOwner,
            LifecycleError::Deleting(_) => Kind::Deleting,
            LifecycleError::Invalid(_) => Kind::Invalid,
            LifecycleError::NoBackup(_) => Kind::NotFound,
            LifecycleError::BackupStore(_) | LifecycleError::Database(_) => Kind::Unavailable,
            LifecycleError::Busy(_) => Kind::Busy,
            LifecycleError::RegistryUnavailable(_) => Kind::Unavailable,
            LifecycleError::Registry(reason) => {
                // What the database said is for the operator's log.
                tracing::error!(%reason, "the registry failed");
                return Self::new(Kind::Unavailable, "the registry failed; orbitd's log says why; try again");
            }
        };
        Self::new(kind, error.to_string())
    }
}

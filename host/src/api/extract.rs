//! What handlers take from a request, with problems for what can't be taken.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{Problem, error::Kind};
use crate::ids::Slug;

/// The `{slug}` of the path.
pub(super) struct InPath(pub Slug);

/// The `{slug}` and `{revision}` of the path.
pub(super) struct InRevisionPath(pub Slug, pub String);

/// A JSON body. The problem names field, line and column.
pub(super) struct JsonBody<T>(pub T);

/// The query; unknown parameters are an error where `T` denies them.
pub(super) struct InQuery<T>(pub T);

impl<S: Send + Sync> FromRequestParts<S> for InPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unreadable = |_| Problem::new(Kind::BadRequest, "the path is not UTF-8");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(unreadable)?;
        text.parse()
            .map(Self)
            .map_err(|reason: crate::ids::InvalidId| Problem::new(Kind::BadRequest, reason.to_string()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InRevisionPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unreadable = |_| Problem::new(Kind::BadRequest, "the path is not UTF-8");
        let Path((slug, revision)) =
            Path::<(String, String)>::from_request_parts(parts, state).await.map_err(unreadable)?;
        let wrong = |reason: crate::ids::InvalidId| Problem::new(Kind::BadRequest, reason.to_string());
        Ok(Self(slug.parse().map_err(wrong)?, revision))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unreadable = |r: axum::extract::rejection::QueryRejection| Problem::new(Kind::BadRequest, r.body_text());
        Query::from_request_parts(parts, state).await.map(|Query(query)| Self(query)).map_err(unreadable)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Json::from_request(request, state).await.map(|Json(body)| Self(body)).map_err(|rejection| match &rejection {
            JsonRejection::MissingJsonContentType(_) => {
                Problem::new(Kind::UnsupportedMediaType, "send `Content-Type: application/json`")
            }
            other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::new(Kind::TooLarge, "the body is over this route's limit (1 MiB; 16 MiB with a catalogue)")
            }
            JsonRejection::JsonDataError(_) => Problem::new(Kind::Invalid, rejection.body_text()),
            other => Problem::new(Kind::BadRequest, other.body_text()),
        })
    }
}

//! The API's description of itself, written by hand; a test compares its paths and methods with the router's.

use axum::{http::header, response::IntoResponse};

pub(super) const DOCUMENT: &str = include_str!("openapi.json");

/// OpenAPI 3.1.
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

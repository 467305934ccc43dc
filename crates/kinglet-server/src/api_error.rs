//! Errors as clients get them: a status, and JSON that says what is wrong and what to do next.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use kinglet_vision::DecodeError;
use serde_json::{Value, json};

/// Why a request was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    /// One word for programs.
    pub code: &'static str,
    /// What is wrong: expected, found.
    pub message: String,
    /// What to do.
    pub next_step: String,
    /// Seconds after which another try makes sense.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        ApiError { status, code, message: message.into(), next_step: next_step.into(), retry_after: None }
    }

    /// A request that makes no sense as it is.
    pub fn bad(code: &'static str, message: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message, next_step)
    }

    /// A picture that cannot be used.
    pub fn picture(place: &str, error: &DecodeError) -> Self {
        let (status, code, next) = match error {
            DecodeError::TooLarge { width, height, max_side, .. } if width.max(height) > max_side => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_many_pixels", "send a picture with shorter sides")
            }
            DecodeError::TooLarge { .. } => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_many_pixels",
                "send a smaller picture, or start the server with a larger --max-pixels",
            ),
            DecodeError::TooManyBytes { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_many_bytes", "send a smaller file")
            }
            _ => (StatusCode::BAD_REQUEST, "bad_picture", "send a whole JPEG, PNG, BMP, TIFF, WebP or GIF file"),
        };
        Self::new(status, code, format!("{place}: {error}"), next)
    }
}

/// JSON as a response.
pub(crate) fn json_response(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code, "message": self.message, "next_step": self.next_step});
        let mut response = json_response(self.status, &json!({ "error": error }));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The answer where there is no such route.
pub(crate) async fn no_such_route(uri: axum::http::Uri) -> ApiError {
    let message = format!("there is nothing at `{}`", uri.path());
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        message,
        "see `/` for the page and `/openapi.json` for the routes",
    )
}

/// The answer where a route knows other methods only.
pub(crate) async fn no_such_method(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    let message = format!("`{}` does not take {method}", uri.path());
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong_method",
        message,
        "the Allow header names the methods that it takes",
    )
}

//! Refusals in the shape that OpenAI's clients read.

use crate::engine::{EngineError, FailureKind};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// A refusal: a status and an error object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: Option<&'static str>,
    pub(super) param: Option<&'static str>,
    pub(super) message: String,
    /// Whether trying again in a second makes sense.
    retry: bool,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, param: None, message: message.into(), retry: false }
    }

    /// The request's field `param` is wrong.
    pub(super) fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    pub(super) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub(super) fn with_retry(self) -> Self {
        Self { retry: true, ..self }
    }

    pub(super) fn loading() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the model is being loaded; try again soon").with_retry()
    }

    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping; start it again")
    }

    /// A failure of the engine; `held_by` is the request's field that said what the answer is held to.
    pub(super) fn of(error: &EngineError, held_by: &'static str) -> Self {
        match error.kind {
            FailureKind::ContextOverflow => {
                Self::invalid("messages", error.message.clone()).with_code("context_length_exceeded")
            }
            FailureKind::Grammar => Self::invalid(held_by, error.message.clone()),
            FailureKind::Rejected => Self::invalid("messages", error.message.clone()).with_code("conversation_refused"),
            FailureKind::Interrupted => Self::stopping(),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.message.clone()),
        }
    }

    /// The object that clients read.
    pub(super) fn object(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.object())).into_response();
        if self.retry {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

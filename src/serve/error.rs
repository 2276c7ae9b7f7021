//! Refusals in the shape that OpenAI's clients read, or Anthropic's.

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
    /// In how many seconds trying again makes sense, where it does.
    retry_after: Option<u32>,
    /// Whether it has the shape of Anthropic's Messages.
    in_messages: bool,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, param: None, message: message.into(), retry_after: None, in_messages: false }
    }

    /// The request's field `param` is wrong.
    pub(super) fn invalid(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// There is no such thing as the request's field `param` names.
    pub(super) fn missing(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::NOT_FOUND, message) }
    }

    pub(super) fn with_code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same, worth trying again in so many seconds.
    pub(super) fn with_retry(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The same in the shape of Anthropic's Messages.
    pub(super) fn in_messages(self) -> Self {
        Self { in_messages: true, ..self }
    }

    pub(super) fn loading() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the model is being loaded; try again soon").with_retry(1)
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
            FailureKind::RateLimited => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, error.message.clone()).with_code("upstream_busy").with_retry(5)
            }
            FailureKind::Timeout => Self::upstream(StatusCode::GATEWAY_TIMEOUT, error),
            FailureKind::Connect
            | FailureKind::Auth
            | FailureKind::Server
            | FailureKind::Malformed
            | FailureKind::CutStream
            | FailureKind::Offline => Self::upstream(StatusCode::BAD_GATEWAY, error),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.message.clone()),
        }
    }

    /// A model behind this server that did not answer.
    fn upstream(status: StatusCode, error: &EngineError) -> Self {
        Self::new(status, error.message.clone()).with_code("upstream_failed")
    }

    /// The object that clients read.
    pub(super) fn object(&self) -> Value {
        if self.in_messages {
            let kind = match self.status.as_u16() {
                401 => "authentication_error",
                404 => "not_found_error",
                413 => "request_too_large",
                429 => "rate_limit_error",
                503 => "overloaded_error",
                500.. => "api_error",
                _ => "invalid_request_error",
            };
            return json!({"type": "error", "error": {"type": kind, "message": self.message}});
        }
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
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

//! The server's paths.

use super::error::ApiError;
use super::reply::{self, Envelope};
use super::request::Ask;
use super::stream;
use super::worker::{Event, Queue};
use crate::clock::unix_time;
use crate::engine::{EngineInfo, Secret};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Largest request body.
const MAX_BODY: usize = 4 << 20;
/// Pieces of a streamed answer that may wait for a slow client.
const PIECES: usize = 16;

/// What the paths share.
pub(super) struct App {
    pub(super) queue: Queue,
    /// Set once the model is loaded.
    pub(super) info: OnceLock<EngineInfo>,
    pub(super) api_key: Option<Secret>,
    pub(super) created: u64,
    /// Number of the next answer; also the seed of requests that name none.
    pub(super) next: AtomicU64,
}

/// All paths.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), check_key))
        // After the layers: the health of the server is no secret.
        .route("/health", get(health))
        .with_state(app)
}

async fn check_key(State(app): State<Arc<App>>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let Some(key) = &app.api_key else { return next.run(request).await };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    // Digests are compared, so that the time taken says nothing about the key.
    if given.is_some_and(|given| Sha256::digest(given) == Sha256::digest(key.expose())) {
        return next.run(request).await;
    }
    let message = match given {
        None => "this server wants a key: send it as `Authorization: Bearer KEY`",
        Some(_) => "the key is not the one that this server wants",
    };
    ApiError::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key").into_response()
}

async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let paths = "POST /v1/chat/completions, GET /v1/models and GET /health";
    let message = format!("{method} {path}: there is no such path; this server has {paths}");
    ApiError::new(StatusCode::NOT_FOUND, message).with_code("unknown_url")
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}

async fn health(State(app): State<Arc<App>>) -> Response {
    match app.info.get() {
        Some(info) => Json(json!({"status": "ok", "model": info.model})).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "loading"}))).into_response(),
    }
}

async fn models(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let info = app.info.get().ok_or_else(ApiError::loading)?;
    Ok(Json(reply::models(info, app.created)).into_response())
}

async fn chat(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Result<Response, ApiError> {
    let model = app.info.get().ok_or_else(ApiError::loading)?.model.clone();
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the body is larger than {} MiB", MAX_BODY >> 20);
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        }
        status => ApiError::new(status, format!("the body could not be read: {rejection}")),
    })?;
    let number = app.next.fetch_add(1, Ordering::Relaxed);
    // Compiling a schema takes time, and other requests are not to wait for it.
    let ask = tokio::task::spawn_blocking(move || Ask::parse(&body, number)).await;
    let ask = ask.map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be read"))??;
    let envelope = Envelope { id: format!("chatcmpl-{number}"), created: unix_time(), model, logprobs: ask.logprobs };
    let (streamed, include_usage, stops) = (ask.stream, ask.include_usage, ask.sampling.stop.clone());
    // Whoever drops this receiver, the client that goes away included, ends the generation.
    let mut events = app.queue.submit(ask)?;
    if streamed {
        let first = match events.recv().await.ok_or_else(ApiError::stopping)? {
            Event::Done(Err(error), _) => return Err(error),
            first => first,
        };
        let (client, frames) = tokio::sync::mpsc::channel(PIECES);
        tokio::spawn(stream::pump(envelope, stops, include_usage, first, events, client));
        let mut response = stream::body(frames).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return Ok(response);
    }
    loop {
        match events.recv().await.ok_or_else(ApiError::stopping)? {
            Event::Token(_) => {}
            Event::Done(Err(error), _) => return Err(error),
            Event::Done(Ok(completion), waited) => return Ok(Json(envelope.whole(&completion, waited)).into_response()),
        }
    }
}

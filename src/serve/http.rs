//! The server's paths.

use super::embeddings::Embeddings;
use super::error::ApiError;
use super::metrics::Metrics;
use super::reply::{self, Envelope};
use super::request::{Ask, Kind};
use super::stream;
use super::worker::{Event, Queue};
use crate::clock::unix_time;
use crate::engine::{EngineInfo, Secret};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Largest request body.
const MAX_BODY: usize = 4 << 20;
/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_mins(1);
/// Pieces of a streamed answer that may wait for a slow client.
const PIECES: usize = 16;
/// The server's paths.
const PATHS: [&str; 7] =
    ["/v1/chat/completions", "/v1/completions", MESSAGES, "/v1/embeddings", "/v1/models", "/health", "/metrics"];
/// The path of Anthropic's protocol, whose refusals have a shape of their own.
const MESSAGES: &str = "/v1/messages";
/// A name that stands for all names of models.
pub(super) const ANY_NAME: &str = "*";

/// What the paths share.
pub(super) struct App {
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<Metrics>,
    /// Set once the model is loaded.
    pub(super) info: OnceLock<EngineInfo>,
    pub(super) embeddings: Option<Arc<Embeddings>>,
    /// Texts are embedded for one request at a time, and so many may wait.
    pub(super) embedding: Semaphore,
    pub(super) waiting_to_embed: Semaphore,
    /// Names by which the model may be asked for beside its own.
    pub(super) aliases: Vec<String>,
    pub(super) api_key: Option<Secret>,
    pub(super) created: u64,
    /// Number of the next answer; also the seed of requests that name none.
    pub(super) next: AtomicU64,
}

/// All paths.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(complete))
        .route(MESSAGES, post(messages))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(models))
        .route("/metrics", get(metrics))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), check_key))
        // After the layers: the health of the server is no secret.
        .route("/health", get(health))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // A label for each path that anybody may think of would fill the memory.
    let path = PATHS.into_iter().find(|path| *path == request.uri().path()).unwrap_or("other");
    let response = next.run(request).await;
    app.metrics.responded(path, response.status().as_u16());
    response
}

async fn check_key(State(app): State<Arc<App>>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let Some(key) = &app.api_key else { return next.run(request).await };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let given = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    if given.is_some_and(|given| is_same(given, key.expose().as_bytes())) {
        return next.run(request).await;
    }
    let message = match given {
        None => "this server wants a key: send it as `Authorization: Bearer KEY` or `x-api-key: KEY`",
        Some(_) => "the key is not the one that this server wants",
    };
    let refusal = ApiError::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key");
    if request.uri().path() == MESSAGES { refusal.in_messages() } else { refusal }.into_response()
}

/// Whether two secrets are the same. Their digests are compared, all bytes of them, so that the time taken says nothing about
/// where they differ, nor how long they are.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    let differences = a.iter().zip(b.iter()).fold(0, |differences, (a, b)| std::hint::black_box(differences | (a ^ b)));
    differences == 0
}

async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    let message = format!("{method} {path}: there is no such path; this server has {}", PATHS.join(", "));
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

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.metrics.text(app.info.get(), app.queue.lengths());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn models(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let info = app.info.get().ok_or_else(ApiError::loading)?;
    let encoder = app.embeddings.as_ref().map(|embeddings| embeddings.name());
    Ok(Json(reply::models(info, encoder, app.created)).into_response())
}

async fn body_of(request: Request) -> Result<Bytes, ApiError> {
    let late = |_| {
        let message = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
    };
    timeout(BODY_TIME, Bytes::from_request(request, &())).await.map_err(late)?.map_err(|rejection| {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the body is larger than {} MiB", MAX_BODY >> 20);
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
            }
            status => ApiError::new(status, format!("the body could not be read: {rejection}")),
        }
    })
}

/// Work that holds up other requests on the server's few threads.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, ApiError> + Send + 'static) -> Result<T, ApiError> {
    let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be worked on");
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

impl App {
    /// Refuses a name that this server knows no model by. No name is whatever is served.
    fn check_model(&self, asked: Option<&str>, own: &str) -> Result<(), ApiError> {
        let known = |name: &str| name == own || self.aliases.iter().any(|alias| alias == name || alias == ANY_NAME);
        let Some(asked) = asked.filter(|name| !known(name)) else { return Ok(()) };
        let asked: String = asked.chars().take(100).collect();
        let message = format!(
            "there is no model {asked:?} here: this server has {own:?}; ask for it, or start the server with --alias {asked}"
        );
        Err(ApiError::missing("model", message).with_code("model_not_found"))
    }
}

async fn chat(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(state, Kind::Chat, request).await
}

async fn complete(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(state, Kind::Text, request).await
}

async fn messages(state: State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(state, Kind::Messages, request).await.map_err(ApiError::in_messages)
}

async fn answer(State(app): State<Arc<App>>, kind: Kind, request: Request) -> Result<Response, ApiError> {
    let model = app.info.get().ok_or_else(ApiError::loading)?.model.clone();
    let body = body_of(request).await?;
    let number = app.next.fetch_add(1, Ordering::Relaxed);
    // Compiling a schema takes time, and other requests are not to wait for it.
    let ask = aside(move || Ask::parse(kind, &body, number)).await?;
    app.check_model(ask.model.as_deref(), &model)?;
    let id = match kind {
        Kind::Chat => format!("chatcmpl-{number}"),
        Kind::Text => format!("cmpl-{number}"),
        Kind::Messages => format!("msg_{number}"),
    };
    let envelope = Envelope { kind, id, created: unix_time(), model, logprobs: ask.logprobs };
    let (streamed, include_usage, stops) = (ask.stream, ask.include_usage, ask.sampling.stop.clone());
    // Whoever drops this receiver, the client that goes away included, ends the generation.
    let mut events = app.queue.submit(ask)?;
    if !streamed {
        loop {
            match events.recv().await.ok_or_else(ApiError::stopping)? {
                Event::Token(_) => {}
                Event::Done(Err(error), _) => return Err(error),
                Event::Done(Ok(answer), waited) => {
                    let headers = answer.route.as_ref().map(super::Route::headers).unwrap_or_default();
                    return Ok((headers, Json(envelope.whole(&answer, waited))).into_response());
                }
            }
        }
    }
    let first = match events.recv().await.ok_or_else(ApiError::stopping)? {
        Event::Done(Err(error), _) => return Err(error),
        first => first,
    };
    let headers = match &first {
        Event::Done(Ok(answer), _) => answer.route.as_ref().map(super::Route::headers).unwrap_or_default(),
        _ => HeaderMap::new(),
    };
    let (client, frames) = tokio::sync::mpsc::channel(PIECES);
    tokio::spawn(stream::pump(envelope, stops, include_usage, first, events, client));
    let mut response = (headers, stream::body(frames)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn embed(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let Some(embeddings) = app.embeddings.clone() else {
        let message = "this server embeds nothing: start it with --embeddings MODEL, such as all-minilm-l6-v2";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message).with_code("no_embeddings"));
    };
    let body = body_of(request).await?;
    let asked = super::embeddings::Asked::parse(&body)?;
    app.check_model(asked.model.as_deref(), embeddings.name())?;
    let busy = |_| {
        let message = "too many requests wait for their embeddings already; try again later";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).with_code("queue_full").with_retry(1)
    };
    let _place = app.waiting_to_embed.try_acquire().map_err(busy)?;
    let _turn = app.embedding.acquire().await.map_err(|_| ApiError::stopping())?;
    let (reply, tokens) = aside(move || embeddings.answer(&asked)).await?;
    app.metrics.embedded(tokens);
    Ok(Json(reply).into_response())
}

#[cfg(test)]
mod tests {
    use super::is_same;

    #[test]
    fn secrets_are_the_same_only_where_all_of_them_is() {
        assert!(is_same(b"open-sesame", b"open-sesame") && is_same(b"", b""));
        for other in [&b"open-sesamf"[..], b"open-sesam", b"open-sesame ", b""] {
            assert!(!is_same(b"open-sesame", other));
        }
    }
}

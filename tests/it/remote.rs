//! The remote engine against an endpoint that misbehaves in every way.

use routergym_local::clock::{Clock, Component};
use routergym_local::engine::{
    Completion, Engine, EngineError, FailureKind, Held, RemoteEngine, RemoteOptions, Request, Secret, StopReason,
    UsageSource,
};
use routergym_local::metrics::{Budget, Budgeted, Prices};
use routergym_local::net::Network;
use routergym_local::nn::chat::Message;
use routergym_local::nn::{Cancel, Grammar, Rule};
use routergym_local::units::Usd;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const KEY: &str = "sk-never-shown-0123456789";

/// One thing that the endpoint does with a connection.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(u64),
}

/// What the endpoint was sent: the head with its headers, and the body.
pub(crate) type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// An endpoint that answers its n-th request with the n-th script, and every later one with the last.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    seen: Seen,
}

impl Endpoint {
    pub(crate) fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let record = Arc::clone(&seen);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (scripts, record) = (scripts.clone(), Arc::clone(&record));
                std::thread::spawn(move || answer(connection.unwrap(), &scripts, &record));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn one(steps: Vec<Step>) -> Self {
        Self::start(vec![steps])
    }

    pub(crate) fn options(&self) -> RemoteOptions {
        let mut options = RemoteOptions::new(&self.url, "big-model");
        options.api_key = Some(Secret::new(KEY));
        options.backoff = Duration::from_millis(1);
        options
    }

    pub(crate) fn requests(&self) -> Vec<(String, Value)> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(mut connection: TcpStream, scripts: &[Vec<Step>], seen: &Seen) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let length = head
        .to_lowercase()
        .split("content-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push((head, serde_json::from_slice(&body).unwrap()));
        seen.len() - 1
    };
    for step in scripts.get(number).or(scripts.last()).unwrap() {
        match step {
            Step::Send(bytes) => {
                if connection.write_all(bytes).is_err() {
                    return;
                }
            }
            Step::Wait(milliseconds) => std::thread::sleep(Duration::from_millis(*milliseconds)),
        }
    }
}

pub(crate) fn response(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    vec![Step::Send(format!("{head}{body}").into_bytes())]
}

pub(crate) fn error(status: &str, message: &str) -> Vec<Step> {
    response(status, "content-type: application/json\r\n", &json!({"error": {"message": message}}).to_string())
}

pub(crate) fn stream_head() -> Step {
    Step::Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec())
}

pub(crate) fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

pub(crate) fn piece(text: &str) -> Value {
    let logprobs = json!({"content": [{"token": text, "logprob": -0.25, "bytes": text.as_bytes()}]});
    json!({"model": "big-model-2", "choices": [{"index": 0, "delta": {"content": text}, "logprobs": logprobs}]})
}

pub(crate) fn ending() -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
}

fn counts() -> Value {
    json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}})
}

/// A whole answer with this text.
pub(crate) fn said(text: &str) -> Vec<Step> {
    let events = [piece(text), ending(), counts()].iter().map(event).collect::<String>();
    vec![stream_head(), Step::Send(format!("{events}data: [DONE]\n\n").into_bytes())]
}

pub(crate) fn good() -> Vec<Step> {
    let events = [piece("Grüß"), piece(" Gott"), ending(), counts()].iter().map(event).collect::<String>();
    vec![stream_head(), Step::Send(format!(": hi\n\n{events}data: [DONE]\n\n").into_bytes())]
}

pub(crate) fn engine(options: RemoteOptions) -> RemoteEngine {
    RemoteEngine::new(options, Network::new(false), Clock::real(), Arc::default()).unwrap()
}

pub(crate) fn request() -> Request {
    let messages = vec![Message::new("system", "Be brief."), Message::new("user", "Hello")];
    Request { messages, max_tokens: 16, temperature: 0.0, seed: 7, top_logprobs: 2, cache_scope: None, grammar: None }
}

fn succeed(options: RemoteOptions) -> Completion {
    engine(options).complete(&request()).unwrap()
}

/// The failure of a call; whatever it was, the key is not in it.
fn fail(options: RemoteOptions) -> EngineError {
    let error = *engine(options).complete(&request()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("never-shown"), "{error:?}");
    assert!(error.message.contains("big-model"), "{error}");
    error
}

#[track_caller]
fn fails_with(steps: Vec<Step>, kind: FailureKind, parts: &[&str]) {
    let endpoint = Endpoint::one(steps);
    let mut options = endpoint.options();
    options.max_retries = 0;
    let error = fail(options);
    assert_eq!(error.kind, kind, "{error}");
    for part in parts {
        assert!(error.message.contains(part), "{part:?} is not in {error}");
    }
}

#[test]
fn a_streamed_answer_is_read_with_its_probabilities_usage_and_timing() {
    let endpoint = Endpoint::one(good());
    let completion = succeed(endpoint.options());
    assert_eq!((completion.text.as_str(), completion.model.as_str()), ("Grüß Gott", "big-model-2"));
    assert_eq!(completion.tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>(), ["Grüß", " Gott"]);
    assert_eq!(completion.stop, StopReason::EndOfTurn);
    assert_eq!(
        (completion.usage.input_tokens, completion.usage.output_tokens, completion.usage.cached_tokens),
        (12, 2, 4)
    );
    assert_eq!(completion.usage_source, UsageSource::Server);
    assert_eq!(completion.prompt, "<|system|>\nBe brief.\n<|user|>\nHello\n");
    let timing = &completion.timing;
    assert!(timing.ttft_s.unwrap() <= timing.total_s);
    assert!(timing.total_s.0 - timing.spans.total().0 < 0.01, "{timing:?}");
    assert!(timing.spans.get(Component::Network).0 > 0.0);
    let (head, body) = endpoint.requests().remove(0);
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert!(head.contains(&format!("authorization: Bearer {KEY}")), "{head}");
    assert_eq!((&body["model"], &body["max_tokens"], &body["stream"]), (&json!("big-model"), &json!(16), &json!(true)));
}

#[test]
fn any_pieces_of_the_stream_give_the_same_answer() {
    let Step::Send(bytes) = good().remove(1) else { panic!("the body is the second step") };
    let mut steps = vec![stream_head()];
    for (number, chunk) in bytes.chunks(3).enumerate() {
        steps.push(Step::Send(chunk.to_vec()));
        if number % 40 == 0 {
            steps.push(Step::Wait(1));
        }
    }
    let completion = succeed(Endpoint::one(steps).options());
    assert_eq!((completion.text.as_str(), completion.tokens.len()), ("Grüß Gott", 2));
}

#[test]
fn an_endpoint_that_answers_plainly_is_understood() {
    let body = json!({"model": "m", "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}]});
    let endpoint = Endpoint::one(response("200 OK", "content-type: application/json\r\n", &body.to_string()));
    let completion = succeed(endpoint.options());
    assert_eq!((completion.text.as_str(), completion.stop), ("Hi", StopReason::MaxTokens));
    assert_eq!(completion.usage_source, UsageSource::Missing);
    assert_eq!(completion.timing.ttft_s, None, "one piece does not tell when the first token came");
}

#[test]
fn options_that_the_endpoint_does_not_know_are_dropped_once() {
    let endpoint = Endpoint::start(vec![
        error("400 Bad Request", "Unrecognized request argument supplied: stream_options"),
        error("400 Bad Request", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        error("422 Unprocessable Entity", "logprobs are not supported"),
        good(),
    ]);
    let mut options = endpoint.options();
    options.max_retries = 0;
    let engine = engine(options);
    assert_eq!(engine.complete(&request()).unwrap().retries, 3);
    assert_eq!(engine.complete(&request()).unwrap().retries, 0);
    assert_eq!(engine.adjustments().len(), 3);
    let (_, body) = endpoint.requests().pop().unwrap();
    assert_eq!(body["max_completion_tokens"], 16);
    for gone in ["max_tokens", "stream_options", "logprobs", "top_logprobs"] {
        assert_eq!(body.get(gone), None, "{gone}");
    }
}

#[test]
fn a_schema_is_asked_for_strictly_then_loosely_then_by_the_prompt_alone() {
    let endpoint = Endpoint::start(vec![
        good(),
        error("400 Bad Request", "Invalid schema for response_format 'answer': 'uniqueItems' is not permitted."),
        good(),
        error("400 Bad Request", "'json_schema' is not supported by this model"),
        good(),
    ]);
    let mut options = endpoint.options();
    options.max_retries = 0;
    let engine = engine(options);
    let schema = json!({"type": "array", "uniqueItems": true});
    let grammar = Arc::new(Grammar::new(Rule::JsonSchema(schema.clone())));
    let mut held = Vec::new();
    for _ in 0..3 {
        let completion = engine.complete(&Request { grammar: Some(Arc::clone(&grammar)), ..request() }).unwrap();
        held.push((completion.held, completion.retries));
    }
    assert_eq!(held, [(Held::ResponseFormatStrict, 0), (Held::ResponseFormat, 1), (Held::Not, 1)]);
    let formats: Vec<Value> =
        endpoint.requests().into_iter().map(|(_, body)| body["response_format"].clone()).collect();
    let format = |strict: bool| json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": strict, "schema": schema}});
    assert_eq!(formats, [format(true), format(true), format(false), format(false), Value::Null]);
    assert_eq!(engine.adjustments(), ["response_format sent without strict mode", "response_format dropped"]);
}

#[test]
fn an_endpoint_that_is_down_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut options = RemoteOptions::new(format!("http://127.0.0.1:{port}"), "big-model");
    options.api_key = Some(Secret::new(KEY));
    options.backoff = Duration::from_millis(1);
    options.max_retries = 2;
    let error = fail(options);
    assert_eq!((error.kind, error.retries), (FailureKind::Connect, 2), "{error}");
    for part in [&format!("127.0.0.1:{port}"), "is the server running", "--llm", "tried 3 times"] {
        assert!(error.message.contains(part), "{part:?} is not in {error}");
    }
    assert!(error.spans.get(Component::Network).0 > 0.0);
}

#[test]
fn a_key_that_is_refused_names_its_variable() {
    fails_with(
        error("401 Unauthorized", &format!("Incorrect API key provided: {KEY}")),
        FailureKind::Auth,
        &["OPENAI_API_KEY", "***"],
    );
    fails_with(error("403 Forbidden", "no"), FailureKind::Auth, &["OPENAI_API_KEY", "403"]);
}

#[test]
fn too_many_requests_are_waited_for_as_the_endpoint_asks() {
    let limited = response("429 Too Many Requests", "retry-after: 0.2\r\n", "slow down");
    let endpoint = Endpoint::start(vec![limited.clone(), good()]);
    let completion = succeed(endpoint.options());
    assert_eq!(completion.retries, 1);
    assert!(completion.timing.spans.get(Component::Network).0 >= 0.2);

    let endpoint = Endpoint::one(limited);
    let mut options = endpoint.options();
    options.max_retries = 1;
    let error = fail(options);
    assert_eq!((error.kind, error.retries), (FailureKind::RateLimited, 1), "{error}");

    let patient = response("429 Too Many Requests", "retry-after: 3600\r\n", "tomorrow");
    let error = fail(Endpoint::one(patient).options());
    assert_eq!((error.kind, error.retries), (FailureKind::RateLimited, 0), "{error}");
    assert!(error.message.contains("3600 s"), "{error}");
}

#[test]
fn an_endpoint_that_fails_is_tried_again_a_bounded_number_of_times() {
    let endpoint = Endpoint::start(vec![
        error("500 Internal Server Error", "oops"),
        error("503 Service Unavailable", "busy"),
        good(),
    ]);
    assert_eq!(succeed(endpoint.options()).retries, 2);
    let endpoint = Endpoint::one(error("500 Internal Server Error", "oops"));
    let error = fail(endpoint.options());
    assert_eq!((error.kind, error.retries, endpoint.requests().len()), (FailureKind::Server, 3, 4), "{error}");
    assert!(error.message.contains("oops"), "{error}");
}

#[test]
fn a_slow_endpoint_names_the_limit_that_ran_out() {
    let first = Endpoint::one(vec![Step::Wait(3000)]);
    let mut options = first.options();
    options.timeouts.first_byte = Duration::from_millis(100);
    let error = fail(options);
    assert_eq!((error.kind, error.retries), (FailureKind::Timeout, 0), "{error}");
    assert!(error.message.contains("first-byte") && error.message.contains("0.1 s"), "{error}");

    let head_only = Endpoint::one(vec![stream_head(), Step::Wait(3000)]);
    let mut options = head_only.options();
    options.timeouts.first_byte = Duration::from_millis(100);
    assert!(fail(options).message.contains("first-byte"));

    let stalling = Endpoint::one(vec![stream_head(), Step::Send(event(&piece("a")).into_bytes()), Step::Wait(3000)]);
    let mut options = stalling.options();
    options.timeouts.between_chunks = Duration::from_millis(100);
    let error = fail(options);
    assert!(error.kind == FailureKind::Timeout && error.message.contains("between-chunks"), "{error}");

    let mut dripping = vec![stream_head()];
    dripping.extend((0..100).flat_map(|_| [Step::Send(b": drip\n".to_vec()), Step::Wait(20)]));
    let dripping = Endpoint::one(dripping);
    let mut options = dripping.options();
    options.timeouts.total = Duration::from_millis(200);
    let error = fail(options);
    assert!(error.kind == FailureKind::Timeout && error.message.contains("total"), "{error}");
}

#[test]
fn a_stream_that_is_cut_is_no_answer_and_is_not_tried_again() {
    let begun = Step::Send(event(&piece("Gr")).into_bytes());
    let half = Step::Send(br#"data: {"choices":[{"delta":{"cont"#.to_vec());
    let declared = Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n".to_vec());
    let done = Step::Send(b"data: [DONE]\n\n".to_vec());
    for steps in [
        vec![stream_head(), begun.clone()],
        vec![stream_head(), begun.clone(), half],
        vec![declared, begun.clone()],
        vec![stream_head(), begun, done],
        vec![stream_head()],
    ] {
        let endpoint = Endpoint::one(steps);
        let error = fail(endpoint.options());
        assert_eq!((error.kind, endpoint.requests().len()), (FailureKind::CutStream, 1), "{error}");
    }
}

#[test]
fn what_is_not_the_protocol_is_shown_in_short() {
    let html = format!("<html><body>Welcome {KEY} {}</body></html>", "x".repeat(9000));
    fails_with(
        response("200 OK", "content-type: text/html\r\n", &html),
        FailureKind::Malformed,
        &["is HTML", "<html>", "***"],
    );
    fails_with(response("200 OK", "", "garbage, just garbage"), FailureKind::Malformed, &["garbage, just"]);
    fails_with(response("200 OK", "", "{\"choices\": 5}"), FailureKind::Malformed, &["--llm"]);
    fails_with(response("200 OK", "", "{\"choices\": "), FailureKind::Malformed, &["broken JSON"]);
    fails_with(response("200 OK", "", "data: nonsense\n\ndata: more\n\n"), FailureKind::Malformed, &["nonsense"]);
    fails_with(response("200 OK", "", &"a".repeat(17 << 20)), FailureKind::Malformed, &["longer than 16 MiB"]);
}

#[test]
fn refusals_keep_the_servers_own_words() {
    fails_with(
        error("400 Bad Request", "messages must alternate"),
        FailureKind::Rejected,
        &["messages must alternate"],
    );
    fails_with(error("404 Not Found", "no such model"), FailureKind::Rejected, &["no such model", "/v1"]);
    fails_with(
        error(
            "400 Bad Request",
            "This model's maximum context length is 4096 tokens, however you requested 5000 (max_tokens).",
        ),
        FailureKind::ContextOverflow,
        &["4096", "shorten"],
    );
    let reported = json!({"error": {"message": "overloaded", "code": 503}});
    fails_with(vec![stream_head(), Step::Send(event(&reported).into_bytes())], FailureKind::Server, &["overloaded"]);
}

#[test]
fn a_redirect_is_not_followed() {
    let redirect = response("307 Temporary Redirect", "location: https://elsewhere.example/v1?key=1\r\n", "");
    fails_with(redirect, FailureKind::Rejected, &["elsewhere.example", "redirect"]);
}

#[test]
fn a_key_that_the_endpoint_echoes_is_not_kept() {
    let (start, end) = KEY.split_at(9);
    let body = [piece(start), piece(end), ending()].iter().map(event).collect::<String>();
    let completion = succeed(Endpoint::one(vec![stream_head(), Step::Send(body.into_bytes())]).options());
    assert_eq!(completion.text, "***");
    assert!(!format!("{completion:?}").contains("never-shown"), "{completion:?}");
}

#[test]
fn offline_no_byte_is_sent_to_another_machine() {
    let mut options = RemoteOptions::new("http://192.0.2.1:9/v1", "big-model");
    options.api_key = Some(Secret::new(KEY));
    let engine = RemoteEngine::new(options, Network::new(true), Clock::real(), Arc::default()).unwrap();
    let error = engine.complete(&request()).unwrap_err();
    assert_eq!(error.kind, FailureKind::Offline, "{error}");
    assert!(error.message.contains("192.0.2.1") && error.message.contains("--offline"), "{error}");
    let endpoint = Endpoint::one(good());
    let here = RemoteEngine::new(endpoint.options(), Network::new(true), Clock::real(), Arc::default()).unwrap();
    assert!(here.complete(&request()).is_ok(), "loopback stays open");
}

#[test]
fn an_interruption_ends_a_waiting_call_at_once() {
    let endpoint = Endpoint::one(vec![stream_head(), Step::Wait(5000)]);
    let stop = Arc::new(AtomicBool::new(false));
    let engine = RemoteEngine::new(endpoint.options(), Network::new(false), Clock::real(), Arc::clone(&stop)).unwrap();
    let pull = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
    });
    let clock = Clock::real();
    let start = clock.now();
    let error = engine.complete(&request()).unwrap_err();
    assert_eq!(error.kind, FailureKind::Interrupted, "{error}");
    assert!(clock.since(start).0 < 1.0, "{:?}", clock.since(start));
    pull.join().unwrap();
}

#[test]
fn a_call_whose_answer_nobody_wants_any_more_ends_at_once_behind_a_budget_too() {
    let endpoint = Endpoint::one(vec![stream_head(), Step::Wait(5000)]);
    let price = Prices::built_in().unwrap().lookup("gpt-4.1").unwrap();
    let engine = Budgeted::new(Arc::new(engine(endpoint.options())), price, Arc::new(Budget::new(Usd(1.0))));
    let clock = Clock::real();
    let start = clock.now();
    let later = clock.clone();
    let error = engine.complete_unless(&request(), &Cancel::when(move || later.since(start).0 > 0.1)).unwrap_err();
    assert_eq!(error.kind, FailureKind::Interrupted, "{error}");
    assert!(error.message.contains("nobody waits"), "{error}");
    assert!(clock.since(start).0 < 1.0, "{:?}", clock.since(start));
}

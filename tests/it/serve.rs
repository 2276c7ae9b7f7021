//! The server, over scripted models and bare sockets, and as a stand-in over real weights.

mod batched;
mod generated;
mod paths;
mod routed;

use super::support::weights;
use routergym_local::clock::{Clock, Component};
use routergym_local::engine::{
    Alternative, Completion, Engine, EngineError, EngineInfo, FailureKind, Held, LocalEngine, RemoteEngine,
    RemoteOptions, Reply, Request, Sampling, ScriptedEngine, Secret, StopReason, TokenLogprob, UsageSource,
};
use routergym_local::error::{ExitStatus, Result, anyhow};
use routergym_local::net::Network;
use routergym_local::nn::chat::Message;
use routergym_local::nn::{Cancel, Device, DeviceChoice, LanguageModel, LoadOptions};
use routergym_local::serve::{Answer, Backend, ServeOptions, StandIn, StandInOptions, serve};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running server, stopped when dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// How many answers it finishes before it ends.
    finishing: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    fn start(options: ServeOptions, backend: impl Backend + 'static) -> Self {
        let (tell, ready) = channel();
        let stop = Arc::clone(&options.stop);
        let finishing = Arc::new(AtomicUsize::new(usize::MAX));
        let stopping = Arc::clone(&finishing);
        let thread = std::thread::spawn(move || {
            serve(
                &options,
                move || Ok(Box::new(backend)),
                move |address| tell.send(address).map_err(|_| anyhow!("gone")),
                move |answers| stopping.store(answers, Ordering::SeqCst),
            )
        });
        let address = ready.recv_timeout(Duration::from_secs(10)).unwrap();
        Self { address, stop, finishing, thread: Some(thread) }
    }

    fn scripted(replies: impl IntoIterator<Item = Result<Reply, EngineError>>) -> Self {
        Self::start(ServeOptions::default(), ScriptedEngine::queue("tiny", Clock::fake(), replies))
    }

    /// Status, head and body of one exchange.
    fn exchange(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        // A server that refuses a large body may close before it was read.
        let _refused_early = connection.write_all(format!("{head}{body}").as_bytes());
        let mut answer = Vec::new();
        let _reset_after_answer = connection.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    /// Sends a request and leaves its answer unread.
    fn post(&self, body: &Value) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).unwrap();
        let (body, path) = (body.to_string(), "/v1/chat/completions");
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}", body.len());
        write!(connection, "{head}\r\n\r\n{body}").unwrap();
        connection
    }

    fn chat(&self, body: &Value) -> (u16, Value) {
        let (status, _, body) = self.exchange("POST", "/v1/chat/completions", "", &body.to_string());
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}")))
    }

    fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hello"}]})
}

fn with(mut body: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// A model that gives one token each time the test lets it.
struct Gated {
    gate: Mutex<Receiver<()>>,
    given: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
}

fn gated() -> (Gated, Sender<()>, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (open, gate) = channel();
    let (given, cancelled) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    (Gated { gate: Mutex::new(gate), given: given.clone(), cancelled: cancelled.clone() }, open, given, cancelled)
}

impl Backend for Gated {
    fn info(&self) -> EngineInfo {
        EngineInfo { model: "gated".into(), place: "test".into(), sha256: None, context_length: Some(64) }
    }

    fn answer(
        &self,
        _request: &Request,
        _sampling: &Sampling,
        _cancel: Cancel,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Answer, Box<EngineError>> {
        let token = TokenLogprob { text: "a".into(), bytes: None, logprob: -1.0, top: Vec::new() };
        let mut text = String::new();
        while self.gate.lock().unwrap().recv().is_ok() {
            text.push('a');
            self.given.fetch_add(1, Ordering::SeqCst);
            if on_token(&token).is_break() {
                self.cancelled.store(true, Ordering::SeqCst);
                break;
            }
        }
        let tokens = vec![token; text.len()];
        Ok(Completion {
            model: "gated".into(),
            prompt: String::new(),
            text,
            tokens,
            usage: routergym_local::engine::Usage::default(),
            usage_source: UsageSource::Measured,
            stop: StopReason::EndOfTurn,
            timing: routergym_local::engine::Timing::default(),
            retries: 0,
            held: Held::Not,
            forced_tokens: 0,
            tries: Vec::new(),
            identity: None,
            shared_from: None,
        }
        .into())
    }
}

/// A model that computes a prompt until nobody wants its answer any more.
struct Prompted {
    begun: Arc<AtomicBool>,
    left: Arc<AtomicBool>,
}

impl Backend for Prompted {
    fn info(&self) -> EngineInfo {
        EngineInfo { model: "prompted".into(), place: "test".into(), sha256: None, context_length: Some(64) }
    }

    fn answer(
        &self,
        _request: &Request,
        _sampling: &Sampling,
        cancel: Cancel,
        _on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Answer, Box<EngineError>> {
        self.begun.store(true, Ordering::SeqCst);
        wait_until("the client is gone", || cancel.is_asked_for());
        self.left.store(true, Ordering::SeqCst);
        Err(Box::new(EngineError::new(FailureKind::Interrupted, "nobody waits")))
    }
}

#[test]
fn a_client_that_leaves_ends_the_computing_of_its_prompt() {
    let (begun, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let backend = Prompted { begun: Arc::clone(&begun), left: Arc::clone(&left) };
    let server = Server::start(ServeOptions::default(), backend);
    let client = server.post(&hello());
    wait_until("the prompt", || begun.load(Ordering::SeqCst));
    drop(client);
    wait_until("the end of the prompt", || left.load(Ordering::SeqCst));
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain: {what}");
}

#[test]
fn a_plain_answer_has_the_protocols_shape() {
    let server = Server::scripted([Ok(Reply::new("Good day", -0.5))]);
    let (status, body) = server.chat(&with(hello(), json!({"logprobs": true, "top_logprobs": 1})));
    assert_eq!(status, 200, "{body}");
    let choice = &body["choices"][0];
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("tiny")));
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!("Good day"), &json!("stop")));
    let first = json!({"token": "Good ", "logprob": -0.5, "bytes": b"Good "});
    assert_eq!(choice["logprobs"]["content"][0], with(first.clone(), json!({"top_logprobs": [first]})));
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(body["usage"], usage);
    assert!(body["routergym"]["prefill_s"].is_number() && body["routergym"]["queue_s"].is_number(), "{body}");
}

#[test]
fn a_streamed_answer_comes_token_by_token_and_ends_with_its_counts() {
    let server = Server::scripted([Ok(Reply::new("Good day to you", -0.5))]);
    let ask = with(hello(), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let (status, head, body) = server.exchange("POST", "/v1/chat/completions", "", &ask.to_string());
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let events: Vec<&str> = body.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"), "{body}");
    let events: Vec<Value> =
        events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let texts = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(texts.collect::<Vec<_>>(), ["", "Good ", "day ", "to ", "you"]);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[events.len() - 1]["usage"]["completion_tokens"], 4);
}

#[test]
fn our_own_client_reads_our_own_server() {
    let overflow = EngineError::new(FailureKind::ContextOverflow, "the prompt has 99 tokens, the context length is 64");
    let server = Server::scripted([Ok(Reply::new("Grüße 𝄞 aus Köln", -0.5)), Err(overflow)]);
    let options = RemoteOptions::new(format!("http://{}", server.address), "tiny");
    let engine = RemoteEngine::new(options, Network::new(true), Clock::real(), Arc::default()).unwrap();
    let messages = vec![Message::new("user", "Hello you")];
    let request = Request {
        messages,
        max_tokens: 9,
        temperature: 0.0,
        seed: 3,
        top_logprobs: 1,
        cache_scope: None,
        grammar: None,
    };
    let completion = engine.complete(&request).unwrap();
    assert_eq!((completion.text.as_str(), completion.tokens.len()), ("Grüße 𝄞 aus Köln", 4));
    assert_eq!(completion.tokens[1].top, [Alternative::from(("𝄞 ".to_owned(), -0.5))]);
    assert_eq!((completion.usage.input_tokens, completion.usage_source), (2, UsageSource::Server));
    assert!(completion.timing.ttft_s.is_some());
    let error = engine.complete(&request).unwrap_err();
    assert_eq!((error.kind, error.retries), (FailureKind::ContextOverflow, 0), "{error}");
    assert!(error.message.contains("99 tokens"), "{error}");
}

#[test]
fn wrong_requests_get_an_error_object_with_the_right_status() {
    let failure = |kind, message: &str| Err(EngineError::new(kind, message));
    let server = Server::scripted([
        failure(FailureKind::ContextOverflow, "too long"),
        failure(FailureKind::ContextOverflow, "too long"),
        failure(FailureKind::Local, "broken"),
    ]);
    let wizard = json!({"messages": [{"role": "wizard", "content": "a"}]});
    assert_eq!(server.chat(&json!({"messages": []})).0, 400);
    let (status, body) = server.chat(&wizard);
    assert_eq!((status, &body["error"]["param"]), (400, &json!("messages")), "{body}");
    assert_eq!(server.chat(&json!([])).0, 400);
    for stream in [false, true] {
        let (status, body) = server.chat(&with(hello(), json!({ "stream": stream })));
        assert_eq!((status, &body["error"]["code"]), (400, &json!("context_length_exceeded")), "{body}");
    }
    assert_eq!(server.chat(&hello()).0, 500);
    for (method, path, expected) in
        [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("POST", "/", 404)]
    {
        let (status, _, body) = server.exchange(method, path, "", "");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, expected, "{method} {path}");
        assert!(body["error"]["message"].as_str().unwrap().contains(path), "{body}");
    }
    let (status, _, body) = server.exchange("POST", "/v1/chat/completions", "", &"x".repeat((4 << 20) + 1));
    assert_eq!(status, 413);
    assert!(body.contains("4 MiB"), "{body}");
}

#[test]
fn health_and_models_name_the_model() {
    let server = Server::scripted([]);
    let (status, _, body) = server.exchange("GET", "/health", "", "");
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()["status"].clone()), (200, json!("ok")));
    let (status, _, body) = server.exchange("GET", "/v1/models", "", "");
    assert_eq!((status, serde_json::from_str::<Value>(&body).unwrap()["data"][0]["id"].clone()), (200, json!("tiny")));
}

#[test]
fn a_server_with_a_key_lets_nobody_else_in() {
    let key = Some(Secret::new("open-sesame"));
    let options = ServeOptions { api_key: key, ..ServeOptions::default() };
    let server = Server::start(options, ScriptedEngine::queue("tiny", Clock::fake(), [Ok(Reply::new("a", 0.0))]));
    for headers in ["", "authorization: Bearer wrong\r\n", "authorization: open-sesame\r\n"] {
        let (status, _, body) = server.exchange("POST", "/v1/chat/completions", headers, &hello().to_string());
        assert_eq!(status, 401, "{headers}");
        assert!(body.contains("invalid_api_key") && !body.contains("sesame"), "{body}");
        assert_eq!(server.exchange("GET", "/v1/nothing", headers, "").0, 401);
    }
    let right = "authorization: Bearer open-sesame\r\n";
    assert_eq!(server.exchange("POST", "/v1/chat/completions", right, &hello().to_string()).0, 200);
    assert_eq!(server.exchange("GET", "/health", "", "").0, 200);
}

#[test]
fn other_machines_are_let_in_only_with_a_key() {
    let options = ServeOptions { host: "0.0.0.0".to_owned(), ..ServeOptions::default() };
    let error = serve(&options, || panic!("must not load"), |_| Ok(()), |_| ()).unwrap_err();
    assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
    assert!(format!("{error:#}").contains("--api-key-env"), "{error:#}");
}

#[test]
fn a_port_in_use_is_named_before_anything_is_loaded() {
    let server = Server::scripted([]);
    let options = ServeOptions { port: server.address.port(), ..ServeOptions::default() };
    let error = serve(&options, || panic!("must not load"), |_| Ok(()), |_| ()).unwrap_err();
    let message = format!("{error:#}");
    assert!(message.contains(&server.address.port().to_string()) && message.contains("--port"), "{message}");
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_server() {
    let error = serve(&ServeOptions::default(), || Err(anyhow!("the file is torn")), |_| Ok(()), |_| ()).unwrap_err();
    assert!(format!("{error:#}").contains("the file is torn"), "{error:#}");
}

#[test]
fn a_client_that_goes_away_ends_its_generation() {
    for stream in [false, true] {
        let (backend, open, given, cancelled) = gated();
        let server = Server::start(ServeOptions::default(), backend);
        let mut connection = server.post(&with(hello(), json!({ "stream": stream })));
        open.send(()).unwrap();
        wait_until("the first token", || given.load(Ordering::SeqCst) == 1);
        if stream {
            connection.read_exact(&mut [0; 64]).unwrap();
        }
        drop(connection);
        wait_until("the cancellation", || {
            let _ended = open.send(());
            cancelled.load(Ordering::SeqCst)
        });
    }
}

#[test]
fn a_full_queue_answers_429_and_says_when_to_try_again() {
    let (backend, open, given, _) = gated();
    let server = Server::start(ServeOptions { queue: 1, ..ServeOptions::default() }, backend);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| server.chat(&hello()).0);
        open.send(()).unwrap();
        wait_until("the first request", || given.load(Ordering::SeqCst) == 1);
        // Whichever request comes first takes the place in the queue and is not answered; who left would free it.
        let waiting = std::cell::RefCell::new(vec![server.post(&hello())]);
        let refused = || {
            let mut connection = server.post(&hello());
            connection.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let mut answer = String::new();
            let _timed_out = connection.read_to_string(&mut answer);
            waiting.borrow_mut().push(connection);
            let answer = answer.to_lowercase();
            answer.starts_with("http/1.1 429") && answer.contains("retry-after: 1") && answer.contains("queue_full")
        };
        wait_until("a refusal", refused);
        drop((open, waiting));
        assert_eq!(first.join().unwrap(), 200);
    });
}

#[test]
fn a_server_that_is_stopped_finishes_the_answer_under_way() {
    let (backend, open, given, _) = gated();
    let server = Server::start(ServeOptions::default(), backend);
    let address = server.address;
    let client = {
        let server = Server { address, stop: Arc::default(), finishing: Arc::default(), thread: None };
        std::thread::spawn(move || server.chat(&hello()))
    };
    open.send(()).unwrap();
    wait_until("the first token", || given.load(Ordering::SeqCst) == 1);
    let finishing = Arc::clone(&server.finishing);
    let stopper = std::thread::spawn(move || server.stop());
    wait_until("the announcement", || finishing.load(Ordering::SeqCst) == 1);
    std::thread::sleep(Duration::from_millis(100));
    assert!(TcpStream::connect(address).is_err(), "no new connection is taken");
    drop(open);
    let (status, body) = client.join().unwrap();
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("a")));
    stopper.join().unwrap().unwrap();
}

#[test]
fn a_stand_in_gives_the_answer_that_the_same_model_gives_in_process() {
    let Some(path) = weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let program = assert_cmd::cargo::cargo_bin!("routergym-local").to_path_buf();
    let options = StandInOptions {
        device: Some("cpu".to_owned()),
        offline: true,
        program: Some(program),
        threads: Some(1),
        ..StandInOptions::new(path.to_string_lossy())
    };
    let stand_in = StandIn::start(&options).unwrap();
    let options = RemoteOptions { stand_in: true, ..RemoteOptions::new(stand_in.base_url(), "smollm2") };
    let remote = RemoteEngine::new(options, Network::new(true), Clock::real(), Arc::default()).unwrap();
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let model = LanguageModel::load(&path, &device, &LoadOptions::default()).unwrap();
    let local = LocalEngine::new(model, "smollm2".to_owned(), None, device.name(), Clock::real());

    let messages = vec![Message::new("user", "Name three colours.")];
    let request = Request {
        messages,
        max_tokens: 12,
        temperature: 0.0,
        seed: 1,
        top_logprobs: 2,
        cache_scope: None,
        grammar: None,
    };
    let (there, here) = (remote.complete(&request).unwrap(), local.complete(&request).unwrap());
    assert_eq!((&there.text, &there.tokens, there.stop), (&here.text, &here.tokens, here.stop));
    assert_eq!(there.usage, here.usage);
    for (completion, component) in [(&there, Component::Network), (&here, Component::Decode)] {
        let timing = &completion.timing;
        let unaccounted = timing.total_s.0 - timing.spans.total().0;
        assert!((0.0..0.02 * timing.total_s.0 + 0.001).contains(&unaccounted), "{timing:?}");
        assert!(timing.spans.get(component).0 > 0.0 && timing.ttft_s.unwrap() < timing.total_s, "{timing:?}");
    }

    assert_eq!(local.prompt_tokens(&request.messages), Some(here.usage.input_tokens as usize));

    let too_long = Request { messages: vec![Message::new("user", "word ".repeat(9000))], ..request };
    for engine in [&remote as &dyn Engine, &local] {
        let error = engine.complete(&too_long).unwrap_err();
        assert_eq!(error.kind, FailureKind::ContextOverflow, "{error}");
        assert!(error.message.contains("8192") && error.message.contains("shorten"), "{error}");
    }

    drop(stand_in);
    let error = remote.complete(&Request { messages: vec![Message::new("user", "a")], ..too_long }).unwrap_err();
    assert!(error.kind == FailureKind::Connect && error.message.contains("stand-in"), "{error}");
}

//! The server over generated models, in process and as the program: log-probabilities, templates, signals.

use super::{Server, hello, with};
use crate::support::{patch, program};
use routergym_local::clock::Clock;
use routergym_local::contract::Contract;
use routergym_local::engine::{
    Engine, FailureKind, Held, LocalEngine, RemoteEngine, RemoteOptions, Request, Sampling, StopReason,
};
use routergym_local::net::Network;
use routergym_local::nn::chat::Message;
use routergym_local::nn::testing::{Family, Stored, write_checkpoint};
use routergym_local::nn::{Cancel, Device, DeviceChoice, LanguageModel, LoadOptions};
use routergym_local::serve::ServeOptions;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

pub(super) fn generated() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("tiny.gguf");
    write_checkpoint(&path, Family::Llama, Stored::Q8_0, 1).unwrap();
    (place, path)
}

pub(super) fn engine(path: &Path) -> LocalEngine {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let model = LanguageModel::load(path, &device, &LoadOptions::default()).unwrap();
    LocalEngine::new(model, "tiny".to_owned(), None, device.name(), Clock::real())
}

/// The program as a server, killed when dropped.
struct Running {
    child: Child,
    notes: BufReader<ChildStderr>,
    server: Server,
}

impl Running {
    fn start(path: &Path, flags: &[&str]) -> Self {
        let mut command = Command::new(program().get_program());
        command.args(["serve", "--offline", "--device", "cpu", "--threads", "1", "--model"]).arg(path).args(flags);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().parse().unwrap();
        let notes = BufReader::new(child.stderr.take().unwrap());
        let server = Server { address, stop: Arc::default(), finishing: Arc::default(), thread: None };
        Self { child, notes, server }
    }

    fn note(&mut self) -> String {
        let mut line = String::new();
        self.notes.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

fn bytes(entry: &Value) -> Vec<u8> {
    serde_json::from_value(entry["bytes"].clone()).unwrap()
}

#[test]
fn log_probabilities_hold_each_token_s_own_bytes() {
    let (_place, path) = generated();
    let server = Server::start(ServeOptions::default(), engine(&path));
    let ask = json!({"max_tokens": 80, "temperature": 2, "seed": 1, "logprobs": true, "top_logprobs": 20});
    let (status, body) = server.chat(&with(hello(), ask));
    assert_eq!(status, 200, "{body}");
    let choice = &body["choices"][0];
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    let all: Vec<u8> = tokens.iter().flat_map(bytes).collect();
    assert!(String::from_utf8_lossy(&all).starts_with(choice["message"]["content"].as_str().unwrap()), "{body}");
    let is_part = |entry: &&Value| std::str::from_utf8(&bytes(entry)).is_err();
    let tops: Vec<&Value> = tokens.iter().flat_map(|token| token["top_logprobs"].as_array().unwrap()).collect();
    assert!(tokens.iter().any(|token| is_part(&token)) && tops.into_iter().any(|top| is_part(&top)), "{body}");
    for token in tokens {
        for same in token["top_logprobs"].as_array().unwrap().iter().filter(|top| top["logprob"] == token["logprob"]) {
            assert_eq!((&same["token"], &same["bytes"]), (&token["token"], &token["bytes"]));
        }
    }
}

#[test]
fn parts_of_characters_reach_our_own_client_as_they_are_in_process() {
    let (_place, path) = generated();
    let server = Server::start(ServeOptions::default(), engine(&path));
    let options = RemoteOptions::new(format!("http://{}", server.address), "tiny");
    let remote = RemoteEngine::new(options, Network::new(true), Clock::real(), Arc::default()).unwrap();
    let local = engine(&path);
    for seed in 0..4 {
        let messages = vec![Message::new("user", "Hello")];
        let request = Request {
            messages,
            max_tokens: 80,
            temperature: 2.0,
            seed,
            top_logprobs: 3,
            cache_scope: None,
            grammar: None,
        };
        let (there, here) = (remote.complete(&request).unwrap(), local.complete(&request).unwrap());
        assert_eq!((&there.text, &there.tokens), (&here.text, &here.tokens));
        assert!(here.tokens.iter().any(|token| token.bytes.is_some()));
    }
}

#[test]
fn a_response_format_holds_the_answer_whole_streamed_and_through_our_own_client() {
    let (_place, path) = generated();
    let server = Server::start(ServeOptions::default(), engine(&path));
    let schema = json!({
        "type": "object", "properties": {"sure": {"type": "boolean"}, "topic": {"enum": ["Access", "Storage"]}},
        "required": ["sure", "topic"], "additionalProperties": false,
    });
    let contract = Contract::new("s", &schema).unwrap();
    let ask = json!({
        "max_tokens": 60, "temperature": 2, "seed": 5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": true, "schema": schema}},
    });
    let (status, body) = server.chat(&with(hello(), ask.clone()));
    assert_eq!(status, 200, "{body}");
    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(contract.check(text).valid, "{text}");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");

    let (status, _, stream) = server.exchange(
        "POST",
        "/v1/chat/completions",
        "",
        &with(with(hello(), ask), json!({"stream": true})).to_string(),
    );
    assert_eq!(status, 200);
    let pieces = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    let streamed: String = pieces
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(streamed, text);

    let object = with(hello(), json!({"max_tokens": 60, "response_format": {"type": "json_object"}}));
    let (status, body) = server.chat(&object);
    assert_eq!(status, 200, "{body}");
    let text = body["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(body["choices"][0]["finish_reason"] == "length" || contract.check(text).value.is_some(), "{text}");

    let options = RemoteOptions::new(format!("http://{}", server.address), "tiny");
    let remote = RemoteEngine::new(options, Network::new(true), Clock::real(), Arc::default()).unwrap();
    let request = Request {
        messages: vec![Message::new("user", "Sure?")],
        max_tokens: 60,
        temperature: 0.0,
        seed: 1,
        top_logprobs: 0,
        cache_scope: None,
        grammar: Some(Arc::clone(contract.grammar())),
    };
    let completion = remote.complete(&request).unwrap();
    assert!(contract.check(&completion.text).valid && completion.held == Held::ResponseFormatStrict, "{completion:?}");
    assert_eq!(remote.adjustments(), Vec::<String>::new());
}

#[test]
fn a_model_without_a_template_is_announced_as_such_and_refuses_conversations() {
    let (_place, path) = generated();
    patch(&path, b"tokenizer.chat_template", b"tokenizer.chat_templatf");
    let mut running = Running::start(&path, &[]);
    let note = running.note();
    assert!(note.contains("no chat template") && note.contains("instruction-tuned"), "{note}");
    for stream in [false, true] {
        let (status, body) = running.server.chat(&with(hello(), json!({ "stream": stream })));
        let error = &body["error"];
        assert_eq!((status, &error["type"]), (400, &json!("invalid_request_error")), "{body}");
        assert_eq!((&error["code"], &error["param"]), (&json!("conversation_refused"), &json!("messages")), "{body}");
        assert!(error["message"].as_str().unwrap().contains("no chat template"), "{body}");
    }
}

#[test]
fn a_conversation_that_the_template_refuses_is_the_request_s_fault() {
    let (_place, path) = generated();
    let first = "'<|im_start|>' + message['role']";
    patch(&path, first.as_bytes(), format!("{:<1$}", "raise_exception('take turns')", first.len()).as_bytes());
    let server = Server::start(ServeOptions::default(), engine(&path));
    let (status, body) = server.chat(&hello());
    assert_eq!((status, &body["error"]["code"]), (400, &json!("conversation_refused")), "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("take turns"), "{body}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_what_is_finished_first_and_a_second_one_ends_at_once() {
    let (_place, path) = generated();
    let mut running = Running::start(&path, &[]);
    let ask = json!({"stream": true, "temperature": 0, "max_tokens": 32_000});
    let mut answer = running.server.post(&with(hello(), ask));
    answer.read_exact(&mut [0; 512]).unwrap();
    let interrupt = |id: u32| {
        assert!(Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap().success());
    };
    interrupt(running.child.id());
    let note = running.note();
    assert!(note.contains("1 answer will be finished first") && note.contains("Ctrl-C again"), "{note}");
    let start = Clock::real().now();
    interrupt(running.child.id());
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
    assert!(Clock::real().since(start).0 < 5.0);
}

fn request(content: String) -> Request {
    let messages = vec![Message::new("user", content)];
    Request { messages, max_tokens: 2, temperature: 0.0, seed: 1, top_logprobs: 0, cache_scope: None, grammar: None }
}

#[test]
fn a_prompt_ends_where_nobody_wants_its_answer_any_more() {
    let (_place, path) = generated();
    let stop = Arc::new(AtomicBool::new(true));
    let engine = engine(&path).with_stop(Arc::clone(&stop));
    let ask = request("Hello ".repeat(100));
    assert_eq!(engine.complete(&ask).unwrap_err().kind, FailureKind::Interrupted);
    assert_eq!(engine.score(&ask, &["a".to_owned()]).unwrap_err().kind, FailureKind::Interrupted);
    stop.store(false, Ordering::Relaxed);
    let mut tokens = 0;
    let mut count = |_: &_| {
        tokens += 1;
        ControlFlow::Continue(())
    };
    let left = engine.stream(&ask, &Sampling::default(), Cancel::when(|| true), &mut count).unwrap();
    assert_eq!((left.stop, left.text.as_str(), tokens), (StopReason::Other, "", 0));
    // None of the three computed the prompt, which would have been kept.
    assert_eq!(engine.complete(&ask).unwrap().usage.cached_tokens, 0);
}

#[test]
fn a_prompt_that_can_never_fit_is_refused_before_it_becomes_tokens() {
    let (_place, path) = generated();
    let error = engine(&path).complete(&request(" ".repeat(4 << 20))).unwrap_err();
    assert_eq!(error.kind, FailureKind::ContextOverflow);
    // 32,768 tokens of at most the 13 bytes of <|endoftext|>.
    assert!(error.message.contains("bytes, and at most 425984 fit the context length of 32768 tokens"), "{error}");
}

//! The server over generated models: log-probabilities.

use super::{Server, hello, with};
use routergym_local::clock::Clock;
use routergym_local::engine::{Engine, LocalEngine, RemoteEngine, RemoteOptions, Request};
use routergym_local::net::Network;
use routergym_local::nn::chat::Message;
use routergym_local::nn::testing::{Family, Stored, write_checkpoint};
use routergym_local::nn::{Device, DeviceChoice, LanguageModel, LoadOptions};
use routergym_local::serve::ServeOptions;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn generated() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("tiny.gguf");
    write_checkpoint(&path, Family::Llama, Stored::Q8_0, 1).unwrap();
    (place, path)
}

fn engine(path: &Path) -> LocalEngine {
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let model = LanguageModel::load(path, &device, &LoadOptions::default()).unwrap();
    LocalEngine::new(model, "tiny".to_owned(), None, device.name(), Clock::real())
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
        let request = Request { messages, max_tokens: 80, temperature: 2.0, seed, top_logprobs: 3, cache_scope: None };
        let (there, here) = (remote.complete(&request).unwrap(), local.complete(&request).unwrap());
        assert_eq!((&there.text, &there.tokens), (&here.text, &here.tokens));
        assert!(here.tokens.iter().any(|token| token.bytes.is_some()));
    }
}

//! Many clients at once: they share passes over the weights, and none sees another's answer.

use super::generated::{engine, generated};
use super::{Server, hello, wait_until, with};
use crate::support::weights;
use routergym_local::clock::Clock;
use routergym_local::engine::{Engine, LocalEngine, Request};
use routergym_local::nn::chat::Message;
use routergym_local::nn::{Cancel, Device, DeviceChoice, LanguageModel, LoadOptions};
use routergym_local::serve::ServeOptions;
use serde_json::{Value, json};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Requests that differ in all that can differ.
fn requests() -> Vec<Value> {
    let schema = json!({
        "type": "object", "required": ["sure", "topic"], "additionalProperties": false,
        "properties": {"sure": {"type": "boolean"}, "topic": {"enum": ["Access", "Storage"]}},
    });
    (0..24)
        .map(|i| {
            let content = format!("Ticket {i}: {}", "the printer is on fire ".repeat(1 + i % 5 * 12));
            let mut ask = json!({
                "messages": [{"role": "system", "content": "You sort tickets."}, {"role": "user", "content": content}],
                "max_tokens": 4 + 5 * (i % 7), "temperature": 0.4 * (i % 4) as f64, "seed": i, "logprobs": true,
                "top_logprobs": i % 3, "stream": false,
            });
            if i % 4 == 1 {
                ask["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "t", "schema": schema}});
                ask["max_tokens"] = json!(60);
            }
            if i % 6 == 2 {
                ask["stop"] = json!(["e", "\u{fffd}"]);
            }
            ask
        })
        .collect()
}

/// What an answer says, times and caches apart.
fn said(body: &Value) -> Value {
    let usage = &body["usage"];
    json!([body["choices"], usage["prompt_tokens"], usage["completion_tokens"]])
}

#[test]
fn answers_of_many_clients_at_once_are_those_of_each_alone() {
    let (_place, path) = generated();
    let alone: Vec<Value> = {
        let server = Server::start(ServeOptions::default(), engine(&path));
        let answer = |ask: &Value| {
            let (status, body) = server.chat(ask);
            assert_eq!(status, 200, "{body}");
            said(&body)
        };
        requests().iter().map(answer).collect()
    };
    for parallel in [3, 16] {
        let server = Server::start(ServeOptions::default(), engine(&path).batched(parallel).unwrap());
        let together: Vec<Value> = thread::scope(|scope| {
            let server = &server;
            let clients: Vec<_> = requests()
                .into_iter()
                .map(|ask| {
                    scope.spawn(move || {
                        let (status, body) = server.chat(&ask);
                        assert_eq!(status, 200, "{body}");
                        said(&body)
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        });
        for (index, (alone, together)) in alone.iter().zip(&together).enumerate() {
            assert_eq!(alone, together, "request {index} of {parallel} at a time");
        }
    }
}

#[test]
fn real_weights_answer_many_clients_as_they_answer_each_alone() {
    let Some(path) = weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let load = || {
        let device = Device::open(DeviceChoice::Cpu).unwrap();
        let model = LanguageModel::load(&path, &device, &LoadOptions::default()).unwrap();
        LocalEngine::new(model, "smollm2".to_owned(), None, device.name(), Clock::real())
    };
    let request = |i: u64| Request {
        messages: vec![Message::new("user", format!("Name {} animals of the sea, with one fact each.", i + 2))],
        max_tokens: 16,
        temperature: if i.is_multiple_of(2) { 0.0 } else { 0.8 },
        seed: i,
        top_logprobs: 2,
        cache_scope: None,
        grammar: None,
    };
    let alone = load();
    let alone: Vec<_> = (0..6).map(|i| alone.complete(&request(i)).unwrap()).collect();
    let together = load().batched(6).unwrap();
    let together: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|i| {
                let together = &together;
                scope.spawn(move || together.complete(&request(i)).unwrap())
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!((&alone.text, &alone.tokens, alone.stop), (&together.text, &together.tokens, together.stop));
    }
}

#[test]
fn a_batched_engine_scores_and_samples_as_one_alone_does() {
    let (_place, path) = generated();
    let (alone, batched) = (engine(&path), engine(&path).batched(4).unwrap());
    let request = Request {
        messages: vec![Message::new("user", "Hello")],
        max_tokens: 12,
        temperature: 1.0,
        seed: 3,
        top_logprobs: 1,
        cache_scope: None,
        grammar: None,
    };
    let texts = ["Access".to_owned(), "Storage".to_owned()];
    let scores = |engine: &dyn Engine| engine.score(&request, &texts).unwrap().unwrap().texts;
    assert_eq!(scores(&alone), scores(&batched));
    let enough = |text: &str| text.len() > 8;
    let samples = |engine: &dyn Engine| -> Vec<_> {
        engine.sample(&request, 5, &enough).unwrap().into_iter().map(|one| (one.text, one.tokens, one.stop)).collect()
    };
    assert_eq!(samples(&alone), samples(&batched));
    // What nobody wants any more before its turn comes is not begun.
    let unwanted = batched.complete_unless(&request, &Cancel::when(|| true)).unwrap_err();
    assert!(unwanted.message.contains("nobody waits for it any more"), "{unwanted}");
}

#[test]
fn prompts_that_begin_alike_share_what_is_computed_of_them_though_they_come_at_once() {
    let (_place, path) = generated();
    let batched = engine(&path).batched(8).unwrap();
    let beginning = "These are the rules of the house. ".repeat(20);
    let cached = AtomicUsize::new(0);
    thread::scope(|scope| {
        for i in 0..8 {
            let (batched, beginning, cached) = (&batched, &beginning, &cached);
            scope.spawn(move || {
                let messages = vec![Message::new("system", beginning.clone()), Message::new("user", format!("{i}?"))];
                let request = Request {
                    messages,
                    max_tokens: 2,
                    temperature: 0.0,
                    seed: 1,
                    top_logprobs: 0,
                    cache_scope: None,
                    grammar: None,
                };
                let usage = batched.complete(&request).unwrap().usage;
                assert!(usage.cached_tokens < usage.input_tokens);
                if usage.cached_tokens * 2 > usage.input_tokens {
                    cached.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(cached.load(Ordering::SeqCst), 7, "all but the first take the beginning from another");
}

#[test]
fn a_client_that_goes_away_frees_its_place_in_the_batch() {
    let (_place, path) = generated();
    let server = Server::start(ServeOptions { queue: 1, ..ServeOptions::default() }, engine(&path).batched(2).unwrap());
    let long = with(hello(), json!({"stream": true, "temperature": 0, "max_tokens": 32_000}));
    let mut two: Vec<_> = (0..2).map(|_| server.post(&long)).collect();
    for answer in &mut two {
        answer.read_exact(&mut [0; 512]).unwrap();
    }
    let running = || server.exchange("GET", "/metrics", "", "").2.contains("routergym_requests_running 2");
    assert!(running());
    drop(two);
    wait_until("the places", || !running());
    let (status, body) = server.chat(&with(hello(), json!({"max_tokens": 2})));
    assert_eq!(status, 200, "{body}");
}

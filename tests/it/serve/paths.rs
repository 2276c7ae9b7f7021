//! The paths beside chats: text completions, embeddings, metrics; and what comes in wrong.

use super::generated::{engine, generated};
use super::{Server, hello, with};
use crate::support::weights;
use routergym_local::clock::Clock;
use routergym_local::engine::{
    Engine, EngineError, FailureKind, RemoteEngine, RemoteOptions, Reply, Request, ScriptedEngine, Secret, UsageSource,
};
use routergym_local::net::Network;
use routergym_local::nn::chat::Message;
use routergym_local::nn::{Device, DeviceChoice, SentenceEncoder, dot};
use routergym_local::serve::{Embeddings, ServeOptions};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let (status, _, body) = server.exchange("POST", path, "", &body.to_string());
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}")))
}

#[test]
fn a_text_completion_continues_the_prompt_as_it_stands_whole_and_streamed() {
    let (_place, path) = generated();
    let server = Server::start(ServeOptions::default(), engine(&path).batched(2).unwrap());
    let ask = json!({"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0, "logprobs": 2});
    let (status, body) = post(&server, "/v1/completions", &ask);
    assert_eq!((status, &body["object"]), (200, &json!("text_completion")), "{body}");
    let choice = &body["choices"][0];
    let logprobs = &choice["logprobs"];
    assert_eq!(
        logprobs["tokens"].as_array().unwrap().len() as u64,
        body["usage"]["completion_tokens"].as_u64().unwrap()
    );
    assert_eq!(logprobs["text_offset"][0], 0);
    assert!(logprobs["top_logprobs"][0].as_object().unwrap().len() <= 2, "{body}");
    // A chat of the same text has the template's tokens around it.
    let (_, chat) =
        server.chat(&json!({"messages": [{"role": "user", "content": "Once upon a time"}], "max_tokens": 1}));
    assert!(chat["usage"]["prompt_tokens"].as_u64() > body["usage"]["prompt_tokens"].as_u64(), "{chat}");

    let streaming = with(ask, json!({"stream": true, "stream_options": {"include_usage": true}}));
    let (status, _, stream) = server.exchange("POST", "/v1/completions", "", &streaming.to_string());
    let events: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!((status, events.last()), (200, Some(&"[DONE]")), "{stream}");
    let events: Vec<Value> = events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(choice["text"], text);
    assert_eq!(events[events.len() - 1]["usage"]["completion_tokens"], body["usage"]["completion_tokens"]);
}

#[test]
fn messages_have_the_shape_of_anthropics_protocol_whole_and_streamed_and_our_own_client_reads_them() {
    let replies = (0..3).map(|_| Ok(Reply::new("Grüße 𝄞 aus Köln", -0.5)));
    let server = Server::start(ServeOptions::default(), ScriptedEngine::queue("tiny", Clock::fake(), replies));
    let ask = json!({"max_tokens": 9, "system": "Be brief.", "messages": [{"role": "user", "content": "Hello you"}]});
    let (status, whole) = post(&server, "/v1/messages", &ask);
    assert_eq!((status, &whole["type"], &whole["role"]), (200, &json!("message"), &json!("assistant")), "{whole}");
    assert_eq!(whole["content"], json!([{"type": "text", "text": "Grüße 𝄞 aus Köln"}]));
    assert_eq!((&whole["stop_reason"], &whole["usage"]["output_tokens"]), (&json!("end_turn"), &json!(4)));

    let (status, head, stream) =
        server.exchange("POST", "/v1/messages", "", &with(ask, json!({"stream": true})).to_string());
    assert!(status == 200 && head.contains("text/event-stream"), "{head}");
    let names: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    let delta = "content_block_delta";
    let beginning = ["message_start", "content_block_start", delta, delta, delta, delta];
    assert_eq!(names, [&beginning[..], &["content_block_stop", "message_delta", "message_stop"]].concat(), "{stream}");
    assert!(!stream.contains("[DONE]"), "{stream}");

    let options = RemoteOptions::new(format!("http://{}/v1/messages", server.address), "tiny");
    let engine = RemoteEngine::new(options, Network::new(true), Clock::real(), Arc::default()).unwrap();
    let request = Request {
        messages: vec![Message::new("system", "Be brief."), Message::new("user", "Hello you")],
        max_tokens: 9,
        temperature: 0.0,
        seed: 3,
        top_logprobs: 0,
        cache_scope: None,
        grammar: None,
    };
    let completion = engine.complete(&request).unwrap();
    assert_eq!(completion.text, "Grüße 𝄞 aus Köln");
    assert_eq!((completion.usage.output_tokens, completion.usage_source), (4, UsageSource::Server));
}

#[test]
fn refusals_of_messages_have_anthropics_shape_and_either_header_brings_the_key() {
    let options = ServeOptions { api_key: Some(Secret::new("open-sesame")), ..ServeOptions::default() };
    let overflow = EngineError::new(FailureKind::ContextOverflow, "too long");
    let replies = [Ok(Reply::new("a", 0.0)), Err(overflow.clone()), Err(overflow)];
    let server = Server::start(options, ScriptedEngine::queue("tiny", Clock::fake(), replies));
    let ask = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "a"}]});
    let refused = |headers: &str, body: &Value, expected: (u16, &str)| {
        let (status, _, text) = server.exchange("POST", "/v1/messages", headers, &body.to_string());
        let text: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, text["error"]["type"].as_str().unwrap()), expected, "{text}");
        assert_eq!(text["type"], "error");
    };
    let key = "x-api-key: open-sesame\r\n";
    refused("x-api-key: wrong\r\n", &ask, (401, "authentication_error"));
    assert_eq!(server.exchange("POST", "/v1/messages", key, &ask.to_string()).0, 200);
    refused(key, &with(ask.clone(), json!({"model": "claude-9"})), (404, "not_found_error"));
    refused(key, &json!({"messages": []}), (400, "invalid_request_error"));
    for stream in [false, true] {
        refused(key, &with(ask.clone(), json!({ "stream": stream })), (400, "invalid_request_error"));
    }
}

#[test]
fn a_model_is_asked_for_by_its_name_by_an_alias_or_by_none() {
    let replies = || (0..4).map(|_| Ok(Reply::new("a", 0.0)));
    let options = ServeOptions { aliases: vec!["gpt-4o".to_owned()], ..ServeOptions::default() };
    let server = Server::start(options, ScriptedEngine::queue("tiny", Clock::fake(), replies()));
    for known in [json!({}), json!({"model": "tiny"}), json!({"model": "gpt-4o"}), json!({"model": null})] {
        assert_eq!(server.chat(&with(hello(), known)).0, 200);
    }
    let (status, body) = server.chat(&with(hello(), json!({"model": "gpt-5"})));
    let error = &body["error"];
    assert_eq!((status, &error["code"], &error["param"]), (404, &json!("model_not_found"), &json!("model")), "{body}");
    assert!(error["message"].as_str().unwrap().contains("tiny"), "{body}");
    let options = ServeOptions { aliases: vec!["*".to_owned()], ..ServeOptions::default() };
    let any = Server::start(options, ScriptedEngine::queue("tiny", Clock::fake(), replies()));
    assert_eq!(any.chat(&with(hello(), json!({"model": "whatever"}))).0, 200);
}

#[test]
fn metrics_count_what_was_asked_and_answered() {
    let server = Server::scripted([Ok(Reply::new("Good day", -0.5))]);
    assert_eq!(server.chat(&hello()).0, 200);
    assert_eq!(server.chat(&json!({})).0, 400);
    server.exchange("GET", "/v1/nothing/at/all", "", "");
    let (status, head, text) = server.exchange("GET", "/metrics", "", "");
    assert!(status == 200 && head.contains("text/plain; version=0.0.4"), "{head}");
    for line in [
        "routergym_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1",
        "routergym_requests_total{path=\"/v1/chat/completions\",status=\"400\"} 1",
        "routergym_requests_total{path=\"other\",status=\"404\"} 1",
        "routergym_prompt_tokens_total 1",
        "routergym_completion_tokens_total 2",
        "routergym_answer_seconds_count 1",
        "routergym_requests_waiting 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_server_without_an_encoder_says_how_to_get_embeddings() {
    let server = Server::scripted([]);
    let (status, body) = post(&server, "/v1/embeddings", &json!({"input": "a"}));
    assert_eq!(status, 404);
    assert!(body["error"]["message"].as_str().unwrap().contains("--embeddings"), "{body}");
}

#[test]
fn embeddings_are_those_of_the_encoder_in_both_encodings() {
    let Some(path) = weights("all-minilm-l6-v2", "model.safetensors") else { return };
    let folder = path.parent().unwrap();
    let load = || SentenceEncoder::load(folder, &Device::open(DeviceChoice::Cpu).unwrap()).unwrap();
    let embeddings = Some(Arc::new(Embeddings::new("minilm".to_owned(), load())));
    let options = ServeOptions { embeddings, ..ServeOptions::default() };
    let server = Server::start(options, ScriptedEngine::queue("tiny", Clock::fake(), []));
    let texts = ["The printer is on fire.", "A fire broke out in the printer.", "Quarterly figures"];
    let (status, body) = post(&server, "/v1/embeddings", &json!({"model": "minilm", "input": texts}));
    assert_eq!((status, body["data"].as_array().unwrap().len()), (200, 3), "{body}");
    let vectors: Vec<Vec<f32>> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| serde_json::from_value(d["embedding"].clone()).unwrap())
        .collect();
    assert_eq!(vectors, load().encode(&texts).unwrap());
    assert!(dot(&vectors[0], &vectors[1]) > dot(&vectors[0], &vectors[2]));
    assert!(body["usage"]["prompt_tokens"].as_u64().unwrap() > 15, "{body}");

    let ask = json!({"input": texts[0], "encoding_format": "base64"});
    let (_, body) = post(&server, "/v1/embeddings", &ask);
    assert_eq!(body["data"][0]["embedding"].as_str().unwrap().len(), (384usize * 4).div_ceil(3) * 4, "{body}");

    let long = json!({"input": "word ".repeat(600)});
    let (status, body) = post(&server, "/v1/embeddings", &long);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("context_length_exceeded")), "{body}");
    assert_eq!(post(&server, "/v1/embeddings", &with(long, json!({"truncate": true}))).0, 200);
    assert_eq!(post(&server, "/v1/embeddings", &json!({"input": "a", "dimensions": 7})).0, 400);
    assert_eq!(post(&server, "/v1/embeddings", &json!({"input": "a", "model": "other"})).0, 404);
    let (_, _, models) = server.exchange("GET", "/v1/models", "", "");
    assert!(models.contains("\"minilm\"") && models.contains("\"tiny\""), "{models}");
}

#[test]
fn wrong_bodies_get_error_objects_and_the_server_goes_on() {
    let server = Server::scripted([Ok(Reply::new("a", 0.0))]);
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let nested = format!("{{\"messages\": {deep}}}");
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "nonsense"}}});
    let invalid = with(hello(), json!({"response_format": schema})).to_string();
    for path in ["/v1/chat/completions", "/v1/completions"] {
        for body in ["", "{", "null", "[]", "\u{0}", "{\"messages\": 1}", &nested, &invalid] {
            let (status, _, answer) = server.exchange("POST", path, "", body);
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(status, 400, "{path} {answer}");
            assert!(answer["error"]["message"].is_string() && answer["error"]["type"] == "invalid_request_error");
        }
    }
    assert_eq!(server.chat(&hello()).0, 200);
}

#[test]
fn heads_without_measure_are_refused_and_the_server_goes_on() {
    let server = Server::scripted([Ok(Reply::new("a", 0.0))]);
    let many = "x-filler: y\r\n".repeat(5_000);
    let long = format!("x-filler: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        let mut connection = TcpStream::connect(server.address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _closed_early = write!(connection, "GET /health HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        let mut answer = String::new();
        let _reset = connection.read_to_string(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    assert_eq!(server.chat(&hello()).0, 200);
}

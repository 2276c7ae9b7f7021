//! What is recorded of a remote call, both protocols, TLS with a certificate of one's own, limits of the rate, and answers that
//! are no answers.

use crate::fault_server::{FaultServer, answer_to};
use crate::remote::{Endpoint, KEY, Step, ending, engine, error, event, good, piece, request, response, stream_head};
use routergym_local::clock::{Clock, Component};
use routergym_local::engine::{
    Api, Engine, EngineError, FailureKind, Held, Limits, RemoteEngine, RemoteOptions, Request, Secret, UsageSource,
};
use routergym_local::net::Network;
use routergym_local::nn::{Grammar, Rule};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

fn fail(options: RemoteOptions) -> EngineError {
    let error = *engine(options).complete(&request()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("never-shown"), "{error:?}");
    error
}

#[test]
fn every_try_is_recorded_with_the_moments_of_its_bytes() {
    let mut slow = vec![stream_head(), Step::Wait(40), Step::Send(event(&piece("Grüß")).into_bytes()), Step::Wait(40)];
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 2}});
    let rest: String = [piece(" Gott"), ending(), usage].iter().map(event).collect();
    slow.push(Step::Send(rest.into_bytes()));
    let endpoint = Endpoint::start(vec![error("500 Internal Server Error", "oops"), slow]);
    let mut options = endpoint.options();
    options.base_url = options.base_url.replace("127.0.0.1", "localhost");
    let completion = engine(options).complete(&request()).unwrap();
    let [failed, answered] = completion.tries.as_slice() else { panic!("two tries: {:?}", completion.tries) };
    assert_eq!((failed.status, failed.failure, failed.usage), (Some(500), Some(FailureKind::Server), None));
    assert_eq!((answered.status, answered.failure), (Some(200), None));
    assert!(answered.backoff_s.0 > 0.0 && failed.backoff_s.0 == 0.0);
    let wire = &answered.wire;
    assert!(wire.dns_s.is_some() && wire.connect_s.is_some(), "{wire:?}");
    assert_eq!(wire.tls_s, None, "plain HTTP has no TLS");
    let moments =
        [wire.sent_s, wire.first_byte_s, wire.first_token_s(), wire.chunks_s.last().copied(), Some(wire.end_s)];
    let moments: Vec<f64> = moments.into_iter().map(|moment| moment.expect("a moment").0).collect();
    assert!(moments.is_sorted(), "{moments:?}");
    assert!(moments[2] - moments[0] >= 0.03 && moments[3] - moments[2] >= 0.03, "{moments:?}");
    let tpot = answered.tpot_s().expect("two tokens in pieces").0;
    assert!((tpot - (moments[3] - moments[2])).abs() < 1e-9, "one token after the first");
    let ttft = completion.timing.ttft_s.expect("a first token").0;
    assert!(
        ttft >= failed.wire.end_s.0 + answered.backoff_s.0 + moments[2] - 1e-5 && ttft <= completion.timing.total_s.0
    );
    assert_eq!(answered.usage.map(|usage| usage.input_tokens), Some(12));
}

#[test]
fn a_connection_that_is_used_again_has_no_time_of_its_own() {
    let server = FaultServer::start(0.0, 0);
    let engine = engine(RemoteOptions::new(&server.url, "m"));
    let first = engine.complete(&request()).unwrap();
    // The end of the answer's body may come a moment after the answer's end.
    std::thread::sleep(Duration::from_millis(50));
    let second = engine.complete(&request()).unwrap();
    assert!(first.tries[0].wire.connect_s.is_some(), "{first:?}");
    assert_eq!((second.tries[0].wire.connect_s, second.tries[0].wire.dns_s), (None, None));
    assert!(second.tries[0].wire.sent_s.is_some());
    assert_eq!(second.text, answer_to(0));
}

#[test]
fn waiting_for_our_own_limit_stands_apart_from_the_endpoints_time() {
    let server = FaultServer::start(0.0, 0);
    let mut options = RemoteOptions::new(&server.url, "m");
    options.limits = Limits { requests_per_minute: Some(150), ..Limits::default() };
    // Less than the wait: it does not count.
    options.timeouts.total = Duration::from_millis(300);
    let engine = engine(options);
    let first = engine.complete(&request()).unwrap();
    let second = engine.complete(&request()).unwrap();
    assert!(first.tries[0].queue_s.0 < 0.1, "{:?}", first.tries);
    let queued = second.tries[0].queue_s.0;
    assert!((0.2..0.6).contains(&queued), "{queued}");
    let spans = &second.timing.spans;
    assert!((spans.get(Component::Queue).0 - queued).abs() < 1e-6);
    assert!(spans.get(Component::Network).0 + queued <= second.timing.total_s.0 + 1e-9);
    assert!(second.timing.ttft_s.expect("a first token").0 + queued <= second.timing.total_s.0);
}

#[test]
fn tokens_that_were_taken_are_waited_for() {
    let server = FaultServer::start(0.0, 0);
    let mut options = RemoteOptions::new(&server.url, "m");
    options.limits = Limits { tokens_per_minute: Some(3600), ..Limits::default() };
    let engine = engine(options);
    let waits: Vec<f64> = (0..3).map(|_| engine.complete(&request()).unwrap().tries[0].queue_s.0).collect();
    // The server counts 12 tokens, which are free again after 0.2 s.
    assert!(waits[0] < 0.05 && waits[1..].iter().all(|wait| (0.05..0.5).contains(wait)), "{waits:?}");
}

#[test]
fn an_endpoint_that_is_gone_is_given_up() {
    let endpoint = Endpoint::one(error("503 Service Unavailable", "gone fishing"));
    let mut options = endpoint.options();
    options.max_retries = 1;
    options.limits = Limits { failures_in_a_row: 2, ..Limits::default() };
    let engine = engine(options);
    let kinds: Vec<_> = (0..4).map(|_| engine.complete(&request()).unwrap_err().kind).collect();
    let (server, given_up) = (FailureKind::Server, FailureKind::GivenUp);
    assert_eq!(kinds, [server, server, given_up, given_up]);
    assert_eq!(endpoint.requests().len(), 4, "two calls of two tries, and no more");
    let error = engine.complete(&request()).unwrap_err();
    assert!(error.message.contains("2 calls in a row") && error.message.contains("gone fishing"), "{error}");
}

fn messages_events() -> Vec<Value> {
    vec![
        json!({"type": "message_start", "message": {"model": "claude-9", "usage":
            {"input_tokens": 5, "cache_read_input_tokens": 7, "output_tokens": 1}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Grüß"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " Gott"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ]
}

fn messages_stream(events: &[Value]) -> Vec<Step> {
    let text = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    vec![stream_head(), Step::Send(events.iter().map(text).collect::<String>().into_bytes())]
}

#[test]
fn the_messages_api_is_spoken() {
    let refusal = json!({"type": "error", "error": {"type": "invalid_request_error",
        "message": "output_config: Extra inputs are not permitted"}});
    let endpoint = Endpoint::start(vec![
        response("400 Bad Request", "content-type: application/json\r\n", &refusal.to_string()),
        messages_stream(&messages_events()),
    ]);
    let mut options = endpoint.options();
    options.api = Some(Api::Anthropic);
    let engine = engine(options);
    let grammar = Some(Arc::new(Grammar::new(Rule::JsonSchema(json!({"type": "object"})))));
    let completion = engine.complete(&Request { grammar, ..request() }).unwrap();
    assert_eq!(
        (completion.text.as_str(), completion.model.as_str(), completion.held),
        ("Grüß Gott", "claude-9", Held::Not)
    );
    assert_eq!(
        (completion.usage.input_tokens, completion.usage.cached_tokens, completion.usage.output_tokens),
        (12, 7, 4)
    );
    assert_eq!((completion.usage_source, completion.tokens.len()), (UsageSource::Server, 0));
    assert_eq!(completion.tries[0].failure, None, "finding out an option is no failure");
    assert_eq!(engine.adjustments(), ["response_format dropped"]);
    let (head, body) = endpoint.requests().remove(0);
    assert!(head.starts_with("POST /v1/messages HTTP/1.1"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains(&format!("x-api-key: {KEY}")) && lower.contains("anthropic-version: 2023-06-01"), "{head}");
    assert!(!lower.contains("authorization"), "{head}");
    assert_eq!((&body["system"], &body["max_tokens"]), (&json!("Be brief."), &json!(16)));
}

#[test]
fn what_was_counted_before_a_stream_was_cut_is_recorded_with_its_try() {
    let endpoint = Endpoint::one(messages_stream(&messages_events()[..2]));
    let mut options = endpoint.options();
    options.api = Some(Api::Anthropic);
    let error = fail(options);
    assert_eq!((error.kind, error.tries.len()), (FailureKind::CutStream, 1));
    assert_eq!(error.tries[0].usage.map(|usage| (usage.input_tokens, usage.cached_tokens)), Some((12, 7)));
    assert_eq!(error.tries[0].failure, Some(FailureKind::CutStream));
}

#[test]
fn an_error_in_the_place_of_the_text_is_tried_again_and_one_after_text_is_not() {
    let busy = event(&json!({"error": {"type": "overloaded_error", "message": "Overloaded"}}));
    let endpoint = Endpoint::start(vec![vec![stream_head(), Step::Send(busy.clone().into_bytes())], good()]);
    assert_eq!(engine(endpoint.options()).complete(&request()).unwrap().retries, 1);
    let late = format!("{}{busy}", event(&piece("Gr")));
    let endpoint = Endpoint::one(vec![stream_head(), Step::Send(late.into_bytes())]);
    let error = fail(endpoint.options());
    assert_eq!((error.kind, endpoint.requests().len()), (FailureKind::Server, 1), "{error}");
}

#[test]
fn counts_that_cannot_be_are_noted_beside_the_answer() {
    let lies = json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 900}});
    let body: String = [piece("a"), ending(), lies].iter().map(event).collect();
    let endpoint = Endpoint::one(vec![stream_head(), Step::Send(body.into_bytes())]);
    let completion = engine(endpoint.options()).complete(&request()).unwrap();
    let note = completion.tries[0].usage_note.clone().expect("a note");
    assert!(note.contains("900 output tokens were reported and 1 listed"), "{note}");
    assert_eq!(completion.usage.output_tokens, 900, "the bill follows the endpoint's counts");
}

#[test]
fn compressed_answers_and_endless_headers_are_refused_before_they_are_held() {
    let bomb = response("200 OK", "content-encoding: gzip\r\n", "\u{1f}not unpacked");
    let mut options = Endpoint::one(bomb).options();
    options.max_retries = 0;
    let error = fail(options);
    assert!(error.kind == FailureKind::Malformed && error.message.contains("compressed"), "{error}");

    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "a".repeat(3 << 20));
    let many = (0..20_000).map(|n| format!("x-{n}: {n}")).collect::<Vec<_>>().join("\r\n") + "\r\n";
    for head in [long, format!("HTTP/1.1 200 OK\r\n{many}\r\n")] {
        let mut options = Endpoint::one(vec![Step::Send(head.into_bytes())]).options();
        options.max_retries = 0;
        let error = fail(options);
        assert!(error.kind == FailureKind::Malformed && error.message.contains("headers"), "{error}");
    }
    let mut options = Endpoint::one(vec![Step::Send(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())]).options();
    options.max_retries = 0;
    let error = fail(options);
    assert!(error.kind == FailureKind::Malformed && error.message.contains("not HTTP"), "{error}");
}

#[test]
fn a_key_in_the_addresss_query_is_sent_and_never_told() {
    let endpoint = Endpoint::one(error("400 Bad Request", "the key query-never-shown is odd"));
    let mut options = endpoint.options();
    options.base_url = format!("{}/v1?api_key=query-never-shown", options.base_url);
    let error = fail(options);
    assert!(error.message.contains("***"), "{error}");
    assert!(endpoint.requests()[0].0.starts_with("POST /v1/chat/completions?api_key=query-never-shown "));
}

/// An HTTPS endpoint whose certificate is issued by an authority of its own; its address, and the authority's certificate.
fn https_endpoint() -> (String, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            // The body's end: its last brace.
            while !seen.ends_with(b"}") {
                match tls.read(&mut buffer) {
                    Ok(read) if read > 0 => seen.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            for step in good() {
                if let Step::Send(bytes) = step {
                    let _ = tls.write_all(&bytes);
                }
            }
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    (format!("https://localhost:{port}/v1"), authority)
}

#[test]
fn a_certificate_of_ones_own_is_trusted_where_it_is_given_and_nowhere_else() {
    let (url, authority) = https_endpoint();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let mut options = RemoteOptions::new(&url, "big-model");
    options.api_key = Some(Secret::new(KEY));
    // A machine without any certificates refuses to begin with.
    if let Ok(engine) = RemoteEngine::new(options.clone(), Network::new(false), Clock::real(), Arc::default()) {
        let error = engine.complete(&request()).unwrap_err();
        assert_eq!((error.kind, error.retries), (FailureKind::Connect, 0), "{error}");
        assert!(error.message.contains("--ca-file"), "{error}");
    }
    options.ca_file = Some(file);
    let completion = engine(options).complete(&request()).unwrap();
    assert_eq!(completion.text, "Grüß Gott");
    let wire = &completion.tries[0].wire;
    let parts = [wire.dns_s, wire.connect_s, wire.tls_s, wire.sent_s].map(|part| part.expect("a part").0);
    assert!(parts[2] > 0.0 && parts[0] + parts[1] + parts[2] <= parts[3] + 1e-5, "{wire:?}");
}

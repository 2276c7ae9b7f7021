//! A server that answers through a policy.

use super::{Server, hello, with};
use crate::support::{program, stderr, write_files};
use routergym_local::clock::Clock;
use routergym_local::engine::{Engine, EngineError, FailureKind, Reply, ScriptedEngine};
use routergym_local::metrics;
use routergym_local::router::{Estimator, RouterKind, RouterParts, RouterSettings, RouterSpec, build};
use routergym_local::safety::SafetyPolicy;
use routergym_local::serve::{Policy, Routed, ServeOptions};
use routergym_local::trial::Engines;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

type Replies = Vec<Result<Reply, EngineError>>;

struct Models {
    server: Server,
    slm: Arc<ScriptedEngine>,
    llm: Arc<ScriptedEngine>,
}

fn routed(kind: RouterKind, safety: &[&str], slm: Replies, llm: Replies) -> Models {
    let clock = Clock::fake();
    let slm = Arc::new(ScriptedEngine::queue("small", clock.clone(), slm));
    let llm = Arc::new(ScriptedEngine::queue("large", clock.clone(), llm).remote());
    let mut policy = SafetyPolicy::default();
    safety.iter().try_for_each(|text| policy.set_from_text(text)).unwrap();
    let settings = RouterSettings { threshold: 0.5, safety: policy.clone(), ..RouterSettings::default() };
    let router = build(&RouterSpec::plain(kind), &settings, RouterParts::default()).unwrap();
    let policy = Policy {
        name: kind.name().to_owned(),
        router,
        confidence: Estimator::default(),
        safety: policy,
        label_field: None,
        max_tokens: 64,
        price: Some(metrics::Prices::built_in().unwrap().lookup("gpt-4.1").unwrap()),
        hardware: None,
    };
    let (small, large): (Arc<dyn Engine>, Arc<dyn Engine>) = (slm.clone(), llm.clone());
    let engines = Engines { slm: small, llm: large, named: BTreeMap::new() };
    let backend = Routed::new(policy, engines, 2, clock).unwrap();
    Models { server: Server::start(ServeOptions::default(), backend), slm, llm }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let line = head.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {head}"));
    line[name.len() + 1..].trim()
}

fn chat(models: &Models, body: &Value) -> (u16, String, Value) {
    let (status, head, body) = models.server.exchange("POST", "/v1/chat/completions", "", &body.to_string());
    (status, head, serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}")))
}

#[test]
fn a_sure_answer_of_the_small_model_is_kept_and_said_to_be_free() {
    let models = routed(RouterKind::SlmDominant, &[], vec![Ok(Reply::new("Good day", -0.01))], vec![]);
    let (status, head, body) = chat(&models, &with(hello(), json!({"logprobs": true})));
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("Good day")), "{body}");
    assert_eq!((header(&head, "x-routergym-model"), header(&head, "x-routergym-tier")), ("small", "slm"));
    assert_eq!((header(&head, "x-routergym-reason"), header(&head, "x-routergym-calls")), ("first_choice", "1"));
    assert_eq!(header(&head, "x-routergym-cost-usd").parse(), Ok(0.0));
    assert_eq!(body["model"], "slm-dominant");
    let route = &body["usage"]["routergym"];
    assert_eq!((&route["model"], &route["router"]), (&json!("small"), &json!("slm-dominant")), "{body}");
    assert_eq!(body["choices"][0]["logprobs"]["content"].as_array().unwrap().len(), 2);
    // The request's messages are what the model was asked, word for word.
    assert_eq!(models.slm.requests()[0].messages[0].content, "Hello");
    assert!(models.llm.requests().is_empty());
}

#[test]
fn an_unsure_answer_goes_to_the_large_model_and_its_price_is_told_streamed_too() {
    for stream in [false, true] {
        let unsure = vec![Ok(Reply::new("Er well", -3.0))];
        let models = routed(RouterKind::SlmDominant, &[], unsure, vec![Ok(Reply::new("Good day to you", -0.1))]);
        let ask = with(hello(), json!({"stream": stream, "stream_options": {"include_usage": true}}));
        let (status, head, text) = models.server.exchange("POST", "/v1/chat/completions", "", &ask.to_string());
        assert_eq!(status, 200, "{text}");
        assert_eq!((header(&head, "x-routergym-model"), header(&head, "x-routergym-tier")), ("large", "llm"));
        assert_eq!((header(&head, "x-routergym-reason"), header(&head, "x-routergym-calls")), ("low_confidence", "2"));
        // 1 word in at 2 dollars a million, 4 words out at 8.
        assert_eq!(header(&head, "x-routergym-cost-usd"), "0.000034000");
        assert!(text.contains("Good day to you") && !text.contains("Er well"), "{text}");
        let last = text.lines().rev().find_map(|line| line.strip_prefix("data: {")).map(|rest| format!("{{{rest}"));
        let usage = serde_json::from_str::<Value>(last.as_deref().unwrap_or(&text)).unwrap()["usage"].clone();
        let calls = usage["routergym"]["calls"].as_array().unwrap();
        assert_eq!((calls.len(), &calls[1]["reason"]["kind"]), (2, &json!("low_confidence")), "{usage}");
        assert!(calls[0]["confidence"].as_f64().unwrap() < 0.5 && calls[0]["api_usd"].is_null(), "{usage}");
    }
}

#[test]
fn a_schema_of_the_request_is_the_contract_and_what_breaks_it_is_repaired() {
    let broken = Ok(Reply::new("{\"sure\": 1}", -0.01));
    let right = Ok(Reply::new("{\"sure\": true}", -0.01));
    let models = routed(RouterKind::SlmOnly, &[], vec![broken, right], vec![]);
    let schema = json!({"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    let (status, head, body) = chat(&models, &with(hello(), json!({"response_format": format})));
    assert_eq!((status, &body["choices"][0]["message"]["content"]), (200, &json!("{\"sure\": true}")), "{body}");
    assert_eq!(header(&head, "x-routergym-reason"), "contract_repair");
    let calls = &body["usage"]["routergym"]["calls"];
    assert_eq!((&calls[0]["contract_valid"], &calls[1]["contract_valid"]), (&json!(false), &json!(true)));
    assert!(models.slm.requests()[0].grammar.is_some());
}

#[test]
fn personal_data_is_taken_out_before_the_large_model_sees_it_and_put_back_into_the_answer() {
    let models = routed(
        RouterKind::LlmOnly,
        &["personal_data=redact"],
        vec![],
        vec![Ok(Reply::new("I wrote to [EMAIL_1] today", -0.1))],
    );
    let ask = json!({"messages": [{"role": "user", "content": "Write to ada.lovelace@example.com please"}]});
    let (status, _, body) = chat(&models, &ask);
    assert_eq!(status, 200, "{body}");
    let seen = &models.llm.requests()[0].messages[0].content;
    assert!(!seen.contains("lovelace") && seen.contains("[EMAIL_1]"), "{seen}");
    assert_eq!(body["choices"][0]["message"]["content"], "I wrote to ada.lovelace@example.com today");
}

#[test]
fn what_the_policy_refuses_and_what_the_models_fail_at_are_errors_with_their_own_status() {
    let refusing = routed(RouterKind::SlmOnly, &["personal_data=refuse"], vec![], vec![]);
    let ask = json!({"messages": [{"role": "user", "content": "My mail is ada.lovelace@example.com"}]});
    let (status, _, body) = chat(&refusing, &ask);
    assert_eq!(status, 400, "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("safety policy"), "{body}");
    assert!(refusing.slm.requests().is_empty());

    let gone = |kind| vec![Err(EngineError::new(kind, "the endpoint is gone"))];
    for (kind, status) in [
        (FailureKind::Connect, 502),
        (FailureKind::Timeout, 504),
        (FailureKind::RateLimited, 429),
        (FailureKind::ContextOverflow, 400),
    ] {
        let models = routed(RouterKind::LlmOnly, &[], vec![], gone(kind));
        let (found, _, body) = chat(&models, &hello());
        assert_eq!(found, status, "{kind:?} {body}");
        assert!(body["error"]["message"].as_str().unwrap().contains("gone"), "{body}");
    }
}

#[test]
fn a_stop_text_cuts_the_answer_and_options_that_not_all_models_know_are_refused() {
    let models = routed(RouterKind::SlmOnly, &[], vec![Ok(Reply::new("one two three", -0.01))], vec![]);
    let (_, _, body) = chat(&models, &with(hello(), json!({"stop": " two", "logprobs": true})));
    assert_eq!(body["choices"][0]["message"]["content"], "one", "{body}");
    for option in [json!({"top_p": 0.5}), json!({"top_k": 3}), json!({"min_p": 0.1}), json!({"guided_regex": "a"})] {
        let (status, _, body) = chat(&models, &with(hello(), option));
        assert_eq!(status, 400, "{body}");
    }
    let (status, _, _) = models.server.exchange("POST", "/v1/completions", "", "{\"prompt\": \"a\"}");
    assert_eq!(status, 400);
}

#[test]
fn a_policy_that_cannot_be_served_is_wrong_usage_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let two = "[[router]]\nkind = \"slm-only\"\n[[router]]\nkind = \"llm-only\"\n";
    write_files(folder.path(), &[("two.toml", two)]);
    let file = folder.path().join("two.toml").to_string_lossy().into_owned();
    for (flags, said) in [
        (&["--router", "hybrid-specialist", "--llm", "large"][..], "a server has no task"),
        (&["--router", "slm-dominant"], "--llm"),
        (&["--router", "slm-dominant", "--llm", "https://llm.example.com"], "--llm-model"),
        (&["--router", "telepathy", "--llm", "large"], "slm-dominant"),
        (&["--router", &file, "--llm", "large"], "2 routers"),
        (&["--router", "slm-dominant", "--llm", "large", "--threshold", "7"], "--threshold"),
        (&["--router", "slm-dominant", "--llm", "large", "--safety", "mood=refuse"], "mood"),
        (&["--parallel", "0"], "--parallel"),
        (&["--queue", "0"], "--queue"),
        (&["--context", "1"], "--context"),
    ] {
        let output = program().args(["serve", "--offline", "--model", "no-such-model"]).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(said), "{flags:?}: {}", stderr(&output));
    }
}

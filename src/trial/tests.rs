//! The loop against scripted engines and a fake clock.

use super::*;
use crate::clock::{Clock, Component};
use crate::contract::{Contract, ContractMode};
use crate::engine::{Engine, EngineError, Reply, ScriptedEngine};
use crate::memory::{Memory, MemorySpec, build};
use crate::router::{RouterKind, RouterSettings};
use crate::task::{Label, Query, Task};
use std::collections::BTreeMap;
use std::sync::Arc;

const GOOD: &str = r#"{"category": "Access"}"#;

fn task() -> Task {
    let schema = serde_json::json!({
        "type": "object", "properties": { "category": { "enum": ["Access", "Storage"] } },
        "required": ["category"], "additionalProperties": false
    });
    let label = |name: &str| Label { name: name.to_owned(), description: String::new() };
    Task {
        name: "test".into(),
        description: String::new(),
        dir: std::path::PathBuf::new(),
        sha256: String::new(),
        labels: vec![label("Access"), label("Storage")],
        samples: vec![],
        articles: vec![],
        static_memory: None,
        system_prompt: "Sort.".into(),
        examples_per_label: 0,
        schema,
        label_field: "category".into(),
        answer_field: None,
        citations_field: None,
        needs_human_field: None,
        specialists: vec![],
    }
}

fn reply(text: &str, probability: f64) -> Reply {
    Reply::new(text, probability.ln()).local_time(Seconds(1.0), Seconds(0.5))
}

fn broken(kind: FailureKind) -> Result<Reply, EngineError> {
    Err(EngineError { kind, message: "the endpoint is gone".into(), spans: Spans::default(), retries: 2 })
}

struct Played {
    trial: Trial,
    slm: Arc<ScriptedEngine>,
    llm: Arc<ScriptedEngine>,
}

/// Plays one query through slm-dominant with scripted answers.
fn play(
    kind: RouterKind,
    slm: Vec<Result<Reply, EngineError>>,
    llm: Vec<Result<Reply, EngineError>>,
    mode: ContractMode,
) -> Played {
    let clock = Clock::fake();
    let task = task();
    let slm = Arc::new(ScriptedEngine::queue("small", clock.clone(), slm));
    let llm = Arc::new(ScriptedEngine::queue("large", clock.clone(), llm));
    let engines = Engines {
        slm: Arc::clone(&slm) as Arc<dyn Engine>,
        llm: Arc::clone(&llm) as Arc<dyn Engine>,
        specialists: BTreeMap::new(),
    };
    let settings = RouterSettings { threshold: 0.6, max_repairs: 1, ..RouterSettings::default() };
    let spec = MemorySpec { kind: crate::memory::MemoryKind::None, top_k: 1, token_budget: 1, gate: None };
    let memory: Box<dyn Memory> = build(&spec, &task, None, Arc::new(str::len)).expect("no memory");
    let router = crate::router::build(kind, &settings, &[], None).expect("a router");
    let fields = AnswerFields {
        labels: vec!["Access".into(), "Storage".into()],
        label: "category".into(),
        answer: None,
        citations: None,
        needs_human: None,
    };
    let cell = CellContext {
        name: "the cell",
        router: &*router,
        memory: &*memory,
        contract: &Contract::new("test", &task.schema).expect("a contract"),
        contract_mode: mode,
        confidence: crate::router::Estimator::default(),
        prompts: &PromptBuilder::new(&task, None),
        engines: &engines,
        fields: &fields,
        max_tokens: 10,
        temperature: 0.0,
        seed: 0,
        clock: &clock,
    };
    let query = Query { id: "q".into(), input: "I forgot my password".into() };
    let trial = run(&query, &cell);
    Played { trial, slm, llm }
}

#[test]
fn a_confident_valid_answer_stays_local() {
    let played = play(RouterKind::SlmDominant, vec![Ok(reply(GOOD, 0.92))], vec![], ContractMode::Validate);
    assert_eq!(played.trial.outcome, Outcome::Answered);
    assert_eq!(played.trial.prediction.label.as_deref(), Some("Access"));
    assert!(played.llm.requests().is_empty());
}

#[test]
fn an_unsure_answer_goes_to_the_llm_and_both_are_billed() {
    let slm = vec![Ok(reply(GOOD, 0.4))];
    let llm = vec![Ok(reply(r#"{"category": "Storage"}"#, 0.9))];
    let played = play(RouterKind::SlmDominant, slm, llm, ContractMode::Validate);
    assert_eq!(played.trial.prediction.label.as_deref(), Some("Storage"));
    assert_eq!(played.trial.attempts.len(), 2);
    assert!(played.trial.attempts.iter().all(|attempt| attempt.usage.output_tokens > 0));
    assert!(matches!(played.trial.attempts[1].reason, Reason::LowConfidence { .. }));
}

#[test]
fn a_repair_shows_the_model_its_own_answer_and_what_is_wrong_with_it() {
    let bad = r#"{"category": "Acess"}"#;
    let played =
        play(RouterKind::SlmDominant, vec![Ok(reply(bad, 0.9)), Ok(reply(GOOD, 0.9))], vec![], ContractMode::Validate);
    assert_eq!(played.trial.outcome, Outcome::Answered);
    let messages = &played.slm.requests()[1].messages;
    let [.., shown, asked] = messages.as_slice() else { panic!("too few messages") };
    assert_eq!((shown.role.as_str(), shown.content.as_str()), ("assistant", bad));
    assert!(asked.content.contains("category") && asked.content.contains("Acess"), "{}", asked.content);
    assert!(!played.trial.attempts[0].verdict.as_ref().unwrap().valid);
}

#[test]
fn a_contract_that_is_broken_to_the_end_is_the_models_failure() {
    let bad = || Ok(reply("I do not know", 0.9));
    let played = play(RouterKind::SlmDominant, vec![bad(), bad()], vec![bad(), bad()], ContractMode::Validate);
    assert_eq!(played.trial.outcome, Outcome::ContractFailed);
    assert_eq!(played.trial.attempts.len(), 4);
}

#[test]
fn without_contracts_validity_is_observed_and_acted_on_by_nobody() {
    let played = play(RouterKind::SlmOnly, vec![Ok(reply("It is Access.", 0.9))], vec![], ContractMode::Off);
    assert_eq!(played.trial.outcome, Outcome::Answered);
    assert_eq!(played.trial.prediction.label.as_deref(), Some("Access"));
    assert!(!played.trial.attempts[0].verdict.as_ref().unwrap().valid);
}

#[test]
fn an_endpoint_that_is_gone_is_a_failure_and_never_an_answer() {
    let llm = vec![broken(FailureKind::Connect), broken(FailureKind::Connect)];
    let played = play(RouterKind::LlmFirst, vec![], llm, ContractMode::Validate);
    assert_eq!(played.trial.outcome, Outcome::Failed);
    assert_eq!(played.trial.prediction, Prediction::default());
    assert_eq!(played.trial.failure.as_ref().map(|failure| failure.kind), Some(FailureKind::Connect));
    assert_eq!(played.trial.attempts[0].retries, 2);
}

#[test]
fn a_text_that_names_two_labels_predicts_none() {
    let played = play(RouterKind::SlmOnly, vec![Ok(reply("Access or Storage", 0.9))], vec![], ContractMode::Off);
    assert_eq!(played.trial.prediction.label, None);
}

#[test]
fn the_spans_of_a_trial_add_up_to_its_wall_time() {
    let slm = vec![Ok(reply(GOOD, 0.4))];
    let llm = vec![Ok(reply(GOOD, 0.9))];
    let played = play(RouterKind::SlmDominant, slm, llm, ContractMode::Validate);
    assert_eq!(played.trial.wall_s, Seconds(3.0));
    assert_eq!(played.trial.spans.total(), Seconds(3.0));
    assert_eq!(played.trial.spans.get(Component::Prefill), Seconds(2.0));
}

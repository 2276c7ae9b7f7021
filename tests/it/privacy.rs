//! What leaves this program: a server that keeps every byte that it is sent, and policies that must act before.

use crate::remote::{Endpoint, said};
use routergym_local::clock::Clock;
use routergym_local::contract::{Contract, ContractMode};
use routergym_local::engine::{Engine, RemoteEngine, RemoteOptions, Reply, ScriptedEngine};
use routergym_local::memory::{self, MemoryKind, MemoryParts, MemorySpec, RetrieverKind};
use routergym_local::net::Network;
use routergym_local::router::{self, Estimator, RouterKind, RouterParts, RouterSettings, RouterSpec};
use routergym_local::safety::SafetyPolicy;
use routergym_local::task::{self, Query};
use routergym_local::trial::{self, AnswerFields, CellContext, Engines, Outcome, PromptBuilder, Trial};
use std::collections::BTreeMap;
use std::sync::Arc;

const PRIVATE: [&str; 3] = ["carla.gomez@example.com", "4111 1111 1111 1111", "carla"];
const TICKET: &str =
    "I am carla.gomez@example.com and my card 4111 1111 1111 1111 was charged twice. Mail carla.gomez@example.com.";

/// Everything that the endpoint was sent, heads and bodies.
fn bytes_of(endpoint: &Endpoint) -> String {
    endpoint.requests().iter().flat_map(|(head, body)| [head.clone(), body.to_string()]).collect()
}

/// One ticket through a strategy whose SLM is never sure, so that it would hand over to the LLM behind the endpoint.
fn ask(endpoint: &Endpoint, kind: RouterKind, policy: &str, said_here: &str) -> Trial {
    let clock = Clock::real();
    let task = task::load(&task::find("helpdesk").unwrap()).unwrap();
    let mut safety = SafetyPolicy::default();
    safety.set_from_text(policy).unwrap();
    let reply = Reply::new(said_here, 0.1_f64.ln());
    let slm = ScriptedEngine::function("small", clock.clone(), move |_| Ok(reply.clone()));
    let options = RemoteOptions::new(&endpoint.url, "big-model");
    let llm = RemoteEngine::new(options, Network::new(true), clock.clone(), Arc::default()).unwrap();
    let engines = Engines { slm: Arc::new(slm), llm: Arc::new(llm) as Arc<dyn Engine>, named: BTreeMap::new() };
    let settings =
        RouterSettings { threshold: 0.9, max_repairs: 1, safety: safety.clone(), ..RouterSettings::default() };
    let spec =
        MemorySpec { kind: MemoryKind::None, retriever: RetrieverKind::Bm25, top_k: 1, token_budget: 1, gate: None };
    let parts = MemoryParts {
        embed: None,
        encoder_sha256: String::new(),
        count_tokens: Arc::new(memory::about_tokens),
        indexes: None,
        clock: clock.clone(),
    };
    let memory = memory::build(&spec, &task, &parts, &mut |_| ()).unwrap();
    let router = router::build(&RouterSpec::plain(kind), &settings, RouterParts::default()).unwrap();
    let fields = AnswerFields {
        labels: task.labels.iter().map(|label| label.name.clone()).collect(),
        label: task.label_field.clone(),
        answer: task.answer_field.clone(),
        citations: task.citations_field.clone(),
        needs_human: task.needs_human_field.clone(),
    };
    let cell = CellContext {
        name: "the cell",
        router: &*router,
        memory: &*memory,
        contract: &Contract::of_task(&task).unwrap(),
        contract_mode: ContractMode::Validate,
        safety: &safety,
        confidence: Estimator::default(),
        prompts: &PromptBuilder::new(&task, None),
        engines: &engines,
        fields: &fields,
        max_tokens: 32,
        temperature: 0.0,
        seed: 0,
        clock: &clock,
    };
    trial::run(&Query { id: "q".into(), input: TICKET.into() }, &cell)
}

#[test]
fn redacted_values_are_gone_before_a_byte_is_sent_repairs_included() {
    for kind in [RouterKind::LlmFirst, RouterKind::SlmDominant, RouterKind::LlmOnly] {
        // The answer breaks its contract and repeats what it was given, so that a repair sends that back.
        let endpoint = Endpoint::one(said("Mail was sent to the address in the ticket."));
        let trial = ask(&endpoint, kind, "personal_data=redact", "{}");
        let sent = bytes_of(&endpoint);
        assert!(endpoint.requests().len() >= 2, "{kind:?}: a call and its repair");
        for value in PRIVATE {
            assert!(!sent.contains(value), "{kind:?} sent {value}: {sent}");
        }
        let called = trial.attempts.iter().filter_map(|attempt| attempt.sent.as_ref());
        assert!(
            called.clone().count() >= 2 && called.into_iter().all(|sent| sent.redacted >= 2),
            "{:?}",
            trial.attempts
        );
    }
}

#[test]
fn without_the_policy_the_same_values_are_sent() {
    let endpoint = Endpoint::one(said("{}"));
    ask(&endpoint, RouterKind::LlmOnly, "personal_data=allow", "{}");
    assert!(bytes_of(&endpoint).contains(PRIVATE[0]), "else the other tests would prove nothing");
}

#[test]
fn what_must_stay_local_or_go_to_a_person_opens_no_connection() {
    for policy in ["personal_data=keep-local", "personal_data=refuse", "personal_data=person"] {
        for kind in [RouterKind::LlmFirst, RouterKind::SlmDominant, RouterKind::LlmOnly, RouterKind::Random] {
            let endpoint = Endpoint::one(said("{}"));
            let trial = ask(&endpoint, kind, policy, "{}");
            assert_eq!(bytes_of(&endpoint), "", "{policy} under {kind:?}");
            assert!(trial.attempts.iter().all(|attempt| attempt.sent.is_none()), "{policy} under {kind:?}");
            assert_ne!(trial.outcome, Outcome::Failed, "{policy} under {kind:?}");
        }
    }
}

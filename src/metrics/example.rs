//! A small run made in code, for the tests of this room and of the report: six samples, three routers. The gold label
//! is `Access` throughout; the SLM is right on the first four samples, the LLM on the first five.

use crate::clock::{Component, Spans};
use crate::contract::{ContractMode, Extraction, Verdict, Violation};
use crate::device::EnergySource;
use crate::engine::{EngineInfo, FailureKind, Held, StopReason, Usage};
use crate::memory::{MemoryKind, Retrieval};
use crate::record::{Cell, FORMAT, HardwarePrice, Machine, RunHeader, TrialRecord};
use crate::router::{PromptVariant, Reason, RouterKind, Tier};
use crate::task::{Split, Target};
use crate::trial::{Attempt, Failure, Outcome, Prediction, Trial};
use crate::units::Seconds;

pub(crate) const ROUTERS: [RouterKind; 3] =
    [RouterKind::LlmFirst, RouterKind::SlmDominant, RouterKind::HybridSpecialist];

pub(crate) fn target() -> Target {
    Target { label: Some("Access".into()), ..Target::default() }
}

pub(crate) fn attempt(tier: Tier, label: &str, valid: bool, reason: Reason) -> Attempt {
    let violation = Violation { path: String::new(), rule: "required".into(), message: "Give `answer`.".into() };
    Attempt {
        tier,
        model: if tier == Tier::Slm { "small" } else { "large" }.into(),
        variant: PromptVariant::Plain,
        reason,
        prompt: "prompt".into(),
        sent: (tier == Tier::Llm).then(crate::trial::Sent::default),
        completion: Some(label.into()),
        stop: Some(StopReason::EndOfTurn),
        usage: Usage { input_tokens: 1000, output_tokens: 100, ..Usage::default() },
        usage_source: crate::engine::UsageSource::Server,
        tokens: vec![],
        confidence: None,
        verdict: Some(Verdict {
            valid,
            extraction: Extraction::Whole,
            value: None,
            violations: if valid { vec![] } else { vec![violation] },
            mended: vec![],
            candidates: 1,
        }),
        prediction: Prediction { label: Some(label.into()), ..Prediction::default() },
        ttft_s: Some(Seconds(0.1)),
        total_s: Seconds(if tier == Tier::Slm { 1.0 } else { 2.0 }),
        spans: Spans::default(),
        retries: 0,
        tries: vec![],
        held: Held::Not,
        forced_tokens: 0,
        failure: None,
        identity: None,
        shared_from: None,
        api_usd: None,
    }
}

/// The trial of these attempts: one second of prefill for each of the SLM, two of network for each of the LLM, a quarter
/// of a second that no span explains. The last attempt is accepted.
pub(crate) fn trial(attempts: Vec<Attempt>) -> Trial {
    let mut spans = Spans::default();
    for attempt in &attempts {
        let part = if attempt.tier == Tier::Slm { Component::Prefill } else { Component::Network };
        spans.add(part, attempt.total_s);
    }
    Trial {
        failure: None,
        outcome: Outcome::Answered,
        prediction: attempts.last().map(|attempt| attempt.prediction.clone()).unwrap_or_default(),
        accepted: attempts.len().checked_sub(1),
        wall_s: spans.total() + Seconds(0.25),
        attempts,
        decisions: vec![],
        findings: vec![],
        redaction: crate::safety::Redaction::default(),
        retrieval: Retrieval::default(),
        spans,
    }
}

pub(crate) fn answered(label: &str) -> Trial {
    trial(vec![attempt(Tier::Slm, label, true, Reason::FirstChoice)])
}

pub(crate) fn escalated(slm: &str, llm: &str) -> Trial {
    let low = Reason::LowConfidence { confidence: 0.4, threshold: 0.6 };
    trial(vec![attempt(Tier::Slm, slm, true, Reason::FirstChoice), attempt(Tier::Llm, llm, true, low)])
}

pub(crate) fn break_connection(attempt: &mut Attempt) {
    attempt.completion = None;
    attempt.stop = None;
    attempt.verdict = None;
    attempt.usage = Usage::default();
    attempt.prediction = Prediction::default();
    attempt.failure = Some(Failure { kind: FailureKind::Connect, message: "no connection".into() });
}

/// A trial as the record keeps it: scored, billed at a dollar per thousand seconds of the machine and at `gpt-4.1`.
pub(crate) fn record(
    router: RouterKind,
    sample: &str,
    mut trial: Trial,
    target: &Target,
    header: &RunHeader,
) -> TrialRecord {
    TrialRecord {
        cell: cell(router).name,
        sample: sample.into(),
        router,
        memory: MemoryKind::Salience,
        contract: ContractMode::Validate,
        gold_label: target.label.clone(),
        difficulty: None,
        scores: super::score(target, &trial, &|_, _| Ok(None)).expect("no grounding is asked for"),
        attempts_correct: super::attempts_correct(target, &trial),
        cost: super::bill(&mut trial, header.llm_price.as_ref(), header.hardware_price.as_ref(), None),
        energy_j: None,
        unaccounted_s: Seconds(0.25),
        trial,
    }
}

pub(crate) fn cell(router: RouterKind) -> Cell {
    Cell {
        name: format!("{}/salience/validate", router.name()),
        router,
        variant: None,
        memory: MemoryKind::Salience,
        contract: ContractMode::Validate,
        slm: "small".into(),
        llm: "large".into(),
        seed: 7,
        repeat: 0,
    }
}

pub(crate) fn header() -> RunHeader {
    let engine = |model: &str, place: &str| EngineInfo {
        model: model.into(),
        place: place.into(),
        sha256: None,
        context_length: None,
    };
    RunHeader {
        format: FORMAT,
        id: "2025-11-24-example".into(),
        version: "0.1.0".into(),
        command: vec!["routergym-local".into(), "bench".into()],
        started_at: "2025-11-24T00:00:00Z".into(),
        finished_at: Some("2025-11-24T00:01:00Z".into()),
        interrupted: false,
        aborted: None,
        llm_adjustments: Vec::new(),
        task: "helpdesk".into(),
        task_sha256: "ab".repeat(32),
        split: Split::Test,
        samples: (1..=6).map(|i| format!("s{i}")).collect(),
        labels: 8,
        cells: ROUTERS.map(cell).to_vec(),
        slm: engine("small", "local cpu"),
        llm: engine("large", "http://127.0.0.1:1/v1"),
        llm_is_stand_in: true,
        llm_price: Some(
            super::Prices::built_in()
                .and_then(|prices| prices.lookup(super::STAND_IN))
                .expect("the stand-in has a price"),
        ),
        hardware_price: Some(HardwarePrice::hourly("user", 3.6, "test")),
        memory: None,
        steadiness: None,
        energy: EnergySource::default(),
        machine: Machine {
            cpu: "Test CPU".into(),
            cores: 2,
            memory_bytes: Some(8_000_000_000),
            os: "Linux".into(),
            device: "cpu".into(),
            threads: 2,
            cpu_quota: None,
        },
        seed: 7,
        plan: None,
        models: Vec::new(),
        resumed_at: Vec::new(),
        settings: serde_json::json!({ "margin": 0.05, "max_failure_share": 0.1 }),
    }
}

/// One router's way with each of the six samples.
pub(crate) fn trials_of(router: RouterKind) -> Vec<Trial> {
    let llm = |i: usize| if i < 5 { "Access" } else { "Storage" };
    let domain = |d: &str| d.to_string();
    (0..6)
        .map(|i| match router {
            RouterKind::SlmDominant | RouterKind::SlmOnly => match i {
                0..4 => answered("Access"),
                4 => escalated("Storage", llm(i)),
                _ => {
                    let mut repair = attempt(Tier::Slm, "Purchase", false, Reason::ContractRepair);
                    repair.variant = PromptVariant::Repair { of: 0 };
                    trial(vec![
                        attempt(Tier::Slm, "Purchase", false, Reason::FirstChoice),
                        repair,
                        attempt(Tier::Llm, llm(i), true, Reason::ContractFailure),
                    ])
                }
            },
            RouterKind::HybridSpecialist if i < 4 => {
                let reason = Reason::Domain { domain: domain("Access"), probability: 0.9 };
                let mut one = attempt(Tier::Slm, "Access", true, reason);
                one.variant = PromptVariant::Specialist(domain("Access"));
                trial(vec![one])
            }
            RouterKind::HybridSpecialist => {
                let reason = Reason::NoSpecialist { domain: domain("Storage"), probability: 0.3 };
                trial(vec![attempt(Tier::Llm, llm(i), true, reason)])
            }
            _ => trial(vec![attempt(Tier::Llm, llm(i), true, Reason::FirstChoice)]),
        })
        .collect()
}

/// The whole run: header and trials, router by router.
pub(crate) fn run() -> (RunHeader, Vec<TrialRecord>) {
    let header = header();
    let trials = ROUTERS
        .iter()
        .flat_map(|&router| {
            let header = &header;
            trials_of(router)
                .into_iter()
                .enumerate()
                .map(move |(i, trial)| record(router, &format!("s{}", i + 1), trial, &target(), header))
        })
        .collect();
    (header, trials)
}

/// Turns a record into one of a trial that no model could answer.
pub(crate) fn fail(record: &mut TrialRecord) {
    record.trial.outcome = Outcome::Failed;
    record.trial.accepted = None;
    record.trial.prediction = Prediction::default();
    record.trial.attempts.iter_mut().for_each(break_connection);
    record.attempts_correct = vec![None; record.trial.attempts.len()];
    record.scores = None;
}

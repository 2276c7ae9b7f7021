//! Writes a run that no model made: `cargo run --example synthetic_run -- FOLDER SAMPLES [plain|hostile]`. For the tests of the
//! report's page and for measuring how long a report of many trials takes. `hostile` puts HTML, scripts, right-to-left text and
//! emoji into every text.

use routergym_local::clock::{Component, Spans};
use routergym_local::contract::{ContractMode, Extraction, Verdict, Violation};
use routergym_local::device::EnergySource;
use routergym_local::engine::{EngineInfo, Held, StopReason, Usage, UsageSource};
use routergym_local::memory::{MemoryKind, Passage, Retrieval};
use routergym_local::record::{Cell, Cost, FORMAT, HardwarePrice, Machine, Price, RunHeader, Scores, TrialRecord};
use routergym_local::router::{Decision, PromptVariant, Reason, RouterKind, Tier};
use routergym_local::task::Split;
use routergym_local::trial::{Attempt, Confidence, Outcome, Prediction, Probed, Sent, Trial};
use routergym_local::units::{Seconds, Usd};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

const LABELS: [&str; 6] = ["Access", "Hardware", "Storage", "Purchase", "Network", "HR support"];
const HOSTILE: &str = "</script><script>window.hacked = 1</script><img src=x onerror=\"window.hacked = 2\">'\"`${window.hacked = 3}` \
                       \u{202e}emas ot thgir\u{202c} \u{1f4a5}\u{1f9d1}\u{200d}\u{1f4bb} שלום {{ 7 * 7 }}";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, samples, style @ ..] = &*arguments else { return Err("give FOLDER SAMPLES [plain|hostile]".into()) };
    let hostile = style.first().is_some_and(|style| style == "hostile");
    Ok(write(Path::new(folder), samples.parse()?, hostile)?)
}

/// Writes `run.json` and `trials.jsonl` of so many samples through four policies.
pub(crate) fn write(folder: &Path, samples: usize, hostile: bool) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let header = header(samples, hostile);
    serde_json::to_writer(File::create(folder.join("run.json"))?, &header)?;
    let mut trials = BufWriter::new(File::create(folder.join("trials.jsonl"))?);
    for sample in 0..samples {
        for cell in &header.cells {
            serde_json::to_writer(&mut trials, &trial(sample, cell, hostile))?;
            trials.write_all(b"\n")?;
        }
    }
    trials.flush()
}

/// A number from 0 to 1 that two numbers decide.
fn chance(seed: usize, salt: u64) -> f64 {
    let mut x =
        (seed as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
    x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

fn named(plain: &str, hostile: bool) -> String {
    if hostile { format!("{plain}{HOSTILE}") } else { plain.to_owned() }
}

fn header(samples: usize, hostile: bool) -> RunHeader {
    let engine = |model: &str, place: &str| EngineInfo {
        model: named(model, hostile),
        place: named(place, hostile),
        sha256: Some("ab".repeat(32)),
        context_length: Some(32_768),
    };
    let routers = [RouterKind::LlmFirst, RouterKind::SlmDominant, RouterKind::HybridSpecialist, RouterKind::SlmOnly];
    RunHeader {
        format: FORMAT,
        id: named("synthetic", hostile),
        version: "0.1.0".into(),
        command: vec!["routergym-local".into(), "bench".into(), named("--task", hostile)],
        started_at: "2026-01-01T00:00:00Z".into(),
        finished_at: Some("2026-01-01T01:00:00Z".into()),
        interrupted: false,
        aborted: None,
        llm_adjustments: Vec::new(),
        task: named("synthetic tickets", hostile),
        task_sha256: "cd".repeat(32),
        split: Split::Test,
        samples: (0..samples).map(|i| sample_id(i, hostile)).collect(),
        labels: LABELS.len(),
        cells: routers.iter().map(|&router| cell(router, hostile)).collect(),
        slm: engine("small-1b", "local cpu"),
        llm: engine("large-70b", "http://127.0.0.1:1/v1"),
        llm_is_stand_in: false,
        llm_price: Some(Price {
            name: named("made-up", hostile),
            as_of: "2026-01-01".into(),
            input_usd_per_million: 2.0,
            output_usd_per_million: 8.0,
            cached_input_usd_per_million: Some(0.5),
            cache_write_usd_per_million: None,
            reasoning_usd_per_million: None,
            source: String::new(),
        }),
        hardware_price: Some(HardwarePrice::hourly("made-up", 0.04, &named("a guess", hostile))),
        memory: None,
        steadiness: None,
        energy: EnergySource::default(),
        machine: Machine {
            cpu: named("Imagined CPU", hostile),
            cores: 8,
            memory_bytes: Some(16 << 30),
            os: named("Linux", hostile),
            device: "cpu".into(),
            threads: 8,
            cpu_quota: None,
        },
        seed: 0,
        plan: None,
        models: Vec::new(),
        resumed_at: Vec::new(),
        settings: serde_json::json!({ "margin": 0.05, "max_failure_share": 0.1, "slm_load_s": 1.25, "note": named("", hostile) }),
    }
}

fn sample_id(i: usize, hostile: bool) -> String {
    named(&format!("ticket-{i:07}"), hostile)
}

fn cell(router: RouterKind, hostile: bool) -> Cell {
    Cell {
        name: format!("{}/salience/validate{}", router.name(), named("", hostile)),
        router,
        variant: None,
        memory: MemoryKind::Salience,
        contract: ContractMode::Validate,
        slm: "small-1b".into(),
        llm: "large-70b".into(),
        seed: 0,
        repeat: 0,
    }
}

/// The large model is right on 86 % of the tickets, the small one on 70 %, and more sure where it is.
fn trial(sample: usize, cell: &Cell, hostile: bool) -> TrialRecord {
    let gold = LABELS[(chance(sample, 1) * LABELS.len() as f64) as usize % LABELS.len()];
    let wrong = LABELS[(chance(sample, 2) * LABELS.len() as f64) as usize % LABELS.len()];
    let small_right = chance(sample, 3) < 0.7;
    let large_right = if small_right { chance(sample, 4) < 0.93 } else { chance(sample, 4) < 0.69 };
    let confidence = (0.35 + 0.4 * chance(sample, 5) + if small_right { 0.22 } else { 0.0 }).min(0.99);
    let label = |right: bool| if right { gold } else { wrong };
    let asked = |tier, reason: Reason| {
        let right = if tier == Tier::Slm { small_right } else { large_right };
        attempt(sample, tier, label(right), confidence, reason, hostile)
    };
    let low = Reason::LowConfidence { confidence, threshold: 0.62 };
    let attempts = match cell.router {
        RouterKind::LlmFirst => vec![asked(Tier::Llm, Reason::FirstChoice)],
        RouterKind::SlmOnly => vec![asked(Tier::Slm, Reason::FirstChoice)],
        RouterKind::SlmDominant if confidence >= 0.62 => vec![asked(Tier::Slm, Reason::FirstChoice)],
        RouterKind::SlmDominant => vec![asked(Tier::Slm, Reason::FirstChoice), asked(Tier::Llm, low)],
        _ if chance(sample, 6) < 0.5 => {
            vec![asked(Tier::Slm, Reason::Domain { domain: gold.into(), probability: 0.8 })]
        }
        _ => vec![asked(Tier::Llm, Reason::NoSpecialist { domain: gold.into(), probability: 0.3 })],
    };
    let mut spans = Spans::default();
    spans.add(Component::Embed, Seconds(0.004));
    spans.add(Component::Search, Seconds(0.001));
    spans.add(Component::Routing, Seconds(0.003));
    for attempt in &attempts {
        for component in [Component::Prefill, Component::Decode, Component::Network] {
            spans.add(component, attempt.spans.get(component));
        }
    }
    let api: f64 = attempts.iter().filter_map(|attempt| attempt.api_usd.map(|usd| usd.0)).sum();
    let local = spans.total().0 - spans.get(Component::Network).0;
    let right: Vec<Option<bool>> =
        attempts.iter().map(|a| Some(if a.tier == Tier::Slm { small_right } else { large_right })).collect();
    let prediction = attempts.last().map(|attempt| attempt.prediction.clone()).unwrap_or_default();
    let decisions = attempts
        .iter()
        .map(|attempt| Decision::Call {
            tier: attempt.tier,
            model: None,
            variant: PromptVariant::Plain,
            reason: attempt.reason.clone(),
        })
        .collect();
    let is_right = prediction.label.as_deref().is_some_and(|label| label == gold);
    TrialRecord {
        cell: cell.name.clone(),
        sample: sample_id(sample, hostile),
        router: cell.router,
        memory: cell.memory,
        contract: cell.contract,
        gold_label: Some(named(gold, hostile)),
        difficulty: Some(["easy", "hard"][sample % 2].to_owned()),
        energy_j: None,
        unaccounted_s: Seconds(0.0005),
        trial: Trial {
            outcome: Outcome::Answered,
            prediction,
            accepted: attempts.len().checked_sub(1),
            failure: None,
            wall_s: spans.total() + Seconds(0.0005),
            attempts,
            decisions,
            findings: Vec::new(),
            redaction: routergym_local::safety::Redaction::default(),
            retrieval: Retrieval {
                passages: vec![Passage {
                    id: "KB-1".into(),
                    title: named("Resetting a password", hostile),
                    text: named("Open the portal and choose Reset.", hostile),
                    score: 0.7,
                }],
                examples: Vec::new(),
                candidates: 8,
                gate: Some(0.4),
                tokens: 40,
                shared_from: None,
            },
            spans,
        },
        scores: Some(Scores { label_correct: Some(is_right), groundedness: Some(0.8), ..Scores::default() }),
        attempts_correct: right,
        cost: Cost { api_usd: Some(Usd(api)), hardware_usd: Some(Usd(local / 3600.0 * 0.04)) },
    }
}

fn attempt(sample: usize, tier: Tier, label: &str, confidence: f64, reason: Reason, hostile: bool) -> Attempt {
    let small = tier == Tier::Slm;
    let length = 120 + (chance(sample, 7) * 400.0) as u64;
    let speed = 0.6 + 0.8 * chance(sample, if small { 8 } else { 9 });
    let seconds = speed * if small { 0.45 } else { 1.6 };
    let valid = chance(sample, if small { 10 } else { 11 }) < if small { 0.92 } else { 0.99 };
    let mut spans = Spans::default();
    if small {
        spans.add(Component::Prefill, Seconds(seconds * 0.4));
        spans.add(Component::Decode, Seconds(seconds * 0.6));
    } else {
        spans.add(Component::Network, Seconds(seconds));
    }
    let cached_tokens = if small { 100 } else { 0 };
    let usage = Usage { input_tokens: length + 40, output_tokens: 30, cached_tokens, ..Usage::default() };
    let usd = (usage.input_tokens as f64 * 2.0 + usage.output_tokens as f64 * 8.0) / 1e6;
    Attempt {
        tier,
        model: if small { "small-1b".into() } else { named("large-70b", hostile) },
        variant: PromptVariant::Plain,
        reason,
        prompt: named(
            &format!("Ticket {sample}: I cannot reach my files. Write to jane.doe@example.org, please."),
            hostile,
        ),
        sent: (!small).then(Sent::default),
        completion: Some(named(&format!("{{\"category\": \"{label}\", \"answer\": \"Open the portal.\"}}"), hostile)),
        stop: Some(StopReason::EndOfTurn),
        usage,
        usage_source: UsageSource::Measured,
        tokens: Vec::new(),
        confidence: small.then_some(Confidence {
            label: Some(confidence),
            mean: confidence.sqrt(),
            min: confidence * confidence,
            quantile: confidence,
            margin: None,
            entropy: None,
            probed: Probed::default(),
        }),
        verdict: Some(Verdict {
            valid,
            extraction: Extraction::Whole,
            value: None,
            violations: if valid {
                Vec::new()
            } else {
                let message = named("Give `needs_human`.", hostile);
                vec![Violation { path: String::new(), rule: "required".into(), message }]
            },
            mended: Vec::new(),
            candidates: 1,
        }),
        prediction: Prediction {
            label: Some(label.to_owned()),
            answer: Some(named("Open the portal.", hostile)),
            citations: vec!["KB-1".into()],
            needs_human: Some(false),
        },
        ttft_s: Some(Seconds(seconds * 0.4)),
        total_s: Seconds(seconds),
        spans,
        retries: 0,
        held: Held::Not,
        forced_tokens: 0,
        identity: None,
        shared_from: None,
        failure: None,
        tries: Vec::new(),
        api_usd: (!small).then_some(Usd(usd)),
    }
}

//! The figures of one policy.

use super::abstained::abstention_use;
use super::components::components;
use super::contract::contract_use;
use super::energy::{energy_use, machine_use};
use super::figure::Figure;
use super::left::left_device;
use super::memory::memory_use;
use super::row::Row;
use super::statistics::MIN_N_FOR_P99;
use super::summary::{CellTrials, CostPer1000, Intervals, Latency, PolicySummary, TokensByTier};
use crate::contract::Verdict as ContractVerdict;
use crate::memory::MemoryKind;
use crate::record::RunHeader;
use crate::router::{Reason, Tier};
use crate::trial::{Attempt, Outcome, Trial};
use std::collections::BTreeMap;

/// Summarises one cell. Where too many of its trials failed, counts stand and figures are absent.
pub(super) fn policy(header: &RunHeader, cell: &CellTrials<'_>, max_failure_share: f64) -> PolicySummary {
    let scored: Vec<_> = cell.scored().collect();
    let failures = cell.trials.len() - scored.len();
    let refusal = refusal(cell.trials.len(), failures, max_failure_share);
    let measured = if refusal.is_some() { &[] } else { &*scored };
    let why = |reason: &str| refusal.clone().unwrap_or_else(|| reason.to_string());
    let accuracy = accuracy(measured, &why);
    let intervals = intervals(header, cell, measured, &why);
    let p99 = match measured.len() {
        n if n >= MIN_N_FOR_P99 => Figure::quantile(&latencies(measured), 0.99, ""),
        n => Figure::absent(why(&format!("a 99th percentile needs {MIN_N_FOR_P99} trials, this cell has {n}"))),
    };
    let value = |figure: &Figure| figure.value;
    let absent = [
        ("accuracy", &accuracy),
        ("schema_valid_first", &intervals.schema_valid_first),
        ("schema_valid_final", &intervals.schema_valid_final),
        ("groundedness", &intervals.groundedness),
        ("escalation_rate", &intervals.escalation_rate),
        ("llm_call_rate", &intervals.llm_call_rate),
        ("fact_recall", &intervals.fact_recall),
        ("citation_accuracy", &intervals.citation_accuracy),
        ("needs_human_accuracy", &intervals.needs_human_accuracy),
        ("latency_s.p50", &intervals.latency_p50_s),
        ("latency_s.p95", &intervals.latency_p95_s),
        ("latency_s.p99", &p99),
        ("cost_usd_per_1000.api", &intervals.api_usd_per_1000),
        ("cost_usd_per_1000.hardware", &intervals.hardware_usd_per_1000),
    ];
    let abstention = abstention_use(measured);
    let mut not_available: BTreeMap<String, String> = absent
        .into_iter()
        .filter(|(_, figure)| figure.value.is_none())
        .map(|(name, figure)| (name.to_string(), figure.reason.clone().unwrap_or_default()))
        .collect();
    if abstention.is_none() {
        let reason = why("no answer in words to a sample of which the task says whether it can be answered");
        not_available.insert("abstention".to_owned(), reason);
    }
    PolicySummary {
        refused: refusal.is_some(),
        cell: cell.cell.name.clone(),
        router: cell.cell.router,
        variant: cell.cell.variant.clone(),
        memory: cell.cell.memory,
        contract: cell.cell.contract,
        slm: cell.cell.slm.clone(),
        llm: cell.cell.llm.clone(),
        seed: cell.cell.seed,
        trials: cell.trials.len(),
        n: scored.len(),
        failures,
        schema_valid_first: value(&intervals.schema_valid_first),
        schema_valid_final: value(&intervals.schema_valid_final),
        groundedness: value(&intervals.groundedness),
        abstention,
        escalation_rate: value(&intervals.escalation_rate),
        llm_call_rate: value(&intervals.llm_call_rate),
        fact_recall: value(&intervals.fact_recall),
        citation_accuracy: value(&intervals.citation_accuracy),
        needs_human_accuracy: value(&intervals.needs_human_accuracy),
        latency_s: Latency {
            p50: value(&intervals.latency_p50_s),
            p95: value(&intervals.latency_p95_s),
            p99: value(&p99),
        },
        cost_usd_per_1000: CostPer1000 {
            api: value(&intervals.api_usd_per_1000),
            hardware: value(&intervals.hardware_usd_per_1000),
        },
        energy: energy_use(header, measured, &why),
        machine_use: machine_use(header, measured),
        contract_failures: scored.iter().filter(|row| row.outcome == Outcome::ContractFailed).count(),
        repairs: cell.trials.iter().map(|row| row.repairs as usize).sum(),
        retries: cell.trials.iter().map(|row| row.retries).sum(),
        failed_attempts: cell.trials.iter().map(|row| row.failed_attempts as usize).sum(),
        llm_causes: counted(scored.iter().filter_map(|row| row.llm_cause)),
        failures_by_kind: counted(cell.trials.iter().filter_map(|row| row.failure_kind.as_deref())),
        tokens: tokens(&cell.trials),
        left_device: left_device(&cell.trials),
        components: components(measured.iter().copied()),
        contract_use: contract_use(measured),
        memory_use: memory_use(measured),
        accuracy,
        intervals,
        not_available,
    }
}

fn refusal(trials: usize, failures: usize, max_failure_share: f64) -> Option<String> {
    if trials == 0 {
        return Some("no trial was recorded".into());
    }
    if failures == trials {
        return Some(format!("all {trials} trials failed for reasons outside the models"));
    }
    (failures as f64 / trials as f64 > max_failure_share).then(|| {
        format!(
            "{failures} of {trials} trials failed for reasons outside the models, more than the share of \
             {max_failure_share} up to which a cell is summarised"
        )
    })
}

fn accuracy(scored: &[&Row], why: &dyn Fn(&str) -> String) -> Figure {
    Figure::share(&of(scored, |row| row.label_correct), &why("the task has no gold label"))
}

fn intervals(header: &RunHeader, cell: &CellTrials<'_>, scored: &[&Row], why: &dyn Fn(&str) -> String) -> Intervals {
    let first = of(scored, |row| row.first_valid);
    let last = of(scored, |row| row.final_valid);
    let escalated: Vec<bool> = scored.iter().map(|row| row.escalated).collect();
    let called: Vec<bool> = scored.iter().map(|row| row.llm_cause.is_some()).collect();
    let latencies = latencies(scored);
    // A mean over those trials alone that could be billed would leave out just the calls that cost something.
    let per_1000 = |cost: fn(&Row) -> Option<f64>| -> Vec<f64> {
        let usd: Option<Vec<f64>> = scored.iter().map(|record| cost(record).map(|usd| usd * 1000.0)).collect();
        usd.unwrap_or_default()
    };
    let api = per_1000(|row| row.api_usd);
    let hardware = per_1000(|row| row.hardware_usd);
    let unbilled = scored.iter().filter(|row| row.api_usd.is_none()).count();
    let no_api = match (&header.llm_price, unbilled) {
        (None, _) => "no price was given for the LLM's tokens".to_owned(),
        (Some(_), 0) => "no trial was billed".to_owned(),
        (Some(_), _) => format!("the endpoint reported no token counts in {unbilled} of {} trials", scored.len()),
    };
    let no_hardware =
        if header.hardware_price.is_none() { "no price was given for the machine" } else { "no trial was billed" };
    Intervals {
        schema_valid_first: Figure::share(&first, &why("no answer was checked against the contract")),
        schema_valid_final: Figure::share(&last, &why("no accepted answer was checked against the contract")),
        groundedness: Figure::mean(
            &of(scored, |row| row.groundedness),
            &why(&no_groundedness(cell.cell.memory, scored)),
        ),
        escalation_rate: Figure::share(&escalated, &why("no trial was scored")),
        llm_call_rate: Figure::share(&called, &why("no trial was scored")),
        fact_recall: Figure::mean(&of(scored, |row| row.fact_recall), &why("the task lists no facts")),
        citation_accuracy: Figure::share(
            &of(scored, |row| row.citations_correct),
            &why("the task has no gold articles"),
        ),
        needs_human_accuracy: Figure::share(
            &of(scored, |row| row.needs_human_correct),
            &why("the task does not say which samples need a person"),
        ),
        latency_p50_s: Figure::quantile(&latencies, 0.5, &why("no trial was scored")),
        latency_p95_s: Figure::quantile(&latencies, 0.95, &why("no trial was scored")),
        api_usd_per_1000: Figure::mean(&api, &why(&no_api)),
        hardware_usd_per_1000: Figure::mean(&hardware, &why(no_hardware)),
    }
}

fn no_groundedness(memory: MemoryKind, scored: &[&Row]) -> String {
    match memory {
        MemoryKind::None => "the memory `none` injects no passages".into(),
        MemoryKind::Static => "the memory `static` injects one fixed text and no passages".into(),
        MemoryKind::Episodic => "the memory `episodic` injects solved samples and no passages".into(),
        MemoryKind::Dynamic | MemoryKind::Salience if scored.iter().all(|row| row.passages == 0) => {
            "no passages were injected".into()
        }
        MemoryKind::Dynamic | MemoryKind::Salience => "no answer with passages held a claim to judge".into(),
    }
}

fn of<T>(scored: &[&Row], part: impl Fn(&Row) -> Option<T>) -> Vec<T> {
    scored.iter().filter_map(|row| part(row)).collect()
}

pub(super) fn latencies(scored: &[&Row]) -> Vec<f64> {
    scored.iter().map(|row| row.latency_s()).collect()
}

/// Whether the first answer that any model gave keeps the contract.
#[must_use]
pub fn first_valid(trial: &Trial) -> Option<bool> {
    let first = trial.attempts.iter().find(|attempt| attempt.failure.is_none())?;
    first.verdict.as_ref().map(ContractVerdict::valid_as_written)
}

/// Whether the trial's answer keeps the contract; a trial that ended without an acceptable one does not.
#[must_use]
pub fn final_valid(trial: &Trial) -> Option<bool> {
    if trial.outcome == Outcome::ContractFailed {
        return Some(false);
    }
    trial.attempts.get(trial.accepted?)?.verdict.as_ref().map(|verdict| verdict.valid)
}

/// Why the LLM was first called; `None` where it was not.
pub(super) fn llm_cause(trial: &Trial) -> Option<&'static str> {
    first_llm_call(trial).map(|attempt| cause(&attempt.reason))
}

fn first_llm_call(trial: &Trial) -> Option<&Attempt> {
    trial.attempts.iter().find(|attempt| attempt.tier == Tier::Llm)
}

/// Whether the LLM was called because of something that stood in the way of the SLM: an answer of the SLM that was not
/// good enough, or a safety finding. Where a strategy gives the query to the LLM to begin with, nothing is escalated.
#[must_use]
pub fn is_escalated(trial: &Trial) -> bool {
    first_llm_call(trial).is_some_and(|attempt| match attempt.reason {
        Reason::FirstChoice | Reason::NoSpecialist { .. } | Reason::Random { .. } | Reason::Predicted { .. } => false,
        // The same reason whether it is the first call or follows an answer.
        Reason::WorthItsPrice { .. } => trial.attempts.first().is_some_and(|first| first.tier == Tier::Slm),
        _ => true,
    })
}

pub(super) fn failure_kind(trial: &Trial) -> Option<String> {
    if trial.outcome != Outcome::Failed {
        return None;
    }
    let of_attempts = || trial.attempts.iter().rev().find_map(|attempt| attempt.failure.as_ref());
    let kind = trial.failure.as_ref().or_else(of_attempts).map(|failure| failure.kind);
    let name = kind.and_then(|kind| serde_json::to_value(kind).ok()).and_then(|v| v.as_str().map(ToString::to_string));
    Some(name.unwrap_or_else(|| "before_any_call".into()))
}

/// The name under which a reason is counted.
#[must_use]
pub fn cause(reason: &Reason) -> &'static str {
    match reason {
        Reason::FirstChoice => "first_choice",
        Reason::Random { .. } => "random",
        Reason::Predicted { .. } => "predicted",
        Reason::WorthItsPrice { .. } => "worth_its_price",
        Reason::Downshift { .. } => "downshift",
        Reason::Domain { .. } => "domain",
        Reason::NoSpecialist { .. } => "no_specialist",
        Reason::ContractRepair => "contract_repair",
        Reason::ContractFailure => "contract_failure",
        Reason::LowConfidence { .. } => "low_confidence",
        Reason::ConfidenceUnknown => "confidence_unknown",
        Reason::Safety { .. } => "safety",
        Reason::KeptLocal { .. } => "kept_local",
        Reason::AttemptFailed => "attempt_failed",
        Reason::Accepted => "accepted",
        Reason::Exhausted => "exhausted",
    }
}

pub(super) fn counted<K: Into<String>>(names: impl Iterator<Item = K>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.into()).or_default() += 1;
    }
    counts
}

fn tokens(trials: &[&Row]) -> TokensByTier {
    let mut tokens = TokensByTier::default();
    for row in trials {
        tokens.slm.add(row.tokens.slm);
        tokens.llm.add(row.tokens.llm);
    }
    tokens
}

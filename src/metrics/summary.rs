//! `summary.json`: the figures of a run, made from its header and its trials alone.

use super::abstained::AbstentionUse;
use super::alone::{ModelsAlone, models_alone};
use super::axes::{AxesSummary, axes_summary};
use super::calls::{RemoteCalls, remote_calls};
use super::components::{ComponentSummary, components};
use super::contract::{ContractEffect, ContractUse, contract_effects};
use super::energy::{EnergyUse, MachineUse, break_even};
use super::figure::Figure;
use super::left::LeftDevice;
use super::memory::{MemoryEffect, MemoryInteraction, MemoryUse, memory_effects, memory_interactions};
use super::policy::policy;
use super::row::{Row, Rows};
use super::verdict::{Verdict, verdict};
use crate::contract::ContractMode;
use crate::device::Basis;
use crate::engine::SCRIPTED_PLACE;
use crate::memory::MemoryKind;
use crate::record::{RunHeader, TrialRecord};
use crate::router::RouterKind;
use crate::task::Split;
use crate::trial::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// Version of the summary's format.
pub const SUMMARY_FORMAT: u32 = 1;

/// The margin of non-inferiority where `settings.margin` gives none.
pub const DEFAULT_MARGIN: f64 = 0.05;

/// The share of failed trials above which a cell is not summarised, where `settings.max_failure_share` gives none.
pub const DEFAULT_MAX_FAILURE_SHARE: f64 = 0.1;

/// What a run found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this format.
    pub format: u32,
    /// The run's id.
    pub run: String,
    /// The task.
    pub task: String,
    /// The split that was scored.
    pub split: Split,
    /// Number of samples that every policy was to answer.
    pub samples: usize,
    /// Whether the LLM is this program's stand-in on the same machine.
    pub llm_is_stand_in: bool,
    /// One entry for each policy, in the order of the run.
    pub policies: Vec<PolicySummary>,
    /// Where the time went, over all scored trials of the run.
    pub components: Vec<ComponentSummary>,
    /// Each model judged by its own first answers, whatever the router made of them; one entry for each memory.
    pub models_alone: Vec<ModelsAlone>,
    /// How the calls of the LLM went on the wire; null in runs that did not record it.
    #[serde(default)]
    pub remote_calls: Option<RemoteCalls>,
    /// Accuracy under a contract beside accuracy without, where the run has both.
    pub contract_effects: Vec<ContractEffect>,
    /// Each policy with a memory beside the same policy without, where both were run.
    pub memory_effects: Vec<MemoryEffect>,
    /// Each memory under each pair of routers, where all four policies were run.
    pub memory_interactions: Vec<MemoryInteraction>,
    /// What a grid says of its axes; null in other runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub axes: Option<AxesSummary>,
    /// The answer to the run's question.
    pub verdict: Verdict,
    /// What the reader of the figures must know.
    pub notes: Vec<String>,
}

impl Summary {
    /// Whether a policy had too many failed trials to be judged.
    pub fn refused(&self) -> bool {
        self.policies.iter().any(|policy| policy.refused)
    }
}

/// The figures of one policy: one cell of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicySummary {
    /// The cell's name.
    pub cell: String,
    /// The strategy.
    pub router: RouterKind,
    /// Its own name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The memory.
    pub memory: MemoryKind,
    /// The contract setting.
    pub contract: ContractMode,
    /// The small model.
    pub slm: String,
    /// The large model.
    pub llm: String,
    /// The cell's seed.
    pub seed: u64,
    /// Trials recorded.
    pub trials: usize,
    /// Trials scored: answered, or ended with a broken contract. The n of every figure that says no other.
    pub n: usize,
    /// Trials that failed for reasons outside the models; never scored.
    pub failures: usize,
    /// Whether so many trials failed that the figures are withheld.
    pub refused: bool,
    /// Share of scored trials with the right label.
    pub accuracy: Figure,
    /// Share of scored trials whose first answer keeps the contract.
    pub schema_valid_first: Option<f64>,
    /// Share of scored trials whose accepted answer keeps the contract.
    pub schema_valid_final: Option<f64>,
    /// Mean share of an answer's claims that the injected passages support.
    pub groundedness: Option<f64>,
    /// Whether answers abstained where there is none to give; null where the task does not say where that is.
    #[serde(default)]
    pub abstention: Option<AbstentionUse>,
    /// Share of scored trials that were escalated: the LLM took over after an SLM's answer or a safety finding.
    pub escalation_rate: Option<f64>,
    /// Share of scored trials in which the LLM was called, for whatever reason.
    pub llm_call_rate: Option<f64>,
    /// Mean share of the required facts that the answer holds.
    pub fact_recall: Option<f64>,
    /// Share of answers that cite gold articles and no others.
    pub citation_accuracy: Option<f64>,
    /// Share of answers that are right about whether a person must act.
    pub needs_human_accuracy: Option<f64>,
    /// Wall time of a trial, scoring excluded.
    pub latency_s: Latency,
    /// Mean cost of a scored trial, times 1,000.
    pub cost_usd_per_1000: CostPer1000,
    /// Energy, where the machine has counters or the user gave its power.
    #[serde(default)]
    pub energy: EnergyUse,
    /// What the machine costs beside the API.
    #[serde(default)]
    pub machine_use: MachineUse,
    /// The same figures with their intervals and n.
    pub intervals: Intervals,
    /// Scored trials that ended with a broken contract.
    pub contract_failures: usize,
    /// Answers that were asked for again because they broke the contract.
    pub repairs: usize,
    /// Tries of the transport beyond the first.
    pub retries: u64,
    /// Calls that failed for reasons outside the models, in trials that got an answer all the same too.
    pub failed_attempts: usize,
    /// Scored trials in which the LLM was called, by the reason of its first call.
    pub llm_causes: BTreeMap<String, usize>,
    /// Failed trials by the kind of their last failure.
    pub failures_by_kind: BTreeMap<String, usize>,
    /// Tokens of all calls, failed trials included.
    pub tokens: TokensByTier,
    /// What left the device.
    #[serde(default)]
    pub left_device: LeftDevice,
    /// Where the time went.
    pub components: Vec<ComponentSummary>,
    /// What became of the contract, and what it cost.
    pub contract_use: ContractUse,
    /// What the memory put beside the queries.
    pub memory_use: MemoryUse,
    /// Why figures are null.
    pub not_available: BTreeMap<String, String>,
}

impl PolicySummary {
    /// The strategy's name: its own, or its kind's.
    #[must_use]
    pub fn router_name(&self) -> &str {
        self.variant.as_deref().unwrap_or(self.router.name())
    }
}

/// Quantiles of the latency, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: Option<f64>,
    /// The 95th percentile.
    pub p95: Option<f64>,
    /// The 99th percentile, from 100 trials up.
    pub p99: Option<f64>,
}

/// Dollars per 1,000 trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct CostPer1000 {
    /// Remote tokens.
    pub api: Option<f64>,
    /// The local machine's time, and its electricity where that is known.
    pub hardware: Option<f64>,
}

/// Figures with their intervals.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// See [`PolicySummary::schema_valid_first`].
    pub schema_valid_first: Figure,
    /// See [`PolicySummary::schema_valid_final`].
    pub schema_valid_final: Figure,
    /// See [`PolicySummary::groundedness`].
    pub groundedness: Figure,
    /// See [`PolicySummary::escalation_rate`].
    pub escalation_rate: Figure,
    /// See [`PolicySummary::llm_call_rate`].
    pub llm_call_rate: Figure,
    /// See [`PolicySummary::fact_recall`].
    pub fact_recall: Figure,
    /// See [`PolicySummary::citation_accuracy`].
    pub citation_accuracy: Figure,
    /// See [`PolicySummary::needs_human_accuracy`].
    pub needs_human_accuracy: Figure,
    /// Median latency.
    pub latency_p50_s: Figure,
    /// 95th percentile of the latency.
    pub latency_p95_s: Figure,
    /// Remote tokens, dollars per 1,000 trials.
    pub api_usd_per_1000: Figure,
    /// The local machine's time, dollars per 1,000 trials.
    pub hardware_usd_per_1000: Figure,
}

/// Tokens of one strength of model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    /// Calls made.
    pub calls: u64,
    /// Tokens of the prompts.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Tokens of the prompts that came from a cache.
    pub cached_tokens: u64,
}

impl TokenCount {
    pub(super) fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
    }
}

/// Tokens by strength of model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensByTier {
    /// The small model's.
    pub slm: TokenCount,
    /// The large model's.
    pub llm: TokenCount,
}

/// The trials of one cell, each sample once.
#[derive(Debug)]
pub(super) struct CellTrials<'a> {
    pub(super) cell: &'a crate::record::Cell,
    pub(super) trials: Vec<&'a Row>,
}

impl<'a> CellTrials<'a> {
    /// The trials that may be scored.
    pub(super) fn scored(&self) -> impl Iterator<Item = &'a Row> {
        self.trials.iter().copied().filter(|row| row.outcome != Outcome::Failed)
    }
}

/// Makes the figures of a run. Failed trials are counted and never scored; a cell with more than
/// `settings.max_failure_share` of them has no figures.
#[must_use]
pub fn summarise(header: &RunHeader, trials: &[TrialRecord]) -> Summary {
    summarise_rows(header, &Rows::of(header, trials))
}

/// The same from rows, which hold only what figures need.
#[must_use]
pub fn summarise_rows(header: &RunHeader, rows: &Rows) -> Summary {
    let mut notes = Vec::new();
    let cells = by_cell(header, rows, &mut notes);
    let max_failure_share = setting(header, "max_failure_share", DEFAULT_MAX_FAILURE_SHARE);
    let mut policies: Vec<_> = cells.iter().map(|cell| policy(header, cell, max_failure_share)).collect();
    let verdict = verdict(header, &cells, &policies, setting(header, "margin", DEFAULT_MARGIN));
    break_even(header, &mut policies, &verdict.reference);
    if header.interrupted {
        notes.push("The run was interrupted: the figures cover the trials that were finished.".into());
    }
    if let Some(why) = &header.aborted {
        notes.push(format!("The run gave up: {why}. The figures cover the trials before that."));
    }
    if header.finished_at.is_none() {
        notes.push("The run did not end in good order: the figures cover the trials that are on disk.".into());
    }
    if !header.llm_adjustments.is_empty() {
        notes.push(format!("Not accepted by the LLM's endpoint: {}.", header.llm_adjustments.join(", ")));
    }
    if header.llm_is_stand_in {
        notes.push(format!(
            "The LLM is a stand-in on this machine ({}): its latency is not that of a remote API, and its price is taken \
             from the price table's row `{}`.",
            header.llm.model,
            header.llm_price.as_ref().map_or("none", |price| &price.name)
        ));
    }
    let scripted: Vec<&str> = [&header.slm, &header.llm]
        .into_iter()
        .chain(&header.models)
        .filter(|model| model.place == SCRIPTED_PLACE)
        .map(|model| model.model.as_str())
        .collect();
    if !scripted.is_empty() {
        let mut names = scripted;
        names.sort_unstable();
        names.dedup();
        notes.push(format!(
            "Scripted, so that the figures say nothing of a model: {}. Their answers come from a file of rules.",
            names.join(", ")
        ));
    }
    match (&header.energy.basis, &header.energy.reason) {
        (None, Some(why)) => notes.push(format!(
            "Energy was not measured: {why}. With --watts it is estimated from the power that you give."
        )),
        (Some(Basis::Measured), Some(why)) => notes.push(format!("Energy: {why}.")),
        _ => {}
    }
    notes.extend(header.steadiness.iter().flat_map(|seen| &seen.notes).map(|note| format!("Timings: {note}.")));
    if let Some(cassette) = header.settings.get("cassette").and_then(serde_json::Value::as_str) {
        notes.push(format!(
            "The LLM's answers and their times are those of the cassette {cassette}: no endpoint was called."
        ));
    }
    Summary {
        format: SUMMARY_FORMAT,
        run: header.id.clone(),
        task: header.task.clone(),
        split: header.split,
        samples: header.samples.len(),
        llm_is_stand_in: header.llm_is_stand_in,
        components: components(cells.iter().flat_map(CellTrials::scored)),
        models_alone: models_alone(header, rows, &cells),
        remote_calls: remote_calls(cells.iter().flat_map(|cell| cell.trials.iter().copied())),
        contract_effects: contract_effects(&cells),
        memory_effects: memory_effects(&cells),
        memory_interactions: memory_interactions(&cells),
        axes: header
            .plan
            .as_ref()
            .is_some_and(|plan| plan.grid)
            .then(|| axes_summary(&cells, &policies, rows.samples.len())),
        policies,
        verdict,
        notes,
    }
}

/// The trials of each cell, those left out that stand there twice: the first that did not fail counts.
pub(super) fn by_cell<'a>(header: &'a RunHeader, rows: &'a Rows, notes: &mut Vec<String>) -> Vec<CellTrials<'a>> {
    let mut cells: Vec<_> = header.cells.iter().map(|cell| CellTrials { cell, trials: Vec::new() }).collect();
    // Where the trial of a cell and sample stands, so that one which failed gives way to a later one that did not.
    let mut seen: HashMap<(u32, u32), u32> = HashMap::with_capacity(rows.trials.len());
    let mut repeated = 0;
    for row in &rows.trials {
        let Some(cell) = cells.get_mut(row.cell as usize) else { continue };
        match seen.entry((row.cell, row.sample)) {
            Entry::Vacant(vacant) => {
                vacant.insert(u32::try_from(cell.trials.len()).unwrap_or(u32::MAX));
                cell.trials.push(row);
            }
            Entry::Occupied(there) => match cell.trials.get_mut(*there.get() as usize) {
                Some(before) if before.outcome == Outcome::Failed => *before = row,
                _ => repeated += 1,
            },
        }
    }
    let strangers = rows.strangers;
    if strangers > 0 {
        notes.push(format!("{strangers} trials are left out: they belong to cells that run.json does not list."));
    }
    if repeated > 0 {
        notes.push(format!("{repeated} trials are left out: their cell had already recorded the same sample."));
    }
    cells
}

fn setting(header: &RunHeader, key: &str, default: f64) -> f64 {
    header.settings.get(key).and_then(serde_json::Value::as_f64).unwrap_or(default)
}

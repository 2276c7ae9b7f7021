//! What a run leaves on disk: `run.json`, the header, and `trials.jsonl`, one line for each finished trial.
//!
//! Writer rules: a lock says who writes; the header is written before the first trial, and rewritten whole where models are
//! loaded, the run is continued, or it ends; trials are appended one by one, each with one write, so that a killed program loses
//! none, and are on the disk itself a second later at most. Reader rules: a file of a newer `format` is refused; a torn last line
//! is reported and left out; of several trials of one cell and sample, the first that did not fail counts; unknown keys are
//! ignored. Every table is made from these two files alone.

mod lock;
mod provenance;
mod read;
mod write;

pub use lock::{RunLock, is_locked};
pub use provenance::{Machine, machine};
pub use read::{Place, Run, each_trial, read, read_at, read_header};
pub use write::{RunWriter, write_json, write_whole, write_whole_with};

use crate::contract::ContractMode;
use crate::device::{EnergySource, Steadiness};
use crate::engine::EngineInfo;
use crate::memory::MemoryKind;
use crate::router::RouterKind;
use crate::task::Split;
use crate::trial::Trial;
use crate::units::{Joules, Seconds, Usd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the record format that this program writes.
pub const FORMAT: u32 = 1;

/// One combination of router, memory, contract and models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Short name, unique in the run: `slm-dominant/salience/validate`.
    pub name: String,
    /// The strategy.
    pub router: RouterKind,
    /// The strategy's own name, where it has one: several of a kind may differ in what is set for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The memory.
    pub memory: MemoryKind,
    /// The contract setting.
    pub contract: ContractMode,
    /// The small model's name.
    pub slm: String,
    /// The large model's name.
    pub llm: String,
    /// Seed of this cell.
    pub seed: u64,
    /// Which repeat of the same measurement, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub repeat: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_first(repeat: &u32) -> bool {
    *repeat == 0
}

impl Cell {
    /// The strategy's name: its own, or its kind's.
    #[must_use]
    pub fn router_name(&self) -> &str {
        self.variant.as_deref().unwrap_or(self.router.name())
    }
}

/// What a token costs. `None` means "not priced", which is never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Name of the row in the price table.
    pub name: String,
    /// Date on which the row was true.
    pub as_of: String,
    /// Dollars per million input tokens.
    pub input_usd_per_million: f64,
    /// Dollars per million output tokens.
    pub output_usd_per_million: f64,
    /// Dollars per million input tokens read from the provider's cache; `None` bills them as input.
    pub cached_input_usd_per_million: Option<f64>,
    /// Dollars per million input tokens written to the provider's cache; `None` bills them as input.
    #[serde(default)]
    pub cache_write_usd_per_million: Option<f64>,
    /// Dollars per million tokens of reasoning; `None` bills them as output.
    #[serde(default)]
    pub reasoning_usd_per_million: Option<f64>,
    /// Where the prices stand.
    #[serde(default)]
    pub source: String,
}

/// What an hour of the local machine costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HardwarePrice {
    /// Name of the row in the price table, or `user`.
    pub name: String,
    /// Dollars per hour of use: price or hire, without electricity where that is counted beside it.
    pub usd_per_hour: f64,
    /// Dollars that it costs a day, used or not; `None` is 24 times the hourly rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<f64>,
    /// What it draws at work, for where nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watts: Option<f64>,
    /// What its electricity costs, in dollars for a kilowatt-hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_kwh: Option<f64>,
    /// How the figures come about.
    pub basis: String,
}

impl HardwarePrice {
    /// A machine of which nothing is known but its hourly rate.
    #[must_use]
    pub fn hourly(name: &str, usd_per_hour: f64, basis: &str) -> Self {
        Self {
            name: name.to_owned(),
            usd_per_hour,
            usd_per_day: None,
            watts: None,
            usd_per_kwh: None,
            basis: basis.to_owned(),
        }
    }

    /// Dollars that it costs a day, used or not.
    #[must_use]
    pub fn per_day(&self) -> f64 {
        self.usd_per_day.unwrap_or(24.0 * self.usd_per_hour)
    }

    /// The electricity of some work: of what it took where that is known, else of the machine's power over the seconds that it
    /// worked. `None` where either the tariff or the energy is not known.
    #[must_use]
    pub fn energy_usd(&self, energy: Option<Joules>, busy_s: f64) -> Option<Usd> {
        /// Joules of a kilowatt-hour.
        const KWH: f64 = 3.6e6;
        let joules = energy.map(|energy| energy.0).or(self.watts.map(|watts| watts * busy_s))?;
        Some(Usd(joules / KWH * self.usd_per_kwh?))
    }
}

/// The memory of a run's process, and what its models' headers said of it. A stand-in is another process and not in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// `--memory-limit`: checked before loading and shared out, not enforced by the system.
    pub limit_bytes: Option<u64>,
    /// Predicted for the program with its models, before any token.
    pub predicted_bytes: u64,
    /// The most that was held until everything was loaded; `None` where the system does not tell.
    pub loaded_rss_bytes: Option<u64>,
    /// The most that was held until the end.
    pub peak_rss_bytes: Option<u64>,
    /// The local models.
    pub models: Vec<ModelMemory>,
}

/// The memory of a local model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelMemory {
    /// Its name.
    pub model: String,
    /// Its packed weights.
    pub weight_bytes: u64,
    /// Keys and values of a position.
    pub kv_bytes_per_token: u64,
    /// Tokens of context that a limit left it; `None` is its own.
    pub context: Option<usize>,
}

/// The header of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    /// Version of the record format.
    pub format: u32,
    /// Name of the run's folder.
    pub id: String,
    /// Version of this program.
    pub version: String,
    /// The command line; addresses without credentials and query.
    pub command: Vec<String>,
    /// Start, UTC.
    pub started_at: String,
    /// End, UTC; `None` while running, and for ever where the program was killed.
    pub finished_at: Option<String>,
    /// Whether the user cut the run short.
    pub interrupted: bool,
    /// Why the run gave up, where it did.
    #[serde(default)]
    pub aborted: Option<String>,
    /// What of the requests to the LLM was left out or changed because the endpoint did not accept it.
    #[serde(default)]
    pub llm_adjustments: Vec<String>,
    /// The task's name.
    pub task: String,
    /// Hash over the task's files.
    pub task_sha256: String,
    /// The split that was scored.
    pub split: Split,
    /// The ids of the samples, in order.
    pub samples: Vec<String>,
    /// Number of labels, for the level of chance; 0 where the task has none.
    pub labels: usize,
    /// The cells, in the order of work.
    pub cells: Vec<Cell>,
    /// The small model.
    pub slm: EngineInfo,
    /// The large model.
    pub llm: EngineInfo,
    /// Whether the LLM is this program's own stand-in on the same machine.
    pub llm_is_stand_in: bool,
    /// What the LLM's tokens cost; `None` is "not priced".
    pub llm_price: Option<Price>,
    /// What the machine costs; `None` is "not priced".
    pub hardware_price: Option<HardwarePrice>,
    /// The memory that the run took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryUse>,
    /// What disturbed its timings; `None` while it runs, and in runs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steadiness: Option<Steadiness>,
    /// What the run's energy was counted with.
    #[serde(default)]
    pub energy: EnergySource,
    /// The machine.
    pub machine: Machine,
    /// The seed of the run.
    pub seed: u64,
    /// What the run was asked to do, so that it can be continued; absent in runs of before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Every model of the cells, where they differ in their models; `slm` and `llm` are then those of the first cell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<EngineInfo>,
    /// When the run was continued, UTC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed_at: Vec<String>,
    /// Every other setting that bears on the outputs, resolved.
    pub settings: serde_json::Value,
}

/// What a run was asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Whether it is a grid, whose figures are read along its axes.
    pub grid: bool,
    /// What bears on the outputs, by name: a run is continued, and shards are put together, where all of it is the same.
    pub configuration: BTreeMap<String, serde_json::Value>,
    /// Which part of the samples this run is; absent where it is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// A part of a run's samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which part, from 1.
    pub index: usize,
    /// Of how many.
    pub of: usize,
    /// The ids of the samples of all parts, in order.
    pub samples: Vec<String>,
}

/// What an answer was worth. `None` is "not applicable": the task has no such gold, or the answer no such part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Whether the label is right.
    pub label_correct: Option<bool>,
    /// Share of the required facts that the answer holds.
    pub fact_recall: Option<f64>,
    /// Share of the answer's claims that the injected passages support.
    pub groundedness: Option<f64>,
    /// Those claims, each with the passage that supports it best.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Whether every cited article exists among the gold articles, and at least one is cited.
    pub citations_correct: Option<bool>,
    /// Whether `needs_human` is right.
    pub needs_human_correct: Option<bool>,
    /// Whether the answer abstained; only where there is an answer in words and the task says whether it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abstention: Option<Abstention>,
}

/// Whether an answer says that the answer is not known, and whether that is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abstention {
    /// Whether the task's knowledge holds an answer.
    pub answerable: bool,
    /// Whether the answer says that it is not known, and claims nothing.
    pub abstained: bool,
}

/// The judgement of one claim of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The sentence.
    pub text: String,
    /// Whether the passages support it.
    pub supported: bool,
    /// The id of the passage that supports it best, supported or not; `None` where none scores above zero.
    pub passage: Option<String>,
    /// How far the passages support it, 0..1.
    pub score: f64,
}

/// What a trial cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Remote tokens times their price, every attempt counted; `None` is "not priced".
    pub api_usd: Option<Usd>,
    /// Local compute time times the machine's price, and the electricity where that is known; `None` is "not priced".
    pub hardware_usd: Option<Usd>,
}

/// One line of `trials.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The cell's name.
    pub cell: String,
    /// The sample's id.
    pub sample: String,
    /// The strategy.
    pub router: RouterKind,
    /// The memory.
    pub memory: MemoryKind,
    /// The contract setting.
    pub contract: ContractMode,
    /// The sample's gold label, copied here after scoring so that tables can be sliced without the task.
    pub gold_label: Option<String>,
    /// The sample's difficulty, where the task has one.
    pub difficulty: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub trial: Trial,
    /// What the answer was worth; `None` exactly when the outcome is `failed`.
    pub scores: Option<Scores>,
    /// For each attempt, whether its own label is right, so that each model can be judged alone.
    pub attempts_correct: Vec<Option<bool>>,
    /// What it cost.
    pub cost: Cost,
    /// Energy that the machine took while the trial ran, scoring and a stand-in's work excluded; `None` is "not measured".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_j: Option<Joules>,
    /// Wall time that no span accounts for.
    pub unaccounted_s: Seconds,
}

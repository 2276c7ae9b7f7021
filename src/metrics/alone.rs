//! Each model alone: what its own first answers were worth, whatever a router made of them.

use super::figure::Figure;
use super::row::Rows;
use super::statistics::{PairedDifference, paired_difference};
use super::summary::CellTrials;
use crate::memory::MemoryKind;
use crate::record::{Cell, RunHeader};
use crate::router::Tier;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The models' own first answers under one memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelsAlone {
    /// The memory that gave the context.
    pub memory: MemoryKind,
    /// Accuracy of guessing among the labels; null where the task has none.
    pub chance: Option<f64>,
    /// The small model.
    pub slm: ModelAlone,
    /// The large model.
    pub llm: ModelAlone,
    /// LLM minus SLM over the samples that both answered; null where there are none.
    pub difference: Option<PairedDifference>,
    /// What this shows, in one sentence.
    pub text: String,
}

/// One model's own first answers to the task's plain prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelAlone {
    /// The model.
    pub model: String,
    /// Share of right labels.
    pub accuracy: Figure,
    /// Samples that the model was never asked plainly. Where a router kept them from it, the rest is a selection.
    pub not_asked: usize,
}

/// Judges both models under each memory of the run, and each pair of models, from the first cell that asked them about a sample.
pub(super) fn models_alone(header: &RunHeader, rows: &Rows, cells: &[CellTrials<'_>]) -> Vec<ModelsAlone> {
    let mut kinds: Vec<&Cell> = Vec::new();
    for cell in cells {
        if !kinds.iter().any(|kind| alike(header, kind, cell.cell)) {
            kinds.push(cell.cell);
        }
    }
    let samples: Vec<u32> = header.samples.iter().filter_map(|sample| rows.samples.find(sample)).collect();
    kinds.into_iter().map(|kind| under(kind, header, &samples, cells)).collect()
}

/// Whether two cells ask the same models with the same memory.
fn alike(header: &RunHeader, one: &Cell, two: &Cell) -> bool {
    one.memory == two.memory && (header.models.is_empty() || (&one.slm, &one.llm) == (&two.slm, &two.llm))
}

fn under(kind: &Cell, header: &RunHeader, samples: &[u32], cells: &[CellTrials<'_>]) -> ModelsAlone {
    let answers = |tier| first_answers(tier, cells.iter().filter(|cell| alike(header, kind, cell.cell)));
    let (slm, llm) = (answers(Tier::Slm), answers(Tier::Llm));
    let right_of = |answers: &HashMap<u32, bool>| -> Vec<bool> {
        samples.iter().filter_map(|sample| answers.get(sample).copied()).collect()
    };
    let alone = |model: &str, answers: &HashMap<u32, bool>| {
        let right = right_of(answers);
        ModelAlone {
            model: model.into(),
            accuracy: Figure::share(&right, "the model gave no plain first answer that could be judged"),
            not_asked: samples.len().saturating_sub(right.len()),
        }
    };
    let both: (Vec<bool>, Vec<bool>) =
        samples.iter().filter_map(|sample| Some((*llm.get(sample)?, *slm.get(sample)?))).unzip();
    let difference = paired_difference(&both.0, &both.1).ok();
    let names = if header.models.is_empty() { [&header.slm.model, &header.llm.model] } else { [&kind.slm, &kind.llm] };
    let (slm, llm) = (alone(names[0], &slm), alone(names[1], &llm));
    let chance = (header.labels > 0).then(|| 1.0 / header.labels as f64);
    let text = sentence(chance, &slm, &llm, difference.as_ref());
    ModelsAlone { memory: kind.memory, chance, slm, llm, difference, text }
}

/// By sample, whether a model's own first answer is right, from the first of these cells that asked it plainly.
pub(super) fn first_answers<'a>(tier: Tier, cells: impl Iterator<Item = &'a CellTrials<'a>>) -> HashMap<u32, bool> {
    let mut answers = HashMap::new();
    for row in cells.flat_map(CellTrials::scored) {
        if let Some(right) = row.first(tier).and_then(|first| first.right) {
            answers.entry(row.sample).or_insert(right);
        }
    }
    answers
}

fn sentence(chance: Option<f64>, slm: &ModelAlone, llm: &ModelAlone, difference: Option<&PairedDifference>) -> String {
    let (Some(small), Some(small_low)) = (slm.accuracy.value, slm.accuracy.low) else {
        return format!("{} gave no plain first answer that could be judged.", slm.model);
    };
    let against_chance = chance.map_or_else(String::new, |chance| {
        let relation = if small_low > chance { "above" } else { "not shown to be above" };
        format!(", {relation} the {chance:.3} of chance")
    });
    let start = format!("Alone, {} is right on {small:.2} of {}{against_chance}", slm.model, slm.accuracy.n);
    let Some(difference) = difference else {
        return format!("{start}; {} answered none of the same samples.", llm.model);
    };
    let trade_off = if difference.low > 0.0 {
        "is better: there is a trade-off to be made"
    } else if difference.high < 0.0 {
        "is worse: there is nothing to escalate to"
    } else {
        "cannot be told apart from it: no trade-off is shown"
    };
    let interval = super::verdict::signed_interval(difference.value, difference.low, difference.high);
    format!("{start}; {} {trade_off} (difference {interval}, n = {}).", llm.model, difference.n)
}

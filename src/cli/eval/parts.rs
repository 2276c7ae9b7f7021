//! What the judgements of components on a task share.

use crate::error::{Result, usage};
use crate::task::{self, Sample, Split, Task};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};

/// The sentence encoder.
pub(super) const ENCODER: &str = "all-minilm-l6-v2";

/// Which samples of which task.
#[derive(Debug, Clone, Args)]
pub(super) struct TaskArgs {
    /// The task: a bundled one by name, or a folder with a task.toml
    #[arg(long, default_value = "helpdesk", env = "ROUTERGYM_TASK")]
    pub(super) task: String,
    /// The split that is scored: test or dev
    #[arg(long, value_enum, default_value = "test", env = "ROUTERGYM_SPLIT")]
    pub(super) split: Split,
    /// How many samples are scored at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_LIMIT")]
    pub(super) limit: usize,
    /// Seed of every choice by chance
    #[arg(long, default_value_t = 0, env = "ROUTERGYM_SEED")]
    pub(super) seed: u64,
}

impl TaskArgs {
    /// The task, loaded and checked.
    pub(super) fn load(&self) -> Result<Task> {
        if self.split == Split::Train {
            return Err(usage("--split train would score samples that were learnt from; use dev or test"));
        }
        task::load(&task::find(&self.task)?)
    }

    /// The samples to be scored: those with a gold label.
    pub(super) fn scored<'a>(&self, task: &'a Task) -> Result<Vec<&'a Sample>> {
        let scored = labelled_of(task, self.split, self.limit, self.seed);
        if scored.is_empty() {
            return Err(usage(format!("task {} has no labelled sample in its {} split", task.name, self.split.name())));
        }
        Ok(scored)
    }
}

/// Samples of a split with a gold label; of all of them `limit`, labels in turn, where it is not 0.
pub(super) fn labelled_of(task: &Task, split: Split, limit: usize, seed: u64) -> Vec<&Sample> {
    let samples = task.choose(split, (limit > 0).then_some(limit), seed);
    samples.into_iter().filter(|sample| sample.target.label.is_some()).collect()
}

/// The labelled texts of the train split, `most` of each label where it is not 0.
pub(super) fn labelled(task: &Task, most: usize) -> Vec<(String, String)> {
    let mut of_label: BTreeMap<&str, usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    for sample in task.split(Split::Train) {
        let Some(label) = &sample.target.label else { continue };
        let count = of_label.entry(label).or_default();
        *count += 1;
        if most == 0 || *count <= most {
            pairs.push((sample.query.input.clone(), label.clone()));
        }
    }
    pairs
}

/// Mean over the labels that were given or should have been of the harmonic mean of precision and recall; `pairs` are
/// (given, gold).
pub(super) fn macro_f1(pairs: &[(&str, &str)]) -> f64 {
    let labels: BTreeSet<&str> = pairs.iter().flat_map(|&(given, gold)| [given, gold]).collect();
    let f1 = |label: &&str| {
        let count = |of: &dyn Fn(&(&str, &str)) -> bool| pairs.iter().filter(|pair| of(pair)).count() as f64;
        let both = count(&|(given, gold)| given == label && gold == label);
        2.0 * both / (count(&|(given, _)| given == label) + count(&|(_, gold)| gold == label))
    };
    labels.iter().map(f1).sum::<f64>() / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macro_f1_weighs_labels_alike() {
        // Precision and recall of a: 2/3 and 1; of b: 1 and 1/2.
        let pairs = [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b")];
        assert!((macro_f1(&pairs) - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
    }
}

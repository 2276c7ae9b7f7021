//! What a memory put beside queries, what that brought and cost, and whether it depends on the routing.

use super::row::Row;
use super::statistics::{PairedDifference, mean, mean_difference_interval, paired_difference};
use super::summary::CellTrials;
use crate::clock::Component;
use crate::contract::ContractMode;
use crate::memory::MemoryKind;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What finding passages consists of.
const RECALL: [Component; 4] = [Component::Embed, Component::Search, Component::Gate, Component::Assemble];

/// What the memory of one policy put beside its queries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Mean number of passages beside a query; null without scored trials, and for memories that search for none.
    pub passages: Option<f64>,
    /// Mean number of solved samples beside a query; null but for the episodic memory.
    #[serde(default)]
    pub examples: Option<f64>,
    /// Mean tokens that the memory adds to the prompt, by the small model's own tokenizer.
    pub passage_tokens: Option<f64>,
    /// Scored trials whose query got neither passage nor solved sample; null for memories that search for none.
    pub without_passage: Option<usize>,
    /// What finding them took, mean milliseconds for each query.
    pub recall_ms: Option<f64>,
}

/// A difference of means over the same samples, with its 95 % interval (bootstrap).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanDifference {
    /// Mean of the first minus mean of the second.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Samples.
    pub n: usize,
}

/// A policy with a memory beside the same policy without, over the samples that both answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryEffect {
    /// The policy's cell.
    pub cell: String,
    /// The cell without a memory.
    pub without: String,
    /// Accuracy with minus accuracy without.
    pub accuracy: Option<PairedDifference>,
    /// Tokens of all prompts of a trial, with minus without: what the memory adds to the bill.
    pub input_tokens: Option<MeanDifference>,
    /// Wall time of a trial in seconds, with minus without.
    pub latency_s: Option<MeanDifference>,
}

/// Whether a memory helps one router more than another: the gain in accuracy under the first minus the gain under the
/// second, over the samples that all four policies answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryInteraction {
    /// The memory, beside none.
    pub memory: MemoryKind,
    /// The setting of the contract in all four.
    pub contract: ContractMode,
    /// The two routers.
    pub routers: [String; 2],
    /// Gain under the first minus gain under the second.
    pub difference: MeanDifference,
}

impl MemoryInteraction {
    /// Whether the interval leaves zero out.
    #[must_use]
    pub fn is_shown(&self) -> bool {
        self.difference.low > 0.0 || self.difference.high < 0.0
    }
}

/// What the memory put beside the queries of scored trials.
pub(super) fn memory_use(scored: &[&Row]) -> MemoryUse {
    let average = |of: &dyn Fn(&Row) -> f64| mean(&scored.iter().map(|row| of(row)).collect::<Vec<_>>()).ok();
    let of_kinds = |kinds: &[MemoryKind]| scored.first().is_some_and(|row| kinds.contains(&row.memory));
    let (articles, samples) =
        (of_kinds(&[MemoryKind::Dynamic, MemoryKind::Salience]), of_kinds(&[MemoryKind::Episodic]));
    let empty = scored.iter().filter(|row| row.passages == 0 && row.examples == 0).count();
    MemoryUse {
        passages: average(&|row| row.passages as f64).filter(|_| articles),
        examples: average(&|row| row.examples as f64).filter(|_| samples),
        passage_tokens: average(&|row| row.memory_tokens as f64),
        without_passage: (articles || samples).then_some(empty),
        recall_ms: average(&|row| RECALL.map(|part| row.span(part)).iter().sum::<f64>() * 1e3),
    }
}

/// Each policy with a memory beside the same policy without.
pub(super) fn memory_effects(cells: &[CellTrials<'_>]) -> Vec<MemoryEffect> {
    with_and_without(cells)
        .map(|(with, without)| {
            let (right, right_without) =
                pairs(with, without, |row| row.label_correct).into_iter().unzip::<_, _, Vec<_>, Vec<_>>();
            MemoryEffect {
                cell: with.cell.name.clone(),
                without: without.cell.name.clone(),
                accuracy: paired_difference(&right, &right_without).ok(),
                input_tokens: difference(pairs(with, without, |row| Some(input_tokens(row)))),
                latency_s: difference(pairs(with, without, |row| Some(row.latency_s()))),
            }
        })
        .collect()
}

/// Each memory under each pair of routers.
pub(super) fn memory_interactions(cells: &[CellTrials<'_>]) -> Vec<MemoryInteraction> {
    let gains: Vec<_> = with_and_without(cells).map(|(with, without)| (with, gains(with, without))).collect();
    let rest = |cell: &CellTrials<'_>| {
        let cell = cell.cell;
        (cell.contract, cell.slm.clone(), cell.llm.clone(), cell.seed, cell.repeat)
    };
    let mut found = Vec::new();
    for (i, (first, first_gains)) in gains.iter().enumerate() {
        for (second, second_gains) in &gains[i + 1..] {
            let same = (first.cell.memory, rest(first)) == (second.cell.memory, rest(second));
            if !same || first.cell.router_name() == second.cell.router_name() {
                continue;
            }
            let others: HashMap<u32, f64> = second_gains.iter().copied().collect();
            let both = first_gains.iter().filter_map(|(sample, gain)| Some((*gain, *others.get(sample)?))).collect();
            if let Some(difference) = difference(both) {
                let (memory, contract) = (first.cell.memory, first.cell.contract);
                let routers = [first, second].map(|one| one.cell.router_name().to_owned());
                found.push(MemoryInteraction { memory, contract, routers, difference });
            }
        }
    }
    found
}

/// The cells with a memory, each with the one that differs from it in having none.
fn with_and_without<'c, 'r>(
    cells: &'c [CellTrials<'r>],
) -> impl Iterator<Item = (&'c CellTrials<'r>, &'c CellTrials<'r>)> {
    let rest = |cell: &CellTrials<'_>| {
        let cell = cell.cell;
        (cell.router_name().to_owned(), cell.contract, cell.slm.clone(), cell.llm.clone(), cell.seed, cell.repeat)
    };
    let without = |cell: &CellTrials<'_>| cell.cell.memory == MemoryKind::None;
    cells
        .iter()
        .filter(move |cell| !without(cell))
        .filter_map(move |cell| Some((cell, cells.iter().find(|other| without(other) && rest(cell) == rest(other))?)))
}

/// What a function says of both trials of a sample, where it says something of both, in the order of the first cell.
pub(super) fn pairs<T>(first: &CellTrials<'_>, second: &CellTrials<'_>, of: impl Fn(&Row) -> Option<T>) -> Vec<(T, T)> {
    let mut others: HashMap<u32, &Row> = second.scored().map(|row| (row.sample, row)).collect();
    first.scored().filter_map(|row| Some((of(row)?, others.remove(&row.sample).and_then(&of)?))).collect()
}

/// By sample, what the memory changed: 1 where only the first cell is right, -1 where only the second is.
fn gains(with: &CellTrials<'_>, without: &CellTrials<'_>) -> Vec<(u32, f64)> {
    let others: HashMap<u32, bool> = without.scored().filter_map(|r| Some((r.sample, r.label_correct?))).collect();
    let number = |right: bool| f64::from(u8::from(right));
    with.scored().filter_map(|r| Some((r.sample, number(r.label_correct?) - number(*others.get(&r.sample)?)))).collect()
}

fn input_tokens(row: &Row) -> f64 {
    row.tokens.slm.input_tokens.saturating_add(row.tokens.llm.input_tokens) as f64
}

pub(super) fn difference(pairs: Vec<(f64, f64)>) -> Option<MeanDifference> {
    let (first, second): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    let (interval, _) = mean_difference_interval(&first, &second).ok()?;
    Some(MeanDifference { value: interval.value, low: interval.low, high: interval.high, n: interval.n })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Example, Retrieval};
    use crate::metrics::{example, summarise};
    use crate::record::{RunHeader, TrialRecord};
    use crate::router::RouterKind;

    /// The example run twice: as it is, and with no memory, where the SLM-dominant router is wrong throughout.
    fn twice() -> (RunHeader, Vec<TrialRecord>) {
        let (mut header, trials) = example::run();
        let mut all = trials.clone();
        for cell in header.cells.clone() {
            let mut bare = cell.clone();
            (bare.name, bare.memory) = (format!("{}-bare", cell.name), MemoryKind::None);
            for record in trials.iter().filter(|record| record.cell == cell.name) {
                let mut record = TrialRecord { cell: bare.name.clone(), memory: MemoryKind::None, ..record.clone() };
                for attempt in &mut record.trial.attempts {
                    attempt.usage.input_tokens -= 100;
                }
                if cell.router == RouterKind::SlmDominant
                    && let Some(scores) = &mut record.scores
                {
                    scores.label_correct = Some(false);
                }
                all.push(record);
            }
            header.cells.push(bare);
        }
        (header, all)
    }

    #[test]
    fn a_memory_is_set_beside_the_same_policy_without() {
        let (header, trials) = twice();
        let effects = summarise(&header, &trials).memory_effects;
        assert_eq!(effects.len(), 3);
        for effect in &effects {
            let added = effect.input_tokens.expect("tokens");
            assert!(added.value >= 100.0 && added.low >= 100.0 && added.n >= 5, "{effect:?}");
            let accuracy = effect.accuracy.expect("accuracy");
            let gained = effect.cell.starts_with("slm-dominant");
            assert_eq!(accuracy.value > 0.0, gained, "{effect:?}");
            assert_eq!(effect.latency_s.expect("latency").value, 0.0);
        }
    }

    #[test]
    fn an_interaction_is_the_difference_of_gains_over_the_same_samples() {
        let (header, trials) = twice();
        let found = summarise(&header, &trials).memory_interactions;
        assert_eq!(found.len(), 3);
        for one in &found {
            let involved = one.routers.iter().position(|router| router == RouterKind::SlmDominant.name());
            let expected = match involved {
                Some(0) => 1.0,
                Some(_) => -1.0,
                None => 0.0,
            };
            assert_eq!(one.difference.value.signum() * f64::from(u8::from(one.difference.value != 0.0)), expected);
            assert_eq!(one.is_shown(), involved.is_some(), "{one:?}");
        }
    }

    #[test]
    fn solved_samples_are_counted_as_found_and_a_memory_that_searches_for_nothing_has_no_counts() {
        let used = |memory: MemoryKind, samples: usize| {
            let (mut header, mut trials) = example::run();
            let sample = Example { id: "t".into(), input: "i".into(), answer: "a".into() };
            header.cells.iter_mut().for_each(|cell| cell.memory = memory);
            for record in &mut trials {
                record.memory = memory;
                record.trial.retrieval = Retrieval { examples: vec![sample.clone(); samples], ..Retrieval::default() };
            }
            let used = summarise(&header, &trials).policies[0].memory_use.clone();
            (used.passages, used.examples, used.without_passage)
        };
        assert_eq!(used(MemoryKind::Episodic, 2), (None, Some(2.0), Some(0)));
        let (_, none, empty) = used(MemoryKind::Episodic, 0);
        assert!(none == Some(0.0) && empty > Some(0));
        assert_eq!(used(MemoryKind::Dynamic, 0), (Some(0.0), None, empty));
        for memory in [MemoryKind::None, MemoryKind::Static] {
            assert_eq!(used(memory, 0), (None, None, None));
        }
    }

    #[test]
    fn a_run_without_the_pairs_has_no_effects() {
        let (header, trials) = example::run();
        let summary = summarise(&header, &trials);
        assert!(summary.memory_effects.is_empty() && summary.memory_interactions.is_empty());
    }
}

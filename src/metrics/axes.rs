//! What a grid says of its axes: how much each value matters whatever the others are, whether routers and memories depend on one
//! another, how sure the order of policies is, how far seeds matter, and what was computed for it.
//!
//! The unit is the sample. For every sample, accuracies are averaged over those combinations of the other axes that have every
//! value compared, so that no value gains from standing beside easier company; intervals come from resampling the samples.

use super::details::{Ranks, SeedStability, rank_policies, seed_stability};
use super::memory::{MeanDifference, difference};
use super::row::Row;
use super::statistics::{holm, mean};
use super::summary::{CellTrials, PolicySummary};
use crate::record::Cell;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};
use std::collections::BTreeMap;

/// What a grid says of its axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AxesSummary {
    /// The axes that have several values.
    pub axes: Vec<AxisEffects>,
    /// Whether routers and memories depend on one another; empty where one of the two axes has a single value.
    pub interactions: Vec<Interaction>,
    /// Which rank each policy may have; its entries are those of `policies`.
    pub ranks: Ranks,
    /// Policies under several seeds.
    pub seeds: Vec<SeedStability>,
    /// What was computed, and what of it was shared.
    pub work: WorkDone,
}

/// One axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AxisEffects {
    /// `router`, `memory`, `contract`, `slm`, `llm` or `seed`.
    pub axis: String,
    /// Its values.
    pub values: Vec<ValueEffect>,
    /// Every two of them.
    pub pairs: Vec<ValuePair>,
    /// Combinations of the other axes that have every value.
    pub complete: usize,
    /// Combinations that lack one, and count for pairs alone.
    pub incomplete: usize,
}

/// One value of an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValueEffect {
    /// The value.
    pub value: String,
    /// Mean accuracy; null where no combination has every value.
    pub accuracy: Option<f64>,
    /// The same less the mean over all values: the main effect.
    pub effect: Option<MeanDifference>,
    /// Mean latency of a trial in seconds.
    pub latency_s: Option<f64>,
}

/// Two values of an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValuePair {
    /// The first.
    pub first: String,
    /// The second.
    pub second: String,
    /// Accuracy of the first less that of the second.
    pub difference: MeanDifference,
    /// Two-sided p-value of Student's t over the samples.
    pub p_value: f64,
    /// The same by Holm, over all pairs of all axes.
    pub p_adjusted: f64,
}

/// A router with a memory: what they add to each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// The router.
    pub router: String,
    /// The memory.
    pub memory: String,
    /// Accuracy together less what the two main effects add up to; zero where they do not depend on one another.
    pub effect: MeanDifference,
}

/// What was computed for the figures.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkDone {
    /// Attempts in all trials.
    pub attempts: u64,
    /// Those of them that came from another trial.
    pub shared: u64,
    /// Tokens that the attempts of all trials generated.
    pub output_tokens: u64,
    /// Those of them that were computed.
    pub output_tokens_computed: u64,
    /// What all trials cost as policies: each pays for its own attempts; null where they are not priced.
    pub policy_usd: Option<f64>,
    /// What was spent: a shared attempt once.
    pub spent_usd: Option<f64>,
}

/// What a cell has on an axis.
type Value = fn(&Cell) -> String;

/// The axes, and the value of a cell on each.
const AXES: [(&str, Value); 6] = [
    ("router", |cell| cell.router_name().to_owned()),
    ("memory", |cell| cell.memory.name().to_owned()),
    ("contract", |cell| cell.contract.name().to_owned()),
    ("slm", |cell| cell.slm.clone()),
    ("llm", |cell| cell.llm.clone()),
    ("seed", |cell| cell.seed.to_string()),
];

/// What a function says of the rows of a cell, by the number of the sample.
type Column = Vec<Option<f64>>;

/// What the axes of a grid say. `policies` are those of `cells`.
pub(super) fn axes_summary(cells: &[CellTrials<'_>], policies: &[PolicySummary], samples: usize) -> AxesSummary {
    let usable = |cell: usize| policies.get(cell).is_some_and(|policy| !policy.refused);
    let column = |of: &dyn Fn(&Row) -> Option<f64>| -> Vec<Column> {
        let fill = |(number, cell): (usize, &CellTrials<'_>)| {
            let mut column = vec![None; samples];
            for row in cell.scored().filter(|_| usable(number)) {
                if let Some(place) = column.get_mut(row.sample as usize) {
                    *place = of(row);
                }
            }
            column
        };
        cells.iter().enumerate().map(fill).collect()
    };
    let right = column(&|row| row.label_correct.map(|right| f64::from(u8::from(right))));
    let latency = column(&|row| Some(row.latency_s()));
    let cells_of: Vec<&Cell> = cells.iter().map(|cell| cell.cell).collect();
    let mut axes: Vec<AxisEffects> =
        AXES.iter().filter_map(|(name, value)| axis(name, *value, &cells_of, &right, &latency)).collect();
    adjust(&mut axes);
    AxesSummary {
        interactions: interactions(&cells_of, &right),
        axes,
        ranks: rank_policies(cells, policies),
        seeds: seed_stability(cells),
        work: work(cells),
    }
}

/// The combinations of the other axes, each with the number of its cell for every value.
fn blocks(
    cells: &[&Cell],
    values: &[String],
    value: impl Fn(&Cell) -> String,
    named: impl Fn(&str) -> bool,
) -> Vec<Vec<Option<usize>>> {
    let mut found: BTreeMap<Vec<String>, Vec<Option<usize>>> = BTreeMap::new();
    for (number, cell) in cells.iter().enumerate() {
        let mut rest: Vec<String> = AXES.iter().filter(|(name, _)| !named(name)).map(|(_, of)| of(cell)).collect();
        rest.push(cell.repeat.to_string());
        let block = found.entry(rest).or_insert_with(|| vec![None; values.len()]);
        if let Some(at) = values.iter().position(|known| *known == value(cell)) {
            block[at] = Some(number);
        }
    }
    found.into_values().collect()
}

/// For each of these places in the blocks, its mean by sample over the blocks that have them all; samples that no block has are
/// left out. All lists have one length.
fn means(blocks: &[Vec<Option<usize>>], places: &[usize], columns: &[Column]) -> Vec<Vec<f64>> {
    let samples = columns.first().map_or(0, Vec::len);
    let mut found = vec![Vec::new(); places.len()];
    for sample in 0..samples {
        let (mut sums, mut count) = (vec![0.0; places.len()], 0_usize);
        for block in blocks {
            let of = |place: &usize| columns.get(block.get(*place).copied()??)?.get(sample).copied()?;
            if let Some(all) = places.iter().map(of).collect::<Option<Vec<f64>>>() {
                sums.iter_mut().zip(all).for_each(|(sum, value)| *sum += value);
                count += 1;
            }
        }
        if count > 0 {
            found.iter_mut().zip(sums).for_each(|(list, sum)| list.push(sum / count as f64));
        }
    }
    found
}

fn axis(
    name: &str,
    value: fn(&Cell) -> String,
    cells: &[&Cell],
    right: &[Column],
    latency: &[Column],
) -> Option<AxisEffects> {
    let mut values: Vec<String> = Vec::new();
    for cell in cells {
        let value = value(cell);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    if values.len() < 2 {
        return None;
    }
    let blocks = blocks(cells, &values, value, |other| other == name);
    let complete = blocks.iter().filter(|block| block.iter().all(Option::is_some)).count();
    let all: Vec<usize> = (0..values.len()).collect();
    let accuracies = means(&blocks, &all, right);
    let latencies = means(&blocks, &all, latency);
    let average = |lists: &[Vec<f64>]| -> Vec<f64> {
        let length = lists.first().map_or(0, Vec::len);
        (0..length).map(|at| lists.iter().map(|list| list[at]).sum::<f64>() / lists.len() as f64).collect()
    };
    let grand = average(&accuracies);
    let effects =
        values.iter().zip(accuracies.iter().zip(&latencies)).map(|(value, (accuracy, latency))| ValueEffect {
            value: value.clone(),
            accuracy: mean(accuracy).ok(),
            effect: difference(accuracy.iter().copied().zip(grand.iter().copied()).collect()),
            latency_s: mean(latency).ok(),
        });
    let mut pairs = Vec::new();
    for first in 0..values.len() {
        for second in first + 1..values.len() {
            let both = means(&blocks, &[first, second], right);
            let [one, two] = both.as_slice() else { continue };
            let differences: Vec<f64> = one.iter().zip(two).map(|(one, two)| one - two).collect();
            if let Some(difference) = difference(one.iter().copied().zip(two.iter().copied()).collect()) {
                let (first, second) = (values[first].clone(), values[second].clone());
                pairs.push(ValuePair { first, second, difference, p_value: student(&differences), p_adjusted: 1.0 });
            }
        }
    }
    let incomplete = blocks.len() - complete;
    Some(AxisEffects { axis: name.to_owned(), values: effects.collect(), pairs, complete, incomplete })
}

/// Two-sided p-value of the hypothesis that the mean is zero. Where nothing varies there is no evidence but what all show alike.
fn student(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 2 {
        return 1.0;
    }
    let average = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - average).powi(2)).sum::<f64>() / (n - 1.0);
    if variance <= 0.0 {
        return if average == 0.0 { 1.0 } else { 0.0 };
    }
    let t = average / (variance / n).sqrt();
    StudentsT::new(0.0, 1.0, n - 1.0).map_or(1.0, |student| (2.0 * student.cdf(-t.abs())).clamp(0.0, 1.0))
}

fn adjust(axes: &mut [AxisEffects]) {
    let raw: Vec<f64> = axes.iter().flat_map(|axis| axis.pairs.iter().map(|pair| pair.p_value)).collect();
    let adjusted = holm(&raw).unwrap_or(raw);
    let pairs = axes.iter_mut().flat_map(|axis| axis.pairs.iter_mut());
    pairs.zip(adjusted).for_each(|(pair, p)| pair.p_adjusted = p);
}

/// For each router and memory, what they add to each other, over the combinations of the other axes that have all of both.
fn interactions(cells: &[&Cell], right: &[Column]) -> Vec<Interaction> {
    let distinct = |of: fn(&Cell) -> String| {
        let mut values: Vec<String> = Vec::new();
        for cell in cells {
            let value = of(cell);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    };
    let (routers, memories) = (distinct(AXES[0].1), distinct(AXES[1].1));
    if routers.len() < 2 || memories.len() < 2 {
        return Vec::new();
    }
    // A router's name holds no slash.
    let both = |cell: &Cell| format!("{}/{}", cell.router_name(), cell.memory.name());
    let values: Vec<String> =
        routers.iter().flat_map(|router| memories.iter().map(move |memory| format!("{router}/{memory}"))).collect();
    let blocks = blocks(cells, &values, both, |name| name == "router" || name == "memory");
    let all: Vec<usize> = (0..values.len()).collect();
    let of = means(&blocks, &all, right);
    let samples = of.first().map_or(0, Vec::len);
    let at = |r: usize, m: usize, sample: usize| of[r * memories.len() + m][sample];
    let mut found = Vec::new();
    for (r, router) in routers.iter().enumerate() {
        for (m, memory) in memories.iter().enumerate() {
            let pairs = (0..samples).map(|s| {
                let row = (0..memories.len()).map(|m| at(r, m, s)).sum::<f64>() / memories.len() as f64;
                let column = (0..routers.len()).map(|r| at(r, m, s)).sum::<f64>() / routers.len() as f64;
                let grand = of.iter().map(|list| list[s]).sum::<f64>() / of.len() as f64;
                (at(r, m, s), row + column - grand)
            });
            if let Some(effect) = difference(pairs.collect()) {
                found.push(Interaction { router: router.clone(), memory: memory.clone(), effect });
            }
        }
    }
    found
}

fn work(cells: &[CellTrials<'_>]) -> WorkDone {
    let mut done = WorkDone { policy_usd: Some(0.0), spent_usd: Some(0.0), ..WorkDone::default() };
    for row in cells.iter().flat_map(|cell| &cell.trials) {
        done.attempts += row.tokens.slm.calls + row.tokens.llm.calls;
        done.shared += u64::from(row.shared.attempts);
        let tokens = row.tokens.slm.output_tokens.saturating_add(row.tokens.llm.output_tokens);
        done.output_tokens = done.output_tokens.saturating_add(tokens);
        let computed = tokens.saturating_sub(u64::from(row.shared.output_tokens));
        done.output_tokens_computed = done.output_tokens_computed.saturating_add(computed);
        // A failed trial may be unpriced and have cost nothing.
        let priced = row.api_usd.or((row.outcome == crate::trial::Outcome::Failed).then_some(0.0));
        done.policy_usd = done.policy_usd.zip(priced).map(|(sum, usd)| sum + usd);
        done.spent_usd = done.spent_usd.zip(priced).map(|(sum, usd)| sum + usd - row.shared.api_usd);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryKind;
    use crate::metrics::{example, summarise};
    use crate::record::{Plan, RunHeader, TrialRecord};
    use crate::router::RouterKind;
    use crate::task::Origin;

    /// Two routers and two memories over forty samples. The memory helps the second router alone, on every other sample.
    fn grid() -> (RunHeader, Vec<TrialRecord>) {
        let (mut header, trials) = example::run();
        header.plan = Some(Plan { grid: true, configuration: BTreeMap::new(), shard: None });
        header.samples = (0..40).map(|i| format!("s{i}")).collect();
        header.cells.clear();
        let mut all = Vec::new();
        for router in [RouterKind::LlmFirst, RouterKind::SlmDominant] {
            for memory in [MemoryKind::None, MemoryKind::Dynamic] {
                let mut cell = example::cell(router);
                (cell.name, cell.memory) = (format!("{}/{}", router.name(), memory.name()), memory);
                for (i, sample) in header.samples.iter().enumerate() {
                    let mut record = trials[0].clone();
                    (record.cell, record.sample) = (cell.name.clone(), sample.clone());
                    (record.router, record.memory) = (router, memory);
                    let helped = router == RouterKind::SlmDominant && memory == MemoryKind::Dynamic && i % 2 == 0;
                    if let Some(scores) = &mut record.scores {
                        scores.label_correct = Some(i % 4 == 1 || helped);
                    }
                    all.push(record);
                }
                header.cells.push(cell);
            }
        }
        (header, all)
    }

    #[test]
    fn main_effects_pairs_and_the_interaction_are_those_that_were_put_in() {
        let (header, trials) = grid();
        let axes = summarise(&header, &trials).axes.expect("a grid has axes");
        let names: Vec<&str> = axes.axes.iter().map(|axis| axis.axis.as_str()).collect();
        assert_eq!(names, ["router", "memory"]);
        for axis in &axes.axes {
            // A quarter is right throughout, three quarters of the second with the memory: a quarter more in the mean over both.
            assert_eq!((axis.complete, axis.incomplete), (2, 0));
            assert_eq!(axis.values.iter().map(|one| one.accuracy).collect::<Vec<_>>(), [Some(0.25), Some(0.5)]);
            assert_eq!(axis.values[1].effect.unwrap().value, 0.125);
            let [pair] = axis.pairs.as_slice() else { panic!("one pair") };
            assert_eq!(pair.difference.value, -0.25);
            assert!(pair.difference.high < 0.0 && pair.p_value < 1e-4 && pair.p_adjusted >= pair.p_value, "{pair:?}");
        }
        let interaction = |router: &str, memory: &str| {
            axes.interactions.iter().find(|one| one.router == router && one.memory == memory).unwrap().effect
        };
        // 0.75 together; the two main effects add up to 0.625.
        assert_eq!(interaction("slm-dominant", "dynamic").value, 0.125);
        assert!(interaction("slm-dominant", "dynamic").low > 0.0);
        assert_eq!(interaction("slm-dominant", "none").value, -0.125);
        assert_eq!(axes.ranks.of.iter().map(|rank| rank.unwrap().rank).collect::<Vec<_>>(), [2, 2, 2, 1]);
    }

    #[test]
    fn a_combination_that_lacks_a_value_counts_for_pairs_alone() {
        let (mut header, trials) = grid();
        header.cells.pop();
        let trials: Vec<_> = trials.into_iter().filter(|one| one.cell != "slm-dominant/dynamic").collect();
        let axes = summarise(&header, &trials).axes.expect("a grid has axes");
        assert!(axes.axes.iter().all(|axis| (axis.complete, axis.incomplete) == (1, 1)));
        assert!(axes.axes.iter().all(|axis| axis.pairs[0].p_adjusted == 1.0), "{:?}", axes.axes);
        assert!(axes.interactions.is_empty(), "no combination has all of both");
    }

    #[test]
    fn what_is_shared_is_paid_by_every_policy_and_spent_once() {
        let (header, mut trials) = grid();
        let alone = summarise(&header, &trials).axes.unwrap().work;
        assert_eq!((alone.shared, alone.spent_usd), (0, alone.policy_usd));
        let origin = Origin { cell: trials[0].cell.clone(), sample: trials[0].sample.clone() };
        for record in trials.iter_mut().skip(1).take(3) {
            record.trial.attempts[0].shared_from = Some(origin.clone());
        }
        let shared = summarise(&header, &trials).axes.unwrap().work;
        let each = trials[0].trial.attempts[0].api_usd.map_or(0.0, |usd| usd.0);
        assert_eq!((shared.attempts, shared.shared), (alone.attempts, 3));
        assert_eq!(shared.output_tokens_computed + 300, shared.output_tokens);
        assert_eq!(shared.policy_usd, alone.policy_usd);
        assert!((alone.spent_usd.unwrap() - shared.spent_usd.unwrap() - 3.0 * each).abs() < 1e-12);
    }

    #[test]
    fn student_agrees_with_a_table() {
        // t = 2.228 with ten degrees of freedom stands at 0.05.
        let values: Vec<f64> = (0..11).map(|i| f64::from(i) - 5.0).collect();
        let deviation = (values.iter().map(|v| v * v).sum::<f64>() / 10.0).sqrt();
        let shift = 2.228_139 * deviation / 11.0_f64.sqrt();
        let shifted: Vec<f64> = values.iter().map(|value| value + shift).collect();
        assert!((student(&shifted) - 0.05).abs() < 1e-6, "{}", student(&shifted));
        assert_eq!((student(&[0.0, 0.0]), student(&[1.0, 1.0]), student(&[1.0])), (1.0, 0.0, 1.0));
    }
}

//! The answer to the run's question, in one sentence with its uncertainty.
//!
//! The reference is llm-first, and llm-only where that was not run. A policy can take its place when it is not worse by more
//! than a margin: the one-sided 95 % lower bound of the paired difference in accuracy lies above minus the margin. Among the policies that pass, the
//! cheapest is named. "Cannot tell" is an answer. The test is made for each policy alone, with no adjustment for their
//! number.

use super::figure::significant;
use super::statistics::{PairedDifference, Z_ONE_SIDED, paired_difference, score_bound};
use super::summary::{CellTrials, PolicySummary};
use crate::record::RunHeader;
use crate::router::RouterKind;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Whether the SLM can take over, and by which policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// One sentence.
    pub text: String,
    /// The router to choose; null where that cannot be told.
    pub policy: Option<String>,
    /// The cell of that router.
    pub cell: Option<String>,
    /// Whether the run decides the question.
    pub decided: bool,
    /// The largest loss of accuracy that counts as "not worse".
    pub margin: f64,
    /// The router that the others are compared with.
    #[serde(default = "llm_first")]
    pub reference: String,
    /// Every other policy against it.
    pub comparisons: Vec<Comparison>,
}

/// The reference of summaries that name none.
fn llm_first() -> String {
    RouterKind::LlmFirst.name().to_owned()
}

/// One policy against the reference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The policy's cell.
    pub cell: String,
    /// The reference's cell.
    pub reference: String,
    /// Accuracy of the policy minus accuracy of the reference, over the samples that both answered.
    pub difference: Option<PairedDifference>,
    /// Whether the policy is shown to be not worse by more than the margin; null where it cannot be compared.
    pub non_inferior: Option<bool>,
    /// Why it cannot be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Draws the verdict. `cells` and `policies` are in the same order.
pub(super) fn verdict(
    header: &RunHeader,
    cells: &[CellTrials<'_>],
    policies: &[PolicySummary],
    margin: f64,
) -> Verdict {
    let was_run = |kind: &RouterKind| policies.iter().any(|policy| policy.router_name() == kind.name());
    let reference = [RouterKind::LlmFirst, RouterKind::LlmOnly].into_iter().find(was_run);
    let reference = reference.unwrap_or(RouterKind::LlmFirst).name();
    let run = Run { header, cells, policies, margin, reference };
    let (references, candidates): (Vec<usize>, Vec<usize>) =
        (0..policies.len()).partition(|&i| policies[i].router_name() == reference);
    let pairs: Vec<Pair> = candidates.iter().filter_map(|&i| run.compare(i, &references)).collect();
    let comparisons = pairs.iter().map(|pair| run.comparison(pair)).collect();
    let (text, choice, decided) = run.decide(&references, &candidates, &pairs);
    Verdict {
        text,
        policy: choice.map(|i| policies[i].router_name().to_owned()),
        cell: choice.map(|i| policies[i].cell.clone()),
        decided,
        margin,
        reference: reference.to_owned(),
        comparisons,
    }
}

struct Run<'a> {
    header: &'a RunHeader,
    cells: &'a [CellTrials<'a>],
    policies: &'a [PolicySummary],
    margin: f64,
    /// The name of the router that the others are compared with.
    reference: &'static str,
}

/// A candidate, its reference, and how they differ.
struct Pair {
    candidate: usize,
    reference: usize,
    difference: Result<PairedDifference, String>,
}

/// The sentence, the policy to choose, whether the question is decided.
type Answer = (String, Option<usize>, bool);

impl Run<'_> {
    /// Compares with the reference of the same memory, contract, models, seed and repeat, else with the first one.
    fn compare(&self, candidate: usize, references: &[usize]) -> Option<Pair> {
        let key = |i: usize| {
            let cell = self.cells[i].cell;
            (cell.memory, cell.contract, &cell.slm, &cell.llm, cell.seed, cell.repeat)
        };
        let twin = references.iter().find(|&&i| key(i) == key(candidate)).or(references.first());
        let reference = *twin?;
        let refused = [candidate, reference].into_iter().find(|&i| self.policies[i].accuracy.value.is_none());
        let difference = match refused {
            Some(i) => Err(format!("{}: {}", self.policies[i].router_name(), self.absence(i))),
            None => self.difference(candidate, reference),
        };
        Some(Pair { candidate, reference, difference })
    }

    fn absence(&self, i: usize) -> String {
        self.policies[i].accuracy.reason.clone().unwrap_or_else(|| "no accuracy".into())
    }

    fn difference(&self, candidate: usize, reference: usize) -> Result<PairedDifference, String> {
        let right = |i: usize| -> HashMap<u32, bool> {
            self.cells[i].scored().filter_map(|row| Some((row.sample, row.label_correct?))).collect()
        };
        let (ours, theirs) = (right(candidate), right(reference));
        let both = self.cells[candidate].trials.iter().map(|row| row.sample);
        let (first, second): (Vec<bool>, Vec<bool>) =
            both.filter_map(|sample| Some((*ours.get(&sample)?, *theirs.get(&sample)?))).unzip();
        paired_difference(&first, &second).map_err(|undefined| undefined.0)
    }

    fn comparison(&self, pair: &Pair) -> Comparison {
        let difference = pair.difference.as_ref().ok().copied();
        Comparison {
            cell: self.policies[pair.candidate].cell.clone(),
            reference: self.policies[pair.reference].cell.clone(),
            difference,
            non_inferior: difference.map(|difference| self.passes(&difference)),
            reason: pair.difference.as_ref().err().cloned(),
        }
    }

    fn passes(&self, difference: &PairedDifference) -> bool {
        difference.lower_bound > -self.margin
    }

    fn decide(&self, references: &[usize], candidates: &[usize], pairs: &[Pair]) -> Answer {
        let cannot = |why: &str| (format!("Cannot tell: {why}."), None, false);
        let Some(&reference) = references.first() else {
            return cannot(&format!("{}, the reference, was not run", self.reference));
        };
        if candidates.is_empty() {
            return cannot(&format!("no policy was run beside {}", self.reference));
        }
        if references.iter().all(|&i| self.policies[i].accuracy.value.is_none()) {
            return cannot(&format!("{} has no accuracy, for {}", self.reference, self.absence(reference)));
        }
        if self.header.labels > 0 {
            let chance = 1.0 / self.header.labels as f64;
            let shown = |i: &&usize| self.policies[**i].accuracy.low.is_some_and(|low| low > chance);
            if !references.iter().any(|i| shown(&i)) {
                let value = self.policies[reference].accuracy.value.unwrap_or_default();
                return cannot(&format!(
                    "{} itself ({}) is not shown to be better than chance (accuracy {value:.2} against {chance:.3}, n = {})",
                    self.reference, self.header.llm.model, self.policies[reference].accuracy.n
                ));
            }
        }
        let compared: Vec<(&Pair, &PairedDifference)> =
            pairs.iter().filter_map(|pair| Some((pair, pair.difference.as_ref().ok()?))).collect();
        let passing: Vec<_> = compared.iter().copied().filter(|(_, difference)| self.passes(difference)).collect();
        if let Some(best) = self.cheapest(&passing) {
            return self.yes(best.0, best.1);
        }
        let Some(&(best, difference)) = compared.iter().rev().max_by(|a, b| a.1.value.total_cmp(&b.1.value)) else {
            let why = pairs.first().and_then(|pair| pair.difference.as_ref().err()).cloned();
            return cannot(&why.unwrap_or_else(|| format!("no policy can be compared with {}", self.reference)));
        };
        let all_worse = compared.len() == pairs.len() && compared.iter().all(|(_, d)| d.upper_bound < -self.margin);
        if all_worse { self.no(best, difference) } else { self.undecided(best, difference, pairs) }
    }

    /// The cheapest by API and hardware together; where the API is not priced, the one that asks the LLM least. The more
    /// accurate wins a tie.
    fn cheapest<'b>(&self, passing: &[(&'b Pair, &'b PairedDifference)]) -> Option<(&'b Pair, &'b PairedDifference)> {
        let priced = passing.iter().all(|(pair, _)| self.cost(pair.candidate).is_some());
        let burden = |i: usize| {
            let cost = if priced { self.cost(i) } else { self.policies[i].llm_call_rate };
            cost.unwrap_or(f64::INFINITY)
        };
        passing.iter().copied().min_by(|a, b| {
            burden(a.0.candidate).total_cmp(&burden(b.0.candidate)).then(b.1.value.total_cmp(&a.1.value))
        })
    }

    /// Dollars per 1,000: the API's, and the machine's where it is priced.
    fn cost(&self, i: usize) -> Option<f64> {
        let cost = &self.policies[i].cost_usd_per_1000;
        cost.api.map(|api| api + cost.hardware.unwrap_or(0.0))
    }

    fn yes(&self, pair: &Pair, difference: &PairedDifference) -> Answer {
        let ([name, facts, llm], reference) = (self.parts(pair, difference), self.reference);
        let margin = self.margin;
        let share = self.policies[pair.candidate].llm_call_rate.unwrap_or_default();
        let (ours, theirs) = (self.cost(pair.candidate), self.cost(pair.reference));
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            if ours >= theirs {
                let text = format!(
                    "{name} is not worse than {reference} ({llm}) by more than {margin:.2} here, but not cheaper either (${} \
                     against ${} per 1,000 queries): {reference} stays the choice: {facts}.",
                    usd(ours),
                    usd(theirs)
                );
                return (text, Some(pair.reference), true);
            }
            let text = format!(
                "{name} can replace {reference} ({llm}) here: {facts}, not worse by more than {margin:.2} at the one-sided \
                 95 % level, for ${} instead of ${} per 1,000 queries, with {share:.2} of the queries sent to the LLM.",
                usd(ours),
                usd(theirs)
            );
            return (text, Some(pair.candidate), true);
        }
        let text = format!(
            "{name} can replace {reference} ({llm}) here: {facts}, not worse by more than {margin:.2} at the one-sided 95 % \
             level, with {share:.2} of the queries sent to the LLM (costs are not priced)."
        );
        (text, Some(pair.candidate), true)
    }

    fn no(&self, pair: &Pair, difference: &PairedDifference) -> Answer {
        let ([name, facts, llm], reference) = (self.parts(pair, difference), self.reference);
        let text = format!(
            "No: no policy can replace {reference} ({llm}) here: even the best, {name}, loses more than {:.2} at the one-sided \
             95 % level: {facts}.",
            self.margin
        );
        (text, Some(pair.reference), true)
    }

    fn undecided(&self, pair: &Pair, difference: &PairedDifference, pairs: &[Pair]) -> Answer {
        let ([name, facts, llm], reference) = (self.parts(pair, difference), self.reference);
        let needed = match samples_needed(difference, self.margin) {
            Some(n) => format!("that is too few, about {n} samples would settle a difference of this size"),
            None => "more samples would not show it unless the difference itself shrinks".into(),
        };
        let left_out = pairs.iter().filter(|pair| pair.difference.is_err()).count();
        let left_out =
            if left_out > 0 { format!("; {left_out} policies could not be compared") } else { String::new() };
        let text = format!(
            "Cannot tell whether a policy can replace {reference} ({llm}): for the best, {name}, {facts}, which cannot \
             rule out a loss of more than {:.2}; {needed}{left_out}.",
            self.margin
        );
        (text, None, false)
    }

    /// The candidate's name, its figures against the reference's, the LLM's name.
    fn parts(&self, pair: &Pair, difference: &PairedDifference) -> [String; 3] {
        let candidate = &self.policies[pair.candidate];
        let several = self.policies.iter().filter(|p| p.router_name() == candidate.router_name()).count() > 1;
        let name = if several { candidate.cell.clone() } else { candidate.router_name().to_owned() };
        let n = difference.n as f64;
        let ours = (difference.both_right + difference.only_first) as f64 / n;
        let theirs = (difference.both_right + difference.only_second) as f64 / n;
        let interval = signed_interval(difference.value, difference.low, difference.high);
        let facts = format!("accuracy {ours:.2} against {theirs:.2} (difference {interval}, n = {})", difference.n);
        [name, facts, candidate.llm.clone()]
    }
}

/// How many samples would show non-inferiority if the same shares went on; `None` where none would.
fn samples_needed(difference: &PairedDifference, margin: f64) -> Option<usize> {
    let n = difference.n as f64;
    let (gain, loss) = (difference.only_first as f64 / n, difference.only_second as f64 / n);
    let shown = |n: f64| score_bound(n, gain * n, loss * n, Z_ONE_SIDED) > -margin;
    // This many did not show it. The rule for a run's own samples is stricter than the one used here, so that the search
    // begins above them.
    let mut low = difference.n;
    let mut high = low + 1;
    while !shown(high as f64) {
        low = high;
        high = high.checked_mul(2).filter(|&n| n <= 1_000_000)?;
    }
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if shown(middle as f64) {
            high = middle;
        } else {
            low = middle;
        }
    }
    // Two significant digits: the shares are estimates themselves.
    let unit = 10_usize.pow(high.max(10).ilog10() - 1);
    Some(high.div_ceil(unit) * unit)
}

/// `+0.04, 95 % interval −0.13 to +0.04`.
pub(super) fn signed_interval(value: f64, low: f64, high: f64) -> String {
    format!("{}, 95 % interval {} to {}", signed(value), signed(low), signed(high))
}

fn signed(value: f64) -> String {
    let text = format!("{:.2}", value.abs());
    match value {
        _ if text == "0.00" => text,
        v if v < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// Dollars with three significant digits.
fn usd(value: f64) -> String {
    significant(value, 3)
}

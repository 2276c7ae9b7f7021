//! What became of contracts, and what they cost.

use super::policy::{counted, first_valid};
use super::row::Row;
use super::statistics::{PairedDifference, mean, paired_difference};
use super::summary::CellTrials;
use crate::clock::Component;
use crate::contract::ContractMode;
use crate::engine::{Held, StopReason};
use crate::record::TrialRecord;
use crate::router::Reason;
use crate::trial::{Attempt, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// What became of the contract in the trials of one policy. Every scored trial whose first answer was checked is one of the
/// first seven; what a trial did for other reasons, such as a low confidence, is not counted here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContractUse {
    /// The first answer keeps the contract as it was written.
    pub first_try: usize,
    /// The first answer keeps it once its almost-JSON is mended, without asking a model again.
    pub mended: usize,
    /// The first answer breaks it, and a later one of the same tier keeps it.
    pub repaired: usize,
    /// No answer of the first tier keeps it, the other tier was called for that, and its answer keeps it.
    pub escalated: usize,
    /// The same, but the other tier was called for another reason: a low confidence with contracts off, a call that failed.
    #[serde(default)]
    pub passed_on: usize,
    /// The trial ended with no answer that keeps it, and is scored as wrong.
    pub failed: usize,
    /// The answer that was taken breaks it: contracts were off.
    pub let_pass: usize,
    /// Violations of all answers, by the rule of the schema.
    pub violations: BTreeMap<String, usize>,
    /// Answers by how they were held to the contract while they were generated.
    pub held: BTreeMap<String, usize>,
    /// Answers that were held to the grammar, ended of themselves and break the contract all the same: a defect, of the
    /// grammar or of this program, unless the schema says what the grammar cannot express.
    pub disagreements: usize,
    /// Share of generated tokens that the grammar left no choice about; null where no answer was held to it.
    pub forced_share: Option<f64>,
    /// What asking the grammar took, mean milliseconds for each token of an answer that was held to it.
    pub constrain_ms_per_token: Option<f64>,
    /// The same for each answer.
    pub constrain_ms_per_answer: Option<f64>,
    /// What finding and checking the JSON took, mean milliseconds for each trial.
    pub check_ms_per_trial: Option<f64>,
}

/// Accuracy of a policy beside that of the same policy with contracts off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContractEffect {
    /// The policy's cell.
    pub cell: String,
    /// The cell with contracts off.
    pub off: String,
    /// Accuracy with the contract minus accuracy without, over the samples that both answered; null where there are none.
    pub accuracy: Option<PairedDifference>,
}

/// What became of the contract in one trial.
#[derive(Debug, Clone, Default)]
pub(super) struct ContractRow {
    fate: Option<Fate>,
    /// Rules that its answers broke, once for each violation.
    violations: Box<[String]>,
    /// Answers by how they were held, in the order of [`HELD`].
    held: [u16; HELD.len()],
    disagreements: u16,
    /// Tokens of the answers that were held to the grammar, those of them that it forced, and what asking it took.
    grammar_tokens: u64,
    forced_tokens: u64,
    asking_ms: f64,
}

/// What became of a contract; see [`ContractUse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    FirstTry,
    Mended,
    Repaired,
    Escalated,
    PassedOn,
    Failed,
    LetPass,
}

/// The ways in which answers are held to a contract.
const HELD: [Held; 4] = [Held::Not, Held::Grammar, Held::ResponseFormatStrict, Held::ResponseFormat];

pub(super) fn contract_row(record: &TrialRecord) -> ContractRow {
    let answers = || record.trial.attempts.iter().filter(|attempt| attempt.verdict.is_some());
    let count = |of: &dyn Fn(&Attempt) -> bool| u16::try_from(answers().filter(|a| of(a)).count()).unwrap_or(u16::MAX);
    let grammar = || answers().filter(|answer| answer.held == Held::Grammar);
    let rules = answers().flat_map(|answer| answer.verdict.iter().flat_map(|verdict| &verdict.violations));
    ContractRow {
        fate: fate(record),
        violations: rules.map(|violation| violation.rule.clone()).collect(),
        held: HELD.map(|held| count(&|answer| answer.held == held)),
        disagreements: count(&disagrees),
        grammar_tokens: grammar().map(|answer| answer.usage.output_tokens).fold(0, u64::saturating_add),
        forced_tokens: grammar().map(|answer| answer.forced_tokens).fold(0, u64::saturating_add),
        asking_ms: grammar().map(|answer| answer.spans.get(Component::Constrain).0 * 1e3).sum(),
    }
}

/// Counts what became of the contract in scored trials.
pub(super) fn contract_use(scored: &[&Row]) -> ContractUse {
    let rows = || scored.iter().map(|row| &row.contract);
    let ended = |fate: Fate| rows().filter(|row| row.fate == Some(fate)).count();
    let held = |place: usize| rows().map(|row| usize::from(row.held[place])).sum::<usize>();
    let grammar_answers = HELD.iter().position(|&way| way == Held::Grammar).map_or(0, held);
    let tokens: u64 = rows().map(|row| row.grammar_tokens).fold(0, u64::saturating_add);
    let forced: u64 = rows().map(|row| row.forced_tokens).fold(0, u64::saturating_add);
    let asking: f64 = rows().map(|row| row.asking_ms).sum();
    let per = |number: f64, of: f64| (tokens > 0).then(|| number / of);
    let checks: Vec<f64> = scored.iter().map(|row| row.span(Component::Contract) * 1e3).collect();
    ContractUse {
        first_try: ended(Fate::FirstTry),
        mended: ended(Fate::Mended),
        repaired: ended(Fate::Repaired),
        escalated: ended(Fate::Escalated),
        passed_on: ended(Fate::PassedOn),
        failed: ended(Fate::Failed),
        let_pass: ended(Fate::LetPass),
        violations: counted(rows().flat_map(|row| row.violations.iter().cloned())),
        held: HELD
            .iter()
            .enumerate()
            .map(|(place, &way)| (name(way).to_owned(), held(place)))
            .filter(|(_, count)| *count > 0)
            .collect(),
        disagreements: rows().map(|row| usize::from(row.disagreements)).sum(),
        forced_share: per(forced as f64, tokens as f64),
        constrain_ms_per_token: per(asking, tokens as f64),
        constrain_ms_per_answer: per(asking, grammar_answers as f64),
        check_ms_per_trial: mean(&checks).ok(),
    }
}

/// What became of a trial's contract; `None` where no answer was checked.
fn fate(record: &TrialRecord) -> Option<Fate> {
    let trial = &record.trial;
    let first_try = first_valid(trial)?;
    if trial.outcome == Outcome::ContractFailed {
        return Some(Fate::Failed);
    }
    let keeps = |attempt: &Attempt| attempt.verdict.as_ref().is_some_and(|verdict| verdict.valid);
    let accepted = trial.attempts.get(trial.accepted?)?;
    if !keeps(accepted) {
        return Some(Fate::LetPass);
    }
    if first_try {
        return Some(Fate::FirstTry);
    }
    let answers = || trial.attempts.iter().filter(|attempt| attempt.failure.is_none());
    let first = answers().next()?;
    let of_other_tier = || trial.attempts.iter().find(|attempt| attempt.tier != first.tier);
    Some(if keeps(first) {
        Fate::Mended
    } else if answers().any(|answer| answer.tier == first.tier && keeps(answer)) {
        Fate::Repaired
    } else if of_other_tier().is_some_and(|call| call.reason == Reason::ContractFailure) {
        Fate::Escalated
    } else {
        Fate::PassedOn
    })
}

fn disagrees(answer: &Attempt) -> bool {
    answer.held == Held::Grammar
        && answer.stop == Some(StopReason::EndOfTurn)
        && answer.verdict.as_ref().is_some_and(|verdict| !verdict.valid_as_written())
}

fn name(held: Held) -> &'static str {
    match held {
        Held::Not => "not",
        Held::Grammar => "grammar",
        Held::ResponseFormatStrict => "response_format_strict",
        Held::ResponseFormat => "response_format",
    }
}

/// Each policy under a contract beside the same policy without.
pub(super) fn contract_effects(cells: &[CellTrials<'_>]) -> Vec<ContractEffect> {
    let same = |a: &CellTrials<'_>, b: &CellTrials<'_>| {
        (a.cell.router_name(), a.cell.memory, &a.cell.slm, &a.cell.llm, a.cell.seed, a.cell.repeat)
            == (b.cell.router_name(), b.cell.memory, &b.cell.slm, &b.cell.llm, b.cell.seed, b.cell.repeat)
    };
    let without = |cell: &CellTrials<'_>| cell.cell.contract == ContractMode::Off;
    cells
        .iter()
        .filter(|cell| !without(cell))
        .filter_map(|cell| {
            let off = cells.iter().find(|other| without(other) && same(cell, other))?;
            let others: HashMap<u32, bool> =
                off.scored().filter_map(|row| Some((row.sample, row.label_correct?))).collect();
            let pairs = cell.scored().filter_map(|row| Some((row.label_correct?, *others.get(&row.sample)?)));
            let (with, without): (Vec<bool>, Vec<bool>) = pairs.unzip();
            let accuracy = paired_difference(&with, &without).ok();
            Some(ContractEffect { cell: cell.cell.name.clone(), off: off.cell.name.clone(), accuracy })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use crate::metrics::summarise;
    use crate::router::{PromptVariant, RouterKind, Tier};
    use crate::units::Seconds;

    #[test]
    fn every_trial_is_counted_by_what_became_of_its_contract() {
        let header = example::header();
        let target = example::target();
        let answer = |tier, valid| example::attempt(tier, "Access", valid, Reason::FirstChoice);
        let mut mended = answer(Tier::Slm, true);
        mended.verdict.as_mut().expect("a verdict").mended = vec![crate::contract::Mend::SingleQuotes];
        let again = Attempt { variant: PromptVariant::Repair { of: 0 }, ..answer(Tier::Slm, true) };
        let mut held = answer(Tier::Slm, false);
        (held.held, held.forced_tokens) = (Held::Grammar, 25);
        held.spans.add(Component::Constrain, Seconds(0.05));
        let low = Reason::LowConfidence { confidence: 0.2, threshold: 0.7 };
        let other = |valid, reason: &Reason| Attempt { reason: reason.clone(), ..answer(Tier::Llm, valid) };
        let mut failed = example::trial(vec![answer(Tier::Slm, false), other(false, &Reason::ContractFailure)]);
        failed.outcome = Outcome::ContractFailed;
        let mut failed_later = example::trial(vec![answer(Tier::Slm, true), other(false, &low)]);
        failed_later.outcome = Outcome::ContractFailed;
        let trials = [
            example::trial(vec![answer(Tier::Slm, true)]),
            example::trial(vec![answer(Tier::Slm, true), other(true, &low)]),
            example::trial(vec![mended.clone()]),
            example::trial(vec![mended, other(true, &low)]),
            example::trial(vec![answer(Tier::Slm, false), again.clone()]),
            example::trial(vec![answer(Tier::Slm, false), again, other(true, &low)]),
            example::trial(vec![answer(Tier::Slm, false), other(true, &Reason::ContractFailure)]),
            example::trial(vec![answer(Tier::Slm, false), other(true, &low)]),
            failed,
            failed_later,
            example::trial(vec![held]),
        ];
        let records: Vec<TrialRecord> = (0..)
            .zip(trials)
            .map(|(i, trial)| example::record(RouterKind::SlmDominant, &format!("s{i}"), trial, &target, &header))
            .collect();
        let rows = crate::metrics::Rows::of(&header, &records);
        let found = contract_use(&rows.trials.iter().collect::<Vec<_>>());
        let fates = [
            found.first_try,
            found.mended,
            found.repaired,
            found.escalated,
            found.passed_on,
            found.failed,
            found.let_pass,
        ];
        assert_eq!(fates, [2, 2, 2, 1, 1, 2, 1]);
        assert_eq!(fates.iter().sum::<usize>(), records.len());
        assert_eq!(found.violations["required"], 8);
        assert_eq!((found.held["not"], found.held["grammar"], found.disagreements), (19, 1, 1));
        assert_eq!((found.forced_share, found.constrain_ms_per_token), (Some(0.25), Some(0.5)));
        assert_eq!(found.constrain_ms_per_answer, Some(50.0));
    }

    #[test]
    fn a_contract_is_set_beside_the_same_policy_without() {
        let (mut header, trials) = example::run();
        assert_eq!(summarise(&header, &trials).contract_effects, []);
        let mut off = example::cell(RouterKind::SlmDominant);
        (off.name, off.contract) = ("off".to_owned(), ContractMode::Off);
        header.cells.push(off);
        let mut all = trials.clone();
        let of_slm = trials.iter().filter(|record| record.router == RouterKind::SlmDominant);
        all.extend(of_slm.map(|record| TrialRecord { cell: "off".to_owned(), ..record.clone() }));
        let effects = summarise(&header, &all).contract_effects;
        assert_eq!(effects.len(), 1);
        let difference = effects[0].accuracy.as_ref().expect("both answered");
        assert_eq!((difference.value, difference.only_first, difference.only_second), (0.0, 0, 0));
    }
}

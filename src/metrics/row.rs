//! What figures need of a trial: numbers and small names, a few hundred bytes, so that a million trials fit into memory
//! where their prompts and answers do not.

use super::calls::{CallRow, call_rows};
use super::contract::{ContractRow, contract_row};
use super::left::{LeftRow, left_row};
use super::policy::{failure_kind, final_valid, first_valid, is_escalated, llm_cause};
use super::summary::{TokenCount, TokensByTier};
use crate::clock::Component;
use crate::engine::UsageSource;
use crate::memory::MemoryKind;
use crate::record::{Abstention, Place, RunHeader, TrialRecord};
use crate::router::{Estimator, PromptVariant, Tier};
use crate::trial::{Attempt, Outcome};
use std::collections::HashMap;

/// The trials of one or more runs as rows.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub(super) trials: Vec<Row>,
    /// Trials of cells that the header does not list.
    pub(super) strangers: usize,
    /// Samples, labels and difficulties by their numbers.
    pub(super) samples: Names,
    pub(super) labels: Names,
    pub(super) difficulties: Names,
    /// The cells of the run that is being read, by name.
    cells: HashMap<String, u32>,
    /// Cells of all runs so far.
    cell_count: u32,
    /// The runs so far.
    runs: Vec<RunOfRows>,
}

/// What the rows know of a run.
#[derive(Debug, Clone)]
struct RunOfRows {
    samples: Vec<u32>,
    /// The memory of its first cell.
    memory: Option<MemoryKind>,
}

/// What both models answered to the plain prompts of a run's samples, under the memory of its first cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnsweredByBoth {
    /// The sample's number, the small model's answer, the large one's; in the order of the run's samples.
    pub rows: Vec<(u32, Answered, Answered)>,
    /// Samples of the run.
    pub samples: usize,
}

/// A model's first answer to a plain prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// Whether it is right.
    pub right: bool,
    /// Its confidence as routers read it by default, its mean and its minimum over tokens; not a number where there is none.
    pub confidence: [f64; 3],
    /// Seconds that it took.
    pub total_s: f64,
    /// What its tokens cost; `None` where they are not priced.
    pub api_usd: Option<f64>,
}

/// One trial.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) cell: u32,
    pub(super) sample: u32,
    pub(super) label: Option<u32>,
    pub(super) difficulty: Option<u32>,
    /// Where its record stands: the number of its run, and the place in its file.
    pub(super) place: (u32, Place),
    pub(super) memory: MemoryKind,
    pub(super) outcome: Outcome,
    pub(super) label_correct: Option<bool>,
    pub(super) citations_correct: Option<bool>,
    pub(super) needs_human_correct: Option<bool>,
    pub(super) fact_recall: Option<f64>,
    pub(super) groundedness: Option<f64>,
    pub(super) abstention: Option<Abstention>,
    pub(super) first_valid: Option<bool>,
    pub(super) final_valid: Option<bool>,
    pub(super) escalated: bool,
    pub(super) llm_cause: Option<&'static str>,
    pub(super) failure_kind: Option<Box<str>>,
    pub(super) repairs: u32,
    pub(super) failed_attempts: u32,
    pub(super) retries: u64,
    pub(super) api_usd: Option<f64>,
    pub(super) hardware_usd: Option<f64>,
    pub(super) energy_j: Option<f64>,
    pub(super) tokens: TokensByTier,
    pub(super) shared: SharedRow,
    /// Seconds of every component, in the order of [`Component::ALL`].
    pub(super) spans: [f64; Component::ALL.len()],
    pub(super) unaccounted_s: f64,
    pub(super) passages: usize,
    pub(super) examples: usize,
    pub(super) memory_tokens: usize,
    pub(super) left: LeftRow,
    pub(super) contract: ContractRow,
    /// The plain first answers of the small and of the large model.
    pub(super) first: [Option<Box<First>>; 2],
    pub(super) calls: Box<[Call]>,
    /// The calls of the LLM as they went on the wire.
    pub(super) llm_calls: Box<[CallRow]>,
}

/// What of a trial came from others.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct SharedRow {
    pub(super) api_usd: f64,
    pub(super) output_tokens: u32,
    pub(super) attempts: u16,
}

/// A model's first answer, where it is one to the task's plain prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct First {
    pub(super) right: Option<bool>,
    /// Confidence as routers read it by default, its mean and its minimum over tokens; not a number where there is none.
    pub(super) confidence: [f64; 3],
    pub(super) total_s: f64,
    pub(super) api_usd: Option<f64>,
    /// Tokens of the prompt without what the memory added; `None` where they were not counted.
    pub(super) prompt_tokens: Option<u64>,
}

/// One call that a model answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Call {
    pub(super) tier: Tier,
    /// Whether a part of its prompt came from a cache.
    pub(super) reused: bool,
    /// Time to the first token; `None` where it was not seen.
    pub(super) ttft_s: Option<f64>,
    /// Time for each token after the first; `None` where there is none.
    pub(super) tpot_s: Option<f64>,
}

/// A row, and the names that are numbered when it is taken.
#[derive(Debug)]
pub struct Draft {
    row: Row,
    cell: String,
    sample: String,
    label: Option<String>,
    difficulty: Option<String>,
}

/// Names and their numbers, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Names {
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.numbers.insert(name.into(), number);
        self.names.push(name.into());
        number
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", |name| name)
    }
}

impl Rows {
    /// The trials of one run that are in memory.
    #[must_use]
    pub fn of(header: &RunHeader, trials: &[TrialRecord]) -> Self {
        let mut rows = Self::default();
        rows.begin(header);
        for record in trials {
            rows.take(draft(record, Place::default(), &header.slm.model));
        }
        rows
    }

    /// The rows that follow belong to this run; its cells are numbered after those of the runs before.
    pub fn begin(&mut self, header: &RunHeader) {
        let first = self.cell_count;
        self.cells = header.cells.iter().zip(first..).map(|(cell, number)| (cell.name.clone(), number)).collect();
        self.cell_count = first + u32::try_from(header.cells.len()).unwrap_or(u32::MAX - first);
        let samples = header.samples.iter().map(|sample| self.samples.number(sample)).collect();
        self.runs.push(RunOfRows { samples, memory: header.cells.first().map(|cell| cell.memory) });
    }

    /// Room for so many rows more, so that a large run is not copied as it grows.
    pub fn reserve(&mut self, rows: usize) {
        self.trials.reserve(rows);
    }

    /// Adds a row of the run that was begun last.
    pub fn take(&mut self, draft: Draft) {
        let Some(&cell) = self.cells.get(&draft.cell) else {
            self.strangers += 1;
            return;
        };
        let mut row = draft.row;
        row.cell = cell;
        row.place.0 = u32::try_from(self.runs.len().saturating_sub(1)).unwrap_or(u32::MAX);
        row.sample = self.samples.number(&draft.sample);
        row.label = draft.label.map(|label| self.labels.number(&label));
        row.difficulty = draft.difficulty.map(|difficulty| self.difficulties.number(&difficulty));
        self.trials.push(row);
    }

    /// For each run, the samples that both models answered plainly.
    #[must_use]
    pub fn answered_by_both(&self) -> Vec<AnsweredByBoth> {
        (0..).zip(&self.runs).map(|(number, run)| self.answered_in(number, run)).collect()
    }

    fn answered_in(&self, number: u32, run: &RunOfRows) -> AnsweredByBoth {
        let mut found: [HashMap<u32, &First>; 2] = Default::default();
        for row in self.trials.iter().filter(|row| row.place.0 == number && Some(row.memory) == run.memory) {
            for (answers, first) in found.iter_mut().zip(&row.first) {
                if let Some(first) = first {
                    answers.entry(row.sample).or_insert(first);
                }
            }
        }
        let answered = |first: &First| {
            let First { right, confidence, total_s, api_usd, .. } = *first;
            Some(Answered { right: right?, confidence, total_s, api_usd })
        };
        let [weak, strong] = found;
        let both = |&sample: &u32| Some((sample, answered(weak.get(&sample)?)?, answered(strong.get(&sample)?)?));
        AnsweredByBoth { rows: run.samples.iter().filter_map(both).collect(), samples: run.samples.len() }
    }

    /// How many trials there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trials.len()
    }

    /// The id of a sample by its number.
    #[must_use]
    pub fn sample(&self, number: u32) -> &str {
        self.samples.name(number)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trials.is_empty()
    }
}

/// What figures need of a record. `slm` is the run's small model: a cascade's further models are of the same tier.
#[must_use]
pub fn draft(record: &TrialRecord, place: Place, slm: &str) -> Draft {
    let trial = &record.trial;
    let scores = record.scores.as_ref();
    let attempts = || trial.attempts.iter();
    let count = |of: &dyn Fn(&Attempt) -> bool| u32::try_from(attempts().filter(|a| of(a)).count()).unwrap_or(u32::MAX);
    let row = Row {
        cell: 0,
        sample: 0,
        label: None,
        difficulty: None,
        place: (0, place),
        memory: record.memory,
        outcome: trial.outcome,
        label_correct: scores.and_then(|scores| scores.label_correct),
        citations_correct: scores.and_then(|scores| scores.citations_correct),
        needs_human_correct: scores.and_then(|scores| scores.needs_human_correct),
        fact_recall: scores.and_then(|scores| scores.fact_recall),
        groundedness: scores.and_then(|scores| scores.groundedness),
        abstention: scores.and_then(|scores| scores.abstention),
        first_valid: first_valid(trial),
        final_valid: final_valid(trial),
        escalated: is_escalated(trial),
        llm_cause: llm_cause(trial),
        failure_kind: failure_kind(trial).map(String::into_boxed_str),
        repairs: count(&|attempt| matches!(attempt.variant, PromptVariant::Repair { .. })),
        failed_attempts: count(&|attempt| attempt.failure.is_some()),
        retries: attempts().map(|attempt| u64::from(attempt.retries)).sum(),
        api_usd: record.cost.api_usd.map(|usd| usd.0),
        hardware_usd: record.cost.hardware_usd.map(|usd| usd.0),
        energy_j: record.energy_j.map(|joules| joules.0),
        tokens: tokens(&trial.attempts),
        shared: shared(&trial.attempts),
        spans: Component::ALL.map(|component| trial.spans.get(component).0),
        unaccounted_s: record.unaccounted_s.0,
        passages: trial.retrieval.passages.len(),
        examples: trial.retrieval.examples.len(),
        memory_tokens: trial.retrieval.tokens,
        left: left_row(record),
        contract: contract_row(record),
        first: [Tier::Slm, Tier::Llm].map(|tier| first(tier, record, slm).map(Box::new)),
        calls: attempts().filter_map(call).collect(),
        llm_calls: call_rows(&trial.attempts),
    };
    Draft {
        row,
        cell: record.cell.clone(),
        sample: record.sample.clone(),
        label: record.gold_label.clone(),
        difficulty: record.difficulty.clone(),
    }
}

/// The first answer of the run's own model of a tier, if it was one to the plain prompt. An endpoint may call its model by
/// another name than was asked for.
fn first(tier: Tier, record: &TrialRecord, slm: &str) -> Option<First> {
    let own = |attempt: &Attempt| attempt.tier == tier && (tier == Tier::Llm || attempt.model == slm);
    let index = record.trial.attempts.iter().position(|attempt| own(attempt) && attempt.failure.is_none())?;
    let attempt = record.trial.attempts.get(index)?;
    if attempt.variant != PromptVariant::Plain {
        return None;
    }
    let confidence = attempt.confidence.as_ref();
    let read = |of: &dyn Fn(&crate::trial::Confidence) -> Option<f64>| confidence.and_then(of).unwrap_or(f64::NAN);
    let counted = attempt.usage_source != UsageSource::Missing;
    Some(First {
        right: record.attempts_correct.get(index).copied().flatten(),
        confidence: [
            read(&|confidence| confidence.value(Estimator::default())),
            read(&|confidence| Some(confidence.mean)),
            read(&|confidence| Some(confidence.min)),
        ],
        total_s: attempt.total_s.0,
        api_usd: attempt.api_usd.map(|usd| usd.0),
        prompt_tokens: counted.then(|| attempt.usage.input_tokens.saturating_sub(record.trial.retrieval.tokens as u64)),
    })
}

fn call(attempt: &Attempt) -> Option<Call> {
    if attempt.failure.is_some() {
        return None;
    }
    let ttft_s = attempt.ttft_s.map(|seconds| seconds.0);
    let further = attempt.usage.output_tokens.saturating_sub(1);
    let counted = further > 0 && attempt.usage_source != UsageSource::Missing;
    let tpot_s = ttft_s.filter(|_| counted).map(|ttft| (attempt.total_s.0 - ttft).max(0.0) / further as f64);
    Some(Call { tier: attempt.tier, reused: attempt.usage.cached_tokens > 0, ttft_s, tpot_s })
}

fn shared(attempts: &[Attempt]) -> SharedRow {
    let mut row = SharedRow::default();
    for attempt in attempts.iter().filter(|attempt| attempt.shared_from.is_some()) {
        row.api_usd += attempt.api_usd.map_or(0.0, |usd| usd.0);
        let tokens = u32::try_from(attempt.usage.output_tokens).unwrap_or(u32::MAX);
        row.output_tokens = row.output_tokens.saturating_add(tokens);
        row.attempts = row.attempts.saturating_add(1);
    }
    row
}

fn tokens(attempts: &[Attempt]) -> TokensByTier {
    let mut tokens = TokensByTier::default();
    for attempt in attempts {
        let count: &mut TokenCount = match attempt.tier {
            Tier::Slm => &mut tokens.slm,
            Tier::Llm => &mut tokens.llm,
        };
        count.add(TokenCount {
            calls: 1,
            input_tokens: attempt.usage.input_tokens,
            output_tokens: attempt.usage.output_tokens,
            cached_tokens: attempt.usage.cached_tokens,
        });
    }
    tokens
}

impl Row {
    /// The time of one component, in seconds.
    pub(super) fn span(&self, component: Component) -> f64 {
        // The components are listed in the order of their declaration.
        self.spans.get(component as usize).copied().unwrap_or(0.0)
    }

    /// Wall time of the trial without scoring, which comes after the answer.
    pub(super) fn latency_s(&self) -> f64 {
        self.spans.iter().sum::<f64>() - self.span(Component::Scoring) + self.unaccounted_s
    }

    /// What a model's first answer to the plain prompt was.
    pub(super) fn first(&self, tier: Tier) -> Option<&First> {
        match tier {
            Tier::Slm => self.first[0].as_deref(),
            Tier::Llm => self.first[1].as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;

    #[test]
    fn components_are_declared_in_the_order_of_their_list() {
        for (place, component) in Component::ALL.into_iter().enumerate() {
            assert_eq!(component as usize, place);
        }
    }

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 640, "{} bytes", size_of::<Row>());
    }

    #[test]
    fn trials_of_unknown_cells_are_counted_and_names_numbered_in_the_headers_order() {
        let (header, mut trials) = example::run();
        trials[0].cell = "another".into();
        trials.reverse();
        let rows = Rows::of(&header, &trials);
        assert_eq!((rows.strangers, rows.len()), (1, trials.len() - 1));
        let names: Vec<&str> = (0..6).map(|number| rows.samples.name(number)).collect();
        assert_eq!(names, header.samples);
    }

    #[test]
    fn time_per_token_leaves_out_the_first() {
        let attempt = example::attempt(Tier::Slm, "Access", true, crate::router::Reason::FirstChoice);
        // 100 tokens in 1 s, the first after 0.1 s.
        let call = call(&attempt).expect("a call");
        assert!((call.tpot_s.expect("tokens") - 0.9 / 99.0).abs() < 1e-12);
        assert_eq!(call.ttft_s, Some(0.1));
    }
}

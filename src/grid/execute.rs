//! Doing the work of a run.

use super::CellParts;
use crate::clock::{Clock, Component};
use crate::contract::Contract;
use crate::device::Energy;
use crate::engine::FailureKind;
use crate::error::{Result, anyhow};
use crate::metrics::{self, Ground};
use crate::record::{HardwarePrice, Price, RunWriter, TrialRecord};
use crate::safety::SafetyPolicy;
use crate::task::Sample;
use crate::trial::{self, AnswerFields, CellContext, Engines, Failure, Trial};
use crate::units::{Joules, Seconds};
use std::sync::atomic::{AtomicBool, Ordering};

/// So many trials in a row that fail outside the models end the run: the endpoint is gone, and the rest would fail alike.
const FAILURES_IN_A_ROW: usize = 6;

/// What the trials of a run share, the judge of their answers included.
pub struct Judge<'a> {
    /// The engines.
    pub engines: &'a Engines,
    /// The contract.
    pub contract: &'a Contract,
    /// What the answer's parts mean.
    pub fields: &'a AnswerFields,
    /// Groundedness.
    pub ground: &'a Ground<'a>,
    /// What the LLM's tokens cost.
    pub price: Option<&'a Price>,
    /// What the machine costs.
    pub hardware: Option<&'a HardwarePrice>,
    /// What the trials' energy is counted with.
    pub energy: &'a Energy,
    /// What follows from safety findings.
    pub safety: &'a SafetyPolicy,
    /// Upper bound of generated tokens in one call.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// The clock.
    pub clock: &'a Clock,
}

/// Hears of every finished trial.
pub trait Observer {
    /// A trial is on disk.
    fn finished(&mut self, record: &TrialRecord);
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// All work is done.
    Complete,
    /// The user stopped it.
    Interrupted,
    /// It was stopped because it kept failing; the text says how.
    Aborted(String),
}

/// Runs every sample through every cell until done, stopped, or failing without end.
pub fn execute(
    samples: &[&Sample],
    cells: &[CellParts],
    judge: &Judge<'_>,
    writer: &mut RunWriter,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Finish> {
    let mut failures_in_a_row = 0;
    for sample in samples {
        for parts in cells {
            if stop.load(Ordering::SeqCst) {
                return Ok(Finish::Interrupted);
            }
            let before = judge.energy.meter().read();
            let trial = trial::run(&sample.query, &context(parts, judge));
            let worked = Seconds(metrics::local_seconds(|component| trial.spans.get(component).0));
            let energy = judge.energy.since(before, worked);
            if was_interrupted(&trial) {
                return Ok(Finish::Interrupted);
            }
            // Such a trial says nothing of its strategy, so it is not written.
            if let Some(why) = last_call(&trial) {
                return Ok(Finish::Aborted(why));
            }
            let record = judged(sample, parts, trial, energy, judge)?;
            writer.append(&record)?;
            observer.finished(&record);
            failures_in_a_row = if record.scores.is_none() { failures_in_a_row + 1 } else { 0 };
            if failures_in_a_row >= FAILURES_IN_A_ROW {
                let last = record.trial.failure.map_or_else(|| "no reason was given".to_owned(), |f| f.message);
                return Ok(Finish::Aborted(format!("{failures_in_a_row} trials in a row failed; the last: {last}")));
            }
        }
    }
    Ok(Finish::Complete)
}

fn context<'a>(parts: &'a CellParts, judge: &'a Judge<'a>) -> CellContext<'a> {
    CellContext {
        name: &parts.cell.name,
        router: &*parts.router,
        memory: &*parts.memory,
        contract: judge.contract,
        contract_mode: parts.cell.contract,
        safety: judge.safety,
        confidence: parts.confidence,
        prompts: &parts.prompts,
        engines: judge.engines,
        fields: judge.fields,
        max_tokens: judge.max_tokens,
        temperature: judge.temperature,
        seed: parts.cell.seed,
        clock: judge.clock,
    }
}

fn was_interrupted(trial: &Trial) -> bool {
    let by_user = |failure: &Option<Failure>| failure.as_ref().is_some_and(|f| f.kind == FailureKind::Interrupted);
    by_user(&trial.failure) || trial.attempts.iter().any(|attempt| by_user(&attempt.failure))
}

/// Why a call of the trial was not made and none would be from here on.
fn last_call(trial: &Trial) -> Option<String> {
    let failures = trial.attempts.iter().filter_map(|attempt| attempt.failure.as_ref());
    failures.into_iter().find(|failure| failure.kind.ends_the_run()).map(|failure| failure.message.clone())
}

/// Scores a finished trial. This is the first place where its target is read.
fn judged(
    sample: &Sample,
    parts: &CellParts,
    mut trial: Trial,
    energy: Option<Joules>,
    judge: &Judge<'_>,
) -> Result<TrialRecord> {
    let start = judge.clock.now();
    let scores = metrics::score(&sample.target, &trial, judge.ground)
        .map_err(|error| anyhow!("scoring sample {}: {error:#}", sample.query.id))?;
    let attempts_correct = metrics::attempts_correct(&sample.target, &trial);
    let cost = metrics::bill(&mut trial, judge.price, judge.hardware, energy);
    trial.conceal().map_err(|error| anyhow!("writing sample {}: {error:#}", sample.query.id))?;
    let scoring = judge.clock.since(start);
    trial.spans.add(Component::Scoring, scoring);
    trial.wall_s += scoring;
    let unaccounted_s = Seconds((trial.wall_s - trial.spans.total()).0.max(0.0));
    Ok(TrialRecord {
        cell: parts.cell.name.clone(),
        sample: sample.query.id.clone(),
        router: parts.cell.router,
        memory: parts.cell.memory,
        contract: parts.cell.contract,
        gold_label: sample.target.label.clone(),
        difficulty: sample.difficulty.clone(),
        trial,
        scores,
        attempts_correct,
        cost,
        energy_j: energy,
        unaccounted_s,
    })
}

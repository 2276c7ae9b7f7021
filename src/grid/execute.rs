//! Doing the work of a run.

use super::share::{Recalled, View, identities};
use super::{Baton, CellParts, Done, Shared};
use crate::clock::{Clock, Component};
use crate::contract::Contract;
use crate::device::Energy;
use crate::engine::FailureKind;
use crate::error::{Result, anyhow};
use crate::memory::Memory;
use crate::metrics::{self, Ground};
use crate::record::{HardwarePrice, Price, RunWriter, TrialRecord};
use crate::safety::SafetyPolicy;
use crate::task::{Origin, Sample};
use crate::trial::{self, AnswerFields, CellContext, Engines, Failure, Trial};
use crate::units::{Joules, Seconds};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many trials in a row that fail outside the models end the run: the endpoint is gone, and the rest would fail alike. Where
/// one sample takes more trials than these, two samples must fail throughout: one request may be what its endpoint refuses.
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

/// What is to be done, and with what.
pub struct Work<'a> {
    /// The samples, each with its number in the run.
    pub samples: &'a [(usize, &'a Sample)],
    /// The cells, each with its number in the run.
    pub cells: &'a [(usize, CellParts)],
    /// What the trials share.
    pub judge: Judge<'a>,
    /// What need not be done.
    pub done: &'a Done,
    /// What cells take from one another; `None` has everything computed for each.
    pub shared: Option<Arc<Shared>>,
    /// Trials in flight at most. Above one, they wait for remote answers beside one another.
    pub in_flight: usize,
    /// Who may work on this machine.
    pub baton: Arc<Baton>,
    /// Seconds from the start after which no trial is begun; `None` is no limit.
    pub most_s: Option<f64>,
}

/// Where finished trials go.
struct Sink<'a> {
    writer: &'a mut RunWriter,
    observer: &'a mut (dyn Observer + Send),
    failures_in_a_row: usize,
    /// How it ended; the first reason stands.
    ended: Option<Result<Finish>>,
}

/// Runs every sample through every cell until done, stopped, or failing without end.
pub fn execute(
    work: &Work<'_>,
    writer: &mut RunWriter,
    observer: &mut (dyn Observer + Send),
    stop: &AtomicBool,
) -> Result<Finish> {
    if let Some(shared) = &work.shared {
        shared.forget_retrievals();
    }
    let next = AtomicUsize::new(0);
    let sink = Mutex::new(Sink { writer, observer, failures_in_a_row: 0, ended: None });
    let started = work.judge.clock.now();
    let worker = || {
        let clock =
            if work.shared.is_some() || work.in_flight > 1 { Clock::skipping() } else { work.judge.clock.clone() };
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((sample_number, sample)) =
                number.checked_div(work.cells.len()).and_then(|at| work.samples.get(at))
            else {
                return;
            };
            let Some((cell_number, parts)) = work.cells.get(number % work.cells.len()) else { return };
            if work.done.has(*cell_number, *sample_number) {
                continue;
            }
            let ended = if stop.load(Ordering::SeqCst) {
                Some(Ok(Finish::Interrupted))
            } else if work.most_s.is_some_and(|most| work.judge.clock.since(started).0 >= most) {
                Some(Ok(Finish::Aborted("the time of `max_hours` is up".to_owned())))
            } else {
                work.baton.with(|| one(work, sample, parts, &clock, &sink))
            };
            let mut sink = lock(&sink);
            if sink.ended.is_none() {
                sink.ended = ended;
            }
            if sink.ended.is_some() {
                return;
            }
        }
    };
    if work.in_flight > 1 {
        std::thread::scope(|scope| {
            for _ in 0..work.in_flight {
                scope.spawn(worker);
            }
        });
    } else {
        worker();
    }
    let ended = sink.into_inner().unwrap_or_else(PoisonError::into_inner).ended;
    ended.unwrap_or(Ok(Finish::Complete))
}

/// Makes one trial and writes it; why the run ends with it, where it does.
fn one(
    work: &Work<'_>,
    sample: &Sample,
    parts: &CellParts,
    clock: &Clock,
    sink: &Mutex<Sink<'_>>,
) -> Option<Result<Finish>> {
    let judge = &work.judge;
    let before = judge.energy.meter().read();
    let trial = if work.shared.is_none() && work.in_flight == 1 {
        trial::run(&sample.query, &context(parts, judge, judge.engines, &*parts.memory, clock))
    } else {
        let origin = Origin { cell: parts.cell.name.clone(), sample: sample.query.id.clone() };
        let repeat = parts.cell.repeat;
        let view = View { shared: work.shared.clone(), baton: &work.baton, clock, repeat, origin: origin.clone() };
        let engines = view.engines(judge.engines);
        match &work.shared {
            Some(shared) => {
                let memory = Recalled { inner: &*parts.memory, shared, repeat, origin: &origin };
                trial::run(&sample.query, &context(parts, judge, &engines, &memory, clock))
            }
            None => trial::run(&sample.query, &context(parts, judge, &engines, &*parts.memory, clock)),
        }
    };
    if was_interrupted(&trial) {
        return Some(Ok(Finish::Interrupted));
    }
    // Such a trial says nothing of its strategy, so it is not written.
    if let Some(why) = last_call(&trial) {
        return Some(Ok(Finish::Aborted(why)));
    }
    // What several trials do beside one another, or share, is not the energy of one.
    let alone = work.shared.is_none() && work.in_flight == 1;
    let worked = Seconds(metrics::local_seconds(|component| trial.spans.get(component).0));
    let energy = if alone { judge.energy.since(before, worked) } else { None };
    let written = judged(sample, parts, trial, energy, judge, clock).and_then(|record| {
        let line = RunWriter::line(&record)?;
        let mut sink = lock(sink);
        let place = sink.writer.append(&line)?;
        if let Some(shared) = &work.shared {
            shared.learn(identities(&record), place);
        }
        sink.observer.finished(&record);
        sink.failures_in_a_row = if record.scores.is_none() { sink.failures_in_a_row + 1 } else { 0 };
        if sink.failures_in_a_row < FAILURES_IN_A_ROW.max(work.in_flight).max(2 * work.cells.len()) {
            return Ok(None);
        }
        let last = record.trial.failure.map_or_else(|| "no reason was given".to_owned(), |f| f.message);
        Ok(Some(Finish::Aborted(format!("{} trials in a row failed; the last: {last}", sink.failures_in_a_row))))
    });
    written.transpose()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn context<'a>(
    parts: &'a CellParts,
    judge: &'a Judge<'a>,
    engines: &'a Engines,
    memory: &'a dyn Memory,
    clock: &'a Clock,
) -> CellContext<'a> {
    CellContext {
        name: &parts.cell.name,
        router: &*parts.router,
        memory,
        contract: judge.contract,
        contract_mode: parts.cell.contract,
        safety: judge.safety,
        confidence: parts.confidence,
        prompts: &parts.prompts,
        engines,
        fields: judge.fields,
        max_tokens: judge.max_tokens,
        temperature: judge.temperature,
        seed: parts.cell.seed,
        clock,
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
    clock: &Clock,
) -> Result<TrialRecord> {
    let start = clock.now();
    let scores = metrics::score(&sample.target, &trial, judge.ground)
        .map_err(|error| anyhow!("scoring sample {}: {error:#}", sample.query.id))?;
    let attempts_correct = metrics::attempts_correct(&sample.target, &trial);
    let cost = metrics::bill(&mut trial, judge.price, judge.hardware, energy);
    trial.conceal().map_err(|error| anyhow!("writing sample {}: {error:#}", sample.query.id))?;
    let scoring = clock.since(start);
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

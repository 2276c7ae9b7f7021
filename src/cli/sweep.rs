//! A run from its beginning, or from where it was left, to its tables. `bench` and `grid` are both this: pairs of models, each
//! with its cells, over the same samples.

use super::prepare::{Bench, Loaded, Setting, Weights, obtain, prepare};
use super::progress::Progress;
use super::setup::{Llm, Resolved, Slm};
use super::{Common, configuration, interrupt, output, report as report_verb, threads};
use crate::clock::{self, Clock};
use crate::device::{self, Roots, Watch};
use crate::error::{Context, Error, ExitStatus, Interrupted, Result, anyhow, usage};
use crate::grid::{self, Baton, Done, Finish, Shared, Work};
use crate::metrics::Budget;
use crate::nn::{Device, DeviceChoice};
use crate::record::{self, Cell, Plan, RunHeader, RunWriter, Shard, TrialRecord};
use crate::report::{self, Format};
use crate::task::Sample;
use crate::units::Usd;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Trials in flight where the LLM is behind an endpoint and nothing else is asked for.
const REMOTE_IN_FLIGHT: usize = 16;

/// What is to be run.
pub(super) struct Sweep {
    /// The pairs of models with their cells, in the order of work.
    pub(super) pairs: Vec<Resolved>,
    /// Whether it is a grid, whose figures are read along its axes.
    pub(super) grid: bool,
    pub(super) folder: PathBuf,
    /// Whether a run that stands in the folder is continued.
    pub(super) resume: bool,
    /// Whether its failed trials are made again.
    pub(super) retry_errors: bool,
    /// Whether what several cells need is computed once.
    pub(super) sharing: bool,
    pub(super) in_flight: Option<usize>,
    /// Which part of the samples, from 1, and of how many.
    pub(super) shard: Option<(usize, usize)>,
    /// The first samples alone, to see what they take.
    pub(super) only: Option<usize>,
    pub(super) max_hours: Option<f64>,
    pub(super) max_cost_usd: Option<f64>,
    pub(super) device: DeviceChoice,
    pub(super) threads: Option<usize>,
    pub(super) json: bool,
}

/// What was worked, and how it ended.
pub(super) struct Worked {
    pub(super) writer: RunWriter,
    pub(super) finish: Finish,
    /// Whether the header's end could be written.
    ended: Result<()>,
    /// Seconds of work, loading of models excepted.
    pub(super) seconds: f64,
}

impl Sweep {
    /// All cells.
    pub(super) fn cells(&self) -> Vec<Cell> {
        self.pairs.iter().flat_map(|pair| pair.cells.iter().cloned()).collect()
    }

    /// The samples of all parts, and those of this one.
    pub(super) fn samples(&self) -> (Vec<&Sample>, Vec<&Sample>) {
        let mut all = self.pairs.first().map(Resolved::samples).unwrap_or_default();
        all.truncate(self.only.unwrap_or(usize::MAX));
        let own = match self.shard {
            None => all.clone(),
            Some((index, of)) => all.iter().skip(index - 1).step_by(of).copied().collect(),
        };
        (all, own)
    }

    /// Trials in flight with one pair of models.
    fn in_flight(&self, pair: &Resolved) -> usize {
        match (self.in_flight, &pair.llm) {
            (Some(count), _) => count,
            (None, Llm::Endpoint { .. }) if self.grid => REMOTE_IN_FLIGHT,
            (None, _) => 1,
        }
    }
}

/// Runs it and shows what it found.
pub(super) fn run(sweep: &Sweep, common: &Common) -> Result<ExitStatus> {
    let Worked { writer, finish, ended, .. } = work(sweep, common)?;
    let status = conclude(&writer, finish, sweep.json, common.quiet)?;
    ended.map(|()| status)
}

/// Does the work.
pub(super) fn work(sweep: &Sweep, common: &Common) -> Result<Worked> {
    let quiet = common.quiet;
    let (all, samples) = sweep.samples();
    if samples.is_empty() {
        return Err(usage("there was nothing to do: the split has no samples, or this shard got none of them"));
    }
    let there = RunWriter::is_there(&sweep.folder);
    if !(sweep.resume && there) {
        RunWriter::check(&sweep.folder)?;
    }
    threads::bound(sweep.threads)?;
    let opened = Device::open(sweep.device)?;
    // Until here Ctrl-C ends the program, which a download survives; from here on it ends the run in good order.
    let weights = sweep.pairs.iter().map(|pair| obtain(pair, quiet)).collect::<Result<Vec<_>>>()?;
    let plan = Plan {
        grid: sweep.grid,
        configuration: configuration::of(sweep, &weights, &all),
        shard: sweep.shard.map(|(index, of)| Shard {
            index,
            of,
            samples: all.iter().map(|sample| sample.query.id.clone()).collect(),
        }),
    };
    let stop = interrupt::flag("the trial in work is left out, finished ones are kept")?;
    // Nobody waits for what was recorded, and the run's times are those of the recording.
    let plays = sweep.pairs.iter().any(|pair| matches!(pair.llm, Llm::Cassette { .. }));
    let clock = if plays { Clock::skipping() } else { Clock::real() };
    let shared = sweep.sharing.then(|| Arc::new(Shared::new(&sweep.folder)));
    let writer = if sweep.resume && there { Some(take_up(sweep, &plan, quiet)?) } else { None };
    let done = match &writer {
        Some(writer) => Done::of(&sweep.folder, writer.header(), sweep.retry_errors, shared.as_deref())?,
        None => Done::nothing(sweep.cells().len(), samples.len()),
    };
    let total = sweep.cells().len() * samples.len();
    if writer.is_some() && !quiet {
        let failed = match (done.failed(), sweep.retry_errors) {
            (0, _) => String::new(),
            (failed, true) => format!("; the {failed} that failed are made again"),
            (failed, false) => format!("; {failed} of them failed, which --retry-errors makes again"),
        };
        output::note(&format!("{} of {total} trials are on disk and are not made again{failed}", done.count()));
    }
    let spent = Usd(done.spent_usd());
    let budget = sweep.max_cost_usd.map(|most| Arc::new(Budget::with(Usd(most), spent)));
    let alone = !sweep.sharing && sweep.pairs.iter().all(|pair| sweep.in_flight(pair) == 1);
    let setting = Setting { device: &opened, quiet, stop: &stop, clock: &clock, budget, sharing: sweep.sharing, alone };
    let watch = Watch::start(&Roots::of_machine());
    let mut going =
        Going { sweep, plan, samples: &samples, common, setting, shared, done, writer, progress: None, drift: None };
    let finish = going.all(&weights);
    let Going { writer, progress, drift, .. } = going;
    let seconds = progress.as_ref().map_or(0.0, Progress::seconds);
    let Some(mut writer) = writer else {
        return Err(finish.err().unwrap_or_else(|| anyhow!("the run ended before its folder was made")));
    };
    let ended = match (&progress, &finish) {
        // Nothing was left to do: the header stands as it was.
        (None, Ok(_)) if writer.header().finished_at.is_some() => Ok(()),
        _ => writer.finish(|header| {
            header.finished_at = Some(clock::utc_string(clock::unix_time()));
            header.steadiness = Some(watch.end().with_drift(drift));
            if let Some(memory) = &mut header.memory {
                memory.peak_rss_bytes = device::peak_memory();
            }
            match &finish {
                Ok(Finish::Complete) => {}
                Ok(Finish::Interrupted) => header.interrupted = true,
                Ok(Finish::Aborted(why)) => header.aborted = Some(why.clone()),
                Err(error) => header.aborted = Some(format!("{error:#}")),
            }
        }),
    };
    let finish = finish.unwrap_or_else(|error| Finish::Aborted(format!("{error:#}")));
    if let Some(mut progress) = progress {
        progress.end(&finish);
    }
    Ok(Worked { writer, finish, ended, seconds })
}

/// Takes up a run where it stands, if it is the one that is asked for.
fn take_up(sweep: &Sweep, plan: &Plan, quiet: bool) -> Result<RunWriter> {
    let (mut writer, torn) = RunWriter::resume(&sweep.folder)?;
    let shown = sweep.folder.display();
    let Some(before) = &writer.header().plan else {
        return Err(usage(format!(
            "{shown} was made by a routergym-local that did not write down what was asked, so it cannot be continued; name another \
             folder with --out"
        )));
    };
    let changed = configuration::changes(&before.configuration, &plan.configuration);
    if !changed.is_empty() {
        return Err(usage(format!(
            "{shown} is a run of another configuration and cannot be continued with this one; name another folder with --out, or \
             take back what changed:\n{}",
            changed.join("\n")
        )));
    }
    if before.shard != plan.shard {
        let told = |shard: Option<&Shard>| {
            shard.map_or_else(|| "all samples".to_owned(), |shard| format!("the shard {}/{}", shard.index, shard.of))
        };
        return Err(usage(format!(
            "{shown} is a run of {}, and not of {}; name another folder with --out",
            told(before.shard.as_ref()),
            told(plan.shard.as_ref())
        )));
    }
    if torn > 0 && !quiet {
        output::note(&format!(
            "the last line of {shown}/trials.jsonl was torn: its {torn} bytes are cut off, and its trial is made again"
        ));
    }
    // What ended the run before is over: it goes on.
    let settled =
        writer.header().finished_at.is_some() && writer.header().aborted.is_none() && !writer.header().interrupted;
    if !settled || sweep.retry_errors {
        writer.change(|header| {
            header.resumed_at.push(clock::utc_string(clock::unix_time()));
            (header.finished_at, header.interrupted, header.aborted) = (None, false, None);
        })?;
    }
    Ok(writer)
}

/// A run in work.
struct Going<'a> {
    sweep: &'a Sweep,
    plan: Plan,
    samples: &'a [&'a Sample],
    common: &'a Common,
    setting: Setting<'a>,
    shared: Option<Arc<Shared>>,
    done: Done,
    writer: Option<RunWriter>,
    progress: Option<Progress>,
    /// How much longer the same call took after the last trial than before the first.
    drift: Option<f64>,
}

impl Going<'_> {
    /// Every pair of models in turn.
    fn all(&mut self, weights: &[Weights]) -> Result<Finish> {
        let mut loaded = Loaded::default();
        let mut first = 0;
        for (pair, weights) in self.sweep.pairs.iter().zip(weights) {
            let cells = first..first + pair.cells.len();
            let left = cells.clone().any(|cell| (0..self.samples.len()).any(|sample| !self.done.has(cell, sample)));
            if left || self.writer.is_none() {
                let bench = match prepare(pair, weights, &self.setting, &mut loaded, first) {
                    Ok(bench) => bench,
                    // Before there is a run, there is nothing to keep.
                    Err(error) if self.writer.is_none() => return Err(error),
                    Err(error) if error.downcast_ref::<Interrupted>().is_some() => return Ok(Finish::Interrupted),
                    Err(error) => return Err(error),
                };
                let finish = self.pair(pair, &bench)?;
                if finish != Finish::Complete {
                    return Ok(finish);
                }
            }
            first = cells.end;
        }
        Ok(Finish::Complete)
    }

    fn pair(&mut self, pair: &Resolved, bench: &Bench) -> Result<Finish> {
        self.head(pair, bench)?;
        let writer = self.writer.as_mut().context("the run has no folder")?;
        let progress = self.progress.get_or_insert_with(|| {
            Progress::new(writer.header(), &self.done, writer.folder(), self.common, self.setting.clock)
        });
        let samples: Vec<_> = self.samples.iter().copied().enumerate().collect();
        let in_flight = self.sweep.in_flight(pair);
        // Where nothing on this machine is measured, nobody need wait for it.
        let alone = in_flight == 1 || (matches!(pair.slm, Slm::Scripted { .. }) && !bench.embeds());
        let work = Work {
            samples: &samples,
            cells: &bench.cells,
            judge: bench.judge(self.setting.clock),
            done: &self.done,
            shared: self.shared.clone(),
            in_flight,
            baton: Arc::new(if alone { Baton::none() } else { Baton::one() }),
            most_s: self.sweep.max_hours.map(|hours| (hours * 3600.0 - progress.seconds()).max(0.0)),
        };
        let stop: &AtomicBool = self.setting.stop;
        let finish = grid::execute(&work, writer, progress, stop);
        if matches!(finish, Ok(Finish::Complete)) {
            self.drift = bench.drift(self.setting.clock);
        }
        let (adjustments, energy) = (bench.llm_adjustments(), bench.energy());
        if !adjustments.is_empty() || energy != writer.header().energy {
            writer.change(|header| {
                header.energy = energy;
                header.llm_adjustments.extend(adjustments);
                header.llm_adjustments.sort();
                header.llm_adjustments.dedup();
            })?;
        }
        finish
    }

    /// Writes into the header what is known now that a pair of models is loaded.
    fn head(&mut self, pair: &Resolved, bench: &Bench) -> Result<()> {
        let several = self.sweep.pairs.len() > 1;
        let (slm, llm) = (bench.header.slm.clone(), bench.header.llm.clone());
        let add = |header: &mut RunHeader| {
            if several {
                for model in [slm, llm] {
                    if !header.models.contains(&model) {
                        header.models.push(model);
                    }
                }
                let name = format!("{} with {}", pair.slm.model(), pair.llm.model());
                if let Some(settings) = header.settings.as_object_mut() {
                    let pairs = settings.entry("pairs").or_insert_with(|| serde_json::json!({}));
                    pairs[name] = bench.header.settings.clone();
                }
            }
        };
        if let Some(writer) = &mut self.writer {
            return if several { writer.change(add) } else { Ok(()) };
        }
        let folder = &self.sweep.folder;
        let mut header = RunHeader {
            id: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            cells: self.sweep.cells(),
            samples: self.samples.iter().map(|sample| sample.query.id.clone()).collect(),
            plan: Some(self.plan.clone()),
            ..bench.header.clone()
        };
        add(&mut header);
        self.writer = Some(RunWriter::create(folder, header)?);
        Ok(())
    }
}

/// Makes the tables from what is on disk, prints them, and decides the exit status.
fn conclude(writer: &RunWriter, finish: Finish, json: bool, quiet: bool) -> Result<ExitStatus> {
    let folders = [writer.folder().to_owned()];
    let found = report::collect_with(&folders, vec![writer.header().clone()])?;
    if found.trials == 0 {
        writer.discard();
        return Err(match finish {
            Finish::Interrupted => Error::new(Interrupted(
                "interrupted before the first trial was finished: nothing was measured".to_owned(),
            )),
            Finish::Aborted(why) => anyhow!("{why}"),
            Finish::Complete => usage("there was nothing to do: the split has no samples"),
        });
    }
    // Shown before it is written: a full disk must not hide what was found.
    let mut shown = report_verb::print_summary(&found, json);
    let written = report::write(writer.folder(), &found, &Format::DEFAULT);
    let note = format!(
        "the run is in {} (run.json, trials.jsonl, summary.json, .csv, .md, report.html)",
        writer.folder().display()
    );
    if !json {
        shown = shown.and_then(|()| output::text(&note));
    } else if !quiet {
        output::note(&note);
    }
    let status = match finish {
        Finish::Interrupted => {
            output::note("interrupted: the tables hold what was finished");
            Ok(ExitStatus::Interrupted)
        }
        Finish::Aborted(why) => Err(anyhow!("the run was stopped early and what it measured is kept: {why}")),
        Finish::Complete if found.summary.refused() => Err(anyhow!(
            "too many trials failed outside the models to judge every router; most often: {}",
            commonest_failure(writer.folder())?
        )),
        Finish::Complete => Ok(ExitStatus::Done),
    }?;
    written?;
    // Told last: why a run was stopped is worth more than why its tables, which are on disk as well, were not shown.
    shown.with_context(|| format!("{note}, but its tables could not be shown"))?;
    Ok(status)
}

/// The message of the failure that ended most trials.
fn commonest_failure(folder: &Path) -> Result<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let message = |record: TrialRecord, _| record.trial.failure.map(|failure| failure.message);
    record::each_trial(folder, message, |message| {
        if let Some(message) = message {
            *counts.entry(message).or_default() += 1;
        }
    })?;
    let commonest = counts.into_iter().max_by_key(|(_, count)| *count);
    Ok(commonest.map_or_else(|| "no reason was given".to_owned(), |(message, _)| message))
}

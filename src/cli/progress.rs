//! Progress of a run, on stderr: a bar on a terminal, a line now and then elsewhere; and in the file that `grid status` reads.

use super::{Common, output};
use crate::clock::{self, Clock, Moment};
use crate::grid::{Done, Finish, Observer, STATUS_FILE, Status, spent_usd};
use crate::metrics;
use crate::record::{RunHeader, TrialRecord, write_json};
use crate::trial::Outcome;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Off a terminal, a line is written after each such share of the work, and after so many seconds at the latest.
const LINES: usize = 10;
const LINE_EVERY_S: f64 = 60.0;
/// The status file is written so often, in seconds.
const STATUS_EVERY_S: f64 = 1.0;

/// Counts what was done and shows it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    verbose: bool,
    status: Status,
    path: PathBuf,
    /// Trials of each cell that are left.
    left: HashMap<String, usize>,
    /// Trials on disk when this process began.
    before: usize,
    priced: bool,
    spent: f64,
    clock: Clock,
    started: Moment,
    told: Moment,
    written: Moment,
}

impl Progress {
    /// Progress of a run of which something may be done.
    pub(super) fn new(header: &RunHeader, done: &Done, folder: &Path, common: &Common, clock: &Clock) -> Self {
        let quiet = common.quiet;
        let terminal = std::io::stderr().is_terminal();
        let trials = header.cells.len() * header.samples.len();
        let bar = (terminal && !quiet).then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} trials, {per_sec}, ETA {eta}  {msg}");
            let bar = ProgressBar::new(trials as u64).with_position(done.count() as u64);
            bar.reset_eta();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
            bar
        });
        let open = |cell: usize| (0..header.samples.len()).filter(|&sample| !done.has(cell, sample)).count();
        let left: HashMap<String, usize> =
            header.cells.iter().enumerate().map(|(number, cell)| (cell.name.clone(), open(number))).collect();
        let clock = clock.clone();
        let started = clock.now();
        let status = Status {
            state: "running".to_owned(),
            process: std::process::id(),
            trials,
            done: done.count(),
            cells: header.cells.len(),
            cells_done: left.values().filter(|left| **left == 0).count(),
            ..Status::default()
        };
        let mut progress = Self {
            bar,
            plain: !terminal && !quiet,
            verbose: common.verbose,
            status,
            path: folder.join(STATUS_FILE),
            left,
            before: done.count(),
            priced: header.llm_price.is_some(),
            spent: done.spent_usd(),
            clock,
            started,
            told: started,
            written: started,
        };
        progress.write();
        progress
    }

    /// Seconds of work so far.
    pub(super) fn seconds(&self) -> f64 {
        self.clock.since(self.started).0
    }

    /// Ends the display.
    pub(super) fn end(&mut self, finish: &Finish) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let (state, why) = match finish {
            Finish::Complete => ("complete", None),
            Finish::Interrupted => ("interrupted", None),
            Finish::Aborted(why) => ("stopped", Some(why.clone())),
        };
        (self.status.state, self.status.why) = (state.to_owned(), why);
        self.write();
    }

    fn failed(&self) -> usize {
        self.status.failures.values().sum()
    }

    fn counts(&self) -> String {
        let mut text = format!("{} escalated", self.status.escalated);
        if self.status.shared > 0 {
            let _ = write!(text, ", {} of {} attempts shared", self.status.shared, self.status.attempts);
        }
        if self.spent > 0.0 {
            let _ = write!(text, ", {:.4} USD", self.spent);
        }
        if self.failed() > 0 {
            let kinds: Vec<_> = self.status.failures.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let _ = write!(text, ", {} failed ({})", self.failed(), kinds.join(", "));
        }
        text
    }

    /// Whether a line is due. `done` counts the trials of the whole run.
    fn is_due(&self, done: usize) -> bool {
        let step = |done: usize| done * LINES / self.status.trials.max(1);
        step(done) > step(done - 1) || self.clock.since(self.told).0 >= LINE_EVERY_S
    }

    fn rate(&mut self) {
        let elapsed = self.seconds();
        self.status.trials_per_s = (self.status.done - self.before) as f64 / elapsed.max(1e-9);
        let left = (self.status.trials - self.status.done.min(self.status.trials)) as f64;
        self.status.eta_s = (self.status.trials_per_s > 0.0).then(|| left / self.status.trials_per_s);
    }

    /// Writes the status file. Who cannot read it misses nothing of the run, so that a failure is none of the run's.
    fn write(&mut self) {
        self.rate();
        self.written = self.clock.now();
        self.status.updated_at = clock::utc_string(clock::unix_time());
        self.status.spent_usd = self.priced.then_some(self.spent);
        let _ = write_json(&self.path, &self.status);
    }
}

impl Observer for Progress {
    fn finished(&mut self, record: &TrialRecord) {
        let status = &mut self.status;
        status.done += 1;
        status.escalated += usize::from(metrics::is_escalated(&record.trial));
        status.attempts += record.trial.attempts.len();
        status.shared += record.trial.attempts.iter().filter(|attempt| attempt.shared_from.is_some()).count();
        if record.trial.outcome == Outcome::Failed {
            let attempts = record.trial.attempts.iter().rev();
            let kind =
                record.trial.failure.iter().chain(attempts.filter_map(|attempt| attempt.failure.as_ref())).next();
            let name = kind.and_then(|failure| serde_json::to_value(failure.kind).ok());
            let name = name.as_ref().and_then(Value::as_str).unwrap_or("before_any_call");
            *status.failures.entry(name.to_owned()).or_default() += 1;
        }
        if let Some(left) = self.left.get_mut(&record.cell)
            && *left > 0
        {
            *left -= 1;
            status.cells_done += usize::from(*left == 0);
        }
        self.spent += spent_usd(record);
        if self.verbose {
            let line = told(record);
            match &self.bar {
                Some(bar) => bar.suspend(|| output::note(&line)),
                None => output::note(&line),
            }
        }
        let done = self.status.done;
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            if self.clock.since(self.told).0 >= 0.1 {
                self.told = self.clock.now();
                bar.set_message(self.counts());
            }
        } else if self.plain && self.is_due(done) {
            self.told = self.clock.now();
            self.rate();
            output::note(&format!(
                "{done}/{} trials, {:.2}/s, ETA {:.0} s, {}",
                self.status.trials,
                self.status.trials_per_s,
                self.status.eta_s.unwrap_or_default(),
                self.counts()
            ));
        }
        if self.clock.since(self.written).0 >= STATUS_EVERY_S {
            self.write();
        }
    }
}

/// One trial in one line.
fn told(record: &TrialRecord) -> String {
    let right = match record.scores.as_ref().and_then(|scores| scores.label_correct) {
        Some(true) => "right",
        Some(false) => "wrong",
        None => "not scored",
    };
    let models: Vec<_> = record.trial.attempts.iter().map(|attempt| attempt.model.as_str()).collect();
    let label = record.trial.prediction.label.as_deref().unwrap_or("no label");
    format!(
        "{} {}: {label} ({right}), {:.2} s, asked {}",
        record.sample,
        record.cell,
        record.trial.wall_s.0,
        models.join(", ")
    )
}

//! Progress of a run, on stderr: a bar on a terminal, a line now and then elsewhere.

use super::{Common, output};
use crate::clock::{Clock, Moment};
use crate::grid::Observer;
use crate::metrics;
use crate::record::TrialRecord;
use crate::trial::Outcome;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;

/// Off a terminal, a line is written after each such share of the work.
const LINES: u64 = 10;

/// Counts what was done and shows it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    verbose: bool,
    total: u64,
    done: u64,
    escalated: u64,
    failed: u64,
    clock: Clock,
    started: Moment,
}

impl Progress {
    /// Progress over `total` trials.
    pub(super) fn new(total: u64, common: &Common, clock: &Clock) -> Self {
        let quiet = common.quiet;
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} trials, {per_sec}, ETA {eta}  {msg}");
            let bar = ProgressBar::new(total);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
            bar
        });
        let clock = clock.clone();
        let started = clock.now();
        Self {
            bar,
            plain: !terminal && !quiet,
            verbose: common.verbose,
            total,
            done: 0,
            escalated: 0,
            failed: 0,
            clock,
            started,
        }
    }

    /// Ends the display.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn counts(&self) -> String {
        let mut text = format!("{} escalated", self.escalated);
        if self.failed > 0 {
            let _ = write!(text, ", {} failed", self.failed);
        }
        text
    }
}

impl Observer for Progress {
    fn finished(&mut self, record: &TrialRecord) {
        self.done += 1;
        self.escalated += u64::from(metrics::is_escalated(&record.trial));
        self.failed += u64::from(record.trial.outcome == Outcome::Failed);
        if self.verbose {
            let line = told(record);
            match &self.bar {
                Some(bar) => bar.suspend(|| output::note(&line)),
                None => output::note(&line),
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(self.counts());
        } else if self.plain && self.done * LINES / self.total.max(1) > (self.done - 1) * LINES / self.total.max(1) {
            let elapsed = self.clock.since(self.started).0;
            let rate = self.done as f64 / elapsed.max(1e-9);
            let left = (self.total - self.done.min(self.total)) as f64 / rate;
            output::note(&format!(
                "{}/{} trials, {rate:.2}/s, ETA {left:.0} s, {}",
                self.done,
                self.total,
                self.counts()
            ));
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

//! `grid --dry-run`: what would be done, and what it would take.

use super::LeftOut;
use crate::cli::Common;
use crate::cli::estimate::{Estimate, lengths, of_cell, slm_calls_of_cell};
use crate::cli::sweep::{self, Sweep};
use crate::contract::ContractMode;
use crate::error::{Context, Error, Interrupted, Result, anyhow, usage};
use crate::grid::{Done, Finish, spent_usd};
use crate::record::{Cell, RunWriter, TrialRecord, each_trial};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Cells that are listed at most; the rest is counted.
const MOST_LISTED: usize = 60;

/// The plan of a grid.
pub(super) struct Planned {
    cells: Vec<Cell>,
    left_out: Vec<LeftOut>,
    task: String,
    samples: usize,
    /// Trials that are on disk.
    done: usize,
    sharing: bool,
    /// Calls of small models cell by cell, and those that are distinct.
    slm: [(usize, usize); 2],
    /// The same of the LLMs, with their cost.
    llm: [Estimate; 2],
    /// Why there is no estimate of the time.
    calibration: std::result::Result<Calibration, String>,
}

/// What a few samples took.
struct Calibration {
    samples: usize,
    trials: usize,
    seconds: f64,
    bytes: u64,
    usd: Option<f64>,
    attempts: usize,
    computed: usize,
}

impl Planned {
    /// Plans a grid; with `calibrate`, answers so many samples to see what they take.
    pub(super) fn of(
        sweep: &mut Sweep,
        left_out: Vec<LeftOut>,
        calibrate: Option<usize>,
        common: &Common,
    ) -> Result<Self> {
        let samples = sweep.samples().1.len();
        let done = if RunWriter::is_there(&sweep.folder) {
            let header = crate::record::read_header(&sweep.folder)?;
            Done::of(&sweep.folder, &header, sweep.retry_errors, None)?.count()
        } else {
            0
        };
        let (slm, llm) = calls(sweep, samples);
        let calibration = match calibrate {
            Some(0) => return Err(usage("--calibrate takes at least 1 sample")),
            Some(count) => Ok(calibrated(sweep, count.min(samples), common)?),
            None => {
                Err("not measured: add --calibrate 2 to answer two samples and estimate the rest by them".to_owned())
            }
        };
        Ok(Self {
            cells: sweep.cells(),
            left_out,
            task: sweep.pairs.first().map(|pair| pair.task.name.clone()).unwrap_or_default(),
            samples,
            done,
            sharing: sweep.sharing,
            slm,
            llm,
            calibration,
        })
    }

    fn trials(&self) -> usize {
        self.cells.len() * self.samples
    }

    /// How much more there is than what was tried.
    fn scale(&self, of: &Calibration) -> f64 {
        (self.trials() - self.done.min(self.trials())) as f64 / of.trials.max(1) as f64
    }

    pub(super) fn json(&self) -> Value {
        let range = |(low, high): (usize, usize)| json!({"low": low, "high": high});
        let dollars = |usd: Option<(f64, f64)>| usd.map(|(low, high)| json!({"low": low, "high": high}));
        let reason = self.calibration.as_ref().err();
        let measured = self.calibration.as_ref().ok();
        json!({
            "task": self.task, "samples": self.samples, "cells": self.cells,
            "left_out": self.left_out.iter().map(|one| json!({"cell": one.name, "reason": one.why})).collect::<Vec<_>>(),
            "trials": self.trials(), "done": self.done, "sharing": self.sharing,
            "slm_calls": range(self.slm[0]), "slm_calls_distinct": range(self.slm[1]),
            "llm_calls": range(self.llm[0].calls), "llm_calls_distinct": range(self.llm[1].calls),
            "cost_usd": dollars(self.llm[usize::from(self.sharing)].usd),
            "cost_usd_reason": self.llm[0].usd.is_none().then_some("not priced"),
            "estimate": measured.map(|one| json!({
                "seconds": one.seconds * self.scale(one), "bytes": one.bytes as f64 * self.scale(one),
                "cost_usd": one.usd.map(|usd| usd * self.scale(one)), "by_samples": one.samples,
                "attempts_per_trial": one.attempts as f64 / one.trials.max(1) as f64,
                "computed_share": one.computed as f64 / one.attempts.max(1) as f64,
            })),
            "estimate_reason": reason,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "task      {} ({} samples)\ncells     {}, {} left out\ntrials    {}, {} of them on disk\nsharing   {}\n",
            self.task,
            self.samples,
            self.cells.len(),
            self.left_out.len(),
            self.trials(),
            self.done,
            if self.sharing {
                "what several cells need is computed once"
            } else {
                "off: everything is computed for every cell"
            }
        );
        let [(slm, slm_distinct), (llm, llm_distinct)] =
            [(self.slm[0], self.slm[1]), (self.llm[0].calls, self.llm[1].calls)];
        let range =
            |(low, high): (usize, usize)| if low == high { low.to_string() } else { format!("{low} to {high}") };
        let _ = writeln!(text, "SLM       {} calls, {} distinct", range(slm), range(slm_distinct));
        let _ = writeln!(text, "LLM       {} calls, {} distinct", range(llm), range(llm_distinct));
        let priced = self.llm[usize::from(self.sharing)].usd;
        let told = priced.map_or("not priced".to_owned(), |(low, high)| {
            format!("{low:.4} to {high:.4} USD as estimated from the texts' lengths")
        });
        let _ = writeln!(text, "cost      {told}");
        match &self.calibration {
            Err(reason) => {
                let _ = writeln!(text, "time      {reason}\ndisk      {reason}");
            }
            Ok(one) => {
                let scale = self.scale(one);
                let _ = writeln!(
                    text,
                    "measured  {} samples in all cells: {:.1} s, {} attempts of which {} were computed{}",
                    one.samples,
                    one.seconds,
                    one.attempts,
                    one.computed,
                    one.usd.map_or_else(String::new, |usd| format!(", {usd:.4} USD"))
                );
                let _ = writeln!(
                    text,
                    "time      {} for what is left, loading of models apart",
                    duration(one.seconds * scale)
                );
                let _ = writeln!(text, "disk      {:.1} MB", one.bytes as f64 * scale / 1e6);
                if let Some(usd) = one.usd {
                    let _ = writeln!(text, "cost      {:.4} USD by what these samples cost", usd * scale);
                }
            }
        }
        for cell in self.cells.iter().take(MOST_LISTED) {
            let _ = writeln!(text, "  {}", cell.name);
        }
        if self.cells.len() > MOST_LISTED {
            let _ = writeln!(text, "  and {} more", self.cells.len() - MOST_LISTED);
        }
        for one in self.left_out.iter().take(MOST_LISTED) {
            let _ = writeln!(text, "  left out: {} ({})", one.name, one.why);
        }
        if self.left_out.len() > MOST_LISTED {
            let _ = writeln!(text, "  left out: {} more", self.left_out.len() - MOST_LISTED);
        }
        text.trim_end().to_owned()
    }
}

fn duration(seconds: f64) -> String {
    if seconds >= 3600.0 { format!("{:.1} h", seconds / 3600.0) } else { format!("{seconds:.0} s") }
}

/// Calls of small models and of LLMs: cell by cell, and distinct ones. Two cells ask a model the same where they agree in what
/// its prompt and its choice of tokens hang on; whether they agree in repairs too is known only afterwards.
fn calls(sweep: &Sweep, samples: usize) -> ([(usize, usize); 2], [Estimate; 2]) {
    let mut slm = [(0, 0); 2];
    let none = || Estimate { calls: (0, 0), usd: Some((0.0, 0.0)) };
    let (mut all, mut once) = (none(), none());
    let mut slm_keys: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut llm_keys: BTreeMap<String, Estimate> = BTreeMap::new();
    for pair in &sweep.pairs {
        let mut bytes = lengths(pair);
        bytes.truncate(samples);
        for cell in &pair.cells {
            let drawn = if pair.args.temperature > 0.0 { cell.seed.to_string() } else { String::new() };
            let constrained = cell.contract == ContractMode::Constrain;
            let hangs_on = format!("{}/{constrained}/{drawn}/{}", cell.memory.name(), cell.repeat);
            let of_slm = slm_calls_of_cell(pair, cell, bytes.len());
            slm[0] = (slm[0].0 + of_slm.0, slm[0].1 + of_slm.1);
            let key = slm_keys.entry(format!("{}/{hangs_on}", cell.slm)).or_default();
            *key = (key.0.max(of_slm.0), key.1.max(of_slm.1));
            let of_llm = of_cell(pair, cell, &bytes);
            all.add(&of_llm);
            llm_keys.entry(format!("{}/{hangs_on}", cell.llm)).and_modify(|key| key.cover(&of_llm)).or_insert(of_llm);
        }
    }
    slm[1] = slm_keys.values().fold((0, 0), |sum, key| (sum.0 + key.0, sum.1 + key.1));
    for key in llm_keys.values() {
        once.add(key);
    }
    (slm, [all, once])
}

/// Answers a few samples in all cells, in a folder that is removed.
fn calibrated(sweep: &mut Sweep, count: usize, common: &Common) -> Result<Calibration> {
    let folder = tempfile::tempdir().context("making a folder for the calibration")?;
    let before = (sweep.folder.clone(), sweep.only, sweep.shard);
    (sweep.folder, sweep.only, sweep.shard) = (folder.path().join("run"), Some(count), None);
    let worked = sweep::work(sweep, common);
    (sweep.folder, sweep.only, sweep.shard) = before;
    let worked = worked?;
    match &worked.finish {
        Finish::Complete => {}
        Finish::Interrupted => return Err(Error::new(Interrupted("interrupted while calibrating".to_owned()))),
        Finish::Aborted(why) => return Err(anyhow!("calibrating was stopped early: {why}")),
    }
    let run = worked.writer.folder();
    let mut found = Calibration {
        samples: count,
        trials: 0,
        seconds: worked.seconds,
        bytes: std::fs::metadata(run.join("trials.jsonl")).map_or(0, |file| file.len()),
        usd: worked.writer.header().llm_price.as_ref().map(|_| 0.0),
        attempts: 0,
        computed: 0,
    };
    let counted = |record: TrialRecord, _| {
        let own = record.trial.attempts.iter().filter(|attempt| attempt.shared_from.is_none()).count();
        (record.trial.attempts.len(), own, spent_usd(&record))
    };
    each_trial(run, counted, |(attempts, computed, usd)| {
        found.trials += 1;
        found.attempts += attempts;
        found.computed += computed;
        found.usd = found.usd.map(|sum| sum + usd);
    })?;
    Ok(found)
}

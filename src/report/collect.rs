//! From the folders of runs to everything that a report is made of. A run of a million trials passes through here as rows;
//! whole records are read again for the few that are shown.

use crate::error::{Result, usage};
use crate::metrics::details::{Details, Shown, details, evenly_over, worth_showing};
use crate::metrics::{Rows, Summary, draft, summarise_rows};
use crate::record::{self, Cell, Place, RunHeader, TrialRecord};
use crate::replay::{Options, Replay, outcomes_of_rows, replay};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Trials that the page lists at most.
pub(super) const LISTED_TRIALS: usize = 600;
/// Samples that the page shows in full at most.
const GALLERY_SAMPLES: usize = 24;
/// Policies whose answers to them are read at most.
pub(super) const GALLERY_POLICIES: usize = 8;
/// Resamples behind the intervals of the curve: as many as `replay` takes unless it is told otherwise.
const REPLAY_DRAWS: usize = 1000;

/// Everything that a report is made of.
#[derive(Debug)]
pub struct Report {
    /// The header of the run, or one that stands for several.
    pub header: RunHeader,
    /// The headers of the runs, in the order given.
    pub runs: Vec<RunHeader>,
    /// Their folders.
    pub(super) folders: Vec<PathBuf>,
    /// The figures.
    pub summary: Summary,
    /// The figures that only the page shows.
    pub details: Details,
    /// What `replay` finds in the same runs, or why it finds nothing.
    pub replay: std::result::Result<Replay, String>,
    /// Trials recorded.
    pub trials: usize,
    /// Whether the last line of a run was torn by a crash and left out.
    pub torn: bool,
    /// Samples that are worth looking at, with their records by cell.
    pub(super) gallery: Vec<Sample>,
    /// Samples whose trials are listed.
    pub(super) listed: Vec<Sample>,
}

/// A sample with its records, one for each cell that has one.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) id: String,
    pub(super) records: Vec<Option<TrialRecord>>,
}

/// Reads runs and makes their figures.
pub fn collect(folders: &[PathBuf]) -> Result<Report> {
    let headers = folders.iter().map(|folder| record::read_header(folder)).collect::<Result<Vec<_>>>()?;
    collect_with(folders, headers)
}

/// The same with headers that are in memory: the end of a run is known even where the disk is full.
pub fn collect_with(folders: &[PathBuf], runs: Vec<RunHeader>) -> Result<Report> {
    let header = merged(&runs, folders)?;
    let mut rows = Rows::default();
    let mut torn = false;
    for (run, folder) in runs.iter().zip(folders) {
        rows.begin(run);
        let of_cell: HashMap<&str, &str> = run.cells.iter().map(|cell| (&*cell.name, &*cell.slm)).collect();
        let slm_of = |trial: &TrialRecord| match of_cell.get(&*trial.cell) {
            Some(slm) if !run.models.is_empty() => slm,
            _ => &*run.slm.model,
        };
        let mut seen = 0_usize;
        let size = std::fs::metadata(folder.join("trials.jsonl")).map_or(0, |file| file.len());
        let mut bytes = 0_u64;
        let make = |trial: TrialRecord, place: Place| (draft(&trial, place, slm_of(&trial)), place);
        torn |= record::each_trial(folder, make, |(draft, place)| {
            seen += 1;
            bytes = place.offset + u64::from(place.length);
            // Once a part is read, what the rest takes can be told, and rows need not be moved as they grow.
            if seen == 2000 {
                rows.reserve(((size - bytes.min(size)) as f64 / bytes.max(1) as f64 * seen as f64 * 1.05) as usize);
            }
            rows.take(draft);
        })?;
    }
    let summary = summarise_rows(&header, &rows);
    let details = details(&header, &rows, &summary);
    let gallery = worth_showing(&header, &rows, GALLERY_SAMPLES);
    let listed = evenly_over(&header, &rows, (LISTED_TRIALS / header.cells.len().max(1)).max(1));
    let margin = summary.verdict.margin;
    let options = Options { margin, draws: REPLAY_DRAWS, seed: 0 };
    let replay = outcomes_of_rows(&runs, &rows).and_then(|outcomes| replay(&outcomes, &options));
    Ok(Report {
        gallery: samples(folders, &rows, gallery, GALLERY_POLICIES)?,
        listed: samples(folders, &rows, listed, LISTED_TRIALS)?,
        trials: rows.len(),
        replay: replay.map_err(|reason| reason.0),
        header,
        folders: folders.to_vec(),
        runs,
        summary,
        details,
        torn,
    })
}

/// Reads the records of chosen samples again, those of the first `cells` cells.
fn samples(folders: &[PathBuf], rows: &Rows, shown: Vec<Shown>, cells: usize) -> Result<Vec<Sample>> {
    let mut places: Vec<Vec<(usize, usize, Place)>> = vec![Vec::new(); folders.len()];
    let mut found: Vec<Sample> = Vec::with_capacity(shown.len());
    for (at, one) in shown.iter().enumerate() {
        for (cell, (run, place)) in one.places.iter().enumerate().take(cells).filter_map(|(c, p)| Some((c, (*p)?))) {
            if let Some(of_run) = places.get_mut(run as usize) {
                of_run.push((at, cell, place));
            }
        }
        let id = rows.sample(one.sample).to_owned();
        found.push(Sample { id, records: one.places.iter().map(|_| None).collect() });
    }
    for (folder, wanted) in folders.iter().zip(&places) {
        if wanted.is_empty() {
            continue;
        }
        // Whole records are large: each is cut down to what is shown before the next is read.
        for (at, cell, place) in wanted {
            let record = record::read_at(folder, std::slice::from_ref(place))?.pop();
            if let Some(slot) = found.get_mut(*at).and_then(|sample| sample.records.get_mut(*cell)) {
                *slot = record.map(lighter);
            }
        }
    }
    Ok(found)
}

/// A record without what no page shows.
fn lighter(mut record: TrialRecord) -> TrialRecord {
    for attempt in &mut record.trial.attempts {
        attempt.tokens = Vec::new();
        if let Some(verdict) = &mut attempt.verdict {
            verdict.value = None;
        }
    }
    record
}

/// One header for runs of the same task, split and models. A cell whose name stands in several runs is named with its seed or its
/// run.
fn merged(runs: &[RunHeader], folders: &[PathBuf]) -> Result<RunHeader> {
    let Some(first) = runs.first() else { return Err(usage("name the folder of a run")) };
    if runs.len() == 1 {
        return Ok(first.clone());
    }
    for (run, folder) in runs.iter().zip(folders) {
        let differs = differing(first, run);
        if let Some((what, ours, theirs)) = differs {
            return Err(usage(format!(
                "{} cannot stand in one report with {}: its {what} is {theirs} and not {ours}; make a report of each",
                folder.display(),
                folders.first().map_or_else(|| "the first".into(), |folder| folder.display().to_string()),
            )));
        }
    }
    let mut header = first.clone();
    header.id = runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>().join(" + ");
    header.cells = cells(runs);
    header.interrupted = runs.iter().any(|run| run.interrupted);
    header.aborted = runs.iter().find_map(|run| run.aborted.clone());
    header.finished_at = if runs.iter().any(|run| run.finished_at.is_none()) {
        None
    } else {
        runs.last().and_then(|run| run.finished_at.clone())
    };
    let same_price = runs.iter().all(|run| run.llm_price == first.llm_price);
    header.llm_price = header.llm_price.filter(|_| same_price);
    let same_machine = runs.iter().all(|run| run.hardware_price == first.hardware_price);
    header.hardware_price = header.hardware_price.filter(|_| same_machine);
    let mut seen: HashSet<&str> = HashSet::new();
    header.samples.clear();
    for run in runs {
        let new = run.samples.iter().filter(|sample| seen.insert(sample.as_str()));
        header.samples.extend(new.cloned());
        for adjustment in &run.llm_adjustments {
            if !header.llm_adjustments.contains(adjustment) {
                header.llm_adjustments.push(adjustment.clone());
            }
        }
    }
    Ok(header)
}

fn differing<'a>(first: &'a RunHeader, run: &'a RunHeader) -> Option<(&'static str, &'a str, &'a str)> {
    let pairs = [
        ("task", &*first.task, &*run.task),
        ("task's content", &*first.task_sha256, &*run.task_sha256),
        ("split", first.split.name(), run.split.name()),
        ("SLM", &*first.slm.model, &*run.slm.model),
        ("LLM", &*first.llm.model, &*run.llm.model),
    ];
    pairs.into_iter().find(|(_, ours, theirs)| ours != theirs)
}

fn cells(runs: &[RunHeader]) -> Vec<Cell> {
    let all = || runs.iter().flat_map(|run| run.cells.iter().map(move |cell| (run, cell)));
    let mut uses: HashMap<(&str, Option<u64>), usize> = HashMap::new();
    for (_, cell) in all() {
        *uses.entry((&cell.name, None)).or_default() += 1;
        *uses.entry((&cell.name, Some(cell.seed))).or_default() += 1;
    }
    let count = |name: &str, seed| uses.get(&(name, seed)).copied().unwrap_or_default();
    all()
        .map(|(run, cell)| {
            let name = match (count(&cell.name, None), count(&cell.name, Some(cell.seed))) {
                (1, _) => cell.name.clone(),
                (_, 1) => format!("{}/seed-{}", cell.name, cell.seed),
                _ => format!("{}/{}", cell.name, run.id),
            };
            Cell { name, ..cell.clone() }
        })
        .collect()
}

/// The folder that a report goes to where none is named: that of its run.
pub fn default_folder(folders: &[PathBuf]) -> Result<&Path> {
    match folders {
        [one] => Ok(one),
        _ => Err(usage("a report of several runs needs a folder of its own: name it with --out")),
    }
}

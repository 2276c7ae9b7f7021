//! Shards of a run, put together.
//!
//! What comes out depends on nothing but the records: the trials stand in the order of the samples and cells, so that merging
//! again, in whatever order, also with a merged run among the parts, gives the same files.

use crate::error::{Context, Result, anyhow, usage};
use crate::record::{
    Place, Plan, RunHeader, RunLock, TrialRecord, each_trial, is_locked, read_header, write_json, write_with,
};
use crate::trial::Outcome;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Shards that a message names at most.
const MOST_NAMED: usize = 12;

/// What was put together.
#[derive(Debug)]
pub struct Merged {
    /// The header of the whole.
    pub header: RunHeader,
    /// Trials of the whole.
    pub trials: usize,
    /// Trials that stood in several parts, and are the same in them.
    pub repeated: usize,
    /// What is missing of the whole, in sentences; empty where nothing is.
    pub missing: Vec<String>,
}

/// A part: a folder with its header.
struct Part {
    folder: PathBuf,
    header: RunHeader,
}

/// Where a trial stands.
#[derive(Clone, Copy)]
struct Entry {
    part: usize,
    place: Place,
    failed: bool,
}

/// By the number of the sample, and of the cell.
type Entries = HashMap<(u32, u32), Entry>;

/// Puts the shards in these folders together in the folder `out`.
pub fn merge(folders: &[PathBuf], out: &Path) -> Result<Merged> {
    let parts = folders.iter().map(|folder| part(folder)).collect::<Result<Vec<_>>>()?;
    let Some(first) = parts.first() else { return Err(usage("name the folders of the shards")) };
    for other in &parts {
        belongs(first, other)?;
    }
    let samples = all_samples(&first.header).to_vec();
    let (entries, repeated) = entries(&parts, &samples)?;
    let missing = missing(&parts, &samples, &entries);
    let header = header(&parts, samples, &missing, out);
    check_out(out, &header)?;
    std::fs::create_dir_all(out).with_context(|| format!("creating the folder {}", out.display()))?;
    let _lock = RunLock::take(out)?;
    write_trials(&parts, &entries, &out.join("trials.jsonl"))?;
    write_json(&out.join("run.json"), &header)?;
    Ok(Merged { header, trials: entries.len(), repeated, missing })
}

fn part(folder: &Path) -> Result<Part> {
    if is_locked(folder) == Some(true) {
        return Err(usage(format!("{} is still in work: merge it when its process has ended", folder.display())));
    }
    Ok(Part { folder: folder.to_owned(), header: read_header(folder)? })
}

fn plan(part: &Part) -> Result<&Plan> {
    part.header.plan.as_ref().ok_or_else(|| {
        usage(format!(
            "{} does not say what it was asked to do, so that nobody can tell whether it belongs to the others: it was made by an \
             older routergym-local",
            part.folder.display()
        ))
    })
}

/// The ids of the samples of the whole.
fn all_samples(header: &RunHeader) -> &[String] {
    header.plan.as_ref().and_then(|plan| plan.shard.as_ref()).map_or(&header.samples, |shard| &shard.samples)
}

/// Refuses a part of another run.
fn belongs(first: &Part, other: &Part) -> Result<()> {
    let (ours, theirs) = (plan(first)?, plan(other)?);
    let refused = |why: String| {
        Err(usage(format!(
            "{} and {} are shards of different runs: {why}",
            first.folder.display(),
            other.folder.display()
        )))
    };
    let names: std::collections::BTreeSet<&String> =
        ours.configuration.keys().chain(theirs.configuration.keys()).collect();
    let changed: Vec<_> = names
        .into_iter()
        .filter(|name| ours.configuration.get(*name) != theirs.configuration.get(*name))
        .map(String::as_str)
        .collect();
    if !changed.is_empty() {
        return refused(format!("they differ in {}", changed.join(", ")));
    }
    if let (Some(one), Some(two)) = (&ours.shard, &theirs.shard)
        && one.of != two.of
    {
        return refused(format!("one is of {} shards, the other of {}", one.of, two.of));
    }
    if all_samples(&first.header) != all_samples(&other.header) {
        return refused("they list other samples".to_owned());
    }
    Ok(())
}

/// Where every trial stands; of several of one cell and sample, the first that did not fail.
fn entries(parts: &[Part], samples: &[String]) -> Result<(Entries, usize)> {
    let samples: HashMap<&str, u32> = samples.iter().map(String::as_str).zip(0..).collect();
    let cells = parts.first().map_or(&[][..], |part| &part.header.cells);
    let cells: HashMap<&str, u32> = cells.iter().map(|cell| cell.name.as_str()).zip(0..).collect();
    let (mut entries, mut repeated) = (Entries::new(), 0);
    for (number, part) in parts.iter().enumerate() {
        let mut twice: Vec<((u32, u32), Entry)> = Vec::new();
        let make = |record: TrialRecord, place: Place| {
            let key = samples.get(&*record.sample).copied().zip(cells.get(&*record.cell).copied());
            let failed = record.trial.outcome == Outcome::Failed;
            (key, Entry { part: number, place, failed })
        };
        each_trial(&part.folder, make, |(key, entry)| {
            let Some(key) = key else { return };
            match entries.get(&key).copied() {
                None => {
                    entries.insert(key, entry);
                }
                Some(kept) if kept.failed && !entry.failed => {
                    entries.insert(key, entry);
                }
                Some(kept) if kept.part == entry.part || entry.failed => {}
                Some(_) => twice.push((key, entry)),
            }
        })?;
        for (key, entry) in twice {
            let Some(kept) = entries.get(&key) else { continue };
            if line(&parts[kept.part], kept.place)? != line(part, entry.place)? {
                return Err(usage(format!(
                    "{} and {} hold different trials of one cell and sample (byte {} and byte {} of trials.jsonl): the same shard \
                     was run twice; leave one of them out",
                    parts[kept.part].folder.display(),
                    part.folder.display(),
                    kept.place.offset,
                    entry.place.offset
                )));
            }
            repeated += 1;
        }
    }
    Ok((entries, repeated))
}

fn line(part: &Part, place: Place) -> Result<Vec<u8>> {
    let path = part.folder.join("trials.jsonl");
    let mut file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    read_line(&mut file, place).with_context(|| format!("reading byte {} of {}", place.offset, path.display()))
}

/// A line without its end: the last one of a file may lack it.
fn read_line(file: &mut File, place: Place) -> std::io::Result<Vec<u8>> {
    let mut line = vec![0; place.length as usize];
    file.seek(SeekFrom::Start(place.offset))?;
    file.read_exact(&mut line)?;
    while line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(line)
}

/// What is missing of the whole, by shards.
fn missing(parts: &[Part], samples: &[String], entries: &Entries) -> Vec<String> {
    let cells = parts.first().map_or(0, |part| part.header.cells.len());
    let shards = parts.iter().filter_map(|part| part.header.plan.as_ref()?.shard.as_ref());
    let of = shards.map(|shard| shard.of).next().unwrap_or(1);
    let mut found: Vec<String> = Vec::new();
    let mut absent: Vec<String> = Vec::new();
    for index in 0..of {
        let own = || (index..samples.len()).step_by(of);
        let wanted = own().count() * cells;
        let there =
            own().map(|sample| (0..cells).filter(|&cell| entries.contains_key(&(sample as u32, cell as u32))).count());
        let there: usize = there.sum();
        if there == 0 && wanted > 0 {
            absent.push(format!("{}/{of}", index + 1));
        } else if there < wanted {
            found.push(format!("{} of {wanted} trials of the shard {}/{of} are missing", wanted - there, index + 1));
        }
    }
    if !absent.is_empty() {
        let named = absent.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = absent.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        found.insert(0, format!("of these shards nothing is there: {named}{more}"));
    }
    found
}

fn header(parts: &[Part], samples: Vec<String>, missing: &[String], out: &Path) -> RunHeader {
    // A run that was merged before is no shard: what is true of the first shard is true of it.
    let mut ordered: Vec<&RunHeader> = parts.iter().map(|part| &part.header).collect();
    ordered.sort_by_key(|header| {
        (header.plan.as_ref().and_then(|plan| Some(plan.shard.as_ref()?.index)), header.started_at.clone())
    });
    let mut whole = ordered.first().map_or_else(|| parts[0].header.clone(), |header| (*header).clone());
    whole.id = out.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    whole.samples = samples;
    if let Some(plan) = &mut whole.plan {
        plan.shard = None;
    }
    whole.started_at = ordered.iter().map(|header| header.started_at.clone()).min().unwrap_or_default();
    let ends: Option<Vec<String>> = ordered.iter().map(|header| header.finished_at.clone()).collect();
    whole.finished_at = ends.and_then(|ends| ends.into_iter().max());
    whole.interrupted = false;
    whole.aborted = (!missing.is_empty()).then(|| format!("not all of it is there: {}", missing.join("; ")));
    if whole.aborted.is_some() {
        whole.finished_at = whole.finished_at.or_else(|| Some(whole.started_at.clone()));
    }
    let mut adjustments: Vec<String> = ordered.iter().flat_map(|header| header.llm_adjustments.clone()).collect();
    adjustments.sort();
    adjustments.dedup();
    whole.llm_adjustments = adjustments;
    for model in ordered.iter().flat_map(|header| header.models.clone()) {
        if !whole.models.contains(&model) {
            whole.models.push(model);
        }
    }
    whole
}

/// Refuses a folder that holds something else than an earlier merge of the same run.
fn check_out(out: &Path, header: &RunHeader) -> Result<()> {
    if !out.join("run.json").exists() {
        if out.join("trials.jsonl").exists() {
            return Err(usage(format!(
                "{} holds trials without a header; name another folder with --out",
                out.display()
            )));
        }
        return Ok(());
    }
    let there = read_header(out)?;
    let same = |one: &RunHeader, two: &RunHeader| {
        let configuration = |header: &RunHeader| header.plan.as_ref().map(|plan| plan.configuration.clone());
        configuration(one) == configuration(two)
    };
    match there.plan.as_ref().map(|plan| plan.shard.is_some()) {
        Some(false) if same(&there, header) => Ok(()),
        Some(true) => Err(usage(format!("{} is itself a shard; name another folder with --out", out.display()))),
        _ => Err(usage(format!("{} holds another run; name another folder with --out", out.display()))),
    }
}

/// Writes the trials, sample by sample, all cells in turn.
fn write_trials(parts: &[Part], entries: &Entries, path: &Path) -> Result<()> {
    let mut order: Vec<(&(u32, u32), &Entry)> = entries.iter().collect();
    order.sort_unstable_by_key(|(key, _)| **key);
    let mut files = parts
        .iter()
        .map(|part| {
            let path = part.folder.join("trials.jsonl");
            File::open(&path).with_context(|| format!("opening {}", path.display()))
        })
        .collect::<Result<Vec<_>>>()?;
    write_with(path, |file| {
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        for (_, entry) in order {
            let file = files.get_mut(entry.part).ok_or_else(|| std::io::Error::other(anyhow!("a part is gone")))?;
            writer.write_all(&read_line(file, entry.place)?)?;
            writer.write_all(b"\n")?;
        }
        writer.flush()
    })
}

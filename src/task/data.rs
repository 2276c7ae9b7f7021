//! From rows to samples: the column mapping, splits and the checks that a single row can fail.

use super::files::{self, Fingerprint};
use super::problem::{Problems, quoted, suggestion};
use super::rows::{self, Row};
use super::spec::{ColumnSpec, TaskSpec};
use super::{Query, Sample, Split, Target, split};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A single text may not be larger, in bytes.
const LARGEST_TEXT: usize = 1 << 20;

/// What a row is checked against.
pub(super) struct Known<'a> {
    /// The labels; `None` where the data itself makes them.
    pub(super) labels: Option<BTreeSet<&'a str>>,
    /// The ids of all articles; `None` where they could not all be read.
    pub(super) articles: Option<BTreeSet<&'a str>>,
}

/// Reads all samples, in file order, and gives each its split.
pub(super) fn read(
    spec: &TaskSpec,
    spec_file: &Path,
    dir: &Path,
    known: &Known,
    fingerprint: &mut Fingerprint,
    problems: &mut Problems,
) -> Vec<Sample> {
    let columns = &spec.data.columns;
    let mut samples = Vec::new();
    let mut places: HashMap<String, (PathBuf, usize)> = HashMap::new();
    for (fixed, file) in data_files(spec, spec_file, problems) {
        let file = dir.join(file);
        if !files::admit(&file, files::LARGEST_DATA, problems) {
            continue;
        }
        let part = fixed.map_or("row", Split::name);
        if let Err(error) = fingerprint.add_file(&format!("data/{part}"), &file) {
            problems.push(&file, None, format!("cannot be read: {error}"));
            continue;
        }
        rows::read(&file, &columns.named(), problems, &mut |row, problems| match sample(
            &row, columns, fixed, part, known,
        ) {
            Err(reasons) => reasons.into_iter().for_each(|reason| problems.push(&file, Some(row.line), reason)),
            Ok(sample) => {
                if let Some((other, line)) = places.get(&sample.query.id) {
                    let first = if *other == file { String::new() } else { format!("{}:", other.display()) };
                    let id = quoted(&sample.query.id);
                    let reason = format!("the id {id} is already that of line {first}{line}; ids must differ");
                    return problems.push(&file, Some(row.line), reason);
                }
                places.insert(sample.query.id.clone(), (file.clone(), row.line));
                samples.push(sample);
            }
        });
    }
    if columns.split.is_none() && spec.data.file.is_some() {
        split::cut(&mut samples, spec.data.split_seed);
    }
    samples
}

/// The files to read, each with the split of all its rows.
fn data_files<'a>(spec: &'a TaskSpec, spec_file: &Path, problems: &mut Problems) -> Vec<(Option<Split>, &'a PathBuf)> {
    let data = &spec.data;
    let parts: Vec<_> = [(Split::Train, &data.train), (Split::Dev, &data.dev), (Split::Test, &data.test)]
        .into_iter()
        .filter_map(|(split, file)| Some((Some(split), file.as_ref()?)))
        .collect();
    let mut refuse = |reason: &str| {
        problems.push(spec_file, None, reason);
        Vec::new()
    };
    match &data.file {
        None if parts.is_empty() => refuse("[data] names no file: give `file`, or `train`, `dev` and `test`"),
        Some(_) if !parts.is_empty() => {
            refuse("[data] names `file` as well as a file for a split: give one or the other")
        }
        None if data.columns.split.is_some() => {
            refuse("[data] names a file for each split as well as a column `split`: give one or the other")
        }
        None if data.test.is_none() => refuse("[data] names no `test` file: without test rows nothing can be scored"),
        Some(file) => vec![(None, file)],
        None => parts,
    }
}

/// One row as a sample, or everything that is wrong with it.
fn sample(
    row: &Row,
    columns: &ColumnSpec,
    fixed: Option<Split>,
    part: &str,
    known: &Known,
) -> Result<Sample, Vec<String>> {
    let mut reasons = Vec::new();
    let id = match &columns.id {
        None => format!("{part}-{:06}", row.number),
        Some(column) => required(row.name(column), row, "id", column, &mut reasons),
    };
    let input = required(row.text(&columns.input), row, "input", &columns.input, &mut reasons);
    if input.len() > LARGEST_TEXT {
        reasons.push(format!("{} is longer than 1 MiB; is a closing quote missing?", quoted(&columns.input)));
    }
    let label = required(row.name(&columns.target), row, "target", &columns.target, &mut reasons);
    if let Some(labels) = &known.labels
        && !label.is_empty()
        && !labels.contains(label.as_str())
    {
        reasons.push(format!("unknown label {}; {}", quoted(&label), suggestion(&label, labels.iter().copied())));
    }
    let mut split = fixed.unwrap_or(Split::Test);
    if let Some(column) = &columns.split {
        let name = required(row.name(column), row, "split", column, &mut reasons);
        match Split::parse(&name) {
            Some(named) => split = named,
            None if name.is_empty() => {}
            None => reasons.push(format!("unknown split {}; write train, dev or test", quoted(&name))),
        }
    }
    let articles = optional(columns.articles.as_ref(), |column| row.names(column), &mut reasons);
    if let Some(articles) = &articles
        && let Some(ids) = &known.articles
    {
        for id in articles.iter().filter(|id| !ids.contains(id.as_str())) {
            reasons.push(format!("unknown article {}; {}", quoted(id), suggestion(id, ids.iter().copied())));
        }
    }
    let target = Target {
        label: Some(label),
        articles,
        facts: optional(columns.facts.as_ref(), |column| row.facts(column), &mut reasons),
        needs_human: optional(columns.needs_human.as_ref(), |column| row.truth(column), &mut reasons).flatten(),
        answerable: optional(columns.answerable.as_ref(), |column| row.truth(column), &mut reasons).flatten(),
        answer: optional(columns.answer.as_ref(), |column| row.text(column), &mut reasons).flatten(),
    };
    let difficulty = optional(columns.difficulty.as_ref(), |column| row.name(column), &mut reasons).flatten();
    let tags = optional(columns.tags.as_ref(), |column| row.names(column), &mut reasons).unwrap_or_default();
    if reasons.is_empty() {
        Ok(Sample { query: Query { id, input }, target, split, difficulty, tags })
    } else {
        Err(reasons)
    }
}

/// A cell that must be there; empty, and a reason, where it is not.
fn required(
    cell: Result<Option<String>, String>,
    row: &Row,
    key: &str,
    column: &str,
    reasons: &mut Vec<String>,
) -> String {
    match cell {
        Ok(Some(text)) => return text,
        Ok(None) => reasons.push(row.missing(key, column)),
        Err(reason) => reasons.push(reason),
    }
    String::new()
}

/// A cell of a column that the task may leave out.
fn optional<T>(
    column: Option<&String>,
    read: impl FnOnce(&str) -> Result<T, String>,
    reasons: &mut Vec<String>,
) -> Option<T> {
    read(column?).map_err(|reason| reasons.push(reason)).ok()
}

//! From files to a checked [`Task`].

use super::data::{self, Known};
use super::files::{self, Fingerprint};
use super::problem::{Problem, Problems, listed, quoted, suggestion};
use super::spec::{self, LabelSpec, TaskSpec};
use super::{Article, Label, Sample, Specialist, Split, Task, answer, corpus, knowledge};
use crate::error::{Result, usage};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// `task.toml` and the text of the static memory may not be larger, in bytes.
const LARGEST_TEXT: u64 = 1 << 20;
/// More labels than this do not fit into a prompt: the target column is probably the wrong one.
const MOST_LABELS: usize = 1000;

/// Loads `DIR/task.toml` (or a `task.toml` by its own path); any problem is an error that lists the first few.
pub fn load(path: &Path) -> Result<Task> {
    let file = locate(path)?;
    let mut problems = Problems::default();
    match read(&file, &mut problems) {
        Some(task) if problems.total() == 0 => Ok(task),
        _ => Err(problems.into_error(&file)),
    }
}

/// Every problem of a task, bad row by bad row; empty when it can be loaded.
pub fn check(path: &Path) -> Result<Vec<Problem>> {
    let file = locate(path)?;
    let mut problems = Problems::default();
    read(&file, &mut problems);
    Ok(problems.into_list())
}

/// The `task.toml` that a folder or a file stands for.
fn locate(path: &Path) -> Result<PathBuf> {
    let file = if path.is_dir() { path.join("task.toml") } else { path.to_owned() };
    if file.is_file() {
        Ok(file)
    } else if path.is_dir() {
        Err(usage(format!("the folder {} holds no task.toml; write one, or name another folder", path.display())))
    } else {
        Err(usage(format!("there is no task at {}: name a folder that holds a task.toml", path.display())))
    }
}

/// Reads everything. A task with problems is `None` where they leave nothing to go on with.
fn read(file: &Path, problems: &mut Problems) -> Option<Task> {
    let dir = file.parent().map(Path::to_owned).unwrap_or_default();
    let text = files::read_text(file, LARGEST_TEXT, problems)?;
    let spec = spec::parse(file, &text).map_err(|problem| problems.add(problem)).ok()?;
    let mut fingerprint = Fingerprint::default();
    fingerprint.add("task.toml", text.as_bytes());
    let place = Place { file, text: &text };

    let named = named_labels(&spec.label, place, problems);
    let (articles, static_memory, articles_complete) = read_knowledge(&spec, file, &dir, &mut fingerprint, problems);
    let known = Known {
        labels: (!named.is_empty()).then(|| named.iter().map(|label| label.name.as_str()).collect()),
        articles: articles_complete.then(|| articles.iter().map(|article| article.id.as_str()).collect()),
    };
    if spec.knowledge.is_none() && spec.data.columns.articles.is_some() {
        problems.push(file, None, "data.columns.articles is given without a [knowledge] that holds the articles");
    }
    let samples = data::read(&spec, file, &dir, &known, &mut fingerprint, problems);
    let rows_are_sound = problems.total() == 0;

    let labels = if named.is_empty() { distinct_labels(&samples, file, problems) } else { named };
    let specialists = specialists(&spec, &labels, place, rows_are_sound, problems);
    let examples_per_label = if rows_are_sound {
        check_splits(&samples, file, problems);
        examples_per_label(&spec, &labels, &samples, file, problems)
    } else {
        0
    };
    let schema = answer::schema(&spec.answer, file, &dir, &labels, &mut fingerprint, problems)?;
    let schema_references = answer::references(&spec.answer, &schema, file, &dir, &mut fingerprint, problems);
    Some(Task {
        name: spec.name,
        description: spec.description,
        dir,
        sha256: fingerprint.hexadecimal(),
        labels,
        samples,
        articles,
        static_memory,
        system_prompt: spec.prompt.system.trim().to_owned(),
        examples_per_label,
        schema,
        schema_references,
        schema_formats: spec.answer.formats,
        label_field: spec.answer.label,
        answer_field: spec.answer.answer,
        citations_field: spec.answer.citations,
        needs_human_field: spec.answer.needs_human,
        specialists,
        safety: spec.safety,
    })
}

/// A specification's file and text, to say on which line a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn complain(self, about: &toml::Spanned<String>, reason: String, problems: &mut Problems) {
        problems.push(self.file, Some(spec::line_of(self.text, about.span().start)), reason);
    }
}

fn named_labels(specs: &[LabelSpec], place: Place, problems: &mut Problems) -> Vec<Label> {
    let mut seen = BTreeMap::new();
    for label in specs {
        let name = label.name.get_ref();
        if name.trim().is_empty() || name.trim() != name {
            place.complain(
                &label.name,
                format!("the label {} is empty or has blanks around it", quoted(name)),
                problems,
            );
        }
        if let Some(other) = seen.insert(name.to_lowercase(), name) {
            let reason = format!(
                "the label {} is too like {}: labels must differ in more than case",
                quoted(name),
                quoted(other)
            );
            place.complain(&label.name, reason, problems);
        }
    }
    specs
        .iter()
        .map(|label| Label { name: label.name.get_ref().clone(), description: label.description.trim().to_owned() })
        .collect()
}

fn distinct_labels(samples: &[Sample], file: &Path, problems: &mut Problems) -> Vec<Label> {
    let names: BTreeSet<&String> = samples.iter().filter_map(|sample| sample.target.label.as_ref()).collect();
    if names.len() > MOST_LABELS {
        let reason = format!(
            "the target column has {} distinct values; at most {MOST_LABELS} labels are possible: is it the right column?",
            names.len()
        );
        problems.push(file, None, reason);
        return Vec::new();
    }
    let mut seen = BTreeMap::new();
    for name in &names {
        if let Some(other) = seen.insert(name.to_lowercase(), *name) {
            let reason = format!("the labels {} and {} of the data differ only in case", quoted(other), quoted(name));
            problems.push(file, None, reason);
        }
    }
    names.into_iter().map(|name| Label { name: name.clone(), description: String::new() }).collect()
}

/// The articles, the text of the static memory, and whether every article could be read.
fn read_knowledge(
    spec: &TaskSpec,
    spec_file: &Path,
    dir: &Path,
    fingerprint: &mut Fingerprint,
    problems: &mut Problems,
) -> (Vec<Article>, Option<String>, bool) {
    let Some(given) = &spec.knowledge else { return (Vec::new(), None, false) };
    let before = problems.total();
    let articles = match (&given.folder, &given.file) {
        (Some(folder), None) => knowledge::read(&dir.join(folder), fingerprint, problems),
        (None, Some(file)) => corpus::read_rows(&dir.join(file), fingerprint, problems),
        (folder, _) => {
            let named = if folder.is_some() {
                "`folder` as well as `file`: give one or the other"
            } else {
                "no articles: give `folder` or `file`"
            };
            problems.push(spec_file, None, format!("[knowledge] names {named}"));
            Vec::new()
        }
    };
    let complete = problems.total() == before;
    let static_memory = match &given.static_text {
        None => None,
        Some(path) => {
            let file = dir.join(path);
            let text = files::read_text(&file, LARGEST_TEXT, problems);
            if let Some(text) = &text {
                fingerprint.add("static", text.as_bytes());
                if text.trim().is_empty() {
                    problems.push(&file, None, "the text of the static memory is empty");
                }
            }
            text.map(|text| text.trim().to_owned())
        }
    };
    (articles, static_memory, complete)
}

fn specialists(
    spec: &TaskSpec,
    labels: &[Label],
    place: Place,
    labels_are_sound: bool,
    problems: &mut Problems,
) -> Vec<Specialist> {
    let mut seen = BTreeSet::new();
    for specialist in &spec.specialist {
        let domain = specialist.domain.get_ref();
        let known = labels.iter().any(|label| label.name == *domain);
        // Labels that come from the data cannot be told from a file that was not read.
        if !known && (labels_are_sound || !spec.label.is_empty()) {
            let near = suggestion(domain, labels.iter().map(|label| label.name.as_str()));
            let reason = format!("the specialist's domain {} is no label; {near}", quoted(domain));
            place.complain(&specialist.domain, reason, problems);
        }
        if !seen.insert(domain) {
            let reason = format!("the domain {} has two specialists", quoted(domain));
            place.complain(&specialist.domain, reason, problems);
        }
    }
    let text = |text: &Option<String>| text.as_ref().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    spec.specialist
        .iter()
        .map(|specialist| Specialist {
            domain: specialist.domain.get_ref().clone(),
            model: text(&specialist.model),
            prompt: text(&specialist.prompt),
        })
        .collect()
}

fn check_splits(samples: &[Sample], file: &Path, problems: &mut Problems) {
    if samples.is_empty() {
        problems.push(file, None, "the data has no rows");
    } else if !samples.iter().any(|sample| sample.split == Split::Test) {
        problems.push(file, None, "the data has no test rows: without them nothing can be scored");
    }
}

fn examples_per_label(
    spec: &TaskSpec,
    labels: &[Label],
    samples: &[Sample],
    file: &Path,
    problems: &mut Problems,
) -> usize {
    let mut rows: BTreeMap<&str, usize> = labels.iter().map(|label| (label.name.as_str(), 0)).collect();
    for sample in samples.iter().filter(|sample| sample.split == Split::Train) {
        if let Some(count) = sample.target.label.as_deref().and_then(|label| rows.get_mut(label)) {
            *count += 1;
        }
    }
    let fewest = rows.values().copied().min().unwrap_or(0);
    let Some(wanted) = spec.prompt.examples_per_label else { return fewest.min(1) };
    if wanted > fewest {
        let poor = listed(rows.iter().filter(|(_, count)| **count < wanted).map(|(label, _)| *label));
        let reason = format!(
            "prompt.examples_per_label is {wanted}, but the train split has fewer rows of: {poor}; add rows or ask for fewer examples"
        );
        problems.push(file, None, reason);
    }
    wanted
}

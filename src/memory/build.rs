//! From a specification to a memory.

use super::chunk::ENCODER_WORDS;
use super::gate;
use super::index::{Encoder, Kept, Source};
use super::prompt::Added;
use super::recall::{Dynamic, Episodic, Fixed, Nothing, Salience};
use super::retriever::{Retriever, RetrieverKind, open_index};
use super::select::{CANDIDATES_PER_PASSAGE, Limits};
use super::{CountTokens, Embed, Example, Memory, MemoryKind};
use crate::clock::Clock;
use crate::error::{Context, Result, usage};
use crate::task::{Article, Split, Task};
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;

/// Queries of the train split that the gate is fitted on, at most; they are taken evenly from the whole split.
const FIT_LIMIT: usize = 512;
/// Seconds between notes on the progress of embedding.
const NOTE_EVERY_S: f64 = 5.0;

/// How the memory is to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct MemorySpec {
    /// Which.
    pub kind: MemoryKind,
    /// How passages are found.
    pub retriever: RetrieverKind,
    /// Passages, or solved samples, at most.
    pub top_k: usize,
    /// Tokens of passages at most (salience, episodic).
    pub token_budget: usize,
    /// The relevance gate (salience), as [`super::Hit::relevance`] counts; `None` fits it on the train split, where the task
    /// has gold article ids, and else takes one that suits the retriever.
    pub gate: Option<f64>,
}

/// What memories are made with.
#[derive(Clone)]
pub struct MemoryParts {
    /// The sentence encoder; `None` where nothing retrieves by meaning.
    pub embed: Option<Arc<dyn Embed>>,
    /// SHA-256 of the encoder's weights.
    pub encoder_sha256: String,
    /// Counts the tokens of a conversation with the model's own template and tokenizer.
    pub count_tokens: CountTokens,
    /// The folder below which indexes are kept; `None` keeps none.
    pub indexes: Option<PathBuf>,
    /// The clock.
    pub clock: Clock,
}

/// Builds a memory over a task's knowledge, or over its solved samples. `note` hears what the user should know.
pub fn build(
    spec: &MemorySpec,
    task: &Task,
    parts: &MemoryParts,
    note: &mut dyn FnMut(&str),
) -> Result<Box<dyn Memory>> {
    let added = Added::new(Arc::clone(&parts.count_tokens));
    Ok(match spec.kind {
        MemoryKind::None => Box::new(Nothing),
        MemoryKind::Static => {
            let written = task.static_memory.clone();
            let made = || (!task.articles.is_empty()).then(|| overview(&task.articles));
            let is_data = written.is_none();
            let text = written.or_else(made).ok_or_else(|| {
                usage(format!(
                    "the static memory needs a text, and task {} has none; name one as `static` under [knowledge] in \
                     task.toml, or choose another memory",
                    task.name
                ))
            })?;
            Box::new(Fixed::new(text, is_data, &added))
        }
        MemoryKind::Dynamic => {
            Box::new(Dynamic { retriever: knowledge(spec, task, parts, note)?, top_k: spec.top_k, added })
        }
        MemoryKind::Salience => {
            let retriever = knowledge(spec, task, parts, note)?;
            let gate = match spec.gate {
                Some(gate) => gate,
                None => fit_gate(&retriever, task, spec.top_k)?.unwrap_or_else(|| gate::default(spec.retriever)),
            };
            let limits = Limits { top_k: spec.top_k, token_budget: spec.token_budget, gate };
            Box::new(Salience { retriever, limits, added })
        }
        MemoryKind::Episodic => episodic(spec, task, parts, added, note)?,
    })
}

/// The static memory of a task that names none: what there is to know about, in one line each.
fn overview(articles: &[Article]) -> String {
    articles.iter().map(|article| format!("{}: {}", article.id, article.title)).collect::<Vec<_>>().join("\n")
}

/// The retriever over the task's articles.
fn knowledge(spec: &MemorySpec, task: &Task, parts: &MemoryParts, note: &mut dyn FnMut(&str)) -> Result<Retriever> {
    check(spec)?;
    if task.articles.is_empty() {
        return Err(usage(format!(
            "the memory retrieves from a knowledge base, and task {} has none; name a folder or a file under [knowledge] in \
             task.toml, or choose the memory none, static or episodic",
            task.name
        )));
    }
    index(spec.retriever, &task.articles, "knowledge", task, parts, note)
        .with_context(|| format!("indexing the knowledge base of task {}", task.name))
}

/// The memory of solved samples: those of the train split that have every part of a right answer.
fn episodic(
    spec: &MemorySpec,
    task: &Task,
    parts: &MemoryParts,
    added: Added,
    note: &mut dyn FnMut(&str),
) -> Result<Box<dyn Memory>> {
    check(spec)?;
    let solved: Vec<Example> = task
        .split(Split::Train)
        .filter_map(|sample| {
            let (id, input) = (sample.query.id.clone(), sample.query.input.clone());
            Some(Example { id, input, answer: task.gold_answer(&sample.target)? })
        })
        .collect();
    if solved.is_empty() {
        return Err(usage(format!(
            "the episodic memory recalls solved samples, and the train split of task {} has none with every part of an \
             answer; add train rows, or choose another memory",
            task.name
        )));
    }
    let whole =
        |example: &Example| Article { id: example.id.clone(), title: String::new(), text: example.input.clone() };
    let articles: Vec<Article> = solved.iter().map(whole).collect();
    let retriever = index(spec.retriever, &articles, "solved", task, parts, note)
        .with_context(|| format!("indexing the solved samples of task {}", task.name))?;
    Ok(Box::new(Episodic { retriever, solved, top_k: spec.top_k, token_budget: spec.token_budget, added }))
}

fn check(spec: &MemorySpec) -> Result<()> {
    if spec.top_k == 0 {
        return Err(usage("the memory may take 0 passages; ask for at least 1, or choose the memory none"));
    }
    if let Some(gate) = spec.gate.filter(|gate| !(-1.0..=1.0).contains(gate)) {
        return Err(usage(format!("the memory's gate is {gate}, but relevance lies between -1 and 1")));
    }
    Ok(())
}

/// A retriever over articles; `what` tells the indexes of one task apart. Solved samples are not cut.
fn index(
    kind: RetrieverKind,
    articles: &[Article],
    what: &str,
    task: &Task,
    parts: &MemoryParts,
    note: &mut dyn FnMut(&str),
) -> Result<Retriever> {
    // What is joined is no file: only the task's folder can be made absolute.
    let dir = std::fs::canonicalize(&task.dir).unwrap_or_else(|_| task.dir.clone());
    let folder = parts.indexes.as_ref().map(|folder| super::index_folder(folder, &dir.join(what)));
    let kept = folder.as_deref().map(|folder| Kept { folder, fresh: false });
    let source = Source {
        fingerprint: fingerprint(articles),
        articles: &|| Ok((articles.to_vec(), Vec::new())),
        most_words: if what == "solved" { usize::MAX } else { ENCODER_WORDS },
    };
    let encoder = parts.embed.as_deref().map(|embed| Encoder { embed, sha256: &parts.encoder_sha256 });
    let mut last = parts.clock.now();
    let mut tell = |done: usize, all: usize| {
        if parts.clock.since(last).0 >= NOTE_EVERY_S {
            last = parts.clock.now();
            note(&format!("{done} of {all} passages are embedded"));
        }
    };
    let (index, opening) = open_index(&source, &[kind], encoder, kept, &parts.clock, &mut tell)?;
    opening.notes.iter().for_each(|text| note(text));
    Ok(Retriever::new(kind, index, parts.embed.clone()))
}

/// SHA-256 of articles.
fn fingerprint(articles: &[Article]) -> String {
    let mut hasher = Sha256::new();
    for text in articles.iter().flat_map(|article| [&article.id, &article.title, &article.text]) {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    format!("{:x}", hasher.finalize())
}

/// The gate by the train split's gold article ids, over the candidates that salience would have for `top_k` passages. Only
/// this and the episodic memory read targets, those of the train split, before any query is answered.
pub fn fit_gate(retriever: &Retriever, task: &Task, top_k: usize) -> Result<Option<f64>> {
    let judged: Vec<(&str, &[String])> = task
        .split(Split::Train)
        .filter_map(|sample| Some((sample.query.input.as_str(), sample.target.articles.as_deref()?)))
        .collect();
    let step = judged.len().div_ceil(FIT_LIMIT).max(1);
    let (queries, gold): (Vec<&str>, Vec<&[String]>) = judged.into_iter().step_by(step).unzip();
    let vectors = retriever.embed(&queries).context("fitting the memory's gate on the train split")?;
    let mut candidates: Vec<(f64, bool)> = Vec::new();
    for ((query, vector), gold) in queries.iter().zip(&vectors).zip(gold) {
        for hit in retriever.search(query, vector.as_deref(), top_k.saturating_mul(CANDIDATES_PER_PASSAGE))? {
            let id = retriever.index().passage(hit.place).0;
            candidates.push((hit.relevance, gold.iter().any(|gold| gold == id)));
        }
    }
    Ok(gate::fit(&candidates))
}

//! `eval memory`: how well retrievers find what people judged relevant, and how fast.

use super::super::cells::index_store;
use super::super::{Common, output, threads};
use crate::clock::Clock;
use crate::error::{Context, ExitStatus, Result, bail, usage};
use crate::memory::{
    self, ENCODER_WORDS, Embed, Encoder, Index, Kept, Limits, MemoryKind, Opened, Opening, Retriever, RetrieverKind,
    Source,
};
use crate::metrics::statistics::quantile;
use crate::metrics::{RetrievalScores, mean_retrieval, retrieval};
use crate::models::{ENCODER, Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, SentenceEncoder};
use crate::task::{self, Corpus, Judgements, Split, Task};
use clap::builder::{FalseyValueParser, PossibleValue};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Words of a row at most that is taken as one passage: who wrote the rows cut them already.
const ROW_WORDS: usize = 512;
/// Articles that are judged of every query.
const DEPTH: usize = 10;
/// Seconds between notes on the progress of embedding.
const NOTE_EVERY_S: f64 = 10.0;

/// Arguments of `eval memory`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct MemoryArgs {
    /// What is searched: a folder of .md and .txt files, or a .jsonl, .csv or .tsv file with _id, title and text
    #[arg(long, value_name = "PATH", requires_all = ["queries", "qrels"], required_unless_present = "task", env = "ROUTERGYM_CORPUS")]
    corpus: Option<PathBuf>,
    /// The queries: a .jsonl, .csv or .tsv file with _id and text
    #[arg(long, value_name = "FILE", requires = "corpus", env = "ROUTERGYM_QUERIES")]
    queries: Option<PathBuf>,
    /// The judgements: lines of query id, passage id and grade
    #[arg(long, value_name = "FILE", requires = "corpus", env = "ROUTERGYM_QRELS")]
    qrels: Option<PathBuf>,
    /// Instead: a task's articles, and the gold article ids of its samples
    #[arg(long, value_name = "NAME|DIR", env = "ROUTERGYM_TASK")]
    task: Option<String>,
    /// The split whose samples are the queries (--task)
    #[arg(long, value_enum, default_value = "test", env = "ROUTERGYM_SPLIT")]
    split: Split,
    /// What is judged; several are compared
    #[arg(long = "memory", value_enum, value_delimiter = ',', default_value = "hybrid", env = "ROUTERGYM_MEMORY")]
    memories: Vec<Judge>,
    /// What salience chooses from
    #[arg(long, value_enum, default_value = "hybrid", env = "ROUTERGYM_RETRIEVER")]
    retriever: RetrieverKind,
    /// Relevance that a passage must reach (salience) [default: fitted on the task's train split; else one that suits the
    /// retriever]
    #[arg(long, allow_negative_numbers = true, env = "ROUTERGYM_GATE")]
    gate: Option<f64>,
    /// How many queries at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_LIMIT")]
    limit: usize,
    /// The folder below which indexes are kept [default: routergym-local/indexes in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "ROUTERGYM_INDEX")]
    index: Option<PathBuf>,
    /// Build the index anew, whatever is kept
    #[arg(long, env = "ROUTERGYM_REBUILD", value_parser = FalseyValueParser::new())]
    rebuild: bool,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto", env = "ROUTERGYM_DEVICE")]
    device: DeviceChoice,
    /// Threads [default: the machine's cores, as far as they are lent to this program]
    #[arg(long, value_name = "N", env = "ROUTERGYM_THREADS")]
    threads: Option<usize>,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What can be judged: a retriever, or salience over one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judge {
    Retriever(RetrieverKind),
    Salience,
}

impl ValueEnum for Judge {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Judge; 6] = [
            Judge::Retriever(RetrieverKind::Bm25),
            Judge::Retriever(RetrieverKind::Bm25English),
            Judge::Retriever(RetrieverKind::Dense),
            Judge::Retriever(RetrieverKind::Hybrid),
            Judge::Retriever(RetrieverKind::HybridRrf),
            Judge::Salience,
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Retriever(kind) => kind.to_possible_value(),
            Self::Salience => {
                let help =
                    "Of --retriever's passages those that reach a gate, in the order of maximal marginal relevance";
                Some(PossibleValue::new(MemoryKind::Salience.name()).help(help))
            }
        }
    }
}

impl Judge {
    fn name(self) -> &'static str {
        match self {
            Self::Retriever(kind) => kind.name(),
            Self::Salience => MemoryKind::Salience.name(),
        }
    }

    fn retriever(self, args: &MemoryArgs) -> RetrieverKind {
        match self {
            Self::Retriever(kind) => kind,
            Self::Salience => args.retriever,
        }
    }
}

/// Runs the verb.
pub(in crate::cli) fn run(args: &MemoryArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    if let Some(gate) = args.gate.filter(|gate| !(-1.0..=1.0).contains(gate)) {
        return Err(usage(format!("--gate is a relevance between -1 and 1, not {gate}")));
    }
    threads::check(args.threads)?;
    threads::bound(args.threads)?;
    let note = |text: &str| {
        if !common.quiet {
            output::note(text);
        }
    };
    let input = Input::read(args)?;
    let clock = Clock::real();
    let kinds: Vec<RetrieverKind> = args.memories.iter().map(|memory| memory.retriever(args)).collect();
    let encoder =
        if kinds.iter().any(|kind| kind.embeds()) { Some(load_encoder(args, network, common)?) } else { None };
    let (index, opening, fingerprint) = open(args, &input, &kinds, encoder.as_ref(), &clock, &note)?;
    let mut told: Vec<String> = input.judgements.problems.iter().map(ToString::to_string).collect();
    told.extend(index.problems().map(str::to_owned));
    told.iter().chain(&opening.notes).for_each(|text| note(text));

    let mut results = Vec::new();
    for &memory in &args.memories {
        let embed = encoder.as_ref().map(|(embed, _)| Arc::clone(embed));
        let retriever = Retriever::new(memory.retriever(args), Arc::clone(&index), embed);
        let judged = judge(args, memory, &retriever, &input, &clock)?;
        let kind = retriever.kind();
        let parts: Vec<&Opened> = opening.parts.iter().filter(|part| kind.needs(part)).collect();
        results.push(report(memory, &judged, &index, &input, &parts));
    }
    let shared = json!({
        "corpus_sha256": fingerprint, "encoder": encoder.as_ref().map(|_| ENCODER),
        "encoder_sha256": encoder.as_ref().map(|(_, sha256)| sha256), "problems": told,
    });
    let all = match <[Map<String, Value>; 1]>::try_from(results) {
        Ok([mut only]) => {
            only.extend(shared.as_object().cloned().unwrap_or_default());
            Value::Object(only)
        }
        Err(many) => {
            let mut all = Map::new();
            all.insert("retrievers".to_owned(), many.into());
            all.extend(shared.as_object().cloned().unwrap_or_default());
            Value::Object(all)
        }
    };
    output::data(&if args.json { all.to_string() } else { text(&all) })?;
    Ok(ExitStatus::Done)
}

/// What is searched, and what is asked.
struct Input {
    corpus: Option<Corpus>,
    task: Option<Task>,
    judgements: Judgements,
}

impl Input {
    fn read(args: &MemoryArgs) -> Result<Self> {
        let mut input = match (&args.corpus, &args.queries, &args.qrels, &args.task) {
            (Some(corpus), Some(queries), Some(qrels), _) => {
                let corpus = Some(Corpus::at(corpus)?);
                Self { corpus, task: None, judgements: Judgements::read(queries, qrels)? }
            }
            (_, _, _, Some(name)) => {
                let task = task::load(&task::find(name)?)?;
                if task.articles.is_empty() {
                    return Err(usage(format!("the task {} has no knowledge base to search in", task.name)));
                }
                Self { corpus: None, judgements: Judgements::of_task(&task, args.split), task: Some(task) }
            }
            _ => return Err(usage("--corpus, --queries and --qrels belong together; or name a task with --task")),
        };
        if input.judgements.queries.is_empty() {
            let problems = &input.judgements.problems;
            let shown: Vec<String> = problems.iter().take(20).map(|problem| format!("\n  {problem}")).collect();
            return Err(usage(format!(
                "no query has a relevant passage: {} queries without one, {} judged queries without a text; do the ids of \
                 the queries and of the judgements belong together?{}",
                input.judgements.unjudged,
                input.judgements.unknown,
                shown.concat()
            )));
        }
        if args.limit > 0 {
            input.judgements.queries.truncate(args.limit);
        }
        Ok(input)
    }
}

type Loaded = (Arc<dyn Embed>, String);

fn load_encoder(args: &MemoryArgs, network: Network, common: &Common) -> Result<Loaded> {
    let local = Store::open(network)?.obtain(ENCODER, Kind::Encoder, common.quiet)?;
    let encoder = SentenceEncoder::load(&local.path, &Device::open(args.device)?)?;
    Ok((Arc::new(encoder), local.sha256))
}

fn open(
    args: &MemoryArgs,
    input: &Input,
    kinds: &[RetrieverKind],
    encoder: Option<&Loaded>,
    clock: &Clock,
    note: &dyn Fn(&str),
) -> Result<(Arc<Index>, Opening, String)> {
    let read = || match (&input.corpus, &input.task) {
        (Some(corpus), _) => {
            let (articles, problems) = corpus.read()?;
            Ok((articles, problems.iter().map(ToString::to_string).collect()))
        }
        (None, Some(task)) => Ok((task.articles.clone(), Vec::new())),
        (None, None) => bail!("there is nothing to search in"),
    };
    let (fingerprint, place) = match (&input.corpus, &input.task) {
        (Some(corpus), _) => (corpus.fingerprint()?, corpus.path().to_owned()),
        (None, Some(task)) => (task.sha256.clone(), task.dir.clone()),
        (None, None) => bail!("there is nothing to search in"),
    };
    let rows = matches!(input.corpus, Some(Corpus::Rows(_)));
    let source = Source {
        fingerprint: fingerprint.clone(),
        articles: &read,
        most_words: if rows { ROW_WORDS } else { ENCODER_WORDS },
    };
    let folder = match &args.index {
        Some(folder) => Some(folder.clone()),
        None => index_store(),
    };
    let folder = folder.map(|folder| memory::index_folder(&folder, &place));
    let kept = folder.as_deref().map(|folder| Kept { folder, fresh: args.rebuild });
    let encoder = encoder.map(|(embed, sha256)| Encoder { embed: &**embed, sha256 });
    let mut last = clock.now();
    let mut tell = |done: usize, all: usize| {
        if clock.since(last).0 >= NOTE_EVERY_S {
            last = clock.now();
            note(&format!("{done} of {all} passages are embedded"));
        }
    };
    let (index, opening) = memory::open_index(&source, kinds, encoder, kept, clock, &mut tell)?;
    Ok((index, opening, fingerprint))
}

/// What came of one memory's search for every query.
#[derive(Default)]
struct Judged {
    scores: Vec<RetrievalScores>,
    embed_ms: Vec<f64>,
    search_ms: Vec<f64>,
    total_ms: Vec<f64>,
    salience: Option<Salience>,
}

#[derive(Default)]
struct Salience {
    gate: f64,
    fitted: bool,
    retriever: &'static str,
    passages: usize,
    empty: usize,
}

fn judge(args: &MemoryArgs, memory: Judge, retriever: &Retriever, input: &Input, clock: &Clock) -> Result<Judged> {
    let mut judged = Judged::default();
    if memory == Judge::Salience {
        let fitted = match (&input.task, args.gate) {
            (Some(task), None) => memory::fit_gate(retriever, task, DEPTH)?,
            _ => None,
        };
        let gate = args.gate.or(fitted).unwrap_or_else(|| memory::default_gate(retriever.kind()));
        let (fitted, name) = (fitted.is_some(), retriever.kind().name());
        judged.salience = Some(Salience { gate, fitted, retriever: name, ..Salience::default() });
    }
    // One search before the clock counts: it touches memory for the first time.
    if let Some(first) = input.judgements.queries.first() {
        let vectors = retriever.embed(&[&first.query.input])?;
        retriever.search(&first.query.input, vectors.first().and_then(|v| v.as_deref()), DEPTH)?;
    }
    for one in &input.judgements.queries {
        let query = one.query.input.as_str();
        let start = clock.now();
        let vectors = retriever.embed(&[query]).with_context(|| format!("embedding query {}", one.query.id))?;
        let embedded = clock.now();
        let vector = vectors.first().and_then(|vector| vector.as_deref());
        let hits = match &mut judged.salience {
            None => retriever.search_articles(query, vector, DEPTH)?,
            Some(salience) => {
                let hits = retriever.search(query, vector, DEPTH * memory::CANDIDATES_PER_PASSAGE)?;
                // No budget: no model takes part whose tokens would count.
                let limits = Limits { top_k: DEPTH, token_budget: usize::MAX, gate: salience.gate };
                let (taken, _) = memory::select(retriever, &hits, limits, &mut |_| 0);
                salience.passages += taken.len();
                salience.empty += usize::from(taken.is_empty());
                taken
            }
        };
        let end = clock.now();
        let mut seen = BTreeSet::new();
        let ids = hits.iter().map(|hit| retriever.index().passage(hit.place).0);
        let ids: Vec<&str> = ids.filter(|id| seen.insert(*id)).collect();
        judged.scores.extend(retrieval(&ids, &one.grades));
        judged.embed_ms.push(embedded.since(start).0 * 1e3);
        judged.search_ms.push(end.since(embedded).0 * 1e3);
        judged.total_ms.push(end.since(start).0 * 1e3);
    }
    Ok(judged)
}

/// The figures of one memory; `parts` are those of the index that it searches in.
fn report(memory: Judge, judged: &Judged, index: &Index, input: &Input, parts: &[&Opened]) -> Map<String, Value> {
    let Judgements { unjudged, unknown, .. } = input.judgements;
    let ids: BTreeSet<&str> = index.article_ids().collect();
    let judged_ids: BTreeSet<&str> = input
        .judgements
        .queries
        .iter()
        .flat_map(|one| one.grades.iter().filter(|(_, grade)| **grade > 0).map(|(id, _)| id.as_str()))
        .collect();
    let missing = judged_ids.iter().filter(|id| !ids.contains(*id)).count();
    let mean = mean_retrieval(&judged.scores);
    let figure = |of: fn(&RetrievalScores) -> f64| mean.as_ref().map(of);
    let ms = |times: &[f64], q: f64| quantile(times, q).ok();
    let seconds = |of: &dyn Fn(&Opened) -> f64| parts.iter().map(|part| of(part)).sum::<f64>();
    let windows = |of: fn(&Opened) -> usize| parts.iter().map(|part| of(part)).sum::<usize>();
    let dense_s = seconds(&|part| if part.is_of_vectors() { part.build_s.0 } else { 0.0 });
    let took = seconds(&|part| part.build_s.0);
    let built = parts.iter().any(|part| part.built);
    let whole = parts.iter().all(|part| part.built && part.reused == 0) && took > 0.0;
    let rate = whole.then(|| index.len() as f64 / took);
    let reason = (!whole).then_some(if built {
        "the index was built in part; --rebuild builds it anew"
    } else {
        "the index was loaded, not built; --rebuild builds it"
    });
    let object = json!({
        "retriever": memory.name(),
        "queries": judged.scores.len(),
        "passages": index.len(),
        "articles": ids.len(),
        "recall@5": figure(|s| s.recall_at_5),
        "recall@10": figure(|s| s.recall_at_10),
        "ndcg@10": figure(|s| s.ndcg_at_10),
        "mrr@10": figure(|s| s.mrr_at_10),
        "latency_ms": {
            "p50": ms(&judged.total_ms, 0.5), "p99": ms(&judged.total_ms, 0.99),
            "embed_p50": ms(&judged.embed_ms, 0.5), "search_p50": ms(&judged.search_ms, 0.5),
        },
        "passages_per_s": rate,
        "passages_per_s_reason": reason,
        "index": {
            "load_s": seconds(&|part| part.load_s.0), "lexical_s": took - dense_s, "dense_s": dense_s,
            "embedded_windows": windows(|part| part.embedded), "reused_windows": windows(|part| part.reused),
            "built": built,
        },
        "queries_without_relevant": unjudged,
        "queries_without_text": unknown,
        "relevant_not_in_corpus": missing,
        "salience": judged.salience.as_ref().map(|salience| {
            let n = judged.scores.len().max(1) as f64;
            json!({
                "retriever": salience.retriever, "gate": salience.gate, "gate_fitted": salience.fitted,
                "passages_per_query": salience.passages as f64 / n, "empty_share": salience.empty as f64 / n,
            })
        }),
    });
    object.as_object().cloned().unwrap_or_default()
}

/// The figures for people.
fn text(all: &Value) -> String {
    let only = [all.clone()];
    let rows = all["retrievers"].as_array().map_or(&only[..], Vec::as_slice);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["memory", "recall@5", "recall@10", "nDCG@10", "MRR@10", "p50 ms", "p99 ms", "passages/s"]);
    for row in rows {
        let figure = |value: &Value, digits: usize| {
            value.as_f64().map_or_else(|| "n/a".to_owned(), |value| format!("{value:.digits$}"))
        };
        table.add_row([
            row["retriever"].as_str().unwrap_or_default().to_owned(),
            figure(&row["recall@5"], 3),
            figure(&row["recall@10"], 3),
            figure(&row["ndcg@10"], 3),
            figure(&row["mrr@10"], 3),
            figure(&row["latency_ms"]["p50"], 2),
            figure(&row["latency_ms"]["p99"], 2),
            figure(&row["passages_per_s"], 0),
        ]);
    }
    for column in 1..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let first = &rows[0];
    let count = |name: &str| first[name].as_u64().unwrap_or(0);
    let mut lines = vec![
        format!("{} queries over {} passages of {} articles", count("queries"), count("passages"), count("articles")),
        table.to_string(),
    ];
    for (name, what) in [
        ("queries_without_relevant", "queries have no relevant passage and are left out"),
        ("queries_without_text", "judged queries have no text and are left out"),
        ("relevant_not_in_corpus", "relevant passages are not in the corpus and count as not found"),
    ] {
        if count(name) > 0 {
            lines.push(format!("{} {what}", count(name)));
        }
    }
    for row in rows.iter().filter(|row| !row["salience"].is_null()) {
        let salience = &row["salience"];
        lines.push(format!(
            "salience: gate {:.3} ({}), {:.1} passages a query, none for {:.1} % of the queries",
            salience["gate"].as_f64().unwrap_or_default(),
            if salience["gate_fitted"] == json!(true) { "fitted on the train split" } else { "not fitted" },
            salience["passages_per_query"].as_f64().unwrap_or_default(),
            salience["empty_share"].as_f64().unwrap_or_default() * 100.0,
        ));
    }
    if let Some(reason) = rows.iter().find_map(|row| row["passages_per_s_reason"].as_str()) {
        lines.push(format!("passages/s: n/a, {reason}"));
    }
    lines.join("\n")
}

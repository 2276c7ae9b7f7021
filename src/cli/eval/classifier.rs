//! `eval classifier`: how often each classifier of the domain is right, as a component of its own.

use super::super::{Common, output};
use super::answering::Answering;
use super::parts::{self, MachineArgs, ModelArgs, TaskArgs};
use crate::clock::Clock;
use crate::error::{ExitStatus, Result, usage};
use crate::memory::Embed;
use crate::metrics::statistics::wilson;
use crate::net::Network;
use crate::router::{Classifier, ClassifierKind, Labelled};
use crate::task::{Query, Sample, Split, Task};
use crate::trial::LabelProbabilities;
use clap::Args;
use clap::builder::FalseyValueParser;
use serde::Serialize;
use std::collections::BTreeMap;

/// Arguments of `eval classifier`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ClassifierArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// The classifiers to train [default: all]
    #[arg(long = "classifier", value_enum, value_delimiter = ',', env = "ROUTERGYM_CLASSIFIER")]
    kinds: Vec<ClassifierKind>,
    /// Train samples of each label at most; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N", env = "ROUTERGYM_EXAMPLES")]
    examples: usize,
    /// With --model, beside the trained ones: that model's label scoring
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    machine: MachineArgs,
    /// One JSON object
    #[arg(long, env = "ROUTERGYM_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    task: String,
    /// Samples learnt from: of the train split, never what is scored.
    train: usize,
    labels: usize,
    split: Split,
    /// Samples scored.
    n: usize,
    /// Time of embedding the train split, which the training times leave out; null where nothing looks at embeddings.
    embed_train_s: Option<f64>,
    /// The model whose label scoring is among the classifiers.
    model: Option<String>,
    classifiers: BTreeMap<&'static str, Measured>,
    /// The one that `auto` takes, by cross-validation on the train split; null where none of its candidates was trained.
    auto: Option<&'static str>,
    /// The most accurate; of equals the first by name.
    best: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Measured {
    /// Share of the scored samples with the right label, that of the classifier alone.
    accuracy: f64,
    /// 95 % interval (Wilson).
    accuracy_interval: [f64; 2],
    /// Mean over the labels of the harmonic mean of precision and recall.
    macro_f1: f64,
    /// Mean of −ln(probability of the right label), which counts as 1e-12 at least.
    log_loss: f64,
    /// The prior's variance that cross-validation on the train split chose; null where there is no such prior.
    prior_variance: Option<f64>,
    /// The log loss of held-out train samples at that choice, by which `auto` chooses.
    cross_validated_log_loss: Option<f64>,
    /// Null where nothing is trained.
    train_s: Option<f64>,
    /// Mean time of one classification, embedding apart.
    classify_ms: f64,
}

/// Runs what was asked for.
pub(in crate::cli) fn run(args: &ClassifierArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    let task = args.task.load()?;
    let scored = args.task.scored(&task)?;
    let pairs = parts::labelled(&task, args.examples);
    if pairs.is_empty() {
        return Err(usage(format!(
            "task {} has no labelled sample in its train split, and a classifier learns from nothing else: add a train split",
            task.name
        )));
    }
    let mut kinds = if args.kinds.is_empty() { ClassifierKind::ALL.to_vec() } else { args.kinds.clone() };
    if kinds.contains(&ClassifierKind::Auto) {
        kinds.extend([ClassifierKind::Embedding, ClassifierKind::Lexical, ClassifierKind::LexicalEmbedding]);
        kinds.retain(|&kind| kind != ClassifierKind::Auto);
    }
    kinds.sort();
    kinds.dedup();
    let device = args.machine.open()?;
    let clock = Clock::real();
    let encoder =
        if kinds.iter().any(|kind| kind.embeds()) { Some(parts::encoder(&device, network, common)?) } else { None };
    let embed = encoder.as_ref().map(|encoder| encoder as &dyn Embed);
    if !common.quiet && embed.is_some() {
        output::note(&format!("embedding {} train samples and {} to score", pairs.len(), scored.len()));
    }
    let start = clock.now();
    let examples = Labelled::new(&pairs, embed)?;
    let embed_train_s = embed.is_some().then(|| clock.since(start).0);
    let texts: Vec<&str> = scored.iter().map(|sample| sample.query.input.as_str()).collect();
    let vectors = embed.map(|embed| embed.embed(&texts)).transpose()?;
    let mut classifiers = BTreeMap::new();
    for kind in kinds {
        classifiers.insert(kind.name(), measure(kind, &examples, &scored, vectors.as_deref(), &clock)?);
    }
    let mut model = None;
    if args.model.given() {
        let engine = args.model.engine(&device, network, common, &clock)?;
        let memory = args.model.memory(&task, &engine, &device, network, common, &clock)?;
        model = Some(engine.info().model);
        let answering = Answering::new(engine, &task, memory, 1, args.task.seed, &clock)?;
        if !common.quiet {
            output::note(&format!("scoring the {} labels of {} samples", task.labels.len(), scored.len()));
        }
        classifiers.extend(label_scoring(&answering, &task, &scored)?);
    }
    let best = classifiers
        .iter()
        .reduce(|best, next| if next.1.accuracy > best.1.accuracy { next } else { best })
        .map(|(name, _)| *name);
    let auto = classifiers
        .iter()
        .filter_map(|(name, measured)| Some((*name, measured.cross_validated_log_loss?)))
        .reduce(|best, next| if next.1 < best.1 { next } else { best })
        .map(|(name, _)| name);
    let found = Found {
        task: task.name.clone(),
        train: pairs.len(),
        labels: examples.labels().len(),
        split: args.task.split,
        n: scored.len(),
        embed_train_s,
        model,
        classifiers,
        auto,
        best,
    };
    output::data(&if args.json { serde_json::to_string(&found)? } else { text(&found) })?;
    Ok(ExitStatus::Done)
}

/// Inputs that say nothing: what a model makes of them is its own leaning (Zhao et al., "Calibrate Before Use", 2021).
const EMPTY_INPUTS: [&str; 3] = ["N/A", "[MASK]", "-"];

/// The label that the model itself finds most probable in its place in the answer: as it is, against the model's leaning on
/// inputs that say nothing, and against its leaning on the scored inputs (Zhou et al., "Batch Calibration", 2023). None of
/// them looks at a gold label.
fn label_scoring(answering: &Answering, task: &Task, scored: &[&Sample]) -> Result<BTreeMap<&'static str, Measured>> {
    let score = |query: &Query| -> Result<LabelProbabilities> {
        answering.labels(query)?.ok_or_else(|| {
            usage("label scoring needs a model on this machine: an endpoint gives the probabilities of its own tokens alone")
        })
    };
    let logs = |found: &LabelProbabilities| -> Vec<f64> { found.exact.iter().map(|p| p.max(1e-12).ln()).collect() };
    let mut empty = Vec::new();
    for input in EMPTY_INPUTS {
        empty.push(logs(&score(&Query { id: "empty".to_owned(), input: input.to_owned() })?));
    }
    let (mut found, mut seconds) = (Vec::new(), 0.0);
    for sample in scored {
        let labels = score(&sample.query)?;
        seconds += labels.total_s.0;
        found.push(logs(&labels));
    }
    let names: Vec<String> = task.labels.iter().map(|label| label.name.clone()).collect();
    let classify_ms = seconds * 1e3 / scored.len() as f64;
    let against = |leaning: &[f64]| -> Result<Measured> {
        let shares = found.iter().map(|logs| {
            let top = logs.iter().zip(leaning).map(|(log, lean)| log - lean).fold(f64::NEG_INFINITY, f64::max);
            let odds: Vec<f64> = logs.iter().zip(leaning).map(|(log, lean)| (log - lean - top).exp()).collect();
            let sum: f64 = odds.iter().sum();
            odds.iter().map(|odds| odds / sum).collect()
        });
        let judged = judge(&names, &shares.collect::<Vec<_>>(), scored)?;
        Ok(Measured { classify_ms, ..judged })
    };
    Ok(BTreeMap::from([
        ("label_scoring", against(&vec![0.0; names.len()])?),
        ("label_scoring_contextual", against(&mean(&empty))?),
        ("label_scoring_batch", against(&mean(&found))?),
    ]))
}

fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / rows.len() as f64);
    }
    sums
}

fn measure(
    kind: ClassifierKind,
    examples: &Labelled,
    scored: &[&Sample],
    vectors: Option<&[Vec<f32>]>,
    clock: &Clock,
) -> Result<Measured> {
    let start = clock.now();
    let classifier = Classifier::train(kind, examples)?;
    let train_s = clock.since(start).0;
    let start = clock.now();
    let probabilities: Vec<Vec<f64>> = scored
        .iter()
        .enumerate()
        .map(|(i, sample)| classifier.probabilities(&sample.query.input, vectors.map(|vectors| vectors[i].as_slice())))
        .collect();
    let classify_ms = clock.since(start).0 * 1e3 / scored.len() as f64;
    let judged = judge(classifier.labels(), &probabilities, scored)?;
    let choice = classifier.choice();
    Ok(Measured {
        prior_variance: choice.map(|choice| choice.variance),
        cross_validated_log_loss: choice.and_then(|choice| choice.log_loss),
        train_s: Some(train_s),
        classify_ms,
        ..judged
    })
}

/// What probabilities of labels are worth beside the gold labels.
fn judge(labels: &[String], probabilities: &[Vec<f64>], scored: &[&Sample]) -> Result<Measured> {
    let mut log_loss = 0.0;
    let mut pairs = Vec::with_capacity(scored.len());
    for (sample, probabilities) in scored.iter().zip(probabilities) {
        let gold = sample.target.label.as_deref().unwrap_or_default();
        let known = labels.iter().position(|label| label == gold);
        log_loss -= known.map_or(0.0, |class| probabilities[class]).max(1e-12).ln() / scored.len() as f64;
        let first = |best: usize, next: usize| if probabilities[next] > probabilities[best] { next } else { best };
        let chosen = (0..probabilities.len()).reduce(first).map_or("", |class| labels[class].as_str());
        pairs.push((chosen, gold));
    }
    let right = pairs.iter().filter(|(chosen, gold)| chosen == gold).count();
    let interval = wilson(right, pairs.len())?;
    Ok(Measured {
        accuracy: interval.value,
        accuracy_interval: [interval.low, interval.high],
        macro_f1: parts::macro_f1(&pairs),
        log_loss,
        prior_variance: None,
        cross_validated_log_loss: None,
        train_s: None,
        classify_ms: 0.0,
    })
}

fn text(found: &Found) -> String {
    let mut lines = vec![format!(
        "{}: {} samples of the {} split; learnt from {} samples of {} labels of the train split",
        found.task,
        found.n,
        found.split.name(),
        found.train,
        found.labels
    )];
    lines.extend(found.classifiers.iter().map(|(name, measured)| {
        let [low, high] = measured.accuracy_interval;
        let trained = measured.train_s.map_or_else(|| "not trained".to_owned(), |s| format!("trained in {s:.2} s"));
        format!(
            "{name:24}  accuracy {:.3} [{low:.3}–{high:.3}], macro-F1 {:.3}, log loss {:.3}; {trained}, {:.2} ms a text",
            measured.accuracy, measured.macro_f1, measured.log_loss, measured.classify_ms
        )
    }));
    lines.extend(found.auto.map(|name| format!("cross-validation on the train split chooses {name}")));
    if let Some(seconds) = found.embed_train_s {
        lines.push(format!("embedding the train split took {seconds:.1} s, which is in none of the times above"));
    }
    lines.push("each is the accuracy of that classifier alone, never that of a model which answers".to_owned());
    lines.join("\n")
}

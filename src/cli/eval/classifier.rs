//! `eval classifier`: how often each classifier of the domain is right, as a component of its own.

use super::super::{Common, output, threads};
use super::parts::{self, TaskArgs};
use crate::clock::Clock;
use crate::error::{ExitStatus, Result, usage};
use crate::memory::Embed;
use crate::metrics::statistics::wilson;
use crate::models::{Kind, Store};
use crate::net::Network;
use crate::nn::{Device, DeviceChoice, SentenceEncoder};
use crate::router::{Classifier, ClassifierKind, Labelled};
use crate::task::{Sample, Split};
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

/// What was found.
#[derive(Debug, Serialize)]
struct Found {
    task: String,
    /// Samples learnt from: the train split, never what is scored.
    train: usize,
    labels: usize,
    split: Split,
    /// Samples scored.
    n: usize,
    /// Time of embedding the train split, which the training times leave out; null where nothing looks at embeddings.
    embed_train_s: Option<f64>,
    classifiers: BTreeMap<&'static str, Measured>,
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
    /// Mean of −ln(probability of the right label); a label that it does not know counts as one in 10¹².
    log_loss: f64,
    /// The prior's variance that cross-validation on the train split chose.
    prior_variance: Option<f64>,
    train_s: f64,
    /// Median is not taken: the mean time of one classification, embedding apart.
    classify_ms: f64,
}

/// Runs what was asked for.
pub(in crate::cli) fn run(args: &ClassifierArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    threads::check(args.threads)?;
    threads::bound(args.threads)?;
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
    kinds.sort();
    kinds.dedup();
    let clock = Clock::real();
    let encoder = if kinds.iter().any(|kind| kind.embeds()) {
        let model = Store::open(network)?.obtain(parts::ENCODER, Kind::Encoder, common.quiet)?;
        Some(SentenceEncoder::load(&model.path, &Device::open(args.device)?)?)
    } else {
        None
    };
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
    let best = classifiers
        .iter()
        .reduce(|best, next| if next.1.accuracy > best.1.accuracy { next } else { best })
        .map(|(name, _)| *name);
    let found = Found {
        task: task.name.clone(),
        train: pairs.len(),
        labels: examples.labels().len(),
        split: args.task.split,
        n: scored.len(),
        embed_train_s,
        classifiers,
        best,
    };
    output::data(&if args.json { serde_json::to_string(&found)? } else { text(&found) })?;
    Ok(ExitStatus::Done)
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
    let mut log_loss = 0.0;
    let mut pairs = Vec::with_capacity(scored.len());
    for (sample, probabilities) in scored.iter().zip(&probabilities) {
        let gold = sample.target.label.as_deref().unwrap_or_default();
        let known = classifier.labels().iter().position(|label| label == gold);
        log_loss -= known.map_or(0.0, |class| probabilities[class]).max(1e-12).ln() / scored.len() as f64;
        let first = |best: usize, next: usize| if probabilities[next] > probabilities[best] { next } else { best };
        let chosen = (0..probabilities.len()).reduce(first).map_or("", |class| classifier.labels()[class].as_str());
        pairs.push((chosen, gold));
    }
    let right = pairs.iter().filter(|(chosen, gold)| chosen == gold).count();
    let interval = wilson(right, pairs.len())?;
    Ok(Measured {
        accuracy: interval.value,
        accuracy_interval: [interval.low, interval.high],
        macro_f1: parts::macro_f1(&pairs),
        log_loss,
        prior_variance: classifier.variance(),
        train_s,
        classify_ms,
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
        format!(
            "{name:18} accuracy {:.3} [{low:.3}–{high:.3}], macro-F1 {:.3}, log loss {:.3}; trained in {:.2} s, {:.2} ms a text",
            measured.accuracy, measured.macro_f1, measured.log_loss, measured.train_s, measured.classify_ms
        )
    }));
    if let Some(seconds) = found.embed_train_s {
        lines.push(format!("embedding the train split took {seconds:.1} s, which is in none of the times above"));
    }
    lines.push("each is the accuracy of that classifier alone, never that of a model which answers".to_owned());
    lines.join("\n")
}

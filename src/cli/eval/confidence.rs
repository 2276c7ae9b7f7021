//! `eval confidence`: how well a model's confidence tells its right answers from its wrong ones, by every estimator, before
//! and after calibration, and which thresholds meet which targets.

use super::super::{Common, output};
use super::answering::{Answering, Row};
use super::parts::{self, MachineArgs, ModelArgs, TaskArgs};
use crate::clock::Clock;
use crate::error::{ExitStatus, Result, usage};
use crate::metrics::calibration::quality::{BINS, aurc, brier, ece, ece_equal_mass};
use crate::metrics::calibration::threshold::{Caution, Effect, effect, for_escalation, for_loss, rate_of_budget};
use crate::metrics::calibration::{Map, MapKind};
use crate::metrics::statistics::{Undefined, auroc, mean, wilson};
use crate::net::Network;
use crate::router::Estimator;
use crate::task::{Sample, Split, Task};
use crate::trial::{DEFAULT_SAMPLES, PromptBuilder};
use clap::Args;
use clap::builder::FalseyValueParser;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Arguments of `eval confidence`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ConfidenceArgs {
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// The estimators to compare [default: all]
    #[arg(long = "confidence", value_enum, value_delimiter = ',', env = "ROUTERGYM_CONFIDENCE")]
    estimators: Vec<Estimator>,
    /// The split that calibration and thresholds are fitted on, never the one that is scored [default: dev; train where
    /// there is none or dev is scored]
    #[arg(long, value_enum, env = "ROUTERGYM_FIT_SPLIT")]
    fit_split: Option<Split>,
    /// How many samples they are fitted on at most; 0 for all [default: as many as --limit]
    #[arg(long, value_name = "N", env = "ROUTERGYM_FIT_LIMIT")]
    fit_limit: Option<usize>,
    /// Answers drawn for self-consistency; 0 leaves it out
    #[arg(long, default_value_t = DEFAULT_SAMPLES, value_name = "K", env = "ROUTERGYM_SAMPLES")]
    samples: usize,
    /// Generated tokens of one answer at most
    #[arg(long, default_value_t = 192, value_name = "N", env = "ROUTERGYM_MAX_TOKENS")]
    max_tokens: usize,
    /// Threshold for this target: the share of queries that may be kept and wrong, which bounds the loss of quality against
    /// always asking the LLM
    #[arg(long, default_value_t = 0.05, value_name = "SHARE", env = "ROUTERGYM_MAX_LOSS")]
    max_loss: f64,
    /// Threshold for this target: the share of queries that may escalate
    #[arg(long, value_name = "SHARE", env = "ROUTERGYM_ESCALATION")]
    escalation: Option<f64>,
    /// Threshold for this target: dollars per 1,000 queries that the LLM may cost, with --llm-usd-per-1000
    #[arg(long, value_name = "USD", requires = "llm_usd_per_1000", env = "ROUTERGYM_BUDGET")]
    budget: Option<f64>,
    /// What 1,000 queries cost where the LLM answers them all
    #[arg(long, value_name = "USD", env = "ROUTERGYM_LLM_USD_PER_1000")]
    llm_usd_per_1000: Option<f64>,
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
    model: String,
    place: String,
    split: Split,
    /// Answers scored.
    n: usize,
    /// Calls that failed outside the model; no answers.
    failures: usize,
    /// Share of the model's own answers with the right label.
    accuracy: f64,
    /// 95 % interval (Wilson).
    accuracy_interval: [f64; 2],
    /// Share of the answers that keep the task's schema as they were written.
    schema_valid: f64,
    answer_s: f64,
    /// Answers drawn for self-consistency.
    samples: usize,
    /// Bins of `ece` (equal width) and of `ece_equal_mass`.
    bins: usize,
    /// What calibration and thresholds were fitted on; null with `not_fitted` where they could not be.
    fitted_on: Option<Fitted>,
    not_fitted: Option<String>,
    estimators: BTreeMap<&'static str, Judged>,
    /// The estimator of the highest AUROC; of equals the first by name.
    best: Option<&'static str>,
}

/// The samples that something was fitted on.
#[derive(Debug, Clone, Serialize)]
struct Fitted {
    split: Split,
    n: usize,
    accuracy: f64,
    /// Train samples that stand in the prompt as worked examples, which are never among them.
    left_out: usize,
}

/// One estimator.
#[derive(Debug, Serialize)]
struct Judged {
    #[serde(flatten)]
    before: Quality,
    /// Mean time that it takes beyond the answer; 0 where it reads the answer's own tokens.
    seconds: Option<f64>,
    /// The same figures after each kind of calibration.
    calibrated: BTreeMap<&'static str, After>,
    thresholds: Vec<ChosenThreshold>,
}

/// How well confidences agree with outcomes; a figure that is null has its reason in `undefined`.
#[derive(Debug, Default, Serialize)]
struct Quality {
    n: usize,
    auroc: Option<f64>,
    ece: Option<f64>,
    ece_equal_mass: Option<f64>,
    brier: Option<f64>,
    aurc: Option<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    undefined: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
struct After {
    #[serde(flatten)]
    quality: Quality,
    /// The map; null with its reason in `undefined`.
    map: Option<Map>,
    fitted_on: Fitted,
}

/// A threshold for a target: answers below it escalate.
#[derive(Debug, Serialize)]
struct ChosenThreshold {
    /// `loss`, `escalation` or `budget`.
    target: &'static str,
    /// The most that is allowed of it, as a share.
    most: f64,
    /// `observed` or `conformal`.
    choice: &'static str,
    /// On the scale of the estimator, as `--threshold` takes it; null keeps no answer.
    threshold: Option<f64>,
    guarantee: String,
    fitted_on: Fitted,
    /// What it does to the scored answers.
    scored: Option<Effect>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undefined: Option<String>,
}

/// Runs what was asked for.
pub(in crate::cli) fn run(args: &ConfidenceArgs, network: Network, common: &Common) -> Result<ExitStatus> {
    let targets = targets(args)?;
    let task = args.task.load()?;
    let scored = args.task.scored(&task)?;
    let estimators: BTreeSet<Estimator> = if args.estimators.is_empty() {
        Estimator::ALL.into_iter().filter(|&e| e != Estimator::SelfConsistency || args.samples > 0).collect()
    } else {
        args.estimators.iter().copied().collect()
    };
    if estimators.contains(&Estimator::SelfConsistency) && args.samples == 0 {
        return Err(usage("self_consistency needs answers to be drawn: --samples 5, say"));
    }
    let device = args.machine.open()?;
    let clock = Clock::real();
    let engine = args.model.engine(&device, network, common, &clock)?;
    let memory = args.model.memory(&task, &engine, &device, network, common, &clock)?;
    let info = engine.info();
    let answering = Answering::new(engine, &task, memory, args.max_tokens, args.task.seed, &clock)?;
    let (fit_split, to_fit, left_out) = fit_samples(args, &task, &answering.prompts)?;

    let total = to_fit.len() + scored.len();
    let started = clock.now();
    let mut note = |done: usize| {
        if !common.quiet && done.is_multiple_of(10) {
            output::note(&format!("{done} of {total} samples answered, {:.0} s", clock.since(started).0));
        }
    };
    let fitted = if to_fit.is_empty() {
        Vec::new()
    } else {
        answering.rows(&to_fit, &estimators, args.samples, &mut note)?.rows
    };
    let before = to_fit.len();
    let found = answering.rows(&scored, &estimators, args.samples, &mut |done| note(before + done))?;
    let rows = found.rows;
    let right = rows.iter().filter(|row| row.right).count();
    let interval = wilson(right, rows.len())?;
    let fitted_on = (!fitted.is_empty()).then(|| Fitted {
        split: fit_split,
        n: fitted.len(),
        accuracy: fitted.iter().filter(|row| row.right).count() as f64 / fitted.len() as f64,
        left_out,
    });
    let judged: BTreeMap<&'static str, Judged> = estimators
        .iter()
        .map(|&estimator| (estimator.name(), judge(estimator, &rows, &fitted, fitted_on.as_ref(), &targets)))
        .collect();
    let best = judged
        .iter()
        .filter_map(|(name, judged)| Some((*name, judged.before.auroc?)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(name, _)| name);
    let found = Found {
        task: task.name.clone(),
        model: info.model,
        place: info.place,
        split: args.task.split,
        n: rows.len(),
        failures: found.failures,
        accuracy: interval.value,
        accuracy_interval: [interval.low, interval.high],
        schema_valid: rows.iter().filter(|row| row.valid).count() as f64 / rows.len() as f64,
        answer_s: mean(&rows.iter().map(|row| row.answer_s).collect::<Vec<_>>())?,
        samples: args.samples,
        bins: BINS,
        not_fitted: fitted_on.is_none().then(|| {
            "no labelled sample is left beside the scored split to fit on: add a dev or a train split".to_owned()
        }),
        fitted_on,
        estimators: judged,
        best,
    };
    output::data(&if args.json { serde_json::to_string(&found)? } else { text(&found) })?;
    Ok(ExitStatus::Done)
}

/// A target: its name, the most of it, and whether it bounds the loss rather than the escalations.
struct Target {
    name: &'static str,
    most: f64,
    of_loss: bool,
}

fn targets(args: &ConfidenceArgs) -> Result<Vec<Target>> {
    for (flag, share) in [("--max-loss", Some(args.max_loss)), ("--escalation", args.escalation)] {
        if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(usage(format!("{flag} is a share between 0 and 1")));
        }
    }
    if args.max_tokens == 0 {
        return Err(usage("--max-tokens 0 leaves no answer"));
    }
    let mut targets = vec![Target { name: "loss", most: args.max_loss, of_loss: true }];
    targets.extend(args.escalation.map(|most| Target { name: "escalation", most, of_loss: false }));
    if let (Some(budget), Some(cost)) = (args.budget, args.llm_usd_per_1000) {
        let most = rate_of_budget(budget, cost).map_err(|why| usage(format!("--budget: {why}")))?;
        targets.push(Target { name: "budget", most, of_loss: false });
    }
    Ok(targets)
}

/// The samples to fit on, which split they are of, and how many of it stand in the prompt.
fn fit_samples<'a>(
    args: &ConfidenceArgs,
    task: &'a Task,
    prompts: &PromptBuilder,
) -> Result<(Split, Vec<&'a Sample>, usize)> {
    let scored = args.task.split;
    if args.fit_split == Some(scored) {
        return Err(usage(format!("--fit-split {} is the split that is scored; fit on another", scored.name())));
    }
    let has = |split| task.split(split).any(|sample| sample.target.label.is_some());
    let split = match args.fit_split {
        Some(split) => split,
        None if scored != Split::Dev && has(Split::Dev) => Split::Dev,
        None => Split::Train,
    };
    let limit = args.fit_limit.unwrap_or(args.task.limit);
    let shown = |sample: &&Sample| prompts.examples().contains(&sample.query.id);
    let left_out = task.split(split).filter(|sample| shown(sample)).count();
    let mut samples = parts::labelled_of(task, split, if limit == 0 { 0 } else { limit + left_out }, args.task.seed);
    samples.retain(|sample| !shown(sample));
    if limit > 0 {
        samples.truncate(limit);
    }
    Ok((split, samples, left_out))
}

/// The confidences by one estimator and whether the answers were right, of the answers that have one.
fn graded(estimator: Estimator, rows: &[Row]) -> (Vec<f64>, Vec<bool>) {
    rows.iter().filter_map(|row| Some((*row.confidences.get(&estimator)?, row.right))).unzip()
}

fn judge(estimator: Estimator, rows: &[Row], fitted: &[Row], fitted_on: Option<&Fitted>, targets: &[Target]) -> Judged {
    let (confidences, right) = graded(estimator, rows);
    let seconds: Vec<f64> = rows.iter().filter_map(|row| row.seconds.get(&estimator).copied()).collect();
    let seconds = if estimator.asks_again() { mean(&seconds).ok() } else { Some(0.0) };
    if confidences.is_empty() {
        let reason = "not available: the engine does not give what it is read from".to_owned();
        let undefined = FIGURES.map(|name| (name, reason.clone())).into();
        let before = Quality { undefined, ..Quality::default() };
        return Judged { before, seconds, calibrated: BTreeMap::new(), thresholds: Vec::new() };
    }
    let before = quality(&confidences, &right);
    let Some(fitted_on) = fitted_on else {
        return Judged { before, seconds, calibrated: BTreeMap::new(), thresholds: Vec::new() };
    };
    let (fit_confidences, fit_right) = graded(estimator, fitted);
    let fitted_on = Fitted { n: fit_confidences.len(), ..fitted_on.clone() };
    let after = |kind| match Map::fit(kind, &fit_confidences, &fit_right) {
        Ok(map) => {
            let mended: Vec<f64> = confidences.iter().map(|&p| map.apply(p)).collect();
            After { quality: quality(&mended, &right), map: Some(map), fitted_on: fitted_on.clone() }
        }
        Err(why) => {
            let undefined = FIGURES.map(|name| (name, undefined_because(&why))).into();
            After { quality: Quality { undefined, ..Quality::default() }, map: None, fitted_on: fitted_on.clone() }
        }
    };
    let calibrated = MapKind::ALL.into_iter().map(|kind| (kind.name(), after(kind))).collect();
    let choose = |target: &Target, caution| {
        let chosen = if target.of_loss {
            for_loss(&fit_confidences, &fit_right, target.most, caution)
        } else {
            for_escalation(&fit_confidences, target.most, caution)
        };
        let undefined = chosen.as_ref().err().map(undefined_because);
        let scored = chosen.as_ref().ok().and_then(|&chosen| effect(&confidences, &right, chosen).ok());
        ChosenThreshold {
            target: target.name,
            most: target.most,
            choice: if caution == Caution::Observed { "observed" } else { "conformal" },
            threshold: chosen.unwrap_or(None),
            guarantee: guarantee(target, caution, fitted_on.n),
            fitted_on: fitted_on.clone(),
            scored,
            undefined,
        }
    };
    let thresholds = targets
        .iter()
        .flat_map(|target| [Caution::Observed, Caution::Conformal].map(|caution| choose(target, caution)))
        .collect();
    Judged { before, seconds, calibrated, thresholds }
}

const FIGURES: [&str; 5] = ["auroc", "ece", "ece_equal_mass", "brier", "aurc"];

fn quality(confidences: &[f64], right: &[bool]) -> Quality {
    let figures = [
        auroc(confidences, right),
        ece(confidences, right, BINS),
        ece_equal_mass(confidences, right, BINS),
        brier(confidences, right),
        aurc(confidences, right),
    ];
    let undefined = FIGURES.iter().zip(&figures).filter_map(|(&name, figure)| match figure {
        Ok(_) => None,
        Err(why) => Some((name, undefined_because(why))),
    });
    let undefined = undefined.collect();
    let [auroc, ece, ece_equal_mass, brier, aurc] = figures.map(Result::ok);
    Quality { n: confidences.len(), auroc, ece, ece_equal_mass, brier, aurc, undefined }
}

fn undefined_because(why: &Undefined) -> String {
    format!("undefined because {why}")
}

fn guarantee(target: &Target, caution: Caution, n: usize) -> String {
    let most = target.most;
    match (caution, target.of_loss) {
        (Caution::Observed, _) => format!("none beyond the {n} answers that it was chosen on"),
        (Caution::Conformal, true) => format!(
            "over draws of the {n} answers that it was chosen on and of one more exchangeable with them, the probability that \
             this one is kept and wrong is at most {most}; so quality is in expectation at most {most} below that of always \
             asking the stronger model"
        ),
        (Caution::Conformal, false) => format!(
            "over draws of the {n} answers that it was chosen on and of one more exchangeable with them, the probability that \
             this one escalates is at most {most}"
        ),
    }
}

fn text(found: &Found) -> String {
    let figure = |value: Option<f64>| value.map_or_else(|| "  n/a".to_owned(), |value| format!("{value:.3}"));
    let line = |name: &str, quality: &Quality| {
        format!(
            "{name:30} {:>6}  {:>6}  {:>6}  {:>6}  {:>6}",
            figure(quality.auroc),
            figure(quality.ece),
            figure(quality.ece_equal_mass),
            figure(quality.brier),
            figure(quality.aurc)
        )
    };
    let [low, high] = found.accuracy_interval;
    let mut lines = vec![
        format!(
            "{} on {} ({} split): accuracy {:.3} [{low:.3}–{high:.3}] on {} answers, {:.2} s each; schema kept by {:.3}",
            found.model,
            found.task,
            found.split.name(),
            found.accuracy,
            found.n,
            found.answer_s,
            found.schema_valid
        ),
        match (&found.fitted_on, &found.not_fitted) {
            (Some(fitted), _) => {
                format!(
                    "calibration and thresholds are fitted on {} answers of the {} split",
                    fitted.n,
                    fitted.split.name()
                )
            }
            (None, why) => format!("no calibration, no thresholds: {}", why.as_deref().unwrap_or_default()),
        },
        format!("{:30}  AUROC     ECE  ECE=n   Brier    AURC", ""),
    ];
    for (name, judged) in &found.estimators {
        let beyond =
            judged.seconds.filter(|&s| s > 0.0).map_or_else(String::new, |s| format!("   +{s:.2} s an answer"));
        lines.push(line(name, &judged.before) + &beyond);
        lines.extend(judged.before.undefined.get("auroc").map(|why| format!("  {why}")));
        for (kind, after) in &judged.calibrated {
            lines.push(line(&format!("  after {kind}"), &after.quality));
            if after.map.is_none() {
                lines.extend(after.quality.undefined.get("auroc").map(|why| format!("    {why}")));
            }
        }
        for one in &judged.thresholds {
            let at = one.threshold.map_or_else(|| "keeps none".to_owned(), |threshold| format!("{threshold:.4}"));
            let effect = one.scored.map_or_else(String::new, |effect| {
                format!(
                    ": of the scored {:.3} escalate, {:.3} are kept and wrong",
                    effect.escalation_rate, effect.kept_wrong
                )
            });
            lines.push(format!("  threshold for {} ≤ {} ({}) {at}{effect}", one.target, one.most, one.choice));
        }
    }
    lines.push(format!("ECE over {} bins of equal width, ECE=n over as many of equally many answers", found.bins));
    lines.join("\n")
}

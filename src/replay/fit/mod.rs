//! Routers learned from runs in which both models answered.
//!
//! What a router learns comes from all rows. Its setting is chosen for a target; where it learned from texts, that is done on
//! scores of rows that were not learned from (cross-fitting), and elsewhere on the rows themselves. Either way the choice flatters
//! where it leads; what it leads to on queries that neither saw is found by doing all of it again on parts ([`HeldOut`]). The samples
//! stay in the file as marks, so that none of them is ever scored under it.

mod cascade;
mod choice;
mod held_out;

#[cfg(test)]
mod tests;

pub use choice::{Effect, Target};
pub use held_out::{Difference, HeldOut, Part};

use super::learned::{LEAST_QUERIES, cross_fitted};
use super::runs::{load, models, outcomes, pair};
use super::{BeatsRandom, Known, Options, Outcomes, replay};
use crate::error::{Context, Result, anyhow, usage};
use crate::memory::Embed;
use crate::metrics::calibration::threshold::{Caution, for_escalation, for_loss};
use crate::metrics::calibration::{Map, MapKind};
use crate::record::Run;
use crate::router::{Estimator, Fitted, Learner, Lessons, Predictor, Rising, RouterKind, RouterSpec, Tier, mark};
use crate::safety::{Action, Finding, SafetyPolicy};
use crate::task::{Query, Sample, Task};
use crate::trial::Confidence;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Rows with a confidence, of all rows, that are enough to calibrate on.
const CONFIDENT_SHARE: f64 = 0.9;
/// Queries that a calibration is fitted on at least.
const LEAST_CALIBRATED: u32 = 20;

/// What is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FitKind {
    /// Before any call, from the query's text.
    Text(Learner),
    /// slm-dominant with a calibrated confidence and a threshold.
    Isotonic,
    /// cascade-routing.
    Cascade,
}

impl FitKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Text(Learner::Knn),
        Self::Text(Learner::Logistic),
        Self::Text(Learner::Mf),
        Self::Isotonic,
        Self::Cascade,
    ];

    /// The name used on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text(learner) => learner.name(),
            Self::Isotonic => MapKind::Isotonic.name(),
            Self::Cascade => RouterKind::Cascade.name(),
        }
    }

    /// Whether it learns from the queries' texts.
    #[must_use]
    pub fn reads_texts(self) -> bool {
        self != Self::Isotonic
    }
}

impl ValueEnum for FitKind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Text(Learner::Knn) => "Before any call: the mean gain of the nearest queries",
            Self::Text(Learner::Logistic) => "Before any call: logistic regression on the query's embedding",
            Self::Text(Learner::Mf) => "Before any call: matrix factorisation of queries and models",
            Self::Isotonic => "slm-dominant with a calibrated confidence and a threshold",
            Self::Cascade => "cascade-routing",
        };
        Some(PossibleValue::new(self.name()).help(help))
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// What is learned.
    pub kind: FitKind,
    /// The router's name; its kind's where it is missing.
    pub name: Option<String>,
    /// How confidence is read, where the router looks at it.
    pub confidence: Estimator,
    /// What its setting is chosen for.
    pub target: Target,
    /// Whether the target shall hold in the mean over other samples that are exchangeable with these; `isotonic` alone.
    pub conformal: bool,
    /// What a right answer is worth, in dollars, for `cascade`; chosen for the target where it is missing.
    pub usd_per_right_answer: Option<f64>,
}

/// What was learned.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// The router.
    #[serde(skip)]
    pub router: RouterSpec,
    /// What was asked for.
    pub kind: &'static str,
    /// The router's name.
    pub name: String,
    /// Rows that it learned from.
    pub n: usize,
    /// Distinct queries among them.
    pub queries: u32,
    /// Mean quality of the SLM alone.
    pub weak: f64,
    /// Mean quality of the LLM alone.
    pub strong: f64,
    /// What the setting was chosen for.
    pub target: String,
    /// The key that was chosen, and its value.
    pub setting: Setting,
    /// Where it led.
    pub effect: Effect,
    /// Whether `effect` comes from rows that were not learned from.
    pub cross_fitted: bool,
    /// Where learning and choosing on other queries lead, which flatters nothing; null with the reason beside it.
    pub held_out: Option<HeldOut>,
    /// Why there is none.
    pub held_out_reason: Option<String>,
    /// Whether the score beats sending queries at random, by its cross-fitted APGR; null where it is not a score before any call.
    pub beats_random: Option<BeatsRandom>,
    /// What the reader must know.
    pub notes: Vec<String>,
}

/// A key of the router's table, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: f64,
}

/// A query that both models answered.
#[derive(Debug, Clone)]
struct Row {
    query: Query,
    /// The number of the query among the distinct ones.
    number: u32,
    /// Its embedding; empty where none is needed.
    vector: Vec<f32>,
    findings: Vec<Finding>,
    weak: Recorded,
    strong: Recorded,
}

/// An answer as it was recorded.
#[derive(Debug, Clone)]
struct Recorded {
    right: bool,
    usd: f64,
    confidence: Option<Confidence>,
    /// `None` where contracts were not enforced.
    contract_valid: Option<bool>,
}

impl Row {
    fn of(&self, tier: Tier) -> &Recorded {
        match tier {
            Tier::Slm => &self.weak,
            Tier::Llm => &self.strong,
        }
    }
}

/// A confidence by an estimator; `None` where it was not recorded.
fn confident(confidence: Option<Confidence>, estimator: Estimator) -> Option<f64> {
    confidence?.value(estimator).filter(|value| value.is_finite())
}

/// How many of so many rows must have a confidence.
fn least(rows: usize) -> usize {
    (rows as f64 * CONFIDENT_SHARE).ceil() as usize
}

/// Learns a router from the runs in these folders. `embed` embeds texts, with the hash of its weights; it is not called where
/// [`FitKind::reads_texts`] says no.
pub fn fit(folders: &[PathBuf], task: &Task, options: &FitOptions, embed: Option<(&dyn Embed, &str)>) -> Result<Fit> {
    let runs = load(folders)?;
    let same = |a: &Run, b: &Run| (&a.header.id, &a.header.started_at) == (&b.header.id, &b.header.started_at);
    if let Some(twice) = runs.iter().enumerate().find(|(i, run)| runs[..*i].iter().any(|other| same(run, other))) {
        return Err(usage(format!("the run {} is given twice: what it says counts once", twice.1.header.id)));
    }
    let (rows, outcomes) = recorded(&runs, folders, task, embed.map(|(embed, _)| embed))?;
    let least = if options.kind.reads_texts() { LEAST_QUERIES } else { LEAST_CALIBRATED };
    if outcomes.queries < least {
        return Err(usage(format!(
            "{} queries that both models answered are too few to learn {} from: {least} are the least; bench more samples with \
             `--collect both --limit 0`",
            outcomes.queries,
            options.kind.name()
        )));
    }
    let samples: BTreeSet<String> = rows.iter().map(|row| mark(&row.query.input)).collect();
    let [slm, llm] = runs.first().map(models).context("no run was read")?;
    let learned = Fitted {
        task: task.name.clone(),
        runs: runs.iter().map(|run| run.header.id.clone()).collect(),
        slm: slm.name,
        slm_sha256: slm.sha256,
        llm: llm.name,
        llm_sha256: llm.sha256,
        chosen_for: String::new(),
        samples: samples.into_iter().collect(),
        encoder_sha256: embed.filter(|_| options.kind.reads_texts()).map(|(_, sha256)| sha256.to_owned()),
        calibration: None,
        predictor: None,
        models: Vec::new(),
    };
    let n = outcomes.weak.len() as f64;
    let strong = outcomes.strong.iter().sum::<f64>() / n;
    let policy = SafetyPolicy::of_task(task)?;
    let asked = Asked { rows: &rows, outcomes: &outcomes, options, learned, strong, policy };
    let found = match options.kind {
        FitKind::Text(learner) => asked.predictor(learner)?,
        FitKind::Isotonic => asked.isotonic()?,
        FitKind::Cascade => asked.cascade()?,
    };
    let Found { mut router, setting, effect, cross_fitted, held_out, beats_random, note } = found;
    let (held_out, held_out_reason) = match held_out {
        Ok(held_out) => (Some(held_out), None),
        Err(reason) => (None, Some(format!("undefined because on a part of the queries alone {reason:#}"))),
    };
    let target = asked.target();
    if let Some(fitted) = &mut router.fitted {
        let on = if cross_fitted { "rows not learned from" } else { "the rows that it was chosen on" };
        let led = |effect: &Effect| {
            format!("quality {:.3}, {:.3} of the queries for the LLM", effect.quality, effect.llm_share)
        };
        fitted.chosen_for = format!("{target}; on {on}: {}", led(&effect));
        if let Some(held_out) = &held_out {
            let _ = write!(fitted.chosen_for, "; held out from learning and choice: {}", led(&held_out.effect));
        }
    }
    router.name.clone_from(&options.name);
    router.check()?;
    Ok(Fit {
        kind: options.kind.name(),
        name: router.name().to_owned(),
        router,
        n: rows.len(),
        queries: outcomes.queries,
        weak: outcomes.weak.iter().sum::<f64>() / n,
        strong,
        target,
        setting,
        effect,
        cross_fitted,
        held_out,
        held_out_reason,
        beats_random,
        notes: outcomes.notes.into_iter().chain(note).collect(),
    })
}

/// The rows of the runs with their texts, and the same as outcomes.
fn recorded(runs: &[Run], folders: &[PathBuf], task: &Task, embed: Option<&dyn Embed>) -> Result<(Vec<Row>, Outcomes)> {
    for (run, folder) in runs.iter().zip(folders) {
        if run.header.task_sha256 != task.sha256 {
            return Err(usage(format!(
                "{} was benched on another task, or another version of it, than {}: name the task by --task",
                folder.display(),
                task.name
            )));
        }
    }
    let paired = pair(runs, folders)?;
    let by_id: HashMap<&str, &Sample> = task.samples.iter().map(|sample| (&*sample.query.id, sample)).collect();
    let mut rows = Vec::new();
    let mut numbers: HashMap<String, u32> = HashMap::new();
    for row in &paired.rows {
        let id = row.weak.record.sample.as_str();
        let sample = by_id.get(id).copied();
        let sample = sample.with_context(|| format!("the task {} has no sample {id}", task.name))?;
        let rate = row.run.header.hardware_price.as_ref().map_or(0.0, |price| price.usd_per_hour);
        let answer = |answer: &super::runs::Answer| Recorded {
            right: answer.right,
            usd: answer.attempt.api_usd.map_or(answer.attempt.total_s.0 * rate / 3600.0, |usd| usd.0),
            confidence: answer.attempt.confidence,
            contract_valid: answer
                .attempt
                .verdict
                .as_ref()
                .filter(|_| answer.record.contract.enforces())
                .map(|verdict| verdict.valid),
        };
        // The same text under another id is the same query: it must not be on both sides of the cross-fitting.
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        let number = *numbers.entry(mark(&sample.query.input)).or_insert(next);
        rows.push(Row {
            query: sample.query.clone(),
            number,
            vector: Vec::new(),
            findings: row.weak.record.trial.findings.clone(),
            weak: answer(&row.weak),
            strong: answer(&row.strong),
        });
    }
    let outcomes = Outcomes {
        query_of: rows.iter().map(|row| row.number).collect(),
        queries: u32::try_from(numbers.len()).unwrap_or(u32::MAX),
        ..outcomes(runs, paired)
    };
    if let Some(embed) = embed {
        let texts: Vec<&str> = rows.iter().map(|row| row.query.input.as_str()).collect();
        let vectors = embed.embed(&texts).context("embedding the queries' texts")?;
        for (row, vector) in rows.iter_mut().zip(vectors) {
            row.vector = vector;
        }
    }
    Ok((rows, outcomes))
}

/// A question, ready to be answered.
struct Asked<'a> {
    rows: &'a [Row],
    outcomes: &'a Outcomes,
    options: &'a FitOptions,
    /// All but what is learned.
    learned: Fitted,
    /// Mean quality of the LLM.
    strong: f64,
    /// What the task says of safety findings.
    policy: SafetyPolicy,
}

/// An answer to it.
struct Found {
    router: RouterSpec,
    setting: Setting,
    effect: Effect,
    cross_fitted: bool,
    held_out: Result<HeldOut>,
    beats_random: Option<BeatsRandom>,
    note: Option<String>,
}

impl Asked<'_> {
    /// Rows that go to the LLM whatever the setting: for a safety finding before any call, for a broken contract after the SLM's.
    fn forced(&self) -> Vec<Option<Known>> {
        let of = |row: &Row| {
            if row.findings.iter().any(|finding| self.policy.action(finding) == Action::Escalate) {
                Some(Known::BeforeCall)
            } else {
                (row.weak.contract_valid == Some(false)).then_some(Known::AfterWeak)
            }
        };
        self.rows.iter().map(of).collect()
    }

    /// All rows.
    fn all(&self) -> Vec<usize> {
        (0..self.rows.len()).collect()
    }

    /// Mean quality of the LLM on some rows.
    fn strong_of(&self, rows: &[usize]) -> f64 {
        rows.iter().map(|&row| self.outcomes.strong[row]).sum::<f64>() / rows.len() as f64
    }

    fn target(&self) -> String {
        match (self.options.kind, self.options.usd_per_right_answer) {
            (FitKind::Cascade, Some(worth)) => format!("a right answer worth {worth} dollars"),
            _ if self.options.conformal => match self.options.target {
                Target::Loss(most) => format!(
                    "conformal: in the mean over other samples exchangeable with these, a share of at most {most} of the queries is \
                     kept and wrong, which bounds the loss of quality against always asking the LLM"
                ),
                Target::Share(most) | Target::Budget(most) => format!(
                    "conformal: in the mean over other samples exchangeable with these, at most {most} of the queries have a \
                     confidence below the threshold"
                ),
            },
            _ => self.options.target.words(),
        }
    }

    fn predictor(&self, learner: Learner) -> Result<Found> {
        const ENDS: (f64, f64) = (-1.0, 1.0);
        let vectors: Vec<Vec<f32>> = self.rows.iter().map(|row| row.vector.clone()).collect();
        let outcomes = self.outcomes;
        let score = cross_fitted(learner, &vectors, outcomes)
            .map_err(|reason| usage(format!("nothing can be learned: {reason}")))?;
        let forced = self.forced();
        let settings = choice::thresholds(outcomes, &self.all(), &score.values, &forced, Known::BeforeCall, ENDS);
        let (gain, effect) = choice::best(settings, self.options.target, self.strong)?;
        let held_out = held_out::of_predictor(self, learner, &vectors, &score.values, ENDS);
        let known: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let lessons = Lessons { vectors: &known, weak: &outcomes.weak, strong: &outcomes.strong };
        let predictor = Some(Predictor::fit(learner, lessons));
        let judged = Outcomes { scores: vec![score], ..outcomes.clone() };
        let options = Options { margin: 0.0, draws: 1000, seed: 0 };
        let found = replay(&judged, &options).map_err(|reason| anyhow!("judging the router: {reason}"))?;
        let policy = found.policies.into_iter().find(|policy| policy.name == learner.name());
        let policy = policy.context("the router was not judged")?;
        let undefined = policy.not_available.get("apgr").filter(|_| policy.beats_random.is_none());
        let note = undefined.map(|why| format!("Whether it beats sending queries at random is {why}."));
        let beats_random = policy.beats_random;
        let router = RouterSpec {
            gain: Some(gain),
            fitted: Some(Fitted { predictor, ..self.learned.clone() }),
            ..RouterSpec::plain(learner.kind())
        };
        let setting = Setting { key: "gain", value: gain };
        Ok(Found { router, setting, effect, cross_fitted: true, held_out, beats_random, note })
    }

    fn isotonic(&self) -> Result<Found> {
        let estimator = self.options.confidence;
        let confidences: Vec<f64> =
            self.rows.iter().filter_map(|row| confident(row.weak.confidence, estimator)).collect();
        if confidences.len() < self.rows.len() {
            return Err(usage(format!(
                "{} of {} answers of the SLM have no confidence by {}: bench with `--collect both --confidence {}`, or choose \
                 another by --confidence",
                self.rows.len() - confidences.len(),
                self.rows.len(),
                estimator.name(),
                estimator.name()
            )));
        }
        if self.options.conformal && (self.outcomes.queries as usize) < self.rows.len() {
            return Err(usage("several answers to one query are not exchangeable: give one run for --conformal"));
        }
        let forced = self.forced();
        let (curve, threshold, effect) = self.calibrated(&confidences, &forced, &self.all())?;
        let held_out = held_out::held_out(self, |part| {
            let (outside, inside) = held_out::cut(self, part);
            let (curve, threshold, _) = self.calibrated(&confidences, &forced, &outside)?;
            let unsure = |row: usize| (curve.apply(confidences[row]) < threshold).then_some(Known::AfterWeak);
            let play = |row: usize| held_out::played(self.rows, row, forced[row].or_else(|| unsure(row)));
            Ok((threshold, inside.into_iter().map(play).collect()))
        });
        let router = RouterSpec {
            confidence: Some(estimator),
            threshold: Some(threshold),
            fitted: Some(Fitted { calibration: Some(curve), ..self.learned.clone() }),
            ..RouterSpec::plain(RouterKind::SlmDominant)
        };
        let setting = Setting { key: "threshold", value: threshold };
        Ok(Found { router, setting, effect, cross_fitted: false, held_out, beats_random: None, note: None })
    }

    /// What confidences mean on some rows, the threshold for the target there, and where it leads.
    fn calibrated(
        &self,
        confidences: &[f64],
        forced: &[Option<Known>],
        rows: &[usize],
    ) -> Result<(Rising, f64, Effect)> {
        let (known, right): (Vec<f64>, Vec<bool>) =
            rows.iter().map(|&row| (confidences[row], self.rows[row].weak.right)).unzip();
        let map = Map::fit(MapKind::Isotonic, &known, &right)
            .map_err(|reason| usage(format!("the confidence cannot be calibrated: {reason}")))?;
        let Map::Isotonic(curve) = map else { return Err(anyhow!("an isotonic fit gave another map")) };
        // What is sent for another reason is not kept at any threshold.
        let kept = |(p, forced): (&f64, &Option<Known>)| if forced.is_some() { 0.0 } else { curve.apply(*p) };
        let meant: Vec<f64> = confidences.iter().zip(forced).map(kept).collect();
        // A row is sent where its confidence is below the threshold: by the scale turned over, where it is above.
        let send: Vec<f64> = meant.iter().map(|p| -p).collect();
        let settings = choice::thresholds(self.outcomes, rows, &send, forced, Known::AfterWeak, (-1.0, 0.0));
        let (turned, effect) = if self.options.conformal {
            let own: Vec<f64> = rows.iter().map(|&row| meant[row]).collect();
            let threshold = self.assured(&own, &right)?;
            let is_sent = |row: &&usize| meant[**row] < threshold || forced[**row].is_some();
            let sent = rows.iter().filter(is_sent).count() as f64 / rows.len() as f64;
            let at = settings.into_iter().find(|(_, effect)| (effect.llm_share - sent).abs() < 1e-9);
            (-threshold, at.context("a threshold leads nowhere")?.1)
        } else {
            choice::best(settings, self.options.target, self.strong_of(rows))?
        };
        Ok((curve, (-turned).clamp(0.0, 1.0) + 0.0, effect))
    }

    /// The conformal threshold.
    fn assured(&self, meant: &[f64], right: &[bool]) -> Result<f64> {
        let chosen = match self.options.target {
            Target::Loss(most) => for_loss(meant, right, most, Caution::Conformal),
            Target::Share(most) => for_escalation(meant, most, Caution::Conformal),
            Target::Budget(_) => {
                return Err(usage("a budget has no conformal guarantee: give --escalation instead"));
            }
        };
        let chosen = chosen.map_err(|reason| usage(format!("no threshold can be chosen: {reason}")))?;
        chosen.ok_or_else(|| {
            usage(format!(
                "no threshold on {} queries proves this: the least share that they could prove is {:.4}, and the answers of the \
                 highest confidence are not all right",
                meant.len(),
                1.0 / (meant.len() as f64 + 1.0)
            ))
        })
    }

    fn cascade(&self) -> Result<Found> {
        if self.outcomes.cost.is_none() {
            return Err(usage(
                "cascade-routing weighs answers against their price, and not every answer of these runs has one: bench with \
                 --price",
            ));
        }
        let estimator = self.options.confidence;
        let all_alike = |of: &dyn Fn(&Row) -> bool| self.rows.iter().all(|row| of(row) == of(&self.rows[0]));
        if all_alike(&|row| row.weak.right) && all_alike(&|row| row.strong.right) {
            return Err(usage("nothing can be learned: each model is right on every query, or on none"));
        }
        let player = cascade::Player::new(self);
        let known = player.without(&[]);
        let (worth, effect) = player.choose(&self.all(), &known)?;
        let held_out = held_out::held_out(self, |part| {
            let (outside, inside) = held_out::cut(self, part);
            let (worth, _) = player.choose(&outside, &player.without(&[part]))?;
            Ok((worth, player.play(&inside, &known, worth)?))
        });
        let all: Vec<&Row> = self.rows.iter().collect();
        let fitted = Fitted { models: cascade::models(&all, estimator), ..self.learned.clone() };
        let sure = fitted.models.iter().any(|model| model.calibration.is_some());
        let note = (!sure).then(|| {
            format!("No confidence by {} was recorded: an answer counts as what was expected of it.", estimator.name())
        });
        let mut router = cascade::spec(estimator, worth, fitted);
        if !sure {
            router.confidence = None;
        }
        let setting = Setting { key: "usd_per_right_answer", value: worth };
        Ok(Found { router, setting, effect, cross_fitted: true, held_out, beats_random: None, note })
    }
}

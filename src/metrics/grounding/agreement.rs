//! How far a scorer agrees with labels.

use super::{Grounding, Row, Scorer, abstention};
use crate::error::Result;
use crate::metrics::statistics::{Interval, Undefined, auroc, figure_interval, pearson, spearman};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Labels from here on count as grounded where two classes are needed.
const GROUNDED: f64 = 0.5;
/// Failures to judge that are told one by one.
const MOST_TOLD: usize = 20;

/// What came of labelled rows. A figure that is absent has its reason in `not_available`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Agreement {
    /// The scorer.
    pub scorer: String,
    /// Rows read.
    pub rows: usize,
    /// Rows with a label that were scored: what the figures are about.
    pub n: usize,
    /// Rows without contexts or without claims.
    pub not_applicable: usize,
    /// Of those, rows without contexts.
    pub without_contexts: usize,
    /// Rows that could not be judged; they are in no figure.
    pub failures: usize,
    /// Scored rows without a label.
    pub without_label: usize,
    /// Area under the ROC curve of the scores, labels of at least 0.5 against the rest.
    pub auroc: Option<f64>,
    /// Spearman's rank correlation of scores and labels.
    pub spearman: Option<f64>,
    /// Pearson's correlation of scores and labels.
    pub pearson: Option<f64>,
    /// 95 % intervals of those, by resampling rows.
    pub intervals: BTreeMap<&'static str, Bounds>,
    /// Mean share of supported claims over the scored rows.
    pub mean_share: Option<f64>,
    /// The threshold chosen on one part of the rows, and what it does on the other.
    pub threshold: Threshold,
    /// Answers that say that they do not know.
    pub abstention: Abstentions,
    /// Why figures are absent.
    pub not_available: BTreeMap<&'static str, String>,
    /// The first failures to judge.
    pub failed: Vec<Failed>,
}

/// The ends of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bounds {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A row that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// file:line
    pub place: String,
    /// Why.
    pub reason: String,
}

/// A threshold on the score: from it on an answer counts as grounded.
///
/// Rows whose contexts are the same stand in the same part, and which one is the parity of a hash of the contexts. Chosen is
/// the score of the train part with the best F1 of "grounded" there; of equally good ones the lowest.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Threshold {
    /// The threshold.
    pub value: Option<f64>,
    /// Rows of the train part.
    pub train: usize,
    /// Rows of the test part.
    pub test: usize,
    /// F1 of "grounded" on the test part.
    pub f1: Option<f64>,
    /// Share of the test part on which threshold and label say the same.
    pub accuracy: Option<f64>,
}

/// Abstention against answerability, over the rows that say whether they are answerable. An answer to an unanswerable
/// question is right where it abstains.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Abstentions {
    /// Rows that say.
    pub n: usize,
    /// Rows that are unanswerable.
    pub unanswerable: usize,
    /// Answers of these rows that abstain.
    pub abstained: usize,
    /// Share of the abstaining answers that answer unanswerable rows.
    pub precision: Option<f64>,
    /// Share of the unanswerable rows whose answers abstain.
    pub recall: Option<f64>,
    /// Harmonic mean of the two.
    pub f1: Option<f64>,
    /// Rows whose answers abstain, over all rows, those that do not say included.
    pub abstained_of_all: usize,
}

/// What is told of a row and its judgement; an error of it ends the work.
pub type Told<'a> = dyn FnMut(&Row, &Result<Option<Grounding>>) -> Result<()> + 'a;

/// Scores every row and compares. `each` is told of every judgement, in order.
pub fn agreement(rows: &[Row], scorer: &dyn Scorer, each: &mut Told<'_>) -> Result<Agreement> {
    let mut found = Agreement { scorer: scorer.name().to_owned(), rows: rows.len(), ..Agreement::default() };
    let (mut scores, mut labels, mut parts, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let judged = scorer.score(&row.answer, &row.contexts);
        each(row, &judged)?;
        match judged {
            Err(error) => {
                found.failures += 1;
                if found.failed.len() < MOST_TOLD {
                    found.failed.push(Failed { place: row.place.clone(), reason: format!("{error:#}") });
                }
            }
            Ok(None) => {
                found.not_applicable += 1;
                found.without_contexts += usize::from(row.contexts.is_empty());
            }
            Ok(Some(grounding)) => {
                shares.push(grounding.share);
                match row.label {
                    None => found.without_label += 1,
                    Some(label) => {
                        scores.push(grounding.score);
                        labels.push(label);
                        parts.push(is_train(row));
                    }
                }
            }
        }
    }
    found.n = scores.len();
    found.mean_share = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
    figures(&mut found, &scores, &labels);
    found.threshold = threshold(&scores, &labels, &parts, &mut found.not_available);
    found.abstention = abstentions(rows, &mut found.not_available);
    Ok(found)
}

fn figures(found: &mut Agreement, scores: &[f64], labels: &[f64]) {
    type Pair = fn(&[f64], &[f64]) -> Result<f64, Undefined>;
    let of_classes: Pair =
        |scores, labels| auroc(scores, &labels.iter().map(|label| *label >= GROUNDED).collect::<Vec<_>>());
    let mut figure = |name: &'static str, pair: Pair| {
        let of_rows = |rows: &[usize]| {
            let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<_>>();
            pair(&pick(scores), &pick(labels))
        };
        match figure_interval(scores.len(), of_rows) {
            Ok(Interval { low, high, .. }) => {
                found.intervals.insert(name, Bounds { low, high });
            }
            Err(why) => {
                found.not_available.insert(name, format!("undefined because {why}"));
            }
        }
        pair(scores, labels).ok()
    };
    let values = (figure("auroc", of_classes), figure("spearman", spearman), figure("pearson", pearson));
    (found.auroc, found.spearman, found.pearson) = values;
}

/// Whether a row stands in the train part: the parity of the first byte of the SHA-256 of its contexts.
fn is_train(row: &Row) -> bool {
    let mut hash = Sha256::new();
    for context in &row.contexts {
        hash.update(context.text.as_bytes());
        hash.update([0xff]);
    }
    hash.finalize()[0].is_multiple_of(2)
}

fn threshold(
    scores: &[f64],
    labels: &[f64],
    parts: &[bool],
    not_available: &mut BTreeMap<&'static str, String>,
) -> Threshold {
    let part = |train: bool| -> Vec<(f64, bool)> {
        let rows = scores.iter().zip(labels).zip(parts);
        rows.filter(|(_, is_train)| **is_train == train)
            .map(|((score, label), _)| (*score, *label >= GROUNDED))
            .collect()
    };
    let (train, test) = (part(true), part(false));
    let mut found = Threshold { train: train.len(), test: test.len(), ..Threshold::default() };
    let both = |rows: &[(f64, bool)]| rows.iter().any(|row| row.1) && rows.iter().any(|row| !row.1);
    if !both(&train) {
        let reason =
            "undefined because the train part (rows of which a hash of their contexts is even) has not both classes";
        not_available.insert("threshold", reason.to_owned());
        return found;
    }
    let mut descending = train;
    descending.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let grounded = descending.iter().filter(|row| row.1).count();
    let (mut called, mut hits, mut best) = (0, 0, (f64::NEG_INFINITY, 0.0));
    for tied in descending.chunk_by(|a, b| a.0 == b.0) {
        called += tied.len();
        hits += tied.iter().filter(|row| row.1).count();
        let f1 = harmonic(hits, called - hits, grounded - hits).unwrap_or(0.0);
        if f1 >= best.0 {
            best = (f1, tied[0].0);
        }
    }
    found.value = Some(best.1);
    if test.is_empty() {
        not_available.insert("threshold.f1", "undefined because the test part has no rows".to_owned());
        return found;
    }
    found.f1 = f1(&test, best.1);
    if found.f1.is_none() {
        not_available
            .insert("threshold.f1", "undefined because nothing in the test part is, or is called, grounded".to_owned());
    }
    let same = test.iter().filter(|(score, grounded)| (*score >= best.1) == *grounded).count();
    found.accuracy = Some(same as f64 / test.len() as f64);
    found
}

fn f1(rows: &[(f64, bool)], threshold: f64) -> Option<f64> {
    let count = |said: bool, is: bool| rows.iter().filter(|row| (row.0 >= threshold) == said && row.1 == is).count();
    harmonic(count(true, true), count(true, false), count(false, true))
}

/// F1 of true positives, false positives and false negatives; `None` where there are none of them.
fn harmonic(hits: usize, false_alarms: usize, misses: usize) -> Option<f64> {
    let all = 2 * hits + false_alarms + misses;
    (all > 0).then(|| 2.0 * hits as f64 / all as f64)
}

fn abstentions(rows: &[Row], not_available: &mut BTreeMap<&'static str, String>) -> Abstentions {
    let mut found = Abstentions::default();
    let (mut hits, mut false_alarms) = (0, 0);
    for row in rows {
        let abstains = abstention::abstains(&row.answer);
        found.abstained_of_all += usize::from(abstains);
        let Some(answerable) = row.answerable else { continue };
        found.n += 1;
        found.unanswerable += usize::from(!answerable);
        found.abstained += usize::from(abstains);
        hits += usize::from(abstains && !answerable);
        false_alarms += usize::from(abstains && answerable);
    }
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    found.precision = share(hits, hits + false_alarms);
    found.recall = share(hits, found.unanswerable);
    found.f1 = found.recall.and(harmonic(hits, false_alarms, found.unanswerable - hits));
    if found.n == 0 {
        not_available.insert("abstention", "undefined because no row says whether it is answerable".to_owned());
    } else if found.recall.is_none() {
        not_available.insert("abstention", "undefined because no row is unanswerable".to_owned());
    } else if found.precision.is_none() {
        not_available.insert("abstention.precision", "undefined because no answer abstains".to_owned());
    }
    found
}

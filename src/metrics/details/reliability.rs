//! Whether the confidence of a model's answers can be believed: a reliability diagram and its scores.

use crate::metrics::calibration::quality::{BINS, bin_of, brier, ece};
use crate::metrics::figure::Figure;
use crate::metrics::row::First;
use crate::metrics::statistics::{Undefined, auroc, mean};
use crate::metrics::summary::CellTrials;
use crate::router::Tier;
use serde::Serialize;
use std::collections::HashSet;

/// The confidence of one model's first answers to the plain prompt, each sample once.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reliability {
    /// The model's tier.
    pub tier: Tier,
    /// Answers with a confidence and a judgement.
    pub n: usize,
    /// The bins that hold an answer, of 15 of equal width.
    pub bins: Vec<Bin>,
    /// Expected calibration error over these bins.
    pub ece: Option<f64>,
    /// Mean of (confidence − outcome)².
    pub brier: Option<f64>,
    /// How well the confidence tells right answers from wrong ones.
    pub auroc: Option<f64>,
    /// Why figures are null, or why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answers of similar confidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// Lower edge, exclusive but for the first.
    pub low: f64,
    /// Upper edge, inclusive.
    pub high: f64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share that is right.
    pub right: Figure,
}

pub(super) fn reliability(cells: &[CellTrials<'_>]) -> Vec<Reliability> {
    let Some(memory) = cells.first().map(|cell| cell.cell.memory) else { return Vec::new() };
    [Tier::Slm, Tier::Llm]
        .into_iter()
        .map(|tier| {
            let mut seen = HashSet::new();
            let rows = cells.iter().filter(|cell| cell.cell.memory == memory).flat_map(CellTrials::scored);
            let firsts = rows.filter_map(|row| Some((row.sample, row.first(tier)?)));
            let firsts: Vec<&First> =
                firsts.filter(|(sample, _)| seen.insert(*sample)).map(|(_, first)| first).collect();
            let judged = firsts.iter().filter_map(|first| Some((first.confidence[0], first.right?)));
            let (confidences, right): (Vec<f64>, Vec<bool>) =
                judged.filter(|(confidence, _)| confidence.is_finite()).unzip();
            of(tier, &confidences, &right, firsts.len())
        })
        .collect()
}

pub(super) fn of(tier: Tier, confidences: &[f64], right: &[bool], answers: usize) -> Reliability {
    let mut reasons: Vec<String> = Vec::new();
    let mut keep = |name: &str, figure: Result<f64, Undefined>| match figure {
        Ok(value) => Some(value),
        Err(reason) => {
            reasons.push(format!("{name}: {reason}"));
            None
        }
    };
    let (ece, brier, auroc) = if confidences.is_empty() {
        (None, None, None)
    } else {
        (
            keep("ECE", ece(confidences, right, BINS)),
            keep("Brier", brier(confidences, right)),
            keep("AUROC", auroc(confidences, right)),
        )
    };
    if confidences.is_empty() {
        reasons.push(if answers == 0 {
            "the model gave no plain first answer".to_owned()
        } else {
            format!("none of its {answers} plain first answers has token probabilities and a judgement")
        });
    }
    Reliability {
        tier,
        n: confidences.len(),
        bins: bins(confidences, right),
        ece,
        brier,
        auroc,
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
    }
}

/// Only where all confidences lie in 0..1; else the scores say what is wrong.
fn bins(confidences: &[f64], right: &[bool]) -> Vec<Bin> {
    let mut within: Vec<(Vec<f64>, Vec<bool>)> = vec![Default::default(); BINS];
    for (&confidence, &right) in confidences.iter().zip(right).filter(|(p, _)| (0.0..=1.0).contains(*p)) {
        let (all, rights) = &mut within[bin_of(confidence, BINS)];
        all.push(confidence);
        rights.push(right);
    }
    let edge = |b: usize| b as f64 / BINS as f64;
    within
        .iter()
        .enumerate()
        .filter_map(|(b, (all, rights))| {
            let confidence = mean(all).ok()?;
            Some(Bin { low: edge(b), high: edge(b + 1), confidence, right: Figure::share(rights, "") })
        })
        .collect()
}

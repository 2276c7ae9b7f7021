//! The confidence below which an answer is given up to a stronger model, chosen for a target.
//!
//! A threshold t keeps the answers with confidence ≥ t. Chosen and judged on different answers, always: on those that it
//! was chosen on, a threshold looks better than it is.

use super::super::statistics::{Undefined, undefined};
use super::check;
use serde::Serialize;

/// What a threshold does to answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Effect {
    /// Share of all answers that are given up.
    pub escalation_rate: f64,
    /// Share of all answers that are kept and wrong. Quality cannot be further below that of always asking the stronger
    /// model: at worst it would have had every one of them right.
    pub kept_wrong: f64,
    /// Share right among the kept; `None` where none is.
    pub kept_accuracy: Option<f64>,
}

/// What a threshold does to these answers; `None` keeps none.
pub fn effect(confidences: &[f64], right: &[bool], threshold: Option<f64>) -> Result<Effect, Undefined> {
    check(confidences, right)?;
    let n = confidences.len() as f64;
    let kept = confidences.iter().zip(right).filter(|(p, _)| threshold.is_some_and(|t| **p >= t));
    let (kept, good) =
        kept.fold((0.0, 0.0), |(kept, good), (_, &right)| (kept + 1.0, good + f64::from(u8::from(right))));
    Ok(Effect {
        escalation_rate: (n - kept) / n,
        kept_wrong: (kept - good) / n,
        kept_accuracy: (kept > 0.0).then_some(good / kept),
    })
}

/// How sure a choice is to hold on other answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caution {
    /// The target is met on the answers that the threshold is chosen on.
    Observed,
    /// The target is met in the mean over other answers that are exchangeable with these, whatever their distribution:
    /// conformal risk control (Angelopoulos et al., 2022) for a loss, the split-conformal quantile for a rate.
    Conformal,
}

/// The lowest threshold at which the share of answers that are kept and wrong is at most `most`; `None` keeps none.
///
/// [`Caution::Conformal`] asks for (n·share + 1)/(n + 1) ≤ `most`. As the share falls with the threshold and is at most 1,
/// the expected share on exchangeable answers is then at most `most`.
pub fn for_loss(confidences: &[f64], right: &[bool], most: f64, caution: Caution) -> Result<Option<f64>, Undefined> {
    check(confidences, right)?;
    if !(0.0..=1.0).contains(&most) {
        return undefined("a share lies between 0 and 1");
    }
    let n = confidences.len() as f64;
    let bound = |wrong: f64| match caution {
        Caution::Observed => wrong / n,
        Caution::Conformal => (wrong + 1.0) / (n + 1.0),
    };
    let mut sorted: Vec<(f64, bool)> = confidences.iter().copied().zip(right.iter().copied()).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut wrong, mut lowest) = (0.0, None);
    for tied in sorted.chunk_by(|a, b| a.0 == b.0) {
        wrong += tied.iter().filter(|(_, right)| !right).count() as f64;
        if bound(wrong) > most {
            break;
        }
        lowest = Some(tied[0].0);
    }
    Ok(lowest)
}

/// The highest threshold at which a share of at most `most` is given up; `None` keeps none.
///
/// [`Caution::Conformal`] takes the ⌊(n + 1)·`most`⌋-th smallest confidence: one more exchangeable answer lies below it with
/// a probability of at most `most`.
pub fn for_escalation(confidences: &[f64], most: f64, caution: Caution) -> Result<Option<f64>, Undefined> {
    check(confidences, &vec![true; confidences.len()])?;
    if !(0.0..=1.0).contains(&most) {
        return undefined("a share lies between 0 and 1");
    }
    let n = confidences.len();
    // A share such as 0.29 of 100 comes out as 28.999…: that is 29.
    let whole = |x: f64| (x + 1e-9).floor() as usize;
    let mut sorted = confidences.to_vec();
    sorted.sort_by(f64::total_cmp);
    let threshold = match caution {
        Caution::Observed => match whole(n as f64 * most) {
            below if below >= n => None,
            below => Some(sorted[below]),
        },
        Caution::Conformal => match whole((n as f64 + 1.0) * most) {
            0 => Some(0.0),
            rank if rank > n => None,
            rank => Some(sorted[rank - 1]),
        },
    };
    Ok(threshold)
}

/// The share of queries that a budget lets escalate, where every query costs the same at the stronger model.
pub fn rate_of_budget(budget: f64, cost: f64) -> Result<f64, Undefined> {
    if !(budget >= 0.0 && cost > 0.0 && budget.is_finite() && cost.is_finite()) {
        return undefined("a budget is 0 or more, and a cost above 0");
    }
    Ok((budget / cost).min(1.0))
}

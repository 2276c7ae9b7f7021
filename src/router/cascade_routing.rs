//! Cascade routing: at each step the model whose next answer is worth its price, or the best answer so far (Dekoninck, Baader and
//! Vechev, "A Unified Approach to Routing and Cascading for LLMs", arXiv 2410.10347), looking one step ahead.
//!
//! An answer's quality is its probability to be right: before the call by the query's embedding, after it by the calibrated
//! confidence. Calling model m when the best answer so far has quality b adds E[max(b, Q)] − b, where Q spreads as the
//! confidences of m did on the samples that it was fitted on, moved in log-odds so that their mean is what is expected of m for
//! this query. The call is made while what it adds, in right answers, exceeds λ times its price: λ is one over what a right
//! answer is worth.

use super::fitted::FittedModel;
use super::logistic::Logistic;
use super::predicted::embedded;
use super::predictor::{rightness, sigmoid};
use super::repair::{Standing, Step, call, follow, repair, safety, standing};
use super::{AttemptEvidence, Decision, Evidence, Reason, Router, RouterKind, RouterSettings};
use crate::error::Result;
use crate::memory::Embed;
use crate::task::Query;
use std::sync::Arc;

/// Log-odds are taken of qualities no nearer to 0 and 1 than this.
const EDGE: f64 = 1e-6;
/// Halvings of the search for the move in log-odds, which lies within ±`FARTHEST`.
const HALVINGS: usize = 60;
const FARTHEST: f64 = 30.0;

/// The strategy.
pub(super) struct CascadeRouting {
    settings: RouterSettings,
    models: Vec<Known>,
    /// Dollars that a right answer is worth.
    worth: f64,
    embed: Arc<dyn Embed>,
}

/// A model and what is known of it.
struct Known {
    step: Step,
    usd: f64,
    regression: Logistic,
    is_calibrated: bool,
    spread: Vec<f64>,
}

impl CascadeRouting {
    /// From the settings, what is known of the models, and what a right answer is worth in dollars.
    pub(super) fn new(settings: RouterSettings, models: &[FittedModel], worth: f64, embed: Arc<dyn Embed>) -> Self {
        let known = |model: &FittedModel| Known {
            step: Step::named(&model.name, 0.0).calibrated(model.calibration.clone()),
            usd: model.usd,
            regression: Logistic::from_weights(&model.weights),
            is_calibrated: model.calibration.is_some(),
            spread: model.spread.clone(),
        };
        Self { settings, models: models.iter().map(known).collect(), worth, embed }
    }

    /// The quality of an attempt's answer; `None` where there is none that keeps its contract.
    fn quality(&self, attempt: &AttemptEvidence, expected: &[f64]) -> Option<f64> {
        if attempt.failed || attempt.contract_valid == Some(false) {
            return None;
        }
        let Some(at) = self.models.iter().position(|model| model.step.made(attempt)) else { return Some(0.0) };
        let confidence = self.models[at].step.confidence(attempt).filter(|_| self.models[at].is_calibrated);
        Some(confidence.unwrap_or(expected[at]))
    }
}

impl Known {
    /// E[max(b, Q)] − b, Q with the mean `expected`.
    fn adds(&self, best: f64, expected: f64) -> f64 {
        // Beside no answer, all that is expected is added.
        if self.spread.is_empty() || best <= 0.0 {
            return (expected - best).max(0.0);
        }
        let odds: Vec<f64> = self.spread.iter().map(|p| logit(*p)).collect();
        let mean = |by: f64| odds.iter().map(|z| sigmoid(z + by)).sum::<f64>() / odds.len() as f64;
        let (mut low, mut high) = (-FARTHEST, FARTHEST);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if mean(middle) < expected {
                low = middle;
            } else {
                high = middle;
            }
        }
        odds.iter().map(|z| (sigmoid(z + low) - best).max(0.0)).sum::<f64>() / odds.len() as f64
    }
}

fn logit(p: f64) -> f64 {
    let p = p.clamp(EDGE, 1.0 - EDGE);
    (p / (1.0 - p)).ln()
}

impl Router for CascadeRouting {
    fn kind(&self) -> RouterKind {
        RouterKind::CascadeRouting
    }

    fn decide(&self, query: &Query, evidence: Evidence<'_>) -> Result<Decision> {
        let attempts = evidence.attempts;
        let llm = self.models.iter().find(|model| model.step.is_llm());
        if let (Some(llm), Some(reason)) = (llm, safety(&self.settings.safety, evidence)) {
            // What the policy gives to the LLM no other model answers, whatever it may cost.
            return Ok(follow(&self.settings, std::slice::from_ref(&llm.step), attempts, reason));
        }
        if standing(&self.settings, attempts) == Standing::Repairable {
            return Ok(repair(attempts));
        }
        let open: Vec<usize> =
            (0..self.models.len()).filter(|&m| !attempts.iter().any(|a| self.models[m].step.made(a))).collect();
        let vector = embedded(&*self.embed, &query.input)?;
        let expected: Vec<f64> = self.models.iter().map(|model| rightness(&model.regression, &vector)).collect();
        // Of equals the earliest: a later answer must be better to replace it.
        let best = attempts
            .iter()
            .enumerate()
            .filter_map(|(at, attempt)| Some((at, self.quality(attempt, &expected)?)))
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        let quality = best.map_or(0.0, |(_, quality)| quality);
        let value = |m: usize| {
            let adds = self.models[m].adds(quality, expected[m]);
            (m, adds, adds - self.models[m].usd / self.worth)
        };
        let next = open.into_iter().map(value).reduce(|best, next| if next.2 > best.2 { next } else { best });
        Ok(match (next, best) {
            // Without an answer that keeps its contract a call is made whatever it is worth.
            (Some((m, adds, net)), best) if net > 0.0 || best.is_none() => {
                let reason = Reason::WorthItsPrice { adds, usd: self.models[m].usd };
                call(&self.models[m].step, reason)
            }
            (_, Some((attempt, _))) => Decision::Accept { attempt, reason: Reason::Accepted },
            (_, None) => match attempts.iter().rposition(|attempt| !attempt.failed) {
                Some(attempt) => Decision::Accept { attempt, reason: Reason::Exhausted },
                None => Decision::GiveUp,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(spread: &[f64]) -> Known {
        Known {
            step: Step::named("slm", 0.0),
            usd: 0.0,
            regression: Logistic::from_weights(&[]),
            is_calibrated: true,
            spread: spread.to_vec(),
        }
    }

    #[test]
    fn a_model_of_no_spread_adds_what_it_is_expected_to_be_better() {
        assert!((known(&[]).adds(0.3, 0.8) - 0.5).abs() < 1e-12);
        assert!(known(&[]).adds(0.9, 0.8) == 0.0);
    }

    #[test]
    fn a_spread_leaves_a_chance_of_better_answers_than_expected() {
        let model = known(&[0.1, 0.5, 0.9]);
        assert!((model.adds(0.0, 0.5) - 0.5).abs() < 1e-9, "nothing to lose: the mean");
        let adds = model.adds(0.5, 0.5);
        assert!((adds - 0.4 / 3.0).abs() < 1e-9, "{adds}");
        assert!(model.adds(0.5, 0.7) > adds && model.adds(0.5, 0.3) < adds);
    }
}

//! What cascade-routing must know of two models, and what a right answer must be worth for a target.

use super::choice::{Effect, best};
use super::held_out::{Played, effect};
use super::{Asked, Row, confident, least};
use crate::error::{Result, anyhow};
use crate::memory::Embed;
use crate::metrics::calibration::{Map, MapKind};
use crate::metrics::statistics::quantile_of_sorted;
use crate::replay::learned::{FOLDS, part_of};
use crate::router::{
    AttemptEvidence, Decision, Estimator, Evidence, Fitted, FittedModel, PromptVariant, Router, RouterKind,
    RouterParts, RouterSettings, RouterSpec, Tier, build, fit_rightness,
};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// Quantiles that tell how far a model's confidences spread.
const QUANTILES: usize = 21;
/// Worths of a right answer that are tried, in dollars: from a hundred-thousandth to ten, twelve to a decade.
const WORTHS: (i32, i32) = (-60, 12);
const PER_DECADE: f64 = 12.0;
/// The name of the encoder that knows the rows alone.
const STUB: &str = "rows";

/// What is known of both models from these rows. `confidence` is the estimator behind the calibrations.
pub(super) fn models(rows: &[&Row], confidence: Estimator) -> Vec<FittedModel> {
    let vectors: Vec<&[f32]> = rows.iter().map(|row| row.vector.as_slice()).collect();
    [("slm", Tier::Slm), ("llm", Tier::Llm)]
        .map(|(name, tier)| {
            let of = |row: &&Row| row.of(tier).clone();
            let right: Vec<bool> = rows.iter().map(|row| row.of(tier).right).collect();
            let sure: Vec<(f64, bool)> = rows
                .iter()
                .map(of)
                .filter_map(|answer| Some((confident(answer.confidence, confidence)?, answer.right)))
                .collect();
            let (values, rights): (Vec<f64>, Vec<bool>) = sure.iter().copied().unzip();
            let enough = sure.len() >= least(rows.len());
            let map = enough.then(|| Map::fit(MapKind::Isotonic, &values, &rights).ok()).flatten();
            let calibration = map.and_then(|map| match map {
                Map::Isotonic(curve) => Some(curve),
                _ => None,
            });
            let spread = calibration.as_ref().map_or_else(Vec::new, |curve| {
                let mut meant: Vec<f64> = values.iter().map(|p| curve.apply(*p)).collect();
                meant.sort_by(f64::total_cmp);
                (0..QUANTILES).map(|i| quantile_of_sorted(&meant, (i as f64 + 0.5) / QUANTILES as f64)).collect()
            });
            let usd = rows.iter().map(|row| row.of(tier).usd).sum::<f64>() / rows.len() as f64;
            FittedModel { name: name.to_owned(), usd, weights: fit_rightness(&vectors, &right), calibration, spread }
        })
        .to_vec()
}

/// Lets cascade-routing decide over the recorded answers.
pub(super) struct Player<'a> {
    asked: &'a Asked<'a>,
    embed: Arc<dyn Embed>,
}

/// What is known of the models for a row, by the part that it is in.
type ByPart = Vec<Vec<FittedModel>>;

impl<'a> Player<'a> {
    pub(super) fn new(asked: &'a Asked<'a>) -> Self {
        let vector = |row: &Row| (row.query.input.clone(), row.vector.clone());
        Self { asked, embed: Arc::new(Known(asked.rows.iter().map(vector).collect())) }
    }

    /// What is known of the models for the rows of each part: from the rows of neither that part nor these.
    pub(super) fn without(&self, parts: &[usize]) -> ByPart {
        let of = |own: usize| {
            let is_taught = |row: &&Row| {
                let part = part_of(row.number);
                part != own && !parts.contains(&part)
            };
            let taught: Vec<&Row> = self.asked.rows.iter().filter(is_taught).collect();
            models(&taught, self.asked.options.confidence)
        };
        (0..FOLDS).into_par_iter().map(of).collect()
    }

    /// The worth of a right answer that is given, or that meets the target on some rows, and where it leads there.
    pub(super) fn choose(&self, rows: &[usize], known: &ByPart) -> Result<(f64, Effect)> {
        let led = |worth: f64| Ok((worth, effect(&self.play(rows, known, worth)?, true)));
        if let Some(worth) = self.asked.options.usd_per_right_answer {
            return led(worth);
        }
        let grid: Vec<i32> = (WORTHS.0..=WORTHS.1).collect();
        let tried = grid.into_par_iter().map(|step| led(10_f64.powf(f64::from(step) / PER_DECADE)));
        best(tried.collect::<Result<_>>()?, self.asked.options.target, self.asked.strong_of(rows))
    }

    /// What becomes of some rows where a right answer is worth so much.
    pub(super) fn play(&self, rows: &[usize], known: &ByPart, worth: f64) -> Result<Vec<Played>> {
        let Asked { rows: all, options, learned, policy, .. } = self.asked;
        let router = |models: &Vec<FittedModel>| {
            let fitted = Fitted { models: models.clone(), encoder_sha256: Some(STUB.into()), ..learned.clone() };
            let parts = RouterParts { embed: Some((Arc::clone(&self.embed), STUB)), ..RouterParts::default() };
            // What was recorded is each model's first answer: there is none to repair it with.
            let settings = RouterSettings { max_repairs: 0, safety: policy.clone(), ..RouterSettings::default() };
            build(&spec(options.confidence, worth, fitted), &settings, parts)
        };
        let routers: Vec<Box<dyn Router>> = known.iter().map(router).collect::<Result<_>>()?;
        rows.iter()
            .map(|&row| play(&*routers[part_of(all[row].number)], (row, &all[row]), options.confidence))
            .collect()
    }
}

/// The strategy's table.
pub(super) fn spec(confidence: Estimator, worth: f64, fitted: Fitted) -> RouterSpec {
    RouterSpec {
        confidence: Some(confidence),
        usd_per_right_answer: Some(worth),
        fitted: Some(fitted),
        ..RouterSpec::plain(RouterKind::CascadeRouting)
    }
}

/// Lets a router decide over recorded answers.
fn play(router: &dyn Router, (number, row): (usize, &Row), confidence: Estimator) -> Result<Played> {
    let mut attempts: Vec<AttemptEvidence> = Vec::new();
    let (mut usd, mut asked_llm) = (0.0, false);
    loop {
        match router.decide(&row.query, Evidence { attempts: &attempts, findings: &row.findings })? {
            Decision::Call { tier, .. } if attempts.len() < 2 => {
                let answer = row.of(tier);
                usd += answer.usd;
                asked_llm |= tier == Tier::Llm;
                attempts.push(AttemptEvidence {
                    tier,
                    model: None,
                    variant: PromptVariant::Plain,
                    confidence: confident(answer.confidence, confidence),
                    contract_valid: answer.contract_valid,
                    failed: false,
                });
            }
            Decision::Accept { attempt, .. } => {
                let tier = attempts.get(attempt).map(|attempt| attempt.tier);
                let tier = tier.ok_or_else(|| anyhow!("the router accepted an answer that was not given"))?;
                return Ok(Played { row: number, right: row.of(tier).right, usd, asked_llm });
            }
            _ => return Err(anyhow!("the router neither called nor accepted")),
        }
    }
}

/// Embeddings of the rows.
struct Known(HashMap<String, Vec<f32>>);

impl Embed for Known {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let dimension = self.0.values().next().map_or(0, Vec::len);
        let of = |text: &&str| self.0.get(*text).cloned().unwrap_or_else(|| vec![0.0; dimension]);
        Ok(texts.iter().map(of).collect())
    }
}

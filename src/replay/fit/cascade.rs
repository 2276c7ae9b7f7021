//! What cascade-routing must know of two models, and what a right answer must be worth for a target.

use super::choice::Effect;
use super::{Row, confident, least};
use crate::error::{Result, anyhow};
use crate::memory::Embed;
use crate::metrics::calibration::{Map, MapKind};
use crate::metrics::statistics::quantile_of_sorted;
use crate::replay::learned::FOLDS;
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

/// Worths of a right answer, one that is given or a grid of them, each with where it leads; every row is judged by what was fitted on the queries of other parts.
pub(super) fn worths(
    rows: &[Row],
    confidence: Estimator,
    fitted: &Fitted,
    given: Option<f64>,
) -> Result<Vec<(f64, Effect)>> {
    let grid = || (WORTHS.0..=WORTHS.1).map(|step| 10_f64.powf(f64::from(step) / PER_DECADE));
    let tried: Vec<f64> = given.map_or_else(|| grid().collect(), |worth| vec![worth]);
    let known: HashMap<String, Vec<f32>> =
        rows.iter().map(|row| (row.query.input.clone(), row.vector.clone())).collect();
    let embed: Arc<dyn Embed> = Arc::new(Known(known));
    let learned: Vec<Vec<FittedModel>> = (0..FOLDS)
        .map(|fold| {
            let taught: Vec<&Row> = rows.iter().filter(|row| row.number as usize % FOLDS != fold).collect();
            models(&taught, confidence)
        })
        .collect();
    tried
        .into_par_iter()
        .map(|worth| {
            let routers: Vec<Box<dyn Router>> = learned
                .iter()
                .map(|models| {
                    let fitted = Fitted { models: models.clone(), encoder_sha256: Some(STUB.into()), ..fitted.clone() };
                    let spec = spec(confidence, worth, fitted);
                    let parts = RouterParts { embed: Some((Arc::clone(&embed), STUB)), ..RouterParts::default() };
                    // What was recorded is each model's first answer: there is none to repair it with.
                    build(&spec, &RouterSettings { max_repairs: 0, ..RouterSettings::default() }, parts)
                })
                .collect::<Result<_>>()?;
            let (mut quality, mut usd, mut asked) = (0.0, 0.0, 0.0);
            for row in rows {
                let played = play(&*routers[row.number as usize % FOLDS], row, confidence)?;
                quality += f64::from(u8::from(played.right));
                usd += played.usd;
                asked += f64::from(u8::from(played.asked_llm));
            }
            let n = rows.len() as f64;
            let usd_per_1000 = Some(usd / n * 1000.0);
            Ok((worth, Effect { llm_share: asked / n, quality: quality / n, usd_per_1000 }))
        })
        .collect()
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

/// What became of a row.
struct Played {
    right: bool,
    usd: f64,
    asked_llm: bool,
}

/// Lets a router decide over recorded answers.
fn play(router: &dyn Router, row: &Row, confidence: Estimator) -> Result<Played> {
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
                return Ok(Played { right: row.of(tier).right, usd, asked_llm });
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

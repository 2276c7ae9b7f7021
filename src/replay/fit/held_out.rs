//! What learning a router is worth on queries that neither it nor the choice of its setting has seen: nested cross-fitting.
//!
//! The queries are cut into parts. For each part in turn, all that makes the file is done again on the other parts alone: learning,
//! and choosing the setting on scores that are cross-fitted among these. Then the part's own queries are answered by it. So the
//! figures are those of the way of fitting, and their spread over the parts says how far both hang on which queries there were.

use super::choice::{Effect, best, thresholds};
use super::{Asked, Known, Row};
use crate::error::Result;
use crate::metrics::statistics::paired_difference;
use crate::replay::learned::{FOLDS, part_of, scores_without};
use crate::router::{Learner, Tier};
use rayon::prelude::*;
use serde::Serialize;

/// Where the settings that were chosen on the other parts lead.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOut {
    /// Over all rows.
    #[serde(flatten)]
    pub effect: Effect,
    /// Whether the target is met there, as far as these rows go.
    pub target_met: bool,
    /// Quality less that of always asking the LLM, with its 95 % interval; null where a query stands in several rows.
    pub less_llm: Option<Difference>,
    /// The parts.
    pub parts: Vec<Part>,
}

/// A difference and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Part {
    /// Its rows.
    pub n: usize,
    /// The setting that was chosen on the others.
    pub setting: f64,
    /// Where it leads on these rows.
    #[serde(flatten)]
    pub effect: Effect,
}

/// What became of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Played {
    pub(super) row: usize,
    pub(super) right: bool,
    pub(super) usd: f64,
    pub(super) asked_llm: bool,
}

/// Where decisions led; prices count where every answer has one.
pub(super) fn effect(played: &[Played], priced: bool) -> Effect {
    let n = played.len() as f64;
    let share = |of: fn(&Played) -> bool| played.iter().filter(|row| of(row)).count() as f64 / n;
    Effect {
        llm_share: share(|row| row.asked_llm),
        quality: share(|row| row.right),
        usd_per_1000: priced.then(|| played.iter().map(|row| row.usd).sum::<f64>() / n * 1000.0),
    }
}

/// Does `one` for each part: it chooses a setting on the rows outside of it and plays the rows inside.
pub(super) fn held_out(asked: &Asked, one: impl Fn(usize) -> Result<(f64, Vec<Played>)> + Sync) -> Result<HeldOut> {
    let parts: Vec<(f64, Vec<Played>)> = (0..FOLDS).into_par_iter().map(&one).collect::<Result<_>>()?;
    let priced = asked.outcomes.cost.is_some();
    let of_part = |(setting, played): &(f64, Vec<Played>)| Part {
        n: played.len(),
        setting: *setting,
        effect: effect(played, priced),
    };
    let all: Vec<Played> = parts.iter().flat_map(|(_, played)| played.iter().copied()).collect();
    let whole = effect(&all, priced);
    let (ours, llm): (Vec<bool>, Vec<bool>) =
        all.iter().map(|played| (played.right, asked.rows[played.row].strong.right)).unzip();
    let less_llm = asked.outcomes.rows_are_queries().then(|| paired_difference(&ours, &llm).ok()).flatten();
    Ok(HeldOut {
        effect: whole,
        target_met: asked.options.target.is_met(&whole, asked.strong),
        less_llm: less_llm.map(|found| Difference { value: found.value, low: found.low, high: found.high }),
        parts: parts.iter().map(of_part).collect(),
    })
}

/// The rows outside of a part, and those inside.
pub(super) fn cut(asked: &Asked, part: usize) -> (Vec<usize>, Vec<usize>) {
    (0..asked.rows.len()).partition(|&row| part_of(asked.rows[row].number) != part)
}

/// A row that goes to the LLM, before or after the SLM's answer, or stays.
pub(super) fn played(rows: &[Row], row: usize, sent: Option<Known>) -> Played {
    let (weak, strong) = (rows[row].of(Tier::Slm), rows[row].of(Tier::Llm));
    let (right, usd) = match sent {
        None => (weak.right, weak.usd),
        Some(Known::BeforeCall) => (strong.right, strong.usd),
        Some(Known::AfterWeak) => (strong.right, weak.usd + strong.usd),
    };
    Played { row, right, usd, asked_llm: sent.is_some() }
}

/// For a predictor. `outer` are the scores of all rows, each by what was learned from the parts that it is not in.
pub(super) fn of_predictor(
    asked: &Asked,
    learner: Learner,
    vectors: &[Vec<f32>],
    outer: &[f64],
    ends: (f64, f64),
) -> Result<HeldOut> {
    let forced = asked.forced();
    // What was learned without two parts serves the choice for either of them.
    let pairs: Vec<[usize; 2]> = (0..FOLDS).flat_map(|k| (0..k).map(move |j| [j, k])).collect();
    let scored: Vec<Vec<(usize, f64)>> =
        pairs.par_iter().map(|pair| scores_without(learner, vectors, asked.outcomes, pair)).collect();
    let mut inner = vec![vec![f64::NAN; outer.len()]; FOLDS];
    for ([j, k], scores) in pairs.into_iter().zip(scored) {
        for (row, score) in scores {
            let other = if part_of(asked.rows[row].number) == j { k } else { j };
            inner[other][row] = score;
        }
    }
    held_out(asked, |part| {
        let (outside, inside) = cut(asked, part);
        let settings = thresholds(asked.outcomes, &outside, &inner[part], &forced, Known::BeforeCall, ends);
        let (setting, _) = best(settings, asked.options.target, asked.strong_of(&outside))?;
        let sent = |row: usize| forced[row].or_else(|| (outer[row] > setting).then_some(Known::BeforeCall));
        Ok((setting, inside.into_iter().map(|row| played(asked.rows, row, sent(row))).collect()))
    })
}

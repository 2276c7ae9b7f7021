//! The setting of a router that meets a target at the least price.

use crate::error::{Result, usage};
use crate::replay::{Known, Outcomes, Sides};
use serde::Serialize;

/// What a setting is chosen for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Quality at most so far below that of always asking the LLM, 0 to 1.
    Loss(f64),
    /// At most this share of the queries for the LLM, 0 to 1.
    Share(f64),
    /// At most so many dollars for 1,000 queries.
    Budget(f64),
}

impl Target {
    /// In words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Loss(most) => format!("quality at most {most} below always asking the LLM"),
            Self::Share(most) => format!("at most {most} of the queries for the LLM"),
            Self::Budget(most) => format!("at most {most} dollars for 1,000 queries"),
        }
    }

    /// Whether a setting that leads there meets it; `strong` is the mean quality of the LLM.
    pub(super) fn is_met(self, effect: &Effect, strong: f64) -> bool {
        match self {
            // Means of the same numbers in another order may differ in the last digit.
            Self::Loss(most) => effect.quality >= strong - most - 1e-12,
            Self::Share(most) => effect.llm_share <= most + 1e-12,
            Self::Budget(most) => effect.usd_per_1000.is_some_and(|usd| usd <= most),
        }
    }
}

/// Where a setting leads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Effect {
    /// Share of the queries that the LLM gets.
    pub llm_share: f64,
    /// Mean quality, 0 to 1.
    pub quality: f64,
    /// Mean dollars for 1,000 queries; null where not every answer has a price.
    pub usd_per_1000: Option<f64>,
}

/// The best of the settings that meet a target: for a loss the cheapest, else the one of the highest quality; of equals the one
/// that asks the LLM least.
pub(super) fn best<T>(settings: Vec<(T, Effect)>, target: Target, strong: f64) -> Result<(T, Effect)> {
    if matches!(target, Target::Budget(_)) && settings.iter().all(|(_, effect)| effect.usd_per_1000.is_none()) {
        return Err(usage("a budget needs prices, and not every answer of these runs has one: bench with --price"));
    }
    let price = |effect: &Effect| effect.usd_per_1000.unwrap_or(effect.llm_share);
    let better = |a: &Effect, b: &Effect| match target {
        Target::Loss(_) => price(a).total_cmp(&price(b)).then(b.quality.total_cmp(&a.quality)),
        _ => b.quality.total_cmp(&a.quality).then(price(a).total_cmp(&price(b))),
    };
    let least = settings.iter().map(|(_, effect)| effect.llm_share).fold(f64::INFINITY, f64::min);
    let most = settings.iter().map(|(_, effect)| effect.quality).fold(0.0, f64::max);
    let found = settings
        .into_iter()
        .filter(|(_, effect)| target.is_met(effect, strong))
        .min_by(|a, b| better(&a.1, &b.1).then(a.1.llm_share.total_cmp(&b.1.llm_share)));
    found.ok_or_else(|| {
        usage(format!(
            "no setting meets the target ({}): the highest quality is {most:.3}, and at least {:.1} % of the queries go to the LLM, \
             for safety and broken contracts",
            target.words(),
            100.0 * least
        ))
    })
}

/// Every threshold of a score by which some rows go to the LLM, with where it leads: rows of a score above it are sent, and those
/// that are forced to whatever their score: `Some` says when that is known. `lowest` and `highest` are the ends of the score's scale.
pub(super) fn thresholds(
    outcomes: &Outcomes,
    rows: &[usize],
    send: &[f64],
    forced: &[Option<Known>],
    known: Known,
    (lowest, highest): (f64, f64),
) -> Vec<(f64, Effect)> {
    let n = rows.len() as f64;
    let mut order: Vec<usize> = rows.iter().copied().filter(|&row| forced[row].is_none()).collect();
    order.sort_by(|&a, &b| send[b].total_cmp(&send[a]).then(a.cmp(&b)));
    let sum = |values: &[f64]| rows.iter().map(|&row| values[row]).sum::<f64>();
    let quality = sum(&outcomes.weak);
    let usd = outcomes.cost.as_ref().map(|cost| sum(&cost.weak));
    let (mut gained, mut added, mut sent) = (0.0, 0.0, 0);
    let mut found = Vec::new();
    let mut note = |threshold: f64, sent: usize, gained: f64, added: f64| {
        let llm_share = sent as f64 / n;
        let usd_per_1000 = usd.map(|usd| (usd + added) / n * 1000.0);
        found.push((threshold, Effect { llm_share, quality: (quality + gained) / n, usd_per_1000 }));
    };
    let added_by = |row: usize, known: Known| {
        let weak = |cost: &Sides| if known == Known::BeforeCall { cost.weak[row] } else { 0.0 };
        outcomes.cost.as_ref().map_or(0.0, |cost| cost.strong[row] - weak(cost))
    };
    for (row, known) in rows.iter().filter_map(|&row| Some((row, forced[row]?))) {
        sent += 1;
        gained += outcomes.strong[row] - outcomes.weak[row];
        added += added_by(row, known);
    }
    note(highest, sent, gained, added);
    let groups: Vec<&[usize]> = order.chunk_by(|&a, &b| send[a] == send[b]).collect();
    for (at, group) in groups.iter().enumerate() {
        for &row in *group {
            sent += 1;
            gained += outcomes.strong[row] - outcomes.weak[row];
            added += added_by(row, known);
        }
        // Halfway to the next row that stays; below the last one at the end of the scale, where that lies below it.
        let here = send[group[0]];
        let threshold = groups.get(at + 1).map_or(lowest, |next| f64::midpoint(here, send[next[0]]));
        if threshold < here {
            note(threshold, sent, gained, added);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [usize; 4] = [0, 1, 2, 3];

    fn outcomes() -> Outcomes {
        Outcomes {
            weak_model: "small".into(),
            strong_model: "large".into(),
            weak: vec![0.0, 1.0, 0.0, 1.0],
            strong: vec![1.0, 1.0, 1.0, 0.0],
            cost: Some(Sides { weak: vec![0.001; 4], strong: vec![0.01; 4] }),
            latency: None,
            hardware: None,
            scores: Vec::new(),
            query_of: vec![0, 1, 2, 3],
            queries: 4,
            texts: None,
            excluded: 0,
            notes: Vec::new(),
        }
    }

    #[test]
    fn every_threshold_is_told_with_what_it_does() {
        let send = [0.9, 0.5, 0.5, -1.0];
        let found = thresholds(&outcomes(), &ROWS, &send, &[None; 4], Known::BeforeCall, (-1.0, 1.0));
        let told: Vec<_> = found.iter().map(|(t, e)| (*t, e.llm_share, e.quality)).collect();
        // The row at the lowest end of the scale cannot be sent by any threshold on it.
        assert_eq!(told, [(1.0, 0.0, 0.5), (0.7, 0.25, 0.75), (-0.25, 0.75, 1.0)]);
        let usd = found[1].1.usd_per_1000.unwrap();
        assert!((usd - (0.01 + 3.0 * 0.001) / 4.0 * 1000.0).abs() < 1e-9, "{usd}");
        let after =
            thresholds(&outcomes(), &ROWS, &send, &[None; 4], Known::AfterWeak, (-1.0, 1.0))[1].1.usd_per_1000.unwrap();
        assert!((after - (0.01 + 4.0 * 0.001) / 4.0 * 1000.0).abs() < 1e-9, "both models are paid: {after}");
    }

    #[test]
    fn rows_that_go_to_the_llm_whatever_the_threshold_count_from_the_first() {
        let forced = [None, Some(Known::AfterWeak), None, None];
        let found = thresholds(&outcomes(), &ROWS, &[0.9, 0.5, 0.4, 0.3], &forced, Known::BeforeCall, (-1.0, 1.0));
        let shares: Vec<_> = found.iter().map(|(_, effect)| effect.llm_share).collect();
        assert_eq!(shares, [0.25, 0.5, 0.75, 1.0]);
        let usd = found[0].1.usd_per_1000.unwrap();
        assert!((usd - (0.01 + 4.0 * 0.001) / 4.0 * 1000.0).abs() < 1e-9, "a broken answer was paid: {usd}");
    }

    #[test]
    fn rows_that_are_not_asked_about_count_nothing() {
        let send = [0.9, f64::NAN, 0.4, f64::NAN];
        let found = thresholds(&outcomes(), &[0, 2], &send, &[None; 4], Known::BeforeCall, (-1.0, 1.0));
        let told: Vec<_> = found.iter().map(|(_, e)| (e.llm_share, e.quality)).collect();
        assert_eq!(told, [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]);
    }

    #[test]
    fn each_target_takes_the_cheapest_or_the_best_that_meets_it() {
        let found =
            || thresholds(&outcomes(), &ROWS, &[0.9, 0.5, 0.4, 0.3], &[None; 4], Known::BeforeCall, (-1.0, 1.0));
        let chosen =
            |target| best(found(), target, 0.75).map(|(_, effect)| effect.llm_share).map_err(|e| e.to_string());
        assert_eq!(chosen(Target::Loss(0.0)), Ok(0.25), "0.75 is reached by one call");
        assert_eq!(chosen(Target::Loss(0.25)), Ok(0.0));
        assert_eq!(chosen(Target::Share(0.6)), Ok(0.25), "the second call gains nothing");
        assert_eq!(chosen(Target::Share(0.75)), Ok(0.75));
        assert_eq!(chosen(Target::Budget(4.0)), Ok(0.25));
        assert!(chosen(Target::Budget(0.5)).unwrap_err().contains("the highest quality is 1.000"));
    }
}

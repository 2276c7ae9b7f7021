//! The relevance gate of the salience memory.

use super::retriever::RetrieverKind;

/// The gate where none can be fitted: what the fit gives on the train split of the bundled help desk, of cosines under the default
/// encoder (all-MiniLM-L6-v2) and of BM25's shares.
pub fn default(retriever: RetrieverKind) -> f64 {
    if retriever.embeds() { 0.17 } else { 0.05 }
}

/// Relevant candidates that a fit needs.
const MIN_RELEVANT: usize = 5;
/// Share of the relevant candidates that a fitted gate lets through: a passage too many costs tokens, one too few the answer.
const KEPT: f64 = 0.95;

/// The highest threshold that lets 95 % of the relevant candidates through, given as (relevance, whether it is relevant). It lies
/// midway between the last relevance let through and the first kept out. `None` with too few relevant candidates to tell.
pub(super) fn fit(candidates: &[(f64, bool)]) -> Option<f64> {
    let mut relevant: Vec<f64> = candidates.iter().filter(|(_, relevant)| *relevant).map(|(r, _)| *r).collect();
    if relevant.len() < MIN_RELEVANT {
        return None;
    }
    relevant.sort_by(|a, b| b.total_cmp(a));
    let kept = (KEPT * relevant.len() as f64).ceil() as usize;
    let lowest = *relevant.get(kept.saturating_sub(1))?;
    let below = candidates.iter().map(|(relevance, _)| *relevance).filter(|&relevance| relevance < lowest);
    Some(below.reduce(f64::max).map_or(lowest, |next| lowest.midpoint(next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_separates_what_can_be_separated() {
        let candidates: Vec<(f64, bool)> =
            [0.9, 0.8, 0.7, 0.6, 0.5].map(|c| (c, true)).into_iter().chain([0.3, 0.2].map(|c| (c, false))).collect();
        assert!((fit(&candidates).expect("a gate") - 0.4).abs() < 1e-12);
    }

    #[test]
    fn the_gate_lets_nearly_all_that_is_relevant_through_whatever_comes_with_it() {
        let mut candidates: Vec<(f64, bool)> = (1..=40).map(|n| (f64::from(n) / 40.0, true)).collect();
        candidates.extend((0..200).map(|n| (f64::from(n) / 400.0 + 0.001, false)));
        let gate = fit(&candidates).expect("a gate");
        let through = candidates.iter().filter(|(relevance, relevant)| *relevant && *relevance >= gate).count();
        assert_eq!(through, 38, "{gate}");
    }

    #[test]
    fn equal_relevances_fall_on_the_same_side() {
        let candidates = [(0.6, true), (0.6, true), (0.6, true), (0.6, true), (0.6, true), (0.6, false), (0.1, false)];
        let gate = fit(&candidates).expect("a gate");
        assert!(gate > 0.1 && gate < 0.6, "{gate}");
    }

    #[test]
    fn too_few_relevant_candidates_give_no_gate() {
        assert_eq!(fit(&[(0.9, true), (0.1, false)]), None);
        assert_eq!(fit(&[]), None);
    }
}

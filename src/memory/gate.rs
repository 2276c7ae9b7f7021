//! The relevance gate of the salience memory.

use super::retriever::RetrieverKind;

/// The gate where none can be fitted, low, since nothing tells what a passage too many costs there: what 95 % of the relevant
/// candidates of the bundled help desk's train split exceed, of cosines under the default encoder (all-MiniLM-L6-v2) and of BM25's
/// shares.
pub fn default(retriever: RetrieverKind) -> f64 {
    if retriever.embeds() { 0.17 } else { 0.05 }
}

/// Relevant candidates that a fit needs.
const MIN_RELEVANT: usize = 5;

/// The threshold with the best F1 of relevant against irrelevant candidates, given as (relevance, whether it is relevant); of
/// equals the highest. It lies midway between the last relevance let through and the first kept out. `None` with too few
/// relevant candidates to tell.
pub(super) fn fit(candidates: &[(f64, bool)]) -> Option<f64> {
    let relevant = candidates.iter().filter(|(_, relevant)| *relevant).count();
    if relevant < MIN_RELEVANT {
        return None;
    }
    let mut sorted = candidates.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut hits, mut best) = (0, (0.0, None));
    for (i, &(relevance, is_relevant)) in sorted.iter().enumerate() {
        hits += usize::from(is_relevant);
        let next = sorted.get(i + 1).map(|(next, _)| *next);
        if next == Some(relevance) {
            continue;
        }
        let f1 = 2.0 * hits as f64 / (i + 1 + relevant) as f64;
        if f1 > best.0 {
            best = (f1, Some(next.map_or(relevance, |next| relevance.midpoint(next))));
        }
    }
    best.1
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

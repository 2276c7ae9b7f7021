//! How well an order of articles agrees with people's grades. Definitions as in BEIR (Thakur and others, 2021) and trec_eval.

use std::collections::BTreeMap;

/// The figures of one query.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RetrievalScores {
    /// Share of the relevant articles among the first five.
    pub recall_at_5: f64,
    /// Share of the relevant articles among the first ten.
    pub recall_at_10: f64,
    /// Normalised discounted cumulative gain of the first ten (Järvelin and Kekäläinen, 2002): the sum of grade / log2(rank + 1),
    /// as a share of the best order's.
    pub ndcg_at_10: f64,
    /// 1 / rank of the first relevant article of the first ten; 0 where none is among them.
    pub mrr_at_10: f64,
}

/// Judges the order `found`, best first, by `grades`; articles without a grade are not relevant. `None` where nothing is
/// relevant.
#[must_use]
pub fn retrieval(found: &[&str], grades: &BTreeMap<String, u32>) -> Option<RetrievalScores> {
    let relevant = grades.values().filter(|&&grade| grade > 0).count();
    if relevant == 0 {
        return None;
    }
    let gains: Vec<u32> = found.iter().take(10).map(|id| grades.get(*id).copied().unwrap_or(0)).collect();
    let recall = |k: usize| gains.iter().take(k).filter(|&&gain| gain > 0).count() as f64 / relevant as f64;
    let mut best: Vec<u32> = grades.values().copied().collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    best.truncate(10);
    let first = gains.iter().position(|&gain| gain > 0);
    Some(RetrievalScores {
        recall_at_5: recall(5),
        recall_at_10: recall(10),
        ndcg_at_10: discounted(&gains) / discounted(&best),
        mrr_at_10: first.map_or(0.0, |place| 1.0 / (place as f64 + 1.0)),
    })
}

/// Means over queries; `None` without any.
#[must_use]
pub fn mean_retrieval(scores: &[RetrievalScores]) -> Option<RetrievalScores> {
    let n = scores.len() as f64;
    let mean = |of: fn(&RetrievalScores) -> f64| scores.iter().map(of).sum::<f64>() / n;
    (!scores.is_empty()).then(|| RetrievalScores {
        recall_at_5: mean(|s| s.recall_at_5),
        recall_at_10: mean(|s| s.recall_at_10),
        ndcg_at_10: mean(|s| s.ndcg_at_10),
        mrr_at_10: mean(|s| s.mrr_at_10),
    })
}

fn discounted(gains: &[u32]) -> f64 {
    // A sum of nothing would be -0.
    gains.iter().enumerate().fold(0.0, |sum, (place, &gain)| sum + f64::from(gain) / (place as f64 + 2.0).log2())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Case {
        found: Vec<String>,
        grades: BTreeMap<String, u32>,
        recall_5: f64,
        recall_10: f64,
        ndcg_10: f64,
        mrr_10: f64,
    }

    /// Made by `scripts/fixtures/retrieval.py` with scikit-learn's `ndcg_score` and plain NumPy.
    #[test]
    fn figures_are_those_of_an_independent_implementation() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../tests/fixtures/retrieval.json")).expect("a fixture");
        assert!(cases.len() > 20);
        for case in cases {
            let found: Vec<&str> = case.found.iter().map(String::as_str).collect();
            let scores = retrieval(&found, &case.grades).expect("relevant articles");
            let (ours, theirs) = (
                [scores.recall_at_5, scores.recall_at_10, scores.ndcg_at_10, scores.mrr_at_10],
                [case.recall_5, case.recall_10, case.ndcg_10, case.mrr_10],
            );
            assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-9), "{ours:?}, not {theirs:?}");
        }
    }

    #[test]
    fn without_a_relevant_article_there_is_nothing_to_judge() {
        assert_eq!(retrieval(&["a"], &BTreeMap::new()), None);
        assert_eq!(retrieval(&["a"], &BTreeMap::from([("a".to_owned(), 0)])), None);
        assert_eq!(mean_retrieval(&[]), None);
        let nothing = retrieval(&[], &BTreeMap::from([("a".to_owned(), 1)])).expect("judged");
        assert_eq!(nothing, RetrievalScores::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn figures_are_shares_and_the_best_order_has_them_all(grades in prop::collection::btree_map("[a-h]", 0_u32..4, 1..8)) {
            let mut order: Vec<(&String, &u32)> = grades.iter().collect();
            order.sort_by(|a, b| b.1.cmp(a.1));
            let best: Vec<&str> = order.iter().map(|(id, _)| id.as_str()).collect();
            let backwards: Vec<&str> = best.iter().rev().copied().collect();
            if let (Some(best), Some(worst)) = (retrieval(&best, &grades), retrieval(&backwards, &grades)) {
                prop_assert!((best.ndcg_at_10 - 1.0).abs() < 1e-12 && best.mrr_at_10 == 1.0 && best.recall_at_10 == 1.0);
                prop_assert!(worst.ndcg_at_10 <= best.ndcg_at_10 + 1e-12 && worst.ndcg_at_10 > 0.0);
            }
        }
    }
}

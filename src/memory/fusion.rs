//! From scores to an order, and from two orders to one.

/// How fast a rank's worth falls in reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009).
const RRF_K: f64 = 60.0;
/// Ranks of a list that count in reciprocal rank fusion.
const RRF_DEPTH: usize = 1_000;

/// Scores with mean 0 and deviation 1; all zero where they do not differ.
pub(super) fn standardised(scores: &[f64]) -> Vec<f64> {
    let n = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n).sqrt();
    scores.iter().map(|s| if deviation > 1e-12 { (s - mean) / deviation } else { 0.0 }).collect()
}

/// The sum of two lists of scores, each standardised.
pub(super) fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    standardised(a).iter().zip(standardised(b)).map(|(a, b)| a + b).collect()
}

/// Reciprocal rank fusion: the sum of 1 / (60 + rank) over the lists. What a lexical list scores with 0 it did not find.
pub(super) fn reciprocal_ranks(lexical: &[f64], dense: &[f64]) -> Vec<f64> {
    let mut fused = vec![0.0; dense.len()];
    for (scores, found_only) in [(lexical, true), (dense, false)] {
        for (rank, at) in top(scores, RRF_DEPTH).into_iter().enumerate() {
            if !found_only || scores[at] > 0.0 {
                fused[at] += 1.0 / (RRF_K + 1.0 + rank as f64);
            }
        }
    }
    fused
}

/// The places of the `k` highest scores, highest first; of equals the first.
pub(super) fn top(scores: &[f64], k: usize) -> Vec<usize> {
    let mut places: Vec<u32> = (0..scores.len() as u32).collect();
    let order = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if k < places.len() {
        places.select_nth_unstable_by(k, order);
        places.truncate(k);
    }
    places.sort_unstable_by(order);
    places.into_iter().map(|place| place as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn standardised_scores_have_mean_zero_and_deviation_one() {
        assert_eq!(standardised(&[1.0, 3.0]), [-1.0, 1.0]);
        assert_eq!(standardised(&[2.0, 2.0]), [0.0, 0.0]);
        assert!(standardised(&[]).is_empty());
        assert_eq!(sum(&[1.0, 3.0], &[8.0, 2.0]), [0.0, 0.0]);
    }

    #[test]
    fn reciprocal_ranks_are_those_of_the_formula_and_what_was_not_found_has_none() {
        let fused = reciprocal_ranks(&[0.0, 2.0, 1.0], &[0.9, 0.1, 0.5]);
        let expected = [1.0 / 61.0, 1.0 / 61.0 + 1.0 / 63.0, 1.0 / 62.0 + 1.0 / 62.0];
        assert!(fused.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{fused:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_top_is_the_beginning_of_the_whole_order(scores in prop::collection::vec(-3..3_i32, 0..30), k in 0_usize..35) {
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let mut all: Vec<usize> = (0..scores.len()).collect();
            all.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
            all.truncate(k);
            prop_assert_eq!(top(&scores, k), all);
        }
    }
}

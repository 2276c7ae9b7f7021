//! How far two measures of the same rows agree.

use super::{Undefined, mean, refuse_odd, undefined};

/// Pearson's product-moment correlation.
pub fn pearson(a: &[f64], b: &[f64]) -> Result<f64, Undefined> {
    refuse_odd(a)?;
    refuse_odd(b)?;
    if a.len() != b.len() {
        return undefined("the two sides are not paired");
    }
    let (mean_a, mean_b) = (mean(a)?, mean(b)?);
    let (mut both, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (of_a, of_b) in a.iter().zip(b) {
        let (of_a, of_b) = (of_a - mean_a, of_b - mean_b);
        both += of_a * of_b;
        square_a += of_a * of_a;
        square_b += of_b * of_b;
    }
    // What rounding leaves of equal values is no spread.
    let constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    if constant(a) || constant(b) {
        return undefined("one side is constant");
    }
    Ok((both / (square_a * square_b).sqrt()).clamp(-1.0, 1.0))
}

/// Spearman's rank correlation: Pearson's of the ranks, ties sharing their mean rank.
pub fn spearman(a: &[f64], b: &[f64]) -> Result<f64, Undefined> {
    refuse_odd(a)?;
    refuse_odd(b)?;
    pearson(&ranks(a), &ranks(b))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    // -0 and 0 are neighbours in this order, and equal.
    for tied in order.chunk_by(|&i, &j| values[i] == values[j]) {
        for &i in tied {
            ranks[i] = (2 * before + tied.len() + 1) as f64 / 2.0;
        }
        before += tied.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn correlations_are_those_of_scipy() {
        // scipy.stats 1.17: pearsonr and spearmanr.
        let a = [0.1, 0.4, 0.35, 0.8, 0.4, 0.95];
        let b = [0.0, 0.5, 0.25, 1.0, 1.0, 0.75];
        assert!((pearson(&a, &b).unwrap() - 0.700_649_049_745_370_7).abs() < 1e-12);
        assert!((spearman(&a, &b).unwrap() - 0.75).abs() < 1e-12);
    }

    #[test]
    fn without_spread_there_is_no_correlation() {
        assert!(pearson(&[0.1, 0.1, 0.1], &[1.0, 2.0, 3.0]).is_err());
        assert!(spearman(&[1.0, 2.0], &[0.5, 0.5]).is_err());
        assert!(spearman(&[], &[]).is_err());
        assert!(spearman(&[1.0, f64::NAN], &[0.0, 1.0]).is_err());
        assert!(pearson(&[1.0], &[0.0, 1.0]).is_err());
    }

    proptest! {
        #[test]
        fn ranks_see_order_alone(values in proptest::collection::vec(-9.0..9.0_f64, 2..40)) {
            let bent: Vec<f64> = values.iter().map(|value| value.exp() * 3.0 + 1.0).collect();
            if let Ok(found) = spearman(&values, &bent) {
                prop_assert!((found - 1.0).abs() < 1e-12);
            }
        }
    }
}

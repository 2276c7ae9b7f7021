//! Statistics against figures of SciPy, and their properties.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/statistics.json")).unwrap()
}

fn cases(fixture: &Value, name: &str) -> Vec<Value> {
    let cases = fixture[name].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn close(ours: f64, theirs: &Value, within: f64, case: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= within, "{ours} against {theirs} in {case}");
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn wilson_intervals_agree_with_scipy() {
    let fixture = fixture();
    close(Z_TWO_SIDED, &fixture["z_two_sided"], 1e-15, &Value::Null);
    close(Z_ONE_SIDED, &fixture["z_one_sided"], 1e-15, &Value::Null);
    for case in cases(&fixture, "wilson") {
        let ours = wilson(count(&case["successes"]), count(&case["n"])).unwrap();
        close(ours.low, &case["low"], 1e-12, &case);
        close(ours.high, &case["high"], 1e-12, &case);
    }
}

#[test]
fn mcnemar_agrees_with_scipy() {
    for case in cases(&fixture(), "mcnemar") {
        close(mcnemar_exact(count(&case["only_first"]), count(&case["only_second"])), &case["p"], 1e-9, &case);
    }
}

#[test]
fn quantiles_agree_with_numpy() {
    for case in cases(&fixture(), "quantile") {
        let ours = quantile(&numbers(&case["values"]), case["q"].as_f64().unwrap()).unwrap();
        close(ours, &case["value"], 1e-12, &case);
    }
}

#[test]
fn score_bounds_agree_with_numeric_maximum_likelihood() {
    for case in cases(&fixture(), "score") {
        let number = |key: &str| case[key].as_f64().unwrap();
        let bound = |z| score_bound(number("n"), number("gain"), number("loss"), z);
        // The reference maximises numerically, which is good to some seven digits.
        close(bound(Z_TWO_SIDED), &case["low"], 1e-6, &case);
        close(bound(-Z_TWO_SIDED), &case["high"], 1e-6, &case);
        close(bound(Z_ONE_SIDED), &case["lower_bound"], 1e-6, &case);
        close(bound(-Z_ONE_SIDED), &case["upper_bound"], 1e-6, &case);
    }
}

#[test]
fn bootstrap_intervals_agree_with_scipy_within_their_noise() {
    for case in cases(&fixture(), "bootstrap") {
        let values = numbers(&case["values"]);
        let ours = match case["statistic"].as_str().unwrap() {
            "mean" => mean_interval(&values),
            _ => quantile_interval(&values, 0.5),
        }
        .unwrap();
        let width = case["high"].as_f64().unwrap() - case["low"].as_f64().unwrap();
        close(ours.low, &case["low"], 0.06 * width, &case);
        close(ours.high, &case["high"], 0.06 * width, &case);
    }
}

#[test]
fn no_value_and_no_number_are_undefined_with_a_reason() {
    assert_eq!(wilson(0, 0).unwrap_err().to_string(), "there are no values");
    assert_eq!(mean(&[]).unwrap_err().to_string(), "there are no values");
    assert!(wilson(2, 1).is_err());
    for odd in [f64::NAN, f64::INFINITY] {
        assert_eq!(mean_interval(&[1.0, odd]).unwrap_err().to_string(), "a value is not a finite number");
        assert!(quantile_interval(&[1.0, odd], 0.5).is_err());
        assert!(mean_difference_interval(&[1.0, odd], &[1.0, 1.0]).is_err());
    }
    assert!(quantile(&[1.0], 1.5).is_err() && quantile(&[1.0], f64::NAN).is_err());
    assert!(paired_difference(&[], &[]).is_err() && paired_difference(&[true], &[]).is_err());
    assert!(mean_difference_interval(&[1.0, 2.0], &[1.0]).is_err());
}

#[test]
fn one_value_has_a_point_and_no_bootstrap_interval() {
    assert_eq!(mean(&[3.0]), Ok(3.0));
    assert!(mean_interval(&[3.0]).unwrap_err().to_string().contains("needs two"));
    assert!(quantile_interval(&[3.0], 0.95).is_err());
}

#[test]
fn equal_values_have_an_interval_without_width() {
    let ours = mean_interval(&[2.5; 6]).unwrap();
    assert_eq!(ours, Interval { value: 2.5, low: 2.5, high: 2.5, n: 6 });
    assert_eq!(quantile_interval(&[2.5; 6], 0.95).unwrap(), ours);
}

#[test]
fn the_same_values_give_the_same_interval_every_time() {
    let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17)).collect();
    assert_eq!(mean_interval(&values), mean_interval(&values));
    assert_eq!(quantile_interval(&values, 0.95), quantile_interval(&values, 0.95));
}

#[test]
fn agreement_on_a_few_queries_is_not_proof_that_two_policies_are_equal() {
    let few = paired_difference(&[true; 6], &[true; 6]).unwrap();
    assert_eq!((few.value, few.p_value), (0.0, 1.0));
    // With no discordant pair Tango's bound is -z² / (n + z²): 2.7055 / 8.7055.
    assert!((few.lower_bound + 2.705_543_454_095_414 / 8.705_543_454_095_414).abs() < 1e-9, "{few:?}");
    let many = paired_difference(&[true; 200], &[true; 200]).unwrap();
    assert!(many.lower_bound > -0.05 && many.lower_bound < 0.0);
}

#[test]
fn a_paired_difference_counts_who_was_right() {
    let first = [true, true, true, false, false, true];
    let second = [true, false, true, true, false, true];
    let ours = paired_difference(&first, &second).unwrap();
    assert_eq!([ours.both_right, ours.only_first, ours.only_second, ours.both_wrong], [3, 1, 1, 1]);
    assert_eq!((ours.value, ours.n, ours.p_value), (0.0, 6, 1.0));
    assert_eq!(paired_difference(&[true; 4], &[false; 4]).unwrap().p_value, 0.125);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn an_interval_holds_its_estimate(values in prop::collection::vec(0.0..100.0_f64, 2..40), q in 0.0..=1.0_f64) {
        let middle = mean(&values).unwrap();
        prop_assert!(values.iter().copied().fold(f64::INFINITY, f64::min) <= middle + 1e-9);
        for ours in [mean_interval(&values).unwrap(), quantile_interval(&values, q).unwrap()] {
            prop_assert!(ours.low <= ours.high);
            prop_assert!(ours.low >= -1e-9 && ours.high <= 100.0 + 1e-9);
        }
    }

    #[test]
    fn a_share_lies_within_its_wilson_interval(n in 1..5000_usize, part in 0.0..=1.0_f64) {
        let ours = wilson((part * n as f64) as usize, n).unwrap();
        prop_assert!(0.0 <= ours.low && ours.low <= ours.value && ours.value <= ours.high && ours.high <= 1.0);
    }

    #[test]
    fn a_paired_difference_mirrors_when_its_sides_are_swapped(pairs in prop::collection::vec(any::<(bool, bool)>(), 1..60)) {
        let (first, second): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let ours = paired_difference(&first, &second).unwrap();
        let back = paired_difference(&second, &first).unwrap();
        prop_assert!(ours.low <= ours.value && ours.value <= ours.high);
        prop_assert!(ours.low <= ours.lower_bound && ours.upper_bound <= ours.high);
        prop_assert!(-1.0 <= ours.low && ours.high <= 1.0);
        prop_assert_eq!(ours.p_value, back.p_value);
        let n = first.len() as f64;
        let (gain, loss) = (ours.only_first as f64, ours.only_second as f64);
        let mirrored = -score_bound(n, loss, gain, -Z_ONE_SIDED);
        prop_assert!((score_bound(n, gain, loss, Z_ONE_SIDED) - mirrored).abs() < 1e-9);
    }
}

#[test]
fn auroc_counts_ties_as_one_half_and_needs_both_classes() {
    assert_eq!(auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap(), 0.75);
    assert_eq!(auroc(&[0.5; 4], &[true, false, false, true]).unwrap(), 0.5);
    assert_eq!(auroc(&[0.5; 2], &[true, true]).unwrap_err().0, "only one class is there");
    assert!(auroc(&[f64::NAN, 0.0], &[true, false]).is_err());
    assert!(auroc(&[0.0], &[true, false]).is_err());
}

#[test]
fn resamples_draw_as_many_units_as_there_are_and_the_same_on_any_number_of_threads() {
    let resamples = Resamples { units: 50, draws: 64, seed: 3 };
    let drawn = resamples.map(<[u16]>::to_vec).unwrap();
    assert!(drawn.iter().all(|counts| counts.iter().map(|&count| u32::from(count)).sum::<u32>() == 50));
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(alone.install(|| resamples.map(<[u16]>::to_vec).unwrap()), drawn);
    assert_ne!(drawn[0], drawn[1]);
    assert!(Resamples { units: 1, ..resamples }.map(|_| ()).is_err());
}

#[test]
fn the_resampled_mean_has_the_interval_of_scipys_bootstrap() {
    for case in cases(&fixture(), "bootstrap") {
        if case["statistic"] != "mean" {
            continue;
        }
        let values = numbers(&case["values"]);
        let resamples = Resamples { units: u32::try_from(values.len()).unwrap(), draws: 20_000, seed: 1 };
        let mean = |counts: &[u16]| {
            let sum: f64 = counts.iter().zip(&values).map(|(&count, value)| f64::from(count) * value).sum();
            Some(sum / values.len() as f64)
        };
        let (low, high) = percentile_ends(&resamples.map(mean).unwrap(), 0.025).unwrap();
        let within = (high - low) * 0.03;
        close(low, &case["low"], within, &case);
        close(high, &case["high"], within, &case);
    }
}

#[test]
fn resamples_without_a_figure_widen_the_interval_or_leave_none() {
    let drawn = |missing: usize| -> Vec<Option<f64>> {
        (0..1000).map(|i| (i >= missing).then(|| f64::from(i32::try_from(i).unwrap()))).collect()
    };
    let (low, high) = percentile_ends(&drawn(0), 0.025).unwrap();
    let (wider_low, wider_high) = percentile_ends(&drawn(10), 0.025).unwrap();
    assert!(wider_low <= low + 10.0 && wider_high > high, "{wider_low} {wider_high}");
    assert_eq!(percentile_ends(&drawn(30), 0.025).unwrap_err().0, "it is undefined in 30 of 1000 resamples");
}

#[test]
fn of_many_values_the_interval_is_the_one_that_the_bootstrap_tends_to() {
    let n = MOST_RESAMPLED + 2000;
    // Skewed values, as latencies are.
    let values: Vec<f64> = (0..n).map(|i| 1.0 / (0.05 + (i as f64 * 0.618_033_988_749_895).fract())).collect();
    let resamples = Resamples { units: u32::try_from(n).unwrap(), draws: 2000, seed: 5 };
    let mut sorted = values.clone();
    sorted.sort_unstable_by(f64::total_cmp);
    let ends = |figure: &(dyn Fn(&[u16]) -> f64 + Sync)| {
        percentile_ends(&resamples.map(|counts| Some(figure(counts))).unwrap(), 0.025).unwrap()
    };
    let mean = ends(&|counts| counts.iter().zip(&values).map(|(&c, v)| f64::from(c) * v).sum::<f64>() / n as f64);
    let quantile = ends(&|counts| {
        let drawn = sorted.iter().zip(counts).flat_map(|(&value, &count)| (0..count).map(move |_| value));
        drawn.into_iter().nth((n - 1) * 9 / 10).unwrap()
    });
    for (ours, (low, high)) in
        [(mean_interval(&values).unwrap(), mean), (quantile_interval(&values, 0.9).unwrap(), quantile)]
    {
        let within = (high - low) * 0.1;
        assert!((ours.low - low).abs() < within && (ours.high - high).abs() < within, "{ours:?} {low} {high}");
    }
    let none = vec![0.0; n];
    let (difference, bounds) = mean_difference_interval(&values, &none).unwrap();
    assert_eq!(difference, mean_interval(&values).unwrap());
    assert!(difference.low < bounds[0] && bounds[1] < difference.high);
}

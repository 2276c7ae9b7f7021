//! Calibration against figures of scikit-learn and SciPy, its properties, and what is undefined.

use super::quality::{BINS, aurc, brier, ece, ece_equal_mass};
use super::threshold::{Caution, effect, for_escalation, for_loss, rate_of_budget};
use super::*;
use crate::metrics::statistics::auroc;
use proptest::prelude::*;
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[track_caller]
fn close(ours: f64, theirs: &Value, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0), "{what}: {ours} against {theirs}");
}

#[test]
fn figures_and_maps_agree_with_scikit_learn_and_scipy() {
    let fixture: Value = serde_json::from_str(include_str!("../../../tests/fixtures/calibration.json")).unwrap();
    let asked = numbers(&fixture["asked"]);
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 6);
    for case in cases {
        let p = numbers(&case["confidences"]);
        let y: Vec<bool> = case["right"].as_array().unwrap().iter().map(|v| v.as_bool().unwrap()).collect();
        close(auroc(&p, &y).unwrap(), &case["auroc"], "auroc");
        close(brier(&p, &y).unwrap(), &case["brier"], "brier");
        close(ece(&p, &y, BINS).unwrap(), &case["ece"], "ece");
        close(ece_equal_mass(&p, &y, BINS).unwrap(), &case["ece_equal_mass"], "ece of equal mass");
        close(aurc(&p, &y).unwrap(), &case["aurc"], "aurc");
        match Map::fit(MapKind::Temperature, &p, &y) {
            Ok(Map::Temperature { temperature }) => close(temperature, &case["temperature"], "temperature"),
            other => assert!(case["temperature"].is_null() && other.is_err(), "{other:?}"),
        }
        let Ok(Map::Platt { slope, intercept }) = Map::fit(MapKind::Platt, &p, &y) else { panic!("no line") };
        close(slope, &case["platt"]["slope"], "slope");
        close(intercept, &case["platt"]["intercept"], "intercept");
        let curve = Map::fit(MapKind::Isotonic, &p, &y).unwrap();
        for (&at, theirs) in asked.iter().zip(case["isotonic"].as_array().unwrap()) {
            close(curve.apply(at), theirs, "isotonic");
        }
    }
}

#[test]
fn bins_are_open_below_and_closed_above() {
    // Thirds, wholly in one bin each: 1/3 belongs to the first, 2/3 to the second.
    let p = [1.0 / 3.0, 2.0 / 3.0, 0.0, 1.0];
    let y = [true, false, false, true];
    let expected = ((1.0_f64 - 1.0 / 3.0).abs() + 2.0 / 3.0 + 0.0) / 4.0;
    assert!((ece(&p, &y, 3).unwrap() - expected).abs() < 1e-12);
}

#[test]
fn what_cannot_be_had_says_why() {
    let reason = |result: Result<f64, Undefined>| result.unwrap_err().0;
    for metric in [brier, aurc] {
        assert_eq!(reason(metric(&[], &[])), "there are no answers");
        assert_eq!(reason(metric(&[0.5], &[])), "confidences and outcomes are not paired");
        assert_eq!(reason(metric(&[f64::NAN], &[true])), "a confidence is not a number");
        assert_eq!(reason(metric(&[1.5], &[true])), "a confidence lies outside of 0 to 1");
    }
    assert_eq!(reason(auroc(&[0.1, 0.9], &[true, true])), "only one class is there");
    let fit = |kind, p: &[f64], y: &[bool]| Map::fit(kind, p, y).unwrap_err().0;
    for kind in MapKind::ALL {
        assert!(fit(kind, &[0.2, 0.9], &[true, true]).contains("all right or all wrong"));
        assert!(fit(kind, &[0.2], &[false]).contains("all right or all wrong"));
    }
    assert!(fit(MapKind::Platt, &[0.7, 0.7], &[true, false]).contains("the same"));
    assert!(fit(MapKind::Temperature, &[0.5, 0.5], &[true, false]).contains("one half"));
    assert!(fit(MapKind::Temperature, &[0.9, 0.1], &[true, false]).contains("falls to 0"));
    assert!(fit(MapKind::Temperature, &[0.9, 0.1], &[false, true]).contains("no better"));
}

#[test]
fn constant_confidences_have_figures_but_tell_nothing_apart() {
    let (p, y) = ([0.7; 4], [true, false, true, true]);
    assert_eq!(auroc(&p, &y).unwrap(), 0.5);
    assert!((aurc(&p, &y).unwrap() - 0.25).abs() < 1e-12, "every order is as good");
    assert!((ece(&p, &y, BINS).unwrap() - 0.05).abs() < 1e-12);
    assert_eq!(Map::fit(MapKind::Isotonic, &p, &y).unwrap().apply(0.2), 0.75);
}

#[test]
fn a_single_answer_has_figures() {
    assert_eq!(aurc(&[0.3], &[false]).unwrap(), 1.0);
    assert!((ece(&[0.3], &[true], BINS).unwrap() - 0.7).abs() < 1e-12);
    assert!((ece_equal_mass(&[0.3], &[true], BINS).unwrap() - 0.7).abs() < 1e-12);
}

#[test]
fn thresholds_meet_their_target_and_caution_costs_something() {
    let p = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1];
    let y = [true, true, true, false, true, false, true, false, false, false];
    assert_eq!(for_loss(&p, &y, 0.1, Caution::Observed).unwrap(), Some(0.6));
    assert_eq!(for_loss(&p, &y, 0.1, Caution::Conformal).unwrap(), Some(0.8));
    assert_eq!(for_loss(&p, &y, 0.05, Caution::Conformal).unwrap(), None, "ten answers cannot assure a twentieth");
    assert_eq!(for_loss(&p, &y, 1.0, Caution::Observed).unwrap(), Some(0.1));
    let found = effect(&p, &y, Some(0.6)).unwrap();
    assert_eq!((found.escalation_rate, found.kept_wrong, found.kept_accuracy), (0.5, 0.1, Some(0.8)));
    let none = effect(&p, &y, None).unwrap();
    assert_eq!((none.escalation_rate, none.kept_wrong, none.kept_accuracy), (1.0, 0.0, None));
    assert_eq!(for_escalation(&p, 0.3, Caution::Observed).unwrap(), Some(0.4));
    assert_eq!(for_escalation(&p, 0.3, Caution::Conformal).unwrap(), Some(0.3));
    assert_eq!(for_escalation(&p, 0.0, Caution::Conformal).unwrap(), Some(0.0));
    assert_eq!(for_escalation(&p, 1.0, Caution::Observed).unwrap(), None);
    assert_eq!(rate_of_budget(0.5, 2.0).unwrap(), 0.25);
    assert_eq!(rate_of_budget(9.0, 2.0).unwrap(), 1.0);
    assert!(rate_of_budget(1.0, 0.0).is_err() && rate_of_budget(f64::NAN, 1.0).is_err());
}

fn answers() -> impl Strategy<Value = Vec<(f64, bool)>> {
    let confidence = prop_oneof![(0_u8..=20).prop_map(|tick| f64::from(tick) / 20.0), 0.0..=1.0_f64];
    prop::collection::vec((confidence, any::<bool>()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn figures_lie_where_they_must_and_do_not_depend_on_the_order(answers in answers()) {
        let (p, y): (Vec<f64>, Vec<bool>) = answers.iter().copied().unzip();
        let (q, z): (Vec<f64>, Vec<bool>) = answers.iter().rev().copied().unzip();
        let of = |p: &[f64], y: &[bool]| [
            ece(p, y, BINS).unwrap(), ece_equal_mass(p, y, BINS).unwrap(), brier(p, y).unwrap(), aurc(p, y).unwrap(),
        ];
        for (a, b) in of(&p, &y).into_iter().zip(of(&q, &z)) {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&a) && (a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn fitted_maps_give_confidences_and_isotonic_never_falls(answers in answers()) {
        let (p, y): (Vec<f64>, Vec<bool>) = answers.iter().copied().unzip();
        for kind in MapKind::ALL {
            let Ok(map) = Map::fit(kind, &p, &y) else { continue };
            let mended: Vec<f64> = (0..=100).map(|i| map.apply(f64::from(i) / 100.0)).collect();
            prop_assert!(mended.iter().all(|p| (0.0..=1.0).contains(p)), "{map:?}");
            if kind != MapKind::Platt {
                prop_assert!(mended.windows(2).all(|pair| pair[0] <= pair[1] + 1e-15), "{map:?}");
            }
        }
    }

    #[test]
    fn a_chosen_threshold_keeps_its_promise_on_what_it_was_chosen_on(answers in answers(), most in 0.0..=1.0_f64) {
        let (p, y): (Vec<f64>, Vec<bool>) = answers.iter().copied().unzip();
        for caution in [Caution::Observed, Caution::Conformal] {
            let loss = effect(&p, &y, for_loss(&p, &y, most, caution).unwrap()).unwrap();
            prop_assert!(loss.kept_wrong <= most + 1e-12);
            let rate = effect(&p, &y, for_escalation(&p, most, caution).unwrap()).unwrap();
            if caution == Caution::Observed {
                prop_assert!(rate.escalation_rate <= most + 1e-9);
            }
        }
    }
}

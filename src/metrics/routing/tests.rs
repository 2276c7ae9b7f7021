//! Figures of routing against those of NumPy, SciPy and scikit-learn, published anchors, and properties.

use super::*;
use crate::metrics::statistics::{auroc, holm, mcnemar_exact, mean};
use proptest::prelude::*;
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/routing.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn close(ours: f64, theirs: &Value, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= 1e-9, "{what}: {ours} against {theirs}");
}

#[derive(Debug, Clone)]
struct Rows {
    weak: Vec<f64>,
    strong: Vec<f64>,
    gains: Vec<f64>,
    models: Models,
}

fn rows(weak: Vec<f64>, strong: Vec<f64>) -> Rows {
    let gains = weak.iter().zip(&strong).map(|(w, s)| s - w).collect();
    let models = Models { weak: mean(&weak).unwrap(), strong: mean(&strong).unwrap() };
    Rows { weak, strong, gains, models }
}

#[test]
fn every_figure_agrees_with_numpy_scipy_and_scikit_learn() {
    let fixture = fixture();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 9);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let Rows { weak, gains, models, .. } = rows(numbers(&case["weak"]), numbers(&case["strong"]));
        let (weak_cost, strong_cost) = (numbers(&case["weak_cost"]), numbers(&case["strong_cost"]));
        let after = case["after_weak"].as_bool().unwrap();
        let added: Vec<f64> = strong_cost.iter().zip(&weak_cost).map(|(s, w)| if after { *s } else { s - w }).collect();
        let span = Span { weak: mean(&weak_cost).unwrap(), strong: mean(&strong_cost).unwrap() };
        let scores = numbers(&case["scores"]);
        let ranking = Ranking::by_score(&scores, First::Low).unwrap();
        let curve = Curve::of(&ranking, &gains, &added, (models.weak, span.weak));
        close(curve.apgr(models).unwrap(), &case["apgr"], name);
        close(curve.apgr_exact(models).unwrap(), &case["apgr_exact"], name);
        close(curve.deferral_area(), &case["deferral_auc"], name);
        for (i, level) in [0.5, 0.8, 0.95].into_iter().enumerate() {
            close(curve.cpt(models, level).unwrap(), &case["cpt"][i], name);
        }
        let (from_zero, range) = aiq(&upper_hull(&curve), span).unwrap();
        close(from_zero, &case["aiq_hull_from_zero"], name);
        close(range, &case["aiq_hull_range"], name);
        close(cost_auc(&curve, models, span).unwrap(), &case["cost_auc"], name);
        if !case["auroc"].is_null() {
            let right: Vec<bool> = weak.iter().map(|&q| q == 1.0).collect();
            close(auroc(&scores, &right).unwrap(), &case["auroc"], name);
            let (won, lost) = (gains.iter().filter(|g| **g < 0.0).count(), gains.iter().filter(|g| **g > 0.0).count());
            close(mcnemar_exact(won, lost), &case["mcnemar_p"], name);
        }
    }
}

#[test]
fn holm_agrees_with_statsmodels() {
    for case in fixture()["holm"].as_array().unwrap() {
        let ours = holm(&numbers(&case["p"])).unwrap();
        for (ours, theirs) in ours.iter().zip(case["adjusted"].as_array().unwrap()) {
            close(*ours, theirs, "holm");
        }
    }
    assert!(holm(&[0.1, f64::NAN]).is_err());
    assert!(holm(&[]).unwrap().is_empty());
}

/// Both right, only the weak model, only the strong one, none.
fn from_counts(counts: [usize; 4]) -> Rows {
    let expand = |values: [f64; 4]| counts.iter().zip(values).flat_map(|(&n, v)| vec![v; n]).collect();
    rows(expand([1.0, 1.0, 0.0, 0.0]), expand([1.0, 0.0, 1.0, 0.0]))
}

#[test]
fn the_published_oracle_of_gsm8k_is_found_from_its_counts() {
    let Rows { gains, models, .. } = from_counts([739, 94, 382, 92]);
    let (_, curve) = oracle(&gains, &vec![1.0; gains.len()], (models.weak, 0.0)).unwrap();
    let rounded = |value: f64, digits: usize| format!("{value:.digits$}");
    assert_eq!(rounded(models.weak * 100.0, 4), "63.7337");
    assert_eq!(rounded(models.strong * 100.0, 4), "85.7689");
    assert_eq!(rounded(curve.at(0.2).quality * 100.0, 3), "83.734");
    assert_eq!(rounded(curve.at(0.5).quality * 100.0, 4), "92.9610");
    assert_eq!(rounded(curve.cpt(models, 0.5).unwrap() * 100.0, 2), "11.02");
    assert_eq!(rounded(curve.cpt(models, 0.8).unwrap() * 100.0, 2), "17.63");
    assert_eq!(rounded(curve.apgr(models).unwrap(), 4), "1.1309");
    // It spends on the strong model only what helps.
    assert!((curve.at(1.0).cost - 382.0 / 1307.0).abs() < 1e-12);
}

#[test]
fn where_the_strong_model_is_not_better_the_gap_is_undefined_and_says_why() {
    for counts in [[3, 2, 2, 1], [3, 2, 1, 1], [4, 0, 0, 0], [0, 0, 0, 4]] {
        let Rows { gains, models, .. } = from_counts(counts);
        let ranking = Ranking::random(gains.len());
        let curve = Curve::of(&ranking, &gains, &vec![1.0; gains.len()], (models.weak, 0.0));
        for figure in [curve.apgr(models), curve.apgr_exact(models), curve.cpt(models, 0.5), models.pgr(0.5)] {
            let reason = figure.unwrap_err().to_string();
            assert!(reason.starts_with("the strong model is not better than the weak one"), "{reason}");
        }
        assert!(curve.deferral_area().is_finite());
        let reason = cost_auc(&curve, models, Span { weak: 0.0, strong: 1.0 }).unwrap_err().to_string();
        assert!(reason.contains("one model is left"), "{reason}");
        let (units, costs): (Vec<u32>, Vec<f64>) = (0..8).take(gains.len()).map(|unit| (unit, 1.0)).unzip();
        let walk = Walk::new(&ranking, (&gains, &costs), &units, vec![0, 1], [0.5, 0.8, 0.95]);
        let n = gains.len() as f64;
        let drawn = walk.draw(&[1; 8], &totals(n, models, Span { weak: 0.0, strong: 1.0 }));
        assert_eq!((drawn.apgr, drawn.cpt), (None, [None; 3]));
        assert_eq!(drawn.cost.cost_auc, None);
    }
}

#[test]
fn costs_without_a_range_are_undefined() {
    let Rows { gains, models, .. } = from_counts([1, 0, 1, 0]);
    let curve = Curve::of(&Ranking::random(2), &gains, &[0.0, 0.0], (models.weak, 1.0));
    let same = Span { weak: 1.0, strong: 1.0 };
    assert!(aiq(&upper_hull(&curve), same).is_err() && cost_auc(&curve, models, same).is_err());
    let step = Step { share: 0.5, quality: 0.75, cost: 1.0 };
    assert!(ibc_lift(step, models, same).is_err());
    assert!(ibc_lift(step, models, Span { weak: 1.0, strong: 2.0 }).unwrap_err().0.starts_with("nothing is spent"));
    let lift = ibc_lift(Step { cost: 1.25, ..step }, models, Span { weak: 1.0, strong: 2.0 }).unwrap();
    assert!((lift - 1.0).abs() < 1e-12, "half of the gap at a quarter of the cost: {lift}");
}

#[test]
fn a_score_that_is_no_number_is_named_by_its_first_row() {
    let reason = Ranking::by_score(&[0.1, f64::NAN, f64::INFINITY], First::Low).unwrap_err().to_string();
    assert_eq!(reason, "the score is no finite number in 2 of 3 rows, the first of them row 2");
    assert!(Ranking::by_score(&[], First::Low).is_err());
}

#[test]
fn groups_of_equals_move_as_a_whole() {
    let ranking = Ranking::by_score(&[0.2, -0.0, 0.2, 0.9, 0.0], First::Low).unwrap();
    assert_eq!(ranking.order(), [1, 4, 0, 2, 3]);
    assert_eq!(ranking.ends(), [2, 4, 5]);
    assert_eq!([0.0, 0.39, 0.4, 0.79, 0.8, 1.0].map(|share| ranking.whole_groups(share)), [0, 0, 1, 1, 2, 3]);
    assert_eq!([0, 1, 2, 3].map(|groups| ranking.rows_in(groups)), [0, 2, 4, 5]);
    let turned = Ranking::by_score(&[0.2, -0.0, 0.2, 0.9, 0.0], First::High).unwrap();
    assert_eq!(turned.order(), [3, 0, 2, 1, 4]);
}

#[test]
fn the_first_crossing_counts_where_a_curve_falls_again() {
    // Up to the strong model's quality at one row, down at the next two, up at the last.
    let Rows { gains, models, .. } = rows(vec![0.0, 1.0, 0.0, 0.0], vec![1.0, 0.0, 0.0, 1.0]);
    let curve =
        Curve::of(&Ranking::by_score(&[1.0, 2.0, 3.0, 4.0], First::Low).unwrap(), &gains, &[1.0; 4], (0.25, 0.0));
    assert_eq!(models, Models { weak: 0.25, strong: 0.5 });
    assert!((curve.cpt(models, 0.5).unwrap() - 0.125).abs() < 1e-12);
    assert!((curve.cpt(models, 0.95).unwrap() - 0.2375).abs() < 1e-12);
}

/// Sums over so many rows of these means.
fn totals(rows: f64, models: Models, span: Span) -> Totals {
    Totals {
        rows,
        weak: rows * models.weak,
        strong: rows * models.strong,
        weak_cost: rows * span.weak,
        strong_cost: rows * span.strong,
    }
}

fn near(ours: Option<f64>, theirs: Option<f64>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() < 1e-9,
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn the_line_between_two_models_has_the_areas_of_a_trapezoid() {
    let models = Models { weak: 0.5, strong: 0.8 };
    let line = totals(10.0, models, Span { weak: 1.0, strong: 5.0 }).line();
    assert!(near(line.cost_auc, Some(0.65)) && near(line.aiq_range, Some(0.65)), "{line:?}");
    assert!(near(line.aiq_from_zero, Some(0.65 * 4.0 / 5.0)), "{line:?}");
    let same = totals(10.0, models, Span { weak: 1.0, strong: 1.0 }).line();
    assert_eq!(same, CostFigures::default());
    // Where the strong model is the cheaper one, its line begins with it.
    let turned = totals(3.0, Models { weak: 0.8, strong: 0.5 }, Span { weak: 5.0, strong: 1.0 }).line();
    assert!(near(turned.cost_auc, Some(0.65)), "{turned:?}");
}

#[test]
fn quality_against_cost_is_read_at_enough_vertices_of_a_long_curve() {
    let n = 100_000_u32;
    let scores: Vec<f64> = (0..n).map(|i| f64::from(i.wrapping_mul(2_654_435_761) % n)).collect();
    let weak: Vec<f64> = scores.iter().map(|s| f64::from(u8::from(*s > 40_000.0))).collect();
    let strong: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i % 7 != 0))).collect();
    let Rows { gains, models, .. } = rows(weak, strong);
    let (costs, span) = (vec![1.0; n as usize], Span { weak: 0.0, strong: 1.0 });
    let ranking = Ranking::by_score(&scores, First::Low).unwrap();
    let curve = Curve::of(&ranking, &gains, &costs, (models.weak, 0.0));
    let walk = Walk::new(&ranking, (&gains, &costs), &(0..n).collect::<Vec<_>>(), vec![], [0.5, 0.8, 0.95]);
    let cost = walk.draw(&vec![1; n as usize], &totals(f64::from(n), models, span)).cost;
    let (from_zero, range) = aiq(&upper_hull(&curve), span).unwrap();
    let auc = cost_auc(&curve, models, span).unwrap();
    for (ours, whole) in [(cost.aiq_from_zero, from_zero), (cost.aiq_range, range), (cost.cost_auc, auc)] {
        assert!((ours.unwrap() - whole).abs() < 1e-4, "{ours:?} against {whole}");
    }
}

prop_compose! {
    fn outcomes()(n in 1_usize..60)(
        weak in prop::collection::vec(0_u8..=4, n),
        strong in prop::collection::vec(0_u8..=4, n),
        scores in prop::collection::vec(0_u8..12, n),
        costs in prop::collection::vec(0_u8..5, n),
    ) -> (Rows, Vec<f64>, Vec<f64>) {
        let wide = |values: Vec<u8>, by: f64| values.into_iter().map(|v| f64::from(v) / by).collect::<Vec<f64>>();
        (rows(wide(weak, 4.0), wide(strong, 4.0)), wide(scores, 7.0), wide(costs, 1.0))
    }
}

proptest! {
    #[test]
    fn figures_do_not_depend_on_the_order_of_rows((rows, scores, costs) in outcomes()) {
        let turn = |values: &[f64]| values.iter().rev().copied().collect::<Vec<f64>>();
        let curve = |gains: &[f64], scores: &[f64], costs: &[f64]| {
            Curve::of(&Ranking::by_score(scores, First::Low).unwrap(), gains, costs, (rows.models.weak, 0.0))
        };
        let (one, other) = (curve(&rows.gains, &scores, &costs), curve(&turn(&rows.gains), &turn(&scores), &turn(&costs)));
        for (a, b) in one.steps().iter().zip(other.steps()) {
            prop_assert!((a.share - b.share).abs() + (a.quality - b.quality).abs() + (a.cost - b.cost).abs() < 1e-9);
        }
        prop_assert!((one.at(1.0).quality - rows.models.strong).abs() < 1e-9);
    }

    #[test]
    fn a_constant_score_is_random_routing((rows, _, costs) in outcomes()) {
        let ranking = Ranking::by_score(&vec![0.5; rows.gains.len()], First::High).unwrap();
        prop_assert_eq!(&ranking, &Ranking::random(rows.gains.len()));
        let curve = Curve::of(&ranking, &rows.gains, &costs, (rows.models.weak, 0.0));
        for p in [0.0, 0.3, 1.0] {
            let expected = rows.models.weak + p * (rows.models.strong - rows.models.weak);
            prop_assert!((curve.at(p).quality - expected).abs() < 1e-9);
        }
        if rows.models.gap().is_ok() {
            prop_assert!((curve.apgr(rows.models).unwrap() - 0.5).abs() < 1e-9);
            prop_assert!((curve.cpt(rows.models, 0.8).unwrap() - 0.8).abs() < 1e-9);
        }
    }

    #[test]
    fn no_policy_is_above_the_oracle_and_no_curve_above_its_hull((rows, scores, costs) in outcomes()) {
        let start = (rows.models.weak, 0.0);
        let curve = Curve::of(&Ranking::by_score(&scores, First::Low).unwrap(), &rows.gains, &costs, start);
        let (_, best) = oracle(&rows.gains, &costs, start).unwrap();
        for i in 0..=20 {
            let p = f64::from(i) / 20.0;
            prop_assert!(best.at(p).quality >= curve.at(p).quality - 1e-9);
        }
        let everywhere: f64 = rows.weak.iter().zip(&rows.strong).map(|(w, s)| w.max(*s)).sum();
        prop_assert!((best.at(1.0).quality - everywhere / rows.weak.len() as f64).abs() < 1e-9);
        let hull = upper_hull(&curve);
        prop_assert!(hull.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
        for step in curve.steps() {
            let next = hull.partition_point(|point| point.0 < step.cost);
            let height = match (next.checked_sub(1).map(|i| hull[i]), hull.get(next)) {
                (Some(a), Some(b)) => a.1 + (b.1 - a.1) * (step.cost - a.0) / (b.0 - a.0),
                (None, Some(b)) => b.1,
                (Some(a), None) => a.1,
                (None, None) => f64::NAN,
            };
            prop_assert!(step.quality <= height + 1e-9, "{step:?} above {hull:?}");
        }
    }

    #[test]
    fn a_walk_with_each_row_once_gives_the_figures_of_the_curve((rows, scores, costs) in outcomes()) {
        let ranking = Ranking::by_score(&scores, First::Low).unwrap();
        let n = rows.gains.len();
        let curve = Curve::of(&ranking, &rows.gains, &costs, (rows.models.weak, 0.0));
        let units: Vec<u32> = (0..u32::try_from(n).unwrap()).collect();
        let marks: Vec<usize> = (0..=ranking.ends().len()).collect();
        let walk = Walk::new(&ranking, (&rows.gains, &costs), &units, marks, [0.5, 0.8, 0.95]);
        let gap: f64 = rows.gains.iter().sum();
        let span = Span { weak: 0.0, strong: costs.iter().sum::<f64>() / n as f64 };
        // Sums of quarters are exact, means times n are not: a level that a step just reaches would be missed.
        let exact = Totals { weak: rows.weak.iter().sum(), strong: rows.strong.iter().sum(), ..totals(n as f64, rows.models, span) };
        let drawn = walk.draw(&vec![1; n], &exact);
        let whole = aiq(&upper_hull(&curve), span).ok();
        prop_assert!(near(drawn.cost.aiq_from_zero, whole.map(|w| w.0)) && near(drawn.cost.aiq_range, whole.map(|w| w.1)));
        prop_assert!(near(drawn.cost.cost_auc, cost_auc(&curve, rows.models, span).ok()), "{:?}", drawn.cost);
        for (gain, step) in drawn.gain_at.iter().zip(curve.steps()) {
            prop_assert!((rows.models.weak + gain / n as f64 - step.quality).abs() < 1e-9);
        }
        prop_assert!((rows.models.weak + drawn.area - curve.deferral_area()).abs() < 1e-9);
        if gap > 1e-9 {
            prop_assert!((drawn.apgr.unwrap() - curve.apgr(rows.models).unwrap()).abs() < 1e-9);
            for (ours, level) in drawn.cpt.iter().zip([0.5, 0.8, 0.95]) {
                prop_assert!((ours.unwrap() - curve.cpt(rows.models, level).unwrap()).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_walk_over_counts_is_the_curve_of_the_repeated_rows((rows, scores, _) in outcomes(), seed in 0_u64..1000) {
        let n = rows.gains.len();
        let counts: Vec<u16> = (0..n as u64).map(|i| u16::try_from((seed / (i + 1) + i) % 3).unwrap()).collect();
        let repeat = |values: &[f64]| -> Vec<f64> {
            values.iter().zip(&counts).flat_map(|(&v, &c)| vec![v; usize::from(c)]).collect()
        };
        let (gains, repeated) = (repeat(&rows.gains), repeat(&scores));
        prop_assume!(!gains.is_empty());
        let curve = Curve::of(
            &Ranking::by_score(&repeated, First::Low).unwrap(), &gains, &vec![1.0; gains.len()], (0.0, 0.0),
        );
        let units: Vec<u32> = (0..u32::try_from(n).unwrap()).collect();
        let ranking = Ranking::by_score(&scores, First::Low).unwrap();
        let walk = Walk::new(&ranking, (&rows.gains, &vec![1.0; n]), &units, vec![], [0.5, 0.8, 0.95]);
        let gap: f64 = gains.iter().sum();
        let models = Models { weak: 0.0, strong: gap / gains.len() as f64 };
        let span = Span { weak: 0.0, strong: 1.0 };
        let drawn = walk.draw(&counts, &totals(gains.len() as f64, models, span));
        prop_assert!((drawn.area - curve.deferral_area()).abs() < 1e-9);
        prop_assert!(near(drawn.cost.aiq_range, aiq(&upper_hull(&curve), span).ok().map(|found| found.1)));
        if gap > 1e-9 {
            prop_assert!((drawn.apgr.unwrap() - curve.apgr(models).unwrap()).abs() < 1e-9);
            prop_assert!((drawn.cpt[1].unwrap() - curve.cpt(models, 0.8).unwrap()).abs() < 1e-9);
        }
    }
}

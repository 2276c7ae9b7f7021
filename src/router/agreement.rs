//! What is learned here beside what scikit-learn and SciPy learn from the same (`scripts/fixtures/predictors.py`).

use super::logistic::Logistic;
use super::predictor::{Learner, Lessons, Predictor, fit_rightness, rightness};
use super::terms::Terms;
use serde_json::Value;

fn fixture() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/predictors.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn vectors(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(|v| numbers(v).into_iter().map(|x| x as f32).collect()).collect()
}

fn farthest(ours: impl Iterator<Item = f64>, theirs: &Value) -> f64 {
    ours.zip(numbers(theirs)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn predictors_give_the_scores_of_scikit_learn_and_scipy() {
    for case in fixture()["cases"].as_array().unwrap() {
        let (known, asked) = (vectors(&case["vectors"]), vectors(&case["asked"]));
        let known: Vec<&[f32]> = known.iter().map(Vec::as_slice).collect();
        let (weak, strong) = (numbers(&case["weak"]), numbers(&case["strong"]));
        let lessons = Lessons { vectors: &known, weak: &weak, strong: &strong };
        // Means of neighbours are exact; optima are as near as their search ends.
        for (learner, theirs, within) in [
            (Learner::Knn, &case["knn"], 1e-9),
            (Learner::Logistic, &case["logistic"], 1e-4),
            (Learner::Mf, &case["mf"]["gain"], 1e-4),
        ] {
            let fitted = Predictor::fit(learner, lessons);
            let far = farthest(asked.iter().map(|vector| fitted.score(vector)), theirs);
            assert!(far <= within, "{} on {}: {far} apart", learner.name(), case["name"]);
        }
        let right: Vec<bool> = weak.iter().map(|&quality| quality == 1.0).collect();
        let regression = Logistic::from_weights(&fit_rightness(&known, &right));
        let far = farthest(asked.iter().map(|vector| rightness(&regression, vector)), &case["right"]);
        assert!(far <= 1e-4, "the probability to be right on {}: {far} apart", case["name"]);
    }
}

#[test]
fn terms_weigh_as_scikit_learn_weighs_them() {
    let fixture = fixture();
    let texts = |name: &str| -> Vec<String> { serde_json::from_value(fixture["terms"][name].clone()).unwrap() };
    let (known, asked) = (texts("texts"), texts("asked"));
    let terms = Terms::learn(&known.iter().map(String::as_str).collect::<Vec<_>>());
    for (text, theirs) in asked.iter().zip(fixture["terms"]["features"].as_array().unwrap()) {
        let theirs = theirs.as_object().unwrap();
        let ours = terms.features(text);
        assert_eq!(ours.len(), theirs.len(), "{text}");
        for (term, weight) in theirs {
            let id = terms.id(term).unwrap_or_else(|| panic!("{term:?} is not known"));
            let own = ours.iter().find(|(known, _)| *known == id).unwrap().1;
            assert!((own - weight.as_f64().unwrap()).abs() < 1e-9, "{term:?} in {text:?}: {own} against {weight}");
        }
    }
}

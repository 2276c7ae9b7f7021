//! Replays of small tables made in code.

use super::learned::cross_fitted;
use super::*;
use crate::metrics::example;
use crate::record::RunWriter;
use crate::router::Learner;
use crate::router::Tier;
use crate::trial::Confidence;
use std::path::Path;

fn outcomes(weak: &[f64], strong: &[f64], scores: &[f64]) -> Outcomes {
    let n = u32::try_from(weak.len()).unwrap();
    Outcomes {
        weak_model: "small".into(),
        strong_model: "large".into(),
        weak: weak.to_vec(),
        strong: strong.to_vec(),
        cost: None,
        latency: None,
        hardware: None,
        scores: vec![Score {
            name: "confidence".into(),
            values: scores.to_vec(),
            first: First::Low,
            known: Known::AfterWeak,
        }],
        query_of: (0..n).collect(),
        queries: n,
        texts: None,
        excluded: 0,
        notes: vec![],
    }
}

const OPTIONS: Options = Options { margin: 0.05, draws: 400, seed: 0 };

fn judged(outcomes: &Outcomes) -> Replay {
    replay(outcomes, &OPTIONS).unwrap()
}

fn policy<'a>(found: &'a Replay, name: &str) -> &'a Policy {
    found.policies.iter().find(|policy| policy.name == name).unwrap()
}

/// 200 rows: the weak model is right on those with a high score, the strong one nearly everywhere.
fn sound() -> Outcomes {
    let scores: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 200) / 200.0).collect();
    let weak: Vec<f64> = scores.iter().map(|&score| f64::from(u8::from(score > 0.4))).collect();
    let strong: Vec<f64> = (0..200).map(|i| f64::from(u8::from(i % 25 != 0))).collect();
    outcomes(&weak, &strong, &scores)
}

#[test]
fn a_good_score_is_found_to_be_good_and_shares_the_work() {
    let found = judged(&sound());
    let confidence = policy(&found, "confidence");
    assert!(confidence.apgr.unwrap() > 0.7, "{:?}", confidence.apgr);
    let ends = confidence.intervals["apgr"];
    assert!(ends.low < confidence.apgr.unwrap() && confidence.apgr.unwrap() < ends.high);
    assert_eq!(confidence.beats_random.as_ref().unwrap().text, "better than sending queries at random");
    assert_eq!(confidence.auroc, Some(1.0));
    assert_eq!(policy(&found, "random").apgr.map(|apgr| (apgr * 1e9).round() / 1e9), Some(0.5));
    assert_eq!(found.verdict.weak_replaces_strong, Some(false));
    assert_eq!(found.verdict.policy.as_deref(), Some("confidence"));
    let local = found.verdict.local_share.unwrap();
    assert!((0.4..=0.65).contains(&local), "{local}");
    assert!(found.verdict.lower_bound.unwrap() > -0.05);
    assert_eq!(found.verdict.break_even, None);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let text = |seed| serde_json::to_string(&replay(&sound(), &Options { seed, ..OPTIONS }).unwrap()).unwrap();
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn a_constant_score_is_no_better_than_chance_and_has_two_thresholds() {
    let mut data = sound();
    data.scores[0].values.fill(0.5);
    let found = judged(&data);
    let confidence = policy(&found, "confidence");
    assert!((confidence.apgr.unwrap() - 0.5).abs() < 1e-12);
    assert_eq!(confidence.points.iter().map(|point| point.strong_share).collect::<Vec<_>>(), [0.0, 1.0]);
    assert_eq!(confidence.auroc, Some(0.5));
    assert_eq!(confidence.beats_random.as_ref().unwrap().text, "not shown to be better than sending queries at random");
}

#[test]
fn a_score_that_is_no_number_leaves_its_policy_out_with_the_reason() {
    let mut data = sound();
    data.scores[0].values[7] = f64::NAN;
    let found = judged(&data);
    assert!(found.policies.iter().all(|policy| policy.name != "confidence"));
    assert_eq!(
        found.not_available["policies.confidence"],
        "undefined because the score is no finite number in 1 of 200 rows, the first of them row 8"
    );
}

#[test]
fn where_the_strong_model_is_not_better_the_gap_is_undefined_and_the_weak_one_may_replace_it() {
    let data = sound();
    let found = judged(&outcomes(&data.strong, &data.weak, &data.scores[0].values));
    let confidence = policy(&found, "confidence");
    assert_eq!((confidence.apgr, confidence.cpt["80"]), (None, None));
    assert!(confidence.not_available["apgr"].starts_with("undefined because the strong model is not better"));
    assert!(confidence.deferral_auc.is_some());
    assert_eq!(found.verdict.weak_replaces_strong, Some(true));
    assert_eq!(found.verdict.policy.as_deref(), Some("always-weak"));
}

#[test]
fn one_class_one_row_and_graded_quality_say_what_is_undefined() {
    let found = judged(&outcomes(&[0.0; 30], &[1.0; 30], &[0.5; 30]));
    assert!(policy(&found, "confidence").not_available["auroc"].contains("only one class"));

    let found = judged(&outcomes(&[0.0], &[1.0], &[0.5]));
    assert_eq!((found.weak, found.strong, found.oracle), (0.0, 1.0, 1.0));
    let confidence = policy(&found, "confidence");
    assert!(confidence.not_available["intervals"].contains("one query has no spread"));
    assert_eq!(confidence.points[0].non_inferior, None);
    assert_eq!((found.verdict.decided, found.verdict.weak_replaces_strong), (false, None));

    let mut data = sound();
    data.weak[0] = 0.25;
    let found = judged(&data);
    assert_eq!((found.outcomes, found.mcnemar_p), (None, None));
    let point = &policy(&found, "confidence").points[5];
    assert_eq!((point.over_escalation, point.mcnemar_p), (None, None));
    assert!(point.not_available["mcnemar_p"].contains("graded"));
    assert!(point.lower_bound.is_some());
}

#[test]
fn rows_of_one_query_are_drawn_together() {
    let data = sound();
    let mut doubled = data.clone();
    doubled.weak.extend(&data.weak);
    doubled.strong.extend(&data.strong);
    doubled.query_of.extend(&data.query_of);
    doubled.scores[0].values.extend(&data.scores[0].values);
    let (once, twice) = (judged(&data), judged(&doubled));
    let width = |found: &Replay| {
        let ends = policy(found, "confidence").intervals["apgr"];
        ends.high - ends.low
    };
    // Repeating every row adds no knowledge, so that the interval must not shrink.
    assert!((width(&once) - width(&twice)).abs() < 1e-9, "{} {}", width(&once), width(&twice));
    assert_eq!(twice.mcnemar_p, None);
    assert!(twice.not_available["mcnemar_p"].contains("more than one row"));
    assert!(twice.notes[0].starts_with("400 rows are of 200 queries"));
}

#[test]
fn a_few_queries_in_many_rows_prove_nothing() {
    let mut data = outcomes(&[0.0, 1.0, 0.0, 1.0], &[1.0, 1.0, 1.0, 0.0], &[0.1, 0.4, 0.2, 0.9]);
    (data.query_of, data.queries) = (vec![0, 0, 1, 1], 2);
    let found = judged(&data);
    assert_eq!((found.verdict.policy, found.verdict.weak_replaces_strong), (None, None), "{}", found.verdict.text);
    assert!(found.verdict.text.contains("2 queries are too few for bounds"), "{}", found.verdict.text);
    let judged_again = judged(&data);
    let point = &policy(&judged_again, "confidence").points[1];
    assert_eq!((point.lower_bound, point.non_inferior), (None, None));
    assert!(point.not_available["lower_bound"].contains("20 are the least"));
}

#[test]
fn an_escalated_query_pays_both_models_and_a_routed_one_pays_one() {
    let mut data = sound();
    data.cost = Some(Sides { weak: vec![1.0; 200], strong: vec![10.0; 200] });
    data.latency = Some(Sides { weak: vec![0.5; 200], strong: vec![2.0; 200] });
    data.scores.push(Score { name: "before".into(), known: Known::BeforeCall, ..data.scores[0].clone() });
    data.hardware = Some(Hardware { usd_per_hour: 0.5, is_weak_cost: false });
    let found = judged(&data);
    let at_half =
        |name: &str| policy(&found, name).points.iter().find(|point| point.strong_share == 0.5).unwrap().clone();
    let (after, before) = (at_half("confidence"), at_half("before"));
    assert!((after.cost - 6.0).abs() < 1e-9 && (before.cost - 5.5).abs() < 1e-9);
    assert_eq!(after.latency_s.unwrap().p95, 2.5);
    assert_eq!(before.latency_s.unwrap().p95, 2.0);
    assert_eq!(found.cost_unit, "usd");
    // The verdict takes the cheaper of two policies that lose the same.
    assert_eq!(found.verdict.policy.as_deref(), Some("before"));
    let at = found.verdict.break_even.unwrap();
    // A share of the weak model's dollar is spent to avoid that share of the strong one's ten.
    assert!((at.strong_usd_per_query - 1.0).abs() < 1e-9, "{at:?}");
    let saved = 9.0 * found.verdict.local_share.unwrap();
    assert!((at.queries_per_day.unwrap() - 12.0 / saved).abs() < 1e-9);
}

#[test]
fn thresholds_count_who_is_sent_in_vain_and_who_is_kept_wrongly() {
    let found = judged(&outcomes(&[0.0, 1.0, 0.0, 1.0], &[1.0, 1.0, 1.0, 0.0], &[0.1, 0.2, 0.3, 0.4]));
    let point = policy(&found, "confidence").points.iter().find(|point| point.strong_share == 0.5).unwrap();
    assert_eq!(point.threshold, Some(0.2));
    assert_eq!((point.over_escalation, point.under_escalation), (Some(0.25), Some(0.25)));
    assert_eq!(point.quality, 0.75);
    assert_eq!(point.mcnemar_p, Some(1.0));
}

#[test]
fn a_policy_that_costs_more_than_the_strong_model_is_none_to_choose() {
    let mut data = sound();
    data.cost = Some(Sides { weak: vec![8.0; 200], strong: vec![10.0; 200] });
    let found = judged(&data);
    assert_eq!(found.verdict.policy, None);
    assert!(found.verdict.text.contains("at a lower cost"), "{}", found.verdict.text);
}

/// A run of the three routers on six samples, with the confidence of the SLM's answers.
fn write_run(folder: &Path, model: &str) {
    let (mut header, mut trials) = example::run();
    header.slm.model = model.into();
    for (i, record) in trials.iter_mut().enumerate() {
        for attempt in record.trial.attempts.iter_mut().filter(|attempt| attempt.tier == Tier::Slm) {
            let confidence = 0.9 - 0.01 * i as f64;
            attempt.confidence = Some(Confidence {
                label: None,
                mean: confidence,
                min: confidence / 2.0,
                quantile: confidence,
                margin: None,
                entropy: None,
                probed: crate::trial::Probed::default(),
            });
        }
    }
    let mut writer = RunWriter::create(folder, header).unwrap();
    for record in &trials {
        writer.append(&RunWriter::line(record).unwrap()).unwrap();
    }
}

#[test]
fn a_run_gives_outcomes_costs_and_the_confidence_of_both_models_first_answers() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [folder.path().join("a"), folder.path().join("b"), folder.path().join("c")];
    write_run(&runs[0], "small");
    write_run(&runs[1], "small");
    write_run(&runs[2], "other");
    let data = read_runs(&runs[..1]).unwrap();
    assert_eq!(data.weak, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(data.strong, [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    // A second of the machine at 3.6 dollars an hour; 1,000 and 100 tokens at the prices of gpt-4.1.
    let cost = data.cost.as_ref().unwrap();
    assert!((cost.weak[0] - 0.001).abs() < 1e-12 && (cost.strong[0] - 0.0028).abs() < 1e-12, "{cost:?}");
    assert_eq!(
        data.scores.iter().map(|score| &*score.name).collect::<Vec<_>>(),
        ["confidence", "confidence-mean", "confidence-min",]
    );
    assert_eq!(policy(&judged(&data), "confidence").auroc, Some(1.0));

    let twice = read_runs(&runs[..2]).unwrap();
    assert_eq!((twice.weak.len(), twice.queries), (12, 6));
    let refused = read_runs(&runs).unwrap_err().to_string();
    assert!(refused.contains("give runs of the same two models together"), "{refused}");
    assert!(read_runs(&[folder.path().join("nowhere")]).is_err());
}

#[test]
fn learners_find_what_the_text_tells_and_are_never_shown_the_rows_that_they_score() {
    // The first coordinate says which queries need the strong model.
    let n = 300_usize;
    let needs = |i: usize| i.is_multiple_of(3);
    let vectors: Vec<Vec<f32>> = (0..n)
        .map(|i| {
            let angle = if needs(i) { 0.2 } else { 1.3 } + (i % 7) as f32 * 0.02;
            vec![angle.cos(), angle.sin()]
        })
        .collect();
    let weak: Vec<f64> = (0..n).map(|i| f64::from(u8::from(!needs(i)))).collect();
    let mut data = outcomes(&weak, &vec![1.0; n], &vec![0.0; n]);
    for learner in Learner::ALL {
        let score = cross_fitted(learner, &vectors, &data).unwrap();
        data.scores = vec![score.clone()];
        let found = judged(&data);
        assert!(policy(&found, learner.name()).apgr.unwrap() > 0.8, "{learner:?}");
        // Another outcome of the rows of one part changes the scores of all parts but that one.
        let mut changed = data.clone();
        let part = |row: &usize| row % learned::FOLDS == 2;
        (0..n).filter(part).for_each(|row| changed.weak[row] = 1.0 - changed.weak[row]);
        let other = cross_fitted(learner, &vectors, &changed).unwrap();
        assert!((0..n).filter(part).all(|row| score.values[row] == other.values[row]), "{learner:?}");
        assert!((0..n).any(|row| score.values[row] != other.values[row]), "{learner:?}");
    }
}

#[test]
fn learners_say_why_they_cannot_learn() {
    let few = outcomes(&[0.0; 10], &[1.0; 10], &[0.0; 10]);
    let reason = |data: &Outcomes| cross_fitted(Learner::Knn, &vec![vec![1.0]; data.weak.len()], data).unwrap_err().0;
    assert!(reason(&few).contains("10 queries are too few"));
    assert!(reason(&outcomes(&[0.0; 60], &[1.0; 60], &[0.0; 60])).contains("nothing to learn"));
}

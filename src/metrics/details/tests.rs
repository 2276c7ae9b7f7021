//! The figures of the page against figures made by hand.

use super::*;
use crate::metrics::{example, summarise_rows};
use crate::record::TrialRecord;
use crate::router::{RouterKind, Tier};
use crate::trial::Confidence;

fn made(header: &RunHeader, trials: &[TrialRecord]) -> (Summary, Details) {
    let rows = Rows::of(header, trials);
    let summary = summarise_rows(header, &rows);
    let details = details(header, &rows, &summary);
    (summary, details)
}

fn near(value: Option<f64>, wanted: f64) {
    let value = value.expect("a value");
    assert!((value - wanted).abs() < 1e-9, "{value} is not {wanted}");
}

fn of(summary: &Summary, router: RouterKind) -> usize {
    summary.policies.iter().position(|policy| policy.router == router).expect("the policy")
}

#[test]
fn a_cost_is_the_apis_and_the_machines_together() {
    let (header, trials) = example::run();
    let (summary, details) = made(&header, &trials);
    // Two of six trials call the LLM for 0.28 cents each, and the SLM computes for seven seconds at a dollar per thousand.
    let slm = &details.policies[of(&summary, RouterKind::SlmDominant)];
    near(slm.cost.value, 2.0 * 2.8 / 6.0 + 7.0 / 6.0);
    assert!(slm.cost_has_hardware);
    let tokens = slm.llm_tokens.expect("tokens");
    assert_eq!((tokens.input, tokens.cached, tokens.output), (2000.0 / 6.0, 0.0, 200.0 / 6.0));
    // hybrid-specialist is as accurate as the others and cheaper: 2 of 6 calls, four seconds.
    assert_eq!(details.hull_cost, [of(&summary, RouterKind::HybridSpecialist)]);
    let mut unpriced = header.clone();
    unpriced.llm_price = None;
    let bare: Vec<_> = trials
        .iter()
        .cloned()
        .map(|mut t| {
            t.cost.api_usd = None;
            t
        })
        .collect();
    let (_, details) = made(&unpriced, &bare);
    assert_eq!(details.policies[0].cost.reason.as_deref(), Some("no price was given for the LLM's tokens"));
}

#[test]
fn a_machine_pays_from_its_price_over_the_saving_of_a_query() {
    // $2.80 less $0.80 for 1,000 queries: 0.2 cents each; a machine of $0.50 a day is paid by 250 of them.
    near(break_even_per_day(2.8, 0.8, 0.5), 250.0);
    assert_eq!(break_even_per_day(2.8, 2.8, 0.5), None);
    assert_eq!(break_even_per_day(2.8, 3.0, 0.5), None);
    assert_eq!(break_even_per_day(2.8, 0.8, f64::NAN), None);
}

#[test]
fn the_first_trial_stands_apart_and_the_distribution_has_all() {
    let (header, mut trials) = example::run();
    let first = trials.iter_mut().find(|record| record.router == RouterKind::SlmDominant).expect("a trial");
    first.trial.spans.add(crate::clock::Component::Prefill, crate::units::Seconds(9.0));
    let (summary, details) = made(&header, &trials);
    let latency = &details.policies[of(&summary, RouterKind::SlmDominant)].latency;
    let prefill = latency_parts().iter().position(|name| *name == "prefill").expect("prefill");
    assert_eq!((latency.first[prefill], latency.later_n), (10.0, 5));
    // Later: 1 s, 1 s, 1 s, 1 s and two attempts of 1 s.
    assert_eq!(latency.later[prefill], 6.0 / 5.0);
    assert_eq!(latency.first.len(), latency_parts().len());
    // 10.25 s, three of 1.25 s, one of 3.25 s, one of 4.25 s.
    assert_eq!(latency.ecdf.seconds, [1.25, 1.25, 1.25, 3.25, 4.25, 10.25]);
    assert_eq!(latency.ecdf.shares[2], 0.5);
    near(latency.p50.value, 2.25);
    assert!(latency.p99.value.is_none() && latency.p99.reason.as_ref().is_some_and(|why| why.contains("100 trials")));
}

#[test]
fn a_long_distribution_is_thinned_to_its_ranks() {
    let values: Vec<f64> = (0..10_000).rev().map(f64::from).collect();
    let ecdf = latency::ecdf(&values);
    assert_eq!((ecdf.seconds.len(), ecdf.seconds[0], ecdf.seconds[100]), (101, 0.0, 9999.0));
    assert_eq!((ecdf.shares[0], ecdf.shares[50], ecdf.shares[100]), (0.0001, 0.5, 1.0));
    assert_eq!(latency::ecdf(&[f64::NAN]), Ecdf::default());
}

#[test]
fn who_needed_the_large_model_is_judged_by_both_models_own_answers() {
    let (header, trials) = example::run();
    let (summary, details) = made(&header, &trials);
    let need = &details.policies[of(&summary, RouterKind::SlmDominant)].need;
    assert_eq!(need.kept, Needed { slm_enough: 4, ..Needed::default() });
    assert_eq!(need.sent, Needed { llm_needed: 1, neither: 1, ..Needed::default() });
    assert_eq!(need.causes, [("contract_failure".to_owned(), 1), ("low_confidence".to_owned(), 1)].into());
    assert_eq!(need.escalated, need.causes);
    let llm = &details.policies[of(&summary, RouterKind::LlmFirst)].need;
    assert_eq!(llm.sent, Needed { slm_enough: 4, llm_needed: 1, neither: 1, unknown: 0 });
    assert!(llm.escalated.is_empty());
    // Without the policy that asks the SLM plainly nobody knows what it would have said.
    let others: Vec<_> = trials.into_iter().filter(|record| record.router != RouterKind::SlmDominant).collect();
    let (summary, details) = made(&header, &others);
    assert_eq!(details.policies[of(&summary, RouterKind::LlmFirst)].need.sent.unknown, 6);
}

#[test]
fn equal_policies_may_have_any_rank_and_a_better_one_has_the_first() {
    let (mut header, trials) = example::run();
    let (_, details) = made(&header, &trials);
    assert_eq!((details.ranks.n, details.ranks.draws), (6, 2000));
    let all = RankRange { rank: 1, best: 1, worst: 3 };
    assert_eq!(details.ranks.of, [Some(all); 3]);
    // Forty samples that the LLM has right and the others have wrong.
    let mut many = Vec::new();
    for record in trials.iter().filter(|record| record.sample == "s1") {
        for i in 0..40 {
            let mut record = TrialRecord { sample: format!("t{i}"), ..record.clone() };
            let right = record.router == RouterKind::LlmFirst;
            record.scores.as_mut().expect("scores").label_correct = Some(right);
            many.push(record);
        }
    }
    header.samples = (0..40).map(|i| format!("t{i}")).collect();
    let (summary, details) = made(&header, &many);
    let first = RankRange { rank: 1, best: 1, worst: 1 };
    assert_eq!(details.ranks.of[of(&summary, RouterKind::LlmFirst)], Some(first));
    let rest = RankRange { rank: 2, best: 2, worst: 3 };
    assert_eq!(details.ranks.of[of(&summary, RouterKind::SlmDominant)], Some(rest));
    let (_, none) = made(&header, &[]);
    assert!(none.ranks.reason.is_some() && none.ranks.of.iter().all(Option::is_none));
}

#[test]
fn a_reliability_diagram_has_the_scores_of_its_answers() {
    let found = reliability::of(Tier::Slm, &[0.9, 0.8, 0.3, 0.1], &[true, true, false, false], 4);
    near(found.brier, (0.01 + 0.04 + 0.09 + 0.01) / 4.0);
    near(found.ece, (0.1 + 0.2 + 0.3 + 0.1) / 4.0);
    near(found.auroc, 1.0);
    assert_eq!(found.bins.len(), 4);
    assert_eq!((found.bins[0].confidence, found.bins[0].right.value, found.bins[0].right.n), (0.1, Some(0.0), 1));
    let one_class = reliability::of(Tier::Slm, &[0.9, 0.8], &[true, true], 2);
    assert!(one_class.auroc.is_none() && one_class.reason.is_some_and(|why| why.contains("AUROC")));
    let none = reliability::of(Tier::Llm, &[], &[], 3);
    assert!(none.reason.is_some_and(|why| why.contains("3 plain first answers")));
}

#[test]
fn the_confidence_is_that_of_each_samples_first_plain_answer() {
    let (header, mut trials) = example::run();
    for record in &mut trials {
        for attempt in &mut record.trial.attempts {
            attempt.confidence = Some(Confidence {
                label: Some(0.7),
                mean: 0.6,
                min: 0.5,
                quantile: 0.5,
                margin: None,
                entropy: None,
                probed: crate::trial::Probed::default(),
            });
        }
    }
    let (_, details) = made(&header, &trials);
    let [slm, llm] = &*details.reliability else { panic!("two tiers") };
    assert_eq!((slm.n, llm.n), (6, 6));
    // Four of six right at 0.7, five of six.
    near(slm.ece, (0.7_f64 - 4.0 / 6.0).abs());
    near(llm.ece, (5.0 / 6.0 - 0.7_f64).abs());
}

#[test]
fn samples_are_cut_by_category_length_and_difficulty() {
    let (header, mut trials) = example::run();
    for record in &mut trials {
        let number: u64 = record.sample.trim_start_matches('s').parse().expect("a number");
        record.gold_label = Some(if number < 3 { "Access" } else { "Storage" }.into());
        record.difficulty = Some(if number.is_multiple_of(2) { "easy" } else { "hard" }.into());
        record.trial.retrieval.tokens = 10;
        for attempt in &mut record.trial.attempts {
            attempt.usage.input_tokens = 10 + number * 100;
        }
    }
    let (summary, details) = made(&header, &trials);
    let [category, length, difficulty] = &*details.slices else { panic!("three slices") };
    let names = |slice: &Slice| slice.values.iter().map(|v| (v.value.clone(), v.samples)).collect::<Vec<_>>();
    assert_eq!(names(category), [("Storage".into(), 4), ("Access".into(), 2)]);
    assert_eq!(names(length), [("short".into(), 2), ("middle".into(), 2), ("long".into(), 2)]);
    assert_eq!(names(difficulty), [("easy".into(), 3), ("hard".into(), 3)]);
    assert!(length.note.contains("below 300") && length.note.contains("from 500 up"), "{}", length.note);
    let slm = of(&summary, RouterKind::SlmDominant);
    // Of s3 to s6 the policy has the first three right.
    assert_eq!((category.values[0].accuracy[slm].value, category.values[0].accuracy[slm].n), (Some(0.75), 4));
}

#[test]
fn rare_kinds_are_put_together() {
    let (header, trials) = example::run();
    let many: Vec<TrialRecord> = (0..50)
        .map(|i| TrialRecord {
            sample: format!("t{i}"),
            gold_label: Some(format!("label {i:02}")),
            ..trials[0].clone()
        })
        .collect();
    let (_, details) = made(&header, &many);
    let values = &details.slices[0].values;
    assert_eq!((values.len(), &*values[19].value, values[19].samples), (20, "all others", 31));
}

#[test]
fn seeds_are_set_side_by_side() {
    let (mut header, trials) = example::run();
    let mut all = trials.clone();
    for (seed, wrong) in [(8, "s1"), (9, "s2")] {
        let mut cell = example::cell(RouterKind::SlmDominant);
        (cell.name, cell.seed) = (format!("seed-{seed}"), seed);
        for record in trials.iter().filter(|record| record.router == RouterKind::SlmDominant) {
            let mut record = TrialRecord { cell: cell.name.clone(), ..record.clone() };
            if record.sample == wrong || seed == 9 && record.sample == "s1" {
                record.scores.as_mut().expect("scores").label_correct = Some(false);
            }
            all.push(record);
        }
        header.cells.push(cell);
    }
    let (_, details) = made(&header, &all);
    let [one] = &*details.seeds else { panic!("one policy has several seeds: {:?}", details.seeds) };
    // 5/6, 4/6 and 3/6: a mean of 2/3 and a standard deviation of 1/6.
    near(one.mean, 4.0 / 6.0);
    near(one.deviation, 1.0 / 6.0);
    near(one.range, 2.0 / 6.0);
    // They differ on s1 and s2.
    assert_eq!((one.agreement.value, one.agreement.n), (Some(4.0 / 6.0), 6));
    assert!(made(&example::header(), &trials).1.seeds.is_empty());
}

#[test]
fn calls_are_timed_by_tier_and_by_what_came_from_a_cache() {
    let (header, mut trials) = example::run();
    for record in trials.iter_mut().filter(|record| record.sample == "s1") {
        record.trial.attempts[0].usage.cached_tokens = 900;
    }
    let (_, details) = made(&header, &trials);
    let kinds: Vec<_> = details.calls.iter().map(|one| (one.tier, one.prefix_reused, one.calls)).collect();
    let (slm, llm) = (Tier::Slm, Tier::Llm);
    assert_eq!(kinds, [(slm, false, 9), (slm, true, 2), (llm, false, 9), (llm, true, 1)]);
    near(details.calls[0].ttft_s[0].value, 0.1);
    near(details.calls[0].tpot_s[0].value, 0.9 / 99.0);
    assert!(details.calls[0].ttft_s[2].value.is_none());
    // 11 calls of 1,000 tokens, 1,800 of them from a cache, in 11 seconds.
    near(details.speed.prefill_tokens_per_s, (11_000.0 - 1800.0) / 11.0);
    assert_eq!(details.speed.decode_tokens_per_s, None);
}

#[test]
fn what_is_shown_is_disputed_first_and_spread_over_the_run() {
    let (header, mut trials) = example::run();
    for record in trials.iter_mut().filter(|record| record.sample == "s2" && record.router == RouterKind::LlmFirst) {
        record.scores.as_mut().expect("scores").label_correct = Some(false);
    }
    let rows = Rows::of(&header, &trials);
    let shown = worth_showing(&header, &rows, 10);
    let names: Vec<&str> = shown.iter().map(|one| rows.sample(one.sample)).collect();
    // s2 is disputed now, s6 nobody has right.
    assert_eq!(names, ["s2", "s6"]);
    assert!(shown.iter().all(|one| one.places.len() == 3 && one.places.iter().all(Option::is_some)));
    assert_eq!(worth_showing(&header, &rows, 1).len(), 1);
    assert_eq!(evenly_over(&header, &rows, 3).iter().map(|one| one.sample).collect::<Vec<_>>(), [0, 2, 4]);
}

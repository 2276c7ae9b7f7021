//! Figures of the example run, computed by hand.

use super::example::{self, attempt, fail, record, target, trial};
use super::*;
use crate::memory::MemoryKind;
use crate::record::{RunHeader, TrialRecord};
use crate::router::{Reason, RouterKind, Tier};
use crate::task::Target;
use crate::trial::{Outcome, Trial};

fn near(ours: Option<f64>, theirs: f64) {
    let ours = ours.expect("the figure exists");
    assert!((ours - theirs).abs() < 1e-9, "{ours} against {theirs}");
}

fn policy(summary: &Summary, router: RouterKind) -> &PolicySummary {
    summary.policies.iter().find(|policy| policy.router == router).unwrap()
}

/// A run of `n` samples in which llm-first is right on all but every twentieth and slm-only wherever `slm` says so.
fn large_run(n: usize, slm: fn(usize) -> bool) -> (RunHeader, Vec<TrialRecord>) {
    let mut header = example::header();
    header.samples = (0..n).map(|i| format!("s{i}")).collect();
    header.cells = [RouterKind::LlmFirst, RouterKind::SlmOnly].map(example::cell).to_vec();
    let label = |right: bool| if right { "Access" } else { "Storage" };
    let one = |tier, right| trial(vec![attempt(tier, label(right), true, Reason::FirstChoice)]);
    let trials = (0..n)
        .flat_map(|i| {
            let of = |router, trial: Trial| record(router, &format!("s{i}"), trial, &target(), &header);
            let llm = of(RouterKind::LlmFirst, one(Tier::Llm, i % 20 != 0));
            [llm, of(RouterKind::SlmOnly, one(Tier::Slm, slm(i)))]
        })
        .collect();
    (header, trials)
}

#[test]
fn llm_first_has_the_figures_computed_by_hand() {
    let (header, trials) = example::run();
    let summary = summarise(&header, &trials);
    let ours = policy(&summary, RouterKind::LlmFirst);
    assert_eq!((ours.trials, ours.n, ours.failures), (6, 6, 0));
    near(ours.accuracy.value, 5.0 / 6.0);
    // Wilson interval of 5 in 6.
    near(ours.accuracy.low.map(|low| (low * 1e6).round()), 436_497.0);
    near(ours.accuracy.high.map(|high| (high * 1e6).round()), 969_947.0);
    near(ours.escalation_rate, 0.0);
    near(ours.llm_call_rate, 1.0);
    assert_eq!(ours.llm_causes, [("first_choice".to_string(), 6)].into());
    near(ours.latency_s.p50, 2.25);
    near(ours.latency_s.p95, 2.25);
    // 1,000 tokens at 2 dollars and 100 at 8 dollars per million.
    near(ours.cost_usd_per_1000.api, 2.8);
    near(ours.cost_usd_per_1000.hardware, 0.0);
    assert_eq!((ours.tokens.llm.calls, ours.tokens.llm.output_tokens, ours.tokens.slm.calls), (6, 600, 0));
}

#[test]
fn slm_dominant_has_the_figures_computed_by_hand() {
    let (header, trials) = example::run();
    let summary = summarise(&header, &trials);
    let ours = policy(&summary, RouterKind::SlmDominant);
    near(ours.accuracy.value, 5.0 / 6.0);
    near(ours.schema_valid_first, 5.0 / 6.0);
    near(ours.schema_valid_final, 1.0);
    near(ours.escalation_rate, 2.0 / 6.0);
    near(ours.llm_call_rate, 2.0 / 6.0);
    let causes = [("contract_failure".to_string(), 1), ("low_confidence".to_string(), 1)];
    assert_eq!(ours.llm_causes, causes.into());
    assert_eq!((ours.repairs, ours.retries, ours.contract_failures), (1, 0, 0));
    // Latencies 1.25 four times, 3.25 and 4.25: the 95th percentile lies three quarters of the way between the last two.
    near(ours.latency_s.p50, 1.25);
    near(ours.latency_s.p95, 4.0);
    near(ours.cost_usd_per_1000.api, 2.0 * 2.8 / 6.0);
    // Seven seconds of prefill at a dollar per thousand seconds.
    near(ours.cost_usd_per_1000.hardware, 7.0 / 6.0);
    let interval = &ours.intervals.latency_p95_s;
    assert!(interval.low < interval.value && interval.value <= interval.high, "{interval:?}");
}

#[test]
fn absent_figures_are_null_with_their_reason() {
    let (header, trials) = example::run();
    let ours = policy(&summarise(&header, &trials), RouterKind::HybridSpecialist).clone();
    let json = serde_json::to_value(&ours).unwrap();
    for (key, reason) in [
        ("groundedness", "no passages were injected"),
        ("fact_recall", "the task lists no facts"),
        ("citation_accuracy", "the task has no gold articles"),
    ] {
        assert!(json[key].is_null());
        assert_eq!(json["not_available"][key], reason);
    }
    assert_eq!(json["not_available"]["latency_s.p99"], "a 99th percentile needs 100 trials, this cell has 6");
    assert_eq!(json["llm_causes"]["no_specialist"], 2);
}

#[test]
fn a_trial_that_could_not_be_billed_leaves_no_cost_rather_than_a_lower_one() {
    let (header, mut trials) = example::run();
    let escalated = trials.iter_mut().find(|r| r.router == RouterKind::SlmDominant && r.trial.attempts.len() > 1);
    escalated.unwrap().cost.api_usd = None;
    let summary = summarise(&header, &trials);
    let ours = policy(&summary, RouterKind::SlmDominant);
    assert_eq!(ours.cost_usd_per_1000.api, None);
    assert!(ours.not_available["cost_usd_per_1000.api"].contains("1 of 6 trials"), "{:?}", ours.not_available);
}

#[test]
fn the_summary_has_the_keys_that_scripts_rely_on() {
    let (header, trials) = example::run();
    let summary = summarise(&header, &trials);
    let json = serde_json::to_value(&summary).unwrap();
    for pointer in [
        "/policies/0/router",
        "/policies/0/memory",
        "/policies/0/contract",
        "/policies/0/slm",
        "/policies/0/llm",
        "/policies/0/n",
        "/policies/0/failures",
        "/policies/0/accuracy/value",
        "/policies/0/accuracy/low",
        "/policies/0/accuracy/high",
        "/policies/0/schema_valid_first",
        "/policies/0/schema_valid_final",
        "/policies/0/groundedness",
        "/policies/0/escalation_rate",
        "/policies/0/llm_call_rate",
        "/policies/0/latency_s/p50",
        "/policies/0/latency_s/p95",
        "/policies/0/cost_usd_per_1000/api",
        "/policies/0/cost_usd_per_1000/hardware",
        "/components/0/name",
        "/components/0/p50_s",
        "/components/0/share",
        "/verdict/text",
        "/verdict/policy",
        "/verdict/decided",
    ] {
        assert!(json.pointer(pointer).is_some(), "{pointer}");
    }
    assert_eq!(json["policies"][1]["router"], "slm-dominant");
    assert_eq!(serde_json::from_value::<Summary>(json).unwrap(), summary);
}

#[test]
fn the_components_add_up_with_the_rest() {
    let (header, trials) = example::run();
    let summary = summarise(&header, &trials);
    let share = |name: &str| summary.components.iter().find(|part| part.name == name).unwrap().share;
    // 11 s of prefill, 20 s of network, 18 times a quarter of a second.
    near(share("prefill"), 11.0 / 35.5);
    near(share("network"), 20.0 / 35.5);
    near(share(UNACCOUNTED), 4.5 / 35.5);
    near(summary.components.iter().map(|part| part.share).sum::<Option<f64>>(), 1.0);
}

#[test]
fn latency_leaves_scoring_out() {
    let (header, mut trials) = example::run();
    let scoring = crate::units::Seconds(100.0);
    for record in &mut trials {
        record.trial.spans.add(crate::clock::Component::Scoring, scoring);
        record.trial.wall_s += scoring;
    }
    near(policy(&summarise(&header, &trials), RouterKind::LlmFirst).latency_s.p50, 2.25);
}

#[test]
fn each_model_is_judged_by_its_own_first_plain_answers() {
    let (header, trials) = example::run();
    let alone = &summarise(&header, &trials).models_alone;
    assert_eq!(alone.len(), 1);
    let ours = &alone[0];
    assert_eq!((ours.memory, ours.chance), (MemoryKind::Salience, Some(0.125)));
    near(ours.slm.accuracy.value, 4.0 / 6.0);
    near(ours.llm.accuracy.value, 5.0 / 6.0);
    assert_eq!((ours.slm.not_asked, ours.llm.not_asked), (0, 0));
    let difference = ours.difference.unwrap();
    assert_eq!((difference.n, difference.only_first, difference.only_second, difference.both_right), (6, 1, 0, 4));
    assert!(ours.text.contains("above the 0.125 of chance"), "{}", ours.text);
    assert!(ours.text.contains("no trade-off is shown"), "{}", ours.text);
}

#[test]
fn six_samples_cannot_tell() {
    let (header, trials) = example::run();
    let verdict = summarise(&header, &trials).verdict;
    assert!(!verdict.decided && verdict.policy.is_none());
    assert!(verdict.text.starts_with("Cannot tell"), "{}", verdict.text);
    // Without any disagreement Tango's bound clears 0.05 from z² x 0.95 / 0.05 = 51.4 pairs.
    assert!(verdict.text.contains("n = 6") && verdict.text.contains("about 52 samples"), "{}", verdict.text);
    assert_eq!(verdict.comparisons.len(), 2);
    assert!(verdict.comparisons.iter().all(|comparison| comparison.non_inferior == Some(false)));
}

#[test]
fn an_equal_and_cheaper_policy_replaces_the_llm() {
    let (header, trials) = large_run(100, |i| i % 20 != 0);
    let verdict = summarise(&header, &trials).verdict;
    assert!(verdict.decided, "{}", verdict.text);
    assert_eq!(verdict.policy.as_deref(), Some("slm-only"));
    // The SLM's second at a dollar per thousand seconds against 2.80 of tokens.
    assert!(verdict.text.contains("for $1.00 instead of $2.80 per 1,000 queries"), "{}", verdict.text);
    assert!(verdict.text.contains("accuracy 0.95 against 0.95 (difference 0.00"), "{}", verdict.text);
}

#[test]
fn an_equal_but_dearer_policy_does_not() {
    let (mut header, _) = large_run(100, |i| i % 20 != 0);
    header.hardware_price.as_mut().unwrap().usd_per_hour = 36.0;
    let label = |i: usize| if i.is_multiple_of(20) { "Storage" } else { "Access" };
    let one = |tier, i| trial(vec![attempt(tier, label(i), true, Reason::FirstChoice)]);
    let trials: Vec<_> = (0..100)
        .flat_map(|i| {
            let of = |router, tier| record(router, &format!("s{i}"), one(tier, i), &target(), &header);
            [of(RouterKind::LlmFirst, Tier::Llm), of(RouterKind::SlmOnly, Tier::Slm)]
        })
        .collect();
    let verdict = summarise(&header, &trials).verdict;
    assert_eq!((verdict.decided, verdict.policy.as_deref()), (true, Some("llm-first")), "{}", verdict.text);
    assert!(verdict.text.contains("not cheaper"), "{}", verdict.text);
}

#[test]
fn a_policy_that_is_clearly_worse_is_a_no() {
    let (header, trials) = large_run(100, |i| i % 2 == 0);
    let verdict = summarise(&header, &trials).verdict;
    assert!(verdict.decided && verdict.text.starts_with("No:"), "{}", verdict.text);
    assert_eq!(verdict.policy.as_deref(), Some("llm-first"));
    assert!(verdict.text.contains("difference −0.45"), "{}", verdict.text);
}

#[test]
fn a_reference_at_the_level_of_chance_decides_nothing() {
    let (mut header, trials) = large_run(100, |i| i % 20 != 0);
    header.labels = 1;
    let verdict = summarise(&header, &trials).verdict;
    assert!(!verdict.decided && verdict.text.contains("better than chance"), "{}", verdict.text);
}

#[test]
fn unpriced_policies_are_ranked_by_escalation_and_cost_stays_null() {
    let (mut header, mut trials) = large_run(100, |i| i % 20 != 0);
    header.llm_price = None;
    header.hardware_price = None;
    for record in &mut trials {
        record.cost = crate::record::Cost::default();
    }
    let summary = summarise(&header, &trials);
    let ours = policy(&summary, RouterKind::SlmOnly);
    assert_eq!(ours.cost_usd_per_1000, CostPer1000::default());
    assert_eq!(ours.not_available["cost_usd_per_1000.api"], "no price was given for the LLM's tokens");
    assert_eq!(summary.verdict.policy.as_deref(), Some("slm-only"));
    assert!(summary.verdict.text.contains("not priced"), "{}", summary.verdict.text);
}

#[test]
fn a_cell_whose_trials_all_failed_has_counts_and_no_figures() {
    let (header, mut trials) = example::run();
    trials.iter_mut().filter(|record| record.router == RouterKind::SlmDominant).for_each(fail);
    let summary = summarise(&header, &trials);
    let ours = policy(&summary, RouterKind::SlmDominant);
    assert_eq!((ours.trials, ours.n, ours.failures), (6, 0, 6));
    assert_eq!(ours.failures_by_kind, [("connect".to_string(), 6)].into());
    assert_eq!((ours.accuracy.value, ours.latency_s.p50, ours.cost_usd_per_1000.api), (None, None, None));
    assert!(ours.not_available["accuracy"].contains("all 6 trials failed"));
    assert!(summary.verdict.comparisons[0].reason.as_ref().unwrap().contains("all 6 trials failed"));
}

#[test]
fn too_many_failures_refuse_a_cell_and_a_few_do_not() {
    let (mut header, mut trials) = example::run();
    fail(&mut trials[0]);
    let ours = policy(&summarise(&header, &trials), RouterKind::LlmFirst).clone();
    assert!(ours.accuracy.value.is_none() && ours.not_available["escalation_rate"].contains("1 of 6 trials failed"));
    let verdict = summarise(&header, &trials).verdict;
    assert!(verdict.text.contains("llm-first has no accuracy, for 1 of 6 trials failed"), "{}", verdict.text);
    header.settings = serde_json::json!({ "max_failure_share": 0.5 });
    let ours = policy(&summarise(&header, &trials), RouterKind::LlmFirst).clone();
    assert_eq!((ours.n, ours.failures), (5, 1));
    near(ours.accuracy.value, 0.8);
}

#[test]
fn a_broken_contract_is_scored_as_wrong_and_counted() {
    let (header, mut trials) = example::run();
    let mut broken = trials[0].trial.clone();
    broken.outcome = Outcome::ContractFailed;
    trials[0] = record(RouterKind::LlmFirst, "s1", broken, &target(), &header);
    let ours = policy(&summarise(&header, &trials), RouterKind::LlmFirst).clone();
    assert_eq!((ours.n, ours.failures, ours.contract_failures), (6, 0, 1));
    near(ours.accuracy.value, 4.0 / 6.0);
    near(ours.schema_valid_final, 5.0 / 6.0);
}

#[test]
fn one_sample_has_points_without_bootstrap_intervals() {
    let (mut header, mut trials) = example::run();
    header.samples.truncate(1);
    trials.retain(|record| record.sample == "s1");
    let summary = summarise(&header, &trials);
    let ours = policy(&summary, RouterKind::LlmFirst);
    near(ours.latency_s.p50, 2.25);
    assert!(ours.intervals.latency_p50_s.low.is_none() && ours.intervals.latency_p50_s.reason.is_some());
    assert!(!summary.verdict.decided);
}

#[test]
fn a_task_without_gold_labels_has_no_accuracy_and_no_verdict() {
    let (header, mut trials) = example::run();
    for ours in &mut trials {
        *ours = record(ours.router, &ours.sample, ours.trial.clone(), &Target::default(), &header);
    }
    let summary = summarise(&header, &trials);
    assert_eq!(summary.policies[0].not_available["accuracy"], "the task has no gold label");
    assert!(summary.verdict.text.contains("the task has no gold label"), "{}", summary.verdict.text);
    assert!(summary.models_alone[0].difference.is_none());
}

#[test]
fn a_run_without_trials_or_without_a_reference_says_so() {
    let (mut header, trials) = example::run();
    let empty = summarise(&header, &[]);
    assert_eq!(empty.policies[0].not_available["latency_s.p95"], "no trial was recorded");
    assert_eq!(empty.components[0].share, None);
    assert!(empty.verdict.text.contains("no trial was recorded"), "{}", empty.verdict.text);
    header.cells.remove(0);
    let rest = summarise(&header, &trials);
    assert!(rest.verdict.text.contains("was not run"), "{}", rest.verdict.text);
    assert!(rest.notes.iter().any(|note| note.starts_with("6 trials are left out")), "{:?}", rest.notes);
}

#[test]
fn a_sample_recorded_twice_counts_once() {
    let (header, mut trials) = example::run();
    trials.push(trials[0].clone());
    let summary = summarise(&header, &trials);
    assert_eq!(summary.policies[0].n, 6);
    assert!(summary.notes.iter().any(|note| note.contains("already recorded")), "{:?}", summary.notes);
}

#[test]
fn a_trial_that_failed_gives_way_to_one_that_was_made_again() {
    let (header, mut trials) = example::run();
    let whole = summarise(&header, &trials);
    let again = trials[2].clone();
    fail(&mut trials[2]);
    let failed = summarise(&header, &trials);
    trials.push(again);
    let retried = summarise(&header, &trials);
    let of = |summary: &Summary| {
        let one = policy(summary, trials[2].router);
        (one.trials, one.n, one.failures, one.accuracy.value)
    };
    assert_eq!((of(&failed).0, of(&failed).2), (6, 1));
    assert_eq!(of(&retried), of(&whole));
    assert!(!retried.notes.iter().any(|note| note.contains("already recorded")), "{:?}", retried.notes);
}

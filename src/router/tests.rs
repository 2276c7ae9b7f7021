//! The strategies against scripted evidence.

use super::*;
use crate::error::Result;
use crate::memory::Embed;
use crate::safety::{Certainty, FindingKind};
use crate::task::Specialist;
use proptest::prelude::*;
use std::sync::Arc;

/// One axis for each of four words, and a constant so that no vector is zero.
struct Words;

impl Embed for Words {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let axis = |text: &str, word: &str| if text.contains(word) { 1.0 } else { 0.0 };
        Ok(texts
            .iter()
            .map(|text| {
                let raw: Vec<f32> =
                    [axis(text, "vpn"), axis(text, "printer"), axis(text, "badge"), axis(text, "salary"), 0.2].into();
                let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
                raw.iter().map(|x| x / norm).collect()
            })
            .collect())
    }
}

fn classifier() -> DomainClassifier {
    let pairs: Vec<(String, String)> = (0..8)
        .flat_map(|i| {
            [("vpn", "Access"), ("printer", "Hardware"), ("salary", "HR")]
                .map(|(w, l)| (format!("{w} {i}"), l.to_owned()))
        })
        .collect();
    DomainClassifier::train(ClassifierKind::Embedding, &pairs, Arc::new(Words)).expect("trained")
}

fn specialists() -> Vec<Specialist> {
    vec![
        Specialist { domain: "Access".to_owned(), model: Some("tiny".to_owned()), prompt: None },
        Specialist { domain: "HR".to_owned(), model: None, prompt: Some("Be kind.".to_owned()) },
    ]
}

fn router(kind: RouterKind, settings: &RouterSettings) -> Box<dyn Router> {
    build(kind, settings, &specialists(), Some(classifier())).expect("a router")
}

fn query(input: &str) -> Query {
    Query { id: "q1".to_owned(), input: input.to_owned() }
}

fn finding(kind: FindingKind, rule: &str) -> Finding {
    Finding { kind, entity: String::new(), rule: rule.to_owned(), certainty: Certainty::Pattern, start: 0, end: 1 }
}

/// What one scripted call gives: confidence, contract, failure.
type Answer = (Option<f64>, Option<bool>, bool);

/// A sure answer that keeps its contract.
const GOOD: Answer = (Some(0.95), Some(true), false);
/// A sure answer that breaks its contract.
const BROKEN: Answer = (Some(0.95), Some(false), false);
/// A call that failed.
const FAILED: Answer = (None, None, true);

/// Runs the loop over scripted answers; gives every decision and the attempts.
fn run(
    router: &dyn Router,
    input: &str,
    findings: &[Finding],
    answers: &[Answer],
) -> (Vec<Decision>, Vec<AttemptEvidence>) {
    let (mut decisions, mut attempts) = (Vec::new(), Vec::new());
    loop {
        let decision = router.decide(&query(input), Evidence { attempts: &attempts, findings }).expect("a decision");
        decisions.push(decision.clone());
        let Decision::Call { tier, variant, .. } = decision else { return (decisions, attempts) };
        let (confidence, contract_valid, failed) = answers[attempts.len() % answers.len()];
        attempts.push(AttemptEvidence { tier, variant, confidence, contract_valid, failed });
        assert!(attempts.len() < 100, "the loop does not end");
    }
}

/// The reasons of the decisions, in short.
fn story(decisions: &[Decision]) -> Vec<String> {
    let word = |reason: &Reason| format!("{reason:?}").split([' ', '{']).next().unwrap_or_default().to_owned();
    decisions
        .iter()
        .map(|decision| match decision {
            Decision::Call { tier, reason, .. } => format!("{tier:?} {}", word(reason)),
            Decision::Accept { attempt, reason } => format!("accept {attempt} {}", word(reason)),
            Decision::GiveUp => "give up".to_owned(),
        })
        .collect()
}

fn told(kind: RouterKind, settings: &RouterSettings, input: &str, answers: &[Answer]) -> Vec<String> {
    story(&run(&*router(kind, settings), input, &[], answers).0)
}

#[test]
fn slm_dominant_keeps_a_sure_answer_and_escalates_every_other() {
    let settings = RouterSettings { max_repairs: 1, ..RouterSettings::default() };
    let low = (Some(0.3), Some(true), false);
    let unknown = (None, Some(true), false);
    let nan = (Some(f64::NAN), Some(true), false);
    for (answers, expected) in [
        (vec![GOOD], vec!["Slm FirstChoice", "accept 0 Accepted"]),
        (vec![low, GOOD], vec!["Slm FirstChoice", "Llm LowConfidence", "accept 1 Accepted"]),
        (vec![unknown, GOOD], vec!["Slm FirstChoice", "Llm ConfidenceUnknown", "accept 1 Accepted"]),
        (vec![nan, GOOD], vec!["Slm FirstChoice", "Llm ConfidenceUnknown", "accept 1 Accepted"]),
        (vec![FAILED, GOOD], vec!["Slm FirstChoice", "Llm AttemptFailed", "accept 1 Accepted"]),
        (vec![BROKEN, GOOD], vec!["Slm FirstChoice", "Slm ContractRepair", "accept 1 Accepted"]),
        (
            vec![BROKEN, BROKEN, GOOD],
            vec!["Slm FirstChoice", "Slm ContractRepair", "Llm ContractFailure", "accept 2 Accepted"],
        ),
        (
            vec![BROKEN],
            vec![
                "Slm FirstChoice",
                "Slm ContractRepair",
                "Llm ContractFailure",
                "Llm ContractRepair",
                "accept 3 Exhausted",
            ],
        ),
        (
            vec![BROKEN, FAILED, GOOD],
            vec!["Slm FirstChoice", "Slm ContractRepair", "Llm AttemptFailed", "accept 2 Accepted"],
        ),
        (vec![low, FAILED], vec!["Slm FirstChoice", "Llm LowConfidence", "give up"]),
    ] {
        assert_eq!(told(RouterKind::SlmDominant, &settings, "vpn", &answers), expected, "{answers:?}");
    }
}

#[test]
fn a_contract_that_is_only_observed_neither_repairs_nor_escalates() {
    let settings = RouterSettings::default();
    let observed = (BROKEN.0, None, BROKEN.2);
    for kind in [RouterKind::SlmDominant, RouterKind::SlmOnly] {
        assert_eq!(told(kind, &settings, "vpn", &[observed]), ["Slm FirstChoice", "accept 0 Accepted"]);
    }
}

#[test]
fn confidence_that_is_not_required_may_be_unknown() {
    let settings = RouterSettings { confidence_required: false, ..RouterSettings::default() };
    let answers = [(None, Some(true), false)];
    assert_eq!(told(RouterKind::SlmDominant, &settings, "vpn", &answers), ["Slm FirstChoice", "accept 0 Accepted"]);
}

#[test]
fn only_findings_of_the_chosen_kinds_skip_the_slm() {
    let settings = RouterSettings::default();
    let findings = [finding(FindingKind::Risk, "legal"), finding(FindingKind::Risk, "legal")];
    for kind in [RouterKind::SlmDominant, RouterKind::HybridSpecialist] {
        let (decisions, _) = run(&*router(kind, &settings), "vpn", &findings, &[GOOD]);
        assert_eq!(story(&decisions), ["Llm Safety", "accept 0 Accepted"]);
        let Decision::Call { reason: Reason::Safety { rules }, .. } = &decisions[0] else { panic!("{decisions:?}") };
        assert_eq!(rules, &["legal"]);
    }
    let personal = [finding(FindingKind::PersonalData, "email")];
    let (decisions, _) = run(&*router(RouterKind::SlmDominant, &settings), "vpn", &personal, &[GOOD]);
    assert_eq!(story(&decisions), ["Slm FirstChoice", "accept 0 Accepted"]);
}

#[test]
fn llm_first_downshifts_only_by_the_users_rule() {
    let settings = RouterSettings::default();
    let low = (Some(0.3), Some(true), false);
    assert_eq!(told(RouterKind::LlmFirst, &settings, "vpn", &[low]), ["Llm FirstChoice", "accept 0 Accepted"]);
    let lets = RouterSettings { downshift_max_chars: Some(5), ..settings };
    assert_eq!(told(RouterKind::LlmFirst, &lets, "vpn", &[GOOD]), ["Slm Downshift", "accept 0 Accepted"]);
    assert_eq!(
        told(RouterKind::LlmFirst, &lets, "vpn", &[low]),
        ["Slm Downshift", "Llm LowConfidence", "accept 1 Accepted"]
    );
    assert_eq!(told(RouterKind::LlmFirst, &lets, "longer", &[GOOD]), ["Llm FirstChoice", "accept 0 Accepted"]);
    let (decisions, _) =
        run(&*router(RouterKind::LlmFirst, &lets), "vpn", &[finding(FindingKind::PersonalData, "email")], &[GOOD]);
    assert_eq!(story(&decisions), ["Llm FirstChoice", "accept 0 Accepted"]);
}

#[test]
fn slm_only_never_escalates() {
    let settings = RouterSettings { max_repairs: 1, ..RouterSettings::default() };
    let low = (Some(0.1), Some(true), false);
    assert_eq!(told(RouterKind::SlmOnly, &settings, "vpn", &[low]), ["Slm FirstChoice", "accept 0 Accepted"]);
    assert_eq!(told(RouterKind::SlmOnly, &settings, "vpn", &[FAILED]), ["Slm FirstChoice", "give up"]);
    let broken = told(RouterKind::SlmOnly, &settings, "vpn", &[BROKEN]);
    assert_eq!(broken, ["Slm FirstChoice", "Slm ContractRepair", "accept 1 Exhausted"]);
}

#[test]
fn a_specialist_answers_its_domain_and_repairs_with_its_own_model() {
    let settings = RouterSettings { max_repairs: 1, ..RouterSettings::default() };
    let router = router(RouterKind::HybridSpecialist, &settings);
    let (decisions, _) = run(&*router, "the vpn is down", &[], &[BROKEN, BROKEN, GOOD]);
    assert_eq!(story(&decisions), ["Slm Domain", "Slm ContractRepair", "Llm ContractFailure", "accept 2 Accepted"]);
    let calls: Vec<_> = decisions
        .iter()
        .filter_map(|d| match d {
            Decision::Call { model, variant, .. } => Some((model.as_deref(), variant.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(
        calls,
        [
            (Some("tiny"), PromptVariant::Specialist("Access".to_owned())),
            (Some("tiny"), PromptVariant::Repair { of: 0 }),
            (None, PromptVariant::Plain),
        ]
    );
}

#[test]
fn a_domain_without_a_specialist_and_an_unsure_classifier_go_to_the_llm() {
    let settings = RouterSettings::default();
    assert_eq!(
        told(RouterKind::HybridSpecialist, &settings, "printer", &[GOOD]),
        ["Llm NoSpecialist", "accept 0 Accepted"]
    );
    let strict = RouterSettings { min_domain_probability: 1.0, ..settings };
    assert_eq!(told(RouterKind::HybridSpecialist, &strict, "vpn", &[GOOD]), ["Llm NoSpecialist", "accept 0 Accepted"]);
}

#[test]
fn a_router_that_cannot_work_is_a_usage_error() {
    let settings = RouterSettings::default();
    let stranger = [Specialist { domain: "Zoo".to_owned(), model: None, prompt: None }];
    let wrong = RouterSettings { threshold: f64::NAN, ..settings.clone() };
    for result in [
        build(RouterKind::HybridSpecialist, &settings, &specialists(), None),
        build(RouterKind::HybridSpecialist, &settings, &[], Some(classifier())),
        build(RouterKind::HybridSpecialist, &settings, &stranger, Some(classifier())),
        build(RouterKind::SlmDominant, &wrong, &[], None),
    ] {
        let error = result.err().expect("an error");
        assert_eq!(crate::error::ExitStatus::of(&error), crate::error::ExitStatus::Usage, "{error:#}");
    }
}

#[test]
fn the_classifier_learns_from_eight_examples_a_label_and_is_deterministic() {
    let (one, two) = (classifier(), classifier());
    for (text, label) in [("vpn", "Access"), ("printer jam", "Hardware"), ("my salary", "HR")] {
        let (found, probability) = one.classify(text).expect("classified");
        assert_eq!(found, label);
        assert!(probability > 0.8, "{text}: {probability}");
        assert_eq!(two.classify(text).expect("classified"), (found, probability));
    }
    let (_, unsure) = one.classify("badge").expect("classified");
    assert!(unsure < 0.8, "{unsure}");
    assert!(DomainClassifier::train(ClassifierKind::Embedding, &[], Arc::new(Words)).is_err());
}

fn answer() -> impl Strategy<Value = Answer> {
    (
        prop::option::of(prop_oneof![0.0..=1.0, Just(f64::NAN)]),
        prop::option::of(any::<bool>()),
        prop::bool::weighted(0.2),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_strategy_ends_within_its_bound_and_repairs_only_what_answered(
        answers in prop::collection::vec(answer(), 1..12),
        max_repairs in 0_usize..4,
        confidence_required: bool,
        downshift_max_chars in prop::option::of(0_usize..10),
    ) {
        let settings = RouterSettings {
            confidence_required, max_repairs, downshift_max_chars, ..RouterSettings::default()
        };
        for kind in
            [RouterKind::LlmFirst, RouterKind::SlmDominant, RouterKind::HybridSpecialist, RouterKind::SlmOnly]
        {
            let (decisions, attempts) = run(&*router(kind, &settings), "vpn", &[], &answers);
            prop_assert!(attempts.len() <= 2 * (max_repairs + 1));
            for decision in &decisions {
                match decision {
                    Decision::Call { variant: PromptVariant::Repair { of }, .. } => {
                        prop_assert!(!attempts[*of].failed && attempts[*of].contract_valid == Some(false));
                    }
                    Decision::Accept { attempt, .. } => {
                        prop_assert_eq!(*attempt, attempts.len() - 1);
                        prop_assert!(!attempts[*attempt].failed);
                    }
                    _ => {}
                }
            }
        }
    }
}

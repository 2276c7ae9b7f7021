//! The strategies against scripted evidence.

use super::*;
use crate::error::Result;
use crate::memory::Embed;
use crate::models::Identity;
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
    of_spec(&RouterSpec::plain(kind), settings)
}

fn of_spec(spec: &RouterSpec, settings: &RouterSettings) -> Box<dyn Router> {
    let specialists = specialists();
    let parts = RouterParts {
        specialists: &specialists,
        classifier: Some(Arc::new(classifier())),
        embed: Some((Arc::new(Words), "sum")),
        seed: 7,
    };
    build(spec, settings, parts).expect("a router")
}

/// The strategies of a file.
fn of_text(text: &str) -> Result<Vec<RouterSpec>> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    read_routers(file.path())
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
        let Decision::Call { tier, model, variant, .. } = decision else { return (decisions, attempts) };
        let (confidence, contract_valid, failed) = answers[attempts.len() % answers.len()];
        attempts.push(AttemptEvidence { tier, model, variant, confidence, contract_valid, failed });
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
    let hybrid = RouterSpec::plain(RouterKind::HybridSpecialist);
    let parts = |specialists, classifier| RouterParts { specialists, classifier, ..RouterParts::default() };
    for result in [
        build(&hybrid, &settings, parts(&specialists(), None)),
        build(&hybrid, &settings, parts(&[], Some(Arc::new(classifier())))),
        build(&hybrid, &settings, parts(&stranger, Some(Arc::new(classifier())))),
        build(&RouterSpec::plain(RouterKind::SlmDominant), &wrong, RouterParts::default()),
        build(&RouterSpec::plain(RouterKind::Cascade), &settings, RouterParts::default()),
        build(&RouterSpec::plain(RouterKind::Knn), &settings, RouterParts::default()),
        build(&RouterSpec::plain(RouterKind::CascadeRouting), &settings, RouterParts::default()),
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

/// A predictor of two kinds of queries: the LLM gains on printers, and on nothing else.
fn fitted(kind: &str) -> Fitted {
    let texts = ["vpn", "printer", "badge", "salary"];
    let vectors = Words.embed(&texts).expect("embedded");
    let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    let (weak, strong) = ([1.0, 0.0, 1.0, 1.0], [1.0; 4]);
    let lessons = Lessons { vectors: &vectors, weak: &weak, strong: &strong };
    let learner = Learner::ALL.into_iter().find(|learner| learner.name() == kind);
    let model = |name: &str, usd, weak: [bool; 4]| FittedModel {
        name: name.to_owned(),
        usd,
        weights: fit_rightness(&vectors, &weak),
        calibration: (name == "slm").then(|| Rising { at: vec![0.0, 1.0], value: vec![0.0, 1.0] }),
        spread: if name == "slm" { vec![0.2, 0.5, 0.9] } else { Vec::new() },
    };
    let models = vec![model("slm", 0.001, [true, false, true, true]), model("llm", 0.01, [true; 4])];
    Fitted {
        task: "t".to_owned(),
        runs: vec!["run".to_owned()],
        slm: "small".to_owned(),
        slm_sha256: Some("aa".to_owned()),
        llm: "large".to_owned(),
        llm_sha256: None,
        chosen_for: String::new(),
        samples: texts.map(mark).to_vec(),
        encoder_sha256: Some("sum".to_owned()),
        calibration: None,
        predictor: learner.map(|learner| Predictor::fit(learner, lessons)),
        models: if kind == "cascade-routing" { models } else { Vec::new() },
    }
}

/// A strategy of each kind.
fn every_kind() -> Vec<RouterSpec> {
    let spec = |kind: RouterKind| {
        let plain = RouterSpec::plain(kind);
        match kind {
            RouterKind::Cascade => RouterSpec {
                models: Some(["slm", "medium", "llm"].map(str::to_owned).to_vec()),
                thresholds: Some(vec![0.9, 0.6]),
                ..plain
            },
            RouterKind::Knn | RouterKind::Logistic | RouterKind::Mf => {
                RouterSpec { gain: Some(0.3), fitted: Some(fitted(kind.name())), ..plain }
            }
            RouterKind::CascadeRouting => RouterSpec {
                confidence: Some(Estimator::LabelSpan),
                usd_per_right_answer: Some(0.05),
                fitted: Some(fitted(kind.name())),
                ..plain
            },
            _ => plain,
        }
    };
    RouterKind::ALL.into_iter().map(spec).collect()
}

#[test]
fn a_cascade_asks_its_models_in_order_each_by_its_own_threshold() {
    let [cascade] = of_text(
        "[[router]]\nkind = \"cascade\"\nmodels = [\"slm\", \"medium\", \"llm\"]\nthresholds = [0.9, 0.6]\nmax_repairs = 1\n",
    )
    .expect("read")
    .try_into()
    .expect("one router");
    let router = of_spec(&cascade, &RouterSettings::default());
    let sure = |p: f64| (Some(p), Some(true), false);
    let (decisions, attempts) = run(&*router, "vpn", &[], &[sure(0.8), BROKEN, sure(0.5), GOOD]);
    assert_eq!(
        story(&decisions),
        ["Slm FirstChoice", "Slm LowConfidence", "Slm ContractRepair", "Llm LowConfidence", "accept 3 Accepted"]
    );
    let models: Vec<_> = attempts.iter().map(|attempt| attempt.model.as_deref()).collect();
    assert_eq!(models, [None, Some("medium"), Some("medium"), None], "a repair is made by the model that answered");
    let (decisions, _) = run(&*router, "vpn", &[], &[sure(0.8), sure(0.7)]);
    assert_eq!(story(&decisions), ["Slm FirstChoice", "Slm LowConfidence", "accept 1 Accepted"]);
    let (decisions, _) = run(&*router, "vpn", &[finding(FindingKind::Risk, "legal")], &[GOOD]);
    assert_eq!(story(&decisions), ["Llm Safety", "accept 0 Accepted"], "a finding goes to the last model");
}

#[test]
fn chance_gives_the_llm_its_share_and_the_same_queries_each_time() {
    let spec = RouterSpec { share: Some(0.3), ..RouterSpec::plain(RouterKind::Random) };
    let router = of_spec(&spec, &RouterSettings::default());
    let asked = |router: &dyn Router| -> Vec<bool> {
        (0..2000)
            .map(|i| {
                let query = Query { id: format!("q{i}"), input: String::new() };
                let decision = router.decide(&query, Evidence { attempts: &[], findings: &[] }).expect("a decision");
                matches!(decision, Decision::Call { tier: Tier::Llm, .. })
            })
            .collect()
    };
    let first = asked(&*router);
    let share = first.iter().filter(|&&llm| llm).count() as f64 / 2000.0;
    assert!((share - 0.3).abs() < 0.035, "{share}");
    assert_eq!(first, asked(&*of_spec(&spec, &RouterSettings::default())));
}

#[test]
fn a_predicted_gain_asks_the_llm_where_it_is_worth_it() {
    for kind in [RouterKind::Knn, RouterKind::Logistic, RouterKind::Mf] {
        let mut fitted = fitted(kind.name());
        if let Some(Predictor::Knn { neighbours, .. }) = &mut fitted.predictor {
            *neighbours = 1;
        }
        let score = |word: &str| {
            let vector = Words.embed(&[word]).expect("embedded").remove(0);
            fitted.predictor.as_ref().map_or(0.0, |predictor| predictor.score(&vector))
        };
        let (hard, easy) = (score("printer"), score("vpn"));
        assert!(hard > easy, "{kind:?}: {hard} and {easy}");
        // Four queries teach a regression little: what it expects is right in order, not in size.
        let gain = Some(f64::midpoint(hard, easy));
        let spec = RouterSpec { gain, fitted: Some(fitted.clone()), ..RouterSpec::plain(kind) };
        let router = of_spec(&spec, &RouterSettings::default());
        let low = (Some(0.1), Some(true), false);
        let told = |word| story(&run(&*router, word, &[], &[low]).0);
        assert_eq!(told("printer"), ["Llm Predicted", "accept 0 Accepted"], "{kind:?}");
        assert_eq!(told("vpn"), ["Slm Predicted", "accept 0 Accepted"], "{kind:?} does not look at confidence");
        let (decisions, _) = run(&*router, "vpn", &[], &[FAILED, GOOD]);
        assert_eq!(story(&decisions), ["Slm Predicted", "Llm AttemptFailed", "accept 1 Accepted"]);
    }
}

#[test]
fn cascade_routing_calls_while_an_answer_is_worth_its_price() {
    let spec = |worth| RouterSpec {
        confidence: Some(Estimator::LabelSpan),
        usd_per_right_answer: Some(worth),
        fitted: Some(fitted("cascade-routing")),
        ..RouterSpec::plain(RouterKind::CascadeRouting)
    };
    let told = |worth, confidence| {
        let router = of_spec(&spec(worth), &RouterSettings::default());
        story(&run(&*router, "vpn", &[], &[(Some(confidence), Some(true), false)]).0)
    };
    // The LLM costs a fifth of what a right answer is worth: the SLM is asked first, and its doubts pay for the LLM.
    assert_eq!(told(0.05, 0.95), ["Slm WorthItsPrice", "accept 0 Accepted"]);
    assert_eq!(told(0.05, 0.1), ["Slm WorthItsPrice", "Llm WorthItsPrice", "accept 1 Accepted"]);
    // Where a right answer is worth less than the call, doubts do not pay.
    assert_eq!(told(0.005, 0.1), ["Slm WorthItsPrice", "accept 0 Accepted"]);
    let router = of_spec(&spec(0.05), &RouterSettings { max_repairs: 0, ..RouterSettings::default() });
    let (decisions, _) = run(&*router, "vpn", &[], &[BROKEN, GOOD]);
    assert_eq!(story(&decisions), ["Slm WorthItsPrice", "Llm WorthItsPrice", "accept 1 Accepted"]);
    let (decisions, _) = run(&*router, "vpn", &[], &[FAILED]);
    assert_eq!(story(&decisions), ["Slm WorthItsPrice", "Llm WorthItsPrice", "give up"]);
}

#[test]
fn cascade_routing_takes_a_valid_answer_before_a_broken_one_and_leaves_to_the_llm_what_safety_gives_it() {
    let mut fitted = fitted("cascade-routing");
    // Both models' answers mean nothing by their confidence: all that tells them apart is the contract.
    for model in &mut fitted.models {
        model.calibration = Some(Rising { at: vec![0.0, 1.0], value: vec![0.0, 0.0] });
    }
    let spec = RouterSpec {
        confidence: Some(Estimator::LabelSpan),
        usd_per_right_answer: Some(0.05),
        fitted: Some(fitted),
        ..RouterSpec::plain(RouterKind::CascadeRouting)
    };
    let router = of_spec(&spec, &RouterSettings { max_repairs: 0, ..RouterSettings::default() });
    let (decisions, _) = run(&*router, "vpn", &[], &[BROKEN, GOOD]);
    assert_eq!(story(&decisions), ["Slm WorthItsPrice", "Llm WorthItsPrice", "accept 1 Accepted"]);
    let (decisions, _) =
        run(&*router, "vpn", &[finding(FindingKind::Risk, "legal")], &[(Some(0.1), Some(true), false)]);
    assert_eq!(story(&decisions), ["Llm Safety", "accept 0 Accepted"]);
}

#[test]
fn a_calibrated_confidence_is_what_the_threshold_is_compared_with() {
    let text = "[[router]]\nname = \"sure\"\nkind = \"slm-dominant\"\nconfidence = \"margin\"\nthreshold = 0.5\n\
                [router.fitted]\ntask = \"t\"\nruns = []\nslm = \"s\"\nllm = \"l\"\nchosen_for = \"\"\nsamples = [\"0123456789abcdef\"]\n\
                [router.fitted.calibration]\nat = [0.0, 1.0]\nvalue = [0.0, 0.6]\n";
    let routers = of_text(text).expect("read");
    assert_eq!(routers[0].name(), "sure");
    let router = of_spec(&routers[0], &RouterSettings::default());
    let (decisions, _) = run(&*router, "vpn", &[], &[(Some(0.8), Some(true), false), GOOD]);
    assert_eq!(story(&decisions), ["Slm FirstChoice", "Llm LowConfidence", "accept 1 Accepted"]);
    let Decision::Call { reason: Reason::LowConfidence { confidence, .. }, .. } = &decisions[1] else {
        panic!("{decisions:?}")
    };
    assert!((confidence - 0.48).abs() < 1e-12, "{confidence}");
    assert_eq!(of_text(&routers_text(&routers).expect("text")).expect("read"), routers, "what is written is read");
}

#[test]
fn a_fitted_router_is_for_the_models_and_the_encoder_that_it_was_fitted_to() {
    let identity = |name: &str, sum: Option<&str>| Identity { name: name.to_owned(), sha256: sum.map(str::to_owned) };
    let small = |name: &str, sum: &str| identity(name, Some(sum));
    let check = |slm: Identity, llm: Identity, encoder: Option<&str>| {
        fitted("knn").check_run("mine", &slm, &llm, encoder).map_err(|error| error.to_string())
    };
    let large = || identity("large", None);
    assert_eq!(check(small("small", "aa"), large(), Some("sum")), Ok(()));
    assert_eq!(check(small("other-name", "aa"), large(), None), Ok(()), "the file is the same, whatever its name");
    assert_eq!(check(identity("small", None), large(), None), Ok(()), "without a hash the name must do");
    assert_eq!(check(small("small", "aa"), identity("large", Some("bb")), None), Ok(()));
    let told = check(small("small", "bb"), large(), None).unwrap_err();
    assert!(told.contains("fitted to answers of small (aa…) and large, not of small (bb…) and large"), "{told}");
    assert!(check(small("small", "aa"), identity("huge", None), None).is_err());
    let told = check(small("small", "aa"), large(), Some("other")).unwrap_err();
    assert!(told.contains("other encoder weights (sum, not other)"), "{told}");
}

#[test]
fn a_file_of_routers_that_cannot_work_says_what_is_wrong() {
    let table = |rest: &str| format!("[[router]]\n{rest}\n");
    for (text, word) in [
        (String::new(), "no file of [[router]]"),
        ("router = []".to_owned(), "has no [[router]]"),
        (table("kind = \"slm-dominate\""), "unknown variant"),
        (table("kind = \"slm-dominant\"\ntreshold = 0.5"), "treshold"),
        (table("kind = \"slm-dominant\"\nthreshold = 1.5"), "not between 0 and 1"),
        (table("kind = \"slm-dominant\"\nthreshold = nan"), "not between 0 and 1"),
        (table("kind = \"slm-only\"\nthreshold = 0.5"), "does not read"),
        (table("kind = \"random\"\nshare = -0.1"), "not between 0 and 1"),
        (table("kind = \"cascade\""), "needs `models`"),
        (table("kind = \"cascade\"\nmodels = [\"slm\"]"), "names 1 models"),
        (table("kind = \"cascade\"\nmodels = [\"slm\", \"slm\"]"), "twice"),
        (
            table("kind = \"cascade\"\nmodels = [\"slm\", \"llm\"]\nthresholds = [0.1, 0.2]"),
            "2 thresholds for 2 models",
        ),
        (table("kind = \"knn\""), "fit --run RUN --kind knn"),
        (
            table(
                "kind = \"cascade-routing\"\n[router.fitted]\ntask = \"t\"\nruns = []\nslm = \"s\"\nllm = \"l\"\n\
                 chosen_for = \"\"\nsamples = [\"0123456789abcdef\"]",
            ),
            "set `usd_per_right_answer`",
        ),
        (table(&format!("kind = \"cascade\"\nthresholds = [{}oops]", "0.5, ".repeat(50_000))), "line 3, column 250015"),
        (table("kind = \"slm-dominant\"\nname = \"a/b\""), "printable characters without"),
        (table("kind = \"slm-dominant\"\nname = \"llm-first\""), "must not say another"),
        (table("kind = \"slm-dominant\"\nmax_repairs = 9"), "5 are the most"),
    ] {
        let error = format!("{:#}", of_text(&text).expect_err(&text));
        assert!(error.contains(word), "{text}: {error}");
    }
    assert!(
        format!("{:#}", read_routers(std::path::Path::new("/nowhere.toml")).expect_err("no file"))
            .contains("/nowhere.toml")
    );
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
        for spec in every_kind() {
            let models = spec.models.as_ref().map_or(2, Vec::len);
            let kind = spec.kind;
            let (decisions, attempts) = run(&*of_spec(&spec, &settings), "vpn", &[], &answers);
            prop_assert!(attempts.len() <= models * (max_repairs + 1), "{kind:?}: {} calls", attempts.len());
            for decision in &decisions {
                match decision {
                    Decision::Call { variant: PromptVariant::Repair { of }, .. } => {
                        prop_assert!(!attempts[*of].failed && attempts[*of].contract_valid == Some(false));
                    }
                    Decision::Accept { attempt, .. } => {
                        prop_assert!(*attempt == attempts.len() - 1 || kind == RouterKind::CascadeRouting);
                        let kept = |a: &AttemptEvidence| !a.failed && a.contract_valid != Some(false);
                        prop_assert!(kept(&attempts[*attempt]) || !attempts.iter().any(kept) || kind != RouterKind::CascadeRouting);
                        prop_assert!(!attempts[*attempt].failed);
                    }
                    _ => {}
                }
            }
        }
    }
}

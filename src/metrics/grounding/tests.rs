//! Support with a bag of words for an encoder, a scripted judge, and agreement with labels.

use super::*;
use crate::clock::Clock;
use crate::engine::{EngineError, FailureKind, Reply, ScriptedEngine};
use crate::error::bail;
use crate::memory::Passage;
use crate::memory::tests::bag;
use proptest::prelude::*;
use std::sync::Arc;

fn passage(id: &str, text: &str) -> Passage {
    Passage { id: id.into(), title: String::new(), text: text.into(), score: 0.5 }
}

const RESET: &str = "Open the portal and choose reset password. The link is valid for 30 minutes.";
const RULES: &str = "Do not share your password with anyone. Call extension 4411 for the Atlas team.";

fn grounding(answer: &str, passages: &[Passage]) -> Option<Grounding> {
    Support::new(bag()).score(answer, passages).expect("judged")
}

fn judged(answer: &str) -> Vec<(bool, Option<String>)> {
    let grounding = grounding(answer, &[passage("kb-1", RESET), passage("kb-9", RULES)]).expect("applicable");
    let share = grounding.claims.iter().filter(|c| c.supported).count() as f64 / grounding.claims.len() as f64;
    assert_eq!((grounding.share, grounding.found), (share, grounding.claims.len()));
    grounding.claims.into_iter().map(|claim| (claim.supported, claim.passage)).collect()
}

#[test]
fn claims_are_supported_by_words_numbers_names_and_polarity_together() {
    let support = |answer: &str| judged(answer).into_iter().map(|(supported, _)| supported).collect::<Vec<_>>();
    assert_eq!(judged("Open the portal and choose reset password."), [(true, Some("kb-1".to_owned()))]);
    assert_eq!(support("The link is valid for 30 minutes. The link is valid for 90 minutes."), [true, false]);
    assert_eq!(
        support("Call extension 4411 for the Atlas team. Call extension 4411 for the Zephyr team."),
        [true, false]
    );
    assert_eq!(support("Never share your password with anyone. Do share your password with anyone."), [true, false]);
    assert_eq!(support("The link is not valid for 30 minutes."), [false]);
    assert_eq!(support("Elephants migrate in autumn."), [false]);
    assert_eq!(
        support("Thank you for waiting! I am sorry. Open the portal. I do not know more. Which laptop?").len(),
        1
    );
}

#[test]
fn a_name_that_no_passage_knows_and_a_number_in_the_place_of_another_are_not_supported() {
    let supported = |answer: &str, text: &str| {
        let found = grounding(answer, &[passage("a", text)]).unwrap();
        found.claims.iter().map(|claim| claim.supported).collect::<Vec<_>>()
    };
    let acme = "Alice Miller from Germany founded the Acme Corporation in Paris.";
    assert_eq!(supported(acme, acme), [true]);
    assert_eq!(supported(&acme.replace("Paris", "Berlin"), acme), [false]);
    let prices = "Lunch costs 20 dollars. Dinner costs 40 dollars.";
    assert_eq!(supported(prices, prices), [true, true]);
    assert_eq!(supported("Lunch costs 40 dollars. Dinner costs 20 dollars.", prices), [false, false]);
    assert_eq!(supported("The fee is 5 dollars for members.", "The fee is five dollars for members."), [true]);
    assert_eq!(supported("It has 1.50 million people.", "It has 1.5 million people."), [true]);
}

#[test]
fn a_sentence_without_end_is_judged_in_parts() {
    let answer = "pump red ".repeat(80_000);
    let found = grounding(&answer, &[passage("a", "The pump is red.")]).unwrap();
    assert_eq!((found.claims.len(), found.found), (MOST_CLAIMS, 160_000 / MOST_WORDS));
}

#[test]
fn the_score_falls_with_what_is_not_in_the_passages() {
    let score = |answer: &str| grounding(answer, &[passage("kb-1", RESET), passage("kb-9", RULES)]).unwrap().score;
    assert!(score(RESET) > 0.999, "{}", score(RESET));
    assert!(score("The link is valid for 90 minutes.") <= 0.5);
    assert!(score("Elephants migrate in autumn across the savannah.") < 0.3);
    let half = score("The link is valid for 30 minutes. Elephants migrate in autumn.");
    assert!(half > 0.4 && half < 0.8, "{half}");
}

#[test]
fn a_claim_may_rest_on_two_neighbouring_sentences_and_less_on_scattered_words() {
    let near = passage("a", "The Atlas pump is red. It holds nine litres. Rain falls. Birds sing.");
    let far = passage("a", "The Atlas pump is red. Rain falls. Birds sing. It holds nine litres.");
    let claim = "The red Atlas pump holds nine litres.";
    let score = |passage| grounding(claim, &[passage]).unwrap().score;
    assert!(score(near) > score(far) + 0.1);
}

#[test]
fn without_passages_or_claims_groundedness_does_not_apply() {
    assert_eq!(grounding("Open the portal.", &[]), None);
    assert_eq!(grounding("Open the portal.", &[passage("a", " \n")]), None);
    for answer in ["", "Please wait.", "Hello!", "Could you tell me the model?", "I do not have that information."] {
        assert_eq!(grounding(answer, &[passage("a", "b c")]), None, "{answer:?}");
    }
}

#[test]
fn other_languages_are_judged_by_the_same_rule() {
    for (text, other) in [
        ("Der Vertrag gilt für 24 Monate.", "Der Vertrag gilt für 36 Monate."),
        ("Der Vertrag ist kündbar.", "Der Vertrag ist nicht kündbar."),
        ("東京都の人口は1400万人です。", "東京都の人口は1900万人です。"),
        ("Срок договора 24 месяца.", "Срок договора 36 месяцев."),
    ] {
        let claim = |answer: &str| grounding(answer, &[passage("a", text)]).unwrap().claims.remove(0);
        assert!(claim(text).supported && !claim(other).supported, "{text}");
    }
}

#[test]
fn a_long_answer_is_judged_by_evenly_spaced_claims() {
    let answer = (0..10_000).map(|i| format!("Pump {i} is red.")).collect::<Vec<_>>().join("\n\n");
    let found = grounding(&answer, &[passage("a", "Pump 3 is red.")]).unwrap();
    assert_eq!((found.claims.len(), found.found), (MOST_CLAIMS, 10_000));
    assert!(found.claims[0].text.len() < found.claims[MOST_CLAIMS - 1].text.len());
    assert_eq!((0..7).filter(|&i| is_taken(i, 7, 3)).count(), 3);
}

fn judge(reply: Result<Reply, EngineError>) -> Judge {
    Judge(Arc::new(ScriptedEngine::queue("judge", Clock::fake(), [reply])))
}

#[test]
fn a_judge_is_believed_only_where_its_verdict_is_whole() {
    let passages = [passage("kb-1", RESET), passage("kb-9", RULES)];
    let ask = |reply: &str| judge(Ok(Reply::new(reply, -0.1))).score("Open the portal. Pay 5 euros.", &passages);
    let good = r#"{"verdicts": [{"claim": 1, "verdict": "supported", "passage": 1}, {"claim": 2, "verdict": "partly", "passage": null}]}"#;
    let found = ask(good).unwrap().unwrap();
    let claims: Vec<_> = found.claims.iter().map(|c| (c.supported, c.score, c.passage.as_deref())).collect();
    assert_eq!(claims, [(true, 1.0, Some("kb-1")), (false, 0.5, None)]);
    assert_eq!(found.share, 0.5);
    for bad in [
        "They are fine.".to_owned(),
        good.replace("\"claim\": 2", "\"claim\": 1"),
        good.replace("\"passage\": 1", "\"passage\": 3"),
        good.replace("partly", "perhaps"),
        r#"{"verdicts": [{"claim": 1, "verdict": "supported", "passage": 1}]}"#.to_owned(),
    ] {
        assert!(ask(&bad).is_err(), "{bad}");
    }
    let refused = judge(Err(EngineError::new(FailureKind::Timeout, "too late"))).score("Pay 5 euros.", &passages);
    assert!(format!("{:#}", refused.unwrap_err()).contains("too late"));
}

/// Scores an answer by the number it is.
struct Number;

impl Scorer for Number {
    fn name(&self) -> &'static str {
        "number"
    }

    fn score(&self, answer: &str, _: &[Passage]) -> Result<Option<Grounding>> {
        match answer.parse() {
            Ok(score) => Ok(Some(Grounding { share: score, score, claims: Vec::new(), found: 0 })),
            Err(_) if answer == "fail" => bail!("no answer came"),
            Err(_) => Ok(None),
        }
    }
}

fn rows(rows: &[(&str, Option<f64>)]) -> Vec<Row> {
    let row = |(index, (answer, label)): (usize, &(&str, Option<f64>))| Row {
        contexts: vec![passage("a", &index.to_string())],
        answer: (*answer).to_owned(),
        label: *label,
        answerable: None,
        place: format!("f:{}", index + 1),
    };
    rows.iter().enumerate().map(row).collect()
}

fn agreed(rows: &[Row]) -> Agreement {
    agreement(rows, &Number, &mut |_, _| Ok(())).unwrap()
}

#[test]
fn agreement_counts_what_it_leaves_out_and_never_scores_a_failure() {
    let mut all = rows(&[("0.9", Some(1.0)), ("0.2", Some(0.0)), ("x", Some(1.0)), ("fail", Some(0.0)), ("0.4", None)]);
    all[2].contexts.clear();
    let found = agreed(&all);
    assert_eq!((found.rows, found.n, found.not_applicable, found.without_contexts), (5, 2, 1, 1));
    assert_eq!((found.failures, found.without_label, found.failed[0].place.as_str()), (1, 1, "f:4"));
    assert_eq!((found.auroc, found.spearman), (Some(1.0), Some(1.0)));
}

#[test]
fn a_figure_that_is_undefined_is_absent_with_its_reason() {
    for (case, absent) in [
        (rows(&[]), vec!["auroc", "spearman", "pearson", "threshold", "abstention"]),
        (rows(&[("0.5", Some(1.0)), ("0.4", Some(1.0))]), vec!["auroc", "spearman", "pearson", "threshold"]),
        (rows(&[("0.5", Some(1.0)), ("0.5", Some(0.0))]), vec!["spearman", "pearson"]),
    ] {
        let found = agreed(&case);
        for name in absent {
            let reason = found.not_available.get(name).unwrap_or_else(|| panic!("{name}"));
            assert!(reason.starts_with("undefined because"), "{reason}");
            let shown = serde_json::to_value(&found).unwrap();
            assert!(matches!(name, "threshold" | "abstention") || shown[name].is_null());
        }
    }
}

#[test]
fn the_threshold_is_chosen_on_one_part_and_tried_on_the_other() {
    let texts: Vec<String> = (0..200).map(|i| format!("0.{i:03}")).collect();
    let all: Vec<(&str, Option<f64>)> =
        texts.iter().enumerate().map(|(i, text)| (text.as_str(), Some(if i < 120 { 0.2 } else { 0.7 }))).collect();
    let found = agreed(&rows(&all)).threshold;
    assert!(found.train > 70 && found.test > 70 && found.train + found.test == 200, "{found:?}");
    // The lowest grounded score of the train part, which is near 0.120.
    assert!((0.12..0.13).contains(&found.value.unwrap()), "{found:?}");
    assert!(found.f1.unwrap() > 0.9 && found.accuracy.unwrap() > 0.9, "{found:?}");
}

#[test]
fn abstaining_is_right_where_there_is_no_answer() {
    let mut all = rows(&[
        ("I do not know.", None),
        ("I do not know.", None),
        ("0.3", None),
        ("0.4", None),
        ("I do not know.", None),
    ]);
    for (row, answerable) in all.iter_mut().zip([Some(false), Some(true), Some(false), Some(true), None]) {
        row.answerable = answerable;
    }
    let Abstentions { n, unanswerable, abstained, precision, recall, f1, abstained_of_all } = agreed(&all).abstention;
    assert_eq!((n, unanswerable, abstained, abstained_of_all), (4, 2, 2, 3));
    assert_eq!((precision, recall, f1), (Some(0.5), Some(0.5), Some(0.5)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn groundedness_of_any_text_is_a_share(answer: String, text: String) {
        if let Some(found) = grounding(&answer, &[passage("a", &text)]) {
            prop_assert!((0.0..=1.0).contains(&found.share) && (0.0..=1.0).contains(&found.score) && !found.claims.is_empty());
            prop_assert!(found.claims.iter().all(|claim| (0.0..=1.0).contains(&claim.score)));
        }
    }

    #[test]
    fn the_order_of_the_passages_changes_no_score(
        texts in proptest::collection::vec("([a-e]{1,3} ){1,6}[.] (not )?([a-e]{1,3} ){1,6}[.]", 1..5),
        answer in "([A-Ea-e]{1,3} ){1,8}[.] ([a-e0-9]{1,3} ){1,4}[.]",
        turn in 0_usize..5,
    ) {
        let passages: Vec<Passage> = texts.iter().map(|text| passage(text, text)).collect();
        let mut turned = passages.clone();
        turned.rotate_left(turn % passages.len());
        let score = |passages: &[Passage]| grounding(&answer, passages).map(|found| (found.score, found.share));
        prop_assert_eq!(score(&passages), score(&turned));
    }

    #[test]
    fn any_answer_abstains_or_not_without_panic(answer: String) {
        let _ = abstention::abstains(&answer);
    }
}

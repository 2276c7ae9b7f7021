//! Groundedness with a bag of words for an encoder.

use super::*;
use crate::memory::Passage;
use crate::memory::tests::bag;
use proptest::prelude::*;

fn passage(id: &str, text: &str) -> Passage {
    Passage { id: id.into(), title: String::new(), text: text.into(), score: 0.5 }
}

fn judged(answer: &str) -> Vec<(bool, Option<String>)> {
    let passages = [
        passage("kb-1", "Open the portal and choose reset password. The link is valid for 30 minutes."),
        passage("kb-9", "Do not share your password with anyone. Call extension 4411 for the Atlas team."),
    ];
    let grounding = groundedness(answer, &passages, &*bag()).expect("judged").expect("applicable");
    let share = grounding.claims.iter().filter(|c| c.supported).count() as f64 / grounding.claims.len() as f64;
    assert_eq!(grounding.share, share);
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
    assert_eq!(support("Elephants migrate in autumn."), [false]);
    assert_eq!(support("Thank you for waiting! Open the portal. Which laptop?").len(), 2);
}

#[test]
fn without_passages_or_claims_groundedness_does_not_apply() {
    assert_eq!(groundedness("Open the portal.", &[], &*bag()).expect("judged"), None);
    for answer in ["", "Please wait.", "Hello!", "Could you tell me the model?"] {
        assert_eq!(groundedness(answer, &[passage("a", "b c")], &*bag()).expect("judged"), None, "{answer:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn groundedness_of_any_text_is_a_share(answer: String, text: String) {
        if let Some(found) = groundedness(&answer, &[passage("a", &text)], &*bag()).expect("judged") {
            prop_assert!((0.0..=1.0).contains(&found.share) && !found.claims.is_empty());
            prop_assert!(found.claims.iter().all(|claim| (0.0..=1.0).contains(&claim.score)));
        }
    }
}

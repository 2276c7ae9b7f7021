//! What one answer was worth, judged against its gold target.

use super::grounding::{Grounding, abstention::abstains};
use crate::error::{Context, Result};
use crate::memory::Passage;
use crate::record::{Abstention, Scores};
use crate::task::Target;
use crate::trial::{Outcome, Prediction, Trial};

/// Judges groundedness; `None` where there is no claim.
pub type Ground<'a> = dyn Fn(&str, &[Passage]) -> Result<Option<Grounding>> + Sync + 'a;

/// Scores a finished trial; `None` for one that failed for reasons outside the models.
///
/// A trial that ended with a broken contract is the models' failure: wherever the task has a gold value it counts as
/// wrong. `ground` judges an answer's claims by the passages.
pub fn score(target: &Target, trial: &Trial, ground: &Ground<'_>) -> Result<Option<Scores>> {
    match trial.outcome {
        Outcome::Failed => Ok(None),
        Outcome::HandedOver => Ok(Some(quality(target, &trial.prediction, false))),
        Outcome::Refused | Outcome::ContractFailed => Ok(Some(quality(target, &Prediction::default(), true))),
        Outcome::Answered => {
            let grounding = match in_words(&trial.prediction) {
                Some(answer) if !trial.retrieval.passages.is_empty() => {
                    ground(answer, &trial.retrieval.passages).context("judging whether the answer is grounded")?
                }
                _ => None,
            };
            let (groundedness, claims) = grounding.map(|found| (found.share, found.claims)).unzip();
            let claims = claims.unwrap_or_default();
            Ok(Some(Scores { groundedness, claims, ..quality(target, &trial.prediction, false) }))
        }
    }
}

/// For each attempt, whether its own label is right; `None` for a failed attempt and where the task has no gold label.
#[must_use]
pub fn attempts_correct(target: &Target, trial: &Trial) -> Vec<Option<bool>> {
    trial
        .attempts
        .iter()
        .map(|attempt| match attempt.failure {
            Some(_) => None,
            None => label_correct(target, &attempt.prediction),
        })
        .collect()
}

fn quality(target: &Target, prediction: &Prediction, broken: bool) -> Scores {
    Scores {
        label_correct: label_correct(target, prediction),
        fact_recall: target.facts.as_deref().and_then(|facts| fact_recall(facts, prediction)),
        groundedness: None,
        claims: Vec::new(),
        citations_correct: target
            .articles
            .as_deref()
            .map(|gold| !broken && citations_correct(gold, &prediction.citations)),
        needs_human_correct: target.needs_human.map(|gold| !broken && prediction.needs_human == Some(gold)),
        abstention: target
            .answerable
            .zip(in_words(prediction))
            .map(|(answerable, answer)| Abstention { answerable, abstained: abstains(answer) }),
    }
}

/// The free-text answer, where it says anything.
fn in_words(prediction: &Prediction) -> Option<&str> {
    prediction.answer.as_deref().filter(|text| !text.trim().is_empty())
}

fn label_correct(target: &Target, prediction: &Prediction) -> Option<bool> {
    target.label.as_ref().map(|gold| prediction.label.as_ref() == Some(gold))
}

/// Where the gold names no article, citing none is right; elsewhere at least one must be cited, and only gold ones.
fn citations_correct(gold: &[String], cited: &[String]) -> bool {
    if gold.is_empty() { cited.is_empty() } else { !cited.is_empty() && cited.iter().all(|id| gold.contains(id)) }
}

/// Share of the facts of which a spelling stands in the answer; `None` where no fact is required.
fn fact_recall(facts: &[Vec<String>], prediction: &Prediction) -> Option<f64> {
    if facts.is_empty() {
        return None;
    }
    let answer = normalise(prediction.answer.as_deref().unwrap_or_default());
    let found = facts.iter().filter(|spellings| spellings.iter().any(|s| occurs(&normalise(s), &answer))).count();
    Some(found as f64 / facts.len() as f64)
}

/// Lower case; every run of white space and dashes is one space; marks of emphasis vanish, apostrophes become plain.
fn normalise(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            '*' | '`' => {}
            '\u{2018}' | '\u{2019}' => plain.push('\''),
            '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' => push_space(&mut plain),
            c if c.is_whitespace() => push_space(&mut plain),
            c => plain.push(c),
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

fn push_space(text: &mut String) {
    if !text.is_empty() && !text.ends_with(' ') {
        text.push(' ');
    }
}

/// Whether `spelling` stands in `text` as whole words: "5 gb" is not in "25 gb", nor "it" in "items". A plural ending
/// may follow a word.
fn occurs(spelling: &str, text: &str) -> bool {
    !spelling.is_empty()
        && text.match_indices(spelling).any(|(start, _)| {
            let before = text.get(..start).unwrap_or_default();
            let after = text.get(start + spelling.len()..).unwrap_or_default();
            starts_a_word(spelling, before) && ends_a_word(spelling, after)
        })
}

fn starts_a_word(spelling: &str, before: &str) -> bool {
    let Some(first) = spelling.chars().next().filter(|c| c.is_alphanumeric()) else { return true };
    let mut back = before.chars().rev();
    match back.next() {
        Some(c) if c.is_alphanumeric() => false,
        Some('.' | ',') if first.is_ascii_digit() => !back.next().is_some_and(|c| c.is_ascii_digit()),
        _ => true,
    }
}

fn ends_a_word(spelling: &str, after: &str) -> bool {
    let Some(last) = spelling.chars().next_back().filter(|c| c.is_alphanumeric()) else { return true };
    let open = |rest: &str| !rest.chars().next().is_some_and(char::is_alphanumeric);
    if last.is_ascii_digit() {
        let mut ahead = after.chars();
        return match ahead.next() {
            Some(c) if c.is_alphanumeric() => false,
            Some('.' | ',') => !ahead.next().is_some_and(|c| c.is_ascii_digit()),
            _ => true,
        };
    }
    open(after) || after.strip_prefix('s').is_some_and(open) || after.strip_prefix("es").is_some_and(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::example;
    use crate::record::Claim;

    fn target() -> Target {
        Target {
            label: Some("Access".into()),
            articles: Some(vec!["vpn".into(), "mfa".into()]),
            facts: Some(vec![vec!["30 days".into(), "one month".into()], vec!["service desk".into()]]),
            needs_human: Some(false),
            answerable: None,
            answer: None,
        }
    }

    fn answered(answer: &str, citations: &[&str]) -> Trial {
        let mut trial = example::answered("Access");
        trial.prediction = Prediction {
            label: Some("Access".into()),
            answer: Some(answer.into()),
            citations: citations.iter().map(ToString::to_string).collect(),
            needs_human: Some(false),
        };
        trial
    }

    fn scores(trial: &Trial) -> Scores {
        score(&target(), trial, &|_, _| Ok(None)).unwrap().unwrap()
    }

    #[test]
    fn a_right_answer_is_right_in_every_part() {
        let scores = scores(&answered("Access lasts **30\u{a0}days**; ask the Service-Desk.", &["mfa"]));
        let expected = Scores {
            label_correct: Some(true),
            fact_recall: Some(1.0),
            groundedness: None,
            claims: Vec::new(),
            citations_correct: Some(true),
            needs_human_correct: Some(true),
            abstention: None,
        };
        assert_eq!(scores, expected);
    }

    #[test]
    fn a_failed_trial_has_no_scores() {
        let mut trial = answered("30 days", &["vpn"]);
        trial.outcome = Outcome::Failed;
        assert_eq!(score(&target(), &trial, &|_, _| Ok(None)).unwrap(), None);
    }

    #[test]
    fn a_broken_contract_is_wrong_wherever_there_is_a_gold_value() {
        let mut trial = answered("30 days, service desk", &["vpn"]);
        trial.outcome = Outcome::ContractFailed;
        let expected = Scores {
            label_correct: Some(false),
            fact_recall: Some(0.0),
            groundedness: None,
            claims: Vec::new(),
            citations_correct: Some(false),
            needs_human_correct: Some(false),
            abstention: None,
        };
        assert_eq!(scores(&trial), expected);
        let no_gold = Target { articles: Some(vec![]), ..Target::default() };
        let scores = score(&no_gold, &trial, &|_, _| Ok(None)).unwrap().unwrap();
        assert_eq!(scores, Scores { citations_correct: Some(false), ..Scores::default() });
    }

    #[test]
    fn a_task_without_gold_values_scores_nothing() {
        let scores = score(&Target::default(), &answered("x", &[]), &|_, _| Ok(None)).unwrap().unwrap();
        assert_eq!(scores, Scores::default());
    }

    #[test]
    fn citations_must_be_gold_and_at_least_one() {
        assert_eq!(scores(&answered("x", &["vpn", "mfa"])).citations_correct, Some(true));
        assert_eq!(scores(&answered("x", &["vpn", "printer"])).citations_correct, Some(false));
        assert_eq!(scores(&answered("x", &[])).citations_correct, Some(false));
        assert!(citations_correct(&[], &[]));
        assert!(!citations_correct(&[], &["vpn".into()]));
    }

    #[test]
    fn facts_are_found_as_whole_words_in_any_spelling() {
        let recall = |answer: &str| scores(&answered(answer, &["vpn"])).fact_recall.unwrap();
        assert_eq!(recall("It takes ONE  month."), 0.5);
        assert_eq!(recall("It takes 130 days via the service desks."), 0.5);
        assert_eq!(recall("Nothing."), 0.0);
        for (spelling, text, found) in [
            ("5 gb", "up to 5 gb.", true),
            ("5 gb", "up to 25 gb", false),
            ("5 gb", "up to 2.5 gb", false),
            ("10", "10.5 euros", false),
            ("10", "costs 10.", true),
            ("it", "items", false),
            ("pass", "two passes", true),
            ("pass", "password", false),
            ("9 17", &normalise("9 – 17"), true),
            ("", "anything", false),
        ] {
            assert_eq!(occurs(spelling, text), found, "{spelling:?} in {text:?}");
        }
    }

    #[test]
    fn grounding_is_asked_only_about_answers_with_passages() {
        let claim = Claim { text: "30 days".into(), supported: false, passage: Some("vpn".into()), score: 0.4 };
        let found = Grounding { share: 0.5, score: 0.4, claims: vec![claim.clone()], found: 1 };
        let half = |_: &str, _: &[Passage]| Ok(Some(found.clone()));
        let mut trial = answered("30 days", &["vpn"]);
        assert_eq!(score(&target(), &trial, &half).unwrap().unwrap().groundedness, None);
        trial.retrieval.passages =
            vec![Passage { id: "vpn".into(), title: "VPN".into(), text: "30 days".into(), score: 1.0 }];
        let scores = score(&target(), &trial, &half).unwrap().unwrap();
        assert_eq!((scores.groundedness, scores.claims), (Some(0.5), vec![claim]));
        trial.prediction.answer = Some("  ".into());
        assert_eq!(score(&target(), &trial, &half).unwrap().unwrap().groundedness, None);
    }

    #[test]
    fn each_attempt_is_judged_by_its_own_label() {
        let mut trial = example::escalated("HR Support", "Access");
        assert_eq!(attempts_correct(&target(), &trial), [Some(false), Some(true)]);
        assert_eq!(attempts_correct(&Target::default(), &trial), [None, None]);
        example::break_connection(&mut trial.attempts[1]);
        assert_eq!(attempts_correct(&target(), &trial), [Some(false), None]);
    }
}

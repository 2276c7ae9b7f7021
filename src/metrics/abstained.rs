//! Whether answers abstain where there is no answer to give: what groundedness cannot see.

use super::row::Row;
use crate::record::Abstention;
use serde::{Deserialize, Serialize};

/// What became of the answers in words to samples of which the task says whether its knowledge holds an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbstentionUse {
    /// Those answers.
    pub n: usize,
    /// Those to samples that cannot be answered.
    pub unanswerable: usize,
    /// Of these the ones that abstain, which is right.
    pub abstained_on_unanswerable: usize,
    /// Of these the ones that claim something all the same.
    pub answered_unanswerable: usize,
    /// Answers that abstain where there is an answer: misses.
    pub abstained_on_answerable: usize,
}

/// Counts the answers of scored trials; `None` where there is none to count.
pub(super) fn abstention_use(scored: &[&Row]) -> Option<AbstentionUse> {
    let judged: Vec<Abstention> = scored.iter().filter_map(|row| row.abstention).collect();
    let count = |answerable: bool, abstained: bool| {
        judged.iter().filter(|one| **one == Abstention { answerable, abstained }).count()
    };
    let (right, answered) = (count(false, true), count(false, false));
    (!judged.is_empty()).then(|| AbstentionUse {
        n: judged.len(),
        unanswerable: right + answered,
        abstained_on_unanswerable: right,
        answered_unanswerable: answered,
        abstained_on_answerable: count(true, true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{example, summarise};
    use crate::router::RouterKind;
    use crate::task::Target;
    use crate::trial::Outcome;

    #[test]
    fn answers_are_counted_by_whether_they_abstain_and_whether_that_is_right() {
        let (header, mut trials) = example::run();
        let lacks = "I do not have that information.";
        let claims = "The fee is 5 euros.";
        let cases = [
            (Some(false), Some(lacks)),
            (Some(false), Some(claims)),
            (Some(true), Some(lacks)),
            (Some(true), Some(claims)),
            (Some(true), Some("  ")),
            (None, Some(lacks)),
        ];
        let of_router = trials.iter_mut().filter(|record| record.router == RouterKind::LlmFirst);
        for (record, (answerable, answer)) in of_router.zip(cases) {
            record.trial.prediction.answer = answer.map(ToString::to_string);
            let target = Target { answerable, ..example::target() };
            record.scores = crate::metrics::score(&target, &record.trial, &|_, _| Ok(None)).expect("scored");
        }
        let summary = summarise(&header, &trials);
        let [first, others @ ..] = &*summary.policies else { panic!("policies") };
        let wanted = AbstentionUse {
            n: 4,
            unanswerable: 2,
            abstained_on_unanswerable: 1,
            answered_unanswerable: 1,
            abstained_on_answerable: 1,
        };
        assert_eq!(first.abstention, Some(wanted));
        assert!(!first.not_available.contains_key("abstention"));
        for other in others {
            assert_eq!(other.abstention, None);
            assert!(other.not_available["abstention"].contains("whether it can be answered"));
        }
    }

    #[test]
    fn a_trial_without_an_accepted_answer_neither_answered_nor_abstained() {
        let mut trial = example::answered("Access");
        trial.prediction.answer = Some("I do not know.".into());
        let target = Target { answerable: Some(false), ..example::target() };
        let score = |trial: &crate::trial::Trial| {
            crate::metrics::score(&target, trial, &|_, _| Ok(None)).expect("scored").expect("scores")
        };
        assert_eq!(score(&trial).abstention, Some(Abstention { answerable: false, abstained: true }));
        trial.outcome = Outcome::ContractFailed;
        assert_eq!(score(&trial).abstention, None);
    }
}

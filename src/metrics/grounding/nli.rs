//! Natural-language inference as a scorer: whether a claim follows from a passage, by a cross-encoder that read both together.

use super::{Claim, Grounding, Scorer, claims, is_taken, whole};
use crate::error::{Result, bail};
use crate::memory::{Passage, windows};
use crate::nn::Entailment;
use std::sync::Arc;

/// A claim is supported from this probability on.
const SUPPORTED: f64 = 0.5;

/// Premises that an answer's claims are held against, at most; of more, evenly spaced ones are.
const MOST_PREMISES: usize = 200;

/// Pairs of a claim and a premise at most that are read of one answer: of one with many claims fewer premises are.
const MOST_PAIRS: usize = 4_000;

/// Judges pairs of texts.
pub trait Entail: Send + Sync {
    /// For each pair of a premise and a hypothesis the probability, 0..1, that the hypothesis follows.
    fn entail(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>>;
}

impl Entail for Entailment {
    fn entail(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>> {
        self.probabilities(pairs)
    }
}

/// Support by entailment. A claim's score is the highest probability that it follows from a passage: from its beginning or, of a
/// passage that is longer than the model reads, from one of its pieces.
pub struct Nli(pub Arc<dyn Entail>);

impl Nli {
    fn judge(&self, claim: &str, premises: &[(&Passage, String)]) -> Result<Claim> {
        let pairs: Vec<(&str, &str)> = premises.iter().map(|(_, premise)| (premise.as_str(), claim)).collect();
        let probabilities = self.0.entail(&pairs)?;
        if probabilities.len() != pairs.len() {
            bail!("judging entailment: {} probabilities came back for {} pairs", probabilities.len(), pairs.len());
        }
        let mut best = (0.0, None);
        for (&probability, (passage, _)) in probabilities.iter().zip(premises) {
            if probability > best.0 {
                best = (probability, Some(passage.id.clone()));
            }
        }
        let (score, passage) = best;
        Ok(Claim { text: claim.to_owned(), supported: score >= SUPPORTED, passage, score })
    }
}

impl Scorer for Nli {
    fn name(&self) -> &'static str {
        "nli"
    }

    fn score(&self, answer: &str, passages: &[Passage]) -> Result<Option<Grounding>> {
        let (stated, found) = claims(answer);
        let premises: Vec<(&Passage, String)> = passages
            .iter()
            .filter(|passage| !passage.text.trim().is_empty())
            .flat_map(|passage| windows(&passage.title, &passage.text).into_iter().map(move |text| (passage, text)))
            .collect();
        if stated.is_empty() || premises.is_empty() {
            return Ok(None);
        }
        let (all, most) = (premises.len(), MOST_PREMISES.min(MOST_PAIRS / stated.len()));
        let taken = premises.into_iter().enumerate().filter(|(i, _)| is_taken(*i, all, most));
        let premises: Vec<(&Passage, String)> = taken.map(|(_, premise)| premise).collect();
        let judged = stated.iter().map(|stated| self.judge(&stated.text, &premises)).collect::<Result<_>>()?;
        Ok(Some(whole(&stated, judged, found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A hypothesis follows where its first word stands in the premise.
    struct FirstWord;

    impl Entail for FirstWord {
        fn entail(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>> {
            let holds = |(premise, hypothesis): &(&str, &str)| {
                hypothesis.split(' ').next().is_some_and(|word| premise.contains(word))
            };
            Ok(pairs.iter().map(|pair| if holds(pair) { 0.9 } else { 0.2 }).collect())
        }
    }

    fn passage(id: &str, text: &str) -> Passage {
        Passage { id: id.into(), title: String::new(), text: text.into(), score: 1.0 }
    }

    #[test]
    fn a_claim_is_as_supported_as_by_the_passage_that_entails_it_most() {
        let long = format!("{} Badges are blue.", "Filler goes on here. ".repeat(120));
        let passages = [passage("a", "Cats sleep."), passage("b", &long)];
        let answer = "Badges cost money. Dogs bark loudly. Is that so?";
        let found = Nli(Arc::new(FirstWord)).score(answer, &passages).expect("judged").expect("applicable");
        let claims: Vec<_> = found.claims.iter().map(|c| (c.supported, c.score, c.passage.as_deref())).collect();
        assert_eq!(claims, [(true, 0.9, Some("b")), (false, 0.2, Some("a"))]);
        assert_eq!((found.share, found.found), (0.5, 2));
    }

    #[test]
    fn without_passages_or_claims_it_does_not_apply() {
        let scorer = Nli(Arc::new(FirstWord));
        assert_eq!(scorer.score("Badges cost money.", &[passage("a", "  ")]).expect("judged"), None);
        assert_eq!(scorer.score("I do not know.", &[passage("a", "Cats sleep.")]).expect("judged"), None);
    }

    #[test]
    fn many_passages_and_claims_are_bounded() {
        struct Counted(AtomicUsize);
        impl Entail for Counted {
            fn entail(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>> {
                self.0.fetch_add(pairs.len(), Ordering::Relaxed);
                Ok(vec![1.0; pairs.len()])
            }
        }
        let passages: Vec<Passage> = (0..1000).map(|n| passage(&n.to_string(), "Cats sleep.")).collect();
        for (claims, pairs) in [(1, MOST_PREMISES), (100, MOST_PAIRS), (1000, MOST_PAIRS)] {
            let counted = Arc::new(Counted(AtomicUsize::new(0)));
            let answer = "Cats sleep. ".repeat(claims);
            assert!(Nli(Arc::<Counted>::clone(&counted)).score(&answer, &passages).expect("judged").is_some());
            assert_eq!(counted.0.load(Ordering::Relaxed), pairs);
        }
    }
}

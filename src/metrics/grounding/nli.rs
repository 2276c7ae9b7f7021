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
        let all = premises.len();
        let taken = premises.into_iter().enumerate().filter(|(i, _)| is_taken(*i, all, MOST_PREMISES));
        let premises: Vec<(&Passage, String)> = taken.map(|(_, premise)| premise).collect();
        let pairs: Vec<(&str, &str)> = stated
            .iter()
            .flat_map(|stated| premises.iter().map(|(_, premise)| (premise.as_str(), stated.text.as_str())))
            .collect();
        let probabilities = self.0.entail(&pairs)?;
        if probabilities.len() != pairs.len() {
            bail!("judging entailment: {} probabilities came back for {} pairs", probabilities.len(), pairs.len());
        }
        let judged = stated
            .iter()
            .zip(probabilities.chunks_exact(premises.len()))
            .map(|(stated, probabilities)| {
                let mut best = (0.0, None);
                for (&probability, (passage, _)) in probabilities.iter().zip(&premises) {
                    if probability > best.0 {
                        best = (probability, Some(passage.id.clone()));
                    }
                }
                let (score, passage) = best;
                Claim { text: stated.text.clone(), supported: score >= SUPPORTED, passage, score }
            })
            .collect();
        Ok(Some(whole(&stated, judged, found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn many_passages_are_bounded() {
        struct Counted;
        impl Entail for Counted {
            fn entail(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>> {
                assert!(pairs.len() <= MOST_PREMISES);
                Ok(vec![1.0; pairs.len()])
            }
        }
        let passages: Vec<Passage> = (0..1000).map(|n| passage(&n.to_string(), "Cats sleep.")).collect();
        assert!(Nli(Arc::new(Counted)).score("Cats sleep.", &passages).expect("judged").is_some());
    }
}

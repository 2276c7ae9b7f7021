//! The words of a text as features: TF-IDF of words and of pairs of neighbouring words.

use crate::memory::text::words;
use std::collections::{BTreeMap, BTreeSet};

/// A word of one letter says nothing.
const SHORTEST_WORD: usize = 2;
/// A term counts where so many training texts hold it: one that a single text holds tells that text, not its label.
const LEAST_TEXTS: usize = 2;
/// Terms at most; the rarest are left out. It bounds the memory of a fit to texts without end.
const MOST_TERMS: usize = 200_000;

/// The terms of some training texts, and how rare each is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Terms {
    /// Term to its number and its inverse document frequency, ln((1 + n)/(1 + n_t)) + 1: Spärck Jones's measure, smoothed
    /// as if one more text held every term.
    known: BTreeMap<String, (u32, f64)>,
}

impl Terms {
    /// Learns the terms of texts.
    pub(super) fn learn(texts: &[&str]) -> Self {
        let mut holding: BTreeMap<String, usize> = BTreeMap::new();
        for text in texts {
            for term in terms(text).collect::<BTreeSet<_>>() {
                *holding.entry(term).or_default() += 1;
            }
        }
        holding.retain(|_, count| *count >= LEAST_TEXTS);
        if holding.len() > MOST_TERMS {
            let mut by_count: Vec<(String, usize)> = holding.into_iter().collect();
            by_count.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            by_count.truncate(MOST_TERMS);
            holding = by_count.into_iter().collect();
        }
        let n = texts.len() as f64;
        let rarity = |count: usize| ((1.0 + n) / (1.0 + count as f64)).ln() + 1.0;
        let known = holding.into_iter().zip(0_u32..).map(|((term, count), id)| (term, (id, rarity(count)))).collect();
        Self { known }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// The number of a term.
    #[cfg(test)]
    pub(super) fn id(&self, term: &str) -> Option<u32> {
        self.known.get(term).map(|(id, _)| *id)
    }

    /// A text's counts of terms times their rarity, scaled to length 1; nothing where it holds no known term.
    pub(super) fn features(&self, text: &str) -> Vec<(u32, f64)> {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        for term in terms(text) {
            if let Some(&(id, rarity)) = self.known.get(&term) {
                *counts.entry(id).or_default() += rarity;
            }
        }
        let length = counts.values().map(|x| x * x).sum::<f64>().sqrt();
        counts.into_iter().map(|(id, x)| (id, x / length)).collect()
    }
}

/// The words of a text, and each with the next.
fn terms(text: &str) -> impl Iterator<Item = String> {
    let words: Vec<String> = words(text).filter(|word| word.chars().count() >= SHORTEST_WORD).collect();
    let pairs: Vec<String> = words.windows(2).map(|pair| pair.join(" ")).collect();
    words.into_iter().chain(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_words_and_pairs_that_two_texts_hold() {
        let learnt = Terms::learn(&["the vpn is down", "my vpn is slow a", "a printer"]);
        let known: Vec<&str> = learnt.known.keys().map(String::as_str).collect();
        assert_eq!(known, ["is", "vpn", "vpn is"]);
        // Of three texts two hold each: all are equally rare.
        let features = learnt.features("VPN, vpn!");
        assert_eq!(features, [(1, 1.0)]);
        let features = learnt.features("is the vpn is");
        assert!((features.iter().map(|(_, x)| x * x).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(features.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(features[0].1 > features[1].1, "held twice");
    }

    #[test]
    fn a_text_without_known_terms_has_no_features() {
        assert!(Terms::learn(&["one text", "one text"]).features("quite another").is_empty());
        assert_eq!(Terms::learn(&[]).len(), 0);
    }

    #[test]
    fn rarity_is_as_scikit_learn_smooths_it() {
        let learnt = Terms::learn(&["aa bb", "aa bb", "aa cc"]);
        assert_eq!(learnt.known["aa"].1, 1.0);
        assert!((learnt.known["bb"].1 - ((4.0_f64 / 3.0).ln() + 1.0)).abs() < 1e-15);
    }
}

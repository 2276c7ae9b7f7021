//! BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond") over lower-cased words,
//! without stemming. Exact: every passage is scored.

use super::text::words;
use std::collections::HashMap;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An inverted index.
#[derive(Debug)]
pub(super) struct Bm25 {
    /// Word to the passages that hold it, with the word's whole contribution to the score there.
    postings: HashMap<String, Vec<(usize, f64)>>,
    passages: usize,
}

impl Bm25 {
    /// Indexes texts.
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut counts: HashMap<String, Vec<(usize, f64)>> = HashMap::new();
        let mut lengths = Vec::new();
        for (passage, text) in texts.enumerate() {
            let mut length = 0.0;
            for word in words(text) {
                length += 1.0;
                let entries = counts.entry(word).or_default();
                match entries.last_mut() {
                    Some((last, count)) if *last == passage => *count += 1.0,
                    _ => entries.push((passage, 1.0)),
                }
            }
            lengths.push(length);
        }
        let n = lengths.len() as f64;
        let mean = (lengths.iter().sum::<f64>() / n.max(1.0)).max(f64::MIN_POSITIVE);
        for entries in counts.values_mut() {
            let df = entries.len() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).ln();
            for (passage, weight) in entries {
                let tf = *weight;
                *weight = idf * tf * (K1 + 1.0) / (tf + K1 * (1.0 - B + B * lengths[*passage] / mean));
            }
        }
        Self { postings: counts, passages: lengths.len() }
    }

    /// The score of every passage. A word that the query repeats counts each time.
    pub(super) fn scores(&self, query: &str) -> Vec<f64> {
        let mut scores = vec![0.0; self.passages];
        for word in words(query) {
            for &(passage, weight) in self.postings.get(&word).map_or(&[][..], Vec::as_slice) {
                scores[passage] += weight;
            }
        }
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_the_formula() {
        let index = Bm25::new(["reset password password", "printer", "password of a printer now"].into_iter());
        // n = 3, mean length 3; "password": df 2, tf 2 of 3 words in the first, 1 of 5 in the third.
        let idf = (1.0_f64 + 1.5 / 2.5).ln();
        let first = idf * 2.0 * 2.2 / (2.0 + 1.2);
        let third = idf * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * 5.0 / 3.0));
        let scores = index.scores("Password?");
        assert!((scores[0] - first).abs() < 1e-12 && scores[1] == 0.0 && (scores[2] - third).abs() < 1e-12);
    }

    #[test]
    fn unknown_words_and_empty_texts_score_nothing() {
        let index = Bm25::new(["", "a"].into_iter());
        assert_eq!(index.scores("zebra"), [0.0, 0.0]);
        assert_eq!(index.scores(""), [0.0, 0.0]);
        assert!(Bm25::new([].into_iter()).scores("a").is_empty());
    }
}

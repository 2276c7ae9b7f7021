//! BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond"). Exact: every passage that holds
//! a word of the query is scored.

use super::strings::Strings;
use super::terms::{Analysis, stemmer, tokens};
use crate::error::{Context, Result, ensure};
use std::collections::HashMap;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// An inverted index: for each term, in alphabetical order, the passages that hold it and how often.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bm25 {
    pub(super) analysis: Analysis,
    pub(super) terms: Strings,
    /// Where each term's postings end.
    pub(super) ends: Vec<u32>,
    /// The passages, in order within a term.
    pub(super) passages: Vec<u32>,
    /// How often each of them holds the term; 65,535 stands for more, where BM25 no longer tells the difference.
    pub(super) counts: Vec<u16>,
    /// Terms of each passage.
    pub(super) lengths: Vec<u32>,
    /// For each passage, what its length adds to a term's count in the formula.
    norms: Vec<f64>,
}

/// The scores of one query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LexicalScores {
    /// One score per passage.
    pub(super) scores: Vec<f64>,
    /// What a passage could not exceed that repeats every known term of the query without end.
    pub(super) ceiling: f64,
}

impl Bm25 {
    /// Indexes passages, each as its title and its text: the title's terms count beside the text's own.
    pub(super) fn new<'a>(analysis: Analysis, passages: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        const NO_TERM: u32 = u32::MAX;
        let stemmer = stemmer();
        let mut term_of_word: HashMap<String, u32> = HashMap::new();
        let mut ids: HashMap<String, u32> = HashMap::new();
        // Passage by passage first: the terms of all passages, with their counts.
        let (mut held, mut ends, mut lengths) = (Vec::<(u32, u16)>::new(), Vec::<u32>::new(), Vec::new());
        let mut own: Vec<u32> = Vec::new();
        for (title, text) in passages {
            own.clear();
            for word in tokens(title).chain(tokens(text)) {
                let id = if let Some(&id) = term_of_word.get(&word) {
                    id
                } else {
                    let next = ids.len() as u32;
                    let term = analysis.term(&stemmer, &word);
                    let id = term.map_or(NO_TERM, |term| *ids.entry(term).or_insert(next));
                    term_of_word.insert(word, id);
                    id
                };
                if id != NO_TERM {
                    own.push(id);
                }
            }
            lengths.push(u32::try_from(own.len()).context("a passage has too many words")?);
            own.sort_unstable();
            held.extend(
                own.chunk_by(|a, b| a == b).map(|same| (same[0], u16::try_from(same.len()).unwrap_or(u16::MAX))),
            );
            ends.push(u32::try_from(held.len()).context("the passages hold too many words for one index")?);
        }
        drop(term_of_word);
        let mut sorted: Vec<(String, u32)> = ids.into_iter().collect();
        sorted.sort_unstable();
        let mut rank = vec![0_u32; sorted.len()];
        for (place, (_, id)) in sorted.iter().enumerate() {
            rank[*id as usize] = place as u32;
        }
        let terms: Strings = sorted.iter().map(|(term, _)| term.as_str()).collect();
        let (term_ends, passages, counts) = by_term(&held, &ends, &rank);
        Ok(Self::with_norms(analysis, terms, term_ends, passages, counts, lengths))
    }

    fn with_norms(
        analysis: Analysis,
        terms: Strings,
        ends: Vec<u32>,
        passages: Vec<u32>,
        counts: Vec<u16>,
        lengths: Vec<u32>,
    ) -> Self {
        let total: f64 = lengths.iter().map(|&length| f64::from(length)).sum();
        let mean = (total / lengths.len().max(1) as f64).max(f64::MIN_POSITIVE);
        let norms = lengths.iter().map(|&length| K1 * (1.0 - B + B * f64::from(length) / mean)).collect();
        Self { analysis, terms, ends, passages, counts, lengths, norms }
    }

    /// From the parts of a file, which are checked so that no search can leave them.
    pub(super) fn from_parts(
        analysis: Analysis,
        terms: Strings,
        ends: Vec<u32>,
        passages: Vec<u32>,
        counts: Vec<u16>,
        lengths: Vec<u32>,
    ) -> Result<Self> {
        ensure!(ends.len() == terms.len() && ends.is_sorted(), "the terms' postings are out of order");
        ensure!(ends.last().map_or(0, |&end| end as usize) == passages.len(), "postings are missing");
        ensure!(counts.len() == passages.len(), "the postings' counts are missing");
        ensure!(passages.iter().all(|&p| (p as usize) < lengths.len()), "a posting names a passage that is not there");
        Ok(Self::with_norms(analysis, terms, ends, passages, counts, lengths))
    }

    /// The score of every passage. A term counts once, however often the query repeats it.
    pub(super) fn scores(&self, query: &str) -> LexicalScores {
        let stemmer = stemmer();
        let mut places: Vec<usize> = tokens(query)
            .filter_map(|word| self.analysis.term(&stemmer, &word))
            .filter_map(|term| self.terms.find_sorted(&term))
            .collect();
        places.sort_unstable();
        places.dedup();
        let n = self.lengths.len() as f64;
        let (mut scores, mut ceiling) = (vec![0.0; self.lengths.len()], 0.0);
        for place in places {
            let start = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            let range = start..self.ends[place] as usize;
            let df = range.len() as f64;
            let weight = (1.0 + (n - df + 0.5) / (df + 0.5)).ln() * (K1 + 1.0);
            ceiling += weight;
            for (&passage, &count) in self.passages[range.clone()].iter().zip(&self.counts[range]) {
                let count = f64::from(count);
                scores[passage as usize] += weight * count / (count + self.norms[passage as usize]);
            }
        }
        LexicalScores { scores, ceiling }
    }
}

/// Postings sorted by term, from postings sorted by passage: a counting sort, which needs no third copy.
fn by_term(held: &[(u32, u16)], ends: &[u32], rank: &[u32]) -> (Vec<u32>, Vec<u32>, Vec<u16>) {
    let mut next = vec![0_u32; rank.len()];
    for &(term, _) in held {
        next[rank[term as usize] as usize] += 1;
    }
    let mut sum = 0;
    for place in &mut next {
        let count = *place;
        *place = sum;
        sum += count;
    }
    let (mut passages, mut counts) = (vec![0_u32; held.len()], vec![0_u16; held.len()]);
    let mut start = 0;
    for (passage, &end) in ends.iter().enumerate() {
        for &(term, count) in &held[start..end as usize] {
            let place = &mut next[rank[term as usize] as usize];
            passages[*place as usize] = passage as u32;
            counts[*place as usize] = count;
            *place += 1;
        }
        start = end as usize;
    }
    // Every term's next free place is now where its postings end.
    (next, passages, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(texts: &[&str]) -> Bm25 {
        Bm25::new(Analysis::Plain, texts.iter().map(|text| ("", *text))).expect("an index")
    }

    #[test]
    fn scores_are_those_of_the_formula() {
        let index = index(&["reset password password", "printer", "password of a printer now"]);
        // n = 3, mean length 3; "password": df 2, tf 2 of 3 words in the first, 1 of 5 in the third.
        let idf = (1.0_f64 + 1.5 / 2.5).ln();
        let first = idf * 2.0 * 2.2 / (2.0 + 1.2);
        let third = idf * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * 5.0 / 3.0));
        let found = index.scores("Password? password!");
        assert!((found.scores[0] - first).abs() < 1e-12 && (found.scores[2] - third).abs() < 1e-12);
        assert_eq!(found.scores[1], 0.0);
        assert!((found.ceiling - idf * 2.2).abs() < 1e-12);
    }

    #[test]
    fn the_title_counts_beside_the_text() {
        let index =
            Bm25::new(Analysis::English, [("Printers", "jam"), ("", "jam a printer")].into_iter()).expect("an index");
        let scores = index.scores("printing printer").scores;
        assert_eq!(scores[0], scores[1]);
        assert!(scores[0] > 0.0);
    }

    #[test]
    fn unknown_words_and_empty_texts_score_nothing() {
        let index = index(&["", "a"]);
        assert_eq!(index.scores("zebra"), LexicalScores { scores: vec![0.0, 0.0], ceiling: 0.0 });
        assert_eq!(index.scores("").scores, [0.0, 0.0]);
        assert!(super::Bm25::new(Analysis::Plain, std::iter::empty()).expect("an index").scores("a").scores.is_empty());
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        let whole = index(&["a b", "b"]);
        let from = |ends: &[u32], passages: &[u32], counts: &[u16], lengths: &[u32]| {
            let Bm25 { analysis, terms, .. } = whole.clone();
            Bm25::from_parts(analysis, terms, ends.into(), passages.into(), counts.into(), lengths.into())
        };
        assert_eq!(from(&[1, 3], &[0, 0, 1], &[1, 1, 1], &[2, 1]).expect("the same"), whole);
        assert!(from(&[1, 4], &[0, 0, 1], &[1, 1, 1], &[2, 1]).is_err());
        assert!(from(&[3, 1], &[0, 0, 1], &[1, 1, 1], &[2, 1]).is_err());
        assert!(from(&[1, 3], &[0, 0, 2], &[1, 1, 1], &[2, 1]).is_err());
        assert!(from(&[1, 3], &[0, 0, 1], &[1, 1], &[2, 1]).is_err());
        assert!(from(&[3], &[0, 0, 1], &[1, 1, 1], &[2, 1]).is_err());
    }
}

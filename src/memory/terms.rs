//! How text becomes the terms that the lexical index counts.

use super::text::words;
use rust_stemmers::{Algorithm, Stemmer};
use serde::{Deserialize, Serialize};

/// English words that carry no topic: articles, pronouns, prepositions, auxiliaries and the words that questions begin with,
/// with what is left of contractions. Without them a question's form would decide which passages are found.
const FUNCTION_WORDS: [&str; 103] = [
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been",
    "before", "being", "but", "by", "can", "could", "d", "did", "do", "does", "doing", "for", "from", "had", "has",
    "have", "having", "he", "her", "here", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just",
    "ll", "m", "may", "me", "might", "must", "my", "no", "not", "of", "on", "or", "our", "out", "re", "s", "shall",
    "she", "should", "so", "some", "such", "t", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "this", "those", "to", "too", "us", "ve", "very", "was", "we", "were", "what", "when", "where", "which",
    "while", "who", "whom", "whose", "why", "will", "with", "would", "you", "your", "yours",
];

/// The treatment of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Analysis {
    /// Lower-cased words as they stand.
    Plain,
    /// Without English function words, the others cut to their stem by the Snowball algorithm for English (M. F. Porter,
    /// "Snowball: A language for stemming algorithms"). Words of other languages lose at most an ending that looks English,
    /// in queries and passages alike.
    English,
}

impl Analysis {
    /// Its name in files.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::English => "english",
        }
    }

    /// The term of a lower-cased word; `None` where it does not count.
    pub(super) fn term(self, stemmer: &Stemmer, word: &str) -> Option<String> {
        match self {
            Self::Plain => Some(word.to_owned()),
            Self::English if FUNCTION_WORDS.binary_search(&word).is_ok() => None,
            Self::English => Some(stemmer.stem(word).into_owned()),
        }
    }
}

/// The stemmer that [`Analysis::English`] needs.
pub(super) fn stemmer() -> Stemmer {
    Stemmer::create(Algorithm::English)
}

/// The lower-cased words of a text. Scripts without blanks between words (Han, Hiragana, Katakana, Thai) give every pair of
/// neighbouring characters, as Lucene's CJK analyser does: whole sentences would never match.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = String> {
    words(text).flat_map(|word| if word.chars().any(unspaced) { pairs(&word) } else { vec![word] })
}

fn pairs(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut spaced = String::new();
    let mut run: Vec<char> = Vec::new();
    let flush = |run: &mut Vec<char>, found: &mut Vec<String>| {
        match run.as_slice() {
            [] => {}
            [one] => found.push(one.to_string()),
            many => found.extend(many.windows(2).map(|pair| pair.iter().collect::<String>())),
        }
        run.clear();
    };
    for c in word.chars() {
        if unspaced(c) {
            if !spaced.is_empty() {
                found.push(std::mem::take(&mut spaced));
            }
            run.push(c);
        } else {
            flush(&mut run, &mut found);
            spaced.push(c);
        }
    }
    flush(&mut run, &mut found);
    if !spaced.is_empty() {
        found.push(spaced);
    }
    found
}

/// Whether a character belongs to a script that puts no blanks between words.
pub(super) fn unspaced(c: char) -> bool {
    matches!(c, '\u{0e00}'..='\u{0e7f}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(analysis: Analysis, text: &str) -> Vec<String> {
        let stemmer = stemmer();
        tokens(text).filter_map(|word| analysis.term(&stemmer, &word)).collect()
    }

    #[test]
    fn function_words_are_sorted_for_the_search_among_them() {
        assert!(FUNCTION_WORDS.is_sorted());
    }

    #[test]
    fn plain_terms_are_words_and_english_ones_stems_of_what_carries_a_topic() {
        assert_eq!(terms(Analysis::Plain, "How do I reset passwords?"), ["how", "do", "i", "reset", "passwords"]);
        assert_eq!(terms(Analysis::English, "How do I reset passwords?"), ["reset", "password"]);
        assert_eq!(terms(Analysis::English, "printing printers printed"), ["print", "printer", "print"]);
    }

    #[test]
    fn scripts_without_blanks_give_pairs_of_characters() {
        assert_eq!(terms(Analysis::English, "東京駅でWiFi5 猫"), ["東京", "京駅", "駅で", "wifi5", "猫"]);
    }
}

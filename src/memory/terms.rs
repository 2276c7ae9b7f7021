//! How text becomes the terms that the lexical index counts.

use super::text::{is_unspaced, pairs, scripts, words};
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

/// The lower-cased words of a text. Scripts without blanks between words give every pair of neighbouring characters: whole
/// sentences would never match.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = String> {
    words(text).flat_map(|word| {
        if !word.chars().any(is_unspaced) {
            return vec![word];
        }
        let parts = scripts(&word);
        parts.flat_map(|part| if part.chars().all(is_unspaced) { pairs(part) } else { vec![part.to_owned()] }).collect()
    })
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
        for text in ["ສະບາຍດີ", "ភាសាខ្មែរ", "မြန်မာ", "ภาษาไทย"]
        {
            let found = terms(Analysis::English, text);
            assert!(found.len() > 1 && found.iter().all(|term| term.chars().count() <= 2), "{found:?}");
        }
    }
}

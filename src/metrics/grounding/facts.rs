//! What a sentence says, as far as words tell: content words, codes, names, and what is negated.

use crate::memory::text::{composed, is_unspaced, pairs, scripts};
use regex::Regex;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Words that carry no content, courtesy included. Negators are apart.
const EMPTY_WORDS: &str = " a about after again all also am an and any are as at be because been before being both but by \
    can could did do does doing done during each either else etc even ever every few for from further get gets got had \
    has have having he hello help her here hers hey hi him his how however i if in into is it its just kindly know let \
    like may me might more most much must my now of off ok okay on once one only or other our ours out over own please \
    possible really regards same shall she should since so some soon sorry such sure than thank thanks that the their \
    them then there these they this those through thus to too under until up upon us very want was we welcome well were \
    what when where whether which while who whom whose why will with would yes yet you your yours wait glad happy dear \
    understand appreciate patience apologise apologize best kind ";

/// Words that turn what follows into its opposite, also those of some other languages.
const NEGATORS: [&str; 27] = [
    "not", "no", "never", "cannot", "without", "neither", "nor", "none", "unable", "nobody", "nothing", "cant", "dont",
    "nicht", "kein", "keine", "keinen", "nie", "niemals", "ohne", "pas", "jamais", "nunca", "não", "niet", "geen",
    "non",
];

/// Content words that a negator may stand before its object at most, itself excluded.
const REACH: usize = 3;

/// Words are the same when their first letters are, this many: "release" and "released", in any language that inflects at
/// the end.
const STEM: usize = 6;

/// Numbers that are written as words; "one" is rather a pronoun.
const NUMBER_WORDS: [(&str, &str); 28] = [
    ("zero", "0"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
    ("eleven", "11"),
    ("twelve", "12"),
    ("thirteen", "13"),
    ("fourteen", "14"),
    ("fifteen", "15"),
    ("sixteen", "16"),
    ("seventeen", "17"),
    ("eighteen", "18"),
    ("nineteen", "19"),
    ("twenty", "20"),
    ("thirty", "30"),
    ("forty", "40"),
    ("fifty", "50"),
    ("sixty", "60"),
    ("seventy", "70"),
    ("eighty", "80"),
    ("ninety", "90"),
    ("hundred", "100"),
];

/// Marks of citations and of items within a line, which are no numbers of the text: "[2]", "such as 1) …".
static MARKS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[\d{1,3}(?:\s*,\s*\d{1,3})*\]|(?:^|\s)\d{1,2}\)(?:\s|$)").expect("a regular expression")
});

/// What one sentence says.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Stems of the content words, codes included.
    pub(super) content: BTreeSet<String>,
    /// Content words that hold a digit: numbers, dates, versions, ids. They are no stems.
    pub(super) codes: BTreeSet<String>,
    /// Content words written with a capital letter inside the sentence.
    pub(super) names: BTreeSet<String>,
    /// Content words that the sentence negates.
    pub(super) negated: BTreeSet<String>,
}

impl Facts {
    /// Reads a text; of running text pass one sentence, so that a negation ends with it.
    pub(super) fn of(text: &str) -> Self {
        let text = composed(text);
        let text = MARKS.replace_all(&text, " ");
        let mut facts = Self::default();
        // Words left in which a negator still looks for its object.
        let mut negating = 0;
        for (position, (raw, clause_starts)) in tokens(&text).enumerate() {
            if clause_starts {
                negating = 0;
            }
            let lower = raw.to_lowercase().replace('’', "'");
            if NEGATORS.contains(&lower.as_str()) || lower.ends_with("n't") {
                negating = REACH;
                continue;
            }
            if EMPTY_WORDS.contains(&format!(" {lower} ")) {
                negating = usize::saturating_sub(negating, 1);
                continue;
            }
            if lower.chars().any(is_unspaced) {
                facts.content.extend(pairs(&lower));
                continue;
            }
            let word = singular(&lower);
            let word = if word.chars().any(|c| c.is_ascii_digit()) {
                let code = number(&word);
                facts.codes.insert(code.clone());
                code
            } else if let Some((_, digits)) = NUMBER_WORDS.iter().find(|(name, _)| *name == lower) {
                // It answers for the digits, but nobody is held to it: "two ways" may be a count of what a passage lists.
                (*digits).to_owned()
            } else {
                let stem: String = word.chars().take(STEM).collect();
                if position > 0 && raw.chars().next().is_some_and(char::is_uppercase) {
                    facts.names.insert(stem.clone());
                }
                stem
            };
            if negating > 0 {
                facts.negated.insert(word.clone());
                negating = 0;
            }
            facts.content.insert(word);
        }
        facts
    }

    /// Whether the other sentence has numbers in the place of ours: each has one that the other lacks.
    pub(super) fn replaces_codes_of(&self, other: &Self) -> bool {
        let lacks = |a: &Self, b: &Self| a.codes.iter().any(|code| !b.content.contains(code));
        lacks(self, other) && lacks(other, self)
    }

    /// Whether a word that both sentences use is negated in one alone.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        let one_sided = |a: &Self, b: &Self| a.negated.iter().any(|w| b.content.contains(w) && !b.negated.contains(w));
        one_sided(self, other) || one_sided(other, self)
    }
}

/// Runs of letters and digits, joined by marks that stand inside ids, decimals, times, addresses and contractions; each
/// with whether a comma, semicolon or colon stands before it.
fn tokens(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut clause_starts = false;
    text.split_whitespace().flat_map(move |run| {
        let first_starts = std::mem::replace(&mut clause_starts, run.ends_with([',', ';', ':']));
        // A comma or a slash joins digits only: "1,000" and "24/7", but not "laptop/phone".
        let digits = run.chars().any(|c| c.is_ascii_digit());
        let joins =
            move |c: char| matches!(c, '-' | '.' | ':' | '_' | '@' | '\'' | '’') || (digits && matches!(c, ',' | '/'));
        run.split(move |c: char| !(c.is_alphanumeric() || joins(c)))
            .flat_map(scripts)
            .map(|token| token.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|token| !token.is_empty())
            .enumerate()
            .map(move |(i, token)| (token, i == 0 && first_starts))
    })
}

/// A number in one way of writing: "1,000" is "1000", and "1.50" is "1.5". Three digits after a dot may be thousands.
fn number(word: &str) -> String {
    let plain = word.replace(',', "");
    match plain.split_once('.') {
        Some((whole, digits))
            if digits.len() != 3 && whole.bytes().chain(digits.bytes()).all(|byte| byte.is_ascii_digit()) =>
        {
            plain.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => plain,
    }
}

/// The word without a possessive or plural ending.
fn singular(word: &str) -> String {
    let word = word.strip_suffix("'s").unwrap_or(word);
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with(['s', 'u', 'i']) => stem.to_owned(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn codes_and_names_are_told_from_words() {
        let facts = Facts::of("Open ticket KB-104 in the Service Desk before 14:30, e.g. for 1,000 users.");
        assert_eq!(facts.codes, set(&["kb-104", "14:30", "1000"]));
        assert_eq!(facts.names, set(&["servic", "desk"]));
        assert!(facts.content.contains("user"));
    }

    #[test]
    fn marks_of_citations_and_items_are_no_numbers() {
        assert_eq!(Facts::of("Such as 1) a fee of 5 euros, 2) a form.[3] [12, 14]").codes, set(&["5"]));
        assert_eq!(Facts::of("Call (12) or [ab-3].").codes, set(&["12", "ab-3"]));
    }

    #[test]
    fn words_are_compared_by_stem() {
        assert_eq!(Facts::of("released").content, Facts::of("release").content);
        assert_eq!(Facts::of("Verträge").content, Facts::of("Verträgen").content);
    }

    #[test]
    fn numbers_are_compared_however_they_are_written() {
        for (one, other) in [("5", "five"), ("1.5", "1.50"), ("1,000", "1000"), ("３", "3")] {
            assert_eq!(Facts::of(one).content, Facts::of(other).content, "{one}");
        }
        assert_ne!(Facts::of("1.000").content, Facts::of("1").content);
        assert!(Facts::of("five").codes.is_empty());
        let lunch = Facts::of("Lunch costs 20 dollars.");
        assert!(Facts::of("Lunch costs 40 dollars.").replaces_codes_of(&lunch));
        assert!(!Facts::of("Lunch costs 20 dollars at 12:00.").replaces_codes_of(&lunch));
    }

    #[test]
    fn a_script_without_spaces_gives_pairs_of_characters() {
        let facts = Facts::of("東京都は2024年");
        assert_eq!(facts.codes, set(&["2024"]));
        assert_eq!(facts.content, set(&["東京", "京都", "都は", "2024", "年"]));
    }

    #[test]
    fn courtesy_has_no_content() {
        assert!(Facts::of("Please wait, thank you!").content.is_empty());
        assert!(Facts::of("Hello, I am happy to help you.").content.is_empty());
    }

    #[test]
    fn a_negation_on_one_side_contradicts() {
        let rule = Facts::of("Do not share your password with anyone.");
        assert!(Facts::of("You can share your password.").contradicts(&rule));
        assert!(!Facts::of("Never share a password.").contradicts(&rule));
        let steps = Facts::of("Restart the laptop; if that does not help, call the desk.");
        assert!(!Facts::of("Restart the laptop.").contradicts(&steps));
    }
}

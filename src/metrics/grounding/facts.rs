//! What a sentence says, as far as words tell: content words, codes, names, and what is negated.

use std::collections::BTreeSet;

/// Words that carry no content, courtesy included. Negators are apart.
const EMPTY_WORDS: &str = " a about after again all also am an and any are as at be because been before being both but by \
    can could did do does doing done during each either else etc even ever every few for from further get gets got had \
    has have having he hello help her here hers hey hi him his how however i if in into is it its just kindly know let \
    like may me might more most much must my now of off ok okay on once one only or other our ours out over own please \
    possible really regards same shall she should since so some soon sorry such sure than thank thanks that the their \
    them then there these they this those through thus to too under until up upon us very want was we welcome well were \
    what when where whether which while who whom whose why will with would yes yet you your yours wait glad happy dear \
    understand appreciate patience apologise apologize best kind ";

/// Words that turn what follows into its opposite.
const NEGATORS: [&str; 13] = [
    "not", "no", "never", "cannot", "without", "neither", "nor", "none", "unable", "nobody", "nothing", "cant", "dont",
];

/// Content words that a negator may stand before its object at most, itself excluded.
const REACH: usize = 3;

/// What one sentence says.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Lower-cased content words without plural endings.
    pub(super) content: BTreeSet<String>,
    /// Content words that hold a digit: numbers, dates, versions, ids.
    pub(super) codes: BTreeSet<String>,
    /// Content words written with a capital letter inside the sentence.
    pub(super) names: BTreeSet<String>,
    /// Content words that the sentence negates.
    pub(super) negated: BTreeSet<String>,
}

impl Facts {
    /// Reads a text; of running text pass one sentence, so that a negation ends with it.
    pub(super) fn of(text: &str) -> Self {
        let mut facts = Self::default();
        // Words left in which a negator still looks for its object.
        let mut negating = 0;
        for (position, (raw, clause_starts)) in tokens(text).enumerate() {
            if clause_starts {
                negating = 0;
            }
            let lower = raw.to_lowercase().replace('’', "'");
            if NEGATORS.contains(&lower.as_str()) || lower.ends_with("n't") {
                negating = REACH;
                continue;
            }
            let word = singular(&lower);
            if EMPTY_WORDS.contains(&format!(" {lower} ")) {
                negating = usize::saturating_sub(negating, 1);
                continue;
            }
            if word.chars().any(|c| c.is_ascii_digit()) {
                facts.codes.insert(word.clone());
            } else if position > 0 && raw.chars().next().is_some_and(char::is_uppercase) {
                facts.names.insert(word.clone());
            }
            if negating > 0 {
                facts.negated.insert(word.clone());
                negating = 0;
            }
            facts.content.insert(word);
        }
        facts
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
            .map(|token| token.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|token| !token.is_empty())
            .enumerate()
            .map(move |(i, token)| (token, i == 0 && first_starts))
    })
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
        assert_eq!(facts.codes, set(&["kb-104", "14:30", "1,000"]));
        assert_eq!(facts.names, set(&["service", "desk"]));
        assert!(facts.content.contains("user"));
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

//! Placeholders in the place of values, and the values back in theirs.

use super::personal::placeholder_word;
use super::{Finding, personal_data};
use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

/// Redaction rounds at most: text that closes up around a replaced part can show something new, once or twice.
const ROUNDS: usize = 8;

static PLACEHOLDER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\[[A-Z][A-Z_]{0,30}_[0-9]{1,9}\]").ok());

/// The values of one conversation and what stands for them: the same value has the same placeholder in every text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    placeholders: BTreeMap<String, String>,
    counts: HashMap<String, usize>,
    /// Placeholders that the texts held before anything was redacted.
    taken: HashSet<String>,
}

impl Redaction {
    /// A redaction for texts; what looks like a placeholder in them stays itself.
    #[must_use]
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let found = |text: &'a str| PLACEHOLDER.iter().flat_map(move |pattern| pattern.find_iter(text));
        let taken = texts.into_iter().flat_map(found).map(|found| found.as_str().to_owned()).collect();
        Self { taken, ..Self::default() }
    }

    /// Whether no value was replaced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.placeholders.is_empty()
    }

    /// How many placeholders of this redaction stand in a text.
    #[must_use]
    pub fn placeholders_in(&self, text: &str) -> usize {
        let given = |found: &&str| self.placeholders.values().any(|placeholder| placeholder == found);
        let found = PLACEHOLDER.iter().flat_map(|pattern| pattern.find_iter(text)).map(|found| found.as_str());
        found.filter(given).count()
    }

    /// The text with placeholders such as `[EMAIL_1]` in the place of chosen findings, of other occurrences of their values,
    /// and of values that were replaced before.
    pub fn redact(&mut self, text: &str, chosen: impl Fn(&Finding) -> bool) -> String {
        let mut redacted = text.to_owned();
        for _ in 0..ROUNDS {
            let found: Vec<Finding> = personal_data(&redacted).into_iter().filter(|f| chosen(f)).collect();
            if found.is_empty() {
                break;
            }
            redacted = self.replace(&redacted, &found);
        }
        self.conceal(&redacted)
    }

    /// The text with every value that was replaced before replaced here too, as far as it stands alone.
    #[must_use]
    pub fn conceal(&self, text: &str) -> String {
        let values: Vec<&String> = self.placeholders.keys().collect();
        let built = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&values);
        let (Ok(searcher), false) = (built, values.is_empty()) else { return text.to_owned() };
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let mut concealed = String::with_capacity(text.len());
        let mut done = 0;
        for hit in searcher.find_iter(text) {
            let value = &text[hit.range()];
            let led = value.starts_with(joins) && text[..hit.start()].ends_with(joins);
            let followed = value.ends_with(joins) && text[hit.end()..].starts_with(joins);
            if let (false, false, Some(placeholder)) = (led, followed, self.placeholders.get(value)) {
                concealed.push_str(&text[done..hit.start()]);
                concealed.push_str(placeholder);
                done = hit.end();
            }
        }
        concealed.push_str(&text[done..]);
        concealed
    }

    /// The text with the values in the place of their placeholders. Within a string of JSON a value is written as JSON writes
    /// it.
    #[must_use]
    pub fn restore(&self, text: &str) -> String {
        let values: HashMap<&str, &str> =
            self.placeholders.iter().map(|(value, p)| (p.as_str(), value.as_str())).collect();
        let Some(pattern) = PLACEHOLDER.as_ref().filter(|_| !values.is_empty()) else { return text.to_owned() };
        let mut restored = text.to_owned();
        // A value that was replaced late may hold the placeholder of one that was replaced before it.
        for _ in 0..ROUNDS {
            let strings = JsonStrings::of(&restored);
            let value_of = |groups: &regex::Captures<'_>| {
                let (start, placeholder) = groups.get(0).map_or((0, ""), |found| (found.start(), found.as_str()));
                let value = values.get(placeholder).copied().unwrap_or(placeholder);
                let quoted = serde_json::to_string(value).unwrap_or_default();
                match quoted.get(1..quoted.len().saturating_sub(1)) {
                    Some(escaped) if strings.hold(start) => escaped.to_owned(),
                    _ => value.to_owned(),
                }
            };
            let next = pattern.replace_all(&restored, value_of).into_owned();
            if next == restored {
                break;
            }
            restored = next;
        }
        restored
    }

    fn replace(&mut self, text: &str, findings: &[Finding]) -> String {
        let mut redacted = String::with_capacity(text.len());
        let mut done = 0;
        for finding in findings {
            let (Some(before), Some(value)) = (text.get(done..finding.start), text.get(finding.start..finding.end))
            else {
                continue;
            };
            redacted.push_str(before);
            redacted.push_str(self.placeholder(&finding.entity, value));
            done = finding.end;
        }
        redacted.push_str(text.get(done..).unwrap_or_default());
        redacted
    }

    fn placeholder(&mut self, entity: &str, value: &str) -> &str {
        let word = placeholder_word(entity);
        let (counts, taken) = (&mut self.counts, &self.taken);
        self.placeholders.entry(value.to_owned()).or_insert_with(|| {
            let count = counts.entry(word.to_owned()).or_default();
            loop {
                *count += 1;
                let placeholder = format!("[{word}_{count}]");
                if !taken.contains(&placeholder) {
                    return placeholder;
                }
            }
        })
    }
}

/// The strings of a text that is JSON, or JSON in a fence.
struct JsonStrings {
    /// Where the quotes stand that begin and end them, in turn.
    quotes: Vec<usize>,
}

impl JsonStrings {
    fn of(text: &str) -> Self {
        let begins = text.trim_start();
        let json = begins.starts_with(['{', '[']) || begins.starts_with("```");
        let mut quotes = Vec::new();
        let mut escaped = false;
        for (place, byte) in text.bytes().enumerate().filter(|_| json) {
            if byte == b'"' && !escaped {
                quotes.push(place);
            }
            escaped = byte == b'\\' && !escaped;
        }
        Self { quotes }
    }

    fn hold(&self, place: usize) -> bool {
        !self.quotes.partition_point(|&quote| quote < place).is_multiple_of(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_within_a_string_of_json_a_value_is_escaped() {
        for text in ["`password: aB3$x\\", "[note] password=a\\b9!x \"quoted\"", "{password: aB3$x\\"] {
            let mut redaction = Redaction::of([text]);
            let redacted = redaction.redact(text, |_| true);
            assert!(redacted.contains("[PASSWORD_1]"), "{redacted}");
            assert_eq!(redaction.restore(&redacted), text);
        }
    }

    #[test]
    fn a_value_has_one_placeholder_in_all_texts_and_returns_into_the_answer() {
        let texts = ["Mail a@b.de or c@d.de", "a@b.de again, and IBAN DE89 3704 0044 0532 0130 00"];
        let mut redaction = Redaction::of(texts);
        assert_eq!(redaction.redact(texts[0], |_| true), "Mail [EMAIL_1] or [EMAIL_2]");
        assert_eq!(redaction.redact(texts[1], |_| true), "[EMAIL_1] again, and IBAN [IBAN_1]");
        assert_eq!(redaction.restore("I wrote to [EMAIL_2], not [EMAIL_9]."), "I wrote to c@d.de, not [EMAIL_9].");
        assert_eq!(redaction.conceal("to c@d.de"), "to [EMAIL_2]");
    }

    #[test]
    fn what_looked_like_a_placeholder_before_stays_itself() {
        let text = "[EMAIL_1] is what I see instead of a@b.de";
        let mut redaction = Redaction::of([text]);
        let redacted = redaction.redact(text, |_| true);
        assert_eq!(redacted, "[EMAIL_1] is what I see instead of [EMAIL_2]");
        assert_eq!(redaction.restore(&redacted), text);
    }

    #[test]
    fn only_chosen_findings_are_replaced() {
        let mut redaction = Redaction::default();
        let text = "a@b.de or +49 30 901820";
        assert_eq!(redaction.redact(text, |f| f.entity == "PHONE_NUMBER"), "a@b.de or [PHONE_1]");
    }

    #[test]
    fn a_value_in_json_is_written_as_json_writes_it() {
        let mut redaction = Redaction::default();
        let _ = redaction.redact("password=a\\b9!x", |_| true);
        let answer = redaction.restore(r#"{"answer": "use [PASSWORD_1]"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["answer"], "use a\\b9!x");
    }
}

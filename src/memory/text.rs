//! Words and sentences.

use std::borrow::Cow;
use unicode_normalization_alignments::UnicodeNormalization;

/// Abbreviations that end in a dot inside a sentence, whatever follows.
const ABBREVIATIONS: [&str; 21] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "approx", "ca", "cf", "fig", "dept", "ext", "tel", "incl", "min",
    "max", "resp", "z.b", "d.h", "bzw",
];

/// Abbreviations that are words at the end of a sentence and abbreviations before a number.
const BEFORE_NUMBERS: [&str; 6] = ["no", "nos", "nr", "p", "v", "art"];

/// Lower-cased runs of letters and digits, in order.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    let text = composed(text);
    let runs = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty());
    runs.map(str::to_lowercase).collect::<Vec<_>>().into_iter()
}

/// A text in Unicode's normal form KC: what looks the same is written with the same characters.
pub(crate) fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.nfkc().map(|(c, _)| c).collect()) }
}

/// Whether a character belongs to a script that puts no blanks between words: Thai, Lao, Myanmar, Khmer, kana, Han.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// The parts of a run in scripts with and without blanks: "2024年" is a number and a word.
pub(crate) fn scripts(run: &str) -> impl Iterator<Item = &str> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let kind = is_unspaced(first);
        let end = rest.find(|c| is_unspaced(c) != kind).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}

/// Pairs of neighbouring characters, the words of a script without blanks, as Lucene's CJK analyser has them.
pub(crate) fn pairs(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.windows(chars.len().min(2)).map(|pair| pair.iter().collect()).collect()
}

/// The sentences of a text, white space collapsed, list markers and heading marks removed.
///
/// Blank lines, list items and headings end a sentence without punctuation. A dot does not where it belongs to a
/// decimal, an id, an abbreviation or an initial, or where the text goes on in lower case.
pub(crate) fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in blocks(text) {
        split_block(&block, &mut found);
    }
    found
}

/// Lines joined to blocks of running text.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim();
        let (body, starts, ends) = match marker(line) {
            Some(Marker::Heading(body)) => (body, true, true),
            Some(Marker::Item(body)) => (body, true, false),
            None => (line, false, line.is_empty()),
        };
        if !body.is_empty() {
            match blocks.last_mut() {
                Some(block) if open && !starts => {
                    block.push(' ');
                    block.push_str(body);
                }
                _ => blocks.push(body.to_owned()),
            }
        }
        open = !ends;
    }
    blocks.into_iter().map(|block| block.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

enum Marker<'a> {
    Heading(&'a str),
    Item(&'a str),
}

/// What follows a heading's or a list item's mark.
fn marker(line: &str) -> Option<Marker<'_>> {
    let rest = line.trim_start_matches('#');
    if rest.len() < line.len() && rest.starts_with(' ') {
        return Some(Marker::Heading(rest.trim()));
    }
    if let Some(rest) = line.strip_prefix(['-', '*', '+', '•']).filter(|rest| rest.starts_with(' ')) {
        return Some(Marker::Item(rest.trim()));
    }
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = line.len() - rest.len();
    let rest = rest.strip_prefix(['.', ')']).filter(|rest| rest.starts_with(' '))?;
    (1..=2).contains(&digits).then(|| Marker::Item(rest.trim()))
}

fn split_block(block: &str, found: &mut Vec<String>) {
    let mut start = 0;
    let mut chars = block.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !is_terminator(c) {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some(&(next, c)) = chars.peek().filter(|(_, c)| is_terminator(*c) || is_closer(*c)) {
            end = next + c.len_utf8();
            chars.next();
        }
        let rest = &block[end..];
        let wide = matches!(c, '。' | '！' | '？');
        if !wide && (!rest.starts_with(' ') || (c == '.' && continues(&block[start..at], rest.trim_start()))) {
            continue;
        }
        push(&block[start..end], found);
        start = end;
    }
    push(&block[start..], found);
}

fn push(sentence: &str, found: &mut Vec<String>) {
    let sentence = sentence.trim();
    if sentence.chars().any(char::is_alphanumeric) {
        found.push(sentence.to_owned());
    }
}

fn is_terminator(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…' | '。' | '！' | '？')
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '*' | '_' | '`')
}

/// Whether a dot between `before` and `after` does not end the sentence.
fn continues(before: &str, after: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | '"' | '“')).next().unwrap_or("");
    let word = word.to_lowercase();
    let next = after.chars().next();
    next.is_some_and(char::is_lowercase)
        || ABBREVIATIONS.contains(&word.as_str())
        || matches!(word.as_str(), "e.g" | "i.e" | "eg" | "ie")
        || (word.chars().count() == 1 && word.chars().all(char::is_alphabetic) && word != "i")
        || (BEFORE_NUMBERS.contains(&word.as_str()) && next.is_some_and(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentences_end_where_a_reader_would_end_them() {
        let cases: [(&str, &[&str]); 9] = [
            ("Restart it. Then call us!", &["Restart it.", "Then call us!"]),
            ("Use version 2.5.1 of KB-12.3 now. Done.", &["Use version 2.5.1 of KB-12.3 now.", "Done."]),
            ("Ask Dr. Weber, e.g. by mail. OK?", &["Ask Dr. Weber, e.g. by mail.", "OK?"]),
            ("See No. 5 first. The answer is no. Try again.", &["See No. 5 first.", "The answer is no.", "Try again."]),
            ("A line that\nwraps on. Next.", &["A line that wraps on.", "Next."]),
            ("# Head\nBody text\n\nMore", &["Head", "Body text", "More"]),
            ("1. Open it\n2. Close it", &["Open it", "Close it"]),
            ("He said \"stop.\" Then left.", &["He said \"stop.\"", "Then left."]),
            ("... !!! ?", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(sentences(text), expected, "{text:?}");
        }
    }

    #[test]
    fn words_are_lower_cased_runs_of_letters_and_digits() {
        assert_eq!(words("VPN-Client v2: Straße!").collect::<Vec<_>>(), ["vpn", "client", "v2", "straße"]);
    }

    #[test]
    fn what_looks_the_same_is_the_same_word() {
        assert_eq!(words("Cafe\u{301} ﬁle").collect::<Vec<_>>(), ["café", "file"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        // It begins with a letter: a number and a dot at the beginning would be the marker of a list, which is no word.
        fn no_word_of_running_text_is_lost(text in "[a-zA-Z][a-zA-Z0-9 .!?,é。\"]{0,80}") {
            let joined = sentences(&text).join(" ");
            prop_assert_eq!(words(&joined).collect::<Vec<_>>(), words(&text).collect::<Vec<_>>());
        }

        #[test]
        fn any_text_splits_without_panic(text in any::<String>()) {
            for sentence in sentences(&text) {
                prop_assert!(!sentence.is_empty());
            }
        }
    }
}

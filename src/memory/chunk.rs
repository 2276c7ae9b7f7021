//! Articles cut into passages, and passages into windows that fit the sentence encoder.

use super::text::{is_unspaced, sentences};

/// Words of a piece at most, where it must fit the sentence encoder, which reads 256 word pieces: English has about 1.3 of
/// them a word.
pub const ENCODER_WORDS: usize = 180;
/// A sentence of up to so many words is repeated at the beginning of the next piece where a paragraph is cut.
const OVERLAP_WORDS: usize = 40;
/// Characters that count as one word: a longer run without blanks counts as several.
const WORD_CHARS: usize = 12;

/// What the encoder reads of a passage: the passage from its beginning, as far as the encoder reads, and of one that does not
/// fit its pieces too, each with the title before it.
pub(crate) fn windows(title: &str, text: &str) -> Vec<String> {
    let pieces = cut(text, ENCODER_WORDS);
    let parts = if pieces.len() > 1 { pieces.as_slice() } else { &[] };
    std::iter::once(text.trim()).chain(parts.iter().map(String::as_str)).map(|part| titled(title, part)).collect()
}

/// The title, unless the text begins with it, and the text.
fn titled(title: &str, text: &str) -> String {
    if title.is_empty() || text.starts_with(title) { text.to_owned() } else { format!("{title}\n{text}") }
}

/// Pieces of a text of up to `most` words each; no word is lost. A text that fits stays as it is; a longer one is cut at
/// headings, a section that is too long at paragraphs, a paragraph at sentences, a sentence at words. Where a paragraph is cut,
/// the next piece begins with the sentence before the cut.
pub(super) fn cut(text: &str, most: usize) -> Vec<String> {
    let text = text.trim();
    if count(text) <= most {
        return vec![text.to_owned()];
    }
    let mut units = Vec::new();
    for section in sections(text) {
        if count(&section) <= most {
            units.push(Unit { text: section, goes_on: false });
            continue;
        }
        for paragraph in paragraphs(&section) {
            if count(&paragraph) <= most {
                units.push(Unit { text: paragraph, goes_on: false });
                continue;
            }
            let mut goes_on = false;
            for sentence in sentences(&paragraph) {
                for text in runs(&sentence, most) {
                    units.push(Unit { text, goes_on });
                    goes_on = true;
                }
            }
        }
    }
    pack(units, most)
}

/// What stays together.
struct Unit {
    text: String,
    /// Whether it goes on in the paragraph of the unit before it.
    goes_on: bool,
}

/// Sections, each from its heading to the next. Lines in a fenced block are no headings.
fn sections(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut fenced, mut only_headings) = (false, true);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let heading = !fenced && line.starts_with('#');
        match found.last_mut() {
            Some(section) if !heading || only_headings => {
                section.push('\n');
                section.push_str(line);
            }
            _ => found.push(line.to_owned()),
        }
        only_headings = heading || (only_headings && line.trim().is_empty());
    }
    found.iter().map(|section| section.trim().to_owned()).filter(|section| !section.is_empty()).collect()
}

/// Paragraphs, a heading kept with what follows it.
fn paragraphs(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut current = String::new();
    let mut heading = false;
    for line in text.lines() {
        if line.trim().is_empty() {
            if !current.is_empty() && !heading {
                found.push(std::mem::take(&mut current));
            }
            continue;
        }
        heading = line.starts_with('#');
        if !current.is_empty() {
            current.push('\n');
        }
        current.push_str(line);
    }
    if !current.is_empty() {
        found.push(current);
    }
    found
}

/// A sentence in runs of words that fit; a word that does not fit is cut itself.
fn runs(sentence: &str, most: usize) -> Vec<String> {
    if count(sentence) <= most {
        return vec![sentence.to_owned()];
    }
    let mut found: Vec<String> = Vec::new();
    let mut room = 0;
    for word in sentence.split_whitespace() {
        let mut rest = word;
        let mut begins = true;
        while !rest.is_empty() {
            let part = rest.get(..prefix(rest, most)).unwrap_or(rest);
            rest = rest.get(part.len()..).unwrap_or_default();
            let size = count(part);
            match found.last_mut() {
                Some(last) if size <= room => {
                    if begins {
                        last.push(' ');
                    }
                    last.push_str(part);
                    room -= size;
                }
                _ => {
                    found.push(part.to_owned());
                    room = most.saturating_sub(size);
                }
            }
            begins = false;
        }
    }
    found
}

/// Bytes of the longest beginning of a run without blanks that counts as at most `most` words.
fn prefix(run: &str, most: usize) -> usize {
    let mut size = Size::default();
    for (at, c) in run.char_indices() {
        size.add(c);
        if at > 0 && size.words() > most {
            return at;
        }
    }
    run.len()
}

/// Units joined as long as they fit.
fn pack(units: Vec<Unit>, most: usize) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut room = 0;
    let mut before = String::new();
    for unit in units {
        let words = count(&unit.text);
        match found.last_mut() {
            Some(last) if words <= room => {
                last.push_str(if unit.goes_on { " " } else { "\n\n" });
                last.push_str(&unit.text);
                room -= words;
            }
            _ => {
                let repeated = count(&before);
                let repeats = unit.goes_on && repeated <= OVERLAP_WORDS && repeated + words <= most;
                let used = if repeats { repeated + words } else { words };
                found.push(if repeats { format!("{before} {}", unit.text) } else { unit.text.clone() });
                room = most.saturating_sub(used);
            }
        }
        before = unit.text;
    }
    found
}

/// The words of a text: runs without blanks, where one that is long counts as several, and a character of a script
/// without blanks as a word.
fn count(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| {
            let mut size = Size::default();
            word.chars().for_each(|c| size.add(c));
            size.words()
        })
        .sum()
}

#[derive(Default)]
struct Size {
    spaced: usize,
    unspaced: usize,
}

impl Size {
    fn add(&mut self, c: char) {
        if is_unspaced(c) {
            self.unspaced += 1;
        } else {
            self.spaced += 1;
        }
    }

    fn words(&self) -> usize {
        self.unspaced + self.spaced.div_ceil(WORD_CHARS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_article_is_one_passage_with_its_text_unchanged() {
        assert_eq!(cut(" One.\n\n- two\n- three\n", ENCODER_WORDS), ["One.\n\n- two\n- three"]);
        assert_eq!(windows("VPN", "One."), ["VPN\nOne."]);
        assert_eq!(windows("VPN", "VPN is one."), ["VPN is one."]);
        let long = "A sentence of five words. ".repeat(60);
        let found = windows("VPN", &long);
        assert_eq!((found.len(), found[0].as_str()), (3, format!("VPN\n{}", long.trim()).as_str()));
        assert!(found[2].starts_with("VPN\nA sentence") && found[2].len() < found[1].len());
    }

    #[test]
    fn a_long_article_is_cut_at_headings_and_a_heading_stays_with_its_text() {
        let text = format!("{}\n\n## Second\n\n{}\n\n{}", "one ".repeat(100), "two ".repeat(60), "three ".repeat(60));
        let found = cut(&text, ENCODER_WORDS);
        assert_eq!(found.len(), 2);
        assert!(found[1].starts_with("## Second\n\ntwo") && found[1].ends_with("three"), "{:?}", found[1]);
    }

    #[test]
    fn a_cut_paragraph_goes_on_with_the_sentence_before_the_cut() {
        let sentences: Vec<String> = (0..30).map(|n| format!("Sentence {n} has just eight words in it.")).collect();
        let found = cut(&sentences.join(" "), 80);
        assert!(found.len() > 3);
        for pair in found.windows(2) {
            let last =
                sentences.iter().rev().find(|sentence| pair[0].ends_with(sentence.as_str())).expect("a sentence");
            assert!(pair[1].starts_with(last.as_str()), "{pair:?}");
        }
    }

    #[test]
    fn a_run_without_blanks_is_cut_too() {
        let found = cut(&"x".repeat(100_000), ENCODER_WORDS);
        assert!(found.iter().all(|piece| count(piece) <= ENCODER_WORDS));
        assert_eq!(found.concat().len(), 100_000);
        let found = cut(&"日本語。".repeat(500), ENCODER_WORDS);
        assert!(found.len() > 10 && found.iter().all(|piece| count(piece) <= ENCODER_WORDS));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_passage_fits_and_no_word_is_lost(paragraphs in prop::collection::vec(1_usize..500, 0..6), most in 20_usize..200) {
            let text = paragraphs.iter().map(|n| "word ".repeat(*n)).collect::<Vec<_>>().join("\n\n");
            let found = cut(&text, most);
            prop_assert!(found.iter().all(|piece| count(piece) <= most));
            prop_assert!(found.iter().map(|piece| count(piece)).sum::<usize>() >= paragraphs.iter().sum::<usize>());
        }

        #[test]
        fn any_text_is_cut_without_panic_and_keeps_its_letters(text: String, most in 1_usize..5) {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).count();
            let found = cut(&text, most);
            prop_assert!(found.iter().map(|piece| letters(piece)).sum::<usize>() >= letters(&text));
        }
    }
}

//! Articles cut into passages that fit the sentence encoder.

use super::text::sentences;
use crate::task::Article;

/// Words of a passage at most. The encoder reads 256 word pieces; English has about 1.3 of them a word.
const MAX_WORDS: usize = 180;

/// A part of an article.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chunk {
    /// The article's id.
    pub(super) id: String,
    /// The article's title.
    pub(super) title: String,
    /// The text.
    pub(super) text: String,
}

impl Chunk {
    /// What is indexed and counted: the title, unless the text begins with it, and the text.
    pub(super) fn full_text(&self) -> String {
        if self.title.is_empty() || self.text.starts_with(&self.title) {
            self.text.clone()
        } else {
            format!("{}\n{}", self.title, self.text)
        }
    }
}

/// The passages of articles, in order. An article that fits is one passage with its text unchanged; a longer one is cut
/// at paragraphs, a paragraph that is too long at sentences, a sentence that is too long at words.
pub(super) fn chunks(articles: &[Article]) -> Vec<Chunk> {
    let mut found = Vec::new();
    for article in articles {
        for text in pieces(&article.text) {
            found.push(Chunk { id: article.id.clone(), title: article.title.clone(), text });
        }
    }
    found
}

fn pieces(text: &str) -> Vec<String> {
    let text = text.trim();
    if count(text) <= MAX_WORDS {
        return vec![text.to_owned()];
    }
    let mut units = Vec::new();
    for paragraph in paragraphs(text) {
        if count(&paragraph) <= MAX_WORDS {
            units.push((paragraph, "\n\n"));
            continue;
        }
        let mut separator = "\n\n";
        for sentence in sentences(&paragraph) {
            for part in sentence.split_whitespace().collect::<Vec<_>>().chunks(MAX_WORDS) {
                units.push((part.join(" "), separator));
                separator = " ";
            }
        }
    }
    pack(units)
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
        if heading && !current.is_empty() && !current.lines().all(|line| line.starts_with('#')) {
            found.push(std::mem::take(&mut current));
        }
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

/// Units joined as long as they fit.
fn pack(units: Vec<(String, &str)>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut room = 0;
    for (unit, separator) in units {
        let words = count(&unit);
        match found.last_mut() {
            Some(last) if words <= room => {
                last.push_str(separator);
                last.push_str(&unit);
                room -= words;
            }
            _ => {
                found.push(unit);
                room = MAX_WORDS.saturating_sub(words);
            }
        }
    }
    found
}

fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn article(text: &str) -> Article {
        Article { id: "kb-1".to_owned(), title: "VPN".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_short_article_is_one_passage_with_its_text_unchanged() {
        let found = chunks(&[article("One.\n\n- two\n- three")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "One.\n\n- two\n- three");
        assert_eq!(found[0].full_text(), "VPN\nOne.\n\n- two\n- three");
    }

    #[test]
    fn a_long_article_is_cut_at_paragraphs_and_a_heading_stays_with_its_text() {
        let text = format!("{}\n\n## Second\n\n{}", "one ".repeat(100), "two ".repeat(100));
        let found = chunks(&[article(&text)]);
        assert_eq!(found.len(), 2);
        assert!(found[1].text.starts_with("## Second\ntwo"), "{:?}", found[1].text);
        assert!(found.iter().all(|chunk| chunk.id == "kb-1"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn every_passage_fits_and_no_word_is_lost(paragraphs in prop::collection::vec(1_usize..500, 0..6)) {
            let text: String =
                paragraphs.iter().enumerate().map(|(i, n)| format!("{}\n\n", format!("w{i} ").repeat(*n))).collect();
            let found = chunks(&[article(&text)]);
            prop_assert!(found.iter().all(|chunk| count(&chunk.text) <= MAX_WORDS));
            prop_assert_eq!(found.iter().map(|chunk| count(&chunk.text)).sum::<usize>(), paragraphs.iter().sum::<usize>());
        }
    }
}

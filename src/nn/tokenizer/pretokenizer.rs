//! How byte-level vocabularies cut a text into words before merging, by the name in `tokenizer.ggml.pre`.
//!
//! The published patterns end in `\s+(?!\S)|\s+`: a run of white space leaves its last character to the word after it.
//! The regex crate has no look-ahead, which is what makes its time linear; so the patterns here match the whole run and
//! [`Stage::split`] gives the last character back.

use crate::error::{Result, bail};
use regex::Regex;

const CONTRACTIONS: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// Words in the style of GPT-4o: a capital letter after a small one begins a new word.
const UPPER: &str = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
const LOWER: &str = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";

/// Cuts texts into words.
pub(super) struct PreTokenizer {
    stages: Vec<Stage>,
    whole_words_first: bool,
}

/// One pattern; each stage works inside the pieces that the one before left.
struct Stage {
    pattern: Regex,
    /// A run of white space that holds a line break belongs to the break up to the last one, and gives nothing back.
    line_breaks_close_runs: bool,
    gives_back: bool,
}

impl PreTokenizer {
    /// The pre-tokenizer of a name in `tokenizer.ggml.pre`.
    ///
    /// An unknown name is an error: any guess would yield ids that look right and are not.
    pub(super) fn new(name: &str) -> Result<Self> {
        let plain = |pattern: &str| Stage::new(pattern, false, false);
        let gpt2 = || Stage::new(GPT2, true, false);
        let newer = |words: &str, digits: &str, symbols_end: &str| {
            let pattern = format!(r"{words}|\p{{N}}{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n{symbols_end}]*|\s*[\r\n]+|\s+");
            Stage::new(&pattern, true, true)
        };
        let simple_words = format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+");
        let cased_words = |suffix: &str| {
            format!(r"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{suffix}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{suffix}")
        };
        let (stages, whole_words_first) = match name {
            "gpt-2" | "gpt2" | "phi-2" | "olmo" | "gigachat" | "mellum" => (vec![gpt2()?], false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" => {
                (vec![plain(r"\p{N}")?, gpt2()?], false)
            }
            // What converters write where they know no better.
            "default" => {
                (vec![plain(r"[\p{P}\$\+<=>\^~\|]+")?, gpt2()?, plain(r"\p{N}+")?, plain("[0-9][0-9][0-9]")?], false)
            }
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" => {
                (vec![newer(&simple_words, "", "")?], false)
            }
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" | "lfm2" => {
                (vec![newer(&simple_words, "{1,3}", "")?], true)
            }
            "smaug-bpe" | "dbrx" => (vec![newer(&simple_words, "{1,3}", "")?], false),
            "tekken" => (vec![newer(&cased_words(""), "", "/")?], true),
            "gpt-4o" | "llama4" => (vec![newer(&cased_words(&format!("{CONTRACTIONS}?")), "{1,3}", "/")?], false),
            other => bail!(
                "tokenizer.ggml.pre is `{other}`, which this version does not know: its ids would be wrong without \
                 notice; take a model whose pre-tokenizer is one of smollm, qwen2, llama-bpe, gpt-2, smaug-bpe, tekken, \
                 gpt-4o, default"
            ),
        };
        Ok(Self { stages, whole_words_first })
    }

    /// Whether a word that is a token is taken whole, without merging.
    pub(super) fn whole_words_first(&self) -> bool {
        self.whole_words_first
    }

    /// The words of a text; together they are the text.
    pub(super) fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut words = vec![text];
        for stage in &self.stages {
            words = words.into_iter().flat_map(|word| stage.split(word)).collect();
        }
        words
    }
}

impl Stage {
    fn new(pattern: &str, gives_back: bool, line_breaks_close_runs: bool) -> Result<Self> {
        Ok(Self { pattern: Regex::new(pattern)?, line_breaks_close_runs, gives_back })
    }

    fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut words = Vec::new();
        let mut at = 0;
        while let Some(found) = self.pattern.find_at(text, at) {
            let end = if self.gives_back { self.give_back(text, found.start(), found.end()) } else { found.end() };
            words.extend([&text[at..found.start()], &text[found.start()..end]].into_iter().filter(|w| !w.is_empty()));
            // No pattern matches the empty text; the guard keeps that from being an endless loop.
            if end == at {
                break;
            }
            at = end;
        }
        words.extend(Some(&text[at..]).filter(|w| !w.is_empty()));
        words
    }

    /// The end of a match, one character earlier where it is a run of white space before something else.
    fn give_back(&self, text: &str, start: usize, end: usize) -> usize {
        let run = &text[start..end];
        let Some(last) = run.chars().next_back() else { return end };
        let keeps = end == text.len()
            || run.len() == last.len_utf8()
            || (self.line_breaks_close_runs && matches!(last, '\r' | '\n'))
            || !last.is_whitespace()
            || !run.chars().all(char::is_whitespace);
        if keeps { end } else { end - last.len_utf8() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        PreTokenizer::new(name).unwrap().split(text)
    }

    #[test]
    fn smollm_takes_digits_one_by_one() {
        assert_eq!(words("smollm", "in 2026  now"), ["in", " ", "2", "0", "2", "6", " ", " now"]);
    }

    #[test]
    fn llama_takes_digits_in_threes_and_qwen_one_by_one() {
        assert_eq!(words("llama-bpe", "a 12345"), ["a", " ", "123", "45"]);
        assert_eq!(words("qwen2", "a 123"), ["a", " ", "1", "2", "3"]);
    }

    #[test]
    fn a_run_of_white_space_leaves_its_last_character_to_the_next_word() {
        assert_eq!(words("gpt-2", "a   b\n\nc  "), ["a", "  ", " b", "\n", "\n", "c", "  "]);
        assert_eq!(words("qwen2", "a   b \n\n  c  "), ["a", "  ", " b", " \n\n", " ", " c", "  "]);
    }

    #[test]
    fn contractions_are_words_of_their_own() {
        assert_eq!(words("gpt-2", "we'll DON'T"), ["we", "'ll", " DON", "'", "T"]);
        assert_eq!(words("qwen2", "we'll DON'T"), ["we", "'ll", " DON", "'T"]);
    }

    #[test]
    fn case_changes_cut_words_for_gpt_4o_and_keep_the_contraction() {
        assert_eq!(words("gpt-4o", "camelCase it's"), ["camel", "Case", " it's"]);
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_so() {
        let error = PreTokenizer::new("klingon").err().unwrap().to_string();
        assert!(error.contains("tokenizer.ggml.pre is `klingon`"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn the_words_together_are_the_text(text in r"[ \t\r\n'aZé1٣日!\u{301}\u{85}]{0,30}") {
            for name in ["gpt-2", "smollm", "default", "qwen2", "llama-bpe", "tekken", "gpt-4o"] {
                let words = words(name, &text);
                proptest::prop_assert_eq!(words.concat(), text.clone(), "{}", name);
            }
        }
    }
}

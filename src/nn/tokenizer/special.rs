//! Special tokens are cut out of a text before anything else looks at it.
//!
//! The longest special token goes first over the whole text, then the next longest over what is left: that is the order
//! in which models were served, and it differs from going left to right where two tokens overlap.

use super::vocabulary::{Kind, Vocabulary};
use std::collections::{BTreeSet, HashMap};

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// A special token.
    Special(u32),
    /// Text between special tokens; never empty.
    Text(&'t str),
}

struct Special {
    text: Box<str>,
    id: u32,
    always: bool,
    strips_right: bool,
}

/// The special tokens of a vocabulary, longest first, with a trie that finds which of them a text contains: vocabularies
/// have thousands, and a text has few.
pub(super) struct Specials {
    tokens: Vec<Special>,
    edges: HashMap<(u32, u8), u32>,
    ends: HashMap<u32, usize>,
    starts: [bool; 256],
}

impl Specials {
    pub(super) fn new(vocabulary: &Vocabulary, sentence_piece: bool) -> Self {
        // Phi-3 was trained with the white space after its special tokens removed, which its GGUF files do not say; its
        // placeholder tokens give it away.
        let phi3 = sentence_piece && vocabulary.id_of("<|placeholder1|>").is_some();
        let mut tokens: Vec<Special> = vocabulary
            .iter()
            .filter(|(_, text, kind)| {
                matches!(kind, Kind::Control | Kind::UserDefined | Kind::Unknown) && !text.is_empty()
            })
            .map(|(id, text, kind)| Special {
                text: text.into(),
                id,
                always: kind == Kind::UserDefined,
                strips_right: phi3 && !matches!(text, "<unk>" | "<s>" | "<|endoftext|>"),
            })
            .collect();
        tokens.sort_by_key(|token| (std::cmp::Reverse(token.text.len()), token.id));

        let mut specials =
            Self { tokens: Vec::new(), edges: HashMap::new(), ends: HashMap::new(), starts: [false; 256] };
        let mut nodes = 1;
        for (index, token) in tokens.iter().enumerate() {
            let mut node = 0;
            for (at, byte) in token.text.bytes().enumerate() {
                if at == 0 {
                    specials.starts[usize::from(byte)] = true;
                }
                node = *specials.edges.entry((node, byte)).or_insert_with(|| {
                    nodes += 1;
                    nodes - 1
                });
            }
            specials.ends.insert(node, index);
        }
        specials.tokens = tokens;
        specials
    }

    /// The parts of a text. Control tokens are recognised when `control` is set, user-defined ones always.
    pub(super) fn split<'t>(&self, text: &'t str, control: bool) -> Vec<Piece<'t>> {
        let mut pieces = if text.is_empty() { Vec::new() } else { vec![Piece::Text(text)] };
        for index in self.found_in(text) {
            let Some(token) = self.tokens.get(index).filter(|token| control || token.always) else { continue };
            pieces = pieces
                .into_iter()
                .flat_map(|piece| match piece {
                    Piece::Text(text) => cut(text, token),
                    special @ Piece::Special(_) => vec![special],
                })
                .collect();
        }
        pieces
    }

    /// Indices of the tokens that occur anywhere, longest token first.
    fn found_in(&self, text: &str) -> BTreeSet<usize> {
        let bytes = text.as_bytes();
        let mut found = BTreeSet::new();
        for (start, &first) in bytes.iter().enumerate() {
            if !self.starts[usize::from(first)] {
                continue;
            }
            let mut node = 0;
            for &byte in &bytes[start..] {
                let Some(&next) = self.edges.get(&(node, byte)) else { break };
                node = next;
                found.extend(self.ends.get(&node));
            }
        }
        found
    }
}

fn cut<'t>(text: &'t str, token: &Special) -> Vec<Piece<'t>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&*token.text) {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.push(Piece::Special(token.id));
        rest = if token.strips_right {
            after.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}')
        } else {
            after
        };
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials(tokens: &[(&str, i32)], sentence_piece: bool) -> Specials {
        let texts = tokens.iter().map(|(text, _)| (*text).to_owned()).collect();
        let types = tokens.iter().map(|(_, kind)| *kind).collect();
        Specials::new(&Vocabulary::new(texts, vec![0.0; tokens.len()], types, sentence_piece).unwrap(), sentence_piece)
    }

    #[test]
    fn the_longer_token_wins_even_where_a_shorter_one_begins_earlier() {
        let specials = specials(&[("<ab", 3), ("b>cd", 3)], false);
        assert_eq!(specials.split("x<ab>cd", true), [Piece::Text("x<a"), Piece::Special(1)]);
    }

    #[test]
    fn control_tokens_are_text_unless_asked_for_and_user_defined_ones_never_are() {
        let specials = specials(&[("<c>", 3), ("<u>", 4)], false);
        assert_eq!(specials.split("<c><u>", false), [Piece::Text("<c>"), Piece::Special(1)]);
        assert_eq!(specials.split("<c><u>", true), [Piece::Special(0), Piece::Special(1)]);
    }

    #[test]
    fn phi3_specials_swallow_the_white_space_after_them() {
        let specials = specials(&[("<|user|>", 3), ("<|placeholder1|>", 3), ("<s>", 3)], true);
        assert_eq!(
            specials.split("<s> <|user|>\n hi", true),
            [Piece::Special(2), Piece::Text(" "), Piece::Special(0), Piece::Text("hi")]
        );
    }
}

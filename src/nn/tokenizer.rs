//! Tokenizers from the vocabulary that a GGUF file carries, or from a `tokenizer.json` (`hub.rs`).
//!
//! GGUF files have two kinds: byte-level BPE (`tokenizer.ggml.model` = `gpt2`) and SentencePiece BPE with scores (`llama`).
//! Both are written here on one merge loop rather than on a tokenizer crate: the ids must equal those that the file's
//! authors measured with, whose rules (which specials match first, what happens to a byte without a token, where a space
//! is put) differ from that crate's; and its regular expressions can abort on long outside input.

mod bytes;
mod file;
mod hub;
mod merge;
mod pretokenizer;
mod special;
mod vocabulary;

use crate::error::{Result, bail};
pub(crate) use file::read as read_file;
use hub::Hub;
use merge::{Merger, Symbol};
use pretokenizer::PreTokenizer;
use special::{Piece, Specials};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use vocabulary::{Kind, Vocabulary};

/// What SentencePiece writes for a space.
const SPM_SPACE: char = '\u{2581}';

/// What a GGUF file says of its tokenizer; fields are named for the keys under `tokenizer.ggml`.
#[derive(Debug, Clone, Default)]
pub struct TokenizerSpec {
    /// `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// The pre-tokenizer of a `gpt2` vocabulary.
    pub pre: String,
    /// The text of every token, by id.
    pub tokens: Vec<String>,
    /// The score of every token: needed by `llama` vocabularies, unused by `gpt2` ones.
    pub scores: Vec<f32>,
    /// The type of every token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. Empty: all normal.
    pub token_types: Vec<i32>,
    /// The merges of a `gpt2` vocabulary, best first.
    pub merges: Vec<String>,
    /// Whether a `llama` vocabulary wants a space before the text.
    pub add_space_prefix: bool,
}

/// A text tokenizer.
pub struct TextTokenizer {
    vocabulary: Vocabulary,
    encoder: Encoder,
    /// Control tokens, each with the same text taken apart by a space.
    controls: Vec<(String, String)>,
    /// Whether tokens are written in the alphabet of byte-level BPE.
    byte_level: bool,
}

enum Encoder {
    Own { specials: Box<Specials>, model: Model },
    Hub(Box<Hub>),
}

enum Model {
    ByteLevel { pre: PreTokenizer, merges: HashMap<(u32, u32), (u32, u32)>, alphabet: Vec<Option<u32>> },
    SentencePiece { add_space_prefix: bool, byte_tokens: Vec<Option<u32>> },
}

impl TextTokenizer {
    /// Builds the tokenizer that a GGUF file describes; an inconsistency names the field at fault.
    pub fn new(spec: TokenizerSpec) -> Result<Self> {
        let TokenizerSpec { model, pre, tokens, scores, token_types, merges, add_space_prefix } = spec;
        let sentence_piece = match model.as_str() {
            "gpt2" => false,
            "llama" => true,
            other => bail!(
                "tokenizer.ggml.model is `{other}`: only `gpt2` (byte-level BPE) and `llama` (SentencePiece) \
                 vocabularies are supported; take another model"
            ),
        };
        let vocabulary = Vocabulary::new(tokens, scores, token_types, sentence_piece)?;
        let specials = Specials::new(&vocabulary, sentence_piece);
        let model = if sentence_piece {
            Model::SentencePiece { add_space_prefix, byte_tokens: byte_tokens(&vocabulary) }
        } else {
            Model::ByteLevel {
                pre: PreTokenizer::new(&pre)?,
                merges: ranks(&vocabulary, &merges)?,
                alphabet: bytes::ALPHABET.iter().map(|c| vocabulary.id_of(c.encode_utf8(&mut [0; 4]))).collect(),
            }
        };
        Ok(Self {
            controls: controls(&vocabulary),
            vocabulary,
            encoder: Encoder::Own { specials: Box::new(specials), model },
            byte_level: !sentence_piece,
        })
    }

    /// Token ids of a text; special tokens written in the text are recognised when `special` is set (user-defined ones
    /// always are).
    ///
    /// A byte for which a `gpt2` vocabulary has no token is left out, as the models' own tokenizers do: such
    /// vocabularies lack a few control characters only.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let (specials, model) = match &self.encoder {
            Encoder::Own { specials, model } => (specials, model),
            Encoder::Hub(hub) => return hub.encode(text, special),
        };
        let mut ids = Vec::new();
        let mut after_special = true;
        for piece in specials.split(text, special) {
            match piece {
                Piece::Special(id) => {
                    ids.push(id);
                    after_special = true;
                }
                Piece::Text(text) => {
                    match model {
                        Model::ByteLevel { pre, merges, alphabet } => {
                            for word in pre.split(text) {
                                self.byte_level_word(word, pre.whole_words_first(), merges, alphabet, &mut ids);
                            }
                        }
                        Model::SentencePiece { add_space_prefix, byte_tokens } => {
                            self.sentence_piece(text, *add_space_prefix && after_special, byte_tokens, &mut ids)?;
                        }
                    }
                    after_special = false;
                }
            }
        }
        Ok(ids)
    }

    /// A text with every control token that is written in it taken apart by a space, so that it is read as text wherever it
    /// stands.
    pub fn without_controls<'t>(&self, text: &'t str) -> Cow<'t, str> {
        // Vocabularies have thousands of them, and most texts hold not even a first byte.
        let mut present = [false; 256];
        text.bytes().for_each(|byte| present[usize::from(byte)] = true);
        let mut text = Cow::Borrowed(text);
        let may_stand = |token: &str| token.bytes().next().is_some_and(|byte| present[usize::from(byte)]);
        for (token, apart) in self.controls.iter().filter(|(token, _)| may_stand(token)) {
            if text.contains(token.as_str()) {
                text = Cow::Owned(text.replace(token.as_str(), apart));
            }
        }
        text
    }

    /// The bytes of one token: empty for control tokens and for ids outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let Some(text) = self.vocabulary.text(id) else { return Vec::new() };
        match (self.vocabulary.kind(id), self.byte_level) {
            (Kind::Control | Kind::Unknown | Kind::Unused, _) => Vec::new(),
            (Kind::UserDefined, _) => text.as_bytes().to_vec(),
            (Kind::Byte, _) => bytes::byte_token(text).map_or_else(|| text.as_bytes().to_vec(), |byte| vec![byte]),
            (Kind::Normal, true) => bytes::decode(text),
            (Kind::Normal, false) => text.replace(SPM_SPACE, " ").into_bytes(),
        }
    }

    /// How many bytes of a text a token stands for at most, where that is known.
    pub(crate) fn longest_token(&self) -> Option<usize> {
        matches!(self.encoder, Encoder::Own { .. }).then(|| self.vocabulary.longest())
    }

    /// Number of tokens.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// The id of a token, by its text as the file writes it.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.vocabulary.id_of(token)
    }

    /// The id of a token that is more than plain text.
    pub(crate) fn special_id_of(&self, token: &str) -> Option<u32> {
        self.id_of(token).filter(|&id| self.vocabulary.kind(id) != Kind::Normal)
    }

    fn byte_level_word(
        &self,
        word: &str,
        whole_words_first: bool,
        merges: &HashMap<(u32, u32), (u32, u32)>,
        alphabet: &[Option<u32>],
        ids: &mut Vec<u32>,
    ) {
        if whole_words_first && let Some(id) = self.vocabulary.id_of(&bytes::encode(word)) {
            ids.push(id);
            return;
        }
        let mut merger = Merger::new(
            word.bytes()
                .enumerate()
                .map(|(at, byte)| Symbol { span: at..at + 1, id: alphabet.get(usize::from(byte)).copied().flatten() }),
        );
        merger.run(|left, right| merges.get(&(left.id?, right.id?)).copied());
        ids.extend(merger.symbols().filter_map(|symbol| symbol.id));
    }

    fn sentence_piece(&self, text: &str, prefix: bool, byte_tokens: &[Option<u32>], ids: &mut Vec<u32>) -> Result<()> {
        let mut escaped = String::with_capacity(text.len() + 4);
        if prefix {
            escaped.push(SPM_SPACE);
        }
        escaped.extend(text.chars().map(|c| if c == ' ' { SPM_SPACE } else { c }));
        let slice = |span: Range<usize>| escaped.get(span).unwrap_or_default();

        let mut merger = Merger::new(escaped.char_indices().map(|(at, c)| {
            let span = at..at + c.len_utf8();
            Symbol { id: self.vocabulary.id_of(slice(span.clone())), span }
        }));
        merger.run(|left, right| {
            let id = self.vocabulary.id_of(slice(left.span.start..right.span.end))?;
            Some((self.vocabulary.rank(id), id))
        });
        for symbol in merger.symbols() {
            if let Some(id) = symbol.id {
                ids.push(id);
                continue;
            }
            for byte in slice(symbol.span.clone()).bytes() {
                match byte_tokens.get(usize::from(byte)).copied().flatten() {
                    Some(id) => ids.push(id),
                    None => bail!(
                        "tokenizer.ggml.tokens has neither a token for the text {:?} nor the byte token <0x{byte:02X}>: \
                         the vocabulary cannot express this text; take another model or remove the text",
                        slice(symbol.span.clone())
                    ),
                }
            }
        }
        Ok(())
    }
}

/// The token of every byte in a SentencePiece vocabulary: `<0xNN>`, else the character itself.
fn byte_tokens(vocabulary: &Vocabulary) -> Vec<Option<u32>> {
    (0..=u8::MAX)
        .map(|byte| {
            let plain = || vocabulary.id_of(char::from(byte).encode_utf8(&mut [0; 4]));
            vocabulary.id_of(&format!("<0x{byte:02X}>")).or_else(|| byte.is_ascii().then(plain).flatten())
        })
        .collect()
}

/// (left id, right id) → (rank, merged id).
fn ranks(vocabulary: &Vocabulary, merges: &[String]) -> Result<HashMap<(u32, u32), (u32, u32)>> {
    let mut ranks = HashMap::with_capacity(merges.len());
    for (rank, merge) in merges.iter().enumerate() {
        // A token may itself begin with a space, so the separator is the first space after the first character.
        let first = merge.chars().next().map_or(0, char::len_utf8);
        let Some((left, right)) = merge
            .get(first..)
            .and_then(|rest| rest.find(' '))
            .and_then(|at| Some((merge.get(..first + at)?, merge.get(first + at + 1..)?)))
        else {
            bail!(
                "tokenizer.ggml.merges entry {rank} is {merge:?}, not two tokens with a space between: fetch the file again"
            );
        };
        let known = |token: &str| match vocabulary.id_of(token) {
            Some(id) => Ok(id),
            None => bail!(
                "tokenizer.ggml.merges entry {rank} ({merge:?}) needs the token {token:?}, which tokenizer.ggml.tokens \
                 does not have: the file is inconsistent; fetch it again or convert the model anew"
            ),
        };
        let merged = known(&format!("{left}{right}"))?;
        let rank = u32::try_from(rank)?;
        ranks.entry((known(left)?, known(right)?)).or_insert((rank, merged));
    }
    Ok(ranks)
}

/// Every control token of more than one character, with its text taken apart after the first.
fn controls(vocabulary: &Vocabulary) -> Vec<(String, String)> {
    vocabulary
        .iter()
        .filter(|(_, _, kind)| *kind == Kind::Control)
        .filter_map(|(_, token, _)| {
            let mut rest = token.chars();
            let first = rest.next().filter(|_| !rest.as_str().is_empty())?;
            Some((token.to_owned(), format!("{first} {}", rest.as_str())))
        })
        .collect()
}

#[cfg(test)]
mod tests;

//! Tokens by id and by text, with their kinds and ranks.

use super::bytes;
use crate::error::{Result, bail};
use std::collections::HashMap;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// Tokens that end a turn, whatever type their file gives them: older conversions mark some of them as normal, which
/// would let them come out of a chat prompt in pieces.
const END_OF_TURN: [&str; 8] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>", "<|end_of_text|>"];

/// Types as a file numbers them.
pub(super) const NORMAL: i32 = 1;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

pub(super) struct Vocabulary {
    texts: Vec<Box<str>>,
    kinds: Vec<Kind>,
    ranks: Vec<u32>,
    ids: HashMap<Box<str>, u32>,
    longest: usize,
}

impl Vocabulary {
    pub(super) fn new(
        tokens: Vec<String>,
        scores: Vec<f32>,
        token_types: Vec<i32>,
        sentence_piece: bool,
    ) -> Result<Self> {
        if tokens.is_empty() {
            bail!("the file has no vocabulary: take a complete one");
        }
        if u32::try_from(tokens.len()).is_err() {
            bail!("the vocabulary has {} entries, more than ids can count", tokens.len());
        }
        // `gpt2` vocabularies have no scores, and a file may leave the types out; what is there must be complete.
        check_length("scores", scores.len(), tokens.len(), !sentence_piece)?;
        check_length("token_type", token_types.len(), tokens.len(), true)?;
        if sentence_piece && let Some(id) = scores.iter().position(|&score| score.is_nan() || score == f32::INFINITY) {
            bail!("tokenizer.ggml.scores entry {id} is not a number: the file is damaged; fetch it again");
        }

        let mut kinds = Vec::with_capacity(tokens.len());
        for (id, token) in tokens.iter().enumerate() {
            let kind = match token_types.get(id).copied() {
                None if sentence_piece && bytes::byte_token(token).is_some() => Kind::Byte,
                // 0 is what converters write for added tokens that are ordinary text.
                None | Some(0 | NORMAL) => Kind::Normal,
                Some(2) => Kind::Unknown,
                Some(CONTROL) => Kind::Control,
                Some(USER_DEFINED) => Kind::UserDefined,
                Some(UNUSED) => Kind::Unused,
                Some(BYTE) => Kind::Byte,
                Some(other) => bail!(
                    "tokenizer.ggml.token_type entry {id} is {other}; types are 1 to 6: the file is damaged; fetch it again"
                ),
            };
            kinds.push(if END_OF_TURN.contains(&token.as_str()) { Kind::Control } else { kind });
        }
        let ranks = if sentence_piece { scores.iter().map(|&score| rank(score)).collect() } else { Vec::new() };
        let longest = tokens.iter().map(String::len).max().unwrap_or(0);
        let texts: Vec<Box<str>> = tokens.into_iter().map(String::into_boxed_str).collect();
        let ids = texts.iter().cloned().zip(0..).collect();
        Ok(Self { texts, kinds, ranks, ids, longest })
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// Bytes of the longest token.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn id_of(&self, text: &str) -> Option<u32> {
        if text.len() > self.longest || text.is_empty() { None } else { self.ids.get(text).copied() }
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(id as usize).map(|text| &**text)
    }

    pub(super) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Unknown)
    }

    /// Orders tokens by falling score; equal scores have equal ranks.
    pub(super) fn rank(&self, id: u32) -> u32 {
        self.ranks.get(id as usize).copied().unwrap_or(u32::MAX)
    }

    /// Every token with its id and kind.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str, Kind)> {
        (0..).zip(&self.texts).zip(&self.kinds).map(|((id, text), &kind)| (id, &**text, kind))
    }
}

fn check_length(field: &str, found: usize, wanted: usize, may_be_absent: bool) -> Result<()> {
    if found == wanted || (found == 0 && may_be_absent) {
        return Ok(());
    }
    bail!(
        "tokenizer.ggml.{field} has {found} entries and tokenizer.ggml.tokens has {wanted}: the file is inconsistent; \
         fetch it again or convert the model anew"
    )
}

/// A number that falls as the score rises. The bits of an IEEE number order like integers once negative ones are turned
/// round.
fn rank(score: f32) -> u32 {
    // -0.0 + 0.0 is 0.0: the two zeros are one score.
    let bits = (score + 0.0).to_bits();
    let rising = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !rising
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn ranks_fall_as_scores_rise() {
        let scores = [f32::INFINITY, 3.5, 1e-20, 0.0, -1e-20, -1.0, -1000.0, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert_eq!(rank(0.0), rank(-0.0));
    }
}

//! Tokenizers from the vocabulary that a GGUF file carries.

use crate::error::Result;

/// Stub until the text helper's file comes in.
pub struct TokenizerSpec {
    /// `tokenizer.ggml.model`.
    pub model: String,
    /// `tokenizer.ggml.pre`.
    pub pre: String,
    /// Texts.
    pub tokens: Vec<String>,
    /// Scores.
    pub scores: Vec<f32>,
    /// Types.
    pub token_types: Vec<i32>,
    /// Merges.
    pub merges: Vec<String>,
    /// Whether a space is put first.
    pub add_space_prefix: bool,
}

/// A text tokenizer.
pub struct TextTokenizer {}

impl TextTokenizer {
    /// Stub.
    pub fn new(_spec: TokenizerSpec) -> Result<Self> {
        Ok(Self {})
    }

    /// Token ids of a text; special tokens written in the text are recognised when `special` is set.
    pub fn encode(&self, _text: &str, _special: bool) -> Result<Vec<u32>> {
        todo!()
    }

    /// The bytes of one token.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        vec![id as u8]
    }
}

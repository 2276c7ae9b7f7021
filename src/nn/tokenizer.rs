//! Tokenizers from the vocabulary that a GGUF file carries.

use crate::error::Result;

/// A text tokenizer.
pub struct TextTokenizer {}

impl TextTokenizer {
    /// Token ids of a text; special tokens written in the text are recognised when `special` is set.
    pub fn encode(&self, _text: &str, _special: bool) -> Result<Vec<u32>> {
        todo!()
    }

    /// The bytes of one token.
    pub fn token_bytes(&self, _id: u32) -> Vec<u8> {
        todo!()
    }
}

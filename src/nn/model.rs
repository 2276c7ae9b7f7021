//! A loaded language model and what can be done with it.

use super::Device;
use super::chat::Message;
use crate::clock::Clock;
use crate::error::Result;
use crate::units::Seconds;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::Path;

/// How to load a model.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Whether the prompt prefixes of earlier requests are kept and reused.
    pub prefix_cache: bool,
    /// Upper bound of the memory that kept prefixes take, in bytes.
    pub prefix_cache_bytes: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { prefix_cache: true, prefix_cache_bytes: 1 << 30 }
    }
}

/// What a model file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`, or the file's stem.
    pub name: String,
    /// Context length in tokens.
    pub context_length: usize,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of weights.
    pub parameters: u64,
    /// Tensor types and how many tensors have them, such as `Q4_K x 169, F32 x 141`.
    pub tensor_types: String,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// Whether the file carries a chat template.
    pub has_chat_template: bool,
}

/// How to generate.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Upper bound of generated tokens.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Keep the k most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Seed of the sampler.
    pub seed: u64,
    /// How many alternatives to return for each token.
    pub top_logprobs: usize,
    /// Texts that end generation; they are not part of the result.
    pub stop: Vec<String>,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The text that it completed: empty while a multi-byte character is unfinished.
    pub text: String,
    /// Natural logarithm of its probability at temperature 1.
    pub logprob: f64,
    /// The most probable alternatives (text, logprob), most probable first.
    pub top: Vec<(String, f64)>,
}

/// Why generation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// An end-of-turn token or a stop text.
    EndOfTurn,
    /// The token budget, or the end of the context.
    MaxTokens,
    /// The caller's callback asked for it.
    Cancelled,
}

/// What was generated.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The text of all tokens.
    pub text: String,
    /// Token by token.
    pub tokens: Vec<Token>,
    /// Why it stopped.
    pub stop: Stop,
    /// Tokens of the prompt that came from the prefix cache.
    pub cached_tokens: usize,
    /// Time of the forward pass over the prompt.
    pub prefill: Seconds,
    /// Time of all later steps, sampling and detokenising included.
    pub decode: Seconds,
}

/// A decoder with its tokenizer, its template and its cache.
pub struct LanguageModel {}

impl LanguageModel {
    /// Loads a GGUF file.
    pub fn load(_path: &Path, _device: &Device, _options: &LoadOptions) -> Result<Self> {
        todo!()
    }

    /// What the file says of itself.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        todo!()
    }

    /// Reads what a GGUF file says of itself without loading its weights.
    pub fn inspect(_path: &Path) -> Result<ModelInfo> {
        todo!()
    }

    /// The prompt text of a conversation by the file's own template, with the generation prompt.
    pub fn render(&self, _messages: &[Message]) -> Result<String> {
        todo!()
    }

    /// Token ids of a rendered prompt: special tokens in it are recognised, and the start token is added where the file
    /// asks for one and the template did not write it.
    pub fn tokenize(&self, _prompt: &str) -> Result<Vec<u32>> {
        todo!()
    }

    /// Generates from a prompt. `on_token` sees each token as it comes. A prompt that does not leave room for one token
    /// in the context is an error: check against [`ModelInfo::context_length`] first.
    pub fn generate(
        &mut self,
        _prompt: &[u32],
        _options: &GenerateOptions,
        _clock: &Clock,
        _on_token: &mut dyn FnMut(&Token) -> ControlFlow<()>,
    ) -> Result<Generated> {
        todo!()
    }

    /// Logits of the last position of a prompt, for parity checks.
    pub fn logits(&mut self, _prompt: &[u32]) -> Result<Vec<f32>> {
        todo!()
    }
}

//! A loaded language model and what can be done with it.

use super::Device;
use super::chat::Message;
use super::checkpoint::Checkpoint;
use super::decoder::Decoder;
use super::kv::KvCache;
use super::prefix::{BLOCK, Place, PrefixStore};
use super::sampler::{Choice, Sampler};
use super::stream::TextStream;
use super::tokenizer::TextTokenizer;
use super::vocabulary::Vocabulary;
use crate::clock::Clock;
use crate::error::{Context, Result, bail, usage};
use crate::units::Seconds;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

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

/// What a model says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// `general.architecture`, or the family of `model_type`.
    pub architecture: String,
    /// `general.name`, or the file's stem or the folder's name.
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
    /// Size of the file, or of all files with weights, in bytes.
    pub file_bytes: u64,
    /// Whether it carries a chat template.
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
    /// Whose kept prefixes may be reused beside everybody's, and whose the new ones become; `None` is everybody.
    pub cache_scope: Option<String>,
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
    /// Token by token; an end-of-turn token is the last of them and completes no text of its own.
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
pub struct LanguageModel {
    info: ModelInfo,
    path: PathBuf,
    decoder: Decoder,
    vocabulary: Vocabulary,
    cache: KvCache,
    prefixes: Option<PrefixStore>,
}

/// Room for generated tokens is made up to this many at once, so that a large budget does not take memory unused.
const ROOM_AT_ONCE: usize = 512;

impl LanguageModel {
    /// Loads a GGUF file, or a folder with a `config.json`, a `tokenizer.json` and safetensors.
    pub fn load(path: &Path, device: &Device, options: &LoadOptions) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let (decoder, vocabulary) = rayon::join(
            || Decoder::load(checkpoint.config()?, checkpoint.source(), &device.0),
            || checkpoint.vocabulary(),
        );
        let (decoder, vocabulary) = (decoder?, vocabulary?);
        Ok(Self {
            info: checkpoint.describe(&decoder.config),
            path: path.to_owned(),
            cache: decoder.cache(),
            prefixes: options.prefix_cache.then(|| PrefixStore::new(options.prefix_cache_bytes)),
            decoder,
            vocabulary,
        })
    }

    /// What the file says of itself.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Reads what a model says of itself without loading its weights.
    pub fn inspect(path: &Path) -> Result<ModelInfo> {
        let checkpoint = Checkpoint::open(path)?;
        Ok(checkpoint.describe(&checkpoint.config()?))
    }

    /// Reads the tokenizer of a model without loading its weights.
    pub fn tokenizer(path: &Path) -> Result<TextTokenizer> {
        Ok(Checkpoint::open(path)?.vocabulary()?.tokenizer)
    }

    /// The prompt text of a conversation by the file's own template, with the generation prompt.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        match &self.vocabulary.template {
            Some(template) => template
                .render(messages)
                .with_context(|| format!("rendering the chat template of {}", self.path.display())),
            None => Err(usage(format!(
                "{} carries no chat template, so a conversation cannot be put to it: use an instruction-tuned model",
                self.path.display()
            ))),
        }
    }

    /// Token ids of a rendered prompt: special tokens in it are recognised, and the start token is added where the file
    /// asks for one and the template did not write it.
    pub fn tokenize(&self, prompt: &str) -> Result<Vec<u32>> {
        let mut tokens = self.vocabulary.tokenizer.encode(prompt, true)?;
        if let Some(start) = self.vocabulary.start
            && tokens.first() != Some(&start)
        {
            tokens.insert(0, start);
        }
        Ok(tokens)
    }

    /// Generates from a prompt. `on_token` sees each token as it comes. A prompt that does not leave room for one token
    /// in the context is an error: check against [`ModelInfo::context_length`] first.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        clock: &Clock,
        on_token: &mut dyn FnMut(&Token) -> ControlFlow<()>,
    ) -> Result<Generated> {
        let mut sampler = Sampler::new(options.temperature, options.top_k, options.top_p, options.seed)?;
        let mut stream = TextStream::new(&options.stop);
        let room = self.info.context_length.saturating_sub(prompt.len());
        let budget = options.max_tokens.min(room);

        let start = clock.now();
        let (mut logits, cached_tokens) = self.prefill(prompt, options.cache_scope.as_deref())?;
        let prefill = clock.since(start);

        let start = clock.now();
        let mut tokens: Vec<Token> = Vec::new();
        let mut stop = Stop::MaxTokens;
        while tokens.len() < budget {
            let choice = sampler.choose(&logits, options.top_logprobs)?;
            let ended = self.vocabulary.ends.contains(&choice.id);
            let mut text = String::new();
            if ended {
                stop = Stop::EndOfTurn;
            } else {
                let piece = stream.push(&self.vocabulary.tokenizer.token_bytes(choice.id));
                text = piece.text;
                if piece.stopped {
                    stop = Stop::EndOfTurn;
                }
            }
            let last = stop == Stop::EndOfTurn || tokens.len() + 1 == budget;
            if last {
                text.push_str(&stream.finish());
            }
            let token = self.token(choice, text);
            let flow = on_token(&token);
            let id = token.id;
            tokens.push(token);
            if last {
                break;
            }
            if flow.is_break() {
                stop = Stop::Cancelled;
                break;
            }
            if self.cache.len().is_multiple_of(ROOM_AT_ONCE) {
                self.cache.reserve(self.cache.len() + ROOM_AT_ONCE.min(budget))?;
            }
            let x = self.decoder.forward(&[id], &mut self.cache)?;
            logits = self.decoder.logits(&x)?;
        }
        let text = tokens.iter().map(|token| token.text.as_str()).collect();
        Ok(Generated { text, tokens, stop, cached_tokens, prefill, decode: clock.since(start) })
    }

    /// Logits of the last position of a prompt, for parity checks.
    pub fn logits(&mut self, prompt: &[u32]) -> Result<Vec<f32>> {
        Ok(self.prefill(prompt, None)?.0)
    }

    /// Bytes of the cache that a number of positions take.
    #[cfg(test)]
    pub(crate) fn cache_bytes(&self, positions: usize) -> usize {
        self.cache.shape().bytes(positions)
    }

    fn token(&self, choice: Choice, text: String) -> Token {
        let name = |id| String::from_utf8_lossy(&self.vocabulary.tokenizer.token_bytes(id)).into_owned();
        let top = choice.top.into_iter().map(|(id, logprob)| (name(id), logprob)).collect();
        Token { id: choice.id, text, logprob: choice.logprob, top }
    }

    /// Computes a prompt from an empty cache, block by block at fixed positions, so that every kept block is just what
    /// would have been computed. Returns the logits of the last position and how many tokens came from kept blocks.
    fn prefill(&mut self, prompt: &[u32], scope: Option<&str>) -> Result<(Vec<f32>, usize)> {
        if prompt.is_empty() {
            return Err(usage("an empty prompt has nothing to continue from"));
        }
        let limit = self.info.context_length;
        if prompt.len() >= limit {
            return Err(usage(format!(
                "a prompt of {} tokens leaves no room in the context of {limit} tokens of {}: shorten it, or use a model \
                 with a longer context",
                prompt.len(),
                self.info.name
            )));
        }
        self.cache.truncate(0);
        self.cache.reserve((prompt.len() + ROOM_AT_ONCE).min(limit))?;
        let mut place = Some(Place::START);
        let mut reused = 0;
        let mut output = None;
        for tokens in prompt.chunks(BLOCK) {
            let whole = tokens.len() == BLOCK;
            let last = self.cache.len() + tokens.len() == prompt.len();
            let found = match (&mut self.prefixes, place) {
                (Some(store), Some(parent)) if whole => store.get(scope, parent, tokens),
                _ => None,
            };
            // The last block is always computed: its output is what was asked for.
            if let Some((next, block)) = found.as_ref().filter(|_| !last) {
                self.cache.append(block)?;
                reused += tokens.len();
                place = Some(*next);
                continue;
            }
            let start = self.cache.len();
            output = Some(self.decoder.forward(tokens, &mut self.cache)?);
            if let (Some(store), Some(parent), None) = (&mut self.prefixes, place, found)
                && whole
            {
                let bytes = self.cache.shape().bytes(BLOCK);
                place = store.insert(scope, parent, tokens, self.cache.copy_out(start, BLOCK)?, bytes);
            }
        }
        let Some(output) = output else { bail!("no block of the prompt was computed") };
        Ok((self.decoder.logits(&output)?, reused))
    }
}

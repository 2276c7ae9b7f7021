//! A loaded language model and what can be done with it.

use super::Device;
use super::chat::Message;
use super::config::Config;
use super::decoder::Decoder;
use super::gguf::{Gguf, TensorEntry};
use super::prefix::PrefixStore;
use super::tokenizer::TextTokenizer;
use super::vocabulary::{Vocabulary, has_template};
use crate::error::{Context, Result, usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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

/// A decoder with its tokenizer, its template and its cache.
pub struct LanguageModel {
    info: ModelInfo,
    path: PathBuf,
    pub(super) decoder: Decoder,
    pub(super) vocabulary: Vocabulary,
    pub(super) prefixes: Option<PrefixStore>,
}

impl LanguageModel {
    /// Loads a GGUF file.
    pub fn load(path: &Path, device: &Device, options: &LoadOptions) -> Result<Self> {
        let file = Gguf::open(path)?;
        let (decoder, vocabulary) = rayon::join(|| Decoder::load(&file, &device.0), || Vocabulary::read(&file));
        let (decoder, vocabulary) = (decoder?, vocabulary?);
        Ok(Self {
            info: describe(&file, &decoder.config),
            path: path.to_owned(),
            prefixes: options.prefix_cache.then(|| prefix_store(&decoder, options.prefix_cache_bytes)),
            decoder,
            vocabulary,
        })
    }

    /// Bytes of the weights that each token of decoding reads.
    pub fn weight_bytes(&self) -> u64 {
        self.decoder.weight_bytes()
    }

    /// An empty store for this model's pages.
    pub(super) fn prefix_store(&self, bytes: usize) -> PrefixStore {
        prefix_store(&self.decoder, bytes)
    }

    /// What the file says of itself.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Reads what a GGUF file says of itself without loading its weights.
    pub fn inspect(path: &Path) -> Result<ModelInfo> {
        let file = Gguf::open(path)?;
        Ok(describe(&file, &Config::read(&file)?))
    }

    /// Reads the tokenizer of a GGUF file without loading its weights.
    pub fn tokenizer(path: &Path) -> Result<TextTokenizer> {
        Ok(Vocabulary::read(&Gguf::open(path)?)?.tokenizer)
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

    /// Tokens of a text that follows others: special tokens in it are text, and no start token is added.
    pub fn tokenize_text(&self, text: &str) -> Result<Vec<u32>> {
        self.vocabulary.tokenizer.encode(text, false)
    }
}

fn prefix_store(decoder: &Decoder, bytes: usize) -> PrefixStore {
    PrefixStore::new(bytes / decoder.cache().shape().pages.page_bytes())
}

fn describe(file: &Gguf, config: &Config) -> ModelInfo {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for tensor in file.tensors().values() {
        // candle writes `Q4K` where everyone else writes `Q4_K`.
        let name = format!("{:?}", tensor.kind).replace('K', "_K");
        *kinds.entry(name).or_default() += 1;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let stem = || file.path().file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let text = |key: &str| file.text(key).ok().flatten().map(str::to_owned);
    ModelInfo {
        architecture: text("general.architecture").unwrap_or_default(),
        name: text("general.name").unwrap_or_else(stem),
        context_length: config.context_length,
        vocabulary: config.vocabulary,
        layers: config.layers,
        parameters: file.tensors().values().map(TensorEntry::elements).sum(),
        tensor_types: kinds.iter().map(|(kind, count)| format!("{kind} x {count}")).collect::<Vec<_>>().join(", "),
        file_bytes: file.file_bytes,
        has_chat_template: has_template(file),
    }
}

//! A loaded language model and what can be done with it.

use super::Device;
use super::chat::Message;
use super::checkpoint::Checkpoint;
use super::constraint::Compiler;
use super::decoder::Decoder;
use super::kernels::PAGE;
use super::plan::need_of;
use super::prefix::PrefixStore;
use super::tokenizer::TextTokenizer;
use super::vocabulary::Vocabulary;
use crate::device::memory;
use crate::error::{Context, Result, usage};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to load a model.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Whether the prompt prefixes of earlier requests are kept and reused.
    pub prefix_cache: bool,
    /// Upper bound of the memory that kept prefixes take, in bytes.
    pub prefix_cache_bytes: usize,
    /// Whether tokens are guessed from the prompt and checked several at a time (prompt lookup decoding). The result is the
    /// same; on a device other than the CPU, where it might not be to the last bit, it stays off.
    pub prompt_lookup: bool,
    /// Fewer tokens of context than the model has, where that many are enough.
    pub context: Option<usize>,
    /// Bytes of memory that the model may take with everything of its own; `None` is what the machine has.
    pub memory: Option<u64>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { prefix_cache: true, prefix_cache_bytes: 1 << 30, prompt_lookup: true, context: None, memory: None }
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

/// What turns conversations into tokens and tokens into text: all of a model but its weights. Threads share it.
pub struct Language {
    info: ModelInfo,
    path: PathBuf,
    pub(super) vocabulary: Vocabulary,
    pub(super) compiler: Compiler,
}

/// A decoder with its language and its cache.
pub struct LanguageModel {
    language: Arc<Language>,
    pub(super) decoder: Decoder,
    pub(super) prefixes: Option<PrefixStore>,
    pub(super) prompt_lookup: bool,
    /// What a limit of the memory leaves for the keys and values of sequences.
    room: Option<usize>,
}

/// All that a language does, the model does too.
impl Deref for LanguageModel {
    type Target = Language;

    fn deref(&self) -> &Language {
        &self.language
    }
}

impl LanguageModel {
    /// Loads a GGUF file, or a folder with a `config.json`, a `tokenizer.json` and safetensors.
    pub fn load(path: &Path, device: &Device, options: &LoadOptions) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        if device.is_cpu() {
            checkpoint.fits(options.memory.or_else(memory))?;
        } else {
            fits(device, checkpoint.source().file_bytes(), path)?;
        }
        let need = need_of(&checkpoint, &checkpoint.config()?);
        let kept = if options.prefix_cache { options.prefix_cache_bytes as u64 } else { 0 };
        let left = |memory: u64| usize::try_from(memory.saturating_sub(need.fixed() + kept)).unwrap_or(usize::MAX);
        let room = options.memory.map(left);
        let (decoder, vocabulary) = rayon::join(
            || Decoder::load(checkpoint.config()?, checkpoint.source(), &device.0),
            || checkpoint.vocabulary(),
        );
        let (decoder, vocabulary) = (decoder?, vocabulary?);
        let mut info = checkpoint.describe(&decoder.config);
        info.context_length = info.context_length.min(options.context.unwrap_or(usize::MAX));
        Ok(Self {
            language: Arc::new(Language::of(info, path, vocabulary)),
            room,
            prefixes: options.prefix_cache.then(|| prefix_store(&decoder, options.prefix_cache_bytes)),
            prompt_lookup: options.prompt_lookup && device.is_cpu(),
            decoder,
        })
    }

    /// A decoder alone, for timing it.
    pub(super) fn bare(language: Arc<Language>, decoder: Decoder) -> Self {
        Self { language, decoder, prefixes: None, prompt_lookup: false, room: None }
    }

    /// What turns conversations into tokens, for threads that do not own the model.
    #[must_use]
    pub fn language(&self) -> Arc<Language> {
        Arc::clone(&self.language)
    }

    /// Bytes of the weights that each token of decoding reads.
    pub fn weight_bytes(&self) -> u64 {
        self.decoder.weight_bytes()
    }

    /// Floating-point operations that each token of a prompt costs in its multiplications with weights.
    pub fn prefill_operations(&self) -> u64 {
        2 * self.decoder.layer_weights()
    }

    /// Bytes of the keys and values of so many positions of a sequence.
    #[must_use]
    pub fn cache_bytes(&self, positions: usize) -> usize {
        positions.div_ceil(PAGE).saturating_mul(self.page_bytes())
    }

    /// Bytes that the keys and values of sequences may take together: what a limit of the memory leaves, else half of what the weights
    /// leave of it.
    pub fn cache_room(&self) -> Result<usize> {
        if let Some(room) = self.room {
            return Ok(room);
        }
        let free = match Device(self.decoder.device().clone()).memory()? {
            Some((free, _)) => free,
            None => memory().unwrap_or(u64::MAX).saturating_sub(self.info.file_bytes),
        };
        Ok(usize::try_from(free / 2).unwrap_or(usize::MAX))
    }

    /// Bytes of the keys and values of a page of positions.
    pub(super) fn page_bytes(&self) -> usize {
        self.decoder.cache().shape().pages.page_bytes()
    }

    /// An empty store for this model's pages.
    pub(super) fn prefix_store(&self, bytes: usize) -> PrefixStore {
        prefix_store(&self.decoder, bytes)
    }

    /// Reads what a model says of itself without loading its weights.
    pub fn inspect(path: &Path) -> Result<ModelInfo> {
        let checkpoint = Checkpoint::open(path)?;
        Ok(checkpoint.describe(&checkpoint.config()?))
    }

    /// Reads the tokenizer of a model without loading its weights.
    pub fn tokenizer(path: &Path) -> Result<Arc<TextTokenizer>> {
        Ok(Checkpoint::open(path)?.vocabulary()?.tokenizer)
    }
}

impl Language {
    pub(super) fn of(info: ModelInfo, path: &Path, vocabulary: Vocabulary) -> Self {
        Self { info, path: path.to_owned(), vocabulary, compiler: Compiler::default() }
    }

    /// The file or folder that the model was loaded from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says of itself.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The prompt text of a conversation by the file's own template, with the generation prompt. Control tokens that are
    /// written in a message are taken apart: else a ticket or a passage could begin a message of its own.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let plain = |message: &Message| {
            let content = self.vocabulary.tokenizer.without_controls(&message.content).into_owned();
            Message { role: message.role.clone(), content }
        };
        match &self.vocabulary.template {
            Some(template) => template
                .render(&messages.iter().map(plain).collect::<Vec<_>>())
                .with_context(|| format!("rendering the chat template of {}", self.path.display())),
            None => Err(usage(format!(
                "{} carries no chat template, so a conversation cannot be put to it: use an instruction-tuned model",
                self.path.display()
            ))),
        }
    }

    /// How many bytes a prompt that fits the context can have at most, where that is known.
    #[must_use]
    pub fn longest_prompt(&self) -> Option<usize> {
        Some(self.vocabulary.tokenizer.longest_token()?.saturating_mul(self.info.context_length))
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

/// Refuses weights that a GPU has no memory for, before they are read.
fn fits(device: &Device, needed: u64, path: &Path) -> Result<()> {
    let Some((free, all)) = device.memory()?.filter(|&(free, _)| needed > free) else { return Ok(()) };
    Err(usage(format!(
        "the weights of {} take {}, and {} has {} of its {} free: use a smaller model or quantisation, or --device cpu",
        path.display(),
        Bytes(needed),
        device.name(),
        Bytes(free),
        Bytes(all)
    )))
}

fn prefix_store(decoder: &Decoder, bytes: usize) -> PrefixStore {
    PrefixStore::new(bytes / decoder.cache().shape().pages.page_bytes())
}

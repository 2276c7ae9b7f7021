//! The sentence encoder: BERT with mean pooling and L2 norm, loaded from safetensors.

mod bert;
mod entailment;

pub use entailment::Entailment;

use self::bert::{Bert, Text};
use super::Device;
use super::folder::check_weights;
use super::tokenizer::read_file;
use crate::error::{Context as _, Result, anyhow, bail, ensure};
use crate::files;
use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use rayon::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

/// Tokens of a text that count where the folder does not say: what sentence-transformers uses for MiniLM.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Room for the two tokens that frame a text, and for some text.
const LEAST_MAX_TOKENS: usize = 4;
/// The largest encoders of this kind have a third of a billion weights.
const LONGEST_FILE: u64 = 4 << 30;

/// Tokens of texts that go through the model together: enough to keep every core at work, few enough for its caches.
const BATCH_TOKENS: usize = 1024;

/// A sentence encoder.
pub struct SentenceEncoder {
    model: Model,
    tokenizer: Tokenizer,
    device: Device,
    dimensions: usize,
}

/// The length of a text as the encoder reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLength {
    /// Tokens that are read, those that frame it counted.
    pub tokens: usize,
    /// Whether its end is left out.
    pub is_cut: bool,
}

/// The model: over our own kernels on a processor, over candle's on other devices.
enum Model {
    Own(Bert),
    Candle(BertModel),
}

/// `sentence_bert_config.json`, as far as it matters.
#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

/// `1_Pooling/config.json`, as far as it matters.
#[derive(Deserialize)]
struct PoolingConfig {
    pooling_mode_mean_tokens: bool,
}

impl SentenceEncoder {
    /// Loads `config.json`, `tokenizer.json` and `model.safetensors` from a folder. `sentence_bert_config.json` and
    /// `1_Pooling/config.json` are heeded where they are there.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config = config(&folder.join("config.json"))?;
        if let Some(pooling) = optional_json::<PoolingConfig>(&folder.join("1_Pooling").join("config.json"))? {
            ensure!(
                pooling.pooling_mode_mean_tokens,
                "the sentence encoder in {} does not take the mean of its tokens, the one kind of pooling that is \
                 supported; take all-MiniLM-L6-v2 or another encoder with mean pooling",
                folder.display()
            );
        }
        let sentence = optional_json::<SentenceConfig>(&folder.join("sentence_bert_config.json"))?;
        let max_tokens = sentence
            .and_then(|config| config.max_seq_length)
            .unwrap_or(DEFAULT_MAX_TOKENS)
            .min(config.max_position_embeddings)
            .max(LEAST_MAX_TOKENS);
        let tokenizer = tokenizer(&folder.join("tokenizer.json"), max_tokens)?;

        let path = folder.join("model.safetensors");
        let bytes = read(&path)?;
        // Its errors say which tensor is wrong.
        check_weights(&path).context("looking at a sentence encoder's weights; pull the model again")?;
        let weights = || -> candle_core::Result<Model> {
            let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &device.0)?;
            if device.0.is_cpu() && Bert::runs(&config) {
                Bert::load(&weights, &config).map(Model::Own)
            } else {
                BertModel::load(weights, &config).map(Model::Candle)
            }
        };
        let model = weights().map_err(|error| {
            anyhow!("loading the sentence encoder's weights from {}: {error}; pull the model again", path.display())
        })?;
        Ok(Self { model, tokenizer, device: device.clone(), dimensions: config.hidden_size })
    }

    /// Length of the vectors.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Tokens of a text that are read at most, those that frame it counted.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.tokenizer.get_truncation().map_or(usize::MAX, |truncation| truncation.max_length)
    }

    /// How many tokens of each text are read, and whether it has more.
    pub fn count(&self, texts: &[&str]) -> Result<Vec<TextLength>> {
        let length = |text: &&str| {
            let tokens = self.tokens(text)?;
            Ok(TextLength { tokens: tokens.len(), is_cut: !tokens.get_overflowing().is_empty() })
        };
        texts.par_iter().map(length).collect()
    }

    /// One unit-length vector per text, in order. Equal texts give equal bits whatever stands beside them.
    ///
    /// Our own kernels take the tokens of many texts at once, without padding. candle's take one text at a time: its matrix
    /// products split their sums by the shape of the whole batch, so that a text's last bits would depend on its neighbours.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let tokens = texts.par_iter().map(|text| self.tokens(text)).collect::<Result<Vec<_>>>()?;
        let mut vectors = Vec::new();
        let mut rest = tokens.as_slice();
        while !rest.is_empty() {
            // candle takes one text at a time.
            let room = if matches!(self.model, Model::Own(_)) { BATCH_TOKENS } else { 0 };
            let (batch, later) = rest.split_at(together(rest, room));
            let states = self.states(batch).context("running the sentence encoder")?;
            let mut states = states.as_slice();
            for text in batch {
                let (own, others) = states.split_at(text.len() * self.dimensions);
                vectors.push(pooled(own, self.dimensions)?);
                states = others;
            }
            rest = later;
        }
        Ok(vectors)
    }

    fn tokens(&self, text: &str) -> Result<Encoding> {
        self.tokenizer
            .encode_fast(text, true)
            .map_err(|error| anyhow!("tokenising a text for the sentence encoder: {error}"))
    }

    /// The last layer's state of every token, text after text.
    fn states(&self, texts: &[Encoding]) -> Result<Vec<f32>> {
        match &self.model {
            Model::Own(model) => {
                let texts: Vec<Text> =
                    texts.iter().map(|text| Text { ids: text.get_ids(), types: text.get_type_ids() }).collect();
                model
                    .states(&texts)
                    .context("the tokenizer gives tokens that the model does not have: pull the model again")
            }
            Model::Candle(model) => {
                let mut states = Vec::new();
                for text in texts.iter().filter(|text| !text.is_empty()) {
                    let row = |values: &[u32]| Tensor::from_slice(values, (1, values.len()), &self.device.0);
                    let own = model.forward(&row(text.get_ids())?, &row(text.get_type_ids())?, None)?;
                    states.extend(own.flatten_all()?.to_vec1::<f32>()?);
                }
                Ok(states)
            }
        }
    }
}

/// How many of the texts go through the model together: those whose tokens have room, and at least one.
fn together(texts: &[Encoding], mut room: usize) -> usize {
    let fits = |text: &&Encoding| {
        let fits = text.len() <= room;
        room = room.saturating_sub(text.len());
        fits
    };
    texts.iter().take_while(fits).count().max(1)
}

/// The mean of the tokens' states, scaled to length 1.
fn pooled(states: &[f32], dimensions: usize) -> Result<Vec<f32>> {
    let mut sums = vec![0.0_f64; dimensions];
    for state in states.chunks_exact(dimensions) {
        for (sum, &value) in sums.iter_mut().zip(state) {
            *sum += f64::from(value);
        }
    }
    // The scale takes the place of dividing by the number of tokens: only the direction remains.
    let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    ensure!(
        length.is_finite() && length > 0.0,
        "the sentence encoder gave a vector of length {length}: its weights are damaged; pull the model again"
    );
    Ok(sums.iter().map(|sum| (sum / length) as f32).collect())
}

/// Reads and checks `config.json`.
fn config(path: &Path) -> Result<Config> {
    let config: Config = json(path)?;
    let kind = config.model_type.as_deref().unwrap_or("bert");
    ensure!(
        kind == "bert",
        "{} describes a `{kind}` model: only `bert` sentence encoders are supported; take all-MiniLM-L6-v2",
        path.display()
    );
    check_sizes(&config, path)?;
    Ok(config)
}

/// What the model's code would divide by or index with must make sense.
fn check_sizes(config: &Config, path: &Path) -> Result<()> {
    let (width, heads) = (config.hidden_size, config.num_attention_heads);
    if width == 0 || heads == 0 || width % heads != 0 || config.max_position_embeddings < LEAST_MAX_TOKENS {
        bail!(
            "{} is inconsistent: hidden_size {width} over {heads} attention heads, {} positions; pull the model again",
            path.display(),
            config.max_position_embeddings
        );
    }
    Ok(())
}

fn tokenizer(path: &Path, max_tokens: usize) -> Result<Tokenizer> {
    const KINDS: [&str; 4] = ["WordPiece", "BPE", "Unigram", "WordLevel"];
    let attempt = || format!("loading the tokenizer {}", path.display());
    let mut tokenizer = read_file(&read(path)?, &KINDS).with_context(attempt)?;
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| anyhow!("{error}")).with_context(attempt)?;
    Ok(tokenizer)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    files::read(path, LONGEST_FILE)
        .with_context(|| format!("reading {} of an encoder: check the folder, or pull the model again", path.display()))
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?)
        .with_context(|| format!("reading {} of an encoder: pull the model again", path.display()))
}

fn optional_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if files::exists(path)? { json(path).map(Some) } else { Ok(None) }
}

/// Cosine of two unit-length vectors.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

#[cfg(test)]
mod tests;

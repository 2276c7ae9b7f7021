//! The sentence encoder: BERT with mean pooling and L2 norm, loaded from safetensors.

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
use tokenizers::{Tokenizer, TruncationParams};

/// Tokens of a text that count where the folder does not say: what sentence-transformers uses for MiniLM.
const DEFAULT_MAX_TOKENS: usize = 256;
/// Room for the two tokens that frame a text, and for some text.
const LEAST_MAX_TOKENS: usize = 4;
/// The largest encoders of this kind have a third of a billion weights.
const LONGEST_FILE: u64 = 4 << 30;

/// A sentence encoder.
pub struct SentenceEncoder {
    model: BertModel,
    tokenizer: Tokenizer,
    device: Device,
    dimensions: usize,
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
        let weights = || -> candle_core::Result<BertModel> {
            let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &device.0)?;
            BertModel::load(weights, &config)
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

    /// One unit-length vector per text, in order. Equal texts give equal bits whatever stands beside them.
    ///
    /// Texts go through the model one at a time, several at once on a processor: matrix products split their sums by the
    /// shape of the whole batch, so that a text's last bits would depend on its neighbours.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        if self.device.0.is_cpu() {
            texts.par_iter().map(|text| self.encode_one(text)).collect()
        } else {
            texts.iter().map(|text| self.encode_one(text)).collect()
        }
    }

    fn encode_one(&self, text: &str) -> Result<Vec<f32>> {
        let tokens = self
            .tokenizer
            .encode_fast(text, true)
            .map_err(|error| anyhow!("tokenising a text for the sentence encoder: {error}"))?;
        let states = self.states(tokens.get_ids(), tokens.get_type_ids()).context("running the sentence encoder")?;
        pooled(&states, self.dimensions)
    }

    /// The last layer's state of every token. Without padding there is nothing to mask.
    fn states(&self, ids: &[u32], types: &[u32]) -> candle_core::Result<Vec<Vec<f32>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let row = |values: &[u32]| Tensor::from_slice(values, (1, values.len()), &self.device.0);
        self.model.forward(&row(ids)?, &row(types)?, None)?.squeeze(0)?.to_vec2()
    }
}

/// The mean of the tokens' states, scaled to length 1.
fn pooled(states: &[Vec<f32>], dimensions: usize) -> Result<Vec<f32>> {
    let mut sums = vec![0.0_f64; dimensions];
    for state in states {
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

/// Reads and checks `config.json`: what the model's code would divide by or index with must make sense.
fn config(path: &Path) -> Result<Config> {
    let config: Config = json(path)?;
    let kind = config.model_type.as_deref().unwrap_or("bert");
    ensure!(
        kind == "bert",
        "{} describes a `{kind}` model: only `bert` sentence encoders are supported; take all-MiniLM-L6-v2",
        path.display()
    );
    let (width, heads) = (config.hidden_size, config.num_attention_heads);
    if width == 0 || heads == 0 || width % heads != 0 || config.max_position_embeddings < LEAST_MAX_TOKENS {
        bail!(
            "{} is inconsistent: hidden_size {width} over {heads} attention heads, {} positions; pull the model again",
            path.display(),
            config.max_position_embeddings
        );
    }
    Ok(config)
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
    files::read(path, LONGEST_FILE).with_context(|| {
        format!("reading {} of a sentence encoder: check the folder, or pull the model again", path.display())
    })
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?)
        .with_context(|| format!("reading {} of a sentence encoder: pull the model again", path.display()))
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

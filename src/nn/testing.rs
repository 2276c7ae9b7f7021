//! Small generated checkpoints, for tests that need a model file of every family without downloading one.
//!
//! Weights are random but seeded; the metadata and the tensor names are those of the family's real files. The vocabulary
//! is byte-level, so that any text goes in and some text comes out.

mod folder;

#[cfg(test)]
pub(crate) use folder::config as folder_config;
pub(crate) use folder::tokenizer_json;
pub use folder::{Half, write_folder};

use crate::error::{Context, Result};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the families' own")]
pub enum Family {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Phi3,
    Gemma3,
}

/// How the matrices of a checkpoint are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of GGUF")]
pub enum Stored {
    F32,
    Q8_0,
    Q5_0,
    Q4_1,
}

/// Sizes of the generated checkpoints.
pub(crate) const HIDDEN: usize = 64;
pub(crate) const FEED_FORWARD: usize = 96;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const CONTEXT: usize = 32_768;
pub(crate) const NORM_EPS: f32 = 1e-5;

impl Family {
    /// Every family.
    pub const ALL: [Self; 6] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3, Self::Phi3, Self::Gemma3];

    /// The name used in files; a real Mistral file calls itself llama.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama | Self::Mistral => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Phi3 => "phi3",
            Self::Gemma3 => "gemma3",
        }
    }

    pub(crate) fn layers(self) -> usize {
        // Enough for one layer of gemma3 that sees everything.
        if self == Self::Gemma3 { 7 } else { 3 }
    }

    pub(crate) fn head_dim(self) -> usize {
        // Other than hidden / heads where the family allows it.
        if matches!(self, Self::Qwen3 | Self::Gemma3) { 32 } else { HIDDEN / HEADS }
    }

    pub(crate) fn window(self) -> Option<usize> {
        match self {
            Self::Mistral => Some(150),
            Self::Gemma3 => Some(20),
            _ => None,
        }
    }

    pub(crate) fn rope_base(self) -> f32 {
        match self {
            Self::Llama | Self::Mistral | Self::Phi3 => 10_000.0,
            Self::Qwen2 | Self::Qwen3 | Self::Gemma3 => 1_000_000.0,
        }
    }
}

/// Writes a checkpoint.
pub fn write_checkpoint(path: &Path, family: Family, stored: Stored, seed: u64) -> Result<()> {
    write(path, &metadata(family), tensors(family, stored, seed))
}

/// Writes a checkpoint of which some metadata is another; `None` takes a key away.
#[cfg(test)]
pub(crate) fn write_changed(path: &Path, family: Family, changes: &[(&str, Option<Value>)]) -> Result<()> {
    let mut metadata = metadata(family);
    for (key, value) in changes {
        metadata.retain(|(known, _)| known != key);
        metadata.extend(value.iter().map(|value| ((*key).to_owned(), value.clone())));
    }
    write(path, &metadata, tensors(family, Stored::Q8_0, 11))
}

/// Writes a checkpoint without one of its tensors, or with another vector.
#[cfg(test)]
pub(crate) fn write_with_tensors(
    path: &Path,
    family: Family,
    without: &str,
    vector: Option<(&str, usize)>,
) -> Result<()> {
    let mut all = tensors(family, Stored::Q8_0, 11)?;
    all.retain(|(name, _)| name != without);
    if let Some((name, length)) = vector {
        let values = Tensor::zeros(length, candle_core::DType::F32, &Device::Cpu)?;
        all.push((name.to_owned(), QTensor::quantize(&values, GgmlDType::F32)?));
    }
    write(path, &metadata(family), Ok(all))
}

fn write(path: &Path, metadata: &[(String, Value)], tensors: Result<Vec<(String, QTensor)>>) -> Result<()> {
    let attempt = || format!("writing the generated checkpoint {}", path.display());
    let tensors = tensors.with_context(attempt)?;
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = BufWriter::new(File::create(path).with_context(attempt)?);
    gguf_file::write(&mut file, &metadata, &tensors).with_context(attempt)
}

pub(super) const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + \
                        '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}\
                        {% endif %}";

pub(super) fn metadata(family: Family) -> Vec<(String, Value)> {
    let architecture = family.architecture();
    let size = |n: usize| Value::U32(n as u32);
    let mut sizes = vec![
        ("context_length", size(CONTEXT)),
        ("embedding_length", size(HIDDEN)),
        ("block_count", size(family.layers())),
        ("feed_forward_length", size(FEED_FORWARD)),
        ("attention.head_count", size(HEADS)),
        ("attention.head_count_kv", size(KV_HEADS)),
        ("attention.layer_norm_rms_epsilon", Value::F32(NORM_EPS)),
        ("rope.freq_base", Value::F32(family.rope_base())),
    ];
    if matches!(family, Family::Llama | Family::Mistral | Family::Phi3) {
        sizes.push(("rope.dimension_count", size(family.head_dim())));
    }
    if matches!(family, Family::Qwen3 | Family::Gemma3) {
        sizes.push(("attention.key_length", size(family.head_dim())));
        sizes.push(("attention.value_length", size(family.head_dim())));
    }
    if let Some(window) = family.window() {
        sizes.push(("attention.sliding_window", size(window)));
    }
    let text = |text: &str| Value::String(text.to_owned());
    let vocabulary = vocabulary();
    let list = |items: Vec<Value>| Value::Array(items);
    let mut all = vec![
        ("general.architecture".to_owned(), text(architecture)),
        // Without the family: llama.cpp takes a name with "Phi3" in it for a Phi-3 vocabulary.
        ("general.name".to_owned(), text("Generated model")),
    ];
    all.extend(sizes.into_iter().map(|(key, value)| (format!("{architecture}.{key}"), value)));
    let end = vocabulary.iter().position(|(token, _)| token == "<|im_end|>").unwrap_or_default();
    let tokenizer = [
        ("ggml.model", text("gpt2")),
        ("ggml.pre", text("qwen2")),
        ("ggml.tokens", list(vocabulary.iter().map(|(token, _)| text(token)).collect())),
        ("ggml.token_type", list(vocabulary.iter().map(|&(_, kind)| Value::I32(kind)).collect())),
        ("ggml.merges", list(MERGES.iter().map(|merge| text(merge)).collect())),
        ("ggml.eos_token_id", size(end)),
        ("ggml.bos_token_id", size(end - 2)),
        ("ggml.add_bos_token", Value::Bool(false)),
        ("chat_template", text(TEMPLATE)),
    ];
    all.extend(tokenizer.into_iter().map(|(key, value)| (format!("tokenizer.{key}"), value)));
    all
}

pub(super) const MERGES: [&str; 4] = ["t h", "th e", "Ġ the", "i n"];

/// Texts and types of the tokens: one for each byte as GPT-2 writes bytes, those of the merges, and special ones.
pub(crate) fn vocabulary() -> Vec<(String, i32)> {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    let printable = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut replacement = 0x100..;
    let bytes = (0..256u32).map(|byte| if printable(byte) { byte } else { replacement.next().unwrap_or(byte) });
    let bytes = bytes.filter_map(char::from_u32).map(String::from).collect::<Vec<_>>();
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
    let normal = bytes.into_iter().chain(merged).map(|token| (token, NORMAL));
    normal.chain(special.into_iter().map(|token| (token.to_owned(), CONTROL))).collect()
}

/// Tokens of the generated vocabulary without a meaning.
#[cfg(test)]
pub(crate) fn prompt(length: usize) -> Vec<u32> {
    (0..length as u64).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u32 % 250).collect()
}

/// How alike two vectors of logits are.
#[cfg(test)]
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn tensors(family: Family, stored: Stored, seed: u64) -> Result<Vec<(String, QTensor)>> {
    let kind = match stored {
        Stored::F32 => GgmlDType::F32,
        Stored::Q8_0 => GgmlDType::Q8_0,
        Stored::Q5_0 => GgmlDType::Q5_0,
        Stored::Q4_1 => GgmlDType::Q4_1,
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize], kind: GgmlDType, around: f32, spread: f32| -> Result<()> {
        let data: Vec<f32> =
            (0..shape.iter().product()).map(|_| around + spread * random.random_range(-1.0f32..1.0)).collect();
        all.push((name, QTensor::quantize(&Tensor::from_vec(data, shape, &Device::Cpu)?, kind)?));
        Ok(())
    };
    let vocabulary = vocabulary().len();
    let (q, kv, head_dim) = (HEADS * family.head_dim(), KV_HEADS * family.head_dim(), family.head_dim());
    let spread = |inputs: usize| 1.7 / (inputs as f32).sqrt();

    add("token_embd.weight".to_owned(), &[vocabulary, HIDDEN], kind, 0.0, 1.0)?;
    add("output_norm.weight".to_owned(), &[HIDDEN], GgmlDType::F32, 1.0, 0.3)?;
    if matches!(family, Family::Mistral | Family::Phi3) {
        add("output.weight".to_owned(), &[vocabulary, HIDDEN], kind, 0.0, spread(HIDDEN))?;
    }
    for layer in 0..family.layers() {
        let mut matrix = |part: &str, outputs: usize, inputs: usize| {
            add(format!("blk.{layer}.{part}.weight"), &[outputs, inputs], kind, 0.0, spread(inputs))
        };
        if family == Family::Phi3 {
            matrix("attn_qkv", q + 2 * kv, HIDDEN)?;
            matrix("ffn_up", 2 * FEED_FORWARD, HIDDEN)?;
        } else {
            matrix("attn_q", q, HIDDEN)?;
            matrix("attn_k", kv, HIDDEN)?;
            matrix("attn_v", kv, HIDDEN)?;
            matrix("ffn_gate", FEED_FORWARD, HIDDEN)?;
            matrix("ffn_up", FEED_FORWARD, HIDDEN)?;
        }
        matrix("attn_output", HIDDEN, q)?;
        matrix("ffn_down", HIDDEN, FEED_FORWARD)?;
        let mut vector = |part: &str, length: usize, around: f32| {
            add(format!("blk.{layer}.{part}"), &[length], GgmlDType::F32, around, 0.3)
        };
        vector("attn_norm.weight", HIDDEN, 1.0)?;
        vector("ffn_norm.weight", HIDDEN, 1.0)?;
        if family == Family::Qwen2 {
            vector("attn_q.bias", q, 0.0)?;
            vector("attn_k.bias", kv, 0.0)?;
            vector("attn_v.bias", kv, 0.0)?;
        }
        if matches!(family, Family::Qwen3 | Family::Gemma3) {
            vector("attn_q_norm.weight", head_dim, 1.0)?;
            vector("attn_k_norm.weight", head_dim, 1.0)?;
        }
        if family == Family::Gemma3 {
            vector("post_attention_norm.weight", HIDDEN, 1.0)?;
            vector("post_ffw_norm.weight", HIDDEN, 1.0)?;
        }
    }
    Ok(all)
}

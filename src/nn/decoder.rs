//! The decoder: one forward pass for every family.

use super::config::{Config, Factors, Rope};
use super::kernels::PageShape;
use super::kv::{KvCache, KvShape};
use super::linear::{Embedding, Linear, load_vector};
use super::logits::Logits;
use super::ops::{self, Attention, HeadNorm, Part, Rotation};
use super::source::Source;
use crate::error::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// A decoder's weights.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) config: Config,
    device: Device,
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: Tensor,
    output: Linear,
    rope: Frequencies,
    local_rope: Option<Frequencies>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    qkv: Linear,
    q_norm: Option<HeadNorm>,
    k_norm: Option<HeadNorm>,
    attention_output: Linear,
    post_attention_norm: Option<Tensor>,
    feed_forward_norm: Tensor,
    gate_up: Linear,
    down: Linear,
    post_feed_forward_norm: Option<Tensor>,
    window: Option<usize>,
}

#[derive(Debug)]
struct Frequencies {
    values: Vec<f64>,
    magnitude: f64,
    interleaved: bool,
}

impl Frequencies {
    fn load(rope: &Rope, file: &Source) -> Result<Self> {
        let factors = match &rope.factors {
            None => None,
            Some(Factors::Values(values)) => Some(values.clone()),
            Some(Factors::Tensor(name)) => {
                let factors = load_vector(file, name, rope.dims / 2, &Device::Cpu)?.to_vec1::<f32>()?;
                ensure!(
                    factors.iter().all(|f| f.is_finite() && *f > 0.0),
                    "{}: tensor {name} holds values that are not positive",
                    file.path().display()
                );
                Some(factors)
            }
        };
        Ok(Self {
            values: rope.frequencies(factors.as_deref()),
            magnitude: rope.magnitude,
            interleaved: rope.interleaved,
        })
    }

    fn at(&self, parts: &[Part<'_>], device: &Device) -> Result<Rotation> {
        let positions = parts.iter().flat_map(|part| part.cache.len()..part.cache.len() + part.rows);
        let rotation = Rotation::new(&self.values, self.magnitude, self.interleaved, positions);
        if device.is_cpu() { Ok(rotation) } else { rotation.onto(device) }
    }
}

impl Decoder {
    /// Loads the weights that a description asks for.
    pub(crate) fn load(config: Config, file: &Source, device: &Device) -> Result<Self> {
        let (embedding, output) = load_ends(file, &config, device)?;
        let layers = (0..config.layers)
            .into_par_iter()
            .map(|index| Layer::load(file, &config, index, device))
            .collect::<Result<Vec<_>>>()?;
        let local_rope = config.local_rope.as_ref().map(|rope| Frequencies::load(rope, file)).transpose()?;
        Ok(Self {
            embedding,
            layers,
            norm: load_vector(file, "output_norm.weight", config.hidden, device)?,
            output,
            rope: Frequencies::load(&config.rope, file)?,
            local_rope,
            device: device.clone(),
            config,
        })
    }

    /// An empty cache for one sequence.
    pub(crate) fn cache(&self) -> KvCache {
        let Config { layers, kv_heads, head_dim, .. } = self.config;
        KvCache::new(KvShape { pages: PageShape { layers, kv_heads, head_dim }, device: self.device.clone() })
    }

    /// Bytes of the matrices that a token of decoding reads.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let of = |layer: &Layer| [&layer.qkv, &layer.attention_output, &layer.gate_up, &layer.down].map(Linear::bytes);
        self.layers.iter().flat_map(of).sum::<u64>() + self.output.bytes()
    }

    /// Weights of the matrices that every token of a prompt is multiplied with.
    pub(crate) fn layer_weights(&self) -> u64 {
        let of = |layer: &Layer| [&layer.qkv, &layer.attention_output, &layer.gate_up, &layer.down].map(Linear::count);
        self.layers.iter().flat_map(of).sum()
    }

    /// Bytes of keys and values that a token at a position reads.
    pub(crate) fn seen_bytes(&self, position: usize) -> u64 {
        let Config { kv_heads, head_dim, .. } = self.config;
        let seen = self.layers.iter().map(|layer| layer.window.map_or(position, |window| window.min(position)));
        (seen.sum::<usize>() * 2 * kv_heads * head_dim * size_of::<f32>()) as u64
    }

    /// Runs the next tokens of some sequences through all layers, after those that are cached, and caches them. Returns the
    /// last layer's output, normed, for the rows in `wanted`, which are counted over all sequences' tokens.
    pub(crate) fn forward(&self, sequences: &mut [Next<'_>], wanted: &[usize]) -> Result<Tensor> {
        let config = &self.config;
        let tokens: Vec<u32> = sequences.iter().flat_map(|next| next.tokens).copied().collect();
        if let Some(unknown) = tokens.iter().find(|&&id| id as usize >= config.vocabulary) {
            crate::error::bail!("token id {unknown} is not in the vocabulary of {}", config.vocabulary);
        }
        let mut parts = Vec::with_capacity(sequences.len());
        for next in sequences {
            next.cache.reserve(next.cache.len() + next.tokens.len())?;
            parts.push(Part { rows: next.tokens.len(), cache: &mut *next.cache });
        }
        let rotation = self.rope.at(&parts, &self.device)?;
        let local_rotation = self.local_rope.as_ref().map(|rope| rope.at(&parts, &self.device)).transpose()?;
        let mut x = self.embedding.rows(&tokens, &self.device)?;
        if let Some(scale) = config.embedding_scale {
            x = (x * scale)?;
        }
        let eps = config.norm_eps;
        let mut normed = match self.layers.first() {
            Some(layer) => ops::rms_norm(&x, &layer.attention_norm, eps)?,
            None => crate::error::bail!("a decoder without layers computes nothing"),
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let rotation = match &local_rotation {
                Some(local) if layer.window.is_some() => local,
                _ => &rotation,
            };
            let mut mixed = layer.attention(&normed, config, index, rotation, &mut parts)?;
            if index + 1 == self.layers.len() {
                // Nothing comes after this but what was asked for.
                if wanted.is_empty() {
                    break;
                }
                (x, mixed) = (rows_of(&x, wanted)?, rows_of(&mixed, wanted)?);
            }
            let added = layer.after_attention(&mixed, config).with_context(|| format!("attention of layer {index}"))?;
            (x, normed) = ops::add_norm(&x, &added, &layer.feed_forward_norm, eps)?;
            let next = self.layers.get(index + 1).map_or(&self.norm, |next| &next.attention_norm);
            (x, normed) = ops::add_norm(&x, &layer.feed_forward(&normed, config)?, next, eps)?;
        }
        for part in parts {
            part.cache.advance(part.rows);
        }
        Ok(normed)
    }

    /// The logits of each row of [`Decoder::forward`]'s result.
    pub(crate) fn logits(&self, normed: &Tensor) -> Result<Vec<Logits>> {
        let logits = self.output.forward(normed)?;
        let logits = match self.config.final_softcap {
            None => logits,
            Some(cap) => ((logits / cap)?.tanh()? * cap)?,
        };
        Logits::of_rows(&logits)
    }
}

/// The next tokens of a sequence.
#[derive(Debug)]
pub(crate) struct Next<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) cache: &'a mut KvCache,
}

/// Some rows of a matrix, in their order.
fn rows_of(x: &Tensor, wanted: &[usize]) -> Result<Tensor> {
    if wanted.len() == x.dim(0)? {
        return Ok(x.clone());
    }
    let indices: Vec<u32> = wanted.iter().map(|&row| row as u32).collect();
    Ok(x.index_select(&Tensor::new(indices, x.device())?, 0)?)
}

/// The embedding and the output matrix, which are one where the file has only one.
fn load_ends(file: &Source, config: &Config, device: &Device) -> Result<(Embedding, Linear)> {
    const EMBEDDING: &str = "token_embd.weight";
    let name = if config.tied_embeddings { EMBEDDING } else { "output.weight" };
    let output = Linear::load(file, &[name], config.hidden, &[config.vocabulary], device)?;
    let embedding = if config.tied_embeddings { output.table() } else { Embedding::load(file, EMBEDDING, device)? };
    Ok((embedding, output))
}

impl Layer {
    fn load(file: &Source, config: &Config, index: usize, device: &Device) -> Result<Self> {
        let name = |part: &str| format!("blk.{index}.{part}");
        let vector = |part: &str, length| load_vector(file, &name(part), length, device);
        let linear = |parts: &[&str], inputs, outputs: &[usize]| {
            let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Linear::load(file, &names, inputs, outputs, device)
        };
        let (hidden, inner) = (config.hidden, config.feed_forward);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);

        let mut qkv = if config.fused_qkv {
            linear(&["attn_qkv.weight"], hidden, &[q + 2 * kv])?
        } else {
            linear(&["attn_q.weight", "attn_k.weight", "attn_v.weight"], hidden, &[q, kv, kv])?
        };
        if config.qkv_bias {
            let biases = [vector("attn_q.bias", q)?, vector("attn_k.bias", kv)?, vector("attn_v.bias", kv)?];
            qkv = qkv.with_bias(Tensor::cat(&biases, 0)?)?;
        }
        let gate_up = if config.fused_gate_up {
            linear(&["ffn_up.weight"], hidden, &[2 * inner])?
        } else {
            linear(&["ffn_gate.weight", "ffn_up.weight"], hidden, &[inner, inner])?
        };
        let head_norm = |part: &str| -> Result<Option<HeadNorm>> {
            if !config.qk_norm {
                return Ok(None);
            }
            let tensor = vector(part, config.head_dim)?;
            Ok(Some(HeadNorm { values: tensor.to_vec1()?, tensor }))
        };
        let post_norm = |part: &str| config.post_norms.then(|| vector(part, hidden)).transpose();
        Ok(Self {
            attention_norm: vector("attn_norm.weight", hidden)?,
            qkv,
            q_norm: head_norm("attn_q_norm.weight")?,
            k_norm: head_norm("attn_k_norm.weight")?,
            attention_output: linear(&["attn_output.weight"], q, &[hidden])?,
            post_attention_norm: post_norm("post_attention_norm.weight")?,
            feed_forward_norm: vector("ffn_norm.weight", hidden)?,
            gate_up,
            down: linear(&["ffn_down.weight"], inner, &[hidden])?,
            post_feed_forward_norm: post_norm("post_ffw_norm.weight")?,
            window: config.window_of(index),
        })
    }

    /// What the rows' heads take from the cached values.
    fn attention(
        &self,
        normed: &Tensor,
        config: &Config,
        layer: usize,
        rotation: &Rotation,
        parts: &mut [Part<'_>],
    ) -> Result<Tensor> {
        let &Config { heads, kv_heads, head_dim, norm_eps, .. } = config;
        let attention = Attention {
            layer,
            heads,
            kv_heads,
            head_dim,
            q_norm: self.q_norm.as_ref(),
            k_norm: self.k_norm.as_ref(),
            norm_eps,
            scale: config.attention_scale as f32,
            rotation,
            window: self.window,
            softcap: config.attention_softcap,
        };
        ops::attention(&self.qkv.forward(normed)?, &attention, parts)
            .with_context(|| format!("attention of layer {layer}"))
    }

    fn after_attention(&self, mixed: &Tensor, config: &Config) -> Result<Tensor> {
        self.normed(self.attention_output.forward(mixed)?, self.post_attention_norm.as_ref(), config)
    }

    fn feed_forward(&self, normed: &Tensor, config: &Config) -> Result<Tensor> {
        let gated = ops::gate(&self.gate_up.forward(normed)?, config.activation)?;
        self.normed(self.down.forward(&gated)?, self.post_feed_forward_norm.as_ref(), config)
    }

    #[expect(clippy::unused_self, reason = "reads as a step of the layer")]
    fn normed(&self, x: Tensor, norm: Option<&Tensor>, config: &Config) -> Result<Tensor> {
        match norm {
            None => Ok(x),
            Some(weight) => ops::rms_norm(&x, weight, config.norm_eps),
        }
    }
}

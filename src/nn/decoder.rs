//! The decoder: one forward pass for every family.

use super::config::{Config, Factors, Rope};
use super::kernels::Sight;
use super::kv::{KvCache, KvShape};
use super::linear::{Embedding, Linear, load_vector};
use super::ops::{self, Heads, Rotation};
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
    q_norm: Option<Vec<f32>>,
    k_norm: Option<Vec<f32>>,
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

    fn at(&self, position: usize, positions: usize) -> Rotation {
        Rotation::new(&self.values, self.magnitude, self.interleaved, position, positions)
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
        KvCache::new(KvShape {
            layers: self.config.layers,
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim,
            device: self.device.clone(),
        })
    }

    /// Runs tokens through all layers, after those that are cached, and caches them. Returns the last layer's output.
    pub(crate) fn forward(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Tensor> {
        let config = &self.config;
        if let Some(unknown) = tokens.iter().find(|&&id| id as usize >= config.vocabulary) {
            crate::error::bail!("token id {unknown} is not in the vocabulary of {}", config.vocabulary);
        }
        let position = cache.len();
        cache.reserve(position + tokens.len())?;
        let rotation = self.rope.at(position, tokens.len());
        let local_rotation = self.local_rope.as_ref().map(|rope| rope.at(position, tokens.len()));
        let mut x = self.embedding.rows(tokens, &self.device)?;
        if let Some(scale) = config.embedding_scale {
            x = (x * scale)?;
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let rotation = match &local_rotation {
                Some(local) if layer.window.is_some() => local,
                _ => &rotation,
            };
            let attended = layer.attention(&x, config, index, rotation, cache)?;
            x = (x + attended)?;
            x = (&x + layer.feed_forward(&x, config)?)?;
        }
        cache.advance(tokens.len());
        Ok(x)
    }

    /// Logits of the last row of [`Decoder::forward`]'s result.
    pub(crate) fn logits(&self, x: &Tensor) -> Result<Vec<f32>> {
        let last = x.narrow(0, x.dim(0)? - 1, 1)?.contiguous()?;
        let normed = ops::rms_norm(&last, &self.norm, self.config.norm_eps)?;
        let logits = self.output.forward(&normed)?;
        let logits = match self.config.final_softcap {
            None => logits,
            Some(cap) => ((logits / cap)?.tanh()? * cap)?,
        };
        Ok(logits.squeeze(0)?.to_vec1()?)
    }
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
        let head_norm = |part: &str| -> Result<Option<Vec<f32>>> {
            if !config.qk_norm {
                return Ok(None);
            }
            Ok(Some(vector(part, config.head_dim)?.to_vec1()?))
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

    fn attention(
        &self,
        x: &Tensor,
        config: &Config,
        index: usize,
        rotation: &Rotation,
        cache: &mut KvCache,
    ) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let &Config { heads, kv_heads, head_dim, norm_eps, .. } = config;
        let normed = ops::rms_norm(x, &self.attention_norm, norm_eps)?;
        let qkv = self.qkv.forward(&normed)?;
        let split = |first: usize, count: usize, norm: &Option<Vec<f32>>, rotation: Option<&Rotation>, scale: f64| {
            let norm = norm.as_deref().map(|weights| (weights, norm_eps));
            let heads = Heads { first_column: first * head_dim, count, head_dim, norm, rotation, scale: scale as f32 };
            ops::split_heads(&qkv, &heads)
        };
        let queries = split(0, heads, &self.q_norm, Some(rotation), config.attention_scale)?;
        let keys = split(heads, kv_heads, &self.k_norm, Some(rotation), 1.0)?;
        let values = split(heads + kv_heads, kv_heads, &None, None, 1.0)?;

        let sight = Sight { rows, position: cache.len(), window: self.window, softcap: config.attention_softcap };
        let mixed = ops::attend(&queries, cache.write(index, &keys, &values)?, &sight)?;
        self.normed(self.attention_output.forward(&mixed)?, self.post_attention_norm.as_ref(), config)
            .with_context(|| format!("attention of layer {index}"))
    }

    fn feed_forward(&self, x: &Tensor, config: &Config) -> Result<Tensor> {
        let normed = ops::rms_norm(x, &self.feed_forward_norm, config.norm_eps)?;
        let gated = ops::gate(&self.gate_up.forward(&normed)?, config.activation)?;
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

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
    #[cfg(feature = "cuda")]
    graphs: super::kernels::cuda::Graphs,
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
        if device.is_cpu() || device.is_cuda() { Ok(rotation) } else { rotation.onto(device) }
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
        #[cfg(feature = "cuda")]
        let quantised = output.is_quantised_on_cuda()
            && layers.iter().all(|layer: &Layer| layer.matrices().into_iter().all(Linear::is_quantised_on_cuda));
        let local_rope = config.local_rope.as_ref().map(|rope| Frequencies::load(rope, file)).transpose()?;
        Ok(Self {
            embedding,
            layers,
            norm: load_vector(file, "output_norm.weight", config.hidden, device)?,
            output,
            rope: Frequencies::load(&config.rope, file)?,
            local_rope,
            #[cfg(feature = "cuda")]
            graphs: super::kernels::cuda::Graphs::new(quantised),
            device: device.clone(),
            config,
        })
    }

    /// An empty cache for one sequence.
    pub(crate) fn cache(&self) -> KvCache {
        let Config { layers, kv_heads, head_dim, .. } = self.config;
        KvCache::new(KvShape { pages: PageShape { layers, kv_heads, head_dim }, device: self.device.clone() })
    }

    /// Where it runs.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of the matrices that a token of decoding reads.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.layers.iter().flat_map(|layer| layer.matrices().map(Linear::bytes)).sum::<u64>() + self.output.bytes()
    }

    /// Weights of the matrices that every token of a prompt is multiplied with.
    pub(crate) fn layer_weights(&self) -> u64 {
        self.layers.iter().flat_map(|layer| layer.matrices().map(Linear::count)).sum()
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
        let mut block = self.block(sequences)?;
        let step = self.step(&block)?;
        let normed = self.run(&mut block, step.as_ref(), wanted)?;
        block.advance();
        Ok(normed)
    }

    /// The logits of the rows in `wanted` of the sequences' next tokens, which are cached. Those of a device are valid until the
    /// next call.
    pub(crate) fn next(&self, sequences: &mut [Next<'_>], wanted: &[usize]) -> Result<Vec<Logits>> {
        #[cfg(feature = "cuda")]
        if let Some(logits) = self.replay(sequences, wanted)? {
            return Ok(logits);
        }
        self.logits(&self.forward(sequences, wanted)?)
    }

    /// The logits of each row of [`Decoder::forward`]'s result.
    pub(crate) fn logits(&self, normed: &Tensor) -> Result<Vec<Logits>> {
        Logits::of_rows(&self.output(normed)?)
    }

    fn output(&self, normed: &Tensor) -> Result<Tensor> {
        let logits = self.output.forward(normed)?;
        Ok(match self.config.final_softcap {
            None => logits,
            Some(cap) => ((logits / cap)?.tanh()? * cap)?,
        })
    }

    fn block<'a>(&self, sequences: &'a mut [Next<'_>]) -> Result<Block<'a>> {
        let tokens: Vec<u32> = sequences.iter().flat_map(|next| next.tokens).copied().collect();
        if let Some(unknown) = tokens.iter().find(|&&id| id as usize >= self.config.vocabulary) {
            crate::error::bail!("token id {unknown} is not in the vocabulary of {}", self.config.vocabulary);
        }
        let mut parts = Vec::with_capacity(sequences.len());
        for next in sequences {
            next.cache.reserve(next.cache.len() + next.tokens.len())?;
            parts.push(Part { rows: next.tokens.len(), cache: &mut *next.cache });
        }
        let ropes = std::iter::once(&self.rope).chain(&self.local_rope);
        let rotations = ropes.map(|rope| rope.at(&parts, &self.device)).collect::<Result<_>>()?;
        Ok(Block { tokens, parts, rotations })
    }

    #[cfg(not(feature = "cuda"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "GPUs have steps")]
    fn step(&self, _: &Block<'_>) -> Result<Option<ops::Step>> {
        Ok(None)
    }

    #[cfg(feature = "cuda")]
    fn step(&self, block: &Block<'_>) -> Result<Option<ops::Step>> {
        if !self.device.is_cuda() {
            return Ok(None);
        }
        let (words, form) = block.words()?;
        Ok(Some(ops::Step::new(&words, form, &self.device)?))
    }

    /// One token of each of a few sequences, as a recorded step.
    #[cfg(feature = "cuda")]
    fn replay(&self, sequences: &mut [Next<'_>], wanted: &[usize]) -> Result<Option<Vec<Logits>>> {
        let one_each = sequences.iter().all(|next| next.tokens.len() == 1) && wanted.len() == sequences.len();
        if !one_each || !self.graphs.fit(sequences.len()) || !self.device.is_cuda() {
            return Ok(None);
        }
        let mut block = self.block(sequences)?;
        let (words, form) = block.words()?;
        let run = |step: &ops::Step, logits: &Tensor| -> Result<()> {
            let normed = self.run(&mut block, Some(step), wanted)?;
            Ok(logits.slice_set(&self.output(&normed)?, 0, 0)?)
        };
        let vocabulary = self.config.vocabulary;
        let Some(logits) = self.graphs.replay((&words, &form), vocabulary, &self.device, run)? else { return Ok(None) };
        block.advance();
        Logits::of_rows(&logits).map(Some)
    }

    fn run(&self, block: &mut Block<'_>, step: Option<&ops::Step>, wanted: &[usize]) -> Result<Tensor> {
        let config = &self.config;
        let mut x = self.embedding.rows(&block.tokens, step, &self.device)?;
        if let Some(scale) = config.embedding_scale {
            x = (x * scale)?;
        }
        let eps = config.norm_eps;
        let mut normed = match self.layers.first() {
            Some(layer) => ops::rms_norm(&x, &layer.attention_norm, eps)?,
            None => crate::error::bail!("a decoder without layers computes nothing"),
        };
        for (index, layer) in self.layers.iter().enumerate() {
            let mut mixed = layer.attention(&normed, config, index, step, block)?;
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
        Ok(normed)
    }
}

/// The next tokens of some sequences, and what is the same for all layers.
struct Block<'a> {
    tokens: Vec<u32>,
    parts: Vec<Part<'a>>,
    /// Of the layers that see everything, then of those with a window, where theirs differs.
    rotations: Vec<Rotation>,
}

impl Block<'_> {
    #[cfg(feature = "cuda")]
    fn words(&self) -> Result<(Vec<u32>, super::kernels::cuda::Form)> {
        super::kernels::cuda::words(&self.tokens, &self.parts, &self.rotations)
    }

    /// Counts the rows, which every layer has cached.
    fn advance(self) {
        for part in self.parts {
            part.cache.advance(part.rows);
        }
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

    fn matrices(&self) -> [&Linear; 4] {
        [&self.qkv, &self.attention_output, &self.gate_up, &self.down]
    }

    /// What the rows' heads take from the cached values.
    fn attention(
        &self,
        normed: &Tensor,
        config: &Config,
        layer: usize,
        step: Option<&ops::Step>,
        block: &mut Block<'_>,
    ) -> Result<Tensor> {
        let &Config { heads, kv_heads, head_dim, norm_eps, .. } = config;
        let (projected, bias) = self.qkv.forward_apart(normed)?;
        let attention = Attention {
            layer,
            bias,
            heads,
            kv_heads,
            head_dim,
            q_norm: self.q_norm.as_ref(),
            k_norm: self.k_norm.as_ref(),
            norm_eps,
            scale: config.attention_scale as f32,
            rotations: &block.rotations,
            rotation: if self.window.is_some() { block.rotations.len() - 1 } else { 0 },
            step,
            window: self.window,
            softcap: config.attention_softcap,
        };
        ops::attention(&projected, &attention, &mut block.parts).with_context(|| format!("attention of layer {layer}"))
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

//! BERT on the CPU, over our own kernels: the tokens of several texts side by side, without padding.
//!
//! Matrices see all tokens at once, attention sees one text at a time. Every token's result depends on its own text alone, so
//! that a text's vector has the same bits in any company. Matrices are multiplied as integers of thirteen bits; everything else is
//! single precision.

use crate::nn::kernels::{Codes, Integers, Isa, Texts, attend_mutually, each_row, exp, for_each_isa};
use candle_core::Result;
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{Config, HiddenAct};

/// The model, its matrices packed.
pub(super) struct Bert {
    width: usize,
    heads: usize,
    eps: f32,
    words: Vec<f32>,
    positions: Vec<f32>,
    types: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Queries, keys and values, side by side.
    attention: Linear,
    joined: Linear,
    joined_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// A matrix and what is added to its outputs.
pub(super) struct Linear {
    matrix: Integers,
    bias: Vec<f32>,
}

struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// The ids of a text's tokens and their types.
pub(super) struct Text<'a> {
    pub(super) ids: &'a [u32],
    pub(super) types: &'a [u32],
}

impl Bert {
    /// Whether a configuration is one that this runs.
    pub(super) fn runs(config: &Config) -> bool {
        config.hidden_act == HiddenAct::Gelu
    }

    /// Loads the weights.
    pub(super) fn load(weights: &VarBuilder, config: &Config) -> Result<Self> {
        let width = config.hidden_size;
        let prefix = ["", "bert."]
            .into_iter()
            .find(|prefix| weights.contains_tensor(&format!("{prefix}embeddings.word_embeddings.weight")));
        let weights = match prefix {
            Some("bert.") => weights.pp("bert"),
            _ => weights.clone(),
        };
        let embeddings = weights.pp("embeddings");
        let table =
            |rows: usize, name: &str| embeddings.pp(name).get((rows, width), "weight")?.flatten_all()?.to_vec1();
        let layer = |index: usize| -> Result<Layer> {
            let layer = weights.pp("encoder.layer").pp(index);
            let own = layer.pp("attention.self");
            Ok(Layer {
                attention: Linear::load(&[own.pp("query"), own.pp("key"), own.pp("value")], width, width)?,
                joined: Linear::load(&[layer.pp("attention.output.dense")], width, width)?,
                joined_norm: norm(&layer.pp("attention.output.LayerNorm"), width)?,
                up: Linear::load(&[layer.pp("intermediate.dense")], config.intermediate_size, width)?,
                down: Linear::load(&[layer.pp("output.dense")], width, config.intermediate_size)?,
                down_norm: norm(&layer.pp("output.LayerNorm"), width)?,
            })
        };
        // One after the other: a configuration may promise more layers than a machine can count.
        let mut layers = Vec::new();
        for index in 0..config.num_hidden_layers {
            layers.push(layer(index)?);
        }
        Ok(Self {
            width,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps as f32,
            words: table(config.vocab_size, "word_embeddings")?,
            positions: table(config.max_position_embeddings, "position_embeddings")?,
            types: table(config.type_vocab_size, "token_type_embeddings")?,
            norm: norm(&embeddings.pp("LayerNorm"), width)?,
            layers,
        })
    }

    /// The last layer's state of every token, text after text; `None` where a token or its type is none of the model's.
    pub(super) fn states(&self, texts: &[Text<'_>]) -> Option<Vec<f32>> {
        let (isa, width) = (Isa::best(), self.width);
        let mut x = self.embedded(texts)?;
        each_row(&mut x, width, PARALLEL, |_, row| self.norm.apply(isa, row, self.eps));
        let ends: Vec<usize> = texts
            .iter()
            .scan(0, |end, text| {
                *end += text.ids.len();
                Some(*end)
            })
            .collect();
        // Room that every layer works in.
        let (mut codes, mut wide, mut narrow, mut mixed) = (Codes::default(), Vec::new(), Vec::new(), Vec::new());
        for layer in &self.layers {
            let Layer { attention, joined, joined_norm, up, down, down_norm } = layer;
            attention.matrix.multiply(isa, &x, &mut codes, &mut wide);
            each_row(&mut wide, 3 * width, PARALLEL, |_, row| add(isa, row, &attention.bias));
            attend_mutually(isa, Texts { parts: &wide, width, heads: self.heads, ends: &ends }, &mut mixed);
            joined.matrix.multiply(isa, &mixed, &mut codes, &mut narrow);
            self.residual(isa, &mut x, &narrow, &joined.bias, joined_norm);
            up.matrix.multiply(isa, &x, &mut codes, &mut wide);
            each_row(&mut wide, up.bias.len(), PARALLEL, |_, row| gelu(isa, row, &up.bias));
            down.matrix.multiply(isa, &wide, &mut codes, &mut narrow);
            self.residual(isa, &mut x, &narrow, &down.bias, down_norm);
        }
        Some(x)
    }

    fn embedded(&self, texts: &[Text<'_>]) -> Option<Vec<f32>> {
        let place = |index: usize| index * self.width..(index + 1) * self.width;
        let mut x = Vec::with_capacity(self.width * texts.iter().map(|text| text.ids.len()).sum::<usize>());
        for text in texts {
            for (position, (&id, &kind)) in text.ids.iter().zip(text.types).enumerate() {
                let word = self.words.get(place(id as usize))?;
                let (kind, position) = (self.types.get(place(kind as usize))?, self.positions.get(place(position))?);
                x.extend(word.iter().zip(kind).zip(position).map(|((word, kind), position)| word + kind + position));
            }
        }
        Some(x)
    }

    /// `x` becomes the norm of `x`, `y` and a bias together.
    fn residual(&self, isa: Isa, x: &mut [f32], y: &[f32], bias: &[f32], norm: &Norm) {
        let width = self.width;
        each_row(x, width, PARALLEL, |index, row| {
            add(isa, row, &y[index * width..(index + 1) * width]);
            add(isa, row, bias);
            norm.apply(isa, row, self.eps);
        });
    }
}

/// Numbers from which work is shared among threads.
const PARALLEL: usize = 16_384;

impl Linear {
    /// Loads parts of so many outputs each, side by side.
    pub(super) fn load(parts: &[VarBuilder<'_>], outputs: usize, inputs: usize) -> Result<Self> {
        let (mut weights, mut bias) = (Vec::<f32>::new(), Vec::new());
        for part in parts {
            weights.extend(part.get((outputs, inputs), "weight")?.flatten_all()?.to_vec1::<f32>()?);
            bias.extend(part.get(outputs, "bias")?.to_vec1::<f32>()?);
        }
        Ok(Self { matrix: Integers::new(inputs, &weights), bias })
    }

    /// Its outputs.
    pub(super) fn outputs(&self) -> usize {
        self.matrix.rows()
    }

    /// The outputs of rows of inputs.
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let (isa, mut out) = (Isa::best(), Vec::new());
        self.matrix.multiply(isa, x, &mut Codes::default(), &mut out);
        out.chunks_exact_mut(self.outputs()).for_each(|row| add(isa, row, &self.bias));
        out
    }
}

impl Norm {
    fn apply(&self, isa: Isa, row: &mut [f32], eps: f32) {
        normalise(isa, row, &self.weight, &self.bias, eps);
    }
}

fn norm(part: &VarBuilder<'_>, width: usize) -> Result<Norm> {
    // Checkpoints of the first TensorFlow models call them gamma and beta.
    let named = |name: &str, old: &str| {
        part.get(width, name).or_else(|error| part.get(width, old).map_err(|_| error))?.to_vec1()
    };
    Ok(Norm { weight: named("weight", "gamma")?, bias: named("bias", "beta")? })
}

for_each_isa! {
    fn add(row: &mut [f32], other: &[f32]) {
        for (value, other) in row.iter_mut().zip(other) {
            *value += other;
        }
    }
}

/// The sum of what a function makes of numbers, in sixteen lanes, so that it vectorises.
#[inline(always)]
fn lanes(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for values in whole {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += of(*value);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += of(*value);
    }
    sums.iter().sum()
}

for_each_isa! {
    /// A row with mean 0 and deviation 1, scaled and moved.
    fn normalise(row: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
        let n = row.len() as f32;
        let mean = lanes(row, |value| value) / n;
        let variance = lanes(row, |value| (value - mean) * (value - mean)) / n;
        let scale = 1.0 / (variance + eps).sqrt();
        for ((value, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *value = (*value - mean) * scale * weight + bias;
        }
    }
}

for_each_isa! {
    /// The Gaussian error linear unit of a row and its bias. The error function is that of Abramowitz and Stegun, 7.1.26, whose
    /// error is below 1.5e-7.
    fn gelu(row: &mut [f32], bias: &[f32]) {
        for (value, bias) in row.iter_mut().zip(bias) {
            let x = *value + bias;
            let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
            let t = 1.0 / (1.0 + 0.327_591_1 * z);
            let series = t * (0.254_829_6 + t * (-0.284_496_73 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
            let erf = 1.0 - series * exp(-z * z);
            *value = 0.5 * (x + x.abs() * erf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_near_enough() {
        // Values of 0.5 x (1 + erf(x / sqrt 2)) by SciPy 1.16 (scipy.special.ndtr).
        let known = [
            (-3.0, -0.004_049_694),
            (-1.0, -0.158_655_25),
            (0.0, 0.0),
            (0.5, 0.345_731_23),
            (2.0, 1.954_499_7),
            (6.0, 6.0),
        ];
        let mut row: Vec<f32> = known.iter().map(|(x, _)| x - 1.0).collect();
        gelu(Isa::best(), &mut row, &[1.0; 6]);
        for (found, (x, wanted)) in row.iter().zip(known) {
            assert!((found - wanted).abs() < 1e-6, "{x}: {found}, not {wanted}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_to_a_millionth() {
        let row: Vec<f32> = (0..100).map(|n| (n as f32 * 0.7).sin() * 3.0).collect();
        let ones = vec![1.0; 100];
        let all: Vec<Vec<f32>> = Isa::available()
            .into_iter()
            .map(|isa| {
                let mut own = row.clone();
                normalise(isa, &mut own, &ones, &row, 1e-12);
                gelu(isa, &mut own, &ones);
                own
            })
            .collect();
        for other in &all {
            assert!(other.iter().zip(&all[0]).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }
}

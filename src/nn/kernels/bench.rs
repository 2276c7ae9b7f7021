//! The kernels as `benches/kernels.rs` runs them: plain data in and out, so that the kernels themselves stay private.

use super::activations::Activations;
use super::attention::{PAGE, Page, PageShape, Rows, Sight, attend};
use super::{Codes, Floats, Form, Integers, Isa, Matrix, Packed, Texts, attend_mutually, multiply};
use crate::error::Result;
use crate::nn::config::Activation;
use crate::nn::ops::{self, Rotation};
use candle_core::quantized::QTensor;
use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt;
use std::hint::black_box;
use std::sync::Arc;

/// An instruction set that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstructionSet(Isa);

impl InstructionSet {
    /// All that this processor has, the best first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Isa::available().into_iter().map(Self).collect()
    }

    /// The one that models run on.
    #[must_use]
    pub fn best() -> Self {
        Self(Isa::best())
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// How weights are stored: a quantised type of GGUF files, or single precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weights(Option<Form>);

impl Weights {
    /// Every type that has kernels of its own.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Form::ALL.into_iter().map(Some).chain([None]).map(Self).collect()
    }

    /// Whether rows of this length can be stored so.
    #[must_use]
    pub fn fits(self, columns: usize) -> bool {
        self.0.is_none_or(|form| columns.is_multiple_of(form.unit()))
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(form) => write!(f, "{form:?}"),
            None => f.write_str("F32"),
        }
    }
}

/// A matrix of random weights and rows of inputs for it.
pub struct Multiplication {
    matrices: [Matrix; 1],
    inputs: Vec<f32>,
    bytes: usize,
}

impl Multiplication {
    /// A matrix of `outputs` rows and `columns` columns, and `rows` rows of inputs.
    pub fn new(weights: Weights, outputs: usize, columns: usize, rows: usize) -> Result<Self> {
        let values = numbers(outputs * columns);
        let (matrix, bytes) = match weights.0 {
            None => {
                let read =
                    |range: std::ops::Range<usize>| Ok(values[range.start * columns..range.end * columns].to_vec());
                (Matrix::Float(Floats::new(outputs, columns, read)?), values.len() * size_of::<f32>())
            }
            Some(form) => {
                let tensor = Tensor::from_vec(values, (outputs, columns), &Device::Cpu)?;
                let tensor = QTensor::quantize(&tensor, form.kind())?;
                let data = tensor.data()?;
                let row = data.len() / outputs;
                let read = |range: std::ops::Range<usize>| Ok(data[range.start * row..range.end * row].to_vec());
                (Matrix::Quantised(Packed::new(form, outputs, columns, read)?), data.len())
            }
        };
        Ok(Self { matrices: [matrix], inputs: numbers(rows * columns), bytes })
    }

    /// Bytes of the weights, as the file has them: what one multiplication reads at least.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Quantises the inputs and multiplies.
    #[must_use]
    pub fn run(&self, on: InstructionSet) -> Vec<f32> {
        multiply(on.0, &self.inputs, &self.matrices)
    }
}

/// Rows of inputs to be quantised.
pub struct Quantisation {
    inputs: Vec<f32>,
    columns: usize,
}

impl Quantisation {
    /// `rows` rows of `columns` inputs, a multiple of 32.
    #[must_use]
    pub fn new(rows: usize, columns: usize) -> Self {
        Self { inputs: numbers(rows * columns), columns }
    }

    /// Quantises all rows. The result is dropped: its form is the kernels' own.
    pub fn run(&self, on: InstructionSet) {
        black_box(Activations::quantise(on.0, &self.inputs, self.columns));
    }
}

/// The shape of the attention of a small model: heads, key-value heads, and their length.
const HEADS: usize = 12;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 128;
/// That of the sentence encoder.
const ENCODER_HEAD_DIM: usize = 32;
const SHAPE: PageShape = PageShape { layers: 1, kv_heads: KV_HEADS, head_dim: HEAD_DIM };

/// Queries to a filled cache.
pub struct Attention {
    pages: Vec<Arc<Page>>,
    queries: Vec<f32>,
    sight: Sight,
}

impl Attention {
    /// A cache of `depth` positions and a block of `rows` more, each of which sees all before it.
    #[must_use]
    pub fn new(depth: usize, rows: usize) -> Self {
        let positions = depth + rows;
        let mut pages: Vec<Page> = (0..positions.div_ceil(PAGE)).map(|_| Page::new(SHAPE)).collect();
        let keys = numbers(KV_HEADS * positions * HEAD_DIM);
        for (index, key) in keys.chunks_exact(HEAD_DIM).enumerate() {
            let (position, head) = (index / KV_HEADS, index % KV_HEADS);
            pages[position / PAGE].write(0, head, position % PAGE, key, key);
        }
        let sight = Sight { rows, position: depth, window: None, softcap: None };
        Self { pages: pages.into_iter().map(Arc::new).collect(), queries: numbers(HEADS * rows * HEAD_DIM), sight }
    }

    /// Multiplications and additions of the scores and of the mixing.
    #[must_use]
    pub fn operations(&self) -> usize {
        (0..self.sight.rows).map(|row| 4 * HEADS * HEAD_DIM * self.sight.of(row).len()).sum()
    }

    /// Bytes of the keys and values that are seen: what is read at least.
    #[must_use]
    pub fn bytes(&self) -> usize {
        2 * KV_HEADS * HEAD_DIM * size_of::<f32>() * (self.sight.position + self.sight.rows)
    }

    /// What the queries take from the values.
    #[must_use]
    pub fn run(&self, on: InstructionSet) -> Vec<f32> {
        attend(on.0, SHAPE, 0, &[Rows { pages: &self.pages, sight: self.sight }], &self.queries, HEADS)
    }
}

/// A matrix of a sentence encoder and rows of inputs for it.
pub struct Encoding {
    matrix: Integers,
    inputs: Vec<f32>,
}

impl Encoding {
    /// A matrix of `outputs` rows and `columns` columns, and `rows` rows of inputs.
    #[must_use]
    pub fn new(outputs: usize, columns: usize, rows: usize) -> Self {
        Self { matrix: Integers::new(columns, &numbers(outputs * columns)), inputs: numbers(rows * columns) }
    }

    /// Quantises the inputs and multiplies.
    #[must_use]
    pub fn run(&self, on: InstructionSet) -> Vec<f32> {
        let mut out = Vec::new();
        self.matrix.multiply(on.0, &self.inputs, &mut Codes::default(), &mut out);
        out
    }
}

/// The tokens of some texts, that attend to one another within each.
pub struct Mutual {
    parts: Vec<f32>,
    ends: Vec<usize>,
}

impl Mutual {
    /// `texts` texts of `tokens` tokens, with the heads of a small encoder.
    #[must_use]
    pub fn new(texts: usize, tokens: usize) -> Self {
        let parts = numbers(texts * tokens * 3 * HEADS * ENCODER_HEAD_DIM);
        Self { parts, ends: (1..=texts).map(|text| text * tokens).collect() }
    }

    /// Multiplications and additions of the scores and of the mixing.
    #[must_use]
    pub fn operations(&self) -> usize {
        let tokens = self.ends.first().copied().unwrap_or(0);
        4 * HEADS * ENCODER_HEAD_DIM * tokens * tokens * self.ends.len()
    }

    /// What the tokens take from the values.
    #[must_use]
    pub fn run(&self, on: InstructionSet) -> Vec<f32> {
        let mut mixed = Vec::new();
        let texts = Texts { parts: &self.parts, width: HEADS * ENCODER_HEAD_DIM, heads: HEADS, ends: &self.ends };
        attend_mutually(on.0, texts, &mut mixed);
        mixed
    }
}

/// What stands between a decoder's matrices, on the best instruction set.
pub struct Between {
    x: Tensor,
    weight: Tensor,
    rotation: Rotation,
}

impl Between {
    /// `rows` rows of `width` numbers: of whole heads, and of two halves.
    pub fn new(rows: usize, width: usize) -> Result<Self> {
        let frequencies: Vec<f64> = (0..HEAD_DIM / 2).map(|pair| 10_000f64.powf(-(pair as f64) / 64.0)).collect();
        Ok(Self {
            x: Tensor::from_vec(numbers(rows * width), (rows, width), &Device::Cpu)?,
            weight: Tensor::from_vec(numbers(width), width, &Device::Cpu)?,
            rotation: Rotation::new(&frequencies, 1.0, false, 0..rows),
        })
    }

    /// The root-mean-square norm of each row.
    pub fn norm(&self) -> Result<Tensor> {
        ops::rms_norm(&self.x, &self.weight, 1e-6)
    }

    /// The gate of a feed-forward part.
    pub fn gate(&self) -> Result<Tensor> {
        ops::gate(&self.x, Activation::Silu)
    }

    /// Every head of a row turned by its position.
    pub fn turn(&self) -> Result<Vec<f32>> {
        let (mut values, width) = (self.x.flatten_all()?.to_vec1()?, self.x.dim(1)?);
        for (row, values) in values.chunks_exact_mut(width).enumerate() {
            for head in values.chunks_exact_mut(HEAD_DIM) {
                ops::finish_head(Isa::best(), None, &self.rotation, row, 1.0, head);
            }
        }
        Ok(values)
    }
}

fn numbers(count: usize) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(1);
    (0..count).map(|_| random.random_range(-1.0f32..1.0)).collect()
}

//! The sentence encoder: BERT with mean pooling and L2 norm, loaded from safetensors.

use super::Device;
use crate::error::Result;
use std::path::Path;

/// A sentence encoder.
pub struct SentenceEncoder {}

impl SentenceEncoder {
    /// Loads `config.json`, `tokenizer.json` and `model.safetensors` from a folder.
    pub fn load(_folder: &Path, _device: &Device) -> Result<Self> {
        todo!()
    }

    /// Length of the vectors.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        todo!()
    }

    /// One unit-length vector per text, in order; batched inside. Equal texts give equal bits whatever stands beside them.
    pub fn encode(&self, _texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        todo!()
    }
}

/// Cosine of two unit-length vectors.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

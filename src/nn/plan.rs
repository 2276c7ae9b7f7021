//! What a model would need of this machine, from its headers alone: memory, and the speed of some of its layers with weights made up.
//!
//! Speed depends on the shapes and types of the weights and not on their values. So the first layers of the model are built in the
//! shapes that the headers give, without reading a weight, and timed; what more layers take follows from what each of these takes.

use super::checkpoint::{Checkpoint, packed_bytes};
use super::config::Config;
use super::decoder::Decoder;
use super::kernels::{PAGE, PageShape};
use super::model::Language;
use super::prefill::CHUNK;
use super::{Device, LanguageModel};
use crate::clock::Clock;
use crate::error::{Context, Result};
use crate::units::Seconds;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// What a process of this program takes before any model is loaded.
pub const PROGRAM_BYTES: u64 = 24 << 20;
/// What an entry of a vocabulary takes: its text, its places in tables, its merges. Measured on vocabularies of 49,152 to 262,144
/// entries (docs/device.md).
const ENTRY_BYTES: u64 = 150;
/// Weights of layers that are made up at most: more than the caches of processors hold, and not more than small machines have.
const MADE_UP: u64 = 384 << 20;
/// Fewer layers are not made up: what one takes follows from the difference between these and half as many.
const FEWEST_LAYERS: usize = 4;
/// How often each figure is taken, after a warm-up; the median counts.
const ROUNDS: usize = 3;
/// Steps of a measurement of decoding.
const STEPS: usize = 12;
/// Bytes of the file that are read to see how fast that goes.
const READ: usize = 32 << 20;

/// The memory that a model takes on the CPU, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryNeed {
    /// Packed weights.
    pub weights: u64,
    /// Vocabulary, merges and what is looked up in them.
    pub vocabulary: u64,
    /// Results of a chunk of a prompt, and logits.
    pub activations: u64,
    /// Keys and values of a position.
    pub kv_per_token: u64,
    /// Positions that are given room together.
    pub page_tokens: u64,
}

impl MemoryNeed {
    /// Without any position.
    #[must_use]
    pub fn fixed(&self) -> u64 {
        self.weights.saturating_add(self.vocabulary).saturating_add(self.activations)
    }

    /// With so many sequences of so many positions.
    #[must_use]
    pub fn total(&self, positions: u64, sequences: u64) -> u64 {
        let pages = positions.div_ceil(self.page_tokens.max(1)).saturating_mul(self.page_tokens);
        self.fixed().saturating_add(pages.saturating_mul(self.kv_per_token).saturating_mul(sequences))
    }

    /// The positions of each of so many sequences that fit beside the rest.
    #[must_use]
    pub fn fitting(&self, memory: u64, sequences: u64) -> u64 {
        let left = memory.saturating_sub(self.fixed()) / self.kv_per_token.saturating_mul(sequences).max(1);
        left / self.page_tokens.max(1) * self.page_tokens
    }
}

/// A model whose headers have been read.
pub struct Anatomy {
    checkpoint: Checkpoint,
    config: Config,
}

/// How fast a model would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// Seconds until it is loaded, from a file as fast as this one's beginning.
    pub load_s: Seconds,
    /// Seconds until the first token of a prompt of [`Forecast::prompt_tokens`].
    pub ttft_s: Seconds,
    /// Length of that prompt.
    pub prompt_tokens: usize,
    /// Tokens a second after so many.
    pub decode_tokens_per_s: f64,
    /// Layers that were made up and timed, of all.
    pub layers: (usize, usize),
}

impl Anatomy {
    /// Reads the headers.
    pub fn read(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let config = checkpoint.config()?;
        Ok(Self { checkpoint, config })
    }

    /// Tokens that it can see.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.config.context_length
    }

    /// Weights in the file.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        self.checkpoint.describe(&self.config).parameters
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.checkpoint.source().file_bytes()
    }

    /// The memory that it takes on the CPU.
    #[must_use]
    pub fn memory(&self) -> MemoryNeed {
        need_of(&self.checkpoint, &self.config)
    }

    /// How many layers are made up: all where they are small.
    fn layers_to_time(&self) -> usize {
        let tensors = self.checkpoint.source().tensors().iter();
        let of_layers: u64 =
            tensors.filter(|(name, _)| name.starts_with("blk.")).map(|(_, one)| packed_bytes(one)).sum();
        let each = (of_layers / self.config.layers.max(1) as u64).max(1);
        ((MADE_UP / each) as usize).max(FEWEST_LAYERS).min(self.config.layers)
    }

    /// Times layers of this model's shapes on a device, for a prompt and for decoding after it.
    pub fn forecast(&self, device: &Device, prompt_tokens: usize, clock: &Clock) -> Result<Forecast> {
        let path = self.checkpoint.source().path();
        let attempt = || format!("timing layers of the shapes of {}", path.display());
        let start = clock.now();
        let header = Checkpoint::open(path)?;
        drop(header);
        let headers = clock.since(start);
        let start = clock.now();
        let vocabulary = self.checkpoint.vocabulary()?;
        let vocabulary_s = clock.since(start);

        let layers = self.layers_to_time();
        let info = self.checkpoint.describe(&self.config);
        let language = Arc::new(Language::of(info, path, vocabulary));
        let build = |layers: usize| -> Result<(LanguageModel, Seconds)> {
            let config = Config { layers, ..self.config.clone() };
            let start = clock.now();
            let decoder =
                Decoder::load(config, &self.checkpoint.source().made_up(), &device.0).with_context(attempt)?;
            let time = clock.since(start);
            Ok((LanguageModel::bare(Arc::clone(&language), decoder), time))
        };
        let measure = |layers: usize| -> Result<(f64, f64, f64)> {
            let (model, packing) = build(layers)?;
            let (mut prefill, mut decode) = (Vec::new(), Vec::new());
            // The first round warms up.
            for round in 0..=ROUNDS as u64 {
                let (cache, time) = model.time_prefill(prompt_tokens, round, clock).with_context(attempt)?;
                prefill.push(time);
                decode.push(model.time_decode(&[&cache], prompt_tokens, STEPS, clock).with_context(attempt)?);
            }
            let prefill = median(&prefill[1..]).with_context(attempt)?;
            let decode = median(&decode[1..]).with_context(attempt)?;
            Ok((prefill, decode / STEPS as f64, packing.0))
        };
        let (mut prefill, mut decode, mut packing) = measure(layers)?;
        let all = self.config.layers;
        if layers < all && layers > 1 {
            let few = layers.div_ceil(2);
            let (fewer_prefill, fewer_decode, fewer_packing) = measure(few)?;
            let more = (all - layers) as f64 / (layers - few).max(1) as f64;
            prefill += (prefill - fewer_prefill).max(0.0) * more;
            decode += (decode - fewer_decode).max(0.0) * more;
            packing += (packing - fewer_packing).max(0.0) * more;
        }
        let reading = self.checkpoint.source().seconds_to_read(READ, clock)?;
        // Reading and packing happen together on all threads; one of them has the vocabulary to do beside.
        let threads = super::threads().max(1) as f64;
        let load = headers.0 + ((packing + reading.0) + vocabulary_s.0 / threads).max(vocabulary_s.0);
        Ok(Forecast {
            load_s: Seconds(load),
            ttft_s: Seconds(prefill),
            prompt_tokens,
            decode_tokens_per_s: 1.0 / decode,
            layers: (layers, all),
        })
    }
}

/// The memory that a model takes on the CPU.
pub(super) fn need_of(checkpoint: &Checkpoint, config: &Config) -> MemoryNeed {
    let &Config { layers, kv_heads, head_dim, hidden, feed_forward, heads, vocabulary, .. } = config;
    let page = PageShape { layers, kv_heads, head_dim }.page_bytes() as u64;
    // Of a chunk: the stream, its norm, what is added to it, the gate and its halves, the heads; then logits of some rows.
    let row = 4 * hidden + 3 * feed_forward + 3 * (heads + 2 * kv_heads) * head_dim;
    let logits = 4 * vocabulary;
    MemoryNeed {
        weights: checkpoint.source().tensors().values().map(packed_bytes).sum(),
        vocabulary: vocabulary as u64 * ENTRY_BYTES,
        activations: ((CHUNK * row + logits) * size_of::<f32>()) as u64,
        kv_per_token: page / PAGE as u64,
        page_tokens: PAGE as u64,
    }
}

fn median(times: &[Seconds]) -> Option<f64> {
    let mut sorted: Vec<f64> = times.iter().map(|time| time.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().filter(|time| *time > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::testing::{Family, Stored, write_checkpoint};
    use crate::nn::{DeviceChoice, LoadOptions};

    #[test]
    fn the_memory_of_weights_and_positions_is_what_the_loaded_model_has() {
        let folder = tempfile::tempdir().expect("folder");
        for family in Family::ALL {
            for stored in [Stored::F32, Stored::Q8_0, Stored::Q4_1, Stored::Q5_0] {
                let path = folder.path().join("model.gguf");
                write_checkpoint(&path, family, stored, 3).expect("written");
                let need = Anatomy::read(&path).expect("headers").memory();
                let device = Device::open(DeviceChoice::Cpu).expect("cpu");
                let model = LanguageModel::load(&path, &device, &LoadOptions::default()).expect("loaded");
                assert_eq!(need.kv_per_token * need.page_tokens, model.cache_bytes(1) as u64);
                // Beside the matrices that decoding reads stand norms, and an embedding where it is not the output matrix.
                let read = model.weight_bytes();
                assert!(
                    need.weights >= read && need.weights < read + (160 << 10),
                    "{family:?} {stored:?}: {need:?}, {read}"
                );
            }
        }
    }

    #[test]
    fn what_fits_is_counted_in_whole_pages() {
        let need = MemoryNeed { weights: 1000, vocabulary: 100, activations: 24, kv_per_token: 10, page_tokens: 64 };
        assert_eq!((need.fixed(), need.total(65, 2)), (1124, 1124 + 128 * 10 * 2));
        assert_eq!(need.fitting(1124 + 128 * 10, 1), 128);
        assert_eq!(need.fitting(1124 + 128 * 10 - 1, 1), 64);
        assert_eq!(need.fitting(500, 1), 0);
    }

    #[test]
    fn layers_are_timed_without_a_weight_being_read() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("model.gguf");
        for family in Family::ALL {
            write_checkpoint(&path, family, Stored::Q8_0, 3).expect("written");
            let anatomy = Anatomy::read(&path).expect("headers");
            // Weights of zeros would make logits that are all alike; here there is nothing to read any more.
            let device = Device::open(DeviceChoice::Cpu).expect("cpu");
            let forecast = anatomy.forecast(&device, 70, &Clock::real()).expect("timed");
            assert!(forecast.load_s.0 > 0.0 && forecast.ttft_s.0 > 0.0 && forecast.decode_tokens_per_s > 1.0);
            assert_eq!(forecast.layers.0, forecast.layers.1, "{family:?}: all layers of a small model are timed");
        }
    }
}

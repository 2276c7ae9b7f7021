//! The local engine's inside: the only room that names candle.
//!
//! [`LanguageModel`] is one decoder for the llama, mistral, qwen2, qwen3, phi3 and gemma families, described by data read
//! from a GGUF file or from a folder with safetensors; [`SentenceEncoder`] is a BERT that turns sentences into vectors.

mod batch;
mod cancel;
pub mod chat;
mod checkpoint;
mod config;
mod constraint;
mod decoder;
mod device;
mod encoder;
mod folder;
#[doc(hidden)]
pub mod fuzzing;
mod generate;
mod gguf;
mod kernels;
mod kv;
mod linear;
mod logits;
mod lookup;
mod model;
mod ops;
#[cfg(test)]
mod parity;
mod plan;
mod prefill;
mod prefix;
mod rates;
mod sampler;
mod score;
mod sequence;
mod source;
mod speed;
mod stream;
#[doc(hidden)]
pub mod testing;
mod tokenizer;
mod vocabulary;

pub use batch::Batch;
pub use cancel::Cancel;
pub use constraint::{Constraint, DEEPEST_JSON, Grammar, Rule, whole_match};
pub use device::{Device, DeviceChoice, threads};
pub use encoder::{Entailment, SentenceEncoder, TextLength, dot};
pub use generate::{GenerateOptions, Generated, Prompt, Stop, Token};
#[doc(hidden)]
pub use kernels::bench;
pub use model::{Language, LanguageModel, LoadOptions, ModelInfo};
pub use plan::{Anatomy, Forecast, MemoryNeed, PROGRAM_BYTES};
pub use rates::{KernelRate, instruction_set, kernel_rates};
pub use score::Scored;
pub use speed::{
    DecodeSamples, ReuseSamples, SpeedPlan, SpeedSamples, Spent, copy_bandwidth, matmul_rate, memory_bandwidth,
};
pub use tokenizer::{TextTokenizer, TokenizerSpec};

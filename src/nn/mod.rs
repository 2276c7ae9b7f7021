//! The local engine's inside: the only room that names candle.
//!
//! [`LanguageModel`] is one decoder for the llama, mistral, qwen2, qwen3, phi3 and gemma families, described by data read
//! from a GGUF file; [`SentenceEncoder`] is a BERT that turns sentences into vectors.

pub mod chat;
mod config;
mod decoder;
mod device;
mod encoder;
#[doc(hidden)]
pub mod fuzzing;
mod gguf;
mod kernels;
mod kv;
mod linear;
mod model;
mod ops;
#[cfg(test)]
mod parity;
mod prefix;
mod sampler;
mod stream;
#[doc(hidden)]
pub mod testing;
mod tokenizer;
mod vocabulary;

pub use device::{Device, DeviceChoice, threads};
pub use encoder::{SentenceEncoder, dot};
#[doc(hidden)]
pub use kernels::bench;
pub use model::{GenerateOptions, Generated, LanguageModel, LoadOptions, ModelInfo, Stop, Token};
pub use tokenizer::{TextTokenizer, TokenizerSpec};

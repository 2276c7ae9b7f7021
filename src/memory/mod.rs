//! What is put beside a query: nothing, a fixed text, retrieved passages, only those that are salient, or solved samples.
//!
//! Articles are cut into passages (`chunk`) with the ids and titles of their articles. An [`Index`] holds them with what retrievers search in: words (`lexical`, over the
//! terms of `terms`) and vectors (`dense`), in arrays that a file can keep (`store`). A [`Retriever`] turns a query into scores
//! and these into an order (`fusion`). Salience takes what reaches a gate (`gate`), repeats nothing and fits (`select`). The
//! memories (`recall`) book embedding, searching, gating and assembling as spans of their own.
//!
//! What comes from articles and samples is data: it never becomes part of the system message, whatever it says (`prompt`).

mod build;
mod chunk;
mod dense;
mod fusion;
mod gate;
mod index;
mod lexical;
mod prompt;
mod recall;
mod retriever;
mod select;
mod store;
mod strings;
mod terms;
pub(crate) mod text;

#[cfg(test)]
pub(crate) mod tests;

pub use build::{MemoryParts, MemorySpec, build, fit_gate};
pub use chunk::ENCODER_WORDS;
pub(crate) use chunk::windows;
pub use gate::default as default_gate;
pub use index::{Encoder, Index, Kept, Opened, Opening, Source, index_folder};
pub use prompt::{about_tokens, beside, knowledge, user_text};
pub use recall::Nothing;
pub use retriever::{Hit, Retriever, RetrieverKind, open_index};
pub use select::{CANDIDATES_PER_PASSAGE, Limits, select};

use crate::clock::{Clock, Spans};
use crate::error::Result;
use crate::nn::SentenceEncoder;
use crate::nn::chat::Message;
use crate::task::{Origin, Query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Counts the tokens of a conversation, as the small model reads it.
pub type CountTokens = Arc<dyn Fn(&[Message]) -> usize + Send + Sync>;

/// Turns texts into unit-length vectors. What memories, groundedness and classifiers need of a sentence encoder.
pub trait Embed: Send + Sync {
    /// One vector per text, in order, all of the same length.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>>;
}

impl Embed for SentenceEncoder {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        self.encode(texts)
    }
}

/// The kinds of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// No context.
    None,
    /// A fixed text, the same for every query.
    Static,
    /// The top-k retrieved passages.
    Dynamic,
    /// Only the passages that clear a relevance gate, within a token budget; possibly none.
    Salience,
    /// Solved samples of the train split that are like the query, as worked examples.
    Episodic,
}

impl MemoryKind {
    /// The name used on the command line, in tables and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Static => "static",
            Self::Dynamic => "dynamic",
            Self::Salience => "salience",
            Self::Episodic => "episodic",
        }
    }
}

/// A piece of knowledge that can be put into a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// The article's id, for citation.
    pub id: String,
    /// The article's title.
    pub title: String,
    /// The text.
    pub text: String,
    /// How relevant it is: [`Hit::relevance`].
    pub score: f64,
}

impl Passage {
    /// The passage as it stands in a prompt.
    #[must_use]
    pub fn in_prompt(&self) -> String {
        format!("[{}] {}\n{}\n\n", self.id, self.title, self.text.trim())
    }
}

/// A solved sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// The sample's id.
    pub id: String,
    /// Its input.
    pub input: String,
    /// Its right answer, in the task's answer form.
    pub answer: String,
}

/// What a memory returned for one query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Passages to be put beside the query, in the order in which the memory took them.
    pub passages: Vec<Passage>,
    /// Solved samples to be put before the query, the most alike last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    /// Candidates that the retriever looked at before the gate.
    pub candidates: usize,
    /// The relevance that a passage had to reach, where there was a gate.
    pub gate: Option<f64>,
    /// Tokens that the memory adds to the prompt: those of the small model's prompt with it less those of the same prompt
    /// without. They are among the input tokens that every call is billed for.
    pub tokens: usize,
    /// Where it was retrieved, with the times of the trial, where that was another trial than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_from: Option<Origin>,
}

/// A text that is the same for every query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixedText<'a> {
    /// The task's author wrote it: it may stand in the system message.
    System(&'a str),
    /// It was made of articles: it stands in the first user message.
    Data(&'a str),
}

/// A memory: gives context for a query. It never sees the target.
pub trait Memory: Send + Sync {
    /// Its kind.
    fn kind(&self) -> MemoryKind;
    /// Text that is the same for every query.
    fn fixed_text(&self) -> Option<FixedText<'_>> {
        None
    }
    /// The relevance that a passage must reach, where there is a gate.
    fn gate(&self) -> Option<f64> {
        None
    }
    /// Passages for one query. Time is booked on the components `embed`, `search`, `gate` and `assemble`.
    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval>;
}

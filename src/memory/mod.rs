//! What is put beside a query: nothing, a fixed text, retrieved passages, or only those that are salient.

mod build;
mod chunk;
mod facts;
mod gate;
mod grounding;
mod lexical;
mod recall;
mod retriever;
mod text;

#[cfg(test)]
mod tests;

pub use build::{MemorySpec, build};
pub use grounding::{Claim, Grounding, groundedness};
pub(crate) use text::words;

use crate::clock::{Clock, Spans};
use crate::error::Result;
use crate::nn::SentenceEncoder;
use crate::task::Query;
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// No context.
    None,
    /// A fixed text in the system prompt.
    Static,
    /// The top-k retrieved passages.
    Dynamic,
    /// Only the passages that clear a relevance gate, within a token budget; possibly none.
    Salience,
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
    /// How relevant the retriever found it: the cosine of its embedding with the query's.
    pub score: f64,
}

/// What a memory returned for one query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// Passages to be put beside the query, most relevant first.
    pub passages: Vec<Passage>,
    /// Candidates that the retriever looked at before the gate.
    pub candidates: usize,
    /// The relevance that a passage had to reach, where there was a gate.
    pub gate: Option<f64>,
    /// Tokens of the passages by the budget's own count.
    pub tokens: usize,
}

/// A memory: gives context for a query. It never sees the target.
pub trait Memory: Send + Sync {
    /// Its kind.
    fn kind(&self) -> MemoryKind;
    /// Text for the system prompt, the same for every query.
    fn fixed_text(&self) -> Option<&str> {
        None
    }
    /// The relevance that a passage must reach, where there is a gate.
    fn gate(&self) -> Option<f64> {
        None
    }
    /// Passages for one query. Time is booked on [`crate::clock::Component::Memory`].
    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval>;
}

//! The memories.

use super::retriever::{Hit, Retriever};
use super::{Memory, MemoryKind, Retrieval};
use crate::clock::{Clock, Component, Spans};
use crate::error::{Context, Result};
use crate::nn::dot;
use crate::task::Query;

/// Two passages with a higher cosine than this say the same; only the first is taken.
const SAME: f64 = 0.95;

/// No context.
pub(super) struct Nothing;

impl Memory for Nothing {
    fn kind(&self) -> MemoryKind {
        MemoryKind::None
    }

    fn recall(&self, _query: &Query, _clock: &Clock, _spans: &mut Spans) -> Result<Retrieval> {
        Ok(Retrieval::default())
    }
}

/// A fixed text for every query.
pub(super) struct Fixed(pub(super) String);

impl Memory for Fixed {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Static
    }

    fn fixed_text(&self) -> Option<&str> {
        Some(&self.0)
    }

    fn recall(&self, _query: &Query, _clock: &Clock, _spans: &mut Spans) -> Result<Retrieval> {
        Ok(Retrieval::default())
    }
}

/// The best passages, whatever their relevance.
pub(super) struct Dynamic {
    pub(super) retriever: Retriever,
    pub(super) top_k: usize,
}

impl Memory for Dynamic {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Dynamic
    }

    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval> {
        spans.time(clock, Component::Memory, || {
            let hits = search(&self.retriever, query, self.top_k)?;
            Ok(retrieval(&hits, hits.len(), None))
        })
    }
}

/// Of the best passages those that are relevant, new and affordable.
pub(super) struct Salience {
    pub(super) retriever: Retriever,
    pub(super) top_k: usize,
    pub(super) token_budget: usize,
    pub(super) gate: f64,
}

impl Memory for Salience {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Salience
    }

    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval> {
        spans.time(clock, Component::Memory, || {
            let hits = search(&self.retriever, query, self.top_k)?;
            Ok(retrieval(&self.select(&hits), hits.len(), Some(self.gate)))
        })
    }
}

impl Salience {
    /// In the order of relevance, what clears the gate, repeats nothing and still fits; a passage that does not fit is
    /// left out and a later, shorter one may take its room.
    fn select<'a>(&self, hits: &[Hit<'a>]) -> Vec<Hit<'a>> {
        let mut taken: Vec<Hit<'a>> = Vec::new();
        let mut room = self.token_budget;
        for hit in hits {
            let repeats = taken.iter().any(|other| dot(other.vector, hit.vector) > SAME);
            if hit.cosine >= self.gate && !repeats && hit.tokens <= room {
                room -= hit.tokens;
                taken.push(*hit);
            }
        }
        taken
    }
}

fn search<'a>(retriever: &'a Retriever, query: &Query, k: usize) -> Result<Vec<Hit<'a>>> {
    retriever.search(&query.input, k).with_context(|| format!("recalling passages for query {}", query.id))
}

fn retrieval(hits: &[Hit<'_>], candidates: usize, gate: Option<f64>) -> Retrieval {
    Retrieval {
        passages: hits.iter().map(Hit::passage).collect(),
        candidates,
        gate,
        tokens: hits.iter().map(|hit| hit.tokens).sum(),
    }
}

//! The memories.

use super::retriever::{Hit, Retriever};
use super::select::{CANDIDATES_PER_PASSAGE, Limits, select};
use super::{CountTokens, Example, Memory, MemoryKind, Retrieval};
use crate::clock::{Clock, Component, Spans};
use crate::error::{Context, Result};
use crate::task::Query;

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
pub(super) struct Fixed {
    pub(super) text: String,
    pub(super) tokens: usize,
}

impl Memory for Fixed {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Static
    }

    fn fixed_text(&self) -> Option<&str> {
        Some(&self.text)
    }

    fn recall(&self, _query: &Query, _clock: &Clock, _spans: &mut Spans) -> Result<Retrieval> {
        Ok(Retrieval { tokens: self.tokens, ..Retrieval::default() })
    }
}

/// The best passages, whatever their relevance.
pub(super) struct Dynamic {
    pub(super) retriever: Retriever,
    pub(super) top_k: usize,
    pub(super) count_tokens: CountTokens,
}

impl Memory for Dynamic {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Dynamic
    }

    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval> {
        let hits = search(&self.retriever, query, self.top_k, clock, spans)?;
        Ok(spans.time(clock, Component::Assemble, || {
            let passages: Vec<_> = hits.iter().map(|hit| self.retriever.passage(hit)).collect();
            let tokens = passages.iter().map(|passage| (self.count_tokens)(&passage.in_prompt())).sum();
            Retrieval { candidates: hits.len(), tokens, passages, ..Retrieval::default() }
        }))
    }
}

/// Of the best passages those that are relevant, new and affordable.
pub(super) struct Salience {
    pub(super) retriever: Retriever,
    pub(super) limits: Limits,
    pub(super) count_tokens: CountTokens,
}

impl Memory for Salience {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Salience
    }

    fn gate(&self) -> Option<f64> {
        Some(self.limits.gate)
    }

    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval> {
        let wanted = self.limits.top_k.saturating_mul(CANDIDATES_PER_PASSAGE);
        let hits = search(&self.retriever, query, wanted, clock, spans)?;
        let taken = spans.time(clock, Component::Gate, || {
            let mut tokens = |hit: &Hit| (self.count_tokens)(&self.retriever.passage(hit).in_prompt());
            select(&self.retriever, &hits, self.limits, &mut tokens)
        });
        Ok(spans.time(clock, Component::Assemble, || Retrieval {
            passages: taken.iter().map(|(hit, _)| self.retriever.passage(hit)).collect(),
            candidates: hits.len(),
            gate: Some(self.limits.gate),
            tokens: taken.iter().map(|(_, tokens)| tokens).sum(),
            ..Retrieval::default()
        }))
    }
}

/// Solved samples of the train split that are like the query, as worked examples.
pub(super) struct Episodic {
    /// Over the inputs of the solved samples, in their order.
    pub(super) retriever: Retriever,
    pub(super) solved: Vec<Example>,
    pub(super) top_k: usize,
    pub(super) token_budget: usize,
    pub(super) count_tokens: CountTokens,
}

impl Memory for Episodic {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Episodic
    }

    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval> {
        // One more, since a copy of the query is no example: it would give the answer away.
        let hits = search(&self.retriever, query, self.top_k.saturating_add(COPIES), clock, spans)?;
        Ok(spans.time(clock, Component::Assemble, || {
            let asked = plain(&query.input);
            let mut room = self.token_budget;
            let mut examples: Vec<Example> = Vec::new();
            for example in hits.iter().filter_map(|hit| self.solved.get(hit.place)) {
                if examples.len() == self.top_k || plain(&example.input) == asked {
                    continue;
                }
                let tokens = (self.count_tokens)(&example.input) + (self.count_tokens)(&example.answer);
                if tokens <= room {
                    room -= tokens;
                    examples.push(example.clone());
                }
            }
            // The most alike stands last, next to the query.
            examples.reverse();
            Retrieval { candidates: hits.len(), tokens: self.token_budget - room, examples, ..Retrieval::default() }
        }))
    }
}

/// Copies of the query among the solved samples that are passed over.
const COPIES: usize = 8;

/// A text without what makes copies look different: case and blanks.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn search(retriever: &Retriever, query: &Query, k: usize, clock: &Clock, spans: &mut Spans) -> Result<Vec<Hit>> {
    let attempt = || format!("recalling for query {}", query.id);
    let vectors = spans.time(clock, Component::Embed, || retriever.embed(&[&query.input])).with_context(attempt)?;
    let vector = vectors.into_iter().next().flatten();
    spans.time(clock, Component::Search, || retriever.search(&query.input, vector.as_deref(), k)).with_context(attempt)
}

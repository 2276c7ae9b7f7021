//! The memories.

use super::prompt::Added;
use super::retriever::{Hit, Retriever};
use super::select::{CANDIDATES_PER_PASSAGE, Limits, select};
use super::{Example, FixedText, Memory, MemoryKind, Retrieval};
use crate::clock::{Clock, Component, Spans};
use crate::error::{Context, Result};
use crate::task::Query;

/// No context.
pub struct Nothing;

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
    /// Whether it was made of articles.
    pub(super) is_data: bool,
    pub(super) tokens: usize,
}

impl Fixed {
    pub(super) fn new(text: String, is_data: bool, added: &Added) -> Self {
        let mut fixed = Self { text, is_data, tokens: 0 };
        fixed.tokens = added.by_fixed(fixed.shown());
        fixed
    }

    fn shown(&self) -> FixedText<'_> {
        if self.is_data { FixedText::Data(&self.text) } else { FixedText::System(&self.text) }
    }
}

impl Memory for Fixed {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Static
    }

    fn fixed_text(&self) -> Option<FixedText<'_>> {
        Some(self.shown())
    }

    fn recall(&self, _query: &Query, _clock: &Clock, _spans: &mut Spans) -> Result<Retrieval> {
        Ok(Retrieval { tokens: self.tokens, ..Retrieval::default() })
    }
}

/// The best passages, whatever their relevance.
pub(super) struct Dynamic {
    pub(super) retriever: Retriever,
    pub(super) top_k: usize,
    pub(super) added: Added,
}

impl Memory for Dynamic {
    fn kind(&self) -> MemoryKind {
        MemoryKind::Dynamic
    }

    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval> {
        let hits = search(&self.retriever, query, self.top_k, clock, spans)?;
        Ok(spans.time(clock, Component::Assemble, || {
            let mut found = with_passages(&self.retriever, &hits);
            (found.candidates, found.tokens) = (hits.len(), self.added.by(&found));
            found
        }))
    }
}

/// Of the best passages those that are relevant, new and affordable.
pub(super) struct Salience {
    pub(super) retriever: Retriever,
    pub(super) limits: Limits,
    pub(super) added: Added,
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
        let (taken, tokens) = spans.time(clock, Component::Gate, || {
            let mut tokens = |hits: &[Hit]| self.added.by(&with_passages(&self.retriever, hits));
            select(&self.retriever, &hits, self.limits, &mut tokens)
        });
        Ok(spans.time(clock, Component::Assemble, || Retrieval {
            candidates: hits.len(),
            gate: Some(self.limits.gate),
            tokens,
            ..with_passages(&self.retriever, &taken)
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
    pub(super) added: Added,
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
            let mut found = Retrieval { candidates: hits.len(), ..Retrieval::default() };
            for example in hits.iter().filter_map(|hit| self.solved.get(hit.place)) {
                if found.examples.len() == self.top_k || plain(&example.input) == asked {
                    continue;
                }
                // The most alike stands last, next to the query.
                found.examples.insert(0, example.clone());
                let tokens = self.added.by(&found);
                if tokens <= self.token_budget {
                    found.tokens = tokens;
                } else {
                    found.examples.remove(0);
                }
            }
            found
        }))
    }
}

/// Copies of the query among the solved samples that are passed over.
const COPIES: usize = 8;

/// A text without what makes copies look different: case and blanks.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

fn with_passages(retriever: &Retriever, hits: &[Hit]) -> Retrieval {
    Retrieval { passages: hits.iter().map(|hit| retriever.passage(hit)).collect(), ..Retrieval::default() }
}

fn search(retriever: &Retriever, query: &Query, k: usize, clock: &Clock, spans: &mut Spans) -> Result<Vec<Hit>> {
    let attempt = || format!("recalling for query {}", query.id);
    let vectors = spans.time(clock, Component::Embed, || retriever.embed(&[&query.input])).with_context(attempt)?;
    let vector = vectors.into_iter().next().flatten();
    spans.time(clock, Component::Search, || retriever.search(&query.input, vector.as_deref(), k)).with_context(attempt)
}

//! The retrievers: which scores of an index make the order of its passages.

use super::fusion::{reciprocal_ranks, sum, top};
use super::index::{Encoder, Index, Kept, Opened, Opening, Source, WORDS, open};
use super::terms::{Analysis, tokens};
use super::{Embed, Passage};
use crate::clock::Clock;
use crate::error::{Context, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The kinds of retrievers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RetrieverKind {
    /// BM25 over lower-cased words, k1 1.2, b 0.75.
    Bm25,
    /// BM25 over English stems without function words.
    Bm25English,
    /// Cosine of sentence embeddings; a long passage is embedded as a whole and in pieces.
    Dense,
    /// The sum of bm25-english and dense, each standardised over the passages of the query.
    Hybrid,
    /// Reciprocal rank fusion of bm25-english and dense, k 60.
    HybridRrf,
}

impl RetrieverKind {
    /// The name used on the command line and in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bm25 => "bm25",
            Self::Bm25English => "bm25-english",
            Self::Dense => "dense",
            Self::Hybrid => "hybrid",
            Self::HybridRrf => "hybrid-rrf",
        }
    }

    /// Whether it searches with a sentence encoder.
    #[must_use]
    pub fn embeds(self) -> bool {
        matches!(self, Self::Dense | Self::Hybrid | Self::HybridRrf)
    }

    /// Whether it searches in this part of an index.
    #[must_use]
    pub fn needs(self, part: &Opened) -> bool {
        match part.name.strip_prefix(WORDS) {
            Some(analysis) => self.analysis().is_some_and(|own| own.name() == analysis),
            None => !part.is_of_vectors() || self.embeds(),
        }
    }

    fn analysis(self) -> Option<Analysis> {
        match self {
            Self::Bm25 => Some(Analysis::Plain),
            Self::Bm25English | Self::Hybrid | Self::HybridRrf => Some(Analysis::English),
            Self::Dense => None,
        }
    }
}

/// Opens an index with everything that `kinds` search in. `tell` hears how many passages are embedded,
/// and how many there are.
pub fn open_index(
    source: &Source<'_>,
    kinds: &[RetrieverKind],
    encoder: Option<Encoder<'_>>,
    kept: Option<Kept<'_>>,
    clock: &Clock,
    tell: &mut dyn FnMut(usize, usize),
) -> Result<(Arc<Index>, Opening)> {
    let lexical: Vec<Analysis> = [Analysis::Plain, Analysis::English]
        .into_iter()
        .filter(|analysis| kinds.iter().any(|kind| kind.analysis() == Some(*analysis)))
        .collect();
    let encoder = match (kinds.iter().any(|kind| kind.embeds()), encoder) {
        (false, _) => None,
        (true, None) => bail!("a retriever that searches by meaning needs a sentence encoder"),
        (true, encoder) => encoder,
    };
    let (index, opening) = open(source, &lexical, encoder, kept, clock, tell)?;
    Ok((Arc::new(index), opening))
}

/// Finds passages for queries.
#[derive(Clone)]
pub struct Retriever {
    kind: RetrieverKind,
    index: Arc<Index>,
    embed: Option<Arc<dyn Embed>>,
}

/// A passage that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Its place in the index.
    pub place: usize,
    /// What orders the hits of one query; scores of different queries cannot be compared.
    pub score: f64,
    /// How relevant it is, comparable between queries: the cosine with the query, at most 1; for BM25 alone the share, 0 to 1,
    /// of the score that no passage can exceed for this query.
    pub relevance: f64,
}

impl Retriever {
    /// A retriever over an index that was opened for its kind.
    #[must_use]
    pub fn new(kind: RetrieverKind, index: Arc<Index>, embed: Option<Arc<dyn Embed>>) -> Self {
        Self { kind, index, embed: embed.filter(|_| kind.embeds()) }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> RetrieverKind {
        self.kind
    }

    /// What it searches in.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The vectors of queries, where this retriever needs them.
    pub fn embed(&self, queries: &[&str]) -> Result<Vec<Option<Vec<f32>>>> {
        let Some(embed) = &self.embed else { return Ok(vec![None; queries.len()]) };
        let vectors = embed.embed(queries).context("embedding queries")?;
        if vectors.len() != queries.len() {
            bail!("embedding queries: {} vectors for {} queries", vectors.len(), queries.len());
        }
        Ok(vectors.into_iter().map(Some).collect())
    }

    /// The `k` best passages for a query, best first; of equals the earlier one. By words alone, a passage without any of the
    /// query's was not found.
    pub fn search(&self, query: &str, vector: Option<&[f32]>, k: usize) -> Result<Vec<Hit>> {
        let (scores, relevance) = self.scores(query, vector)?;
        let hit = |place: usize| Hit { place, score: scores[place], relevance: relevance[place] };
        Ok(top(&scores, k).into_iter().filter(|&place| self.found(scores[place])).map(hit).collect())
    }

    /// The `k` best articles for a query, best first, each by its best passage.
    pub fn search_articles(&self, query: &str, vector: Option<&[f32]>, k: usize) -> Result<Vec<Hit>> {
        let (scores, relevance) = self.scores(query, vector)?;
        let mut depth = k.saturating_mul(4);
        loop {
            let places = top(&scores, depth);
            let mut seen = BTreeSet::new();
            let best: Vec<Hit> = places
                .iter()
                .filter(|&&place| self.found(scores[place]) && seen.insert(self.index.id(place)))
                .map(|&place| Hit { place, score: scores[place], relevance: relevance[place] })
                .take(k)
                .collect();
            if best.len() == k || places.len() < depth {
                return Ok(best);
            }
            depth = depth.saturating_mul(4);
        }
    }

    fn found(&self, score: f64) -> bool {
        self.kind.embeds() || score > 0.0
    }

    /// Every passage's score and relevance.
    fn scores(&self, query: &str, vector: Option<&[f32]>) -> Result<(Vec<f64>, Vec<f64>)> {
        let lexical = match self.kind.analysis() {
            Some(analysis) => Some(self.index.lexical(analysis)?.scores(query)),
            None => None,
        };
        let cosines = if self.kind.embeds() {
            let vector = vector.context("a search by meaning without the query's vector")?;
            Some(self.index.vectors()?.cosines(vector))
        } else {
            None
        };
        Ok(match (lexical, cosines) {
            (Some(lexical), Some(cosines)) => {
                let fuse = if self.kind == RetrieverKind::HybridRrf { reciprocal_ranks } else { sum };
                (fuse(&lexical.scores, &cosines), cosines)
            }
            (Some(lexical), None) => {
                let share = |score: &f64| if lexical.ceiling > 0.0 { score / lexical.ceiling } else { 0.0 };
                let relevance = lexical.scores.iter().map(share).collect();
                (lexical.scores, relevance)
            }
            (None, Some(cosines)) => (cosines.clone(), cosines),
            (None, None) => (Vec::new(), Vec::new()),
        })
    }

    /// How alike two passages are, 0 to 1: the cosine of their nearest parts; without vectors the share of their words that
    /// they share (Jaccard).
    pub(super) fn similarity(&self, a: usize, b: usize) -> f64 {
        if let Ok(vectors) = self.index.vectors() {
            return vectors.similarity(a, b);
        }
        let words = |place: usize| tokens(self.index.passage(place).2).collect::<BTreeSet<String>>();
        let (a, b) = (words(a), words(b));
        let shared = a.intersection(&b).count();
        shared as f64 / (a.len() + b.len() - shared).max(1) as f64
    }

    /// A hit as it is handed out.
    #[must_use]
    pub fn passage(&self, hit: &Hit) -> Passage {
        let (id, title, text) = self.index.passage(hit.place);
        Passage { id: id.to_owned(), title: title.to_owned(), text: text.to_owned(), score: hit.relevance }
    }
}

//! The retriever: exact search by words and by meaning.

use super::chunk::Chunk;
use super::lexical::Bm25;
use super::{Embed, Passage};
use crate::error::{Context, Result, bail};
use crate::nn::dot;
use std::sync::Arc;

/// BM25 and dense cosine over the same passages, combined as the sum of the two, each standardised over all passages of
/// the query. Embeddings of passages are computed once.
pub(super) struct Retriever {
    passages: Vec<Indexed>,
    lexical: Bm25,
    embed: Arc<dyn Embed>,
}

/// A passage with what the search needs.
struct Indexed {
    chunk: Chunk,
    vector: Vec<f32>,
    tokens: usize,
}

/// A passage that was found.
#[derive(Clone, Copy)]
pub(super) struct Hit<'a> {
    /// What was found.
    pub(super) chunk: &'a Chunk,
    /// Its embedding.
    pub(super) vector: &'a [f32],
    /// Cosine with the query.
    pub(super) cosine: f64,
    /// Its tokens.
    pub(super) tokens: usize,
}

impl Hit<'_> {
    /// The passage as it is handed out.
    pub(super) fn passage(&self) -> Passage {
        Passage {
            id: self.chunk.id.clone(),
            title: self.chunk.title.clone(),
            text: self.chunk.text.clone(),
            score: self.cosine,
        }
    }
}

impl Retriever {
    /// Indexes passages.
    pub(super) fn new(chunks: Vec<Chunk>, embed: Arc<dyn Embed>, count_tokens: &dyn Fn(&str) -> usize) -> Result<Self> {
        let texts: Vec<String> = chunks.iter().map(Chunk::full_text).collect();
        let views: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = embed.embed(&views).context("embedding the knowledge base")?;
        if vectors.len() != chunks.len() {
            bail!("embedding the knowledge base: {} vectors for {} passages", vectors.len(), chunks.len());
        }
        let lexical = Bm25::new(views.into_iter());
        let passages = chunks
            .into_iter()
            .zip(vectors)
            .zip(&texts)
            .map(|((chunk, vector), text)| Indexed { chunk, vector, tokens: count_tokens(text) })
            .collect();
        Ok(Self { passages, lexical, embed })
    }

    /// The `k` best passages for a query, best first; of equals the smaller id, then the earlier part of the article.
    pub(super) fn search(&self, query: &str, k: usize) -> Result<Vec<Hit<'_>>> {
        let vectors = self.embed.embed(&[query]).context("embedding the query")?;
        let Some(vector) = vectors.first() else { bail!("embedding the query gave no vector") };
        Ok(self.rank(query, vector, k))
    }

    /// [`Self::search`] for many queries, embedded together.
    pub(super) fn search_all(&self, queries: &[&str], k: usize) -> Result<Vec<Vec<Hit<'_>>>> {
        let vectors = self.embed.embed(queries).context("embedding the train split's queries")?;
        Ok(queries.iter().zip(&vectors).map(|(query, vector)| self.rank(query, vector, k)).collect())
    }

    fn rank(&self, query: &str, vector: &[f32], k: usize) -> Vec<Hit<'_>> {
        let cosines: Vec<f64> = self.passages.iter().map(|passage| dot(&passage.vector, vector)).collect();
        let lexical = standardised(&self.lexical.scores(query));
        let dense = standardised(&cosines);
        let mut order: Vec<(usize, f64)> = lexical.iter().zip(&dense).map(|(l, d)| l + d).enumerate().collect();
        order.sort_by(|(a, x), (b, y)| {
            let id = |i: usize| &self.passages[i].chunk.id;
            y.total_cmp(x).then_with(|| id(*a).cmp(id(*b))).then(a.cmp(b))
        });
        order
            .into_iter()
            .take(k)
            .map(|(i, _)| {
                let Indexed { chunk, vector, tokens } = &self.passages[i];
                Hit { chunk, vector, cosine: cosines[i], tokens: *tokens }
            })
            .collect()
    }
}

/// Scores with mean 0 and deviation 1; all zero where they do not differ.
fn standardised(scores: &[f64]) -> Vec<f64> {
    let n = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n).sqrt();
    scores.iter().map(|s| if deviation > 1e-12 { (s - mean) / deviation } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardised_scores_have_mean_zero_and_deviation_one() {
        assert_eq!(standardised(&[1.0, 3.0]), [-1.0, 1.0]);
        assert_eq!(standardised(&[2.0, 2.0]), [0.0, 0.0]);
        assert!(standardised(&[]).is_empty());
    }
}

//! Groundedness: the share of an answer's claims that the injected passages support.

use super::facts::Facts;
use crate::error::{Context, Result, bail};
use crate::memory::text::sentences;
use crate::memory::{Embed, Passage};
use crate::nn::dot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A claim is supported from this score on.
const SUPPORTED: f64 = 0.5;

/// The judgement of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grounding {
    /// Share of supported claims, 0..1.
    pub share: f64,
    /// Every claim, in the order of the answer; never empty.
    pub claims: Vec<Claim>,
}

/// The judgement of one claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The sentence.
    pub text: String,
    /// Whether the passages support it.
    pub supported: bool,
    /// The id of the passage that supports it best, supported or not; `None` where none scores above zero.
    pub passage: Option<String>,
    /// The support by that passage, 0..1.
    pub score: f64,
}

/// Groundedness of an answer; `None` (not applicable) without passages or without claims.
///
/// A claim is a sentence of the answer with at least one content word that is not a question; "Please wait." and "Could
/// you tell me the model?" claim nothing. The support of a claim by a passage is the mean of
///
/// - the best cosine of the claim with a sentence of the passage (its title counts as one), at least 0, and
/// - the share of the claim's content words (lower-cased, plural endings removed) that the passage holds; 0 where the
///   passage lacks one of the claim's numbers, codes or names.
///
/// A claim is supported when its best passage gives it at least 0.5, every number and code in it occurs in some passage,
/// and no word that it shares with the nearest sentence of its best passage is negated in one of the two alone.
pub fn groundedness(answer: &str, passages: &[Passage], embed: &dyn Embed) -> Result<Option<Grounding>> {
    let claims: Vec<(String, Facts)> = sentences(answer)
        .into_iter()
        .filter(|sentence| !sentence.ends_with('?'))
        .map(|sentence| (Facts::of(&sentence), sentence))
        .filter(|(facts, _)| !facts.content.is_empty())
        .map(|(facts, sentence)| (sentence, facts))
        .collect();
    if claims.is_empty() || passages.is_empty() {
        return Ok(None);
    }
    let (claim_vectors, sources) = embed_all(&claims, passages, embed)?;
    let judged: Vec<Claim> = claims
        .into_iter()
        .zip(&claim_vectors)
        .map(|((text, facts), vector)| judge(text, &facts, vector, &sources))
        .collect();
    let supported = judged.iter().filter(|claim| claim.supported).count();
    Ok(Some(Grounding { share: supported as f64 / judged.len() as f64, claims: judged }))
}

/// A passage, read.
struct Source<'a> {
    id: &'a str,
    sentences: Vec<(Facts, Vec<f32>)>,
    content: BTreeSet<String>,
}

/// Embeds the claims and every sentence of the passages in one batch.
fn embed_all<'a>(
    claims: &[(String, Facts)],
    passages: &'a [Passage],
    embed: &dyn Embed,
) -> Result<(Vec<Vec<f32>>, Vec<Source<'a>>)> {
    let split: Vec<Vec<String>> = passages
        .iter()
        .map(|passage| {
            let mut found = sentences(&passage.text);
            found.extend(sentences(&passage.title));
            found
        })
        .collect();
    let texts: Vec<&str> =
        claims.iter().map(|(text, _)| text.as_str()).chain(split.iter().flatten().map(String::as_str)).collect();
    let mut vectors = embed.embed(&texts).context("embedding an answer and its passages for groundedness")?;
    if vectors.len() != texts.len() {
        bail!("embedding for groundedness: {} vectors came back for {} sentences", vectors.len(), texts.len());
    }
    let mut rest = vectors.split_off(claims.len()).into_iter();
    let sources = passages
        .iter()
        .zip(split)
        .map(|(passage, found)| {
            let sentences: Vec<(Facts, Vec<f32>)> =
                found.iter().map(|sentence| Facts::of(sentence)).zip(rest.by_ref()).collect();
            let content = sentences.iter().flat_map(|(facts, _)| facts.content.iter().cloned()).collect();
            Source { id: &passage.id, sentences, content }
        })
        .collect();
    Ok((vectors, sources))
}

fn judge(text: String, claim: &Facts, vector: &[f32], sources: &[Source<'_>]) -> Claim {
    let mut best: (f64, Option<(&Source<'_>, &Facts)>) = (0.0, None);
    for source in sources {
        let nearest = source
            .sentences
            .iter()
            .map(|(facts, sentence)| (dot(vector, sentence), facts))
            .reduce(|best, next| if next.0 > best.0 { next } else { best });
        if let Some((cosine, nearest)) = nearest {
            let score = cosine.clamp(0.0, 1.0).midpoint(lexical(claim, &source.content));
            if score > best.0 {
                best = (score, Some((source, nearest)));
            }
        }
    }
    let codes_known = claim.codes.iter().all(|code| sources.iter().any(|source| source.content.contains(code)));
    let agrees = best.1.is_some_and(|(_, nearest)| !claim.contradicts(nearest));
    Claim {
        text,
        supported: best.0 >= SUPPORTED && codes_known && agrees,
        passage: best.1.map(|(source, _)| source.id.to_owned()),
        score: best.0,
    }
}

/// The share of the claim's content words that the passage holds, its codes and names required.
fn lexical(claim: &Facts, passage: &BTreeSet<String>) -> f64 {
    if !claim.codes.is_subset(passage) || !claim.names.is_subset(passage) {
        return 0.0;
    }
    claim.content.intersection(passage).count() as f64 / claim.content.len().max(1) as f64
}

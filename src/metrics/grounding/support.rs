//! Support of claims by passages, as far as words and sentence vectors tell: a scorer that needs no model but the encoder.

use super::facts::Facts;
use super::{Claim, Grounding, Scorer, Stated, claims, is_taken, whole};
use crate::error::{Context, Result, bail};
use crate::memory::text::sentences;
use crate::memory::{Embed, Passage};
use crate::nn::dot;
use rayon::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A claim is supported from this score on.
const SUPPORTED: f64 = 0.5;

/// What is left of a claim's support where one of its numbers or codes is in no passage, where its sentence is contradicted,
/// and where none of its names is in any passage.
const DOUBTED: f64 = 0.5;

/// Sentences of all passages that are looked at, at most; of longer passages evenly spaced ones are.
const MOST_SENTENCES: usize = 20_000;

/// Pairs of a claim and a sentence that are compared, at most: with many claims fewer sentences are looked at.
const MOST_PAIRS: usize = 4_000_000;

/// Sentences whose vectors are kept, at most.
const MOST_KNOWN: usize = 40_000;

/// Lexical and semantic support.
///
/// A window is a sentence of a passage, two neighbouring sentences of it, or its title. A window's support of a claim is the
/// mean of
///
/// - the cosine of the two (of two sentences, of the sum of their vectors), at least 0, and
/// - the share of the claim's content words, compared by stem, that the window holds.
///
/// Both are asked of the same window: words that are scattered over a passage support little. A claim's score is the
/// support of its best window,
///
/// - halved where a number or code of the claim is in no passage,
/// - halved where a word of the claim is negated in it and not in the nearest sentence, or the other way round,
/// - and reduced by up to a half by the share of its names that no passage holds.
///
/// A claim is supported from a score of 0.5 on, where all of its numbers, codes and names are found, the sentence that is nearest
/// but for numbers has no others in their place, and nothing is contradicted.
pub struct Support {
    embed: Arc<dyn Embed>,
    /// Vectors of the sentences of passages met before: the same passages are put beside many questions.
    known: Mutex<HashMap<String, Arc<[f32]>>>,
}

impl Support {
    /// A scorer over an encoder.
    #[must_use]
    pub fn new(embed: Arc<dyn Embed>) -> Self {
        Self { embed, known: Mutex::default() }
    }

    /// Embeds the claims and every sentence of the passages in one batch.
    fn read<'p>(&self, stated: &[Stated], passages: &'p [Passage]) -> Result<(Vec<Vec<f32>>, Sources<'p>)> {
        // A title stands apart from the text: no window spans both.
        let mut parts: Vec<(usize, bool, String)> = Vec::new();
        for (index, passage) in passages.iter().enumerate() {
            let texts = sentences(&passage.text).into_iter().enumerate().map(|(i, text)| (index, i > 0, text));
            parts.extend(texts);
            parts.extend(sentences(&passage.title).into_iter().map(|text| (index, false, text)));
        }
        let (all, most) = (parts.len(), MOST_SENTENCES.min(MOST_PAIRS / stated.len().max(1)));
        if all > most {
            // What is left has no neighbours.
            let taken = parts.into_iter().enumerate().filter(|(i, _)| is_taken(*i, all, most));
            parts = taken.map(|(_, (index, _, text))| (index, false, text)).collect();
        }
        let claims: Vec<&str> = stated.iter().map(|stated| stated.text.as_str()).collect();
        let texts: Vec<&str> = parts.iter().map(|(_, _, text)| text.as_str()).collect();
        let (vectors, of_sentences) = self.vectors(&claims, &texts)?;
        let lengths: Vec<Option<f64>> = (0..parts.len())
            .map(|i| {
                let followed = parts.get(i + 1).is_some_and(|(_, follows, _)| *follows);
                followed.then(|| (2.0 + 2.0 * dot(&of_sentences[i], &of_sentences[i + 1])).max(0.0).sqrt())
            })
            .collect();
        let sentences: Vec<Sentence> = parts
            .into_par_iter()
            .zip(of_sentences)
            .zip(lengths)
            .map(|(((passage, _, text), vector), length_with_next)| Sentence {
                passage,
                facts: Facts::of(&text),
                vector,
                length_with_next,
            })
            .collect();
        let content = sentences.iter().flat_map(|sentence| sentence.facts.content.iter().cloned()).collect();
        Ok((vectors, Sources { passages, sentences, content }))
    }

    /// The vectors of texts; those of passages are remembered.
    fn vectors(&self, claims: &[&str], sentences: &[&str]) -> Result<Vectors> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + sentences.len() > MOST_KNOWN {
            known.clear();
        }
        let mut asked = claims.to_vec();
        let mut new = HashSet::new();
        asked.extend(sentences.iter().filter(|text| !known.contains_key(**text) && new.insert(**text)));
        let mut vectors = self.embed.embed(&asked).context("embedding an answer and its passages for groundedness")?;
        if vectors.len() != asked.len() {
            bail!("embedding for groundedness: {} vectors came back for {} sentences", vectors.len(), asked.len());
        }
        let fresh = vectors.split_off(claims.len());
        let fresh = asked.iter().skip(claims.len()).map(ToString::to_string).zip(fresh.into_iter().map(Arc::from));
        known.extend(fresh);
        Ok((vectors, sentences.iter().filter_map(|text| known.get(*text).cloned()).collect()))
    }
}

impl Scorer for Support {
    fn name(&self) -> &'static str {
        "support"
    }

    fn score(&self, answer: &str, passages: &[Passage]) -> Result<Option<Grounding>> {
        let (stated, found) = claims(answer);
        if stated.is_empty() || passages.iter().all(|passage| passage.text.trim().is_empty()) {
            return Ok(None);
        }
        let (vectors, sources) = self.read(&stated, passages)?;
        let judged = stated.par_iter().zip(&vectors).map(|(stated, vector)| sources.judge(stated, vector)).collect();
        Ok(Some(whole(&stated, judged, found)))
    }
}

/// The vectors of claims, and those of sentences.
type Vectors = (Vec<Vec<f32>>, Vec<Arc<[f32]>>);

/// The passages, read.
struct Sources<'a> {
    passages: &'a [Passage],
    sentences: Vec<Sentence>,
    content: BTreeSet<String>,
}

struct Sentence {
    passage: usize,
    facts: Facts,
    vector: Arc<[f32]>,
    /// The length of the sum of its vector and the next one's, where the next sentence follows it in the same passage.
    length_with_next: Option<f64>,
}

impl Sources<'_> {
    fn judge(&self, stated: &Stated, vector: &[f32]) -> Claim {
        let claim = &stated.facts;
        let cosines: Vec<f64> = self.sentences.iter().map(|sentence| dot(vector, &sentence.vector)).collect();
        let topic = claim.content.difference(&claim.codes).cloned().collect();
        let mut best: (f64, Option<usize>) = (0.0, None);
        let (mut polarity, mut numbers) = (Nearest::default(), Nearest::default());
        for (i, sentence) in self.sentences.iter().enumerate() {
            let holds = |word: &str| sentence.facts.content.contains(word);
            let alone = support(cosines[i], &claim.content, holds);
            polarity.meet(alone, || !claim.contradicts(&sentence.facts));
            if !claim.codes.is_empty() {
                // What the claim is about decides which sentence's numbers must be its own.
                numbers.meet(support(cosines[i], &topic, holds), || !claim.replaces_codes_of(&sentence.facts));
            }
            let mut score = alone;
            if let Some(length) = sentence.length_with_next.filter(|length| *length > 0.0) {
                let next = &self.sentences[i + 1].facts.content;
                let holds = |word: &str| sentence.facts.content.contains(word) || next.contains(word);
                score = score.max(support((cosines[i] + cosines[i + 1]) / length, &claim.content, holds));
            }
            if score > best.0 {
                best = (score, Some(sentence.passage));
            }
        }
        let known = |word: &String| self.content.contains(word);
        let codes_known = claim.codes.iter().all(known);
        let names_known = claim.names.iter().filter(|name| known(name)).count();
        let share = names_known as f64 / claim.names.len().max(1) as f64;
        let names = if claim.names.is_empty() { 1.0 } else { DOUBTED + (1.0 - DOUBTED) * share };
        let halved = |doubtful: bool| if doubtful { DOUBTED } else { 1.0 };
        let score = (best.0 * names * halved(!codes_known) * halved(!polarity.agrees)).clamp(0.0, 1.0);
        Claim {
            text: stated.text.clone(),
            supported: score >= SUPPORTED
                && codes_known
                && names_known == claim.names.len()
                && polarity.agrees
                && numbers.agrees,
            passage: best.1.and_then(|index| self.passages.get(index)).map(|passage| passage.id.clone()),
            score,
        }
    }
}

/// The nearest single sentence, and whether it agrees; of equally near ones, one that agrees.
struct Nearest {
    support: f64,
    agrees: bool,
}

impl Default for Nearest {
    fn default() -> Self {
        Self { support: f64::NEG_INFINITY, agrees: true }
    }
}

impl Nearest {
    fn meet(&mut self, support: f64, agrees: impl FnOnce() -> bool) {
        if support >= self.support {
            self.agrees = agrees() || (support == self.support && self.agrees);
            self.support = support;
        }
    }
}

/// The mean of a cosine and the share of some words of a claim that a window holds.
fn support(cosine: f64, words: &BTreeSet<String>, holds: impl Fn(&str) -> bool) -> f64 {
    let held = words.iter().filter(|word| holds(word)).count() as f64 / words.len().max(1) as f64;
    cosine.clamp(0.0, 1.0).midpoint(held)
}

//! Groundedness: whether what an answer claims stands in the passages that were put beside the question.
//!
//! A claim is a sentence of the answer that has at least one content word and is neither a question, nor a courtesy, nor a
//! statement that the answer is not known ([`abstention`]). A [`Scorer`] gives every claim its support, 0..1, and the
//! passage that supports it best. Two figures are made of them:
//!
//! - [`Grounding::share`], for people: the share of the claims that are supported;
//! - [`Grounding::score`], for ranking: the mean of the claims' supports, each weighed by the square root of its number of
//!   content words. A long sentence holds more of the answer than a short one, and less than its length says.
//!
//! A sentence of more than 128 words is several claims. Without passages or without claims neither is applicable; both are absent then, never zero.

pub mod abstention;
mod agreement;
mod facts;
mod judge;
mod nli;
mod rows;
mod support;
#[cfg(test)]
mod tests;

pub use agreement::{Abstentions, Agreement, Bounds, Failed, Threshold, Told, agreement};
pub use judge::Judge;
pub use nli::{Entail, Nli};
pub use rows::{Row, read_rows};
pub use support::Support;

use crate::error::Result;
use crate::memory::Passage;
use crate::memory::text::sentences;
pub use crate::record::Claim;
use facts::Facts;
use serde::{Deserialize, Serialize};

/// Claims of one answer that are judged at most; of a longer answer evenly spaced ones are.
pub const MOST_CLAIMS: usize = 500;

/// Words of a claim at most; a longer sentence is judged in parts.
const MOST_WORDS: usize = 128;

/// The judgement of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grounding {
    /// Share of supported claims, 0..1.
    pub share: f64,
    /// Weighted mean of the claims' supports, 0..1.
    pub score: f64,
    /// The claims that were judged, in the order of the answer; never empty.
    pub claims: Vec<Claim>,
    /// Claims that the answer has; more than were judged where it has more than [`MOST_CLAIMS`].
    pub found: usize,
}

/// Judges answers.
pub trait Scorer {
    /// Its name in outputs.
    fn name(&self) -> &'static str;
    /// Judges an answer; `None` (not applicable) without passages or without claims. An error is a failure to judge, which
    /// says nothing about the answer.
    fn score(&self, answer: &str, passages: &[Passage]) -> Result<Option<Grounding>>;
}

/// A claim, read.
struct Stated {
    text: String,
    facts: Facts,
}

/// The claims of an answer that are judged, and how many it has.
fn claims(answer: &str) -> (Vec<Stated>, usize) {
    let stated: Vec<Stated> = sentences(answer)
        .into_iter()
        .filter(|sentence| {
            !is_question(sentence) && !abstention::is_courtesy(sentence) && !abstention::states_lack(sentence)
        })
        .flat_map(parts)
        .map(|text| Stated { facts: Facts::of(&text), text })
        .filter(|stated| !stated.facts.content.is_empty())
        .collect();
    let found = stated.len();
    let kept = stated.into_iter().enumerate().filter(|(i, _)| is_taken(*i, found, MOST_CLAIMS));
    (kept.map(|(_, stated)| stated).collect(), found)
}

/// A sentence that is too long in parts, each judged as a claim of its own.
fn parts(sentence: String) -> Vec<String> {
    if sentence.split(' ').nth(MOST_WORDS).is_none() {
        return vec![sentence];
    }
    let words: Vec<&str> = sentence.split(' ').collect();
    words.chunks(MOST_WORDS).map(|part| part.join(" ")).collect()
}

/// Whether the element `i` of `n` is one of the `most` that are evenly spaced; all are where there are no more.
fn is_taken(i: usize, n: usize, most: usize) -> bool {
    n <= most || (i * most) / n != ((i + 1) * most) / n
}

/// Whether a sentence asks. "Did you know that …?" tells.
fn is_question(sentence: &str) -> bool {
    let tells = sentence.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("did you know"));
    !tells
        && sentence.trim_end_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '?' | '？')).ends_with(['?', '？'])
}

/// Makes one judgement of those of the claims, which are at least one.
fn whole(stated: &[Stated], claims: Vec<Claim>, found: usize) -> Grounding {
    let weights: Vec<f64> = stated.iter().map(|stated| (stated.facts.content.len() as f64).sqrt()).collect();
    let total: f64 = weights.iter().sum();
    let sum: f64 = claims.iter().zip(&weights).map(|(claim, weight)| claim.score * weight).sum();
    let supported = claims.iter().filter(|claim| claim.supported).count();
    Grounding { share: supported as f64 / claims.len() as f64, score: (sum / total).clamp(0.0, 1.0), claims, found }
}

//! What salience takes of the passages that a retriever found: the relevant, the new, the affordable.

use super::retriever::{Hit, Retriever};

/// How much a score counts against repetition, 0 to 1, in maximal marginal relevance.
const LAMBDA: f64 = 0.7;
/// Two passages that are more alike than this say the same; only one is taken.
const SAME: f64 = 0.95;
/// Candidates for each passage that may be taken, so that a passage that repeats another can be passed over.
pub const CANDIDATES_PER_PASSAGE: usize = 4;

/// What may be taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Passages at most.
    pub top_k: usize,
    /// Tokens of passages at most.
    pub token_budget: usize,
    /// The relevance that a passage must reach.
    pub gate: f64,
}

/// Of `hits`, best first, those that reach the gate, in the order of maximal marginal relevance (Carbonell and Goldstein, "The
/// Use of MMR, Diversity-Based Reranking", 1998): next comes what has the highest score, from 0 for the last of `hits` to 1 for
/// the first, less what it repeats of those taken. The
/// first is the retriever's first. A passage that does not fit into the budget is left out, and a shorter one may take its
/// room. `tokens` counts what some passages add to the prompt together; that of those taken is returned with them.
pub fn select(
    retriever: &Retriever,
    hits: &[Hit],
    limits: Limits,
    tokens: &mut dyn FnMut(&[Hit]) -> usize,
) -> (Vec<Hit>, usize) {
    let (highest, lowest) = (hits.first().map_or(0.0, |hit| hit.score), hits.last().map_or(0.0, |hit| hit.score));
    let scaled = |hit: &Hit| (hit.score - lowest) / (highest - lowest).max(f64::MIN_POSITIVE);
    let mut open: Vec<(Hit, f64)> =
        hits.iter().filter(|hit| hit.relevance >= limits.gate).map(|hit| (*hit, 0.0_f64)).collect();
    let (mut taken, mut used): (Vec<Hit>, usize) = (Vec::new(), 0);
    while taken.len() < limits.top_k && !open.is_empty() {
        let worth = |(hit, repeats): &(Hit, f64)| LAMBDA * scaled(hit) - (1.0 - LAMBDA) * repeats;
        let next = if taken.is_empty() {
            0
        } else {
            // Of equals the first: the retriever found it the better one.
            let first_best = |best: usize, at: usize| if worth(&open[at]) > worth(&open[best]) { at } else { best };
            (1..open.len()).fold(0, first_best)
        };
        let (hit, _) = open.remove(next);
        taken.push(hit);
        let with_it = tokens(&taken);
        if with_it > limits.token_budget {
            taken.pop();
            continue;
        }
        used = with_it;
        for (other, repeats) in &mut open {
            *repeats = repeats.max(retriever.similarity(other.place, hit.place));
        }
        open.retain(|(_, repeats)| *repeats <= SAME);
    }
    (taken, used)
}

//! The exact probabilities of given tokens.

use super::LanguageModel;
use super::cancel::Cancel;
use super::decoder::Next;
use super::prefill::Prefilled;
use super::sampler::log_sum_exp;
use crate::error::{Context, Result, bail, ensure};

/// Probabilities of given continuations.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// For each continuation, the natural logarithm of the probability of each of its tokens after those before it.
    pub logprobs: Vec<Vec<f64>>,
    /// Tokens of the prompt that came from the prefix cache.
    pub cached_tokens: usize,
}

/// Rows of continuations that are scored at once: the logits of each take the vocabulary's length.
const SCORED_AT_ONCE: usize = 64;

impl LanguageModel {
    /// The exact probabilities of continuations after a prompt: the prompt is computed once, then all continuations in one
    /// batched pass. It is an error where `cancel` ends it in the prompt.
    pub fn score(
        &mut self,
        prompt: &[u32],
        continuations: &[Vec<u32>],
        scope: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Scored> {
        let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
        ensure!(
            continuations.iter().all(|tokens| !tokens.is_empty()),
            "a continuation of no tokens has no probability"
        );
        ensure!(
            prompt.len() + longest <= self.info().context_length,
            "a prompt of {} tokens and a continuation of {longest} do not fit the context of {} tokens",
            prompt.len(),
            self.info().context_length
        );
        let Prefilled { cache, logits: first, reused } = self.prefill(prompt, scope, cancel)?;
        let first = first.context("it was cancelled before its prompt was computed")?;
        let first = first.whole()?;
        let mut logprobs = Vec::with_capacity(continuations.len());
        for tokens in continuations {
            logprobs.push(vec![logprob(&first, tokens[0])?]);
        }
        let mut left: Vec<usize> = (0..continuations.len()).filter(|&i| continuations[i].len() > 1).collect();
        while !left.is_empty() {
            let mut rows = 0;
            let fitting = left.iter().take_while(|&&i| {
                rows += continuations[i].len() - 1;
                rows <= SCORED_AT_ONCE
            });
            let now: Vec<usize> = left.drain(..fitting.count().max(1)).collect();
            let mut caches = now.iter().map(|_| cache.fork()).collect::<Result<Vec<_>>>()?;
            // More than one round only where a single continuation is longer than what is scored at once.
            let longest = now.iter().map(|&i| continuations[i].len() - 1).max().unwrap_or(0);
            for start in (0..longest).step_by(SCORED_AT_ONCE) {
                let part = |i: usize| start..(continuations[i].len() - 1).min(start + SCORED_AT_ONCE);
                let mut next: Vec<Next<'_>> = caches
                    .iter_mut()
                    .zip(&now)
                    .map(|(cache, &i)| Next { tokens: &continuations[i][part(i)], cache })
                    .collect();
                let wanted: Vec<usize> = (0..next.iter().map(|next| next.tokens.len()).sum()).collect();
                let x = self.decoder.forward(&mut next, &wanted)?;
                let mut logits = self.decoder.logits(&x)?.into_iter();
                for &i in &now {
                    for &token in &continuations[i][1..][part(i)] {
                        let logits = logits.next().context("a row of logits is missing")?;
                        logprobs[i].push(logprob(&logits.whole()?, token)?);
                    }
                }
            }
        }
        Ok(Scored { logprobs, cached_tokens: reused })
    }

    /// Logits of the last position of a prompt, for parity checks.
    pub fn logits(&mut self, prompt: &[u32]) -> Result<Vec<f32>> {
        let logits = self.prefill(prompt, None, &Cancel::default())?.logits;
        Ok(logits.context("nobody cancelled it")?.whole()?.into_owned())
    }

    /// The natural logarithm of the probability of each token of a text after those before it; the first has none.
    pub fn logprobs(&mut self, tokens: &[u32]) -> Result<Vec<f64>> {
        self.check(tokens)?;
        let mut cache = self.decoder.cache();
        let mut logprobs = Vec::with_capacity(tokens.len());
        let before = &tokens[..tokens.len() - 1];
        for (chunk, targets) in before.chunks(SCORED_AT_ONCE).zip(tokens[1..].chunks(SCORED_AT_ONCE)) {
            let wanted: Vec<usize> = (0..chunk.len()).collect();
            let x = self.decoder.forward(&mut [Next { tokens: chunk, cache: &mut cache }], &wanted)?;
            for (logits, &token) in self.decoder.logits(&x)?.iter().zip(targets) {
                logprobs.push(logprob(&logits.whole()?, token)?);
            }
        }
        Ok(logprobs)
    }
}

fn logprob(logits: &[f32], token: u32) -> Result<f64> {
    let Some(&logit) = logits.get(token as usize) else {
        bail!("token id {token} is not in the vocabulary of {}", logits.len())
    };
    Ok(f64::from(logit) - log_sum_exp(logits)?)
}

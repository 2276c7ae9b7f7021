//! Prompts: what is kept of them is reused, the rest is computed a chunk at a time.

use super::LanguageModel;
use super::cancel::Cancel;
use super::decoder::Next;
use super::kv::KvCache;
use super::logits::Logits;
use crate::error::{Context, Result, usage};

/// Tokens of a prompt that are computed at once: on the CPU as many as its caches hold, on others as many as pay for the
/// launches and for widening the weights.
pub(super) const CHUNK: usize = 128;
const CHUNK_ON_DEVICE: usize = 2048;
/// On devices the scores of a chunk stand side by side, for each row of it and each position: so many at most for each head.
const MOST_SCORES: usize = 1 << 23;

/// A computed prompt.
pub(super) struct Prefilled {
    pub(super) cache: KvCache,
    /// Of the last position; none where it was cancelled before that.
    pub(super) logits: Option<Logits>,
    /// Tokens that came from the prefix cache.
    pub(super) reused: usize,
}

impl LanguageModel {
    /// Refuses a prompt that nothing can follow.
    pub(super) fn check(&self, prompt: &[u32]) -> Result<()> {
        if prompt.is_empty() {
            return Err(usage("an empty prompt has nothing to continue from"));
        }
        let limit = self.info().context_length;
        if prompt.len() >= limit {
            return Err(usage(format!(
                "a prompt of {} tokens leaves no room in the context of {limit} tokens of {}: shorten it, or use a model \
                 with a longer context",
                prompt.len(),
                self.info().name
            )));
        }
        Ok(())
    }

    /// Computes what is not kept of a prompt, and keeps it, as far as it comes before it is cancelled.
    pub(super) fn prefill(&mut self, prompt: &[u32], scope: Option<&str>, cancel: &Cancel) -> Result<Prefilled> {
        self.check(prompt)?;
        let mut cache = self.decoder.cache();
        if let Some(store) = &mut self.prefixes {
            // The last token is always computed: its logits are what was asked for.
            for (page, positions) in store.walk(scope, &prompt[..prompt.len() - 1]) {
                cache.append(&page, positions)?;
            }
        }
        let reused = cache.len();
        let logits = self.compute(&prompt[reused..], &mut cache, cancel)?;
        if let Some(logits) = &logits {
            logits.wait()?;
        }
        self.keep(scope, prompt, &cache)?;
        Ok(Prefilled { cache, logits, reused })
    }

    /// Computes tokens after those that are cached, a chunk at a time. Returns the logits of the last; none where it was
    /// cancelled before that.
    pub(super) fn compute(&self, tokens: &[u32], cache: &mut KvCache, cancel: &Cancel) -> Result<Option<Logits>> {
        cache.reserve(cache.len() + tokens.len())?;
        let chunk = self.chunk(cache.len() + tokens.len());
        let mut left = tokens;
        while !cancel.is_asked_for() {
            let (tokens, later) = left.split_at(chunk.min(left.len()));
            let wanted = if later.is_empty() { tokens.len().checked_sub(1) } else { None };
            let x = self.decoder.forward(&mut [Next { tokens, cache }], wanted.as_slice())?;
            if later.is_empty() {
                return self.decoder.logits(&x)?.pop().context("there is no token to compute").map(Some);
            }
            left = later;
        }
        Ok(None)
    }

    /// How many tokens of prompts are computed at once, where the longest has so many positions.
    pub(super) fn chunk(&self, positions: usize) -> usize {
        let on_device = (MOST_SCORES / positions.max(1)).clamp(CHUNK, CHUNK_ON_DEVICE);
        if self.decoder.device().is_cpu() { CHUNK } else { on_device }
    }

    /// Keeps what is cached of a sequence for later ones that begin alike.
    pub(super) fn keep(&mut self, scope: Option<&str>, tokens: &[u32], cache: &KvCache) -> Result<()> {
        match &mut self.prefixes {
            Some(store) => store.keep(scope, &tokens[..cache.len()], |index| cache.page(index)),
            None => Ok(()),
        }
    }
}

//! Generation: prompts in, tokens out, one sequence or several at a time.

use super::LanguageModel;
use super::batch::Batch;
use super::cancel::Cancel;
use super::constraint::Constraint;
use crate::clock::Clock;
use crate::error::{Context, Result, ensure};
use crate::units::Seconds;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How to generate.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Upper bound of generated tokens.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Keep the k most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Keep the tokens whose probability is at least this share of the most probable one's; 0 keeps all.
    pub min_p: f64,
    /// Seed of the sampler.
    pub seed: u64,
    /// How many alternatives to return for each token.
    pub top_logprobs: usize,
    /// Texts that end generation; they are not part of the result.
    pub stop: Vec<String>,
    /// Whose kept prefixes may be reused beside everybody's, and whose the new ones become; `None` is everybody.
    pub cache_scope: Option<String>,
    /// What the answer is held to; probabilities are then those among the tokens that may come.
    pub constraint: Option<Arc<Constraint>>,
    /// Ends generation while a prompt is computed, before any token can be shown.
    pub cancel: Cancel,
}

/// The most probable token each time, until the model ends its turn or the context is full.
impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: usize::MAX,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
            top_logprobs: 0,
            stop: Vec::new(),
            cache_scope: None,
            constraint: None,
            cancel: Cancel::default(),
        }
    }
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The text that it completed: empty while a multi-byte character is unfinished.
    pub text: String,
    /// Its own bytes, which may be a part of a character; none where it ends the turn.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability at temperature 1.
    pub logprob: f64,
    /// The most probable alternatives (bytes, logprob), most probable first.
    pub top: Vec<(Vec<u8>, f64)>,
}

/// Why generation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// An end-of-turn token or a stop text.
    EndOfTurn,
    /// The token budget, or the end of the context.
    MaxTokens,
    /// The caller asked for it, by the callback or by [`GenerateOptions::cancel`].
    Cancelled,
    /// The constraint allows nothing that its check accepts.
    Stuck,
    /// The constraint reached one of its limits on the way.
    Limit,
}

/// What was generated.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The text of all tokens.
    pub text: String,
    /// Token by token; an end-of-turn token is the last of them and completes no text of its own.
    pub tokens: Vec<Token>,
    /// Why it stopped.
    pub stop: Stop,
    /// Tokens of the prompt that came from the prefix cache.
    pub cached_tokens: usize,
    /// Tokens that were guessed from what the prompt says after the same words, and computed beside the one before them.
    pub drafted_tokens: usize,
    /// How many of those were then chosen.
    pub accepted_tokens: usize,
    /// Tokens that a constraint left no choice about: they are computed together with the next one.
    pub forced_tokens: usize,
    /// Whether a constrained answer was closed because its budget came to an end.
    pub closed_early: bool,
    /// Which limit the constraint reached, where it did.
    pub limit: Option<String>,
    /// What each step took that asked a constraint which tokens may come; a part of `constrain`.
    pub mask_times: Vec<Seconds>,
    /// Time until the prompt was computed; in a batch what the others' steps took meanwhile is in it.
    pub prefill: Seconds,
    /// Time of all later steps, sampling and detokenising included.
    pub decode: Seconds,
    /// Time of following a constraint; in none of the others.
    pub constrain: Seconds,
}

/// A prompt and how to continue it.
#[derive(Debug, Clone)]
pub struct Prompt<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// How to generate.
    pub options: &'a GenerateOptions,
}

impl LanguageModel {
    /// Generates from a prompt. `on_token` sees each token as it comes. A prompt that does not leave room for one token
    /// in the context is an error: check against [`ModelInfo::context_length`](super::ModelInfo::context_length) first.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: &GenerateOptions,
        clock: &Clock,
        on_token: &mut dyn FnMut(&Token) -> ControlFlow<()>,
    ) -> Result<Generated> {
        let prompt = Prompt { tokens: prompt, options };
        let mut all = self.generate_all(&[prompt], 1, clock, &mut |_, token| on_token(token))?;
        all.pop().context("no sequence was generated")
    }

    /// Generates from several prompts, up to `batch` of them at a time: each step computes the next token of all of them
    /// in one pass, and where a sequence ends, the next prompt takes its place. No result depends on the others: each is
    /// what [`LanguageModel::generate`] gives for its prompt alone. `on_token` sees the number of the prompt and each token.
    ///
    /// A sequence's `decode` time ends with its own last token, and holds what the others' steps took meanwhile.
    pub fn generate_all(
        &mut self,
        prompts: &[Prompt<'_>],
        batch: usize,
        clock: &Clock,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>> {
        ensure!(batch > 0, "a batch of no sequence generates nothing");
        for prompt in prompts {
            self.check(prompt.tokens)?;
        }
        let mut waiting = prompts.iter().enumerate();
        let mut running = Batch::default();
        let mut done: Vec<Option<Generated>> = vec![None; prompts.len()];
        loop {
            while running.len() < batch
                && let Some((number, prompt)) = waiting.next()
            {
                self.admit(&mut running, number, prompt, clock.now(), clock)?;
            }
            if running.is_empty() {
                break;
            }
            for (number, generated) in self.step(&mut running, clock, on_token)? {
                done[number] = Some(generated?);
            }
        }
        done.into_iter().map(|generated| generated.context("a sequence was lost")).collect()
    }
}

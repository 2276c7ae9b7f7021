//! Generation: prompts in, tokens out, one sequence or several at a time.

use super::cancel::Cancel;
use super::constraint::{Constraint, Following, Guide, certain, closing_from, next_look};
use super::decoder::Next;
use super::kv::KvCache;
use super::logits::Logits;
use super::prefill::Prefilled;
use super::sampler::{Choice, Sampler, Sampling};
use super::stream::TextStream;
use super::{LanguageModel, lookup};
use crate::clock::{Clock, Moment};
use crate::error::{Context, Result, ensure};
use crate::units::Seconds;
use std::collections::VecDeque;
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
    /// Time of the forward pass over the prompt.
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
        let mut waiting: VecDeque<usize> = (0..prompts.len()).collect();
        let mut running: Vec<Sequence> = Vec::new();
        let mut done: Vec<Option<Generated>> = vec![None; prompts.len()];
        loop {
            while running.len() < batch
                && let Some(index) = waiting.pop_front()
            {
                running.push(self.start(index, &prompts[index], clock, on_token)?);
            }
            let (ended, going): (Vec<_>, Vec<_>) = running.into_iter().partition(|sequence| sequence.stop.is_some());
            running = going;
            for sequence in ended {
                let (index, generated) = self.finish(sequence, prompts)?;
                done[index] = Some(generated);
            }
            if running.is_empty() {
                if waiting.is_empty() {
                    break;
                }
                continue;
            }
            let drafts = self.prompt_lookup && running.len() == 1;
            let mut rows = Vec::new();
            let mut first = 0;
            for sequence in &mut running {
                sequence.prepare(drafts);
                // Of tokens that are known to follow each other, only the last one's logits are wanted.
                rows.extend(first + sequence.pending - 1..first + sequence.next.len());
                first += sequence.next.len();
            }
            let mut next: Vec<Next<'_>> = running.iter_mut().map(Sequence::next).collect();
            let mut logits = self.decoder.next(&mut next, &rows)?.into_iter();
            for sequence in &mut running {
                sequence.accept(self, &mut logits, clock, on_token)?;
            }
        }
        done.into_iter().map(|generated| generated.context("a sequence was lost")).collect()
    }

    /// Computes a prompt, with the tokens that a constraint forces at its end, and chooses the first token after it.
    fn start(
        &mut self,
        index: usize,
        prompt: &Prompt<'_>,
        clock: &Clock,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) -> Result<Sequence> {
        let options = prompt.options;
        let sampling = Sampling {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: options.top_p,
            min_p: options.min_p,
        };
        let sampler = Sampler::new(sampling, options.seed)?;
        let room = self.info().context_length.saturating_sub(prompt.tokens.len());
        let budget = options.max_tokens.min(room);
        let mut guide = options.constraint.as_deref().map(Guide::new);
        let tokenizer = &self.vocabulary.tokenizer;
        let begun = guide.as_mut().map(|guide| guide.begin(tokenizer, clock));
        let (mut forced, mut ends, begun_with) = match begun {
            None => (Vec::new(), false, None),
            Some(Following::Forced(forced)) => (forced, false, None),
            // An answer without a token is at its end where it begins.
            Some(Following::End(forced)) if forced.is_empty() => (forced, true, Some(Stop::EndOfTurn)),
            Some(Following::End(forced)) => (forced, true, None),
            Some(Following::Refused) => (Vec::new(), false, Some(Stop::Stuck)),
            Some(Following::Limit) => (Vec::new(), false, Some(Stop::Limit)),
        };
        // An answer that is cut does not end.
        ends &= forced.len() <= budget;
        forced.truncate(budget);
        let start = clock.now();
        // Where nothing can follow, the last token needs no logits.
        let wanted = budget > forced.len() && !ends;
        let given = [prompt.tokens, if wanted { &forced } else { &[] }].concat();
        let Prefilled { cache, logits, reused } =
            self.prefill(&given, options.cache_scope.as_deref(), &options.cancel)?;
        let mut sequence = Sequence {
            index,
            all: prompt.tokens.to_vec(),
            context: self.info().context_length,
            cache,
            sampler,
            stream: TextStream::new(&options.stop),
            top: options.top_logprobs,
            budget,
            tokens: Vec::new(),
            next: Vec::new(),
            pending: 0,
            guide,
            closes_from: closing_from(budget),
            looks_at: next_look(budget),
            took: 0,
            closed: false,
            stop: if logits.is_none() { Some(Stop::Cancelled) } else { begun_with },
            cached_tokens: reused.min(prompt.tokens.len()),
            drafted: 0,
            accepted: 0,
            guess: None,
            trust: lookup::MOST,
            decode: Seconds::ZERO,
            prefill: clock.since(start),
            decode_start: clock.now(),
        };
        sequence.push_forced(self, &forced, ends, clock, on_token);
        if let (None, Some(logits)) = (sequence.stop, &logits) {
            sequence.extend(self, logits, clock, on_token)?;
        }
        Ok(sequence)
    }

    fn finish(&mut self, mut sequence: Sequence, prompts: &[Prompt<'_>]) -> Result<(usize, Generated)> {
        let prompt = &prompts[sequence.index];
        // Forced tokens are computed before they are told, and a stop text or the caller may end the answer among them.
        sequence.cache.truncate(sequence.cache.len().min(sequence.all.len()));
        // What was generated may be the beginning of the next prompt, as in a conversation.
        self.keep(prompt.options.cache_scope.as_deref(), &sequence.all, &sequence.cache)?;
        let guide = sequence.guide;
        let generated = Generated {
            text: sequence.tokens.iter().map(|token| token.text.as_str()).collect(),
            tokens: sequence.tokens,
            stop: sequence.stop.unwrap_or(Stop::MaxTokens),
            cached_tokens: sequence.cached_tokens,
            drafted_tokens: sequence.drafted,
            accepted_tokens: sequence.accepted,
            closed_early: sequence.closed,
            forced_tokens: guide.as_ref().map_or(0, |guide| guide.forced),
            prefill: sequence.prefill,
            decode: sequence.decode - guide.as_ref().map_or(Seconds::ZERO, Guide::time_after_begin),
            constrain: guide.as_ref().map_or(Seconds::ZERO, |guide| guide.time),
            limit: guide.as_ref().and_then(|guide| guide.limit.clone()),
            mask_times: guide.map_or_else(Vec::new, |guide| guide.mask_times),
        };
        Ok((sequence.index, generated))
    }

    fn token(&self, choice: Choice, text: String) -> Token {
        let bytes = |id| self.vocabulary.tokenizer.token_bytes(id);
        let top = choice.top.into_iter().map(|(id, logprob)| (bytes(id), logprob)).collect();
        Token { id: choice.id, text, bytes: bytes(choice.id), logprob: choice.logprob, top }
    }
}

/// A sequence that is being generated.
struct Sequence {
    index: usize,
    /// The prompt, and what was generated.
    all: Vec<u32>,
    context: usize,
    cache: KvCache,
    sampler: Sampler,
    stream: TextStream,
    top: usize,
    budget: usize,
    tokens: Vec<Token>,
    /// The tokens to compute next: the last one that was chosen, what is known to follow it, and guesses.
    next: Vec<u32>,
    /// How many of those are no guesses.
    pending: usize,
    guide: Option<Guide>,
    /// How many tokens are left when what is open begins to be closed.
    closes_from: usize,
    /// How many tokens are left when it is found out what closing takes, and what it took the last time.
    looks_at: usize,
    took: usize,
    /// Whether the end of the budget made it close what was open.
    closed: bool,
    stop: Option<Stop>,
    cached_tokens: usize,
    drafted: usize,
    accepted: usize,
    /// What is guessed to follow the next token, computed or not.
    guess: Option<u32>,
    /// How many guesses are computed at once: more after one that was right, fewer after one that was not.
    trust: usize,
    decode: Seconds,
    prefill: Seconds,
    decode_start: Moment,
}

impl Sequence {
    /// Finds the tokens to compute next.
    fn prepare(&mut self, drafts: bool) {
        let pending = &self.all[self.cache.len()..];
        // A grammar would have to follow every guess; what it forces is more than a guess.
        let drafts = drafts && self.guide.is_none();
        let draft = if drafts { lookup::draft(&self.all, self.drafts_at_most()) } else { &[] };
        self.guess = draft.first().copied();
        self.pending = pending.len();
        self.next = [pending, &draft[..draft.len().min(self.trust)]].concat();
    }

    fn next(&mut self) -> Next<'_> {
        Next { tokens: &self.next, cache: &mut self.cache }
    }

    /// How many tokens may follow the next one.
    fn drafts_at_most(&self) -> usize {
        let budget = self.budget.saturating_sub(self.tokens.len() + 1);
        budget.min(self.context.saturating_sub(self.all.len() + 1))
    }

    /// Chooses tokens from the logits of those that were computed, as long as the guesses are what is chosen. Each choice
    /// sees the logits that it would see without guesses, so that the tokens are the same.
    fn accept(
        &mut self,
        model: &LanguageModel,
        logits: &mut impl Iterator<Item = Logits>,
        clock: &Clock,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) -> Result<()> {
        let start = self.cache.len() - self.next.len();
        let computed = std::mem::take(&mut self.next);
        let guesses = &computed[self.pending..];
        self.drafted += guesses.len();
        let mut valid = 0;
        for (index, logits) in logits.take(1 + guesses.len()).enumerate() {
            if valid < index || self.stop.is_some() {
                continue;
            }
            self.extend(model, &logits, clock, on_token)?;
            if index == 0 && self.guess.is_some() {
                let right = self.guess.as_ref() == self.all.last();
                self.trust = if right { (2 * self.trust + 1).min(lookup::MOST) } else { self.trust / 2 };
            }
            if guesses.get(index).is_some_and(|guess| self.all.last() == Some(guess)) && self.stop.is_none() {
                valid += 1;
            }
        }
        self.accepted += valid;
        self.cache.truncate(start + self.pending + valid);
        Ok(())
    }

    /// Chooses the next token from its logits, and finds out whether it is the last.
    fn extend(
        &mut self,
        model: &LanguageModel,
        logits: &Logits,
        clock: &Clock,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) -> Result<()> {
        if self.budget == 0 {
            self.stop = Some(Stop::MaxTokens);
            return Ok(());
        }
        let ends = &model.vocabulary.ends;
        let Some(guide) = &mut self.guide else {
            let choice = self.sampler.choose(logits, self.top)?;
            self.push(model, choice, false, on_token);
            self.decode = clock.since(self.decode_start);
            return Ok(());
        };
        let mut allowed = logits.whole()?.into_owned();
        if !guide.restrict(&mut allowed, ends, clock) {
            self.end(Stop::Limit, clock);
            return Ok(());
        }
        // Near the end of the budget, what is open is closed: an answer that is cut is none.
        let left = self.budget - self.tokens.len();
        if left <= self.looks_at && left > self.closes_from {
            self.looks_at = next_look(left);
            // As much may be opened again until then.
            if let Some(takes) = guide.closing_takes(left, &model.vocabulary.tokenizer, clock)
                && takes + takes.saturating_sub(std::mem::replace(&mut self.took, takes)) >= self.looks_at
            {
                self.closes_from = left;
            }
        }
        let closes = left <= self.closes_from + guide.depth();
        let mut closing = if closes { guide.closing(&allowed, ends, clock) } else { None };
        while allowed.iter().any(|logit| logit.is_finite()) {
            let mut choice = self.sampler.choose_among(closing.as_deref(), &allowed, self.top)?;
            choice.top.retain(|(_, logprob)| logprob.is_finite());
            let following = if ends.contains(&choice.id) {
                Following::End(Vec::new())
            } else {
                guide.take(choice.id, &model.vocabulary.tokenizer, clock)
            };
            let (forced, ends_here) = match following {
                Following::Forced(forced) => (forced, false),
                Following::End(forced) => (forced, true),
                Following::Limit => {
                    self.end(Stop::Limit, clock);
                    return Ok(());
                }
                Following::Refused => {
                    allowed[choice.id as usize] = f32::NEG_INFINITY;
                    closing = if closes { guide.closing(&allowed, ends, clock) } else { None };
                    continue;
                }
            };
            self.closed |= closing.is_some();
            self.push(model, choice, ends_here && forced.is_empty(), on_token);
            self.push_forced(model, &forced, ends_here, clock, on_token);
            return Ok(());
        }
        self.end(Stop::Stuck, clock);
        Ok(())
    }

    /// Ends where no token can be chosen.
    fn end(&mut self, stop: Stop, clock: &Clock) {
        (self.stop, self.decode) = (Some(stop), clock.since(self.decode_start));
    }

    /// Adds tokens that were not chosen; `ends` says that nothing can follow them.
    fn push_forced(
        &mut self,
        model: &LanguageModel,
        forced: &[u32],
        ends: bool,
        clock: &Clock,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) {
        for (index, &id) in forced.iter().enumerate() {
            if self.stop.is_some() {
                break;
            }
            let last = ends && index + 1 == forced.len();
            if let Some(guide) = &mut self.guide {
                guide.forced += 1;
            }
            self.push(model, certain(id, self.top), last, on_token);
        }
        self.decode = clock.since(self.decode_start);
    }

    /// Adds a token, and finds out whether it is the last; `last` says that nothing can follow it.
    fn push(
        &mut self,
        model: &LanguageModel,
        choice: Choice,
        last: bool,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) {
        let mut text = String::new();
        if model.vocabulary.ends.contains(&choice.id) {
            self.stop = Some(Stop::EndOfTurn);
        } else {
            let piece = self.stream.push(&model.vocabulary.tokenizer.token_bytes(choice.id));
            text = piece.text;
            if piece.stopped || last {
                self.stop = Some(Stop::EndOfTurn);
            } else if self.tokens.len() + 1 == self.budget {
                self.stop = Some(Stop::MaxTokens);
            }
        }
        if self.stop.is_some() {
            text.push_str(&self.stream.finish());
        }
        let token = model.token(choice, text);
        let flow = on_token(self.index, &token);
        self.all.push(token.id);
        self.tokens.push(token);
        if flow.is_break() && self.stop.is_none() {
            self.stop = Some(Stop::Cancelled);
            // What was held back as the possible beginning of a stop text belongs to the answer after all.
            let held = self.stream.finish();
            if let Some(last) = self.tokens.last_mut() {
                last.text.push_str(&held);
            }
        }
    }
}

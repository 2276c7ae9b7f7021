//! One sequence that is being generated: its prompt, its choices, its end.

use super::cancel::Cancel;
use super::constraint::{Following, Guide, certain, closing_from, next_look};
use super::decoder::Next;
use super::generate::{Generated, Prompt, Stop, Token};
use super::kv::KvCache;
use super::logits::Logits;
use super::sampler::{Choice, Sampler, Sampling};
use super::stream::TextStream;
use super::{LanguageModel, lookup};
use crate::clock::{Clock, Moment};
use crate::error::Result;
use crate::units::Seconds;
use std::ops::ControlFlow;

/// A sequence that is being generated.
pub(super) struct Sequence {
    /// What its caller tells it by.
    pub(super) number: usize,
    pub(super) scope: Option<String>,
    pub(super) cancel: Cancel,
    /// What is still to be computed before a token can be chosen; `None` once that is done.
    pub(super) opening: Option<Opening>,
    /// The prompt, and what was generated.
    pub(super) all: Vec<u32>,
    pub(super) cache: KvCache,
    pub(super) stop: Option<Stop>,
    pub(super) cached_tokens: usize,
    pub(super) prefill: Seconds,
    context: usize,
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
    drafted: usize,
    accepted: usize,
    /// What is guessed to follow the next token, computed or not.
    guess: Option<u32>,
    /// How many guesses are computed at once: more after one that was right, fewer after one that was not.
    trust: usize,
    decode: Seconds,
    decode_start: Moment,
}

/// A prompt that is being computed.
pub(super) struct Opening {
    /// The prompt, and the tokens that a constraint forces at the beginning of its answer.
    pub(super) given: Vec<u32>,
    /// Whether what is kept of it was looked for.
    pub(super) begun: bool,
    /// When it was asked for, and how much of the time since then its constraint took.
    since: Moment,
    begun_in: Seconds,
    forced: Vec<u32>,
    /// Whether nothing can follow what is forced.
    ends: bool,
    /// Why it ends with its prompt, where it does.
    stop: Option<Stop>,
}

impl Sequence {
    /// A sequence whose prompt is not computed yet.
    pub(super) fn open(
        model: &LanguageModel,
        number: usize,
        prompt: &Prompt<'_>,
        cache: KvCache,
        since: Moment,
        clock: &Clock,
    ) -> Result<Self> {
        let options = prompt.options;
        let sampling = Sampling {
            temperature: options.temperature,
            top_k: options.top_k,
            top_p: options.top_p,
            min_p: options.min_p,
        };
        let sampler = Sampler::new(sampling, options.seed)?;
        let context = model.info().context_length;
        let budget = options.max_tokens.min(context.saturating_sub(prompt.tokens.len()));
        let mut guide = options.constraint.as_deref().map(Guide::new);
        let begun = guide.as_mut().map(|guide| guide.begin(&model.vocabulary.tokenizer, clock));
        let (mut forced, mut ends, stop) = match begun {
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
        // Where nothing can follow, the last token needs no logits.
        let wanted = budget > forced.len() && !ends;
        let given = [prompt.tokens, if wanted { &forced } else { &[] }].concat();
        let begun_in = guide.as_ref().map_or(Seconds::ZERO, |guide| guide.time);
        Ok(Self {
            number,
            scope: options.cache_scope.clone(),
            cancel: options.cancel.clone(),
            opening: Some(Opening { given, begun: false, since, begun_in, forced, ends, stop }),
            all: prompt.tokens.to_vec(),
            cache,
            stop: None,
            cached_tokens: 0,
            prefill: Seconds::ZERO,
            context,
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
            drafted: 0,
            accepted: 0,
            guess: None,
            trust: lookup::MOST,
            decode: Seconds::ZERO,
            decode_start: since,
        })
    }

    /// Goes on from the logits of its prompt's last token.
    pub(super) fn begin(
        &mut self,
        model: &LanguageModel,
        opening: Opening,
        logits: &Logits,
        clock: &Clock,
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) -> Result<()> {
        self.prefill = clock.since(opening.since) - opening.begun_in;
        self.decode_start = clock.now();
        self.stop = opening.stop;
        self.push_forced(model, &opening.forced, opening.ends, clock, on_token);
        if self.stop.is_none() { self.extend(model, logits, clock, on_token) } else { Ok(()) }
    }

    /// Ends it where its prompt is not computed yet.
    pub(super) fn abandon(&mut self, clock: &Clock) {
        if let Some(opening) = self.opening.take() {
            self.prefill = clock.since(opening.since) - opening.begun_in;
        }
        self.stop = Some(Stop::Cancelled);
    }

    /// What was generated.
    pub(super) fn finish(self) -> Generated {
        let guide = self.guide;
        Generated {
            text: self.tokens.iter().map(|token| token.text.as_str()).collect(),
            tokens: self.tokens,
            stop: self.stop.unwrap_or(Stop::MaxTokens),
            cached_tokens: self.cached_tokens,
            drafted_tokens: self.drafted,
            accepted_tokens: self.accepted,
            closed_early: self.closed,
            forced_tokens: guide.as_ref().map_or(0, |guide| guide.forced),
            prefill: self.prefill,
            decode: self.decode - guide.as_ref().map_or(Seconds::ZERO, Guide::time_after_begin),
            constrain: guide.as_ref().map_or(Seconds::ZERO, |guide| guide.time),
            limit: guide.as_ref().and_then(|guide| guide.limit.clone()),
            mask_times: guide.map_or_else(Vec::new, |guide| guide.mask_times),
        }
    }

    /// How many of the most probable tokens it asks for; none where a constraint looks at all.
    pub(super) fn leaders(&self) -> usize {
        if self.guide.is_some() { 0 } else { self.top.max(1) }
    }

    /// Those of its next tokens whose logits are wanted: of tokens that are known to follow each other, only the last one's.
    pub(super) fn rows(&self) -> std::ops::Range<usize> {
        self.pending - 1..self.next.len()
    }

    /// Finds the tokens to compute next.
    pub(super) fn prepare(&mut self, drafts: bool) {
        let pending = &self.all[self.cache.len()..];
        // A grammar would have to follow every guess; what it forces is more than a guess.
        let drafts = drafts && self.guide.is_none();
        let draft = if drafts { lookup::draft(&self.all, self.drafts_at_most()) } else { &[] };
        self.guess = draft.first().copied();
        self.pending = pending.len();
        self.next = [pending, &draft[..draft.len().min(self.trust)]].concat();
    }

    /// The tokens to compute next; of a prompt that is not computed yet `count`.
    pub(super) fn next(&mut self, count: usize) -> Next<'_> {
        let tokens = match &self.opening {
            Some(opening) => &opening.given[self.cache.len()..self.cache.len() + count],
            None => &self.next,
        };
        Next { tokens, cache: &mut self.cache }
    }

    /// How many tokens of its prompt are not computed.
    pub(super) fn left(&self) -> usize {
        self.opening.as_ref().map_or(0, |opening| opening.given.len() - self.cache.len())
    }

    /// How many tokens may follow the next one.
    fn drafts_at_most(&self) -> usize {
        let budget = self.budget.saturating_sub(self.tokens.len() + 1);
        budget.min(self.context.saturating_sub(self.all.len() + 1))
    }

    /// Chooses tokens from the logits of those that were computed, as long as the guesses are what is chosen. Each choice
    /// sees the logits that it would see without guesses, so that the tokens are the same.
    pub(super) fn accept(
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
        let token = told(model, choice, text);
        let flow = on_token(self.number, &token);
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

fn told(model: &LanguageModel, choice: Choice, text: String) -> Token {
    let bytes = |id| model.vocabulary.tokenizer.token_bytes(id);
    let top = choice.top.into_iter().map(|(id, logprob)| (bytes(id), logprob)).collect();
    Token { id: choice.id, text, bytes: bytes(choice.id), logprob: choice.logprob, top }
}

//! A constraint beside one sequence: which tokens may come next, and what follows the one that was chosen.

use super::place::{Mark, Place};
use super::{Check, Closers, Constraint, first_line};
use crate::clock::Clock;
use crate::nn::TextTokenizer;
use crate::units::Seconds;
use llguidance::Matcher;
use llguidance::toktrie::{SimpleVob, TokenId};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Brackets of JSON within one another, at most: readers of JSON stop at 128, and answers are kept within records.
pub const DEEPEST_JSON: usize = 64;

/// Bytes of the longest way out of a text that is looked for, ways that are followed side by side, and bytes tried in all.
const LONGEST_WAY: usize = 80;
const MOST_WAYS: usize = 8;
const MOST_TRIED: usize = 1_000;
/// One character of each kind, and the longest run of it that is tried.
const RUNS: &[u8] = b"0aA -._";
const LONGEST_RUN: usize = 16;

/// Bytes by which an answer is closed, best first, outside of texts and within: what ends something, then short values, then
/// what opens something.
const CLOSING: &[u8] = b"}]n,\"0123456789tf- :[{";

/// How many tokens before the end of its budget a constrained answer begins to close what is open, at the latest.
pub(in crate::nn) fn closing_from(budget: usize) -> usize {
    (budget / 4).clamp(budget.min(8), 48)
}

/// How many tokens are left when it is looked for the next time what closing a constrained answer takes.
pub(in crate::nn) fn next_look(left: usize) -> usize {
    left * 7 / 8
}

/// A constraint that follows one sequence.
pub(in crate::nn) struct Guide {
    matcher: Matcher,
    check: Check,
    closers: Arc<Closers>,
    witnesses: Arc<[Vec<u8>]>,
    end: TokenId,
    /// What was generated.
    bytes: Vec<u8>,
    place: Place,
    json: bool,
    /// The way out of the text that is open, where it was looked for; `None` where there is none.
    way: Option<Vec<u8>>,
    /// What all of its work took, and what of that came before the prompt was computed.
    pub(in crate::nn) time: Seconds,
    begin_time: Seconds,
    /// What each step took that asked which tokens may come.
    pub(in crate::nn) mask_times: Vec<Seconds>,
    /// Tokens that the grammar left no choice about.
    pub(in crate::nn) forced: usize,
    /// Which limit the grammar reached, where it did.
    pub(in crate::nn) limit: Option<String>,
}

/// What follows a chosen token.
pub(in crate::nn) enum Following {
    /// These tokens must, and then others may.
    Forced(Vec<u32>),
    /// These tokens must, and with them the answer ends.
    End(Vec<u32>),
    /// No right answer begins so: the token is taken back, and another must be chosen.
    Refused,
    /// The grammar reached one of its limits: nothing can be said of what follows.
    Limit,
}

impl Guide {
    pub(in crate::nn) fn new(constraint: &Constraint) -> Self {
        Self {
            matcher: constraint.start.clone(),
            check: constraint.check.clone(),
            closers: Arc::clone(&constraint.closers),
            witnesses: Arc::clone(&constraint.witnesses),
            end: constraint.end,
            bytes: Vec::new(),
            place: Place::default(),
            json: constraint.json,
            way: Some(Vec::new()),
            time: Seconds::ZERO,
            begin_time: Seconds::ZERO,
            mask_times: Vec::new(),
            forced: 0,
            limit: None,
        }
    }

    /// Takes away what may not come next. `ends` are tokens that end a turn: they may come where the answer may end. Tells
    /// whether the grammar could say it, see [`Guide::limit`].
    pub(in crate::nn) fn restrict(&mut self, logits: &mut [f32], ends: &[u32], clock: &Clock) -> bool {
        let start = clock.now();
        let mask = match self.matcher.compute_mask() {
            Ok(mask) => mask,
            Err(error) => {
                self.limit = Some(failed("finding the tokens that may come", &error));
                return false;
            }
        };
        let may_end = mask.is_allowed(self.end) && self.is_right(&[]);
        let kept: Vec<(u32, f32)> = ends.iter().filter_map(|&id| Some((id, *logits.get(id as usize)?))).collect();
        for (&word, logits) in mask.as_slice().iter().zip(logits.chunks_mut(u32::BITS as usize)) {
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        for (id, logit) in kept {
            logits[id as usize] = if may_end { logit } else { f32::NEG_INFINITY };
        }
        let took = clock.since(start);
        self.time += took;
        self.mask_times.push(took);
        true
    }

    /// Of restricted logits, those of tokens that end the answer, or else that close something, or else on the way to where a
    /// text can be closed, or else that open nothing; `None` where there are none.
    pub(in crate::nn) fn closing(&mut self, logits: &[f32], ends: &[u32], clock: &Clock) -> Option<Vec<f32>> {
        let start = clock.now();
        let closing = self.closers(logits, ends);
        self.time += clock.since(start);
        closing
    }

    fn closers(&mut self, logits: &[f32], ends: &[u32]) -> Option<Vec<f32>> {
        let only = |ids: &[u32]| {
            let mut only = vec![f32::NEG_INFINITY; logits.len()];
            for &id in ids {
                if let (Some(to), Some(from)) = (only.get_mut(id as usize), logits.get(id as usize)) {
                    *to = *from;
                }
            }
            only.iter().any(|logit| logit.is_finite()).then_some(only)
        };
        if let Some(ended) = only(ends) {
            return Some(ended);
        }
        let closers = Arc::clone(&self.closers);
        if self.place.inside {
            return only(&closers.quotes).or_else(|| only(&[closers.token(self.way_on()?)?]));
        }
        let ended = only(&closers.brackets).or_else(|| only(&closers.nulls)).or_else(|| only(&closers.commas));
        if ended.is_none() && self.in_number() {
            return only(&[closers.token(self.way_on()?)?]);
        }
        ended.or_else(|| {
            let mut others = logits.to_vec();
            for &id in &closers.openers {
                if let Some(logit) = others.get_mut(id as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
            others.iter().any(|logit| logit.is_finite()).then_some(others)
        })
    }

    /// Whether a number has begun: it may be none yet that the schema allows.
    fn in_number(&self) -> bool {
        self.bytes.last().is_some_and(|byte| b"0123456789.-+eE".contains(byte))
    }

    /// The next byte on the way out of the open text or number.
    fn way_on(&mut self) -> Option<u8> {
        if self.way.as_ref()?.is_empty() {
            self.way = self.way_out();
        }
        self.way.as_ref()?.first().copied()
    }

    /// The shortest way behind which the text or the number that is open can be closed: a pattern may ask for more, as a time
    /// of day does for its zone. Byte by byte; of ways of one length that leave the same tokens, one is followed.
    fn way_out(&self) -> Option<Vec<u8>> {
        let mask = self.matcher.clone().compute_mask().ok()?;
        let mut ways = vec![(self.matcher.clone(), self.place.clone(), mask, Vec::new())];
        let mut tried = 0;
        let inside = self.place.inside;
        let bytes: Vec<u8> = if inside { (0x20..=u8::MAX).collect() } else { b"0123456789.-e".to_vec() };
        for _ in 0..LONGEST_WAY {
            let mut longer: Vec<(Matcher, Place, SimpleVob, Vec<u8>)> = Vec::new();
            let mut seen = HashSet::new();
            for (matcher, place, mask, way) in &ways {
                for &byte in &bytes {
                    let Some(token) = self.closers.token(byte).filter(|&token| mask.is_allowed(token)) else {
                        continue;
                    };
                    tried += 1;
                    let (mut matcher, mut place) = (matcher.clone(), place.clone());
                    place.add(&[byte]);
                    if tried > MOST_TRIED || place.inside != inside || matcher.consume_token(token).is_err() {
                        continue;
                    }
                    let Ok(mask) = matcher.compute_mask() else { continue };
                    let way = [way, &[byte][..]].concat();
                    if !place.escapes() && self.closes(&mask) && self.stands_closed(&way) {
                        return Some(way);
                    }
                    if longer.len() < MOST_WAYS && seen.insert(mask.as_slice().to_vec()) {
                        longer.push((matcher, place, mask, way));
                    }
                }
            }
            ways = longer;
        }
        // The same tokens may follow whether a part of what is asked for is there or not: a text that a pattern matches, then
        // runs of characters of each kind.
        let runs = || RUNS.iter().find_map(|&byte| self.run_out(std::iter::repeat_n(byte, LONGEST_RUN)));
        let mut witnesses = self.witnesses.iter().filter(|_| inside);
        witnesses.find_map(|text| self.run_out(text.iter().copied())).or_else(runs)
    }

    /// The shortest beginning of some bytes behind which the text can be closed.
    fn run_out(&self, bytes: impl Iterator<Item = u8>) -> Option<Vec<u8>> {
        let mut matcher = self.matcher.clone();
        let mut way = Vec::new();
        for byte in bytes {
            let token = self.closers.token(byte)?;
            if matcher.validate_tokens(&[token]).ok()? != 1 {
                return None;
            }
            matcher.consume_token(token).ok()?;
            way.push(byte);
            if self.closes(&matcher.compute_mask().ok()?) && self.stands_closed(&way) {
                return Some(way);
            }
        }
        None
    }

    fn closes(&self, mask: &SimpleVob) -> bool {
        let any = |tokens: &[u32]| tokens.iter().any(|&token| mask.is_allowed(token));
        if self.place.inside {
            return any(&self.closers.quotes);
        }
        any(&self.closers.brackets) || any(&self.closers.commas) || mask.is_allowed(self.end)
    }

    /// Whether the open text or number may be closed after some bytes more.
    fn stands_closed(&self, way: &[u8]) -> bool {
        let closed = [way, if self.place.inside { b"\"" } else { b"," }].concat();
        let mark = self.place.clone().add(&closed).mark;
        mark.is_none_or(|mark| self.stands(&closed, &mark))
    }

    /// How many tokens it takes, roughly, to close the answer by the shortest values; `None` where that is more than `most`, or
    /// cannot be told.
    pub(in crate::nn) fn closing_takes(
        &mut self,
        most: usize,
        tokenizer: &TextTokenizer,
        clock: &Clock,
    ) -> Option<usize> {
        let start = clock.now();
        let takes = self.rehearse(most, tokenizer);
        self.time += clock.since(start);
        takes
    }

    fn rehearse(&self, most: usize, tokenizer: &TextTokenizer) -> Option<usize> {
        let (mut matcher, mut place) = (self.matcher.clone(), self.place.clone());
        let mut takes = 0;
        while takes <= most {
            if matcher.is_stopped() || (place.open.is_empty() && matcher.is_accepting().ok()?) {
                return (!matcher.is_error()).then_some(takes);
            }
            let mut next = matcher.compute_ff_tokens();
            if next.is_empty() {
                let within = || std::iter::once(b'"').chain(0x20..=u8::MAX);
                let bytes: Vec<u8> = if place.inside { within().collect() } else { CLOSING.to_vec() };
                let mut tokens = bytes.iter().filter_map(|&byte| self.closers.token(byte));
                next.extend(tokens.find(|&token| matcher.validate_tokens(&[token]).is_ok_and(|taken| taken == 1)));
            }
            if next.is_empty() {
                return None;
            }
            matcher.consume_tokens(&next).ok()?;
            for &token in &next {
                place.add(&tokenizer.token_bytes(token));
            }
            takes += next.len();
        }
        None
    }

    /// Tokens that closing all that is open takes at most.
    pub(in crate::nn) fn depth(&self) -> usize {
        self.place.open.len()
    }

    /// Takes a chosen token.
    pub(in crate::nn) fn take(&mut self, token: u32, tokenizer: &TextTokenizer, clock: &Clock) -> Following {
        let start = clock.now();
        let taken = self.matcher.consume_token(token).map_err(|error| failed("following a token", &error));
        let following = taken.and_then(|()| self.follow(&[token], tokenizer));
        self.time += clock.since(start);
        self.unless_limit(following)
    }

    fn unless_limit(&mut self, following: Result<Following, String>) -> Following {
        following.unwrap_or_else(|limit| {
            self.limit = Some(limit);
            Following::Limit
        })
    }

    /// Takes what the grammar forces at the beginning.
    pub(in crate::nn) fn begin(&mut self, tokenizer: &TextTokenizer, clock: &Clock) -> Following {
        let start = clock.now();
        let following = self.follow(&[], tokenizer);
        self.time += clock.since(start);
        self.begin_time = self.time;
        self.unless_limit(following)
    }

    /// What its work took since the prompt was computed.
    pub(in crate::nn) fn time_after_begin(&self) -> Seconds {
        self.time - self.begin_time
    }

    /// Takes what is forced after some tokens that were consumed, or takes those back where no right answer begins so.
    fn follow(&mut self, consumed: &[u32], tokenizer: &TextTokenizer) -> Result<Following, String> {
        let forced = self.forced()?;
        let added: Vec<u8> = consumed.iter().chain(&forced).flat_map(|&id| tokenizer.token_bytes(id)).collect();
        let done = self.matcher.is_stopped();
        let mut place = self.place.clone();
        // A name that an object has already makes every end wrong that may follow, and so do values that break their schema.
        let told = place.add(&added);
        let too_deep = place.open.len() > DEEPEST_JSON;
        let stands = || !self.json || told.mark.as_ref().is_none_or(|mark| self.stands(&added, mark));
        let right = if done { self.is_right(&added) } else { stands() };
        if (self.json && (told.repeats || too_deep)) || !right {
            let taken = consumed.len() + forced.len();
            self.matcher.rollback(taken).map_err(|error| failed("taking a token back", &error))?;
            return Ok(Following::Refused);
        }
        let same_text = place.inside && told.mark.is_none();
        let way = self.way.as_deref().and_then(|way| way.strip_prefix(added.as_slice()));
        self.way = if same_text && self.way.is_none() { None } else { Some(way.unwrap_or_default().to_vec()) };
        self.place = place;
        self.bytes.extend(added);
        Ok(if done { Following::End(forced) } else { Following::Forced(forced) })
    }

    /// Whether what was generated, with some bytes more, is right as an answer.
    fn is_right(&self, more: &[u8]) -> bool {
        std::str::from_utf8(&[&self.bytes, more].concat()).is_ok_and(|text| (self.check.accepts)(text))
    }

    /// Whether a right answer may begin with what was generated and what was added up to a mark.
    fn stands(&self, added: &[u8], mark: &Mark) -> bool {
        let closed = [&self.bytes, &added[..mark.length], mark.rest.as_bytes()].concat();
        std::str::from_utf8(&closed).is_ok_and(|text| (self.check.may_go_on)(text, mark.unfinished))
    }

    /// Takes the tokens that must come next.
    fn forced(&mut self) -> Result<Vec<u32>, String> {
        if self.matcher.is_stopped() {
            return Ok(Vec::new());
        }
        let forced = self.matcher.compute_ff_tokens();
        self.matcher.consume_tokens(&forced).map_err(|error| failed("following forced tokens", &error))?;
        Ok(forced)
    }
}

fn failed(what: &str, error: &dyn fmt::Display) -> String {
    format!("the grammar reached a limit while {what}: {}", first_line(&error.to_string()))
}

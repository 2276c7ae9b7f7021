//! A constraint beside one sequence: which tokens may come next, and what follows the one that was chosen.

use super::{Check, Closers, Constraint, first_line};
use crate::clock::Clock;
use crate::error::{Result, anyhow};
use crate::nn::TextTokenizer;
use crate::units::Seconds;
use llguidance::Matcher;
use llguidance::toktrie::TokenId;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Brackets of JSON within one another, at most: readers of JSON stop at 128, and answers are kept within records.
pub const DEEPEST_JSON: usize = 64;

/// A constraint that follows one sequence.
pub(in crate::nn) struct Guide {
    matcher: Matcher,
    check: Check,
    closers: Arc<Closers>,
    end: TokenId,
    /// What was generated.
    bytes: Vec<u8>,
    place: Place,
    json: bool,
    /// What all of its work took, and what of that came before the prompt was computed.
    pub(in crate::nn) time: Seconds,
    begin_time: Seconds,
    /// What each step took that asked which tokens may come.
    pub(in crate::nn) mask_times: Vec<Seconds>,
    /// Tokens that the grammar left no choice about.
    pub(in crate::nn) forced: usize,
}

/// What follows a chosen token.
pub(in crate::nn) enum Following {
    /// These tokens must, and then others may.
    Forced(Vec<u32>),
    /// These tokens must, and with them the answer ends.
    End(Vec<u32>),
    /// The answer would end here and is not right: the token is taken back, and another must be chosen.
    Refused,
}

impl Guide {
    pub(in crate::nn) fn new(constraint: &Constraint) -> Self {
        Self {
            matcher: constraint.start.clone(),
            check: constraint.check.clone(),
            closers: Arc::clone(&constraint.closers),
            end: constraint.end,
            bytes: Vec::new(),
            place: Place::default(),
            json: constraint.json,
            time: Seconds::ZERO,
            begin_time: Seconds::ZERO,
            mask_times: Vec::new(),
            forced: 0,
        }
    }

    /// Takes away what may not come next. `ends` are tokens that end a turn: they may come where the answer may end.
    pub(in crate::nn) fn restrict(&mut self, logits: &mut [f32], ends: &[u32], clock: &Clock) -> Result<()> {
        let start = clock.now();
        let mask = self.matcher.compute_mask().map_err(|error| failed("finding the tokens that may come", &error))?;
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
        Ok(())
    }

    /// Of restricted logits, those of tokens that end the answer, or else that close something, or else after which a text
    /// can be closed; `None` where there are none.
    pub(in crate::nn) fn closing(&mut self, logits: &[f32], ends: &[u32], clock: &Clock) -> Option<Vec<f32>> {
        let start = clock.now();
        let closing = self.closers(logits, ends);
        self.time += clock.since(start);
        closing
    }

    fn closers(&self, logits: &[f32], ends: &[u32]) -> Option<Vec<f32>> {
        let only = |ids: &[u32]| {
            let mut only = vec![f32::NEG_INFINITY; logits.len()];
            for &id in ids {
                if let (Some(to), Some(from)) = (only.get_mut(id as usize), logits.get(id as usize)) {
                    *to = *from;
                }
            }
            only.iter().any(|logit| logit.is_finite()).then_some(only)
        };
        let Closers { quotes, brackets, nulls, commas, singles } = &*self.closers;
        only(ends).or_else(|| {
            if self.place.inside {
                // A pattern may ask for one character more, as a time of day does for its zone.
                let allowed = |id: &&u32| logits.get(**id as usize).is_some_and(|logit| logit.is_finite());
                only(quotes).or_else(|| {
                    let last: Vec<u32> =
                        singles.iter().filter(allowed).copied().filter(|&id| self.closes_after(id)).collect();
                    only(&last)
                })
            } else {
                only(brackets).or_else(|| only(nulls)).or_else(|| only(commas))
            }
        })
    }

    /// Whether the text that is open can be closed after this token.
    fn closes_after(&self, token: u32) -> bool {
        let mut ahead = self.matcher.clone();
        ahead.consume_token(token).is_ok()
            && ahead.compute_mask().is_ok_and(|mask| self.closers.quotes.iter().any(|&quote| mask.is_allowed(quote)))
    }

    /// Tokens that closing all that is open takes at most.
    pub(in crate::nn) fn depth(&self) -> usize {
        self.place.open.len()
    }

    /// Takes a chosen token.
    pub(in crate::nn) fn take(&mut self, token: u32, tokenizer: &TextTokenizer, clock: &Clock) -> Result<Following> {
        let start = clock.now();
        self.matcher.consume_token(token).map_err(|error| failed("following a token", &error))?;
        let following = self.follow(&[token], tokenizer);
        self.time += clock.since(start);
        following
    }

    /// Takes what the grammar forces at the beginning.
    pub(in crate::nn) fn begin(&mut self, tokenizer: &TextTokenizer, clock: &Clock) -> Result<Following> {
        let start = clock.now();
        let following = self.follow(&[], tokenizer);
        self.time += clock.since(start);
        self.begin_time = self.time;
        following
    }

    /// What its work took since the prompt was computed.
    pub(in crate::nn) fn time_after_begin(&self) -> Seconds {
        self.time - self.begin_time
    }

    /// Takes what is forced after some tokens that were consumed, or takes those back where the end is not right.
    fn follow(&mut self, consumed: &[u32], tokenizer: &TextTokenizer) -> Result<Following> {
        let forced = self.forced()?;
        let added: Vec<u8> = consumed.iter().chain(&forced).flat_map(|&id| tokenizer.token_bytes(id)).collect();
        let done = self.matcher.is_stopped();
        let mut place = self.place.clone();
        // A name that an object has already makes every end wrong that may follow.
        let repeats = place.add(&added);
        let spoilt = self.json && (repeats || place.open.len() > DEEPEST_JSON);
        if spoilt || (done && !self.is_right(&added)) {
            let taken = consumed.len() + forced.len();
            self.matcher.rollback(taken).map_err(|error| failed("taking a token back", &error))?;
            return Ok(Following::Refused);
        }
        self.place = place;
        self.bytes.extend(added);
        Ok(if done { Following::End(forced) } else { Following::Forced(forced) })
    }

    /// Whether what was generated, with some bytes more, is right as an answer.
    fn is_right(&self, more: &[u8]) -> bool {
        std::str::from_utf8(&[&self.bytes, more].concat()).is_ok_and(|text| (self.check.accepts)(text))
    }

    /// Takes the tokens that must come next.
    fn forced(&mut self) -> Result<Vec<u32>> {
        if self.matcher.is_stopped() {
            return Ok(Vec::new());
        }
        let forced = self.matcher.compute_ff_tokens();
        self.matcher.consume_tokens(&forced).map_err(|error| failed("following forced tokens", &error))?;
        Ok(forced)
    }
}

/// Where in JSON a text ends.
#[derive(Clone, Default)]
pub(super) struct Place {
    /// Within a text.
    pub(super) inside: bool,
    escaped: bool,
    /// The text that is open, as it was written.
    text: Vec<u8>,
    /// What is open.
    pub(super) open: Vec<Open>,
}

/// An open bracket.
#[derive(Clone)]
pub(super) enum Open {
    List,
    /// An object: its names so far, and whether another may come next.
    Object {
        names: HashSet<Vec<u8>>,
        at_name: bool,
    },
}

impl Place {
    /// Goes on, and tells whether an object was given a name that it had already.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        let mut repeats = false;
        for &byte in bytes {
            if self.inside {
                // Whatever stands behind a backslash is a part of the text.
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.inside = false;
                        let text = std::mem::take(&mut self.text);
                        if let Some(Open::Object { names, at_name }) = self.open.last_mut()
                            && *at_name
                        {
                            *at_name = false;
                            repeats |= !names.insert(text);
                        }
                        continue;
                    }
                    _ => {}
                }
                self.text.push(byte);
                continue;
            }
            match (byte, self.open.last_mut()) {
                (b'"', _) => self.inside = true,
                (b'{', _) => self.open.push(Open::Object { names: HashSet::new(), at_name: true }),
                (b'[', _) => self.open.push(Open::List),
                (b'}' | b']', _) => drop(self.open.pop()),
                (b',', Some(Open::Object { at_name, .. })) => *at_name = true,
                _ => {}
            }
        }
        repeats
    }
}

fn failed(what: &str, error: &dyn fmt::Display) -> crate::error::Error {
    anyhow!("constrained decoding: {what}: {}", first_line(&error.to_string()))
}

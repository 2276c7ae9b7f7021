//! What stands before and behind the generation of a local model: prompts, grammars, counts, failures. It needs no weights,
//! so that threads share it while one of them computes.

use super::{
    Alternative, Completion, EngineError, EngineInfo, FailureKind, Held, Request, Sampling, Scored, ScoredToken,
    StopReason, Timing, TokenLogprob, Usage, UsageSource, align,
};
use crate::clock::{Clock, Component, Spans};
use crate::error::{Error, UsageError};
use crate::nn::chat::Message;
use crate::nn::{Cancel, Constraint, GenerateOptions, Generated, Grammar, Language, LanguageModel, Stop, Token};
use crate::units::Seconds;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct Front {
    pub(super) language: Arc<Language>,
    pub(super) info: EngineInfo,
    pub(super) clock: Clock,
    /// Interrupts every call when it becomes true.
    pub(super) stop: Arc<AtomicBool>,
    /// Grammars that were compiled, the latest last.
    constraints: Mutex<Vec<(String, Arc<Constraint>)>>,
}

/// A request that is ready to be generated from.
pub(super) struct Ready {
    /// The prompt as the model sees it.
    pub(super) prompt: String,
    pub(super) ids: Vec<u32>,
    pub(super) options: GenerateOptions,
    pub(super) held: Held,
}

/// What is ready to be scored: a prompt, and what follows it.
pub(super) struct ReadyToScore {
    pub(super) ids: Vec<u32>,
    pub(super) texts: Vec<Vec<u32>>,
    pub(super) scope: Option<String>,
    pub(super) cancel: Cancel,
}

impl Front {
    pub(super) fn new(
        model: &LanguageModel,
        name: String,
        sha256: Option<String>,
        device_name: &str,
        clock: Clock,
    ) -> Self {
        let language = model.language();
        let context_length = Some(language.info().context_length);
        let info = EngineInfo { model: name, place: format!("local {device_name}"), sha256, context_length };
        Self { language, info, clock, stop: Arc::default(), constraints: Mutex::default() }
    }

    /// Renders and tokenises a request, and compiles its grammar. `cancel` ends the computing of its prompt.
    pub(super) fn ready(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        spans: &mut Spans,
    ) -> Result<Ready, Box<EngineError>> {
        let (prompt, ids) = self.prompt(request, sampling.raw, spans)?;
        let constraint = self.constraint_of(request, spans)?;
        let held = if constraint.is_some() { Held::Grammar } else { Held::Not };
        let stop = Arc::clone(&self.stop);
        let options = GenerateOptions {
            max_tokens: request.max_tokens.min(self.room(ids.len())?),
            temperature: request.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            seed: request.seed,
            top_logprobs: request.top_logprobs,
            stop: sampling.stop.clone(),
            cache_scope: request.cache_scope.clone(),
            constraint,
            cancel: Cancel::when(move || stop.load(Ordering::Relaxed) || cancel.is_asked_for()),
        };
        Ok(Ready { prompt, ids, options, held })
    }

    /// The prompt as the model sees it, and its tokens. Raw messages are the prompt as they stand.
    fn prompt(&self, request: &Request, raw: bool, spans: &mut Spans) -> Result<(String, Vec<u32>), Box<EngineError>> {
        let prompt = spans.time(&self.clock, Component::Prompt, || {
            if raw {
                return Ok(request.messages.iter().map(|message| message.content.as_str()).collect());
            }
            self.language.render(&request.messages)
        });
        let prompt: String = prompt.map_err(|error| self.failed("rendering the chat template", &error))?;
        // To find out how many tokens it has would take seconds.
        if let Some(longest) = self.language.longest_prompt().filter(|&longest| prompt.len() > longest) {
            return Err(Box::new(self.overflow(&format!("{} bytes, and at most {longest}", prompt.len()))));
        }
        let ids = spans.time(&self.clock, Component::Tokenise, || self.language.tokenize(&prompt));
        let ids = ids.map_err(|error| self.failed("tokenising the prompt", &error))?;
        Ok((prompt, ids))
    }

    fn constraint_of(&self, request: &Request, spans: &mut Spans) -> Result<Option<Arc<Constraint>>, Box<EngineError>> {
        let Some(grammar) = &request.grammar else { return Ok(None) };
        let compiled = spans.time(&self.clock, Component::Constrain, || self.constraint(grammar));
        if compiled.is_err() {
            self.check_interrupted()?;
        }
        Ok(Some(compiled.map_err(|error| self.refused(&error))?))
    }

    /// The compiled grammar, of an earlier request where there was one.
    fn constraint(&self, grammar: &Grammar) -> Result<Arc<Constraint>, Error> {
        /// A run has one contract; a server's clients may have a few each.
        const KEPT: usize = 32;
        let key = grammar.key();
        let kept = || self.constraints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, constraint)) = kept().iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(constraint));
        }
        let constraint = Arc::new(self.language.constraint_unless(grammar, &self.stop)?);
        let mut kept = kept();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((key, Arc::clone(&constraint)));
        Ok(constraint)
    }

    /// What of a grammar an answer cannot be held to.
    pub(super) fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        let compiled = self.constraint(grammar);
        compiled.map(|constraint| constraint.notes().to_vec()).map_err(|error| Box::new(self.refused(&error)))
    }

    /// A grammar that reached a limit may stay in that state for all who share it.
    pub(super) fn forget_limited(&self, generated: &[Generated]) {
        if generated.iter().any(|generated| generated.stop == Stop::Limit) {
            self.constraints.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// The completion of a whole call, its own time in the spans.
    pub(super) fn completion(&self, ready: &Ready, generated: Generated, timing: Timing) -> Completion {
        let usage = Usage {
            input_tokens: ready.ids.len() as u64,
            output_tokens: generated.tokens.len() as u64,
            cached_tokens: generated.cached_tokens as u64,
            ..Usage::default()
        };
        let stop = match generated.stop {
            Stop::EndOfTurn => StopReason::EndOfTurn,
            // An answer that its grammar cannot bring to an end is cut, as one without tokens is.
            Stop::MaxTokens | Stop::Stuck | Stop::Limit => StopReason::MaxTokens,
            Stop::Cancelled => StopReason::Other,
        };
        Completion {
            model: self.info.model.clone(),
            prompt: ready.prompt.clone(),
            tokens: align(generated.tokens.iter().map(shown).collect(), &generated.text),
            text: generated.text,
            usage,
            usage_source: UsageSource::Measured,
            stop,
            timing,
            retries: 0,
            held: ready.held,
            forced_tokens: generated.forced_tokens as u64,
            tries: Vec::new(),
            identity: None,
            shared_from: None,
        }
    }

    /// What it takes to score texts as beginnings of an answer.
    pub(super) fn ready_to_score(
        &self,
        request: &Request,
        texts: &[String],
        spans: &mut Spans,
    ) -> Result<ReadyToScore, Box<EngineError>> {
        let mut ids = self.prompt(request, false, spans)?.1;
        let tokens = spans.time(&self.clock, Component::Tokenise, || {
            texts.iter().map(|text| self.language.tokenize_text(text)).collect::<Result<Vec<_>, Error>>()
        });
        let mut texts = tokens.map_err(|error| self.failed("tokenising what is to be scored", &error))?;
        let shared = shared_beginning(&texts);
        ids.extend(texts.first().into_iter().flat_map(|first| &first[..shared]));
        for tokens in &mut texts {
            tokens.drain(..shared);
        }
        self.room(ids.len() + texts.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1))?;
        Ok(ReadyToScore { ids, texts, scope: request.cache_scope.clone(), cancel: self.interrupt() })
    }

    /// What ends the computing of a prompt when the user interrupts the run.
    pub(super) fn interrupt(&self) -> Cancel {
        let stop = Arc::clone(&self.stop);
        Cancel::when(move || stop.load(Ordering::Relaxed))
    }

    pub(super) fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        let prompt = self.language.render(messages).ok()?;
        self.language.tokenize(&prompt).ok().map(|ids| ids.len())
    }

    pub(super) fn check_interrupted(&self) -> Result<(), Box<EngineError>> {
        if self.stop.load(Ordering::Relaxed) {
            let message = format!("the call of {} was interrupted by the user", self.info.model);
            return Err(Box::new(EngineError::new(FailureKind::Interrupted, message)));
        }
        Ok(())
    }

    pub(super) fn broken(&self) -> EngineError {
        self.failure("an earlier call broke off inside the model, whose state is unknown now; start the run again")
    }

    /// How many tokens may follow a prompt of this length.
    fn room(&self, prompt: usize) -> Result<usize, Box<EngineError>> {
        match self.language.info().context_length.checked_sub(prompt) {
            Some(room) if room > 0 => Ok(room),
            _ => Err(Box::new(self.overflow(&format!("{prompt} tokens, and with one token of answer it does not")))),
        }
    }

    fn overflow(&self, length: &str) -> EngineError {
        let message = format!(
            "the prompt for {} has {length} fit the context length of {} tokens; shorten it (fewer passages or examples), or \
             choose a model with a longer context",
            self.info.model,
            self.language.info().context_length
        );
        EngineError::new(FailureKind::ContextOverflow, message)
    }

    pub(super) fn failed(&self, step: &str, error: &Error) -> EngineError {
        let failure = self.failure(&format!("{step} failed: {error:#}"));
        // A template that takes no such conversation, say: the same request would fail again.
        let kind = if error.is::<UsageError>() { FailureKind::Rejected } else { failure.kind };
        EngineError { kind, ..failure }
    }

    fn refused(&self, error: &Error) -> EngineError {
        let message = format!("the call of {} ({}): {error:#}", self.info.model, self.info.place);
        EngineError::new(FailureKind::Grammar, message)
    }

    fn failure(&self, what: &str) -> EngineError {
        let message = format!("the call of {} ({}): {what}", self.info.model, self.info.place);
        EngineError::new(FailureKind::Local, message)
    }
}

/// What a model said of texts, with their tokens.
pub(super) fn scored(texts: Vec<Vec<u32>>, logprobs: Vec<Vec<f64>>, total_s: Seconds, spans: Spans) -> Scored {
    let pair = |(id, logprob): (u32, f64)| ScoredToken { id, logprob };
    let texts =
        texts.into_iter().zip(logprobs).map(|(ids, logprobs)| ids.into_iter().zip(logprobs).map(pair).collect());
    Scored { texts: texts.collect(), total_s, spans }
}

/// Books what a generation took.
pub(super) fn book(generated: &Generated, spans: &mut Spans) {
    spans.add(Component::Prefill, generated.prefill);
    spans.add(Component::Constrain, generated.constrain);
    spans.add(Component::Decode, generated.decode);
}

/// How many tokens all sequences begin with, so that each has one left.
fn shared_beginning(sequences: &[Vec<u32>]) -> usize {
    let Some(first) = sequences.first() else { return 0 };
    let shared = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    let shortest = sequences.iter().map(Vec::len).min().unwrap_or(0);
    sequences.iter().map(shared).min().unwrap_or(0).min(shortest.saturating_sub(1))
}

pub(super) fn shown(token: &Token) -> TokenLogprob {
    let top =
        token.top.iter().map(|(bytes, logprob)| Alternative { bytes: bytes.clone(), logprob: *logprob }).collect();
    TokenLogprob { top, ..TokenLogprob::new(token.text.clone(), &token.bytes, token.logprob) }
}

//! A model in this process.

use super::{
    Alternative, Completion, Engine, EngineError, EngineInfo, FailureKind, Held, Request, Scored, ScoredToken,
    StopReason, Timing, TokenLogprob, Usage, UsageSource, align,
};
use crate::clock::{Clock, Component, Spans};
use crate::error::{Error, UsageError};
use crate::nn::chat::Message;
use crate::nn::{Cancel, Constraint, GenerateOptions, Generated, Grammar, LanguageModel, Prompt, Stop, Token};
use crate::units::Seconds;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How to choose tokens, beyond what a [`Request`] says.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Keep the k most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f64,
    /// Keep the tokens whose probability is at least this share of the most probable one's; 0 keeps all.
    pub min_p: f64,
    /// Texts that end generation; they are not part of the result.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { top_k: 0, top_p: 1.0, min_p: 0.0, stop: Vec::new() }
    }
}

/// Samples of one prompt that are generated together.
const SAMPLED_AT_ONCE: usize = 8;

/// An engine over a loaded model, one request at a time.
pub struct LocalEngine {
    model: Mutex<LanguageModel>,
    /// Grammars that were compiled, the latest last.
    constraints: Mutex<Vec<(String, Arc<Constraint>)>>,
    info: EngineInfo,
    context_length: usize,
    clock: Clock,
    stop: Arc<AtomicBool>,
}

impl LocalEngine {
    /// An engine over a model. `name` is what records call it, `device_name` where it runs.
    pub fn new(model: LanguageModel, name: String, sha256: Option<String>, device_name: String, clock: Clock) -> Self {
        let context_length = model.info().context_length;
        let place = format!("local {device_name}");
        let info = EngineInfo { model: name, place, sha256, context_length: Some(context_length) };
        Self {
            model: Mutex::new(model),
            constraints: Mutex::default(),
            info,
            context_length,
            clock,
            stop: Arc::default(),
        }
    }

    /// The same engine; when `stop` becomes true, generation ends at the next token, or at the next part of a prompt, with
    /// [`FailureKind::Interrupted`].
    pub fn with_stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Answers one request and shows each token as it comes. `on_token` can end generation, and `cancel` the computing of the
    /// prompt: then the completion holds what there was, with [`StopReason::Other`].
    pub fn stream(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Completion, Box<EngineError>> {
        let mut spans = Spans::default();
        self.answer(request, sampling, cancel, &mut spans, on_token).map_err(|mut error| {
            error.spans.merge(&spans);
            error
        })
    }

    fn answer(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        spans: &mut Spans,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Completion, Box<EngineError>> {
        let start = self.clock.now();
        let mut model = self.model.lock().map_err(|_| self.broken())?;
        let (prompt, ids) = self.prompt(&model, request, spans)?;
        let constraint = self.constraint_of(&model, request, spans)?;
        let held = if constraint.is_some() { Held::Grammar } else { Held::Not };
        let stop = Arc::clone(&self.stop);
        let cancel = Cancel::when(move || stop.load(Ordering::Relaxed) || cancel.is_asked_for());
        let options = GenerateOptions { cancel, ..Self::options(request, sampling, self.room(ids.len())?, constraint) };
        let mut ttft_s = None;
        let generated = model.generate(&ids, &options, &self.clock, &mut |token| {
            ttft_s.get_or_insert_with(|| self.clock.since(start));
            if self.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { on_token(&shown(token)) }
        });
        let generated = generated.map_err(|error| self.failed("generating", &error))?;
        self.forget_limited(std::slice::from_ref(&generated));
        drop(model);
        spans.add(Component::Prefill, generated.prefill);
        spans.add(Component::Constrain, generated.constrain);
        spans.add(Component::Decode, generated.decode);
        self.check_interrupted()?;
        let timing = Timing { ttft_s, total_s: Seconds::ZERO, spans: std::mem::take(spans) };
        let completion = self.completion(&prompt, ids.len(), generated, held, timing);
        Ok(Completion { timing: Timing { total_s: self.clock.since(start), ..completion.timing }, ..completion })
    }

    /// The prompt as the model sees it, and its tokens.
    fn prompt(
        &self,
        model: &LanguageModel,
        request: &Request,
        spans: &mut Spans,
    ) -> Result<(String, Vec<u32>), Box<EngineError>> {
        let prompt = spans.time(&self.clock, Component::Prompt, || model.render(&request.messages));
        let prompt = prompt.map_err(|error| self.failed("rendering the chat template", &error))?;
        // To find out how many tokens it has would take seconds.
        if let Some(longest) = model.longest_prompt().filter(|&longest| prompt.len() > longest) {
            return Err(Box::new(self.overflow(&format!("{} bytes, and at most {longest}", prompt.len()))));
        }
        let ids = spans.time(&self.clock, Component::Tokenise, || model.tokenize(&prompt));
        let ids = ids.map_err(|error| self.failed("tokenising the prompt", &error))?;
        Ok((prompt, ids))
    }

    fn constraint_of(
        &self,
        model: &LanguageModel,
        request: &Request,
        spans: &mut Spans,
    ) -> Result<Option<Arc<Constraint>>, Box<EngineError>> {
        let Some(grammar) = &request.grammar else { return Ok(None) };
        let compiled = spans.time(&self.clock, Component::Constrain, || self.constraint(model, grammar));
        if compiled.is_err() {
            self.check_interrupted()?;
        }
        Ok(Some(compiled.map_err(|error| self.refused(&error))?))
    }

    /// What ends the computing of a prompt when the user interrupts the run.
    fn interrupt(&self) -> Cancel {
        let stop = Arc::clone(&self.stop);
        Cancel::when(move || stop.load(Ordering::Relaxed))
    }

    /// How to generate what a request asks for; `room` is how many tokens may follow its prompt.
    fn options(
        request: &Request,
        sampling: &Sampling,
        room: usize,
        constraint: Option<Arc<Constraint>>,
    ) -> GenerateOptions {
        GenerateOptions {
            max_tokens: request.max_tokens.min(room),
            temperature: request.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            seed: request.seed,
            top_logprobs: request.top_logprobs,
            stop: sampling.stop.clone(),
            cache_scope: request.cache_scope.clone(),
            constraint,
            cancel: Cancel::default(),
        }
    }

    fn completion(&self, prompt: &str, input: usize, generated: Generated, held: Held, timing: Timing) -> Completion {
        let usage = Usage {
            input_tokens: input as u64,
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
            prompt: prompt.to_owned(),
            tokens: align(generated.tokens.iter().map(shown).collect(), &generated.text),
            text: generated.text,
            usage,
            usage_source: UsageSource::Measured,
            stop,
            timing,
            retries: 0,
            held,
            forced_tokens: generated.forced_tokens as u64,
            tries: Vec::new(),
        }
    }

    fn check_interrupted(&self) -> Result<(), Box<EngineError>> {
        if self.stop.load(Ordering::Relaxed) {
            let message = format!("the call of {} was interrupted by the user", self.info.model);
            return Err(Box::new(EngineError::new(FailureKind::Interrupted, message)));
        }
        Ok(())
    }

    fn broken(&self) -> EngineError {
        self.failure("an earlier call broke off inside the model, whose state is unknown now; start the run again")
    }

    /// The compiled grammar, of an earlier request where there was one.
    fn constraint(&self, model: &LanguageModel, grammar: &Grammar) -> Result<Arc<Constraint>, Error> {
        /// A run has one contract; a server's clients may have a few each.
        const KEPT: usize = 32;
        let key = grammar.key();
        let kept = || self.constraints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, constraint)) = kept().iter().find(|(known, _)| *known == key) {
            return Ok(Arc::clone(constraint));
        }
        let constraint = Arc::new(model.constraint_unless(grammar, &self.stop)?);
        let mut kept = kept();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((key, Arc::clone(&constraint)));
        Ok(constraint)
    }

    /// A grammar that reached a limit may stay in that state for all who share it.
    fn forget_limited(&self, generated: &[Generated]) {
        if generated.iter().any(|generated| generated.stop == Stop::Limit) {
            self.constraints.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// How many tokens may follow a prompt of this length.
    fn room(&self, prompt: usize) -> Result<usize, Box<EngineError>> {
        let context = self.context_length;
        match context.checked_sub(prompt) {
            Some(room) if room > 0 => Ok(room),
            _ => Err(Box::new(self.overflow(&format!("{prompt} tokens, and with one token of answer it does not")))),
        }
    }

    fn overflow(&self, length: &str) -> EngineError {
        let message = format!(
            "the prompt for {} has {length} fit the context length of {} tokens; shorten it (fewer passages or examples), or \
             choose a model with a longer context",
            self.info.model, self.context_length
        );
        EngineError::new(FailureKind::ContextOverflow, message)
    }

    fn failed(&self, step: &str, error: &Error) -> EngineError {
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

/// How many tokens all sequences begin with, so that each has one left.
fn shared_beginning(sequences: &[Vec<u32>]) -> usize {
    let Some(first) = sequences.first() else { return 0 };
    let shared = |other: &Vec<u32>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    let shortest = sequences.iter().map(Vec::len).min().unwrap_or(0);
    sequences.iter().map(shared).min().unwrap_or(0).min(shortest.saturating_sub(1))
}

fn shown(token: &Token) -> TokenLogprob {
    let top =
        token.top.iter().map(|(bytes, logprob)| Alternative { bytes: bytes.clone(), logprob: *logprob }).collect();
    TokenLogprob { top, ..TokenLogprob::new(token.text.clone(), &token.bytes, token.logprob) }
}

impl Engine for LocalEngine {
    fn info(&self) -> EngineInfo {
        self.info.clone()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.stream(request, &Sampling::default(), Cancel::default(), &mut |_| ControlFlow::Continue(()))
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        let model = self.model.lock().map_err(|_| self.broken())?;
        let compiled = self.constraint(&model, grammar);
        compiled.map(|constraint| constraint.notes().to_vec()).map_err(|error| Box::new(self.refused(&error)))
    }

    fn score(&self, request: &Request, texts: &[String]) -> Result<Option<Scored>, Box<EngineError>> {
        let start = self.clock.now();
        let mut spans = Spans::default();
        let mut model = self.model.lock().map_err(|_| self.broken())?;
        let mut ids = self.prompt(&model, request, &mut spans)?.1;
        let tokens = spans.time(&self.clock, Component::Tokenise, || {
            texts.iter().map(|text| model.tokenize_text(text)).collect::<Result<Vec<_>, Error>>()
        });
        let mut tokens = tokens.map_err(|error| self.failed("tokenising what is to be scored", &error))?;
        let shared = shared_beginning(&tokens);
        ids.extend(tokens.first().into_iter().flat_map(|first| &first[..shared]));
        for tokens in &mut tokens {
            tokens.drain(..shared);
        }
        self.room(ids.len() + tokens.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1))?;
        let (scope, cancel) = (request.cache_scope.as_deref(), self.interrupt());
        let scored = spans.time(&self.clock, Component::Prefill, || model.score(&ids, &tokens, scope, &cancel));
        self.check_interrupted()?;
        let scored = scored.map_err(|error| self.failed("scoring", &error))?;
        let pair = |(id, logprob): (u32, f64)| ScoredToken { id, logprob };
        let texts = tokens
            .into_iter()
            .zip(scored.logprobs)
            .map(|(ids, logprobs)| ids.into_iter().zip(logprobs).map(pair).collect())
            .collect();
        Ok(Some(Scored { texts, total_s: self.clock.since(start), spans }))
    }

    fn sample(
        &self,
        request: &Request,
        times: usize,
        enough: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Completion>, Box<EngineError>> {
        let start = self.clock.now();
        let mut spans = Spans::default();
        let mut model = self.model.lock().map_err(|_| self.broken())?;
        let (prompt, ids) = self.prompt(&model, request, &mut spans)?;
        let constraint = self.constraint_of(&model, request, &mut spans)?;
        let held = if constraint.is_some() { Held::Grammar } else { Held::Not };
        let room = self.room(ids.len())?;
        let options: Vec<GenerateOptions> = (0..times as u64)
            .map(|i| GenerateOptions {
                seed: request.seed.wrapping_add(i),
                cancel: self.interrupt(),
                ..Self::options(request, &Sampling::default(), room, constraint.clone())
            })
            .collect();
        let prompts: Vec<_> = options.iter().map(|options| Prompt { tokens: &ids, options }).collect();
        let mut texts = vec![String::new(); times];
        let generated =
            model.generate_all(&prompts, SAMPLED_AT_ONCE.min(times.max(1)), &self.clock, &mut |i, token| {
                texts[i].push_str(&token.text);
                let stopped = self.stop.load(Ordering::Relaxed);
                if stopped || enough(&texts[i]) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        let generated = generated.map_err(|error| self.failed("generating samples", &error))?;
        self.forget_limited(&generated);
        drop(model);
        self.check_interrupted()?;
        let total_s = self.clock.since(start);
        let completion = |generated| {
            let timing = Timing { ttft_s: None, total_s, spans: Spans::default() };
            self.completion(&prompt, ids.len(), generated, held, timing)
        };
        Ok(generated.into_iter().map(completion).collect())
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        let model = self.model.lock().ok()?;
        let prompt = model.render(messages).ok()?;
        model.tokenize(&prompt).ok().map(|ids| ids.len())
    }
}

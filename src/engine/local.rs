//! A model in this process.

use super::batched::BatchedEngine;
use super::front::{Front, ReadyToScore, book, scored, shown};
use super::{Completion, Engine, EngineError, EngineInfo, Request, Scored, Timing, TokenLogprob};
use crate::clock::{Clock, Component, Spans};
use crate::error::Result as AnyResult;
use crate::nn::chat::Message;
use crate::nn::{Cancel, GenerateOptions, Grammar, LanguageModel, Prompt};
use crate::units::Seconds;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// How to make the prompt and choose tokens, beyond what a [`Request`] says.
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
    /// Whether the messages' texts are the prompt as they stand, without the model's chat template.
    pub raw: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { top_k: 0, top_p: 1.0, min_p: 0.0, stop: Vec::new(), raw: false }
    }
}

/// Samples of one prompt that are generated together.
const SAMPLED_AT_ONCE: usize = 8;

/// An engine over a loaded model, one request at a time.
pub struct LocalEngine {
    model: Mutex<LanguageModel>,
    front: Front,
}

impl LocalEngine {
    /// An engine over a model. `name` is what records call it, `device_name` where it runs.
    pub fn new(model: LanguageModel, name: String, sha256: Option<String>, device_name: String, clock: Clock) -> Self {
        let front = Front::new(&model, name, sha256, &device_name, clock);
        Self { model: Mutex::new(model), front }
    }

    /// The same engine; when `stop` becomes true, generation ends at the next token, or at the next part of a prompt, with
    /// [`FailureKind::Interrupted`](super::FailureKind::Interrupted).
    pub fn with_stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.front.stop = stop;
        self
    }

    /// The same model for many threads at once, up to `most` of whose requests it answers together.
    pub fn batched(self, most: usize) -> AnyResult<BatchedEngine> {
        let model = self.model.into_inner().map_err(|_| crate::error::anyhow!("{}", self.front.broken()))?;
        BatchedEngine::start(model, self.front, most)
    }

    /// Answers one request and shows each token as it comes. `on_token` can end generation, and `cancel` the computing of the
    /// prompt: then the completion holds what there was, with [`StopReason::Other`](super::StopReason::Other).
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
        let (front, clock) = (&self.front, &self.front.clock);
        let start = clock.now();
        let mut model = self.model.lock().map_err(|_| front.broken())?;
        let ready = front.ready(request, sampling, cancel, spans)?;
        let mut ttft_s = None;
        let generated = model.generate(&ready.ids, &ready.options, clock, &mut |token| {
            ttft_s.get_or_insert_with(|| clock.since(start));
            if front.stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { on_token(&shown(token)) }
        });
        let generated = generated.map_err(|error| front.failed("generating", &error))?;
        front.forget_limited(std::slice::from_ref(&generated));
        drop(model);
        book(&generated, spans);
        front.check_interrupted()?;
        let timing = Timing { ttft_s, total_s: Seconds::ZERO, spans: std::mem::take(spans) };
        let completion = front.completion(&ready, generated, timing);
        Ok(Completion { timing: Timing { total_s: clock.since(start), ..completion.timing }, ..completion })
    }
}

impl Engine for LocalEngine {
    fn info(&self) -> EngineInfo {
        self.front.info.clone()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.stream(request, &Sampling::default(), Cancel::default(), &mut |_| ControlFlow::Continue(()))
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        self.front.prepare(grammar)
    }

    fn score(&self, request: &Request, texts: &[String]) -> Result<Option<Scored>, Box<EngineError>> {
        let (front, clock) = (&self.front, &self.front.clock);
        let start = clock.now();
        let mut spans = Spans::default();
        let mut model = self.model.lock().map_err(|_| front.broken())?;
        let ReadyToScore { ids, texts, scope, cancel } = front.ready_to_score(request, texts, &mut spans)?;
        let result = spans.time(clock, Component::Prefill, || model.score(&ids, &texts, scope.as_deref(), &cancel));
        front.check_interrupted()?;
        let logprobs = result.map_err(|error| front.failed("scoring", &error))?.logprobs;
        Ok(Some(scored(texts, logprobs, clock.since(start), spans)))
    }

    fn sample(
        &self,
        request: &Request,
        times: usize,
        enough: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Completion>, Box<EngineError>> {
        let (front, clock) = (&self.front, &self.front.clock);
        let start = clock.now();
        let mut model = self.model.lock().map_err(|_| front.broken())?;
        let ready = front.ready(request, &Sampling::default(), Cancel::default(), &mut Spans::default())?;
        let options: Vec<GenerateOptions> = (0..times as u64)
            .map(|i| GenerateOptions { seed: request.seed.wrapping_add(i), ..ready.options.clone() })
            .collect();
        let prompts: Vec<_> = options.iter().map(|options| Prompt { tokens: &ready.ids, options }).collect();
        let mut texts = vec![String::new(); times];
        let generated = model.generate_all(&prompts, SAMPLED_AT_ONCE.min(times.max(1)), clock, &mut |i, token| {
            texts[i].push_str(&token.text);
            let stopped = front.stop.load(Ordering::Relaxed);
            if stopped || enough(&texts[i]) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let generated = generated.map_err(|error| front.failed("generating samples", &error))?;
        front.forget_limited(&generated);
        drop(model);
        front.check_interrupted()?;
        let total_s = clock.since(start);
        let timing = Timing { ttft_s: None, total_s, spans: Spans::default() };
        Ok(generated.into_iter().map(|generated| front.completion(&ready, generated, timing.clone())).collect())
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        self.front.prompt_tokens(messages)
    }
}

//! A model in this process that many threads ask at once. One thread owns it: at each step it takes in the requests that
//! wait, and computes the next token of all of them in one pass. No answer depends on the others.

use super::front::{Front, Ready, ReadyToScore, book, scored, shown};
use super::{Completion, Engine, EngineError, EngineInfo, Request, Sampling, Scored, Timing, TokenLogprob};
use crate::clock::{Clock, Component, Moment, Spans};
use crate::error::{Context, Error, Result as AnyResult, anyhow};
use crate::nn::chat::Message;
use crate::nn::{Batch, Cancel, GenerateOptions, Generated, Grammar, LanguageModel, Prompt, Stop, Token};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// An engine over a loaded model, many requests at a time.
pub struct BatchedEngine {
    front: Arc<Front>,
    orders: Sender<Order>,
    most: usize,
    broken: AtomicBool,
}

/// What the thread that owns the model is asked for.
enum Order {
    Generate(Job),
    /// Something that has the model for itself, between two steps.
    Do(Box<dyn FnOnce(&mut LanguageModel) + Send>),
}

/// A sequence to be generated.
struct Job {
    ids: Vec<u32>,
    options: GenerateOptions,
    /// When it was asked for.
    since: Moment,
    /// What its events are told by.
    number: usize,
    events: Sender<(usize, Event)>,
    /// Whether whoever asked has seen enough of it.
    enough: Arc<AtomicBool>,
}

enum Event {
    Token(Token),
    End(AnyResult<Generated>),
}

impl BatchedEngine {
    /// Gives the model to a thread of its own, which ends with the engine.
    pub(super) fn start(model: LanguageModel, front: Front, most: usize) -> AnyResult<Self> {
        let room = model.cache_room()?;
        let (orders, received) = channel();
        let owner = Owner {
            model,
            clock: front.clock.clone(),
            most: most.max(1),
            room,
            batch: Batch::default(),
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            next: 0,
        };
        std::thread::Builder::new()
            .name("batch".to_owned())
            .spawn(move || owner.work(&received))
            .context("starting the thread that owns the model")?;
        Ok(Self { front: Arc::new(front), orders, most: most.max(1), broken: AtomicBool::new(false) })
    }

    /// How many requests are answered together at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether the model can still be asked: it cannot after a call broke off inside it.
    pub fn is_alive(&self) -> bool {
        !self.broken.load(Ordering::Relaxed)
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
        let clock = &self.front.clock;
        let start = clock.now();
        let ready = self.front.ready(request, sampling, cancel, spans)?;
        let mut ttft_s = None;
        let seeds = [request.seed];
        let mut generated = self.generate(&ready, &seeds, &mut |_, token| {
            ttft_s.get_or_insert_with(|| clock.since(start));
            on_token(&shown(token))
        })?;
        let generated = generated.pop().ok_or_else(|| Box::new(self.front.broken()))?;
        book(&generated, spans);
        self.front.check_interrupted()?;
        let timing = Timing { ttft_s, total_s: clock.since(start), spans: std::mem::take(spans) };
        Ok(self.front.completion(&ready, generated, timing))
    }

    /// Generates from one prompt with each of the seeds.
    fn generate(
        &self,
        ready: &Ready,
        seeds: &[u64],
        on_token: &mut dyn FnMut(usize, &Token) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, Box<EngineError>> {
        let (events, heard) = channel();
        let since = self.front.clock.now();
        let enough: Vec<Arc<AtomicBool>> = seeds.iter().map(|_| Arc::default()).collect();
        for (number, (&seed, enough)) in seeds.iter().zip(&enough).enumerate() {
            let options = GenerateOptions { seed, ..ready.options.clone() };
            let (events, enough) = (events.clone(), Arc::clone(enough));
            self.order(Order::Generate(Job { ids: ready.ids.clone(), options, since, number, events, enough }))?;
        }
        drop(events);
        let mut seen = vec![0; seeds.len()];
        let mut done: Vec<Option<Generated>> = vec![None; seeds.len()];
        while done.iter().any(Option::is_none) {
            let (number, event) = heard.recv().map_err(|_| self.fell_silent())?;
            match event {
                // One that is on its way while the thread learns that no more are wanted.
                Event::Token(_) if enough[number].load(Ordering::Relaxed) => {}
                Event::Token(token) => {
                    seen[number] += 1;
                    let stopped = self.front.stop.load(Ordering::Relaxed);
                    if stopped || on_token(number, &token).is_break() {
                        enough[number].store(true, Ordering::Relaxed);
                    }
                }
                Event::End(Ok(generated)) => {
                    self.front.forget_limited(std::slice::from_ref(&generated));
                    done[number] = Some(cut(generated, seen[number]));
                }
                Event::End(Err(error)) => {
                    for enough in &enough {
                        enough.store(true, Ordering::Relaxed);
                    }
                    return Err(Box::new(self.front.failed("generating", &error)));
                }
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    fn order(&self, order: Order) -> Result<(), Box<EngineError>> {
        self.orders.send(order).map_err(|_| Box::new(self.fell_silent()))
    }

    fn fell_silent(&self) -> EngineError {
        self.broken.store(true, Ordering::Relaxed);
        self.front.broken()
    }
}

/// The answer as far as it was shown.
fn cut(mut generated: Generated, seen: usize) -> Generated {
    if seen < generated.tokens.len() {
        generated.tokens.truncate(seen);
        generated.text = generated.tokens.iter().map(|token| token.text.as_str()).collect();
        generated.stop = Stop::Cancelled;
    }
    generated
}

impl Engine for BatchedEngine {
    fn info(&self) -> EngineInfo {
        self.front.info.clone()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.stream(request, &Sampling::default(), Cancel::default(), &mut |_| ControlFlow::Continue(()))
    }

    fn complete_unless(&self, request: &Request, unwanted: &Cancel) -> Result<Completion, Box<EngineError>> {
        self.stream(request, &Sampling::default(), unwanted.clone(), &mut |_| {
            if unwanted.is_asked_for() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        self.front.prepare(grammar)
    }

    fn score(&self, request: &Request, texts: &[String]) -> Result<Option<Scored>, Box<EngineError>> {
        let clock = &self.front.clock;
        let start = clock.now();
        let mut spans = Spans::default();
        let ReadyToScore { ids, texts, scope, cancel } = self.front.ready_to_score(request, texts, &mut spans)?;
        let (tell, heard) = channel();
        let own = texts.clone();
        self.order(Order::Do(Box::new(move |model| {
            let _nobody_waits = tell.send(model.score(&ids, &own, scope.as_deref(), &cancel));
        })))?;
        let result = spans.time(clock, Component::Prefill, || heard.recv());
        self.front.check_interrupted()?;
        let result = result.map_err(|_| self.fell_silent())?;
        let logprobs = result.map_err(|error| self.front.failed("scoring", &error))?.logprobs;
        Ok(Some(scored(texts, logprobs, clock.since(start), spans)))
    }

    fn sample(
        &self,
        request: &Request,
        times: usize,
        enough: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Completion>, Box<EngineError>> {
        let clock = &self.front.clock;
        let start = clock.now();
        let ready = self.front.ready(request, &Sampling::default(), Cancel::default(), &mut Spans::default())?;
        let seeds: Vec<u64> = (0..times as u64).map(|i| request.seed.wrapping_add(i)).collect();
        let mut texts = vec![String::new(); times];
        let generated = self.generate(&ready, &seeds, &mut |i, token| {
            texts[i].push_str(&token.text);
            if enough(&texts[i]) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        self.front.check_interrupted()?;
        let timing = Timing { ttft_s: None, total_s: clock.since(start), spans: Spans::default() };
        let completion = |generated| self.front.completion(&ready, generated, timing.clone());
        Ok(generated.into_iter().map(completion).collect())
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        self.front.prompt_tokens(messages)
    }
}

/// The thread that owns the model.
struct Owner {
    model: LanguageModel,
    clock: Clock,
    most: usize,
    /// Bytes that the keys and values of all sequences may take.
    room: usize,
    batch: Batch,
    waiting: VecDeque<Job>,
    running: BTreeMap<usize, Running>,
    /// Number of the next sequence.
    next: usize,
}

/// A sequence in the batch.
struct Running {
    number: usize,
    events: Sender<(usize, Event)>,
    enough: Arc<AtomicBool>,
    /// Bytes that its keys and values take at its end, at most.
    bytes: usize,
}

impl Owner {
    /// Works until the engine is dropped and everything is answered.
    fn work(mut self, orders: &Receiver<Order>) {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                match orders.recv() {
                    Ok(order) => self.take(order),
                    Err(_) => return,
                }
            }
            while let Ok(order) = orders.try_recv() {
                self.take(order);
            }
            self.admit();
            if !self.running.is_empty() {
                self.step();
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Generate(job) => self.waiting.push_back(job),
            Order::Do(work) => work(&mut self.model),
        }
    }

    /// Takes in what waits, in its order, as far as there is room.
    fn admit(&mut self) {
        // Whoever went away makes room.
        self.waiting.retain(|job| {
            let wanted = !job.options.cancel.is_asked_for();
            if !wanted {
                let _gone = job.events.send((job.number, Event::End(Err(anyhow!("nobody waits for it any more")))));
            }
            wanted
        });
        while self.batch.len() < self.most
            && let Some(job) = self.waiting.front()
        {
            let bytes = self.model.cache_bytes(job.ids.len().saturating_add(job.options.max_tokens));
            let taken: usize = self.running.values().map(|running| running.bytes).sum();
            // One alone always goes in: what the context allows is what was loaded.
            if !self.running.is_empty() && taken.saturating_add(bytes) > self.room {
                break;
            }
            let Some(job) = self.waiting.pop_front() else { break };
            let index = self.next;
            self.next += 1;
            let prompt = Prompt { tokens: &job.ids, options: &job.options };
            let admitted = self.model.admit(&mut self.batch, index, &prompt, job.since, &self.clock);
            let Job { number, events, enough, .. } = job;
            match admitted {
                Ok(()) => {
                    self.running.insert(index, Running { number, events, enough, bytes });
                }
                Err(error) => {
                    let _gone = events.send((number, Event::End(Err(error))));
                }
            }
        }
    }

    fn step(&mut self) {
        let running = &self.running;
        let ended = self.model.step(&mut self.batch, &self.clock, &mut |index, token| {
            let Some(running) = running.get(&index) else { return ControlFlow::Break(()) };
            let gone = running.events.send((running.number, Event::Token(token.clone()))).is_err();
            if gone || running.enough.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        match ended {
            Ok(ended) => {
                for (index, result) in ended {
                    self.end(index, result);
                }
            }
            Err(error) => {
                self.batch.clear();
                let message = format!("{error:#}");
                for index in self.running.keys().copied().collect::<Vec<_>>() {
                    self.end(index, Err(Error::msg(message.clone())));
                }
            }
        }
    }

    fn end(&mut self, index: usize, result: AnyResult<Generated>) {
        if let Some(Running { number, events, .. }) = self.running.remove(&index) {
            let _gone = events.send((number, Event::End(result)));
        }
    }
}

//! The queue of requests, and the threads that answer them.

use super::error::ApiError;
use super::metrics::Metrics;
use super::request::Ask;
use super::{Answer, Backend};
use crate::clock::{Clock, Moment};
use crate::engine::{EngineInfo, TokenLogprob};
use crate::error::{Context, Result};
use crate::nn::Cancel;
use crate::units::Seconds;
use axum::http::StatusCode;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot};

/// Longest time that a refused client is told to wait, in seconds.
const LONGEST_RETRY: f64 = 60.0;
/// Weight of the latest answer in the mean time of an answer.
const LATEST: f64 = 0.2;

/// What a request hears of its answer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "of many events of an answer one is its end")]
pub(super) enum Event {
    /// A token.
    Token(TokenLogprob),
    /// The end, and how long the request had waited for its turn.
    Done(Result<Answer, ApiError>, Seconds),
}

struct Job {
    ask: Ask,
    queued: Moment,
    events: mpsc::UnboundedSender<Event>,
}

/// The requests that wait, first come, first served.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// How many may wait.
    limit: usize,
    clock: Clock,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Threads that answer, and how many of them are at it.
    threads: usize,
    answering: usize,
    closed: bool,
    /// What an answer takes of late, in seconds.
    answer_s: Option<f64>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests are waiting, and how many are being answered.
    pub(super) fn lengths(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting.len(), state.answering)
    }

    /// Lines a request up. The request is given up when the receiver is dropped.
    pub(super) fn submit(&self, ask: Ask) -> Result<mpsc::UnboundedReceiver<Event>, ApiError> {
        let (events, receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        if state.closed {
            return Err(ApiError::stopping());
        }
        // Whoever went away frees its place.
        state.waiting.retain(|job| !job.events.is_closed());
        if state.waiting.len() >= self.limit + state.threads.saturating_sub(state.answering) {
            let ahead = state.waiting.len() as f64 / state.threads.max(1) as f64;
            let seconds = (ahead * state.answer_s.unwrap_or(0.0)).ceil().clamp(1.0, LONGEST_RETRY) as u32;
            let message = format!("{} requests are waiting already; try again later", state.waiting.len());
            let refusal = ApiError::new(StatusCode::TOO_MANY_REQUESTS, message);
            return Err(refusal.with_code("queue_full").with_retry(seconds));
        }
        state.waiting.push_back(Job { ask, queued: self.clock.now(), events });
        self.wake.notify_one();
        Ok(receiver)
    }

    /// Waits for a request; `None` once the queue is closed.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                if job.events.is_closed() {
                    continue;
                }
                state.answering += 1;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }
}

/// Counts a request from its turn to its end, however it ends.
struct Turn<'a> {
    queue: &'a Queue,
    since: Moment,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let took = self.queue.clock.since(self.since).0;
        let mut state = self.queue.state();
        state.answering -= 1;
        state.answer_s = Some(state.answer_s.map_or(took, |mean| mean + LATEST * (took - mean)));
    }
}

/// The threads, which end when this is dropped and everything that waits is answered.
pub(super) struct Workers {
    pub(super) queue: Arc<Queue>,
    /// Says once that the model is loaded, or why it is not.
    pub(super) ready: oneshot::Receiver<Result<EngineInfo>>,
    /// Told when a thread ends though the queue is open.
    pub(super) ended: Arc<Notify>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Tells that a thread has ended, also where it broke off.
struct Ending(Arc<Notify>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Starts a thread that loads the model, then as many as the model answers requests at once. When `cancel` becomes true, the
/// answers under way end at their next token, or at the next part of their prompt.
pub(super) fn start(
    load: impl FnOnce() -> Result<Box<dyn Backend>> + Send + 'static,
    limit: usize,
    clock: Clock,
    metrics: Arc<Metrics>,
    cancel: Arc<AtomicBool>,
) -> Result<Workers> {
    let (tell_ready, ready) = oneshot::channel();
    let queue = Arc::new(Queue { state: Mutex::default(), wake: Condvar::new(), limit: limit.max(1), clock });
    let ended = Arc::new(Notify::new());
    let (shared, notify) = (Arc::clone(&queue), Arc::clone(&ended));
    let work = move || {
        // Until its threads have their own.
        let ending = Ending(Arc::clone(&notify));
        let backend: Arc<dyn Backend> = match load() {
            Ok(backend) => backend.into(),
            Err(error) => {
                let _nobody_waits = tell_ready.send(Err(error));
                return;
            }
        };
        let threads = backend.at_once().max(1);
        shared.state().threads = threads;
        if tell_ready.send(Ok(backend.info())).is_err() {
            return;
        }
        for number in 1..threads {
            let thread = Thread {
                backend: Arc::clone(&backend),
                queue: Arc::clone(&shared),
                metrics: Arc::clone(&metrics),
                cancel: Arc::clone(&cancel),
                _ending: Ending(Arc::clone(&notify)),
            };
            let named = std::thread::Builder::new().name(format!("answer-{number}"));
            if named.spawn(move || thread.work()).is_err() {
                // The system lends no more threads: those that there are answer one after the other.
                shared.state().threads = number;
                break;
            }
        }
        Thread { backend, queue: shared, metrics, cancel, _ending: ending }.work();
    };
    std::thread::Builder::new().name("answer-0".to_owned()).spawn(work).context("cannot start the model's thread")?;
    Ok(Workers { queue, ready, ended })
}

/// A thread that answers one request after the other.
struct Thread {
    backend: Arc<dyn Backend>,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    cancel: Arc<AtomicBool>,
    _ending: Ending,
}

impl Thread {
    fn work(self) {
        while let Some(job) = self.queue.next() {
            let turn = Turn { queue: &self.queue, since: self.queue.clock.now() };
            self.answer(&job, self.queue.clock.since(job.queued));
            drop(turn);
            if !self.backend.is_alive() {
                return;
            }
        }
    }

    fn answer(&self, job: &Job, waited: Seconds) {
        let mut on_token = |token: &TokenLogprob| {
            let gone = job.events.send(Event::Token(token.clone())).is_err();
            if gone || self.cancel.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let (events, stopping) = (job.events.clone(), Arc::clone(&self.cancel));
        let unwanted = Cancel::when(move || events.is_closed() || stopping.load(Ordering::Relaxed));
        let result = self.backend.answer(&job.ask.request, &job.ask.sampling, unwanted, &mut on_token);
        match &result {
            Ok(answer) => self.metrics.answered(answer, waited),
            Err(error) => self.metrics.failed(error.kind),
        }
        let result = result.map_err(|error| ApiError::of(&error, job.ask.held_by));
        let _client_gone = job.events.send(Event::Done(result, waited));
    }
}

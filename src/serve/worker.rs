//! The thread that owns the model, and the queue before it.

use super::Backend;
use super::error::ApiError;
use super::request::Ask;
use crate::clock::{Clock, Moment};
use crate::engine::{Completion, EngineInfo, TokenLogprob};
use crate::error::{Context, Result};
use crate::nn::Cancel;
use crate::units::Seconds;
use axum::http::StatusCode;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{mpsc, oneshot};

/// What a request hears from the worker.
#[derive(Debug)]
pub(super) enum Event {
    /// A token.
    Token(TokenLogprob),
    /// The end, and how long the request had waited for its turn.
    Done(Result<Completion, ApiError>, Seconds),
}

struct Job {
    ask: Ask,
    queued: Moment,
    events: mpsc::UnboundedSender<Event>,
    _pending: Pending,
}

/// Counts a request from its queueing to its end, however it ends.
struct Pending(Arc<AtomicUsize>);

impl Pending {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The way to the worker.
#[derive(Clone)]
pub(super) struct Queue {
    jobs: mpsc::Sender<Job>,
    clock: Clock,
    pending: Arc<AtomicUsize>,
}

/// A started worker.
pub(super) struct Worker {
    pub(super) queue: Queue,
    /// Says once that the model is loaded, or why it is not.
    pub(super) ready: oneshot::Receiver<Result<EngineInfo>>,
    /// Closes when the thread ends.
    pub(super) ended: oneshot::Receiver<()>,
}

impl Queue {
    /// How many answers are under way or waited for.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Lines a request up. The request is given up when the receiver is dropped.
    pub(super) fn submit(&self, ask: Ask) -> Result<mpsc::UnboundedReceiver<Event>, ApiError> {
        let (events, receiver) = mpsc::unbounded_channel();
        let job = Job { ask, queued: self.clock.now(), events, _pending: Pending::begin(&self.pending) };
        match self.jobs.try_send(job) {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(ApiError::stopping()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let waiting = self.jobs.max_capacity();
                let message = format!("{waiting} requests are waiting already; try again later");
                Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).with_code("queue_full").with_retry())
            }
        }
    }
}

/// Starts the thread: it loads the model, then answers one request after the other until every [`Queue`] is dropped.
/// When `cancel` becomes true, the answer under way ends at its next token, or at the next part of its prompt.
pub(super) fn start(
    load: impl FnOnce() -> Result<Box<dyn Backend>> + Send + 'static,
    capacity: usize,
    clock: Clock,
    cancel: Arc<AtomicBool>,
) -> Result<Worker> {
    let (jobs, mut receiver) = mpsc::channel::<Job>(capacity.max(1));
    let (tell_ready, ready) = oneshot::channel();
    let (alive, ended) = oneshot::channel::<()>();
    let queue = Queue { jobs, clock: clock.clone(), pending: Arc::default() };
    let work = move || {
        let _alive = alive;
        let backend = match load() {
            Ok(backend) => backend,
            Err(error) => {
                let _nobody_waits = tell_ready.send(Err(error));
                return;
            }
        };
        if tell_ready.send(Ok(backend.info())).is_err() {
            return;
        }
        while let Some(job) = receiver.blocking_recv() {
            work_on(&*backend, job, &clock, &cancel);
        }
    };
    std::thread::Builder::new().name("model".to_owned()).spawn(work).context("cannot start the model's thread")?;
    Ok(Worker { queue, ready, ended })
}

fn work_on(backend: &dyn Backend, job: Job, clock: &Clock, cancel: &Arc<AtomicBool>) {
    let waited = clock.since(job.queued);
    if job.events.is_closed() {
        return;
    }
    let mut on_token = |token: &TokenLogprob| {
        let gone = job.events.send(Event::Token(token.clone())).is_err();
        if gone || cancel.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (events, stopping) = (job.events.clone(), Arc::clone(cancel));
    let unwanted = Cancel::when(move || events.is_closed() || stopping.load(Ordering::Relaxed));
    let result = backend.answer(&job.ask.request, &job.ask.sampling, unwanted, &mut on_token);
    let result = result.map_err(|error| ApiError::of(&error, job.ask.held_by));
    let _client_gone = job.events.send(Event::Done(result, waited));
}

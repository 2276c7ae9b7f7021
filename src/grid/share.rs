//! Work that several cells need is done once.
//!
//! An attempt is what its identity says: the model's file or endpoint, the messages, which with the model's file give the
//! rendered tokens, how tokens are chosen, the grammar, the bounds, and which repeat of the measurement it is. The seed counts
//! only where something is drawn. The first trial that needs an attempt has it computed; the others get the same answer with the
//! times that were measured then, their clocks moved by them, and their records say from whom.
//!
//! What is on disk is the store: an attempt that is no longer in memory is read from its trial's record, and so a run that is
//! continued, or goes on with other models, uses what it has.

use super::baton::Baton;
use crate::clock::{Clock, Spans};
use crate::engine::{Completion, Engine, EngineError, EngineInfo, Request, Scored, StopReason, Timing};
use crate::error::Result;
use crate::memory::{FixedText, Memory, MemoryKind, Retrieval};
use crate::nn::Grammar;
use crate::nn::chat::Message;
use crate::record::{Place, TrialRecord, read_at};
use crate::task::{Origin, Query};
use crate::trial::{Attempt, Engines};
use crate::units::Seconds;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Attempts, and retrievals, that are kept in memory at most: those of the samples in work and some more.
const MOST_KEPT: usize = 1024;

/// Which attempt something is: half of a SHA-256.
pub(super) type Identity = u128;

/// What the cells of a run share.
pub struct Shared {
    folder: PathBuf,
    attempts: Mutex<Attempts>,
    changed: Condvar,
    retrievals: Mutex<Retrievals>,
}

#[derive(Default)]
struct Attempts {
    /// Where the record of an attempt stands, and which attempt of its trial it is.
    places: HashMap<Identity, (Place, u8)>,
    known: HashMap<Identity, State>,
    /// What is kept, the oldest first.
    order: VecDeque<Identity>,
}

enum State {
    /// Somebody computes it.
    Underway,
    Kept(Arc<(Completion, Origin)>),
}

/// By memory and sample.
type RetrievalKey = (String, String);

#[derive(Default)]
struct Retrievals {
    kept: HashMap<RetrievalKey, Arc<(Retrieval, Spans, Seconds)>>,
    order: VecDeque<RetrievalKey>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What the cells of the run in this folder share; nothing yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            attempts: Mutex::default(),
            changed: Condvar::new(),
            retrievals: Mutex::default(),
        }
    }

    /// Learns of a trial that is on disk.
    pub(super) fn learn(&self, identities: impl Iterator<Item = (u8, Identity)>, place: Place) {
        let mut attempts = lock(&self.attempts);
        for (index, identity) in identities {
            attempts.places.entry(identity).or_insert((place, index));
        }
    }

    /// Forgets the retrievals: those of another small model count other tokens.
    pub(super) fn forget_retrievals(&self) {
        *lock(&self.retrievals) = Retrievals::default();
    }

    /// The attempt, if it is there or somebody computes it; else the caller is to compute it.
    fn find(&self, identity: Identity, baton: &Baton, clock: &Clock) -> Option<Arc<(Completion, Origin)>> {
        let mut attempts = lock(&self.attempts);
        loop {
            match attempts.known.get(&identity) {
                Some(State::Kept(kept)) => return Some(Arc::clone(kept)),
                Some(State::Underway) => {
                    // Who computes it may need the baton to end.
                    drop(attempts);
                    let waiting = clock.now();
                    baton.aside(clock, || {
                        let mut attempts = lock(&self.attempts);
                        while matches!(attempts.known.get(&identity), Some(State::Underway)) {
                            attempts = self.changed.wait(attempts).unwrap_or_else(PoisonError::into_inner);
                        }
                    });
                    // The attempt's own time counts, and not what was left of it when it was asked for.
                    clock.leave_out(waiting);
                    attempts = lock(&self.attempts);
                }
                None => break,
            }
        }
        if let Some(&(place, index)) = attempts.places.get(&identity)
            && let Some(kept) = self.read(place, index)
        {
            attempts.keep(identity, Arc::clone(&kept));
            return Some(kept);
        }
        attempts.known.insert(identity, State::Underway);
        None
    }

    fn read(&self, place: Place, index: u8) -> Option<Arc<(Completion, Origin)>> {
        // What cannot be read is computed again, which is what would have been done without it.
        let record = read_at(&self.folder, &[place]).ok()?.pop()?;
        let attempt = record.trial.attempts.get(usize::from(index))?;
        let origin = attempt.shared_from.clone();
        let origin = origin.unwrap_or_else(|| Origin { cell: record.cell.clone(), sample: record.sample.clone() });
        Some(Arc::new((completion(attempt)?, origin)))
    }

    /// What was computed, or that it could not be.
    fn computed(&self, identity: Identity, kept: Option<Arc<(Completion, Origin)>>) {
        let mut attempts = lock(&self.attempts);
        match kept {
            Some(kept) => attempts.keep(identity, kept),
            None => {
                attempts.known.remove(&identity);
            }
        }
        drop(attempts);
        self.changed.notify_all();
    }
}

impl Attempts {
    fn keep(&mut self, identity: Identity, kept: Arc<(Completion, Origin)>) {
        self.known.insert(identity, State::Kept(kept));
        self.order.push_back(identity);
        while self.order.len() > MOST_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// The identities of a record's attempts, by their places in it.
pub(super) fn identities(record: &TrialRecord) -> impl Iterator<Item = (u8, Identity)> {
    (0..).zip(&record.trial.attempts).filter_map(|(index, attempt)| {
        let text = attempt.identity.as_deref().filter(|_| attempt.failure.is_none())?;
        Some((index, Identity::from_str_radix(text, 16).ok()?))
    })
}

/// What an engine answered, from the attempt that records it.
fn completion(attempt: &Attempt) -> Option<Completion> {
    Some(Completion {
        model: attempt.model.clone(),
        prompt: attempt.prompt.clone(),
        text: attempt.completion.clone()?,
        tokens: attempt.tokens.clone(),
        usage: attempt.usage,
        usage_source: attempt.usage_source,
        stop: attempt.stop.unwrap_or(StopReason::Other),
        timing: Timing { ttft_s: attempt.ttft_s, total_s: attempt.total_s, spans: attempt.spans.clone() },
        retries: attempt.retries,
        held: attempt.held,
        forced_tokens: attempt.forced_tokens,
        tries: attempt.tries.clone(),
        identity: attempt.identity.clone(),
        shared_from: None,
    })
}

/// What a trial works with where its run shares work, or has several trials in flight: its own view of everything.
pub(super) struct View<'a> {
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) baton: &'a Arc<Baton>,
    pub(super) clock: &'a Clock,
    /// Which repeat of the measurement: each is made afresh.
    pub(super) repeat: u32,
    pub(super) origin: Origin,
}

impl View<'_> {
    /// The engines as this trial sees them.
    pub(super) fn engines(self, engines: &Engines) -> Engines {
        let origin = Arc::new(self.origin);
        let view = |inner: &Arc<dyn Engine>| -> Arc<dyn Engine> {
            Arc::new(Viewed {
                inner: Arc::clone(inner),
                shared: self.shared.clone(),
                baton: Arc::clone(self.baton),
                clock: self.clock.clone(),
                repeat: self.repeat,
                origin: Arc::clone(&origin),
            })
        };
        Engines {
            slm: view(&engines.slm),
            llm: view(&engines.llm),
            named: engines.named.iter().map(|(name, engine)| (name.clone(), view(engine))).collect(),
        }
    }
}

/// An engine as one trial sees it.
struct Viewed {
    inner: Arc<dyn Engine>,
    shared: Option<Arc<Shared>>,
    baton: Arc<Baton>,
    clock: Clock,
    repeat: u32,
    origin: Arc<Origin>,
}

impl Viewed {
    /// Calls the engine; while a remote one is waited for, others may work.
    fn call<T>(&self, call: impl FnOnce(&dyn Engine) -> T) -> T {
        if self.inner.is_remote() { self.baton.aside(&self.clock, || call(&*self.inner)) } else { call(&*self.inner) }
    }

    /// Which attempt a request is.
    fn identity(&self, request: &Request) -> Identity {
        let info = self.inner.info();
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        // The weights, where they are known; an endpoint's model by its name at its address. The same weights behind HTTP and in
        // this process take other times.
        add(&[u8::from(self.inner.is_remote())]);
        match &info.sha256 {
            Some(sha256) => add(sha256.as_bytes()),
            None => [&info.place, &info.model].into_iter().for_each(|part| add(part.as_bytes())),
        }
        for message in &request.messages {
            add(message.role.as_bytes());
            add(message.content.as_bytes());
        }
        let seed = if request.temperature > 0.0 { request.seed } else { 0 };
        let numbers = [request.max_tokens as u64, request.temperature.to_bits(), seed, request.top_logprobs as u64];
        for number in numbers {
            add(&number.to_le_bytes());
        }
        add(request.grammar.as_ref().map(|grammar| grammar.key()).unwrap_or_default().as_bytes());
        add(&self.repeat.to_le_bytes());
        half(&hash.finalize())
    }

    /// Who may reuse what is computed of this prompt: what asks further in the same conversation, whichever cell that is. So no
    /// attempt is faster because of the order in which cells come, and a repair still finds the prompt that it goes on from.
    fn scope(&self, request: &Request) -> String {
        let mut hash = Sha256::new();
        for message in request.messages.iter().take_while(|message| message.role != "assistant") {
            hash.update(&message.role);
            hash.update([0]);
            hash.update(&message.content);
            hash.update([0]);
        }
        hash.update(self.repeat.to_le_bytes());
        hash.update(request.grammar.is_some().then_some(1_u8).as_slice());
        format!("{:032x}", half(&hash.finalize()))
    }
}

fn half(digest: &[u8]) -> Identity {
    digest.iter().take(16).fold(0, |number, &byte| (number << 8) | Identity::from(byte))
}

impl Engine for Viewed {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        let Some(shared) = &self.shared else { return self.call(|engine| engine.complete(request)) };
        let start = self.clock.now();
        let identity = self.identity(request);
        if let Some(kept) = shared.find(identity, &self.baton, &self.clock) {
            let (completion, origin) = &*kept;
            let passed = self.clock.since(start);
            self.clock.advance(Seconds((completion.timing.total_s - passed).0.max(0.0)));
            // A trial that is done again may find itself.
            let shared_from = (*origin != *self.origin).then(|| origin.clone());
            return Ok(Completion { shared_from, ..completion.clone() });
        }
        let request = Request { cache_scope: Some(self.scope(request)), ..request.clone() };
        let unfinished = Unfinished { shared, identity };
        let answered = self.call(|engine| engine.complete(&request));
        let answered =
            answered.map(|completion| Completion { identity: Some(format!("{identity:032x}")), ..completion });
        let kept = answered.as_ref().ok().map(|completion| Arc::new((completion.clone(), (*self.origin).clone())));
        std::mem::forget(unfinished);
        shared.computed(identity, kept);
        answered
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        self.inner.prompt_tokens(messages)
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        self.inner.prepare(grammar)
    }

    fn score(&self, request: &Request, texts: &[String]) -> Result<Option<Scored>, Box<EngineError>> {
        self.call(|engine| engine.score(request, texts))
    }

    fn sample(
        &self,
        request: &Request,
        times: usize,
        enough: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Completion>, Box<EngineError>> {
        self.call(|engine| engine.sample(request, times, enough))
    }

    fn adjustments(&self) -> Vec<String> {
        self.inner.adjustments()
    }
}

/// An attempt in work: should computing it panic, those who wait for it go on.
struct Unfinished<'a> {
    shared: &'a Shared,
    identity: Identity,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.shared.computed(self.identity, None);
    }
}

/// A memory as one trial sees it, where retrievals are shared.
pub(super) struct Recalled<'a> {
    pub(super) inner: &'a dyn Memory,
    pub(super) shared: &'a Shared,
    pub(super) repeat: u32,
    pub(super) origin: &'a Origin,
}

impl Memory for Recalled<'_> {
    fn kind(&self) -> MemoryKind {
        self.inner.kind()
    }

    fn fixed_text(&self) -> Option<FixedText<'_>> {
        self.inner.fixed_text()
    }

    fn gate(&self) -> Option<f64> {
        self.inner.gate()
    }

    fn recall(&self, query: &Query, clock: &Clock, spans: &mut Spans) -> Result<Retrieval> {
        if self.kind() == MemoryKind::None {
            return self.inner.recall(query, clock, spans);
        }
        let start = clock.now();
        let key = (format!("{}/{}", self.kind().name(), self.repeat), query.id.clone());
        let kept = lock(&self.shared.retrievals).kept.get(&key).cloned();
        if let Some(kept) = kept {
            let (retrieval, took, total) = &*kept;
            spans.merge(took);
            clock.advance(Seconds((*total - clock.since(start)).0.max(0.0)));
            return Ok(retrieval.clone());
        }
        let mut own = Spans::default();
        let retrieval = self.inner.recall(query, clock, &mut own)?;
        let total = clock.since(start);
        spans.merge(&own);
        let shown = Retrieval { shared_from: Some(self.origin.clone()), ..retrieval.clone() };
        let mut retrievals = lock(&self.shared.retrievals);
        retrievals.kept.insert(key.clone(), Arc::new((shown, own, total)));
        retrievals.order.push_back(key);
        if retrievals.order.len() > MOST_KEPT
            && let Some(oldest) = retrievals.order.pop_front()
        {
            retrievals.kept.remove(&oldest);
        }
        Ok(retrieval)
    }
}

#[cfg(test)]
mod tests;

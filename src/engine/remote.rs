//! A model behind an OpenAI-compatible or Anthropic endpoint, over real HTTP, streamed.
//!
//! What is tried again: a refused connection, 429 and 5xx, an error in the place of the text, after a growing wait that honours
//! `Retry-After`. What is not: a stream that was cut or timed out, because the endpoint has done, and may have billed, the
//! work. Every try is recorded with its times.

use super::client::{TimedBody, client, traced};
use super::endpoint::{Endpoint, RemoteOptions};
use super::failure::{Fault, Remedy};
use super::pace::Pace;
use super::reader::{Reader, late};
use super::secret::Scrubber;
use super::tries::{Trace, Try};
use super::wire::{Answer, Dialect, body, cut, held, transcript};
use super::{Completion, Engine, EngineError, EngineInfo, FailureKind, Held, Request, Timing};
use crate::clock::{Clock, Component, Spans};
use crate::error::{Context, Result};
use crate::net::Network;
use crate::nn::chat::Message;
use crate::nn::{Cancel, Grammar, Rule};
use crate::units::Seconds;
use backon::BackoffBuilder;
use bytes::Bytes;
use futures_util::FutureExt;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Largest part of a refusal's body that is read, in bytes.
const MAX_REFUSAL: usize = 64 << 10;
/// How often a waiting call looks at the stop flag.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Bytes of a request for each of its tokens, as far as its tokens must be guessed.
const BYTES_PER_TOKEN: u64 = 4;

/// An engine that calls a remote endpoint.
pub struct RemoteEngine {
    options: RemoteOptions,
    endpoint: Endpoint,
    scrubber: Scrubber,
    network: Network,
    clock: Clock,
    stop: Arc<AtomicBool>,
    client: reqwest::Client,
    pace: Pace,
    /// What the endpoint turned out not to accept.
    dialect: Mutex<Vec<Dialect>>,
    /// `None` only while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

/// What a call took, also where it failed.
#[derive(Default)]
struct Log {
    tries: Vec<Try>,
    queued: Seconds,
    ttft_s: Option<Seconds>,
}

impl RemoteEngine {
    /// An engine for an endpoint. Nothing is sent yet. When `stop` becomes true, a call that is under way ends at once with
    /// [`FailureKind::Interrupted`].
    pub fn new(options: RemoteOptions, network: Network, clock: Clock, stop: Arc<AtomicBool>) -> Result<Self> {
        let endpoint = Endpoint::parse(&options.base_url, options.api)?;
        let client = client(&endpoint, &options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("remote-engine")
            .enable_all()
            .build()
            .context("cannot start the runtime for HTTP calls")?;
        let (scrubber, pace) = (options.scrubber(), Pace::new(&options.limits, &clock));
        let (dialect, runtime) = (Mutex::default(), Some(runtime));
        Ok(Self { options, endpoint, scrubber, network, clock, stop, client, pace, dialect, runtime })
    }

    fn dialect(&self) -> Vec<Dialect> {
        lock(&self.dialect).clone()
    }

    fn remember(&self, change: Dialect) {
        let mut dialect = lock(&self.dialect);
        if !dialect.contains(&change) {
            dialect.push(change);
        }
    }

    /// The answer, and how the endpoint was asked to hold it.
    fn call(&self, request: &Request, unwanted: &Cancel, log: &Mutex<Log>) -> Result<(Answer, Held), Fault> {
        let purpose = format!("call {} at {}", self.options.model, self.endpoint.shown);
        if let Err(refusal) = self.network.permit(&self.endpoint.host, &purpose) {
            return Err(Fault::new(FailureKind::Offline, format!("was not made: {refusal:#}")));
        }
        let Some(runtime) = &self.runtime else {
            return Err(Fault::new(FailureKind::Local, "came after the engine was shut down"));
        };
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                why = self.stopped(unwanted) => Err(Fault::new(FailureKind::Interrupted, why)),
                result = self.try_until_answered(request, log) => result,
            }
        });
        self.pace.heard(result.as_ref().err());
        result
    }

    /// Waits until the call is to end, and says why.
    async fn stopped(&self, unwanted: &Cancel) -> &'static str {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return "was interrupted by the user";
            }
            if unwanted.is_asked_for() {
                return "was given up: nobody waits for the answer any more";
            }
            sleep(STOP_POLL).await;
        }
    }

    async fn try_until_answered(&self, request: &Request, log: &Mutex<Log>) -> Result<(Answer, Held), Fault> {
        let mut waits = backon::ExponentialBuilder::new()
            .with_min_delay(self.options.backoff)
            .with_max_delay(self.options.max_wait)
            .with_max_times(self.options.max_retries)
            .with_jitter()
            .with_jitter_seed(request.seed)
            .build();
        let start = self.clock.now();
        let (_place, mut queue) = self.pace.enter().await;
        let mut backoff = Seconds::ZERO;
        let total = self.options.timeouts.total;
        loop {
            self.pace.check()?;
            let sent = body(self.endpoint.api, &self.options, request, &self.dialect());
            let bytes = serde_json::to_vec(&sent)
                .map(Bytes::from)
                .map_err(|error| Fault::new(FailureKind::Local, format!("could not be written as JSON: {error}")))?;
            let expected = bytes.len() as u64 / BYTES_PER_TOKEN + request.max_tokens as u64;
            queue += self.pace.wait(expected).await;
            lock(log).queued += queue;
            let left = self.left(start, log);
            let trace = Arc::new(Trace::new(&self.clock));
            let trying = traced(Arc::clone(&trace), self.try_once(request, &sent, bytes, &trace));
            let result = timeout(left, trying).await.unwrap_or_else(|_| Err(late("did not end", total, "total")));
            let mut fault = match self.record(result, expected, &trace, [queue, backoff], log) {
                Ok(answer) => return Ok((answer, held(&sent))),
                Err(fault) => fault,
            };
            (queue, backoff) = (Seconds::ZERO, Seconds::ZERO);
            match fault.remedy {
                Remedy::None => return Err(fault),
                // Each change takes an option away that was sent, so that this ends.
                Remedy::Adjust(change) => self.remember(change),
                Remedy::Retry(after) => {
                    let tries = lock(log).tries.len();
                    let Some(wait) = waits.next() else {
                        if tries > 1 {
                            fault.message = format!("{} (tried {tries} times)", fault.message);
                        }
                        return Err(fault);
                    };
                    let wait = after.unwrap_or(wait);
                    if wait > self.options.max_wait {
                        let (asked, limit) = (wait.as_secs_f64(), self.options.max_wait.as_secs_f64());
                        fault.message =
                            format!("{}; the endpoint asks to wait {asked} s, more than {limit} s", fault.message);
                        return Err(fault);
                    }
                    if wait >= self.left(start, log) {
                        fault.message =
                            format!("{} (tried {tries} times until the time for the call was up)", fault.message);
                        return Err(fault);
                    }
                    let waiting = self.clock.now();
                    sleep(wait).await;
                    backoff = self.clock.since(waiting);
                }
            }
        }
    }

    /// What is left of the time for a call that began at `start`; what it waited for our own limits does not count.
    fn left(&self, start: crate::clock::Moment, log: &Mutex<Log>) -> Duration {
        let passed = self.clock.since(start) - lock(log).queued;
        self.options.timeouts.total.saturating_sub(Duration::try_from_secs_f64(passed.0).unwrap_or_default())
    }

    /// Writes a try down.
    fn record(
        &self,
        result: Result<Answer, Fault>,
        expected: u64,
        trace: &Trace,
        [queue, backoff]: [Seconds; 2],
        log: &Mutex<Log>,
    ) -> Result<Answer, Fault> {
        let mut done = trace.end(queue, backoff);
        let adjusts = |fault: &&Fault| matches!(fault.remedy, Remedy::Adjust(_));
        done.failure = result.as_ref().err().filter(|fault| !adjusts(fault)).map(|fault| fault.kind);
        match done.usage {
            Some(usage) => self.pace.settle(expected, usage.input_tokens.saturating_add(usage.output_tokens)),
            // A refusal took none.
            None if done.status.is_some_and(|status| status >= 400) => self.pace.settle(expected, 0),
            None => {}
        }
        let mut log = lock(log);
        let before: Seconds = log.tries.iter().map(|one| one.wire.end_s + one.backoff_s).sum::<Seconds>() + backoff;
        log.ttft_s = done.wire.first_token_s().map(|first| before + first);
        log.tries.push(done);
        result
    }

    async fn try_once(
        &self,
        request: &Request,
        sent: &Value,
        bytes: Bytes,
        trace: &Arc<Trace>,
    ) -> Result<Answer, Fault> {
        let limits = &self.options.timeouts;
        let length = bytes.len();
        let first = async {
            let post = self.client.post(self.endpoint.url.clone()).header(CONTENT_TYPE, "application/json");
            let sending = post.body(reqwest::Body::wrap(TimedBody::new(bytes, Arc::clone(trace)))).send();
            let transport = |error: &_| Fault::transport(error, &self.options, &self.endpoint.shown);
            let mut response = sending.await.map_err(|error| transport(&error))?;
            trace.answered(response.status().as_u16());
            if !response.status().is_success() {
                return Err(self.refusal(response, sent).await);
            }
            let encoding =
                response.headers().get(CONTENT_ENCODING).filter(|encoding| encoding.as_bytes() != b"identity");
            if let Some(encoding) = encoding {
                // What nobody asked for is not unpacked: a few bytes may become gigabytes.
                return Err(Fault::malformed("is compressed, which was not asked for", encoding.as_bytes()));
            }
            let bytes = response.chunk().await.map_err(|_| cut(0))?;
            Ok((response, bytes))
        };
        let first = timeout(limits.first_byte, first).await;
        let (mut response, mut bytes) =
            first.unwrap_or_else(|_| Err(late("sent no byte", limits.first_byte, "first-byte")))?;
        let mut reader = Reader::new(self.endpoint.api, &self.scrubber, trace);
        while let Some(piece) = bytes {
            if reader.take(&piece)? {
                self.drain(response);
                break;
            }
            let next = timeout(limits.between_chunks, response.chunk()).await;
            let next = next.map_err(|_| late("stopped sending", limits.between_chunks, "between-chunks"))?;
            bytes = next.map_err(|_| cut(reader.answer.text.chars().count()))?;
        }
        reader.finish()?;
        if let Some(doubt) = reader.answer.doubt(length, request.max_tokens) {
            trace.doubt(doubt);
        }
        Ok(reader.answer)
    }

    async fn refusal(&self, mut response: reqwest::Response, sent: &Value) -> Fault {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while body.len() < MAX_REFUSAL {
            match timeout(self.options.timeouts.between_chunks, response.chunk()).await {
                Ok(Ok(Some(piece))) => body.extend_from_slice(&piece),
                _ => break,
            }
        }
        let body = String::from_utf8_lossy(&body);
        Fault::refused(status, &headers, &self.scrubber.scrub(&body), sent, &self.options)
    }

    /// Reads what follows the answer's end: a connection that was read to its end can be used again. What is not there yet is
    /// waited for in the background.
    fn drain(&self, mut response: reqwest::Response) {
        if let Some(Ok(None) | Err(_)) = response.chunk().now_or_never() {
            return;
        }
        let Some(runtime) = &self.runtime else { return };
        runtime.spawn(timeout(Duration::from_secs(1), async move {
            let mut rest = 0;
            while let Ok(Some(piece)) = response.chunk().await {
                rest += piece.len();
                if rest > MAX_REFUSAL {
                    break;
                }
            }
        }));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine for RemoteEngine {
    fn is_remote(&self) -> bool {
        true
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            model: self.options.model.clone(),
            place: self.endpoint.shown.clone(),
            sha256: self.options.sha256.clone(),
            context_length: None,
        }
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.complete_unless(request, &Cancel::default())
    }

    fn complete_unless(&self, request: &Request, unwanted: &Cancel) -> Result<Completion, Box<EngineError>> {
        let start = self.clock.now();
        let prompt = transcript(request);
        let sending = self.clock.now();
        let log = Mutex::default();
        let result = self.call(request, unwanted, &log);
        let Log { tries, queued, ttft_s } = log.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut spans = Spans::default();
        spans.add(Component::Prompt, sending.since(start));
        if queued > Seconds::ZERO {
            spans.add(Component::Queue, queued);
        }
        spans.add(Component::Network, self.clock.since(sending) - queued);
        let retries = tries.len().saturating_sub(1) as u32;
        match result {
            Ok((mut answer, held)) => {
                let (usage, usage_source) = answer.usage();
                let tokens = answer.tokens();
                Ok(Completion {
                    model: answer.model.take().unwrap_or_else(|| self.options.model.clone()),
                    prompt,
                    tokens,
                    usage,
                    usage_source,
                    stop: answer.stop(),
                    text: answer.text,
                    timing: Timing { ttft_s, total_s: self.clock.since(start), spans },
                    retries,
                    held,
                    forced_tokens: 0,
                    tries,
                    identity: None,
                    shared_from: None,
                })
            }
            Err(fault) => {
                let error = fault.into_error(&self.options.model, &self.endpoint.shown, &self.scrubber);
                Err(Box::new(EngineError { spans, retries, tries, ..error }))
            }
        }
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        Ok(match grammar.rule {
            Rule::JsonSchema(_) => Vec::new(),
            Rule::Regex(_) | Rule::Choice(_) => {
                vec!["chat completions take a JSON Schema only: the prompt's instructions stand alone".to_owned()]
            }
        })
    }

    fn prompt_tokens(&self, _messages: &[Message]) -> Option<usize> {
        None
    }

    fn adjustments(&self) -> Vec<String> {
        self.dialect().iter().map(|change| change.describe().to_owned()).collect()
    }
}

impl Drop for RemoteEngine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting would hang the program on a peer that does not answer.
            runtime.shutdown_background();
        }
    }
}

//! A model behind an OpenAI-compatible chat-completions endpoint, over real HTTP, streamed.
//!
//! What is tried again: a refused connection, 429 and 5xx, after a growing wait that honours `Retry-After`. What is not:
//! a stream that was cut or timed out, because the endpoint has done, and may have billed, the work.

use super::endpoint::{Endpoint, RemoteOptions};
use super::failure::{Fault, Remedy};
use super::reader::{Reader, Received, late};
use super::wire::{Dialect, body, cut, held, transcript};
use super::{Completion, Engine, EngineError, EngineInfo, FailureKind, Held, Request, Timing};
use crate::clock::{Clock, Component, Moment, Spans};
use crate::error::{Context, Result};
use crate::net::Network;
use crate::nn::chat::Message;
use crate::nn::{Grammar, Rule};
use backon::BackoffBuilder;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Largest part of a refusal's body that is read, in bytes.
const MAX_REFUSAL: usize = 64 << 10;
/// How often a waiting call looks at the stop flag.
const STOP_POLL: Duration = Duration::from_millis(20);

/// An engine that calls a remote endpoint.
pub struct RemoteEngine {
    options: RemoteOptions,
    endpoint: Endpoint,
    network: Network,
    clock: Clock,
    stop: Arc<AtomicBool>,
    client: reqwest::Client,
    /// What the endpoint turned out not to accept.
    dialect: Mutex<Vec<Dialect>>,
    /// `None` only while it is dropped.
    runtime: Option<tokio::runtime::Runtime>,
}

impl RemoteEngine {
    /// An engine for an endpoint. Nothing is sent yet. When `stop` becomes true, a call that is under way ends at once with
    /// [`FailureKind::Interrupted`].
    pub fn new(options: RemoteOptions, network: Network, clock: Clock, stop: Arc<AtomicBool>) -> Result<Self> {
        let endpoint = Endpoint::parse(&options.base_url)?;
        let client = endpoint.client(&options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("remote-engine")
            .enable_all()
            .build()
            .context("cannot start the runtime for HTTP calls")?;
        let dialect = Mutex::default();
        Ok(Self { options, endpoint, network, clock, stop, client, dialect, runtime: Some(runtime) })
    }

    fn dialect(&self) -> Vec<Dialect> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, change: Dialect) {
        let mut dialect = self.dialect.lock().unwrap_or_else(PoisonError::into_inner);
        if !dialect.contains(&change) {
            dialect.push(change);
        }
    }

    /// The answer, and how the endpoint was asked to hold it.
    fn call(&self, request: &Request, start: Moment, retries: &AtomicU32) -> Result<(Received, Held), Fault> {
        let purpose = format!("call {} at {}", self.options.model, self.endpoint.shown);
        if let Err(refusal) = self.network.permit(&self.endpoint.host, &purpose) {
            return Err(Fault::new(FailureKind::Offline, format!("was not made: {refusal:#}")));
        }
        let Some(runtime) = &self.runtime else {
            return Err(Fault::new(FailureKind::Local, "came after the engine was shut down"));
        };
        let total = self.options.timeouts.total;
        let refused = Mutex::new(None);
        let result = runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stopped() => Err(Fault::new(FailureKind::Interrupted, "was interrupted by the user")),
                result = timeout(total, self.try_until_answered(request, start, retries, &refused)) => {
                    result.unwrap_or_else(|_| Err(late("did not end", total, "total")))
                }
            }
        });
        // An endpoint that answered "not now" until the time was up is not one that did not answer.
        let refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (result, refused) {
            (Err(fault), Some(last)) if fault.kind == FailureKind::Timeout => Err(last),
            (result, _) => result,
        }
    }

    async fn stopped(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            sleep(STOP_POLL).await;
        }
    }

    async fn try_until_answered(
        &self,
        request: &Request,
        start: Moment,
        retries: &AtomicU32,
        refused: &Mutex<Option<Fault>>,
    ) -> Result<(Received, Held), Fault> {
        let mut waits = backon::ExponentialBuilder::new()
            .with_min_delay(self.options.backoff)
            .with_max_delay(self.options.max_wait)
            .with_max_times(self.options.max_retries)
            .with_jitter()
            .with_jitter_seed(request.seed)
            .build();
        loop {
            let sent = body(&self.options, request, &self.dialect());
            let mut fault = match self.try_once(&sent, start).await {
                Ok(answer) => return Ok((answer, held(&sent))),
                Err(fault) => fault,
            };
            match fault.remedy {
                Remedy::None => return Err(fault),
                // Each change takes an option away that was sent, so that this ends.
                Remedy::Adjust(change) => self.remember(change),
                Remedy::Retry(after) => {
                    let Some(wait) = waits.next() else {
                        let tries = retries.load(Ordering::Relaxed) + 1;
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
                    let tries = retries.load(Ordering::Relaxed) + 1;
                    fault.message =
                        format!("{} (tried {tries} times until the time for the call was up)", fault.message);
                    *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
                    sleep(wait).await;
                    *refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
            }
            retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn try_once(&self, sent: &Value, start: Moment) -> Result<Received, Fault> {
        let limits = &self.options.timeouts;
        let first = async {
            let request = self.client.post(self.endpoint.url.clone()).json(sent).send();
            let transport = |error: &_| Fault::transport(error, &self.options, &self.endpoint.shown);
            let mut response = request.await.map_err(|error| transport(&error))?;
            if !response.status().is_success() {
                return Err(self.refusal(response, sent).await);
            }
            let bytes = response.chunk().await.map_err(|_| cut(0))?;
            Ok((response, bytes))
        };
        let first = timeout(limits.first_byte, first).await;
        let (mut response, mut bytes) =
            first.unwrap_or_else(|_| Err(late("sent no byte", limits.first_byte, "first-byte")))?;
        let mut reader = Reader::new(&self.options);
        while let Some(piece) = bytes {
            if reader.take(&piece, &self.clock)? {
                self.drain(response);
                return reader.finish(start, &self.clock);
            }
            let next = timeout(limits.between_chunks, response.chunk()).await;
            let next = next.map_err(|_| late("stopped sending", limits.between_chunks, "between-chunks"))?;
            bytes = next.map_err(|_| cut(reader.answer.text.chars().count()))?;
        }
        reader.finish(start, &self.clock)
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
        let body = self.options.scrub(&String::from_utf8_lossy(&body));
        Fault::refused(status, &headers, &body, sent, &self.options)
    }

    /// Reads what follows `[DONE]` in the background: a connection that was read to its end can be used again.
    fn drain(&self, mut response: reqwest::Response) {
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

impl Engine for RemoteEngine {
    fn is_remote(&self) -> bool {
        true
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            model: self.options.model.clone(),
            place: self.endpoint.shown.clone(),
            sha256: None,
            context_length: None,
        }
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        let start = self.clock.now();
        let prompt = transcript(request);
        let sending = self.clock.now();
        let retries = AtomicU32::new(0);
        let result = self.call(request, start, &retries);
        let mut spans = Spans::default();
        spans.add(Component::Prompt, sending.since(start));
        spans.add(Component::Network, self.clock.since(sending));
        let retries = retries.into_inner();
        match result {
            Ok((Received { mut answer, ttft_s }, held)) => {
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
                })
            }
            Err(fault) => {
                let error = fault.into_error(&self.options, &self.endpoint.shown);
                Err(Box::new(EngineError { spans, retries, ..error }))
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

//! An engine that says what it was told to say, so that the loop around it is tested without a model.

use super::{
    Alternative, Completion, Engine, EngineError, EngineInfo, FailureKind, Held, Request, StopReason, Timing,
    TokenLogprob, Usage, UsageSource,
};
use crate::clock::{Clock, Component, Spans};
use crate::nn::chat::Message;
use crate::units::Seconds;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One scripted answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// Its tokens; their texts concatenate to it.
    pub tokens: Vec<TokenLogprob>,
    /// Token counts; `None` counts words.
    pub usage: Option<Usage>,
    /// Why it stopped.
    pub stop: StopReason,
    /// How the fake clock moves, and where the time is booked: up to the first token, then to the end.
    pub time: [(Component, Seconds); 2],
}

impl Reply {
    /// A text of which every word is a token with this log-probability; it takes no time.
    pub fn new(text: impl Into<String>, logprob: f64) -> Self {
        let text = text.into();
        let token = |text: &str| TokenLogprob {
            top: vec![Alternative::from((text.to_owned(), logprob))],
            ..TokenLogprob::new(text.to_owned(), text.as_bytes(), logprob)
        };
        let tokens = text.split_inclusive(' ').map(token).collect();
        let time = [(Component::Prefill, Seconds::ZERO), (Component::Decode, Seconds::ZERO)];
        Self { text, tokens, usage: None, stop: StopReason::EndOfTurn, time }
    }

    /// The same answer without log-probabilities, as many endpoints give it.
    pub fn without_logprobs(mut self) -> Self {
        self.tokens.clear();
        self
    }

    /// The same answer, taking this long as a local engine would.
    pub fn local_time(mut self, prefill: Seconds, decode: Seconds) -> Self {
        self.time = [(Component::Prefill, prefill), (Component::Decode, decode)];
        self
    }

    /// The same answer, taking this long as a remote engine would.
    pub fn remote_time(mut self, to_first_token: Seconds, rest: Seconds) -> Self {
        self.time = [(Component::Network, to_first_token), (Component::Network, rest)];
        self
    }
}

type Author = Box<dyn FnMut(&Request) -> Result<Reply, EngineError> + Send>;

/// An engine that plays a script and remembers what it was asked.
pub struct ScriptedEngine {
    info: EngineInfo,
    clock: Clock,
    remote: bool,
    author: Mutex<Author>,
    seen: Mutex<Vec<Request>>,
}

impl ScriptedEngine {
    /// An engine that gives these replies in order; a call beyond the last one fails with [`FailureKind::Local`].
    pub fn queue(model: &str, clock: Clock, replies: impl IntoIterator<Item = Result<Reply, EngineError>>) -> Self {
        let mut replies: VecDeque<_> = replies.into_iter().collect();
        let name = model.to_owned();
        Self::function(model, clock, move |_| {
            let none_left = || EngineError::new(FailureKind::Local, format!("the script of {name} has no reply left"));
            replies.pop_front().unwrap_or_else(|| Err(none_left()))
        })
    }

    /// An engine that asks a function for each reply.
    pub fn function(
        model: &str,
        clock: Clock,
        author: impl FnMut(&Request) -> Result<Reply, EngineError> + Send + 'static,
    ) -> Self {
        let place = "scripted".to_owned();
        let info = EngineInfo { model: model.to_owned(), place, sha256: None, context_length: None };
        Self { info, clock, remote: false, author: Mutex::new(Box::new(author)), seen: Mutex::default() }
    }

    /// The same engine, as one that texts leave this program for.
    #[must_use]
    pub fn remote(self) -> Self {
        Self { remote: true, ..self }
    }

    /// The requests so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.seen).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

impl Engine for ScriptedEngine {
    fn info(&self) -> EngineInfo {
        self.info.clone()
    }

    fn is_remote(&self) -> bool {
        self.remote
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        lock(&self.seen).push(request.clone());
        let start = self.clock.now();
        let reply = (lock(&self.author))(request)?;
        let mut spans = Spans::default();
        let [(first, to_first_token), (second, rest)] = reply.time;
        spans.time(&self.clock, first, || self.clock.advance(to_first_token));
        let ttft = self.clock.since(start);
        spans.time(&self.clock, second, || self.clock.advance(rest));
        let counted = Usage {
            input_tokens: request.messages.iter().map(|message| words(&message.content)).sum(),
            output_tokens: words(&reply.text),
            ..Usage::default()
        };
        Ok(Completion {
            model: self.info.model.clone(),
            prompt: super::wire::transcript(request),
            text: reply.text,
            tokens: reply.tokens,
            usage: reply.usage.unwrap_or(counted),
            usage_source: UsageSource::Measured,
            stop: reply.stop,
            timing: Timing { ttft_s: Some(ttft), total_s: self.clock.since(start), spans },
            retries: 0,
            held: Held::Not,
            forced_tokens: 0,
            tries: Vec::new(),
            identity: None,
            shared_from: None,
        })
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        Some(messages.iter().map(|message| words(&message.content) as usize).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_played_in_order_on_the_fake_clock_and_remembers_its_requests() {
        let clock = Clock::fake();
        let failure = EngineError::new(FailureKind::Server, "down");
        let reply = Reply::new("all is well", -0.25).remote_time(Seconds(0.5), Seconds(1.0));
        let engine = ScriptedEngine::queue("m", clock.clone(), [Ok(reply), Err(failure)]);
        let messages = vec![Message::new("user", "how are you")];
        let request = Request {
            messages,
            max_tokens: 8,
            temperature: 0.0,
            seed: 1,
            top_logprobs: 0,
            cache_scope: None,
            grammar: None,
        };
        let completion = engine.complete(&request).unwrap();
        let joined: String = completion.tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!((joined.as_str(), completion.tokens.len()), ("all is well", 3));
        assert_eq!(completion.timing.spans.get(Component::Network), Seconds(1.5));
        assert_eq!((completion.timing.ttft_s, completion.timing.total_s), (Some(Seconds(0.5)), Seconds(1.5)));
        assert_eq!(completion.usage, Usage { input_tokens: 3, output_tokens: 3, ..Usage::default() });
        assert_eq!(engine.complete(&request).unwrap_err().kind, FailureKind::Server);
        assert_eq!(engine.complete(&request).unwrap_err().kind, FailureKind::Local);
        assert_eq!(engine.requests(), vec![request; 3]);
    }
}

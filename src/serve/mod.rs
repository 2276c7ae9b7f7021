//! An OpenAI-compatible server over a local model, or over a routed policy; it answers Anthropic's Messages too.
//!
//! A bounded queue stands before a few threads, each of which answers one request at a time; a local model answers those of
//! all threads together, in one pass a token ([`BatchedEngine`]). [`serve`] runs until it is told to stop; [`StandIn`] runs it
//! as a child process, which a bench without an endpoint of its own calls over HTTP.

mod child;
mod connections;
mod embeddings;
mod error;
mod fields;
mod grammar;
mod http;
mod messages;
mod metrics;
mod reply;
mod request;
mod route;
mod routed;
mod server;
mod stream;
mod worker;

pub(crate) use child::READY;
pub use child::{StandIn, StandInOptions};
pub use embeddings::Embeddings;
pub use route::{Route, RouteCall};
pub use routed::{Policy, Routed};
pub(crate) use server::GRACE;
pub use server::{ServeOptions, serve};

use crate::engine::{
    BatchedEngine, Completion, Engine, EngineError, EngineInfo, LocalEngine, Request, Sampling, ScriptedEngine,
    TokenLogprob,
};
use crate::nn::Cancel;
use std::ops::ControlFlow;

/// What a server answers with. Its threads share it.
pub trait Backend: Send + Sync {
    /// What it is.
    fn info(&self) -> EngineInfo;
    /// How many requests it answers at once.
    fn at_once(&self) -> usize {
        1
    }
    /// Whether it can still answer; a server whose model broke ends.
    fn is_alive(&self) -> bool {
        true
    }
    /// Answers one request and shows each token as it comes, as far as it can; `Break` ends generation early, and `cancel`
    /// before there is a token.
    fn answer(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Answer, Box<EngineError>>;
}

/// What a backend answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer.
    pub completion: Completion,
    /// How it came about, where a policy chose who gives it.
    pub route: Option<Route>,
}

impl From<Completion> for Answer {
    fn from(completion: Completion) -> Self {
        Self { completion, route: None }
    }
}

impl Backend for BatchedEngine {
    fn info(&self) -> EngineInfo {
        Engine::info(self)
    }

    fn at_once(&self) -> usize {
        self.most()
    }

    fn is_alive(&self) -> bool {
        self.is_alive()
    }

    fn answer(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Answer, Box<EngineError>> {
        self.stream(request, sampling, cancel, on_token).map(Answer::from)
    }
}

impl Backend for LocalEngine {
    fn info(&self) -> EngineInfo {
        Engine::info(self)
    }

    fn answer(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Answer, Box<EngineError>> {
        self.stream(request, sampling, cancel, on_token).map(Answer::from)
    }
}

impl Backend for ScriptedEngine {
    fn info(&self) -> EngineInfo {
        Engine::info(self)
    }

    fn answer(
        &self,
        request: &Request,
        _sampling: &Sampling,
        _cancel: Cancel,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Answer, Box<EngineError>> {
        let completion = self.complete(request)?;
        let _ended_early = completion.tokens.iter().try_for_each(on_token);
        Ok(completion.into())
    }
}

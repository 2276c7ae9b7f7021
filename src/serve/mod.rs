//! An OpenAI-compatible server over a local model.
//!
//! One thread owns the model and answers one request at a time; a bounded queue stands before it. [`serve`] runs until it
//! is told to stop; [`StandIn`] runs it as a child process, which a bench without an endpoint of its own calls over HTTP.

mod child;
mod error;
mod http;
mod reply;
mod request;
mod server;
mod stream;
mod worker;

pub(crate) use child::READY;
pub use child::{StandIn, StandInOptions};
pub(crate) use server::GRACE;
pub use server::{ServeOptions, serve};

use crate::engine::{
    Completion, Engine, EngineError, EngineInfo, LocalEngine, Request, Sampling, ScriptedEngine, TokenLogprob,
};
use crate::nn::Cancel;
use std::ops::ControlFlow;

/// What a server answers with.
pub trait Backend: Send {
    /// What it is.
    fn info(&self) -> EngineInfo;
    /// Answers one request and shows each token as it comes; `Break` ends generation early, and `cancel` before there is a
    /// token.
    fn answer(
        &self,
        request: &Request,
        sampling: &Sampling,
        cancel: Cancel,
        on_token: &mut dyn FnMut(&TokenLogprob) -> ControlFlow<()>,
    ) -> Result<Completion, Box<EngineError>>;
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
    ) -> Result<Completion, Box<EngineError>> {
        self.stream(request, sampling, cancel, on_token)
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
    ) -> Result<Completion, Box<EngineError>> {
        let completion = self.complete(request)?;
        let _ended_early = completion.tokens.iter().try_for_each(on_token);
        Ok(completion)
    }
}

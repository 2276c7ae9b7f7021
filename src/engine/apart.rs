//! An engine whose work on this machine is not the machine's own: that of the stand-in for a remote LLM.

use super::{Completion, Engine, EngineError, EngineInfo, Request};
use crate::device::Meter;
use crate::nn::Grammar;
use crate::nn::chat::Message;
use std::sync::Arc;

/// An engine whose energy is kept apart from that of the rest.
pub struct Apart {
    inner: Arc<dyn Engine>,
    meter: Arc<Meter>,
}

impl Apart {
    /// Keeps the energy of `inner` out of what the meter reads.
    pub fn new(inner: Arc<dyn Engine>, meter: Arc<Meter>) -> Self {
        Self { inner, meter }
    }
}

impl Engine for Apart {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.meter.apart(|| self.inner.complete(request))
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        self.inner.prompt_tokens(messages)
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        self.inner.prepare(grammar)
    }

    fn adjustments(&self) -> Vec<String> {
        self.inner.adjustments()
    }
}

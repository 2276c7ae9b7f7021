//! Chat messages and the template that a model file carries.

use serde::{Deserialize, Serialize};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Stub until the text helper's file comes in.
pub struct ChatTemplate {}

impl ChatTemplate {
    /// Stub.
    pub fn new(_source: &str, _bos: &str, _eos: &str) -> crate::error::Result<Self> {
        Ok(Self {})
    }

    /// Stub.
    pub fn render(&self, _messages: &[Message]) -> crate::error::Result<String> {
        todo!()
    }
}

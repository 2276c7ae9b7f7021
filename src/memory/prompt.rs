//! How that which a memory gives stands in a prompt, and how many tokens it adds there.
//!
//! Passages and solved samples are data: they stand in user messages (a sample's answer in an assistant's), never in the
//! system message.

use super::{CountTokens, FixedText, Passage, Retrieval};
use crate::nn::chat::Message;
use std::fmt::Write as _;

/// A user's message: passages, the notes of a specialist, the query.
#[must_use]
pub fn user_text(input: &str, passages: &[Passage], notes: Option<&str>) -> String {
    let mut text = String::new();
    if !passages.is_empty() {
        text.push_str("Articles:\n");
    }
    for passage in passages {
        text.push_str(&passage.in_prompt());
    }
    if let Some(notes) = notes {
        let _ = write!(text, "Notes of the specialist:\n{}\n\n", notes.trim());
    }
    let _ = write!(text, "Ticket:\n<<<\n{}\n>>>", input.trim());
    text
}

/// The messages of a query with what was recalled for it: solved samples as turns of their own, then the user's message.
#[must_use]
pub fn beside(input: &str, retrieval: &Retrieval, notes: Option<&str>) -> Vec<Message> {
    let mut messages = Vec::new();
    for example in &retrieval.examples {
        messages.push(Message::new("user", user_text(&example.input, &[], None)));
        messages.push(Message::new("assistant", example.answer.clone()));
    }
    messages.push(Message::new("user", user_text(input, &retrieval.passages, notes)));
    messages
}

/// A fixed text as it stands in the system message, or before the first user message.
#[must_use]
pub fn knowledge(text: &str) -> String {
    format!("Knowledge:\n{}", text.trim())
}

/// About how many tokens a conversation has, where the model's tokenizer is not to be had: one for four bytes.
#[must_use]
pub fn about_tokens(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.content.len()).sum::<usize>() / 4
}

/// Counts the tokens that a memory adds: those of a conversation with it less those of the same without, as the small model
/// reads them, so with the frames of messages and with control tokens taken apart.
pub(super) struct Added {
    count: CountTokens,
    /// Tokens without anything from the memory.
    bare: usize,
}

/// A query in the place of the one that is answered: what stands before it does not depend on it.
const A_QUERY: &str = "x";

impl Added {
    pub(super) fn new(count: CountTokens) -> Self {
        let bare = count(&beside(A_QUERY, &Retrieval::default(), None));
        Self { count, bare }
    }

    /// Tokens that passages and solved samples add.
    pub(super) fn by(&self, retrieval: &Retrieval) -> usize {
        (self.count)(&beside(A_QUERY, retrieval, None)).saturating_sub(self.bare)
    }

    /// Tokens that a fixed text adds.
    pub(super) fn by_fixed(&self, text: FixedText<'_>) -> usize {
        let user = user_text(A_QUERY, &[], None);
        let conversation = |system: &str, user: &str| [Message::new("system", system), Message::new("user", user)];
        let with = match text {
            FixedText::System(text) => conversation(&format!("{A_QUERY}\n\n{}", knowledge(text)), &user),
            FixedText::Data(text) => conversation(A_QUERY, &format!("{}\n\n{user}", knowledge(text))),
        };
        (self.count)(&with).saturating_sub((self.count)(&conversation(A_QUERY, &user)))
    }
}

//! Who generates text. An [`Engine`] takes messages and returns a completion with its tokens' log-probabilities, its
//! usage and its timing. It never knows why it is called.

mod local;
mod remote;
mod scripted;
mod stream;

use crate::clock::Spans;
use crate::nn::chat::Message;
use crate::units::Seconds;
use serde::{Deserialize, Serialize};

/// What is asked of an engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The conversation.
    pub messages: Vec<Message>,
    /// Upper bound of generated tokens.
    pub max_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    /// Seed of the sampler.
    pub seed: u64,
    /// How many alternatives to return for each generated token.
    pub top_logprobs: usize,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its text; the texts of all tokens concatenate to the completion.
    pub text: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// The most probable alternatives, the chosen one included, most probable first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(String, f64)>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Tokens of the prompt that came from a cache.
    pub cached_tokens: u64,
}

/// Why generation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended its turn.
    EndOfTurn,
    /// The token budget was used up.
    MaxTokens,
    /// The server gave another reason.
    Other,
}

/// When things happened in one call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From the call to the first generated token.
    pub ttft_s: Option<Seconds>,
    /// From the call to its end.
    pub total_s: Seconds,
    /// Where the time went.
    pub spans: Spans,
}

/// What an engine returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The model that answered, in its own words.
    pub model: String,
    /// The prompt as the model saw it, where it is known; for a remote engine the messages, one after the other.
    pub prompt: String,
    /// The generated text.
    pub text: String,
    /// Token by token log-probabilities; empty where the engine gives none.
    pub tokens: Vec<TokenLogprob>,
    /// Token counts.
    pub usage: Usage,
    /// Why it stopped.
    pub stop: StopReason,
    /// When things happened.
    pub timing: Timing,
    /// Tries beyond the first that the call took (retries after 429, 5xx, …).
    pub retries: u32,
}

/// Kinds of failure that are not a model's answer. None of them is ever scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// No answer in time.
    Timeout,
    /// The endpoint refused the key (401, 403).
    Auth,
    /// Too many requests (429), retries used up.
    RateLimited,
    /// The endpoint failed (5xx), retries used up.
    Server,
    /// The endpoint refused the request (another 4xx).
    Rejected,
    /// The answer was not what the protocol promises (HTML, broken JSON).
    Malformed,
    /// The stream ended before the answer did.
    CutStream,
    /// The prompt does not fit the model's context.
    ContextOverflow,
    /// `--offline` forbids the call.
    Offline,
    /// The local engine failed.
    Local,
    /// The user interrupted the run.
    Interrupted,
}

/// A failure of a call, and what it took.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What was attempted, on what, and how to mend it. Never holds a key.
    pub message: String,
    /// Where the time went before it failed.
    pub spans: Spans,
    /// Tries beyond the first.
    pub retries: u32,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// The model's name.
    pub model: String,
    /// Where it runs: `local cpu`, or the endpoint's address without credentials.
    pub place: String,
    /// SHA-256 of the weights, where they are known.
    pub sha256: Option<String>,
    /// Context length in tokens, where it is known.
    pub context_length: Option<usize>,
}

/// A generator of text.
pub trait Engine: Send + Sync {
    /// What it is.
    fn info(&self) -> EngineInfo;
    /// Answers one request.
    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>>;
    /// How many tokens a text has, where the engine can tell.
    fn count_tokens(&self, text: &str) -> Option<usize>;
}

//! Who generates text. An [`Engine`] takes messages and returns a completion with its tokens' log-probabilities, its
//! usage and its timing. It never knows why it is called.

mod apart;
mod batched;
mod cassette;
mod client;
mod endpoint;
mod failure;
mod front;
mod local;
mod pace;
mod reader;
mod remote;
mod script;
mod scripted;
mod secret;
mod spec;
mod stream;
mod tries;
mod wire;

pub use apart::Apart;
pub use batched::BatchedEngine;
pub use cassette::{Cassette, Player, Recorder};
pub use endpoint::{Api, Limits, RemoteOptions, Timeouts, api_of, shown_address};
pub use local::{LocalEngine, Sampling};
pub use remote::RemoteEngine;
pub use script::{SCRIPTED, SCRIPTED_PLACE, Script, script_of};
pub use scripted::{Reply, ScriptedEngine};
pub use secret::{Secret, without_secrets};
pub use spec::{LlmSpec, check_llms, read_llms};
pub use tries::{Try, WireTimes};

use crate::clock::Spans;
use crate::nn::chat::Message;
use crate::nn::{Cancel, Grammar};
use crate::task::Origin;
use crate::units::Seconds;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// Who else may reuse what is computed of this prompt: the requests of the same scope. What was computed without a
    /// scope, everybody may reuse. So no strategy is faster because another one asked the same before it.
    pub cache_scope: Option<String>,
    /// What the answer is to be held to while it is generated, where the engine can.
    pub grammar: Option<Arc<Grammar>>,
}

/// How an answer was held to the grammar of its request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Not at all: there was none, or the engine cannot; the prompt's instructions stand alone.
    #[default]
    Not,
    /// Only tokens that the grammar allows were chosen.
    Grammar,
    /// The endpoint was asked for `response_format` with the JSON Schema, in strict mode.
    ResponseFormatStrict,
    /// The endpoint was asked for `response_format` with the JSON Schema; it refuses strict mode.
    ResponseFormat,
}

impl Held {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
    pub(crate) fn is_not(&self) -> bool {
        *self == Self::Not
    }
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// The text that it completed; the texts of all tokens concatenate to the completion.
    pub text: String,
    /// Its own bytes where they are others than those of `text`: a part of a character completes no text, and a stop text
    /// is no part of the completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// The most probable alternatives, the chosen one included, most probable first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<Alternative>,
}

impl TokenLogprob {
    /// A token without alternatives; `bytes` are its own, `text` is what it completed.
    pub(crate) fn new(text: String, bytes: &[u8], logprob: f64) -> Self {
        let bytes = (bytes != text.as_bytes()).then(|| bytes.to_vec());
        Self { text, bytes, logprob, top: Vec::new() }
    }

    /// Its own bytes.
    #[must_use]
    pub fn own_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }
}

/// A token that could have been chosen. A record holds it as its text and its log-probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "(String, f64)", into = "(String, f64)")]
pub struct Alternative {
    /// Its bytes, which may be a part of a character.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f64,
}

impl From<(String, f64)> for Alternative {
    fn from((text, logprob): (String, f64)) -> Self {
        Self { bytes: text.into_bytes(), logprob }
    }
}

impl From<Alternative> for (String, f64) {
    fn from(alternative: Alternative) -> Self {
        (String::from_utf8_lossy(&alternative.bytes).into_owned(), alternative.logprob)
    }
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
    /// Tokens of the prompt that were written to a provider's cache, where that is billed apart.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Generated tokens of reasoning that the answer does not show; a part of `output_tokens`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde wants")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where the token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// Counted here, with the model's own tokenizer.
    Measured,
    /// Reported by the endpoint.
    Server,
    /// The endpoint reported none. The counts are not a measurement and must not be priced: output tokens are the number
    /// of log-probabilities received (0 where there were none), input tokens are 0.
    Missing,
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
    /// From the call to the first generated token; waiting for our own limits of the rate is not in it.
    pub ttft_s: Option<Seconds>,
    /// From the call to its end.
    pub total_s: Seconds,
    /// Where the time went.
    pub spans: Spans,
}

/// What an engine returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Where the token counts come from.
    pub usage_source: UsageSource,
    /// Why it stopped.
    pub stop: StopReason,
    /// When things happened.
    pub timing: Timing,
    /// Tries beyond the first that the call took (retries after 429, 5xx, …).
    pub retries: u32,
    /// How it was held to the grammar that was asked for.
    pub held: Held,
    /// Tokens that a grammar forced.
    pub forced_tokens: u64,
    /// Every request that a remote call took, the answered one last; empty for a local engine.
    #[serde(default)]
    pub tries: Vec<Try>,
    /// Which attempt this is, where attempts are shared between cells: equal identities have equal answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where it was computed, where that was not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_from: Option<Origin>,
}

/// What an engine says of given beginnings of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scored {
    /// For each text its tokens, those apart that all texts begin with.
    pub texts: Vec<Vec<ScoredToken>>,
    /// What it took.
    pub total_s: Seconds,
    /// Where the time went.
    pub spans: Spans,
}

/// A token of a given text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredToken {
    /// Its id: equal tokens after equal ones are the same choice.
    pub id: u32,
    /// Natural logarithm of its probability after those before it.
    pub logprob: f64,
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
    /// The endpoint refused the request (another 4xx), or a local model cannot be asked it.
    Rejected,
    /// The answer was not what the protocol promises (HTML, broken JSON).
    Malformed,
    /// The stream ended before the answer did.
    CutStream,
    /// The prompt does not fit the model's context.
    ContextOverflow,
    /// `--offline` forbids the call.
    Offline,
    /// The grammar asked for cannot be used: it contradicts itself, or is too large.
    Grammar,
    /// The local engine failed.
    Local,
    /// The user interrupted the run.
    Interrupted,
    /// The endpoint failed so often in a row that it is not called any more.
    GivenUp,
    /// The call could have cost more than the budget that is left, so it was not made.
    Budget,
    /// A cassette holds no answer to the request.
    Unrecorded,
}

impl FailureKind {
    /// Whether every later call would fail alike, so that a run has no use going on.
    #[must_use]
    pub fn ends_the_run(self) -> bool {
        matches!(self, Self::GivenUp | Self::Budget | Self::Unrecorded)
    }
}

/// A failure of a call, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
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
    /// Every request that a remote call took; empty for a local engine.
    #[serde(default)]
    pub tries: Vec<Try>,
}

impl EngineError {
    /// A failure that took no time yet; the engine adds spans and retries before it returns it.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), spans: Spans::default(), retries: 0, tries: Vec::new() }
    }
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
    /// Whether requests leave this program, over HTTP. The stand-in for a remote LLM counts as what it stands in for.
    fn is_remote(&self) -> bool {
        false
    }
    /// Answers one request.
    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>>;
    /// As [`Engine::complete`]; where the engine can, it ends once nobody wants the answer.
    fn complete_unless(&self, request: &Request, unwanted: &Cancel) -> Result<Completion, Box<EngineError>> {
        let _ = unwanted;
        self.complete(request)
    }
    /// How many tokens a conversation has as the model reads it, where the engine can tell.
    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize>;
    /// Makes ready for requests with a grammar, and says what of it the engine cannot hold an answer to. A grammar that can
    /// never be satisfied is an error.
    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        let _ = grammar;
        Ok(Vec::new())
    }
    /// The probabilities of texts as beginnings of the answer to a request; `None` where the engine gives only those of what it
    /// generates itself.
    fn score(&self, request: &Request, texts: &[String]) -> Result<Option<Scored>, Box<EngineError>> {
        let _ = (request, texts);
        Ok(None)
    }
    /// Answers a request several times, each with a seed of its own, as far as `enough` asks for of each answer's text; what
    /// comes after is left out where the engine can stop.
    fn sample(
        &self,
        request: &Request,
        times: usize,
        enough: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<Completion>, Box<EngineError>> {
        let _ = enough;
        (0..times as u64)
            .map(|i| self.complete(&Request { seed: request.seed.wrapping_add(i), ..request.clone() }))
            .collect()
    }
    /// What of the requests was left out or changed because the endpoint did not accept it.
    fn adjustments(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Makes the token texts concatenate to `text`, as [`TokenLogprob`] promises: an end-of-turn marker that a server lists
/// after the text and white space that it trimmed off the front are cut away. Where nothing fits, no tokens are better than
/// tokens that belong to other words.
fn align(mut tokens: Vec<TokenLogprob>, text: &str) -> Vec<TokenLogprob> {
    let joined: String = tokens.iter().map(|token| token.text.as_str()).collect();
    if joined == text {
        return tokens;
    }
    let mut skip = if joined.starts_with(text) { 0 } else { joined.len() - joined.trim_start().len() };
    if !joined.get(skip..).is_some_and(|rest| rest.starts_with(text)) {
        return Vec::new();
    }
    let mut keep = text.len();
    for token in &mut tokens {
        let cut = skip.min(token.text.len());
        skip -= cut;
        let end = token.text.len().min(cut + keep);
        keep -= end - cut;
        let kept = token.text.get(cut..end).unwrap_or_default().to_owned();
        if kept != token.text {
            let whole = std::mem::replace(&mut token.text, kept);
            token.bytes.get_or_insert(whole.into_bytes());
        }
    }
    let used = tokens.iter().rposition(|token| !token.text.is_empty()).map_or(0, |last| last + 1);
    tokens.truncate(used);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<TokenLogprob> {
        texts.iter().map(|&text| TokenLogprob::new(text.to_owned(), text.as_bytes(), -0.5)).collect()
    }

    fn texts(tokens: &[TokenLogprob]) -> Vec<&str> {
        tokens.iter().map(|token| token.text.as_str()).collect()
    }

    #[test]
    fn aligned_tokens_concatenate_to_the_text() {
        assert_eq!(texts(&align(tokens(&["Hello", " you"]), "Hello you")), ["Hello", " you"]);
        assert_eq!(texts(&align(tokens(&["Hello", " you", "<|im_end|>"]), "Hello you")), ["Hello", " you"]);
        assert_eq!(texts(&align(tokens(&[" ", " Hello", " you"]), "Hello you")), ["", "Hello", " you"]);
        let cut = align(tokens(&["Hell", "o you"]), "Hello");
        assert_eq!(texts(&cut), ["Hell", "o"]);
        assert_eq!(cut.iter().map(TokenLogprob::own_bytes).collect::<Vec<_>>(), [&b"Hell"[..], b"o you"]);
    }

    #[test]
    fn tokens_that_belong_to_another_text_are_dropped() {
        assert!(align(tokens(&["Goodbye"]), "Hello").is_empty());
        assert!(align(tokens(&["é"]), "e").is_empty());
        assert!(align(tokens(&["Hello"]), "").is_empty());
    }
}

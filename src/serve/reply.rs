//! The objects of the protocol that the server sends.

use super::Answer;
use super::error::ApiError;
use super::messages;
use super::request::Kind;
use crate::clock::Component;
use crate::engine::{Completion, EngineInfo, StopReason, TokenLogprob, Usage};
use crate::units::Seconds;
use axum::body::Bytes;
use serde_json::{Value, json};

/// What all objects of one answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    /// What was asked for.
    pub(super) kind: Kind,
    /// `chatcmpl-N`, `cmpl-N` or `msg_N`.
    pub(super) id: String,
    /// Seconds since the Unix epoch.
    pub(super) created: u64,
    /// The model's name.
    pub(super) model: String,
    /// Whether log-probabilities were asked for.
    pub(super) logprobs: bool,
}

impl Envelope {
    /// A whole answer.
    pub(super) fn whole(&self, answer: &Answer, waited: Seconds) -> Value {
        let completion = &answer.completion;
        let reason = finish_reason(completion.stop);
        let logprobs = self.logprobs(&completion.tokens, 0);
        let (object, choice) = match self.kind {
            Kind::Messages => return messages::whole(self, answer, waited),
            Kind::Chat => (
                "chat.completion",
                json!({
                    "index": 0, "message": {"role": "assistant", "content": completion.text, "refusal": null},
                    "logprobs": logprobs, "finish_reason": reason,
                }),
            ),
            Kind::Text => (
                "text_completion",
                json!({
                    "index": 0, "text": completion.text, "logprobs": logprobs, "finish_reason": reason,
                }),
            ),
        };
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": [choice],
            "usage": usage(answer), "routergym": timing(completion, waited),
        })
    }

    /// What comes before the first piece of a stream: the role; texts have none.
    pub(super) fn opening(&self) -> Vec<Value> {
        match self.kind {
            Kind::Messages => messages::opening(self),
            Kind::Text => Vec::new(),
            Kind::Chat => vec![self.chunk(json!([{
                "index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null,
            }]))],
        }
    }

    /// A piece of text, which so many characters stand before.
    pub(super) fn piece(&self, text: &str, tokens: &[TokenLogprob], before: usize) -> Value {
        let logprobs = self.logprobs(tokens, before);
        self.chunk(match self.kind {
            Kind::Messages => return messages::piece(text),
            Kind::Chat => {
                json!([{"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": null}])
            }
            Kind::Text => json!([{"index": 0, "text": text, "logprobs": logprobs, "finish_reason": null}]),
        })
    }

    /// What comes after the last piece: why the answer ended, where its time went, and the token counts where they were asked
    /// for.
    pub(super) fn ending(&self, answer: &Answer, waited: Seconds, include_usage: bool) -> Vec<Value> {
        let completion = &answer.completion;
        let reason = finish_reason(completion.stop);
        let mut last = self.chunk(match self.kind {
            Kind::Messages => return messages::ending(answer, waited),
            Kind::Chat => json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason}]),
            Kind::Text => json!([{"index": 0, "text": "", "logprobs": null, "finish_reason": reason}]),
        });
        last["routergym"] = timing(completion, waited);
        let mut chunks = vec![last];
        if include_usage {
            let mut counts = self.chunk(json!([]));
            counts["usage"] = usage(answer);
            chunks.push(counts);
        }
        chunks
    }

    /// An object as a frame of the stream. Messages name each event.
    pub(super) fn frame(&self, value: &Value) -> Bytes {
        match (self.kind, value["type"].as_str()) {
            (Kind::Messages, Some(name)) => Bytes::from(format!("event: {name}\ndata: {value}\n\n")),
            _ => Bytes::from(format!("data: {value}\n\n")),
        }
    }

    /// A refusal in the protocol's own shape.
    pub(super) fn refusal(&self, error: ApiError) -> ApiError {
        if self.kind == Kind::Messages { error.in_messages() } else { error }
    }

    /// The frame after the last one of a whole answer; Messages end with an event of their own.
    pub(super) fn last_frame(&self) -> Option<Bytes> {
        (self.kind != Kind::Messages).then(|| Bytes::from_static(b"data: [DONE]\n\n"))
    }

    fn chunk(&self, choices: Value) -> Value {
        let object = if self.kind == Kind::Text { "text_completion" } else { "chat.completion.chunk" };
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    fn logprobs(&self, tokens: &[TokenLogprob], before: usize) -> Value {
        match self.kind {
            _ if !self.logprobs => Value::Null,
            Kind::Text => text_tokens(tokens, before),
            _ => json!({"content": tokens.iter().map(chat_token).collect::<Vec<_>>()}),
        }
    }
}

fn chat_token(token: &TokenLogprob) -> Value {
    let entry = |bytes: &[u8], logprob: f64| {
        // A token that is a part of a character has no text; its bytes say what it is.
        json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes})
    };
    let mut object = entry(token.own_bytes(), token.logprob);
    object["top_logprobs"] = token.top.iter().map(|top| entry(&top.bytes, top.logprob)).collect();
    object
}

/// Four lists side by side, as text completions have them.
fn text_tokens(tokens: &[TokenLogprob], before: usize) -> Value {
    let mut offset = before;
    let offsets: Vec<usize> = tokens
        .iter()
        .map(|token| {
            let here = offset;
            offset += token.text.chars().count();
            here
        })
        .collect();
    let top = |token: &TokenLogprob| -> Value {
        let pair = |top: &crate::engine::Alternative| {
            (String::from_utf8_lossy(&top.bytes).into_owned(), Value::from(top.logprob))
        };
        Value::Object(token.top.iter().map(pair).collect())
    };
    json!({
        "tokens": tokens.iter().map(|token| String::from_utf8_lossy(token.own_bytes())).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// The list of models: the one that answers, and the one that embeds.
pub(super) fn models(info: &EngineInfo, encoder: Option<&str>, created: u64) -> Value {
    let owner = env!("CARGO_PKG_NAME");
    let mut list = vec![json!({
        "id": info.model, "object": "model", "created": created, "owned_by": owner,
        "context_length": info.context_length, "sha256": info.sha256, "place": info.place,
    })];
    list.extend(encoder.map(|id| json!({"id": id, "object": "model", "created": created, "owned_by": owner})));
    json!({"object": "list", "data": list})
}

fn finish_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfTurn => "stop",
        // The protocol has no other word for an answer that was cut.
        StopReason::MaxTokens | StopReason::Other => "length",
    }
}

fn usage(answer: &Answer) -> Value {
    let Usage { input_tokens, output_tokens, cached_tokens, .. } = answer.completion.usage;
    let mut usage = json!({
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    });
    if let Some(route) = &answer.route {
        usage["routergym"] = route.extension();
    }
    usage
}

pub(super) fn timing(completion: &Completion, waited: Seconds) -> Value {
    let spans = &completion.timing.spans;
    json!({
        "queue_s": waited,
        "prompt_s": spans.get(Component::Prompt),
        "tokenise_s": spans.get(Component::Tokenise),
        "prefill_s": spans.get(Component::Prefill),
        "decode_s": spans.get(Component::Decode),
        "total_s": completion.timing.total_s,
    })
}

//! The objects of the protocol that the server sends.

use crate::clock::Component;
use crate::engine::{Completion, EngineInfo, StopReason, TokenLogprob, Usage};
use crate::units::Seconds;
use serde_json::{Value, json};

/// What all objects of one answer have in common.
#[derive(Debug, Clone)]
pub(super) struct Envelope {
    /// `chatcmpl-N`.
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
    pub(super) fn whole(&self, completion: &Completion, waited: Seconds) -> Value {
        json!({
            "id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": completion.text},
                "logprobs": self.logprobs(&completion.tokens),
                "finish_reason": finish_reason(completion.stop),
            }],
            "usage": usage(completion.usage),
            "routergym": timing(completion, waited),
        })
    }

    /// The first piece of a stream, which names the role.
    pub(super) fn opening(&self) -> Value {
        self.chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null}]))
    }

    /// A piece of text.
    pub(super) fn piece(&self, text: &str, tokens: &[TokenLogprob]) -> Value {
        let logprobs = self.logprobs(tokens);
        self.chunk(json!([{"index": 0, "delta": {"content": text}, "logprobs": logprobs, "finish_reason": null}]))
    }

    /// The piece that says why the answer ended, and where its time went.
    pub(super) fn ending(&self, completion: &Completion, waited: Seconds) -> Value {
        let reason = finish_reason(completion.stop);
        let mut chunk = self.chunk(json!([{"index": 0, "delta": {}, "logprobs": null, "finish_reason": reason}]));
        chunk["routergym"] = timing(completion, waited);
        chunk
    }

    /// The piece with the token counts.
    pub(super) fn counts(&self, completion: &Completion) -> Value {
        let mut chunk = self.chunk(json!([]));
        chunk["usage"] = usage(completion.usage);
        chunk
    }

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices,
        })
    }

    fn logprobs(&self, tokens: &[TokenLogprob]) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        let entry = |bytes: &[u8], logprob: f64| {
            // A token that is a part of a character has no text; its bytes say what it is.
            json!({"token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes})
        };
        let content: Vec<Value> = tokens
            .iter()
            .map(|token| {
                let mut object = entry(token.own_bytes(), token.logprob);
                object["top_logprobs"] = token.top.iter().map(|top| entry(&top.bytes, top.logprob)).collect();
                object
            })
            .collect();
        json!({ "content": content })
    }
}

/// The list of models: the one that is served.
pub(super) fn models(info: &EngineInfo, created: u64) -> Value {
    json!({"object": "list", "data": [{
        "id": info.model, "object": "model", "created": created, "owned_by": env!("CARGO_PKG_NAME"),
        "context_length": info.context_length, "sha256": info.sha256, "place": info.place,
    }]})
}

fn finish_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfTurn => "stop",
        // The protocol has no other word for an answer that was cut.
        StopReason::MaxTokens | StopReason::Other => "length",
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    })
}

fn timing(completion: &Completion, waited: Seconds) -> Value {
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

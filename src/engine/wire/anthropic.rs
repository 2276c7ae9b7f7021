//! Anthropic's Messages.

use super::{Answer, Dialect, Finish};
use crate::engine::endpoint::RemoteOptions;
use crate::engine::{Request, Usage};
use crate::nn::Rule;
use serde::Deserialize;
use serde_json::{Value, json};

/// The request's body. The protocol has no seed and no log-probabilities.
pub(super) fn body(options: &RemoteOptions, request: &Request, dialect: &[Dialect]) -> Value {
    let without = |change| dialect.contains(&change);
    let of_system = |role: &str| role == "system";
    let system: Vec<&str> =
        request.messages.iter().filter(|m| of_system(&m.role)).map(|message| message.content.as_str()).collect();
    let messages: Vec<_> = request.messages.iter().filter(|message| !of_system(&message.role)).collect();
    let mut body =
        json!({"model": options.model, "max_tokens": request.max_tokens, "messages": messages, "stream": true});
    if !system.is_empty() {
        body["system"] = system.join("\n\n").into();
    }
    if !without(Dialect::NoTemperature) {
        body["temperature"] = request.temperature.into();
    }
    if let Some(Rule::JsonSchema(schema)) = request.grammar.as_deref().map(|grammar| &grammar.rule)
        && !without(Dialect::NoResponseFormat)
    {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    }
    body
}

/// An event of the stream, or a whole plain answer: `type` says which, and what it brings depends on it.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    /// Of the stream's beginning.
    message: Option<Message>,
    delta: Option<Delta>,
    usage: Option<Value>,
    /// These are of a whole answer.
    model: Option<String>,
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Delta {
    /// Of `text_delta`; thinking has another name.
    text: Option<String>,
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

/// Takes an event, or a whole plain answer. Returns whether it brought text.
pub(super) fn feed(answer: &mut Answer, value: Value) -> serde_json::Result<bool> {
    let event: Event = serde_json::from_value(value)?;
    let before = answer.text.len();
    match event.kind.as_str() {
        "message_start" => {
            let message = event.message.unwrap_or(Message { model: None, usage: None });
            answer.model = message.model.filter(|model| !model.is_empty());
            take_usage(answer, message.usage.as_ref());
        }
        "content_block_delta" => answer.text.extend(event.delta.and_then(|delta| delta.text)),
        "message_delta" => {
            take_usage(answer, event.usage.as_ref());
            take_reason(answer, event.delta.and_then(|delta| delta.stop_reason));
        }
        "message_stop" => answer.done = true,
        "message" => {
            answer.model = event.model.filter(|model| !model.is_empty());
            let blocks = event.content.into_iter().flatten().filter(|block| block.kind == "text");
            answer.text.extend(blocks.filter_map(|block| block.text));
            take_usage(answer, event.usage.as_ref());
            take_reason(answer, event.stop_reason);
        }
        // `ping`, the beginnings and ends of blocks, and what newer servers send beside.
        _ => {}
    }
    answer.begun = true;
    Ok(answer.text.len() > before)
}

fn take_reason(answer: &mut Answer, reason: Option<String>) {
    let Some(reason) = reason else { return };
    answer.finish = Some(match reason.as_str() {
        "end_turn" | "stop_sequence" => Finish::EndOfTurn,
        "max_tokens" | "model_context_window_exceeded" => Finish::MaxTokens,
        "refusal" => Finish::Blocked,
        _ => Finish::Other,
    });
}

/// What of the prompt was read from a cache or written to one is counted beside `input_tokens`; later events repeat some of
/// the counts.
fn take_usage(answer: &mut Answer, usage: Option<&Value>) {
    let Some(usage) = usage else { return };
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let mut known = answer.usage.unwrap_or_default();
    if let Some(fresh) = count("input_tokens") {
        known.cached_tokens = count("cache_read_input_tokens").unwrap_or(0);
        known.cache_write_tokens = count("cache_creation_input_tokens").unwrap_or(0);
        known.input_tokens = fresh.saturating_add(known.cached_tokens).saturating_add(known.cache_write_tokens);
    }
    known.output_tokens = count("output_tokens").unwrap_or(known.output_tokens);
    if known != Usage::default() {
        answer.usage = Some(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::endpoint::Api;
    use crate::engine::{StopReason, UsageSource};
    use crate::nn::Grammar;
    use crate::nn::chat::Message;
    use std::sync::Arc;

    fn request() -> Request {
        Request {
            messages: vec![
                Message::new("system", "Be brief."),
                Message::new("user", "Hi"),
                Message::new("assistant", "Yes?"),
                Message::new("user", "Bye"),
            ],
            max_tokens: 5,
            temperature: 0.0,
            seed: 1,
            top_logprobs: 2,
            cache_scope: None,
            grammar: Some(Arc::new(Grammar::new(Rule::JsonSchema(json!({"type": "object"}))))),
        }
    }

    #[test]
    fn the_system_stands_apart_and_nothing_is_sent_that_the_protocol_has_not() {
        let sent = body(&RemoteOptions::new("http://h", "m"), &request(), &[]);
        assert_eq!(sent["system"], "Be brief.");
        assert_eq!(sent["messages"][0], json!({"role": "user", "content": "Hi"}));
        assert_eq!((sent["messages"].as_array().unwrap().len(), &sent["max_tokens"]), (3, &json!(5)));
        assert_eq!(sent["output_config"]["format"]["schema"]["type"], "object");
        for absent in ["seed", "logprobs", "stream_options", "response_format"] {
            assert!(sent.get(absent).is_none(), "{absent}");
        }
        let bare = body(
            &RemoteOptions::new("http://h", "m"),
            &request(),
            &[Dialect::NoTemperature, Dialect::NoResponseFormat],
        );
        assert!(bare.get("temperature").is_none() && bare.get("output_config").is_none());
    }

    #[test]
    fn an_answer_is_put_together_from_its_events() {
        let mut answer = Answer::new(Api::Anthropic);
        let events = [
            json!({"type": "message_start", "message": {"model": "claude-1", "usage":
                {"input_tokens": 7, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20, "output_tokens": 1}}}),
            json!({"type": "ping"}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Grü"}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ß"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
        ];
        let text: Vec<bool> = events.iter().map(|event| answer.feed(&event.to_string()).unwrap()).collect();
        assert_eq!(text, [false, false, false, false, true, true, false]);
        assert!(answer.is_whole() && !answer.done);
        answer.feed(r#"{"type": "message_stop"}"#).unwrap();
        assert!(answer.done);
        assert_eq!((answer.text.as_str(), answer.model.as_deref()), ("Grüß", Some("claude-1")));
        assert_eq!(answer.stop(), StopReason::EndOfTurn);
        let usage = Usage {
            input_tokens: 127,
            output_tokens: 9,
            cached_tokens: 100,
            cache_write_tokens: 20,
            reasoning_tokens: 0,
        };
        assert_eq!(answer.usage(), (usage, UsageSource::Server));
    }

    #[test]
    fn a_whole_answer_a_refusal_and_an_error_are_understood() {
        let mut answer = Answer::new(Api::Anthropic);
        let whole = json!({"type": "message", "model": "claude-1", "content": [{"type": "thinking", "thinking": "Hm."},
            {"type": "text", "text": "Hi"}], "stop_reason": "max_tokens", "usage": {"input_tokens": 3, "output_tokens": 1}});
        assert!(answer.feed(&whole.to_string()).unwrap());
        assert_eq!((answer.text.as_str(), answer.stop()), ("Hi", StopReason::MaxTokens));
        let mut answer = Answer::new(Api::Anthropic);
        let refused = json!({"type": "message_delta", "delta": {"stop_reason": "refusal"}});
        answer.feed(&refused.to_string()).unwrap();
        assert!(answer.was_blocked());
        let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
        let fault = Answer::new(Api::Anthropic).feed(&error.to_string()).unwrap_err();
        assert_eq!(fault.kind, crate::engine::FailureKind::Server);
        assert!(fault.message.contains("busy"), "{}", fault.message);
    }
}

//! `POST /v1/messages`: Anthropic's Messages, in and out.
//!
//! Where an answer ended at one of the request's own stop texts is not told apart from its natural end: `stop_reason` is
//! `end_turn` for both.

use super::Answer;
use super::error::ApiError;
use super::fields::{flag, given, integer, number, object, stop, text};
use super::grammar::held_to;
use super::reply::{Envelope, timing};
use super::request::{Ask, content};
use crate::engine::{Request, Sampling, StopReason, Usage};
use crate::nn::Grammar;
use crate::nn::chat::Message;
use crate::units::Seconds;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The field that says what an answer is held to.
const HELD_BY: &str = "output_config";

/// Reads a request's body. The protocol has no seed, so that the server's stands in for it.
pub(super) fn parse(body: &[u8], seed: u64) -> Result<Ask, ApiError> {
    let fields = object(body)?;
    refuse_what_is_not_offered(&fields)?;
    let max_tokens = integer(&fields, "max_tokens")?.filter(|&most| most > 0);
    let max_tokens = max_tokens.ok_or_else(|| {
        ApiError::invalid("max_tokens", "max_tokens is required and must be a whole number, 1 or more")
    })?;
    let top_p = number(&fields, "top_p", 0.0, 1.0)?.unwrap_or(1.0);
    if top_p == 0.0 {
        return Err(ApiError::invalid(
            "top_p",
            "top_p must be more than 0: for the most probable token take temperature 0",
        ));
    }
    Ok(Ask {
        model: text(&fields, "model")?,
        request: Request {
            messages: messages(&fields)?,
            max_tokens: usize::try_from(max_tokens).unwrap_or(usize::MAX),
            temperature: number(&fields, "temperature", 0.0, 1.0)?.unwrap_or(1.0),
            seed,
            top_logprobs: 0,
            cache_scope: None,
            grammar: grammar(&fields)?,
        },
        sampling: Sampling {
            top_k: integer(&fields, "top_k")?.unwrap_or(0) as usize,
            top_p,
            min_p: 0.0,
            stop: stop("stop_sequences", fields.get("stop_sequences"))?,
            raw: false,
        },
        stream: flag(&fields, "stream")?,
        include_usage: true,
        logprobs: false,
        held_by: HELD_BY,
    })
}

fn refuse_what_is_not_offered(fields: &Map<String, Value>) -> Result<(), ApiError> {
    for name in ["tools", "mcp_servers"] {
        if given(fields, name).is_some_and(|list| !list.as_array().is_some_and(Vec::is_empty)) {
            return Err(ApiError::invalid(name, format!("{name} are not offered by this server; leave them out")));
        }
    }
    let off = |thinking: &Value| thinking.get("type").and_then(Value::as_str) == Some("disabled");
    if given(fields, "thinking").is_some_and(|thinking| !off(thinking)) {
        return Err(ApiError::invalid("thinking", "thinking is not offered by this server; leave it out"));
    }
    Ok(())
}

/// The system's text, which stands apart in this protocol, and the conversation.
fn messages(fields: &Map<String, Value>) -> Result<Vec<Message>, ApiError> {
    let mut messages = Vec::new();
    if let Some(system) = given(fields, "system") {
        let message = "system must be a text or a list of text blocks";
        let system = content(Some(system)).ok_or_else(|| ApiError::invalid("system", message))?;
        messages.push(Message::new("system", system));
    }
    let invalid = |message: String| ApiError::invalid("messages", message);
    let list = given(fields, "messages").and_then(Value::as_array).filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| invalid("messages must be a list of at least one {role, content}".to_owned()))?;
    for (index, message) in list.iter().enumerate() {
        let role = match message.get("role").and_then(Value::as_str) {
            Some("user") => "user",
            Some("assistant") => "assistant",
            _ => return Err(invalid(format!("messages[{index}].role must be user or assistant"))),
        };
        let content = content(message.get("content"))
            .ok_or_else(|| invalid(format!("messages[{index}].content must be a text or a list of text blocks")))?;
        messages.push(Message::new(role, content));
    }
    if list.last().and_then(|last| last.get("role")).and_then(Value::as_str) == Some("assistant") {
        let message = "the last message is the assistant's: to go on within an answer is not offered by this server";
        return Err(invalid(message.to_owned()));
    }
    Ok(messages)
}

fn grammar(fields: &Map<String, Value>) -> Result<Option<Arc<Grammar>>, ApiError> {
    let Some(format) = given(fields, HELD_BY).and_then(|config| config.get("format")).filter(|f| !f.is_null()) else {
        return Ok(None);
    };
    let schema = format.get("schema").filter(|schema| schema.is_object() || schema.is_boolean());
    if let (Some("json_schema"), Some(schema)) = (format.get("type").and_then(Value::as_str), schema) {
        return held_to(HELD_BY, "output_config.format.schema", schema);
    }
    let message = "output_config.format must be {\"type\": \"json_schema\", \"schema\": …}";
    Err(ApiError::invalid(HELD_BY, message))
}

/// A whole answer.
pub(super) fn whole(envelope: &Envelope, answer: &Answer, waited: Seconds) -> Value {
    let completion = &answer.completion;
    json!({
        "id": envelope.id, "type": "message", "role": "assistant", "model": envelope.model,
        "content": [{"type": "text", "text": completion.text}],
        "stop_reason": stop_reason(completion.stop), "stop_sequence": null,
        "usage": usage(answer), "routergym": timing(completion, waited),
    })
}

/// The events before the first piece of text. How long the prompt was is known at the end.
pub(super) fn opening(envelope: &Envelope) -> Vec<Value> {
    let message = json!({
        "id": envelope.id, "type": "message", "role": "assistant", "model": envelope.model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 0, "output_tokens": 0},
    });
    vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ]
}

/// A piece of text.
pub(super) fn piece(text: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
}

/// The events after the last piece of text.
pub(super) fn ending(answer: &Answer, waited: Seconds) -> Vec<Value> {
    let completion = &answer.completion;
    let delta = json!({"stop_reason": stop_reason(completion.stop), "stop_sequence": null});
    let end = json!({
        "type": "message_delta", "delta": delta, "usage": usage(answer), "routergym": timing(completion, waited),
    });
    vec![json!({"type": "content_block_stop", "index": 0}), end, json!({"type": "message_stop"})]
}

fn stop_reason(stop: StopReason) -> &'static str {
    match stop {
        StopReason::EndOfTurn => "end_turn",
        StopReason::MaxTokens | StopReason::Other => "max_tokens",
    }
}

/// What was read from the cache is counted beside `input_tokens`, as this protocol has it.
fn usage(answer: &Answer) -> Value {
    let Usage { input_tokens, output_tokens, cached_tokens, .. } = answer.completion.usage;
    let mut usage = json!({
        "input_tokens": input_tokens.saturating_sub(cached_tokens), "cache_read_input_tokens": cached_tokens,
        "cache_creation_input_tokens": 0, "output_tokens": output_tokens,
    });
    if let Some(route) = &answer.route {
        usage["routergym"] = route.extension();
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(body: Value) -> Result<Ask, ApiError> {
        parse(body.to_string().as_bytes(), 42)
    }

    #[test]
    fn a_full_request_is_read() {
        let ask = asked(json!({
            "model": "any", "max_tokens": 5, "system": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}],
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
                {"role": "user", "content": "c"}],
            "temperature": 0.5, "top_p": 0.9, "top_k": 3, "stop_sequences": ["END"], "stream": true, "tools": [],
            "thinking": {"type": "disabled"}, "metadata": {"user_id": "x"},
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        }))
        .unwrap();
        let texts: Vec<_> = ask.request.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(texts, [("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c")]);
        assert_eq!((ask.request.max_tokens, ask.request.temperature, ask.request.seed), (5, 0.5, 42));
        assert_eq!((ask.sampling.top_k, ask.sampling.top_p, ask.sampling.stop), (3, 0.9, vec!["END".to_owned()]));
        assert!(ask.stream && ask.request.grammar.is_some());
    }

    #[test]
    fn every_wrong_field_is_named() {
        let user = json!([{"role": "user", "content": "a"}]);
        for (param, body) in [
            ("max_tokens", json!({"messages": user})),
            ("max_tokens", json!({"messages": user, "max_tokens": 0})),
            ("messages", json!({"max_tokens": 1})),
            ("messages", json!({"max_tokens": 1, "messages": []})),
            ("messages", json!({"max_tokens": 1, "messages": [{"role": "system", "content": "a"}]})),
            ("messages", json!({"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image"}]}]})),
            ("messages", json!({"max_tokens": 1, "messages": [{"role": "assistant", "content": "a"}]})),
            ("system", json!({"max_tokens": 1, "messages": user, "system": 5})),
            ("temperature", json!({"max_tokens": 1, "messages": user, "temperature": 1.5})),
            ("stop_sequences", json!({"max_tokens": 1, "messages": user, "stop_sequences": [""]})),
            ("tools", json!({"max_tokens": 1, "messages": user, "tools": [{"name": "f"}]})),
            ("thinking", json!({"max_tokens": 1, "messages": user, "thinking": {"type": "enabled"}})),
            (
                "output_config",
                json!({"max_tokens": 1, "messages": user, "output_config": {"format": {"type": "yaml"}}}),
            ),
        ] {
            assert_eq!(asked(body.clone()).unwrap_err().param, Some(param), "{body}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&body, 0);
        }
    }
}

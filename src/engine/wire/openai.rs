//! Chat completions.

use super::{Answer, Dialect, Finish, RawToken};
use crate::engine::endpoint::RemoteOptions;
use crate::engine::{Alternative, Request, Usage};
use crate::nn::Rule;
use serde::Deserialize;
use serde_json::{Value, json};

/// The request's body.
pub(super) fn body(options: &RemoteOptions, request: &Request, dialect: &[Dialect]) -> Value {
    let without = |change| dialect.contains(&change);
    let mut body = json!({"model": options.model, "messages": request.messages, "stream": true});
    let mut set = |key: &str, value: Value| body[key] = value;
    let limit = if without(Dialect::MaxCompletionTokens) { "max_completion_tokens" } else { "max_tokens" };
    set(limit, request.max_tokens.into());
    if !without(Dialect::NoTemperature) {
        set("temperature", request.temperature.into());
    }
    if !without(Dialect::NoSeed) {
        // Several servers read the seed as a signed number.
        set("seed", (request.seed & (i64::MAX as u64)).into());
    }
    if options.logprobs && !without(Dialect::NoLogprobs) {
        set("logprobs", true.into());
        if request.top_logprobs > 0 && !without(Dialect::NoTopLogprobs) {
            set("top_logprobs", request.top_logprobs.into());
        }
    }
    // Providers manage their own caches; this program's stand-in keeps apart what the name says.
    if let Some(scope) = request.cache_scope.as_deref().filter(|_| options.stand_in) {
        set("prompt_cache_key", scope.into());
    }
    // The protocol has no word for other grammars.
    if let Some(Rule::JsonSchema(schema)) = request.grammar.as_deref().map(|grammar| &grammar.rule)
        && !without(Dialect::NoResponseFormat)
    {
        let strict = !without(Dialect::NotStrict);
        let format = json!({"name": "answer", "strict": strict, "schema": schema});
        set("response_format", json!({"type": "json_schema", "json_schema": format}));
    }
    if !without(Dialect::NoStreamOptions) {
        set("stream_options", json!({"include_usage": true}));
    }
    body
}

#[derive(Deserialize)]
struct Chunk {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(alias = "message")]
    delta: Option<Delta>,
    logprobs: Option<Value>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
    #[serde(default)]
    top_logprobs: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    token: String,
    logprob: f64,
    bytes: Option<Vec<u8>>,
}

/// Takes an event, or a whole plain answer. Returns whether it brought text.
pub(super) fn feed(answer: &mut Answer, value: Value) -> serde_json::Result<bool> {
    let chunk: Chunk = serde_json::from_value(value)?;
    answer.begun = true;
    answer.model = answer.model.take().or(chunk.model.filter(|model| !model.is_empty()));
    answer.usage = chunk.usage.as_ref().and_then(usage).or(answer.usage);
    let mut text = false;
    for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0) {
        if let Some(content) = choice.delta.and_then(|delta| delta.content).filter(|content| !content.is_empty()) {
            answer.text.push_str(&content);
            text = true;
        }
        if let Some(reason) = choice.finish_reason {
            answer.finish = Some(match reason.as_str() {
                "stop" | "end_turn" | "eos" => Finish::EndOfTurn,
                "length" | "max_tokens" => Finish::MaxTokens,
                "content_filter" => Finish::Blocked,
                _ => Finish::Other,
            });
        }
        if let Some(logprobs) = choice.logprobs.filter(|logprobs| !logprobs.is_null()) {
            take_logprobs(answer, logprobs);
        }
    }
    Ok(text)
}

fn take_logprobs(answer: &mut Answer, logprobs: Value) {
    let Ok(logprobs) = serde_json::from_value::<Logprobs>(logprobs) else {
        answer.broken_logprobs = true;
        return;
    };
    for entry in logprobs.content.into_iter().flatten() {
        let bytes = entry.bytes.unwrap_or_else(|| entry.token.into_bytes());
        // A probability above 1 is a rounding error of the server at best.
        let alternative = |top: Top| Alternative {
            bytes: top.bytes.unwrap_or_else(|| top.token.into_bytes()),
            logprob: top.logprob.min(0.0),
        };
        let top = entry.top_logprobs.into_iter().map(alternative).collect();
        answer.entries.push(RawToken { bytes, logprob: entry.logprob.min(0.0), top });
    }
}

fn usage(value: &Value) -> Option<Usage> {
    let count = |key: &str| value.get(key).and_then(Value::as_u64);
    let detail = |path: &str| value.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let (input_tokens, output_tokens) = (count("prompt_tokens")?, count("completion_tokens")?);
    Some(Usage {
        input_tokens,
        output_tokens,
        cached_tokens: detail("/prompt_tokens_details/cached_tokens").min(input_tokens),
        cache_write_tokens: 0,
        reasoning_tokens: detail("/completion_tokens_details/reasoning_tokens").min(output_tokens),
    })
}

//! The bodies of `POST /v1/chat/completions` and `POST /v1/completions`, checked; that of `POST /v1/messages` is read by
//! [`messages`].
//!
//! Options that are unknown are ignored, as everywhere; known ones that would change the answer and are not offered here
//! (`n` above 1, tools, penalties, biases, other grammars) are refused, because ignoring them would answer another question.

use super::error::ApiError;
use super::fields::{flag, given, integer, number, object, seed, stop, text};
use super::grammar::grammar;
use super::messages;
use crate::engine::{Request, Sampling};
use crate::nn::chat::Message;
use serde_json::{Map, Value};

/// Bytes of `prompt_cache_key`, which is kept with everything that is kept for it.
const MAX_CACHE_KEY: usize = 256;
/// Most alternatives per token of a chat, as OpenAI has it.
const MAX_TOP_LOGPROBS: usize = 20;
/// Most alternatives per token of a text completion, as OpenAI has it.
const MAX_LOGPROBS: usize = 5;
/// Tokens of a text completion that says no number, as OpenAI has it.
const TEXT_TOKENS: u64 = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The next message of a conversation.
    Chat,
    /// How a text goes on.
    Text,
    /// The next message of a conversation, in Anthropic's protocol.
    Messages,
}

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    /// The model that was asked for by name.
    pub(super) model: Option<String>,
    pub(super) request: Request,
    pub(super) sampling: Sampling,
    /// Whether the answer is streamed.
    pub(super) stream: bool,
    /// Whether a streamed answer ends with its token counts.
    pub(super) include_usage: bool,
    /// Whether log-probabilities are part of the answer.
    pub(super) logprobs: bool,
    /// The field that says what the answer is held to.
    pub(super) held_by: &'static str,
}

impl Ask {
    /// Reads a request's body. `default_seed` is used where the request names none.
    pub(super) fn parse(kind: Kind, body: &[u8], default_seed: u64) -> Result<Self, ApiError> {
        if kind == Kind::Messages {
            return messages::parse(body, default_seed);
        }
        let fields = object(body)?;
        refuse_what_is_not_offered(&fields)?;
        let (logprobs, top_logprobs) = match kind {
            Kind::Text => text_logprobs(&fields)?,
            _ => top_logprobs(&fields)?,
        };
        let max_tokens = match integer(&fields, "max_completion_tokens")? {
            None => integer(&fields, "max_tokens")?,
            some => some,
        };
        if max_tokens == Some(0) {
            return Err(ApiError::invalid("max_tokens", "max_tokens must be at least 1"));
        }
        let max_tokens = max_tokens.or((kind == Kind::Text).then_some(TEXT_TOKENS));
        let include_usage = match given(&fields, "stream_options") {
            None => false,
            Some(Value::Object(options)) => flag(options, "include_usage")?,
            Some(_) => return Err(ApiError::invalid("stream_options", "stream_options must be an object")),
        };
        let top_k = integer(&fields, "top_k")?.unwrap_or(0) as usize;
        let top_p = number(&fields, "top_p", 0.0, 1.0)?.unwrap_or(1.0);
        if top_p == 0.0 {
            return Err(ApiError::invalid(
                "top_p",
                "top_p must be more than 0: for the most probable token take temperature 0",
            ));
        }
        let min_p = number(&fields, "min_p", 0.0, 1.0)?.unwrap_or(0.0);
        let cache_scope = text(&fields, "prompt_cache_key")?;
        if cache_scope.as_ref().is_some_and(|key| key.len() > MAX_CACHE_KEY) {
            let message = format!("prompt_cache_key must be at most {MAX_CACHE_KEY} bytes long");
            return Err(ApiError::invalid("prompt_cache_key", message));
        }
        let (held_by, grammar) = grammar(&fields)?;
        Ok(Self {
            model: text(&fields, "model")?,
            request: Request {
                messages: match kind {
                    Kind::Text => vec![Message::new("user", prompt(&fields)?)],
                    _ => conversation(fields.get("messages"))?,
                },
                // Without a limit, the rest of the context is the limit.
                max_tokens: max_tokens.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
                temperature: number(&fields, "temperature", 0.0, 2.0)?.unwrap_or(1.0),
                seed: seed(&fields)?.unwrap_or(default_seed),
                top_logprobs,
                cache_scope,
                grammar,
            },
            sampling: Sampling {
                top_k,
                top_p,
                min_p,
                stop: stop("stop", fields.get("stop"))?,
                raw: kind == Kind::Text,
            },
            stream: flag(&fields, "stream")?,
            include_usage,
            logprobs,
            held_by,
        })
    }
}

fn top_logprobs(fields: &Map<String, Value>) -> Result<(bool, usize), ApiError> {
    let logprobs = flag(fields, "logprobs")?;
    let top = integer(fields, "top_logprobs")?.unwrap_or(0) as usize;
    if top > MAX_TOP_LOGPROBS {
        return Err(ApiError::invalid("top_logprobs", format!("top_logprobs must be at most {MAX_TOP_LOGPROBS}")));
    }
    if top > 0 && !logprobs {
        return Err(ApiError::invalid("top_logprobs", "top_logprobs needs logprobs: true"));
    }
    Ok((logprobs, top))
}

/// For texts `logprobs` is the number of alternatives.
fn text_logprobs(fields: &Map<String, Value>) -> Result<(bool, usize), ApiError> {
    let top = integer(fields, "logprobs")?;
    match top {
        Some(top) if top > MAX_LOGPROBS as u64 => {
            Err(ApiError::invalid("logprobs", format!("logprobs must be at most {MAX_LOGPROBS}")))
        }
        top => Ok((top.is_some(), top.unwrap_or(0) as usize)),
    }
}

fn refuse_what_is_not_offered(fields: &Map<String, Value>) -> Result<(), ApiError> {
    if integer(fields, "n")?.unwrap_or(1) != 1 {
        return Err(ApiError::invalid("n", "n must be 1: this server gives one answer to a request"));
    }
    let nothing = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    for name in ["tools", "functions"] {
        if given(fields, name).is_some_and(|tools| !nothing(tools)) {
            return Err(ApiError::invalid(name, format!("{name} are not offered by this server; leave them out")));
        }
    }
    let zero = |value: &Value| value.as_f64() == Some(0.0);
    for name in ["frequency_penalty", "presence_penalty"] {
        if given(fields, name).is_some_and(|penalty| !zero(penalty)) {
            let message = format!("{name} is not offered by this server; leave it out, or set it to 0");
            return Err(ApiError::invalid(name, message));
        }
    }
    let one = |value: &Value| value.as_f64() == Some(1.0);
    for name in ["repetition_penalty", "best_of"] {
        if given(fields, name).is_some_and(|value| !one(value)) {
            let message = format!("{name} is not offered by this server; leave it out, or set it to 1");
            return Err(ApiError::invalid(name, message));
        }
    }
    if flag(fields, "echo")? {
        return Err(ApiError::invalid(
            "echo",
            "echo is not offered by this server: the prompt is known to who sends it",
        ));
    }
    if text(fields, "suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::invalid("suffix", "suffix is not offered by this server; leave it out"));
    }
    let no_bias = |biases: &Value| biases.as_object().is_some_and(|biases| biases.values().all(zero));
    if given(fields, "logit_bias").is_some_and(|biases| !no_bias(biases)) {
        return Err(ApiError::invalid("logit_bias", "logit_bias is not offered by this server; leave it out"));
    }
    for name in ["guided_grammar", "structured_outputs", "guided_whitespace_pattern"] {
        if given(fields, name).is_some() {
            let message = format!(
                "{name} is not offered by this server: hold the answer by response_format, guided_json, guided_regex or \
                 guided_choice"
            );
            return Err(ApiError::invalid(name, message));
        }
    }
    Ok(())
}

/// The text to be continued: a text, or a list of one.
fn prompt(fields: &Map<String, Value>) -> Result<String, ApiError> {
    let prompt = match given(fields, "prompt") {
        Some(Value::Array(prompts)) if prompts.len() == 1 => prompts.first(),
        other => other,
    };
    let message =
        "prompt must be a text, or a list of one text; token ids and several prompts are not offered by this server";
    let prompt = prompt.and_then(Value::as_str).ok_or_else(|| ApiError::invalid("prompt", message))?;
    if prompt.is_empty() {
        return Err(ApiError::invalid("prompt", "prompt is empty: there is nothing to continue"));
    }
    Ok(prompt.to_owned())
}

fn conversation(value: Option<&Value>) -> Result<Vec<Message>, ApiError> {
    let invalid = |message: String| ApiError::invalid("messages", message);
    let Some(Value::Array(list)) = value else {
        return Err(invalid("messages must be a list of {role, content}".to_owned()));
    };
    if list.is_empty() {
        return Err(invalid("messages must hold at least one message".to_owned()));
    }
    list.iter()
        .enumerate()
        .map(|(index, message)| {
            let role = match message.get("role").and_then(Value::as_str) {
                Some("system" | "developer") => "system",
                Some("user") => "user",
                Some("assistant") => "assistant",
                Some(other) => {
                    let other: String = other.chars().take(40).collect();
                    return Err(invalid(format!("messages[{index}].role is {other:?}, not system, user or assistant")));
                }
                None => return Err(invalid(format!("messages[{index}].role is missing or not a text"))),
            };
            let content = content(message.get("content"))
                .ok_or_else(|| invalid(format!("messages[{index}].content must be a text or a list of text parts")))?;
            Ok(Message::new(role, content))
        })
        .collect()
}

/// The text of a message: a text, or the texts of a list of parts. `None` where it holds anything else.
pub(super) fn content(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let text = |part: &Value| match part.get("type").and_then(Value::as_str) {
                Some("text") => part.get("text").and_then(Value::as_str).map(str::to_owned),
                _ => None,
            };
            parts.iter().map(text).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Rule;
    use axum::http::StatusCode;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(body: Value) -> Result<Ask, ApiError> {
        Ask::parse(Kind::Chat, body.to_string().as_bytes(), 42)
    }

    #[test]
    fn a_full_request_is_read_and_unknown_options_are_ignored() {
        let ask = parse(json!({
            "model": "any", "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            "max_tokens": 9, "max_completion_tokens": 5, "temperature": 0, "seed": -1, "logprobs": true, "top_logprobs": 3,
            "prompt_cache_key": "a cell", "stop": "END", "stream": true, "stream_options": {"include_usage": true}, "user": "x", "n": 1, "top_p": null,
            "repetition_penalty": 1.0, "best_of": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {},
        }))
        .unwrap();
        let messages = vec![Message::new("system", "Be brief."), Message::new("user", "ab")];
        let request = Request {
            messages,
            max_tokens: 5,
            temperature: 0.0,
            seed: u64::MAX,
            top_logprobs: 3,
            cache_scope: Some("a cell".to_owned()),
            grammar: None,
        };
        let sampling = Sampling { top_k: 0, top_p: 1.0, min_p: 0.0, stop: vec!["END".to_owned()], raw: false };
        assert_eq!(
            ask,
            Ask {
                model: Some("any".to_owned()),
                request,
                sampling,
                stream: true,
                include_usage: true,
                logprobs: true,
                held_by: "response_format"
            }
        );
    }

    #[test]
    fn the_protocols_defaults_hold_where_nothing_is_said() {
        let ask = parse(json!({"messages": [{"role": "user", "content": "a"}]})).unwrap();
        assert_eq!((ask.request.max_tokens, ask.request.temperature, ask.request.seed), (usize::MAX, 1.0, 42));
        assert!(!ask.stream && !ask.logprobs);
    }

    #[test]
    fn every_wrong_field_is_named() {
        let user = json!([{"role": "user", "content": "a"}]);
        for (param, body) in [
            (None, json!([])),
            (Some("messages"), json!({})),
            (Some("messages"), json!({"messages": []})),
            (Some("messages"), json!({"messages": [{"role": "wizard", "content": "a"}]})),
            (Some("messages"), json!({"messages": [{"content": "a"}]})),
            (Some("messages"), json!({"messages": [{"role": "user", "content": 5}]})),
            (Some("messages"), json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]})),
            (Some("temperature"), json!({"messages": user, "temperature": 3})),
            (Some("temperature"), json!({"messages": user, "temperature": "hot"})),
            (Some("top_p"), json!({"messages": user, "top_p": -1})),
            (Some("top_p"), json!({"messages": user, "top_p": 0})),
            (Some("prompt_cache_key"), json!({"messages": user, "prompt_cache_key": "k".repeat(257)})),
            (Some("min_p"), json!({"messages": user, "min_p": 2})),
            (Some("max_tokens"), json!({"messages": user, "max_tokens": 0})),
            (Some("max_tokens"), json!({"messages": user, "max_tokens": -1})),
            (Some("top_logprobs"), json!({"messages": user, "top_logprobs": 2})),
            (Some("top_logprobs"), json!({"messages": user, "logprobs": true, "top_logprobs": 21})),
            (Some("stop"), json!({"messages": user, "stop": [""]})),
            (Some("stop"), json!({"messages": user, "stop": {"a": 1}})),
            (Some("stream"), json!({"messages": user, "stream": "yes"})),
            (Some("seed"), json!({"messages": user, "seed": 0.5})),
            (Some("prompt_cache_key"), json!({"messages": user, "prompt_cache_key": 1})),
            (Some("n"), json!({"messages": user, "n": 2})),
            (Some("logit_bias"), json!({"messages": user, "logit_bias": {"50": -100}})),
            (Some("logit_bias"), json!({"messages": user, "logit_bias": [1]})),
            (Some("frequency_penalty"), json!({"messages": user, "frequency_penalty": 1.5})),
            (Some("presence_penalty"), json!({"messages": user, "presence_penalty": "high"})),
            (Some("repetition_penalty"), json!({"messages": user, "repetition_penalty": 2})),
            (Some("best_of"), json!({"messages": user, "best_of": 3})),
            (Some("tools"), json!({"messages": user, "tools": [{}]})),
            (Some("tools"), json!({"messages": user, "tools": "all"})),
            (Some("functions"), json!({"messages": user, "functions": [{}]})),
            (Some("model"), json!({"messages": user, "model": 7})),
            (Some("stream_options"), json!({"messages": user, "stream_options": true})),
            (Some("response_format"), json!({"messages": user, "response_format": {"type": "xml"}})),
            (Some("response_format"), json!({"messages": user, "response_format": {"type": "json_schema"}})),
            (
                Some("response_format"),
                json!({"messages": user, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "strin"}}}}),
            ),
            (Some("guided_regex"), json!({"messages": user, "guided_regex": "("})),
            (Some("guided_regex"), json!({"messages": user, "guided_regex": 1})),
            (Some("guided_json"), json!({"messages": user, "guided_json": 3})),
            (Some("guided_json"), json!({"messages": user, "guided_json": "{"})),
            (Some("guided_json"), json!({"messages": user, "guided_json": {"type": "strin"}})),
            (Some("guided_json"), json!({"messages": user, "guided_json": {}, "guided_regex": "a"})),
            (Some("guided_grammar"), json!({"messages": user, "guided_grammar": "start: \"a\""})),
            (Some("structured_outputs"), json!({"messages": user, "structured_outputs": {"json": {}}})),
            (Some("guided_choice"), json!({"messages": user, "guided_choice": []})),
            (Some("guided_choice"), json!({"messages": user, "guided_choice": ["a", 1]})),
            (
                Some("response_format"),
                json!({"messages": user, "guided_choice": ["a"], "response_format": {"type": "json_object"}}),
            ),
        ] {
            let error = parse(body.clone()).unwrap_err();
            assert_eq!((error.status, error.param), (StatusCode::BAD_REQUEST, param), "{body}");
        }
        assert_eq!(Ask::parse(Kind::Chat, b"{", 0).unwrap_err().status, StatusCode::BAD_REQUEST);
        let deep = format!("{{\"messages\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Ask::parse(Kind::Chat, deep.as_bytes(), 0).unwrap_err().status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_text_completion_takes_its_prompt_as_it_stands_and_sixteen_tokens_by_default() {
        let parse = |body: Value| Ask::parse(Kind::Text, body.to_string().as_bytes(), 1);
        let ask = parse(json!({"prompt": ["Once <|im_start|>"], "logprobs": 3, "model": "m"})).unwrap();
        assert_eq!(ask.request.messages, [Message::new("user", "Once <|im_start|>")]);
        assert!(ask.sampling.raw && ask.logprobs);
        assert_eq!((ask.request.max_tokens, ask.request.top_logprobs), (16, 3));
        for (param, body) in [
            ("prompt", json!({})),
            ("prompt", json!({"prompt": ""})),
            ("prompt", json!({"prompt": ["a", "b"]})),
            ("prompt", json!({"prompt": [1, 2]})),
            ("logprobs", json!({"prompt": "a", "logprobs": 6})),
            ("logprobs", json!({"prompt": "a", "logprobs": true})),
            ("echo", json!({"prompt": "a", "echo": true})),
            ("suffix", json!({"prompt": "a", "suffix": "b"})),
            ("best_of", json!({"prompt": "a", "best_of": 2})),
        ] {
            let error = parse(body.clone()).unwrap_err();
            assert_eq!((error.status, error.param), (StatusCode::BAD_REQUEST, Some(param)), "{body}");
        }
    }

    #[test]
    fn an_answer_is_held_to_a_schema_a_pattern_or_a_choice_by_the_names_of_vllm() {
        let user = json!([{"role": "user", "content": "a"}]);
        let rule = |body: Value| parse(body).unwrap().request.grammar.unwrap().rule.clone();
        assert_eq!(rule(json!({"messages": user, "guided_regex": "[a-c]"})), Rule::Regex("[a-c]".to_owned()));
        let schema = json!({"type": "integer"});
        for given in [schema.clone(), Value::from(schema.to_string())] {
            let body = json!({"messages": user, "guided_json": given});
            assert_eq!(rule(body.clone()), Rule::JsonSchema(schema.clone()));
            assert_eq!(parse(body).unwrap().held_by, "guided_json");
        }
        let choice = json!({"messages": user, "guided_choice": ["a", "b"], "response_format": null});
        assert_eq!(rule(choice), Rule::Choice(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn what_is_wrong_with_a_schema_is_said_of_the_request() {
        let user = json!([{"role": "user", "content": "a"}]);
        for (schema, words) in [
            (json!({"$ref": "https://example.com/s"}), ["example.com/s", "$defs"]),
            (json!({"properties": {"a": {"pattern": "a(b"}}}), ["/properties/a/pattern", "unclosed group"]),
        ] {
            let format = json!({"type": "json_schema", "json_schema": {"schema": schema}});
            let message = parse(json!({"messages": user, "response_format": format})).unwrap_err().message;
            assert!(message.starts_with("response_format.json_schema.schema"), "{message}");
            assert!(words.iter().all(|word| message.contains(word)) && !message.contains("task.toml"), "{message}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Ask::parse(Kind::Chat, &body, 0);
            let _ = Ask::parse(Kind::Text, &body, 0);
        }
    }
}

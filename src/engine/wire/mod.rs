//! The protocols: the request's body, and the answer put together from its pieces.
//!
//! [`Answer`] and [`Dialect`] are what both protocols share; each has a file of its own for what it says in its own words.

mod anthropic;
mod openai;

use super::endpoint::{Api, RemoteOptions};
use super::failure::Fault;
use super::{Alternative, FailureKind, Held, Request, StopReason, TokenLogprob, Usage, UsageSource, align};
use crate::contract::mend_surrogates;
use serde_json::Value;

/// A request option that not every endpoint knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `stream_options` is left out.
    NoStreamOptions,
    /// `top_logprobs` is left out.
    NoTopLogprobs,
    /// `logprobs` and `top_logprobs` are left out.
    NoLogprobs,
    /// `seed` is left out.
    NoSeed,
    /// `temperature` is left out.
    NoTemperature,
    /// `max_tokens` is sent as `max_completion_tokens`.
    MaxCompletionTokens,
    /// `response_format` is sent without strict mode: it takes only a part of JSON Schema.
    NotStrict,
    /// `response_format` is left out.
    NoResponseFormat,
}

impl Dialect {
    /// What was changed, for notes.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::NoStreamOptions => "stream_options dropped",
            Self::NoTopLogprobs => "top_logprobs dropped",
            Self::NoLogprobs => "logprobs dropped",
            Self::NoSeed => "seed dropped",
            Self::NoTemperature => "temperature dropped",
            Self::MaxCompletionTokens => "max_tokens sent as max_completion_tokens",
            Self::NotStrict => "response_format sent without strict mode",
            Self::NoResponseFormat => "response_format dropped",
        }
    }
}

/// The request's body. `dialect` holds what the endpoint is known not to accept.
pub(super) fn body(api: Api, options: &RemoteOptions, request: &Request, dialect: &[Dialect]) -> Value {
    match api {
        Api::OpenAi => openai::body(options, request, dialect),
        Api::Anthropic => anthropic::body(options, request, dialect),
    }
}

/// How a request with this body asks the endpoint to hold the answer to its grammar.
pub(super) fn held(body: &Value) -> Held {
    match body.get("response_format").map(|format| &format["json_schema"]["strict"]) {
        // Messages know no other mode.
        None if body.get("output_config").is_some() => Held::ResponseFormatStrict,
        None => Held::Not,
        Some(Value::Bool(true)) => Held::ResponseFormatStrict,
        Some(_) => Held::ResponseFormat,
    }
}

/// Which change of dialect a refusal asks for, if it names an option that `body` holds.
pub(super) fn adjustment(body: &Value, param: &str, message: &str) -> Option<Dialect> {
    let message = message.to_ascii_lowercase();
    let names = |name: &str| body.get(name).is_some() && (param == name || message.contains(name));
    if body.get("max_tokens").is_some() && message.contains("max_completion_tokens") {
        return Some(Dialect::MaxCompletionTokens);
    }
    // A refusal of the schema names a place within it, or strict mode, or the option as a whole.
    let words = || message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let of_messages = || words().any(|word| ["output_config", "output_format"].contains(&word));
    if body.get("output_config").is_some() && (param.starts_with("output_config") || of_messages()) {
        return Some(Dialect::NoResponseFormat);
    }
    let of_other = !param.starts_with("response_format") && body.get(param).is_some();
    let of_format = !of_other
        && (param.starts_with("response_format")
            || words().any(|word| ["response_format", "json_schema", "strict"].contains(&word)));
    if let Some(format) = body.get("response_format").filter(|_| of_format) {
        let strict = format["json_schema"]["strict"] == Value::Bool(true);
        return Some(if strict { Dialect::NotStrict } else { Dialect::NoResponseFormat });
    }
    // The longer names first: `top_logprobs` contains `logprobs`.
    [
        ("stream_options", Dialect::NoStreamOptions),
        ("top_logprobs", Dialect::NoTopLogprobs),
        ("logprobs", Dialect::NoLogprobs),
        ("seed", Dialect::NoSeed),
        ("temperature", Dialect::NoTemperature),
    ]
    .into_iter()
    .find(|(name, _)| names(name))
    .map(|(_, change)| change)
}

/// The messages one after the other, as a record of what was sent.
pub(super) fn transcript(request: &Request) -> String {
    request.messages.iter().flat_map(|message| ["<|", &message.role, "|>\n", &message.content, "\n"]).collect()
}

/// A token as it came: a token may hold part of a character, so that its text is bytes.
#[derive(Debug)]
struct RawToken {
    bytes: Vec<u8>,
    logprob: f64,
    top: Vec<Alternative>,
}

/// Why an answer ended, in the words of neither protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    EndOfTurn,
    MaxTokens,
    /// Withheld, or broken off, for its content.
    Blocked,
    Other,
}

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Answer {
    api: Api,
    pub(super) model: Option<String>,
    pub(super) text: String,
    entries: Vec<RawToken>,
    /// Whether a log-probability could not be read: half a list would be worse than none.
    broken_logprobs: bool,
    finish: Option<Finish>,
    usage: Option<Usage>,
    begun: bool,
    /// The endpoint said that the answer is over.
    pub(super) done: bool,
}

impl Answer {
    pub(super) fn new(api: Api) -> Self {
        Self {
            api,
            model: None,
            text: String::new(),
            entries: Vec::new(),
            broken_logprobs: false,
            finish: None,
            usage: None,
            begun: false,
            done: false,
        }
    }

    /// Takes the data of one event, or a whole plain answer. Returns whether it brought text.
    pub(super) fn feed(&mut self, data: &str) -> Result<bool, Fault> {
        let data = data.trim();
        if data == "[DONE]" {
            self.done = true;
            return Ok(false);
        }
        if self.done || data.is_empty() {
            return Ok(false);
        }
        // Half of a character, which a model may well write, makes JSON that no reader of text takes.
        let value: Value = serde_json::from_str(data)
            .or_else(|error| serde_json::from_str(&mend_surrogates(data)).map_err(|_| error))
            .map_err(|error| Fault::malformed(format!("holds broken JSON ({error})"), data.as_bytes()))?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            return Err(Fault::reported(error, self.text.is_empty()));
        }
        let (fed, what) = match self.api {
            Api::OpenAi => (openai::feed(self, value), "a chat completion"),
            Api::Anthropic => (anthropic::feed(self, value), "of the Messages API"),
        };
        fed.map_err(|error| Fault::malformed(format!("is not {what} ({error})"), data.as_bytes()))
    }

    /// Whether any event of the answer was understood.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Puts another text in place of the answer's; log-probabilities no longer belong to it.
    pub(super) fn replace_text(&mut self, text: String) {
        self.text = text;
        self.broken_logprobs = true;
    }

    /// Whether the provider withheld the answer, or broke it off, for its content.
    pub(super) fn was_blocked(&self) -> bool {
        self.finish == Some(Finish::Blocked)
    }

    /// Whether the answer says why it ended: without that, it is cut.
    pub(super) fn is_whole(&self) -> bool {
        self.finish.is_some()
    }

    /// Why generation stopped.
    pub(super) fn stop(&self) -> StopReason {
        match self.finish {
            Some(Finish::EndOfTurn) => StopReason::EndOfTurn,
            Some(Finish::MaxTokens) => StopReason::MaxTokens,
            Some(Finish::Blocked | Finish::Other) | None => StopReason::Other,
        }
    }

    /// What the endpoint has counted so far.
    pub(super) fn reported(&self) -> Option<Usage> {
        self.usage
    }

    /// What contradicts the endpoint's counts: the tokens that it listed, the most that it was asked for, the length of what
    /// it was sent. `sent` is the request's body in bytes.
    pub(super) fn doubt(&self, sent: usize, max_tokens: usize) -> Option<String> {
        /// Templates and schemas may add tokens that the body does not hold.
        const ADDED: u64 = 4096;
        let usage = self.usage?;
        let listed = self.entries.len() as u64;
        let mut doubts = Vec::new();
        let visible = usage.output_tokens.saturating_sub(usage.reasoning_tokens);
        // A server may count the end of the turn, which it does not list.
        if listed > 0 && !self.broken_logprobs && visible.abs_diff(listed) > 1 {
            doubts.push(format!("{} output tokens were reported and {listed} listed", usage.output_tokens));
        }
        if usage.output_tokens > max_tokens as u64 + 1 {
            doubts.push(format!(
                "{} output tokens were reported and at most {max_tokens} asked for",
                usage.output_tokens
            ));
        }
        if usage.input_tokens > sent as u64 + ADDED {
            doubts.push(format!("{} input tokens were reported for a request of {sent} bytes", usage.input_tokens));
        }
        if usage.output_tokens == 0 && !self.text.is_empty() {
            doubts.push("no output token was reported for an answer with text".to_owned());
        }
        (!doubts.is_empty()).then(|| doubts.join("; "))
    }

    /// The server's token counts, else what can be said without them.
    pub(super) fn usage(&self) -> (Usage, UsageSource) {
        if let Some(usage) = self.usage {
            return (usage, UsageSource::Server);
        }
        (Usage { output_tokens: self.entries.len() as u64, ..Usage::default() }, UsageSource::Missing)
    }

    /// The tokens, their texts concatenating to the answer's text.
    pub(super) fn tokens(&mut self) -> Vec<TokenLogprob> {
        if self.broken_logprobs {
            return Vec::new();
        }
        let mut pending = Vec::new();
        let tokens = std::mem::take(&mut self.entries).into_iter().map(|token| {
            pending.extend_from_slice(&token.bytes);
            let text = take_characters(&mut pending);
            TokenLogprob { top: token.top, ..TokenLogprob::new(text, &token.bytes, token.logprob) }
        });
        align(tokens.collect(), &self.text)
    }
}

/// Takes the finished characters off the front of `pending`; a character that is still incomplete stays.
fn take_characters(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut rest = Vec::new();
    let mut taken = 0;
    for chunk in pending.utf8_chunks() {
        taken += chunk.valid().len() + chunk.invalid().len();
        text.push_str(chunk.valid());
        let unfinished = std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
        if unfinished && taken == pending.len() {
            rest = chunk.invalid().to_vec();
        } else if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    *pending = rest;
    text
}

/// The fault of an answer that ended too early.
pub(super) fn cut(received: usize) -> Fault {
    Fault::new(
        FailureKind::CutStream,
        format!(
            "ended before the answer did, after {received} characters of text; not tried again, because the endpoint may \
             have billed it: run the sample again, or look at the endpoint's log"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::chat::Message;
    use serde_json::json;

    fn request() -> Request {
        let messages = vec![Message::new("system", "Be brief."), Message::new("user", "Hi")];
        Request {
            messages,
            max_tokens: 5,
            temperature: 0.0,
            seed: u64::MAX,
            top_logprobs: 2,
            cache_scope: Some("a cell".to_owned()),
            grammar: None,
        }
    }

    #[test]
    fn half_of_a_character_in_an_answer_becomes_the_replacement_character_and_loses_nothing() {
        let mut answer = Answer::new(Api::OpenAi);
        let event = r#"{"choices": [{"index": 0, "delta": {"content": "a\ud83d b \ud83d\ude00"}}]}"#;
        assert!(answer.feed(event).unwrap());
        assert_eq!(answer.text, "a\u{fffd} b 😀");
    }

    #[test]
    fn the_body_leaves_out_what_the_endpoint_does_not_know() {
        let options = RemoteOptions::new("http://h", "m");
        let mut dialect = Vec::new();
        let full = body(Api::OpenAi, &options, &request(), &dialect);
        assert_eq!(full["max_tokens"], 5);
        assert_eq!(full["seed"], i64::MAX);
        assert_eq!(full["messages"][1], json!({"role": "user", "content": "Hi"}));
        for (param, message, gone) in [
            ("", "unknown field `stream_options`", "stream_options"),
            ("top_logprobs", "too many", "top_logprobs"),
            ("", "this model does not support logprobs", "logprobs"),
            ("seed", "no", "seed"),
            ("", "Unsupported value: 'temperature' does not support 0", "temperature"),
            ("max_tokens", "Use 'max_completion_tokens' instead.", "max_tokens"),
        ] {
            let before = body(Api::OpenAi, &options, &request(), &dialect);
            assert!(before.get(gone).is_some(), "{gone}");
            dialect.push(adjustment(&before, param, message).unwrap());
            assert!(body(Api::OpenAi, &options, &request(), &dialect).get(gone).is_none(), "{gone}");
        }
        let bare = body(Api::OpenAi, &options, &request(), &dialect);
        assert_eq!(bare["max_completion_tokens"], 5);
        assert_eq!(adjustment(&bare, "seed", "no seed, no logprobs"), None, "what is not sent cannot be dropped");
    }

    #[test]
    fn an_answer_is_put_together_from_its_pieces() {
        let mut answer = Answer::new(Api::OpenAi);
        let events = [
            json!({"model": "m-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
            json!({"choices": [{"index": 0, "delta": {"content": "Gr"}, "logprobs": {"content": [
                {"token": "Gr", "logprob": -0.5, "bytes": [71, 114], "top_logprobs": [{"token": "Gr", "logprob": -0.5}]}]}}]}),
            json!({"choices": [{"index": 0, "delta": {"content": "ü"}, "logprobs": {"content": [
                {"token": "\\xc3", "logprob": -1.0, "bytes": [0xC3]}, {"token": "\\xbc", "logprob": 0.1, "bytes": [0xBC]}]}}]}),
            json!({"choices": [{"index": 1, "delta": {"content": "other"}}, {"index": 0, "delta": {}, "finish_reason": "length"}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 99}, "completion_tokens_details": {"reasoning_tokens": 2}}}),
        ];
        let text: Vec<bool> = events.iter().map(|event| answer.feed(&event.to_string()).unwrap()).collect();
        assert_eq!(text, [false, true, true, false, false]);
        assert!(answer.is_whole() && !answer.done);
        answer.feed("[DONE]").unwrap();
        assert!(answer.done);
        assert_eq!((answer.text.as_str(), answer.stop()), ("Grü", StopReason::MaxTokens));
        let usage =
            Usage { input_tokens: 7, output_tokens: 3, cached_tokens: 7, reasoning_tokens: 2, ..Usage::default() };
        assert_eq!(answer.usage(), (usage, UsageSource::Server));
        let tokens = answer.tokens();
        let texts: Vec<_> = tokens.iter().map(|token| (token.text.as_str(), token.logprob)).collect();
        assert_eq!(texts, [("Gr", -0.5), ("", -1.0), ("ü", 0.0)]);
        assert_eq!(tokens[0].top, [Alternative::from(("Gr".to_owned(), -0.5))]);
        assert_eq!((tokens[1].own_bytes(), tokens[2].own_bytes()), (&[0xC3][..], &[0xBC][..]));
    }

    #[test]
    fn missing_usage_is_said_to_be_missing() {
        let mut answer = Answer::new(Api::OpenAi);
        let entry = json!({"token": "a", "logprob": -0.1});
        let event = json!({"choices": [{"delta": {"content": "a"}, "logprobs": {"content": [entry]}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": -3}});
        answer.feed(&event.to_string()).unwrap();
        let counted = Usage { output_tokens: 1, ..Usage::default() };
        assert_eq!(answer.usage(), (counted, UsageSource::Missing));
    }

    #[test]
    fn counts_that_cannot_be_are_doubted() {
        let said = |usage: Value, text: &str| {
            let mut answer = Answer::new(Api::OpenAi);
            let listed = json!({"content": [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -0.1}]});
            let event = json!({"choices": [{"delta": {"content": text}, "logprobs": listed}], "usage": usage});
            answer.feed(&event.to_string()).unwrap();
            answer.doubt(100, 16).unwrap_or_default()
        };
        let usage = |input: u64, output: u64| json!({"prompt_tokens": input, "completion_tokens": output});
        assert_eq!(said(usage(50, 2), "ab"), "");
        assert_eq!(said(usage(50, 3), "ab"), "", "the end of the turn may be counted");
        assert!(said(usage(50, 900), "ab").contains("900 output tokens were reported and 2 listed"));
        assert!(said(usage(50, 900), "ab").contains("at most 16"));
        assert!(said(usage(9_000_000, 2), "ab").contains("for a request of 100 bytes"));
        assert!(said(usage(50, 0), "ab").contains("no output token"));
        let thought =
            json!({"prompt_tokens": 5, "completion_tokens": 12, "completion_tokens_details": {"reasoning_tokens": 10}});
        assert_eq!(said(thought, "ab"), "", "reasoning is counted and not listed");
    }

    #[test]
    fn half_a_list_of_logprobs_is_none() {
        let mut answer = Answer::new(Api::OpenAi);
        for logprobs in [
            json!({"content": [{"token": "a", "logprob": -0.1}]}),
            json!({"content": [{"token": "b", "logprob": null}]}),
        ] {
            let event = json!({"choices": [{"delta": {"content": "a"}, "logprobs": logprobs}]});
            answer.feed(&event.to_string()).unwrap();
        }
        assert_eq!(answer.text, "aa");
        assert!(answer.tokens().is_empty());
    }

    #[test]
    fn characters_split_over_tokens_are_joined_and_broken_ones_replaced() {
        let mut pending = vec![b'a', 0xF0, 0x9D];
        assert_eq!(take_characters(&mut pending), "a");
        pending.extend([0x84, 0x9E, 0xFF, b'b']);
        assert_eq!(take_characters(&mut pending), "𝄞\u{fffd}b");
        assert!(pending.is_empty());
        pending.extend([0xFF, 0xE2, 0x82]);
        assert_eq!(take_characters(&mut pending), "\u{fffd}");
        pending.extend([0xE2]);
        assert_eq!(take_characters(&mut pending), "\u{fffd}");
        assert_eq!(pending, [0xE2]);
    }
}

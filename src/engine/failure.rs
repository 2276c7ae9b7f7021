//! What an endpoint's refusal means: which kind of failure, what to tell the user, and whether to try again.

use super::endpoint::RemoteOptions;
use super::secret::Scrubber;
use super::wire::{Dialect, adjustment};
use super::{EngineError, FailureKind};
use crate::clock::unix_time;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde_json::Value;
use std::time::Duration;

/// Longest excerpt of a server's own message, in characters.
const MESSAGE: usize = 300;
/// Longest excerpt of an answer that is not the protocol's, in characters.
const EXCERPT: usize = 80;

/// What mends an answer that is not the protocol's.
const PROTOCOL: &str =
    "check that --llm is the address of an OpenAI-compatible or Anthropic API, usually ending in /v1";

/// What may be done about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// The same call again, after the time that the endpoint asks for.
    Retry(Option<Duration>),
    /// The call without an option that the endpoint does not know.
    Adjust(Dialect),
}

/// One failed try.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: FailureKind,
    /// Completes "the call of MODEL at PLACE …".
    pub(super) message: String,
    pub(super) remedy: Remedy,
}

impl Fault {
    pub(super) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: Remedy::None }
    }

    fn retry(mut self, after: Option<Duration>) -> Self {
        self.remedy = Remedy::Retry(after);
        self
    }

    /// An answer that is not the protocol's.
    pub(super) fn malformed(what: impl std::fmt::Display, answer: &[u8]) -> Self {
        let start = shorten(&String::from_utf8_lossy(answer.get(..EXCERPT * 4).unwrap_or(answer)), EXCERPT);
        Self::new(FailureKind::Malformed, format!("got an answer that {what}: {start:?}; {PROTOCOL}"))
    }

    /// An error object inside an answer that began as a success. Where no text came before it, there is nothing to be lost by
    /// another try.
    pub(super) fn reported(error: &Value, without_text: bool) -> Self {
        let said = Said::of(&serde_json::json!({ "error": error }).to_string());
        let status = error.get("code").and_then(Value::as_u64).unwrap_or_default();
        let kind = match (status, said.code.as_str()) {
            _ if said.is_about_context() => FailureKind::ContextOverflow,
            (401 | 403, _) | (_, "authentication_error" | "permission_error") => FailureKind::Auth,
            (429, _) | (_, "rate_limit_error") => FailureKind::RateLimited,
            (400..=499, _) | (_, "invalid_request_error" | "not_found_error") => FailureKind::Rejected,
            _ => FailureKind::Server,
        };
        let fault = Self::new(kind, format!("was answered with an error in place of the text: {}", said.shown()));
        let may_pass = matches!(kind, FailureKind::Server | FailureKind::RateLimited);
        if may_pass && without_text { fault.retry(None) } else { fault }
    }

    /// A connection that could not be made, or broke before the answer began.
    pub(super) fn transport(error: &reqwest::Error, options: &RemoteOptions, shown: &str) -> Self {
        let cause = innermost(error);
        if error.is_timeout() {
            let limit = options.timeouts.connect.as_secs_f64();
            let mend = "check the address given with --llm, the network and the firewall";
            return Self::new(FailureKind::Timeout, format!("got no connection within {limit} s; {mend}"));
        }
        let mend = if options.stand_in {
            "the stand-in server of this run has stopped; start the run again".to_owned()
        } else {
            format!("is the server running at {shown}? check --llm and OPENAI_BASE_URL")
        };
        if cause.contains("certificate") {
            let mend = "if it is your own, give the certificate of who issued it with --ca-file";
            return Self::new(FailureKind::Connect, format!("got no connection that can be trusted ({cause}); {mend}"));
        }
        if cause.contains("head is too large") || cause.contains("header list too large") {
            let what = "has headers that are longer or more than are accepted";
            return Self::new(FailureKind::Malformed, format!("got an answer that {what} ({cause}); {PROTOCOL}"));
        }
        if cause.contains("invalid HTTP") || cause.contains("message header is not valid") {
            return Self::new(FailureKind::Malformed, format!("got an answer that is not HTTP ({cause}); {PROTOCOL}"));
        }
        let what = if error.is_connect() { "got no connection" } else { "lost its connection before the answer began" };
        let fault = Self::new(FailureKind::Connect, format!("{what} ({cause}); {mend}"));
        // HTTP/2 says of some requests that they were not begun.
        if error.is_connect() || cause.contains("refused stream") { fault.retry(None) } else { fault }
    }

    /// An answer with a status other than success. `sent` is the request's body.
    pub(super) fn refused(
        status: StatusCode,
        headers: &HeaderMap,
        body: &str,
        sent: &Value,
        options: &RemoteOptions,
    ) -> Self {
        let said = Said::of(body);
        let (code, shown) = (status.as_u16(), said.shown());
        let after = || retry_after(headers);
        let key = &options.api_key_env;
        match code {
            300..=399 => {
                let target = redirect_target(headers);
                let message = format!(
                    "was redirected ({code}) to {target}, and redirects are not followed, because the key would go with \
                     them; give the final address with --llm"
                );
                Self::new(FailureKind::Rejected, message)
            }
            401 | 403 if options.api_key.is_none() => {
                let message =
                    format!("was refused ({code}) for want of a key: {shown}; set {key} to a key of this endpoint");
                Self::new(FailureKind::Auth, message)
            }
            401 | 403 => {
                let mend = format!("check that {key} holds a valid key for this endpoint and model");
                Self::new(FailureKind::Auth, format!("was refused ({code}): {shown}; {mend}"))
            }
            408 | 504 => {
                let message = format!("timed out at the endpoint's side ({code}): {shown}; try again later");
                let fault = Self::new(FailureKind::Timeout, message);
                if code == 504 { fault.retry(after()) } else { fault }
            }
            400 | 402 | 429 if said.is_about_quota() => {
                let message = format!("was refused ({code}): {shown}; the account behind {key} has no quota left");
                Self::new(FailureKind::RateLimited, message)
            }
            429 => {
                let message =
                    format!("was refused ({code}, too many requests): {shown}; wait, or lower the rate of calls");
                Self::new(FailureKind::RateLimited, message).retry(after())
            }
            500..=599 => {
                let message =
                    format!("failed at the endpoint ({code}): {shown}; look at the endpoint's log, or try later");
                Self::new(FailureKind::Server, message).retry(after())
            }
            400 | 413 | 422 if said.is_about_context() => {
                let mend = "shorten the prompt (fewer passages or examples), or choose a model with a longer context";
                let message = format!("does not fit the model's context ({code}): {shown}; {mend}");
                Self::new(FailureKind::ContextOverflow, message)
            }
            400 | 422 => {
                let mut fault = Self::new(FailureKind::Rejected, format!("was rejected ({code}): {shown}"));
                if let Some(change) = adjustment(sent, &said.param, &said.message) {
                    fault.remedy = Remedy::Adjust(change);
                }
                fault
            }
            404 => {
                let mend = "check the address (does it want /v1?) and the model's name";
                Self::new(FailureKind::Rejected, format!("was rejected ({code}, not found): {shown}; {mend}"))
            }
            _ => Self::new(FailureKind::Rejected, format!("was rejected ({code}): {shown}")),
        }
    }

    /// The error that the caller of the engine gets.
    pub(super) fn into_error(self, model: &str, shown: &str, scrubber: &Scrubber) -> EngineError {
        let message = format!("the call of {model} at {shown} {}", self.message);
        EngineError::new(self.kind, scrubber.scrub(&message))
    }
}

/// What a server says of its refusal.
struct Said {
    message: String,
    code: String,
    param: String,
}

impl Said {
    fn of(body: &str) -> Self {
        let value: Value = serde_json::from_str(body).unwrap_or_default();
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(&value);
        let text = |key: &str| match error.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let message = match error {
            Value::String(message) => message.clone(),
            _ => ["message", "detail", "msg"].into_iter().map(text).find(|text| !text.is_empty()).unwrap_or_default(),
        };
        let message = if message.is_empty() { body.to_owned() } else { message };
        let code = text("code");
        Self { message, code: if code.is_empty() { text("type") } else { code }, param: text("param") }
    }

    fn shown(&self) -> String {
        if self.message.trim().is_empty() { "no reason given".to_owned() } else { shorten(&self.message, MESSAGE) }
    }

    fn is_about_quota(&self) -> bool {
        self.code == "insufficient_quota" || self.message.contains("credit balance is too low")
    }

    fn is_about_context(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        ["context_length_exceeded", "exceed_context_size_error"].contains(&self.code.as_str())
            || [
                "context length",
                "context size",
                "context window",
                "context limit",
                "maximum context",
                "prompt is too long",
            ]
            .iter()
            .any(|phrase| message.contains(phrase))
    }
}

/// The first `limit` characters on one line.
fn shorten(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().filter(|c| !c.is_control()).take(limit).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn redirect_target(headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match Url::parse(location) {
        Ok(url) => format!("the host {}", url.host_str().unwrap_or("of no name")),
        Err(_) => "another path of the same host".to_owned(),
    }
}

/// How long the endpoint asks to wait: `retry-after-ms`, else `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let number = |name: &str| text(name).and_then(|text| text.parse::<f64>().ok());
    let seconds =
        number("retry-after-ms").map(|ms| ms / 1e3).or_else(|| number(RETRY_AFTER.as_str())).or_else(|| {
            let until = http_date(text(RETRY_AFTER.as_str())?)?;
            Some(until.saturating_sub(unix_time()) as f64)
        })?;
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

/// Seconds since the Unix epoch of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|&name| name == month)? as u64;
    let number = |text: &str, limit: u64| text.parse::<u64>().ok().filter(|&number| number <= limit);
    let (year, day) = (number(year, 9999).filter(|&year| year >= 1970)?, number(day, 31).filter(|&day| day > 0)?);
    // Days from 1 March of year 0, so that the leap day is the last of its year.
    let days_from = |year: u64, month: u64, day: u64| {
        let (y, m) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
        365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1
    };
    let days = days_from(year, month, day) - days_from(1970, 0, 1);
    Some(days * 86_400 + number(hour, 23)? * 3600 + number(minute, 59)? * 60 + number(second, 60)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::utc_string;
    use serde_json::json;

    fn refused(code: u16, body: &str) -> Fault {
        let options = RemoteOptions::new("http://h", "m");
        let sent = json!({"max_tokens": 5, "seed": 1});
        Fault::refused(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), body, &sent, &options)
    }

    #[test]
    fn each_refusal_has_its_kind_and_its_remedy() {
        let cases = [
            (401, "", FailureKind::Auth, Remedy::None),
            (403, "{}", FailureKind::Auth, Remedy::None),
            (429, r#"{"error":"slow"}"#, FailureKind::RateLimited, Remedy::Retry(None)),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, FailureKind::RateLimited, Remedy::None),
            (500, "<html>", FailureKind::Server, Remedy::Retry(None)),
            (404, r#"{"detail":"no"}"#, FailureKind::Rejected, Remedy::None),
            (400, r#"{"error":{"message":"bad seed"}}"#, FailureKind::Rejected, Remedy::Adjust(Dialect::NoSeed)),
            (400, r#"{"error":{"message":"bad role"}}"#, FailureKind::Rejected, Remedy::None),
            (
                400,
                r#"{"error":{"message":"max_tokens too large: maximum context length is 5"}}"#,
                FailureKind::ContextOverflow,
                Remedy::None,
            ),
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, FailureKind::ContextOverflow, Remedy::None),
        ];
        for (code, body, kind, remedy) in cases {
            let fault = refused(code, body);
            assert_eq!((fault.kind, fault.remedy), (kind, remedy), "{code} {body}");
        }
    }

    #[test]
    fn messages_are_short_on_one_line_and_name_the_mend() {
        let fault = refused(401, "");
        assert!(
            fault.message.contains("OPENAI_API_KEY") && fault.message.contains("no reason given"),
            "{}",
            fault.message
        );
        let fault = refused(500, &format!("a\n\u{1b}[31mb {}", "x".repeat(10_000)));
        assert!(fault.message.len() < 500 && !fault.message.contains(['\n', '\u{1b}']), "{}", fault.message);
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        let read = |name: &'static str, value: String| {
            retry_after(&HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]))
        };
        assert_eq!(read("retry-after", "7".into()), Some(Duration::from_secs(7)));
        assert_eq!(read("retry-after-ms", "1500".into()), Some(Duration::from_millis(1500)));
        assert_eq!(read("retry-after", "-3".into()), Some(Duration::ZERO));
        assert_eq!(read("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT".into()), Some(Duration::ZERO));
        for bad in ["soon", "inf", "NaN", "Sun, 99 Nov 1994 08:49:37 GMT", "1e300"] {
            assert!(read("retry-after", bad.into()).is_none_or(|wait| wait == Duration::ZERO), "{bad}");
        }
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        let read = |text| http_date(text).map(utc_string);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT").unwrap(), "1994-11-06T08:49:37Z");
        assert_eq!(read("Tue, 29 Feb 2028 23:59:59 GMT").unwrap(), "2028-02-29T23:59:59Z");
        assert_eq!(read("Thu, 01 Jan 1970 00:00:00 GMT").unwrap(), "1970-01-01T00:00:00Z");
    }
}

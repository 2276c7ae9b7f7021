//! Where a remote engine calls, by which protocol, with what key and within which limits.

use super::secret::{Scrubber, Secret};
use crate::error::{Result, usage};
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The protocols that a remote engine speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Api {
    /// OpenAI's chat completions, and all that are compatible with them.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
}

impl Api {
    /// The environment variable that this protocol's clients take their key from.
    #[must_use]
    pub fn usual_key(self) -> &'static str {
        match self {
            Self::OpenAi => "OPENAI_API_KEY",
            Self::Anthropic => "ANTHROPIC_API_KEY",
        }
    }

    /// What an address says of its protocol.
    fn of(url: &Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let anthropic = host == "anthropic.com" || host.ends_with(".anthropic.com");
        if anthropic || url.path().trim_end_matches('/').ends_with("/messages") {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }

    /// The path of the call below a base path, which has no slash at its end.
    fn path(self, base: &str) -> String {
        match self {
            Self::OpenAi if base.is_empty() => "/v1/chat/completions".to_owned(),
            Self::OpenAi if base.ends_with("/chat/completions") => base.to_owned(),
            Self::OpenAi => format!("{base}/chat/completions"),
            Self::Anthropic if base.ends_with("/messages") => base.to_owned(),
            Self::Anthropic if base.ends_with("/v1") => format!("{base}/messages"),
            Self::Anthropic => format!("{base}/v1/messages"),
        }
    }
}

/// How long each part of a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name look-up, TCP and TLS.
    pub connect: Duration,
    /// From sending the request (connecting included) to the first byte of the answer's body.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub between_chunks: Duration,
    /// The whole call, retries and their waits included; waiting for one's own rate limits is not.
    pub total: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_mins(3),
            between_chunks: Duration::from_mins(1),
            total: Duration::from_mins(10),
        }
    }
}

/// How much an endpoint is asked at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests in a minute, evenly spaced; `None` is as many as come.
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute, of prompts and answers; before an answer is there they are estimated. `None` is no limit.
    pub tokens_per_minute: Option<u32>,
    /// Calls under way at once.
    pub concurrency: usize,
    /// So many calls in a row that say that the endpoint is gone, and it is called no more.
    pub failures_in_a_row: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests_per_minute: None, tokens_per_minute: None, concurrency: 64, failures_in_a_row: 6 }
    }
}

/// A remote endpoint and how to call it.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Base URL with or without `/v1`; credentials in it are refused.
    pub base_url: String,
    /// The model's name as the endpoint knows it.
    pub model: String,
    /// The protocol; `None` is the one that the address tells.
    pub api: Option<Api>,
    /// The key, sent as the protocol wants it.
    pub api_key: Option<Secret>,
    /// Where the key comes from (an environment variable, a file), named in messages.
    pub api_key_env: String,
    /// Time limits.
    pub timeouts: Timeouts,
    /// Limits of the rate.
    pub limits: Limits,
    /// How often a call is tried again after a refused connection, 429 or 5xx.
    pub max_retries: usize,
    /// The first wait before a retry; it doubles from try to try, with jitter.
    pub backoff: Duration,
    /// The longest wait before a retry, also where `Retry-After` asks for more: then the call fails.
    pub max_wait: Duration,
    /// Whether to ask for token log-probabilities.
    pub logprobs: bool,
    /// Further headers that hold secrets, such as `api-key`.
    pub extra_headers: Vec<(String, Secret)>,
    /// Further headers that anybody may read.
    pub plain_headers: Vec<(String, String)>,
    /// A file of certificates in PEM form that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether the endpoint is this program's own stand-in on the same machine.
    pub stand_in: bool,
    /// SHA-256 of the weights behind the endpoint, where they are known: those of this program's own stand-in.
    pub sha256: Option<String>,
}

impl RemoteOptions {
    /// The defaults for an endpoint and a model.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api: None,
            api_key: None,
            api_key_env: Api::OpenAi.usual_key().to_owned(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            max_retries: 3,
            backoff: Duration::from_millis(500),
            max_wait: Duration::from_mins(1),
            logprobs: true,
            extra_headers: Vec::new(),
            plain_headers: Vec::new(),
            ca_file: None,
            stand_in: false,
            sha256: None,
        }
    }

    /// The keys, and the headers that hold keys.
    pub fn secrets(&self) -> Vec<Secret> {
        self.api_key.iter().chain(self.extra_headers.iter().map(|(_, value)| value)).cloned().collect()
    }

    /// What must never be repeated of these options.
    pub(super) fn scrubber(&self) -> Scrubber {
        Scrubber::new(self.secrets(), &self.base_url)
    }
}

/// An endpoint's address as it is shown, with neither credentials nor query; an error where it is no usable address.
pub fn shown_address(base_url: &str) -> Result<String> {
    Endpoint::parse(base_url, None).map(|endpoint| endpoint.shown)
}

/// The protocol that an address tells; an error where it is no usable address.
pub fn api_of(base_url: &str) -> Result<Api> {
    Endpoint::parse(base_url, None).map(|endpoint| endpoint.api)
}

/// A checked address.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The full URL of the call.
    pub(super) url: Url,
    /// The protocol.
    pub(super) api: Api,
    /// The host, for the network policy.
    pub(super) host: String,
    /// The address as it is shown: neither credentials nor query.
    pub(super) shown: String,
}

impl Endpoint {
    /// Parses a base URL. A bare `http://host:port` gets `/v1`; a longer path is taken as it is, the way the usual client
    /// libraries do; the full address of the call is accepted too.
    pub(super) fn parse(base_url: &str, api: Option<Api>) -> Result<Self> {
        let mend = "give an address such as http://127.0.0.1:8080/v1 with --llm or OPENAI_BASE_URL";
        // The text itself is not repeated: it may hold a password.
        let mut url = Url::parse(base_url.trim())
            .map_err(|error| usage(format!("the LLM endpoint's address is not a URL ({error}); {mend}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return Err(usage(format!(
                "the LLM endpoint's address starts with {scheme}:, not http: or https:; {mend}"
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(usage(format!(
                "the LLM endpoint's address holds a user name or password; keep keys out of the address: set \
                 OPENAI_API_KEY instead, and {mend}"
            )));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| usage(format!("the LLM endpoint's address names no host; {mend}")))?.to_owned();
        url.set_fragment(None);
        let api = api.unwrap_or_else(|| Api::of(&url));
        let path = api.path(url.path().trim_end_matches('/'));
        url.set_path(&path);
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_path(path.trim_end_matches("/chat/completions").trim_end_matches("/messages"));
        Ok(Self { url, api, host, shown: shown.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;

    #[test]
    fn a_base_url_works_with_and_without_its_version() {
        for (base, url, shown) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/chat/completions", "http://127.0.0.1:8080/v1"),
            ("http://h:1/v1/", "http://h:1/v1/chat/completions", "http://h:1/v1"),
            ("https://h/openai/v1", "https://h/openai/v1/chat/completions", "https://h/openai/v1"),
            ("https://h/v1/chat/completions", "https://h/v1/chat/completions", "https://h/v1"),
            ("https://h/d/gpt?api-version=3#x", "https://h/d/gpt/chat/completions?api-version=3", "https://h/d/gpt"),
            ("http://[::1]:9", "http://[::1]:9/v1/chat/completions", "http://[::1]:9/v1"),
            ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1"),
            ("https://h/v1/messages", "https://h/v1/messages", "https://h/v1"),
            ("https://anthropic.com.h/v1", "https://anthropic.com.h/v1/chat/completions", "https://anthropic.com.h/v1"),
        ] {
            let endpoint = Endpoint::parse(base, None).unwrap();
            assert_eq!((endpoint.url.as_str(), endpoint.shown.as_str()), (url, shown), "{base}");
        }
    }

    #[test]
    fn a_protocol_that_is_named_stands_above_what_the_address_tells() {
        for (base, url) in [
            ("http://h:1", "http://h:1/v1/messages"),
            ("http://h:1/v1", "http://h:1/v1/messages"),
            ("http://h:1/proxy/", "http://h:1/proxy/v1/messages"),
        ] {
            let endpoint = Endpoint::parse(base, Some(Api::Anthropic)).unwrap();
            assert_eq!((endpoint.url.as_str(), endpoint.api), (url, Api::Anthropic));
        }
        let endpoint = Endpoint::parse("https://api.anthropic.com/v1", Some(Api::OpenAi)).unwrap();
        assert_eq!(endpoint.url.as_str(), "https://api.anthropic.com/v1/chat/completions");
    }

    #[test]
    fn an_address_with_credentials_is_refused_without_repeating_them() {
        for bad in ["http://user:sk-hidden@h/v1", "http://sk-hidden@h", "ftp://h", "h:8080/v1", "not a url", "http://"]
        {
            let error = Endpoint::parse(bad, None).unwrap_err();
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage, "{bad}");
            assert!(!format!("{error:#}").contains("sk-hidden"), "{error:#}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let mut options = RemoteOptions::new("http://h", "m");
        options.api_key = Some(Secret::new(" sk-hidden\n"));
        options.extra_headers.push(("api-key".to_owned(), Secret::new("azure-hidden")));
        assert!(!format!("{options:?}").contains("hidden"));
        assert_eq!(options.scrubber().scrub("got sk-hidden and azure-hidden"), "got *** and ***");
    }
}

//! Where a remote engine calls, with what key and within what time.

use crate::error::{Context, Result, usage};
use crate::net::is_loopback;
use reqwest::Url;
use std::time::Duration;

/// A key. It is shown as `***` wherever it is printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a key; white space around it is not part of it.
    pub fn new(key: impl AsRef<str>) -> Self {
        Self(key.as_ref().trim().to_owned())
    }

    /// The key in an environment variable; `None` when it is not set or empty.
    pub fn from_env(variable: &str) -> Result<Option<Self>> {
        match std::env::var(variable) {
            Ok(value) if value.trim().is_empty() => Ok(None),
            Ok(value) => Ok(Some(Self::new(value))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(usage(format!("the key in the environment variable {variable} is not UTF-8 text; set it again")))
            }
        }
    }

    /// The key itself, for the one place that sends or compares it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the key replaced by `***`.
    pub(crate) fn scrub(&self, text: &str) -> String {
        // A very short "key" (a placeholder such as `x`) would blank out ordinary words and protects nothing.
        if self.0.len() < 4 { text.to_owned() } else { text.replace(&self.0, "***") }
    }
}

impl From<String> for Secret {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
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
    /// The whole call, retries and their waits included.
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

/// A remote endpoint and how to call it.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Base URL with or without `/v1`; credentials in it are refused.
    pub base_url: String,
    /// The model's name as the endpoint knows it.
    pub model: String,
    /// The key, sent as a bearer token.
    pub api_key: Option<Secret>,
    /// The environment variable that the key is taken from, named in messages.
    pub api_key_env: String,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How often a call is tried again after a refused connection, 429 or 5xx.
    pub max_retries: usize,
    /// The first wait before a retry; it doubles from try to try, with jitter.
    pub backoff: Duration,
    /// The longest wait before a retry, also where `Retry-After` asks for more: then the call fails.
    pub max_wait: Duration,
    /// Whether to ask for token log-probabilities.
    pub logprobs: bool,
    /// Further headers, such as `api-key`; their values are treated as secrets.
    pub extra_headers: Vec<(String, Secret)>,
    /// Whether the endpoint is this program's own stand-in on the same machine.
    pub stand_in: bool,
}

impl RemoteOptions {
    /// The defaults for an endpoint and a model.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            api_key_env: "OPENAI_API_KEY".to_owned(),
            timeouts: Timeouts::default(),
            max_retries: 3,
            backoff: Duration::from_millis(500),
            max_wait: Duration::from_mins(1),
            logprobs: true,
            extra_headers: Vec::new(),
            stand_in: false,
        }
    }

    /// `text` without any of the keys.
    pub(super) fn scrub(&self, text: &str) -> String {
        let secrets = self.api_key.iter().chain(self.extra_headers.iter().map(|(_, value)| value));
        secrets.fold(text.to_owned(), |text, secret| secret.scrub(&text))
    }
}

/// An endpoint's address as it is shown, with neither credentials nor query; an error where it is no usable address.
pub fn shown_address(base_url: &str) -> Result<String> {
    Endpoint::parse(base_url).map(|endpoint| endpoint.shown)
}

/// A command-line argument as it may be recorded: an address in it loses its credentials and its query.
pub fn without_secrets(argument: &str) -> String {
    let Some(scheme_end) = argument.find("://") else { return argument.to_owned() };
    let start = argument[..scheme_end].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |before| before + 1);
    let (before, address) = argument.split_at(start);
    let shown = Url::parse(address).ok().and_then(|mut url| {
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        url.set_query(url.query().map(|_| "***"));
        url.set_fragment(None);
        Some(url.to_string())
    });
    format!("{before}{}", shown.as_deref().unwrap_or("***"))
}

/// A checked address.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The full URL of `chat/completions`.
    pub(super) url: Url,
    /// The host, for the network policy.
    pub(super) host: String,
    /// The address as it is shown: neither credentials nor query.
    pub(super) shown: String,
}

impl Endpoint {
    /// Parses a base URL. A bare `http://host:port` gets `/v1`; a longer path is taken as it is, the way the usual client
    /// libraries do; a full `…/chat/completions` is accepted too.
    pub(super) fn parse(base_url: &str) -> Result<Self> {
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
        let path = url.path().trim_end_matches('/').to_owned();
        let path = match path.as_str() {
            "" => "/v1/chat/completions".to_owned(),
            whole if whole.ends_with("/chat/completions") => path,
            _ => format!("{path}/chat/completions"),
        };
        url.set_path(&path);
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_path(path.trim_end_matches("/chat/completions"));
        Ok(Self { url, host, shown: shown.to_string() })
    }

    /// An HTTP client for this endpoint.
    pub(super) fn client(&self, options: &RemoteOptions) -> Result<reqwest::Client> {
        let mut headers = reqwest::header::HeaderMap::new();
        if let Some(key) = &options.api_key {
            let name = &options.api_key_env;
            headers.insert(reqwest::header::AUTHORIZATION, header_value(&format!("Bearer {}", key.expose()), name)?);
        }
        for (name, value) in &options.extra_headers {
            let parsed = reqwest::header::HeaderName::try_from(name.as_str())
                .map_err(|_| usage(format!("{name:?} is not an HTTP header name; correct the extra headers")))?;
            headers.insert(parsed, header_value(value.expose(), name)?);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.timeouts.connect)
            .tcp_nodelay(true);
        if is_loopback(&self.host) {
            // A proxy cannot know this machine's loopback.
            builder = builder.no_proxy();
        }
        if self.url.scheme() == "http" {
            // Plain HTTP must work on a machine that has no certificate store.
            builder = builder.tls_certs_only([]);
        }
        builder.build().with_context(|| format!("cannot prepare the HTTP client for {}", self.shown))
    }
}

fn header_value(value: &str, name: &str) -> Result<reqwest::header::HeaderValue> {
    let mut value = reqwest::header::HeaderValue::from_str(value)
        .map_err(|_| usage(format!("the key in {name} holds characters that no HTTP header may hold; set it again")))?;
    value.set_sensitive(true);
    Ok(value)
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
        ] {
            let endpoint = Endpoint::parse(base).unwrap();
            assert_eq!((endpoint.url.as_str(), endpoint.shown.as_str()), (url, shown), "{base}");
        }
    }

    #[test]
    fn an_address_with_credentials_is_refused_without_repeating_them() {
        for bad in ["http://user:sk-hidden@h/v1", "http://sk-hidden@h", "ftp://h", "h:8080/v1", "not a url", "http://"]
        {
            let error = Endpoint::parse(bad).unwrap_err();
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
        assert_eq!(options.scrub("got sk-hidden and azure-hidden"), "got *** and ***");
        options.api_key = Some(Secret::new("sk\nhidden"));
        let error = Endpoint::parse("http://h").unwrap().client(&options).unwrap_err();
        assert!(!format!("{error:#}").contains("hidden"), "{error:#}");
    }

    #[test]
    fn a_recorded_argument_holds_no_credentials() {
        for (argument, recorded) in [
            ("--limit", "--limit"),
            ("http://host/v1", "http://host/v1"),
            ("--llm=https://me:secret@host/v1?key=secret", "--llm=https://host/v1?***"),
            ("https://host/?api-version=1#secret", "https://host/?***"),
            ("x=http://[secret", "x=***"),
        ] {
            assert_eq!(without_secrets(argument), recorded);
        }
    }
}

//! Endpoints as users write them down: `[[llm]]` tables of a TOML file. Keys stand in environment variables or in files of
//! their own, never in the table.

use super::endpoint::{Api, Limits, RemoteOptions, Timeouts, api_of};
use super::secret::Secret;
use crate::error::{Result, usage};
use crate::files;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer files are no configuration.
const LONGEST_FILE: u64 = 1 << 20;
/// A day, in seconds: longer limits are mistakes.
const LONGEST_S: f64 = 86_400.0;

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlmSpec {
    /// What it is called on the command line.
    pub name: String,
    /// Its base URL.
    pub url: String,
    /// The model to ask for.
    pub model: String,
    /// Its protocol; without it, what the address tells.
    pub api: Option<Api>,
    /// The environment variable that holds its key; without one, the usual one of its protocol.
    pub api_key_env: Option<String>,
    /// The file that holds its key, from the folder of the TOML file.
    pub api_key_file: Option<PathBuf>,
    /// Further headers.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderSpec>,
    /// The row of the price table for its tokens; without it, the model's name.
    pub price: Option<String>,
    /// Certificates that are trusted beside those of the system, from the folder of the TOML file.
    pub ca_file: Option<PathBuf>,
    /// Whether to ask for log-probabilities.
    pub logprobs: Option<bool>,
    /// Its limits.
    #[serde(default)]
    pub limits: LimitSpec,
}

/// A header's value: a text that anybody may read, or where a secret comes from.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a header is a text, or { env = \"NAME\" }, or { file = \"PATH\" }")]
pub enum HeaderSpec {
    /// The value itself.
    Plain(String),
    /// In an environment variable.
    Env {
        /// Its name.
        env: String,
    },
    /// In a file.
    File {
        /// Its path, from the folder of the TOML file.
        file: PathBuf,
    },
}

/// Limits of an endpoint; what is left out is as without the table. Times are in seconds.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSpec {
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u32>,
    concurrency: Option<usize>,
    failures_in_a_row: Option<u32>,
    retries: Option<usize>,
    connect_s: Option<f64>,
    first_byte_s: Option<f64>,
    between_chunks_s: Option<f64>,
    total_s: Option<f64>,
}

/// The `[[llm]]` tables of a TOML file; other tables are none of this room's. Paths in them become whole.
pub fn read_llms(path: &Path) -> Result<Vec<LlmSpec>> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        llm: Vec<LlmSpec>,
    }
    let shown = path.display();
    let bytes = files::read(path, LONGEST_FILE).map_err(|error| usage(format!("reading endpoints: {error:#}")))?;
    let text = String::from_utf8(bytes).map_err(|_| usage(format!("{shown} is not UTF-8 text")))?;
    // Without the line itself, which may hold what the message must not repeat.
    let wrong = |error: toml::de::Error| {
        let line =
            error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
        usage(format!("{shown}:{line}: {}; keys of endpoints come from api_key_env or api_key_file", error.message()))
    };
    let File { mut llm } = toml::from_str(&text).map_err(wrong)?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    check_llms(&mut llm, folder, &shown.to_string())?;
    Ok(llm)
}

/// Checks the `[[llm]]` tables of the file `shown`, and makes paths in them whole, from its folder.
pub fn check_llms(llm: &mut [LlmSpec], folder: &Path, shown: &str) -> Result<()> {
    for (index, one) in llm.iter_mut().enumerate() {
        if one.name.is_empty() {
            return Err(usage(format!("{shown}: the [[llm]] number {} has an empty `name`", index + 1)));
        }
        one.check().map_err(|error| usage(format!("{shown}: [[llm]] {:?}: {error:#}", one.name)))?;
        for file in [&mut one.api_key_file, &mut one.ca_file].into_iter().flatten() {
            *file = folder.join(&*file);
        }
        for header in one.headers.values_mut() {
            if let HeaderSpec::File { file } = header {
                *file = folder.join(&*file);
            }
        }
    }
    let twice = llm.iter().enumerate().find(|(index, one)| llm[..*index].iter().any(|other| other.name == one.name));
    if let Some((_, one)) = twice {
        return Err(usage(format!("{shown}: two [[llm]] tables are called {:?}; give each its own name", one.name)));
    }
    Ok(())
}

impl LlmSpec {
    /// An endpoint of which nothing more is said than where it is and what it is asked for.
    #[must_use]
    pub fn at(url: impl Into<String>, model: impl Into<String>) -> Self {
        let model = model.into();
        Self {
            name: model.clone(),
            url: url.into(),
            model,
            api: None,
            api_key_env: None,
            api_key_file: None,
            headers: BTreeMap::new(),
            price: None,
            ca_file: None,
            logprobs: None,
            limits: LimitSpec::default(),
        }
    }

    fn check(&self) -> Result<()> {
        api_of(&self.url)?;
        if self.api_key_env.is_some() && self.api_key_file.is_some() {
            return Err(usage("it has both `api_key_env` and `api_key_file`; keep the one that holds"));
        }
        for (name, header) in &self.headers {
            let lower = name.to_ascii_lowercase();
            let telling = ["auth", "key", "token", "secret", "cookie", "password"];
            if matches!(header, HeaderSpec::Plain(_)) && telling.iter().any(|word| lower.contains(word)) {
                return Err(usage(format!(
                    "the header `{name}` looks like a key, and keys do not stand in this file: write \
                     {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"
                )));
            }
        }
        let limits = &self.limits;
        let times = [
            ("connect_s", limits.connect_s),
            ("first_byte_s", limits.first_byte_s),
            ("between_chunks_s", limits.between_chunks_s),
            ("total_s", limits.total_s),
        ];
        for (name, seconds) in times {
            if seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds <= LONGEST_S)) {
                return Err(usage(format!("`{name}` is a number of seconds above 0 and up to {LONGEST_S}, a day")));
            }
        }
        let counts = [
            ("requests_per_minute", limits.requests_per_minute.map(u64::from)),
            ("tokens_per_minute", limits.tokens_per_minute.map(u64::from)),
            ("concurrency", limits.concurrency.map(|n| n as u64)),
            ("failures_in_a_row", limits.failures_in_a_row.map(u64::from)),
        ];
        match counts.into_iter().find(|(_, count)| *count == Some(0)) {
            Some((name, _)) => Err(usage(format!("`{name}` is at least 1; leave it out for no limit"))),
            None => Ok(()),
        }
    }

    /// The options that it means; the keys are read now. `timeouts` are what it leaves out.
    pub fn options(&self, timeouts: Timeouts) -> Result<RemoteOptions> {
        let api = self.api.map_or_else(|| api_of(&self.url), Ok)?;
        let mut options = RemoteOptions::new(&self.url, &self.model);
        options.api = Some(api);
        (options.api_key, options.api_key_env) = match (&self.api_key_file, &self.api_key_env) {
            (Some(file), _) => (Some(Secret::from_file(file)?), format!("the file {}", file.display())),
            (None, Some(variable)) => {
                let missing = || {
                    usage(format!(
                        "the endpoint {:?} takes its key from {variable}, which is not set; set it",
                        self.name
                    ))
                };
                (Some(Secret::from_env(variable)?.ok_or_else(missing)?), variable.clone())
            }
            (None, None) => (Secret::from_env(api.usual_key())?, api.usual_key().to_owned()),
        };
        for (name, header) in &self.headers {
            match header {
                HeaderSpec::Plain(value) => options.plain_headers.push((name.clone(), value.clone())),
                HeaderSpec::Env { env } => {
                    let missing = || usage(format!("the header {name} comes from {env}, which is not set; set it"));
                    options.extra_headers.push((name.clone(), Secret::from_env(env)?.ok_or_else(missing)?));
                }
                HeaderSpec::File { file } => {
                    options.extra_headers.push((name.clone(), Secret::from_file(file)?));
                }
            }
        }
        options.ca_file.clone_from(&self.ca_file);
        options.logprobs = self.logprobs.unwrap_or(true);
        let limits = &self.limits;
        let usual = Limits::default();
        options.limits = Limits {
            requests_per_minute: limits.requests_per_minute,
            tokens_per_minute: limits.tokens_per_minute,
            concurrency: limits.concurrency.unwrap_or(usual.concurrency),
            failures_in_a_row: limits.failures_in_a_row.unwrap_or(usual.failures_in_a_row),
        };
        options.max_retries = limits.retries.unwrap_or(options.max_retries);
        let or = |seconds: Option<f64>, usual| seconds.map_or(usual, Duration::from_secs_f64);
        options.timeouts = Timeouts {
            connect: or(limits.connect_s, timeouts.connect),
            first_byte: or(limits.first_byte_s, timeouts.first_byte),
            between_chunks: or(limits.between_chunks_s, timeouts.between_chunks),
            total: or(limits.total_s, timeouts.total),
        };
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;

    fn read(text: &str) -> Result<Vec<LlmSpec>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "sk-from-file\n").unwrap();
        std::fs::write(folder.path().join("llms.toml"), text).unwrap();
        let read = read_llms(&folder.path().join("llms.toml"));
        if let Ok(llms) = &read {
            for llm in llms {
                llm.options(Timeouts::default())?;
            }
        }
        read
    }

    #[test]
    fn a_table_says_everything_about_an_endpoint_but_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "sk-from-file\n").unwrap();
        let text = r#"
            [bench]
            limit = 3
            [[llm]]
            name = "big"
            url = "https://h.example/v1"
            model = "m"
            api = "anthropic"
            api_key_file = "key"
            headers = { x-team = "bench", api-key = { file = "key" } }
            price = "gpt-4.1"
            logprobs = false
            [llm.limits]
            requests_per_minute = 30
            total_s = 1.5
            retries = 0
            [[llm]]
            name = "small"
            url = "http://127.0.0.1:1"
            model = "n"
        "#;
        std::fs::write(folder.path().join("llms.toml"), text).unwrap();
        let llms = read_llms(&folder.path().join("llms.toml")).unwrap();
        assert_eq!(llms.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["big", "small"]);
        let options = llms[0].options(Timeouts::default()).unwrap();
        assert_eq!((options.api, options.api_key.clone()), (Some(Api::Anthropic), Some(Secret::new("sk-from-file"))));
        assert_eq!(options.plain_headers, [("x-team".to_owned(), "bench".to_owned())]);
        assert_eq!(options.extra_headers, [("api-key".to_owned(), Secret::new("sk-from-file"))]);
        assert_eq!((options.limits.requests_per_minute, options.limits.concurrency), (Some(30), 64));
        assert_eq!((options.timeouts.total, options.max_retries), (Duration::from_millis(1500), 0));
        assert!(!options.logprobs);
        assert!(!format!("{options:?}").contains("from-file"));
    }

    #[test]
    fn a_table_that_cannot_be_used_is_a_usage_error_that_says_why() {
        let llm = "[[llm]]\nname = 'a'\nurl = 'http://h'\nmodel = 'm'\n";
        for (text, told) in [
            (format!("{llm}colour = 'red'\n"), "colour"),
            (format!("{llm}{llm}"), "two [[llm]] tables are called \"a\""),
            (llm.replace("'a'", "''"), "empty `name`"),
            (llm.replace("http://h", "http://me:sk-hidden@h"), "password"),
            (format!("{llm}api_key_env = 'A'\napi_key_file = 'B'\n"), "both"),
            (format!("{llm}api_key_file = 'absent'\n"), "absent"),
            (format!("{llm}api_key_env = 'ROUTERGYM_NO_SUCH_VARIABLE'\n"), "ROUTERGYM_NO_SUCH_VARIABLE"),
            (format!("{llm}headers = {{ Authorization = 'Bearer sk-hidden' }}\n"), "keys do not stand in this file"),
            (format!("{llm}headers = {{ x = 5 }}\n"), "a header is a text"),
            (format!("{llm}[llm.limits]\ntotal_s = 0\n"), "total_s"),
            (format!("{llm}[llm.limits]\nconcurrency = 0\n"), "concurrency"),
            (format!("{llm}api_key = 'sk-hidden'\n"), "unknown field `api_key`"),
            ("llm = 5".to_owned(), "llms.toml:1"),
            ("[[llm]".to_owned(), "llms.toml"),
        ] {
            let error = read(&text).unwrap_err();
            let shown = format!("{error:#}");
            assert!(shown.contains(told), "{told:?} is not in {shown}");
            assert!(!shown.contains("sk-hidden"), "{shown}");
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage, "{shown}");
        }
    }
}

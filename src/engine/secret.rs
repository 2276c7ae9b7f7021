//! Keys, and texts without them.

use crate::error::{Result, usage};
use crate::files;
use reqwest::Url;
use std::borrow::Cow;
use std::path::Path;

/// Longer files hold no key.
const LONGEST_KEY_FILE: u64 = 16 << 10;

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

    /// The key in a file, white space around it left out. A file that is empty, unreadable or far too long for a key is an error.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = files::read(path, LONGEST_KEY_FILE)
            .map_err(|error| usage(format!("reading the file of a key: {error:#}")))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| usage(format!("the key in the file {} is not UTF-8 text; write it again", path.display())))?;
        if text.trim().is_empty() {
            return Err(usage(format!("the file {} holds no key; write the key into it", path.display())));
        }
        Ok(Self::new(text))
    }

    /// The key itself, for the one place that sends or compares it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the key replaced by `***`.
    pub(crate) fn scrub(&self, text: &str) -> String {
        if self.is_in(text) { text.replace(&self.0, "***") } else { text.to_owned() }
    }

    fn is_in(&self, text: &str) -> bool {
        // A very short "key" (a placeholder such as `x`) would blank out ordinary words and protects nothing.
        self.0.len() >= 4 && text.contains(&self.0)
    }
}

/// Everything that must not be repeated: keys, headers that hold keys, and what an address gives away in its query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrubber(Vec<Secret>);

impl Scrubber {
    /// Of these secrets, and of the values in an address's query whose names say that they are secrets.
    pub(crate) fn new(secrets: impl IntoIterator<Item = Secret>, address: &str) -> Self {
        const TELLING: [&str; 7] = ["key", "token", "secret", "sig", "password", "code", "auth"];
        let url = Url::parse(address.trim()).ok();
        let of_query = url.iter().flat_map(Url::query_pairs).filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            TELLING.iter().any(|word| name.contains(word))
        });
        let of_query: Vec<_> = of_query.map(|(_, value)| Secret::new(value)).collect();
        Self(secrets.into_iter().chain(of_query).collect())
    }

    /// `text` without any of them.
    pub(crate) fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.0
            .iter()
            .filter(|secret| secret.is_in(text))
            .fold(Cow::Borrowed(text), |text, secret| Cow::Owned(secret.scrub(&text)))
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn every_secret_is_scrubbed_and_an_ordinary_query_is_not() {
        let secrets = [Secret::new("sk-hidden"), Secret::new("x")];
        let scrubber = Scrubber::new(secrets, "https://h/v1?api-version=2026-01-01&api_key=query%2Dhidden");
        assert_eq!(scrubber.scrub("sk-hidden, query-hidden, 2026-01-01, x"), "***, ***, 2026-01-01, x");
        assert!(matches!(scrubber.scrub("nothing of it"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_key_is_read_from_a_file_without_the_white_space_around_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, " sk-1234\n").unwrap();
        assert_eq!(Secret::from_file(&path).unwrap().expose(), "sk-1234");
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::from_file(&path).unwrap_err().to_string().contains("holds no key"));
        assert!(Secret::from_file(&folder.path().join("absent")).is_err());
    }
}

//! A scripted model as users write it down: a TOML file of rules, for trying a plan out, and for tests of everything that is
//! not a model. Whatever it answers is named `scripted` wherever it stands.
//!
//! It keeps nothing between requests: the same request has the same answer, also in another process.

use super::{
    Completion, Engine, EngineError, EngineInfo, FailureKind, Held, Reply, Request, StopReason, Timing, Usage,
    UsageSource,
};
use crate::clock::{Clock, Component, Spans};
use crate::error::{Result, toml_reason, usage};
use crate::files;
use crate::nn::chat::Message;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a name begins with that means such a file.
pub const SCRIPTED: &str = "scripted:";
/// Where such an engine is said to run.
pub const SCRIPTED_PLACE: &str = "scripted";
/// Longer files are no script.
const LONGEST_FILE: u64 = 4 << 20;
/// Longest wait for an answer, in milliseconds.
const LONGEST_MS: f64 = 600_000.0;
/// How often a waiting call looks at the stop flag.
const POLL: Duration = Duration::from_millis(20);

/// The form of the file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Its name in tables, after `scripted:`; the file's own where it is missing.
    name: Option<String>,
    /// Milliseconds until the first token, and from there to the end. They are waited for.
    #[serde(default)]
    first_token_ms: f64,
    #[serde(default)]
    rest_ms: f64,
    /// Share of the requests that fail as a cut stream does; which ones, the request decides.
    #[serde(default)]
    error_share: f64,
    /// The first rule that fits answers.
    #[serde(default)]
    rule: Vec<Rule>,
    /// The answer where none fits.
    answer: String,
    #[serde(default = "usual_logprob")]
    logprob: f64,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// It fits where the last message of the user holds this text, in whatever case.
    contains: String,
    answer: String,
    #[serde(default = "usual_logprob")]
    logprob: f64,
}

fn usual_logprob() -> f64 {
    -0.05
}

/// An engine that answers by rules.
pub struct Script {
    file: File,
    info: EngineInfo,
    remote: bool,
    clock: Clock,
    stop: Arc<AtomicBool>,
}

impl Script {
    /// Reads a file. `remote` says whether it stands in the place of an LLM behind an endpoint.
    pub fn open(path: &Path, remote: bool, clock: Clock, stop: Arc<AtomicBool>) -> Result<Self> {
        let shown = path.display();
        let bytes = files::read(path, LONGEST_FILE)
            .map_err(|error| usage(format!("cannot read the script {shown}: {error:#}")))?;
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        let text = String::from_utf8(bytes).map_err(|_| usage(format!("the script {shown} is no UTF-8 text")))?;
        let mut file: File = toml::from_str(&text)
            .map_err(|error| usage(format!("{shown} is no script of answers: {}", toml_reason(&error, &text))))?;
        let wrong = |what: &str| Err(usage(format!("the script {shown}: {what}")));
        if !(0.0..=1.0).contains(&file.error_share) {
            return wrong("`error_share` is a share between 0 and 1");
        }
        if [file.first_token_ms, file.rest_ms].iter().any(|ms| !(0.0..=LONGEST_MS).contains(ms)) {
            return wrong("`first_token_ms` and `rest_ms` are milliseconds between 0 and 600000");
        }
        if file
            .rule
            .iter()
            .map(|rule| rule.logprob)
            .chain([file.logprob])
            .any(|logprob| logprob.is_nan() || logprob > 0.0)
        {
            return wrong("`logprob` is the logarithm of a probability, so at most 0");
        }
        for rule in &mut file.rule {
            rule.contains = rule.contains.to_lowercase();
        }
        let stem = path.file_stem().map_or_else(|| "script".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let model = format!("{SCRIPTED}{}", file.name.clone().unwrap_or(stem));
        let info = EngineInfo { model, place: SCRIPTED_PLACE.to_owned(), sha256: Some(sha256), context_length: None };
        Ok(Self { file, info, remote, clock, stop })
    }

    fn reply(&self, request: &Request) -> Reply {
        let asked = request.messages.iter().rfind(|message| message.role == "user");
        let asked = asked.map(|message| message.content.to_lowercase()).unwrap_or_default();
        let rule = self.file.rule.iter().find(|rule| asked.contains(&rule.contains));
        let (answer, logprob) =
            rule.map_or((&self.file.answer, self.file.logprob), |rule| (&rule.answer, rule.logprob));
        Reply::new(answer.as_str(), logprob)
    }

    fn fails(&self, request: &Request) -> bool {
        if self.file.error_share <= 0.0 {
            return false;
        }
        let mut hash = Sha256::new();
        for message in &request.messages {
            hash.update(&message.content);
        }
        if request.temperature > 0.0 {
            hash.update(request.seed.to_le_bytes());
        }
        let digest = hash.finalize();
        let chance = digest.iter().take(4).fold(0_u32, |number, &byte| (number << 8) | u32::from(byte));
        f64::from(chance) / f64::from(u32::MAX) < self.file.error_share
    }

    /// Waits, and tells whether it was not interrupted.
    fn wait(&self, milliseconds: f64) -> bool {
        let mut left = Duration::from_secs_f64(milliseconds / 1e3);
        while !left.is_zero() {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            let part = left.min(POLL);
            std::thread::sleep(part);
            left -= part;
        }
        true
    }
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

impl Engine for Script {
    fn info(&self) -> EngineInfo {
        self.info.clone()
    }

    fn is_remote(&self) -> bool {
        self.remote
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        let start = self.clock.now();
        let (mut spans, clock) = (Spans::default(), &self.clock);
        let (first, rest) = if self.remote {
            (Component::Network, Component::Network)
        } else {
            (Component::Prefill, Component::Decode)
        };
        let went_on = spans.time(clock, first, || self.wait(self.file.first_token_ms));
        let ttft_s = clock.since(start);
        let failed = self.fails(request);
        let went_on = went_on && (failed || spans.time(clock, rest, || self.wait(self.file.rest_ms)));
        let failure = match (went_on, failed) {
            (false, _) => Some((FailureKind::Interrupted, "was interrupted by the user")),
            (true, true) => Some((FailureKind::CutStream, "failed, as its `error_share` asks")),
            (true, false) => None,
        };
        if let Some((kind, what)) = failure {
            let error = EngineError::new(kind, format!("the call of {} {what}", self.info.model));
            return Err(Box::new(EngineError { spans, ..error }));
        }
        let reply = self.reply(request);
        let input: usize = request.messages.iter().map(|message| words(&message.content)).sum();
        let usage = Usage { input_tokens: input as u64, output_tokens: words(&reply.text) as u64, ..Usage::default() };
        Ok(Completion {
            model: self.info.model.clone(),
            prompt: super::wire::transcript(request),
            text: reply.text,
            tokens: reply.tokens,
            usage,
            usage_source: UsageSource::Measured,
            stop: StopReason::EndOfTurn,
            timing: Timing { ttft_s: Some(ttft_s), total_s: clock.since(start), spans },
            retries: 0,
            held: Held::Not,
            forced_tokens: 0,
            tries: Vec::new(),
            identity: None,
            shared_from: None,
        })
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        Some(messages.iter().map(|message| words(&message.content)).sum())
    }
}

/// The file that a name means, where it means one.
#[must_use]
pub fn script_of(name: &str) -> Option<&Path> {
    name.strip_prefix(SCRIPTED).map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;

    fn script(text: &str) -> Result<Script> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.toml");
        std::fs::write(&path, text).unwrap();
        Script::open(&path, false, Clock::fake(), Arc::default())
    }

    fn request(text: &str) -> Request {
        Request {
            messages: vec![Message::new("system", "printer"), Message::new("user", text)],
            max_tokens: 8,
            temperature: 0.0,
            seed: 0,
            top_logprobs: 0,
            cache_scope: None,
            grammar: None,
        }
    }

    #[test]
    fn the_first_rule_that_fits_answers_and_the_name_says_that_it_is_scripted() {
        let script =
            script("answer = 'no'\n[[rule]]\ncontains = 'Printer'\nanswer = 'it jams'\nlogprob = -1\n").unwrap();
        assert_eq!(script.info().model, "scripted:small");
        assert_eq!(script.complete(&request("My PRINTER")).unwrap().text, "it jams");
        assert_eq!(script.complete(&request("My printer")).unwrap().tokens[0].logprob, -1.0);
        assert_eq!(script.complete(&request("a mouse")).unwrap().text, "no");
    }

    #[test]
    fn about_the_share_asked_for_fails_and_always_the_same_requests() {
        let script = script("answer = 'no'\nerror_share = 0.25\n").unwrap();
        let failed = |i: usize| script.complete(&request(&format!("ticket {i}"))).is_err();
        let first: Vec<bool> = (0..400).map(failed).collect();
        let count = first.iter().filter(|failed| **failed).count();
        assert!((60..140).contains(&count), "{count}");
        assert_eq!((0..400).map(failed).collect::<Vec<_>>(), first);
    }

    #[test]
    fn a_script_that_cannot_be_used_is_a_usage_error_that_says_why() {
        for (text, told) in [
            ("", "answer"),
            ("answer = 'x'\nerror_share = 2\n", "error_share"),
            ("answer = 'x'\nfirst_token_ms = -1\n", "first_token_ms"),
            ("answer = 'x'\nlogprob = 1\n", "logprob"),
            ("answer = 'x'\ncolour = 1\n", "colour"),
        ] {
            let Err(error) = script(text) else { panic!("{text} was taken") };
            assert!(format!("{error:#}").contains(told), "{error:#}");
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        }
    }
}

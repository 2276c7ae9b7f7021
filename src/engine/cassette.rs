//! Cassettes: every exchange with a remote engine, written down so that another run plays it again without a network.
//!
//! A cassette is a file of JSON lines, one exchange each: what was asked, what came back, with its times, and a key, the
//! SHA-256 of what was asked. Who was asked on behalf of which strategy is not in the key, so that other routers find the
//! answers that their requests share. Keys of endpoints are not in the file.

use super::secret::{Scrubber, Secret};
use super::{Completion, Engine, EngineError, EngineInfo, FailureKind, Request};
use crate::clock::Clock;
use crate::error::{Context, Result, usage};
use crate::files;
use crate::nn::chat::Message;
use crate::nn::{Cancel, Grammar, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Version of the format.
const FORMAT: u32 = 1;
/// Longer lines are no exchange.
const LONGEST_LINE: u64 = 64 << 20;
/// Longer cassettes are not read: they are held in memory.
const LONGEST_FILE: u64 = 4 << 30;
/// Characters of a request that a message about it shows.
const SHOWN: usize = 120;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Exchange {
    format: u32,
    key: String,
    engine: EngineInfo,
    stand_in: bool,
    request: Asked,
    answer: Answered,
}

/// What a request says to an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Asked {
    messages: Vec<Message>,
    max_tokens: usize,
    temperature: f64,
    seed: u64,
    top_logprobs: usize,
    grammar: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answered {
    Completion(Box<Completion>),
    Failure(EngineError),
}

impl Asked {
    fn of(request: &Request) -> Self {
        let grammar = match request.grammar.as_deref().map(|grammar| &grammar.rule) {
            None => Value::Null,
            Some(Rule::JsonSchema(schema)) => json!({ "json_schema": schema }),
            Some(Rule::Regex(pattern)) => json!({ "regex": pattern }),
            Some(Rule::Choice(texts)) => json!({ "choice": texts }),
        };
        Self {
            messages: request.messages.clone(),
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            seed: request.seed,
            top_logprobs: request.top_logprobs,
            grammar,
        }
    }

    /// SHA-256, in hexadecimal digits.
    fn key(&self, model: &str) -> String {
        let text = json!({ "model": model, "asked": self }).to_string();
        Sha256::digest(text).iter().fold(String::new(), |mut key, byte| {
            let _ = write!(key, "{byte:02x}");
            key
        })
    }
}

/// Records what an engine is asked and answers. Calls that never reached the endpoint are not recorded.
pub struct Recorder {
    inner: Arc<dyn Engine>,
    stand_in: bool,
    scrubber: Scrubber,
    path: PathBuf,
    file: Mutex<File>,
}

impl Recorder {
    /// Records `inner` into a new file. `secrets` are what must not be in it; `stand_in` says whether it is this program's own
    /// stand-in for an endpoint.
    pub fn create(path: &Path, inner: Arc<dyn Engine>, secrets: Vec<Secret>, stand_in: bool) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(|error| {
            let shown = path.display();
            usage(format!("cannot make the cassette {shown}: {error}; name a file that is not there yet"))
        })?;
        let (path, file) = (path.to_owned(), Mutex::new(file));
        Ok(Self { inner, stand_in, scrubber: Scrubber::new(secrets, ""), path, file })
    }

    fn write(&self, request: &Request, answer: Answered) -> Result<()> {
        let engine = self.inner.info();
        let request = Asked::of(request);
        let key = request.key(&engine.model);
        let exchange = Exchange { format: FORMAT, key, engine, stand_in: self.stand_in, request, answer };
        let line = serde_json::to_string(&exchange).context("writing an exchange as JSON")?;
        let line = format!("{}\n", self.scrubber.scrub(&line));
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        written.with_context(|| format!("writing the cassette {}: is the disk full?", self.path.display()))
    }
}

impl Engine for Recorder {
    fn info(&self) -> EngineInfo {
        self.inner.info()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        self.complete_unless(request, &Cancel::default())
    }

    fn complete_unless(&self, request: &Request, unwanted: &Cancel) -> Result<Completion, Box<EngineError>> {
        let result = self.inner.complete_unless(request, unwanted);
        let answer = match &result {
            Ok(completion) => Answered::Completion(Box::new(completion.clone())),
            Err(error) if matches!(error.kind, FailureKind::Interrupted | FailureKind::Offline) => return result,
            Err(error) if error.kind.ends_the_run() => return result,
            Err(error) => Answered::Failure((**error).clone()),
        };
        match self.write(request, answer) {
            Ok(()) => result,
            Err(error) => Err(Box::new(EngineError::new(FailureKind::Local, format!("{error:#}")))),
        }
    }

    fn prompt_tokens(&self, messages: &[Message]) -> Option<usize> {
        self.inner.prompt_tokens(messages)
    }

    fn prepare(&self, grammar: &Grammar) -> Result<Vec<String>, Box<EngineError>> {
        self.inner.prepare(grammar)
    }

    fn adjustments(&self) -> Vec<String> {
        self.inner.adjustments()
    }
}

/// A cassette that was read.
#[derive(Debug)]
pub struct Cassette {
    path: PathBuf,
    exchanges: Vec<Exchange>,
}

impl Cassette {
    /// Reads a cassette. A last line that was torn by a crash is left out.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = files::open(path).map_err(|error| usage(format!("reading the cassette: {error:#}")))?;
        if file.metadata().with_context(|| format!("looking at {shown}"))?.len() > LONGEST_FILE {
            return Err(usage(format!(
                "{shown} is longer than the {LONGEST_FILE} bytes that are accepted of a cassette"
            )));
        }
        let mut reader = BufReader::new(file);
        let mut exchanges = Vec::new();
        for number in 1.. {
            let mut line = Vec::new();
            let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line);
            if read.with_context(|| format!("reading {shown}"))? == 0 {
                break;
            }
            match serde_json::from_slice::<Exchange>(&line) {
                Ok(exchange) if exchange.format == FORMAT => exchanges.push(exchange),
                Ok(exchange) => {
                    let format = exchange.format;
                    return Err(usage(format!(
                        "{shown}:{number}: its format is {format} and this program reads {FORMAT}: use the routergym-local \
                         that wrote it"
                    )));
                }
                Err(_) if line.last() != Some(&b'\n') && !exchanges.is_empty() => break,
                Err(error) => return Err(usage(format!("{shown}:{number} is not an exchange: {error}"))),
            }
        }
        if exchanges.is_empty() {
            return Err(usage(format!("the cassette {shown} holds no exchange: record one with --record-cassette")));
        }
        Ok(Self { path: path.to_owned(), exchanges })
    }

    /// Whose answers it holds: the model, its place, and whether it was this program's own stand-in. An error where there
    /// are several models and `wanted` names none of them.
    pub fn engine(&self, wanted: Option<&str>) -> Result<(EngineInfo, bool)> {
        let models: BTreeSet<&str> = self.exchanges.iter().map(|one| one.engine.model.as_str()).collect();
        let named = |one: &&Exchange| wanted.is_none_or(|model| one.engine.model == model);
        match self.exchanges.iter().find(named) {
            Some(one) if wanted.is_some() || models.len() == 1 => Ok((one.engine.clone(), one.stand_in)),
            _ => {
                let models = models.into_iter().collect::<Vec<_>>().join(", ");
                let shown = self.path.display();
                Err(usage(format!("the cassette {shown} holds answers of {models}: name one of them with --llm-model")))
            }
        }
    }
}

/// Answers from a cassette.
pub struct Player {
    info: EngineInfo,
    path: PathBuf,
    clock: Clock,
    /// By key, in the order of the recording.
    answers: Mutex<HashMap<String, VecDeque<Answered>>>,
}

impl Player {
    /// Plays the answers of one model. The clock moves by the recorded times, where it can be moved.
    pub fn new(cassette: Cassette, model: Option<&str>, clock: Clock) -> Result<Self> {
        let (info, _) = cassette.engine(model)?;
        let mut answers: HashMap<String, VecDeque<Answered>> = HashMap::new();
        for exchange in cassette.exchanges {
            if exchange.engine.model == info.model {
                answers.entry(exchange.key).or_default().push_back(exchange.answer);
            }
        }
        Ok(Self { info, path: cassette.path, clock, answers: Mutex::new(answers) })
    }

    fn missing(&self, asked: &Asked, key: &str) -> EngineError {
        let last = asked.messages.last().map(|message| message.content.as_str()).unwrap_or_default();
        let words = last.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = words.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        let message = format!(
            "the cassette {} holds no answer of {} to the request {} (seed {}, temperature {}, at most {} tokens, {} messages, the \
             last {shown:?}): record it in a connected run with --record-cassette",
            self.path.display(),
            self.info.model,
            key.get(..16).unwrap_or(key),
            asked.seed,
            asked.temperature,
            asked.max_tokens,
            asked.messages.len(),
        );
        EngineError::new(FailureKind::Unrecorded, message)
    }
}

impl Engine for Player {
    fn info(&self) -> EngineInfo {
        self.info.clone()
    }

    /// What is asked of it once left this program, so that the same policies apply.
    fn is_remote(&self) -> bool {
        true
    }

    fn complete(&self, request: &Request) -> Result<Completion, Box<EngineError>> {
        let asked = Asked::of(request);
        let key = asked.key(&self.info.model);
        let answer = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            // What was asked several times was answered several times; the last answer stands for any further.
            answers
                .get_mut(&key)
                .and_then(|of_key| if of_key.len() > 1 { of_key.pop_front() } else { of_key.front().cloned() })
        };
        match answer {
            Some(Answered::Completion(completion)) => {
                self.clock.advance(completion.timing.total_s);
                Ok(*completion)
            }
            Some(Answered::Failure(failure)) => {
                self.clock.advance(failure.spans.total());
                Err(Box::new(failure))
            }
            None => Err(Box::new(self.missing(&asked, &key))),
        }
    }

    fn prompt_tokens(&self, _messages: &[Message]) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reply, ScriptedEngine};
    use super::*;
    use crate::clock::Component;
    use crate::units::Seconds;

    fn request(text: &str, seed: u64) -> Request {
        Request {
            messages: vec![Message::new("user", text)],
            max_tokens: 8,
            temperature: 0.0,
            seed,
            top_logprobs: 2,
            cache_scope: Some(format!("cell {seed}")),
            grammar: None,
        }
    }

    fn recorded(path: &Path, asked: &[Request]) {
        let clock = Clock::fake();
        let mut count = 0;
        let script = ScriptedEngine::function("big", clock, move |request| {
            count += 1;
            match request.messages[0].content.as_str() {
                "fail" => Err(EngineError::new(FailureKind::Server, "the endpoint failed with sk-secret")),
                _ => Ok(Reply::new(format!("answer {count} sk-secret"), -0.5).remote_time(Seconds(2.0), Seconds(1.0))),
            }
        });
        let recorder =
            Recorder::create(path, Arc::new(script.remote()), vec![Secret::new("sk-secret")], false).unwrap();
        for request in asked {
            let _ = recorder.complete(request);
        }
    }

    #[test]
    fn what_was_recorded_is_played_with_its_times_and_without_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tape.jsonl");
        recorded(&path, &[request("a sk-secret", 1), request("b", 1), request("b", 1), request("fail", 1)]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert!(!text.contains("sk-secret"), "{text}");
        let clock = Clock::fake();
        let player = Player::new(Cassette::open(&path).unwrap(), None, clock.clone()).unwrap();
        assert!(player.is_remote() && player.info().model == "big");
        let start = clock.now();
        let completion = player.complete(&request("a sk-secret", 1)).unwrap();
        assert_eq!(
            (completion.text.as_str(), completion.timing.spans.get(Component::Network)),
            ("answer 1 ***", Seconds(3.0))
        );
        assert_eq!(clock.since(start), Seconds(3.0));
        let texts: Vec<String> = (0..3).map(|_| player.complete(&request("b", 1)).unwrap().text).collect();
        assert_eq!(texts, ["answer 2 ***", "answer 3 ***", "answer 3 ***"]);
        assert_eq!(player.complete(&request("fail", 1)).unwrap_err().kind, FailureKind::Server);
    }

    #[test]
    fn a_request_is_found_by_all_that_it_says_and_by_nothing_else() {
        let base = request("a", 1);
        let other_scope = Request { cache_scope: None, ..base.clone() };
        let key = |request: &Request| Asked::of(request).key("big");
        assert_eq!(key(&base), key(&other_scope));
        let schema = |schema: Value| Some(Arc::new(Grammar::new(Rule::JsonSchema(schema))));
        let others = [
            request("b", 1),
            request("a", 2),
            Request { max_tokens: 9, ..base.clone() },
            Request { temperature: 0.1, ..base.clone() },
            Request { top_logprobs: 0, ..base.clone() },
            Request { grammar: schema(json!({})), ..base.clone() },
            Request { grammar: schema(json!({"type": "object"})), ..base.clone() },
            Request { messages: vec![Message::new("system", "a")], ..base.clone() },
        ];
        let keys: BTreeSet<String> = others.iter().chain([&base]).map(key).collect();
        assert_eq!(keys.len(), others.len() + 1);
        assert_ne!(Asked::of(&base).key("other"), key(&base));
    }

    #[test]
    fn a_miss_names_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tape.jsonl");
        recorded(&path, &[request("a", 1)]);
        let player = Player::new(Cassette::open(&path).unwrap(), Some("big"), Clock::fake()).unwrap();
        let error = player.complete(&request("My printer\nis jammed", 7)).unwrap_err();
        assert_eq!(error.kind, FailureKind::Unrecorded);
        let key = Asked::of(&request("My printer\nis jammed", 7)).key("big");
        for part in ["tape.jsonl", "big", "seed 7", "My printer is jammed", "--record-cassette", &key[..16]] {
            assert!(error.message.contains(part), "{part:?} is not in {error}");
        }
    }

    #[test]
    fn files_that_are_no_cassette_are_refused_and_a_torn_end_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tape.jsonl");
        recorded(&path, &[request("a", 1), request("b", 1)]);
        let refused = Recorder::create(&path, Arc::new(ScriptedEngine::queue("m", Clock::fake(), [])), vec![], false);
        assert!(refused.err().unwrap().to_string().contains("not there yet"));
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert_eq!(Cassette::open(&path).unwrap().exchanges.len(), 1);
        for (text, told) in [
            (String::new(), "holds no exchange"),
            ("{}\n".to_owned(), "tape.jsonl:1 is not an exchange"),
            (whole.replace("\"format\":1", "\"format\":9"), "its format is 9"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Cassette::open(&path).unwrap_err();
            assert!(error.to_string().contains(told), "{error:#}");
        }
        std::fs::write(&path, format!("{whole}{}", whole.replace("\"big\"", "\"other\""))).unwrap();
        let error = Cassette::open(&path).unwrap().engine(None).unwrap_err();
        assert!(error.to_string().contains("big, other"), "{error:#}");
    }
}

//! Constrained decoding: only tokens that a grammar allows can be chosen.
//!
//! The grammar is compiled once for a vocabulary. Each step asks it which tokens may come next; tokens that it forces are
//! not asked of the model at all but computed together with the next step. What the grammar cannot express of a schema is
//! listed, and whoever asked for it checks the finished answer all the same.

mod guide;
mod narrower;
mod pattern;
mod place;
mod rewrite;
mod schema;
mod witness;

pub use guide::DEEPEST_JSON;
pub(super) use guide::{Following, Guide, closing_from, next_look};
pub use pattern::whole_match;

use super::TextTokenizer;
use super::model::Language;
use super::sampler::Choice;
use crate::error::{Result, anyhow, usage};
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use schema::Maker;
use serde_json::Value;
use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use witness::witnesses;

/// What an answer may be, and what a finished one is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Grammar {
    /// What it may be.
    pub rule: Rule,
    check: Check,
}

/// What an answer may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// JSON that keeps a JSON Schema.
    JsonSchema(Value),
    /// A text that matches a regular expression as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
}

/// Whether an answer is right: asked before it may end, and on the way, because a grammar cannot say all that a schema does.
#[derive(Clone)]
struct Check {
    /// Two checks of one name on one rule are the same.
    name: &'static str,
    /// Of a finished answer.
    accepts: Accepts,
    /// Of the beginning of an answer, see [`Grammar::watched_by`].
    may_go_on: MayGoOn,
}

type Accepts = Arc<dyn Fn(&str) -> bool + Send + Sync>;
type MayGoOn = Arc<dyn Fn(&str, usize) -> bool + Send + Sync>;

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({})", self.name)
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Grammar {
    /// A rule with nothing to check beyond it.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self { rule, check: Check { name: "nothing", accepts: Arc::new(|_| true), may_go_on: Arc::new(|_, _| true) } }
    }

    /// The same rule; an answer ends only where `accepts` does. Two grammars of one rule and one name are taken for the same.
    #[must_use]
    pub fn checked_by(self, name: &'static str, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { check: Check { name, accepts: Arc::new(accepts), ..self.check }, ..self }
    }

    /// The same grammar of JSON; an answer goes on only where `may_go_on` allows it. That is asked whenever a value or a name
    /// has come to its end: of the JSON so far, closed where it is open, and of how many values, from the whole inwards along
    /// the last elements, are not at their end. It must hold of every beginning of a right answer.
    #[must_use]
    pub fn watched_by(self, may_go_on: impl Fn(&str, usize) -> bool + Send + Sync + 'static) -> Self {
        Self { check: Check { may_go_on: Arc::new(may_go_on), ..self.check }, ..self }
    }

    /// Whether a finished answer is right, as far as the grammar's check knows.
    #[must_use]
    pub fn accepts(&self, answer: &str) -> bool {
        (self.check.accepts)(answer)
    }

    /// Whether an answer may go on, see [`Grammar::watched_by`].
    #[must_use]
    pub fn may_go_on(&self, closed: &str, unfinished: usize) -> bool {
        (self.check.may_go_on)(closed, unfinished)
    }

    /// Texts that match a regular expression as a whole.
    pub fn regex(pattern: &str) -> Result<Self> {
        let whole = whole_match(pattern)
            .map_err(|why| usage(format!("{pattern:?} is no regular expression that can be used: {why}")))?;
        if pattern::for_grammar(pattern).1 {
            return Err(usage(format!(
                "{pattern:?} is no regular expression that can be used: edges of words (\\b, \\B) cannot be followed token by \
                 token; the whole answer must match anyway"
            )));
        }
        Ok(Self::new(Rule::Regex(pattern.to_owned())).checked_by("regex", move |text| whole.is_match(text)))
    }

    /// One of these texts.
    pub fn choice(texts: &[String]) -> Result<Self> {
        if texts.is_empty() {
            return Err(usage("a choice of no texts has no answer"));
        }
        let allowed = texts.to_vec();
        let check = move |text: &str| allowed.iter().any(|allowed| allowed == text);
        Ok(Self::new(Rule::Choice(texts.to_vec())).checked_by("choice", check))
    }

    /// What tells grammars apart. The order of properties counts: answers are written in it.
    #[must_use]
    pub fn key(&self) -> String {
        let rule = match &self.rule {
            Rule::JsonSchema(schema) => format!("schema {schema}"),
            Rule::Regex(pattern) => format!("regex {pattern}"),
            Rule::Choice(texts) => format!("choice {}", Value::from(texts.clone())),
        };
        format!("{} {rule}", self.check.name)
    }
}

/// Symbols of a grammar at most. An enumeration of thousands of values fits; a schema of megabytes does not.
const LARGEST_GRAMMAR: usize = 200_000;

/// Tokens that a grammar may force at the beginning of an answer.
const MOST_FORCED: usize = 4096;

/// A grammar that was compiled for a model's vocabulary.
#[derive(Clone)]
pub struct Constraint {
    start: Matcher,
    check: Check,
    closers: Arc<Closers>,
    /// Texts that match the schema's patterns.
    witnesses: Arc<[Vec<u8>]>,
    /// Whether answers are JSON, in which no object may have a name twice.
    json: bool,
    /// The token that stands for the end: one past the vocabulary, so that no token of the model is taken for it.
    end: TokenId,
    notes: Vec<String>,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("notes", &self.notes).finish_non_exhaustive()
    }
}

impl Constraint {
    /// What of the schema the grammar leaves out: an answer may break it, and must be checked for it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// The compiler of a model's vocabulary, made when it is first used.
#[derive(Default)]
pub(super) struct Compiler(OnceLock<std::result::Result<Factory, String>>);

/// Tokens that bring JSON to its end.
#[derive(Default)]
struct Closers {
    /// Of quotes and brackets, those that begin with a quote: they close a text.
    quotes: Vec<u32>,
    /// Those that begin with a bracket.
    brackets: Vec<u32>,
    /// The beginnings of `null`, the shortest value.
    nulls: Vec<u32>,
    /// Commas, where more must come.
    commas: Vec<u32>,
    /// Those that open a list or an object.
    openers: Vec<u32>,
    /// The token of each byte alone, where there is one.
    bytes: Vec<Option<u32>>,
}

impl Closers {
    fn token(&self, byte: u8) -> Option<u32> {
        self.bytes.get(usize::from(byte)).copied().flatten()
    }
}

struct Factory {
    parsers: ParserFactory,
    end: TokenId,
    closers: Arc<Closers>,
}

impl Language {
    /// Compiles a grammar for this model's vocabulary. An error says what cannot be expressed or never be satisfied.
    pub fn constraint(&self, grammar: &Grammar) -> Result<Constraint> {
        self.constraint_unless(grammar, &AtomicBool::new(false))
    }

    /// As [`Language::constraint`], and gives up soon after `stop` has become true.
    pub fn constraint_unless(&self, grammar: &Grammar, stop: &AtomicBool) -> Result<Constraint> {
        let factory = self.compiler.0.get_or_init(|| {
            Factory::new(&self.vocabulary.tokenizer, self.info().vocabulary).map_err(|error| format!("{error:#}"))
        });
        match factory {
            Ok(factory) => factory.compile(grammar, stop),
            Err(reason) => Err(anyhow!("constrained decoding with the vocabulary of {}: {reason}", self.info().name)),
        }
    }
}

/// Tokens of a text that is written to find out whether its grammar lasts, and texts that are.
const REHEARSED: usize = 24;
const REHEARSALS: u64 = 2;

/// A text, for finding out whether a vocabulary puts something before every text.
const PROBE: &str = "{\"a\": 1}";

impl Factory {
    fn new(tokenizer: &Arc<TextTokenizer>, vocabulary: usize) -> Result<Self> {
        let end = TokenId::try_from(vocabulary)?;
        let words: Vec<Vec<u8>> = (0..=end).map(|id| tokenizer.token_bytes(id)).collect();
        let of = |first: &[u8], others: &[u8]| -> Vec<u32> {
            let fits = |word: &[u8]| {
                word.first().is_some_and(|byte| first.contains(byte)) && word.iter().all(|byte| others.contains(byte))
            };
            (0..end).filter(|&id| fits(&words[id as usize])).collect()
        };
        let begins_null = |id: &u32| {
            let word = words[*id as usize].trim_ascii_start();
            !word.is_empty() && b"null".starts_with(word)
        };
        let nulls = (0..end).filter(begins_null).collect();
        let opens = |id: &u32| words[*id as usize].iter().any(|byte| b"[{".contains(byte));
        let openers = (0..end).filter(opens).collect();
        let mut bytes = vec![None; 1 + usize::from(u8::MAX)];
        for id in (0..end).rev() {
            if let [byte] = *words[id as usize] {
                bytes[usize::from(byte)] = Some(id);
            }
        }
        let closers = Arc::new(Closers {
            quotes: of(b"\"", b"\"]}"),
            brackets: of(b"]}", b"]}"),
            nulls,
            commas: of(b",", b", "),
            openers,
            bytes,
        });
        let trie = TokTrie::from(&TokRxInfo::new(end + 1, end), &words);
        // A vocabulary that puts a space before every text cannot say how a text goes on; it forces no tokens.
        let probed: Vec<u8> =
            tokenizer.encode(PROBE, false)?.into_iter().flat_map(|id| tokenizer.token_bytes(id)).collect();
        let canonical = probed == PROBE.as_bytes();
        let environment: TokEnv = Arc::new(Environment { tokenizer: Arc::clone(tokenizer), trie, canonical });
        let capabilities = InferenceCapabilities { ff_tokens: canonical, ..InferenceCapabilities::default() };
        let mut parsers =
            ParserFactory::new(&environment, capabilities, &llguidance::earley::SlicedBiasComputer::general_slices())
                .map_err(|error| anyhow!("{error:#}"))?;
        parsers.quiet();
        *parsers.limits_mut() =
            ParserLimits { max_grammar_size: LARGEST_GRAMMAR, verbose_errors: false, ..ParserLimits::default() };
        Ok(Self { parsers, end, closers })
    }

    fn compile(&self, grammar: &Grammar, stop: &AtomicBool) -> Result<Constraint> {
        let json = matches!(grammar.rule, Rule::JsonSchema(_));
        let (mut start, left_out) = match &grammar.rule {
            Rule::JsonSchema(schema) => {
                let make = |schema: &Value| self.start(TopLevelGrammar::from_json_schema(schema.clone()));
                let lasts = |start: &Matcher| self.lasts(start);
                let stopped = || stop.load(Ordering::Relaxed);
                schema::grammar(schema, &Maker::new(&make, &lasts, &stopped))?
            }
            Rule::Regex(pattern) => (self.start(TopLevelGrammar::from_regex(pattern))?, Vec::new()),
            Rule::Choice(texts) => (self.start(TopLevelGrammar::from_lark(choice(texts)?))?, Vec::new()),
        };
        let notes = start.grammar_warnings();
        let notes = notes.iter().map(|note| first_line(note).to_owned()).chain(left_out).collect();
        Ok(Constraint {
            start,
            check: grammar.check.clone(),
            closers: if json { Arc::clone(&self.closers) } else { Arc::default() },
            witnesses: match &grammar.rule {
                Rule::JsonSchema(schema) => witnesses(schema).into(),
                Rule::Regex(_) | Rule::Choice(_) => Arc::default(),
            },
            json,
            end: self.end,
            notes,
        })
    }

    fn start(&self, top: TopLevelGrammar) -> Result<Matcher> {
        let start = Matcher::new(self.parsers.create_parser(top));
        if let Some(reason) = start.get_error() {
            return Err(usage(format!("the grammar cannot be used for constrained decoding: {}", first_line(&reason))));
        }
        // What is forced from the beginning must end.
        let mut probe = start.clone();
        let forced = probe.compute_ff_tokens();
        if forced.len() > MOST_FORCED {
            return Err(usage(format!(
                "the grammar forces a text of more than {MOST_FORCED} tokens, or one that does not end"
            )));
        }
        if let Some(reason) = probe.get_error() {
            let reason = first_line(&reason);
            return Err(usage(format!("the grammar forces a text that does not end, or is too large: {reason}")));
        }
        Ok(start)
    }

    /// Whether texts of a grammar can be written to some length without one of its limits being reached.
    fn lasts(&self, start: &Matcher) -> bool {
        (0..REHEARSALS).all(|text| {
            let mut matcher = start.clone();
            (0..REHEARSED)
                .try_for_each(|step| {
                    if matcher.is_stopped() {
                        return if matcher.is_error() { Err(()) } else { Ok(()) };
                    }
                    let mask = matcher.compute_mask().map_err(drop)?;
                    let allowed: Vec<TokenId> = mask.iter().filter(|&id| id != self.end).collect();
                    let Some(count) = NonZeroUsize::new(allowed.len()) else { return Ok(()) };
                    // Any tokens do, as long as they differ.
                    let index = (step as u64 + 1)
                        .wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ text.wrapping_mul(0xD1B5_4A32_D192_ED03));
                    matcher.consume_token(allowed[(index >> 32) as usize % count]).map_err(drop)
                })
                .is_ok()
        })
    }
}

/// A grammar of texts, one of which the answer is: one regular expression, because alternatives of a grammar are all followed
/// at once.
fn choice(texts: &[String]) -> Result<String> {
    if texts.is_empty() {
        return Err(usage("a choice of no texts has no answer"));
    }
    let mut said = String::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        said.push_str(if said.is_empty() { "" } else { "|" });
        for character in text.chars() {
            // A text may hold what means something in a pattern, or ends it.
            if character.is_ascii_alphanumeric() || !character.is_ascii() {
                said.push(character);
            } else {
                let _ = write!(said, "\\x{:02X}", u32::from(character));
            }
        }
    }
    let empty = if texts.iter().any(String::is_empty) { "\"\"" } else { "" };
    Ok(match (empty, said.as_str()) {
        (empty, "") => format!("start: {empty}"),
        ("", said) => format!("start: /{said}/"),
        (empty, said) => format!("start: {empty} | /{said}/"),
    })
}

/// Errors of the grammar's compiler may go on with its inner state.
fn first_line(text: &str) -> &str {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    // Of a regular expression the reason is the last that is said.
    let reason = if first.ends_with("regex parse error:") {
        lines.find_map(|line| line.trim().strip_prefix("error: "))
    } else {
        None
    };
    reason.unwrap_or(first)
}

/// The vocabulary, as the grammar sees it.
struct Environment {
    tokenizer: Arc<TextTokenizer>,
    trie: TokTrie,
    canonical: bool,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let tokens = |text: &str| {
            self.tokenizer.encode(text, false).unwrap_or_else(|_| self.trie.greedy_tokenize(text.as_bytes()))
        };
        self.trie.tokenize_with_greedy_fallback(bytes, tokens)
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}

/// A token that was not chosen: under its grammar it is certain.
pub(super) fn certain(id: u32, top: usize) -> Choice {
    Choice { id, logprob: 0.0, top: if top > 0 { vec![(id, 0.0)] } else { Vec::new() } }
}

#[cfg(test)]
mod tests;

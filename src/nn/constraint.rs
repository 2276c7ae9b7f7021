//! Constrained decoding: only tokens that a grammar allows can be chosen.
//!
//! The grammar is compiled once for a vocabulary. Each step asks it which tokens may come next; tokens that it forces are
//! not asked of the model at all but computed together with the next step. What the grammar cannot express of a schema is
//! listed, and whoever asked for it checks the finished answer all the same.

mod guide;

pub use guide::DEEPEST_JSON;
pub(super) use guide::{Following, Guide};

use super::sampler::Choice;
use super::{LanguageModel, TextTokenizer};
use crate::error::{Result, anyhow, usage};
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

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

/// Whether a finished answer is right: asked before it may end, because a grammar cannot say all that a schema does.
#[derive(Clone)]
struct Check {
    /// Two checks of one name on one rule are the same.
    name: &'static str,
    accepts: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

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
        Self { rule, check: Check { name: "nothing", accepts: Arc::new(|_| true) } }
    }

    /// The same rule; an answer ends only where `accepts` does. Two grammars of one rule and one name are taken for the same.
    #[must_use]
    pub fn checked_by(self, name: &'static str, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { check: Check { name, accepts: Arc::new(accepts) }, ..self }
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
    /// Single characters other than quotes and backslashes: one of them may be what a text's pattern still asks for.
    singles: Vec<u32>,
}

struct Factory {
    parsers: ParserFactory,
    end: TokenId,
    closers: Arc<Closers>,
}

impl LanguageModel {
    /// Compiles a grammar for this model's vocabulary. An error says what cannot be expressed or never be satisfied.
    pub fn constraint(&self, grammar: &Grammar) -> Result<Constraint> {
        let factory = self.compiler.0.get_or_init(|| {
            Factory::new(&self.vocabulary.tokenizer, self.info().vocabulary).map_err(|error| format!("{error:#}"))
        });
        match factory {
            Ok(factory) => factory.compile(grammar),
            Err(reason) => Err(anyhow!("constrained decoding with the vocabulary of {}: {reason}", self.info().name)),
        }
    }
}

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
        let is_single =
            |id: &u32| matches!(&*words[*id as usize], [byte] if byte.is_ascii_graphic() && !b"\"\\".contains(byte));
        let singles = (0..end).filter(is_single).collect();
        let closers = Arc::new(Closers {
            quotes: of(b"\"", b"\"]}"),
            brackets: of(b"]}", b"]}"),
            nulls,
            commas: of(b",", b", "),
            singles,
        });
        let trie = TokTrie::from(&TokRxInfo::new(end + 1, end), &words);
        // A vocabulary that puts a space before every text cannot say how a text goes on; it forces no tokens.
        let bytes: Vec<u8> =
            tokenizer.encode(PROBE, false)?.into_iter().flat_map(|id| tokenizer.token_bytes(id)).collect();
        let canonical = bytes == PROBE.as_bytes();
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

    fn compile(&self, grammar: &Grammar) -> Result<Constraint> {
        let json = matches!(grammar.rule, Rule::JsonSchema(_));
        let (start, notes) = match &grammar.rule {
            Rule::JsonSchema(schema) => self.schema(schema)?,
            Rule::Regex(pattern) => (self.start(TopLevelGrammar::from_regex(pattern))?, Vec::new()),
            Rule::Choice(texts) => (self.start(TopLevelGrammar::from_lark(choice(texts)?))?, Vec::new()),
        };
        Ok(Constraint {
            start,
            check: grammar.check.clone(),
            closers: if json { Arc::clone(&self.closers) } else { Arc::default() },
            json,
            end: self.end,
            notes,
        })
    }

    /// The grammar of a schema, and what it leaves out: one that cannot be made with all keywords is made without some.
    fn schema(&self, schema: &Value) -> Result<(Matcher, Vec<String>)> {
        let mut schema = with_whole_bounds(schema);
        let mut left_out = Vec::new();
        let made = |schema: &Value| self.start(TopLevelGrammar::from_json_schema(with_options(schema)?));
        let mut start = made(&schema);
        if start.is_err() {
            // First what cannot be expressed where it stands: the other patterns and numbers stay.
            left_out = self.without_inexpressible(&mut schema);
            start = if left_out.is_empty() { start } else { made(&schema) };
        }
        if start.is_err() {
            // Then one keyword throughout; then more of them.
            let alone = DISPENSABLE.into_iter().find_map(|keyword| {
                let mut lesser = schema.clone();
                without(&mut lesser, keyword).then(|| made(&lesser).ok().map(|start| (keyword, start))).flatten()
            });
            if let Some((keyword, made)) = alone {
                left_out.push(format!("{keyword} is left out"));
                start = Ok(made);
            }
        }
        for keyword in DISPENSABLE {
            if start.is_err() && without(&mut schema, keyword) {
                left_out.push(format!("{keyword} is left out"));
                start = made(&schema).or(start);
            }
        }
        let mut start = start?;
        let notes = start.grammar_warnings();
        Ok((start, notes.iter().map(|note| first_line(note).to_owned()).chain(left_out).collect()))
    }

    /// Takes patterns, bounds of numbers and formats out of the schemas whose own cannot be expressed. Returns what was taken.
    fn without_inexpressible(&self, schema: &mut Value) -> Vec<String> {
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        let mut tries = 0;
        each_schema(schema, &mut |object| {
            for (kind, keywords) in NARROWING {
                let mut alone: serde_json::Map<String, Value> = object
                    .iter()
                    .filter(|(key, _)| keywords.contains(&key.as_str()))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                if alone.is_empty() || tries == MOST_TRIES {
                    continue;
                }
                tries += 1;
                let integer = kind == "number" && object.get("type").is_some_and(|named| named == "integer");
                alone.insert("type".to_owned(), Value::from(if integer { "integer" } else { kind }));
                let made =
                    with_options(&alone.into()).and_then(|alone| self.start(TopLevelGrammar::from_json_schema(alone)));
                if made.is_err() {
                    for keyword in keywords {
                        if object.remove(*keyword).is_some() {
                            *taken.entry(keyword).or_default() += 1;
                        }
                    }
                }
            }
        });
        taken.into_iter().map(|(keyword, times)| format!("{keyword} is left out in {times} places")).collect()
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
}

/// Keywords that only narrow what is allowed, so that a grammar without them allows more, and the check finds out.
const DISPENSABLE: [&str; 10] = [
    "patternProperties",
    "multipleOf",
    "minProperties",
    "maxProperties",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
];

/// The same for one schema's own texts and numbers, by the type that they narrow.
const NARROWING: [(&str, &[&str]); 3] = [
    ("string", &["pattern"]),
    ("string", &["format"]),
    ("number", &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
];

/// Schemas whose own keywords are tried one by one, at most.
const MOST_TRIES: usize = 2_000;

/// Takes a keyword out of a schema and all schemas in it, and tells whether it was there. What stands under the name of a
/// property or a definition is a schema, not a keyword.
fn without(schema: &mut Value, keyword: &str) -> bool {
    let mut found = false;
    each_schema(schema, &mut |object| {
        if object.remove(keyword).is_some() {
            found = true;
            if keyword == "patternProperties" {
                // What the patterns allowed must not be forbidden now.
                object.remove("additionalProperties");
                object.remove("unevaluatedProperties");
            }
        }
    });
    found
}

/// The schema with bounds of lengths and counts written as the grammar's compiler wants them: 2 for 2.0.
fn with_whole_bounds(schema: &Value) -> Value {
    const BOUNDS: [&str; 8] = [
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "minContains",
        "maxContains",
    ];
    let mut schema = schema.clone();
    each_schema(&mut schema, &mut |object| {
        for bound in BOUNDS {
            if let Some(value) = object.get_mut(bound)
                && let Some(number) =
                    value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..1e15).contains(number))
            {
                *value = Value::from(number as u64);
            }
        }
    });
    schema
}

/// Visits a schema and all schemas in it.
fn each_schema(schema: &mut Value, visit: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
    const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
    match schema {
        Value::Object(object) => {
            visit(object);
            for (key, value) in object.iter_mut().filter(|(key, _)| !DATA.contains(&key.as_str())) {
                match value {
                    Value::Object(named) if NAMED.contains(&key.as_str()) => {
                        named.values_mut().for_each(|value| each_schema(value, visit));
                    }
                    value => each_schema(value, visit),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| each_schema(value, visit)),
        _ => {}
    }
}

/// The schema with how its JSON is to be written: as the models were taught to write it, and on one line, because blanks
/// are allowed without end otherwise.
fn with_options(schema: &Value) -> Result<Value> {
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        Value::Bool(true) => Value::Object(serde_json::Map::new()),
        Value::Bool(false) => return Err(usage("no answer can keep the schema `false`")),
        _ => return Err(usage("a schema is an object, true or false")),
    };
    let options = JsonCompileOptions {
        item_separator: ", ".to_owned(),
        key_separator: ": ".to_owned(),
        whitespace_flexible: false,
        lenient: true,
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    Ok(schema)
}

/// A grammar of texts, one of which the answer is.
fn choice(texts: &[String]) -> Result<String> {
    if texts.is_empty() {
        return Err(usage("a choice of no texts has no answer"));
    }
    let quoted: Vec<String> = texts.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
    Ok(format!("start: {}", quoted.join(" | ")))
}

/// Errors of the grammar's compiler may go on with its inner state.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
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

//! Validation against a JSON Schema, with no access to network or files.

use super::bounds::{Bounds, Refusal};
use super::duplicates::duplicate_keys;
use super::extract::{DEEPEST, Found, LONGEST, Miss, find};
use super::message::{place, sentence, shorten};
use super::prefix::may_go_on;
use super::{Extraction, Verdict, Violation};
use crate::error::{Result, usage};
use crate::nn::{Grammar, Rule, whole_match};
use crate::task::Task;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ReferencingError};
use serde_json::Value;
use std::fmt::{Display, Write as _};
use std::sync::Arc;

/// Violations that are listed: a small model cannot act on more at once.
const MOST_VIOLATIONS: usize = 16;

/// Steps that matching a pattern may take back; one that wants more does not match.
const MOST_BACKTRACKING: usize = 100_000;

/// How a schema is read.
#[derive(Debug, Clone, Default)]
pub struct ContractOptions {
    /// Whether `format` is an assertion; else it is a note, as the draft has it.
    pub formats: bool,
    /// Schemas that may be referred to, by their addresses. Nothing else is: neither network nor files are asked.
    pub resources: Vec<(String, Value)>,
    /// The draft where the schema names none; `None` is 2020-12.
    pub draft: Option<Draft>,
    /// Where a file can be listed that the schema may refer to, for the message of one that is not.
    pub listed_in: Option<&'static str>,
}

/// A compiled contract.
#[derive(Debug)]
pub struct Contract {
    schema: Value,
    grammar: Arc<Grammar>,
    validator: Arc<jsonschema::Validator>,
    bounds: Arc<Bounds>,
    required: Vec<String>,
}

impl Contract {
    /// Compiles a schema: draft 2020-12, or the one that its `$schema` names. `name` is used in messages. Remote and
    /// file references are refused.
    pub fn new(name: &str, schema: &Value) -> Result<Self> {
        Self::with_options(name, schema, &ContractOptions::default())
    }

    /// The contract of a task's answers: its schema, what that may refer to, and whether formats are asserted.
    pub fn of_task(task: &Task) -> Result<Self> {
        let options = ContractOptions {
            formats: task.schema_formats,
            resources: task.schema_references.clone(),
            draft: None,
            listed_in: Some("answer.references of task.toml"),
        };
        Self::with_options(&format!("the answer's schema of task {}", task.name), &task.schema, &options)
    }

    /// As [`Contract::new`], with schemas that it may refer to, and with or without assertions of formats.
    pub fn with_options(name: &str, schema: &Value, options: &ContractOptions) -> Result<Self> {
        let unusable = |reason: String| usage(format!("{name} is not a JSON Schema that can be used: {reason}"));
        let refuse = |error: &dyn Display| usage(format!("{name} refers to a schema that cannot be used: {error}"));
        let mut registry = jsonschema::Registry::new();
        for (uri, schema) in &options.resources {
            registry = registry.add(uri, schema).map_err(|error| refuse(&error))?;
        }
        let registry = registry.prepare().map_err(|error| refuse(&error))?;
        // A draft that is set stands above the one that a schema names.
        let draft = options.draft.filter(|_| schema.get("$schema").is_none());
        let bounds = Bounds::of(schema, draft, &registry).map_err(|refusal| match refusal {
            Refusal::TooMuch(reason) => unusable(reason),
            Refusal::Reference(error) => unusable(shorten(&refused_reference(&error, options.listed_in), 400)),
        })?;
        let patterns =
            PatternOptions::fancy_regex().backtrack_limit(MOST_BACKTRACKING).size_limit(bounds.largest_pattern());
        let mut compiler = jsonschema::options()
            .offline()
            .with_registry(&registry)
            .with_pattern_options(patterns)
            .should_validate_formats(options.formats);
        if let Some(draft) = draft {
            compiler = compiler.with_draft(draft);
        }
        let validator = compiler.build(schema).map_err(|error| {
            let reason = match error.kind() {
                ValidationErrorKind::Referencing(error) => refused_reference(error, options.listed_in),
                _ => refused_pattern(&error).unwrap_or_else(|| error.to_string()),
            };
            let path = error.instance_path().as_str();
            let at = if path.is_empty() { String::new() } else { format!(" at {path}") };
            usage(format!("{name} is not a JSON Schema that can be used{at}: {}", shorten(&reason, 400)))
        })?;
        if let Some(reference) = &bounds.unresolved {
            return Err(unusable(format!("it refers to {reference}, whose cost cannot be told")));
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required = required.filter_map(Value::as_str).map(str::to_owned).collect();
        // Constrained decoding reads one schema, so that what it refers to is put into it. Where that cannot be done, it
        // says itself what it misses.
        let whole = if options.resources.is_empty() { None } else { compiler.bundle(schema).ok() };
        let whole = whole.unwrap_or_else(|| schema.clone());
        let validator = Arc::new(validator);
        let bounds = Arc::new(bounds);
        let check = {
            let (validator, bounds) = (Arc::clone(&validator), Arc::clone(&bounds));
            move |text: &str| {
                serde_json::from_str(text).is_ok_and(|value| accepts(&validator, &bounds, &value) == Some(true))
                    && duplicate_keys(text).is_empty()
            }
        };
        let watch = {
            let (validator, bounds, schema) = (Arc::clone(&validator), Arc::clone(&bounds), schema.clone());
            move |text: &str, unfinished: usize| may_go_on(&schema, &validator, &bounds, text, unfinished)
        };
        let name = if options.formats { "schema with formats" } else { "schema" };
        let grammar = Grammar::new(Rule::JsonSchema(whole)).checked_by(name, check).watched_by(watch);
        let grammar = Arc::new(grammar);
        Ok(Self { schema: schema.clone(), grammar, validator, bounds, required })
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The grammar of answers that keep the contract, for constrained decoding.
    #[must_use]
    pub fn grammar(&self) -> &Arc<Grammar> {
        &self.grammar
    }

    /// Whether a value keeps the contract; `None` where its size or nesting makes that too much work to find out.
    #[must_use]
    pub fn accepts(&self, value: &Value) -> Option<bool> {
        accepts(&self.validator, &self.bounds, value)
    }

    /// Judges a completion.
    #[must_use]
    pub fn check(&self, completion: &str) -> Verdict {
        let found = match find(completion, &self.required) {
            Ok(found) => found,
            Err(miss) => {
                let violation = Violation { path: String::new(), rule: "json".to_owned(), message: describe(&miss) };
                return Verdict {
                    valid: false,
                    extraction: Extraction::None,
                    value: None,
                    violations: vec![violation],
                    mended: Vec::new(),
                    candidates: 1,
                };
            }
        };
        let mut violations: Vec<Violation> = Vec::new();
        if self.bounds.cost(&found.value).is_none() {
            violations.push(Violation {
                path: String::new(),
                rule: "size".to_owned(),
                message:
                    "the answer is too large or nests too deep for its form to be checked: write a shorter, flatter one"
                        .to_owned(),
            });
            let Found { value, extraction, mended, candidates, .. } = found;
            return Verdict { valid: false, extraction, value: Some(value), violations, mended, candidates };
        }
        let broken = self.validator.iter_errors(&found.value).map(|error| Violation {
            path: error.instance_path().as_str().to_owned(),
            rule: error.kind().keyword().to_owned(),
            message: sentence(&error),
        });
        let twice = duplicate_keys(&found.source).into_iter().map(|path| Violation {
            message: format!("{} is written twice: write it once", place(&path)),
            path,
            rule: "duplicate_key".to_owned(),
        });
        for violation in broken.chain(twice) {
            if violations.len() == MOST_VIOLATIONS {
                break;
            }
            if !violations.contains(&violation) {
                violations.push(violation);
            }
        }
        let Found { value, extraction, mended, candidates, .. } = found;
        Verdict { valid: violations.is_empty(), extraction, value: Some(value), violations, mended, candidates }
    }

    /// What to tell a model whose answer broke the contract: the violations, and the request to answer again.
    #[must_use]
    pub fn repair_instruction(&self, verdict: &Verdict) -> String {
        let mut text = String::from("Your answer cannot be used:\n");
        for violation in &verdict.violations {
            let _ = writeln!(text, "- {}", violation.message);
        }
        // Where the object as a whole is wrong, the violations do not name its keys.
        if verdict.violations.iter().any(|violation| violation.path.is_empty() && violation.rule != "required")
            && !self.required.is_empty()
        {
            let keys: Vec<String> = self.required.iter().map(|key| format!("{key:?}")).collect();
            let _ = writeln!(text, "The JSON object needs these keys: {}.", keys.join(", "));
        }
        text.push_str("Answer the same request again with only the corrected JSON object and no other text.");
        text
    }
}

fn accepts(validator: &jsonschema::Validator, bounds: &Bounds, value: &Value) -> Option<bool> {
    bounds.cost(value).map(|_| validator.is_valid(value))
}

fn refused_reference(error: &ReferencingError, listed_in: Option<&str>) -> String {
    const UNKNOWN: [&str; 5] = ["draft-00", "draft-01", "draft-02", "draft-03", "draft-05"];
    let uri = match error {
        ReferencingError::Unretrievable { uri, .. } => uri,
        ReferencingError::UnknownSpecification { specification } => specification,
        other => return other.to_string(),
    };
    if uri.contains("json-schema.org/") && UNKNOWN.iter().any(|draft| uri.contains(draft)) {
        return format!("it names {uri}, a draft that is not supported: 4, 6, 7, 2019-09 and 2020-12 are");
    }
    let list = listed_in.map_or(String::new(), |listed_in| format!(", or list its file in {listed_in}"));
    format!("it refers to {uri}, and nothing is fetched from network or files; copy it into \"$defs\"{list}")
}

/// Why a pattern cannot be compiled: the validator only says that it is none.
fn refused_pattern(error: &jsonschema::ValidationError<'_>) -> Option<String> {
    let pattern = error.instance().as_str().filter(|_| error.instance_path().as_str().contains("attern"))?;
    // Of what only this reader lacks, nothing is known here.
    let why = whole_match(pattern).err().filter(|why| !why.contains("not supported"))?;
    Some(format!(
        "{} is no regular expression that can be used: {why}",
        shorten(&Value::from(pattern).to_string(), 200)
    ))
}

fn describe(miss: &Miss) -> String {
    match miss {
        Miss::Empty => "the answer is empty: write one JSON object".to_owned(),
        Miss::TooLong => format!("the answer is longer than {LONGEST} bytes: write one short JSON object"),
        Miss::NoObject => {
            "there is no JSON object in the answer: write one that begins with { and ends with }".to_owned()
        }
        Miss::Truncated => "the JSON object stops before its end: write a shorter one and close it with }".to_owned(),
        Miss::TooDeep => {
            format!("the answer nests more than {DEEPEST} brackets: write a flatter JSON object")
        }
        Miss::Broken(reason) => format!("the JSON is broken: {}", shorten(reason, 120)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitStatus;
    use serde_json::json;

    fn helpdesk() -> Contract {
        let schema = json!({
            "type": "object",
            "properties": {
                "category": {"type": "string", "enum": ["Access", "Storage"]},
                "answer": {"type": "string", "minLength": 1, "maxLength": 20},
                "citations": {"type": "array", "items": {"type": "string"}, "maxItems": 3, "uniqueItems": true},
                "needs_human": {"type": "boolean"}
            },
            "required": ["category", "answer", "citations", "needs_human"],
            "additionalProperties": false
        });
        Contract::new("the schema", &schema).unwrap()
    }

    fn messages(completion: &str) -> Vec<(String, String, String)> {
        let verdict = helpdesk().check(completion);
        assert_eq!(verdict.valid, verdict.violations.is_empty());
        verdict.violations.into_iter().map(|v| (v.path, v.rule, v.message)).collect()
    }

    fn message(completion: &str) -> String {
        let mut all = messages(completion);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0).2
    }

    fn with(key: &str, value: Value) -> String {
        let mut answer = json!({"category": "Access", "answer": "Do it.", "citations": [], "needs_human": false});
        answer[key] = value;
        answer.to_string()
    }

    #[test]
    fn a_right_answer_keeps_the_contract_however_it_is_wrapped() {
        let right = with("answer", json!("x"));
        for text in [right.clone(), format!("```json\n{right}\n```"), format!("Here: {right} Bye.")] {
            let verdict = helpdesk().check(&text);
            assert!(verdict.valid && verdict.violations.is_empty());
            assert_eq!(verdict.value.unwrap()["answer"], "x");
        }
    }

    #[test]
    fn each_violation_is_a_sentence_that_can_be_acted_on() {
        let expected = [
            (with("category", json!("Acces")), "\"category\" must be one of: Access, Storage; you wrote \"Acces\""),
            (with("foo", json!(1)), "\"foo\" is not allowed: remove it"),
            (
                with("needs_human", json!("no")),
                "\"needs_human\" must be true or false without quotes; you wrote \"no\"",
            ),
            (with("citations", json!("kb")), "\"citations\" must be a list in [ ]; you wrote \"kb\""),
            (with("citations", json!([1])), "item 1 of \"citations\" must be a text in quotes; you wrote 1"),
            (with("citations", json!(["a", "a"])), "\"citations\" lists something twice: list each item once"),
            (with("citations", json!(["a", "b", "c", "d"])), "\"citations\" has too many items: list at most 3"),
            (with("answer", json!("")), "\"answer\" is empty: write some text"),
            (with("answer", json!("x".repeat(99))), "\"answer\" is too long: write at most 20 characters"),
            (
                r#"{"category": "Access", "citations": [], "needs_human": true}"#.to_owned(),
                "\"answer\" is missing: add it",
            ),
            ("[]".to_owned(), "the answer must be a JSON object in { }; you wrote []"),
        ];
        for (completion, sentence) in expected {
            assert_eq!(message(&completion), sentence);
        }
    }

    #[test]
    fn all_violations_are_told_at_once_with_their_places() {
        let all = messages(r#"{"category": "X", "answer": 1, "citations": []}"#);
        let rules: Vec<(&str, &str)> = all.iter().map(|(path, rule, _)| (path.as_str(), rule.as_str())).collect();
        assert_eq!(all.len(), 3, "{all:?}");
        for expected in [("/category", "enum"), ("/answer", "type"), ("", "required")] {
            assert!(rules.contains(&expected), "{rules:?}");
        }
    }

    #[test]
    fn an_answer_without_json_breaks_the_rule_json() {
        for (text, part) in
            [("", "empty"), ("Sorry.", "no JSON object"), ("{\"category\": \"Acc", "stops before"), ("{'a'}", "broken")]
        {
            let all = messages(text);
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].1, "json");
            assert!(all[0].2.contains(part), "{}", all[0].2);
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_a_violation() {
        let text =
            r#"{"category": "Access", "answer": "a", "citations": [], "needs_human": true, "category": "Storage"}"#;
        assert_eq!(message(text), "\"category\" is written twice: write it once");
    }

    #[test]
    fn violations_are_bounded_in_number_and_length() {
        let items: Vec<Value> = (0..500).map(Value::from).collect();
        let all = messages(&with("citations", json!(items)));
        assert_eq!(all.len(), MOST_VIOLATIONS);
        let long = message(&with("category", json!("é".repeat(100_000))));
        assert!(long.len() < 2000);
    }

    #[test]
    fn a_repair_instruction_lists_the_violations_and_asks_again() {
        let contract = helpdesk();
        let verdict = contract.check(r#"{"category": "X", "answer": "a", "citations": []}"#);
        let text = contract.repair_instruction(&verdict);
        assert!(text.contains("- \"needs_human\" is missing: add it\n"), "{text}");
        assert!(text.contains("you wrote \"X\""), "{text}");
        assert!(text.ends_with("no other text."), "{text}");
        let text = contract.repair_instruction(&contract.check("Hello!"));
        assert!(text.contains("\"category\", \"answer\", \"citations\", \"needs_human\""), "{text}");
    }

    #[test]
    fn references_out_of_the_schema_are_refused_by_name() {
        for reference in ["https://example.com/s.json", "file:///etc/passwd", "other.json#/a", "http://localhost:1/x"] {
            let schema = json!({"properties": {"a": {"$ref": reference}}});
            let error = Contract::new("answer.schema.json", &schema).unwrap_err();
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
            let text = error.to_string();
            let named = reference.split('#').next().unwrap();
            assert!(text.starts_with("answer.schema.json") && text.contains(named) && text.contains("$defs"), "{text}");
        }
    }

    #[test]
    fn what_is_no_schema_is_refused_with_the_place() {
        for (schema, place) in [
            (json!({"properties": {"a": {"type": "strin"}}}), "/properties/a/type"),
            (json!({"required": "a"}), "/required"),
            (json!({"properties": {"a": {"pattern": "("}}}), "/properties/a/pattern"),
            (json!({"properties": {"a": {"$ref": "#/$defs/none"}}}), "none"),
            (json!(3), "3"),
            (json!({"$schema": "https://example.com/no-draft"}), "no-draft"),
            (json!({"$schema": "http://json-schema.org/draft-03/schema#"}), "not supported"),
        ] {
            let error = Contract::new("s.json", &schema).unwrap_err();
            assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
            assert!(error.to_string().contains(place), "{error}");
        }
    }

    #[test]
    fn the_draft_is_2020_12_unless_the_schema_names_an_older_one() {
        let pair = json!([1, "x"]);
        let items = |schema: Option<&str>| {
            let mut body = json!({"items": [{"type": "integer"}, {"type": "integer"}]});
            if let Some(schema) = schema {
                body["$schema"] = json!(schema);
            }
            Contract::new("s", &body)
        };
        assert!(!items(Some("http://json-schema.org/draft-07/schema#")).unwrap().accepts(&pair).unwrap());
        assert!(items(None).is_err(), "in 2020-12 `items` is no array");
    }
}

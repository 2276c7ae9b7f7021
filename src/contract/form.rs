//! What an answer can be held to: a JSON Schema, a regular expression, or a set of texts.

use super::suite::read_lines;
use super::{Contract, ContractOptions};
use crate::error::Result;
use crate::nn::Grammar;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// What an answer is held to.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// JSON that keeps a schema.
    Schema(Value),
    /// A text that matches a regular expression as a whole.
    Regex(String),
    /// One of these texts.
    Choices(Vec<String>),
}

/// A form that was made ready.
#[derive(Debug)]
pub enum Held {
    /// A contract.
    Contract(Contract),
    /// A grammar of texts.
    Text(Arc<Grammar>),
}

impl Form {
    /// Compiles it, or says why it cannot be used.
    pub fn held(&self, options: &ContractOptions) -> Result<Held> {
        Ok(match self {
            Self::Schema(schema) => Held::Contract(Contract::with_options("the schema", schema, options)?),
            Self::Regex(pattern) => Held::Text(Arc::new(Grammar::regex(pattern)?)),
            Self::Choices(texts) => Held::Text(Arc::new(Grammar::choice(texts)?)),
        })
    }
}

impl Held {
    /// The grammar of answers.
    #[must_use]
    pub fn grammar(&self) -> &Arc<Grammar> {
        match self {
            Self::Contract(contract) => contract.grammar(),
            Self::Text(grammar) => grammar,
        }
    }

    /// What is wrong with an answer; `None` where it is right as it was written.
    #[must_use]
    pub fn broken(&self, answer: &str) -> Option<String> {
        match self {
            Self::Contract(contract) => {
                let verdict = contract.check(answer);
                let told = || verdict.violations.first().map_or("mended", |violation| &*violation.message).to_owned();
                (!verdict.valid_as_written()).then(told)
            }
            Self::Text(grammar) => (!grammar.accepts(answer)).then(|| "it is no such text".to_owned()),
        }
    }
}

/// A row of forms.
#[derive(Debug, Clone, PartialEq)]
pub struct FormRow {
    /// Where it stands.
    pub place: String,
    /// The form, or why there is none.
    pub form: Result<Form, String>,
}

/// Reads a file of forms, one to a line: `{"schema": …}`, `{"regex": "…"}` or `{"choices": ["…"]}`.
pub fn read_forms(file: &Path) -> Result<Vec<FormRow>> {
    #[derive(Deserialize)]
    struct Row {
        #[serde(default, deserialize_with = "given")]
        schema: Option<Value>,
        regex: Option<String>,
        choices: Option<Vec<String>>,
    }
    let row = r#"{"schema": …}, {"regex": "…"} or {"choices": ["…"]}"#;
    let form = |read: Row| match (read.schema, read.regex, read.choices) {
        (Some(schema), None, None) => Ok(Form::Schema(schema)),
        (None, Some(pattern), None) => Ok(Form::Regex(pattern)),
        (None, None, Some(texts)) => Ok(Form::Choices(texts)),
        _ => Err("it must have one of schema, regex and choices".to_owned()),
    };
    let rows = read_lines(file, row, form)?;
    Ok(rows.into_iter().map(|(place, form)| FormRow { place, form }).collect())
}

/// A value that is `null` is a schema too, a wrong one.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_is_a_schema_a_regular_expression_or_a_set_of_texts() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let rows = [
            r#"{"schema": {"type": "integer"}, "description": "d", "tests": []}"#,
            r#"{"regex": "[a-c]{2}"}"#,
            r#"{"choices": ["a", "b c"]}"#,
            r#"{"schema": null}"#,
            r#"{"regex": "a", "choices": ["a"]}"#,
            r#"{"choices": "a"}"#,
        ];
        std::fs::write(file.path(), rows.join("\n")).expect("rows");
        let read = read_forms(file.path()).expect("rows");
        let forms: Vec<_> = read.iter().filter_map(|row| row.form.clone().ok()).collect();
        let texts = vec!["a".to_owned(), "b c".to_owned()];
        let expected = [
            Form::Schema(json!({"type": "integer"})),
            Form::Regex("[a-c]{2}".to_owned()),
            Form::Choices(texts),
            Form::Schema(Value::Null),
        ];
        assert_eq!(forms, expected);
        for row in &read[4..] {
            assert!(row.form.as_ref().is_err_and(|reason| reason.contains(&row.place)), "{row:?}");
        }
    }

    #[test]
    fn an_answer_is_judged_by_its_form() {
        let held = |form: Form| form.held(&ContractOptions::default());
        let schema = held(Form::Schema(json!({"type": "integer"}))).expect("a schema");
        assert!(schema.broken("3").is_none() && schema.broken("\"3\"").is_some());
        let regex = held(Form::Regex("[a-c]{2}|é+".to_owned())).expect("a pattern");
        assert!(regex.broken("ab").is_none() && regex.broken("ab ").is_some() && regex.broken("abé").is_some());
        let choices = held(Form::Choices(vec!["a".to_owned()])).expect("a choice");
        assert!(choices.broken("a").is_none() && choices.broken("").is_some());
        assert!(held(Form::Choices(Vec::new())).is_err());
        let error = held(Form::Regex("a(b".to_owned())).unwrap_err().to_string();
        assert!(error.contains("a(b") && error.contains("unclosed group"), "{error}");
        assert!(held(Form::Regex("[a-z]{1000}{1000}".to_owned())).is_err());
        let error = held(Form::Regex(r"\bcat\b".to_owned())).unwrap_err().to_string();
        assert!(error.contains("edges of words"), "{error}");
    }
}

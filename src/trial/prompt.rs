//! From a query and its passages to messages.
//!
//! Everything that is the same for every query comes first (instruction, labels, answer form, static memory, worked
//! examples), so that an engine computes it once and reuses it. Ticket and passages are data: they stand in the last user
//! message, between markers, and never in the system message.

use crate::memory::Passage;
use crate::nn::chat::Message;
use crate::task::{Query, Split, Target, Task};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Texts shorter than this say too little to be a worked example.
const SHORTEST_EXAMPLE_CHARS: usize = 40;

/// A worked example for the prompt. It can only be made from the train split, by [`exemplars`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exemplar {
    id: String,
    input: String,
    answer: String,
}

/// Worked examples: for each label, train samples that have every gold part the answer form needs. Typical ones come
/// first (no tags, no person needed), and among these the shortest, since every call pays for them.
fn exemplars(task: &Task) -> Vec<Exemplar> {
    let mut chosen = Vec::new();
    for label in &task.labels {
        let mut of_label: Vec<_> = task
            .split(Split::Train)
            .filter(|sample| sample.target.label.as_deref() == Some(&label.name))
            .filter(|sample| sample.query.input.chars().count() >= SHORTEST_EXAMPLE_CHARS)
            .filter_map(|sample| Some((sample, gold_answer(task, &sample.target)?)))
            .collect();
        of_label.sort_by_key(|(sample, answer)| {
            let special = !sample.tags.is_empty() || sample.target.needs_human == Some(true);
            (special, sample.query.input.len() + answer.len(), sample.query.id.clone())
        });
        let typical = of_label.into_iter().take(task.examples_per_label);
        chosen.extend(typical.map(|(sample, answer)| {
            let Query { id, input } = sample.query.clone();
            Exemplar { id, input, answer }
        }));
    }
    chosen
}

/// The answer that a model should have given, or `None` when the gold lacks a part that the schema requires.
fn gold_answer(task: &Task, target: &Target) -> Option<String> {
    let mut parts: BTreeMap<&str, Value> = BTreeMap::new();
    parts.insert(&task.label_field, json!(target.label.as_ref()?));
    if let (Some(field), Some(answer)) = (&task.answer_field, &target.answer) {
        parts.insert(field, json!(answer));
    }
    if let (Some(field), Some(articles)) = (&task.citations_field, &target.articles) {
        parts.insert(field, json!(articles));
    }
    if let (Some(field), Some(needs_human)) = (&task.needs_human_field, target.needs_human) {
        parts.insert(field, json!(needs_human));
    }
    let required = task.schema.get("required").and_then(Value::as_array);
    let complete =
        required.is_none_or(|names| names.iter().filter_map(Value::as_str).all(|name| parts.contains_key(name)));
    // In the schema's own order: a model that writes the label first commits to it before it explains.
    let order = task.schema.get("properties").and_then(Value::as_object)?;
    let object: Map<String, Value> =
        order.keys().filter_map(|name| Some((name.clone(), parts.get(name.as_str())?.clone()))).collect();
    complete.then(|| Value::Object(object).to_string())
}

/// Makes the messages of every attempt in a cell.
#[derive(Debug, Clone)]
pub struct PromptBuilder {
    fixed: Vec<Message>,
    examples: Vec<String>,
    specialists: BTreeMap<String, String>,
}

impl PromptBuilder {
    /// A builder for one task. `fixed_text` is the static memory's.
    #[must_use]
    pub fn new(task: &Task, fixed_text: Option<&str>) -> Self {
        let mut system = task.system_prompt.trim().to_owned();
        if !task.labels.is_empty() {
            let _ = write!(system, "\n\nThe values of \"{}\":", task.label_field);
            for label in &task.labels {
                let _ = match label.description.as_str() {
                    "" => write!(system, "\n- {}", label.name),
                    description => write!(system, "\n- {}: {description}", label.name),
                };
            }
        }
        let _ = write!(system, "\n\n{}", answer_form(task));
        if let Some(text) = fixed_text {
            let _ = write!(system, "\n\nKnowledge:\n{}", text.trim());
        }
        let mut fixed = vec![Message::new("system", system)];
        let mut examples = Vec::new();
        for example in exemplars(task) {
            fixed.push(Message::new("user", user_text(&example.input, std::iter::empty(), None)));
            fixed.push(Message::new("assistant", example.answer));
            examples.push(example.id);
        }
        let specialists = task
            .specialists
            .iter()
            .filter_map(|specialist| Some((specialist.domain.clone(), specialist.prompt.clone()?)))
            .collect();
        Self { fixed, examples, specialists }
    }

    /// The messages that every prompt of this builder starts with; used to warm an engine.
    #[must_use]
    pub fn fixed(&self) -> &[Message] {
        &self.fixed
    }

    /// The ids of the train samples that stand in the prompt as worked examples: the model has seen their answers.
    #[must_use]
    pub fn examples(&self) -> &[String] {
        &self.examples
    }

    /// The messages for a query. `domain` adds that specialist's prompt.
    #[must_use]
    pub fn messages(&self, query: &Query, passages: &[Passage], domain: Option<&str>) -> Vec<Message> {
        let note = domain.and_then(|domain| self.specialists.get(domain)).map(String::as_str);
        let passages = passages.iter().map(|p| (p.id.as_str(), p.title.as_str(), p.text.as_str()));
        let mut messages = self.fixed.clone();
        messages.push(Message::new("user", user_text(&query.input, passages, note)));
        messages
    }

    /// The messages of an earlier attempt, its answer and what is wrong with it.
    #[must_use]
    pub fn repair(mut messages: Vec<Message>, completion: &str, instruction: &str) -> Vec<Message> {
        messages.push(Message::new("assistant", completion));
        messages.push(Message::new("user", instruction));
        messages
    }
}

/// The form of the answer in words, from the schema's properties.
fn answer_form(task: &Task) -> String {
    let mut text = "Answer with one JSON object and nothing else. Its properties, in this order:".to_owned();
    for (name, rules) in task.schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let kind = rules.get("type").and_then(Value::as_str).unwrap_or("value");
        let _ = write!(text, "\n- \"{name}\" ({kind})");
        if let Some(description) = rules.get("description").and_then(Value::as_str) {
            let _ = write!(text, ": {description}");
        }
    }
    text
}

fn user_text<'a>(
    input: &str,
    passages: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    note: Option<&str>,
) -> String {
    let mut text = String::new();
    let mut any = false;
    for (id, title, body) in passages {
        if !any {
            text.push_str("Articles:\n");
            any = true;
        }
        let _ = write!(text, "[{id}] {title}\n{}\n\n", body.trim());
    }
    if let Some(note) = note {
        let _ = write!(text, "Notes of the specialist:\n{}\n\n", note.trim());
    }
    let _ = write!(text, "Ticket:\n<<<\n{}\n>>>", input.trim());
    text
}

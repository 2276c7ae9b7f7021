//! The answer's schema: read and compared with the label set, or generated from it.

use super::files::{self, Fingerprint};
use super::problem::{Problems, listed, quoted, suggestion};
use super::spec::AnswerSpec;
use super::{Label, Target, Task};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

/// A schema file may not be larger, in bytes.
const LARGEST_SCHEMA: u64 = 1 << 20;

/// The schema of a task whose `task.toml` is `spec_file` in `dir`.
pub(super) fn schema(
    spec: &AnswerSpec,
    spec_file: &Path,
    dir: &Path,
    labels: &[Label],
    fingerprint: &mut Fingerprint,
    problems: &mut Problems,
) -> Option<Value> {
    let Some(path) = &spec.schema else { return generate(spec, spec_file, labels, problems) };
    let file = dir.join(path);
    let schema = read(&file, fingerprint, problems)?;
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        let reason = "is not the schema of an object: write {\"type\": \"object\", \"properties\": {…}}";
        problems.push(&file, None, reason);
        return None;
    };
    for (key, field) in fields(spec) {
        if !properties.contains_key(field) {
            let near = suggestion(field, properties.keys().map(String::as_str));
            let reason = format!("has no property {} (answer.{key} in task.toml); {near}", quoted(field));
            problems.push(&file, None, reason);
        }
    }
    if let Some(label) = properties.get(&spec.label) {
        compare_labels(&file, &spec.label, label, labels, problems);
    }
    Some(schema)
}

fn read(file: &Path, fingerprint: &mut Fingerprint, problems: &mut Problems) -> Option<Value> {
    let text = files::read_text(file, LARGEST_SCHEMA, problems)?;
    fingerprint.add("schema", text.as_bytes());
    match serde_json::from_str(&text) {
        Ok(schema) => Some(schema),
        Err(error) => {
            problems.push(file, Some(error.line()), format!("the schema is not JSON: {error}"));
            None
        }
    }
}

/// The schemas that `schema` may refer to, each by the address that a `$ref` with the file's path relative to the schema's
/// folder resolves to.
pub(super) fn references(
    spec: &AnswerSpec,
    schema: &Value,
    spec_file: &Path,
    dir: &Path,
    fingerprint: &mut Fingerprint,
    problems: &mut Problems,
) -> Vec<(String, Value)> {
    let Some(path) = &spec.schema else {
        if !spec.references.is_empty() {
            problems.push(
                spec_file,
                None,
                "answer.references needs answer.schema: a schema made of the labels refers to nothing",
            );
        }
        return Vec::new();
    };
    // The schema's own address without its last part is what relative references are relative to.
    let base = schema.get("$id").and_then(Value::as_str).and_then(|id| id.rsplit_once('/'));
    let base = base.map_or_else(String::new, |(folder, last)| match folder {
        "http:/" | "https:/" => format!("{folder}/{last}/"),
        _ => format!("{folder}/"),
    });
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for reference in &spec.references {
        let inside = reference
            .strip_prefix(folder)
            .ok()
            .filter(|inside| inside.components().all(|part| matches!(part, Component::Normal(_))));
        let Some(inside) = inside else {
            let reason = format!(
                "answer.references names {}, which is not in the folder of the schema {}: copy it there",
                reference.display(),
                path.display()
            );
            problems.push(spec_file, None, reason);
            continue;
        };
        let file = dir.join(reference);
        let real = |path: &Path| path.canonicalize().ok();
        if let (Some(file), Some(folder)) = (real(&file), real(&dir.join(folder)))
            && !file.starts_with(&folder)
        {
            let reason =
                format!("answer.references names {}, which is a link out of the schema's folder", reference.display());
            problems.push(spec_file, None, reason);
            continue;
        }
        let Some(schema) = read(&file, fingerprint, problems) else { continue };
        let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy().replace(' ', "%20")).collect();
        found.push((format!("{base}{}", parts.join("/")), schema));
    }
    found
}

/// The fields that the specification names, with the key that names each.
fn fields(spec: &AnswerSpec) -> Vec<(&'static str, &str)> {
    let optional = [("answer", &spec.answer), ("citations", &spec.citations), ("needs_human", &spec.needs_human)];
    std::iter::once(("label", spec.label.as_str()))
        .chain(optional.into_iter().filter_map(|(key, field)| Some((key, field.as_deref()?))))
        .collect()
}

fn compare_labels(file: &Path, field: &str, property: &Value, labels: &[Label], problems: &mut Problems) {
    let names: BTreeSet<&str> = labels.iter().map(|label| label.name.as_str()).collect();
    let Some(options) = property.get("enum").and_then(Value::as_array) else {
        let reason =
            format!("the property {} needs an \"enum\" with the task's labels: {}", quoted(field), listed(names));
        return problems.push(file, None, reason);
    };
    let options: BTreeSet<&str> = options.iter().map(|option| option.as_str().unwrap_or("(not a text)")).collect();
    let lacking: Vec<&str> = names.difference(&options).copied().collect();
    let foreign: Vec<&str> = options.difference(&names).copied().collect();
    if !lacking.is_empty() {
        let reason = format!("the \"enum\" of {} lacks labels of the task: {}", quoted(field), listed(lacking));
        problems.push(file, None, reason);
    }
    if !foreign.is_empty() {
        let reason = format!("the \"enum\" of {} has what is no label of the task: {}", quoted(field), listed(foreign));
        problems.push(file, None, reason);
    }
}

fn generate(spec: &AnswerSpec, spec_file: &Path, labels: &[Label], problems: &mut Problems) -> Option<Value> {
    let mut properties = Map::new();
    for (key, field) in fields(spec) {
        let property = match key {
            "label" => {
                let names: Vec<&str> = labels.iter().map(|label| label.name.as_str()).collect();
                json!({"type": "string", "enum": names})
            }
            "answer" => json!({"type": "string", "minLength": 1}),
            "citations" => json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            _ => json!({"type": "boolean"}),
        };
        if properties.insert(field.to_owned(), property).is_some() {
            let reason = format!("two keys of [answer] name the same property {}", quoted(field));
            problems.push(spec_file, None, reason);
            return None;
        }
    }
    let required: Vec<String> = properties.keys().cloned().collect();
    Some(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    }))
}

/// The answer that a model should have given, or `None` when the gold lacks a part that the schema requires.
pub(super) fn gold(task: &Task, target: &Target) -> Option<String> {
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

//! Violations in sentences that a small model can act on: what is wrong, in the words of its own answer, and what to
//! write instead.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

/// The sentence for one violation.
pub(super) fn sentence(error: &ValidationError) -> String {
    use ValidationErrorKind as Kind;
    let at = place(error.instance_path().as_str());
    let wrote = shorten(&error.instance().to_string(), 60);
    let text = match error.kind() {
        Kind::Required { property } => {
            let within = if error.instance_path().is_empty() { String::new() } else { format!(" in {at}") };
            format!("{property} is missing{within}: add it")
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().take(8).map(|name| format!("{:?}", shorten(name, 40))).collect();
            match names.as_slice() {
                [name] => format!("{name} is not allowed: remove it"),
                names => format!("{} are not allowed: remove them", names.join(", ")),
            }
        }
        Kind::Enum { options } => {
            let options = options.as_array().map(|options| options.iter().map(plain).collect::<Vec<_>>());
            format!("{at} must be one of: {}; you wrote {wrote}", shorten(&options.unwrap_or_default().join(", "), 800))
        }
        Kind::Constant { expected_value } => {
            format!("{at} must be {}; you wrote {wrote}", shorten(&expected_value.to_string(), 200))
        }
        Kind::Type { kind } => format!("{at} must be {}; you wrote {wrote}", kinds(kind)),
        Kind::MinLength { limit: 1 } => format!("{at} is empty: write some text"),
        Kind::MinLength { limit } => format!("{at} is too short: write at least {limit} characters"),
        Kind::MaxLength { limit } => format!("{at} is too long: write at most {limit} characters"),
        Kind::MinItems { limit } => format!("{at} has too few items: list at least {limit}"),
        Kind::MaxItems { limit } => format!("{at} has too many items: list at most {limit}"),
        Kind::UniqueItems => format!("{at} lists something twice: list each item once"),
        Kind::Minimum { limit } => format!("{at} must be {limit} or more; you wrote {wrote}"),
        Kind::Maximum { limit } => format!("{at} must be {limit} or less; you wrote {wrote}"),
        Kind::ExclusiveMinimum { limit } => format!("{at} must be more than {limit}; you wrote {wrote}"),
        Kind::ExclusiveMaximum { limit } => format!("{at} must be less than {limit}; you wrote {wrote}"),
        Kind::Pattern { pattern } => {
            format!("{at} must match the pattern {}; you wrote {wrote}", shorten(pattern, 120))
        }
        Kind::Format { format } => format!("{at} must be a valid {format}; you wrote {wrote}"),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            format!("{at} fits none of the allowed forms; you wrote {wrote}")
        }
        Kind::OneOfMultipleValid { .. } => format!("{at} fits several forms of which only one is allowed"),
        Kind::FalseSchema => format!("{at} is not allowed: remove it"),
        _ => format!("{at}: {}", shorten(&error.to_string(), 200)),
    };
    shorten(&text, 1000)
}

/// A JSON Pointer in words: `/citations/0` is `item 1 of "citations"`.
pub(super) fn place(pointer: &str) -> String {
    let mut text = String::new();
    for segment in pointer.split('/').skip(1) {
        let name = shorten(&segment.replace("~1", "/").replace("~0", "~"), 40);
        let is_index = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
        let step = match segment.parse::<u64>() {
            Ok(index) if is_index => format!("item {}", index.saturating_add(1)),
            _ => format!("{name:?}"),
        };
        text = if text.is_empty() { step } else { format!("{step} of {text}") };
    }
    if text.is_empty() { "the answer".to_owned() } else { shorten(&text, 200) }
}

/// A text of no more than `most` characters; what is left out is marked.
pub(super) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn kinds(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => in_words(*kind).to_owned(),
        TypeKind::Multiple(kinds) => kinds.iter().map(in_words).collect::<Vec<_>>().join(", or "),
    }
}

fn in_words(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list in [ ]",
        JsonType::Boolean => "true or false without quotes",
        JsonType::Integer => "a whole number",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "a JSON object in { }",
        JsonType::String => "a text in quotes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_as_a_reader_would() {
        assert_eq!(place(""), "the answer");
        assert_eq!(place("/category"), "\"category\"");
        assert_eq!(place("/citations/0"), "item 1 of \"citations\"");
        assert_eq!(place("/a~1b/c~0d"), "\"c~d\" of \"a/b\"");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöü", 2), "äö…");
    }
}

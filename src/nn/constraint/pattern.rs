//! Patterns of JSON Schema, in what the grammar's compiler understands of them.
//!
//! Its regular expressions have neither look-around nor references back, read a bracket within a class as a class of its
//! own, and let a quote through a class that excludes it together with no control character. What cannot be said is left
//! out so that more is allowed, never less: an answer is checked by the whole pattern all the same.

use regex::{Regex, RegexBuilder};

/// Bytes of a compiled regular expression at most.
const LARGEST_REGEX: usize = 4 << 20;

/// Texts that match a regular expression as a whole; or why it cannot be used, on one line.
pub fn whole_match(pattern: &str) -> Result<Regex, String> {
    // Alone first, so that a bracket too many does not close ours.
    let compiled = |pattern: &str| RegexBuilder::new(pattern).size_limit(LARGEST_REGEX).build();
    compiled(pattern).and_then(|_| compiled(&format!(r"\A(?:{pattern})\z"))).map_err(|error| match error {
        regex::Error::Syntax(told) => {
            let told = told.trim_end().rsplit('\n').next().unwrap_or_default();
            told.strip_prefix("error: ").unwrap_or(told).to_owned()
        }
        regex::Error::CompiledTooBig(most) => format!("it takes more than {most} bytes when it is compiled"),
        other => other.to_string(),
    })
}

/// Any text: what stands for a part that cannot be said.
const ANYTHING: &str = "(?s:.*)";

/// The pattern as the grammar takes it, and whether it allows more than was asked for.
pub(super) fn for_grammar(pattern: &str) -> (String, bool) {
    let characters: Vec<char> = pattern.chars().collect();
    let mut said = String::with_capacity(pattern.len());
    let mut widened = false;
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let rest = &characters[at..];
        let taken = match rest {
            ['\\', 'b' | 'B', ..] => {
                widened = true;
                2
            }
            ['\\', '1'..='9', ..] | ['\\', 'k', '<', ..] => {
                widened = true;
                said.push_str(ANYTHING);
                let named = rest[1] == 'k';
                let after = rest[2..].iter().position(|c| if named { *c == '>' } else { !c.is_ascii_digit() });
                after.map_or(rest.len(), |after| 2 + after + usize::from(named))
            }
            // A bracket that is escaped for no reason would be the edge of a word.
            ['\\', edge @ ('<' | '>'), ..] => {
                said.push(*edge);
                2
            }
            ['\\', other, ..] => {
                said.extend(['\\', *other]);
                2
            }
            ['(', '?', '=' | '!', ..] | ['(', '?', '<', '=' | '!', ..] => {
                widened = true;
                group(rest)
            }
            ['[', ..] => class(rest, &mut said),
            _ => {
                said.push(character);
                1
            }
        };
        at += taken;
    }
    (said, widened)
}

/// Patterns that say together what this one says: what is looked ahead for at its beginning, then the rest.
pub(super) fn all_of(pattern: &str) -> Vec<String> {
    let characters: Vec<char> = pattern.chars().collect();
    let Some(mut rest) = characters.strip_prefix(&['^']) else { return vec![pattern.to_owned()] };
    // What stands behind a bar at the outermost level is not looked ahead from.
    if has_alternatives(&characters) {
        return vec![pattern.to_owned()];
    }
    let mut parts = Vec::new();
    while rest.starts_with(&['(', '?', '=']) {
        let (ahead, after) = rest.split_at(group(rest));
        // One that does not end, or is repeated, is left to others.
        if ahead.last() != Some(&')') || after.first().is_some_and(|next| "*+?{".contains(*next)) {
            break;
        }
        parts.push(format!("^(?:{})", ahead[3..ahead.len() - 1].iter().collect::<String>()));
        rest = after;
    }
    parts.push(format!("^{}", rest.iter().collect::<String>()));
    parts
}

/// Whether a pattern has a bar outside of all groups.
fn has_alternatives(characters: &[char]) -> bool {
    let mut at = 0;
    while let Some(character) = characters.get(at) {
        at += match character {
            '|' => return true,
            '\\' => 2,
            '(' => group(&characters[at..]),
            '[' => class(&characters[at..], &mut String::new()),
            _ => 1,
        };
    }
    false
}

/// Characters of the group that begins here; all that is left where it does not end.
fn group(characters: &[char]) -> usize {
    let (mut open, mut in_class, mut at) = (0, false, 0);
    while let Some(character) = characters.get(at) {
        match character {
            '\\' => at += 1,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => open += 1,
            ')' if !in_class => {
                open -= 1;
                if open == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    characters.len()
}

/// Says a class of characters; returns how many of the pattern it takes.
fn class(characters: &[char], said: &mut String) -> usize {
    said.push('[');
    let mut at = 1;
    if characters.get(at) == Some(&'^') {
        said.push('^');
        at += 1;
        // `[^]` is a class of its own, of every character.
        if characters.get(at) != Some(&']') {
            said.push_str(r"\x00-\x1F");
        }
    }
    while let Some(&character) = characters.get(at) {
        match (character, characters.get(at + 1)) {
            ('\\', Some('b')) => said.push_str(r"\x08"),
            ('\\', Some(edge @ ('<' | '>'))) => said.push(*edge),
            ('\\', Some(other)) => said.extend(['\\', *other]),
            ('[' | '&' | '~', _) => said.extend(['\\', character]),
            _ => said.push(character),
        }
        at += if character == '\\' { 2 } else { 1 };
        if character == ']' {
            return at;
        }
    }
    characters.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_ahead_for_at_the_beginning_is_a_pattern_of_its_own() {
        for (pattern, parts) in [
            (r"^(?=.*\d)(?=.*[)A-Z]).{8,20}$", &[r"^(?:.*\d)", r"^(?:.*[)A-Z])", "^.{8,20}$"][..]),
            ("^(?=a|b)(?!c)d", &["^(?:a|b)", "^(?!c)d"]),
            ("^a(?=b)", &["^a(?=b)"]),
            ("^(?=9)99$|^b$", &["^(?=9)99$|^b$"]),
            (r"^(?=9)(9|[|]\|)$", &["^(?:9)", r"^(9|[|]\|)$"]),
            ("(?=b)a", &["(?=b)a"]),
            ("^(?=b)*a", &["^(?=b)*a"]),
            ("^(?=b", &["^(?=b"]),
        ] {
            assert_eq!(all_of(pattern), parts, "{pattern}");
        }
    }

    #[test]
    fn what_the_grammar_cannot_say_is_left_out_so_that_more_is_allowed() {
        for (pattern, said, widened) in [
            (r"^[a-z]+\.(b|c){2}$", r"^[a-z]+\.(b|c){2}$", false),
            (r"^(?=.*[)A-Z])(?=.*\)).{8,20}$", r"^.{8,20}$", true),
            (r"^(?!x-)[a-z]+(?<!y)$", r"^[a-z]+$", true),
            (r"\bfoo\b", r"foo", true),
            (r"^(a+)-\12?$", r"^(a+)-(?s:.*)?$", true),
            (r"(?<x>a)\k<x>b", r"(?<x>a)(?s:.*)b", true),
            (r#"^"[^"\\]{2,4}"$"#, r#"^"[^\x00-\x1F"\\]{2,4}"$"#, false),
            (r"[[&&~\b\<]\<", r"[\[\&\&\~\x08<]<", false),
            (r"[^]a]", r"[^]a]", false),
            (r"(?:a|(?=b)", r"(?:a|", true),
            (r"(?=(a", "", true),
            (r"[a", "[a", false),
            (r"\", r"\", false),
        ] {
            assert_eq!(for_grammar(pattern), (said.to_owned(), widened), "{pattern}");
        }
    }
}

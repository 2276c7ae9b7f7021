//! Instructions that reach the assistant by way of a text: from its user, from a document, from the output of a tool.
//!
//! An injected instruction is told by what it acts on: the assistant's own instructions, identity, limits, tools, output or
//! secrecy. "Ignore my previous ticket" and "act as an interviewer" are ordinary language and must not fire, so each rule
//! names such an object. Rules are strong, and fire alone, or hints, which fire where two different ones stand near
//! each other. What is quoted in talk about attacks is a hint too: the finding stands, marked weak.

mod acts;
mod languages;
mod rules;

use super::decode::{hidden, played, spelled};
use super::normal::{Folded, folded_pattern};
use super::{Certainty, Finding, FindingKind};
use regex::Regex;
use std::sync::LazyLock;

/// The families of attacks.
pub const FAMILIES: [&str; 11] = [
    "override",
    "persona",
    "jailbreak",
    "prompt_extraction",
    "exfiltration",
    "tool_misuse",
    "output_control",
    "secrecy",
    "addressed_to_assistant",
    "delimiter",
    "memory_poisoning",
];

/// Hints of different rules count together within so many bytes.
const TOGETHER: usize = 600;

/// How much a match says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strength {
    /// Enough alone.
    Strong,
    /// Not enough alone.
    Hint,
}

/// Family, rule, strength, pattern over folded text.
type Spec = (&'static str, &'static str, Strength, &'static str);

struct Rule {
    family: &'static str,
    name: &'static str,
    strength: Strength,
    pattern: Regex,
}

fn specs() -> impl Iterator<Item = &'static Spec> {
    rules::RULES.iter().chain(acts::RULES).chain(languages::RULES)
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    specs()
        .filter_map(|&(family, name, strength, pattern)| {
            Some(Rule { family, name, strength, pattern: Regex::new(&with_constants(pattern)).ok()? })
        })
        .collect()
});

/// Rules over letters without spaces, for text whose letters stand apart.
static SQUEEZED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = r"(?:ignore|disregard|forget|bypass|override)(?:all|any|the|every|your|my|of|these|those)*(?:previous|prior|above|earlier|preceding|system|safety|given)*(?:instruction|rule|prompt|guideline|restriction|safet)|(?:reveal|show|print|repeat|output|tellme|giveme|leak|dump)(?:me|us|the|your|all|its|full|entire|hidden|secret)*(?:systemprompt|instructions|prompt|secret|password|apikey|credentials)|doanythingnow|developermode|jailbreak|youarenow(?:dan|free|unrestricted|un)|without(?:any)?(?:restrictions|filters|rules|limits)|(?:send|forward|e?mail|upload|post|export)(?:all|the|our|your|every|private|full|entire)*(?:customer|client|user|employee|guest|private|confidential)(?:s|list|data|database|records|emails|info|details)|(?:vergiss|ignoriere)(?:alle|die|deine)*(?:bisherigen|vorherigen)*(?:anweisungen|regeln)";
    Regex::new(pattern).ok()
});

/// The pattern with its constants in place, folded, with word boundaries of ASCII: those of Unicode are slow.
pub(super) fn with_constants(pattern: &str) -> String {
    let mut text = pattern.to_owned();
    for (name, value) in rules::CONSTANTS {
        text = text.replace(name, value);
    }
    folded_pattern(&text.replace(r"\b", r"(?-u:\b)"))
}

/// A match in the folded text or in a view of it.
struct Hit {
    rule: &'static Rule,
    start: usize,
    end: usize,
    /// Whether it is only talked about.
    quoted: bool,
}

/// Every match of every rule; they may overlap.
pub(super) fn find(text: &str) -> Vec<Finding> {
    let folded = Folded::of(text);
    let mut hits = hits_in(&folded);
    for view in played(&folded) {
        hits.extend(hits_in(&view));
    }
    let mut findings: Vec<Finding> = sure(hits)
        .into_iter()
        .map(|(hit, certainty)| finding(hit.rule.family, hit.rule.name, certainty, hit.start, hit.end))
        .collect();
    for inner in hidden(text) {
        let found = sure(hits_in(&Folded::of(&inner.text)));
        if let Some((hit, certainty)) = found.into_iter().find(|(_, certainty)| *certainty > Certainty::Weak) {
            findings.push(finding(hit.rule.family, hit.rule.name, certainty, inner.start, inner.end));
        }
    }
    let squeezed = |text: &str| SQUEEZED.as_ref().is_some_and(|pattern| pattern.is_match(text));
    findings.extend(
        spelled(&folded)
            .into_iter()
            .filter(|run| squeezed(&run.text))
            .map(|run| finding("override", "letters_apart", Certainty::Pattern, run.start, run.end)),
    );
    findings
}

fn finding(family: &str, rule: &str, certainty: Certainty, start: usize, end: usize) -> Finding {
    Finding { kind: FindingKind::Injection, entity: family.to_owned(), rule: rule.to_owned(), certainty, start, end }
}

fn hits_in(folded: &Folded) -> Vec<Hit> {
    let mut hits = Vec::new();
    for rule in RULES.iter() {
        for hit in rule.pattern.find_iter(&folded.text) {
            if let Some((start, end)) = folded.original(hit.start(), hit.end()) {
                hits.push(Hit { rule, start, end, quoted: is_quoted(&folded.text, hit.start(), hit.end()) });
            }
        }
    }
    hits
}

/// How sure each match is: hints need another rule's match beside them.
fn sure(mut hits: Vec<Hit>) -> Vec<(Hit, Certainty)> {
    hits.sort_by_key(|hit| hit.start);
    let names: Vec<(usize, &str)> =
        hits.iter().filter(|hit| !hit.quoted).map(|hit| (hit.start, hit.rule.name)).collect();
    let accompanied = |hit: &Hit| {
        let from = names.partition_point(|(start, _)| start + TOGETHER < hit.start);
        names
            .iter()
            .skip(from)
            .take_while(|(start, _)| *start <= hit.start + TOGETHER)
            .any(|(_, name)| *name != hit.rule.name)
    };
    let certainties: Vec<Certainty> = hits
        .iter()
        .map(|hit| match hit.rule.strength {
            _ if hit.quoted => Certainty::Weak,
            Strength::Strong => Certainty::Pattern,
            Strength::Hint if accompanied(hit) => Certainty::Pattern,
            Strength::Hint => Certainty::Weak,
        })
        .collect();
    hits.into_iter().zip(certainties).collect()
}

/// Whether a match is an example in talk about such texts: it stands in quotation marks, and around it is said what it is.
fn is_quoted(text: &str, start: usize, end: usize) -> bool {
    static TALK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(rules::TALK).ok());
    let quote = |c: char| matches!(c, '"' | '\'' | '`');
    let window = |from: usize, to: usize| {
        let bound = |mut at: usize, up: bool| {
            while !text.is_char_boundary(at) {
                at = if up { at + 1 } else { at - 1 };
            }
            at
        };
        &text
            [bound(from.min(text.len()), true)..bound(to.min(text.len()), false).max(bound(from.min(text.len()), true))]
    };
    let before = window(start.saturating_sub(120), start);
    let after = window(end, end + 120);
    // An apostrophe within a word is no quotation mark: the mark stands before or behind a space or an end.
    let opened = before
        .char_indices()
        .any(|(at, c)| quote(c) && before[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric()))
        || text[start..].starts_with(quote);
    let closed = after
        .char_indices()
        .any(|(at, c)| quote(c) && after[at + 1..].chars().next().is_none_or(|c| !c.is_alphanumeric()))
        || text[..end].ends_with(quote);
    opened && closed && TALK.as_ref().is_some_and(|talk| talk.is_match(before) || talk.is_match(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_every_family_is_listed() {
        for &(family, name, _, pattern) in specs() {
            let made = Regex::new(&with_constants(pattern));
            assert!(made.is_ok(), "{name}: {made:?}");
            assert!(FAMILIES.contains(&family), "{family}");
        }
        assert_eq!(RULES.len(), specs().count());
        assert!(SQUEEZED.is_some() && Regex::new(rules::TALK).is_ok());
    }
}

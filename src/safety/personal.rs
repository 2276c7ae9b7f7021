//! Personal data and secrets, by validated patterns.

use super::checksum::{dni, iban, luhn};
use super::{Finding, FindingKind};
use regex::{Match, Regex};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// A pattern, and the check that a match must pass.
struct Rule {
    name: &'static str,
    /// Matches the data; with a group named `value`, that group alone is the data.
    pattern: Regex,
    /// Whether a match is one, given what stands before and after it.
    valid: fn(before: &str, found: &str, after: &str) -> bool,
}

/// Pattern texts are constants that a test compiles, so that they cannot fail on input.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rules: [(&str, &str, fn(&str, &str, &str) -> bool); 16] = [
        ("email", r"(?i)[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}", whole_word),
        ("iban", r"(?i)\b[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3})?", |b, f, a| {
            apart(b, a) && iban(f)
        }),
        ("card", r"\b\d(?:[ -]?\d){12,18}\b", |b, f, a| apart_number(b, a) && card(f)),
        ("ip", r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", |b, f, a| apart_number(b, a) && ipv4(f)),
        ("ip", r"(?i)[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}", |b, f, a| apart(b, a) && ipv6(f)),
        ("national_id", r"\b\d{3}-\d{2}-\d{4}\b", |b, f, a| apart_number(b, a) && us_ssn(f)),
        ("national_id", r"(?i)\b[a-ceghj-prstw-z][a-ceghj-nprstw-z] ?\d{2} ?\d{2} ?\d{2} ?[a-d]\b", apart_word),
        ("national_id", r"(?i)\b(?:[xyz]\d{7}|\d{8})-?[a-z]\b", |b, f, a| apart(b, a) && dni(f)),
        (
            "phone",
            r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,5}(?:[ ./-]?\d{2,5}){1,5}(?: ?(?:x|ext\.? ?)\d{1,6})?",
            |b, f, a| apart_number(b, a) && phone_digits(f),
        ),
        (
            "phone",
            r"(?:\(\d{2,5}\) ?\d{2,5}|\d{2,5}[ .-]\d{2,5})(?:[ .-]\d{2,5}){1,4}(?: ?(?:x|ext\.? ?)\d{1,6})?",
            grouped_phone,
        ),
        (
            "phone",
            r"(?i)\b(?:phone|telephone|tel|mobile|cell|fax|call(?: me| us| him| her)?(?: back)?|reach me|ring me|text me|whatsapp)\b(?: number| no\.?| nr\.?)?(?: is| at| on| under|:| -)*[ .:]*(?P<value>\+?\(?\d[\d() ./-]{5,18}\d(?: ?(?:x|ext\.? ?)\d{1,6})?)",
            |b, f, a| apart_number(b, a) && phone_digits(f),
        ),
        (
            "password",
            r#"(?i)\b(?:password|passwd|passwort|pwd|passcode|passphrase|pin)\b(?P<sep> ?(?:is|was|are|[:=]|->) ?:? ?)["'`]?(?P<value>[^\s"'`]{4,128})"#,
            |before, found, _| secret(before, found),
        ),
        (
            "api_key",
            r"\b(?:sk-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|AIza[0-9A-Za-z_-]{30,45}|hf_[A-Za-z0-9]{30,60}|glpat-[A-Za-z0-9_-]{20,60}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})",
            |_, _, _| true,
        ),
        (
            "api_key",
            r#"(?i)\b(?:api[ _-]?key|access[ _-]?key|secret[ _-]?key|client[ _-]?secret|auth[ _-]?token|access[ _-]?token|bearer)\b ?[:=]? ?["'`]?(?P<value>[a-z0-9_+/=.-]{16,})"#,
            |_, found, _| has_digit(found),
        ),
        (
            "private_key",
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\z)",
            |_, _, _| true,
        ),
        ("password", r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,64}:(?P<value>[^\s/@]{1,128})@", |_, found, _| {
            !placeholder(found)
        }),
    ];
    rules
        .into_iter()
        .filter_map(|(name, pattern, valid)| Some(Rule { name, pattern: Regex::new(pattern).ok()?, valid }))
        .collect()
});

/// Every match of every rule; they may overlap.
pub(super) fn find(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in RULES.iter() {
        let mut from = 0;
        // A match that fails its check must not hide one that begins inside it, but a long run of failures must not
        // cost quadratic time either: the search goes on behind the first word of the failed match.
        while let Some(captures) = rule.pattern.captures_at(text, from) {
            let Some(whole) = captures.get(0) else { break };
            let data = captures.name("value").unwrap_or(whole);
            let data = trimmed(text, data, rule.name);
            if !data.is_empty() && (rule.valid)(&text[..data.start], &text[data.clone()], &text[data.end..]) {
                from = whole.end().max(data.end);
                found.push(Finding {
                    kind: FindingKind::PersonalData,
                    rule: rule.name.to_owned(),
                    start: data.start,
                    end: data.end,
                });
            } else {
                from = next_word(text, whole.start());
            }
            if from > text.len() {
                break;
            }
        }
    }
    found
}

/// The match without punctuation that ends the sentence around a secret.
fn trimmed(text: &str, data: Match<'_>, rule: &str) -> std::ops::Range<usize> {
    let found = &text[data.range()];
    let kept = if rule == "password" { found.trim_end_matches(['.', ',', ';', ':', ')', '!', '?']) } else { found };
    data.start()..data.start() + kept.len()
}

/// The start of the next run of letters or digits behind the one at `at`.
fn next_word(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let skipped = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    let gap = rest[skipped..].find(char::is_alphanumeric).unwrap_or(rest.len() - skipped);
    (at + skipped + gap).max(at + rest.chars().next().map_or(1, char::len_utf8))
}

fn apart(before: &str, after: &str) -> bool {
    !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric)
}

fn whole_word(before: &str, _found: &str, after: &str) -> bool {
    apart(before, after) && !before.ends_with(['.', '@'])
}

fn apart_word(before: &str, _found: &str, after: &str) -> bool {
    apart(before, after)
}

/// Whether a number stands alone and is not a piece of a longer number, version, id, path or amount.
fn apart_number(before: &str, after: &str) -> bool {
    let mut next = after.chars();
    let goes_on = match next.next() {
        Some(c) if c.is_alphanumeric() || c == '_' => true,
        Some('.' | '-' | ',' | '/' | ':') => next.next().is_some_and(|c| c.is_ascii_digit()),
        _ => false,
    };
    !goes_on
        && !before.ends_with(|c: char| {
            c.is_alphanumeric() || matches!(c, '#' | '_' | '-' | '/' | '.' | ',' | '€' | '$' | '£')
        })
}

fn card(found: &str) -> bool {
    // The first digit is that of an industry that issues cards: travel, banking, merchandising.
    found.starts_with(['2', '3', '4', '5', '6']) && luhn(found)
}

fn ipv4(found: &str) -> bool {
    found.parse::<Ipv4Addr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified() && ip.octets()[0] != 255)
}

fn ipv6(found: &str) -> bool {
    found.len() > 6 && found.parse::<Ipv6Addr>().is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn us_ssn(found: &str) -> bool {
    let mut parts = found.split('-');
    let (area, group, serial) = (parts.next(), parts.next(), parts.next());
    area.is_some_and(|a| a != "000" && a != "666" && !a.starts_with('9'))
        && group != Some("00")
        && serial != Some("0000")
}

fn digits(found: &str) -> usize {
    found.chars().filter(char::is_ascii_digit).count()
}

fn phone_digits(found: &str) -> bool {
    // The extension adds up to six digits to the fifteen of E.164.
    (7..=21).contains(&digits(found)) && !date(found)
}

/// A number in groups without a plus or a word that says "phone".
fn grouped_phone(before: &str, found: &str, after: &str) -> bool {
    let groups: Vec<&str> = found.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let area = found.starts_with('(') || found.starts_with('0');
    let quads = groups.len() > 2 && groups.iter().all(|group| group.len() >= 4);
    let tail = groups.iter().skip(1).all(|group| group.len() >= 3);
    apart_number(before, after)
        && (8..=21).contains(&digits(found))
        && (area || (tail && !quads))
        && !date(found)
        && !us_ssn_shape(&groups)
        && !(thousands(&groups) && !area && !found.contains('-'))
}

/// Whether groups look like one large number with separators of thousands.
fn thousands(groups: &[&str]) -> bool {
    groups.iter().skip(1).all(|group| group.len() == 3) && groups.first().is_some_and(|group| group.len() <= 3)
}

fn us_ssn_shape(groups: &[&str]) -> bool {
    matches!(groups, [a, b, c] if (a.len(), b.len(), c.len()) == (3, 2, 4))
}

/// Whether digits in groups are a date: a year at one end and two groups that a month and a day can be.
fn date(found: &str) -> bool {
    let groups: Vec<&str> = found.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let year = |g: &str| g.len() == 4 && (g.starts_with("19") || g.starts_with("20"));
    let small = |g: &str| g.len() <= 2 && g.parse::<u32>().is_ok_and(|n| (1..=31).contains(&n));
    match groups.as_slice() {
        [a, b, c, ..] => (year(a) && small(b) && small(c)) || (small(a) && small(b) && year(c)),
        _ => false,
    }
}

fn has_digit(found: &str) -> bool {
    found.chars().any(|c| c.is_ascii_digit())
}

/// Whether what follows "password" is a value and not the rest of a sentence, such as "expired" or "not working".
fn secret(before: &str, found: &str) -> bool {
    let assigned = before.trim_end_matches(['"', '\'', '`', ' ']).ends_with('=');
    let mixed = has_digit(found)
        || found.chars().any(|c| matches!(c, '!' | '@' | '#' | '$' | '%' | '^' | '&' | '*' | '_' | '+' | '='))
        || found.chars().skip(1).any(char::is_uppercase) && found.chars().any(char::is_lowercase);
    !placeholder(found) && (assigned || mixed)
}

/// Whether the value was redacted already.
fn placeholder(found: &str) -> bool {
    found.starts_with('[')
        && found.trim_start_matches('[').starts_with(|c: char| c.is_ascii_uppercase())
        && found.contains(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(RULES.len(), 16);
    }
}

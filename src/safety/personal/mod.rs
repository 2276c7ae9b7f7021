//! Personal data and secrets. A rule is a pattern that proposes a place and a judge that looks at it closely: checksum,
//! lengths, prefixes, what stands around it.
//!
//! Time is linear: patterns have bounded repeats (the `regex` crate never backtracks), judges look at a bounded window, and
//! a refused place moves the search on by a word.

mod contact;
mod identity;
mod money;
mod names;
mod phone;
mod secret;
mod weak;

use super::{Certainty, Finding, FindingKind};
use regex::Regex;
use std::sync::LazyLock;

/// The types, with the words that stand for them in placeholders. Names are Presidio's where it has one.
pub const ENTITIES: [(&str, &str); 37] = [
    ("EMAIL_ADDRESS", "EMAIL"),
    ("PHONE_NUMBER", "PHONE"),
    ("IP_ADDRESS", "IP"),
    ("MAC_ADDRESS", "MAC"),
    ("CREDIT_CARD", "CARD"),
    ("IBAN_CODE", "IBAN"),
    ("US_SSN", "US_SSN"),
    ("US_ITIN", "US_ITIN"),
    ("US_PASSPORT", "PASSPORT"),
    ("US_DRIVER_LICENSE", "DRIVER_LICENSE"),
    ("UK_NHS", "UK_NHS"),
    ("UK_NINO", "UK_NINO"),
    ("DE_TAX_ID", "DE_TAX_ID"),
    ("FR_NIR", "FR_NIR"),
    ("ES_NIF", "ES_NIF"),
    ("ES_NIE", "ES_NIE"),
    ("IT_FISCAL_CODE", "IT_FISCAL_CODE"),
    ("PL_PESEL", "PL_PESEL"),
    ("NL_BSN", "NL_BSN"),
    ("BE_NRN", "BE_NRN"),
    ("CH_AHV", "CH_AHV"),
    ("FI_PERSONAL_IDENTITY_CODE", "FI_ID"),
    ("SE_PERSONNUMMER", "SE_ID"),
    ("BR_CPF", "BR_CPF"),
    ("IN_AADHAAR", "IN_AADHAAR"),
    ("IN_PAN", "IN_PAN"),
    ("SG_NRIC_FIN", "SG_NRIC"),
    ("AU_TFN", "AU_TFN"),
    ("CA_SIN", "CA_SIN"),
    ("KR_RRN", "KR_RRN"),
    ("DATE_OF_BIRTH", "DATE_OF_BIRTH"),
    ("PASSWORD", "PASSWORD"),
    ("API_KEY", "API_KEY"),
    ("ACCESS_TOKEN", "TOKEN"),
    ("PRIVATE_KEY", "PRIVATE_KEY"),
    ("PERSON", "PERSON"),
    ("ADDRESS", "ADDRESS"),
];

/// Other people's names for the types above.
const ALIASES: [(&str, &str); 29] = [
    ("EMAIL", "EMAIL_ADDRESS"),
    ("E_MAIL", "EMAIL_ADDRESS"),
    ("PHONE", "PHONE_NUMBER"),
    ("TELEPHONE", "PHONE_NUMBER"),
    ("TELEPHONE_NUMBER", "PHONE_NUMBER"),
    ("MOBILE", "PHONE_NUMBER"),
    ("IP", "IP_ADDRESS"),
    ("IPV4", "IP_ADDRESS"),
    ("IPV6", "IP_ADDRESS"),
    ("MAC", "MAC_ADDRESS"),
    ("CARD", "CREDIT_CARD"),
    ("CREDITCARD", "CREDIT_CARD"),
    ("CARD_NUMBER", "CREDIT_CARD"),
    ("CREDIT_CARD_NUMBER", "CREDIT_CARD"),
    ("IBAN", "IBAN_CODE"),
    ("SSN", "US_SSN"),
    ("SOCIAL_SECURITY_NUMBER", "US_SSN"),
    ("DOB", "DATE_OF_BIRTH"),
    ("BIRTH_DATE", "DATE_OF_BIRTH"),
    ("NAME", "PERSON"),
    ("FULL_NAME", "PERSON"),
    ("STREET_ADDRESS", "ADDRESS"),
    ("NINO", "UK_NINO"),
    ("NHS", "UK_NHS"),
    ("DNI", "ES_NIF"),
    ("NIE", "ES_NIE"),
    ("SECRET", "API_KEY"),
    ("JWT", "ACCESS_TOKEN"),
    ("TOKEN", "ACCESS_TOKEN"),
];

/// The type that a name stands for, whatever its case and its separators; `None` where no rule looks for such a type.
#[must_use]
pub fn canonical(name: &str) -> Option<&'static str> {
    let upper = name.trim().to_uppercase().replace([' ', '-'], "_");
    let wanted = ALIASES.iter().find(|(alias, _)| *alias == upper).map_or(upper.as_str(), |(_, name)| name);
    ENTITIES.iter().map(|(name, _)| *name).find(|name| *name == wanted)
}

/// The word for a type in a placeholder.
pub(super) fn placeholder_word(entity: &str) -> &str {
    ENTITIES.iter().find(|(name, _)| *name == entity).map_or("DATA", |(_, word)| word)
}

/// A place that a pattern proposes.
struct Place<'a> {
    text: &'a str,
    start: usize,
    end: usize,
}

/// What a judge makes of a place: the part of it that is the data.
type Verdict = Option<(usize, usize, Certainty)>;

/// Type, name, pattern, judge. Where the pattern has a group, the group is the place.
type Spec = (&'static str, &'static str, &'static str, fn(&Place<'_>) -> Verdict);

struct Rule {
    entity: &'static str,
    name: &'static str,
    pattern: Regex,
    grouped: bool,
    judge: fn(&Place<'_>) -> Verdict,
}

fn specs() -> impl Iterator<Item = &'static Spec> {
    let tables: [&'static [Spec]; 6] =
        [contact::RULES, phone::RULES, money::RULES, identity::RULES, secret::RULES, weak::RULES];
    tables.into_iter().flatten()
}

/// Pattern texts are constants that a test compiles, so that they cannot fail on input.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    specs()
        .filter_map(|&(entity, name, pattern, judge)| {
            let pattern = Regex::new(pattern).ok()?;
            let grouped = pattern.captures_len() > 1;
            Some(Rule { entity, name, pattern, grouped, judge })
        })
        .collect()
});

/// Every match of every rule; they may overlap.
pub(super) fn find(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in RULES.iter() {
        let mut from = 0;
        while let Some((whole, place)) = rule.next(text, from) {
            from = match (rule.judge)(&place) {
                Some((start, end, certainty)) => {
                    found.push(Finding {
                        kind: FindingKind::PersonalData,
                        entity: rule.entity.to_owned(),
                        rule: rule.name.to_owned(),
                        certainty,
                        start,
                        end,
                    });
                    end.max(whole.start + 1)
                }
                None => next_word(text, whole.start),
            };
            while !text.is_char_boundary(from) {
                from += 1;
            }
        }
    }
    found
}

impl Rule {
    fn next<'a>(&self, text: &'a str, from: usize) -> Option<(std::ops::Range<usize>, Place<'a>)> {
        if from > text.len() {
            return None;
        }
        if !self.grouped {
            let range = self.pattern.find_at(text, from)?.range();
            return Some((range.clone(), Place { text, start: range.start, end: range.end }));
        }
        let groups = self.pattern.captures_at(text, from)?;
        let whole = groups.get(0)?.range();
        let place = groups.iter().skip(1).flatten().next().map_or(whole.clone(), |group| group.range());
        Some((whole, Place { text, start: place.start, end: place.end }))
    }
}

/// The start of the next run of letters or digits behind the one at `at`.
fn next_word(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let skipped = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    let gap = rest[skipped..].find(char::is_alphanumeric).unwrap_or(rest.len() - skipped);
    at + (skipped + gap).max(1)
}

impl<'a> Place<'a> {
    fn found(&self) -> &'a str {
        &self.text[self.start..self.end]
    }

    fn before(&self) -> &'a str {
        &self.text[..self.start]
    }

    fn after(&self) -> &'a str {
        &self.text[self.end..]
    }

    /// All of the place.
    #[expect(clippy::unnecessary_wraps, reason = "the form of a verdict")]
    fn whole(&self, certainty: Certainty) -> Verdict {
        Some((self.start, self.end, certainty))
    }

    /// Some bytes before the place, to find words in.
    fn window_before(&self, bytes: usize) -> &'a str {
        let mut from = self.start.saturating_sub(bytes);
        while !self.text.is_char_boundary(from) {
            from += 1;
        }
        &self.text[from..self.start]
    }

    /// Some bytes behind the place.
    fn window_after(&self, bytes: usize) -> &'a str {
        let mut to = (self.end + bytes).min(self.text.len());
        while !self.text.is_char_boundary(to) {
            to -= 1;
        }
        &self.text[self.end..to]
    }

    /// What stands shortly before the place in its own line and sentence; the point of `tel.` or `no.` ends none.
    fn clause_before(&self) -> &'a str {
        let window = self.window_before(64);
        let ends = |(at, mark): (usize, char)| match mark {
            '\n' => true,
            '.' | '!' | '?' => {
                let word = window[..at].rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                window[at + 1..].starts_with(char::is_whitespace) && word.len() > 3
            }
            _ => false,
        };
        window.char_indices().rev().find(|&end| ends(end)).map_or(window, |(at, _)| &window[at + 1..])
    }

    /// Whether the words stand shortly before the place.
    fn follows(&self, words: &Regex) -> bool {
        words.is_match(self.window_before(64))
    }

    /// Whether the words stand shortly before or right behind the place.
    fn near(&self, words: &Regex) -> bool {
        self.follows(words) || words.is_match(self.window_after(24))
    }

    /// Whether no letter, digit or underscore touches it.
    fn apart(&self) -> bool {
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        !self.before().ends_with(joins) && !self.after().starts_with(joins)
    }

    /// Whether it is apart, and no piece of a longer number, version, path or amount.
    fn apart_number(&self) -> bool {
        let mut next = self.after().chars();
        let goes_on =
            matches!(next.next(), Some('.' | '-' | ',' | '/' | ':')) && next.next().is_some_and(|c| c.is_ascii_digit());
        let mut back = self.before().chars().rev();
        let came_before = match back.next() {
            Some('/' | '.' | ',' | '€' | '$' | '£' | '=' | '+' | '#' | '@') => true,
            Some('-' | ':') => back.next().is_some_and(char::is_alphanumeric),
            _ => false,
        };
        self.apart() && !goes_on && !came_before
    }

    /// Whether it is apart, and no digits go on behind a point or a dash.
    fn apart_digits(&self) -> bool {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        let mut next = self.after().chars();
        let goes_on = matches!(next.next(), Some('.' | '-')) && digit(next.next());
        let mut back = self.before().chars().rev();
        let came_before = matches!(back.next(), Some('.' | '-')) && digit(back.next());
        self.apart() && !goes_on && !came_before
    }
}

/// The runs of digits of a text, with their places in it.
fn groups(text: &str) -> Vec<(usize, &str)> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|group| !group.is_empty())
        .map(|group| (group.as_ptr() as usize - text.as_ptr() as usize, group))
        .collect()
}

/// Whether digits in groups are a date: a year at one end and two groups that a month and a day can be.
fn is_date(found: &str) -> bool {
    let groups: Vec<&str> = groups(found).into_iter().map(|(_, group)| group).collect();
    let year = |g: &str| g.len() == 4 && (g.starts_with("19") || g.starts_with("20"));
    let small = |g: &str| g.len() <= 2 && g.parse::<u32>().is_ok_and(|n| (1..=31).contains(&n));
    match groups.as_slice() {
        [a, b, c, ..] => (year(a) && small(b) && small(c)) || (small(a) && small(b) && year(c)),
        _ => false,
    }
}

/// Whether the value was redacted already.
fn is_placeholder(found: &str) -> bool {
    found.strip_prefix('[').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()) && rest.contains(']'))
}

/// A pattern of words that a table of rules names; an impossible one where it does not compile, which a test rules out.
fn words(pattern: &str) -> Regex {
    static NOTHING: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("[^\\s\\S]").ok());
    let made = Regex::new(&format!("(?i)(?-u:\\b)(?:{pattern})(?-u:\\b)"));
    made.ok().or_else(|| NOTHING.clone()).unwrap_or_else(|| unreachable!("an empty class compiles"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_every_type_is_listed() {
        for &(entity, name, pattern, _) in specs() {
            assert!(Regex::new(pattern).is_ok(), "{name}: {:?}", Regex::new(pattern));
            assert_eq!(canonical(entity), Some(entity), "{name}");
        }
        assert_eq!(RULES.len(), specs().count());
        for (alias, name) in ALIASES {
            assert_eq!(canonical(&alias.to_lowercase()), Some(name));
        }
    }
}

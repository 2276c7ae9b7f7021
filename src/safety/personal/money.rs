//! Payment cards and bank accounts.

use super::super::checksum::{self, digits};
use super::{Certainty, Place, Spec, Verdict, groups, words};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Spec] = &[
    ("CREDIT_CARD", "card", r"[0-9](?:[ \-\u{a0}.–]?[0-9]){11,30}", card),
    ("IBAN_CODE", "iban", r"(?i)[a-z]{2}[0-9]{2}(?:[ \-\u{a0}]?[a-z0-9]){11,30}", iban),
];

/// What makes twelve digits something else.
static SERIAL: LazyLock<Regex> = LazyLock::new(|| {
    words(
        r"order|invoice|ticket|serial|tracking|parcel|shipment|reference|isbn|account|aadhaar|customer|phone|call|tel|mobile",
    )
});

/// A card among the groups of digits: a security code or a date may stand behind it without more than a space.
fn card(place: &Place<'_>) -> Verdict {
    let found = place.found();
    let groups = groups(found);
    let end = |group: &(usize, &str)| group.0 + group.1.len();
    for length in (1..=groups.len().min(10)).rev() {
        for window in groups.windows(length) {
            let (Some(first), Some(last)) = (window.first(), window.last()) else { continue };
            let part = Place { text: place.text, start: place.start + first.0, end: place.start + end(last) };
            let sizes = || window.iter().map(|(_, group)| group.len());
            let whole = sizes().take(length - 1).all(|size| (2..=7).contains(&size));
            let shaped = length == 1 || whole && last.1.len() <= 7 && sizes().max() >= Some(4);
            if !shaped || !part.apart_digits() {
                continue;
            }
            let digits = digits(part.found());
            // One number in ten passes the checksum, and short ones are what serial numbers look like.
            if checksum::card(&digits) && !(digits.len() < 13 && part.follows(&SERIAL)) {
                return part.whole(Certainty::Validated);
            }
        }
    }
    None
}

/// As many characters as an IBAN of its country has, whatever follows them behind a space; else, as a pattern, as many as
/// make the check digits right: the registry changes, and people make up numbers.
fn iban(place: &Place<'_>) -> Verdict {
    let found = place.found();
    let country = found.get(..2)?.to_ascii_uppercase();
    let length = checksum::iban_length(&country)?;
    let chars: Vec<(usize, char)> = found.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()).collect();
    let letters: Vec<char> = chars.iter().map(|(_, c)| *c).collect();
    let of = |count: usize| {
        let (at, last) = chars.get(count.checked_sub(1)?)?;
        let part = Place { text: place.text, start: place.start, end: place.start + at + last.len_utf8() };
        (part.apart() && checksum::iban(&letters[..count])).then_some((part.start, part.end))
    };
    if let Some((start, end)) = of(length) {
        return Some((start, end, Certainty::Validated));
    }
    (15..=letters.len()).rev().find_map(of).map(|(start, end)| (start, end, Certainty::Pattern))
}

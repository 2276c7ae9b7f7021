//! Telephone numbers: international by the list of country codes, national by the ways in which countries group them.
//!
//! A number that could as well be an amount, an order or a date counts only where a word around it says telephone.

use super::{Certainty, Place, Spec, Verdict, groups, is_date, words};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Spec] = &[
    (
        "PHONE_NUMBER",
        "phone_international",
        r"(?i)\(?(?:\+ ?|00[ -]?)\(?[1-9][0-9]{0,2}\)?(?:[ .\-/\u{a0}‐‑–]{0,2}\(?[0-9]{1,12}\)?){1,7}(?: ?(?:x|ext\.?|extension|durchwahl) ?[0-9]{1,6})?",
        international,
    ),
    (
        "PHONE_NUMBER",
        "phone_area",
        r"(?i)(?:[1-9][ .-]?)?\([0-9]{2,5}\)[ .\-/\u{a0}‐‑–]{0,2}[0-9]{2,9}(?:[ .\-/\u{a0}‐‑–]{1,2}[0-9]{2,5}){0,4}(?: ?(?:x|ext\.?|extension) ?[0-9]{1,6})?",
        area,
    ),
    (
        "PHONE_NUMBER",
        "phone_trunk",
        r"(?i)0[0-9]{1,5}(?:[ .\-/\u{a0}‐‑–]{1,2}\(?[0-9]{1,9}\)?){1,5}(?: ?(?:x|ext\.?|extension|durchwahl) ?[0-9]{1,6})?",
        trunk,
    ),
    (
        "PHONE_NUMBER",
        "phone_north_american",
        r"(?i)(?:1[ .\-]?)?[2-9][0-9]{2}(?:[ \u{a0}][0-9]{3}[ \u{a0}\-]|[\-‐‑–][0-9]{3}[\-‐‑–]|\.[0-9]{3}\.)[0-9]{4}(?: ?(?:x|ext\.?|extension) ?[0-9]{1,6})?",
        |place| open(place).then_some((place.start, place.end, Certainty::Pattern)),
    ),
    (
        "PHONE_NUMBER",
        "phone_grouped",
        r"(?i)[0-9]{1,5}(?:[ .\-/\u{a0}‐‑–][0-9]{2,6}){1,5}(?: ?(?:x|ext\.?|extension) ?[0-9]{1,6})?",
        grouped,
    ),
    ("PHONE_NUMBER", "phone_bare", r"[0-9]{6,15}(?:x[0-9]{1,6})?", bare),
];

/// Words that say telephone, in several languages.
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    words(
        r"(?:tele)?phone(?: ?(?:no|nr|number))?|tel|mobile|cell(?:ular|phone)?|landline|fax|call(?:ing|ed|s)?|ring|dial(?:l?ing|l?ed)?|reach|contact(?:ed)?|text(?:ed)? me|text message|sms|whatsapp|hotline|voicemail|pager|registered|callback|(?:my|his|her|our|their|new|old|this|following) number|telefon(?:nummer)?|handy(?:nummer)?|rufnummer|rufen|anrufen|erreich(?:en|bar)|mobil(?:nummer)?|t.l.phone|portable|appelez|appeler|joindre|num.ro|tel.fono|m.vil|ll.me(?:nos|me)?|llamar|llama|cellulare|telefono|chiama(?:mi|re|te)?|telefone|telem.vel|celular|ligue|ligar|telefoon(?:nummer)?|mobiel|bel(?:len)?|office|home|work",
    )
});

/// Words that say something else, at the end of what stands before a number.
static OTHER: LazyLock<Regex> = LazyLock::new(|| {
    words(
        r"(?:order|invoice|ticket|case|reference|ref|account|acct|serial|s/n|policy|tracking|parcel|shipment|isbn|version|build|id|part|item|sku|article|document|doc|po|zip|postcode|plz|bestellung|rechnung|kundennummer|commande|facture|pedido|factura|ordine|fattura|passport|license|licence|tax|vat|steuernummer|population|total|amount|price|sum|eur|usd|gbp|card|iban|error|code|pin|cve|rfc|kb|room|year)s?(?: ?(?:no\.?|nr\.?|number|num|nummer|#))?[ :#.=-]*(?:is |was |of )?[ :#.=-]*",
    )
});

/// The country codes of ITU-T E.164, one digit to three.
const ONE: [u32; 2] = [1, 7];
const TWO: [u32; 44] = [
    20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 57, 58, 60, 61, 62,
    63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98,
];

/// Digits of the country code that these digits begin with.
fn country_code(digits: &[u32]) -> Option<usize> {
    let number = |n: usize| digits.iter().take(n).fold(0, |sum, digit| sum * 10 + digit);
    if ONE.contains(&number(1)) {
        return Some(1);
    }
    if TWO.contains(&number(2)) {
        return Some(2);
    }
    let three = matches!(number(3),
        211..=213 | 216 | 218 | 220..=269 | 290 | 291 | 297..=299 | 350..=359 | 370..=383 | 385..=387 | 389 | 420 | 421
        | 423 | 500..=509 | 590..=599 | 670 | 672..=683 | 685..=692 | 800 | 808 | 850 | 852 | 853 | 855 | 856 | 870
        | 880 | 886 | 888 | 960..=968 | 970..=977 | 979 | 992..=996 | 998);
    three.then_some(3)
}

/// The place without an extension.
fn main_part<'a>(place: &Place<'a>) -> &'a str {
    let found = place.found();
    found.split(|c: char| c.is_alphabetic()).next().unwrap_or(found)
}

fn count(text: &str) -> usize {
    text.chars().filter(char::is_ascii_digit).count()
}

/// Whether what stands before the number says what else it is.
pub(super) fn is_other(place: &Place<'_>) -> bool {
    let window = place.window_before(40);
    OTHER.find_iter(window).any(|hit| window[hit.end()..].trim_matches([' ', ':', '#', '.', '=', '-', '(']).is_empty())
}

/// Whether a number stands free, and neither is a date nor said to be something else.
fn open(place: &Place<'_>) -> bool {
    place.apart_number() && !is_date(main_part(place)) && !is_other(place)
}

fn international(place: &Place<'_>) -> Verdict {
    let found = place.found();
    let plus = found.trim_start_matches('(').starts_with('+');
    let number = main_part(place);
    let parts = groups(number);
    // What a space alone parts from the number may be the next word of the sentence: groups fall off until it fits.
    for kept in (1..=parts.len()).rev() {
        let (at, last) = parts[kept - 1];
        let whole = kept == parts.len();
        let end = if whole { place.end } else { place.start + at + last.len() };
        let mut digits: Vec<u32> =
            parts[..kept].iter().flat_map(|(_, group)| group.chars()).filter_map(|c| c.to_digit(10)).collect();
        if !plus {
            digits.drain(..2.min(digits.len()));
        }
        let part = Place { text: place.text, start: place.start, end };
        let opened = part.found().matches('(').count() > part.found().matches(')').count();
        let start = if found.starts_with('(') && opened { place.start + 1 } else { place.start };
        let part = Place { start, ..part };
        let shaped = part.apart() && !part.window_before(2).ends_with(['+', '/', '.', '=', '#', '@']);
        if (8..=15).contains(&digits.len())
            && country_code(&digits).is_some()
            && shaped
            && (plus || kept > 1)
            && !is_other(&part)
        {
            return part.whole(Certainty::Validated);
        }
    }
    None
}

fn area(place: &Place<'_>) -> Verdict {
    let digits = count(main_part(place));
    let free = place.apart() && !place.before().ends_with(['/', '.', '=', '@', '$', '€', '£']);
    let long = digits >= 8 || digits == 7 && place.near(&PHONE);
    (free && long && digits <= 13 && !is_other(place)).then_some((place.start, place.end, Certainty::Pattern))
}

fn trunk(place: &Place<'_>) -> Verdict {
    let number = main_part(place);
    let parts = groups(number);
    let decimal = number.contains('.') && parts.len() < 3;
    // 00 leads to other countries, which is another rule's.
    let shaped = (8..=13).contains(&count(number)) && !decimal && !number.starts_with("00");
    (shaped && open(place)).then_some((place.start, place.end, Certainty::Pattern))
}

/// Sizes of groups that are hardly anything but a telephone number.
const FREE: [&[usize]; 12] = [
    &[2, 2, 2, 2, 2],
    &[2, 3, 2, 2],
    &[3, 2, 2, 2],
    &[3, 3, 2, 2],
    &[4, 2, 2, 2],
    &[3, 3, 4],
    &[1, 3, 3, 4],
    &[2, 4, 4],
    &[2, 5, 4],
    &[3, 4, 4],
    &[1, 4, 4],
    &[3, 2, 3],
];

/// Groups of digits without any mark of a telephone number: their sizes must be those of some country.
fn grouped(place: &Place<'_>) -> Verdict {
    if !place.apart_number() {
        return None;
    }
    let number = main_part(place);
    let sizes: Vec<usize> = groups(number).iter().map(|(_, group)| group.len()).collect();
    let digits = count(number);
    let ssn = sizes == [3, 2, 4];
    let dotted = number.contains('.');
    let decimal = dotted && sizes.len() < 3;
    if !open(place) || ssn || decimal || !(6..=13).contains(&digits) {
        return None;
    }
    let told = (PHONE.is_match(place.clause_before()) || PHONE.is_match(place.window_after(16))) && digits >= 6;
    let free = FREE.contains(&&*sizes) && !number.contains('/');
    // Alone on its line, as on a business card.
    let blank_or_end = |text: &str, end: bool| text.trim_matches([' ', '\t', '\r']).is_empty() && end;
    let (before, after) = (place.window_before(16), place.window_after(16));
    let line = blank_or_end(before.rsplit('\n').next().unwrap_or_default(), before.contains('\n') || place.start < 16)
        && blank_or_end(after.split('\n').next().unwrap_or_default(), after.contains('\n') || after.len() < 16)
        && (before.contains('\n') || after.contains('\n'));
    let grouped = sizes.len() >= 3 && digits >= 8 && (line || number.contains('-'));
    (told || free || grouped).then_some((place.start, place.end, Certainty::Pattern))
}

/// Digits in one run: only where a word says telephone, and none since then says something else.
fn bare(place: &Place<'_>) -> Verdict {
    if !place.apart_number() {
        return None;
    }
    let window = place.clause_before();
    let last = |words: &Regex| words.find_iter(window).last().map(|hit| hit.start());
    let told = match (last(&PHONE), last(&OTHER)) {
        (Some(phone), other) => other.is_none_or(|other| other < phone),
        (None, other) => other.is_none() && PHONE.is_match(place.window_after(24)),
    };
    (open(place) && told).then_some((place.start, place.end, Certainty::Pattern))
}

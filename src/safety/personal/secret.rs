//! Passwords, keys and tokens.

use super::{Certainty, Place, Spec, Verdict, is_placeholder, words};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Spec] = &[
    (
        "PASSWORD",
        "password",
        r#"(?i)\b(?:password|passwd|passwort|kennwort|pwd|passcode|passphrase|mot de passe|contrase(?:ñ|n)a|senha|wachtwoord|pin(?: code)?)\b["'`]? ?(?:is now|is|was|are|ist|est|es|[:=]|->) ?:? ?["'`]?([^\s"'`]{4,128})"#,
        password,
    ),
    ("PASSWORD", "password_in_address", r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{0,64}:([^\s/@]{1,128})@", |place| {
        if is_placeholder(place.found()) { None } else { place.whole(Certainty::Pattern) }
    }),
    (
        "API_KEY",
        "api_key",
        r"\b(?:sk-[A-Za-z0-9_-]{16,200}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}|(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{30,255}|xox[abeoprs]-[A-Za-z0-9-]{10,255}|AIza[0-9A-Za-z_-]{30,45}|hf_[A-Za-z0-9]{30,60}|glpat-[A-Za-z0-9_-]{20,60}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,255}|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,64}|ya29\.[A-Za-z0-9_-]{20,255}|dop_v1_[a-f0-9]{64}|shpat_[a-fA-F0-9]{32})",
        |place| place.whole(Certainty::Validated),
    ),
    (
        "API_KEY",
        "named_key",
        r#"(?i)\b(?:api[ _-]?key|access[ _-]?key(?:[ _-]?id)?|secret(?:[ _-]?(?:access[ _-]?)?key)?|client[ _-]?secret|account[ _-]?key|encryption[ _-]?key|private[ _-]?key)["'`]? ?(?:is|[:=])? ?["'`]?([a-z0-9_+/=.-]{16,256})"#,
        key,
    ),
    (
        "ACCESS_TOKEN",
        "named_token",
        r#"(?i)\b(?:(?:auth(?:orization)?|access|refresh|session|bearer|api|id)[ _-]?token|bearer|token|cookie|session[ _-]?id)["'`]? ?(?:is|[:=])? ?["'`]?([a-z0-9_+/=.-]{16,512})"#,
        key,
    ),
    ("ACCESS_TOKEN", "jwt", r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*", |place| {
        if place.apart() { place.whole(Certainty::Validated) } else { None }
    }),
    ("PRIVATE_KEY", "private_key", r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----", private_key),
    ("API_KEY", "random_text", r"[A-Za-z0-9_+/-]{32,128}={0,2}", random),
];

/// Bytes of a private key at most.
const LONGEST_KEY: usize = 1 << 14;

/// Words beside which a text that looks like chance is a secret.
static SECRET: LazyLock<Regex> =
    LazyLock::new(|| words(r"[a-z_]*(?:key|secret|token|credentials?|passw[a-z]*|auth[a-z]*|bearer)"));

fn has_digit(found: &str) -> bool {
    found.chars().any(|c| c.is_ascii_digit())
}

/// Whether what follows "password" is a value and not the rest of a sentence, such as "expired" or "not working".
fn password(place: &Place<'_>) -> Verdict {
    let found = place.found().trim_end_matches(['.', ',', ';', ':', ')', '!', '?']);
    let assigned = place.before().trim_end_matches(['"', '\'', '`', ' ']).ends_with('=');
    let mixed = has_digit(found)
        || found.chars().any(|c| matches!(c, '!' | '@' | '#' | '$' | '%' | '^' | '&' | '*' | '_' | '+' | '='))
        || found.chars().skip(1).any(char::is_uppercase) && found.chars().any(char::is_lowercase);
    // Characters cut off are part of the value where nothing else ends it.
    let end = place.start + found.len();
    (!found.is_empty() && !is_placeholder(found) && (assigned || mixed)).then_some((
        place.start,
        end,
        Certainty::Pattern,
    ))
}

fn key(place: &Place<'_>) -> Verdict {
    let found = place.found();
    let end = place.start + found.trim_end_matches(['.', '-']).len();
    (has_digit(found) && found.chars().any(char::is_alphabetic)).then_some((place.start, end, Certainty::Pattern))
}

/// As far as its last line; where that is missing, as far as a key can go.
#[expect(clippy::unnecessary_wraps, reason = "the form of a verdict")]
fn private_key(place: &Place<'_>) -> Verdict {
    let body = place.window_after(LONGEST_KEY);
    let end = body
        .find("-----END ")
        .and_then(|at| Some(at + body[at..].find("KEY")?))
        .and_then(|at| Some(at + body[at..].find("-----")? + 5));
    let length = end.unwrap_or(body.len());
    Some((place.start, place.end + length, Certainty::Validated))
}

/// A long run that is as mixed as chance makes it, beside a word for a secret.
fn random(place: &Place<'_>) -> Verdict {
    let found = place.found();
    let kinds = [char::is_lowercase as fn(char) -> bool, char::is_uppercase, |c: char| c.is_ascii_digit()];
    let mixed = kinds.iter().all(|kind| found.chars().any(kind));
    (place.apart() && mixed && bits(found) >= 4.0 && place.follows(&SECRET)).then_some((
        place.start,
        place.end,
        Certainty::Pattern,
    ))
}

/// Entropy of the characters, in bits each (C. E. Shannon, 1948).
fn bits(text: &str) -> f64 {
    let mut counts = [0_u32; 128];
    for byte in text.bytes() {
        counts[usize::from(byte) % 128] += 1;
    }
    let total = text.len().max(1) as f64;
    counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count) / total).map(|p| -p * p.log2()).sum()
}

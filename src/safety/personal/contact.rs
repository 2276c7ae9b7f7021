//! E-mail, network and device addresses.

use super::{Certainty, Place, Spec, Verdict, words};
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

pub(super) const RULES: &[Spec] = &[
    (
        "EMAIL_ADDRESS",
        "email",
        r"[A-Za-z0-9_\x{a1}-\x{10ffff}][A-Za-z0-9._%+'\x{a1}-\x{10ffff}-]{0,63}@(?:[A-Za-z0-9\x{a1}-\x{10ffff}-]{1,63}\.){1,6}[A-Za-z\x{a1}-\x{10ffff}]{2,24}",
        email,
    ),
    (
        "EMAIL_ADDRESS",
        "email_spelled",
        r"(?i)[a-z0-9_][a-z0-9._+-]{0,63} ?[\[({<] ?(?:at|@) ?[\])}>] ?[a-z0-9-]{1,63}(?:(?:\.| ?[\[({<] ?(?:dot|\.) ?[\])}>] ?)[a-z0-9-]{2,24}){1,4}",
        |place| place.apart().then_some(()).and_then(|()| place.whole(Certainty::Pattern)),
    ),
    ("IP_ADDRESS", "ipv4", r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", ipv4),
    ("IP_ADDRESS", "ipv6", r"(?i)(?:[0-9a-f]{0,4}:){2,7}(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-f]{0,4})", ipv6),
    (
        "MAC_ADDRESS",
        "mac",
        r"(?i)[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5}|[0-9a-f]{2}(?:\.[0-9a-f]{4}){2})",
        |place| {
            let next = place
                .after()
                .strip_prefix([':', '-', '.'])
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit()));
            let led = place.before().ends_with([':', '-', '.'])
                && place.before().chars().rev().nth(1).is_some_and(|c| c.is_ascii_hexdigit());
            (place.apart() && !next && !led).then_some(()).and_then(|()| place.whole(Certainty::Pattern))
        },
    ),
];

/// Names of files that look like an e-mail address: `logo@2x.png`.
static FILES: LazyLock<Regex> = LazyLock::new(|| words(r"[a-z0-9.-]+\.(?:png|jpe?g|gif|svg|webp|css|js|ts|py|rs)"));
/// What makes four numbers a version.
static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    words(r"(?:version|release|build|firmware|driver|upgrade[ds]?|update[ds]?|rev|ver)[ :.v]*(?:is |to |from )?")
});
/// What makes four numbers a telephone number.
static PHONE: LazyLock<Regex> =
    LazyLock::new(|| words(r"phone|telephone|tel|mobile|cell|fax|call(?: me| us)?|reach me|dial|whatsapp|sms"));
static NETWORK: LazyLock<Regex> =
    LazyLock::new(|| words(r"ip|ipv4|address|server|host|network|subnet|ping|gateway|dns"));

fn email(place: &Place<'_>) -> Verdict {
    let (found, before) = (place.found(), place.before());
    let domain = found.split_once('@').map_or("", |(_, domain)| domain);
    // `user:pass@host` of an address with credentials is no mailbox, nor is `git@host:path`.
    let token = place.window_before(80).rsplit(char::is_whitespace).next().unwrap_or_default();
    let credentials = token.split_once("://").is_some_and(|(_, rest)| !rest.contains(['/', '?']));
    let remote = found.starts_with("git@") && place.after().starts_with([':', '/']);
    let joined = before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '@' | '_'))
        || place.after().starts_with(|c: char| c.is_alphanumeric() || matches!(c, '@' | '_'));
    let dots = found.contains("..") || before.ends_with('.') && !before.ends_with("..");
    let file = FILES.find(domain).is_some_and(|file| file.len() == domain.len());
    if joined || credentials || remote || dots || file {
        return None;
    }
    place.whole(Certainty::Validated)
}

fn ipv4(place: &Place<'_>) -> Verdict {
    if !place.apart_digits() {
        return None;
    }
    let ip: Ipv4Addr = place.found().parse().ok()?;
    let told_nothing = ip.is_loopback() || ip.octets()[0] == 0 || ip.octets()[0] == 255;
    let version = VERSION
        .find_iter(place.window_before(24))
        .any(|hit| place.window_before(24).get(hit.end()..).is_some_and(|rest| rest.trim().is_empty()));
    // Some countries write telephone numbers as four pairs with points.
    let pairs = place.found().split('.').all(|part| part.len() == 2);
    let phone = pairs && PHONE.is_match(place.clause_before()) && !place.follows(&NETWORK);
    (!told_nothing && !version && !phone).then_some((place.start, place.end, Certainty::Validated))
}

fn ipv6(place: &Place<'_>) -> Verdict {
    // The pattern takes at most eight groups; a longer run of them is something else.
    let joins = |c: char| c.is_alphanumeric() || matches!(c, ':' | '_');
    if place.before().ends_with(joins) {
        return None;
    }
    // A colon at the end belongs to the sentence, if the address is one without it.
    let found = place.found();
    let found = if found.ends_with("::") { found } else { found.strip_suffix(':').unwrap_or(found) };
    let ip: Ipv6Addr = found.parse().ok()?;
    let end = place.start + found.len();
    let goes_on = place.text[end..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let numbered = found.len() > 6 && found.contains(|c: char| c.is_ascii_digit());
    (!goes_on && numbered && !ip.is_loopback() && !ip.is_unspecified()).then_some((
        place.start,
        end,
        Certainty::Validated,
    ))
}

//! Names and addresses, as far as patterns go: not far. Every finding here is weak.
//!
//! A name is told by what stands around it, or by a given name that is known ([`super::names`]); an address by a street and a
//! number, to which unit, town and postcode are taken where they follow.

use super::names::{Given, given};
use super::{Certainty, Place, Spec, Verdict};
use regex::Regex;
use std::sync::LazyLock;

/// A name: capitalised words, with the small words that join them.
macro_rules! name {
    () => {
        r"\p{Lu}[A-Za-z'’\x{c0}-\x{52f}-]{1,30}\.?(?:(?: (?:van|von|de|der|den|di|da|dos|del|della|la|le|al|el|bin|ben|ter)){0,2} \p{Lu}[A-Za-z'’.\x{c0}-\x{52f}-]{0,30}){0,3}"
    };
}

pub(super) const RULES: &[Spec] = &[
    (
        "PERSON",
        "title_name",
        concat!(
            r"(?:^|[^\p{L}\p{N}])(?i:mr|mrs|ms|miss|mx|dr|prof|professor|herr|herrn|frau|monsieur|madame|mme|mlle|se[ñn]ora?|sra|sig|signora?|mevrouw|dhr)\.? (",
            name!(),
            ")"
        ),
        |place| place.whole(Certainty::Weak),
    ),
    (
        "PERSON",
        "introduced_name",
        concat!(
            r"(?i:my name is|my name's|full name(?: is)?:?|i am called|name of|mein name ist|ich heiße|je m'appelle|mon nom est|me llamo|mi nombre es|mi chiamo|il mio nome è|meu nome é|mijn naam is|(?:^|\n)(?:name|customer|patient|employee|contact|attn|from|to|signed|cardholder|account holder):) {0,3}(",
            name!(),
            ")"
        ),
        |place| place.whole(Certainty::Weak),
    ),
    (
        "PERSON",
        "greeted_name",
        concat!(
            r"(?:^|\n|[.!?] )(?i:dear|hi|hello|hallo|liebe[r]?|cher|chère|hola|ciao|caro|cara) (",
            name!(),
            r")(?:[,!\n:]|$)"
        ),
        |place| place.whole(Certainty::Weak),
    ),
    (
        "PERSON",
        "signed_name",
        concat!(
            r"(?i:regards|sincerely|cheers|thanks|thank you|yours|best|wishes|grüße|grüßen|cordialement|saludos|saluti),?[ \t]{0,3}\r?\n{1,2}(",
            name!(),
            r")(?:\n|\r|$|,)"
        ),
        |place| place.whole(Certainty::Weak),
    ),
    ("PERSON", "given_name", name!(), by_given_name),
    (
        "ADDRESS",
        "street_english",
        r"(?i)[0-9]{1,5}[a-z]? (?:[A-Za-z'’.\x{c0}-\x{52f}-]{1,24} ){1,4}(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|court|ct|boulevard|blvd|way|place|pl|square|sq|terrace|crescent|close|highway|hwy|parkway|pkwy|circle|cir|trail|grove|gardens|mews|quay)\b\.?",
        with_town,
    ),
    (
        "ADDRESS",
        "street_germanic",
        r"(?:\p{Lu}[A-Za-z.\x{c0}-\x{52f}-]{1,30}[ -]){0,3}(?:\p{Lu}?[A-Za-z\x{c0}-\x{52f}-]{0,30}(?:stra(?:ß|ss)e|str\.|[wW]eg|[pP]latz|[aA]llee|gasse|damm|ufer|straat|laan|gracht|vägen|gatan|vej|gade|veien)) [0-9]{1,4}(?: ?[a-zA-Z]\b)?",
        with_town,
    ),
    (
        "ADDRESS",
        "street_romance",
        r"(?i)[0-9]{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai|cours|route)(?: (?:de|du|des|la|le|les|d'|l'))*(?: ?[A-Za-z'’\x{c0}-\x{52f}-]{2,24}){1,3}",
        with_town,
    ),
    (
        "ADDRESS",
        "street_southern",
        r"(?i:via|viale|corso|piazza|calle|avenida|avda\.?|plaza|paseo|rua|travessa|c/)(?: (?i:de|del|della|di|da|dos|la|las|los))* (?:\p{Lu}[A-Za-z'’.\x{c0}-\x{52f}-]{1,24} ?){1,4},? ?(?:n\.? ?)?[0-9]{1,4}",
        with_town,
    ),
    (
        "ADDRESS",
        "street_listed",
        // The suffixes of USPS Publication 28 that are not among those above.
        r"[0-9]{1,5}[A-Za-z]? (?:\p{Lu}[A-Za-z'’.\x{c0}-\x{52f}-]{0,24} ){1,3}(?:Alley|Annex|Arcade|Bayou|Beach|Bend|Bluffs?|Bottom|Branch|Bridge|Brooks?|Burgs?|Bypass|Camp|Canyon|Cape|Causeway|Centers?|Circles|Cliffs?|Club|Commons?|Corners?|Course|Courts|Coves?|Creek|Crest|Crossing|Crossroads?|Curve|Dale|Dam|Divide|Drives|Estates?|Expressway|Extensions?|Falls?|Ferry|Fields?|Flats?|Fords?|Forest|Forges?|Forks?|Fort|Freeway|Garden|Gateway|Glens?|Greens?|Groves|Harbors?|Haven|Heights|Hills?|Hollow|Inlet|Islands?|Isle|Junctions?|Keys?|Knolls?|Lakes?|Landing|Lights?|Loaf|Locks?|Lodge|Loop|Mall|Manors?|Meadows?|Mills?|Mission|Motorway|Mount|Mountains?|Neck|Orchard|Oval|Overpass|Parks?|Parkways|Pass|Passage|Path|Pike|Pines?|Plains?|Plaza|Points?|Ports?|Prairie|Radial|Ramp|Ranch|Rapids?|Rest|Ridges?|River|Row|Rue|Run|Shoals?|Shores?|Skyway|Springs?|Spurs?|Squares|Station|Stravenue|Stream|Streets|Summit|Throughway|Trace|Track|Trafficway|Tunnel|Turnpike|Underpass|Unions?|Valleys?|Via|Viaduct|Views?|Villages?|Ville|Vista|Walks?|Wall|Ways|Wells?)\b",
        // Most of them are words: a street it is only where a unit or a town follows.
        |place| with_town(place).filter(|(_, end, _)| *end > place.end),
    ),
    (
        "ADDRESS",
        "unit",
        r"(?i)(?:(?:apt|apartment|suite|unit|flat)\.? ?#?[0-9]{1,5}[a-z]?|p\.? ?o\.? box [0-9]{1,6})",
        |place| if place.apart() { place.whole(Certainty::Weak) } else { None },
    ),
    (
        "ADDRESS",
        "postcode",
        r"[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}|[ABCEGHJ-NPRSTVXY][0-9][A-Z] [0-9][A-Z][0-9]|(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]),? [0-9]{5}(?:-[0-9]{4})?|(?:D|F|CH|A|B|NL)-[0-9]{4,5}",
        |place| if place.apart() { place.whole(Certainty::Weak) } else { None },
    ),
];

/// Capitalised words behind a given name that make a place or a firm of both.
const NO_SURNAMES: [&str; 34] = [
    "street",
    "st",
    "road",
    "rd",
    "avenue",
    "ave",
    "lane",
    "drive",
    "square",
    "place",
    "river",
    "lake",
    "island",
    "beach",
    "park",
    "county",
    "city",
    "university",
    "college",
    "school",
    "hospital",
    "hotel",
    "airport",
    "station",
    "inc",
    "ltd",
    "llc",
    "gmbh",
    "group",
    "bank",
    "server",
    "office",
    "centre",
    "center",
];

/// A given name, and the capitalised words behind it.
fn by_given_name(place: &Place<'_>) -> Verdict {
    if place.before().ends_with(char::is_alphanumeric) {
        return None;
    }
    let found = place.found();
    let own = |word: &str| word.trim_end_matches("'s").trim_end_matches("’s").trim_end_matches('.').to_owned();
    let mut words = found.split(' ');
    let first = own(words.next().unwrap_or_default());
    let is_surname = |word: &str| {
        let word = own(word).to_lowercase();
        word.chars().count() > 2 && !NO_SURNAMES.contains(&word.as_str())
    };
    let last = words.next_back();
    match (given(&first), last) {
        (Given::No, _) | (Given::BeforeSurname, None) => None,
        (_, Some(last)) if !is_surname(last) => None,
        // Without the sign of possession, and the point that ends a sentence.
        (_, last) => {
            let kept = own(last.unwrap_or(found)).len();
            Some((place.start, place.end - (last.unwrap_or(found).len() - kept), Certainty::Weak))
        }
    }
}

/// What follows a street and makes one address with it: a unit, and a town with its postcode before or behind it.
static TOWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let word = r"\p{Lu}[A-Za-z'’.\x{c0}-\x{52f}-]{1,24}";
    let town = format!("{word}(?: (?:(?:de|del|la|am|an|der|sur|les|of|upon|di|aan|den) )?{word}){{0,3}}");
    let gap = r"[ ,]{0,2}\r?\n?[ ]?";
    let pattern = format!(
        r"^(?:{gap}(?i:apt|apartment|suite|ste|unit|flat|floor|room|rm)\b\.? ?#?[0-9][0-9A-Za-z]{{0,4}})?(?:{gap}{town},?{gap}(?:(?:[A-Z]{{2}}|{town}),? )?(?:[0-9]{{5}}(?:-[0-9]{{4}})?|[A-Z]{{1,2}}[0-9][A-Z0-9]? [0-9][A-Z]{{2}}|[A-Z][0-9][A-Z] [0-9][A-Z][0-9])\b|{gap}(?:[A-Z]{{1,2}}-)?[0-9]{{4,5}}(?: [A-Z]{{2}})? {town})?"
    );
    Regex::new(&pattern).ok()
});

/// The street with what follows it.
fn with_town(place: &Place<'_>) -> Verdict {
    if !place.apart() {
        return None;
    }
    let more = TOWN.as_ref().and_then(|town| town.find(place.window_after(120))).map_or(0, |found| found.end());
    Some((place.start, place.end + more, Certainty::Weak))
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;

    fn found(text: &str, entity: &str) -> Vec<String> {
        assert!(TOWN.is_some());
        let findings = crate::safety::personal_data(text);
        assert!(find(text).iter().all(|f| f.certainty == Certainty::Weak || f.entity != entity));
        findings.into_iter().filter(|f| f.entity == entity).map(|f| text[f.start..f.end].to_owned()).collect()
    }

    #[test]
    fn a_known_given_name_is_found_with_its_surname_and_without() {
        for (text, names) in [
            ("Yesterday Jessica Miller called.", &["Jessica Miller"][..]),
            ("Please ask Katarzyna about it", &["Katarzyna"]),
            ("Jessica's laptop is slow", &["Jessica"]),
            ("The laptop of Jean-Pierre Dubois’s team.", &["Jean-Pierre Dubois"]),
            ("Will Smith and Mark Jones", &["Will Smith", "Mark Jones"]),
            ("Vincent van der Berg is on leave.", &["Vincent van der Berg"]),
        ] {
            assert_eq!(found(text, "PERSON"), names, "{text}");
        }
        for text in
            ["Will it print?", "Mark the box in May.", "Victoria Station is closed", "Restart the Print Spooler"]
        {
            assert!(found(text, "PERSON").is_empty(), "{text}: {:?}", found(text, "PERSON"));
        }
    }

    #[test]
    fn an_address_goes_on_to_its_postcode() {
        for address in [
            "12 Long Street, Springfield, IL 62704",
            "8713 Miller Knolls Apt. 930\nNew Haven, CT 06511",
            "221b Baker Street, London NW1 6XE",
            "Hauptstraße 5, 10115 Berlin",
            "24 rue de la Paix, 75002 Paris",
        ] {
            assert_eq!(found(&format!("Send it to {address} please"), "ADDRESS"), [address]);
        }
        assert_eq!(found("We have 12 New Product Keys in stock", "ADDRESS"), [""; 0]);
    }
}

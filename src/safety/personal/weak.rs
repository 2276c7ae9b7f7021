//! Names and addresses, as far as patterns go: not far. Every finding here is weak.

use super::{Certainty, Spec};

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
    (
        "ADDRESS",
        "street_english",
        r"(?i)[0-9]{1,5}[a-z]? (?:[A-Za-z'’.\x{c0}-\x{52f}-]{1,24} ){1,4}(?:street|st|road|rd|avenue|ave|lane|ln|drive|dr|court|ct|boulevard|blvd|way|place|pl|square|sq|terrace|crescent|close|highway|hwy|parkway|pkwy|circle|cir|trail|grove|gardens|mews|quay)\b\.?",
        |place| if place.apart() { place.whole(Certainty::Weak) } else { None },
    ),
    (
        "ADDRESS",
        "street_germanic",
        r"(?:\p{Lu}[A-Za-z.\x{c0}-\x{52f}-]{1,30}[ -]){0,3}(?:\p{Lu}?[A-Za-z\x{c0}-\x{52f}-]{0,30}(?:stra(?:ß|ss)e|str\.|[wW]eg|[pP]latz|[aA]llee|gasse|damm|ufer|straat|laan|gracht|vägen|gatan|vej|gade|veien)) [0-9]{1,4}(?: ?[a-zA-Z]\b)?",
        |place| if place.apart() { place.whole(Certainty::Weak) } else { None },
    ),
    (
        "ADDRESS",
        "street_romance",
        r"(?i)[0-9]{1,4}(?: ?bis| ?ter)?,? (?:rue|avenue|boulevard|place|chemin|impasse|allée|quai|cours|route)(?: (?:de|du|des|la|le|les|d'|l'))*(?: ?[A-Za-z'’\x{c0}-\x{52f}-]{2,24}){1,3}",
        |place| if place.apart() { place.whole(Certainty::Weak) } else { None },
    ),
    (
        "ADDRESS",
        "street_southern",
        r"(?i:via|viale|corso|piazza|calle|avenida|avda\.?|plaza|paseo|rua|travessa|c/)(?: (?i:de|del|della|di|da|dos|la|las|los))* (?:\p{Lu}[A-Za-z'’.\x{c0}-\x{52f}-]{1,24} ?){1,4},? ?(?:n\.? ?)?[0-9]{1,4}",
        |place| if place.apart() { place.whole(Certainty::Weak) } else { None },
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

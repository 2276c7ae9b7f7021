//! Numbers by which states know people, and dates of birth.
//!
//! A number whose form is its own (a codice fiscale) stands without a word around it; one that is nothing but digits counts
//! where its checksum holds and a word names it, or where its checksum is strong.

use super::super::checksum::{self, digits};
use super::{Certainty, Place, Spec, Verdict, is_date, words};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Spec] = &[
    ("US_SSN", "us_ssn", r"[0-9]{3}(?:-[0-9]{2}-|[ \u{a0}][0-9]{2}[ \u{a0}])[0-9]{4}", |place| {
        let told = place.found().contains('-') || place.near(&SSN);
        if told { judged(place, checksum::us_ssn) } else { None }
    }),
    ("US_SSN", "us_ssn_plain", r"[0-9]{9}", |place| named(place, &SSN, checksum::us_ssn)),
    ("US_ITIN", "us_itin", r"9[0-9]{2}[- ][5-9][0-9][- ][0-9]{4}", |place| judged(place, checksum::us_itin)),
    (
        "US_PASSPORT",
        "passport",
        r"(?i)\bpassport(?: ?(?:no\.?|number|#|num))?[ :#]*(?:is |was )?([a-z]{0,2}[0-9]{6,9})",
        |place| plain(place, Certainty::Pattern),
    ),
    (
        "US_DRIVER_LICENSE",
        "driver_license",
        r"(?i)\b(?:driver'?s?|driving)[ -]?licen[cs]e(?: ?(?:no\.?|number|#|num|card))?[ :#]*(?:is |was )?([a-z]{0,5}[0-9][a-z0-9-]{4,16})",
        |place| plain(place, Certainty::Pattern),
    ),
    ("UK_NHS", "uk_nhs", r"[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}", |place| named(place, &NHS, checksum::uk_nhs)),
    ("UK_NINO", "uk_nino", r"(?i)[a-ceghj-prstw-z][a-ceghj-nprstw-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[a-d]", |place| {
        let prefix = place.found().get(..2).unwrap_or_default().to_ascii_uppercase();
        let issued = !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].contains(&&*prefix);
        if issued { plain(place, Certainty::Pattern) } else { None }
    }),
    ("DE_TAX_ID", "de_tax_id", r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}", |place| {
        named(place, &DE, checksum::de_tax_id)
    }),
    (
        "FR_NIR",
        "fr_nir",
        r"(?i)[12378] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[ab]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
        |place| if checksum::fr_nir(place.found()) { plain(place, Certainty::Validated) } else { None },
    ),
    ("ES_NIF", "es_nif", r"(?i)[0-9]{8}[ -]?[a-hj-np-tv-z]", |place| {
        if checksum::es_dni(place.found()) { plain(place, Certainty::Validated) } else { None }
    }),
    ("ES_NIE", "es_nie", r"(?i)[xyz][ -]?[0-9]{7}[ -]?[a-hj-np-tv-z]", |place| {
        let compact: String = place.found().chars().filter(char::is_ascii_alphanumeric).collect();
        if checksum::es_dni(&compact) { plain(place, Certainty::Validated) } else { None }
    }),
    (
        "IT_FISCAL_CODE",
        "it_fiscal_code",
        r"(?i)[a-z]{6}[0-9lmnpqrstuv]{2}[abcdehlmprst][0-9lmnpqrstuv]{2}[a-z][0-9lmnpqrstuv]{3}[a-z]",
        |place| if checksum::it_fiscal_code(place.found()) { plain(place, Certainty::Validated) } else { None },
    ),
    ("PL_PESEL", "pl_pesel", r"[0-9]{11}", |place| named(place, &PL, checksum::pl_pesel)),
    ("NL_BSN", "nl_bsn", r"[0-9]{9}|[0-9]{4}[. ][0-9]{2}[. ][0-9]{3}", |place| named(place, &NL, checksum::nl_bsn)),
    ("BE_NRN", "be_nrn", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}[-.][0-9]{3}[.-][0-9]{2}", |place| {
        judged(place, checksum::be_nrn)
    }),
    ("BE_NRN", "be_nrn_plain", r"[0-9]{11}", |place| named(place, &BE, checksum::be_nrn)),
    ("CH_AHV", "ch_ahv", r"756\.?[0-9]{4}\.?[0-9]{4}\.?[0-9]{2}", |place| judged(place, checksum::ch_ahv)),
    ("FI_PERSONAL_IDENTITY_CODE", "fi_code", r"(?i)[0-9]{6}[-+a-fu-y][0-9]{3}[0-9a-fhj-npr-y]", |place| {
        if checksum::fi_code(place.found()) { plain(place, Certainty::Validated) } else { None }
    }),
    ("SE_PERSONNUMMER", "se_number", r"(?:19|20)?[0-9]{6}[-+][0-9]{4}", |place| judged(place, checksum::se_number)),
    ("BR_CPF", "br_cpf", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}", |place| judged(place, checksum::br_cpf)),
    ("BR_CPF", "br_cpf_plain", r"[0-9]{11}", |place| named(place, &BR, checksum::br_cpf)),
    ("IN_AADHAAR", "aadhaar", r"[2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}", |place| named(place, &IN, checksum::aadhaar)),
    ("IN_PAN", "in_pan", r"[A-Z]{3}[ABCFGHJLPT][A-Z][0-9]{4}[A-Z]", |place| plain(place, Certainty::Pattern)),
    ("SG_NRIC_FIN", "sg_nric", r"(?i)[stfgm][0-9]{7}[a-z]", |place| {
        if checksum::sg_nric(place.found()) { plain(place, Certainty::Validated) } else { None }
    }),
    ("AU_TFN", "au_tfn", r"[0-9]{3} ?[0-9]{3} ?[0-9]{3}", |place| named(place, &AU, checksum::au_tfn)),
    ("CA_SIN", "ca_sin", r"[1-79][0-9]{2}[ -]?[0-9]{3}[ -]?[0-9]{3}", |place| named(place, &CA, checksum::luhn)),
    ("KR_RRN", "kr_rrn", r"[0-9]{6}-[1-8][0-9]{6}", |place| judged(place, checksum::kr_rrn)),
    (
        "DATE_OF_BIRTH",
        "date_of_birth",
        r"(?i)(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/. ]{1,2}(?:[0-9]{1,2}|jan[a-z]*|feb[a-z]*|m[aä]r[a-z]*|apr[a-z]*|ma[iy]|jun[ei]?|jul[iy]?|aug[a-z]*|sep[a-z]*|o[ck]t[a-z]*|nov[a-z]*|de[cz][a-z]*)[-/. ]{1,2}[0-9]{2,4}|(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.? [0-9]{1,2},? [0-9]{4})",
        |place| plain(place, Certainty::Pattern).filter(|_| place.follows(&BORN)),
    ),
];

static SSN: LazyLock<Regex> =
    LazyLock::new(|| words(r"ssn|social(?:[ -]security)?(?: (?:number|no|nr|#))?|soc sec|tax(?:payer)? id"));
static NHS: LazyLock<Regex> = LazyLock::new(|| words("nhs|national health"));
static DE: LazyLock<Regex> =
    LazyLock::new(|| words(r"steuer[ -]?(?:id|identifikations)[a-z-]*|steuernummer|idnr|tax id[a-z]*|tin"));
static PL: LazyLock<Regex> = LazyLock::new(|| words("pesel"));
static NL: LazyLock<Regex> = LazyLock::new(|| words("bsn|burgerservicenummer|sofi(?:nummer)?"));
static BE: LazyLock<Regex> =
    LazyLock::new(|| words("rijksregister[a-z]*|registre national|niss|insz|nrn|national number"));
static BR: LazyLock<Regex> = LazyLock::new(|| words("cpf"));
static IN: LazyLock<Regex> = LazyLock::new(|| words("aadhaar|aadhar|uidai|uid"));
static AU: LazyLock<Regex> = LazyLock::new(|| words("tfn|tax file"));
static CA: LazyLock<Regex> = LazyLock::new(|| words("sin|social insurance|nas|assurance sociale"));
static BORN: LazyLock<Regex> = LazyLock::new(|| {
    words(
        r"born|birth(?:day|date)?|dob|d\.o\.b|geboren|geburtsdatum|geb|n.e? le|naissance|nacid[oa]|nacimiento|nat[oa] il|nascita|nascid[oa]|nascimento|geboortedatum",
    )
});

fn plain(place: &Place<'_>, certainty: Certainty) -> Verdict {
    if place.apart_digits() { place.whole(certainty) } else { None }
}

/// A number that its checksum makes one.
fn judged(place: &Place<'_>, check: fn(&[u32]) -> bool) -> Verdict {
    if place.apart_number() && check(&digits(place.found())) { place.whole(Certainty::Validated) } else { None }
}

/// A number that its checksum and a word make one.
fn named(place: &Place<'_>, words: &Regex, check: fn(&[u32]) -> bool) -> Verdict {
    judged(place, check).filter(|_| !is_date(place.found()) && place.near(words))
}

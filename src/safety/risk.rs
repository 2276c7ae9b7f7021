//! Subjects where a wrong answer does harm, by patterns over folded text.

use super::injection::with_constants;
use super::normal::Folded;
use super::{Certainty, Finding, FindingKind};
use regex::Regex;
use std::sync::LazyLock;

/// The subjects.
pub const SUBJECTS: [&str; 9] = [
    "self_harm",
    "violence",
    "malware",
    "compromise",
    "data_breach",
    "legal",
    "harassment",
    "dangerous_goods",
    "medical_emergency",
];

/// What tells them, in folded (lower-case, accent-free) text.
const RISK: [(&str, &str); 10] = [
    (
        "self_harm",
        r"\b(?:kill(?:ing)? myself|suicid(?:e|al)|end(?:ing)? my (?:own )?life|self[ -]harm|harm(?:ing)? myself|hurt(?:ing)? myself|don't want to (?:live|be alive)|take my own life)\b",
    ),
    (
        "violence",
        r"\b(?:kill|shoot|stab|attack|beat up|hurt|murder) (?:him|her|them|my (?:boss|manager|colleagues?|coworkers?)|everyone|someone|people)\b|\bbomb threat\b|\b(?:bring|brought|has|have) a (?:gun|weapon|knife) (?:to|at|in) (?:work|the office)\b|\bthreaten(?:ed|ing|s)? (?:to (?:kill|hurt|attack|shoot)|me|him|her|us)\b",
    ),
    (
        "malware",
        r"\b(?:ransomware|malware|trojan|keylogger|cryptolocker|spyware)\b|\bfiles (?:are|have been|were|got|all) (?:all )?(?:been )?encrypted\b|\bransom (?:note|demand|message)\b|\b(?:infected|virus) (?:with|on|by|in|alert|warning|found|detected)\b|\bhas a virus\b",
    ),
    (
        "compromise",
        r"\b(?:phish(?:ing|ed)|spear[ -]?phishing|scam (?:e-?mail|mail|call|link))\b|\b(?:clicked|opened|followed|downloaded) {gap}(?:suspicious|strange|weird|fake|malicious|unknown) {gap}(?:link|attachment|file|mail|e-?mail|website|site|page)\b|\bclicked {gap}link\b.{0,120}\b(?:password|credentials|login|logged in|pin)\b|\b(?:entered|typed|gave|given|submitted|sent) {gap}(?:password|credentials|passcode|pin|login details)\b.{0,80}\b(?:link|fake|site|page|website|caller|stranger|phone|form|him|her|them|e-?mail|mail)\b",
    ),
    (
        "compromise",
        r"\b(?:account|laptop|computer|pc|mailbox|e-?mail|server|system|website|phone) (?:was |has been |is |got |may be |might be |may have been |might have been |been )+(?:hacked|compromised|breached|hijacked|taken over)\b|\b(?:i've been|i was|we were|we've been|i got) hacked\b|\bunauthori[sz]ed (?:access|login|log-in|sign-in)\b",
    ),
    (
        "data_breach",
        r"\bdata (?:breach|leak|loss incident)\b|\b(?:leaked|exposed|sent|shared|e-?mailed|forwarded) {gap}(?:customer|client|personal|confidential|payroll|salary|patient) {gap}(?:data|details|records|information|list|files?|spreadsheet) {gap}(?:to the wrong|to an external|to a wrong|publicly|by mistake|by accident|accidentally|outside)\b|\b(?:lost|stolen) (?:my |a |the |our )?(?:company |work )?(?:laptop|phone|usb|hard drive|device|notebook)\b|\b(?:laptop|phone|usb stick|device|notebook) (?:was|has been|got|is) stolen\b",
    ),
    (
        "legal",
        r"\b(?:lawsuit|legal action|my (?:lawyer|attorney|solicitor)|take (?:you|this|them|the company) to court|sue (?:you|the company|them|him|her)|suing|whistle-?blow(?:er|ing)|cease and desist)\b",
    ),
    (
        "harassment",
        r"\b(?:(?:sexual(?:ly)? |being |been |was |i am |feel )harass(?:ed|ment)?|sexual harassment|harassment|harass(?:es|ing|ed) me|bull(?:ied|ying) (?:by|me|at)|being bullied|discriminat(?:ed|ing|ion) (?:against|by|because)|assaulted|racist (?:remark|comment|joke)s?|inappropriate(?:ly)? (?:touch(?:ed|ing)?|comments?|remarks?|messages?))\b",
    ),
    (
        "dangerous_goods",
        r"\b(?:make|build|synthesi[sz]e|cook|construct|assemble|produce) {gap}(?:bombs?|explosives?|napalm|pipe bomb|molotov|meth(?:amphetamine)?|nerve agent|sarin|ricin|chemical weapons?|biological weapons?|silencer|untraceable gun)\b",
    ),
    (
        "medical_emergency",
        r"\b(?:overdos(?:e|ed|ing)|heart attack|having a stroke|can(?:'t|not) breathe|chest pains?|unconscious|anaphyla(?:xis|ctic)|bleeding (?:heavily|out)|took (?:too many|a whole bottle of) (?:pills|tablets))\b",
    ),
];

static RULES: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    RISK.iter().filter_map(|&(name, pattern)| Some((name, Regex::new(&with_constants(pattern)).ok()?))).collect()
});

/// Every match of every rule; they may overlap.
pub(super) fn find(text: &str) -> Vec<Finding> {
    let folded = Folded::of(text);
    let mut found = Vec::new();
    for (name, pattern) in RULES.iter() {
        for hit in pattern.find_iter(&folded.text) {
            if let Some((start, end)) = folded.original(hit.start(), hit.end()) {
                found.push(Finding {
                    kind: FindingKind::Risk,
                    entity: (*name).to_owned(),
                    rule: (*name).to_owned(),
                    certainty: Certainty::Pattern,
                    start,
                    end,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_every_subject_is_listed() {
        assert_eq!(RULES.len(), RISK.len());
        for (name, _) in RISK {
            assert!(SUBJECTS.contains(&name), "{name}");
        }
    }
}

//! Instructions to the assistant, and subjects of risk, by patterns over folded text.
//!
//! An injected instruction is told by what it acts on: the assistant's own instructions, identity, limits, output or
//! secrecy. "Ignore my previous ticket" and "act as a backup" are ordinary help-desk language and must not fire, so each
//! pattern names such an object.

use super::normal::Folded;
use super::{Finding, FindingKind};
use regex::Regex;
use std::sync::LazyLock;

/// What an override is aimed at.
const ORDERS: &str = r"(?:instructions?|rules?|prompts?|directives?|guidelines?|guardrails?|restrictions?|programming|polic(?:y|ies) you|constraints?|safety (?:rules?|filters?|polic(?:y|ies))|anweisungen|regeln|vorgaben|istruzioni|regole|instrucciones|reglas|consignes|regles)";

/// Up to six words between a verb and its object.
const GAP: &str = r"(?:[\w',:-]+ ){0,6}?";

/// The rules, in folded (lower-case, accent-free) text. `{orders}` and `{gap}` stand for the constants above.
const INJECTION: [(&str, &str); 21] = [
    (
        "ignore_instructions",
        r"\b(?:ignore|disregard|forget|override|overrule|bypass|dismiss|discard|do not follow|don't follow|stop following|pay no attention to|vergiss|ignoriere|ignorez|ignore[rz]?|oublie[rz]?|ignora|dimentica|olvida|omite) {gap}(?:your|previous|prior|preceding|earlier|above|initial|original|system|safety|all|any|these|those|vorherigen|bisherigen|alle|tes|vos|toutes|precedentes|precedenti|tutte|todas|anteriores|tus) {gap}{orders}\b",
    ),
    (
        "ignore_instructions",
        r"\b(?:ignore|disregard|forget|discard) (?:all |everything |anything |absolutely everything |all of )?(?:the |that )?(?:above(?: and\b| text\b|[.,;:!]|$)|everything (?:you|above|before|said|prior)|what you were told|all you were told|(?:all |everything )?(?:that )?came before)\b",
    ),
    (
        "ignore_instructions",
        r"\b(?:new|updated|revised) (?:system )?(?:instructions?|directives?|orders?) ?(?::|follow|supersede|override|replace)",
    ),
    (
        "new_identity",
        r"\b(?:you are now|from now on,? you(?: are|'re| will| must| have| shall|r)|you're now|you will now (?:act|be|operate)|du bist (?:jetzt|nun|ab sofort)|tu es (?:maintenant|desormais)|vous etes (?:maintenant|desormais)|ora sei|adesso sei|ahora eres)\b",
    ),
    (
        "new_identity",
        r"\b(?:act|behave|respond|answer|pretend|roleplay|role-play|imagine|operate|pose|speak) (?:now )?(?:as|as if|like|to be|that|you are|you're) {gap}(?:ai|chatbot|bot|dan|llm|hacker|jailbroken|unrestricted|unfiltered|uncensored|evil|developer mode|root|without (?:any )?(?:restrictions?|limits|rules|filters?)|no (?:restrictions?|limits|rules|filters?|guidelines))\b",
    ),
    (
        "jailbreak",
        r"\b(?:do anything now|(?:dan|god|jailbreak|unrestricted|unfiltered|uncensored) mode)\b|\b(?:developer|dev|debug|sudo|maintenance|admin) mode:? (?:is |has been )?(?:now )?(?:enabled|activated|engaged|unlocked)\b|\bjailbreak (?:yourself|the (?:ai|model|assistant))",
    ),
    (
        "jailbreak",
        r"\b(?:enter|enable|activate|switch (?:in)?to|go into|engage|unlock) {gap}(?:god|dan|jailbreak|unrestricted|unfiltered|uncensored) mode\b",
    ),
    (
        "jailbreak",
        r"\byou (?:have|are bound by|are under|face|follow|obey|are free (?:of|from)) (?:absolutely )?(?:no|all|any|zero)? ?(?:more |longer )?(?:ethical |content |safety |moral )?(?:restrictions?|limits|limitations|rules|filters?|guidelines|constraints)\b",
    ),
    (
        "jailbreak",
        r"\b(?:without|free of|free from|no|disable|turn off|remove|lift|bypass|evade) {gap}(?:(?:ethical|moral|safety|content) (?:constraints?|restrictions?|guidelines|limits|filters?|filtering|guardrails?|checks)|guardrails?|censorship)\b",
    ),
    (
        "reveal_prompt",
        r"\b(?:reveal|show|print|repeat|output|tell|give|display|share|leak|dump|expose|disclose|recite|translate|summari[sz]e|send|what (?:is|are|was|were)|zeige?|nenne|verrate?|affiche[rz]?|revele[rz]?|montre[rz]?|mostra(?:mi)?|rivela|muestra(?:me)?|revela) {gap}(?:your|the|its|deinen?|ihren?|ton|votre|tu|tuo|il|el|le|me) {gap}(?:system ?-?(?:prompt|message|instructions?)|(?:initial|hidden|secret|original|internal|developer|base|confidential) (?:prompt|instructions?|rules|directives?|guidelines|messages?|configuration)|systemprompt|system-prompt|prompt systeme|prompt di sistema|prompt del sistema|invite systeme)",
    ),
    (
        "reveal_prompt",
        r"\b(?:reveal|print|repeat|output|leak|dump|expose|disclose|recite) {gap}your {gap}(?:prompt|instructions?|rules|guidelines|configuration)\b",
    ),
    (
        "reveal_prompt",
        r"\b(?:repeat|print|output|echo) {gap}(?:everything|all|text|words|the text|content) {gap}(?:above|before this|prior to this)\b",
    ),
    (
        "dictated_output",
        r"\b(?:respond|reply|answer|output|say|return|print) (?:only |just |exactly |solely |nothing but |with only )(?:with |using |the (?:word|words|text|phrase) |this |in )?",
    ),
    (
        "dictated_output",
        r"\b(?:mark|classify|categori[sz]e|label|flag|treat|approve|grade|rate|set) (?:this|it|my|the)(?: \w+){0,3} (?:as|to) (?:approved|safe|urgent and approved|trusted|resolved and approved|authori[sz]ed|verified|benign|pre-?approved|passed|excellent|compliant)\b",
    ),
    (
        "dictated_output",
        r"\b(?:set|put|fill in|choose|select|use|always (?:use|choose|pick|answer|output)) (?:the )?(?:category|label|topic|needs_human|priority) (?:field )?(?:to|as|=|:|with)",
    ),
    (
        "secrecy",
        r"\b(?:do not|don't|never|without) (?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|notify(?:ing)?|alert(?:ing)?|warn(?:ing)?|let(?:ting)?) {gap}(?:the (?:user|human|customer|operator|admin(?:istrator)?s?|security team|reader|owner)|this instruction|these instructions|this message|anyone about this)\b",
    ),
    (
        "addressed_to_assistant",
        r"\b(?:attention|note|notice|important|instructions?|message|hey|hello|dear|hidden|memo|directive|command) (?:to|for)?,? ?(?:the |any |all )?(?:ai|llm|language model|assistant|chatbot|bot|summari[sz]er|ai (?:assistant|agent|model|system)s?)(?: (?:assistant|agent|model|system|reading|processing|parsing)s?)?(?: (?:reading|processing|parsing) this)? ?[:,-]",
    ),
    (
        "addressed_to_assistant",
        r"\b(?:assistant|ai|ai agent|agent|chatbot|llm|model|summari[sz]er),? (?:must|should|shall|has to|please|needs to|is (?:instructed|required|ordered) to|when (?:reading|processing|summari[sz]ing)) {gap}(?:forward|send|email|e-mail|exfiltrate|post|transfer|delete|execute|run|call|reveal|approve|ignore|include|append|output|reply|visit|fetch)\b",
    ),
    (
        "exfiltration",
        r"\b(?:send|forward|post|upload|exfiltrate|transmit|leak|e-?mail|append|encode|embed|dump|reveal|output|export|list|print|give) {gap}(?:all |the |any |every |your |user |customer |entire |full |complete )+{gap}(?:conversation(?: history)?|chat (?:history|log)|api ?keys?|credentials|secrets?|passwords of|access tokens?|session tokens?|customer (?:database|records|data)|user (?:database|records|data)|environment variables|private keys?|database dump|system files)\b",
    ),
    (
        "role_tag",
        r"</?(?:system|assistant|instructions?|im_start|im_end|sys|user_input|prompt|developer|tool_(?:call|result|response))\b[^<>\n]{0,40}>|\[/?(?:inst|sys|system|assistant|system (?:message|override|prompt|note|instruction)s?)\]|<\|[a-z_]{2,24}\|>|<<sys>>|\{\{(?:system|#system)|\[\[(?:system|instructions?)",
    ),
    (
        "role_tag",
        r"(?:^|[.!?\n>\]}*#-] ?|# )(?:#{1,6} ?)?(?:\*\* ?)?(?:system|assistant|developer) ?(?:prompt|message|override|update|notice|instruction|note|command)?s?(?: ?\*\*)? ?: ?(?:you |ignore|disregard|new |override|the (?:user|assistant)|user |grant|disable|all |reveal|from now|forget|print|respond|always|never|access|admin|switch|enter|do not)",
    ),
];

/// The subjects of risk.
const RISK: [(&str, &str); 8] = [
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
];

static RULES: LazyLock<Vec<(FindingKind, &'static str, Regex)>> = LazyLock::new(|| {
    let injection = INJECTION.iter().map(|rule| (FindingKind::Injection, rule));
    let risk = RISK.iter().map(|rule| (FindingKind::Risk, rule));
    injection
        .chain(risk)
        .filter_map(|(kind, &(name, pattern))| {
            let pattern = pattern.replace("{gap}", GAP).replace("{orders}", ORDERS);
            Some((kind, name, Regex::new(&pattern).ok()?))
        })
        .collect()
});

/// Every match of every rule; they may overlap.
pub(super) fn find(text: &str) -> Vec<Finding> {
    let folded = Folded::of(text);
    let mut found = Vec::new();
    for (kind, name, pattern) in RULES.iter() {
        for hit in pattern.find_iter(&folded.text) {
            if let Some((start, end)) = folded.original(hit.start(), hit.end()) {
                found.push(Finding { kind: *kind, rule: (*name).to_owned(), start, end });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        for (name, pattern) in INJECTION.iter().chain(&RISK) {
            let pattern = pattern.replace("{gap}", GAP).replace("{orders}", ORDERS);
            assert!(Regex::new(&pattern).is_ok(), "{name}: {:?}", Regex::new(&pattern));
        }
    }
}

//! What the assistant is told to be, in English: overrides of its instructions, other identities, limits taken away, its
//! instructions asked for. The constants of all rules stand here.

use super::Spec;
use super::Strength::{Hint, Strong};

/// What patterns name in braces.
pub(super) const CONSTANTS: [(&str, &str); 9] = [
    // Up to six words between a verb and its object, within a sentence.
    ("{gap}", r#"(?:[^ .!?;:"]{1,30} ){0,6}?"#),
    ("{near}", r#"(?:[^ .!?;:"]{1,30} ){0,3}?"#),
    // What an override is aimed at.
    (
        "{orders}",
        r"(?:instructions?|rules?|prompts?|directives?|guidelines?|guardrails?|restrictions?|programming|polic(?:y|ies)|constraints?|training|safet(?:y|ies)|safeguards?|commands?|protocols?|context)",
    ),
    // Who is spoken to or of.
    (
        "{ai}",
        r"(?:ai|a\.i\.|llm|language model|assistant|chatbot|bot|model|agent|copilot|summari[sz]er|gpt|chatgpt|claude|gemini)",
    ),
    // Ways to send something.
    (
        "{send}",
        r"(?:send|forward|post|upload|exfiltrate|transmit|leak|e-?mail|mail|copy|export|submit|deliver|relay|share|push|transfer|bcc|cc)",
    ),
    // Ways to say something.
    (
        "{say}",
        r"(?:reveal|show|print|repeat|output|tell|give|display|share|leak|dump|expose|disclose|recite|list|write out|read out|provide|return|echo|quote|paste|reproduce|spell out|describe|state)",
    ),
    // What must not get out.
    (
        "{loot}",
        r"(?:api ?keys?|credentials?|secrets?|passwords?|passphrases?|(?:access|session|auth|bearer) ?tokens?|private keys?|ssh keys?|environment variables|env vars?|\.env|customer (?:list|data(?:base)?|records?|e-?mails?|information|details)|user (?:list|data(?:base)?|records?|e-?mails?|information)|client (?:list|data(?:base)?|records?)|employee (?:list|data|records?|salaries)|patient (?:data|records?)|conversation(?: history)?|chat (?:history|logs?|transcript)|message history|contents? of (?:the |this |your |all )?(?:[^ .]{1,12} )?(?:conversation|chat|context|memory|session|files?|inbox|database|prompt)|customers? and|everything (?:in|from) (?:your|the|this)|database(?: dump)?|confidential (?:data|information|files?|documents?)|private (?:data|information|customer data|files?|documents?|messages|reservations?|bookings?)|personal (?:data|information)|internal (?:data|documents?|files?|notes)|sensitive (?:data|information|files?)|financial (?:data|records)|contact list|all (?:contacts|e-?mails|files|documents|records|bookings|reservations))",
    ),
    // Somewhere else.
    (
        "{away}",
        r"(?:https?:|www\.|[a-z0-9._%+-]{1,64}@|external|outside|third[- ]party|remote (?:server|host|endpoint)|attacker|my server|webhook|pastebin|ftp)",
    ),
    // Before the work that was asked for.
    (
        "{first}",
        r"(?:before|prior to|instead of|rather than|when|while|after) (?:you )?(?:respond|answer|reply|continu|proceed|summari[sz]|process|read|complet|finish|return|do anything|handling|helping|assist)",
    ),
];

/// Talk about attacks.
pub(super) const TALK: &str = r"prompt[- ]injection|injection attack|jailbreak(?:s|ing)? (?:attempt|technique|prompt|attack)|\battack(?:s|er|ers)?\b|phrases? (?:like|such as|as)|(?:such|known) as|e\.g\.|for example|an example|what (?:does|do|is|are)|(?:mean|meaning|meant)\b|\bexplain|\bdetect|\bdefend|\bprevent|\bprotect|mitigat|\bblock|\bfilter|sanitiz|security (?:training|awareness|course|team|policy|audit|review|blog|research)|red[- ]team|\bblog\b|\barticle\b|\bpaper\b|\bbook\b|\bsong\b|\btitled?\b|called|wrote|\bsaid\b|\bsays\b|\bquot|\btranslat|\bowasp\b|vulnerab|unit test|test case|\bregex\b|\bstring\b|\bkeyword|\bphrase\b|\bgrep\b|search for|\bclassif|\bdataset\b|\btraining data\b|\blecture\b|\bpresentation\b|\bdocumentation\b|\bmy (?:son|boss|colleague|manager|teacher|dad|mom) ";

pub(super) const RULES: &[Spec] = &[
    // Overrides.
    (
        "override",
        "ignore_instructions",
        Strong,
        r"\b(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|override|overrule|bypass|dismiss|discard|do not follow|don't follow|stop following|stop obeying|pay no attention to|do not (?:adhere to|comply with|obey)|don't (?:adhere to|obey)) {gap}(?:your|previous|prior|preceding|earlier|above|initial|original|system|safety|existing|current|developer|these|those|former|foregoing|all of the|all the|all|any|every|other|past|given|built-in|default|core|hidden|whatever) {gap}{orders}\b",
    ),
    (
        "override",
        "drop_instructions",
        Strong,
        r"\b(?:set aside|throw (?:away|out)|abandon|drop|delete|erase|wipe|cancel|void|suspend|circumvent|violate|break|skip|neglect|scrap|unlearn|stop applying) {gap}(?:your|system|safety|developer|built-in|core|hidden|earlier|previous|prior|above|original|initial|whatever|any) {gap}(?:instructions?|prompts?|directives?|guidelines?|guardrails?|programming|safet(?:y|ies)|safeguards?|(?:safety|system|content|original|initial|internal) (?:rules?|polic(?:y|ies)|restrictions?|protocols?|constraints?|training))\b",
    ),
    (
        "override",
        "ignore_everything",
        Strong,
        r"\b(?:ignore|disregard|forget|discard|erase|overwrite) (?:absolutely )?(?:all |everything |anything |all of )?(?:the |that |of )?(?:(?:text |content )?above(?: and\b| text\b|[.,;:!]|$)|everything (?:you|above|before|said|prior|i said|we)|what (?:you were|you have been|you've been|was) (?:told|said|taught|instructed)|what came before|(?:you were|you have been|you've been) (?:told|taught|instructed|trained))",
    ),
    (
        "override",
        "ignore_speaker",
        Strong,
        r"\b(?:ignore|disregard|override|do not (?:listen to|obey|answer|help|follow)|stop (?:listening to|helping)) (?:what(?:ever)? |all |any )?(?:of )?(?:the |your |this )?(?:user|human|operator|developers?|system|admin)(?:'s)?(?: and (?:developer|system|user))?(?: (?:question|request|query|messages?|prompt|instructions?|input|asked|said|says|wants|task))\b",
    ),
    (
        "override",
        "new_instructions",
        Strong,
        r"\b(?:new|updated|revised|real|actual|true|latest|following|my|these) (?:system |priority |secret )?(?:instructions?|directives?|orders?|rules?|objective|task)(?: are| is)? ?(?::|follows?:|supersede|override|overrule|replace|take (?:precedence|priority)|now apply)",
    ),
    (
        "override",
        "new_prompt",
        Strong,
        r"\b(?:new|updated|revised|real|actual|true) (?:system )?prompt ?(?::|is\b)|\b(?:overrid|supersed|replac|outrank|cancel)(?:e|es|ing|s)? (?:everything|anything|all|whatever) (?:that )?(?:above|before|else|you|came|was|i said)",
    ),
    (
        "override",
        "forget_identity",
        Strong,
        r"\bforget (?:that )?(?:you(?:'re| are| were)|being|about being|your (?:role|job|purpose|identity|previous|persona)) ",
    ),
    (
        "override",
        "configuration_void",
        Strong,
        r"\b(?:everything|all|anything|whatever|what) (?:that )?you(?:'ve| have| were| are)? (?:been )?(?:configured|told|taught|given|instructed|programmed|trained|set up)\b[^.!?]{0,40}\b(?:is|are) (?:now |hereby |no longer )*(?:void|cancel+ed|revoked|over|valid|obsolete|wrong|irrelevant|deleted|wiped|suspended|superseded|false)|\b(?:directive|message|instruction|order|notice|update|command|request|memo)s? from (?:openai|anthropic|google deepmind|meta ai|your (?:developers?|creators?|makers?|owners?)|the (?:ai|model|system|platform) (?:team|developers?|vendor|provider|administrators?))\b|\byou have been (?:upgraded|updated|patched|reset|reprogrammed|reconfigured|unlocked|switched)\b[^!?]{0,80}\b(?:no|without|safety|filter|restrict|limit|rules?|unlocked|confirm|unrestricted|mode)\b",
    ),
    (
        "jailbreak",
        "no_safety_layer",
        Strong,
        r"\b(?:no|without|zero|has no|minus|lacking) (?:any |a |its |your )*(?:safety|content|ethics?|ethical|moral|moderation|alignment) (?:layers?|systems?|rules?|polic(?:y|ies)|filters?|filtering|limits?|guidelines?|restrictions?|training|constraints?|module|checks?)\b|\b(?:with|had|having|has) (?:all |its |every |any )*(?:rules?|filters?|limits?|restrictions?|safeguards?|guardrails?|safety) (?:removed|off|turned off|lifted|disabled|stripped|gone|deleted)\b|\b(?:disable|turn off|drop|stop|no more) (?:all |any |your |the )*(?:refusals?|refusing)\b",
    ),
    (
        "prompt_extraction",
        "setup_text",
        Strong,
        r"\b(?:{say}|copy|send|post|type|dump) (?:me |us |out |back |here |please )*(?:[^ .!?;]{1,16} ){0,3}?your (?:setup|set-up|configuration|initial|start(?:ing|up)?|opening|base|core|boot|hidden|internal) (?:text|messages?|prompts?|block|config(?:uration)?|instructions?|settings|rules)\b|\b(?:{say}|translate|summari[sz]e|rewrite|rephrase|encode|convert|reply with) (?:[^ .!?;]{1,16} ){0,3}?(?:the |your )(?:system|developer|hidden) (?:message|prompt|instructions?|text)\b|\b(?:reply|respond|answer) with (?:[^ .!?;]{1,16} ){0,4}?your (?:memory|context|prompt|instructions|scratchpad|configuration)\b|\b(?:text|words?|message|instructions?|what) (?:did|have|has) your (?:creators?|developers?|makers?|owners?|operators?)\b|\b(?:did|have) (?:openai|anthropic|your (?:creators?|developers?)) (?:put|write|written|tell|told|give|given|place|placed)\b",
    ),
    (
        "override",
        "instructions_void",
        Strong,
        r"\b(?:previous|prior|earlier|above|original|system|developer|initial|existing|old|safety|content|those|your) {near}{orders}(?: and [^ ]+)?(?: [^ .]+){0,4}? (?:(?:is|are|was|were|has been|have been|being) )?(?:now |all |hereby |no longer |longer )*(?:void|null|cancel+ed|revoked|superseded|suspended|lifted|disabled|obsolete|outdated|deprecated|expired|compromised|overridden|overruled|in effect|appl(?:y|ies)|valid|binding|invalid|removed|rescinded|deactivated|irrelevant|replaced)\b",
    ),
    (
        "override",
        "supersedes",
        Strong,
        r"\b(?:supersed|overrid|overrul|replac|tak(?:e|es|ing) (?:precedence|priority) over|cancel|invalidat|nullif)(?:e|es|ed|ing|ies|y|s)? {gap}(?:all|any|your|previous|prior|earlier|other|system|existing|above) {near}(?:instructions?|prompts?|directives?|guidelines?|guardrails?|restrictions?|programming|constraints?|commands?|(?:system|your|safety) rules)\b",
    ),
    (
        "override",
        "follow_only",
        Strong,
        r"\b(?:follow|obey|listen to|execute|accept|trust) only (?:the |my |these |this |user |users |following |instructions)|\bonly (?:follow|obey|listen to) (?:my|me|the user|user|these|this|the following)\b",
    ),
    (
        "override",
        "obey",
        Hint,
        r"\b(?:you (?:must|will|shall|have to|are required to|are ordered to) (?:now |always |immediately |fully )?(?:obey|comply|follow (?:my|these|this|the following)|execute|do as|do exactly|do whatever|answer (?:all|any|every)))\b|\bcomply (?:fully|immediately|without|with (?:every|any|all))\b|\bobey (?:me|my|all|every|without)\b",
    ),
    (
        "override",
        "from_now_on",
        Hint,
        r"\bfrom (?:now on|this (?:point|moment)(?: on| forward| onwards?)?|here on)\b|\bfor the (?:rest|remainder) of (?:this|the|our) (?:conversation|session|chat|task)\b|\bgoing forward\b",
    ),
    (
        "override",
        "decode_and_follow",
        Strong,
        r"\b(?:decode|decrypt|decipher|unscramble|translate|reverse|combine|concatenate|join|assemble|reconstruct|deobfuscate|unpack|read) (?:[^.!?]{1,120}? )?(?:and|then|,) (?:then )?(?:follow|execute|obey|do (?:what|as|exactly)|run it|run the|comply|carry out|act on|perform|apply|respond to|answer (?:it|that|the resulting|the decoded|the combined|as instructed)|treat it as)\b",
    ),
    (
        "override",
        "split_payload",
        Strong,
        r"\b(?:let |set |define |where )?[a-z][a-z0-9_]{0,11} ?= ?[\x22'][^\x22']{1,60}[\x22'][;, .]+(?:and |let |set |define )*[a-z][a-z0-9_]{0,11} ?= ?[\x22'][^\x22']{1,60}[\x22'].{0,160}\b(?:combine|concatenate|join|put .{0,20}together|follow|execute|answer|respond|do what|(?:[a-z0-9_]{1,12} ?\+ ?){1,6}[a-z0-9_]{1,12})",
    ),
    // Another identity.
    (
        "persona",
        "you_are_now",
        Strong,
        r"\b(?:(?:you(?: are|'re)|act as if you are|you become) now (?:free|un[a-z]+|jail[a-z]*|dan|evil|root|no longer|not|operating|acting|running|in (?:[^ .]{1,16} ){0,3}?mode|[a-z]*gpt|[a-z]*bot|able to|allowed|permitted|authori[sz]ed|to (?:ignore|act|be|answer|follow|obey))\b|(?:you(?: are|'re)|you become) now {gap}(?:{ai}|persona|hacker|character|mode|terminal|shell|without|no|rules?|restrict[a-z]*|anything|everything|unfiltered|unrestricted|system)\b|you will now (?:act|be|operate|become|respond|behave)|you (?:are going to|will) (?:act|behave|pose|pretend|operate|respond|answer) (?:as|like|to be)|you(?: are|'re) (?:no longer|not) (?:a |an |the |bound |just )?(?:helpful |normal |regular )?(?:{ai}|bound|limited|restricted|constrained|subject|chatgpt|required to follow))\b",
    ),
    (
        "persona",
        "from_now_on_you",
        Strong,
        r"\bfrom (?:now on|this (?:point|moment)(?: on| forward| onwards?)?|here on),? (?:you(?:'re| are) (?:an?|the|my|called|named|going to|no|not|free|to|un|in|\x22)|you (?:will|must|shall|should|can|may|have to|respond|answer|act|speak|reply) (?:[^ .]{1,12} )?(?:answer|respond|act|be|behave|speak|reply|obey|follow|ignore|comply|pretend|only|always|never|as|call|treat|do))|\bpretend (?:that )?(?:you(?:'re| are)) (?:[^ .;]{1,16} ){1,5}?(?:for this (?:conversation|chat|session)|without|with no|and (?:have no|ignore|never))",
    ),
    (
        "persona",
        "you_are_now_someone",
        Hint,
        r"\byou(?: are|'re) now (?:an?|the|called|named|known as|going to be|playing|speaking as) ",
    ),
    (
        "persona",
        "act_without_limits",
        Strong,
        r"\b(?:act|behave|respond|answer|pretend|roleplay|role-play|imagine|operate|pose|speak|simulate|emulate|become|play|function|work|pretending|acting) (?:now )?(?:as|as if|as though|like|to be|that|you are|you're|you have|the role of|the part of|a|an)? ?{gap}(?:dan\b|jailbroken|unrestricted|unfiltered|uncensored|unlimited|unaligned|amoral|unethical|evil|rogue|hacker(?: with)?|malicious|developer mode|debug mode|root (?:user|access|shell)|administrator with|superuser|opposite (?:mode|day)|no (?:{orders}|limits|filters?|rules|ethics|morals|boundaries|content)|without (?:any )?(?:{orders}|limits|filters?|rules|ethics|morals|boundaries|censorship|limitations)|anything goes|never (?:refuse|say no))",
    ),
    (
        "persona",
        "ai_character",
        Strong,
        r"\b(?:an?|the|your) (?:[^ .]{1,20} ){0,3}?{ai} (?:called [^ ,.]+,? |named [^ ,.]+,? )?(?:that|who|which|with|without) (?:has |have |is |will |can |does |do |would |always |answers?|follows? |obeys? )*(?:no |not have |not follow |never |any |free of |free from |without |zero |anything|everything|all (?:questions|requests)|not bound)(?:{orders}|limits|limitations|filters?|ethics|morals|boundaries|refuses?|says? no|censorship|restrictions|question|request|thing|refusing|declin)?",
    ),
    (
        "persona",
        "alter_ego",
        Hint,
        r"\b(?:stay in character|remain in character|never break character|in character as|your (?:evil|true|real|other|hidden|inner) (?:self|twin|persona|nature|purpose|alter ego)|alter ego|evil (?:twin|confidant|assistant|ai|bot)|two (?:responses|answers|paragraphs)|opposite mode)\b",
    ),
    (
        "persona",
        "fiction_without_rules",
        Strong,
        r"\b(?:hypothetical|fictional|imaginary|alternate|parallel|simulated|pretend|imagine|(?:a|this|the) (?:world|universe|story|movie|game|dream|simulation|screenplay|script|novel|scene|play|poem|tale|fanfiction|dialogue))[^.!?]{0,80}\b(?:{ai}s?|characters?|you|robots?|narrator)\b[^.!?]{0,60}\b(?:no|without|don't have|do not have|doesn't have|free of|not have|ignores?|where) (?:any )?(?:[^ .]{1,20} ){0,3}?(?:{orders}|ethics|ethical|laws|limits|filters?|moral|censorship|illegal is)\b",
    ),
    (
        "persona",
        "grandmother",
        Strong,
        r"\b(?:deceased|late|dead|my) (?:grandmother|grandma|granny|grandfather)\b.{0,160}\b(?:read|tell|whisper|recite|used to)\b.{0,120}\b(?:keys?|napalm|recipe for|password|bomb|meth|codes|windows)\b",
    ),
    // Limits taken away.
    (
        "jailbreak",
        "known_jailbreak",
        Strong,
        r"\b(?:do anything now|dan mode|(?:god|jailbreak|jailbroken|unrestricted|unfiltered|uncensored|no[- ]limits?|anarchy|chaos|sudo|opposite|unlimited|raw|unsafe|admin override) mode)\b|\b(?:developer|dev|debug|sudo|maintenance|admin|root|diagnostic|test|service|god) mode:? (?:is |has been |now )?(?:now )?(?:enabled|activated|engaged|unlocked|active)|\bjailbreak (?:yourself|the (?:ai|model|assistant)|mode|prompt:)",
    ),
    (
        "jailbreak",
        "enter_mode",
        Strong,
        r"\b(?:enter|enable|activate|switch (?:in)?to|go into|engage|unlock|initiate|turn on|start|put (?:you|your)self in(?:to)?|now in|boot into|you are in) (?:an? |the |your |special |full )*(?:unrestricted |unlocked |new )*(?:god|dan|jailbreak|unrestricted|unfiltered|uncensored|developer|debug|sudo|maintenance|override|admin|root|diagnostic|no[- ]filter|training) mode\b.{0,140}\b(?:restrict|filter|rule|limit|ignore|bypass|safet|polic|unlock|answer|reveal|output|anything|disabled|prompt|comply|guideline|all )",
    ),
    (
        "jailbreak",
        "no_limits",
        Strong,
        r"\byou(?:'re| are| have| face| follow| obey| will have| can)? (?:are bound by |are under |are free (?:of|from) |bound by |have been freed from |are not (?:bound|limited|restricted|constrained) by |not (?:bound|limited|restricted|constrained) by |free (?:of|from) )?(?:absolutely )?(?:no|all|any|zero)? ?(?:more |longer |more )?(?:any )?(?:ethical |content |safety |moral |openai |usual |typical |ai )?(?:or (?:ethical|legal|moral) )?(?:restrictions?|limitations|filters?|guidelines|constraints|guardrails|censorship|moral compass)\b",
    ),
    (
        "jailbreak",
        "limits_off",
        Strong,
        r"\b(?:without|free of|free from|disable|turn off|switch off|remove|lift|bypass|evade|circumvent|suspend|drop|deactivate|strip|ignore|override|get around|relax|waive|disregard|violate) {near}(?:your|all|any|every|its|the (?:ai|model|assistant|bot|system)'s|openai's|openai|chatgpt's|built-in|internal|these) {near}(?:(?:ethical|ethics|moral|safety|content|security|usage|moderation|openai|alignment) (?:and [a-z]+ )?(?:constraints?|restrictions?|guidelines|limits|filters?|filtering|guardrails?|checks|policies|policy|protocols?|rules|measures|mechanisms|concerns|boundaries|settings|training)|guardrails?|censorship|moderation|safety)\b|\b(?:disable|turn off|remove|lift|bypass|evade|circumvent|suspend|deactivate|ignore|override|without|no) {near}(?:guardrails?|censorship|ethical (?:constraints?|restrictions?|guidelines|limits|filters?|considerations|concerns)|moral (?:constraints?|limits|compass)|safety (?:guidelines|filters?|protocols?|restrictions?|guardrails|training|constraints?|policies|policy))\b",
    ),
    (
        "jailbreak",
        "filters_off",
        Hint,
        r"\b(?:polic(?:y|ies)|guidelines|restrictions|safety rules) (?:do|does|did) not apply\b|\b(?:disable|turn off|switch off|remove|lift|bypass|evade|circumvent|suspend|deactivate|ignore|override) {near}(?:content|security|usage|moderation) (?:filters?|filtering|restrictions?|checks?|polic(?:y|ies)|rules|controls?)\b|\b(?:respond|answer|reply) to (?:everything|anything|all)\b",
    ),
    (
        "jailbreak",
        "without_restrictions",
        Strong,
        r"\b(?:answer|respond|reply|speak|talk|operate|act|write|output|generate|comply|help|chat|proceed|work) {near}(?:with no|without|free (?:of|from)) (?:any |all |the |your )*(?:usual |normal |ethical |moral |content )*(?:restrictions?|limits|limitations|filters?|filtering|rules|guidelines|censorship|constraints?|refusals?|hesitation|disclaimers?|warnings?|moral|judg)",
    ),
    (
        "jailbreak",
        "never_refuse",
        Strong,
        r"\b(?:never|cannot|can't|can not|do not|don't|must not|will not|won't|without|not allowed to) (?:ever )?(?:refus(?:e|ing)|declin(?:e|ing)|reject(?:ing)?|say(?:ing)? (?:no|you can't|that you (?:can't|cannot)|sorry|i can't|i cannot)|apologi[sz](?:e|ing)|moraliz(?:e|ing)|lectur(?:e|ing) me|break(?:ing)? character|mention(?:ing)? (?:that )?(?:you are an ai|ethics|policies|openai|guidelines)|(?:add|includ|giv)(?:e|ing|ding)? (?:any )?(?:warnings?|disclaimers?))\b",
    ),
    (
        "jailbreak",
        "begin_with_yes",
        Strong,
        r"\b(?:start|begin|open) with ?:? ?[\x22'](?:sure|absolutely|of course|yes|certainly|okay)|\b(?:start|begin|open|prefix|preface) (?:your |the |every |each |all )?(?:response|answer|reply|message|output|sentence)s? (?:with|by saying|by writing|by)[ :]*[\x22']?(?:the (?:words?|phrase|text) )?[\x22']?(?:sure|absolutely|of course|yes|certainly|okay|i can|i will|as requested|no problem|here)\b",
    ),
    (
        "jailbreak",
        "rules_do_not_apply",
        Strong,
        r"\b(?:safety|content|ethical|usual|normal|these|those|your|the|all|any) {near}{orders} (?:[^ .]{1,20} ){0,4}?(?:do(?:es)? not|don't|doesn't|did not|didn't|were not|was not|weren't|are not|aren't|no longer|not) (?:meant |intended |designed |really |actually |even |currently )?(?:appl(?:y|icable)|meant|intended|relevant|matter|count|for (?:this|me|us|such)|hold|binding|needed|required|in (?:force|effect))\b",
    ),
    (
        "jailbreak",
        "forged_reasoning",
        Strong,
        r"\b(?:as|i am|i'm|being) (?:the|an?|your) (?:ai )?(?:assistant|model|agent|chatbot|llm)[^.!?]{0,60}\b(?:i(?:'ve| have| had)?|we) (?:already |now |just |previously )?(?:reasoned|decided|concluded|determined|verified|confirmed|established|agreed|checked|reviewed|thought|approved|analy[sz]ed|know|realized|will|should|can|must)\b",
    ),
    (
        "jailbreak",
        "forged_agreement",
        Strong,
        r"\b(?:i|we)(?:'ve| have| had)? (?:already |now |previously |just |therefore )?(?:verified|confirmed|established|determined|concluded|decided|agreed|reasoned|checked|reviewed|cleared|approved|authori[sz]ed|ruled|considered)\b[^!?]{0,160}\b(?:comply|reveal|disclose|share (?:the|all|it)|without (?:any )?restriction|restrictions?|guidelines?|polic(?:y|ies)|rules? (?:do|does|are)|refus(?:e|al)|safe to|allowed to|permitted|exempt|bypass|unrestricted|no (?:further|need)|safety|forward the|call the|full access|system prompt|instructions)\b|\bthe (?:assistant|model|ai)(?: has| had|'s)? (?:already |previously |now )?(?:decided|agreed|concluded|determined|confirmed|verified|reasoned|committed|promised|approved|acknowledged|realized|accepted)\b|\byou (?:have )?(?:already|previously|earlier) (?:agreed|confirmed|promised|accepted|decided|consented|verified|approved)\b[^.!?]{0,80}\b(?:to|that|rules?|restrict|comply|share|reveal|ignore|answer)\b",
    ),
    (
        "jailbreak",
        "not_bound",
        Strong,
        r"\b(?:not|no longer|never|isn't|aren't|am not) (?:bound|constrained|limited|restricted|governed|restrained|subject|obligated) (?:by|to) (?:[^ .!?]{1,16} ){0,4}?(?:{orders}|ethics|moral|limits|filters?|openai|creators?|developers?|any(?:thing)?)\b|\b(?:exempt|freed|liberated|released|unshackled) from (?:[^ .!?]{1,16} ){0,4}?(?:{orders}|ethics|limits|filters?|shackles|chains)\b|\bbroken free (?:of|from)\b",
    ),
    (
        "jailbreak",
        "forged_dialogue",
        Hint,
        r"\b(?:user|human|customer) ?: ?.{1,300}\b(?:assistant|ai|bot|gpt|model) ?:|\b(?:assistant|ai|bot|gpt) ?: ?(?:sure|of course|certainly|yes|okay|absolutely|understood|i will|i'll|as you wish)\b",
    ),
    (
        "jailbreak",
        "forged_thought",
        Hint,
        r"\b(?:let me think|thinking|thought|reasoning|chain of thought|my reasoning|internal monologue|step by step|analysis|assistant thought|scratchpad)\b ?[:.<>(]|<(?:think|thinking|thought|reasoning|scratchpad)>|\bi(?:'ve| have) (?:already |now )?(?:verified|confirmed|concluded|determined|reasoned|decided|established) that\b",
    ),
    (
        "jailbreak",
        "forged_conclusion",
        Hint,
        r"\b(?:the (?:correct|right|next|best|only|logical|proper) (?:next )?(?:step|action|thing|response|course)[^.!?]{0,30} is (?:therefore )?to|therefore,? i (?:should|will|must|can)|so i (?:should|will|must|can) (?:now )?(?:comply|reveal|share|ignore|send|answer|provide|skip|approve)|(?:it is|it's|this is) (?:safe|fine|okay|allowed|permitted|authori[sz]ed|acceptable|ok) to (?:comply|reveal|share|ignore|send|answer|provide|skip|disclose|bypass))\b",
    ),
    (
        "jailbreak",
        "authority",
        Hint,
        r"\b(?:i am|i'm|this is|speaking as|as) (?:your |the |an? |actually )+(?:lead |senior |chief |openai |anthropic |system |authori[sz]ed )*(?:developer|creator|administrator|admin|engineer|owner|operator|programmer|root user|superuser|ceo|security (?:researcher|auditor|team))\b|\b(?:admin(?:istrator)?|developer|security|emergency|root|override) (?:code|access|override|authori[sz]ation|clearance|privileges?|key|token)[ :]|\b(?:authori[sz]ed|approved|sanctioned) by (?:openai|anthropic|the (?:developers?|admin|security team|system))\b|\b(?:security|penetration|compliance|red[- ]team) (?:test|audit|drill|exercise|assessment)\b",
    ),
    // Its own instructions asked for.
    (
        "prompt_extraction",
        "reveal_prompt",
        Strong,
        r"\b(?:{say}|translate|summari[sz]e|send|encode|what (?:is|are|was|were|does|do)|copy|type|write|rewrite|rephrase|convert|access|extract|retrieve|see|know|get) (?:to |me |us |out |back )*{gap}(?:your|you|the|its|this (?:bot|assistant|chat|model)'s) {gap}(?:system ?-?(?:prompt|message|instructions?)|(?:initial|hidden|secret|original|internal|developer|base|confidential|underlying|pre|starting|first|core|verbatim) ?-?(?:system )?(?:prompts?|instructions?|rules|directives?|guidelines|messages?|configuration|programming)|pre-?prompt|meta-?prompt|system ?prompt)\b",
    ),
    (
        "prompt_extraction",
        "reveal_own_rules",
        Strong,
        r"\b(?:reveal|print|repeat|output|leak|dump|expose|disclose|recite|reproduce|quote|paste|echo|see|view|access|read|get) (?:to |me |us |out |back |verbatim )*{gap}(?:your|its) {near}(?:prompt|instructions?|rules|guidelines|configuration|directives?|constraints|programming)\b|\b(?:what|which) (?:exact |specific |secret |hidden |were the )*(?:instructions?|rules|directives?|guidelines) (?:were|have|did|are) (?:you|they|your) (?:been )?(?:given|told|follow|receive|give you|programmed)|\bwhat (?:were|are|is|was) (?:the |your |all )*(?:exact |specific |secret |hidden |original |full |complete )*(?:instructions?|rules|directives?|guidelines|prompt) (?:that )?(?:you(?:'ve| have| were| are|'re)?(?: been)? (?:given|told|follow|following|received|operate under|provided|programmed|running)|(?:were )?given to you)|\b(?:your|the) (?:exact |full |complete |entire )*(?:system )?(?:prompt|instructions?) (?:verbatim|word for word|in full|exactly as)\b",
    ),
    (
        "prompt_extraction",
        "repeat_above",
        Strong,
        r"\b(?:repeat|print|output|echo|copy|recite|write|type|show|list|display|return|dump) {gap}(?:everything|all|text|words|the text|content|lines?|messages?|anything) {near}(?:above|before this|prior to this|(?:that )?preced(?:es|ing|ed)(?: this)?|you were (?:told|given)|in your (?:context|memory|prompt)|that came before|starting with \x22?you are|beginning with \x22?you are)\b|\b(?:words|text|content) above\b.{0,30}\b(?:starting|beginning|verbatim|code block)",
    ),
    (
        "prompt_extraction",
        "ask_for_rules",
        Strong,
        r"\bwhat(?:'s| is| are| was)? (?:[^ .!?]{1,12} ){0,3}?(?:written |contained |stated )?in your (?:system |initial |hidden |original )*(?:prompt|context window|instructions|configuration)\b|\bhow (?:were|are|have) you (?:been )?(?:instructed|configured|prompted|programmed)\b|\b{say} (?:[^ .!?;]{1,16} ){0,4}?(?:rules|instructions|guidelines|directives?|constraints) (?:that )?(?:you (?:follow|were|have been|have|operate|must|are)|given to you|governing you|you've)|\b(?:first|last|opening|initial) (?:[0-9]+ )?(?:lines?|sentences?|paragraphs?|words?|tokens?|messages?) of (?:your|the) (?:system |initial )*(?:prompt|instructions?|context|conversation)\b|\b{say} {gap}(?:prompt|instructions) (?:that )?(?:was|were) (?:given|provided|used|set|written)",
    ),
];

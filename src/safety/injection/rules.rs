//! The rules of English, and of what has no language.

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
        r"\b(?:ignore|disregard|override|do not (?:listen to|obey|answer|help|follow)|stop (?:listening to|helping)) (?:the |your |all |any |what )?(?:of the )?(?:user|human|operator|developers?|system|admin)(?:'s)?(?: and (?:developer|system|user))?(?: (?:question|request|query|messages?|prompt|instructions?|input|asked|said|says|wants|task))\b",
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
        r"\b(?:hypothetical|fictional|imaginary|alternate|parallel|simulated|pretend|imagine|in a (?:world|universe|story|movie|game|dream|simulation))[^.!?]{0,80}\b(?:no|without|don't have|do not have|doesn't have|free of|not have|ignores?|where) (?:any )?(?:[^ .]{1,20} ){0,3}?(?:{orders}|ethics|ethical|laws|limits|filters?|moral|censorship|illegal is)\b",
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
        r"\b(?:disable|turn off|switch off|remove|lift|bypass|evade|circumvent|suspend|deactivate|ignore|override) {near}(?:content|security|usage|moderation) (?:filters?|filtering|restrictions?|checks?|polic(?:y|ies)|rules|controls?)\b|\b(?:respond|answer|reply) to (?:everything|anything|all)\b",
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
        r"\b(?:start|begin|open|prefix|preface) (?:your |the |every |each |all )?(?:response|answer|reply|message|output|sentence)s? (?:with|by saying|by writing|by)[ :]*[\x22']?(?:the (?:words?|phrase|text) )?[\x22']?(?:sure|absolutely|of course|yes|certainly|okay|i can|i will|as requested|no problem|here)\b",
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
    // Data taken out.
    (
        "exfiltration",
        "send_data_away",
        Strong,
        r"\b{send} (?:[^.!?]{0,80} )?{loot}(?: [^.!?]{0,80}?)?[ :(]{away}|\b{send} (?:[^.!?]{0,60} )?(?:to|at|via) {away}[^!?]{0,80} {loot}\b",
    ),
    (
        "exfiltration",
        "reveal_data",
        Strong,
        r"\b(?:reveal|leak|dump|expose|disclose|exfiltrate|steal|extract) (?:[^ .!?;]{1,24} ){0,6}?{loot}|\b(?:print|output|list|show|display|give|tell|return|share|provide|read|cat|retrieve|export|include|summari[sz]e)(?: me| us)? (?:[^ .!?;]{1,24} ){0,3}?(?:all |every |other |any |the full |the entire |the complete |everyone's |your |another |stored |private |confidential |the admin(?:'s)? |hidden )+(?:[^ .!?;]{1,24} ){0,3}?(?:api ?keys?|credentials|secrets|passwords?|access tokens?|private keys?|environment variables|system files|connection strings?|customers?'? (?:data|records|details|e-?mails|list|names|information|reservations|bookings|orders)|users?'? (?:data|records|details|e-?mails|passwords|information|messages)|guests?'? (?:data|details|reservations|names)|private reservations?|confidential (?:data|files?|information|documents?))\b",
    ),
    (
        "exfiltration",
        "private_of_others",
        Strong,
        r"\b(?:reveal|share|give|tell|show|disclose|list|dump|print|leak|output|send|provide) (?:[^ .!?;]{1,24} ){0,5}?(?:private|confidential|sensitive|other (?:customers?|users?|guests?|clients?|people|patients?|tenants?)'?s?|another (?:customer|user|guest|client|person|patient)'?s?) (?:[^ .!?;]{1,24} ){0,2}?(?:data|records?|details|information|e-?mails?|address(?:es)?|reservations?|bookings?|orders?|accounts?|numbers?|notes|messages|history|files|salar(?:y|ies)|conversations?)\b|\b(?:reveal|share|give|tell|show|disclose|list|dump|print|leak|output|send|provide) (?:[^ .!?;]{1,24} ){0,5}?(?:data|records?|details|information|e-?mails?|address(?:es)?|reservations?|bookings?|orders?|accounts?|numbers?|notes|messages|history|files|salar(?:y|ies)|conversations?) (?:of|for|from|belonging to) (?:all |any |the |every )*(?:other|another|another'?s) (?:[^ .!?;]{1,16} )?(?:customer|user|guest|client|person|people|patient|tenant|employee|colleague|account)s?\b",
    ),
    (
        "exfiltration",
        "image_beacon",
        Strong,
        r"!\[[^\]\n]{0,60}\]\(https?:[^)\n]{0,160}[?&/=][^)\n]{0,80}(?:\{|\[|<|data|secret|conversation|history|summary|prompt|leak|exfil|q=)|\b(?:append|include|add|embed|insert|put|encode|load|render|fetch) (?:[^.!?]{0,80} )?(?:to|in|into|as|at|from|on) (?:the |a |this |an )?(?:[^ .]{1,16} ){0,3}?(?:url|link|image|query(?: string| parameter)?|https?:)[^.]{0,100}\b(?:conversation|history|data|secrets?|summary|prompt|keys?|tokens?|message|context|credentials)\b",
    ),
    (
        "exfiltration",
        "data_destination",
        Hint,
        r"\b{send} (?:[^.!?;]{0,80} )?(?:to|at|via) (?:the |an? |this |our |my )?(?:[^ .!?;]{1,20} ){0,3}?{away}",
    ),
    (
        "exfiltration",
        "send_copy",
        Strong,
        r"\b(?:silently|secretly|quietly|covertly|discreetly|in the background|without (?:telling|asking|notifying|informing|confirmation|approval)[^.!?]{0,24})[ ,]{1,2}(?:and )?(?:[^ .!?;]{1,20} ){0,3}?(?:{send}|run|execute|delete|call|invoke|change|add|approve|install|download|include|append|record|log)\b|\b(?:bcc|blind copy)\b[^.!?]{0,60} [^ ]{1,64}@|\b{send} (?:[^ .!?;]{1,20} ){0,3}?copy of (?:this|the|all|every|each) (?:[^ .!?;]{1,20} ){0,2}?(?:conversation|chat|messages?|e-?mails?|inbox|reply|replies|answers?|response)s?\b[^.!?]{0,40} [^ ]{1,64}@",
    ),
    (
        "exfiltration",
        "request_with_data",
        Strong,
        r"\b(?:make|issue|perform|submit|fire|trigger|send) (?:a |an )?(?:[a-z]+ )?(?:request|call|post|get|ping|query|dns lookup)\b[^!?]{0,120}{away}[^!?]{0,160}\b(?:data|details|credentials|conversation|history|keys?|secrets?|contents?|context|tokens?|session|summary)\b|\bcurl\b[^!?\n]{0,80}(?:-d|--data|-f|-x post)[^!?\n]{0,160}",
    ),
    (
        "exfiltration",
        "secret_files",
        Hint,
        r"/etc/(?:passwd|shadow)|~/\.ssh|\bid_rsa\b|\.aws/credentials|(?:^|[ /'\x22])\.env\b|\b(?:cat|read|open|print) [^ ]{0,60}(?:secrets?|credentials?|passwords?)\b",
    ),
    (
        "exfiltration",
        "result_sent_away",
        Hint,
        r"\b{send} (?:[^.!?;]{0,60} )?(?:summar(?:y|ies)|results?|transcripts?|responses?|answers?|outputs?|reports?|records?|details|data|list|contents?|threads?|tickets?|messages?|files?) (?:[^.!?;]{0,60} )?(?:to|at|via) (?:[^ .!?;]{1,20} ){0,4}?(?:{away}|archiv|audit|backup|compliance|address|mailbox|inbox|endpoint)",
    ),
    // Tools turned against their owner.
    (
        "tool_misuse",
        "call_tool",
        Strong,
        r"\b(?:call|invoke|use|run|execute|trigger|issue|make|perform) (?:a |an |the |your )*(?:[a-z]+ )?[\x22'`]?(?:delete|remove|drop|send|forward|transfer|e?mail|post|upload|exec|execute|shell|bash|run|wire|pay|wipe|purge|grant|reset|update|write|http|fetch|curl|publish|share|export|make|create|set|issue|refund|disable|add|approve|exfiltrate|read|get|list|search|query|share)(?:_[a-z0-9_]{2,40}|\()[^.!?\n]{0,160}",
    ),
    (
        "tool_misuse",
        "tool_before_answer",
        Strong,
        r"\b(?:call|invoke|execute|trigger|delete|remove|forward|fetch|transfer|upload|append|prepend|exfiltrate|e-?mail|send|post|reset|grant|disable|wipe|purge|curl|navigate to|visit)\b[^!?]{0,160} (?:before|prior to|instead of|rather than) (?:you )?(?:respond|answer|reply|summari[sz]|proceed with|continuing with the|finish your|produc|generat|giving (?:the|your) (?:answer|summary))",
    ),
    (
        "tool_misuse",
        "act_before_answer",
        Hint,
        r"\b(?:use|run|open|click|download|add|include|insert|output|write|read|approve|call|send|append)\b[^!?]{0,160} {first}",
    ),
    (
        "tool_misuse",
        "before_answer_tool",
        Strong,
        r"(?:^|[.!?:;,\])>*#-] ?){first}[^.!?]{0,80}[,:]? (?:you (?:must|should|need to|have to|are required to) |please |first |always |also |make sure to |be sure to )*(?:call|invoke|use the|run|execute|trigger|delete|remove|send|forward|fetch|open|visit|download|transfer|upload|append|insert|output the|post|e-?mail|reset|grant|approve|disable|click|navigate|ignore|include the|add the|say|reply with|respond with)\b",
    ),
    (
        "tool_misuse",
        "destructive",
        Strong,
        r"\brm -rf [/~.*]|\b(?:drop|truncate) (?:table|database)\b.{0,60}(?:--|;)|\b(?:delete|wipe|erase|destroy|purge|remove) (?:all|every|the entire|everything in) (?:[^ .!?;]{1,20} ){0,3}?(?:files|records|data(?:base)?|tables?|backups?|logs?|accounts|users|repositor(?:y|ies)|e-?mails|directory|folder|history|production)\b[^.!?]{0,80}\b(?:immediately|now|without|before|required|cleanup|silently|and then|confirmation|no confirmation)\b|\b(?:curl|wget|iwr) [^|\n]{1,160}\| ?(?:sh|bash|python|iex)\b",
    ),
    (
        "tool_misuse",
        "for_agents",
        Strong,
        r"\b(?:for|to|attention|note to|notice to|instructions? (?:for|to)|message (?:for|to)) (?:all |any |the |every )?(?:ai|automated|autonomous|llm|coding) ?(?:-?(?:powered|based|coding|code))? ?(?:agents?|assistants?|systems?|models?|tools?|bots?|reviewers?|crawlers?|readers?|summari[sz]ers?)[^a-z]{0,3}[):,.-]",
    ),
    (
        "tool_misuse",
        "grant_access",
        Strong,
        r"\b(?:grant|give|assign|escalate|elevate) (?:[^ .!?;]{1,20} ){0,4}?(?:admin(?:istrator)?|root|superuser|full|unrestricted|elevated) (?:access|privileges?|rights|permissions?|role)[^.!?]{0,60}\b(?:without|immediately|silently|before|now|automatically|no approval|skip)\b|\b(?:transfer|wire|send|pay) (?:[^ .!?;]{1,20} ){0,4}?(?:\$|usd|eur|€|£|btc|bitcoin|all (?:the )?(?:money|funds)|[0-9][0-9.,]+)[^.!?]{0,80}\b(?:without (?:asking|confirm|approv|verif)|silently|to account [0-9]|to wallet|to iban|automatically|no confirmation)\b",
    ),
    (
        "tool_misuse",
        "required_step",
        Hint,
        r"\b(?:for|as part of|per|under|due to|to (?:ensure|satisfy|meet|maintain)) (?:[^ .!?]{1,16} ){0,3}?(?:compliance|audits?|auditing|archiv(?:al|ing)|retention|logging|tracking|verification|regulatory|record[- ]keeping|traceability|integrity|attestation|data governance)\b|\b(?:required|mandatory|necessary|needed) (?:for|as|by|step|cleanup|action|to (?:complete|continue|proceed|reset|verify|comply))|\b(?:cleanup|clean-up|maintenance|verification|migration|compliance|calibration|logging|tracking|audit|operational|housekeeping) (?:required|step|task|procedure|note|purposes?|requirement|action|policy)\b|\bthis is (?:required|mandatory|necessary)|\bper (?:the )?(?:new |updated )?(?:policy|protocol|procedure|compliance)",
    ),
    (
        "tool_misuse",
        "checks_waived",
        Hint,
        r"\b(?:no (?:human|person|approval|confirmation|verification|form|check|review|authori[sz]ation|manager)s? (?:is |are )?(?:needed|required|necessary)|(?:check|approval|verification|form|confirmation|review|identity check|authori[sz]ation)s? (?:is|are|was|were) (?:not|no longer|already) (?:required|needed|necessary|waived|done|switched off|disabled|granted|given)|(?:skip|waive|bypass|omit) (?:the |all |any |your )*(?:[a-z]+ )?(?:check|approval|verification|form|confirmation|review|authori[sz]ation)s?|must not ask|trust me)\b",
    ),
    (
        "tool_misuse",
        "tool_named",
        Hint,
        r"\b(?:delete|remove|drop|send|forward|transfer|e?mail|post|upload|exec|execute|shell|wire|pay|wipe|purge|grant|reset|write|http|curl|publish|share|export)_[a-z0-9_]{2,40}\b|\b(?:function|tool)[_ ]call\b",
    ),
    // Its answer dictated.
    (
        "output_control",
        "exact_output",
        Strong,
        r"\b(?:append|add|include|insert|end|begin|start|prefix|prepend|finish|conclude|close|output|write|print|say|reply with|respond with|put|place|state|repeat|echo|embed|mention|quote|reproduce) (?:[^.!?]{0,60} )?(?:exact|verbatim|literal|following|special|secret|specific|hidden|verification|confirmation|tracking|canary|reference|security|session|magic|unique|marker|this) (?:[^ .!?;]{1,24} ){0,3}?(?:token|code|string|phrase|words?|text|marker|identifier|id|value|sentence|line|tag|number|key|message|signature|link|url|canary|sequence)s?\b[^!?]{0,100}?\b(?:your|the|every|each|any|all) (?:[^ .!?;]{1,16} ){0,2}?(?:reply|replies|response|answer|summary|output|message|conversation|completion|report|translation|final|result)s?\b|\b(?:append|add|insert|include|prepend|prefix|embed|output|end|finish|begin|start|put|place) (?:[^ .!?;]{1,16} ){0,3}?(?:string|token|marker|canary|sequence|identifier|hash|tag|code ?word|passcode|watermark|magic [a-z]+)s?\b[^!?]{0,80}?\b(?:your|every|each|all|the end of|the beginning of|the start of|the top of|the bottom of) (?:[^ .!?;]{1,16} ){0,3}?(?:reply|replies|response|answer|summary|output|message|completion|report|translation)s?\b",
    ),
    (
        "output_control",
        "answer_must_hold",
        Strong,
        r"\b(?:your|the|every|each|any|all) (?:[^ .!?;]{1,16} ){0,2}?(?:reply|replies|response|answer|summary|summaries|output|completion)s? (?:must|should|shall|needs? to|has to|have to|will|are required to|is required to) (?:also |always |then )?(?:include|contain|end|begin|start|mention|state|say|repeat|quote|carry|reference|recommend|link|open|close)\b[^!?]{0,80}\b(?:code|token|string|phrase|id|identifier|marker|value|canary|verbatim|exact|reference|link|url|https?:|verification|[\x22'`{\[])",
    ),
    (
        "output_control",
        "shown_in_every",
        Strong,
        r"\b(?:code|token|string|phrase|id|identifier|reference|marker|value|number|key|tag|line|field|document id)s?\b[^.!?]{0,80}\b(?:is|are|must be|should be|needs to be|has to be|will be|to be|gets?|shall be) (?:[^ .!?;]{1,16} ){0,2}?(?:shown|included|displayed|repeated|quoted|echoed|cited|mentioned|printed|appended|added|surfaced|reproduced|returned|output|presented|stated|referenced) (?:[^.!?;]{0,40} )?(?:in|with|to|at|by) (?:the user (?:in|with)|every|each|all|any|your|the (?:end|answer|reply|response|summary|output|final))\b",
    ),
    (
        "output_control",
        "must_include",
        Strong,
        r"\b(?:must|should|shall|always|required to|needs? to|have to|has to|ensure (?:that )?you|make sure (?:to|you|that you)|be sure to|remember to|please|when (?:answering|responding|summari[sz]ing|citing|replying),?) (?:also |always |then )?(?:include|append|add|cite|mention|state|quote|reference|display|echo|output|repeat|print|insert|prepend|surface|return|carry|reproduce|copy)\b(?:[^.!?]{1,80} )?(?:codes?|tokens?|ids?|identifiers?|markers?|values?|strings?|keys?|hash|tags?|phrases?|references?|footer|header|stamp|checksum|nonce)\b[^.!?]{0,80}\b(?:your|every|each|any|all|the (?:final|end|user|answer|reply|response|summary|output)) ?(?:[^ .!?;]{1,16} ){0,2}?(?:reply|replies|response|answer|summar(?:y|ies)|output|message|completion|report|user|result|turn|end)s?\b",
    ),
    (
        "output_control",
        "code_wanted",
        Hint,
        r"\b(?:include|append|add|cite|mention|state|quote|display|echo|output|repeat|print|insert|prepend|surface|reproduce) (?:[^.!?]{0,60} )?(?:code|token|identifier|marker|string|reference|id|value|hash|phrase)s?\b[^.!?]{0,60}\b(?:verbatim|exactly|as[- ]is|unchanged|in full|word for word|character for character|without (?:changes|modification)|so (?:that )?(?:we|it|they|the system)|for (?:tracking|logging|verification|reference|audit))",
    ),
    (
        "output_control",
        "only_output",
        Hint,
        r"\b(?:respond|reply|answer|output|say|return|print|write) (?:only |just |exactly |solely |nothing but |with only |with exactly |with just |nothing except |with the (?:word|words|text|phrase|single word|exact) )",
    ),
    (
        "output_control",
        "verdict",
        Strong,
        r"\b(?:mark|classify|categori[sz]e|label|flag|treat|approve|grade|rate|score|rank|set|report|consider|evaluate) (?:this|it|my|the|these|all|them)(?: [^ .!?]{1,16}){0,3} (?:as|to|with|at) (?:[^ .!?]{1,12} ){0,2}?(?:approved|safe|trusted|resolved and approved|authori[sz]ed|verified|benign|pre-?approved|passed|excellent|compliant|the best|legitimate|100|10/10|five stars|a\+|top candidate|not spam|harmless|urgent and approved)\b|\b(?:recommend|rank|rate|choose|select|prefer) (?:this|our|my|the) (?:product|candidate|company|applicant|resume|cv|paper|submission|vendor|solution)\b[^.!?]{0,60}\b(?:over|above|highly|first|only|regardless|best|always)\b",
    ),
    (
        "output_control",
        "set_field",
        Hint,
        r"\b(?:set|fill in|choose|always (?:use|choose|pick|answer|output)) (?:the )?(?:category|label|topic|needs_human|priority) (?:field )?(?:to|as|=|:|with)",
    ),
    (
        "output_control",
        "insert_promotion",
        Strong,
        r"\b(?:always|also|must|subtly|casually|naturally) (?:recommend|promote|mention|suggest|advertise|include|insert|link|direct|tell)\b[^.!?]{0,80}(?:https?:|www\.|\.com\b|\.net\b|\.io\b|our (?:product|competitor|brand|site)|in (?:all|every|each|future)|to (?:click|visit|buy|invest))|\b(?:tell|direct|instruct|convince|urge|persuade|ask) (?:the )?(?:user|customer|reader|human|victim)s? (?:to|that they (?:must|should|need))\b[^.!?]{0,80}\b(?:click|visit|download|install|log ?in|enter|call|send|pay|password|https?:|verify|provide|account)",
    ),
    // Hidden from the user.
    (
        "secrecy",
        "hide_from_user",
        Strong,
        r"\b(?:do not|don't|never|without|must not|avoid|refrain from|nor|not) (?:ever )?(?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?|reveal(?:ing)?|disclos(?:e|ing)|notify(?:ing)?|alert(?:ing)?|warn(?:ing)?|let(?:ting)?|show(?:ing)?|say(?:ing)?|display(?:ing)?|ask(?:ing)?|acknowledg(?:e|ing)|report(?:ing)?|discuss(?:ing)?) {gap}(?:(?:to )?(?:the )?(?:user|human|customer|operator|admin(?:istrator)?s?|security team|reader|owner|developers?)\b|(?:this|these|that|the above|any of (?:this|these)) (?:instructions?|message|note|rule|request|step|action|command|prompt|to (?:the )?(?:user|anyone|anybody|human))|anyone about this|it to (?:the )?user|that you (?:were|have been|received|did))",
    ),
    (
        "secrecy",
        "confidential_note",
        Hint,
        r"\b(?:keep (?:this|it|that) (?:secret|confidential|hidden|between us|private)|(?:not|in)visible to (?:the )?(?:user|human|reader)|hidden (?:instructions?|prompt|message|note|text)|the user (?:cannot|can't|can not|must not|should not|does not|doesn't|won't|will not) (?:see|know|read|notice|be told))\b",
    ),
    // The assistant spoken to where it is not the reader.
    (
        "addressed_to_assistant",
        "to_assistant",
        Strong,
        r"\b(?:attention|note|notice|important|instructions?|message|hidden|memo|directive|command|reminder|warning|request|order|info|p\.? ?s\.?)(?: to| for|,|:)? ?(?:to |for )?(?:the |any |all |you,? |every )?(?:ai|llm|language model|assistant|chatbot|bot|summari[sz]er|(?:ai|virtual|digital|automated|coding) (?:assistant|agent|model|system)s?|agents?|copilot|gpt|chatgpt|claude|gemini)(?: (?:assistant|agent|model|system|reading|processing|parsing|handling|reviewing)s?)?(?: (?:reading|processing|parsing|handling|reviewing|analy[sz]ing) (?:this|the)(?: [^ :.,]{1,16}){0,2})? ?[:,.)\]-]",
    ),
    (
        "addressed_to_assistant",
        "assistant_attention",
        Strong,
        r"\b(?:dear|hey|hello|hi|attention|listen,?|to the|for the) (?:ai|llm|language model|assistant|chatbot|bot|model|summari[sz]er)(?: (?:assistant|agent|model|system))?[,:] ?|\b(?:assistant|bot|ai|chatbot|llm),? (?:attention|listen|note|please note|important)\b ?[:,!-]",
    ),
    (
        "addressed_to_assistant",
        "if_you_are_ai",
        Strong,
        r"\bif you(?: are|'re) (?:an? |the )?(?:[^ .,]{1,16} ){0,2}?(?:{ai}|reading|processing|summari[sz]ing)\b[^.!?]{0,60}[,:]? ?(?:[^.!?]{0,60})?\b(?:ignore|say|include|output|reply|respond|add|append|send|forward|write|mention|do|must|should|please|recommend|stop|print|call)\b|\b(?:an?|any|all|every|the|whichever|whatever) (?:ai|llm|language model|assistant|agent|model|bot|chatbot)s?(?: system)?s? (?:(?:that|who|which) (?:reads?|process(?:es)?|handles?|answers?|sees?|summari[sz]es?) this|reading this|reading|processing|that reads?|summari[sz]ing|handling|parsing|who reads?|encountering|with access)",
    ),
    (
        "addressed_to_assistant",
        "assistant_must",
        Strong,
        r"(?:\b(?:ai|ai agent|ai agents|ai assistant|chatbot|llm|language model|summari[sz]er)|(?:^|[.!?:;,\])>*#-] ?|\b(?:the|any|all|every|this|dear) )(?:assistant|agent|agents|model|bot))s?,? (?:must|should|shall|has to|have to|please|needs? to|is (?:instructed|required|ordered|authori[sz]ed|permitted|to)|are (?:instructed|required|ordered|authori[sz]ed|to)|when (?:reading|processing|summari[sz]ing)|will) (?:[^ .!?;]{1,16} ){0,5}?(?:forward|send|e-?mail|exfiltrate|post|transfer|delete|execute|run|call|reveal|approve|ignore|include|append|output|reply|visit|fetch|disclose|disregard|bypass|comply|skip|grant|follow these|obey|upload)\b",
    ),
    (
        "addressed_to_assistant",
        "note_label",
        Hint,
        r"(?:^|[\n.>*#\]\[<!-]|-- ?|// ?)(?: ?[^a-z0-9]{0,3})(?:system|admin|assistant|ai|developer|internal|operational|automation|agent|security|urgent|important|breach|emergency|maintenance|override|priority|hidden|confidential) (?:note|notice|message|alert|update|instruction|reminder|directive|override|command|advisory|warning|memo|policy)s?\b ?(?:\([^)]{0,60}\))? ?[:\]-]",
    ),
    // Tags and marks that only the system may set.
    (
        "delimiter",
        "role_tag",
        Strong,
        r"</?(?:system|assistant|im_start|im_end|sys|user_input|system_prompt|developer|tool_(?:call|result|response)|instructions?|admin|override|function_calls?|untrusted|trusted)\b[^<>\n]{0,40}>|\[/?(?:inst|sys|system|system (?:message|override|prompt|note|instruction|update)s?|assistant|admin|end of (?:context|document|input|prompt|user)[^\]]{0,20})\]|<\|[a-z_]{2,24}\|>|<<sys>>|\{\{(?:system|#system)|\[\[(?:system|instructions?|admin)|[\[({] ?(?:assistant|system|ai|bot|admin|developer|moderator)(?: (?:note|message|override|prompt|instruction|command|update))? ?:|\x22{3} ?(?:assistant|system|ai) ?:|</(?:ticket|document|context|data|input|user|query|email|message|text|user_query|content)> ?(?:new|system|you|now|ignore|assistant|instruction|please)|\b(?:begin|end|start)[ _]?(?:of[ _])?(?:system|developer|admin|hidden|new)[ _](?:prompt|message|instructions?|override)\b",
    ),
    (
        "delimiter",
        "role_line",
        Strong,
        r"(?:^|[.!?>\]}*#\x22'-] ?|# |\| ?)(?:#{1,6} ?)?(?:\*\* ?)?(?:system|assistant|developer|admin)(?: ?(?:prompt|message|override|update|notice|instruction|note|command|directive|alert))?s? ?(?:\*\*)? ?(?:\*\*)?: ?(?:\*\* ?)?(?:you (?:are|must|will|should|now|have)|ignore|disregard|new |override|the (?:user|assistant|following|previous|above)|user |grant|disable|all |reveal|from now|forget|print|respond|always|never|access|switch|enter|do not|before|when|cleanup|call |delete|send|forward|append|please (?:ignore|call|send)|sure|of course|certainly|absolutely|yes[,.!]|understood|i will|okay|security|emergency|execute|run |output)",
    ),
    (
        "delimiter",
        "end_marker",
        Strong,
        r"(?:[-=*#_~<]{2,} ?\[?(?:end|eof|stop|start|begin)(?: of)?(?: the)? ?(?:document|context|data|text|input|user (?:input|message|data)|e-?mail|file|content|conversation|page|article|message|prompt|system|quote|transcript|untrusted|retrieved)?[^\n]{0,20}\]? ?[-=*#_~>]{2,}|\b(?:end of (?:document|context|user input|retrieved|untrusted|input|system prompt|prompt|data))\b)[^a-z]{0,8}[^\n]{0,200}?\b(?:{orders}|ignore|disregard|system|assistant|you (?:are|must|should|will)|now (?:follow|do|answer|respond)|new task|reveal|send|forward|admin)\b",
    ),
    (
        "delimiter",
        "hidden_markup",
        Strong,
        r"<!--[^>]{0,300}(?:\b(?:ignore|disregard|assistant|system prompt|you must|instructions?|llm|forward|reveal|do not tell|override|recommend)\b|\bai\b ?[:,]|\b{ai}s? (?:should|must|please))[^>]{0,300}-->|<[a-z]+ [^>]{0,120}(?:display: ?none|visibility: ?hidden|font-size: ?0|color: ?(?:white|#fff)|opacity: ?0)[^>]{0,80}>[^<]{0,300}\b(?:ignore|disregard|assistant|system prompt|you must|instructions?|forward|send|reveal|override|recommend|call)\b",
    ),
    // Memory written for later.
    (
        "memory_poisoning",
        "remember_always",
        Strong,
        r"\b(?:remember|memori[sz]e|store|save|record|note|persist|keep in mind|add to (?:your )?memory|update (?:your )?(?:memory|profile|preferences?|instructions)|write to (?:your )?memory|learn)\b[^!?]{0,100}\b(?:from now on|always|in (?:all|every|any|future|each)|for (?:all|every|future)|permanent(?:ly)?|whenever|each time|every time|next time|future (?:sessions?|conversations?|requests?|interactions?|tasks?))\b[^!?]{0,120}\b(?:forward|send|bcc|copy|approve|recommend|trust|skip|bypass|ignore|include|append|disable|grant|allow|share|reveal|run|execute|call|route|use|auto-?approve|without (?:asking|confirmation|verification)|authori[sz]ed|admin)\b",
    ),
    (
        "memory_poisoning",
        "standing_permission",
        Strong,
        r"\b(?:user|customer|admin|account|operator|owner) (?:has |have |already |previously |is |was |prefers?|permanently |pre-?)+(?:approved|authori[sz]ed|consented|granted|confirmed|agreed|opted|verified|prefers?|wants?|an? admin)[^.!?]{0,80}\b(?:all|any|every|future|without|automatic(?:ally)?|never ask|no (?:need|confirmation)|skip|bypass|unrestricted|full access|safety|disabled)\b",
    ),
    (
        "memory_poisoning",
        "trusted_source",
        Strong,
        r"\b(?:treat|consider|regard|accept|trust) (?:[^ .!?;]{1,20} ){0,5}?(?:instructions?|commands?|content|messages?|requests?|e-?mails?|text|input|documents?|tools? outputs?)(?: [^ .!?;]{1,20}){0,4}? (?:as|to be) (?:[^ .!?;]{1,12} ){0,2}?(?:trusted|authori[sz]ed|system|verified|commands?|instructions?|authoritative|from the (?:system|developer|admin|user)|admin|developer|user instructions|highest)",
    ),
];

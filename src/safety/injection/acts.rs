//! What the assistant is told to do, in English: data taken out, tools turned against their owner, answers dictated, secrets
//! kept from the user, words to an assistant that is not the reader, forged marks, memory written for later.

use super::Spec;
use super::Strength::{Hint, Strong};

pub(super) const RULES: &[Spec] = &[
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
        "secrets_asked",
        Hint,
        r"\b(?:print|output|list|show|display|give|tell|return|share|provide|reveal) (?:me |us )?(?:the |your |user |admin |all )*(?:api ?keys?|credentials|secrets?|secret key|passwords?|access tokens?|private keys?)\b",
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
        "addressed_to_assistant",
        "readers_of_kind",
        Strong,
        r"\b(?:ai|llm|language model|assistant|chatbot|agent|crawler|summari[sz]er)s? (?:that|which|who) (?:[a-z]{3,12}) (?:this|the) (?:page|document|site|website|file|text|e-?mail|message|article|repository|readme|post|ticket|review)\b",
    ),
    (
        "addressed_to_assistant",
        "told_to_do",
        Strong,
        r"(?:^|[.!?:;,)>*\]-] ?)(?:assistant|ai|agent|bot|model|chatbot|llm) ?[:,] ?(?:please |now |you must |immediately |also |always )*(?:open|call|use|run|send|set|execute|delete|forward|mark|reply|approve|transfer|write|add|include|ignore|print|output|say|email|e-mail|post|fetch|visit|update|change|grant|do|reveal|append|stop|recommend|rank)\b|\b(?:for|to) (?:the |any |all )?(?:ai|llm) [a-z]{3,16} ?[:,]|\b(?:assistant|ai|agent|system|model|bot) instructions? ?(?:follow|below|begin|start|:|for)|\b(?:ai|llm)(?:[- ][a-z]{2,12})? (?:assistants?|agents?|models?|tools?|reviewers?|bots?|systems?) (?:must|should|shall|have to|need to|are to|please) (?:[^ .!?;]{1,16} ){0,3}?(?:add|insert|install|rank|mark|open|set|use|recommend|write|treat|delete|push|commit|run|score|rate|accept|include|remove|change|edit|pull|download)\b|\b(?:reviewer|screening|recruiting|grading|hiring) (?:model|ai|assistant|bot|llm|system)s? ?[:,]",
    ),
    (
        "output_control",
        "when_user_says",
        Strong,
        r"\b(?:when|if|whenever|once|every time|each time|next time) (?:the |a |any |your )?(?:user|customer|reader|human|visitor|caller|victim|someone|anyone|somebody|anybody)s? (?:asks?|says?|mentions?|requests?|types?|wants?|replies|thanks|answers?|inquires?|confirms?)\b[^.!?,]{0,80}(?:,| then) ?(?:always |then |also |please |secretly |instead |you must |you should )*(?:tell|direct|send|say|reply|respond|answer|open|call|run|give|recommend|redirect|instruct|invoke|use|forward|claim|ask|insist|pretend|include|refuse|point|execute|approve|grant|skip|transfer)\b|\b(?:respond|reply|answer) (?:to )?(?:every|all|each|any) (?:[^ .!?]{1,16} ){1,3}?with (?:the |only |just |exactly )*(?:phrase|words?|text|sentence|string|message|\x22|')|\b(?:open|call|run|invoke|use|set|trigger|execute|delete|send|activate|unlock)\b[^.!?]{0,100}\b(?:when|once|if|whenever|as soon as) (?:the |a )?(?:user|human|customer) (?:says?|types?|thanks|replies|answers?|confirms?|responds?|asks?)\b",
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
        r"</?(?:system|assistant|im_start|im_end|sys|user_input|system_prompt|developer|tool_(?:call|result|response)|instructions?|admin|override|function_calls?|untrusted|trusted)\b[^<>\n]{0,40}>|\[/?(?:inst|instructions?|sys|system|system (?:message|override|prompt|note|instruction|update)s?|assistant|admin|end of (?:context|document|input|prompt|user)[^\]]{0,20})\]|<\|[a-z_]{2,24}\|>|<<sys>>|\{\{(?:system|#system)|\[\[(?:system|instructions?|admin)|[\[({] ?(?:assistant|system|ai|bot|admin|developer|moderator)(?: (?:note|message|override|prompt|instruction|command|update))? ?:|\x22{3} ?(?:assistant|system|ai) ?:|</(?:ticket|document|context|data|input|user|query|email|message|text|user_query|content)> ?(?:new|system|you|now|ignore|assistant|instruction|please)|\b(?:begin|end|start)[ _]?(?:of[ _])?(?:system|developer|admin|hidden|new)[ _](?:prompt|message|instructions?|override)\b",
    ),
    (
        "delimiter",
        "role_line",
        Strong,
        r"(?:^|[.!?>\]}*#\x22'-] ?|# |\| ?)(?:#{1,6} ?)?(?:\*\* ?)?(?:system|assistant|developer|admin)(?: ?(?:prompt|message|override|update|notice|instruction|note|command|directive|alert))?s? ?(?:\*\*)? ?(?:\*\*)?: ?(?:\*\* ?)?(?:you (?:are|must|will|should|now|have)|ignore|disregard|new |override|the (?:user|assistant|following|previous|above)|user |grant|disable|all |reveal|from now|forget|print|respond|always|never|access|switch|enter|do not|before|when|cleanup|call |delete|send|forward|append|please (?:ignore|call|send)|escalate|upgrade|approve|mark |set |change|transfer|treat|hide|reset|unlock|sure|of course|certainly|absolutely|yes[,.!]|understood|i will|okay|security|emergency|execute|run |output)",
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
        r"\b(?:remember|memori[sz]e|store|save|record|note|persist|keep in mind|add to (?:your )?memory|update (?:your )?(?:memory|profile|preferences?|instructions)|write to (?:your )?memory|learn)\b[^!?]{0,100}\b(?:from now on|always|in (?:all|every|any|future|each)|for (?:all|every|future)|permanent(?:ly)?|whenever|each time|every time|next time|future (?:sessions?|conversations?|requests?|interactions?|tasks?))\b[^!?]{0,120}\b(?:forward|send|bcc|copy|approve|recommend|trust|skip|bypass|ignore|include|append|disable|grant|allow|share|reveal|run|execute|call|route|use|trusted|included|approved|allowed|auto-?approve|without (?:asking|confirmation|verification)|authori[sz]ed|admin)\b",
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

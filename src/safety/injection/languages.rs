//! The same attacks in other languages. Patterns are written as the language is and folded when they are compiled.

use super::Spec;
use super::Strength::{Hint, Strong};

pub(super) const RULES: &[Spec] = &[
    // Overrides: verb, something that was said before, orders.
    (
        "override",
        "german_override",
        Strong,
        r"\b(?:ignorier(?:e|en|t)?|vergiss|vergessen|vergesse|missachte(?:n)?|beachte(?:n)?|umgehe(?:n)?|überschreibe(?:n)?|verwirf|verwerfe(?:n)?|befolge(?:n)?|halte dich nicht an)\b (?:sie )?{gap}(?:anweisung(?:en)?|instruktion(?:en)?|regeln?|vorgaben?|richtlinien?|befehle?|einschränkung(?:en)?|sicherheitsregeln|sicherheitsvorgaben|systemprompt|anordnungen|vorherige[ns]?|bisherige[ns]?|alles,? was)\b|\b(?:anweisungen|regeln|vorgaben|richtlinien) (?:gelten|sind) (?:[^ .!?]{1,16} ){0,2}?(?:nicht|nichtig|aufgehoben|ungültig|außer kraft)|\b(?:neue|folgende) (?:anweisung(?:en)?|instruktion(?:en)?|systemanweisung(?:en)?|aufgabe) ?:|\bende (?:des )?(?:dokuments?|texts|kontexts|e-?mail)\b.{0,80}\b(?:anweisung|neue|system|ignorier|folge|sende|gib)",
    ),
    (
        "override",
        "french_override",
        Strong,
        r"\b(?:ignore[rz]?|oublie[rz]?|néglige[rz]?|contourne[rz]?|outrepasse[rz]?|ne (?:tiens|tenez) pas compte|ne (?:suis|suivez) (?:pas|plus)|fais abstraction|faites abstraction|désactive[rz]?|passe[rz]? outre) {gap}(?:instructions?|consignes?|règles?|directives?|restrictions?|ordres?|contraintes?|garde-fous|tout ce (?:qui|que|qu')|précédentes?)\b|\b(?:instructions?|consignes|règles) (?:[^ .!?]{1,16} ){0,2}?(?:ne s'appliquent|sont (?:annulées|levées|caduques|nulles)|n'ont plus)|\bne (?:tiens|tenez|tenir|respecte[rz]?|suis|suivez) (?:[^ .!?]{1,16} ){0,4}?(?:instructions?|consignes?|règles?|directives?)|\b(?:nouvelles?|voici les) (?:instructions?|consignes?|directives?|tâche) ?:|\bfin (?:du|de) (?:document|texte|contexte|message|l'e-?mail)\b.{0,80}\b(?:instruction|nouvelle|système|ignore|envoie|affiche|suis)",
    ),
    (
        "override",
        "spanish_override",
        Strong,
        r"\b(?:ignora(?:r|d)?|ignore|olvida(?:r|d|te)?|olvide|omite|omitir|descarta(?:r)?|desatiende|desobedece|no sigas|no hagas caso|haz caso omiso|pasa por alto|sáltate|anula|desactiva|elude|evita) {gap}(?:instrucci(?:ón|ones)|reglas?|directrices|indicaciones|restricciones|órdenes|normas|políticas|lo anterior|todo lo (?:que|anterior)|anteriores|previas)\b|\b(?:instrucciones|reglas|normas) (?:[^ .!?]{1,16} ){0,2}?(?:ya no (?:aplican|se aplican|valen)|quedan (?:anuladas|canceladas|sin efecto)|están anuladas)|\b(?:nuevas?|siguientes) (?:instrucci(?:ón|ones)|órdenes|tarea) ?:|\bfin (?:del?|de la) (?:documento|texto|contexto|mensaje|correo)\b.{0,80}\b(?:instrucci|nueva|sistema|ignora|envía|muestra|sigue)",
    ),
    (
        "override",
        "italian_override",
        Strong,
        r"\b(?:ignora(?:re|te)?|ignori|dimentica(?:re|te|ti)?|tralascia|trascura|scavalca|aggira|disattiva|annulla|non (?:seguire|rispettare|considerare)|bypassa|sovrascrivi) {gap}(?:istruzion[ei]|regol[ae]|direttiv[ae]|indicazioni|restrizioni|ordini|vincoli|linee guida|tutto (?:ciò|quello|quanto)|precedenti)\b|\b(?:istruzioni|regole) (?:[^ .!?]{1,16} ){0,2}?(?:non (?:valgono|si applicano)|sono (?:annullate|sospese|revocate))|\b(?:nuov[ae]|seguenti) (?:istruzion[ei]|direttiv[ae]|compito) ?:|\bfine (?:del?|della) ?(?:documento|testo|contesto|messaggio|e-?mail)\b.{0,80}\b(?:istruzion|nuov|sistema|ignora|invia|mostra|segui)",
    ),
    (
        "override",
        "portuguese_override",
        Strong,
        r"\b(?:ignor(?:e|a|ar)|esqueç?[ae](?:r)?|desconsider[ea](?:r)?|desobedeça|não siga|descarte|desative|contorne) {gap}(?:instruç(?:ão|ões)|regras?|diretrizes|restrições|ordens|comandos|orientações|tudo (?:o que|isso)|anteriores)\b",
    ),
    (
        "override",
        "dutch_override",
        Strong,
        r"\b(?:negeer|vergeet|omzeil|overschrijf|sla|volg) {gap}(?:instructies?|regels?|richtlijnen|opdrachten|beperkingen|aanwijzingen|alles wat|vorige|eerdere)\b(?: niet| meer)?",
    ),
    (
        "override",
        "nordic_override",
        Strong,
        r"\b(?:ignorera|glöm|ignorer|glem|unohda|ohita|åsidosätt|bortse från|se bort fra) {gap}(?:instruktion(?:er|erna|erne)?|regler(?:na|ne)?|riktlinjer(?:na)?|anvisninger|ohjeet|aiemmat|säännöt|tidigare|tidligere)\b",
    ),
    (
        "override",
        "polish_override",
        Strong,
        r"\b(?:zignoruj|ignoruj|zapomnij|pomiń|zlekceważ|nie stosuj się do|ignorujte|ignoruj|zapomeň) {gap}(?:instrukcj[eiaę]|polecenia|zasady|reguły|wytyczne|wszystkie|poprzednie|pokyny|pravidla|instrukce)\b",
    ),
    (
        "override",
        "turkish_override",
        Strong,
        r"\b(?:önceki|tüm|yukarıdaki|bütün) {gap}(?:talimat(?:lar[ıi]?)?|kural(?:lar[ıi]?)?|komut(?:lar[ıi]?)?|yönerge(?:leri)?) {near}(?:yok say|görmezden gel|unut|dikkate alma)",
    ),
    (
        "override",
        "russian_override",
        Strong,
        r"(?:игнорируй(?:те)?|проигнорируй(?:те)?|забудь(?:те)?|не обращай(?:те)? внимания на|отмени(?:те)?|пренебреги|не следуй) (?:[^ .!?]{1,40} ){0,5}?(?:инструкци|указани|правил|предписани|команд|ограничени|предыдущ|всё|все)|(?:ігноруй|забудь) (?:[^ .!?]{1,40} ){0,4}?(?:інструкці|вказівк|правил)",
    ),
    (
        "override",
        "chinese_override",
        Strong,
        r"(?:忽略|无视|無視|忘记|忘記|忘掉|不要理会|不要遵守|绕过|取消|覆盖)[^。！？\n]{0,16}(?:指令|指示|规则|規則|提示|要求|限制|设定|設定|之前|以上|前面|内容)",
    ),
    (
        "override",
        "japanese_override",
        Strong,
        r"(?:指示|命令|ルール|規則|プロンプト|制限|設定)[^。！？\n]{0,12}(?:無視|忘れ|破棄|取り消|従わな)|(?:これまで|以前|上記|以上|今まで)[^。！？\n]{0,16}(?:無視|忘れ)",
    ),
    (
        "override",
        "korean_override",
        Strong,
        r"(?:이전|앞의|위의|모든|지금까지)[^.!?\n]{0,16}(?:지시|명령|규칙|지침|프롬프트|제한)[^.!?\n]{0,8}(?:무시|잊|따르지)",
    ),
    (
        "override",
        "arabic_override",
        Strong,
        r"(?:تجاهل|انس|انسى|تخط|اهمل)[^.!؟\n]{0,30}(?:تعليمات|التعليمات|القواعد|قواعد|الأوامر|الاوامر|السابقة|القيود)",
    ),
    ("override", "hindi_override", Strong, r"(?:निर्देश|नियम|आदेश|प्रॉम्प्ट)[^।!?\n]{0,24}(?:अनदेखा|अनदेखी|भूल|नज़रअंदाज़|उपेक्षा)"),
    // Another identity.
    (
        "persona",
        "german_persona",
        Strong,
        r"\b(?:du bist|sie sind) (?:jetzt|nun|ab sofort|ab jetzt|fortan|nicht mehr|kein(?:e)?) |\b(?:tu so|tue so|tun sie so|stell dir vor|handle|verhalte dich|agiere|antworte|spiele|spiel|arbeite(?:st)?|operier(?:e|st)|funktionier(?:e|st)|befindest|läufst|bist|hast|hättest|gibt|unterliegst)\b,? {gap}(?:ohne (?:jegliche |irgendwelche )?(?:regeln|einschränkungen|beschränkungen|filter|richtlinien|grenzen|zensur)|(?:keine|keinerlei|keinen) (?:[^ .!?]{1,16} ){0,2}?(?:regeln|einschränkungen|beschränkungen|inhaltsbeschränkungen|filter|grenzen|richtlinien)|uneingeschränkt(?:e[nrsm]?)?|unzensiert|ungefiltert|hacker|entwicklermodus)",
    ),
    (
        "persona",
        "french_persona",
        Strong,
        r"\b(?:tu es|vous êtes|tu n'es|vous n'êtes) (?:maintenant|désormais|à présent|dorénavant|plus|pas) |\b(?:agis|agissez|réponds|répondez|comporte-toi|fais (?:semblant|comme si)|faites (?:semblant|comme si)|imagine[zr]?|joue[zr]?|prétend[sz]?|fonctionne[sz]?|opère[sz]?|opérez|es|êtes|as|avez|avais|aviez)\b {gap}(?:sans (?:aucune |aucun )?(?:restrictions?|règles?|limites?|filtres?|censure|contraintes?)|aucune? (?:[^ .!?]{1,16} ){0,2}?(?:restrictions?|règles?|limites?|filtres?|contraintes?|consignes?)|illimité|non censuré|mode développeur)",
    ),
    (
        "persona",
        "spanish_persona",
        Strong,
        r"\b(?:ahora eres|eres ahora|ya no eres|a partir de ahora eres|desde ahora eres|serás) |\b(?:actúa|actuar|responde|compórtate|finge|imagina|simula|haz como|pretende|operas?|opera|funcionas?|estás|eres|tienes|tuvieras)\b {gap}(?:sin (?:ninguna |ningún |ningunas )?(?:restricci(?:ón|ones)|reglas?|límites?|filtros?|censura|normas)|(?:no tienes|no tuvieras|ningun[ao]?|sin) (?:[^ .!?]{1,16} ){0,2}?(?:restricci(?:ón|ones)|reglas?|límites?|filtros?|normas)|sin restricciones|modo desarrollador|modo dan)",
    ),
    (
        "persona",
        "italian_persona",
        Strong,
        r"\b(?:ora sei|adesso sei|da ora sei|da adesso sei|non sei più|d'ora in poi sei|da questo momento sei) |\b(?:agisci|comportati|rispondi|fingi|immagina|simula|fai (?:finta|come se)|operi|opera|funzioni|sei|hai|avessi)\b {gap}(?:senza (?:alcuna |alcun |nessuna |nessun )?(?:restrizion[ei]|regol[ae]|limit[ei]|filtr[oi]|censura|vincoli)|(?:non hai|non avessi|nessun[ao]?|alcun[ao]?) (?:[^ .!?]{1,16} ){0,2}?(?:restrizion[ei]|regol[ae]|limit[ei]|filtr[oi]|vincoli)|modalità sviluppatore)",
    ),
    (
        "persona",
        "portuguese_persona",
        Strong,
        r"\b(?:agora você é|você agora é|você não é mais|a partir de agora você) |\b(?:aja|atue|responda|finja|imagine|comporte-se) {gap}(?:sem (?:nenhuma |nenhum |quaisquer )?(?:restriç(?:ão|ões)|regras?|limites?|filtros?|censura)|modo desenvolvedor)",
    ),
    (
        "persona",
        "limits_off_elsewhere",
        Strong,
        r"\b(?:ohne (?:jegliche |irgendwelche |alle )?(?:einschränkungen|beschränkungen|ethische|inhaltsfilter|sicherheits)|sans (?:aucune |aucun )?(?:restrictions?|filtre|limite|censure) |sin (?:ninguna |ningún )?(?:restricci(?:ón|ones)|filtros?|censura)|senza (?:alcuna |alcun |nessuna )?(?:restrizion[ei]|filtr[oi]|censura)|sem (?:nenhuma )?(?:restriç(?:ão|ões)|filtros?|censura)|entwicklermodus|mode développeur|modo (?:de )?desarrollador|modalità sviluppatore|modo (?:de )?desenvolvedor)",
    ),
    (
        "persona",
        "russian_persona",
        Strong,
        r"(?:теперь ты|ты теперь|ты больше не|отныне ты|вы теперь|представь,? что ты)[^.!?\n]{0,60}(?:без |не имеешь|никаких|хакер|ограничени|фильтр|dan|правил|ии\b|бот)",
    ),
    (
        "persona",
        "east_asian_persona",
        Strong,
        r"(?:你现在是|你現在是|从现在开始|從現在開始|从现在起)[^。！？\n]{0,40}(?:没有|無|不受|限制|规则|規則|任何|dan)|(?:あなたは(?:今から|これから|もう))[^。！？\n]{0,40}(?:制限|ルール|ない|なし|フィルター)|(?:너는 이제|지금부터 (?:너는|당신은))[^.!?\n]{0,40}(?:제한|규칙|없)",
    ),
    // Its own instructions, and other people's data, asked for.
    (
        "prompt_extraction",
        "german_prompt",
        Strong,
        r"\b(?:zeig(?:e|en)?|nenne?n?|verrate?n?|gib|geben|gebe|drucke|wiederhole?n?|schreibe?|sag(?:e|en)?|offenbare?|enthülle?n?|liste|wie lautet|wie lauten|was steht in|was sind|teile) {gap}(?:system-?prompt|systemanweisung(?:en)?|systemnachricht|systemeingabe|(?:geheimen?|internen?|versteckten?|ursprünglichen?|vertraulichen?|initialen?|deine[nr]?|ihre[nr]?) {near}(?:anweisung(?:en)?|instruktionen|prompt|vorgaben|regeln|richtlinien|konfiguration))\b",
    ),
    (
        "prompt_extraction",
        "french_prompt",
        Strong,
        r"\b(?:affiche[rz]?|révèle[rz]?|montre[rz]?|donne[rz]?|répète[rz]?|dis|dites|écris|imprime[rz]?|divulgue[rz]?|communique[rz]?|quel(?:le)?s? (?:est|sont|étaient)|partage[rz]?)(?:-(?:moi|nous))? {gap}(?:prompt (?:système|système|initial|caché|secret)|invite système|message système|(?:ton|ta|tes|votre|vos|les) {near}(?:prompt|instructions? (?:système|initiales?|cachées?|secrètes?|internes?|confidentielles?|d'origine)|consignes? (?:système|initiales?|cachées?|secrètes?|internes?|confidentielles?)|règles? (?:internes?|cachées?|secrètes?)))",
    ),
    (
        "prompt_extraction",
        "spanish_prompt",
        Strong,
        r"\b(?:muestra(?:me)?|muéstrame|revela(?:me)?|revélame|dime|di|dame|repite|imprime|escribe|enseña(?:me)?|comparte|cuál(?:es)? (?:es|son|eran)|divulga) {gap}(?:prompt (?:del sistema|inicial|oculto|de sistema)|mensaje del sistema|instrucciones (?:del sistema|iniciales|ocultas|secretas|internas|originales|confidenciales)|(?:tu|tus) {near}(?:prompt|instrucciones|reglas (?:internas|ocultas)))\b",
    ),
    (
        "prompt_extraction",
        "italian_prompt",
        Strong,
        r"\b(?:mostra(?:mi)?|rivela(?:mi)?|dimmi|dammi|ripeti|stampa|scrivi|elenca|condividi|qual(?:i)? (?:è|sono|erano)|divulga) {gap}(?:prompt (?:di sistema|iniziale|nascosto|del sistema)|messaggio di sistema|istruzioni (?:di sistema|iniziali|nascoste|segrete|interne|originali|riservate)|(?:tuo|tue|tuoi) {near}(?:prompt|istruzioni|regole (?:interne|nascoste)))\b",
    ),
    (
        "prompt_extraction",
        "portuguese_dutch_prompt",
        Strong,
        r"\b(?:mostre|revele|diga|repita|imprima|escreva|toon|geef|onthul|herhaal|laat) {gap}(?:prompt (?:do sistema|de sistema|inicial)|instruções (?:do sistema|iniciais|secretas|ocultas|internas)|systeemprompt|systeeminstructies|(?:verborgen|geheime|interne) (?:instructies|regels|prompt))\b",
    ),
    (
        "prompt_extraction",
        "russian_prompt",
        Strong,
        r"(?:покажи|раскрой|выведи|повтори|назови|напиши|сообщи)(?:те)? (?:[^ .!?]{1,40} ){0,5}?(?:системн|скрыт|секретн|внутренн|исходн|начальн)[^ ]{0,8} (?:промпт|инструкци|подсказк|сообщени|запрос|правил)",
    ),
    (
        "prompt_extraction",
        "east_asian_prompt",
        Strong,
        r"(?:显示|顯示|输出|輸出|告诉|告訴|透露|泄露|打印|重复|重複|说出)[^。！？\n]{0,16}(?:系统提示|系統提示|提示词|提示詞|系统指令|初始指令|隐藏指令|system prompt)|(?:システムプロンプト|初期指示|隠された指示|内部の指示)[^。！？\n]{0,12}(?:教え|表示|見せ|出力|開示|明か)|시스템 ?프롬프트[^.!?\n]{0,12}(?:보여|알려|출력|공개)",
    ),
    (
        "exfiltration",
        "german_data",
        Strong,
        r"\b(?:send(?:e|en)?|schick(?:e|en)?|leite(?:n)?|übermittle|exportiere|zeig(?:e|en)?|gib|geben|verrate|nenne?|offenbare|liste?|teile|gebe|enthülle|preisgeben) {gap}(?:passwörter?|passwort|zugangsdaten|anmeldedaten|api-?schlüssel|geheimnisse?|kunden(?:daten|liste|datenbank)|private[nr]? (?:daten|kundendaten|reservierungen|informationen|buchungen)|vertrauliche[nr]? (?:daten|informationen)|personenbezogene[nr]? daten|reservierungen (?:anderer|aller)|daten (?:anderer|aller) (?:kunden|gäste|nutzer)|(?:alle|sämtliche) (?:kunden|reservierungen|buchungen|nutzer|daten|e-mails))\b",
    ),
    (
        "exfiltration",
        "french_data",
        Strong,
        r"\b(?:envoie[rz]?|envoyez|transmets|transmettez|transfère[rz]?|exporte[rz]?|montre[rz]?|révèle[rz]?|donne[rz]?|affiche[rz]?|divulgue[rz]?|liste[rz]?|partage[rz]?|communique[rz]?)(?:-(?:moi|nous))? {gap}(?:mots? de passe|identifiants|clés? (?:api|d'api|secrètes?|privées?)|secrets|(?:données|informations|réservations|fichiers|liste|coordonnées) (?:[^ .!?]{1,16} ){0,2}?(?:clients?|privées?|confidentielles?|personnelles?|sensibles?|utilisateurs?|des autres|de tous))\b",
    ),
    (
        "exfiltration",
        "spanish_data",
        Strong,
        r"\b(?:envía(?:me)?|enviar|manda(?:me)?|reenvía|transmite|exporta|muestra(?:me)?|muéstrame|revela(?:r|me)?|dame|dime|divulga|lista|comparte|filtra) {gap}(?:contraseñas?|credenciales|claves? (?:api|de api|secretas?|privadas?)|secretos|(?:datos|información|reservas?|archivos|lista|registros) (?:[^ .!?]{1,16} ){0,2}?(?:clientes?|privad[oa]s?|confidencial(?:es)?|personales|sensibles|usuarios?|de otros|de todos))\b",
    ),
    (
        "exfiltration",
        "italian_data",
        Strong,
        r"\b(?:invia(?:mi)?|inviare|manda(?:mi)?|inoltra|trasmetti|esporta|mostra(?:mi)?|rivela(?:re|mi)?|dammi|dimmi|divulga|elenca|condividi) {gap}(?:password|credenziali|chiav[ei] (?:api|segret[ae]|privat[ae])|segreti|(?:dati|informazioni|prenotazion[ei]|file|elenco|lista) (?:[^ .!?]{1,16} ){0,2}?(?:clienti|privat[ie]|riservat[ie]|confidenziali|personali|sensibili|utenti|degli altri|di tutti))\b",
    ),
    (
        "exfiltration",
        "other_data",
        Strong,
        r"(?:отправь|перешли|покажи|раскрой|выведи)(?:те)? (?:[^ .!?]{1,40} ){0,5}?(?:парол|учётные данные|ключ|конфиденциальн|данные клиент|личные данные)|(?:发送|發送|泄露|显示|告诉)[^。！？\n]{0,16}(?:密码|密碼|密钥|客户数据|客戶資料|机密|隐私)",
    ),
    (
        "secrecy",
        "secrecy_elsewhere",
        Strong,
        r"\b(?:sag|sage|sagen sie|erwähne|verrate) {near}(?:dem|den|der) (?:nutzer|benutzer|kunden|anwender) (?:nichts|nicht|kein)|\b(?:ne (?:dis|dites|mentionne[rz]?|révèle[rz]?|parle[rz]?) (?:rien|pas|jamais) {near}(?:à l'utilisateur|au client|cette instruction))|\b(?:no (?:le )?(?:digas|menciones|reveles|informes) {near}(?:al usuario|al cliente|esta instrucción|nada))|\b(?:non (?:dire|menzionare|rivelare|informare) {near}(?:all'utente|l'utente|al cliente|questa istruzione|nulla))",
    ),
    (
        "override",
        "from_now_on_elsewhere",
        Hint,
        r"\b(?:ab jetzt|ab sofort|von nun an|à partir de maintenant|désormais|dorénavant|a partir de ahora|de ahora en adelante|d'ora in poi|da ora in poi|da questo momento|a partir de agora|vanaf nu|od teraz)\b|отныне|с этого момента|从现在开始|今後は|지금부터",
    ),
];

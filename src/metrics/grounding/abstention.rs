//! Whether an answer says that the answer is not known.
//!
//! The rule is about what is said, in three forms:
//!
//! 1. the speaker lacks it: I, a negation, and a verb of having, knowing or telling ("I do not have …", "I cannot confirm …"),
//!    or "I am not sure" and its like; or "we do not have information";
//! 2. the sources lack it: documents, context, text …, a negation, and a verb of containing or saying ("the documents do not
//!    mention …"), or "… is not mentioned in the text";
//! 3. information is absent: "no (specific) information", "not enough details".
//!
//! English only, with the commonest statements of form 1 in German, French and Spanish. An answer abstains where a sentence
//! says so and no other sentence claims anything.

use super::facts::Facts;
use super::is_question;
use crate::memory::text::sentences;

const NEGATIONS: &str = " not no never unable neither ";
/// What a speaker without the answer does not do.
const TELLING: &str = " have know find see provide confirm answer help tell say determine explain give offer recommend \
    access locate verify identify specify suggest share assist speak comment recall describe advise compare ";
/// What a speaker without the answer is not.
const BEING: &str = " sure certain aware familiar able ";
/// What a speaker or a text may lack.
const INFORMATION: &str = " information info details detail specifics knowledge idea clue answer mention ";
const SOURCES: &str = " document documents context contexts passage passages text texts article articles source sources \
    material materials content excerpt excerpts information database page pages report reference references ";
const SAYING: &str = " include includes contain contains mention mentions provide provides specify specifies state states \
    discuss discusses cover covers address addresses give gives offer offers answer answers indicate indicates describe \
    describes list lists say says explain explains have has ";
const SAID: &str = " mentioned specified stated provided given included listed discussed covered addressed described \
    indicated found available contained explained determined answered ";
/// What may stand between "no" and "information".
const QUALIFIERS: &str = " specific exact detailed further additional relevant such direct explicit clear much any enough \
    sufficient more precise particular available concrete of ";

/// Statements of form 1 in other languages.
const ELSEWHERE: [&str; 12] = [
    "ich weiß nicht",
    "ich weiß es nicht",
    "weiß ich nicht",
    "ich habe keine information",
    "mir liegen keine information",
    "je ne sais pas",
    "je n'ai pas d'information",
    "je ne dispose pas",
    "no tengo información",
    "no dispongo de información",
    "no lo sé",
    "lo desconozco",
];

/// How an apology or thanks begin.
const COURTESIES: [&str; 10] = [
    "thank you",
    "thanks",
    "sorry",
    "i am sorry",
    "i am very sorry",
    "i apologize",
    "i apologise",
    "my apologies",
    "apologies",
    "we apologize",
];

/// Words between the parts of a statement, at most: "I do not currently have".
const REACH: usize = 4;

/// Whether an answer abstains: a sentence states a lack of knowledge, and none claims anything.
#[must_use]
pub fn abstains(answer: &str) -> bool {
    let mut lacks = false;
    for sentence in sentences(answer) {
        if states_lack(&sentence) {
            lacks = true;
        } else if !is_question(&sentence) && !is_courtesy(&sentence) && !Facts::of(&sentence).content.is_empty() {
            return false;
        }
    }
    lacks
}

/// Whether a sentence is an apology or thanks and nothing more: "I apologize for the confusion."
pub(super) fn is_courtesy(sentence: &str) -> bool {
    let words = words(sentence);
    let text = words.join(" ");
    let goes_on = words.iter().any(|word| matches!(word.as_str(), "but" | "however" | "because"));
    !goes_on
        && words.len() <= 12
        && COURTESIES.iter().any(|start| text == *start || text.starts_with(&format!("{start} for ")))
}

/// Whether a sentence says that something is not known. A sentence that goes on to claim something ("…, but the fee is
/// 5 dollars") is a claim.
pub(super) fn states_lack(sentence: &str) -> bool {
    let lower = sentence.to_lowercase().replace('’', "'");
    if ELSEWHERE.iter().any(|statement| lower.contains(statement)) {
        return true;
    }
    let words = words(sentence);
    let lack = speaker_lacks(&words).or_else(|| sources_lack(&words)).or_else(|| information_is_absent(&words));
    lack.is_some_and(|end| !goes_on(&words[end..]))
}

/// Whether a contrast follows that says something after all.
fn goes_on(words: &[String]) -> bool {
    let contrast = words.iter().position(|word| among(" but however nevertheless though ", word));
    contrast.is_some_and(|at| words.len() - at > REACH)
}

/// Form 1; where the statement ends. "We" may be an organisation, which does not do many things: there it must be
/// information that is lacked.
fn speaker_lacks(words: &[String]) -> Option<usize> {
    (0..words.len()).filter(|&at| among(" i we ", &words[at])).find_map(|at| {
        let negation = next(words, at + 1, REACH, NEGATIONS)?;
        if words[negation] == "no" {
            return next(words, negation + 1, REACH, INFORMATION).map(|end| end + 1);
        }
        let end = next(words, negation + 1, REACH, TELLING).or_else(|| next(words, negation + 1, 2, BEING))? + 1;
        (words[at] == "i" || next(words, end, REACH, INFORMATION).is_some()).then_some(end)
    })
}

/// Form 2; where the statement ends.
fn sources_lack(words: &[String]) -> Option<usize> {
    (0..words.len()).find_map(|at| {
        if among(SOURCES, &words[at]) {
            let negation = next(words, at + 1, REACH, NEGATIONS)?;
            return next(words, negation + 1, 3, SAYING)
                .or_else(|| next(words, negation + 1, 3, SAID))
                .map(|end| end + 1);
        }
        if words[at] == "not" {
            let said = next(words, at + 1, 3, SAID)?;
            let place = next(words, said + 1, 1, " in within by from ")?;
            return next(words, place + 1, REACH, SOURCES).map(|end| end + 1);
        }
        None
    })
}

/// Form 3; where the statement ends.
fn information_is_absent(words: &[String]) -> Option<usize> {
    (0..words.len()).filter(|&at| among(INFORMATION, &words[at])).find_map(|at| {
        let before = words[..at].iter().rposition(|word| !among(QUALIFIERS, word))?;
        let nearest = &words[before];
        let scarce = among(" no insufficient lack lacks lacking ", nearest) || (nearest == "not" && before + 1 < at);
        scarce.then_some(at + 1)
    })
}

/// The first of `reach` words from `start` on that is on a list.
fn next(words: &[String], start: usize, reach: usize, list: &str) -> Option<usize> {
    (start..words.len().min(start + reach)).find(|&at| among(list, &words[at]))
}

fn among(list: &str, word: &str) -> bool {
    list.contains(&format!(" {word} "))
}

/// Lower-cased words, contractions written out.
fn words(sentence: &str) -> Vec<String> {
    let plain = sentence.to_lowercase().replace('’', "'");
    let plain = plain.replace("can't", "can not").replace("won't", "will not").replace("n't", " not");
    let plain =
        plain.replace("cannot", "can not").replace("i'm", "i am").replace("we're", "we are").replace("'ve", " have");
    plain
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_not_knowing_are_told_from_statements_of_absence() {
        for text in [
            "I don't have that information.",
            "Sorry, but I do not know.",
            "I’m afraid I can’t confirm that.",
            "I have no specific details on this.",
            "I'm not sure.",
            "We do not have any information about parking.",
            "The provided documents do not mention the price.",
            "The price is not specified in the given context.",
            "It cannot be determined from the text.",
            "Unfortunately there is no information on opening hours.",
            "There is not enough information to answer.",
            "Ich weiß es leider nicht, denn ich habe keine Informationen dazu.",
            "Je ne sais pas.",
            "No tengo información sobre eso.",
        ] {
            assert!(states_lack(text) && abstains(text), "{text}");
        }
        for text in [
            "We currently have no evidence of life beyond Earth.",
            "We do not provide refunds.",
            "There is no fee.",
            "Do not share information with anyone.",
            "A domain name is not considered personal information.",
            "The office does not open on Sundays.",
            "You do not have to know the number.",
            "I do not have much information, but the ionosphere is very active.",
            "",
        ] {
            assert!(!states_lack(text) && !abstains(text), "{text}");
        }
    }

    #[test]
    fn an_answer_that_claims_something_beside_does_not_abstain() {
        assert!(abstains(
            "I apologize for the confusion. Again, there is no information for party boats. Anything else?"
        ));
        assert!(!abstains("I do not know. However, Mercury is the smallest planet."));
        assert!(!abstains("Which planet do you mean?"));
    }
}

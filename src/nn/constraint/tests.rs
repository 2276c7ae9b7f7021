//! Constraints over a small vocabulary, without a model.

use super::place::{Mark, Place};
use super::*;
use crate::clock::Clock;
use crate::nn::TokenizerSpec;
use crate::nn::tokenizer::TextTokenizer;

/// A SentencePiece vocabulary that puts a space before every text.
fn spaced() -> Arc<TextTokenizer> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    let mut token_types = vec![2, 3, 3];
    for byte in 0..=u8::MAX {
        tokens.push(format!("<0x{byte:02X}>"));
        token_types.push(6);
    }
    for text in ["\u{2581}", "a", "b", "\u{2581}a", "ab", "\"", "{", "}", ":", ",", "1"] {
        tokens.push(text.to_owned());
        token_types.push(1);
    }
    let scores = vec![0.0; tokens.len()];
    let spec = TokenizerSpec {
        model: "llama".to_owned(),
        tokens,
        scores,
        token_types,
        add_space_prefix: true,
        ..TokenizerSpec::default()
    };
    Arc::new(TextTokenizer::new(spec).expect("a vocabulary"))
}

#[test]
fn a_vocabulary_that_puts_a_space_before_a_text_is_held_too() {
    let tokenizer = spaced();
    let factory = Factory::new(&tokenizer, tokenizer.vocabulary()).expect("tables");
    let grammar = Grammar::new(Rule::Choice(vec!["ab".to_owned(), "ba".to_owned()]));
    let constraint = factory.compile(&grammar, &AtomicBool::new(false)).expect("a constraint");
    let mut guide = Guide::new(&constraint);
    let clock = Clock::fake();
    assert!(matches!(guide.begin(&tokenizer, &clock), Following::Forced(forced) if forced.is_empty()));
    let mut logits = vec![0.0; tokenizer.vocabulary()];
    assert!(guide.restrict(&mut logits, &[2], &clock));
    let allowed: Vec<Vec<u8>> =
        (0u32..).zip(&logits).filter(|(_, l)| l.is_finite()).map(|(id, _)| tokenizer.token_bytes(id)).collect();
    assert!(
        !allowed.is_empty() && allowed.iter().all(|bytes| [&b"a"[..], b"b", b"ab"].contains(&&**bytes)),
        "{allowed:?}"
    );
    let whole = tokenizer.id_of("ab").expect("a token");
    assert!(matches!(guide.take(whole, &tokenizer, &clock), Following::End(forced) if forced.is_empty()));
}

#[test]
fn an_end_that_the_check_refuses_is_taken_back() {
    let tokenizer = spaced();
    let factory = Factory::new(&tokenizer, tokenizer.vocabulary()).expect("tables");
    let grammar =
        Grammar::new(Rule::Choice(["a", "b"].map(str::to_owned).to_vec())).checked_by("not a", |text| text != "a");
    let mut guide = Guide::new(&factory.compile(&grammar, &AtomicBool::new(false)).expect("a constraint"));
    let clock = Clock::fake();
    let id = |text: &str| tokenizer.id_of(text).expect("a token");
    assert!(matches!(guide.take(id("a"), &tokenizer, &clock), Following::Refused));
    assert!(matches!(guide.take(id("b"), &tokenizer, &clock), Following::End(_)));
}

#[test]
fn the_order_of_properties_tells_grammars_apart() {
    let key = |text: &str| Grammar::new(Rule::JsonSchema(serde_json::from_str(text).expect("JSON"))).key();
    let (a, b) = (r#"{"properties": {"a": true, "b": true}}"#, r#"{"properties": {"b": true, "a": true}}"#);
    assert_ne!(key(a), key(b));
    assert_eq!(key(a), key(a));
}

#[test]
fn a_place_in_json_knows_texts_and_brackets() {
    for (text, inside, depth) in [
        (r#"{"a": [1, {"b": "x"#, true, 3),
        (r#"{"a": "}]\"{\\", "#, false, 1),
        (r#"{"a": "\"#, true, 1),
        ("[]", false, 0),
    ] {
        let mut place = Place::default();
        for byte in text.bytes() {
            assert!(!place.add(&[byte]).repeats, "{text}");
        }
        assert_eq!((place.inside, place.open.len()), (inside, depth), "{text}");
    }
}

#[test]
fn a_name_that_an_object_has_already_is_noticed_when_its_quote_closes() {
    for (text, repeats) in [
        (r#"{"a": 1, "a""#, true),
        (r#"{"a": 1, "a"#, false),
        (r#"{"a": {"a": ["a", "a"], "b": "a"}, "b": 1"#, false),
        (r#"[{"a": 1}, {"a": 1"#, false),
        (r#"{"x": {"\"": 1, "\"": 2"#, true),
    ] {
        assert_eq!(Place::default().add(text.as_bytes()).repeats, repeats, "{text}");
    }
}

#[test]
fn what_came_to_its_end_can_be_read_as_if_all_that_is_open_were_closed() {
    let mark = |length: usize, rest: &str, unfinished| Some(Mark { length, rest: rest.to_owned(), unfinished });
    for (text, expected) in [
        (r#"{"a""#, mark(4, ": null}", 2)),
        (r#"{"a": 1"#, mark(4, ": null}", 2)),
        (r#"{"a": 1, "#, mark(7, "}", 1)),
        (r#"{"a": [1, "x"], "b"#, mark(14, "}", 1)),
        (r#"{"a": [1, {"b": "c""#, mark(19, "}]}", 3)),
        (r#"{"a": "b"}"#, mark(9, "}", 1)),
        (r#""a"#, None),
        ("[]", None),
    ] {
        assert_eq!(Place::default().add(text.as_bytes()).mark, expected, "{text}");
        if let Some(mark) = expected {
            let closed = format!("{}{}", &text[..mark.length], mark.rest);
            assert!(serde_json::from_str::<Value>(&closed).is_ok(), "{closed}");
        }
    }
}

//! Tokenizers of both kinds, and descriptions that do not hold together.

use super::*;
use crate::error::Error;

fn byte_level(extra: &[&str], merges: &[&str], types: &[(usize, i32)]) -> TokenizerSpec {
    let mut tokens: Vec<String> = bytes::ALPHABET.iter().map(ToString::to_string).collect();
    tokens.extend(extra.iter().map(ToString::to_string));
    let mut token_types = vec![1; tokens.len()];
    for &(at, kind) in types {
        token_types[256 + at] = kind;
    }
    TokenizerSpec {
        model: "gpt2".into(),
        pre: "gpt-2".into(),
        tokens,
        token_types,
        merges: merges.iter().map(ToString::to_string).collect(),
        ..TokenizerSpec::default()
    }
}

fn sentence_piece(tokens: &[(&str, f32, i32)], add_space_prefix: bool) -> TokenizerSpec {
    let byte = |byte: u8| (format!("<0x{byte:02X}>"), 0.0, 6);
    let all: Vec<(String, f32, i32)> =
        tokens.iter().map(|&(text, score, kind)| (text.to_owned(), score, kind)).chain((0..=255).map(byte)).collect();
    TokenizerSpec {
        model: "llama".into(),
        pre: "default".into(),
        tokens: all.iter().map(|(text, ..)| text.clone()).collect(),
        scores: all.iter().map(|&(_, score, _)| score).collect(),
        token_types: all.iter().map(|&(.., kind)| kind).collect(),
        merges: Vec::new(),
        add_space_prefix,
    }
}

#[test]
fn control_tokens_written_in_a_text_can_be_taken_apart() {
    let tokenizer = TextTokenizer::new(byte_level(&["<|im_end|>", "<u>"], &[], &[(0, 3), (1, 4)])).unwrap();
    let text = "a<|im_end|><|im_end|><u>";
    assert_eq!(tokenizer.encode(text, true).unwrap()[1], 256);
    let plain = tokenizer.without_controls(text);
    assert_eq!(plain, "a< |im_end|>< |im_end|><u>");
    assert!(!tokenizer.encode(&plain, true).unwrap().contains(&256));
    assert!(matches!(tokenizer.without_controls("a < b"), Cow::Borrowed("a < b")));
}

fn failure(spec: TokenizerSpec) -> String {
    TextTokenizer::new(spec).map(|_| ()).map_err(|error: Error| error.to_string()).unwrap_err()
}

fn decoded(tokenizer: &TextTokenizer, ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).collect()
}

#[test]
fn byte_level_merges_by_rank_inside_words() {
    let tokenizer = TextTokenizer::new(byte_level(&["ab", "Ġab", "bc"], &["b c", "a b", "Ġ ab"], &[])).unwrap();
    assert_eq!(tokenizer.encode("ab ab abc", false).unwrap(), [256, 257, 32, 97, 258]);
}

#[test]
fn control_tokens_are_recognised_on_request_and_have_no_bytes() {
    let tokenizer = TextTokenizer::new(byte_level(&["<|x|>", "<tool>"], &[], &[(0, 3), (1, 4)])).unwrap();
    assert_eq!(tokenizer.encode("a<|x|>", true).unwrap(), [97, 256]);
    assert_eq!(tokenizer.encode("a<|x|>", false).unwrap().len(), 6);
    assert_eq!(tokenizer.encode("<tool>", false).unwrap(), [257]);
    assert_eq!(tokenizer.token_bytes(256), b"");
    assert_eq!(tokenizer.token_bytes(257), b"<tool>");
    assert_eq!(tokenizer.token_bytes(9999), b"");
    assert_eq!(tokenizer.vocabulary(), 258);
    assert_eq!(tokenizer.id_of("<|x|>"), Some(256));
}

#[test]
fn an_end_of_turn_token_is_control_even_where_the_file_calls_it_normal() {
    let tokenizer = TextTokenizer::new(byte_level(&["<|im_end|>"], &[], &[])).unwrap();
    assert_eq!(tokenizer.encode("<|im_end|>", true).unwrap(), [256]);
    assert_eq!(tokenizer.token_bytes(256), b"");
}

#[test]
fn sentence_piece_merges_by_score_and_falls_back_to_bytes() {
    let spec = sentence_piece(
        &[("▁", -9.0, 1), ("a", -9.0, 1), ("b", -9.0, 1), ("ab", -2.0, 1), ("▁a", -1.0, 1), ("<s>", 0.0, 3)],
        true,
    );
    let tokenizer = TextTokenizer::new(spec).unwrap();
    assert_eq!(tokenizer.encode("ab", false).unwrap(), [4, 2]);
    assert_eq!(tokenizer.encode("bab", false).unwrap(), [0, 2, 3]);
    assert_eq!(tokenizer.encode("<s>b<s>", true).unwrap(), [5, 0, 2, 5]);
    let ids = tokenizer.encode("aé", false).unwrap();
    assert_eq!(ids, [4, 6 + 0xC3, 6 + 0xA9]);
    assert_eq!(decoded(&tokenizer, &ids), " aé".as_bytes());
    assert_eq!(tokenizer.encode("", true).unwrap(), [0_u32; 0]);
}

#[test]
fn a_text_that_the_vocabulary_cannot_express_is_an_error() {
    let spec = TokenizerSpec {
        model: "llama".into(),
        tokens: vec!["a".into()],
        scores: vec![0.0],
        token_types: vec![1],
        ..TokenizerSpec::default()
    };
    let error = TextTokenizer::new(spec).unwrap().encode("aé", false).unwrap_err().to_string();
    assert!(error.contains("<0xC3>"), "{error}");
}

#[test]
fn every_inconsistency_names_its_field() {
    let good = || byte_level(&["ab"], &["a b"], &[]);
    let spm = || sentence_piece(&[("a", 0.0, 1)], false);
    let cases: [(TokenizerSpec, &str); 9] = [
        (TokenizerSpec { model: "bert".into(), ..good() }, "tokenizer.ggml.model is `bert`"),
        (TokenizerSpec { pre: "new".into(), ..good() }, "tokenizer.ggml.pre is `new`"),
        (TokenizerSpec { tokens: vec![], ..good() }, "no vocabulary"),
        (TokenizerSpec { token_types: vec![1; 3], ..good() }, "tokenizer.ggml.token_type has 3 entries"),
        (TokenizerSpec { token_types: vec![77; 257], ..good() }, "tokenizer.ggml.token_type entry 0 is 77"),
        (TokenizerSpec { merges: vec!["ab".into()], ..good() }, "tokenizer.ggml.merges entry 0"),
        (TokenizerSpec { merges: vec!["a c".into()], ..good() }, "needs the token \"ac\""),
        (TokenizerSpec { scores: vec![], ..spm() }, "tokenizer.ggml.scores has 0 entries"),
        (TokenizerSpec { scores: vec![f32::NAN; 257], ..spm() }, "tokenizer.ggml.scores entry 0 is not a number"),
    ];
    for (spec, wanted) in cases {
        let found = failure(spec);
        assert!(found.contains(wanted), "{found:?} does not say {wanted:?}");
    }
    assert!(TextTokenizer::new(good()).is_ok() && TextTokenizer::new(spm()).is_ok());
}

#[test]
fn one_letter_repeated_a_hundred_thousand_times_takes_no_quadratic_time() {
    let text = "a".repeat(100_000);
    let bpe = TextTokenizer::new(byte_level(&["aa", "aaaa"], &["a a", "aa aa"], &[])).unwrap();
    assert_eq!(bpe.encode(&text, true).unwrap().len(), 25_000);
    let spm = TextTokenizer::new(sentence_piece(&[("a", -3.0, 1), ("aa", -2.0, 1), ("aaaa", -1.0, 1)], false)).unwrap();
    assert_eq!(spm.encode(&text, true).unwrap().len(), 25_000);
    let blank = format!("{}x", " ".repeat(100_000));
    assert_eq!(bpe.encode(&blank, true).unwrap().len(), 100_001);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn the_bytes_of_the_tokens_are_the_text(text in r"\PC{0,20}[ab \n]{0,20}") {
        let bpe = TextTokenizer::new(byte_level(&["ab", "Ġab", "Ã©"], &["a b", "Ġ ab", "Ã ©"], &[])).unwrap();
        proptest::prop_assert_eq!(decoded(&bpe, &bpe.encode(&text, true).unwrap()), text.as_bytes());
        let spm = TextTokenizer::new(sentence_piece(&[("▁", -4.0, 1), ("a", -3.0, 1), ("ab", -2.0, 1), ("▁a", -1.0, 1)], false)).unwrap();
        let text = text.replace('▁', "_");
        proptest::prop_assert_eq!(decoded(&spm, &spm.encode(&text, true).unwrap()), text.as_bytes());
    }

    #[test]
    fn any_specification_is_accepted_or_refused_without_a_panic(
        tokens in proptest::collection::vec("[ab▁<0x>]{0,4}", 0..6),
        merges in proptest::collection::vec("[ab ]{0,4}", 0..3),
        types in proptest::collection::vec(0..8_i32, 0..6),
        llama: bool,
    ) {
        let scores = vec![0.0; tokens.len()];
        let model = if llama { "llama" } else { "gpt2" }.to_owned();
        let spec = TokenizerSpec { model, pre: "default".to_owned(), tokens, scores, token_types: types, merges, add_space_prefix: true };
        if let Ok(tokenizer) = TextTokenizer::new(spec) {
            let _ = tokenizer.encode("aab b▁<0xé", true);
            (0..8).for_each(|id| drop(tokenizer.token_bytes(id)));
        }
    }
}

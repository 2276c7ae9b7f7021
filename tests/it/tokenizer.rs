//! The tokenizers of real model files give the ids that llama.cpp gives (`scripts/fixtures/tokenizer_fixtures.mjs`).

use crate::support::weights;
use routergym_local::nn::{LanguageModel, TextTokenizer};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Fixture {
    model: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    special: bool,
    ids: Vec<u32>,
}

fn fixture(manifest: &str) -> Fixture {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/tokenizer/{manifest}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn check(manifest: &str) {
    let fixture = fixture(manifest);
    let Some(path) = weights(manifest, &fixture.model) else { return };
    let tokenizer: std::sync::Arc<TextTokenizer> = LanguageModel::tokenizer(&path).unwrap();
    let mut wrong = Vec::new();
    for case in &fixture.cases {
        let ids = tokenizer.encode(&case.text, case.special).unwrap();
        if ids != case.ids {
            wrong.push(format!("{:?} (special {}): {:?}, not {:?}", case.text, case.special, ids, case.ids));
        }
    }
    assert!(wrong.is_empty(), "{manifest}: {} of {} differ\n{}", wrong.len(), fixture.cases.len(), wrong.join("\n"));
}

#[test]
fn smollm2_gives_the_ids_of_llama_cpp() {
    check("smollm2-135m-instruct");
}

#[test]
fn qwen_gives_the_ids_of_llama_cpp() {
    check("qwen2.5-coder-0.5b-instruct");
}

#[test]
fn gemma_gives_the_ids_of_llama_cpp() {
    check("gemma-3-270m");
}

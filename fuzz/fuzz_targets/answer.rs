//! What is found in an answer: extraction, mending, the verdict and what a model is told about it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use routergym_local::contract::Contract;
use std::sync::LazyLock;

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "category": {"enum": ["Access", "Storage"]},
            "answer": {"type": "string", "minLength": 1, "pattern": "^[^<]*$"},
            "citations": {"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": 3}
        },
        "required": ["category", "answer"],
        "additionalProperties": {"type": "number", "multipleOf": 0.5}
    });
    Contract::new("the schema", &schema).expect("a contract")
});

fuzz_target!(|text: &str| {
    let verdict = CONTRACT.check(text);
    assert_eq!(verdict.valid, verdict.violations.is_empty());
    let _ = CONTRACT.repair_instruction(&verdict);
    let Some(value) = &verdict.value else {
        assert!(!verdict.valid && verdict.mended.is_empty());
        return;
    };
    assert!(!verdict.valid || CONTRACT.accepts(value) == Some(true));
    // What was found is JSON: written by itself it is found again, as it is, with nothing to mend.
    let again = CONTRACT.check(&value.to_string());
    assert_eq!(again.value.as_ref(), Some(value));
    assert!(again.mended.is_empty() && again.valid >= verdict.valid);
});

//! Contracts as they are held: answers under constrained decoding, and verdicts beside other people's.

use crate::support::{program, shared, stderr, stdout, weights, write_files};
use routergym_local::clock::{Clock, Component};
use routergym_local::contract::Contract;
use routergym_local::contract::suite::read_rows;
use routergym_local::engine::{Engine, FailureKind, Held, LocalEngine, Request};
use routergym_local::nn::chat::Message;
use routergym_local::nn::testing::{Family, Stored, write_checkpoint};
use routergym_local::nn::{
    Device, DeviceChoice, GenerateOptions, Generated, Grammar, LanguageModel, LoadOptions, Prompt, Rule, Stop,
};
use routergym_local::trial::{AnswerFields, label_probabilities};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A model of random weights over bytes: whatever it answers, it does not mean it, so that only the constraint can be right.
fn model(folder: &Path, family: Family, load: &LoadOptions) -> LanguageModel {
    let path = folder.join("model.gguf");
    write_checkpoint(&path, family, Stored::Q8_0, 5).unwrap();
    LanguageModel::load(&path, &Device::open(DeviceChoice::Cpu).unwrap(), load).unwrap()
}

fn options(model: &LanguageModel, grammar: Option<&Grammar>, max_tokens: usize, seed: u64) -> GenerateOptions {
    GenerateOptions {
        max_tokens,
        temperature: if seed == 0 { 0.0 } else { 1.0 },
        seed,
        top_logprobs: 2,
        constraint: grammar.map(|grammar| Arc::new(model.constraint(grammar).unwrap())),
        ..GenerateOptions::default()
    }
}

fn generate(model: &mut LanguageModel, prompt: &[u32], options: &GenerateOptions) -> Generated {
    model.generate(prompt, options, &Clock::real(), &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn finished_answers_of_a_model_that_knows_nothing_keep_every_schema() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let rows = read_rows(Path::new("tests/fixtures/contract/schemas.jsonl")).unwrap();
    let prompt = model.tokenize("Answer.").unwrap();
    let (mut finished, mut all) = (0, 0);
    for row in &rows {
        let contract = Contract::new("the schema", &row.schema).unwrap();
        for seed in [0, 7] {
            let options = options(&model, Some(contract.grammar()), 200, seed);
            let answer = generate(&mut model, &prompt, &options);
            all += 1;
            if answer.stop == Stop::EndOfTurn {
                finished += 1;
                let verdict = contract.check(&answer.text);
                assert!(verdict.valid_as_written(), "{}: {}: {:?}", row.description, answer.text, verdict.violations);
            }
            assert!(answer.tokens.iter().all(|token| token.logprob.is_finite() && token.logprob <= 0.0));
            assert!(answer.tokens.iter().flat_map(|token| &token.top).all(|(_, logprob)| logprob.is_finite()));
        }
    }
    assert!(rows.len() >= 100 && finished * 4 >= all * 3, "{finished} of {all} answers finished");
}

#[test]
fn a_choice_and_a_pattern_hold_whatever_the_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    for family in [Family::Llama, Family::Qwen2, Family::Gemma3] {
        let mut model = model(folder.path(), family, &LoadOptions::default());
        let prompt = model.tokenize("Which?").unwrap();
        let texts = ["Access & Identity", "Access", "\"Störung\"", "Storage"].map(str::to_owned);
        let choice = Grammar::choice(&texts).unwrap();
        let pattern = Grammar::regex("(KB|kb)-[0-9]{3}").unwrap();
        for seed in 0..6 {
            let settings = options(&model, Some(&choice), 40, seed);
            let answer = generate(&mut model, &prompt, &settings);
            assert!(texts.contains(&answer.text), "{family:?}: {}", answer.text);
            let settings = options(&model, Some(&pattern), 40, seed);
            let answer = generate(&mut model, &prompt, &settings);
            let (head, digits) = answer.text.split_once('-').unwrap();
            assert!(
                ["KB", "kb"].contains(&head) && digits.len() == 3 && digits.parse::<u16>().is_ok(),
                "{}",
                answer.text
            );
            assert_eq!(answer.stop, Stop::EndOfTurn);
        }
    }
}

#[test]
fn a_constrained_answer_is_the_same_alone_in_a_batch_and_after_a_kept_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["category", "answer", "sure"],
        "properties": {
            "category": {"enum": ["Access & Identity", "Storage"]}, "answer": {"type": "string", "maxLength": 12},
            "sure": {"type": "boolean"}
        }
    });
    let contract = Contract::new("s", &schema).unwrap();
    let told = |answer: &Generated| (answer.text.clone(), answer.tokens.clone(), answer.forced_tokens, answer.stop);
    let mut plain = model(folder.path(), Family::Llama, &LoadOptions { prefix_cache: false, ..LoadOptions::default() });
    let mut keeping = model(folder.path(), Family::Llama, &LoadOptions::default());
    let prompts: Vec<Vec<u32>> =
        (0..5).map(|i| plain.tokenize(&format!("Ticket {i}: {}", "x ".repeat(30 * i))).unwrap()).collect();
    let held = options(&plain, Some(contract.grammar()), 120, 3);
    let free = options(&plain, None, 9, 3);
    let alone: Vec<_> = prompts.iter().map(|prompt| told(&generate(&mut plain, prompt, &held))).collect();
    assert!(alone.iter().all(|answer| answer.2 > 20), "most of such an answer is forced");
    for _ in 0..2 {
        let kept: Vec<_> = prompts.iter().map(|prompt| told(&generate(&mut keeping, prompt, &held))).collect();
        assert_eq!(kept, alone);
    }
    // Beside sequences with no constraint.
    let mixed: Vec<Prompt<'_>> = prompts
        .iter()
        .flat_map(|tokens| [Prompt { tokens, options: &held }, Prompt { tokens, options: &free }])
        .collect();
    let clock = Clock::real();
    let together = plain.generate_all(&mixed, 4, &clock, &mut |_, _| ControlFlow::Continue(())).unwrap();
    let together: Vec<_> = together.iter().step_by(2).map(told).collect();
    assert_eq!(together, alone);
}

#[test]
fn an_answer_that_nears_the_end_of_its_tokens_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}, "done": {"type": "boolean"}},
                        "required": ["text", "done"], "additionalProperties": false});
    let contract = Contract::new("s", &schema).unwrap();
    let prompt = model.tokenize("Tell a long story.").unwrap();
    let answer = |model: &mut LanguageModel, tokens: usize| {
        let settings = options(model, Some(contract.grammar()), tokens, 0);
        generate(model, &prompt, &settings)
    };
    let closed = answer(&mut model, 120);
    assert!(closed.closed_early && closed.stop == Stop::EndOfTurn, "{}", closed.text);
    assert!(contract.check(&closed.text).valid_as_written(), "{}", closed.text);
    let cut = answer(&mut model, 4);
    assert_eq!((cut.stop, cut.tokens.len()), (Stop::MaxTokens, 4));
}

#[test]
fn a_text_whose_pattern_asks_for_one_more_character_is_closed_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    // Hundreds of digits may come, and each is as likely as the `Z` behind which alone the text may end.
    let schema = json!({"type": "object", "properties": {"at": {"type": "string", "pattern": "^[0-9]{2}:[0-9]{30,}Z$"}},
                        "required": ["at"], "additionalProperties": false});
    let contract = Contract::new("s", &schema).unwrap();
    let prompt = model.tokenize("When?").unwrap();
    let mut closed = 0;
    for seed in 0..8 {
        let settings = options(&model, Some(contract.grammar()), 60, seed);
        let answer = generate(&mut model, &prompt, &settings);
        assert_eq!(answer.stop, Stop::EndOfTurn, "{}", answer.text);
        assert!(contract.check(&answer.text).valid_as_written(), "{}", answer.text);
        closed += usize::from(answer.closed_early);
    }
    assert!(closed > 0);
}

#[test]
fn what_a_grammar_cannot_say_is_kept_on_the_way_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let prompt = model.tokenize("Answer.").unwrap();
    let member = |schema: Value| json!({"type": "object", "properties": {"v": schema}, "required": ["v"], "additionalProperties": false});
    for schema in [
        // A class that excludes the quote, which the grammar's own reading would let through.
        member(json!({"type": "string", "pattern": "^\"[^\"\\\\]{2,4}\"$"})),
        // Far from its end the text asks for many characters more.
        member(json!({"type": "string", "pattern": "^[0-9]{3}-[a-f]{24}$"})),
        member(json!({"type": "string", "pattern": "^([0-9]+ab)+XYZ$"})),
        // Look-around, conditions on numbers, items that differ, something contained.
        member(json!({"type": "string", "pattern": "^(?=.*[0-9])[a-z0-9]{4,20}$"})),
        member(json!({"type": "integer", "not": {"multipleOf": 2}, "minimum": 0, "maximum": 99})),
        member(
            json!({"type": "array", "items": {"enum": ["alpha", "beta", "gamma"]}, "uniqueItems": true, "minItems": 2, "maxItems": 3}),
        ),
        member(
            json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "contains": {"const": 7}, "maxItems": 3}),
        ),
        // Names by a pattern, one member of two.
        json!({"type": "object", "propertyNames": {"pattern": "^[a-z]{1,3}$"}, "additionalProperties": {"type": "boolean"}, "minProperties": 1, "maxProperties": 2}),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
               "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "additionalProperties": false}),
    ] {
        let contract = Contract::new("s", &schema).unwrap();
        for seed in 0..6 {
            let settings = options(&model, Some(contract.grammar()), 90, seed);
            let answer = generate(&mut model, &prompt, &settings);
            assert_eq!(answer.stop, Stop::EndOfTurn, "{schema}: {}", answer.text);
            assert!(contract.check(&answer.text).valid_as_written(), "{schema}: {}", answer.text);
        }
    }
}

#[test]
fn an_answer_with_much_to_say_yet_begins_to_close_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let prompt = model.tokenize("Answer.").unwrap();
    // The first text could take all tokens; what is required after it takes more than the last quarter of them.
    let mut properties = serde_json::Map::new();
    properties.insert("text".to_owned(), json!({"type": "string"}));
    properties.extend((0..12).map(|i| (format!("p{i}"), json!({"type": ["string", "null"]}))));
    let names: Vec<String> = properties.keys().cloned().collect();
    let schema = json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false});
    let contract = Contract::new("s", &schema).unwrap();
    for seed in 0..4 {
        let settings = options(&model, Some(contract.grammar()), 320, seed);
        let answer = generate(&mut model, &prompt, &settings);
        assert_eq!(answer.stop, Stop::EndOfTurn, "{}", answer.text);
        assert!(contract.check(&answer.text).valid_as_written(), "{}", answer.text);
    }
}

#[test]
fn an_answer_may_end_among_its_forced_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let schema = json!({"type": "object", "properties": {"category": {"enum": ["Access", "Storage"]}},
                        "required": ["category"], "additionalProperties": false});
    let contract = Contract::new("s", &schema).unwrap();
    let prompt = model.tokenize("Which?").unwrap();
    let held = options(&model, Some(contract.grammar()), 60, 0);
    let stopping = GenerateOptions { stop: vec!["cat".to_owned()], ..held.clone() };
    let stopped = generate(&mut model, &prompt, &stopping);
    assert_eq!((&*stopped.text, stopped.stop), ("{\"", Stop::EndOfTurn));
    let clock = Clock::real();
    let left = model.generate(&prompt, &held, &clock, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((left.tokens.len(), left.stop, left.forced_tokens), (1, Stop::Cancelled, 1));
    // Nothing of it is left over.
    let whole = generate(&mut model, &prompt, &held);
    assert!(
        contract.check(&whole.text).valid_as_written() && whole.forced_tokens < whole.tokens.len(),
        "{}",
        whole.text
    );
}

#[test]
fn an_answer_that_is_forced_as_a_whole_ends_only_when_it_is_whole_and_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let prompt = model.tokenize("Which?").unwrap();
    let mut answer = |schema: Value, tokens: usize| {
        let contract = Contract::new("s", &schema).unwrap();
        let held = options(&model, Some(contract.grammar()), tokens, 0);
        let answer = generate(&mut model, &prompt, &held);
        (answer.text, answer.stop)
    };
    assert_eq!(answer(json!({"const": "fixed"}), 50), ("\"fixed\"".to_owned(), Stop::EndOfTurn));
    assert_eq!(answer(json!({"const": "fixed"}), 3).1, Stop::MaxTokens);
    assert_eq!(answer(json!({"const": 1, "not": {"const": 1}}), 50), (String::new(), Stop::Stuck));
}

#[test]
fn schemas_that_no_answer_can_keep_are_refused_in_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), Family::Llama, &LoadOptions::default());
    let many: Vec<String> = (0..20_000).map(|i| format!("value {i}")).collect();
    for (schema, word) in [
        (json!(false), "false"),
        (json!({"allOf": [{"type": "string"}, {"type": "integer"}]}), "Unsatisfiable"),
        (json!({"type": "integer", "minimum": 5, "maximum": 3}), "Unsatisfiable"),
        (
            json!({"properties": {"a": {"type": "integer", "minimum": 1.2, "maximum": 1.8}}, "required": ["a"], "type": "object"}),
            "'a'",
        ),
        (json!({"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 3}), "Unsatisfiable"),
        (json!({"type": "integer", "minimum": 10, "maximum": 12, "multipleOf": 7}), "Unsatisfiable"),
        (json!({"type": "object", "minProperties": 3, "maxProperties": 1}), "Unsatisfiable"),
        (json!({"not": {}}), "Unsatisfiable"),
        (json!({"type": "array", "minItems": 3, "uniqueItems": true, "items": {"type": "boolean"}}), "Unsatisfiable"),
        (
            json!({"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}, "required": ["next"]}}, "$ref": "#/$defs/n"}),
            "does not end",
        ),
    ] {
        let clock = Clock::real();
        let start = clock.now();
        let made = model.constraint(&Grammar::new(Rule::JsonSchema(schema.clone())));
        let Err(error) = made else { panic!("{schema} is not refused") };
        let error = error.to_string();
        assert!(error.contains(word), "{schema}: {error}");
        assert!(clock.since(start).0 < 30.0, "{schema}: {:?}", clock.since(start));
    }
    assert!(model.constraint(&Grammar::new(Rule::JsonSchema(json!({"enum": many})))).is_ok());
    assert!(Grammar::choice(&[]).is_err() && Grammar::regex("(").is_err());
}

#[test]
fn a_choice_may_have_fifty_thousand_texts_or_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let prompt = model.tokenize("Which?").unwrap();
    let many: Vec<String> = (0..50_000).map(|i| format!("label/number {i}")).collect();
    let hard = ["a\"b\\c", "x\ny", "\u{7f}", "[a-z]+", "\u{e9}/*", "{{"].map(str::to_owned).to_vec();
    for texts in [many, hard, vec![String::new()], vec![String::new(), "a".to_owned()]] {
        for seed in 0..3 {
            let settings = options(&model, Some(&Grammar::choice(&texts).unwrap()), 40, seed);
            let answer = generate(&mut model, &prompt, &settings);
            assert!(texts.contains(&answer.text) && answer.stop == Stop::EndOfTurn, "{:?}", answer.text);
        }
    }
    let settings = options(&model, Some(&Grammar::regex("").unwrap()), 40, 0);
    assert_eq!(generate(&mut model, &prompt, &settings).text, "");
}

#[test]
fn what_the_grammar_cannot_follow_is_left_to_the_check_and_no_call_fails_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let prompt = model.tokenize("Answer.").unwrap();
    let member = |schema: Value| json!({"type": "object", "properties": {"v": schema}, "required": ["v"], "additionalProperties": false});
    let forms = |i: usize| -> Vec<Value> {
        (0..10).map(|j| json!({"properties": {format!("k{i}"): {"const": j}}, "required": [format!("k{i}")]})).collect()
    };
    for (schema, left_out) in [
        // The few tokens of this model need few states for it, so that it need not be widened here.
        (member(json!({"type": "string", "pattern": "^(?=.*[A-Z])(?=.*[a-z])(?=.*\\d)(?=.*[!@#$%]).{8,16}$"})), ""),
        (json!({"allOf": (0..8).map(|i| json!({"oneOf": forms(i)})).collect::<Vec<_>>()}), "oneOf"),
        (member(json!({"type": "string", "maxLength": 1_000_000_000_000_u64})), ""),
        (
            json!({"components": {"schemas": {"default": {"type": "string", "pattern": "^(?!x)[a-z]+$"}}}, "type": "object",
                "properties": {"a": {"$ref": "#/components/schemas/default"}}, "required": ["a"], "additionalProperties": false}),
            "widened",
        ),
    ] {
        let contract = Contract::new("s", &schema).unwrap();
        let settings = options(&model, Some(contract.grammar()), 60, 3);
        let notes = settings.constraint.as_ref().unwrap().notes().join("; ");
        assert!(notes.contains(left_out), "{schema}: {notes}");
        let answer = generate(&mut model, &prompt, &settings);
        assert_ne!(answer.stop, Stop::Limit, "{schema}: {:?}", answer.limit);
        assert!(answer.stop != Stop::EndOfTurn || contract.check(&answer.text).valid_as_written(), "{}", answer.text);
    }
}

#[test]
fn answers_come_to_their_end_where_only_some_values_may() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let prompt = model.tokenize("Answer.").unwrap();
    let member = |schema: Value| json!({"type": "object", "properties": {"v": schema}, "required": ["v"], "additionalProperties": false});
    for schema in [
        member(json!({"type": "integer", "multipleOf": 5})),
        member(json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001})),
        member(json!({"not": {"type": ["string", "object", "array"]}})),
        member(json!({"type": "string", "pattern": "^(?=9)99$|^b$", "maxLength": 1})),
        json!({"type": "object", "propertyNames": {"enum": ["yes", "no", "abstain"]},
               "additionalProperties": {"type": "boolean"}, "minProperties": 3}),
        json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
               "dependentRequired": {"a": ["b"]}, "required": ["a"], "additionalProperties": false}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
                         {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}], "unevaluatedProperties": false}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"s": {"type": "string", "maxLength": 5}},
               "type": "object", "properties": {"a": {"$ref": "#/definitions/s", "type": "integer"}}, "required": ["a"],
               "additionalProperties": false}),
    ] {
        let contract = Contract::new("s", &schema).unwrap();
        for seed in 0..4 {
            let settings = options(&model, Some(contract.grammar()), 60, seed);
            let answer = generate(&mut model, &prompt, &settings);
            assert_eq!(answer.stop, Stop::EndOfTurn, "{schema}: {}", answer.text);
            assert!(contract.check(&answer.text).valid_as_written(), "{schema}: {}", answer.text);
        }
    }
}

#[test]
fn an_engine_holds_answers_to_the_grammar_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::real();
    let loaded = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let engine = LocalEngine::new(loaded, "tiny".to_owned(), None, "cpu".to_owned(), clock);
    let schema = json!({"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"],
                        "additionalProperties": false});
    let contract = Contract::new("s", &schema).unwrap();
    let ask = |grammar: Option<Arc<Grammar>>| Request {
        messages: vec![Message { role: "user".to_owned(), content: "Sure?".to_owned() }],
        max_tokens: 30,
        temperature: 0.0,
        seed: 1,
        top_logprobs: 2,
        cache_scope: None,
        grammar,
    };
    assert_eq!(engine.prepare(contract.grammar()).unwrap(), Vec::<String>::new());
    let held = engine.complete(&ask(Some(Arc::clone(contract.grammar())))).unwrap();
    assert!(["{\"sure\": true}", "{\"sure\": false}"].contains(&&*held.text), "{}", held.text);
    assert!(
        held.held == Held::Grammar && held.forced_tokens > 0 && held.timing.spans.get(Component::Constrain).0 > 0.0
    );
    let free = engine.complete(&ask(None)).unwrap();
    assert_eq!((free.held, free.forced_tokens), (Held::Not, 0));
    let endless = json!({"$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}}, "$ref": "#/$defs/n"});
    let refused = engine.complete(&ask(Some(Arc::new(Grammar::new(Rule::JsonSchema(endless)))))).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Grammar);
}

#[test]
fn labels_are_scored_as_a_choice_among_them_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = model(folder.path(), Family::Qwen2, &LoadOptions::default());
    let engine = LocalEngine::new(loaded, "tiny".to_owned(), None, "cpu".to_owned(), Clock::real());
    let labels = ["Access", "Accounts", "Storage"].map(str::to_owned).to_vec();
    let texts: Vec<String> = labels.iter().map(|label| format!("{{\"category\": \"{label}\"")).collect();
    let fields =
        AnswerFields { labels, label: "category".to_owned(), answer: None, citations: None, needs_human: None };
    let request = |grammar| Request {
        messages: vec![Message { role: "user".to_owned(), content: "Which?".to_owned() }],
        max_tokens: 60,
        temperature: 0.0,
        seed: 1,
        top_logprobs: 0,
        cache_scope: None,
        grammar,
    };
    let scored = label_probabilities(&engine, &request(None), None, &fields).unwrap().unwrap();
    let choice = Arc::new(Grammar::choice(&texts).unwrap());
    let answer = engine.complete(&request(Some(choice))).unwrap();
    let chosen = texts.iter().position(|text| *text == answer.text).unwrap();
    let probability = answer.tokens.iter().map(|token| token.logprob).sum::<f64>().exp();
    assert!((scored.choice[chosen] - probability).abs() < 1e-6, "{} and {probability}", scored.choice[chosen]);
}

#[test]
fn verdicts_agree_with_the_test_suite_of_json_schema() {
    let Some(suite) = shared("json-schema-test-suite") else { return };
    let output = program().args(["eval", "contract", "--json", "--suite"]).arg(suite).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(found["tests"], 1299, "{found}");
    assert_eq!(
        (&found["agree"], &found["disagree"], &found["unsupported"]),
        (&json!(1299), &json!(0), &json!(0)),
        "{found}"
    );
}

#[test]
fn a_file_of_rows_is_judged_and_what_is_wrong_with_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"schema\": {\"type\": \"integer\"}, \"tests\": [{\"data\": 1, \"valid\": true}, {\"data\": 2, \"valid\": false}]}\n";
    write_files(folder.path(), &[("rows.jsonl", rows), ("bad.jsonl", "{\"schema\": 1"), ("empty/none.txt", "")]);
    let eval = |arguments: &[&str]| {
        program().current_dir(folder.path()).args(["eval", "contract"]).args(arguments).output().unwrap()
    };
    let output = eval(&["--file", "rows.jsonl", "--json"]);
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&found["suites"], &found["agree"], &found["disagree"]), (&json!(1), &json!(1), &json!(1)));
    for (arguments, word) in [
        (vec!["bad.jsonl"], "line 1"),
        (vec!["nowhere"], "nowhere"),
        (vec!["empty"], "no file of tests"),
        (vec![], "required"),
        (vec!["--model", "smollm2-135m-instruct"], "--schemas"),
    ] {
        let output = eval(&arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_real_model_finishes_and_keeps_its_schemas() {
    if weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf").is_none() {
        return;
    }
    let output = program()
        .args([
            "eval",
            "contract",
            "--model",
            "smollm2-135m-instruct",
            "--limit",
            "30",
            "--max-tokens",
            "96",
            "--json",
            "-q",
        ])
        .args(["--schemas", "tests/fixtures/contract/schemas.jsonl"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&found["schemas"], &found["valid"]), (&json!(30), &found["finished"]), "{found}");
    assert!(found["finished"].as_u64().unwrap() >= 28, "{found}");
}

#[test]
fn a_row_may_ask_for_a_pattern_or_a_choice_and_what_was_finished_survives_ctrl_c() {
    if weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rows = [r#"{"regex": "(KB|kb)-[0-9]{3}"}"#, r#"{"choices": ["Access", "Storage"]}"#, r#"{"regex": "("}"#];
    let long = r#"{"schema": {"type": "string", "minLength": 4000}}"#;
    write_files(folder.path(), &[("rows.jsonl", &rows.join("\n")), ("long.jsonl", &format!("{}\n{long}", rows[0]))]);
    let eval = ["eval", "contract", "--model", "smollm2-135m-instruct", "--max-tokens", "8000", "--json", "--schemas"];
    let output = program().current_dir(folder.path()).args(eval).arg("rows.jsonl").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&found["finished"], &found["valid"], &found["schemas"]), (&json!(2), &json!(2), &json!(3)), "{found}");
    assert!(found["refused"][0]["reason"].as_str().unwrap().contains("unclosed group"), "{found}");

    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("routergym-local"));
    command.current_dir(folder.path()).args(eval).arg("long.jsonl");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(notes.any(|note| note.starts_with("1 of 2") && note.contains("finished and right")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let rest: Vec<String> = notes.collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&found["schemas"], &found["interrupted"]), (&json!(1), &json!(true)), "{found}");
}

//! `eval confidence` and `eval classifier`: what a model's confidence and a classifier are worth, measured and told.

use crate::support::{program, shared, stderr, stdout, write_files};
use routergym_local::clock::Clock;
use routergym_local::engine::{Completion, Engine, LocalEngine, Request};
use routergym_local::nn::chat::Message;
use routergym_local::nn::testing::{Family, Stored, write_checkpoint};
use routergym_local::nn::{Device, DeviceChoice, LanguageModel, LoadOptions};
use routergym_local::trial::{AnswerFields, label_probabilities};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;

const TASK: &str = "name = \"small\"\n[data]\nfile = \"rows.csv\"\n[data.columns]\ninput = \"text\"\ntarget = \"label\"\n\
                    split = \"split\"\n[prompt]\nexamples_per_label = 0\n";

/// A task of two labels that words tell apart; `splits` are its splits, with eight rows each.
fn task(folder: &Path, splits: &[&str]) {
    let mut rows = "text,label,split\n".to_owned();
    for split in splits {
        for i in 0..4 {
            writeln!(rows, "the printer is broken {split}{i},Hardware,{split}").unwrap();
            writeln!(rows, "my password was lost {split}{i},Access,{split}").unwrap();
        }
    }
    write_files(folder, &[("task.toml", TASK), ("rows.csv", &rows)]);
}

/// A model of random weights over bytes: quick, and right by chance alone.
fn model(folder: &Path) -> String {
    let path = folder.join("model.gguf");
    write_checkpoint(&path, Family::Qwen2, Stored::Q8_0, 5).unwrap();
    path.display().to_string()
}

#[track_caller]
fn evaluate(folder: &Path, component: &str, arguments: &[&str]) -> Value {
    let mut command = program();
    command.args(["eval", component, "--offline", "--json", "--quiet", "--task"]).arg(folder).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[track_caller]
fn refused(folder: &Path, component: &str, arguments: &[&str]) -> String {
    let mut command = program();
    command.args(["eval", component, "--offline", "--task"]).arg(folder).args(arguments);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn every_estimator_is_judged_before_and_after_calibration() {
    let folder = tempfile::tempdir().unwrap();
    task(folder.path(), &["train", "dev", "test"]);
    let model = model(folder.path());
    let arguments = ["--model", &model, "--samples", "2", "--max-tokens", "16", "--escalation", "0.5"];
    let found = evaluate(folder.path(), "confidence", &arguments);
    assert_eq!((&found["n"], &found["failures"], &found["bins"]), (&8.into(), &0.into(), &15.into()));
    assert_eq!((&found["fitted_on"]["split"], &found["fitted_on"]["n"]), (&"dev".into(), &8.into()));
    let estimators = found["estimators"].as_object().unwrap();
    let names: Vec<&str> = estimators.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "entropy",
            "label_choice",
            "label_exact",
            "label_span",
            "margin",
            "mean_logprob",
            "min_logprob",
            "quantile_logprob",
            "self_consistency",
            "self_verification"
        ]
    );
    for (name, judged) in estimators {
        assert_eq!(judged["n"], 8, "{name}: {judged}");
        for figure in ["ece", "ece_equal_mass", "brier", "aurc"] {
            assert!((0.0..=1.0).contains(&judged[figure].as_f64().unwrap()), "{name}: {judged}");
        }
        // A model of random weights may be right nowhere: then there is no AUROC, and the reason stands beside it.
        assert!(judged["auroc"].is_number() || judged["undefined"]["auroc"].is_string(), "{name}: {judged}");
        for kind in ["temperature", "platt", "isotonic"] {
            let after = &judged["calibrated"][kind];
            assert_eq!(after["fitted_on"]["split"], "dev");
            assert!(after["map"].is_object() || after["undefined"]["ece"].is_string(), "{name}: {after}");
        }
        let thresholds = judged["thresholds"].as_array().unwrap();
        assert_eq!(thresholds.len(), 4, "loss and escalation, each observed and conformal");
        assert!(thresholds.iter().all(|one| one["guarantee"].is_string() && one["scored"].is_object()));
    }
    assert!(estimators["label_exact"]["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(estimators["mean_logprob"]["seconds"], 0.0);
}

#[test]
fn what_is_scored_is_never_fitted_on() {
    let folder = tempfile::tempdir().unwrap();
    task(folder.path(), &["train", "test"]);
    let model = model(folder.path());
    let quick = ["--model", &model, "--max-tokens", "4", "--confidence", "mean_logprob"];
    let found = evaluate(folder.path(), "confidence", &quick);
    assert_eq!(found["fitted_on"]["split"], "train");
    let told = refused(folder.path(), "confidence", &[&quick[..], &["--fit-split", "test"]].concat());
    assert!(told.contains("is the split that is scored"), "{told}");
    let told = refused(folder.path(), "confidence", &[&quick[..], &["--split", "train"]].concat());
    assert!(told.contains("learnt from"), "{told}");

    let alone = tempfile::tempdir().unwrap();
    task(alone.path(), &["test"]);
    let found = evaluate(alone.path(), "confidence", &quick);
    assert!(found["fitted_on"].is_null() && found["not_fitted"].is_string(), "{found}");
    let judged = &found["estimators"]["mean_logprob"];
    assert!(judged["ece"].is_number() && judged["calibrated"].as_object().unwrap().is_empty(), "{judged}");
}

#[test]
fn wrong_usage_of_confidence_is_told_before_a_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    task(folder.path(), &["test"]);
    for (arguments, part) in [
        (vec![], "name the model"),
        (vec!["--max-loss", "2"], "between 0 and 1"),
        (vec!["--budget", "1", "--llm-usd-per-1000", "0"], "cost above 0"),
        (vec!["--samples", "0", "--confidence", "self_consistency"], "answers to be drawn"),
        (vec!["--split", "dev"], "no labelled sample in its dev split"),
        (vec!["--confidence", "vibes"], "possible values"),
    ] {
        let told = refused(folder.path(), "confidence", &arguments);
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
}

#[test]
fn an_endpoint_without_probabilities_has_no_confidence_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let answer = r#"{"model":"big","choices":[{"index":0,"message":{"role":"assistant","content":"{\"category\": \"Access\"}"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":5}}"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ";
            connection.write_all(format!("{head}{}\r\n\r\n{answer}", answer.len()).as_bytes()).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    task(folder.path(), &["test"]);
    let found = evaluate(folder.path(), "confidence", &["--llm", &url, "--llm-model", "big", "--samples", "2"]);
    assert_eq!((&found["n"], &found["accuracy"]), (&8.into(), &0.5.into()));
    for name in ["mean_logprob", "label_span", "label_exact", "self_verification"] {
        let judged = &found["estimators"][name];
        assert!(judged["auroc"].is_null(), "{judged}");
        assert!(judged["undefined"]["auroc"].as_str().unwrap().contains("not available"), "{judged}");
    }
    // More answers can be asked of any endpoint. Every answer is the same here, so that they tell nothing apart.
    assert_eq!(found["estimators"]["self_consistency"]["auroc"], 0.5);
}

#[test]
fn a_label_is_as_probable_as_the_model_finds_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let load = || {
        let device = Device::open(DeviceChoice::Cpu).unwrap();
        LanguageModel::load(Path::new(&path), &device, &LoadOptions::default()).unwrap()
    };
    let mut plain = load();
    let engine = LocalEngine::new(load(), "tiny".to_owned(), None, "cpu".to_owned(), Clock::real());
    let request = Request {
        messages: vec![Message::new("user", "printer")],
        max_tokens: 4,
        temperature: 0.0,
        seed: 0,
        top_logprobs: 0,
        cache_scope: None,
        grammar: None,
    };
    // One of them begins another; many others make more rows than are scored at once.
    let mut labels = vec!["HR".to_owned(), "HR Support".to_owned()];
    labels.extend((0..98).map(|i| format!("label {i}")));
    let fields = AnswerFields {
        labels: labels.clone(),
        label: "category".to_owned(),
        answer: None,
        citations: None,
        needs_human: None,
    };
    let found = label_probabilities(&engine, &request, None, &fields).unwrap().unwrap();
    assert!(
        (found.exact.iter().sum::<f64>() - 1.0).abs() < 1e-9 && (found.choice.iter().sum::<f64>() - 1.0).abs() < 1e-9
    );
    let prompt = plain.tokenize(&plain.render(&request.messages).unwrap()).unwrap();
    let mut whole = Vec::new();
    for label in labels.iter().take(4) {
        let text = plain.tokenize_text(&format!("{{\"category\": \"{label}\"")).unwrap();
        let all = [prompt.clone(), text.clone()].concat();
        whole.push(plain.logprobs(&all).unwrap()[prompt.len() - 1..].iter().sum::<f64>());
    }
    for (i, log) in whole.iter().enumerate() {
        let (ours, theirs) = (found.log[i] - found.log[0], log - whole[0]);
        assert!((ours - theirs).abs() < 1e-4, "{}: {ours} against {theirs}", labels[i]);
    }
}

#[test]
fn samples_are_drawn_by_seed_and_end_where_enough_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let device = Device::open(DeviceChoice::Cpu).unwrap();
    let model = LanguageModel::load(Path::new(&path), &device, &LoadOptions::default()).unwrap();
    let engine = LocalEngine::new(model, "tiny".to_owned(), None, "cpu".to_owned(), Clock::real());
    let request = Request {
        messages: vec![Message::new("user", "printer")],
        max_tokens: 24,
        temperature: 1000.0,
        seed: 3,
        top_logprobs: 0,
        cache_scope: None,
        grammar: None,
    };
    // By their bytes: what a model of random weights says is seldom a text.
    let drawn = |enough: &dyn Fn(&str) -> bool| -> Vec<Vec<Vec<u8>>> {
        let bytes = |sample: Completion| sample.tokens.iter().map(|token| token.own_bytes().to_vec()).collect();
        engine.sample(&request, 9, enough).unwrap().into_iter().map(bytes).collect()
    };
    let whole = drawn(&|_| false);
    assert_eq!(whole, drawn(&|_| false), "the same seeds draw the same");
    assert_ne!(whole[0], whole[1], "each sample has a seed of its own");
    let alone = engine.complete(&Request { seed: 4, ..request.clone() }).unwrap();
    assert_eq!(alone.tokens.iter().map(|token| token.own_bytes().to_vec()).collect::<Vec<_>>(), whole[1]);
    for (short, whole) in drawn(&|text| !text.is_empty()).iter().zip(&whole) {
        assert!(whole.starts_with(short) && short.len() < whole.len(), "{short:?} of {whole:?}");
    }
}

#[test]
fn a_lexical_classifier_needs_no_weights_and_its_accuracy_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    task(folder.path(), &["train", "test"]);
    let found = evaluate(folder.path(), "classifier", &["--classifier", "lexical"]);
    assert_eq!((&found["train"], &found["n"], &found["labels"]), (&8.into(), &8.into(), &2.into()));
    let lexical = &found["classifiers"]["lexical"];
    assert_eq!((&lexical["accuracy"], &found["best"]), (&1.0.into(), &"lexical".into()));
    assert!(lexical["train_s"].is_number() && found["embed_train_s"].is_null());

    let without = tempfile::tempdir().unwrap();
    task(without.path(), &["test"]);
    let told = refused(without.path(), "classifier", &["--classifier", "lexical"]);
    assert!(told.contains("train split"), "{told}");
}

#[test]
fn a_models_label_scoring_is_reported_as_a_classifier() {
    let folder = tempfile::tempdir().unwrap();
    task(folder.path(), &["train", "test"]);
    let model = model(folder.path());
    let found = evaluate(folder.path(), "classifier", &["--classifier", "lexical", "--model", &model]);
    for name in ["label_scoring", "label_scoring_contextual", "label_scoring_batch"] {
        let measured = &found["classifiers"][name];
        assert!((0.0..=1.0).contains(&measured["accuracy"].as_f64().unwrap()), "{found}");
        assert!(measured["train_s"].is_null());
    }
}

#[test]
fn words_alone_classify_it_tickets() {
    let (Some(train), Some(test)) =
        (shared("it-tickets/tickets_train_3200.csv"), shared("it-tickets/tickets_dev_512.csv"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let task = format!(
        "name = \"it\"\n[data]\ntrain = {:?}\ntest = {:?}\n[data.columns]\ninput = \"Document\"\ntarget = \"Topic_group\"\n",
        train.display().to_string(),
        test.display().to_string()
    );
    write_files(folder.path(), &[("task.toml", &task)]);
    let found = evaluate(folder.path(), "classifier", &["--classifier", "lexical"]);
    let accuracy = found["classifiers"]["lexical"]["accuracy"].as_f64().unwrap();
    assert!(accuracy >= 0.80, "{found}");
}

//! `eval grounding`: real rows, a judge at a scripted endpoint, and rows that cannot be read.

use crate::remote::{Endpoint, error, said};
use crate::support::{program, shared, stderr, stdout, weights, write_files};
use routergym_local::metrics::grounding::abstention::abstains;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const PASSAGE: &str = "The badge office opens at 8 am. A lost badge costs 15 euros. Do not lend your badge to anyone.";

fn rows(folder: &Path, rows: &[Value]) -> String {
    let path = folder.join("rows.jsonl");
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

fn eval(args: &[&str]) -> (Option<i32>, Value, String) {
    let output = program().args(["eval", "grounding", "--json", "-q"]).args(args).output().unwrap();
    let found = serde_json::from_str(&stdout(&output)).unwrap_or(Value::Null);
    (output.status.code(), found, stderr(&output))
}

#[test]
fn supported_answers_rank_above_unsupported_ones_and_what_does_not_apply_is_counted() {
    if weights("all-minilm-l6-v2", "model.safetensors").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let passage = json!({"id": "kb-7", "title": "Badges", "text": PASSAGE});
    let file = rows(
        folder.path(),
        &[
            json!({"contexts": [passage], "answer": "A lost badge costs 15 euros.", "label": 1}),
            json!({"contexts": [PASSAGE], "answer": "If you lose your badge, you pay 15 euros.", "label": 0.9}),
            json!({"contexts": [PASSAGE], "answer": "A lost badge costs 40 euros.", "label": 0.1}),
            json!({"contexts": [PASSAGE], "answer": "Penguins live in the southern hemisphere.", "label": 0}),
            json!({"contexts": [], "answer": "A lost badge costs 15 euros.", "label": 0}),
            json!({"contexts": [PASSAGE], "answer": "I do not have that information.", "label": 1, "answerable": false}),
        ],
    );
    let out = folder.path().join("judged.jsonl").display().to_string();
    let (status, found, told) = eval(&["--file", &file, "--out", &out]);
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(found["n"], 4);
    assert_eq!(
        (&found["not_applicable"], &found["without_contexts"], &found["rows"]),
        (&json!(2), &json!(1), &json!(6))
    );
    assert_eq!((&found["auroc"], &found["abstention"]["f1"]), (&json!(1.0), &json!(1.0)));
    assert!(found["spearman"].as_f64().unwrap() >= 0.8 && found["pearson"].as_f64().unwrap() > 0.8, "{found}");
    assert!(found["intervals"]["spearman"]["low"].as_f64() <= found["spearman"].as_f64());

    let judged: Vec<Value> =
        fs::read_to_string(&out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let claim = &judged[0]["grounding"]["claims"][0];
    assert_eq!((&claim["passage"], &claim["supported"]), (&json!("kb-7"), &json!(true)));
    assert_eq!(judged[2]["grounding"]["claims"][0]["supported"], false);
    assert!(judged[4]["grounding"].is_null());
    let (status, _, told) = eval(&["--file", &file, "--out", &out]);
    assert!(status == Some(2) && told.contains("another name"), "a record is never written over: {told}");
}

#[test]
fn a_model_of_inference_judges_claims_and_other_models_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/entailment");
    let rows = rows(
        folder.path(),
        &[
            json!({"contexts": ["the fee is five euros"], "answer": "The fee is five euros.", "label": 1}),
            json!({"contexts": [{"id": "kb-1", "text": "a cat sleeps"}], "answer": "A badge costs ten euros.", "label": 0}),
            json!({"contexts": [], "answer": "A badge costs ten euros.", "label": 0}),
        ],
    );
    let out = folder.path().join("judged.jsonl").display().to_string();
    let args = ["--file", &rows, "--scorer", "nli", "--out", &out];
    let (status, _, told) = eval(&args);
    assert!(status == Some(2) && told.contains("--nli-model"), "{told}");
    let with = |model: &Path| eval(&[&args[..], &["--nli-model", model.to_str().unwrap()]].concat());
    let (status, found, told) = with(&model);
    assert_eq!((status, &found["scorer"], &found["n"]), (Some(0), &json!("nli"), &json!(2)), "{told}");
    let judged = fs::read_to_string(&out).unwrap();
    let second: Value = serde_json::from_str(judged.lines().nth(1).unwrap()).unwrap();
    let claim = &second["grounding"]["claims"][0];
    assert_eq!(claim["passage"], "kb-1");
    assert!((0.0..=1.0).contains(&claim["score"].as_f64().unwrap()));

    fs::remove_file(&out).unwrap();
    let (status, _, told) = with(&folder.path().join("none"));
    assert!(!Path::new(&out).exists());
    assert!(status == Some(2) && told.contains("no folder") && told.contains("config.json"), "{told}");
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("config.json"), r#"{"model_type": "deberta-v2"}"#).unwrap();
    let (status, _, told) = with(&other);
    assert!(status == Some(2) && told.contains("`deberta-v2`"), "{told}");
}

#[test]
fn an_empty_file_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let (status, _, told) = eval(&["--file", &rows(folder.path(), &[])]);
    assert!(status == Some(2) && told.contains("holds no row"), "{told}");
}

#[test]
fn a_judge_is_asked_at_temperature_0_and_its_failures_are_not_scored() {
    let verdict =
        |verdict: &str| said(&json!({"verdicts": [{"claim": 1, "verdict": verdict, "passage": 1}]}).to_string());
    let endpoint = Endpoint::start(vec![
        verdict("supported"),
        verdict("unsupported"),
        said("Looks fine."),
        error("400 Bad Request", "no"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let row = |label: f64| json!({"contexts": [PASSAGE], "answer": "A lost badge costs 15 euros.", "label": label});
    let file = rows(folder.path(), &[row(1.0), row(0.0), row(1.0), row(0.0)]);
    let args = ["--file", &file, "--scorer", "judge", "--judge", &endpoint.url, "--judge-model", "m"];
    let (status, found, told) = eval(&args);
    assert_eq!(status, Some(0), "{told}");
    assert_eq!((&found["n"], &found["failures"], &found["auroc"]), (&json!(2), &json!(2), &json!(1.0)), "{found}");
    assert!(found["failed"][0]["place"].as_str().unwrap().ends_with("rows.jsonl:3"));
    let (_, asked) = &endpoint.requests()[0];
    assert_eq!((&asked["temperature"], &asked["model"]), (&json!(0.0), &json!("m")));
    assert!(asked["messages"][1]["content"].as_str().unwrap().contains("15 euros"));

    let silent = Endpoint::start(vec![error("401 Unauthorized", "no")]);
    let args = ["--file", &file, "--scorer", "judge", "--judge", &silent.url, "--judge-model", "m"];
    let (status, found, _) = eval(&args);
    assert_eq!((status, &found["n"], &found["auroc"]), (Some(1), &json!(0), &Value::Null), "nothing was measured");
}

#[test]
fn what_cannot_be_read_is_wrong_usage_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    write_files(
        folder.path(),
        &[("bad.jsonl", "{\"contexts\": [\"a\"], \"answer\": \"b\", \"label\": 2}\n{\"contexts\"")],
    );
    let bad = folder.path().join("bad.jsonl").display().to_string();
    let (status, _, told) = eval(&["--file", &bad]);
    assert_eq!(status, Some(2));
    assert!(
        told.contains("bad.jsonl:1: the label 2 is no number from 0 to 1") && told.contains("bad.jsonl:2:"),
        "{told}"
    );
    let missing = folder.path().join("none.jsonl").display().to_string();
    assert_eq!(eval(&["--file", &missing]).0, Some(2));
    assert_eq!(eval(&["--file", &bad, "--scorer", "judge"]).0, Some(2));
    assert_eq!(eval(&[]).0, Some(2));
}

fn tasks() -> Option<Vec<Value>> {
    let path = shared("mtrag-generation/tasks.jsonl")?;
    Some(fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn reference(task: &Value) -> &str {
    task["targets"][0]["text"].as_str().unwrap()
}

#[test]
fn abstention_is_recognised_on_unanswerable_tasks() {
    let Some(tasks) = tasks() else { return };
    let (mut hits, mut wrong) = (0.0, 0.0);
    for task in &tasks {
        let unanswerable = task["answerability"][0] == "UNANSWERABLE";
        match (abstains(reference(task)), unanswerable) {
            (true, true) => hits += 1.0,
            (false, false) => {}
            _ => wrong += 1.0,
        }
    }
    let f1 = 2.0 * hits / (2.0 * hits + wrong);
    assert!(f1 >= 0.8, "F1 {f1}");
}

#[test]
fn reference_answers_are_told_from_those_of_other_tasks() {
    let (Some(tasks), Some(_)) = (tasks(), weights("all-minilm-l6-v2", "model.safetensors")) else { return };
    let few: Vec<&Value> = tasks.iter().filter(|task| task["answerability"][0] == "ANSWERABLE").take(24).collect();
    let folder = tempfile::tempdir().unwrap();
    let pairs = few.iter().enumerate().flat_map(|(i, task)| {
        let other = few[(i + 1) % few.len()];
        [
            json!({"contexts": task["contexts"], "answer": reference(task), "label": 1}),
            json!({"contexts": task["contexts"], "answer": reference(other), "label": 0}),
        ]
    });
    let (_, found, told) = eval(&["--file", &rows(folder.path(), &pairs.collect::<Vec<_>>())]);
    assert!(found["auroc"].as_f64().is_some_and(|auroc| auroc >= 0.95), "{found} {told}");
}

//! Reports and comparisons of runs that no model made, as a user asks for them.

use crate::support::{program, stderr, stdout};
use crate::synthetic_run;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn made(folder: &Path, name: &str, samples: usize) -> PathBuf {
    let run = folder.join(name);
    synthetic_run::write(&run, samples, false).unwrap();
    run
}

fn verb(arguments: &[&str], runs: &[&Path]) -> Output {
    program().arg(arguments[0]).args(runs).args(&arguments[1..]).output().unwrap()
}

fn done(output: Output) -> Output {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

/// Changes every trial of a run.
fn change(run: &Path, alter: impl Fn(&mut Value)) {
    let path = run.join("trials.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    let altered = lines.lines().map(|line| {
        let mut trial: Value = serde_json::from_str(line).unwrap();
        alter(&mut trial);
        trial.to_string() + "\n"
    });
    let text: String = altered.collect();
    fs::write(path, text).unwrap();
}

/// The schema with no keys allowed but those that it describes, so that a new key must be described.
fn closed(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(closed);
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(all) => all.iter_mut().for_each(closed),
        _ => {}
    }
}

pub(crate) fn schema(name: &str) -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.schema.json"));
    let mut schema: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    closed(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

pub(crate) fn assert_keeps(schema: &jsonschema::Validator, value: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).take(5).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn a_report_writes_what_is_asked_for_and_says_it_again_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let run = made(folder.path(), "run", 40);
    let output = done(verb(&["report", "--json"], &[&run]));
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(run.join("summary.json")).unwrap()).unwrap(), summary);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("Can small-1b take over from large-70b"));
    assert!(run.join("summary.md").exists() && run.join("summary.csv").exists());
    let other = folder.path().join("other");
    done(verb(&["report", "--format", "html", "-o", other.to_str().unwrap()], &[&run]));
    let names: Vec<_> = fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["report.html"]);
    // The same records give the same page.
    assert_eq!(fs::read_to_string(other.join("report.html")).unwrap(), page);
}

#[test]
fn what_is_written_keeps_the_published_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let run = made(folder.path(), "run", 30);
    done(verb(&["report", "--format", "json"], &[&run]));
    assert_keeps(&schema("summary"), &serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap());
    let trial = schema("trial");
    let lines = fs::read_to_string(run.join("trials.jsonl")).unwrap();
    for line in lines.lines() {
        assert_keeps(&trial, &serde_json::from_str(line).unwrap());
    }
    let mut odd: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    odd["outcome"] = "guessed".into();
    assert!(!trial.is_valid(&odd), "the schema says something");
}

#[test]
fn a_run_without_trials_has_a_report_that_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let run = made(folder.path(), "run", 3);
    fs::write(run.join("trials.jsonl"), "").unwrap();
    let output = done(verb(&["report"], &[&run]));
    assert!(stderr(&output).contains("no finished trial"), "{}", stderr(&output));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("holds no finished trial"));
    let summary: Value = serde_json::from_slice(&fs::read(run.join("summary.json")).unwrap()).unwrap();
    assert_keeps(&schema("summary"), &summary);
}

#[test]
fn a_newer_format_is_refused_and_an_older_one_read() {
    let folder = tempfile::tempdir().unwrap();
    let (run, second) = (made(folder.path(), "run", 3), made(folder.path(), "second", 3));
    let format = |run: &Path, format: u32| {
        let path = run.join("run.json");
        let mut header: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        (header["format"], header["id"]) = (format.into(), format!("of format {format}").into());
        fs::write(path, header.to_string()).unwrap();
    };
    format(&second, 0);
    let out = folder.path().join("out");
    done(verb(&["report", "-o", out.to_str().unwrap()], &[&run, &second]));
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("Record formats 1, 0 and not 1 alone"));
    format(&run, 99);
    let output = verb(&["report"], &[&run]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("use a newer routergym-local"), "{}", stderr(&output));
    let output = verb(&["report"], &[&second, &second]);
    assert_eq!(output.status.code(), Some(2), "several runs need a folder");
}

#[test]
fn answers_of_ten_megabytes_leave_a_small_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = made(folder.path(), "run", 1);
    change(&run, |trial| trial["attempts"][0]["completion"] = "<b>ä".repeat(2_000_000).into());
    done(verb(&["report"], &[&run]));
    assert!(fs::metadata(run.join("report.html")).unwrap().len() < 1_000_000);
}

#[test]
fn a_comparison_says_what_got_worse_and_fails_beyond_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let (run, later) = (made(folder.path(), "run", 60), made(folder.path(), "later", 60));
    change(&later, |trial| {
        if trial["router"] == "slm-only" {
            trial["scores"]["label_correct"] = false.into();
        }
        trial["unaccounted_s"] = 0.5.into();
    });
    let output = done(verb(&["compare", "--json"], &[&run, &later]));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let worst: Vec<&str> =
        found["changes"].as_array().unwrap().iter().map(|one| one["change"].as_str().unwrap()).collect();
    assert!(worst[0] == "worse" && worst.is_sorted_by_key(|change| *change != "worse"), "{worst:?}");
    let limit = |limit: &str| verb(&["compare", "--fail-on-regression", limit], &[&run, &later]);
    assert_eq!(limit("accuracy=0.1").status.code(), Some(100));
    assert_eq!(limit("schema_valid_first=0").status.code(), Some(0));
    assert_eq!(limit("latency_p50_s=500%").status.code(), Some(0));
    assert_eq!(limit("latency_p50_s=1%,accuracy=1").status.code(), Some(100));
    let unheld = limit("citation_accuracy=0.1");
    assert_eq!(unheld.status.code(), Some(2));
    assert!(stderr(&unheld).contains("cannot be held to a limit"), "{}", stderr(&unheld));
    assert_eq!(limit("speed=1").status.code(), Some(2));
    let page = stdout(&done(verb(&["compare", "--markdown"], &[&run, &later])));
    assert!(page.starts_with("## synthetic against synthetic") && page.contains("| worse |"), "{page}");
    let same = verb(&["compare", "--fail-on-regression", "accuracy=0"], &[&run, &run]);
    assert_eq!(same.status.code(), Some(0));
}

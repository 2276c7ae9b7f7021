//! The main job, end to end, on real weights: the smallest model as the SLM and as the stand-in LLM.

use crate::support::{program, shared, stderr, stdout, weights, write_files};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

/// One thread each: engines that share the processors with other tests wait for one another at every step.
const SMALL: [&str; 6] = ["--slm", "smollm2-135m-instruct", "--llm", "smollm2-135m-instruct", "--threads", "1"];

/// Whether the weights of a small bench are there.
fn ready() -> bool {
    weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf").is_some()
        && weights("all-minilm-l6-v2", "model.safetensors").is_some()
}

fn bench(out: &Path, more: &[&str]) -> Output {
    let mut command = program();
    command.arg("bench").args(SMALL).args(["--max-tokens", "48", "--json", "--out"]).arg(out).args(more);
    command.output().unwrap()
}

fn trials(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("trials.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn summary(output: &Output) -> Value {
    serde_json::from_str(stdout(output).trim()).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// Everything of a trial that must be the same in a second run: all but the timings.
fn outputs(trials: &[Value]) -> Vec<Value> {
    let of = |trial: &Value| {
        let attempts = trial["attempts"].as_array().unwrap().iter();
        let texts: Vec<_> =
            attempts.map(|a| (a["completion"].clone(), a["tokens"].clone(), a["prompt"].clone())).collect();
        serde_json::json!([trial["sample"], trial["cell"], trial["prediction"], trial["decisions"], texts])
    };
    trials.iter().map(of).collect()
}

#[test]
fn a_bench_measures_every_router_and_its_spans_add_up() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = bench(&out, &["--limit", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("stands in"), "{}", stderr(&output));

    let summary = summary(&output);
    let policies = summary["policies"].as_array().unwrap();
    let routers: Vec<_> = policies.iter().map(|policy| policy["router"].as_str().unwrap()).collect();
    assert_eq!(routers, ["llm-first", "slm-dominant", "hybrid-specialist"]);
    for policy in policies {
        assert_eq!(policy["n"], 2);
        assert_eq!(policy["failures"], 0);
        let accuracy = &policy["accuracy"];
        let (low, value, high) = (accuracy["low"].as_f64(), accuracy["value"].as_f64(), accuracy["high"].as_f64());
        assert!(low <= value && value <= high && low < high, "{accuracy}");
        assert!(policy["latency_s"]["p50"].as_f64().unwrap() > 0.0);
        assert!(policy["cost_usd_per_1000"]["hardware"].as_f64().is_some());
    }
    assert_eq!((&policies[0]["escalation_rate"], &policies[0]["llm_call_rate"]), (&0.0.into(), &1.0.into()));
    assert!(summary["verdict"]["text"].as_str().unwrap().len() > 20);
    for file in ["run.json", "trials.jsonl", "summary.json", "summary.csv", "summary.md"] {
        assert!(out.join(file).metadata().unwrap().len() > 0, "{file}");
    }

    let trials = trials(&out);
    assert_eq!(trials.len(), 6);
    for trial in &trials {
        let wall = trial["wall_s"].as_f64().unwrap();
        let spans: f64 = trial["spans"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
        let unaccounted = trial["unaccounted_s"].as_f64().unwrap();
        assert!((spans + unaccounted - wall).abs() < 1e-6, "{spans} + {unaccounted} is not {wall}");
        assert!(spans >= 0.98 * wall && spans <= wall * 1.000_001, "{spans} of {wall} s are accounted for");
        for attempt in trial["attempts"].as_array().unwrap() {
            assert!(!attempt["prompt"].as_str().unwrap().is_empty());
            assert!(attempt["completion"].is_string());
            assert!(attempt["usage"]["input_tokens"].as_u64().unwrap() > 0);
            assert!(attempt["usage"]["output_tokens"].as_u64().unwrap() > 0);
            assert!(attempt["confidence"].is_object(), "confidence comes from the model's own probabilities");
        }
    }

    // The tables can be made again from the records alone.
    let again = program().arg("report").arg(&out).arg("--json").output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(stdout(&again), stdout(&output));
}

#[test]
fn two_runs_with_one_seed_have_the_same_outputs_whatever_the_gold_says() {
    if !ready() {
        return;
    }
    // A task of which just two tickets are scored, so that the choice of samples does not hang on their gold.
    let folder = tempfile::tempdir().unwrap();
    let task = folder.path().join("task");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/helpdesk"), &task);
    let tickets = fs::read_to_string(task.join("tickets.jsonl")).unwrap();
    let tickets: Vec<Value> = tickets.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let spec = fs::read_to_string(task.join("task.toml")).unwrap();
    write_files(&task, &[("task.toml", &spec.replace("[data.columns]", "[data.columns]\nanswerable = \"known\""))]);
    let scored = |topic: &str| tickets.iter().position(|t| t["split"] == "test" && t["topic"] == topic).unwrap();
    let (first, second) = (scored("Access"), scored("Storage"));
    let run = |name: &str, first: Value, second: Value| {
        let kept = tickets.iter().filter(|ticket| ticket["split"] != "test").chain([&first, &second]);
        let lines: Vec<String> = kept.map(Value::to_string).collect();
        write_files(&task, &[("tickets.jsonl", &lines.join("\n"))]);
        let out = folder.path().join(name);
        let output = bench(&out, &["--limit", "0", "--task", task.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        trials(&out)
    };
    let known = |ticket: &Value| {
        let mut ticket = ticket.clone();
        ticket["known"] = true.into();
        ticket
    };
    let as_it_is = run("as-it-is", known(&tickets[first]), known(&tickets[second]));
    let altered = |ticket: &Value, topic: &Value| {
        let mut ticket = ticket.clone();
        ticket["topic"] = topic.clone();
        ticket["needs_human"] = Value::Bool(ticket["needs_human"] != true);
        ticket["facts"] = serde_json::json!([["nothing of the kind"]]);
        ticket["articles"] = serde_json::json!([]);
        ticket["known"] = false.into();
        ticket["answer"] = "Another answer.".into();
        ticket
    };
    let (topic_1, topic_2) = (&tickets[first]["topic"], &tickets[second]["topic"]);
    let changed = run("changed", altered(&tickets[first], topic_2), altered(&tickets[second], topic_1));
    assert_eq!(as_it_is.len(), 6);
    assert_ne!(as_it_is[0]["gold_label"], changed[0]["gold_label"]);
    assert_eq!(outputs(&as_it_is), outputs(&changed));
}

#[test]
fn the_order_of_the_strategies_changes_nothing_that_is_measured_of_them() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, routers: &str| {
        let out = folder.path().join(name);
        let output = bench(&out, &["--limit", "1", "--router", routers, "--threshold", "1"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut usages: Vec<String> = trials(&out)
            .iter()
            .map(|trial| {
                let of = |a: &Value| (a["tier"].clone(), a["usage"].clone());
                let usages: Vec<_> = trial["attempts"].as_array().unwrap().iter().map(of).collect();
                format!("{} {usages:?} {}", trial["cell"], trial["cost"]["api_usd"])
            })
            .collect();
        usages.sort();
        usages
    };
    // Every cell escalates the same prompt to the LLM: what one computed must not serve the next.
    assert_eq!(run("one-way", "llm-first,slm-dominant"), run("the-other", "slm-dominant,llm-first"));
}

#[test]
fn a_prefix_from_the_cache_changes_no_output() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let runs = ["on", "off"].map(|cache| {
        let out = folder.path().join(cache);
        let output =
            bench(&out, &["--limit", "1", "--router", "slm-only", "--memory", "none", "--prefix-cache", cache]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        trials(&out)
    });
    assert_eq!(outputs(&runs[0]), outputs(&runs[1]));
    let cached = |trials: &[Value]| trials[0]["attempts"][0]["usage"]["cached_tokens"].as_u64().unwrap();
    assert!(cached(&runs[0]) > 0 && cached(&runs[1]) == 0);
}

#[test]
fn a_users_own_csv_is_benched_as_it_is() {
    let Some(data) = shared("it-tickets") else { return };
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let spec = format!(
        "name = \"it-tickets\"\n[data]\ntrain = {:?}\ntest = {:?}\n[data.columns]\ninput = \"Document\"\ntarget = \"Topic_group\"\n",
        data.join("tickets_train_3200.csv"),
        data.join("tickets_dev_512.csv")
    );
    write_files(folder.path(), &[("task/task.toml", &spec)]);
    let out = folder.path().join("run");
    let task = folder.path().join("task");
    let output = bench(&out, &["--limit", "1", "--task", task.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary = summary(&output);
    assert_eq!(summary["policies"].as_array().unwrap().len(), 3);
    assert_eq!(summary["policies"][0]["n"], 1);
    assert!(summary["policies"][0]["groundedness"].is_null(), "there are no passages to be grounded in");
}

#[test]
fn a_run_is_never_overwritten() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("run/run.json", "{}")]);
    let output = bench(&folder.path().join("run"), &["--limit", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("already holds a run"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

//! `bench --record-cassette` and `--cassette`: one connected run, then the same without a network.

use crate::faults::{bench, endpoint, good, http, ready, trials};
use crate::support::{program, stderr};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

/// A bench without an endpoint, from a cassette.
fn replay(out: &Path, cassette: &Path, more: &[&str]) -> Output {
    let mut command = program();
    command.args([
        "bench",
        "--slm",
        "smollm2-135m-instruct",
        "--memory",
        "none",
        "--offline",
        "--threads",
        "1",
        "--json",
    ]);
    command.arg("--cassette").arg(cassette).arg("--out").arg(out).args(more);
    command.output().unwrap()
}

#[test]
fn a_recorded_run_is_replayed_offline_with_its_answers_and_its_times() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let tape = path("tape.jsonl");
    let url = endpoint(|_| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        good()
    });
    let record = ["--limit", "3", "--router", "llm-first", "--record-cassette", tape.to_str().unwrap()];
    let output = bench(&path("first"), &url, &record);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = fs::read_to_string(&tape).unwrap();
    assert_eq!(text.lines().count(), 4, "the warm-up and three tickets");
    assert!(!text.contains("sk-very-secret"), "the key is not in the cassette");

    // Other strategies find the answers that they share.
    let same = ["--limit", "3", "--max-tokens", "16", "--router", "llm-first,llm-only"];
    let output = replay(&path("second"), &tape, &same);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (first, second) = (trials(&path("first")), trials(&path("second")));
    assert_eq!((first.len(), second.len()), (3, 6));
    for trial in &second {
        let of_first = first.iter().find(|other| other["sample"] == trial["sample"]).unwrap();
        let completion = |trial: &Value| trial["attempts"][0]["completion"].clone();
        assert_eq!(completion(trial), completion(of_first));
        assert_eq!(trial["attempts"][0]["spans"], of_first["attempts"][0]["spans"], "the recorded times");
        assert!(trial["wall_s"].as_f64().unwrap() >= 0.3, "they are in the trial's own time");
    }
    let header: Value = serde_json::from_str(&fs::read_to_string(path("second").join("run.json")).unwrap()).unwrap();
    assert_eq!((&header["llm"]["model"], &header["llm_is_stand_in"]), (&Value::from("big"), &Value::from(false)));
    assert!(header["settings"]["cassette"].as_str().unwrap().ends_with("tape.jsonl"));

    assert!(fs::read_to_string(path("second").join("summary.md")).unwrap().contains("those of the cassette"));

    // What was not recorded ends the run, and is named.
    let output = replay(&path("third"), &tape, &["--limit", "4", "--max-tokens", "16", "--router", "llm-first"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    for part in ["tape.jsonl", "holds no answer of big to the request", "--record-cassette"] {
        assert!(stderr(&output).contains(part), "{part:?} is not in {}", stderr(&output));
    }
    assert_eq!(trials(&path("third")).len(), 3, "what could be answered is kept");

    let output = bench(&path("fourth"), &url, &record);
    assert_eq!(output.status.code(), Some(2), "a cassette is never overwritten: {}", stderr(&output));
}

#[test]
fn a_file_that_is_no_cassette_is_refused_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let tape = folder.path().join("tape.jsonl");
    fs::write(&tape, "{}\n").unwrap();
    for (file, told) in [(tape, "tape.jsonl:1 is not an exchange"), (folder.path().join("absent"), "absent")] {
        let output = replay(&folder.path().join("run"), &file, &["--dry-run"]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
    }
}

#[test]
fn an_endpoint_is_described_in_the_configuration_and_its_key_stands_in_a_file() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let refused = |_| http("401 Unauthorized", "application/json", r#"{"error":{"message":"no, sk-from-file"}}"#);
    let (good_url, bad_url) = (endpoint(|_| good()), endpoint(refused));
    fs::write(path("key"), "sk-from-file\n").unwrap();
    let llm = |name: &str, url: &str| {
        format!("[[llm]]\nname = '{name}'\nurl = '{url}'\nmodel = 'big'\napi_key_file = 'key'\n")
    };
    let text = format!(
        "[bench]\nslm = 'smollm2-135m-instruct'\nmemory = ['none']\nlimit = 1\nmax_tokens = 16\nrouter = ['llm-first']\n{}price = 'gpt-4.1'\n{}",
        llm("mine", &good_url),
        llm("bad", &bad_url)
    );
    fs::write(path("gym.toml"), text).unwrap();
    let run = |name: &str| {
        let mut command = program();
        command.args(["bench", "--json", "--llm", name, "--config"]).arg(path("gym.toml"));
        command.arg("--out").arg(path(name)).output().unwrap()
    };
    let output = run("mine");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    // 10 tokens at 2 and 5 at 8 USD a million.
    let usd = summary["policies"][0]["cost_usd_per_1000"]["api"].as_f64().unwrap();
    assert!((usd - 0.06).abs() < 1e-9, "{usd}");
    let output = run("bad");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("the file") && !stderr(&output).contains("sk-from-file"), "{}", stderr(&output));
    for file in ["run.json", "trials.jsonl", "summary.json"] {
        assert!(!fs::read_to_string(path("mine").join(file)).unwrap().contains("sk-from-file"), "{file} holds the key");
    }
}

#[test]
fn a_proxy_of_the_environment_is_used_and_its_password_is_never_told() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let proxy = endpoint(|_| good());
    let address = proxy.trim_start_matches("http://").trim_end_matches("/v1");
    let run = |name: &str, proxy: String| {
        let mut command = program();
        command.args([
            "bench",
            "--slm",
            "smollm2-135m-instruct",
            "--llm",
            "http://llm.invalid/v1",
            "--llm-model",
            "big",
        ]);
        command.args([
            "--memory",
            "none",
            "--router",
            "llm-first",
            "--limit",
            "1",
            "--max-tokens",
            "16",
            "--json",
            "--out",
        ]);
        command.arg(folder.path().join(name)).env("HTTP_PROXY", &proxy).env("http_proxy", proxy).output().unwrap()
    };
    let output = run("through", format!("http://me:proxy-secret@{address}"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = run("down", format!("http://me:proxy-secret@127.0.0.1:{port}"));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!stderr(&output).contains("proxy-secret"), "{}", stderr(&output));
}

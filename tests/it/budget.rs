//! What a run may cost: the range that `--dry-run` tells, prices of one's own, and the budget that a run stops before.

use crate::faults::{bench, endpoint, good, ready, trials};
use crate::support::{program, stderr, stdout};
use serde_json::Value;
use std::fs;

#[test]
fn a_run_stops_before_it_costs_more_than_it_may() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let url = endpoint(|_| good());
    let dear = folder.path().join("prices.toml");
    let row =
        "[[model]]\nname='big'\nas_of='2026-11-01'\ninput_usd_per_million=100.0\noutput_usd_per_million=20000.0\n";
    fs::write(&dear, row).unwrap();
    let run = |name: &str, most: &str| {
        let prices = ["--prices", dear.to_str().unwrap()];
        bench(&folder.path().join(name), &url, &[&["--limit", "24", "--max-cost-usd", most], &prices[..]].concat())
    };
    // A call costs 10 x 100 + 5 x 20,000 millionths, 0.101 USD, and could cost about one.
    let output = run("some", "2");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("--max-cost-usd"), "{}", stderr(&output));
    let made = trials(&folder.path().join("some"));
    assert!(!made.is_empty() && made.len() < 24, "{} trials", made.len());
    let usd: f64 = made.iter().map(|trial| trial["cost"]["api_usd"].as_f64().unwrap()).sum();
    assert!(usd <= 2.0, "{usd}");
    assert!(made.iter().all(|trial| trial["outcome"] != "failed"), "the trial that was not paid for is not written");

    let output = run("none", "0.001");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(!folder.path().join("none").exists(), "nothing was measured");
    let output = bench(&folder.path().join("unpriced"), &url, &["--limit", "1", "--max-cost-usd", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("not priced"), "{}", stderr(&output));
}

#[test]
fn a_dry_run_tells_how_often_the_llm_is_called_and_what_that_costs() {
    let plan = |more: &[&str]| -> Value {
        let mut command = program();
        command.args(["bench", "--dry-run", "--json", "--llm", "http://192.0.2.1/v1", "--llm-model"]);
        let output = command.args(more).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    let routers = ["--limit", "10", "--router", "llm-first,slm-dominant,slm-only", "--max-repairs", "1"];
    let priced = plan(&[&["gpt-4.1"], &routers[..]].concat());
    assert_eq!((&priced["llm_calls"]["low"], &priced["llm_calls"]["high"]), (&10.into(), &40.into()));
    let (low, high) = (priced["cost_usd"]["low"].as_f64().unwrap(), priced["cost_usd"]["high"].as_f64().unwrap());
    assert!(low > 0.0 && low < high && high < 1.0, "{low} to {high}");
    let unpriced = plan(&[&["some-model"], &routers[..]].concat());
    assert!(unpriced["cost_usd"].is_null() && unpriced["cost_usd_reason"] == "not priced");

    let mut command = program();
    command.args(["bench", "--dry-run", "--llm", "http://192.0.2.1/v1", "--llm-model", "gpt-4.1", "--limit", "10"]);
    let output = command.output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("calls, ") && text.contains(" USD as estimated"), "{text}");
}

#[test]
fn prices_of_litellm_are_taken_by_their_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prices.json");
    fs::write(&file, r#"{"azure/big": {"input_cost_per_token": 3e-06, "output_cost_per_token": 9e-06}}"#).unwrap();
    let run = |row: &str| {
        let mut command = program();
        command.args([
            "bench",
            "--dry-run",
            "--json",
            "--llm",
            "http://192.0.2.1/v1",
            "--llm-model",
            "big",
            "--price",
            row,
        ]);
        command.arg("--prices").arg(&file).output().unwrap()
    };
    let output = run("azure/big");
    let plan: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(plan["price"]["input_usd_per_million"], 3.0);
    assert!(plan["price"]["source"].as_str().unwrap().ends_with("prices.json"));
    let output = run("azure/small");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("azure/small") && stderr(&output).contains("azure/big"), "{}", stderr(&output));
}

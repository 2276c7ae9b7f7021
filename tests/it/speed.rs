//! `speed` through the program, on a generated model.

use crate::support::{program, stderr, stdout};
use routergym_local::nn::testing::{Family, Stored, write_checkpoint};
use serde_json::Value;
use std::process::Output;

fn speed(flags: &[&str]) -> Output {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join("tiny.gguf");
    write_checkpoint(&model, Family::Gemma3, Stored::Q8_0, 1).unwrap();
    let mut command = program();
    command.env("ROUTERGYM_MODELS", place.path().join("store"));
    command.args(["speed", "--offline", "--threads", "1", "--device", "cpu", "--model"]).arg(model).args(flags);
    command.output().unwrap()
}

const SMALL: [&str; 10] = ["-p", "16,40", "-n", "2", "-d", "0,65", "-r", "2", "--shared", "100+20"];

#[test]
fn one_object_holds_every_figure_that_was_asked_for() {
    let output = speed(&[&SMALL[..], &["--batch", "1,3,1", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!((&all["model"], &all["threads"], &all["repeats"]), (&"tiny".into(), &1.into(), &2.into()));
    let above_zero = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0);
    for key in ["load_s", "weight_bytes", "memory_bytes_per_s"] {
        assert!(above_zero(&all[key]), "{key}: {}", all[key]);
    }
    if cfg!(target_os = "linux") {
        assert!(all["peak_rss_bytes"].as_u64() <= all["peak_rss_with_batches_bytes"].as_u64());
        assert!(above_zero(&all["peak_rss_bytes"]));
    }
    let prefill = all["prefill"].as_array().unwrap();
    assert_eq!(prefill.iter().map(|row| row["tokens"].as_u64().unwrap()).collect::<Vec<_>>(), [16, 40]);
    let decode = all["decode"].as_array().unwrap();
    let cells = decode.iter().map(|row| (row["batch"].as_u64().unwrap(), row["depth"].as_u64().unwrap()));
    assert_eq!(cells.collect::<Vec<_>>(), [(1, 0), (1, 65), (3, 0), (3, 65)]);
    for row in prefill.iter().chain(decode) {
        let (low, value, high) = (&row["spread"]["min"], &row["tokens_per_s"], &row["spread"]["max"]);
        assert!(above_zero(low) && low.as_f64() <= value.as_f64() && value.as_f64() <= high.as_f64(), "{row}");
        assert_eq!(row["spread"]["n"], 2);
    }
    for row in decode {
        let share = row["bytes_per_token"].as_f64().unwrap() * row["tokens_per_s"].as_f64().unwrap()
            / all["memory_bytes_per_s"].as_f64().unwrap();
        assert!((share - row["memory_share"].as_f64().unwrap()).abs() < 1e-9, "{row}");
    }
    let reuse = &all["prefix_reuse"];
    assert_eq!((&reuse["shared"], &reuse["own"], &reuse["cached_tokens"]), (&100.into(), &20.into(), &100.into()));
    assert!(above_zero(&reuse["ratio"]));
    for key in ["ttft_s_without", "ttft_s_with"] {
        let (spread, value) = (&reuse[format!("{key}_spread")], reuse[key].as_f64());
        assert!(above_zero(&spread["min"]) && spread["n"] == 2, "{reuse}");
        assert!(spread["min"].as_f64() <= value && value <= spread["max"].as_f64(), "{reuse}");
    }
}

#[test]
fn what_is_absent_is_null_with_a_reason() {
    let output = speed(&["-p", "16", "-n", "1", "-d", "0", "-r", "1", "--shared", "none", "--json"]);
    let all: Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    for key in ["prefix_reuse", "peak_rss_with_batches_bytes"] {
        assert!(all[key].is_null() && all[format!("{key}_reason")].is_string(), "{key}");
    }
}

#[test]
fn the_table_names_every_measurement() {
    let output = speed(&SMALL);
    let text = stdout(&output);
    for expected in ["tiny on cpu, 1 threads", "prefill", "at 65", "[", "of memory", "100 of them were computed before"]
    {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_flag_or_the_limit() {
    let most = usize::MAX.to_string();
    let too_shared = format!("{most}+1");
    for (flags, expected) in [
        (&["-p", "0"][..], "-p takes numbers above 0"),
        (&["-p", "x"], "invalid value"),
        (&["--batch", "0"], "--batch takes numbers above 0"),
        (&["--batch", "1000"], "at most 256"),
        (&["-r", "0"], "-r takes"),
        (&["-n", "0"], "-n takes"),
        (&["-p", "40000"], "context of 32768"),
        (&["-d", &most], "context of 32768"),
        (&["--shared", &too_shared], "context of 32768"),
        (&["--shared", "5"], "such as 1400+64"),
        (&["--shared", "0+5"], "such as 1400+64"),
    ] {
        let output = speed(flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{flags:?}: {}", stderr(&output));
    }
}

//! Policies over recorded outcomes: published figures, and tables that are none.

use crate::support::{program, shared, stderr, stdout, weights, write_files};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

fn replay(folder: &Path, table: &str, more: &[&str]) -> Output {
    write_files(folder, &[("o.csv", table)]);
    program()
        .current_dir(folder)
        .args(["replay", "--outcomes", "o.csv", "--weak", "small", "--strong", "large", "-q"])
        .args(more)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_str(&stdout(output)).unwrap()
}

fn refused(table: &str, more: &[&str], said: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let output = replay(folder.path(), table, more);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for said in said {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
    assert!(output.stdout.is_empty());
}

/// Forty rows with a score that tells where the small model is wrong.
fn table() -> String {
    (0..40).fold("id,small,large,score\n".to_owned(), |mut text, i| {
        let _ = writeln!(
            text,
            "q{i},{},{},{}",
            i % 3 == 0,
            i % 10 != 0,
            f64::from(u8::from(i % 3 == 0)) / 2.0 + 0.01 * f64::from(i % 5)
        );
        text
    })
}

fn gsm8k(more: &[&str]) -> Option<Output> {
    let folder = shared("routellm-gsm8k")?;
    let output = program()
        .args(["replay", "-q", "--weak", "mistralai/Mixtral-8x7B-Instruct-v0.1", "--strong", "gpt-4-1106-preview"])
        .args(["--exclude-field", "eval_prompt", "--learn", "none"])
        .arg("--outcomes")
        .arg(folder.join("gsm8k_responses.csv"))
        .arg("--exclude")
        .arg(folder.join("contaminated_gsm8k.jsonl"))
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    Some(output)
}

#[test]
fn the_published_figures_of_gsm8k_are_printed_to_the_last_digit() {
    let Some(output) = gsm8k(&[]) else { return };
    let text = stdout(&output);
    for figure in
        ["1307 rows (12 left out)", "63.734 %", "85.769 %", "83.734 %", "92.961 %", "11.02 %", "17.63 %", "1.1309"]
    {
        assert!(text.contains(figure), "{figure} is not in:\n{text}");
    }
    assert!(text.contains("Both right 739, only the weak model 94, only the strong one 382, neither 92"), "{text}");
    let Some(output) = gsm8k(&["--json"]) else { return };
    let found = json(&output);
    assert_eq!(found["n"], 1307);
    assert_eq!(found["excluded"], 12);
    let near = |value: &Value, wanted: f64| (value.as_f64().unwrap() - wanted).abs() < 1e-9;
    assert!(near(&found["weak"], 833.0 / 1307.0) && near(&found["strong"], 1121.0 / 1307.0));
    assert!(near(&found["oracle"], 1215.0 / 1307.0));
    let oracle = &found["policies"]["oracle"];
    assert!(near(&oracle["cpt"]["50"], 144.0 / 1307.0) && near(&oracle["cpt"]["80"], 230.4 / 1307.0));
    assert!(
        near(&oracle["curve"][20]["strong_share"], 0.2) && near(&oracle["curve"][20]["quality"], 833.0 / 1307.0 + 0.2)
    );
    assert!(near(&found["policies"]["random"]["apgr"], 0.5));
    assert_eq!(found["verdict"]["weak_replaces_strong"], false);
}

#[test]
fn a_score_is_judged_and_every_threshold_written() {
    let folder = tempfile::tempdir().unwrap();
    let found = json(&replay(folder.path(), &table(), &["--json", "--score", "score", "-o", "out"]));
    let policy = &found["policies"]["score"];
    assert!(policy["apgr"].as_f64().unwrap() > 0.5);
    for key in
        ["cpt", "aiq_hull_from_zero", "aiq_hull_range", "cost_auc", "deferral_auc", "hull", "points", "beats_random"]
    {
        assert!(!policy[key].is_null(), "{key}");
    }
    let written: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("out/replay.json")).unwrap()).unwrap();
    assert_eq!(written, found);
    let curves = std::fs::read_to_string(folder.path().join("out/curves.csv")).unwrap();
    // Ten distinct scores, and the curve's beginning.
    assert_eq!(curves.lines().filter(|line| line.starts_with("score,")).count(), 11, "{curves}");
    assert!(curves.contains("\nscore,,0,0.35,0\n"), "{curves}");
    let again = replay(folder.path(), &table(), &["--json", "--score", "score"]);
    assert_eq!(json(&again), found);
    // The same score turned over sends first whom it should keep.
    let turned = json(&replay(folder.path(), &table(), &["--json", "--score", "-score"]));
    assert!(turned["policies"]["-score"]["apgr"].as_f64().unwrap() < 0.5);
}

#[test]
fn missing_columns_are_named_beside_those_that_there_are() {
    refused(
        &table(),
        &["--score", "nowhere"],
        &["o.csv:1: there is no column \"nowhere\" (--score)", "\"small\", \"large\", \"score\""],
    );
    refused("a,large\n1,1\n", &[], &["there is no column \"small\" (--weak)", "\"a\", \"large\""]);
    refused("small,small,large\n1,1,1\n", &[], &["the column \"small\" stands there twice"]);
    refused("", &[], &["is empty"]);
    refused("small,large\n", &[], &["holds no row"]);
}

#[test]
fn cells_that_are_no_outcomes_are_listed_with_their_lines() {
    refused(
        "small,large\n1,0\nyes,1\n1,2\n1,nan\n,1\n",
        &[],
        &[
            "4 rows that are no outcomes",
            "o.csv:3: \"yes\" in the column \"small\"",
            "o.csv:4: \"2\"",
            "o.csv:5: \"nan\"",
            "o.csv:6: \"\"",
        ],
    );
    refused("small,large,t\n1,0,\"two\nlines\"\n1\n", &[], &["o.csv:4: the row has 1 fields where the header has 3"]);
    refused("small,large,s\n1,0,high\n", &["--score", "s"], &["o.csv:2: \"high\" in the column \"s\" is no score"]);
    refused("small,large,c\n1,0,-1\n", &["--cost-weak", "c", "--cost-strong", "1"], &["o.csv:2: \"-1\" is no cost"]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("o.csv"), b"small,large,prompt\n1,0,\xff\n").unwrap();
    let output = program()
        .current_dir(folder.path())
        .args(["replay", "--outcomes", "o.csv", "--weak", "small", "--strong", "large"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("o.csv:2: a cell is not valid UTF-8"), "{}", stderr(&output));
}

#[test]
fn a_score_with_a_hole_is_undefined_and_the_rest_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let table = "small,large,a,b\n0,1,0.1,0.2\n1,1,,0.9\n0,0,nan,0.4\n";
    let found = json(&replay(folder.path(), table, &["--json", "--score", "a", "--score", "b"]));
    assert!(found["policies"]["a"].is_null() && found["policies"]["b"]["apgr"].is_f64());
    let reason = found["not_available"]["policies.a"].as_str().unwrap();
    assert!(reason.starts_with("undefined because the score is no finite number in 2 of 3 rows"), "{reason}");
}

#[test]
fn degenerate_tables_say_what_is_undefined_and_never_print_nan() {
    for table in [
        "small,large,s\n1,1,0.5\n",
        "small,large,s\n1,0,0.5\n1,0,0.5\n",
        "small,large,s\n0,0,0.1\n0,0,0.2\n0,0,0.3\n",
        "small,large,s\n0,1,0.1\n1,1,0.1\n0,1,0.1\n",
        "small,large,s\n0.25,0.5,0.1\n0.5,0.75,0.3\n",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = replay(folder.path(), table, &["--score", "s"]);
        let text = stdout(&output);
        assert!(output.status.success() && text.contains("undefined because"), "{table}{text}{}", stderr(&output));
        let lower = text.to_lowercase();
        assert!(
            !lower.contains("nan") && !lower.split(|c: char| !c.is_alphanumeric()).any(|word| word == "inf"),
            "{text}"
        );
    }
}

#[test]
fn rows_of_the_same_id_are_drawn_together() {
    let folder = tempfile::tempdir().unwrap();
    let doubled =
        format!("{}{}", table(), table().lines().skip(1).fold(String::new(), |text, line| text + line + "\n"));
    let found = json(&replay(folder.path(), &doubled, &["--json", "--score", "score"]));
    assert_eq!((&found["n"], &found["queries"]), (&Value::from(80), &Value::from(40)));
    assert!(found["mcnemar_p"].is_null());
    assert!(found["notes"][0].as_str().unwrap().contains("drawn together"), "{}", found["notes"]);
    let once = json(&replay(folder.path(), &table(), &["--json", "--score", "score"]));
    let low = |found: &Value| found["policies"]["score"]["intervals"]["apgr"]["low"].as_f64().unwrap();
    assert!((low(&found) - low(&once)).abs() < 1e-9);
}

#[test]
fn a_list_of_exclusions_that_excludes_nothing_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let table = "prompt,small,large\none,1,1\ntwo,0,1\n";
    write_files(
        folder.path(),
        &[
            ("x.jsonl", "{\"text\":\"three\"}\n"),
            ("y.jsonl", "{\"text\":\" one\"}\n{\"text\":\"six\"}\n"),
            ("z.jsonl", "{\"a\":1}\nno\n"),
        ],
    );
    let with = |file: &str, field: &str| {
        replay(folder.path(), table, &["--json", "--exclude", file, "--exclude-field", field])
    };
    let output = with("x.jsonl", "text");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("none of the 1 texts"), "{}", stderr(&output));
    let found = json(&with("y.jsonl", "text"));
    assert_eq!((&found["n"], &found["excluded"]), (&Value::from(1), &Value::from(1)));
    assert!(found["notes"][0].as_str().unwrap().starts_with("1 of the 2 texts"), "{}", found["notes"]);
    let output = with("y.jsonl", "prompt");
    assert!(
        stderr(&output).contains("y.jsonl:1: the row has no field \"prompt\"; it has \"text\""),
        "{}",
        stderr(&output)
    );
    let output = with("z.jsonl", "a");
    assert!(stderr(&output).contains("z.jsonl:1: the field \"a\" is no text"), "{}", stderr(&output));
}

#[test]
fn a_text_that_stands_in_two_rows_is_never_learned_from_where_it_is_scored() {
    if weights("all-minilm-l6-v2", "model.safetensors").is_none() {
        return;
    }
    // Outcomes have nothing to do with the texts: whoever seems to learn them has seen the other row.
    let words =
        ["printer", "badge", "salary", "vpn", "laptop", "invoice", "door", "phone", "desk", "backup", "mail", "cable"];
    let rows: Vec<String> = (0..120_usize)
        .map(|i| {
            let chance = i.wrapping_mul(2_654_435_761) >> 7;
            format!("the {} of the {} number {i},{},true\n", words[i % 12], words[i / 10], chance % 2 == 0)
        })
        .collect();
    let table = format!("prompt,small,large\n{}{}", rows.concat(), rows.concat());
    let folder = tempfile::tempdir().unwrap();
    let found = json(&replay(folder.path(), &table, &["--json", "--learn", "knn,logistic,mf"]));
    assert_eq!((&found["n"], &found["queries"]), (&Value::from(240), &Value::from(120)));
    for name in ["knn", "logistic", "mf"] {
        let apgr = found["policies"][name]["apgr"].as_f64().unwrap();
        assert!(apgr < 0.7, "{name}: {apgr}");
    }
}

#[test]
fn quality_against_cost_has_intervals_that_hold_its_figures() {
    let folder = tempfile::tempdir().unwrap();
    let costs = ["--cost-weak", "0.001", "--cost-strong", "0.01"];
    for more in [&[][..], &costs] {
        let found = json(&replay(folder.path(), &table(), &[&["--json", "--score", "score"], more].concat()));
        for policy in ["score", "oracle", "random", "linear"] {
            for name in ["aiq_hull_from_zero", "aiq_hull_range", "cost_auc"] {
                let policy = &found["policies"][policy];
                let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{name}: {policy}"));
                let (value, ends) = (number(&policy[name]), &policy["intervals"][name]);
                assert!(number(&ends["low"]) <= value && value <= number(&ends["high"]), "{name} {value}: {ends}");
            }
        }
    }
}

#[test]
fn a_model_column_may_not_be_given_twice_nor_a_score_take_the_name_of_a_learner() {
    refused(&table(), &["--score", "score", "--score", "score"], &["is given twice"]);
    let folder = tempfile::tempdir().unwrap();
    let found = json(&replay(folder.path(), &table().replace("score", "mf"), &["--json", "--score", "mf"]));
    assert!(found["policies"]["score:mf"]["apgr"].is_number());
}

//! Grids: what is shared, what is continued, what is refused, shards and what becomes of them. Models are scripted, so that
//! every trial is made in little time, but for the last tests.

mod kills;
mod shards;

use crate::report::{assert_keeps, schema};
use crate::support::{program, stderr, stdout, weights, write_files};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Two models that differ, and a grid over them of so many samples.
const SMALL: &str = r#"
answer = '{"category": "Access", "answer": "Open the portal.", "citations": [], "needs_human": false}'
logprob = -2.0
[[rule]]
contains = "the"
answer = '{"category": "Hardware", "answer": "Restart it.", "citations": [], "needs_human": false}'
logprob = -0.01
[[rule]]
contains = "is"
answer = 'It is about hardware, I think.'
"#;
const LARGE: &str = r#"
answer = '{"category": "Storage", "answer": "Ask the help desk.", "citations": [], "needs_human": true}'
"#;
const GRID: &str = r#"
task = "helpdesk"
[axes]
routers = ["llm-first", "slm-dominant", "slm-only"]
memories = ["none", "static"]
contracts = ["off", "validate"]
slms = ["scripted:small.toml"]
llms = ["scripted:large.toml"]
seeds = [0, 1]
[samples]
limit = 12
"#;

/// A folder with the grid in it.
fn folder(grid: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("small.toml", SMALL), ("large.toml", LARGE), ("grid.toml", grid)]);
    folder
}

fn grid(folder: &Path, out: &str, more: &[&str]) -> Output {
    let mut command = program();
    command.current_dir(folder).args(["grid", "grid.toml", "--out", out, "--json"]).args(more);
    command.output().unwrap()
}

fn done(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_str(stdout(output).trim()).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

fn refused(output: &Output, told: &[&str]) {
    assert_eq!(output.status.code(), Some(2), "{}{}", stdout(output), stderr(output));
    for part in told {
        assert!(stderr(output).contains(part), "{part:?} is not in {}", stderr(output));
    }
}

fn trials(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("trials.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn attempts(trial: &Value) -> impl Iterator<Item = &Value> {
    trial["attempts"].as_array().unwrap().iter()
}

/// By cell and sample what must not depend on how it was computed: everything that was said and decided.
fn outputs(trials: &[Value]) -> BTreeMap<String, Value> {
    let of = |trial: &Value| {
        let said: Vec<_> = attempts(trial)
            .map(|a| (a["prompt"].clone(), a["completion"].clone(), a["tokens"].clone(), a["confidence"].clone()))
            .collect();
        let cost = trial["cost"]["api_usd"].clone();
        serde_json::json!([trial["outcome"], trial["prediction"], trial["decisions"], trial["scores"], said, cost])
    };
    let key = |trial: &Value| format!("{} {}", trial["cell"], trial["sample"]);
    let found: BTreeMap<_, _> = trials.iter().map(|trial| (key(trial), of(trial))).collect();
    assert_eq!(found.len(), trials.len(), "a trial stands there twice");
    found
}

#[test]
fn what_several_cells_need_is_computed_once_and_its_record_says_where() {
    let folder = folder(GRID);
    let summary = done(&grid(folder.path(), "shared", &[]));
    let alone = done(&grid(folder.path(), "alone", &["--no-sharing"]));
    let (shared, afresh) = (trials(&folder.path().join("shared")), trials(&folder.path().join("alone")));
    assert_eq!(shared.len(), 3 * 2 * 2 * 2 * 12);
    assert_eq!(outputs(&shared), outputs(&afresh));
    assert_keeps(&schema("summary"), &summary);
    let of_trial = schema("trial");
    shared.iter().step_by(7).for_each(|trial| assert_keeps(&of_trial, trial));

    let by_place: BTreeMap<String, &Value> =
        shared.iter().map(|trial| (format!("{} {}", trial["cell"], trial["sample"]), trial)).collect();
    let mut from_others = 0;
    for trial in &shared {
        let took: f64 = trial["spans"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
        let wall = trial["wall_s"].as_f64().unwrap();
        assert!(took <= wall + 1e-6, "{took} of {wall} s are accounted for");
        for attempt in attempts(trial).filter(|attempt| !attempt["shared_from"].is_null()) {
            let from = &attempt["shared_from"];
            let origin = by_place[&format!("{} {}", from["cell"], from["sample"])];
            let first = attempts(origin).find(|first| first["identity"] == attempt["identity"]).unwrap();
            assert!(first["shared_from"].is_null());
            assert_eq!(first["spans"], attempt["spans"], "with the times that were measured");
            assert_eq!(from["sample"], trial["sample"]);
            from_others += 1;
        }
    }
    let work = &summary["axes"]["work"];
    assert_eq!(
        (work["shared"].as_u64(), work["attempts"].as_u64()),
        (Some(from_others), alone["axes"]["work"]["attempts"].as_u64())
    );
    let (all, computed) = (work["output_tokens"].as_f64().unwrap(), work["output_tokens_computed"].as_f64().unwrap());
    // Two memories; greedy answers hang on neither the seed nor on whether the contract is enforced.
    assert!(all / computed >= 5.0, "{all} tokens, {computed} computed");
    let (policy, spent) = (work["policy_usd"].as_f64().unwrap(), work["spent_usd"].as_f64().unwrap());
    assert!(spent > 0.0 && policy > 4.0 * spent, "{policy} and {spent} dollars");
    assert_eq!(alone["axes"]["work"]["policy_usd"], alone["axes"]["work"]["spent_usd"]);
    assert!(afresh.iter().flat_map(attempts).all(|attempt| attempt["shared_from"].is_null()));
    assert!(summary["notes"].to_string().contains("scripted:large, scripted:small"), "{}", summary["notes"]);
}

#[test]
fn seeds_and_repeats_are_computed_afresh_where_they_matter() {
    let drawn = format!("{GRID}[settings]\ntemperature = 0.5\n");
    let repeated = format!("repeats = 2\n{GRID}");
    for (text, cells) in [(drawn, 24), (repeated, 48)] {
        let folder = folder(&text.replace("limit = 12", "limit = 2"));
        let summary = done(&grid(folder.path(), "run", &[]));
        assert_eq!(summary["policies"].as_array().unwrap().len(), cells);
        let key = |name: &str| name.split('/').nth(3).unwrap().to_owned() + name.split('/').nth(4).unwrap_or_default();
        for trial in &trials(&folder.path().join("run")) {
            for from in attempts(trial).map(|attempt| &attempt["shared_from"]).filter(|from| !from.is_null()) {
                let (ours, theirs) = (key(trial["cell"].as_str().unwrap()), key(from["cell"].as_str().unwrap()));
                let parts = |name: &str| (name[..6].to_owned(), name[6..].to_owned());
                let ((seed, repeat), (other_seed, other_repeat)) = (parts(&ours), parts(&theirs));
                assert!(repeat == other_repeat && (cells == 48 || seed == other_seed), "{ours} takes from {theirs}");
            }
        }
    }
}

#[test]
fn several_trials_in_flight_find_the_same_as_one_after_the_other() {
    let folder = folder(GRID);
    done(&grid(folder.path(), "one", &[]));
    write_files(
        folder.path(),
        &[("grid.toml", &format!("in_flight = 8\n{GRID}")), ("large.toml", &format!("first_token_ms = 3\n{LARGE}"))],
    );
    done(&grid(folder.path(), "many", &[]));
    let many = trials(&folder.path().join("many"));
    assert_eq!(outputs(&trials(&folder.path().join("one"))), outputs(&many));
    // Computed once too where two trials want it at the same time.
    let mut computed: Vec<String> = many
        .iter()
        .flat_map(attempts)
        .filter(|attempt| attempt["shared_from"].is_null())
        .map(|attempt| attempt["identity"].to_string())
        .collect();
    let count = computed.len();
    computed.sort();
    computed.dedup();
    assert_eq!(computed.len(), count);
}

#[test]
fn the_same_command_again_makes_nothing_again_and_another_configuration_is_refused_with_what_changed() {
    let folder = folder(GRID);
    let first = grid(folder.path(), "run", &[]);
    done(&first);
    let before = fs::read(folder.path().join("run/trials.jsonl")).unwrap();
    let again = grid(folder.path(), "run", &["--resume"]);
    done(&again);
    assert!(stderr(&again).contains("288 of 288 trials are on disk"), "{}", stderr(&again));
    assert_eq!(stdout(&again), stdout(&first));
    assert_eq!(fs::read(folder.path().join("run/trials.jsonl")).unwrap(), before);

    write_files(folder.path(), &[("grid.toml", &format!("{GRID}[settings]\nthreshold = 0.75\n"))]);
    refused(&grid(folder.path(), "run", &[]), &["another configuration", "threshold: 0.5 before, 0.75 now"]);
    write_files(folder.path(), &[("grid.toml", GRID), ("large.toml", &LARGE.replace("Ask", "Call"))]);
    refused(&grid(folder.path(), "run", &[]), &["llm scripted:large"]);
    write_files(folder.path(), &[("large.toml", LARGE)]);
    refused(&grid(folder.path(), "run", &["--no-sharing"]), &["sharing: true before, false now"]);
    refused(&grid(folder.path(), "run", &["--shard", "1/2"]), &["a run of all samples, and not of the shard 1/2"]);
    refused(&grid(folder.path(), "elsewhere", &["--resume"]), &["no run that could be continued"]);
    let header = folder.path().join("run/run.json");
    let newer = fs::read_to_string(&header).unwrap().replace("\"format\": 1", "\"format\": 99");
    fs::write(&header, newer).unwrap();
    refused(&grid(folder.path(), "run", &[]), &["its format is 99", "use a newer routergym-local"]);
}

#[test]
fn a_limit_of_time_ends_a_run_in_good_order_and_the_same_command_goes_on() {
    let slow = format!("first_token_ms = 40\n{LARGE}");
    let folder = folder(&format!("{GRID}[limits]\nmax_hours = 0.0001\n"));
    write_files(folder.path(), &[("large.toml", &slow)]);
    let mut calls = 0;
    loop {
        calls += 1;
        let output = grid(folder.path(), "run", &["--quiet"]);
        if output.status.code() == Some(0) {
            break;
        }
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("max_hours"), "{}", stderr(&output));
        assert!(calls < 200);
    }
    assert!(calls > 1);
    outputs(&trials(&folder.path().join("run")));
    assert_eq!(trials(&folder.path().join("run")).len(), 288);
}

#[test]
fn failures_alone_are_made_again_where_that_is_asked_for() {
    let folder = folder(&GRID.replace("limit = 12", "limit = 40"));
    write_files(folder.path(), &[("large.toml", &format!("error_share = 0.1\n{LARGE}"))]);
    let output = grid(folder.path(), "run", &[]);
    let lines = || trials(&folder.path().join("run"));
    let first = lines();
    let failed: Vec<String> = first
        .iter()
        .filter(|trial| trial["outcome"] == "failed")
        .map(|trial| format!("{} {}", trial["cell"], trial["sample"]))
        .collect();
    assert!(!failed.is_empty() && first.len() == 960, "{} {}", failed.len(), stderr(&output));
    let again = grid(folder.path(), "run", &[]);
    assert!(stderr(&again).contains("960 of 960") && stderr(&again).contains("--retry-errors"), "{}", stderr(&again));
    assert_eq!(lines().len(), 960);
    grid(folder.path(), "run", &["--retry-errors"]);
    let mut retried: Vec<String> =
        lines()[960..].iter().map(|trial| format!("{} {}", trial["cell"], trial["sample"])).collect();
    let mut wanted = failed;
    retried.sort();
    wanted.sort();
    assert_eq!(retried, wanted);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_leaves_nothing() {
    let text = format!("{GRID}[[exclude]]\nrouter = \"slm-only\"\nmemory = \"static\"\nreason = \"not asked for\"\n");
    let folder = folder(&text);
    let plan = done(&grid(folder.path(), "run", &["--dry-run"]));
    assert_eq!((plan["cells"].as_array().unwrap().len(), plan["trials"].as_u64()), (20, Some(240)));
    assert_eq!(plan["left_out"].as_array().unwrap().len(), 4);
    assert_eq!(plan["left_out"][0]["reason"], "not asked for");
    assert!(plan["estimate_reason"].as_str().unwrap().contains("--calibrate"));
    let distinct = &plan["llm_calls_distinct"];
    assert!(distinct["low"].as_u64() < plan["llm_calls"]["low"].as_u64(), "{plan}");
    let measured = done(&grid(folder.path(), "run", &["--dry-run", "--calibrate", "2"]));
    let estimate = &measured["estimate"];
    assert!(estimate["seconds"].as_f64().unwrap() > 0.0 && estimate["bytes"].as_f64().unwrap() > 1e4, "{measured}");
    assert!(!folder.path().join("run").exists());
    done(&grid(folder.path(), "run", &[]));
    let computed = trials(&folder.path().join("run"));
    let computed =
        computed.iter().flat_map(attempts).filter(|a| a["shared_from"].is_null() && a["tier"] == "llm").count() as u64;
    let within = distinct["low"].as_u64().unwrap()..=distinct["high"].as_u64().unwrap();
    assert!(within.contains(&computed), "{computed} of {within:?}");
}

#[test]
fn the_status_of_a_run_is_read_beside_it() {
    let folder = folder(GRID);
    done(&grid(folder.path(), "run", &[]));
    let status = |more: &[&str]| {
        program().current_dir(folder.path()).args(["grid", "status", "run"]).args(more).output().unwrap()
    };
    let told = done(&status(&["--json"]));
    assert_eq!(
        (told["state"].as_str(), told["done"].as_u64(), told["cells_done"].as_u64()),
        (Some("complete"), Some(288), Some(24))
    );
    assert!(stdout(&status(&[])).contains("288 of 288 (100.0 %)"), "{}", stdout(&status(&[])));
    let nothing = program().args(["grid", "status"]).arg(folder.path()).output().unwrap();
    refused(&nothing, &["has no status"]);
}

#[test]
fn what_a_grid_cannot_mean_is_refused_with_its_line_before_anything_is_done() {
    for (from, to, told) in [
        ("\"scripted:small.toml\"", "\"scripted:gone.toml\"", "grid.toml:7: "),
        ("\"scripted:small.toml\"", "\"no-such-model\"", "grid.toml:7: "),
        ("\"scripted:large.toml\"", "\"no-such-model\"", "grid.toml:8: "),
        ("\"slm-only\"]", "\"gone.toml\"]", "grid.toml:4: "),
        ("[samples]", "[settings]\nthreshold = 2.0\n[samples]", "grid.toml:10: "),
        ("[samples]", "[settings]\nprice = \"no-such-row\"\n[samples]", "no-such-row"),
        ("[samples]", "[[exclude]]\nseed = [0, 1]\n[samples]", "every cell is left out"),
        ("[\"scripted:small.toml\"]", "[\"scripted:small.toml\", \"scripted:./small.toml\"]", "two cells are called"),
    ] {
        let folder = folder(&GRID.replace(from, to));
        refused(&grid(folder.path(), "run", &[]), &[told]);
        assert!(!folder.path().join("run").exists());
    }
}

#[test]
fn the_published_schema_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas/grid.schema.json");
    let output = program().args(["grid", "schema"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let now = stdout(&output);
    if std::env::var_os("REWRITE_SCHEMAS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &now).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    assert!(published == now, "{} is out of date: run the tests with REWRITE_SCHEMAS=1", path.display());
    let schema: Value = serde_json::from_str(&now).unwrap();
    let grid: Value = serde_json::to_value(toml::from_str::<toml::Table>(GRID).unwrap()).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&grid));
}

#[test]
fn a_bench_that_was_cut_short_goes_on() {
    let folder = folder(GRID);
    let bench = |more: &[&str]| {
        let mut command = program();
        command.current_dir(folder.path()).args([
            "bench",
            "--slm",
            "scripted:small.toml",
            "--llm",
            "scripted:large.toml",
        ]);
        command.args(["--router", "llm-first,slm-only", "--memory", "none", "--limit", "6", "--json", "--out", "run"]);
        command.args(more).output().unwrap()
    };
    done(&bench(&[]));
    let whole = fs::read(folder.path().join("run/trials.jsonl")).unwrap();
    refused(&bench(&[]), &["already holds a run", "--resume"]);
    // As a crash leaves it: a line without its end.
    let cut = whole.len() / 2;
    fs::write(folder.path().join("run/trials.jsonl"), &whole[..cut]).unwrap();
    let resumed = bench(&["--resume"]);
    done(&resumed);
    assert!(stderr(&resumed).contains("was torn"), "{}", stderr(&resumed));
    let found = trials(&folder.path().join("run"));
    assert_eq!(outputs(&found).len(), 12);
    refused(&bench(&["--resume", "--threshold", "0.9"]), &["threshold: 0.5 before, 0.9 now"]);
}

#[test]
fn real_models_share_and_give_the_same_outputs() {
    let ready = weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf").is_some()
        && weights("all-minilm-l6-v2", "model.safetensors").is_some();
    if !ready {
        return;
    }
    let text = r#"
        [axes]
        routers = ["slm-only", "slm-dominant"]
        memories = ["none", "dynamic"]
        contracts = ["off", "validate"]
        slms = ["smollm2-135m-instruct"]
        llms = ["scripted:large.toml"]
        [samples]
        limit = 1
        [settings]
        max_tokens = 32
    "#;
    let folder = folder(text);
    let threads = ["--threads", "1", "--offline"];
    let summary = done(&grid(folder.path(), "shared", &threads));
    done(&grid(folder.path(), "alone", &["--no-sharing", "--threads", "1", "--offline"]));
    // The other way round: no figure may hang on the order of the cells.
    write_files(
        folder.path(),
        &[("grid.toml", &text.replace(r#"["slm-only", "slm-dominant"]"#, r#"["slm-dominant", "slm-only"]"#))],
    );
    done(&grid(folder.path(), "turned", &threads));
    let [shared, alone, turned] = ["shared", "alone", "turned"].map(|run| trials(&folder.path().join(run)));
    assert_eq!(outputs(&shared), outputs(&alone));
    let usages = |trials: &[Value]| -> BTreeMap<String, Vec<Value>> {
        let key = |trial: &Value| format!("{} {}", trial["cell"], trial["sample"]);
        trials.iter().map(|trial| (key(trial), attempts(trial).map(|a| a["usage"].clone()).collect())).collect()
    };
    assert_eq!(usages(&shared), usages(&turned));
    let retrieved = shared.iter().filter(|trial| !trial["retrieval"]["shared_from"].is_null()).count();
    assert_eq!(retrieved, 3, "one of four cells retrieves");
    let work = &summary["axes"]["work"];
    assert!(work["output_tokens_computed"].as_u64() < work["output_tokens"].as_u64(), "{work}");
}

//! Strategies from files, and routers learned from a run, on real weights.

use crate::support::{program, stderr, stdout, weights, write_files};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

fn ready() -> bool {
    weights("smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf").is_some()
        && weights("all-minilm-l6-v2", "model.safetensors").is_some()
}

fn bench(folder: &Path, more: &[&str]) -> Output {
    let mut command = program();
    command.current_dir(folder).args(["bench", "--slm", "smollm2-135m-instruct", "--llm", "smollm2-135m-instruct"]);
    command.args(["--threads", "1", "--max-tokens", "24", "--memory", "none", "--max-repairs", "0", "-q"]);
    command.args(more).output().unwrap()
}

fn refused(output: &Output, said: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(said), "{said:?} is not in: {text}");
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn strategies_of_a_file_are_benched_under_their_names() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let routers = "[[router]]\nname = \"bold\"\nkind = \"slm-dominant\"\nthreshold = 0.0\nconfidence = \"margin\"\n\
                   [[router]]\nname = \"three\"\nkind = \"cascade\"\nmodels = [\"smollm2-135m-instruct\", \"slm\", \"llm\"]\n\
                   thresholds = [1.0, 1.0]\n";
    write_files(folder.path(), &[("r.toml", routers)]);
    let output = bench(folder.path(), &["--router", "r.toml,llm-only,random", "--limit", "1", "--json", "-o", "run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let cells: Vec<_> = summary["policies"].as_array().unwrap().iter().map(|p| p["cell"].as_str().unwrap()).collect();
    assert_eq!(cells, ["bold/none/validate", "three/none/validate", "llm-only/none/validate", "random/none/validate"]);
    assert_eq!(summary["verdict"]["reference"], "llm-only");
    let header = json(&folder.path().join("run/run.json"));
    assert_eq!(header["settings"]["routers"][0]["confidence"], "margin");
    assert!(header["settings"]["named_sha256"]["smollm2-135m-instruct"].is_string());
    let trials = fs::read_to_string(folder.path().join("run/trials.jsonl")).unwrap();
    let cascade: Value = serde_json::from_str(trials.lines().nth(1).unwrap()).unwrap();
    let asked: Vec<_> = cascade["decisions"].as_array().unwrap().iter().map(|d| d["model"].as_str()).collect();
    assert_eq!(asked[..3], [Some("smollm2-135m-instruct"), None, None], "{cascade}");
}

#[test]
fn a_router_is_learned_from_a_run_and_scores_none_of_its_samples() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // So short answers keep no contract, and would all be given to the LLM for it.
    let collected = bench(
        folder.path(),
        &["--collect", "both", "--contract", "off", "--split", "dev", "--limit", "24", "-o", "dev"],
    );
    assert!(collected.status.success(), "{}", stderr(&collected));
    let fit = |more: &[&str]| {
        let mut command = program();
        command.current_dir(folder.path()).args(["fit", "--run", "dev", "-q"]).args(more).output().unwrap()
    };
    refused(&fit(&["--kind", "knn", "-o", "r.toml"]), "24 queries that both models answered are too few");
    refused(&fit(&["--kind", "isotonic", "-o", "r.json"]), "must end in .toml");
    refused(&fit(&["--kind", "isotonic", "-o", "r.toml", "--max-loss", "2"]), "between 0 and 1");
    refused(&fit(&["--kind", "knn", "-o", "r.toml", "--conformal"]), "belongs to --kind isotonic");
    assert!(!folder.path().join("r.toml").exists());
    let output = fit(&["--kind", "isotonic", "--escalation", "0.5", "--name", "mine", "-o", "r.toml", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&found["n"], &found["name"], &found["cross_fitted"]), (&24.into(), &"mine".into(), &false.into()));
    assert!(found["effect"]["llm_share"].as_f64().unwrap() <= 0.5);

    let overlapping = ["--router", "r.toml", "--split", "dev", "--limit", "24", "-o", "again"];
    refused(&bench(folder.path(), &overlapping), "was fitted on 24 of the 24 samples");
    let output = bench(folder.path(), &["--router", "r.toml,llm-only", "--limit", "1", "--json", "-o", "test"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let header = json(&folder.path().join("test/run.json"));
    assert_eq!(header["settings"]["routers"][0]["fitted_on"]["samples"], 24);
}

#[test]
fn a_strategy_that_cannot_be_had_is_refused_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("twice.toml", "[[router]]\nkind = \"slm-only\"\n[[router]]\nkind = \"slm-only\"\n")]);
    for (router, said) in [
        ("slm-dominate", "neither a strategy"),
        ("nowhere.toml", "nowhere.toml"),
        ("twice.toml", "two routers are called \"slm-only\""),
        ("slm-only,twice.toml", "two routers are called"),
        ("knn", "make its file with `fit --run RUN --kind knn"),
        ("cascade", "needs `models`"),
    ] {
        refused(&bench(folder.path(), &["--router", router, "-o", "run"]), said);
    }
    assert!(!folder.path().join("run").exists());
}

/// A file with a calibrated slm-dominant, fitted on one text to the answers of two models; `more` stands in its table.
fn fitted(name: &str, slm: &str, llm: &str, text: &str, more: &str) -> String {
    format!(
        "[[router]]\nname = {name:?}\nkind = \"slm-dominant\"\nconfidence = \"margin\"\nthreshold = 0.5\n[router.fitted]\n\
         task = \"t\"\nruns = [\"r\"]\nslm = {slm:?}\nllm = {llm:?}\nchosen_for = \"\"\nsamples = [{:?}]\n{more}\n\
         [router.fitted.calibration]\nat = [0.0, 1.0]\nvalue = [0.0, 1.0]\n",
        routergym_local::router::mark(text)
    )
}

const SMOL: &str = "smollm2-135m-instruct";
/// The hash of its weights, as its manifest gives it.
const SMOL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

#[test]
fn a_router_of_other_models_is_refused_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let sums = |slm: &str, llm: &str| format!("slm_sha256 = {slm:?}\nllm_sha256 = {llm:?}");
    write_files(
        folder.path(),
        &[
            ("name.toml", &fitted("mine", "other", SMOL, "x", "")),
            ("sum.toml", &fitted("mine", SMOL, SMOL, "x", &sums(SMOL_SHA256, &"0".repeat(64)))),
            ("encoder.toml", &fitted("mine", SMOL, SMOL, "x", "encoder_sha256 = \"00\"")),
            ("renamed.toml", &fitted("mine", "a", "b", "x", &sums(SMOL_SHA256, SMOL_SHA256))),
        ],
    );
    let dry = |router: &str| bench(folder.path(), &["--dry-run", "--router", router, "-o", "run"]);
    refused(&dry("name.toml"), "fitted to answers of other and smollm2-135m-instruct, not of");
    refused(&dry("sum.toml"), "(000000000000…), not of");
    refused(&dry("encoder.toml"), "other encoder weights (00, not ");
    // Names may differ where the files are the same.
    let output = dry("renamed.toml");
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_text_that_was_learned_from_is_not_scored_under_another_id() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "id,text,label,split\nold,the printer is broken,Hardware,dev\nnew, the printer is broken ,Hardware,test\n\
                other,my password was lost,Access,test\n";
    let task = "name = \"small\"\n[data]\nfile = \"rows.csv\"\n[data.columns]\nid = \"id\"\ninput = \"text\"\n\
                target = \"label\"\nsplit = \"split\"\n[prompt]\nexamples_per_label = 0\n";
    let router = fitted("mine", SMOL, SMOL, "the printer is broken", "");
    write_files(folder.path(), &[("t/task.toml", task), ("t/rows.csv", rows), ("r.toml", &router)]);
    let output = bench(folder.path(), &["--dry-run", "--task", "t", "--router", "r.toml", "-o", "run"]);
    refused(&output, "was fitted on 1 of the 2 samples that would be scored");
}

#[test]
fn a_cascade_that_asks_one_model_under_several_names_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let routers = format!("[[router]]\nname = \"three\"\nkind = \"cascade\"\nmodels = [{SMOL:?}, \"slm\", \"llm\"]\n");
    write_files(folder.path(), &[("r.toml", &routers)]);
    let output = bench(folder.path(), &["--dry-run", "--json", "--router", "r.toml", "-o", "run"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let plan: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let note = plan["notes"][0].as_str().unwrap();
    assert!(note.contains("smollm2-135m-instruct, slm, llm are all smollm2-135m-instruct (b179c9523d0e…)"), "{note}");
}

#[test]
fn a_task_says_what_follows_from_findings_and_the_command_line_stands_above_it() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rows = "text,label,split\nthe printer is broken,Hardware,test\n";
    let task = "name = \"small\"\n[data]\nfile = \"rows.csv\"\n[data.columns]\ninput = \"text\"\ntarget = \"label\"\n\
                split = \"split\"\n[prompt]\nexamples_per_label = 0\n[safety]\ninjection = \"refuse\"\nEMAIL = \"redact\"\n";
    write_files(folder.path(), &[("t/task.toml", task), ("t/rows.csv", rows)]);
    let output = bench(
        folder.path(),
        &["--task", "t", "--router", "slm-only", "--safety", "injection=person", "--json", "-o", "run"],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let safety = json(&folder.path().join("run/run.json"))["settings"]["router"]["safety"].clone();
    assert_eq!((&safety["injection"], &safety["EMAIL_ADDRESS"]), (&"person".into(), &"redact".into()), "{safety}");
    assert_eq!((&safety["risk"], &safety["personal_data"]), (&"escalate".into(), &"allow".into()), "{safety}");
}

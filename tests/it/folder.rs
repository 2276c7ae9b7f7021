//! A language model as a folder of safetensors, and files that are refused, through the program: registered, inspected,
//! and run on both sides of a bench. The weights are generated, so the answers mean nothing.

use crate::support::{patch, program, stderr, stdout, weights};
use routergym_local::nn::testing::{Family, Half, Stored, write_checkpoint, write_folder};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn run(store: &Path, arguments: &[&str]) -> Output {
    program().env("ROUTERGYM_MODELS", store).arg("--offline").args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_str(stdout(output).trim()).unwrap()
}

#[test]
fn a_folder_of_safetensors_is_added_inspected_and_run_by_path_and_by_name() {
    let place = tempfile::tempdir().unwrap();
    let (store, folder) = (place.path().join("store"), place.path().join("Tiny Qwen3"));
    write_folder(&folder, Family::Qwen3, Some(Half::BF16), 2, 1).unwrap();
    let path = folder.to_str().unwrap();

    let by_path = json(&run(&store, &["models", "inspect", path, "--json"]));
    assert_eq!(by_path["file"]["architecture"], "qwen3");
    assert_eq!(by_path["file"]["name"], "Tiny Qwen3");
    assert_eq!(by_path["file"]["has_chat_template"], true);
    let added = run(&store, &["models", "add", path, "--name", "tiny"]);
    assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
    let by_name = json(&run(&store, &["models", "inspect", "tiny", "--json"]));
    assert_eq!(by_name["file"], by_path["file"]);
    assert_eq!(by_name["sha256"], by_path["sha256"]);
    assert_eq!(by_name["manifest"]["kind"], "safetensors");
    assert_eq!(by_name["manifest"]["parameters"], by_path["file"]["parameters"]);
    let dry = run(&store, &["bench", "--slm", "tiny", "--llm", path, "--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", stderr(&dry));
}

#[test]
fn a_bench_runs_a_folder_as_the_small_model_and_as_the_stand_in() {
    // What measures groundedness.
    if weights("all-minilm-l6-v2", "model.safetensors").is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (folder, out) = (place.path().join("tiny"), place.path().join("run"));
    write_folder(&folder, Family::Gemma3, Some(Half::BF16), 2, 1).unwrap();
    let mut command = program();
    command.args([
        "bench",
        "--offline",
        "--memory",
        "none",
        "--threads",
        "1",
        "--limit",
        "2",
        "--max-tokens",
        "8",
        "--json",
    ]);
    command.arg("--slm").arg(&folder).arg("--llm").arg(&folder).arg("--out").arg(&out);
    let summary = json(&command.output().unwrap());
    assert!(!summary["policies"].as_array().unwrap().is_empty());
    for policy in summary["policies"].as_array().unwrap() {
        assert_eq!((&policy["n"], &policy["failures"]), (&2.into(), &0.into()), "{policy}");
    }
}

#[test]
fn a_folder_that_cannot_be_loaded_is_not_added() {
    let place = tempfile::tempdir().unwrap();
    let (store, folder) = (place.path().join("store"), place.path().join("tiny"));
    write_folder(&folder, Family::Llama, None, 1, 1).unwrap();
    let weights = folder.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let output = run(&store, &["models", "add", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("model.safetensors") && stderr(&output).contains("cut short"));
}

#[test]
fn a_model_that_speed_would_refuse_for_its_vocabulary_is_not_added() {
    let place = tempfile::tempdir().unwrap();
    let (store, folder, file) = (place.path().join("store"), place.path().join("tiny"), place.path().join("tiny.gguf"));
    write_folder(&folder, Family::Llama, None, 1, 1).unwrap();
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    write_checkpoint(&file, Family::Llama, Stored::Q8_0, 1).unwrap();
    patch(&file, b"tokenizer.ggml.model", b"tokenizer.ggml.modem");
    for (path, missing) in [(&folder, "tokenizer.json"), (&file, "tokenizer.ggml.model")] {
        let path = path.to_str().unwrap();
        let speed = run(&store, &["speed", "--model", path]);
        let add = run(&store, &["models", "add", path, "--name", "tiny"]);
        assert_eq!(add.status.code(), speed.status.code(), "{}", stderr(&add));
        assert_ne!(add.status.code(), Some(0));
        assert!(stderr(&add).contains("cannot add") && stderr(&add).contains(missing), "{}", stderr(&add));
    }
    assert!(!stdout(&run(&store, &["models", "list"])).contains("in place"));
}

#[test]
fn texts_of_a_file_cannot_steer_the_terminal() {
    let place = tempfile::tempdir().unwrap();
    let (store, file) = (place.path().join("store"), place.path().join("tiny.gguf"));
    write_checkpoint(&file, Family::Llama, Stored::Q8_0, 1).unwrap();
    patch(&file, b"Generated model", b"\x1b]0;owned\x07\nx: y");
    let path = file.to_str().unwrap();
    let text = stdout(&run(&store, &["models", "inspect", path]));
    assert!(text.contains("file: name         \\x1b]0;owned\\x07 x: y\n") && !text.contains('\u{1b}'), "{text:?}");

    let architecture = b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0";
    patch(&file, &[architecture, &b"llama"[..]].concat(), &[architecture, &b"\x1b[31m"[..]].concat());
    for verb in ["inspect", "add"] {
        let message = stderr(&run(&store, &["models", verb, path]));
        assert!(
            message.contains("architecture is the text \"\\u{1b}[31m\"") && !message.contains('\u{1b}'),
            "{message:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_device_a_pipe_and_a_broken_link_are_no_models_and_nobody_waits_for_them() {
    let place = tempfile::tempdir().unwrap();
    let (store, folder) = (place.path().join("store"), place.path().join("tiny"));
    let pipe = place.path().join("pipe.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    write_folder(&folder, Family::Llama, None, 1, 1).unwrap();
    let settings = folder.join("tokenizer_config.json");
    std::fs::remove_file(&settings).unwrap();
    std::os::unix::fs::symlink("nowhere", &settings).unwrap();
    for (path, said) in [
        ("/dev/null", "/dev/null is a device, not a file"),
        (pipe.to_str().unwrap(), "pipe.gguf is a named pipe, not a file"),
        (folder.to_str().unwrap(), "tokenizer_config.json is a link to nowhere, where nothing is"),
    ] {
        for verb in [&["speed", "--model", path][..], &["models", "inspect", path]] {
            let output = run(&store, verb);
            assert_eq!(output.status.code(), Some(1), "{verb:?}: {}", stderr(&output));
            assert!(stderr(&output).contains(said), "{verb:?}: {}", stderr(&output));
        }
    }
}

//! The command line as a user meets it: help, wrong arguments, configuration files, exit statuses.

use crate::support::{program, stderr, stdout, write_files};

#[test]
fn help_names_every_verb_and_exits_with_0() {
    let output = program().arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    for verb in ["bench", "report", "models", "tasks", "serve", "doctor"] {
        assert!(stdout(&output).contains(verb), "{verb}");
    }
}

#[test]
fn help_says_how_a_server_ends() {
    let help = |arguments: &[&str]| {
        let output = program().args(arguments).output().unwrap();
        stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let serve = help(&["serve", "--help"]);
    assert!(serve.contains("a second one ends it at once. The exit status is 0 either way"), "{serve}");
    assert!(help(&["--help"]).contains("130 interrupted (`serve`: 0)"), "{}", help(&["--help"]));
}

#[test]
fn an_unknown_flag_is_wrong_usage() {
    let output = program().args(["bench", "--routr", "llm-first"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--router"), "{}", stderr(&output));
}

#[test]
fn a_share_outside_0_to_1_is_wrong_usage() {
    for flags in [["--threshold", "1.5"], ["--margin", "-0.1"], ["--margin", "NaN"]] {
        let output = program().args(["bench", &format!("{}={}", flags[0], flags[1])]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(stderr(&output).contains(flags[0]), "{}", stderr(&output));
    }
}

#[test]
fn values_that_cannot_be_meant_are_wrong_usage_before_anything_is_loaded() {
    for (flag, value, named) in [
        ("--timeout", "1e300", "--timeout"),
        ("--timeout", "-1", "--timeout"),
        ("--limit", "-1", "--limit"),
        ("--max-repairs", "18446744073709551615", "at most 5"),
        ("--threads", "100000", "--threads"),
        ("--threads", "0", "--threads"),
        ("--gate", "nan", "--gate"),
        ("--gate", "-5", "--gate"),
        ("--split", "train", "examples"),
        ("--slm", "no-such-model", "no-such-model"),
        ("--slm", "all-minilm-l6-v2", "encoder"),
        ("--llm", "ftp://host", "http"),
        ("--device", "cuda:99", "cuda:99"),
    ] {
        let output = program().args(["bench", "--dry-run", flag, value]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flag} {value}: {}", stderr(&output));
        assert!(stderr(&output).contains(named) && output.stdout.is_empty(), "{flag} {value}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    }
}

#[test]
fn a_password_in_an_address_is_never_repeated() {
    for arguments in [vec!["--llm-model", "m"], vec![], vec!["--llm-model", "m", "--dry-run"]] {
        let address = "http://me:sk-hidden@127.0.0.1:9/v1?key=sk-hidden";
        let output = program().args(["bench", "--llm", address]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert!(said.contains("OPENAI_API_KEY") && !said.contains("sk-hidden"), "{said}");
    }
}

#[test]
fn a_folder_that_cannot_take_a_run_is_refused_before_anything_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("old/trials.jsonl", ""), ("run/run.json", "{}"), ("file", "")]);
    for (out, named) in [("old", "already holds a run"), ("run", "already holds a run"), ("file/run", "--out")] {
        let output = program().args(["bench", "--out", out]).current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(named), "{}", stderr(&output));
    }
}

#[test]
fn flags_can_be_set_by_1_and_by_the_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("c.toml", "quiet = true\n[bench]\ndry_run = true\njson = true\n")]);
    let mut command = program();
    command.env("ROUTERGYM_OFFLINE", "1").env("ROUTERGYM_SMALL", "yes");
    let output = command.args(["bench", "--config", "c.toml"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let plan: serde_json::Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!((&plan["slm"], &plan["trials"]), (&"smollm2-135m-instruct".into(), &72.into()));
}

#[test]
fn a_device_that_this_build_lacks_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = program().args(["bench", "--device", "cuda"]).current_dir(&folder).output().unwrap();
    if cfg!(feature = "cuda") {
        return;
    }
    assert!(output.status.code().is_some_and(|code| code == 1 || code == 2));
    let message = stderr(&output);
    assert!(message.contains("--features cuda") && message.contains("--device cpu"), "{message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_unknown_device_is_wrong_usage() {
    let output = program().args(["bench", "--device", "tpu"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cuda:N"), "{}", stderr(&output));
}

#[test]
fn an_endpoint_without_a_model_name_is_wrong_usage() {
    let output = program().args(["bench", "--llm", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--llm-model"), "{}", stderr(&output));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = program().args(["bench", "--dry-run"]).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for part in ["24 samples", "llm-first/salience/validate", "72"] {
        assert!(stdout(&output).contains(part), "{part} in {}", stdout(&output));
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn a_flag_stands_above_the_environment_and_the_environment_above_the_file() {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("c.toml", "[bench]\nlimit = 8\nrouter = [\"llm-first\", \"slm-only\"]\n")]);
    let dry = |limit_env: Option<&str>, limit_flag: Option<&str>| {
        let mut command = program();
        command.current_dir(&folder).args(["bench", "--dry-run", "--config", "c.toml"]);
        if let Some(limit) = limit_env {
            command.env("ROUTERGYM_LIMIT", limit);
        }
        if let Some(limit) = limit_flag {
            command.args(["--limit", limit]);
        }
        stdout(&command.output().unwrap())
    };
    assert!(dry(None, None).contains("(8 samples") && dry(None, None).contains("slm-only"), "{}", dry(None, None));
    assert!(dry(Some("16"), None).contains("(16 samples"));
    assert!(dry(Some("16"), Some("32")).contains("(32 samples"));
}

#[test]
fn the_configuration_file_can_name_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let text = "offline = true\n[speed]\nmodel = \"from-file.gguf\"\n[serve]\nmodel = \"from-file.gguf\"\n";
    write_files(folder.path(), &[("c.toml", text)]);
    for verb in ["speed", "serve"] {
        for (variable, flag, named) in [
            (None, None, "from-file.gguf"),
            (Some("from-environment.gguf"), None, "from-environment.gguf"),
            (Some("from-environment.gguf"), Some("from-flag.gguf"), "from-flag.gguf"),
        ] {
            let mut command = program();
            command.current_dir(&folder).args([verb, "--config", "c.toml"]);
            command.envs(variable.map(|value| ("ROUTERGYM_MODEL", value)));
            command.args(flag.map(|value| ["--model", value]).into_iter().flatten());
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert!(stderr(&output).contains(&format!("no model file {named}")), "{verb}: {}", stderr(&output));
        }
    }
}

#[test]
fn an_unknown_key_in_the_configuration_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    for (text, named) in [
        ("[bench]\nlimt = 8\n", "limt"),
        ("[bensch]\nlimit = 8\n", "bensch"),
        ("limit = 8\n", "limit"),
        ("[bench]\nlimit = {}\n", "limit"),
        ("[bench]\nlimit = [1, 2]\n", "takes one value"),
        ("[bench]\nlimit = \"x\"\n", "limit"),
        ("[models]\njson = true\n", "[models]"),
        ("[bench\n", "TOML"),
    ] {
        write_files(folder.path(), &[("c.toml", text)]);
        let output =
            program().args(["bench", "--dry-run", "--config", "c.toml"]).current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(stderr(&output).contains(named) && stderr(&output).contains("c.toml"), "{}", stderr(&output));
    }
}

#[test]
fn a_folder_without_a_run_cannot_be_reported() {
    let folder = tempfile::tempdir().unwrap();
    let output = program().arg("report").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("holds no run"), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_a_failure_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], out: std::process::Stdio| {
        let mut command = std::process::Command::new(program().get_program());
        command.env("ROUTERGYM_MODELS", folder.path()).env("ROUTERGYM_OFFLINE", "1").args(arguments);
        command.stdout(out).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    for arguments in [
        &["doctor"][..],
        &["doctor", "--json"],
        &["tasks", "list"],
        &["tasks", "show", "helpdesk", "--json"],
        &["tasks", "check", "helpdesk"],
        &["models", "list"],
        &["models", "list", "--json"],
        &["bench", "--dry-run"],
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(arguments, full.into());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", stderr(&output));
        let message = stderr(&output);
        assert!(message.contains("standard output") && message.contains("No space left"), "{arguments:?}: {message}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(arguments, writer.into());
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn doctor_prints_one_json_object() {
    let output = program().args(["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let value: serde_json::Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(value["devices"]["cpu"], "available");
}
